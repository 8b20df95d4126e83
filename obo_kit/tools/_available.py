"""`available_tools`: build the tools of one request for its user. Denied tools are left out and reported."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a
from obo_kit._upstream.errors import is_failure, tells_nothing
from obo_kit.context._frame import FRAME, Frame, current_call
from obo_kit.exceptions import Denial
from obo_kit.session._opening import session_for_tool
from obo_kit.session._session import UserSession
from obo_kit.tools._optional import optional_tool
from obo_kit.tools._retry import is_passing
from obo_kit.tools._signature import client_type_of
from obo_kit.tools._spec import spec_of

__all__ = ["AvailableTools", "available_tools", "available_tools_async"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
OnOutage: TypeAlias = Literal["raise", "leave_out"]
_SECONDS = 10.0  # as long as it takes to notice an outage (rule 11)
_NO_ANSWER = "This tool is not answering at the moment."


class AvailableTools(list[Any]):
    """The tools that a user may use, in the order of their factories. This list also knows what is missing from it.

    Attributes:
        denials: The denials, in the order of the factories. A denial's ``tool`` is the name of the factory.
        outages: The names of the factories that were left out because they did not answer.
    """

    def __init__(self, tools: Iterable[Any], denials: Sequence[Denial] = (), outages: Sequence[str] = ()) -> None:
        super().__init__(tools)
        self.denials = tuple(denials)
        self.outages = tuple(outages)

    @property
    def note(self) -> str:
        """Return what was left out and why, in one line for the system prompt; empty if nothing was.

        It contains only the names of the factories and each denial's ``user_message``.
        """
        reasons: dict[str, list[str]] = {}
        for denial in self.denials:
            reasons.setdefault(" ".join(denial.user_message.split()), []).append(denial.tool or "")
        if self.outages:
            reasons[_NO_ANSWER] = list(self.outages)
        sentences = [f"{', '.join(_spoken(names))}: {reason}" for reason, names in reasons.items()]
        return " ".join(("Some tools are not available to this user.", *sentences)) if sentences else ""


def _spoken(names: Sequence[str]) -> list[str]:
    named = [name for name in dict.fromkeys(names) if name.isidentifier()]
    unnamed = len([name for name in names if not name.isidentifier()])
    return named + ([f"{unnamed} without a name"] if unnamed else [])


@dataclass(kw_only=True)
class _Built:
    """The outcome of one factory."""

    name: str
    tools: list[Any] = field(default_factory=list[Any])
    denial: Denial | None = None
    error: BaseException | None = None
    outage: bool = False


def _arguments(factory: Callable[..., Any], session: UserSession) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a factory's client: none if the kit injects it, else the one that it asks for."""
    spec = spec_of(factory)
    if spec is not None and spec.injection is not None:
        return (), {}
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [each for each in inspect.signature(factory).parameters.values() if each.kind not in variadic]
    for number, parameter in enumerate(parameters):
        annotated = parameter.annotation is not parameter.empty
        wanted = client_type_of(parameter.annotation, factory) if annotated else None
        if wanted is None and (parameter.name == "client" or (number == 0 and parameter.default is parameter.empty)):
            wanted = "WorkspaceClient"
        if wanted is not None:
            client = session.get_named(wanted)
            first = number == 0 and parameter.kind is not parameter.KEYWORD_ONLY
            return ((client,), {}) if first else ((), {parameter.name: client})
    return (), {}


def _flat(made: Any) -> list[Any]:
    if made is None:
        return []
    return list(made) if isinstance(made, (list, tuple, set, frozenset, types.GeneratorType)) else [made]


def _name_of(factory: Any) -> str:
    return str(getattr(getattr(factory, "func", factory), "__name__", type(factory).__name__))


@contextlib.contextmanager
def _building(factory: Callable[..., Any], session: UserSession) -> Iterator[_Built]:
    """Record the outcome of a factory, in a context of its own: variables that it sets end with it."""
    FRAME.set(Frame(session, None))
    built = _Built(name=_name_of(factory))
    try:
        with optional_tool(built.name) as attempt:
            try:
                yield built
            except BaseException as error:
                built.outage = _is_outage(error)
                raise
        built.denial = attempt.denial
    except BaseException as error:
        if not is_failure(error):
            raise
        built.error = error


def _called(factory: Callable[..., Any], session: UserSession) -> Any:
    args, kwargs = _arguments(factory, session)
    return factory(*args, **kwargs)


def _is_outage(error: BaseException) -> bool:
    if is_passing(error) or isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return True
    call = current_call()  # the Agents SDK does not keep the cause
    unsaid = is_a(error, classes.AGENTS_ERROR) or tells_nothing(error)
    return unsaid and call is not None and bool(call.evidence.outages)


def _raise_failure(built: _Built, on_outage: OnOutage) -> None:
    if built.error is not None and not (built.outage and on_outage == "leave_out"):
        raise built.error


def _gathered(made: Sequence[_Built], on_outage: OnOutage) -> AvailableTools:
    for built in made:
        _raise_failure(built, on_outage)
    for built in made:
        if built.error is not None:
            logger.warning("%s was left out, because it did not answer: %s", built.name, type(built.error).__name__)
    return AvailableTools(
        (tool for built in made for tool in built.tools),
        [built.denial for built in made if built.denial is not None],
        [built.name for built in made if built.error is not None],
    )


def _late(factory: Any, timeout: float | None) -> _Built:
    name = _name_of(factory)
    error = TimeoutError(
        f"{name} took longer than the {timeout:g} s that available_tools(timeout=…) gives each factory"
    )
    return _Built(name=name, error=error, outage=True)


