"""Try a tool again if the last attempt failed for a passing reason (rule 19)."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
import types
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a
from obo_kit._upstream.errors import MAX_DEPTH, leaves_of, method_of, status_of
from obo_kit.context._frame import FRAME

if TYPE_CHECKING:
    import tenacity

    from obo_kit.context._calls import Outage, ToolCall

__all__: list[str] = []

logger = logging.getLogger(__name__)
_ATTEMPTS = 3
_SECONDS = 10.0
_LONGEST_WAIT = 60.0
Seconds = float


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """When a tool is tried again."""

    policy: tenacity.Retrying
    idempotent: bool


def retry_of(retry: object, *, idempotent: bool) -> Retry | None:
    """Read the author's ``retry=``.

    Raises:
        TypeError: It is none of the values that ``retry=`` takes.
        ValueError: It would never end.
    """
    if retry is False:
        if idempotent:
            raise TypeError("optional_tool(idempotent=True) needs retry=…: nothing is repeated without it")
        return None
    import tenacity

    if retry is True:
        retry = _ATTEMPTS
    if isinstance(retry, int):
        if retry < 2:
            raise ValueError(
                f"optional_tool(retry={retry}) must be a number of attempts, the first included: 2 or more"
            )
        stop = tenacity.stop_after_attempt(retry) | tenacity.stop_after_delay(_SECONDS)
        wait = tenacity.wait_random_exponential(multiplier=0.5, max=4)
        retry = tenacity.Retrying(stop=stop, wait=wait)
    if not isinstance(retry, tenacity.Retrying):
        raise TypeError(
            "optional_tool(retry=…) takes True, a number of attempts or a tenacity.Retrying, which serves coroutines too; "
            f"not {type(retry).__name__}"
        )
    if retry.stop is tenacity.stop_never:
        raise ValueError("optional_tool(retry=Retrying(…)) would never end: give it stop=")
    return Retry(policy=retry, idempotent=idempotent)


class _Attempts:
    """The attempts of one call: each with the seconds to wait before it."""

    def __init__(self, retry: Retry) -> None:
        frame = FRAME.get()
        assert frame is not None
        assert frame.call is not None
        self._retry = retry
        self._call: ToolCall = frame.call
        self._pause: Seconds = 0.0
        self._waits: dict[int, Seconds] = {}
        self._mark()

    def __iter__(self) -> Iterator[tuple[Seconds, tenacity.AttemptManager]]:
        """Yield as many attempts as the policy allows, then raise the last one's failure."""
        attempts = self._retry.policy.copy(
            retry=self._retries,
            wait=self._wait,
            stop=self._stops,
            sleep=functools.partial(setattr, self, "_pause"),
            before_sleep=self._go_on,
            reraise=True,
            retry_error_callback=None,
        )
        for attempt in attempts:
            yield self._pause, attempt

    def _mark(self) -> None:
        evidence = self._call.evidence
        self._outages, self._effects = len(evidence.outages), evidence.effects
        self._began = time.monotonic()

    def _retries(self, state: tenacity.RetryCallState) -> bool:
        return self._may_repeat(_error_of(state)) and bool(self._retry.policy.retry(state))

    def _wait(self, state: tenacity.RetryCallState) -> Seconds:
        """Return how long to wait. A policy with random waits is asked only once for each attempt."""
        seconds = self._waits.get(state.attempt_number)
        if seconds is None:
            seconds = max(float(self._retry.policy.wait(state)), self._stated_by(_error_of(state)))
            self._waits[state.attempt_number] = seconds
        return seconds

    def _stops(self, state: tenacity.RetryCallState) -> bool:
        """Ask the policy about the moment at which the next attempt would end, if it lasts as long as this one."""
        error = _error_of(state)
        # tenacity does not call `_retries` for a tool that raises TryAgain.
        if not self._may_repeat(error) or self._stated_by(error) > _LONGEST_WAIT:
            return True
        now, seconds = time.monotonic(), self._wait(state)
        state.upcoming_sleep = seconds
        state.outcome_timestamp = now + seconds + (now - self._began)
        return bool(self._retry.policy.stop(state))

    def _stated_by(self, error: BaseException | None) -> Seconds:
        stated = [outage.retry_after or 0.0 for outage in self._new_outages()[-1:]]
        return (stated[0] if stated else 0.0) or _stated_wait(error)

    def _new_outages(self) -> list[Outage]:
        return self._call.evidence.outages[self._outages :]

    def _may_repeat(self, error: BaseException | None) -> bool:
        if not isinstance(error, Exception) or not is_passing(error):
            return False
        if self._retry.idempotent:
            return True
        if self._call.evidence.effects != self._effects:
            return False
        # A request that the kit's clients did not see may have had an effect, unless the exception names it as a read.
        return bool(self._new_outages()) or _only_read(error)

    def _go_on(self, state: tenacity.RetryCallState) -> None:
        call, error, seconds = self._call, _error_of(state), self._wait(state)
        what = ", ".join(f"{outage.method} {outage.path}: {outage.what}" for outage in self._new_outages()[-1:])
        logger.warning(
            "%s: attempt %d failed (%s); again in %.1f s",
            call.tool,
            call.attempts,
            what or type(error).__name__,
            seconds,
        )
        if call.observer is not None and error is not None:
            call.observer.retried(error)
        if self._retry.policy.before_sleep is not None:
            self._retry.policy.before_sleep(state)
        call.attempts += 1
        self._mark()
        self._began += seconds


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def is_passing(error: BaseException | None, depth: int = 0) -> bool:
    """Check whether an exception is a passing failure: too many requests, no service, no connection, no answer in time.

    A group is one if all of its exceptions are.
    """
    if error is None or depth > MAX_DEPTH:
        return False
    if is_a(error, *_PASSING):
        return not is_a(error, *_LASTING_ERRORS)
    status = status_of(error)
    if status is not None:
        return status in (429, 503)
    leaves = leaves_of(error)
    if leaves:
        return all(is_passing(leaf, depth + 1) for leaf in leaves)
    if isinstance(error, ConnectionError):
        return True
    return is_passing(error.__cause__, depth + 1)


