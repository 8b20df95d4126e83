"""``python -m obo_kit``."""

from __future__ import annotations

from obo_kit.cli import main

if __name__ == "__main__":
    main(prog_name="obo-kit")
