"""What stands above a tool: the framework that calls it, and the servers that hold it (rules 13 and 19).

Both are looked for where the kit runs anyway, at a denial and at decoration: no framework is imported, changed or asked for.
Told by name, as in `_unwrap`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, TypeAlias

from obo_kit._upstream.errors import is_a

__all__: list[str] = []

_HOLD_A_FUNCTION = ("func", "coroutine", "fn", "function", "_run", "_arun")
_FRAMEWORKS = frozenset({"langchain_core", "mcp", "fastmcp", "pydantic"})


def handed_up(value: Any, fn: Any, is_this: Callable[[Any], bool], error: Callable[[], Exception]) -> Any:
    """What a denied tool gives to the framework that called it.

    A text becomes the framework's own error, where it has one; any other value is the tool's result, as the author chose it.

    Args:
        value: What the tool would return.
        fn: The author's function.
        is_this: Whether a thing is the tool, as a framework holds it.
        error: The denial as an exception, where the result is typed and a framework without an error checks it.

    Raises:
        Exception: The framework's own, with the text as its message.
    """
    caller = _caller(is_this) or _server_above_a_thread(fn, is_this)
    if caller is None:
        return value
    framework, holder = caller
    if framework == "langchain_core":
        return to_langchain(holder, value)
    if not isinstance(value, str):
        return value
    if framework == "pydantic":
        if _admits(holder, value):
            return value
        raise error() from None
    refused = _error_of_a_server(framework)
    if refused is None:
        return value
    raise refused(value) from None


def _caller(is_this: Callable[[Any], bool]) -> tuple[str, Any] | None:
    """The outermost framework on the stack that holds the tool, and what it holds it in."""
    found: tuple[str, Any] | None = None
    for frame in _frames():
        framework = _package(frame)
        if framework in _FRAMEWORKS:
            found = next(((framework, holder) for holder in _holders(frame, is_this)), found)
    return found


def _server_above_a_thread(fn: Any, is_this: Callable[[Any], bool]) -> tuple[str, Any] | None:
    """The MCP server that runs the tool in a thread of its own, where the stack does not show it (`mcp` 2)."""
    if _package(_outside()) != "anyio":
        return None
    held = ((registry[0], server) for registry, server in _servers_in_sight(fn, is_this))
    return next((one for one in held if one[0] in _FRAMEWORKS), None)


def _outside() -> FrameType:
    return next(frame for frame in _frames() if _package(frame) != "obo_kit")


def _frames() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _holders(frame: FrameType, is_this: Callable[[Any], bool]) -> Iterator[Any]:
    for value in tuple(frame.f_locals.values()):
        with contextlib.suppress(Exception):  # it may be anything, and do anything when it is asked
            holder = getattr(value, "__self__", value)
            if is_this(holder) or any(is_this(getattr(holder, name, None)) for name in _HOLD_A_FUNCTION):
                yield holder


# --- LangChain ------------------------------------------------------------------------------------------------------------


class _Handler:
    """A tool's ``handle_tool_error``, before which a denial's text comes as it is; LangChain marks both as errors."""

    def __init__(self, previous: Any) -> None:
        self._previous = previous

    def __bool__(self) -> bool:
        # Asked while LangChain handles an exception: a tool that raises its own errors goes on raising them.
        return bool(self._previous) or isinstance(sys.exc_info()[1], _denied())

    def __call__(self, error: Exception) -> Any:
        if isinstance(error, _denied()):
            return error.args[0]
        if callable(self._previous):
            return self._previous(error)
        if isinstance(self._previous, str):
            return self._previous
        return error.args[0] if error.args else "Tool execution error"


@functools.cache
def _denied() -> type[Exception]:
    from langchain_core.tools import ToolException

    return type("ToolDenied", (ToolException,), {"__doc__": "A denial, on its way to the tool's own handler."})


def answer_denials(tool: Any) -> None:
    """Have a LangChain tool, and the copies that are made of it, answer with a denial's text."""
    if not isinstance(tool.handle_tool_error, _Handler):
        tool.handle_tool_error = _Handler(tool.handle_tool_error)


