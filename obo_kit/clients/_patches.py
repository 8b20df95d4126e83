"""Have other packages' clients speak through the kit, where they are given a session's client, whenever they are imported."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from obo_kit._upstream.patches import ai_search, databricks_mcp, databricks_openai, databricks_sdk, mcp
from obo_kit._upstream.patches._mechanics import when_imported

__all__: list[str] = []

PATCHES = {
    "obo_kit.clients._mcp": databricks_mcp.MODULES + mcp.MODULES,
    "obo_kit.clients._derived": databricks_sdk.MODULES + databricks_openai.MODULES,
    "obo_kit.clients._vector_search": ai_search.MODULES,
}
"""A module here, and those of other packages with which its `patch` is called."""


def patch_clients() -> None:
    """Patch what is imported already, and the rest when it is."""
    for name, patch in _PATCHES.items():
        when_imported(name, patch)


def _patch(ours: str, module: Any) -> None:
    home = importlib.import_module(ours)
    if hasattr(home, "patch"):  # it is what imports the other, and comes to it itself
        home.patch(module)


_PATCHES = {module: functools.partial(_patch, ours) for ours, modules in PATCHES.items() for module in modules}
