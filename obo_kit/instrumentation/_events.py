"""Report the outcome of tool calls to hooks and MLflow spans (rule 25). Nothing here holds a secret or a user's text.

`on_event` reports each tool call. `on_request` reports each request, for the kit's own parts.
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
``retried``: an attempt failed for a passing reason, and another attempt follows. Only ``retried`` is not final."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolEvent:
    """The outcome of one tool call, or of one attempt. Safe to print, to count and to send away.

    Attributes:
        outcome: See `Outcome`.
        tool: The tool's name.
        reason: Why it was denied; `None` for other outcomes.
        scopes: The scopes that the tool declares, sorted.
        missing: The missing scopes, sorted; empty unless they are the reason.
        attempts: The number of attempts so far, including this one.
        seconds: The time since the call began, including waits.
        status: The HTTP status of the denial, if there was one.
        error: The class of the exception, for ``denied``, ``failed`` and ``retried``. Its text stays with the exception.
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
    """The registered hooks, in the order of registration. Read without a lock."""

    def __init__(self) -> None:
        self.all: tuple[_Teller, ...] = ()
        self._lock = threading.RLock()

    def add(self, hook: _Teller) -> Callable[[], None]:
        """Add a hook, and return a function that removes it."""
        with self._lock:
            self.all = (*self.all, hook)

        def remove() -> None:
            with self._lock:
                self.all = tuple(other for other in self.all if other is not hook)

        return remove


_hooks: _Hooks[Callable[[ToolEvent, ToolCall], object]] = _Hooks()
RequestHook = Callable[[str, str, "ToolCall | str | None"], object]
"""Takes a request's method and path, and the tool that makes it: its call, only its name, or `None`."""
_requests: _Hooks[RequestHook] = _Hooks()


def on_event(hook: Hook, /) -> Callable[[], None]:
    """Call a function for every event of this process: to count, to log, to raise an alarm.

    The function is called where the tool runs, in its thread and context, so keep it quick. If it raises, the error is
    logged and never reaches the tool.

    Args:
        hook: Takes a `ToolEvent`. Its result is ignored.

    Returns:
        A function that removes the hook.

    Raises:
        TypeError: The hook is not callable.
    """
    if not callable(hook):
        raise TypeError(f"on_event takes a function, not a {type(hook).__name__}")
    return on_call(lambda event, _: hook(event))  # a new object, so that the same hook may be registered twice


def on_call(hook: Callable[[ToolEvent, ToolCall], object]) -> Callable[[], None]:
    """Register a hook as `on_event` does; this hook also takes the tool call itself."""
    return _hooks.add(hook)


def on_request(hook: RequestHook) -> Callable[[], None]:
    """Call a function for every request that is made for a user.

    The kit's clients report a request before it leaves, even if the guard then stops it. A local workspace of this process
    reports it when it arrives, from whatever client; it knows the tool's name at most.

    Returns:
        A function that removes the hook.
    """
    return _requests.add(hook)


def tell_of_request(method: str, path: str, tool: ToolCall | str | None) -> None:
    """Report a request to the hooks."""
    for hook in _requests.all:
        hook(method, path, tool)


@contextlib.contextmanager
def capture_events() -> Iterator[list[ToolEvent]]:
    """Collect the events of a block, for tests::

        with capture_events() as events:
            tool()
        assert [event.outcome for event in events] == ["allowed"]

    It covers the whole process, threads included.
    """
    events: list[ToolEvent] = []
    remove = on_event(events.append)
    try:
        yield events
    finally:
        remove()


class Watch:
    """Watches one tool call, if anything listens: see `watch`."""

    __slots__ = ("_call", "_own", "_span", "_started", "denial", "error")

    def __init__(self, call: ToolCall, span: Any, own: bool) -> None:
        self._call = call
        self._span = span
        self._own = own
        self._started = time.monotonic()
        self.denial: Denial | None = None
        self.error: BaseException | None = None

    def retried(self, error: BaseException) -> None:
        """Report a failed attempt that another attempt follows."""
        self._tell(self._event("retried", error))

    def end(self) -> None:
        """Report the outcome of the call."""
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
    """Begin to watch a call; return `None` if nothing listens."""
    if not _hooks.all and "mlflow" not in sys.modules:
        return None
    span, own = _span_of(call.tool) if _in_a_span() else (None, False)
    return Watch(call, span, own) if _hooks.all or span is not None else None


# --- MLflow --------------------------------------------------------------------------------------------------------------


def _in_a_span() -> bool:
    # Runs at every call, and MLflow answers slowly. OpenTelemetry keeps the active span in a variable of this name.
    if "mlflow" in sys.modules:
        for variable in copy_context():
            if variable.name == "current_context":
                return True
    return False


def _span_of(tool: str) -> tuple[Any, bool]:
    """Return the tool's span, and whether it was started here: the active span if it is the tool's own, else a new child."""
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
    attributes: dict[str, Any] = {
        "obo.tool": event.tool,
        "obo.outcome": event.outcome,
        "obo.denial_reason": event.reason.value if event.reason is not None else None,
        "obo.scopes": list(event.scopes),
        "obo.missing_scopes": list(event.missing) or None,
        "obo.attempts": event.attempts,
    }
    return {name: value for name, value in attributes.items() if value is not None}


@contextlib.contextmanager
def _unharmed() -> Iterator[None]:
    """Suppress errors of tracing: they must not fail a tool."""
    try:
        yield
    except Exception:
        logger.debug("MLflow's span could not be written", exc_info=True)
