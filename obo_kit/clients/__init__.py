"""Send requests as the user: one pipeline, the transports that use it, and the clients that use the transports."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from obo_kit.clients._factory import CLIENT_TYPES, build

if TYPE_CHECKING:
    from obo_kit.clients._mcp import Bearer
    from obo_kit.clients._sql import warehouse
    from obo_kit.clients._vector_search import copied_index

__all__ = ["Bearer", "CLIENT_TYPES", "build", "copied_index", "warehouse"]

# Each of these needs a package that is slow to load.
_LATER = {"Bearer": "_mcp", "copied_index": "_vector_search", "warehouse": "_sql"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
