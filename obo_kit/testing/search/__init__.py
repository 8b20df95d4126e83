"""Vector search in the local workspace."""

from obo_kit.testing.search import _refusals as _refusals
