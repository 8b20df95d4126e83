"""Objects of frameworks that call a tool: where they are on the stack, and how they hold the tool's function.

Frameworks set a context variable while they run something, but it does not say what: LangChain's run config, FastMCP's context
and the request context of `mcp` 1 name no function, and `mcp` 2 and pydantic keep nothing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from obo_kit._upstream import versions

__all__: list[str] = []

_DEPTH = 16
_VARIABLES = ("self", "fn", "wrapper")


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A framework's objects that call a function.

    Attributes:
        package: The framework.
        module: The start of the names of the modules whose functions make the call.
        attributes: The attributes of the object. One of them is the function.
        read_in: The versions in which it was read.
    """

    package: str
    module: str
    attributes: tuple[str, ...]
    read_in: str

    def holds(self, thing: Any, is_this: Callable[[Any], bool]) -> bool:
        """Check whether an object is the function, or an object that calls it."""
        with contextlib.suppress(Exception):  # reading an author's class may do anything
            return is_this(thing) or any(is_this(getattr(thing, name, None)) for name in self.attributes)
        return False


_LANGCHAIN: Final = Caller(
    package="langchain_core",
    module="langchain_core.tools.",
    attributes=("func", "coroutine", "_run", "_arun"),
    read_in=versions.LANGCHAIN,
)
CALLERS: Final = (
    _LANGCHAIN,
    Caller(package="mcp", module="mcp.server.fastmcp.", attributes=("fn",), read_in="mcp 1.10, 1.24 and 1.30"),
    Caller(package="mcp", module="mcp.server.mcpserver.", attributes=("fn",), read_in="mcp 2.3"),
    Caller(package="fastmcp", module="fastmcp.tools.", attributes=("fn",), read_in=versions.FASTMCP),
    Caller(
        package="pydantic",
        module="pydantic._internal._validate_call",
        attributes=("function",),
        read_in=versions.PYDANTIC,
    ),
    Caller(package="strands", module="strands.tools.", attributes=("_tool_func",), read_in="strands 1.62"),
    Caller(package="google.adk", module="google.adk.tools.", attributes=("func",), read_in="google-adk 2.13"),
    Caller(package="crewai", module="crewai.tools.", attributes=("func",), read_in="crewai 1.15"),
    Caller(package="autogen_core", module="autogen_core.tools.", attributes=("_func",), read_in="autogen 0.7"),
    Caller(
        package="llama_index",
        module="llama_index.core.tools.",
        attributes=("_async_fn", "_fn"),
        read_in="llamaindex 0.14",
    ),
)


_BY_ROOT: Final = {
    root: [caller for caller in CALLERS if caller.module.partition(".")[0] == root]
    for root in {each.module.partition(".")[0] for each in CALLERS}
}


def caller_of(frame: FrameType | None, args: tuple[Any, ...], is_this: Callable[[Any], bool]) -> tuple[str, Any] | None:
    """Return the outermost framework that holds a function, and the object that holds it.

    A method of a LangChain tool has the tool as its first argument. For the other frameworks, only the stack tells. At most 16
    calls are examined, from the call of the tool upwards; in those of the frameworks' own modules, the variables that hold
    what they call.
    """
    outermost, depth = None, 0
    while frame is not None and depth < _DEPTH:
        module = str(frame.f_globals.get("__name__"))
        for caller in _BY_ROOT.get(module.partition(".")[0], ()):
            if module.startswith(caller.module):
                things = (_owner(frame.f_locals.get(variable)) for variable in _VARIABLES)
                outermost = next(
                    ((caller.package, thing) for thing in things if caller.holds(thing, is_this)), outermost
                )
        frame, depth = frame.f_back, depth + 1
    if outermost is None and args and _langchain_runs() and _LANGCHAIN.holds(args[0], is_this):
        return _LANGCHAIN.package, args[0]
    return outermost


def _owner(called: Any) -> Any:
    """Return the object of a bound method; any other value as it is."""
    return getattr(called, "__self__", called)


def _langchain_runs() -> bool:
    config: Any = sys.modules.get("langchain_core.runnables.config")
    return config is not None and config.var_child_runnable_config.get() is not None
