"""Describe the user, and keep the credential to act as them apart from that description (rules 3, 4 and 8)."""

from __future__ import annotations

import enum
import functools
import hashlib
import ipaddress
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from obo_kit.exceptions import NoUserIdentityError, SessionClosedError
from obo_kit.identity._token import (
    Confidential,
    Hidden,
    Pinned,
    check_token,
    fingerprint_of,
    stated_by,
)

__all__ = ["UserIdentity"]


class Developer:
    """The developer's own default credentials. They are looked up on first use: logging a model needs none (rule 1)."""

    __slots__ = ("_identity", "_lock", "_look_up")

    def __init__(self, look_up: Callable[[], UserIdentity]) -> None:
        self._lock = threading.RLock()
        self._look_up = look_up
        self._identity: UserIdentity | None = None

    def identity(self) -> UserIdentity:
        """Return the developer, as their credentials describe them."""
        with self._lock:
            if self._identity is None:
                self._identity = self._look_up()
            return self._identity


class _Credential(Confidential):
    """Holds the credential to act as a user, apart from the fields that describe the user (rule 8)."""

    __slots__ = ("_credential", "_fingerprint", "_process_token")
    _credential: Pinned | Developer | None
    _fingerprint: bytes
    _process_token: bool

    def __copy__(self) -> Any:
        return self


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UserIdentity(_Credential):
    """The user. The credential to act as them is in no field, no repr, no pickle and no copy.

    Two identities are never equal: principals may be unknown, and users that look alike must not share a cache entry.

    Attributes:
        principal: The user's name as the token or the platform says it; `None` if neither does (personal access tokens
            are opaque).
        host: The workspace, such as ``https://example.cloud.databricks.com``; empty for a developer until first use.
        verified: True if the platform vouches for the principal, which it does where it sets the token itself (Model
            Serving, Databricks Apps). Elsewhere nobody has checked the principal that the token or a header claims: show
            it, but decide nothing by it.
        source: Where the identity came from: ``"model-serving"``, ``"apps"``, ``"developer"``, ``"explicit"``, or the
            name of a registered source.
        scopes: The scopes that limit the token; `None` if the token does not say.
        expires_at: When the token expires, in UTC; `None` if the token does not say.
    """

    principal: str | None
    host: str
    source: str
    scopes: frozenset[str] | None
    expires_at: datetime | None
    verified: bool = False

    @property
    def cache_key(self) -> str:
        """Return a key for caches that stands for the user. It holds no secret and no unverified claim.

        If the platform vouches for the principal, it is the same for each of the user's requests; otherwise it changes with
        the token. Empty for a developer until first use.
        """
        if not self._fingerprint:
            return ""
        if self.verified and self.principal:
            user = f"{self.host}\n{self.principal}"
            return f"user-{hashlib.sha256(user.encode()).hexdigest()[:32]}"
        return f"token-{self._fingerprint.hex()}"

    @property
    def released(self) -> bool:
        """Return whether the request has ended, and the kit has dropped the user's token."""
        return self._credential is None

    @classmethod
    def from_token(
        cls, *, host: str, token: str, principal: str | None = None, source: str = "explicit"
    ) -> UserIdentity:
        """Build an identity from a workspace host and the user's token.

        If the token is a JWT, its claims (``sub``, ``scope`` or ``scp``, ``exp``) are read to explain refusals, never to
        authorize: the workspace decides. Nobody has checked them, so `verified` is false.

        Raises:
            NoUserIdentityError: The host or the token is missing or malformed. The message never contains the token.
        """
        hidden = Hidden(token)
        del token
        return from_hidden(host=host, token=hidden, principal=principal, source=source)


def from_hidden(
    *, host: object, token: Hidden, source: str = "explicit", principal: str | None = None, verified: bool = False
) -> UserIdentity:
    """Build an identity as `UserIdentity.from_token` does, from a token that is in no frame's local variables."""
    check_token(token, source)
    host = _checked_host(host, source)
    fingerprint = fingerprint_of(host, token)
    stated = stated_by(token, fingerprint)
    identity = UserIdentity(
        principal=principal or stated.principal,
        host=host,
        source=source,
        scopes=stated.scopes,
        expires_at=stated.expires_at,
        verified=verified,
    )
    return give(identity, Pinned(host, token.value), fingerprint=fingerprint)


