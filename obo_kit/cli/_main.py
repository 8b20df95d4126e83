"""The command ``obo-kit``: one module for each of its commands."""

from __future__ import annotations

import click

from obo_kit._utils.version import __version__
from obo_kit.cli._check import check
from obo_kit.cli._demo import demo
from obo_kit.cli._doctor import doctor
from obo_kit.cli._init import init
from obo_kit.cli._playground import playground
from obo_kit.cli._policy import policy
from obo_kit.cli._scopes import scopes
from obo_kit.cli._terminal import color
from obo_kit.cli._verify import verify
from obo_kit.cli._workspace import workspace

__all__ = ["main"]

_EPILOG = """\b
Completion with the tab key, in bash (zsh_source and fish_source likewise):
  eval "$(_OBO_KIT_COMPLETE=bash_source obo-kit)"
"""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="obo-kit")
@click.pass_context
def main(context: click.Context) -> None:
    """Auth middleware for Databricks agents that act on behalf of the user who asks."""
    context.color = color()


for _command in (check, demo, doctor, init, playground, policy, scopes, verify, workspace):
    main.add_command(_command)
