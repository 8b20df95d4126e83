"""The command line: a demo, an agent's policy, which scope something needs, and a local workspace to talk to."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from obo_kit._utils.extras import MissingExtraError
from obo_kit._version import __version__
from obo_kit.exceptions import OboError
from obo_kit.scopes._lookup import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obo_kit.scopes._lookup import Naming, Target
    from obo_kit.testing import LocalWorkspace, RequestRecord

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="obo-kit")
def main() -> None:
    """Auth middleware for Databricks agents that act on behalf of the user who asks."""


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    """What the kit refuses, without a traceback."""
    try:
        yield
    except (OboError, MissingExtraError) as error:
        raise click.ClickException(str(error)) from None


@main.command()
def demo() -> None:
    """Log a support agent with MLflow, serve it on this machine, and ask it the same question as three users."""
    here = Path(__file__).parents[1]
    # The wheel carries the example of the repository; an editable installation finds it beside the package.
    scripts = [root / "support_agent" / "demo.py" for root in (here / "_examples", here.parent / "examples")]
    script = next((path for path in scripts if path.exists()), None)
    if script is None:
        raise click.ClickException("The demo is not part of this installation. Fix: install obo-kit from a wheel.")
    from obo_kit.testing._packages import check_packages

    with _said_plainly():
        check_packages()
    sys.exit(subprocess.run([sys.executable, str(script)], check=False).returncode)  # noqa: S603 - our own script


_FORMATS = ("table", "text", "mermaid", "json", "mlflow", "bundle")


@main.command()
@click.argument("agent", type=click.Path(dir_okay=False))
@click.option("--target", type=click.Choice(TARGETS), help="Where it will run; by default, what the file is made for.")
@click.option("--naming", type=click.Choice(("current", "granular")), default="current", show_default=True)
@click.option(
    "--format",
    "style",
    type=click.Choice(_FORMATS),
    default="table",
    show_default=True,
    help="A table or a picture (text, mermaid) for people; what MLflow or an app's databricks.yml takes; or plain JSON.",
)
@click.option(
    "--update", type=click.Path(exists=True, dir_okay=False), help="Put it into this databricks.yml, in place."
)
@click.option("--app", help="The app's key in the bundle; needed where there are several.")
@click.option("--check", is_flag=True, help="With --update: write nothing, and fail where the file has drifted.")
@click.option("--allow-empty", is_flag=True, help="With --update: let the app lose all its scopes, or declare nothing.")
def policy(
    *,
    agent: str,
    target: Target | None,
    naming: Naming,
    style: str,
    update: str | None,
    app: str | None,
    check: bool,
    allow_empty: bool,
) -> None:
    """Show the policy of an AGENT: tools, scopes, resources, and whose credentials reach them.

    AGENT is a file or the dotted name of a module: agent_server/agent.py, agent_server.agent.
    """
    bundle = style == "bundle" or update is not None
    if bundle and target == "model-serving":
        raise click.UsageError("A databricks.yml holds scopes for apps. For Model Serving: --format mlflow.")
    if (check or app) and not bundle:
        raise click.UsageError("--check and --app belong to --update, and --app also to --format bundle.")
    if (check or allow_empty) and update is None:
        raise click.UsageError("--check and --allow-empty need the file to look at: --update databricks.yml.")
    with _said_plainly():
        if update is not None:
            _update(agent, naming, update, app, check=check, allow_empty=allow_empty)
        else:
            click.echo(_policy(agent, _target(agent, "apps" if bundle else target, style), naming, style, app))


def _target(agent: str, target: Target | None, style: str = "bundle") -> Target:
    """Return where an agent runs, say so where nobody asked for it, and say what its policy cannot hold."""
    from obo_kit.policy._agent_file import collect

    file = collect(agent)
    for line in file.uncounted:
        click.echo(f"Not counted: {line}. Declare it with system_resources(…) if the agent reaches it.", err=True)
    if target is None:
        target, why = file.target or (TARGETS[0], "nothing in it says where it runs")
        if style not in ("json", "mlflow"):  # which name it themselves, and go to a program
            click.echo(f"Target: {target}, as {why}. Choose another with --target.", err=True)
    if target == "model-serving" and file.model is None:
        raise click.ClickException(
            f"'{agent}' sets no model: it never calls set_model(). Fix: pass --target apps for a Databricks App, or end "
            "the file with mlflow.models.set_model(…)."
        )
    return target


def _policy(agent: str, target: Target, naming: Naming, style: str, app: str | None) -> str:
    from obo_kit.policy import _report
    from obo_kit.policy._bundle import as_yaml
    from obo_kit.policy._policy import app_config, auth_policy

    if style == "bundle":
        return as_yaml(app_config(agent, naming=naming), app or Path(agent).stem)
    if style == "mlflow":
        mlflow_policy: Any = auth_policy(agent, target=target, naming=naming)
        return json.dumps(mlflow_policy.to_dict(), indent=2)
    picture = _report.picture_of(agent, target=target, naming=naming)
    if style == "json":
        return json.dumps(_report.as_json(picture), indent=2)
    draw = {"table": _report.as_table, "text": _report.as_text, "mermaid": _report.as_mermaid}[style]
    return draw(picture)


def _update(agent: str, naming: Naming, file: str, app: str | None, *, check: bool, allow_empty: bool) -> None:
    from obo_kit.policy._bundle import updated
    from obo_kit.policy._policy import app_config

    _target(agent, "apps")
    config = app_config(agent, naming=naming)
    update = updated(file, config, app=app)
    if not allow_empty and not config["user_api_scopes"] and (update.removed or not config["resources"]):
        lost = f" {file} would lose {', '.join(update.removed)}." if update.removed else ""
        nothing = "no scope" if config["resources"] else "no scope and no resource"
        msg = f"'{agent}' declares {nothing}.{lost} Fix: pass the agent file. If this is it, add --allow-empty."
        raise click.ClickException(msg)
    for scope in update.removed:
        click.echo(f"The app's scope '{scope}' goes, which the agent does not declare.", err=True)
    for name in update.undeclared:
        click.echo(f"The app's resource '{name}' stays, which the agent does not declare.", err=True)
    if not update.changed:
        click.echo(f"{file} holds what the agent declares.")
        return
    click.echo(update.diff(), nl=False)
    if check:
        msg = f"{file} has drifted from what the agent declares. Fix: the same command without --check."
        raise click.ClickException(msg)
    try:
        update.write()
    except OSError as error:
        msg = f"{file} cannot be written: {error.strerror}. It is as it was. Fix: make it writable."
        raise click.ClickException(msg) from None
    click.echo(f"{file} is updated. Deploy it, stop and start the app, and let users consent anew.")


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path, allow_dash=True))
@click.option("--fix", "mend", is_flag=True, help="Write the missing declarations into the files.")
@click.option("--format", "style", type=click.Choice(("text", "json", "sarif")), default="text", show_default=True)
@click.option("--select", multiple=True, help="Codes to look for, or their beginnings; all by default.")
@click.option("--ignore", multiple=True, help="Codes to leave out, or their beginnings.")
@click.option("--exclude", multiple=True, help="Files and folders to leave out: names or paths, * for any text.")
@click.option(
    "--stdin-filename", type=click.Path(path_type=Path), default=Path("stdin.py"), help="What '-' stands for."
)
@click.option("--statistics", "count", is_flag=True, help="Say how often each rule is broken, and not where.")
def check(
    *,
    paths: tuple[Path, ...],
    mend: bool,
    style: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    exclude: tuple[str, ...],
    stdin_filename: Path,
    count: bool,
) -> None:
    """Read the agents in PATHS, files or folders, without running them, and say what goes wrong with users and scopes.

    Files are modules (.py) and notebooks (.ipynb, or exported as source); '-' is the standard input. Ends with 0 where
    nothing is found, 1 where something is, and 2 where the call is wrong, where there was nothing to check, or where a file
    that was named cannot be read.
    """
    with _said_plainly():  # the catalogue of the project's own is read with the rules
        from obo_kit.analysis.check import _runner
        from obo_kit.analysis.check._output import FORMATS, statistics_of

        named = [path for path in paths if str(path) != "-"]
        stdin = (stdin_filename, sys.stdin.buffer.read()) if len(named) < len(paths) else None
        if mend and stdin is not None:
            raise click.UsageError("--fix writes into files, and '-' is none.")
        settings: Any = {"select": _codes("--select", select), "ignore": _codes("--ignore", ignore)}
        settings |= {"exclude": exclude, "stdin": stdin}
        report = _runner.check(named, **settings)
        if mend and (changed := _runner.fix(report)):
            click.echo("\n".join(f"Mended {path}" for path in changed), err=True)
            report = _runner.check(named, **settings)
    if not report.files and not report.unreadable:
        raise click.UsageError(
            "There is no .py and no .ipynb file to check. Files of tests count only where they are named."
        )
    click.echo(statistics_of(report) if count else FORMATS[style](report))
    for path, why in report.unreadable:
        click.echo(f"{path}: {why}", err=True)
    spoilt = report.named_unreadable or (report.unreadable and not report.findings)
    sys.exit(2 if spoilt else 1 if report.findings else 0)


def _codes(option: str, given: tuple[str, ...]) -> tuple[str, ...]:
    from obo_kit.analysis.check.rules import RULES

    codes = tuple(code.strip().upper() for several in given for code in several.split(",") if code.strip())
    for code in codes:
        if not any(known.startswith(code) for known in RULES):
            raise click.BadParameter(f"there is no rule {code}; there are {', '.join(RULES)}", param_hint=option)
    return codes


@main.command()
@click.argument("term", nargs=-1)
@click.option("--json", "in_json", is_flag=True, help="For scripts, with the addresses of the sources.")
def scopes(*, term: tuple[str, ...], in_json: bool) -> None:
    """Say which scope a TERM needs, where, what must be granted, and where sources disagree.

    A TERM is a resource ('genie space'), an MLflow class, a scope, or a path of the REST API ('POST /api/2.0/sql/statements').
    Without one, everything is listed.
    """
    from obo_kit.cli._scopes import answer, as_text

    words = " ".join(term)
    with _said_plainly():
        found = answer(words)
    if not (found["kinds"] or found["scopes"] or found["routes"]):
        raise click.ClickException(f"The catalogue knows nothing like '{words}'. Fix: try a shorter word.")
    click.echo(json.dumps(found, indent=2) if in_json else as_text(found))


# How a shell sets variables: what comes first, one of them, what stands between two.
_VARIABLE = {"sh": ("export ", "{}={}", " "), "powershell": ("", '$env:{} = "{}"', "; ")}


@main.command()
@click.option(
    "--config", required=True, type=click.Path(exists=True, dir_okay=False), help="What is in it: a YAML file."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; one that is free by default."
)
@click.option("--host", type=click.Choice(["127.0.0.1"]), default="127.0.0.1", hidden=True, expose_value=False)
@click.option(
    "--tokens", is_flag=True, help="Print a token per user, as lines for a shell. They open this stand-in alone."
)
@click.option(
    "--shell",
    type=click.Choice(list(_VARIABLE)),
    default="powershell" if os.name == "nt" else "sh",
    show_default=True,
    help="With --tokens: the shell that the lines are for.",
)
@click.option("--token-hours", type=click.FloatRange(0, min_open=True), default=8.0, show_default=True)
@click.option("--log", "show_log", is_flag=True, help="Print the requests as they come.")
def workspace(*, config: str, port: int, tokens: bool, shell: str, token_hours: float, show_log: bool) -> None:
    """Run a local workspace: a stand-in on loopback that Databricks clients talk to. Ctrl-C ends it."""
    with _said_plainly():
        from obo_kit.testing import ConfigError, LocalWorkspace

    with _told_to_end() as over:
        try:
            made = LocalWorkspace.from_config(config, port=port).start()
        except (ConfigError, ImportError) as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            msg = f"Port {port} cannot be used: {error.strerror}. Fix: choose another."
            raise click.ClickException(msg) from None
        try:
            if show_log:
                made.log.listen(lambda record: click.echo(_request(record)))
            click.echo(f"{made.NOTICE}\n\nhost   {made.host}\nusers  {', '.join(made.users) or 'none'}")
            click.echo(_tokens(made, token_hours * 3600, shell) if tokens else "tokens: start it with --tokens\n")
            while not over.wait(1.0):  # a wait without an end cannot be interrupted everywhere
                pass
        finally:
            made.stop()
    click.echo("The local workspace has ended.")


@contextlib.contextmanager
def _told_to_end() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set."""
    over = threading.Event()
    before = {number: signal.signal(number, lambda *_: over.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tokens(made: LocalWorkspace, seconds: float, shell: str) -> str:
    credentials = {user: {"TOKEN": made.token(user, expires_in=seconds)} for user in made.users}
    for name in made.service_principals:
        principal = made.service_principal(name)
        credentials[name] = {"CLIENT_ID": principal.client_id, "CLIENT_SECRET": principal.client_secret}
    opening, assignment, between = _VARIABLE[shell]
    lines: list[str] = []
    for name, variables in credentials.items():
        named = {"HOST": made.host, **variables}.items()
        line = between.join(assignment.format(f"DATABRICKS_{key}", shlex.quote(value)) for key, value in named)
        lines += ["", f"# {name}", f"{opening}{line}"]
    return "\n".join([*lines, ""])


def _request(record: RequestRecord) -> str:
    tool = f"  {record.tool}" if record.tool else ""
    fault = f" ({record.fault})" if record.fault else ""
    return (
        f"{record.user or '-':<12} {record.status}  {record.decision + fault:<16} {record.method} {record.path}{tool}"
    )
