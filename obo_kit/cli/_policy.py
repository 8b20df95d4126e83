"""``obo-kit policy``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from obo_kit.cli._terminal import RefusedError, fitted, json_option, print_json, refusals, working
from obo_kit.scopes._lookup import TARGETS

if TYPE_CHECKING:
    from obo_kit.policy._bundle import Update
    from obo_kit.scopes._lookup import Naming, Target

__all__ = ["policy"]

_FORMATS = ("table", "text", "mermaid", "json", "mlflow", "bundle")
_OF_JSON = ("table", "json", "mlflow")  # what --json goes with: the first stands for the second


@click.command(short_help="Show an agent's tools, scopes, resources and identities.")
@click.argument("agent", type=click.Path(dir_okay=False))
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="The runtime; by default, the one that the file is made for.",
)
@click.option("--naming", type=click.Choice(("current", "granular")), default="current", show_default=True)
@click.option(
    "--format",
    "style",
    type=click.Choice(_FORMATS),
    default="table",
    show_default=True,
    help="A table or a picture (text, mermaid) for people; what MLflow or an app's databricks.yml takes; or plain JSON.",
)
@json_option
@click.option("--update", type=click.Path(exists=True, dir_okay=False), help="Write it into this databricks.yml.")
@click.option("--app", help="The app's key in the bundle, if there are several.")
@click.option("--check", is_flag=True, help="With --update: write nothing, and fail if the file has drifted.")
@click.option("--allow-empty", is_flag=True, help="With --update: let the app lose all its scopes, or declare nothing.")
def policy(
    *,
    agent: str,
    target: Target | None,
    naming: Naming,
    style: str,
    in_json: bool,
    update: str | None,
    app: str | None,
    check: bool,
    allow_empty: bool,
) -> None:
    """Show the policy of an AGENT: tools, scopes, resources, and whose credentials reach them.

    AGENT is a file or the dotted name of a module: agent_server/agent.py, agent_server.agent.
    """
    bundle = style == "bundle" or update is not None
    if in_json and style not in _OF_JSON:
        raise click.UsageError(f"--json and --format {style} are two forms. Choose one.")
    _check_options(bundle, target, has_file=update is not None, check=check, app=app, allow_empty=allow_empty)
    style = "json" if in_json and style == "table" else style
    with refusals():
        if update is not None:
            _update(agent, naming, update, app, check=check, allow_empty=allow_empty, in_json=in_json)
        else:
            with working(f"Collecting the policy of {agent}"):
                text = _policy(agent, _target(agent, "apps" if bundle else target, style), naming, style, app)
            click.echo(text)


def _check_options(
    bundle: bool, target: str | None, *, has_file: bool, check: bool, app: str | None, allow_empty: bool
) -> None:
    """Refuse options that do not fit one another."""
    if bundle and target == "model-serving":
        raise click.UsageError("A databricks.yml holds scopes for apps. For Model Serving: --format mlflow.")
    if (check or app) and not bundle:
        raise click.UsageError("--check and --app belong to --update, and --app also to --format bundle.")
    if (check or allow_empty) and not has_file:
        raise click.UsageError("--check and --allow-empty need the file to look at: --update databricks.yml.")


def _target(agent: str, target: Target | None, style: str = "bundle") -> Target:
    """Return where an agent runs, say so where nobody asked for it, and say what its policy cannot hold."""
    from obo_kit.policy._agent_file import collect

    file = collect(agent)
    for what, advice in file.uncounted:
        click.echo(f"Not counted: {what}. {advice}", err=True)
    if target is None:
        target, why = file.target or (TARGETS[0], "nothing in it says where it runs")
        if style not in ("json", "mlflow"):  # which name it themselves, and go to a program
            click.echo(f"Target: {target}, as {why}. Choose another with --target.", err=True)
    if target == "model-serving" and file.model is None:
        raise RefusedError(
            f"'{agent}' sets no model: it never calls set_model(). Fix: pass --target apps for a Databricks App, or end "
            "the file with mlflow.models.set_model(…)."
        )
    return target


def _policy(agent: str, target: Target, naming: Naming, style: str, app: str | None) -> str:
    from obo_kit.policy import _report
    from obo_kit.policy._bundle import as_yaml
    from obo_kit.policy._policy import config_of, policy_of

    if style == "bundle":
        return as_yaml(config_of(agent, naming), app or Path(agent).stem)
    if style == "mlflow":
        mlflow_policy: Any = policy_of(agent, target, naming)
        return json.dumps(mlflow_policy.to_dict(), indent=2)
    picture = _report.picture_of(agent, target=target, naming=naming)
    if style == "json":
        return json.dumps(_report.as_json(picture), indent=2)
    if style == "table":
        return _report.as_table(picture, aligned=fitted)
    return {"text": _report.as_text, "mermaid": _report.as_mermaid}[style](picture)


def _update(
    agent: str, naming: Naming, file: str, app: str | None, *, check: bool, allow_empty: bool, in_json: bool
) -> None:
    from obo_kit.policy._bundle import updated
    from obo_kit.policy._policy import config_of

    with working(f"Collecting the policy of {agent}"):
        _target(agent, "apps")
        config = config_of(agent, naming)
        update = updated(file, config, app=app)
    if not allow_empty and not config["user_api_scopes"] and (update.removed or not config["resources"]):
        lost = f" {file} would lose {', '.join(update.removed)}." if update.removed else ""
        nothing = "no scope" if config["resources"] else "no scope and no resource"
        msg = f"'{agent}' declares {nothing}.{lost} Fix: pass the agent file. If this is it, add --allow-empty."
        raise RefusedError(msg)
    if in_json:
        print_json(
            {"file": file, "changed": update.changed, "removed": update.removed, "undeclared": update.undeclared}
        )
    else:
        _show(update, file)
    if not update.changed:
        return
    if check:
        msg = f"{file} has drifted from what the agent declares. Fix: the same command without --check."
        raise RefusedError(msg)
    try:
        update.write()
    except OSError as error:
        msg = f"{file} cannot be written: {error.strerror}. It is as it was. Fix: make it writable."
        raise RefusedError(msg) from None
    click.echo(f"{file} is updated. Deploy it, stop and start the app, and let users consent again.", err=in_json)


def _show(update: Update, file: str) -> None:
    for scope in update.removed:
        click.echo(f"The app's scope '{scope}' is removed: the agent does not declare it.", err=True)
    for name in update.undeclared:
        click.echo(f"The app's resource '{name}' stays, although the agent does not declare it.", err=True)
    if not update.changed:
        click.echo(f"{file} holds what the agent declares.")
    for line in update.diff().splitlines():
        shade = {"+": "green", "-": "red"}.get(line[:1])
        click.echo(click.style(line, fg=shade) if shade else line)
