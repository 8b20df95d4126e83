"""Has MCP clients authenticate by the session's client that they are given, whenever their package is imported.

Loading that package takes longer than a request, so it is left to those who use it: here its import is waited for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

__all__: list[str] = []

_PROVIDER = "databricks_mcp.oauth_provider"


class _WhenImported(MetaPathFinder):
    """Once, at the import of the module: has whoever would have found it find it, and takes over what it has loaded."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != _PROVIDER:
            return None
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            load = loader.exec_module

            def exec_module(module: Any) -> None:
                load(module)
                _take_over()

            loader.exec_module = exec_module
        return spec


_when_imported = _WhenImported()


def _take_over() -> None:
    from obo_kit.clients._mcp import take_over

    take_over()


def take_over_mcp() -> None:
    """Take over now, or when the package is imported."""
    if _PROVIDER in sys.modules:
        _take_over()
    elif _when_imported not in sys.meta_path:
        sys.meta_path.insert(0, _when_imported)
