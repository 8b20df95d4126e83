"""Has other packages' clients speak through the kit, where they are given a session's client, whenever they are imported.

Loading those packages takes longer than a request, so it is left to those who use them: here their import is waited for.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__: list[str] = []

PATCHES = {
    "databricks_mcp.mcp": "obo_kit.clients._mcp",
    "databricks_mcp.oauth_provider": "obo_kit.clients._mcp",
    "databricks_openai.utils.clients": "obo_kit.clients._derived",
    "databricks.ai_search.client": "obo_kit.clients._vector_search",
    "mcp.client.streamable_http": "obo_kit.clients._mcp",
    "databricks.sdk": "obo_kit.clients._derived",
}
"""A module of another package, and the module here whose `take_over` is called with it."""


class _WhenImported(MetaPathFinder):
    """Once, at the import of a module: have whoever would find it find it, and take over what was loaded."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            load = loader.exec_module

            def exec_module(module: Any) -> None:
                load(module)
                _take_over(module)

            loader.exec_module = exec_module
        return spec


_when_imported = {name: _WhenImported(name) for name in PATCHES}


def _take_over(module: Any) -> None:
    ours = importlib.import_module(PATCHES[module.__name__])
    if hasattr(ours, "take_over"):  # it is what imports the other, and comes to it itself
        ours.take_over(module)


def take_over() -> None:
    """Take over what is imported already, and the rest when it is."""
    for name, finder in _when_imported.items():
        if (module := sys.modules.get(name)) is not None:
            _take_over(module)
        elif finder not in sys.meta_path:
            sys.meta_path.insert(0, finder)
