"""Modules that a lower package loads without knowing them: the package's face names them."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__: list[str] = []

PLUGINS: dict[str, str] = {}
"""The full name of each module, by the name that it is loaded by."""


def load(name: str) -> ModuleType:
    """Load a module by the name that the package's face gave it."""
    return importlib.import_module(PLUGINS[name])
