"""Servers that register a function and return it as it was, and where they keep it.

Read in mcp 1.24 to 2.3, fastmcp 4.0, starlette 0.40 to 1.10, flask 3.1 and mlflow 3.10 to 3.17.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from obo_kit._upstream.classes import FASTMCP_SERVER, FLASK, MCP_SERVER, ROUTER, STARLETTE, Class

__all__: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where the servers of one package keep the functions that they serve.

    Attributes:
        package: The package.
        classes: Its servers; classes derived from these count.
        decorator: What registers a function, in words.
        functions: Reads the functions that a server holds. Two of them are private, because the public listings have none.
    """

    package: str
    classes: tuple[Class, ...]
    decorator: str
    functions: Callable[[Any], Iterable[Any]]

    @property
    def names(self) -> Iterator[tuple[str, str]]:
        """The package with each name that its servers have, or had."""
        return ((self.package, name) for each in self.classes for name in each.names)


REGISTRIES = (
    Registry(
        package="mcp",
        classes=(MCP_SERVER,),
        decorator="the MCP server's @….tool()",
        functions=lambda server: [tool.fn for tool in server._tool_manager.list_tools()],
    ),
    Registry(
        package="fastmcp",
        classes=(FASTMCP_SERVER,),
        decorator="the MCP server's @….tool",
        functions=lambda server: [getattr(tool, "fn", None) for tool in server.local_provider._components.values()],
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
)
_MLFLOW_SERVER = "mlflow.genai.agent_server"


def refuse_registered(fn: Any, decorator: str) -> None:
    """Refuse a function that a server holds already: what is put on it now would never be reached.

    Frameworks that register a function and return it as it was (or a copy that they never call) leave no other trace. Seen
    are MLflow's agent server, and servers that the function's module or the code around the decorator has a name for.

    Raises:
        TypeError: It is one.
    """
    registered = _registered_with(fn)
    if registered is not None:
        raise TypeError(
            f"@{decorator} stands above {registered}, which has taken {getattr(fn, '__name__', 'the function')}() as it was: "
            f"it would never be reached. Put @{decorator} below it."
        )


def _registered_with(fn: Any) -> str | None:
    agent_server: Any = sys.modules.get(_MLFLOW_SERVER)
    spaces = _servers_of_spaces(inspect.unwrap(fn), _outside())
    if agent_server is None and not spaces:
        return None
    chain = tuple(_chain(fn))
    for name in ("invoke", "stream") if agent_server is not None else ():
        if getattr(agent_server, f"get_{name}_function")() in chain:
            return f"@{name}() of MLflow's agent server"
    return next(
        (registry.decorator for registry, server in spaces if _holds(registry, server, chain.__contains__)), None
    )


def _chain(fn: Any) -> Iterator[Any]:
    while fn is not None:
        yield fn
        fn = getattr(fn, "__wrapped__", None)


def _outside() -> FrameType | None:
    """Return the frame of the code that uses the kit."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("obo_kit."):
        frame = frame.f_back
    return frame


def _holds(registry: Registry, server: Any, is_this: Callable[[Any], bool]) -> bool:
    try:
        return any(is_this(fn) for fn in list(registry.functions(server)))
    except Exception:  # another version keeps them elsewhere
        return False


def server_that_holds(fn: Any, is_this: Callable[[Any], bool], packages: frozenset[str]) -> str | None:
    """Return the package, one of these, of a server that holds a function and has a name in the function's module."""
    return next(
        (
            registry.package
            for registry, server in _servers_of_spaces(inspect.unwrap(fn), None)
            if registry.package in packages and _holds(registry, server, is_this)
        ),
        None,
    )


def _servers_of_spaces(fn: Any, around: FrameType | None) -> list[tuple[Registry, Any]]:
    """Return the servers that a function's module, or the code of a frame, has a name for."""
    spaces = [getattr(fn, "__globals__", {})]
    if around is not None:
        spaces += [around.f_globals, around.f_locals] if around.f_globals is not spaces[0] else [around.f_locals]
    servers: dict[int, tuple[Registry, Any]] = {}
    for space in spaces:
        for value in tuple(space.values()):
            kind = type(value)
            registry = _kinds[kind] if kind in _kinds else _registry_of(kind)
            if registry is not None:
                servers[id(value)] = registry, value
    return list(servers.values())


_kinds: dict[type, Registry | None] = {}
_MOST_KINDS = 4096  # classes may be made without end


def _registry_of(kind: type) -> Registry | None:
    bases = frozenset((base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__)
    registry = next((registry for registry in REGISTRIES if not bases.isdisjoint(registry.names)), None)
    if len(_kinds) >= _MOST_KINDS:
        _kinds.clear()
    _kinds[kind] = registry
    return registry
