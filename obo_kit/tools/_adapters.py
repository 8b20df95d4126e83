"""Adapt tool objects that already exist, at the points where their frameworks call them (rule 14).

`obo_kit.integrations` knows the frameworks' objects. A module there is loaded when the first object of its framework comes
along. Objects are recognized by their classes' names, so that no framework is loaded to look for them.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from obo_kit._upstream.classes import TOOL_OBJECTS, is_a
from obo_kit._utils.plugins import load
from obo_kit.session._opening import current_session
from obo_kit.tools._spec import Entry, as_it_is

if TYPE_CHECKING:
    from typing import Protocol, TypeAlias

    from obo_kit.tools._spec import CopyFor, ToolObject

    # By structure, because the frameworks are extras.
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
    """Everything that the decorators accept."""

__all__: list[str] = []


def tool_object(target: object) -> ToolObject | None:
    """Return the decorators' view of a framework's object; `None` for anything else."""
    if type(target) is types.FunctionType:
        return None
    for integration, classes in TOOL_OBJECTS.items():
        if is_a(target, *classes):
            return cast("ToolObject", load(integration).tool_object(target))
    return None


def attribute(target: Any, name: str, shape: Callable[[Any], Any] = as_it_is) -> Entry:
    """Return the entry that is an attribute of the object itself."""
    return Entry(
        fn=_function(getattr(target, name)), install=lambda wrapper: setattr(target, name, wrapper), shape=shape
    )


def _function(called: Any) -> Callable[..., Any]:
    """Return a function for a callable object: decorators detect the kind of a function, but not of an object."""
    if inspect.isroutine(called) or not inspect.iscoroutinefunction(getattr(called, "__call__", None)):  # noqa: B004
        return cast("Callable[..., Any]", called)

    async def call(*args: Any, **kwargs: Any) -> Any:
        return await called(*args, **kwargs)

    return call


_METHODS, _CLASS, _LATER = "__obo_methods__", "__obo_class__", "__obo_later__"


class _MethodOfObject:
    """A method that one object may have of its own. Copies of the object have it too."""

    def __init__(self, name: str, original: Any) -> None:
        self._name = name
        self._original = original

    def __get__(self, target: Any, owner: Any = None) -> Any:
        if target is None:
            return self._original
        return types.MethodType(vars(target).get(_METHODS, {}).get(self._name, self._original), target)


def method(target: Any, name: str, shape: Callable[[Any], Any] = as_it_is) -> Entry:
    """Return the entry that is a method of the object's class. The object gets a class of its own, derived from that class."""
    fn = vars(target).get(_METHODS, {}).get(name) or getattr(type(target), name)

    def install(wrapper: Callable[..., Any]) -> None:
        object.__setattr__(target, _METHODS, {**vars(target).get(_METHODS, {}), name: wrapper})
        object.__setattr__(target, "__class__", _class_with(type(target), name))

    return Entry(fn=fn, install=install, shape=shape)


def listing(target: Any, name: str) -> Entry:
    """Return the entry that is a coroutine method which makes tools.

    The tools are decorated like the object. A denial gives an empty list.
    """
    entry = method(target, name, shape=lambda value: value if isinstance(value, list) else [])
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


def on_copy(fn: Callable[..., Any], copy_for: CopyFor) -> Callable[..., Any]:
    """Call a method on the copy of its object that belongs to the current session."""

    def copy_of(target: Any) -> Any:
        session = current_session()
        copied = session.once(target, lambda: copy_for(target, session))
        if _LATER in vars(target):
            object.__setattr__(copied, _LATER, vars(target)[_LATER])
        return copied

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def later(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await fn(copy_of(self), *args, **kwargs)

        return later

    @functools.wraps(fn)
    def now(self: Any, *args: Any, **kwargs: Any) -> Any:
        return fn(copy_of(self), *args, **kwargs)

    return now


def methods_of(target: object) -> dict[str, Any]:
    """Return the methods that one object has of its own."""
    return dict(getattr(target, "__dict__", {}).get(_METHODS, {}))


def without_methods(target: Any) -> dict[str, Any]:
    """Remove the object's own methods from a copy of it, and return the copy's other attributes."""
    rest: dict[str, Any] = vars(target)
    rest.pop(_METHODS, None)
    return rest


def decorate_later(target: Any, decorate: Callable[[Any], Any]) -> None:
    """Also decorate the tools that an object makes later."""
    object.__setattr__(target, _LATER, (*vars(target).get(_LATER, ()), decorate))


def _class_with(kind: Any, name: str) -> Any:
    """Return a class that looks for a method on the object first. It is made once for each class."""
    derived = vars(kind).get(_CLASS)
    if derived is None:
        derived = type(kind)(kind.__name__, (kind,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})
        setattr(derived, _CLASS, derived)
        setattr(kind, _CLASS, derived)
    if not isinstance(vars(derived).get(name), _MethodOfObject):
        # Set it after the class body, in which pydantic would take it for a field.
        setattr(derived, name, _MethodOfObject(name, getattr(kind, name)))
    return derived
