"""Tool objects that already exist, and where their frameworks call them (rule 14).

What is known of a framework's objects is in `obo_kit.integrations`. A module there is loaded when the first object of its
framework comes along: by the classes' names, so that no framework is loaded to look for its objects.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from obo_kit._upstream.errors import is_a
from obo_kit.session._entry import current_session

if TYPE_CHECKING:
    from typing import Protocol, TypeAlias

    from obo_kit.session._entry import UserSession
    from obo_kit.tools._wrapper import ToolSpec

    # By shape: the frameworks are extras.
    class _LangChainTool(Protocol):
        @property
        def args_schema(self) -> Any: ...

    class _AgentsTool(Protocol):
        @property
        def on_invoke_tool(self) -> Any: ...

    class _OpenAITool(Protocol):
        @property
        def execute(self) -> Any: ...

    class _ToolList(Protocol):
        @property
        def tools(self) -> Any: ...

    class _Toolkit(Protocol):
        def get_tools(self, *args: Any, **kwargs: Any) -> Any: ...

    class _Server(Protocol):
        def list_tools(self, *args: Any, **kwargs: Any) -> Any: ...

    Decorated: TypeAlias = (
        Callable[..., Any] | _LangChainTool | _AgentsTool | _OpenAITool | _ToolList | _Toolkit | _Server
    )
    """What the decorators take."""

__all__: list[str] = []

_HOMES = {
    "langchain": (
        ("langchain_core", "BaseTool"),
        ("langchain_mcp_adapters", "MultiServerMCPClient"),
        ("unitycatalog", "UCFunctionToolkit"),
    ),
    "openai": (
        ("agents", "FunctionTool"),
        ("agents", "MCPServer"),
        ("databricks_openai", "VectorSearchRetrieverTool"),
        ("databricks_openai", "ToolInfo"),
        ("databricks_openai", "McpServerToolkit"),
    ),
}


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One function that a framework calls on an object.

    Attributes:
        fn: What it calls now.
        put: Puts another function in its place, on this object alone.
        says: What an answer in place of a denial becomes for the framework. It may raise the framework's own error.
    """

    fn: Callable[..., Any]
    put: Callable[[Callable[..., Any]], None]
    says: Callable[[Any], Any] = _as_it_is


def _nothing(spec: ToolSpec) -> None:
    pass


Twin = Callable[[Any, "UserSession"], Any]
"""Makes an object anew for one session: as it is, with the session's client in place of its own."""


@dataclass(frozen=True, kw_only=True)
class ToolObject:
    """A framework's object, as the decorators see it.

    Attributes:
        target: The object.
        name: What the model calls it.
        entries: What the framework calls on it.
        items: The tools that it holds: each is decorated too.
        makes_tools: Whether it makes tools later: they are decorated too.
        takes_clients: Whether its functions can be given a client that its schema does not show.
        twin: What stands for it in a session, where it holds a client itself.
        needs_session: Whether it keeps a session's client from one call to the next, so that a session of one call is none.
        instead: What to do where neither gives it the user's client.
        settle: Called once its functions are decorated: what else the object has to know of it.
    """

    target: Any
    name: str
    entries: Sequence[Entry] = ()
    items: Sequence[Any] = ()
    makes_tools: bool = False
    takes_clients: bool = False
    twin: Twin | None = None
    needs_session: bool = False
    instead: str = "build it with the user's client, in available_tools or in the request"
    settle: Callable[[ToolSpec], None] = _nothing


def held(target: object) -> ToolObject | None:
    """A framework's tool object, as the decorators see it; `None` for anything else."""
    for home, kinds in _HOMES.items():
        if any(is_a(target, package, name) for package, name in kinds):
            module = importlib.import_module(f"obo_kit.integrations.{home}")
            return cast("ToolObject | None", module.hold(target))
    return None


