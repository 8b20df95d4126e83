"""The types of clients that a session builds, in one table."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from obo_kit.identity._credentials import Lease

__all__: list[str] = []

CLIENT_TYPES: Mapping[str, tuple[str, str]] = {
    "WorkspaceClient": ("_workspace", "workspace_client"),
    "VectorSearchClient": ("_vector_search", "vector_search_client"),
    "AISearchClient": ("_vector_search", "vector_search_client"),
    "DatabricksOpenAI": ("_openai", "openai_client"),
    "AsyncDatabricksOpenAI": ("_openai", "async_openai_client"),
    "Connection": ("_sql", "sql_connection"),
}
"""The module and the function that build each type. They are imported with the first client of the type."""


def build(name: str, lease: Lease, get: Callable[[str], Any]) -> Any:
    """Build one client of a session. ``get`` returns the session's other clients, by name.

    Raises:
        SessionClosedError: The session has ended.
        NoUserIdentityError: The session was opened without a user.
        ImportError: The client needs an extra that is not installed.
    """
    lease.check()
    return _builder(name)(lease, get)


@functools.cache
def _builder(name: str) -> Callable[[Lease, Callable[[str], Any]], Any]:
    module, function = CLIENT_TYPES[name]
    builder: Callable[[Lease, Callable[[str], Any]], Any] = getattr(
        importlib.import_module(f"{__package__}.{module}"), function
    )
    return builder
