"""Make other packages' clients use the kit if they receive a session's client, whenever they are imported."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from obo_kit._upstream.patches import ai_search, databricks_mcp, databricks_openai, databricks_sdk, databricks_sql, mcp
from obo_kit._upstream.patches._mechanics import when_imported

__all__: list[str] = []

PATCHES = {
    "obo_kit.clients._mcp": databricks_mcp.MODULES + mcp.MODULES,
    "obo_kit.clients._derived": databricks_sdk.MODULES + databricks_openai.MODULES,
    "obo_kit.clients._vector_search": ai_search.MODULES,
    "obo_kit.clients._sql": databricks_sql.MODULES,
}
"""A module here, and the modules of other packages that its `patch` is called with."""


def patch_clients() -> None:
    """Patch the modules that are already imported, and the others when they are."""
    when_imported(_PATCHES)


def _patch(ours: str, module: Any) -> None:
    home = importlib.import_module(ours)
    if hasattr(home, "patch"):  # a module that imports the other package is imported later, and then patches it itself
        home.patch(module)


_PATCHES = {module: functools.partial(_patch, ours) for ours, modules in PATCHES.items() for module in modules}
