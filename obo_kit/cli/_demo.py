"""``obo-kit demo``."""

from __future__ import annotations

import subprocess
import sys

import click

from obo_kit.cli._examples import example
from obo_kit.cli._terminal import refusals

__all__ = ["demo"]


@click.command(short_help="Ask a support agent the same question as three users.")
def demo() -> None:
    """Log a support agent with MLflow, serve it on this machine, and ask it the same question as three users."""
    with refusals():
        script = example("support_agent") / "demo.py"
        from obo_kit.testing._packages import check_packages

        check_packages()
    sys.exit(subprocess.run([sys.executable, str(script)], check=False).returncode)  # noqa: S603 - our own script
