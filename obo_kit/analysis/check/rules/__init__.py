"""The rules, a file per series. Each says what it finds, why it matters and how to fix it."""

from __future__ import annotations

from typing import Final

from obo_kit.analysis.check.rules import (  # noqa: F401 - each adds its rules
    _answers,
    _background,
    _declarations,
    _fallback,
    _identity,
    _kept,
    _policies,
    _refusals,
    _threads,
    _tokens,
    _yields,
)
from obo_kit.analysis.check.rules._table import TABLE, Hit, Rule

__all__ = ["RULES", "Hit", "Rule"]

RULES: Final[dict[str, Rule]] = dict(sorted(TABLE.items()))
"""Every rule, by its code."""
