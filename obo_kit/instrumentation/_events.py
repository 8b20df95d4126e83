"""Tell what becomes of tools to hooks and to MLflow's spans (rule 25). Holds no secret, and nothing a user wrote.

`on_request` is for the kit's own parts: it tells of each request, where `on_event` tells of each call of a tool.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from obo_kit.context._calls import ToolCall
    from obo_kit.exceptions import Denial, DenialReason

__all__ = ["Outcome", "ToolEvent", "capture_events", "on_event"]

logger = logging.getLogger(__name__)
Outcome = Literal["allowed", "denied", "retried", "failed"]
"""``allowed``: the tool ran to its end. ``denied``: it was refused, forgiven or not. ``failed``: it raised something else.
``retried``: an attempt failed for a reason that passes, and another follows; it is the only one that is not the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolEvent:
    """Hold what became of one call of a tool, or of one attempt. Safe to print, to count and to send away.

    Attributes:
        outcome: See `Outcome`.
        tool: The tool's name.
        reason: Why it was denied; `None` for other outcomes.
        scopes: What the tool declares, sorted.
        missing: The scopes that were missing, sorted; empty unless that is the reason.
        attempts: How many there were so far, this one included.
        seconds: Since the call began, waiting included.
        status: The HTTP status of the denial, where there was one.
        error: The class of the exception, for ``denied``, ``failed`` and ``retried``; its text stays with the exception.
    """

    outcome: Outcome
    tool: str
    reason: DenialReason | None = None
    scopes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    attempts: int = 1
    seconds: float = 0.0
    status: int | None = None
    error: str | None = None


Hook = Callable[[ToolEvent], object]
_Teller = TypeVar("_Teller", bound=Callable[..., object])


class _Hooks(Generic[_Teller]):
    """Functions to be told, in the order in which they came. Read without a lock."""

    def __init__(self) -> None:
        self.all: tuple[_Teller, ...] = ()
        self._lock = threading.RLock()

    def add(self, hook: _Teller) -> Callable[[], None]:
        """Add one, and return a function that takes it away again."""
        with self._lock:
            self.all = (*self.all, hook)

        def remove() -> None:
            with self._lock:
                self.all = tuple(one for one in self.all if one is not hook)

        return remove


_hooks: _Hooks[Callable[[ToolEvent, ToolCall], object]] = _Hooks()
RequestHook = Callable[[str, str, "ToolCall | str | None"], object]
"""Takes a request's method and path, and the tool that makes it: its call, or its name alone, or `None`."""
_requests: _Hooks[RequestHook] = _Hooks()


def on_event(hook: Hook, /) -> Callable[[], None]:
    """Have a function told of every event of this process: to count, to log, to raise an alarm.

    It is called where the tool runs, in its thread and context, so it should be quick. What it raises is logged, and never
    reaches the tool.

    Args:
        hook: Takes a `ToolEvent`. Its result is ignored.

    Returns:
        A function that takes the hook away again.

    Raises:
        TypeError: The hook cannot be called.
    """
    if not callable(hook):
        raise TypeError(f"on_event takes a function, not a {type(hook).__name__}")
    return on_call(lambda event, _: hook(event))  # told apart from the same hook, registered twice


def on_call(hook: Callable[[ToolEvent, ToolCall], object]) -> Callable[[], None]:
    """`on_event`, for a hook that wants the call itself as well."""
    return _hooks.add(hook)


def on_request(hook: RequestHook) -> Callable[[], None]:
    """Have a function told of every request made for a user.

    Told by the kit's clients before the request leaves, also where the guard then stops it; and by a local workspace of
    this process when it arrives, whatever client it came from: that one knows the tool's name, at most.

    Returns:
        A function that takes the hook away again.
    """
    return _requests.add(hook)


def tell_of_request(method: str, path: str, tool: ToolCall | str | None) -> None:
    """Tell the hooks of a request."""
    for hook in _requests.all:
        hook(method, path, tool)


