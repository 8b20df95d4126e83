"""Work that a task takes from a queue, where another request put it (rules 6 and 7).

A task that a request starts keeps the request's context, and may be a worker that serves other requests, too. What it takes
from an `asyncio.Queue` belongs to the request that put it there: if that is another one, the task has no user until it takes an
item of its own request. Only the author's own code counts: libraries keep connections in queues, which belong to nobody.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from obo_kit._upstream.patches import queues
from obo_kit._utils.user_code import is_library
from obo_kit.context._frame import FRAME, Frame, Session, SessionUser
from obo_kit.session._session import UserSession, running_task

if TYPE_CHECKING:
    from obo_kit.context._calls import Evidence

__all__: list[str] = []

S = TypeVar("S")

_is_library = functools.lru_cache(maxsize=1024)(is_library)


class _Worker:
    """The session of a task that takes work from a queue: in force, or not while the work is another request's."""

    __slots__ = ("others", "session")

    def __init__(self, session: UserSession, others: bool) -> None:
        self.session = session
        self.others = others

    @property
    def closed(self) -> bool:
        return self.session.closed

    @property
    def user(self) -> SessionUser | None:
        return None if self.others else self.session.user

    @property
    def evidence(self) -> Evidence:
        return self.session.evidence

    def _owns(self, lease: object) -> bool:
        return not self.others and self.session._owns(lease)


class _WorkerFrame(Frame):
    __slots__ = ()

    def session_as(self, kind: type[S]) -> S | None:
        worker = self.session
        if not isinstance(worker, _Worker) or worker.others:
            return None
        return worker.session if isinstance(worker.session, kind) else None


def does_others_work() -> bool:
    """Return whether this task was started in one request, and took work from a queue that another request put there."""
    frame = FRAME.get()
    return isinstance(frame, _WorkerFrame) and isinstance(frame.session, _Worker) and frame.session.others


def watch_queues() -> None:
    """Make the queues of `asyncio` remember which session put an item there."""
    module = sys.modules.get(queues.MODULE)
    if module is not None:
        queues.patch(module, _putter, _taking)


def _putter() -> Any:
    frame = FRAME.get()
    if frame is None or frame.session is None:
        return None
    session: Session = frame.session
    if isinstance(session, _Worker):
        return _OTHERS if session.others else weakref.ref(session.session)
    return weakref.ref(session)


def _OTHERS() -> None:
    """Stand for the session of work that a worker hands on: it is not the worker's own."""


def _taking(taker: FrameType) -> Callable[[Any], None] | None:
    """Prepare a task that a session started, and that is not the session's own, for an item of another session."""
    frame = FRAME.get()
    if frame is None or type(frame) not in (Frame, _WorkerFrame):
        return None
    session = frame.session
    others = isinstance(session, _Worker) and session.others
    if isinstance(session, _Worker):
        session = session.session
    if not isinstance(session, UserSession) or session.closed or _is_library(taker.f_code.co_filename):
        return None
    task = running_task()
    if task is None or (session._task is not None and session._task() is task):
        return None
    worker = _Worker(session, others)
    FRAME.set(_WorkerFrame(worker, frame.call))
    return functools.partial(_taken, worker)


def _taken(worker: _Worker, putter: Any) -> None:
    if putter is None:
        return  # no session put it there
    session = putter()
    worker.others = session is not worker.session and not (
        isinstance(session, UserSession) and worker.session._owns(session._lease)
    )
