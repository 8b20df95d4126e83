"""The session and the tool call that a piece of running code belongs to."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from obo_kit.context._calls import Evidence, ToolCall
    from obo_kit.scopes._model import Target

__all__: list[str] = []


@dataclass(kw_only=True, slots=True)
class SessionUser:
    """A session's user, as far as the explanation of a refusal needs it. Holds no token.

    Attributes:
        principal: The user's name, if it is known.
        host: The workspace; empty for a developer until first use.
        scopes: The scopes that limit the token; `None` if it does not say.
        runs_in: Tells where the agent runs: ``"model-serving"`` or ``"apps"``. Only a few remedies ask.
    """

    principal: str | None
    host: str
    scopes: frozenset[str] | None
    runs_in: Callable[[], Target]


class Session(Protocol):
    """A session, as far as this package needs to know it."""

    @property
    def closed(self) -> bool:
        """Return whether its request has ended."""
        ...

    @property
    def user(self) -> SessionUser | None:
        """Return the user as the current token describes them; `None` in a session without a user."""
        ...

    @property
    def evidence(self) -> Evidence:
        """Return what the session's clients saw on the wire outside any tool call."""
        ...

    def _owns(self, lease: object) -> bool:
        """Check whether a lease belongs to this session, or to the very same token."""
        ...


S = TypeVar("S")


class Frame:
    """The session and the tool call of the running code."""

    __slots__ = ("call", "session")

    def __init__(self, session: Session | None, call: ToolCall | None) -> None:
        self.session = session
        self.call = call

    @property
    def suspended(self) -> bool:
        """Return whether a suspended stream set it, and left it to the code that consumes the stream."""
        return False

    def session_as(self, kind: type[S]) -> S | None:
        """Return the session, open or ended, as an instance of the caller's type."""
        return self.session if isinstance(self.session, kind) else None


FRAME: ContextVar[Frame | None] = ContextVar("obo_kit_frame", default=None)


def current_call() -> ToolCall | None:
    """Return the current tool call, if there is one."""
    frame = FRAME.get()
    return frame.call if frame is not None else None


def current_evidence() -> Evidence | None:
    """Return the record for what comes over the wire: the current tool call's, else the session's."""
    frame = FRAME.get()
    if frame is None:
        return None
    if frame.call is not None:
        return frame.call.evidence
    return frame.session.evidence if frame.session is not None else None


def open_session(kind: type[S], frame: Frame | None = None) -> S | None:
    """Return the open session of the running code, as an instance of the caller's type.

    A closed session never counts, wherever its context was copied to (rule 6).

    Args:
        kind: The caller's type.
        frame: The frame of the running code, if the caller has it.
    """
    if frame is None:
        frame = FRAME.get()
    if frame is None or (session := frame.session) is None or session.closed:
        return None
    return session if type(session) is kind and type(frame) is Frame else frame.session_as(kind)


def ended_session(kind: type[S]) -> S | None:
    """Return the session that this work was started in, if it has ended since, or belongs to another process."""
    frame = FRAME.get()
    if frame is None or frame.session is None or not frame.session.closed:
        return None
    return frame.session_as(kind)
