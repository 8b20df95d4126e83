"""The command line: what an agent's policy would be, and which scope something needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from obo_kit._errors import OboError
from obo_kit._version import __version__
from obo_kit.scopes import KINDS, SCOPES, TARGETS, ResourceKind, Scope, scopes_of, search

if TYPE_CHECKING:
    from obo_kit.scopes import Naming, Target

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="obo-kit")
def main() -> None:
    """Auth middleware for Databricks agents that act on behalf of the user who asks."""


@main.command()
@click.argument("agent", type=click.Path(exists=True, dir_okay=False))
@click.option("--target", type=click.Choice(TARGETS), default=TARGETS[0], show_default=True, help="Where it will run.")
@click.option("--naming", type=click.Choice(("current", "granular")), default="current", show_default=True)
def policy(agent: str, target: Target, naming: Naming) -> None:
    """Print the policy of an AGENT file, as JSON: MLflow's AuthPolicy, or what an app's databricks.yml takes."""
    from obo_kit.policy import app_config, auth_policy

    try:
        if target == "apps":
            found = app_config(agent, naming=naming)
        else:
            mlflow_policy: Any = auth_policy(agent, target=target, naming=naming)
            found = mlflow_policy.to_dict()
    except OboError as error:
        raise click.ClickException(str(error)) from None
    click.echo(json.dumps(found, indent=2))


@main.command()
@click.argument("term", required=False)
def scopes(term: str | None) -> None:
    """Say which scope a TERM needs, where, and what must be granted. Without a TERM, list everything."""
    found: list[Scope | ResourceKind] = search(term) if term else [*KINDS.values(), *SCOPES.values()]
    if not found:
        raise click.ClickException(f"The catalogue knows nothing like '{term}'. To mend it: try a shorter word.")
    for hit in found:
        click.echo(_kind(hit) if isinstance(hit, ResourceKind) else _scope(hit))


def _kind(kind: ResourceKind) -> str:
    lines = [f"{kind.title} (resource, {kind.confidence}, {kind.as_of})"]
    for target in TARGETS:
        try:
            spelled = ", ".join(scopes_of(kind, target))
        except OboError:
            spelled = "cannot be granted"
        lines.append(f"  {target:<14} {spelled}")
    lines += [f"  {'grant':<14} {grant.privilege} on {grant.on}" for grant in kind.grants]
    if kind.note:
        lines.append(f"  {'note':<14} {kind.note}")
    return "\n".join(lines)


def _scope(scope: Scope) -> str:
    takes = [target for target in TARGETS if target in scope.accepted_by]
    always = [f"{target} always grants it" for target in TARGETS if target in scope.always_granted_by]
    where = "; ".join([f"declared for {' and '.join(takes)}" if takes else "no target takes it", *always])
    note = f" ({scope.note})" if scope.note else ""
    return f"{scope.name}: {where}; {scope.confidence}, {scope.as_of}{note}"
