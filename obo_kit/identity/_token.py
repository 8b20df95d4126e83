"""Hide a user's token, check it, and read its claims (rules 3 and 8)."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import sys
from binascii import a2b_base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NoReturn

from obo_kit.exceptions import NoUserIdentityError

__all__: list[str] = []

MAX_TOKEN = 16 * 1024
"""Servers accept no longer headers by default (inferred: uvicorn 64 kB in all, nginx and gunicorn 8 kB a line)."""

_TOKEN = re.compile(r"[!-~]+")  # printable ASCII without white space


class Confidential:
    """Cannot be pickled or deep-copied: it holds a user's credential (rule 8)."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        # `joblib` treats a TypeError as keys that cannot be sorted: it goes on, and makes the same key for all users.
        in_python = sys._getframe(1).f_globals.get("__name__") == "pickle"
        refusal = pickle.PicklingError if in_python else TypeError
        raise refusal(f"{type(self).__name__.lstrip('_')} holds a user's credential and cannot be pickled or copied")

    def __deepcopy__(self, memo: Any, /) -> NoReturn:
        self.__reduce_ex__(4)

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(4)


class Hidden(Confidential):
    """Keeps a token out of the local variables of the frames that raise: crash reporters print those (rule 8)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<hidden>"


class Pinned(Confidential):
    """A host and a token that never change. Only the transport sees the token, and it cannot be copied."""

    __slots__ = ("_token", "host")

    def __init__(self, host: str, token: str) -> None:
        self.host = host
        self._token = token

    def resolve(self) -> tuple[str, str]:
        """Return the host and the token."""
        return self.host, self._token


_FINGERPRINT = hashlib.blake2b(key=os.urandom(32), digest_size=16)


def fingerprint_of(host: str, token: Hidden) -> bytes:
    """Return a value that tells two tokens apart, in this process and its forks, after the token itself is gone."""
    keyed = _FINGERPRINT.copy()
    keyed.update(f"{host}\n{token.value}".encode())
    return keyed.digest()


def remedy_for(source: str) -> str:
    """Return how the user's token reaches the agent, for the source that should have had it."""
    return {
        "model-serving": "Log the model with a user auth policy (obo_kit.log_model), let a workspace admin enable "
        "on-behalf-of-user authorization, and open the session inside predict.",
        "apps": "Add user_api_scopes to the app, restart it, and call it through its URL as a signed-in user.",
        "developer": "Run `databricks auth login`, or set DATABRICKS_HOST and DATABRICKS_TOKEN.",
    }.get(source, "Pass host=… and token=…, or the headers of the request, of the user who asks.")


def check_token(token: Hidden, source: str) -> None:
    """Refuse a value that cannot be a token (rule 3).

    Raises:
        NoUserIdentityError: The token is missing, malformed or too long. The message never contains it.
    """
    if not isinstance(token.value, str) or not token.value:
        raise NoUserIdentityError(f"The user's token is missing ({source}).", remedy=remedy_for(source))
    if len(token.value) > MAX_TOKEN:
        raise NoUserIdentityError(
            f"The user's token is longer than {MAX_TOKEN // 1024} kB ({source}), which is longer than any token.",
            remedy="Pass the token alone.",
        )
    if _TOKEN.fullmatch(token.value) is None:
        raise NoUserIdentityError(
            f"The user's token is malformed ({source}): it holds white space or other characters that tokens do not have.",
            remedy="Pass the token alone, without a 'Bearer ' prefix, quotes or line ends.",
        )


_JSON = json.JSONDecoder()
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_PADDING = (b"", b"===", b"==", b"=")


def claims_of(token: Hidden) -> Mapping[str, Any]:
    """Return the claims of a JWT, unverified; empty for anything else."""
    parts = token.value.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = _JSON.decode(a2b_base64(parts[1].encode().translate(_URL_SAFE) + _PADDING[len(parts[1]) % 4]).decode())
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


@dataclass(frozen=True, slots=True)
class Stated:
    """The claims of a token, unverified. `None` where it does not say."""

    principal: str | None
    scopes: frozenset[str] | None
    expires_at: datetime | None


_stated: dict[bytes, Stated] = {}
_MOST_STATED = 1024


def stated_by(token: Hidden, fingerprint: bytes) -> Stated:
    """Return what a token says of itself. It is read once: a user's requests bring the same token until it expires.

    Args:
        token: The token.
        fingerprint: Its fingerprint. Only this and what the token says is kept, never the token.
    """
    stated = _stated.get(fingerprint)
    if stated is None:
        claims = claims_of(token)
        stated = Stated(text_in(claims.get("sub")), scopes_in(claims), expiry_in(claims))
        if len(_stated) >= _MOST_STATED:
            _stated.clear()
        _stated[fingerprint] = stated
    return stated


def text_in(value: object) -> str | None:
    """Return the value if it is text that is not empty, else `None`."""
    return value if isinstance(value, str) and value else None


def scopes_in(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the scopes that a token states; `None` if it states none."""
    stated = claims["scope"] if "scope" in claims else claims.get("scp")
    if isinstance(stated, str):
        return frozenset(stated.split())
    if isinstance(stated, list):
        return frozenset(item for item in stated if isinstance(item, str))
    return None


def expiry_in(claims: Mapping[str, Any]) -> datetime | None:
    """Return when a token expires, as its claims say."""
    if "exp" not in claims:
        return None
    try:
        return datetime.fromtimestamp(float(claims["exp"]), timezone.utc)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
