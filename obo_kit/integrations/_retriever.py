"""Copy the retriever tools of `databricks_langchain` and `databricks_openai` for the user of a session."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from obo_kit._upstream.retrievers import set_index

if TYPE_CHECKING:
    from obo_kit.session._session import UserSession

__all__: list[str] = []


def retriever_of(tool: Any, session: UserSession) -> Any:
    """Copy a tool, with the user's index. The model's view of the tool stays as it was when the tool was built."""
    copied = copy.copy(tool)
    copied.workspace_client = session.client
    index = session.get_named("VectorSearchClient").get_index(index_name=tool.index_name)
    set_index(copied, index)
    return copied
