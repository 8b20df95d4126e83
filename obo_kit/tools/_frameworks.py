"""Find the framework that calls a tool, and give it a denial in its own terms (rule 19)."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a
from obo_kit._upstream.servers import server_that_holds

__all__: list[str] = []

_HOLD_A_FUNCTION = ("func", "coroutine", "fn", "function", "_run", "_arun")
_FRAMEWORKS = frozenset({"langchain_core", "mcp", "fastmcp", "pydantic"})


def answer_framework(value: Any, fn: Any, is_this: Callable[[Any], bool], error: Callable[[], Exception]) -> Any:
    """Give what a denied tool answers with to the framework that called it.

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
    package = server_that_holds(fn, is_this, _FRAMEWORKS)
    return (package, None) if package is not None else None


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
    if not is_a(tool, classes.LANGCHAIN_TOOL):
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