_PASSING = (
    classes.SDK_TOO_MANY_REQUESTS,
    classes.SDK_UNAVAILABLE,
    *classes.REQUESTS_PASSING,
    classes.OPENAI_CONNECTION_ERROR,
    *classes.HTTPX_PASSING,
)
_LASTING_ERRORS = (*classes.REQUESTS_LASTING, classes.HTTPX_LASTING)


def _only_read(error: BaseException | None, depth: int = 0) -> bool:
    """Check whether the requests that an exception names, of whichever client, have no effect."""
    if error is None or depth > MAX_DEPTH:
        return False
    method = method_of(error)
    if method is not None:
        return method in ("GET", "HEAD")
    leaves = leaves_of(error)
    if leaves:
        return all(_only_read(leaf, depth + 1) for leaf in leaves)
    return _only_read(error.__cause__, depth + 1)


def _stated_wait(error: BaseException | None, depth: int = 0) -> Seconds:
    """Return the wait that the platform asked for, as an exception states it."""
    if error is None or depth > MAX_DEPTH:
        return 0.0
    stated = getattr(error, "retry_after_secs", None)
    if isinstance(stated, (int, float)):
        return float(stated)
    headers = getattr(getattr(error, "response", None), "headers", None)
    text = str(headers.get("retry-after") or "") if headers is not None else ""
    if text.isdigit():
        return float(text)
    return max((_stated_wait(cause, depth + 1) for cause in (*leaves_of(error), error.__cause__)), default=0.0)


def tell_what_was_tried(call: ToolCall, error: BaseException) -> None:
    """Report what a tool had tried when it failed without an answer, in the log and on the exception."""
    outages = call.evidence.outages
    if not outages or not is_passing(error):
        return
    tried = (
        f"{call.tool}: {call.attempts} attempt{'s' * (call.attempts > 1)}, {len(outages)} failed requests; the last "
    )
    tried += f"was {outages[-1].method} {outages[-1].path}: {outages[-1].what}"
    if call.outer is None:  # a tool that calls this one would report it again
        logger.warning("%s", tried)
    add_note = getattr(error, "add_note", None)  # since Python 3.11
    if add_note is not None:
        add_note(f"obo_kit tried {tried}")


def retrying(fn: Callable[..., Any], retry: Retry) -> Callable[..., Any]:
    """Call a function again if its last attempt allows it. The result is of the kind that the function returns.

    It runs inside the frame of the tool's call. A stream is tried again until it has given its first item.
    """
    if inspect.isasyncgenfunction(fn):
        kind: Callable[..., Any] = _async_stream
    elif inspect.iscoroutinefunction(fn):
        kind = _awaited
    else:
        kind = _stream if inspect.isgeneratorfunction(fn) else _called
    return lambda *args, **kwargs: kind(lambda: fn(*args, **kwargs), retry)


_Open = Callable[[], Any]


def _called(open_: _Open, retry: Retry) -> Any:
    result: Any = None
    for pause, attempt in _Attempts(retry):
        time.sleep(pause)
        with attempt:
            result = open_()
            break
    lasting = _LASTING.get(type(result))
    if lasting is None:
        return result
    begun = [result]
    return lasting(lambda: begun.pop() if begun else open_(), retry)


async def _awaited(open_: _Open, retry: Retry) -> Any:
    result: Any = None
    for pause, attempt in _Attempts(retry):
        if pause:
            await asyncio.sleep(pause)
        with attempt:
            result = await open_()
            break
    return result


def _stream(open_: _Open, retry: Retry) -> Generator[Any, Any, Any]:
    first: Any = None
    steps: Any = None
    for pause, attempt in _Attempts(retry):
        time.sleep(pause)
        with attempt:
            steps = open_()
            try:
                first = next(steps)
            except StopIteration as stop:
                return stop.value
            break
    return (yield from _Begun(first, steps))


class _Begun(Generator[Any, Any, Any]):
    """A generator whose first item was already taken, and comes first again."""

    def __init__(self, first: Any, steps: Generator[Any, Any, Any]) -> None:
        self._first = [first]
        self._steps = steps

    def send(self, value: Any) -> Any:
        return self._first.pop() if self._first else self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        return self._steps.throw(*error)

    def close(self) -> None:
        self._steps.close()


async def _async_stream(open_: _Open, retry: Retry) -> AsyncGenerator[Any, Any]:
    item: Any = None
    steps: Any = None
    for pause, attempt in _Attempts(retry):
        if pause:
            await asyncio.sleep(pause)
        with attempt:
            steps = open_()
            try:
                item = await anext(steps)
            except StopAsyncIteration:
                return
            break
    try:
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                await steps.aclose()
                raise
            except BaseException as error:
                item = await steps.athrow(error)
            else:
                item = await steps.asend(sent)
    except StopAsyncIteration:
        return


_LASTING: dict[type, Callable[[_Open, Retry], Any]] = {
    types.GeneratorType: _stream,
    types.CoroutineType: _awaited,
    types.AsyncGeneratorType: _async_stream,
}
