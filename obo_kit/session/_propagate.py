"""`propagate`: carry the session into threads that do not inherit context, per function or per pool."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar, cast

from obo_kit.context._frame import FRAME, Frame, ended_session
from obo_kit.context._wrapping import Run, bound
from obo_kit.exceptions import IdentityMismatchError, SessionClosedError
from obo_kit.session._opening import current_session, session_of_request
from obo_kit.session._session import UserSession

__all__ = ["propagate"]

T = TypeVar("T", bound="Callable[..., Any] | Executor")

_CARRIES = "__obo_carries__"


def propagate(target: T, /) -> T:
    """Carry the current session into a thread that does not inherit context.

    Pass a function where a session is open: ``pool.submit(propagate(search), question)``. Your own threads,
    ``ThreadPoolExecutor`` and ``run_in_executor`` need it. ``asyncio.to_thread`` and tasks do not.

    Pass a thread pool once: everything that is submitted to it runs in the session that it was submitted in, or in none. If a
    framework submits tools to a pool of its own, pass the class, which stands for every pool of the process::

        from concurrent.futures import ThreadPoolExecutor

        obo_kit.propagate(ThreadPoolExecutor)  # when the process starts

    A worker carries nothing over from one piece of work to the next, whichever request started its thread. Work that runs
    after its request has ended has no user: its tools are refused, and everything else goes on.

    Args:
        target: A function, a thread pool, or a class of thread pools.

    Returns:
        For a function, one that runs in the session. For a pool or a class, the target itself.

    Raises:
        NoUserSessionError: The target is a function, and no session is open to bind it to.
        SessionClosedError: The function runs after the session has ended.
        TypeError: The target is a pool of processes: a session cannot leave its process.
    """
    carrier: Any = target
    kind: type = carrier if isinstance(carrier, type) else type(carrier)
    if issubclass(kind, Executor):
        _carry_what_is_submitted(carrier, kind)
        return target
    session = current_session()
    frame = FRAME.get()
    carried = Frame(session, frame.call if frame is not None else None)
    return cast("T", functools.wraps(carrier)(bound(carrier, lambda: _Carried(carried))))


class _Carried(Run):
    __slots__ = ("_carried",)

    def __init__(self, carried: Frame) -> None:
        super().__init__()
        self._carried = carried

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        session = self._carried.session
        if session is None or session.closed:
            raise SessionClosedError(
                "This work was carried out of a request that has ended.",
                remedy="Wait for it before the request ends. Work that outlives a request has no user.",
            )
        self.frame = self._carried
        return args, kwargs


# --- pools ----------------------------------------------------------------------------------------------------------------


def _carry_what_is_submitted(pool: Any, kind: type) -> None:
    """Make a pool, or every pool of a class, run each function in the session that it was submitted in."""
    if kind is Executor or any(base.__name__ == "ProcessPoolExecutor" for base in kind.__mro__):
        raise TypeError(
            f"propagate takes a thread pool, not {kind.__name__}: a session cannot leave its process. Fix: submit to a "
            "ThreadPoolExecutor, or pass the data that the work needs"
        )
    submit: Callable[..., Future[Any]] = pool.submit
    if getattr(submit, _CARRIES, False):
        return

    @functools.wraps(submit)
    def carrying(*args: Any, **kwargs: Any) -> Future[Any]:
        place = 1 if isinstance(pool, type) else 0  # the function's position, after the pool itself
        return submit(*args[:place], _run_in, _frame_here(), *args[place:], **kwargs)

    setattr(carrying, _CARRIES, True)
    pool.submit = carrying


def _run_in(frame: Frame | None, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    # Set it even if it is None: the worker's thread was started in another request's context.
    token = FRAME.set(frame)
    try:
        return fn(*args, **kwargs)
    finally:
        FRAME.reset(token)


def _frame_here() -> Frame | None:
    """Return the frame of the current session, or of one that has ended; `None` if it is unclear whose request this is."""
    try:
        session = session_of_request()
    except IdentityMismatchError:
        return None
    frame = FRAME.get()
    if session is not None:
        return Frame(session, frame.call if frame is not None else None)
    return frame if ended_session(UserSession) is not None else None
