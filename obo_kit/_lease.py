"""What every client holds of its session: whether it may still act, and as whom (rules 4 and 5)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

from obo_kit._context import current_call
from obo_kit._errors import NoUserIdentityError, SessionClosedError
from obo_kit.identity import resolve

if TYPE_CHECKING:
    from obo_kit.identity import UserIdentity

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

TOOL_HEADER = "X-Obo-Kit-Tool"
"""Names the tool that asks, to `obo_kit.testing`'s log. Sent to loopback alone: the platform has no use for it."""

_LOOPBACK = "127.0.0.1"

_process = object()


def _forked() -> None:
    # A session belongs to the process that opened it: a forked worker serves others (facts: hazards B5).
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Lease:
    """Shared by a session and all of its clients; ends with the session."""

    __slots__ = ("_closed", "_identity", "_process", "limits")

    def __init__(self, identity: UserIdentity | None, limits: Limits) -> None:
        self._identity = identity
        self._closed = False
        self._process = _process
        self.limits = limits

    @property
    def closed(self) -> bool:
        return self._closed or self._process is not _process

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
        """
        self.check()
        if self._identity is None:
            raise NoUserIdentityError(
                "This session was opened without a user (required=False), so there is nobody to act for.",
                remedy="Call the agent as a signed-in user, or keep tools that act for the user out of this request.",
            )
        return resolve(self._identity)

    def header(self) -> dict[str, str]:
        """The headers to authenticate one request with. A workspace on loopback is also told which tool is asking."""
        host, token = self.credentials()
        headers = {"Authorization": f"Bearer {token}"}
        if (call := current_call()) is not None and urlsplit(host).hostname == _LOOPBACK:
            headers[TOOL_HEADER] = quote(call.tool)
        return headers

    def close(self) -> None:
        self._closed = True
        self._identity = None

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        raise TypeError("a session's clients hold a user's credential and cannot be pickled or copied")