def to_langchain(tool: Any, value: Any) -> Any:
    """What a denied tool gives to LangChain: a text as the error of the tool, any other value as its result."""
    if not is_a(tool, "langchain_core", "BaseTool"):
        return value
    if isinstance(value, str):
        # Only the tool knows the id of the call that its message answers, and only an exception makes that an error.
        answer_denials(tool)
        raise _denied()(value) from None
    pair = tool.response_format == "content_and_artifact" and not isinstance(value, tuple)
    return (value, None) if pair else value


# --- pydantic, and servers of MCP -----------------------------------------------------------------------------------------


def _admits(checked: Any, text: str) -> bool:
    if not getattr(checked, "validate_return", False):
        return True
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(inspect.signature(checked.function).return_annotation).validate_python(text)
    except ValidationError:
        return False
    return True


_ERRORS = {
    "fastmcp": ("fastmcp.exceptions",),
    "mcp": ("mcp.server.mcpserver.exceptions", "mcp.server.fastmcp.exceptions"),  # the latter before mcp 2
}


def _error_of_a_server(package: str) -> type[Exception] | None:
    module = next((sys.modules[name] for name in _ERRORS[package] if name in sys.modules), None)
    return getattr(module, "ToolError", None)  # none: it is a client that holds the tool


# --- what is registered already -------------------------------------------------------------------------------------------

# A package, its classes, their decorator, and the functions that one of them holds.
_Registry: TypeAlias = "tuple[str, tuple[str, ...], str, Callable[[Any], Iterable[Any]]]"
_REGISTRIES: tuple[_Registry, ...] = (
    (
        "mcp",
        ("FastMCP", "MCPServer"),
        "the MCP server's @….tool()",
        lambda server: [tool.fn for tool in server._tool_manager.list_tools()],
    ),
    (
        "fastmcp",
        ("FastMCP",),
        "the MCP server's @….tool",
        lambda server: [getattr(one, "fn", None) for one in server.local_provider._components.values()],
    ),
    (
        "starlette",
        ("Starlette", "Router"),
        "the route's decorator",
        lambda server: [getattr(route, "endpoint", None) for route in server.routes],
    ),
    (
        "flask",
        ("Flask",),
        "the route's decorator",
        lambda server: server.view_functions.values(),
    ),
)


def refuse_registered(fn: Any, decorator: str) -> None:
    """Refuse a function that a server holds already: what is put on it now would never be reached.

    Frameworks that register a function and return it as it was (or a copy that they never call) leave no other trace. Seen
    are MLflow's agent server, and servers that the function's module or the code around the decorator has a name for.

    Raises:
        TypeError: It is one.
    """
    registered = _registered_with(tuple(_chain(fn)))
    if registered is not None:
        raise TypeError(
            f"@{decorator} stands above {registered}, which has taken {getattr(fn, '__name__', 'the function')}() as it was: "
            f"it would never be reached. Put @{decorator} below it."
        )


def _registered_with(chain: tuple[Any, ...]) -> str | None:
    agent_server: Any = sys.modules.get("mlflow.genai.agent_server")
    for name in ("invoke", "stream") if agent_server is not None else ():
        if getattr(agent_server, f"get_{name}_function")() in chain:
            return f"@{name}() of MLflow's agent server"
    found = _servers_in_sight(chain[-1], lambda thing: thing in chain, _outside())
    return next((registry[2] for registry, _ in found), None)


def _chain(fn: Any) -> Iterator[Any]:
    while fn is not None:
        yield fn
        fn = getattr(fn, "__wrapped__", None)


def _held(registry: _Registry, server: Any) -> list[Any]:
    try:
        return list(registry[3](server))
    except Exception:  # another version keeps them elsewhere
        return []


def _servers_in_sight(
    fn: Any, is_this: Callable[[Any], bool], around: FrameType | None = None
) -> Iterator[tuple[_Registry, Any]]:
    """The servers that hold a function, of those that its module, or the code of a frame, has a name for."""
    loaded = [registry for registry in _REGISTRIES if registry[0] in sys.modules]
    spaces = [getattr(inspect.unwrap(fn), "__globals__", {})]
    if around is not None:
        spaces += [around.f_locals, around.f_globals]
    names = {id(value): value for space in spaces for value in tuple(space.values())} if loaded else {}
    for value in names.values():
        for registry in loaded:
            if is_a(value, registry[0], *registry[1]) and any(is_this(one) for one in _held(registry, value)):
                yield registry, value
