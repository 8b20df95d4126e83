"""What every client holds of its session: whether it may still act, and as whom (rules 4 and 5)."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from obo_kit.exceptions import NoUserIdentityError, SessionClosedError, TokenExpiredError
from obo_kit.identity._token import Confidential
from obo_kit.identity._user import (
    LEEWAY,
    TokenState,
    resolve,
    same_token,
    same_user,
    settled,
    time_left,
    token_state,
    without_credential,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from obo_kit.identity._user import UserIdentity

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long a session's clients wait, in seconds (rule 11).

    Attributes:
        connect: For a connection.
        read: For the next bytes of an answer. An answer may take its time (a model writes it), so this is not a bound on
            outages: those show when connecting.
        retry: In all, for the SDK's own retries of what is transient.
    """

    connect: float = 2.0
    read: float = 60.0
    retry: float = 4.0

    def __post_init__(self) -> None:
        for name in ("connect", "read", "retry"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise ValueError(f"{name} takes a positive number of seconds, not {value!r}")


DEFAULT_LIMITS = Limits()

_PATIENCE = 5.0  # seconds between two questions for a new token while the old one still lasts
_process = object()


def _forked() -> None:
    # A session belongs to the process that opened it: a forked worker serves others.
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Lease(Confidential):
    """Shared by a session and all of its clients; ends with the session.

    Args:
        identity: Who the user is; `None` for a session without one.
        limits: How long the session's clients wait.
        again: Asks for the user again, once the token has expired; `None` where nobody can be asked.
    """

    __slots__ = (
        "_again",
        "_asked_at",
        "_asking",
        "_closed",
        "_identity",
        "_opened_as",
        "_process",
        "limits",
        "narrowing",
    )

    def __init__(
        self, identity: UserIdentity | None, limits: Limits, again: Callable[[], UserIdentity] | None = None
    ) -> None:
        self._identity = identity
        self._opened_as = identity
        self._again = again
        self._asking = threading.RLock()  # a finalizer may ask while this thread asks
        self._asked_at = float("-inf")
        self._closed = False
        self._process = _process
        self.limits = limits
        self.narrowing: Any = None
        """The call of the tool whose clients these are; `None` for clients that no tool was handed."""

    def narrowed(self, call: Any) -> Lease:
        """Return this lease for the clients of one tool: they stay narrowed to it, wherever they are used (rule 23)."""
        return _Narrowed(self, call)

    @property
    def closed(self) -> bool:
        return self._closed or self._process is not _process

    @property
    def foreign(self) -> bool:
        """Is this another process than the one that opened the session?"""
        return self._process is not _process

    @property
    def identity(self) -> UserIdentity | None:
        """Who the user is, with what the newest token says; `None` without one. The credential goes when the session ends."""
        return self._identity

    def has_token_of(self, identity: UserIdentity) -> bool:
        """Is this the very token that the session was opened with, or has now?"""
        return any(same_token(own, identity) for own in (self._identity, self._opened_as) if own is not None)

    def check_entry(self) -> None:
        """Refuse a token that has expired before anything is done for it, unless the runtime has a new one.

        Clocks differ: one that looks just expired is refused at its first use, and may be renewed until then.

        Raises:
            TokenExpiredError: It has.
        """
        identity = self._identity
        if identity is not None and time_left(identity) <= -LEEWAY:
            self._renewed(identity)

    def check(self) -> None:
        """Raise `SessionClosedError` once the session has ended."""
        if self.closed:
            raise SessionClosedError(
                "This client belongs to a request that has ended, so nothing was sent.",
                remedy="Get the client inside each request (with_user_client), and keep none on self, in a global or "
                "in a cache.",
            )

    def credentials(self) -> tuple[str, str]:
        """The host and the token.

        Raises:
            SessionClosedError: The session has ended.
            NoUserIdentityError: The session was opened without a user.
            TokenExpiredError: The token has expired, and there is no new one of the same user's.
        """
        self.check()
        identity = self._identity
        if identity is None:
            raise NoUserIdentityError(
                "This session was opened without a user (required=False), so there is nobody to act for.",
                remedy="Call the agent as a signed-in user, or keep tools that act for the user out of this request.",
            )
        if identity.released:
            self.check()  # raises: it ended just now
        if not identity.host:
            identity = self._identity = settled(identity)  # a developer, who is looked up on first use
        if token_state(identity) is not TokenState.FRESH:
            identity = self._renewed(identity)
        return resolve(identity)

    def _renewed(self, identity: UserIdentity) -> UserIdentity:
        """The same user with a new token; with the old one, where there is no new one and it still lasts (rule 4)."""
        with self._asking:
            self.check()
            if self._identity is not identity and self._identity is not None:
                identity = self._identity  # another thread has asked
            state = token_state(identity)
            if state is TokenState.FRESH:
                return identity
            if state is TokenState.EXPIRING and time.monotonic() - self._asked_at < _PATIENCE:
                return identity
            self._asked_at = time.monotonic()
            found, refusal = self._asked(identity)
            self.check()  # it may have ended meanwhile
            if found is not None:
                self._identity = found
                if self._closed:
                    self.close()
                return found
        if token_state(identity) is not TokenState.EXPIRED:
            return identity
        raise TokenExpiredError(
            f"The user's token has expired, so nothing was sent: {refusal}.",
            remedy="Let the user reload the page and ask again: an open page keeps the token it was opened with. Work that "
            "takes longer than a token lasts goes in several requests.",
        )

    def _asked(self, identity: UserIdentity) -> tuple[UserIdentity | None, str]:
        if self._again is None:
            return None, "it was named explicitly, and cannot be renewed"
        try:
            found = settled(self._again())
        except Exception as error:
            # Not its cause: what a runtime raises may hold what it was about to hand over (rule 8).
            return None, f"the runtime has no new one ({type(error).__name__})"
        if not same_user(found, identity):
            return None, "the runtime has one, and it is not certainly the same user's"
        if found.source == "explicit" and not same_token(found, identity):
            return None, "only its own claims say whose the new one is, and nobody vouches for them"
        if token_state(found) is TokenState.EXPIRED:
            return None, "the runtime has no newer one"
        return found, ""

    def cache_key(self) -> str:
        """Return what stands for the user in a cache's key.

        Raises:
            NoUserIdentityError: There is no user, or a developer has no credentials.
            SessionClosedError: The session has ended.
        """
        self.credentials()  # a developer is looked up on first use
        identity = self.identity
        assert identity is not None
        return identity.cache_key

    def header(self) -> dict[str, str]:
        """The header to authenticate one request with."""
        return {"Authorization": f"Bearer {self.credentials()[1]}"}

    def close(self) -> None:
        """End it, and let the token go. Closing twice does nothing."""
        self._closed = True
        opened_as, identity = self._opened_as, self._identity
        if identity is not None:
            self._identity = without_credential(identity)
        if opened_as is identity:
            self._opened_as = self._identity
        elif opened_as is not None:
            self._opened_as = without_credential(opened_as)


class _Narrowed(Lease):
    """A lease whose clients are one tool's. All else is the session's."""

    __slots__ = ("_lease",)

    def __init__(self, lease: Lease, call: Any) -> None:
        self._lease = lease
        self.limits = lease.limits
        self.narrowing = call

    @property
    def closed(self) -> bool:
        return self._lease.closed

    @property
    def foreign(self) -> bool:
        return self._lease.foreign

    @property
    def identity(self) -> UserIdentity | None:
        return self._lease.identity

    @property
    def session_lease(self) -> Lease:
        return self._lease

    def credentials(self) -> tuple[str, str]:
        return self._lease.credentials()

    def close(self) -> None:
        self._lease.close()


def lease_of(client: object) -> Lease | None:
    """Return the lease of a client that the kit built, of a client made from its configuration, or of the configuration;
    `None` for others."""
    lease = getattr(getattr(client, "config", client), "_lease", None)
    return lease if isinstance(lease, Lease) else None


class LeasedToken(str):
    """A token that a package copies, and that still says whose lease it is of. Pickled and copied it is a text."""

    __slots__ = ("_lease",)
    _lease: Lease

    def __new__(cls, lease: Lease) -> LeasedToken:
        token = super().__new__(cls, lease.credentials()[1])
        token._lease = lease
        return token

    def __reduce_ex__(self, protocol: Any, /) -> tuple[Any, ...]:
        return str, (str(self),)


class Leased(Confidential):
    """Acts as a user, and refuses to be pickled and deep-copied (rule 8).

    A cache that makes its keys of what an object reduces to (Streamlit's) tells users apart by it.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        lease = lease_of(self)
        if lease is None:
            self.__reduce_ex__(4)
        return str, (lease.cache_key(),)
