"""The timeline of an agent's answer: the requests that the workspace saw, and the outcome of each tool."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from obo_kit.context._frame import open_session
from obo_kit.instrumentation._events import on_call
from obo_kit.scopes._lookup import catalogue, route_for
from obo_kit.session._session import UserSession

if TYPE_CHECKING:
    from obo_kit.context._calls import ToolCall
    from obo_kit.instrumentation._events import ToolEvent
    from obo_kit.testing.server._log import RequestLog, RequestRecord

__all__ = ["Timeline"]

Line = dict[str, Any]


class Timeline:
    """Passes requests and outcomes to the users who are asking at the moment. Thread-safe; ``close`` ends it.

    A user asks one question at a time. What the agent sends as itself goes to all who are asking.
    """

    def __init__(self, log: RequestLog, name_of: Callable[[str], str]) -> None:
        self._name_of = name_of
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._sinks: dict[str, Callable[[Line], object]] = {}
        log.listen(self._request)
        self.close = on_call(self._event)

    @contextlib.contextmanager
    def of(self, user: str, sink: Callable[[Line], object]) -> Iterator[None]:
        """Pass a user's requests and outcomes to a function in the block. Waits until the user's last question is answered."""
        with self._lock:
            turn = self._turns.setdefault(user, threading.Lock())
        with turn:
            self._sinks[user] = sink
            try:
                yield
            finally:
                del self._sinks[user]

    def _request(self, record: RequestRecord) -> None:
        line = {"type": "request", **record.as_dict(), "grants": _grants(record)}
        for user, sink in list(self._sinks.items()):
            if record.kind != "user" or record.user == user:
                sink(line)

    def _event(self, event: ToolEvent, call: ToolCall) -> None:
        denial = getattr(call.observer, "denial", None)
        line: Line = {"type": "tool", "tool": event.tool, "outcome": event.outcome, "error": event.error}
        if denial is not None:
            line |= {
                "reason": denial.reason.value,
                "missing": list(denial.scopes),
                "resource": denial.resource,
                "detail": denial.detail,
                "remedy": denial.remedy,
            }
        session = open_session(UserSession)
        principal = session.user.principal if session is not None and session.user is not None else None
        who = self._name_of(principal) if principal else None
        for user, sink in list(self._sinks.items()):
            if who in (None, user):
                sink(line)


def _grants(record: RequestRecord) -> list[str]:
    """Return the grants that a user needs for a request, in the catalogue's words."""
    route = route_for(record.method, record.path)
    kind = catalogue().kinds.get(route.kind) if route is not None and route.kind is not None else None
    return [f"{grant.privilege} on {grant.on}" for grant in kind.grants] if kind is not None else []
