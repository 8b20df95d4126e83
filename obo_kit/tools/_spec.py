"""Records of a tool: what each decorator adds to it, and the framework's object that it belongs to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from obo_kit.tools._docstring import without_entry

if TYPE_CHECKING:
    from obo_kit.context._calls import ToolCall
    from obo_kit.session._session import UserSession
    from obo_kit.tools._fallback import Fallback
    from obo_kit.tools._registry import Requirements

__all__: list[str] = []

_ATTRIBUTE = "__obo_tool__"


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    name: str
    client_type: str
    index: int | None  # among the positional parameters; None for a keyword-only one
    defaults: tuple[Any, ...] = ()  # of the parameters before it, where it cannot be passed by name


@dataclass(frozen=True, kw_only=True, slots=True)
class Injection:
    """The parameters of a tool that the kit fills."""

    slots: tuple[Slot, ...]
    names: frozenset[str]

    def refuse_supplied(self, tool: str, kwargs: dict[str, Any]) -> None:
        """Refuse a value for an injected parameter from the caller: the caller may be a model.

        Raises:
            TypeError: One was supplied.
        """
        for name in self.names:
            if name in kwargs:
                raise TypeError(f"{tool}() takes no argument '{name}': it is the user's client, which obo_kit provides")

    def place(
        self, session: UserSession, call: ToolCall | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put the clients where the function expects them, however the others were passed."""
        for slot in self.slots:
            client = session.get_named(slot.client_type, call)
            unsaid = slot.defaults[len(args) :]
            if unsaid and inspect.Parameter.empty not in unsaid:
                args = (*args, *unsaid)
            if slot.index is not None and slot.index <= len(args):
                args = (*args[: slot.index], client, *args[slot.index :])
            else:
                kwargs = {**kwargs, slot.name: client}
        return args, kwargs

    def without_entries(self, doc: str | None) -> str | None:
        """Return a docstring without the entries of the injected parameters: frameworks send it to the model."""
        for name in self.names:
            doc = without_entry(doc, name) if doc else doc
        return doc


def as_it_is(value: Any) -> Any:
    """Return a value as it is."""
    return value


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One function that a framework calls on an object.

    Attributes:
        fn: What it calls now.
        install: Puts another function in its place, on this object alone.
        shape: Shapes an answer in place of a denial for the framework. It may raise the framework's own error.
    """

    fn: Callable[..., Any]
    install: Callable[[Callable[..., Any]], None]
    shape: Callable[[Any], Any] = as_it_is


def _nothing(spec: ToolSpec) -> None:
    pass


CopyFor = Callable[[Any, "UserSession"], Any]
"""Copies an object for one session: as it is, with the session's client in place of its own."""


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
        copy_for: Copies it for a session, where it holds a client itself.
        needs_session: Whether it keeps a session's client from one call to the next, so that a session of one call is none.
        instead: What to do where neither gives it the user's client.
        finish: Called once its functions are decorated: tells the object what else it has to know of it.
    """

    target: Any
    name: str
    entries: Sequence[Entry] = ()
    items: Sequence[Any] = ()
    makes_tools: bool = False
    takes_clients: bool = False
    copy_for: CopyFor | None = None
    needs_session: bool = False
    instead: str = "build it with the user's client, in available_tools or in the request"
    finish: Callable[[ToolSpec], None] = _nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a function's annotations say, read once for all decorators.

    Attributes:
        fn: The function.
        hints: Its annotations, evaluated as far as they can be.
        signature: Its signature, with these annotations.
        hidden: The parameters that the signature does not show.
    """

    fn: Callable[..., Any]
    hints: dict[str, Any]
    signature: inspect.Signature
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """A tool: the author's function, and what each decorator adds."""

    fn: Callable[..., Any]
    name: str
    injection: Injection | None = None
    requirements: Requirements | None = None
    fallback: Fallback | None = None
    below: ToolSpec | None = None  # the same tool's spec, where a foreign decorator stands between the kit's
    owner: ToolObject | None = None  # what it is a function of, where a framework's object was decorated
    shape: Callable[[Any], Any] | None = None  # the owner's: shapes an answer in place of a denial for the framework
    label: str | None = None  # the name that `optional_tool` gives it
    reading: Reading | None = None  # of the function that the first of the decorators was put on
    wrappers: list[Any] = field(init=False, default_factory=list)

    @property
    def called(self) -> str:
        """Return the tool's name at this moment: tools that a loop makes are named after they are decorated."""
        if self.label is not None or self.owner is not None or not self.wrappers:
            return self.label or self.name
        return str(getattr(self.wrappers[0], "__name__", self.name))


def spec_of(target: object) -> ToolSpec | None:
    """Return the spec of a tool; `None` for a function that the kit did not wrap itself.

    A foreign wrapper copies the attributes of what it wraps, this one among them.
    """
    spec = getattr(target, _ATTRIBUTE, None)
    return spec if isinstance(spec, ToolSpec) and spec.wrappers[0] is target else None


def inner_spec_of(target: object) -> ToolSpec | None:
    """Return the spec of a tool, also below foreign wrappers that keep the attributes of what they wrap."""
    spec = getattr(target, _ATTRIBUTE, None)
    return spec if isinstance(spec, ToolSpec) else None


def mark(wrapper: Any, spec: ToolSpec) -> None:
    """Make a function the wrapper of a tool."""
    setattr(wrapper, _ATTRIBUTE, spec)
    spec.wrappers.append(wrapper)
