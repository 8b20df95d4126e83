"""``obo-kit doctor``."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import click

from obo_kit.cli._examination import deployment, file, machine
from obo_kit.cli._terminal import json_option, print_json, refusals, working
from obo_kit.scopes._lookup import TARGETS

if TYPE_CHECKING:
    from obo_kit.cli._examination import Finding
    from obo_kit.scopes._lookup import Target

__all__ = ["doctor"]

_MARKS = {"ok": ("ok     ", "green"), "note": ("note   ", "yellow"), "problem": ("problem", "red")}


@click.command(short_help="Find what is wrong with machine, deployment and file.")
@click.argument("agent", required=False)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="The runtime; by default, the one that the file is made for.",
)
@json_option
def doctor(*, agent: str | None, target: Target | None, in_json: bool) -> None:
    """Say what is wrong with this machine, with this deployment, and with an AGENT's file.

    Of the machine: Python, packages and their versions, variables. Of the deployment: where this runs, and whether there is
    a user. Of the file: what the next log_model would declare, what MLflow or the platform would refuse, and what
    obo-kit check finds. Nothing is sent. Ends with 1 where there is a problem.
    """
    with refusals(), working("Examining"):
        sections: dict[str, list[Finding]] = {"machine": machine(), "deployment": deployment(agent, target)}
        if agent is not None:
            sections["file"] = file(agent, target)
    healthy = not any(finding.level == "problem" for findings in sections.values() for finding in findings)
    if in_json:
        named = {name: [finding.as_dict() for finding in findings] for name, findings in sections.items()}
        print_json({"ok": healthy, **named})
    else:
        for name, findings in sections.items():
            _show(name, findings)
        click.echo("Nothing is wrong." if healthy else "Something is wrong; see 'problem' above.")
    sys.exit(0 if healthy else 1)


def _show(name: str, findings: list[Finding]) -> None:
    click.echo(click.style(f"This {name}", bold=True))
    for finding in findings:
        mark, shade = _MARKS[finding.level]
        lines = textwrap.wrap(finding.what, 68, break_long_words=False, break_on_hyphens=False)
        if finding.fix:
            lines += textwrap.wrap(f"Fix: {finding.fix}", 68, break_long_words=False, break_on_hyphens=False)
        click.echo(f"  {click.style(mark, fg=shade)}  " + ("\n" + " " * 11).join(lines))
    click.echo()
