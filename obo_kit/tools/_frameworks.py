"""Find the framework that calls a tool, and give it a denial in its own terms (rule 19)."""

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
    """Give what a denied tool answers with to the framework that called it.

    A text becomes the framework's own error, where it has one; any other value is the tool's result, as the author chose it.

    Args:
        value: What the tool would return.
        fn: The author's function.
        args: What the tool was called with.
        is_this: Whether a thing is the tool, as a framework holds it.
        error: The denial as an exception, where the result is typed and a framework without an error checks it.

    Raises:
        Exception: The framework's own, with the text as its message.
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
    """Return the MCP server that runs the tool in a thread of its own (`mcp` 2).

    The stack of a thread ends there, and no context variable tells: only a server that has a name in the function's own
    module is looked at.
    """
    if calling is None or not str(calling.f_globals.get("__name__")).startswith("anyio."):
        return None
    package = server_that_holds(fn, is_this)
    return (package, None) if package is not None else None


def _outside() -> FrameType | None:
    """Return the frame that called the kit."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("obo_kit."):
        frame = frame.f_back
    return frame
