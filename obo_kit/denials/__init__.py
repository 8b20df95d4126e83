"""Explain refusals: recognize them in exceptions and values, and say who can fix them."""

from obo_kit.denials._explain import (
    explain,
    explain_in,
    keep_denial,
    kept_denial,
    raise_for_denial,
    rewrite_denials,
)

__all__ = ["explain", "explain_in", "keep_denial", "kept_denial", "raise_for_denial", "rewrite_denials"]
