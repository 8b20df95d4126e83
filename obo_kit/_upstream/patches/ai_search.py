"""Patch the vector-search client, which retriever tools build from a token. Read in databricks-ai-search 0.75 and 0.81."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from obo_kit._upstream.patches._mechanics import after_init, once

__all__: list[str] = []

MODULES = ("databricks.ai_search.client",)


@once
def patch(module: Any, adopt: Callable[[Any], None]) -> None:
    """Pass on each client of the package's own class, once it is built.

    Args:
        module: One of `MODULES`, once it is loaded.
        adopt: Makes a client the user's, if it has a session's token.
    """
    client = module.AISearchClient
    after_init(client, lambda built: adopt(built) if type(built) is client else None)
