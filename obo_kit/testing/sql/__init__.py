"""Run SQL for the local workspace."""

from obo_kit.testing.sql import _refusals as _refusals
