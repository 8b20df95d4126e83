"""What tools declare, and the registry that policies are collected from."""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from obo_kit.exceptions import MissingScopeError, PolicyError
from obo_kit.scopes._lookup import TARGETS, Verdict, check_known, covers, kind_of, verdict

if TYPE_CHECKING:
    from obo_kit.identity._user import UserIdentity
    from obo_kit.scopes._lookup import ResourceKind

__all__: list[str] = []


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
        """Groups of scopes; any one group, held in full, is enough."""
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
        """The groups that leave nothing to be inferred; another spelling counts only where it covers the current one."""
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
        """The scopes that a token lacks; empty where it holds them, or where that cannot be told."""
        fallen_short: tuple[str, ...] | None = None
        for group in self.spellings:
            verdicts = {scope: verdict(held, scope) for scope in group}
            missing = tuple(scope for scope, found in verdicts.items() if found is Verdict.MISSING)
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
    held: frozenset[str] = field(init=False)
    """Every spelling of every declared scope: what a client is narrowed to (rule 23)."""
    resources: tuple[tuple[ResourceKind, str], ...] = field(init=False)
    """The declared resources: kind and name."""
    scopes: tuple[str, ...] = field(init=False)
    """The declared scopes, each in one spelling, sorted."""
    _verdicts: dict[frozenset[str], tuple[str, ...]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        held = frozenset(scope for item in self.items for group in item.spellings for scope in group)
        named = tuple((item.kind, str(item.resource.name)) for item in self.items if item.kind is not None)
        object.__setattr__(self, "held", held)
        object.__setattr__(self, "resources", named)
        scopes = {scope for item in self.items for group in item.spellings[:1] for scope in group}
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


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One entry of the registry.

    Attributes:
        tool: The tool's qualified name; empty for system resources.
        module: The module that declares it.
        requirements: What the tool declares.
        system: Resources reached with system authorization.
        place: The file and the line where it is declared.
    """

    tool: str
    module: str
    requirements: tuple[Requirement, ...] = ()
    system: tuple[Any, ...] = ()
    place: tuple[str, int] = field(default=("", 0), compare=False)


class _Registry:
    """Everything declared in this process, in order. Holds no function: tools may be made anew for each request."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tools: dict[tuple[str, str], tuple[types.CodeType | None, list[Declaration]]] = {}
        self._system: list[Declaration] = []
        self.places: set[tuple[str, int]] = set()
        """Where something was declared, by file and line."""

    def add_tool(self, declaration: Declaration, code: types.CodeType | None) -> None:
        place = declaration.module, declaration.tool
        with self._lock:
            known, declared = self._tools.get(place, (code, []))
            # A notebook cell that is run again defines its tool anew, from new code. What is made inside a function shares
            # its name with others that count as well.
            if known is not code and "<" not in declaration.tool:
                declared = []
            if declaration not in declared:
                declared = [*declared, declaration]
            self._tools[place] = code, declared

    def add_system(self, declaration: Declaration) -> None:
        with self._lock:
            if declaration not in self._system:
                self._system.append(declaration)

    def __iter__(self) -> Iterator[Declaration]:
        with self._lock:
            tools = [declaration for _, declared in self._tools.values() for declaration in declared]
            return iter(tools + self._system)


REGISTRY = _Registry()


def requirement(item: object, allow_unknown: bool) -> Requirement:
    """A scope or a resource, as `requires_scopes` takes them.

    Raises:
        UnknownScopeError: The catalogue does not know the scope.
        PolicyError: It is neither a scope nor a resource.
    """
    if isinstance(item, str):
        if not allow_unknown or not item.strip():
            check_known(item)
        return Requirement(scope=item)
    if callable(item) and not isinstance(item, type):
        raise PolicyError(
            "requires_scopes was put on a function without saying what the function needs.",
            remedy="Name it: @requires_scopes('genie'), or @requires_scopes(DatabricksGenieSpace('…')).",
        )
    return Requirement(resource=item, kind=kind_of(item))


def is_resource(thing: object) -> bool:
    """Return whether a thing is an MLflow resource."""
    known = sys.modules.get("mlflow.models.resources")
    return known is not None and isinstance(thing, known.Resource)


def require_resource(resource: object) -> None:
    """Refuse what is no MLflow resource.

    Raises:
        PolicyError: It is none.
    """
    if not is_resource(resource):
        raise PolicyError(
            f"A system resource is an MLflow resource, not a {type(resource).__name__}.",
            remedy="Use the classes of mlflow.models.resources, such as DatabricksServingEndpoint('…').",
        )


def declarations(found: Iterable[Declaration]) -> tuple[list[tuple[str, Requirement]], list[Any]]:
    """Tools' requirements (with the tool's name) and system resources, without repetition, in order."""
    requirements: list[tuple[str, Requirement]] = []
    system: list[Any] = []
    for declaration in found:
        requirements.extend((declaration.tool, item) for item in declaration.requirements)
        system.extend(resource for resource in declaration.system if resource not in system)
    return requirements, system
