"""Who the user is, and the sources it is captured from (rules 1 to 3).

A source answers for one runtime: its user, `None` where the runtime is not present, or `NoUserIdentityError` where it is
present and the user is not. Nothing here ever falls back to a service principal.
"""

from __future__ import annotations

import base64
import enum
import functools
import hashlib
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, NoReturn, Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit

from obo_kit.exceptions import NoUserIdentityError, SessionClosedError

__all__ = ["IdentitySource", "UserIdentity", "register_identity_source"]

logger = logging.getLogger(__name__)

Headers: TypeAlias = (
    "Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]"
)

_TOKEN_HEADER = "x-forwarded-access-token"  # noqa: S105 - the name of a header
_EMAIL_HEADER = "x-forwarded-email"
_TOKEN = re.compile(r"[!-~]+")  # printable ASCII without white space


class Hidden:
    """Keeps a value that holds a token out of the locals of whoever raises: crash reporters print those (rule 8)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<hidden>"


REQUEST_HEADERS: ContextVar[Hidden | None] = ContextVar("obo_kit_request_headers", default=None)
"""The headers of the request being served, where the kit's own ASGI middleware runs; emptied when the request ends, for
copies of its context live on in whatever was started meanwhile, and may serve others."""


class _Pinned:
    """A host and a token that never change. Shows the token to nobody but the transport, and cannot be copied."""

    __slots__ = ("_token", "host")

    def __init__(self, host: str, token: str) -> None:
        self.host = host
        self._token = token

    def resolve(self) -> tuple[str, str]:
        return self.host, self._token


class _Developer:
    """The developer's own default credentials, resolved on first use: logging a model must work without any (rule 1)."""

    __slots__ = ("_identity", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._identity: UserIdentity | None = None

    def identity(self) -> UserIdentity:
        with self._lock:
            if self._identity is None:
                self._identity = _developer_identity()
            return self._identity


class _Confidential:
    """Holds how to act as a user, apart from the fields that describe the user (rule 8)."""

    __slots__ = ("_credential", "_fingerprint", "_process_token")
    _credential: _Pinned | _Developer | None
    _fingerprint: bytes
    _process_token: bool

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds a user's credential and cannot be pickled or copied")

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any, /) -> NoReturn:
        self.__reduce_ex__(4)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UserIdentity(_Confidential):
    """Who the user is. How to act as them is held beside it and is in no field, no repr, no pickle and no copy.

    Two identities are never equal: principals may be unknown, and equal-looking users must not share a cache entry.

    Attributes:
        principal: The user's name as the token or the platform says it; `None` where neither does (personal access
            tokens are opaque).
        host: The workspace, such as ``https://example.cloud.databricks.com``; empty for a developer until first use.
        source: Where it came from: ``"model-serving"``, ``"apps"``, ``"developer"``, ``"explicit"``, or the name of a
            registered source.
        scopes: What the token is limited to; `None` where the token does not say.
        expires_at: When the token expires, in UTC; `None` where the token does not say.
    """

    principal: str | None
    host: str
    source: str
    scopes: frozenset[str] | None
    expires_at: datetime | None

    @property
    def released(self) -> bool:
        """Return whether the request has ended, and with it the kit's hold on the user's token."""
        return self._credential is None

    @classmethod
    def from_token(
        cls, *, host: str, token: str, principal: str | None = None, source: str = "explicit"
    ) -> UserIdentity:
        """Build an identity from a workspace host and the user's token.

        The token's own claims (``sub``, ``scope`` or ``scp``, ``exp``) are read where it is a JWT. They are read to
        explain refusals and never to authorize: the workspace decides.

        Raises:
            NoUserIdentityError: Either is missing or malformed. The message never contains the token.
        """
        hidden = Hidden(token)
        del token
        return from_hidden(host=host, token=hidden, principal=principal, source=source)


def from_hidden(*, host: object, token: Hidden, source: str = "explicit", principal: str | None = None) -> UserIdentity:
    """`UserIdentity.from_token`, for a token that is in no frame's locals."""
    _check_token(token, source)
    claims = _claims(token)
    identity = UserIdentity(
        principal=principal or _text(claims.get("sub")),
        host=_checked_host(host, source),
        source=source,
        scopes=_scopes_in(claims),
        expires_at=_expiry_in(claims),
    )
    return _hold(identity, _Pinned(identity.host, token.value))


