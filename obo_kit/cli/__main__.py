"""``python -m obo_kit.cli``."""

from __future__ import annotations

from obo_kit.cli import main

main()
