"""Models, served by the local workspace."""

from obo_kit.testing.serving import _refusals as _refusals
