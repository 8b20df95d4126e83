"""The registry of tools' declarations, from which policies are collected."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from obo_kit.exceptions import PolicyError
from obo_kit.scopes._lookup import check_known, kind_of
from obo_kit.tools._spec import Requirement

__all__: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One entry of the registry.

    Attributes:
        tool: The tool's qualified name; empty for system resources.
        module: The module that declares it.
        requirements: The tool's requirements.
        system: Resources reached with system authorization.
        place: The file and the line of the declaration.
        name: The tool's name if it is not its function's name: tools that a loop makes have names of their own.
    """

    tool: str
    module: str
    requirements: tuple[Requirement, ...] = ()
    system: tuple[Any, ...] = ()
    place: tuple[str, int] = field(default=("", 0), compare=False)
    name: str = field(default="", compare=False)

    @property
    def called(self) -> str:
        """Return the tool's name, for people."""
        return self.name or self.tool


class _Registry:
    """Everything declared in this process, in order. Holds no function: tools may be made anew for each request."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tools: dict[tuple[str, str], tuple[types.CodeType | None, list[Declaration]]] = {}
        self._system: list[Declaration] = []
        self.places: set[tuple[str, int]] = set()
        """The places of all declarations: file and line."""

    def add_tool(self, declaration: Declaration, code: types.CodeType | None) -> None:
        place = declaration.module, declaration.tool
        with self._lock:
            earlier, declared = self._tools.get(place, (code, []))
            # A notebook cell that runs again defines its tool anew, from new code. Tools that are made inside a function share
            # a name with others that also count.
            if earlier is not code and "<" not in declaration.tool:
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
    """Build a requirement from a scope or a resource, as `requires_scopes` takes them.

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
    """Return whether an object is an MLflow resource."""
    resources = sys.modules.get("mlflow.models.resources")
    return resources is not None and isinstance(thing, resources.Resource)


def require_resource(resource: object) -> None:
    """Refuse an object that is not an MLflow resource.

    Raises:
        PolicyError: It is not an MLflow resource.
    """
    if not is_resource(resource):
        raise PolicyError(
            f"A system resource must be an MLflow resource, not a {type(resource).__name__}.",
            remedy="Use the classes of mlflow.models.resources, such as DatabricksServingEndpoint('…').",
        )


def declarations(declared: Iterable[Declaration]) -> tuple[list[tuple[str, Requirement]], list[Any]]:
    """Return tools' requirements (with the tool's name) and system resources, without repetition, in order."""
    requirements: list[tuple[str, Requirement]] = []
    system: list[Any] = []
    for declaration in declared:
        requirements.extend((declaration.called, item) for item in declaration.requirements)
        system.extend(resource for resource in declaration.system if resource not in system)
    return requirements, system
