"""Tell every client of a session whether it may still act, and as which user (rules 4 and 5)."""

from __future__ import annotations

import os
import time
from _thread import RLock
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from obo_kit.exceptions import NoUserIdentityError, SessionClosedError, TokenExpiredError
from obo_kit.identity._token import Confidential
from obo_kit.identity._user import (
    LEEWAY,
    TokenState,
    check_private,
    drop_credential,
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
        connect: The time to open a connection.
        read: The time until the next bytes of an answer. Keep it long: a model takes its time to write. An outage shows
            while connecting.
        retry: The total time that the SDK retries transient failures.
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

_PATIENCE = 5.0  # seconds between two attempts to renew a token that still lasts
_process = object()


def _forked() -> None:
    # A session belongs to the process that opened it: a forked worker serves other requests.
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Lease(Confidential):
    """Shared by a session and all of its clients. Ends with the session.

    Args:
        identity: The user; `None` for a session without one.
        limits: How long the session's clients wait.
        again: Captures the user again once the token has expired; `None` if no runtime can be asked.
    """

    __slots__ = (
        "_again",
        "_asked_at",
        "_asking",
        "_identity",
        "_open_in",
        "_opened_as",
        "_process",
        "alone",
        "limits",
        "narrowing",
        "nobody",
    )

    def __init__(
        self,
        identity: UserIdentity | None,
        limits: Limits,
        again: Callable[[], UserIdentity] | None = None,
    ) -> None:
        self._identity = identity
        self._opened_as = identity
        self._again = again
        self._asking = RLock()  # reentrant: a finalizer may ask while this thread asks
        self._asked_at = float("-inf")
        self.alone = False
        """Whether nobody else has the identity, as a source may. Then its credential is dropped in its place."""
        self._process = self._open_in = _process  # no longer open in any process once it is closed
        self.limits = limits
        self.nobody: tuple[str, str] = (
            "This session was opened without a user.",
            "Call the agent as a signed-in user.",
        )
        """The reason why the session has no user, and what to do. Read only if it has none."""
        self.narrowing: Any = None
        """The tool call that these clients belong to; `None` for clients that no tool received."""

    def narrowed(self, call: Any) -> Lease:
        """Return this lease for the clients of one tool. They stay narrowed to that tool wherever they are used (rule 23)."""
        return _Narrowed(self, call)

    @property
    def closed(self) -> bool:
        return self._open_in is not _process

    @property
    def foreign(self) -> bool:
        """Return whether this process is another one than the process that opened the session."""
        return self._process is not _process

    @property
    def identity(self) -> UserIdentity | None:
        """Return the user as the newest token describes them; `None` without a user. Its credential ends with the session."""
        return self._identity

    def has_token_of(self, identity: UserIdentity) -> bool:
        """Return whether an identity holds the token that the session was opened with, or the one that it has now."""
        return any(same_token(own, identity) for own in (self._identity, self._opened_as) if own is not None)

    def check_entry(self) -> None:
        """Refuse an expired token before any work is done, unless the runtime has a new one.

        Clocks differ, so a token that expired only just now passes here. It is renewed or refused at its first use.

        Raises:
            TokenExpiredError: The token has expired.
            NoUserIdentityError: The workspace is reached by plain ``http://``.
        """
        identity = self._identity
        if identity is not None and identity.host:
            check_private(identity.host)
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
        """Return the host and the token.

        Raises:
            SessionClosedError: The session has ended.
            NoUserIdentityError: The session was opened without a user.
            TokenExpiredError: The token has expired, and the runtime has no new one of the same user.
        """
        self.check()
        identity = self._identity
        if identity is None:
            message, remedy = self.nobody
            raise NoUserIdentityError(message, remedy=remedy)
        if identity.released:
            self.check()  # raises: the session ended just now
        if not identity.host:
            identity = self._identity = settled(identity)  # a developer is looked up on first use
        if token_state(identity) is not TokenState.FRESH:
            identity = self._renewed(identity)
        return resolve(identity)

    def host(self) -> str:
        """Return the host alone: a token that is unpacked beside it stays in the frame, for crash reporters (rule 8).

        Raises:
            SessionClosedError: As `credentials` does, with its other errors.
        """
        return self.credentials()[0]

    def _renewed(self, identity: UserIdentity) -> UserIdentity:
        """Return the same user with a new token. While the old one still lasts, return it if there is no new one (rule 4)."""
        with self._asking:
            self.check()
            if self._identity is not identity and self._identity is not None:
                identity = self._identity  # another thread has renewed it
            state = token_state(identity)
            if state is TokenState.FRESH:
                return identity
            if state is TokenState.EXPIRING and time.monotonic() - self._asked_at < _PATIENCE:
                return identity
            self._asked_at = time.monotonic()
            renewed, refusal = self._asked(identity)
            self.check()  # the session may have ended meanwhile
            if renewed is not None:
                self._identity = renewed
                if self.closed:
                    self.close()
                return renewed
        if token_state(identity) is not TokenState.EXPIRED:
            return identity
        raise TokenExpiredError(
            f"The user's token has expired, so nothing was sent: {refusal}.",
            remedy="Ask the user to reload the page and ask again: an open page keeps the token that it was opened with. "
            "Split work that takes longer than a token lasts into several requests.",
        )

    def _asked(self, identity: UserIdentity) -> tuple[UserIdentity | None, str]:
        if self._again is None:
            return None, "the code passed it, so no runtime can renew it"
        try:
            renewed = settled(self._again())
        except Exception as error:
            # Leave the cause out: a runtime's exception may hold the token that it was about to return (rule 8).
            return None, f"the runtime has no new one ({type(error).__name__})"
        if not same_user(renewed, identity):
            return None, "the runtime has a new one, which may be another user's"
        if renewed.source == "explicit" and not same_token(renewed, identity):
            return None, "nobody vouches for the user that the new one names"
        if token_state(renewed) is TokenState.EXPIRED:
            return None, "the runtime has no newer one"
        return renewed, ""

    def cache_key(self) -> str:
        """Return a key for caches that stands for the user.

        Raises:
            NoUserIdentityError: There is no user, or a developer has no credentials.
            SessionClosedError: The session has ended.
        """
        self.credentials()  # a developer is looked up on first use
        identity = self.identity
        assert identity is not None
        return identity.cache_key

    def close(self) -> None:
        """End the lease and drop the token. Closing it twice does nothing."""
        self._open_in = None
        opened_as, identity = self._opened_as, self._identity
        if self.alone and opened_as is identity and identity is not None:
            drop_credential(identity)
            return
        if identity is not None:
            self._identity = without_credential(identity)
        if opened_as is identity:
            self._opened_as = self._identity
        elif opened_as is not None:
            self._opened_as = without_credential(opened_as)


class _Narrowed(Lease):
    """A lease whose clients belong to one tool. It shares everything else with the session's lease."""

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
    """Return the lease of a client that the kit built, of a client made from its configuration, or of the configuration.

    Other objects have none: `None`.
    """
    lease = getattr(getattr(client, "config", client), "_lease", None)
    return lease if isinstance(lease, Lease) else None


def lease_behind(config: object) -> Lease | None:
    """Return the lease of a configuration, or of the token that was copied into it from a session's."""
    return lease_of(config) or lease_of(getattr(config, "token", None))


class LeasedToken(str):
    """A token that another package copies, and that still knows its lease. Pickling and copying it gives plain text.

    A package that keeps it writes it into the headers of each request. There it is the user's current token, and after the
    session an error.
    """

    __slots__ = ("_check", "_lease", "_scheme")
    _check: Callable[[Lease], None]
    _lease: Lease
    _scheme: str

    def __new__(
        cls, lease: Lease, check: Callable[[Lease], None], *, text: str | None = None, scheme: str = ""
    ) -> LeasedToken:
        """Build it.

        Args:
            lease: Whose token it is.
            check: Refuses to give the token away, if the running code may not have it.
            text: What it says of itself, if that is not the token.
            scheme: The words before the token, for the value of a header.
        """
        token = super().__new__(cls, scheme + lease.credentials()[1] if text is None else text)
        token._lease, token._check, token._scheme = lease, check, scheme
        return token

    def _current(self) -> str:
        self._check(self._lease)
        return self._scheme + self._lease.credentials()[1]

    def __str__(self) -> str:
        self._check(self._lease)
        return self  # the SDK makes a text of whatever its configuration is given

    def __format__(self, spec: str) -> str:
        return format(self._current(), spec)

    def __radd__(self, before: str) -> str:
        return before + self._current()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self._current().encode(encoding, errors)

    def __reduce_ex__(self, protocol: Any, /) -> tuple[Any, ...]:
        return str, (str.__str__(self),)


class MaskedToken(LeasedToken):
    """The same, without the token as its text: only what writes it into headers gets the token."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Leased(Confidential):
    """Acts as a user, and cannot be pickled or deep-copied (rule 8).

    Streamlit's cache makes its keys of what an object reduces to, so it tells users apart by `__reduce__`.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        lease = lease_of(self)
        if lease is None:
            self.__reduce_ex__(4)
        return str, (lease.cache_key(),)