def _check(factories: Sequence[Any], timeout: float | None, on_outage: str) -> None:
    for factory in factories:
        if not callable(factory):
            raise TypeError(f"available_tools takes functions that build tools, not a {type(factory).__name__}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"available_tools(timeout=…) takes a number of seconds above 0, or None; not {timeout!r}")
    if on_outage not in ("raise", "leave_out"):
        raise ValueError(f"available_tools(on_outage=…) takes 'raise' or 'leave_out', not {on_outage!r}")


def available_tools(
    *factories: Callable[..., Any], timeout: float | None = _SECONDS, on_outage: OnOutage = "raise"
) -> AvailableTools:
    """Build the tools that this user may use. Call it inside each request.

    Each factory takes the user's client (a ``WorkspaceClient``, or the type that its first parameter is annotated with) and
    returns a tool or several. The factories run at the same time, each in a thread of its own that carries the session. The
    tools come in the order of the factories. Denied tools are left out, and reported on the session and on the result, whose
    ``note`` tells the model about them.

    Args:
        factories: Functions that build tools.
        timeout: The time limit of each factory, in seconds; ``None`` for no limit. A factory that takes longer counts as an
            outage. Its thread is abandoned, and its clients end with the session.
        on_outage: What to do if a factory does not answer in time, or fails for a passing reason (429, 503, no connection).
            An outage is not a denial: by default it is raised. With ``"leave_out"``, the agent goes on without those tools.
            A bug is raised in either case.

    Raises:
        NoUserIdentityError: There is no user to act for.
        NoUserSessionError: No session is open, and an entry point is declared.
        TimeoutError: A factory took too long, and ``on_outage`` is ``"raise"``.
        TypeError: A factory is not callable.
        ValueError: ``timeout`` or ``on_outage`` has another value.
    """
    _check(factories, timeout, on_outage)
    session, owned = session_for_tool("available_tools")
    try:
        return _gathered(_in_threads(factories, session, timeout), on_outage)
    finally:
        if owned:
            session.close()


def _in_threads(factories: Sequence[Callable[..., Any]], session: UserSession, timeout: float | None) -> list[_Built]:
    def build(factory: Callable[..., Any]) -> _Built:
        with _building(factory, session) as built:
            tools = _called(factory, session)
            if inspect.iscoroutine(tools):
                tools.close()
                raise TypeError(f"{built.name} is a coroutine function: build its tools with available_tools_async")
            built.tools = session.adopt(_flat(tools))
        return built

    building = [_in_a_thread(build, factory) for factory in factories]
    futures.wait(building, timeout)
    made = {number: future.result() for number, future in enumerate(building) if future.done()}
    return [made.get(number) or _late(factory, timeout) for number, factory in enumerate(factories)]


def _in_a_thread(call: Callable[..., T], *args: Any) -> futures.Future[T]:
    """Call a function in a new thread with this one's context. It is not a pool's thread: nothing waits for one that hangs."""
    result: futures.Future[T] = futures.Future()

    def run() -> None:
        result.set_running_or_notify_cancel()
        try:
            result.set_result(call(*args))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=copy_context().run, args=(run,), name="obo_kit.available_tools", daemon=True).start()
    return result


async def available_tools_async(
    *factories: Callable[..., Any], timeout: float | None = _SECONDS, on_outage: OnOutage = "raise"
) -> AvailableTools:
    """Build the tools with factories that are coroutine functions, such as those that list the tools of MCP servers.

    It works as `available_tools` does. The factories run at the same time, each in a task of its own. The task is cancelled
    if it takes too long, or if another one fails. A plain function runs in a thread, as in `available_tools`.

    An MCP server of the Agents SDK must be closed in the task that connected it. Connect it in your own task, with
    ``async with optional_tool(server):``.

    Args:
        factories: As for `available_tools`.
        timeout: As for `available_tools`.
        on_outage: As for `available_tools`.

    Raises:
        NoUserIdentityError: There is no user to act for.
        NoUserSessionError: No session is open, and an entry point is declared.
        TimeoutError: A factory took too long, and ``on_outage`` is ``"raise"``.
        TypeError: A factory is not callable.
        ValueError: ``timeout`` or ``on_outage`` has another value.
    """
    _check(factories, timeout, on_outage)
    session, owned = session_for_tool("available_tools")

    async def build(factory: Callable[..., Any]) -> _Built:
        with _building(factory, session) as built:
            if _is_async(factory):
                made = await _called(factory, session)
            else:
                made = await asyncio.wrap_future(_in_a_thread(_called, factory, session))
            built.tools = session.adopt(_flat(await made if inspect.isawaitable(made) else made))
        _raise_failure(built, on_outage)
        return built

    building = [asyncio.ensure_future(build(factory)) for factory in factories]
    try:
        if building:
            await asyncio.wait(building, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION)
        # Raise the first real failure, rather than that of a task that was no longer awaited.
        made = {number: task.result() for number, task in enumerate(building) if task.done()}
        return _gathered(
            [made.get(number) or _late(factory, timeout) for number, factory in enumerate(factories)], on_outage
        )
    finally:
        # No task outlives the call, whatever became of the others.
        for task in building:
            task.cancel()
        await asyncio.gather(*building, return_exceptions=True)
        if owned:
            session.close()


def _is_async(factory: Any) -> bool:
    return inspect.iscoroutinefunction(getattr(factory, "func", factory)) or inspect.iscoroutinefunction(
        getattr(factory, "__call__", None)  # noqa: B004
    )
