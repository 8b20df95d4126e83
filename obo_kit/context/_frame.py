"""The session and the tool call in force around a piece of running code."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from obo_kit.context._calls import Evidence, ToolCall
    from obo_kit.scopes._model import Target

__all__: list[str] = []


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionUser:
    """A session's user, as far as the explanation of a refusal needs it. Holds no token.

    Attributes:
        principal: The user's name, where it is known.
        host: The workspace; empty for a developer until first use.
        scopes: What the token is limited to; `None` where it does not say.
        target: Where the agent runs: ``"model-serving"`` or ``"apps"``.
    """

    principal: str | None
    host: str
    scopes: frozenset[str] | None
    target: Target


class Session(Protocol):
    """A session, as far as this room needs to know it."""

    @property
    def closed(self) -> bool:
        """Check whether its request has ended."""
        ...

    @property
    def user(self) -> SessionUser | None:
        """Return the user, as the token in force describes them; `None` in a session without one."""
        ...

    @property
    def evidence(self) -> Evidence:
        """Return what the session's clients saw on the wire where no tool's call was running."""
        ...

    def _owns(self, lease: object) -> bool:
        """Check whether a lease is the session's, or of the very same token."""
        ...


S = TypeVar("S")


class Frame:
    """The session and the tool call in force."""

    __slots__ = ("call", "session")

    def __init__(self, session: Session | None, call: ToolCall | None) -> None:
        self.session = session
        self.call = call

    @property
    def suspended(self) -> bool:
        """Check whether it was set by a stream that is suspended now, and left to whoever consumes the stream."""
        return False

    def session_as(self, kind: type[S]) -> S | None:
        """Return the session, open or ended, in the type that the caller knows it by."""
        return self.session if isinstance(self.session, kind) else None


FRAME: ContextVar[Frame | None] = ContextVar("obo_kit_frame", default=None)


def current_call() -> ToolCall | None:
    """Return the tool call in force, if any."""
    frame = FRAME.get()
    return frame.call if frame is not None else None


def current_evidence() -> Evidence | None:
    """Return where to record what comes over the wire: at the tool call in force, else at its session."""
    frame = FRAME.get()
    if frame is None:
        return None
    if frame.call is not None:
        return frame.call.evidence
    return frame.session.evidence if frame.session is not None else None


def open_session(kind: type[S]) -> S | None:
    """Return the session in force, in the type that the caller knows it by.

    One that is closed never counts, wherever its context was copied to (rule 6).
    """
    frame = FRAME.get()
    if frame is None or frame.session is None or frame.session.closed:
        return None
    return frame.session_as(kind)


def ended_session(kind: type[S]) -> S | None:
    """Return the session that was in force where this was started, if it has ended since, or is another process's."""
    frame = FRAME.get()
    if frame is None or frame.session is None or not frame.session.closed:
        return None
    return frame.session_as(kind)
