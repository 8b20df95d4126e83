"""Copy the retriever tools of `databricks_langchain` and `databricks_openai` for the user of a session."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obo_kit.session._session import UserSession

__all__: list[str] = []


def retriever_of(tool: Any, session: UserSession) -> Any:
    """Copy a tool, with the user's index. The model's view of the tool stays as it was when the tool was built."""
    copied = copy.copy(tool)
    copied.workspace_client = session.client
    index = session.get_named("VectorSearchClient").get_index(index_name=tool.index_name)
    store = getattr(tool, "_vector_store", None)
    if store is None:
        copied._index = index
    else:
        copied._vector_store = copy.copy(store)
        copied._vector_store.index = index
    return copied
