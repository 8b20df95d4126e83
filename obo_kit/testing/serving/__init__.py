"""Models that the local workspace serves."""

from obo_kit.testing.serving import _refusals as _refusals
