"""Find the index in a retriever tool, and replace it. LangChain's tools keep it in a store, OpenAI's keep it themselves.

Read in databricks-langchain 0.16 and 0.22, databricks-openai 0.16 and 0.18.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

__all__: list[str] = []

T = TypeVar("T")


def index_in(tool: object, kind: type[T]) -> T | None:
    """Return the index in a retriever tool or a vector store; `None` if there is none of this class."""
    store = getattr(tool, "_vector_store", tool)
    for name in ("_index", "index"):
        index = getattr(store, name, None)
        if isinstance(index, kind):
            return index
    return None


def set_index(tool: Any, index: Any) -> None:
    """Give a copy of a retriever tool another index. The store of the tool that it is a copy of stays as it is."""
    store = getattr(tool, "_vector_store", None)
    if store is None:
        tool._index = index
    else:
        tool._vector_store = copy.copy(store)
        tool._vector_store.index = index