def attribute(target: Any, name: str, says: Callable[[Any], Any] = _as_it_is) -> Entry:
    """An entry that is an attribute of the object itself."""
    return Entry(fn=_function(getattr(target, name)), put=lambda wrapper: setattr(target, name, wrapper), says=says)


def _function(called: Any) -> Callable[..., Any]:
    """A function for an object that is called: decorators tell the kind of a function, and not of an object."""
    if inspect.isroutine(called) or not inspect.iscoroutinefunction(getattr(called, "__call__", None)):  # noqa: B004
        return cast("Callable[..., Any]", called)

    async def call(*args: Any, **kwargs: Any) -> Any:
        return await called(*args, **kwargs)

    return call


_METHODS, _CLASS, _LATER = "__obo_methods__", "__obo_class__", "__obo_later__"


class _Way:
    """The method of one object, where it has one of its own; copies of the object have it too."""

    def __init__(self, name: str, original: Any) -> None:
        self._name = name
        self._original = original

    def __get__(self, target: Any, owner: Any = None) -> Any:
        if target is None:
            return self._original
        return types.MethodType(vars(target).get(_METHODS, {}).get(self._name, self._original), target)


def method(target: Any, name: str, says: Callable[[Any], Any] = _as_it_is) -> Entry:
    """An entry that is a method of the object's class: the object gets a class of its own, derived from that."""
    fn = vars(target).get(_METHODS, {}).get(name) or getattr(type(target), name)

    def put(wrapper: Callable[..., Any]) -> None:
        object.__setattr__(target, _METHODS, {**vars(target).get(_METHODS, {}), name: wrapper})
        object.__setattr__(target, "__class__", _class_with(type(target), name))

    return Entry(fn=fn, put=put, says=says)


def listing(target: Any, name: str) -> Entry:
    """A coroutine method that makes tools: what the object is decorated with, they are too. A denial leaves none."""
    entry = method(target, name, says=lambda value: value if isinstance(value, list) else [])
    if name in vars(target).get(_METHODS, {}):
        return entry
    original = entry.fn

    @functools.wraps(original)
    async def listed(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = await original(self, *args, **kwargs)
        for decorate in vars(self).get(_LATER, ()):
            for item in made:
                decorate(item)
        return made

    return replace(entry, fn=listed)


def through_twin(fn: Callable[..., Any], twin: Twin) -> Callable[..., Any]:
    """A method that is called on what stands for its object in the session in force."""

    def there(target: Any) -> Any:
        session = current_session()
        found = session.once(target, lambda: twin(target, session))
        if _LATER in vars(target):
            object.__setattr__(found, _LATER, vars(target)[_LATER])
        return found

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def later(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await fn(there(self), *args, **kwargs)

        return later

    @functools.wraps(fn)
    def now(self: Any, *args: Any, **kwargs: Any) -> Any:
        return fn(there(self), *args, **kwargs)

    return now


def methods_of(target: object) -> dict[str, Any]:
    """The methods that one object has of its own."""
    return dict(getattr(target, "__dict__", {}).get(_METHODS, {}))


def without_methods(target: Any) -> dict[str, Any]:
    """Take from a copy of an object the methods that the object has of its own; returns what it has besides."""
    rest: dict[str, Any] = vars(target)
    rest.pop(_METHODS, None)
    return rest


def decorate_later(target: Any, decorate: Callable[[Any], Any]) -> None:
    """Decorate the tools too that an object makes later."""
    object.__setattr__(target, _LATER, (*vars(target).get(_LATER, ()), decorate))


def _class_with(kind: Any, name: str) -> Any:
    """A class that looks for a method on the object first; made once for each class."""
    derived = vars(kind).get(_CLASS)
    if derived is None:
        derived = type(kind)(kind.__name__, (kind,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})
        setattr(derived, _CLASS, derived)
        setattr(kind, _CLASS, derived)
    if not isinstance(vars(derived).get(name), _Way):
        # Not in the class's body, where pydantic would take it for a field.
        setattr(derived, name, _Way(name, getattr(kind, name)))
    return derived
