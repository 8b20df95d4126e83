"""Refusals, explained: which of them an exception or a value is, and who can mend it."""

from obo_kit.denials._explain import explain, explain_in, raise_for_denial, rewrite_denials

__all__ = ["explain", "explain_in", "raise_for_denial", "rewrite_denials"]