def _hold(
    identity: UserIdentity, credential: _Pinned | _Developer | None, *, process_token: bool = False
) -> UserIdentity:
    object.__setattr__(identity, "_credential", credential)
    object.__setattr__(identity, "_process_token", process_token)
    fingerprint = _fingerprint_of(credential) if isinstance(credential, _Pinned) else b""
    object.__setattr__(identity, "_fingerprint", fingerprint)
    return identity


_fingerprint_key = os.urandom(32)


def _fingerprint_of(credential: _Pinned) -> bytes:
    """Return what tells two tokens apart, in this process and its forks, when the token itself is gone."""
    return hashlib.blake2b("\n".join(credential.resolve()).encode(), key=_fingerprint_key, digest_size=16).digest()


def without_credential(identity: UserIdentity) -> UserIdentity:
    """Return a copy that says who the user was, and holds nothing to act with."""
    if identity._credential is None:
        return identity
    copy = _hold(replace(identity), None, process_token=identity._process_token)
    object.__setattr__(copy, "_fingerprint", identity._fingerprint)
    return copy


def settled(identity: UserIdentity) -> UserIdentity:
    """The same user, with all that can be known of them: a developer's credentials are looked up here, once.

    Raises:
        NoUserIdentityError: The developer has no credentials configured.
    """
    credential = identity._credential
    return credential.identity() if isinstance(credential, _Developer) else identity


def resolve(identity: UserIdentity) -> tuple[str, str]:
    """The host and the token to act with. For the client factory alone.

    Raises:
        NoUserIdentityError: The developer has no credentials configured.
    """
    credential = settled(identity)._credential
    if not isinstance(credential, _Pinned):
        raise SessionClosedError(
            "This user's request has ended, and so has the kit's right to act for them.",
            remedy="Open a session in the request that is being served, and keep no identity of another.",
        )
    return credential.resolve()


class TokenState(enum.Enum):
    """How much longer a token lasts, as it says itself. One that does not say is fresh: the workspace decides."""

    FRESH = "fresh"
    EXPIRING = "expiring"
    """It still works, and is exchanged for a new one where the runtime has one."""
    EXPIRED = "expired"


_EXPIRING = timedelta(seconds=30)


def token_state(identity: UserIdentity) -> TokenState:
    """The state of an identity's token, by this machine's clock."""
    if identity.expires_at is None:
        return TokenState.FRESH
    left = identity.expires_at - datetime.now(timezone.utc)
    if left > _EXPIRING:
        return TokenState.FRESH
    return TokenState.EXPIRING if left > timedelta() else TokenState.EXPIRED


def from_process_token(identity: UserIdentity) -> bool:
    """Was the token read from a slot that all requests of the process share (rule 4)?"""
    return identity._process_token


def same_user(one: UserIdentity, other: UserIdentity) -> bool:
    """Are both certainly the same user? An unknown principal is only ever the same token (rule 6)."""
    if one is other:
        return True
    if one.host != other.host:
        return False
    if one.principal is not None and other.principal is not None:
        return one.principal == other.principal
    return bool(one._fingerprint) and one._fingerprint == other._fingerprint


def _check_token(token: Hidden, source: str) -> None:
    if not isinstance(token.value, str) or not token.value:
        raise NoUserIdentityError(f"The user's token is missing ({source}).", remedy=_remedy_for(source))
    if _TOKEN.fullmatch(token.value) is None:
        raise NoUserIdentityError(
            f"The user's token is malformed ({source}): it holds white space or characters that no token holds.",
            remedy="Pass the token alone, without a 'Bearer ' prefix, quotes or line ends.",
        )


def _checked_host(host: object, source: str) -> str:
    origin = origin_of(host.strip()) if isinstance(host, str) else None
    if origin is None:
        raise NoUserIdentityError(
            f"There is no workspace to act in ({source}): the host is missing or malformed.",
            remedy="Pass host=…, or set DATABRICKS_HOST to the workspace's URL.",
        )
    return origin


@functools.lru_cache(maxsize=256)
def origin_of(url: str) -> str | None:
    """Scheme, host and port of a URL, spelled in one way; `None` where it has none that can be used."""
    if "://" not in url:
        url = f"https://{url}"  # DATABRICKS_HOST may come without a scheme
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _DEFAULT_PORTS and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return None
    if not usable or any(character.isspace() for character in url):
        return None
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(_DEFAULT_PORTS[parts.scheme])}"


