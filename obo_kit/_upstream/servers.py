"""Servers that register a function and return it unchanged, and where they keep it.

Read in mcp 1.10, 1.24, 1.30 and 2.3, fastmcp 4.1 and 4.2, starlette 0.46, 0.49, 1.7 and 1.10, flask 3.1, mlflow 3.10 and 3.17,
pydantic-ai 2.68.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from obo_kit._upstream.classes import (
    FASTMCP_SERVER,
    FLASK,
    MCP_SERVER,
    PYDANTIC_AI_AGENT,
    ROUTER,
    STARLETTE,
    STRANDS_TOOL,
    Class,
)

__all__: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where the servers of one package keep the functions that they serve.

    Attributes:
        package: The package.
        classes: Its servers. Classes derived from these count too.
        decorator: The decorator that registers a function, in words.
        functions: Reads a server's functions: from public lists of Starlette and Flask, and from where the servers of MCP keep
            them, whose public lists name no functions.
        threads: The starts of the names of the modules that call a function in a thread for it. The stack ends there.
    """

    package: str
    classes: tuple[Class, ...]
    decorator: str
    functions: Callable[[Any], Iterable[Any]]
    threads: tuple[str, ...] = ()


REGISTRIES = (
    Registry(
        package="mcp",
        classes=(MCP_SERVER,),
        decorator="the MCP server's @….tool()",
        functions=lambda server: [tool.fn for tool in server._tool_manager.list_tools()],
        threads=("anyio.",),
    ),
    Registry(
        package="fastmcp",
        classes=(FASTMCP_SERVER,),
        decorator="the MCP server's @….tool",
        functions=lambda server: [getattr(tool, "fn", None) for tool in server.local_provider._components.values()],
        threads=("anyio.",),
    ),
    Registry(
        package="strands",
        classes=(STRANDS_TOOL,),
        decorator="Strands' @tool",
        functions=lambda tool: [tool._tool_func],
        threads=("concurrent.futures.", "opentelemetry.instrumentation.threading"),
    ),
    Registry(
        package="starlette",
        classes=(STARLETTE, ROUTER),
        decorator="the route's decorator",
        functions=lambda server: [getattr(route, "endpoint", None) for route in server.routes],
    ),
    Registry(
        package="flask",
        classes=(FLASK,),
        decorator="the route's decorator",
        functions=lambda server: server.view_functions.values(),
    ),
    Registry(
        package="pydantic_ai",
        classes=(PYDANTIC_AI_AGENT,),
        decorator="the agent's @….tool or @….tool_plain",
        functions=lambda agent: [
            tool.function for toolset in agent.toolsets for tool in getattr(toolset, "tools", {}).values()
        ],
    ),
)
MARKS = {"__kernel_function__": "Semantic Kernel's @kernel_function"}
"""Marks that frameworks set on a function that they return, and read on its replacement. Read in semantic-kernel 1.45."""
TOOL_ERRORS = {
    "fastmcp": ("fastmcp.exceptions",),
    "mcp": ("mcp.server.mcpserver.exceptions", "mcp.server.fastmcp.exceptions"),  # the latter before mcp 2
}
"""The modules in which the servers of MCP have their ``ToolError``."""
_MLFLOW_SERVER = "mlflow.genai.agent_server"
_SERVERS = {
    _MLFLOW_SERVER,
    *(module for registry in REGISTRIES for each in registry.classes for module in each.modules),
}


def refuse_registered(fn: Any, decorator: str) -> None:
    """Refuse a function that a server already holds: a decorator above the registration would never be reached.

    Frameworks that register a function and return it unchanged (or a copy that they never call) leave no other trace. Only
    these are examined: MLflow's agent server, and the servers that have a name in the function's module or in the code around
    the decorator.

    Raises:
        TypeError: A server holds the function.
    """
    for mark, framework in MARKS.items():
        if hasattr(fn, mark):
            raise _refusal(fn, decorator, framework)
    if not sys.modules.keys() & _SERVERS:
        return
    around: FrameType | None = sys._getframe(1)  # the code that uses the kit
    while around is not None and str(around.f_globals.get("__name__", "")).startswith("obo_kit."):
        around = around.f_back
    chain = [fn]
    while (inner := getattr(chain[-1], "__wrapped__", None)) is not None:
        chain.append(inner)
    spaces = [getattr(chain[-1], "__globals__", {})]
    if around is not None:
        spaces += [around.f_locals] if around.f_globals is spaces[0] else [around.f_globals, around.f_locals]
    registered = _registered_with(chain, _servers_of(spaces), sys.modules.get(_MLFLOW_SERVER))
    if registered is not None:
        raise _refusal(fn, decorator, registered)


def _refusal(fn: Any, decorator: str, registered: str) -> TypeError:
    return TypeError(
        f"@{decorator} is above {registered}, which has already registered {getattr(fn, '__name__', 'the function')}(), so "
        f"@{decorator} would never be reached. Fix: put @{decorator} below it."
    )


def _registered_with(chain: list[Any], servers: Iterable[tuple[Registry, Any]], agent_server: Any) -> str | None:
    for name in ("invoke", "stream") if agent_server is not None else ():
        if getattr(agent_server, f"get_{name}_function")() in chain:
            return f"@{name}() of MLflow's agent server"
    return next(
        (registry.decorator for registry, server in servers if _holds(registry, server, chain.__contains__)), None
    )


def _holds(registry: Registry, server: Any, is_this: Callable[[Any], bool]) -> bool:
    try:
        return any(is_this(fn) for fn in list(registry.functions(server)))
    except Exception:  # another version keeps them elsewhere
        return False


def server_that_holds(fn: Any, is_this: Callable[[Any], bool], calling: str) -> str | None:
    """Return the package that runs a function in a thread, if what holds it has a name in the function's module.

    Args:
        fn: The function.
        is_this: Checks whether a thing is the tool that is made of it.
        calling: The name of the module that calls it in the thread.
    """
    if not any(calling.startswith(registry.threads) for registry in REGISTRIES):
        return None
    servers = _servers_of([getattr(inspect.unwrap(fn), "__globals__", {})])
    return next(
        (
            registry.package
            for registry, server in servers
            if calling.startswith(registry.threads) and _holds(registry, server, is_this)
        ),
        None,
    )


def _servers_of(spaces: Iterable[Mapping[str, Any]]) -> list[tuple[Registry, Any]]:
    """Return the servers that have a name in one of the namespaces."""
    servers: dict[int, tuple[Registry, Any]] = {}
    for space in spaces:
        for value in tuple(space.values()):
            kind = type(value)
            registry = _kinds[kind] if kind in _kinds else _registry_of(kind)
            if registry is not None:
                servers[id(value)] = registry, value
    return list(servers.values())


_kinds: dict[type, Registry | None] = {}
_MOST_KINDS = 4096  # a limit, because classes may be made without end


def _registry_of(kind: type) -> Registry | None:
    registry = next((registry for registry in REGISTRIES if any(each.has(kind) for each in registry.classes)), None)
    if len(_kinds) >= _MOST_KINDS:
        _kinds.clear()
    _kinds[kind] = registry
    return registry
