"""Records of a tool: the part that each decorator adds, and the framework's object that the tool belongs to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from obo_kit.exceptions import MissingScopeError
from obo_kit.scopes._lookup import TARGETS, Verdict, covers, verdict
from obo_kit.tools._docstring import Docstring

if TYPE_CHECKING:
    from obo_kit.context._calls import ToolCall
    from obo_kit.identity._user import UserIdentity
    from obo_kit.scopes._lookup import ResourceKind
    from obo_kit.session._session import UserSession
    from obo_kit.tools._fallback import Fallback

__all__: list[str] = []

SPEC_ATTRIBUTE = "__obo_tool__"
"""The attribute in which a tool's wrapper keeps its spec. Foreign wrappers copy it with all other attributes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    name: str
    client_type: str
    index: int | None  # among the positional parameters; None for a keyword-only one
    defaults: tuple[Any, ...] = ()  # of the parameters before it, if it cannot be passed by name


@dataclass(frozen=True, kw_only=True, slots=True)
class Injection:
    """The parameters of a tool that the kit fills."""

    slots: tuple[Slot, ...]
    names: frozenset[str]

    def refuse_supplied(self, tool: str, kwargs: dict[str, Any]) -> None:
        """Refuse a caller's value for an injected parameter: the caller may be a model.

        Raises:
            TypeError: The caller passed one.
        """
        for name in self.names:
            if name in kwargs:
                raise TypeError(f"{tool}() takes no argument '{name}': it is the user's client, which obo_kit provides")

    def place(
        self, session: UserSession, call: ToolCall | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Insert the clients where the function expects them, however the other arguments were passed."""
        for slot in self.slots:
            client = session.get_named(slot.client_type, call)
            if slot.index == 0:  # as most authors write it
                args = (client, *args)
                continue
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
            if doc and name in doc:
                doc = Docstring(doc).without(name)
        return doc


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A scope, or a resource that implies its scopes. Exactly one of the two.

    Attributes:
        scope: The scope as the author wrote it.
        resource: An MLflow ``DatabricksResource``.
        kind: The resource's entry in the catalogue.
    """

    scope: str | None = None
    resource: Any = None
    kind: ResourceKind | None = None

    @functools.cached_property
    def spellings(self) -> tuple[tuple[str, ...], ...]:
        """Return groups of scopes. A token that has all of any one group has enough."""
        if self.scope is not None:
            return ((self.scope,),)
        assert self.kind is not None
        groups: dict[tuple[str, ...], None] = {}
        for target in TARGETS:
            for group in (self.kind.current.get(target, ()), self.kind.granular.get(target, ())):
                if group:
                    groups[group] = None
            groups.update({(scope,): None for scope in self.kind.also.get(target, ())})
        return tuple(groups)

    @functools.cached_property
    def sufficient(self) -> tuple[tuple[str, ...], ...]:
        """Return the groups that are surely enough. Another spelling counts only if it covers the current one."""
        if self.kind is None:
            return self.spellings
        named = {
            group for target in TARGETS for group in (self.kind.current.get(target), self.kind.granular.get(target))
        }
        return tuple(
            group
            for group in self.spellings
            if group in named
            or any(
                all(covers(group[0], scope) for scope in self.kind.current.get(target, ()) or ("",))
                for target in TARGETS
            )
        )

    def missing(self, held: frozenset[str]) -> tuple[str, ...]:
        """Return the scopes that a token lacks; empty if it has them, or if that is unknown."""
        fallen_short: tuple[str, ...] | None = None
        for group in self.spellings:
            verdicts = {scope: verdict(held, scope) for scope in group}
            missing = tuple(scope for scope, answer in verdicts.items() if answer is Verdict.MISSING)
            if not missing:
                return ()
            fallen_short = fallen_short or missing
        return fallen_short or ()


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Everything that one tool declares."""

    items: tuple[Requirement, ...]
    module: str = ""
    """The module of the declaration."""
    spellings: frozenset[str] = field(init=False)
    """Every spelling of every declared scope. A client is narrowed to these (rule 23)."""
    resources: tuple[tuple[ResourceKind, str], ...] = field(init=False)
    """The declared resources: kind and name."""
    scopes: tuple[str, ...] = field(init=False)
    """The declared scopes, each in one spelling, sorted."""
    _verdicts: dict[frozenset[str], tuple[str, ...]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        every: set[str] = set()
        scopes: set[str] = set()
        named: list[tuple[ResourceKind, str]] = []
        for item in self.items:
            groups = item.spellings
            every.update(*groups)
            scopes.update(*groups[:1])
            if item.kind is not None:
                named.append((item.kind, str(item.resource.name)))
        object.__setattr__(self, "spellings", frozenset(every))
        object.__setattr__(self, "resources", tuple(named))
        object.__setattr__(self, "scopes", tuple(sorted(scopes)))

    def check(self, tool: str, identity: UserIdentity) -> None:
        """Compare the token with the declaration before anything is sent.

        Raises:
            MissingScopeError: The token states its scopes, and some are missing. The error names all of them.
        """
        held = identity.scopes
        if held is None:
            return
        missing = self._verdicts.get(held)
        if missing is None:
            missing = tuple(sorted({scope for item in self.items for scope in item.missing(held)}))
            if len(self._verdicts) < 256:  # one entry per set of scopes, not per user
                self._verdicts[held] = missing
        if missing:
            raise MissingScopeError(
                f"The user's token does not carry what '{tool}' declares: {', '.join(missing)}.",
                remedy=_deploy_remedy(identity.source),
                scopes=missing,
            )


def _deploy_remedy(source: str) -> str:
    if source == "apps":
        return (
            "Add the scopes to the app's user_api_scopes (obo_kit.app_config), stop and start the app, and let the user "
            "consent again."
        )
    return "Log the model again with obo_kit.log_model, which declares them, and deploy the new version."


def as_it_is(value: Any) -> Any:
    """Return a value as it is."""
    return value


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One function that a framework calls on an object.

    Attributes:
        fn: The function that it calls now.
        install: Replaces that function on this object only.
        shape: Converts an answer in place of a denial to the framework's form. It may raise the framework's own error.
    """

    fn: Callable[..., Any]
    install: Callable[[Callable[..., Any]], None]
    shape: Callable[[Any], Any] = as_it_is


def _nothing(spec: ToolSpec) -> None:
    pass


CopyFor = Callable[[Any, "UserSession"], Any]
"""Copies an object for one session: unchanged, but with the session's client in place of its own."""


@dataclass(frozen=True, kw_only=True)
class ToolObject:
    """The decorators' view of a framework's object.

    Attributes:
        target: The object.
        name: The name that the model calls it by.
        entries: The functions that the framework calls on it.
        items: The tools that it holds. Each is decorated too.
        makes_tools: Whether it makes tools later. They are decorated too.
        takes_clients: Whether its functions can receive a client that its schema does not show.
        copy_for: Copies it for a session, if it holds a client itself.
        needs_session: Whether it keeps a session's client from one call to the next, so that a session of one call is not
            enough.
        instead: What to do if neither way gives it the user's client.
        finish: Called once its functions are decorated. It tells the object what else it needs to know.
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
    """A function's annotations, read once for all decorators.

    Attributes:
        fn: The function.
        hints: Its annotations, evaluated as far as possible.
        signature: Its signature, with these annotations.
        hidden: The parameters that the signature does not show.
    """

    fn: Callable[..., Any]
    hints: dict[str, Any]
    signature: inspect.Signature
    hidden: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Return the function's name, for messages."""
        return str(getattr(self.fn, "__name__", repr(self.fn)))

    def without(self, hidden: frozenset[str]) -> Reading:
        """Return the reading of the other parameters."""
        if not hidden:
            return self
        hints, parameters = dict(self.hints), dict(self.signature.parameters)
        for name in hidden:
            hints.pop(name, None)
            parameters.pop(name, None)
        signature = self.signature.replace(parameters=list(parameters.values()))
        return Reading(fn=self.fn, hints=hints, signature=signature, hidden=hidden)


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolSpec:
    """A tool: the author's function, and what each decorator adds. Every call reads it."""

    fn: Callable[..., Any]
    name: str
    injection: Injection | None = None
    requirements: Requirements | None = None
    fallback: Fallback | None = None
    below: ToolSpec | None = None  # the same tool's spec, if a foreign decorator is between the kit's decorators
    owner: ToolObject | None = None  # the framework's object that it is a function of, if one was decorated
    shape: Callable[[Any], Any] | None = None  # the owner's: converts an answer in place of a denial
    label: str | None = None  # the name that `optional_tool` gives it
    reading: Reading | None = None  # of the function that the first decorator was put on
    wrappers: list[Any] = field(init=False, default_factory=list)

    def having(self, **parts: Any) -> ToolSpec:
        """Return the tool with these parts replaced, and without wrappers: `dataclasses.replace`, in one call."""
        spec = object.__new__(ToolSpec)
        for name in ToolSpec.__slots__:
            object.__setattr__(spec, name, parts[name] if name in parts else getattr(self, name))
        object.__setattr__(spec, "wrappers", [])
        return spec

    @property
    def called(self) -> str:
        """Return the tool's current name: tools that a loop makes get their names after they are decorated."""
        if self.label is not None or self.owner is not None or not self.wrappers:
            return self.label or self.name
        name: str = self.wrappers[0].__name__
        return name


def spec_of(target: object) -> ToolSpec | None:
    """Return the spec of a tool; `None` for a function that the kit did not wrap itself.

    A foreign wrapper copies the attributes of the function that it wraps, including this one.
    """
    spec = getattr(target, SPEC_ATTRIBUTE, None)
    return spec if isinstance(spec, ToolSpec) and spec.wrappers[0] is target else None


def inner_spec_of(target: object) -> ToolSpec | None:
    """Return the spec of a tool, also below foreign wrappers that keep the attributes of the wrapped function."""
    spec = getattr(target, SPEC_ATTRIBUTE, None)
    return spec if isinstance(spec, ToolSpec) else None