_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _remedy_for(source: str) -> str:
    return {
        "model-serving": "Log the model with a user auth policy (obo_kit.log_model), let a workspace admin enable "
        "on-behalf-of-user authorization, and open the session inside predict.",
        "apps": "Add user_api_scopes to the app, restart it, and call it through its URL as a signed-in user.",
        "developer": "Run `databricks auth login`, or set DATABRICKS_HOST and DATABRICKS_TOKEN.",
    }.get(source, "Pass host=… and token=…, or the request's headers, of the user who asks.")


def _claims(token: Hidden) -> Mapping[str, Any]:
    """The claims of a JWT, unverified; empty for anything else."""
    parts = token.value.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _scopes_in(claims: Mapping[str, Any]) -> frozenset[str] | None:
    stated = claims.get("scope", claims.get("scp"))
    if isinstance(stated, str):
        return frozenset(stated.split())
    if isinstance(stated, list):
        return frozenset(item for item in stated if isinstance(item, str))
    return None


def _expiry_in(claims: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(claims["exp"]), timezone.utc)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def from_headers(headers: Hidden, *, host: str | None = None) -> UserIdentity:
    """The user whose token a Databricks App's proxy put in ``X-Forwarded-Access-Token``. Names are case-insensitive.

    Raises:
        NoUserIdentityError: No token, two different ones, or no host.
        TypeError: These are no headers.
    """
    source = "apps" if in_apps() else "explicit"
    tokens, emails = _forwarded(headers)
    if not tokens:
        raise NoUserIdentityError(
            "The request has no X-Forwarded-Access-Token header, so there is no user to act for.",
            remedy=_remedy_for("apps"),
        )
    if len(tokens) > 1:
        raise NoUserIdentityError(
            "The request has two different X-Forwarded-Access-Token headers.",
            remedy="Call the app through its own URL, without adding X-Forwarded-* headers on the way.",
        )
    identity = from_hidden(
        host=host or os.environ.get("DATABRICKS_HOST", ""),
        token=tokens[0],
        source=source,
    )
    if identity.principal is None and len(emails) == 1:
        # The token speaks first; the header is the proxy's word.
        object.__setattr__(identity, "principal", _text(emails[0].value))
    return identity


def _forwarded(headers: Hidden) -> tuple[list[Hidden], list[Hidden]]:
    """The different values of the token's header, and of the e-mail's."""
    found = _values_of(headers)
    if found is None:
        raise TypeError("headers= takes a mapping, or pairs, of names and values")
    return found


def _values_of(headers: Hidden) -> tuple[list[Hidden], list[Hidden]] | None:
    found: dict[str, dict[str, Hidden]] = {_TOKEN_HEADER: {}, _EMAIL_HEADER: {}}
    try:
        pairs: Iterable[Any] = headers.value.items() if hasattr(headers.value, "items") else headers.value
        for name, value in pairs:
            key = _header_text(name).lower()
            if key in found and value is not None:
                text = _header_text(value)
                found[key][text] = Hidden(text)
    except (TypeError, ValueError):
        return None
    return list(found[_TOKEN_HEADER].values()), list(found[_EMAIL_HEADER].values())


def _header_text(raw: Any) -> str:
    return raw.decode("latin-1") if isinstance(raw, bytes) else str(raw)


@runtime_checkable
class IdentitySource(Protocol):
    """A runtime that knows its user."""

    name: str

    def capture(self) -> UserIdentity | None:
        """The user of the request being served; `None` where this runtime is not present.

        Raises:
            NoUserIdentityError: The runtime is present and the user is not.
        """
        ...


def in_model_serving() -> bool:
    """Is this Databricks Model Serving? ``_MLFLOW_IS_IN_SERVING_ENVIRONMENT`` is no sign of it (rule 1)."""
    return any(
        os.environ.get(name, "").strip().lower() == "true"
        for name in ("IS_IN_DB_MODEL_SERVING_ENV", "IS_IN_DATABRICKS_MODEL_SERVING_ENV")
    )


def in_apps() -> bool:
    """Is this a Databricks App?"""
    return bool(os.environ.get("DATABRICKS_APP_NAME"))


