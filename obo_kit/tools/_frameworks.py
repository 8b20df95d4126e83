"""Find the framework that calls a tool, and answer a denial in that framework's own form (rule 19)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FrameType
from typing import Any

from obo_kit._upstream.callers import caller_of
from obo_kit._upstream.servers import server_that_holds
from obo_kit._utils.plugins import load

__all__: list[str] = []


def answer_framework(
    value: Any, fn: Any, args: tuple[Any, ...], is_this: Callable[[Any], bool], error: Callable[[], Exception]
) -> Any:
    """Pass a denied tool's answer to the framework that called it.

    Text becomes the framework's own error, if it has one. Any other value is the tool's result, as the author chose it.

    Args:
        value: The value that the tool would return.
        fn: The author's function.
        args: The arguments that the tool was called with.
        is_this: Whether an object is the tool, as a framework holds it.
        error: The denial as an exception, for a framework without an error of its own that checks the result's type.

    Raises:
        Exception: The framework's own error, with the text as its message.
    """
    calling = _outside()
    caller = caller_of(calling, args, is_this) or _server_above_a_thread(calling, fn, is_this)
    if caller is None:
        return value
    package, holder = caller
    return load(package).answer(package, holder, value, error)


def _server_above_a_thread(
    calling: FrameType | None, fn: Any, is_this: Callable[[Any], bool]
) -> tuple[str, Any] | None:
    """Return the framework that runs the tool in a thread of its own: an MCP server (`mcp` 2), or a tool of Strands.

    The thread's stack ends there, and no context variable tells. So only what has a name in the function's own module is
    examined.
    """
    package = server_that_holds(fn, is_this, str(calling.f_globals.get("__name__"))) if calling is not None else None
    return (package, None) if package is not None else None


def _outside() -> FrameType | None:
    """Return the frame that called the kit."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("obo_kit."):
        frame = frame.f_back
    return frame
