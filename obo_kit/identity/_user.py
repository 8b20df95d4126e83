"""Who the user is, and how to act as them, apart from the fields that describe them (rules 3, 4 and 8)."""

from __future__ import annotations

import enum
import functools
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from obo_kit.exceptions import NoUserIdentityError, SessionClosedError
from obo_kit.identity._token import (
    Confidential,
    Hidden,
    Pinned,
    check_token,
    claims_of,
    expiry_in,
    fingerprint_of,
    scopes_in,
    text_in,
)

__all__ = ["UserIdentity"]


class Developer:
    """The developer's own default credentials, looked up on first use: logging a model must work without any (rule 1)."""

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
    """Holds how to act as a user, apart from the fields that describe the user (rule 8)."""

    __slots__ = ("_credential", "_fingerprint", "_process_token")
    _credential: Pinned | Developer | None
    _fingerprint: bytes
    _process_token: bool

    def __copy__(self) -> Any:
        return self


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UserIdentity(_Credential):
    """Who the user is. How to act as them is held beside it and is in no field, no repr, no pickle and no copy.

    Two identities are never equal: principals may be unknown, and equal-looking users must not share a cache entry.

    Attributes:
        principal: The user's name as the token or the platform says it; `None` where neither does (personal access
            tokens are opaque).
        host: The workspace, such as ``https://example.cloud.databricks.com``; empty for a developer until first use.
        verified: Does the platform vouch for the principal? It does where it put the token there itself (Model Serving,
            Databricks Apps). Elsewhere the principal is what the token or a header claims, which nobody has checked: show
            it, and let it decide nothing.
        source: Where it came from: ``"model-serving"``, ``"apps"``, ``"developer"``, ``"explicit"``, or the name of a
            registered source.
        scopes: What the token is limited to; `None` where the token does not say.
        expires_at: When the token expires, in UTC; `None` where the token does not say.
        cache_key: What stands for the user in a cache's key: no secret, and no claim that nobody verified. Where the platform
            vouches for the principal, it is the same for each of the user's requests; elsewhere it changes with the token.
            Empty for a developer until first use.
    """

    principal: str | None
    host: str
    source: str
    scopes: frozenset[str] | None
    expires_at: datetime | None
    verified: bool = False
    cache_key: str = field(default="", repr=False)

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
        explain refusals and never to authorize: the workspace decides. Nobody has checked them: `verified` is false.

        Raises:
            NoUserIdentityError: Either is missing or malformed. The message never contains the token.
        """
        hidden = Hidden(token)
        del token
        return from_hidden(host=host, token=hidden, principal=principal, source=source)


def from_hidden(
    *, host: object, token: Hidden, source: str = "explicit", principal: str | None = None, verified: bool = False
) -> UserIdentity:
    """`UserIdentity.from_token`, for a token that is in no frame's locals."""
    check_token(token, source)
    claims = claims_of(token)
    identity = UserIdentity(
        principal=principal or text_in(claims.get("sub")),
        host=_checked_host(host, source),
        source=source,
        scopes=scopes_in(claims),
        expires_at=expiry_in(claims),
        verified=verified,
    )
    return give(identity, Pinned(identity.host, token.value), fingerprint=fingerprint_of(identity.host, token))


def give(
    identity: UserIdentity,
    credential: Pinned | Developer | None,
    *,
    fingerprint: bytes = b"",
    process_token: bool = False,
) -> UserIdentity:
    """Set what an identity holds beside its fields."""
    object.__setattr__(identity, "_credential", credential)
    object.__setattr__(identity, "_process_token", process_token)
    object.__setattr__(identity, "_fingerprint", fingerprint)
    if fingerprint and not identity.cache_key:
        object.__setattr__(identity, "cache_key", _cache_key(identity))
    return identity


def of_process_token(identity: UserIdentity) -> UserIdentity:
    """Mark an identity whose token came from a slot that all requests of the process share (rule 4)."""
    object.__setattr__(identity, "_process_token", True)
    return identity


def without_credential(identity: UserIdentity) -> UserIdentity:
    """Return a copy that says who the user was, and holds nothing to act with."""
    if identity._credential is None:
        return identity
    return give(replace(identity), None, fingerprint=identity._fingerprint, process_token=identity._process_token)


def settled(identity: UserIdentity) -> UserIdentity:
    """The same user, with all that can be known of them: a developer's credentials are looked up here, once.

    Raises:
        NoUserIdentityError: The developer has no credentials configured.
    """
    credential = identity._credential
    return credential.identity() if isinstance(credential, Developer) else identity


def resolve(identity: UserIdentity) -> tuple[str, str]:
    """The host and the token to act with. For the client factory alone.

    Raises:
        NoUserIdentityError: The developer has no credentials configured.
    """
    credential = settled(identity)._credential
    if not isinstance(credential, Pinned):
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
LEEWAY = timedelta(seconds=30)
"""By how much the clocks of this machine and the workspace may differ."""


def time_left(identity: UserIdentity) -> timedelta:
    """Return how long an identity's token lasts by this machine's clock; for ever where it does not say."""
    return identity.expires_at - datetime.now(timezone.utc) if identity.expires_at is not None else timedelta.max


def token_state(identity: UserIdentity) -> TokenState:
    """Return the state of an identity's token, by this machine's clock."""
    left = time_left(identity)
    if left > _EXPIRING:
        return TokenState.FRESH
    return TokenState.EXPIRING if left > timedelta() else TokenState.EXPIRED


def from_process_token(identity: UserIdentity) -> bool:
    """Was the token read from a slot that all requests of the process share (rule 4)?"""
    return identity._process_token


def same_token(first: UserIdentity, second: UserIdentity) -> bool:
    """Do both act with the very same token, on the same host? Claims that nobody verified are not asked (rule 6)."""
    return first is second or (bool(first._fingerprint) and first._fingerprint == second._fingerprint)


def same_user(first: UserIdentity, second: UserIdentity) -> bool:
    """Are both the same user, as far as their runtime vouches for them? An unknown principal is only ever the same token."""
    if same_token(first, second):
        return True
    if first.host != second.host or first.source != second.source:
        return False
    return first.principal is not None and first.principal == second.principal


def _cache_key(identity: UserIdentity) -> str:
    if identity.verified and identity.principal:
        user = f"{identity.host}\n{identity.principal}"
        return f"user-{hashlib.sha256(user.encode()).hexdigest()[:32]}"
    return f"token-{identity._fingerprint.hex()}"


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
