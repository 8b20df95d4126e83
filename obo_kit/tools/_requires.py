"""`requires_scopes` and `system_resources`: what tools declare."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from obo_kit._utils.user_code import is_author_s
from obo_kit.exceptions import PolicyError
from obo_kit.tools._registry import REGISTRY, Declaration, require_resource, requirement
from obo_kit.tools._spec import Requirement, Requirements
from obo_kit.tools._wrapper import amend

if TYPE_CHECKING:
    from mlflow.models.resources import DatabricksResource

    from obo_kit.tools._adapters import Decorated
    from obo_kit.tools._spec import ToolSpec

__all__ = ["requires_scopes", "system_resources"]

F = TypeVar("F", bound="Decorated")
R = TypeVar("R", bound="DatabricksResource")


def requires_scopes(*scopes_or_resources: str | DatabricksResource, allow_unknown: bool = False) -> Callable[[F], F]:
    """Declare what a tool needs to act for the user.

    The declaration has three effects. It is registered, so that the agent's policy contains it. It is compared, before each
    call, with the scopes that the user's token states. And the tool's client is narrowed to it. It also works for a function
    that receives its client as an argument.

    Args:
        scopes_or_resources: Scopes, in the spelling of either target, or MLflow resources
            (``mlflow.models.resources.Databricks…``), which imply their scopes.
        allow_unknown: Whether to accept scopes that the catalogue does not know. They are declared as written.

    Raises:
        UnknownScopeError: At decoration: the catalogue does not know a scope. The error names the nearest one.
        PolicyError: At decoration: nothing is declared, or something that is neither a scope nor a resource.
        MissingScopeError: At the call: the user's token lacks scopes.
    """
    if not scopes_or_resources:
        raise PolicyError(
            "requires_scopes() declares nothing.",
            remedy="Name the scopes or resources that the tool needs, or remove the decorator.",
        )
    return declaring([requirement(item, allow_unknown) for item in scopes_or_resources], sys._getframe(1))


def declaring(needed: Sequence[Requirement], caller: types.FrameType) -> Callable[[F], F]:
    """Return a decorator that declares what a tool needs.

    Args:
        needed: The requirements.
        caller: The frame of the author's declaration.
    """
    place, caller_s = _place(caller), str(caller.f_globals.get("__name__", ""))

    def change(spec: ToolSpec) -> ToolSpec:
        items = spec.requirements.items if spec.requirements is not None else ()
        items += tuple([item for item in needed if item not in items])
        amended = spec.having(requirements=Requirements(items=items, module=_declaring_module(spec, caller_s)))
        fn = inspect.unwrap(spec.fn) if hasattr(spec.fn, "__wrapped__") else spec.fn
        REGISTRY.add_tool(declaration_of(amended, place), getattr(fn, "__code__", None))
        return amended

    return functools.partial(amend, decorator="requires_scopes", change=change)


def declaration_of(spec: ToolSpec, place: tuple[str, int] = ("", 0), name: str | None = None) -> Declaration:
    """Return a tool's declaration for the policy. The tool must declare something.

    Args:
        spec: The tool.
        place: The file and the line of the declaration.
        name: The name that a framework calls it by.
    """
    assert spec.requirements is not None
    tool = spec.name if spec.owner is not None else getattr(spec.fn, "__qualname__", spec.name)
    called = name or spec.called
    return Declaration(
        tool=tool,
        module=spec.requirements.module,
        requirements=spec.requirements.items,
        place=place,
        name="" if called == tool.rpartition(".")[2] else called,
    )


def _declaring_module(spec: ToolSpec, caller: str) -> str:
    """Return the function's own module, because the decorator may come from a helper.

    Return the caller's module for a framework's object or another package's function: that package declares nothing.
    """
    own = getattr(spec.fn, "__module__", None) or ""
    if spec.owner is not None or own.partition(".")[0] in sys.stdlib_module_names:
        return caller
    return own if own == caller or is_author_s(own) or not is_author_s(caller) else caller


def system_resources(*resources: R) -> tuple[R, ...]:
    """Declare what the agent reaches with system authorization: its own credentials, the same for every user.

    Args:
        resources: MLflow resources (``mlflow.models.resources.Databricks…``).

    Returns:
        The same resources.

    Raises:
        PolicyError: Nothing is declared, or something that is not a resource.
    """
    if not resources:
        raise PolicyError("system_resources() declares nothing.", remedy="Name the resources, or remove the call.")
    for resource in resources:
        require_resource(resource)
    caller = sys._getframe(1)
    module = str(caller.f_globals.get("__name__", ""))
    REGISTRY.add_system(Declaration(tool="", module=module, system=tuple(resources), place=_place(caller)))
    return resources


def _place(caller: types.FrameType) -> tuple[str, int]:
    place = caller.f_code.co_filename, caller.f_lineno
    REGISTRY.places.add(place)
    return place
