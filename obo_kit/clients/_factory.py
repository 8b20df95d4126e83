"""The types of clients that a session hands out, in one table."""

from __future__ import annotations

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
"""The module and the function that build each type: imported with the first client of it."""


def build(name: str, lease: Lease, get: Callable[[str], Any]) -> Any:
    """Build one client of a session. ``get`` gives the session's other clients, by name.

    Raises:
        SessionClosedError: The session has ended.
        NoUserIdentityError: The session was opened without a user.
        ImportError: The client is an extra's that is not installed.
    """
    lease.check()
    module, function = CLIENT_TYPES[name]
    return getattr(importlib.import_module(f"{__package__}.{module}"), function)(lease, get)
