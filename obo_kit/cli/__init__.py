"""The command line."""

from __future__ import annotations

from obo_kit.cli._main import main

__all__ = ["main"]