class _ModelServing:
    name = "model-serving"

    def capture(self) -> UserIdentity | None:
        if not in_model_serving():
            return None
        from databricks_ai_bridge import ModelServingUserCredentials

        strategy = ModelServingUserCredentials()
        # The class takes the platform's variable in lower case only; in any other case it would quietly hand out the
        # ambient identity, which in an app is its service principal.
        if strategy.auth_type() != "model_serving_user_credentials":
            raise NoUserIdentityError(
                "This is Model Serving, but its official credentials class does not recognise it.",
                remedy="Leave IS_IN_DB_MODEL_SERVING_ENV as the platform sets it: the word true, in lower case.",
            )
        seen: Any = SimpleNamespace(host=None)
        try:
            token = Hidden(strategy(seen)()["Authorization"].removeprefix("Bearer "))
        except Exception as error:
            raise NoUserIdentityError(
                f"Model Serving has no user token for this request ({type(error).__name__}).",
                remedy=_remedy_for(self.name),
            ) from None
        identity = from_hidden(host=seen.host or os.environ.get("DATABRICKS_HOST", ""), token=token, source=self.name)
        # Where this module is absent, the class reads one slot that all requests of the process share (rule 4).
        shared = "mlflowserving.scoring_server.agent_utils" not in sys.modules
        return _hold(identity, identity._credential, process_token=shared)


class _Apps:
    name = "apps"

    def capture(self) -> UserIdentity | None:
        if not in_apps():
            return None
        headers = _known_headers()
        if headers is not None and (headers.value is None or _forked_inside_a_request.get()):
            raise NoUserIdentityError(
                "The request that this work was started in has ended, or is another process's: there is no user here.",
                remedy="Open the session while the request runs. Background work has no user: give it what it needs, or "
                "let it act with system authorization.",
            )
        if headers is None or not headers.value:
            raise NoUserIdentityError(
                "This is a Databricks App, and no request's headers are known here.",
                remedy="Serve with MLflow's agent server or obo_kit.integrations.asgi, or open the session with "
                "user_session(headers=…). Background work, and a durable server's resumed run, have no user.",
            )
        return from_headers(headers)


def _known_headers() -> Hidden | None:
    """The headers of the request being served; with `None` in it where that request has ended."""
    kept = REQUEST_HEADERS.get()
    if kept is not None:
        return kept
    # MLflow's agent server keeps them, too; where its module was never imported, it is not what serves.
    server = sys.modules.get("mlflow.genai.agent_server.utils")
    headers = Hidden(server.get_request_headers() if server is not None else None)
    return headers if headers.value else None


_forked_inside_a_request: ContextVar[bool] = ContextVar("obo_kit_forked_inside_a_request", default=False)


def _forked() -> None:
    # In a process pool's worker the variables of whichever request forked it stay set, whoever it works for later.
    if _known_headers() is not None:
        _forked_inside_a_request.set(True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


_BUILT_IN: tuple[IdentitySource, ...] = (_ModelServing(), _Apps())
_registered: list[IdentitySource] = []
_said_developer = False


def register_identity_source(source: IdentitySource) -> None:
    """Add a source for a runtime the kit does not know. It is asked before the built-in ones, for the whole process.

    Raises:
        TypeError: It has no ``name`` or no ``capture()``.
    """
    if not isinstance(source, IdentitySource) or not callable(source.capture) or not isinstance(source.name, str):
        raise TypeError("an identity source is an object with `name` and `capture() -> UserIdentity | None`")
    _registered.append(source)


def capture() -> UserIdentity:
    """The user of the request being served, from the runtime (rule 1).

    Raises:
        NoUserIdentityError: A runtime is present and has no user (rule 2).
    """
    for source in (*_registered, *_BUILT_IN):
        identity = source.capture()
        if identity is None:
            continue
        if not isinstance(identity, UserIdentity):
            raise NoUserIdentityError(
                f"The identity source {source.name!r} returned a {type(identity).__name__}.",
                remedy="Return UserIdentity.from_token(host=…, token=…), or None where its runtime is not present.",
            )
        return identity
    return _developer()


def _developer() -> UserIdentity:
    global _said_developer
    if not _said_developer:
        _said_developer = True
        logger.info("No Databricks runtime is present: acting with the developer's own default credentials.")
    identity = UserIdentity(principal=None, host="", source="developer", scopes=None, expires_at=None)
    return _hold(identity, _Developer())


def _developer_identity() -> UserIdentity:
    from databricks.sdk.core import Config

    try:
        # Limits of its own: the default budget for a host that does not answer is five minutes.
        config = Config(retry_timeout_seconds=1, http_timeout_seconds=5)
        header = Hidden(config.authenticate().get("Authorization", ""))
    except Exception as error:
        raise NoUserIdentityError(
            f"The developer has no usable Databricks credentials ({type(error).__name__}).",
            remedy=_remedy_for("developer"),
        ) from None
    token = Hidden(header.value[7:] if header.value[:7].lower() == "bearer " else "")
    return from_hidden(host=config.host, token=token, source="developer")
