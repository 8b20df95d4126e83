"""Records of a tool: what each decorator adds to it, and the framework's object that it belongs to."""

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
"""Where a tool's wrapper keeps its spec. Foreign wrappers copy it, as they copy all attributes of what they wrap."""


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
            if doc and name in doc:
                doc = Docstring(doc).without(name)
        return doc


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A scope, or a resource that implies its scopes. Exactly one of the two.

    Attributes:
        scope: As the author wrote it.
        resource: An MLflow ``DatabricksResource``.
        kind: The resource's entry in the catalogue.
    """

    scope: str | None = None
    resource: Any = None
    kind: ResourceKind | None = None

    @functools.cached_property
    def spellings(self) -> tuple[tuple[str, ...], ...]:
        """Return groups of scopes; any one group, held in full, is enough."""
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
        """Return the groups that leave nothing to be inferred; another spelling counts only where it covers the current one."""
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
        """Return the scopes that a token lacks; empty where it holds them, or where that cannot be told."""
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
    """What one tool declares."""

    items: tuple[Requirement, ...]
    module: str = ""
    """The module that declares it."""
    spellings: frozenset[str] = field(init=False)
    """Every spelling of every declared scope: what a client is narrowed to (rule 23)."""
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
        """Compare the token with the declaration, before anything is sent.

        Raises:
            MissingScopeError: The token says what it holds, and scopes are missing: all of them are named.
        """
        held = identity.scopes
        if held is None:
            return
        missing = self._verdicts.get(held)
        if missing is None:
            missing = tuple(sorted({scope for item in self.items for scope in item.missing(held)}))
            if len(self._verdicts) < 256:  # as many as there are sets of scopes, not of users
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
            "consent anew."
        )
    return "Log the model again with obo_kit.log_model, which declares them, and deploy the new version."


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

    @property
    def name(self) -> str:
        """Return the function's name, for messages."""
        return str(getattr(self.fn, "__name__", repr(self.fn)))

    def without(self, hidden: frozenset[str]) -> Reading:
        """Return what it says of the other parameters."""
        if not hidden:
            return self
        hints, parameters = dict(self.hints), dict(self.signature.parameters)
        for name in hidden:
            hints.pop(name, None)
            parameters.pop(name, None)
        signature = self.signature.replace(parameters=list(parameters.values()))
        return Reading(fn=self.fn, hints=hints, signature=signature, hidden=hidden)


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

    def having(self, **parts: Any) -> ToolSpec:
        """Return the tool with these parts in place of its own, and without wrappers: `dataclasses.replace`, in one call."""
        spec = object.__new__(ToolSpec)
        vars(spec).update(vars(self), **parts, wrappers=[])
        return spec

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
    spec = getattr(target, SPEC_ATTRIBUTE, None)
    return spec if isinstance(spec, ToolSpec) and spec.wrappers[0] is target else None


def inner_spec_of(target: object) -> ToolSpec | None:
    """Return the spec of a tool, also below foreign wrappers that keep the attributes of what they wrap."""
    spec = getattr(target, SPEC_ATTRIBUTE, None)
    return spec if isinstance(spec, ToolSpec) else None
