"""Load modules of higher packages by name. `obo_kit/__init__.py` registers them, so that no import points up."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__: list[str] = []

PLUGINS: dict[str, str] = {}
"""Each module's full name, by the short name that `load` takes."""


def load(name: str) -> ModuleType:
    """Load a module by its short name."""
    return importlib.import_module(PLUGINS[name])
