"""`user_tool`: client, requirement and fallback in one call, for a function, a tool object or a list of tools."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Concatenate, Protocol, TypeVar, overload

from obo_kit._utils.plugins import load
from obo_kit.exceptions import DenialReason
from obo_kit.tools._fallback import FORGIVEN, UNSET
from obo_kit.tools._optional import OptionalScope, optional_tool
from obo_kit.tools._registry import is_resource, requirement
from obo_kit.tools._requires import declaring
from obo_kit.tools._spec import Requirement
from obo_kit.tools._with_client import C, P, R, S, with_user_client

if TYPE_CHECKING:
    import tenacity
    from mlflow.models.resources import DatabricksResource

    from obo_kit.tools._adapters import Decorated

__all__ = ["user_tool"]

F = TypeVar("F", bound="Decorated | list[Any]")


class UserToolDecorator(Protocol):
    """Returned by ``user_tool(…)``."""

    @overload
    def __call__(self, target: Callable[Concatenate[C, P], R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, target: Callable[Concatenate[S, C, P], R], /) -> Callable[Concatenate[S, P], R]: ...
    @overload
    def __call__(self, target: F, /) -> F: ...
    def __call__(self, target: Any, /) -> Any:
        """Decorate a function, a tool object, or each tool of a list."""


@overload
def user_tool(target: Callable[Concatenate[C, P], R], /) -> Callable[P, R]: ...
@overload
def user_tool(target: Callable[Concatenate[S, C, P], R], /) -> Callable[Concatenate[S, P], R]: ...
@overload
def user_tool(
    *scopes_or_resources: str | DatabricksResource,
    name: str | None = ...,
    fallback: Any = ...,
    on: AbstractSet[DenialReason] = ...,
    retry: bool | int | tenacity.Retrying = ...,
    idempotent: bool = ...,
    allow_unknown: bool = ...,
) -> UserToolDecorator: ...
@overload
def user_tool(target: F, /) -> F: ...
def user_tool(
    *scopes_or_resources: Any,
    name: str | None = None,
    fallback: Any = UNSET,
    on: AbstractSet[DenialReason] = FORGIVEN,
    retry: bool | int | tenacity.Retrying = False,
    idempotent: bool = False,
    allow_unknown: bool = False,
) -> Any:
    """Make a tool act for the user: ``@optional_tool``, ``@requires_scopes`` and ``@with_user_client`` in one call.

    ::

        @user_tool(DatabricksGenieSpace("01f0ea87"), fallback="Sales figures are not available to you.")
        def ask_sales(client: WorkspaceClient, question: str) -> str: ...

        search_faq = user_tool(VectorSearchRetrieverTool(index_name="main.support.faq", workspace_client=WorkspaceClient()))
        tools = user_tool([search_faq, search_contracts])

    If you name nothing, a tool object declares what it reaches: a ``VectorSearchRetrieverTool`` its index, an MCP server or
    toolkit its address. A function declares only what you name, and is not narrowed if you name nothing.

    Args:
        scopes_or_resources: What the tool needs, as for `requires_scopes`; or the function, the tool object or the list of
            tools itself.
        name: As for `optional_tool`.
        fallback: As for `optional_tool`.
        on: As for `optional_tool`.
        retry: As for `optional_tool`.
        idempotent: As for `optional_tool`.
        allow_unknown: As for `requires_scopes`.

    Raises:
        TypeError: At decoration: the function has no parameter for a client, or the object holds none.
        ValueError: At decoration: ``retry`` is fewer than 2 attempts, or would never end.
        UnknownScopeError: At decoration: the catalogue does not know a scope.
        PolicyError: At decoration: something is neither a scope nor a resource.
    """
    caller = sys._getframe(1)
    optional = optional_tool(name=name, fallback=fallback, on=on, retry=retry, idempotent=idempotent)
    if len(scopes_or_resources) == 1 and not _is_declared(scopes_or_resources[0]):
        return _decorated(scopes_or_resources[0], (), optional, caller)
    items = [requirement(item, allow_unknown) for item in scopes_or_resources]
    return lambda target: _decorated(target, items, optional, caller)


def _is_declared(item: object) -> bool:
    return isinstance(item, str) or is_resource(item)


def _decorated(target: Any, items: Sequence[Requirement], optional: OptionalScope, caller: types.FrameType) -> Any:
    if isinstance(target, list):
        return [_decorated(tool, items, optional, caller) for tool in target]
    made = with_user_client(target)
    needed = items or load("client_objects").needs_of(target)
    return optional(declaring(needed, caller)(made) if needed else made)