@contextlib.contextmanager
def capture_events() -> Iterator[list[ToolEvent]]:
    """Collect the events of a block, for tests::

        with capture_events() as events:
            tool()
        assert [event.outcome for event in events] == ["allowed"]

    It sees the whole process, threads included.
    """
    events: list[ToolEvent] = []
    remove = on_event(events.append)
    try:
        yield events
    finally:
        remove()


class Watch:
    """Watches one call of a tool, where anybody is interested: see `watch`."""

    __slots__ = ("_call", "_own", "_span", "_started", "denial", "error")

    def __init__(self, call: ToolCall, span: Any, own: bool) -> None:
        self._call = call
        self._span = span
        self._own = own
        self._started = time.monotonic()
        self.denial: Denial | None = None
        self.error: BaseException | None = None

    def retried(self, error: BaseException) -> None:
        """Tell of an attempt that another follows."""
        self._tell(self._event("retried", error))

    def end(self) -> None:
        """Tell what became of the call."""
        outcome: Outcome = "denied" if self.denial is not None else "failed" if self.error is not None else "allowed"
        event = self._event(outcome, self.error)
        self._tell(event)
        if self._span is not None:
            with _unharmed():
                self._span.set_attributes(_attributes(event))
                if self._own:
                    self._span.end(status="ERROR" if outcome == "failed" else "OK")

    def _tell(self, event: ToolEvent) -> None:
        for hook in _hooks.all:
            try:
                hook(event, self._call)
            except Exception:
                logger.exception("A hook failed at the event %s of %s", event.outcome, event.tool)

    def _event(self, outcome: Outcome, error: BaseException | None) -> ToolEvent:
        call, denial = self._call, self.denial
        return ToolEvent(
            outcome=outcome,
            tool=call.tool,
            reason=denial.reason if denial is not None else None,
            scopes=call.declared.scopes if call.declared is not None else (),
            missing=denial.scopes if denial is not None else (),
            attempts=call.attempts,
            seconds=time.monotonic() - self._started,
            status=denial.status if denial is not None else None,
            error=type(error).__name__ if error is not None else None,
        )


def watch(call: ToolCall) -> Watch | None:
    """Begin to watch a call; `None` where nobody is interested."""
    span, own = _span_of(call.tool) if _in_a_span() else (None, False)
    return Watch(call, span, own) if _hooks.all or span is not None else None


# --- MLflow --------------------------------------------------------------------------------------------------------------


def _in_a_span() -> bool:
    # Asked at every call, and MLflow takes its time to answer: OpenTelemetry keeps what is active in a variable of this name.
    if "mlflow" in sys.modules:
        for variable in copy_context():
            if variable.name == "current_context":
                return True
    return False


def _span_of(tool: str) -> tuple[Any, bool]:
    """The tool's span, and whether it was begun here: the active one where it is the tool's own, else a child of it."""
    with _unharmed():
        mlflow = sys.modules["mlflow"]
        active = mlflow.get_current_active_span()
        if active is None:
            return None, False
        if active.get_attribute("obo.tool") is None and (active.name == tool or active.span_type == "TOOL"):
            active.set_attribute("obo.tool", tool)
            return active, False
        return mlflow.start_span_no_context(tool, span_type="TOOL", parent_span=active), True
    return None, False


def _attributes(event: ToolEvent) -> dict[str, Any]:
    found: dict[str, Any] = {
        "obo.tool": event.tool,
        "obo.outcome": event.outcome,
        "obo.denial_reason": event.reason.value if event.reason is not None else None,
        "obo.scopes": list(event.scopes),
        "obo.missing_scopes": list(event.missing) or None,
        "obo.attempts": event.attempts,
    }
    return {name: value for name, value in found.items() if value is not None}


@contextlib.contextmanager
def _unharmed() -> Iterator[None]:
    """Tracing that fails is no reason for a tool to fail."""
    try:
        yield
    except Exception:
        logger.debug("MLflow's span could not be written", exc_info=True)