def give(
    identity: UserIdentity,
    credential: Pinned | Developer | None,
    *,
    fingerprint: bytes = b"",
    process_token: bool = False,
) -> UserIdentity:
    """Attach the credential that an identity holds beside its fields."""
    object.__setattr__(identity, "_credential", credential)
    object.__setattr__(identity, "_process_token", process_token)
    object.__setattr__(identity, "_fingerprint", fingerprint)
    return identity


def of_process_token(identity: UserIdentity) -> UserIdentity:
    """Mark an identity whose token came from a slot that all requests of the process share (rule 4)."""
    object.__setattr__(identity, "_process_token", True)
    return identity


def drop_credential(identity: UserIdentity) -> None:
    """Take the credential from an identity for good."""
    object.__setattr__(identity, "_credential", None)


def without_credential(identity: UserIdentity) -> UserIdentity:
    """Return a copy that describes the user, and holds no credential."""
    if identity._credential is None:
        return identity
    return give(replace(identity), None, fingerprint=identity._fingerprint, process_token=identity._process_token)


def settled(identity: UserIdentity) -> UserIdentity:
    """Return the same user with everything that can be known. A developer's credentials are looked up here, once.

    Raises:
        NoUserIdentityError: The developer has no credentials configured.
    """
    credential = identity._credential
    return credential.identity() if isinstance(credential, Developer) else identity


def resolve(identity: UserIdentity) -> tuple[str, str]:
    """Return the host and the token to act with. Only the client factory may call it.

    Raises:
        NoUserIdentityError: The developer has no credentials configured.
    """
    credential = settled(identity)._credential
    if not isinstance(credential, Pinned):
        raise SessionClosedError(
            "This user's request has ended, so the kit may no longer act for them.",
            remedy="Open a session in each request, and keep no identity from an earlier one.",
        )
    return credential.resolve()


class TokenState(enum.Enum):
    """The state of a token, by its own claim. A token without an expiry is fresh: the workspace decides."""

    FRESH = "fresh"
    EXPIRING = "expiring"
    """It still works, and the kit asks the runtime for a new one."""
    EXPIRED = "expired"


_EXPIRING = timedelta(seconds=30)
LEEWAY = timedelta(seconds=30)
"""The tolerated difference between the clocks of this machine and the workspace."""


def time_left(identity: UserIdentity) -> timedelta:
    """Return how long an identity's token lasts by this machine's clock; the maximum if the token does not say."""
    return identity.expires_at - datetime.now(timezone.utc) if identity.expires_at is not None else timedelta.max


def token_state(identity: UserIdentity) -> TokenState:
    """Return the state of an identity's token, by this machine's clock."""
    left = time_left(identity)
    if left > _EXPIRING:
        return TokenState.FRESH
    return TokenState.EXPIRING if left > timedelta() else TokenState.EXPIRED


def from_process_token(identity: UserIdentity) -> bool:
    """Return whether the token was read from a slot that all requests of the process share (rule 4)."""
    return identity._process_token


def same_token(first: UserIdentity, second: UserIdentity) -> bool:
    """Return whether both hold the very same token for the same host. Unverified claims do not count (rule 6)."""
    return first is second or (bool(first._fingerprint) and first._fingerprint == second._fingerprint)


def same_user(first: UserIdentity, second: UserIdentity) -> bool:
    """Return whether both are the same user, as far as their runtime vouches. An unknown principal equals only its token."""
    if same_token(first, second):
        return True
    if first.host != second.host or first.source != second.source:
        return False
    return first.principal is not None and first.principal == second.principal


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
    """Return a URL's scheme, host and port in one spelling; `None` if it has none that can be used."""
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


@functools.lru_cache(maxsize=64)
def _is_private(host: str) -> bool:
    """Return whether nobody on the way can read what goes to a host."""
    parts = urlsplit(host)
    name = parts.hostname or ""
    if parts.scheme == "https" or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_private(host: str) -> None:
    """Refuse a workspace whose address gives everybody on the way the user's token (rule 8).

    Raises:
        NoUserIdentityError: It is plain ``http://``, and not on loopback.
    """
    if not _is_private(host):
        raise NoUserIdentityError(
            f"{host} is plain http: anybody on the network could read the user's token.",
            remedy="Write the workspace's URL with https://.",
        )


_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
