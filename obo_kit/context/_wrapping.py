"""Bind the current session and tool call to functions of every kind.

The frame is set around each *step* of the code that it belongs to, and never across a ``yield``. A variable that is set
across a ``yield`` leaks into the code that consumes the stream.
"""

from __future__ import annotations

import inspect
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from obo_kit._upstream.errors import is_failure
from obo_kit._utils.collector import apart
from obo_kit.context._frame import FRAME, Frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator

__all__: list[str] = []


class _Reraise:
    """Marks that an exception is to be raised unchanged."""


RERAISE = _Reraise()


class Run:
    """One run of a bound function, from its first step to its last. Subclasses define what happens at either end."""

    __slots__ = ("frame",)

    def __init__(self) -> None:
        self.frame: Frame | None = None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Set `frame`, and return the arguments to call the function with."""
        raise NotImplementedError

    def recover(self, error: BaseException) -> Any:
        """Return a value in place of the exception, or `RERAISE`."""
        del error
        return RERAISE

    def interrupted(self, error: BaseException) -> None:
        """Record that the code was cancelled, or that its consumer left."""

    def inspect(self, value: Any) -> Any:
        """Return the value to pass on in place of the function's result."""
        return value

    def end(self) -> None:
        """End the run. Called exactly once, whatever happened."""


def _recovered(run: Run, error: BaseException) -> Any:
    if is_failure(error):
        return run.recover(error)
    run.interrupted(error)
    return RERAISE


def _steps(run: Run, inner: Any) -> Generator[Any, Any, Any]:
    """Drive a generator, or the iterator of an awaitable, with the run's frame bound around each step."""
    resume, payload = inner.send, None
    while True:
        token = FRAME.set(run.frame)
        try:
            item = resume(payload)
        except StopIteration as stop:
            return stop.value
        finally:
            FRAME.reset(token)
        try:
            payload = yield item
            resume = inner.send
        except GeneratorExit:
            apart(_close, run, inner)
            raise
        except BaseException as error:
            resume, payload = inner.throw, error


def _close(run: Run, inner: Any) -> None:
    token = FRAME.set(run.frame)
    try:
        inner.close()
    finally:
        FRAME.reset(token)


_await_steps = types.coroutine(_steps)

_Open = Callable[[Run, "tuple[Any, ...]", "dict[str, Any]"], Any]
_Start = Callable[[], Run]


def _as_generator(open_: _Open, start: _Start) -> Callable[..., Generator[Any, Any, Any]]:
    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        run = start()
        try:
            return (yield from _steps(run, open_(run, args, kwargs)))
        except BaseException as error:
            value = _recovered(run, error)
            if value is RERAISE:
                raise
            yield value
        finally:
            apart(run.end)

    return generator


def _as_coroutine(open_: _Open, start: _Start) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        run = start()
        lasting = False
        try:
            result = await _await_steps(run, open_(run, args, kwargs).__await__())
            if type(result) in _LASTING:
                lasting = True
                return _hand_over(run, result)
            return run.inspect(result)
        except BaseException as error:
            value = _recovered(run, error)
            if value is RERAISE:
                raise
            return value
        finally:
            if not lasting:
                apart(run.end)

    return coroutine


def _as_async_generator(open_: _Open, start: _Start) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = start()
        try:
            inner = open_(run, args, kwargs)
            step = inner.asend(None)
            while True:
                try:
                    item = await _await_steps(run, step.__await__())
                except StopAsyncIteration:
                    return
                try:
                    step = inner.asend((yield item))
                except GeneratorExit:
                    await _await_steps(run, inner.aclose().__await__())
                    raise
                except BaseException as error:
                    step = inner.athrow(error)
        except BaseException as error:
            value = _recovered(run, error)
            if value is RERAISE:
                raise
            yield value
        finally:
            apart(run.end)

    return async_generator


def _as_function(called: Callable[..., Any], start: _Start) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        run = start()
        lasting = False
        try:
            args, kwargs = run.begin(args, kwargs)
            token = FRAME.set(run.frame)
            try:
                result = called(*args, **kwargs)
            finally:
                FRAME.reset(token)
            if type(result) in _LASTING:
                lasting = True
                return _hand_over(run, result)
            return run.inspect(result)
        except BaseException as error:
            value = _recovered(run, error)
            if value is RERAISE:
                raise
            return value
        finally:
            if not lasting:
                run.end()

    return function


_LASTING: dict[type, Callable[[_Open, _Start], Callable[..., Any]]] = {
    types.GeneratorType: _as_generator,
    types.CoroutineType: _as_coroutine,
    types.AsyncGeneratorType: _as_async_generator,
}


def _hand_over(run: Run, result: Any) -> Any:
    """Let a run last as long as the generator or coroutine that its function returned."""
    steps = _LASTING[type(result)](lambda *_: result, lambda: run)()
    # A generator that is dropped before its first step never reaches its `finally`.
    weakref.finalize(steps, apart, run.end).atexit = False
    return steps


def _kind_of(fn: Callable[..., Any]) -> Callable[[_Open, _Start], Callable[..., Any]] | None:
    """Return the wrapper for a function that goes on after it has returned; `None` for a plain function."""
    if inspect.isasyncgenfunction(fn):
        return _as_async_generator
    if inspect.iscoroutinefunction(fn):
        return _as_coroutine
    return _as_generator if inspect.isgeneratorfunction(fn) else None


_ANY_KIND = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE


def bound(fn: Callable[..., Any], start: _Start, inner: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Wrap a function so that each call is a `Run`. The wrapper is of the same kind; the metadata is not copied.

    ``inner`` is called in the function's place and returns what it would return. A plain function may return a generator, a
    coroutine or an async generator (MLflow's own wrappers do). The run then lasts until that has ended.
    """

    called = inner or fn
    plain = type(fn) is types.FunctionType and not fn.__dict__ and not fn.__code__.co_flags & _ANY_KIND
    make = _kind_of(fn) if not plain else None  # nothing marks it as another kind
    if make is None:
        return _as_function(called, start)

    def begin(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = run.begin(args, kwargs)
        return called(*args, **kwargs)

    return make(begin, start)
