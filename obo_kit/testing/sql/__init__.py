"""SQL as the local workspace runs it."""

from obo_kit.testing.sql import _refusals as _refusals
