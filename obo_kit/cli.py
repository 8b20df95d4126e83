"""The command line: a demo, an agent's policy, which scope something needs, and a local workspace to talk to."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from obo_kit._errors import OboError
from obo_kit._version import __version__
from obo_kit.scopes import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obo_kit.scopes import Naming, Target
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
    except OboError as error:
        raise click.ClickException(str(error)) from None


@main.command()
def demo() -> None:
    """Log a support agent with MLflow, serve it on this machine, and ask it the same question as three users."""
    here = Path(__file__).parent
    # The wheel carries the example of the repository; an editable installation finds it beside the package.
    scripts = [root / "support_agent" / "demo.py" for root in (here / "_examples", here.parent / "examples")]
    script = next((path for path in scripts if path.exists()), None)
    if script is None:
        raise click.ClickException(
            "The demo is not part of this installation. To mend it: install obo-kit from a wheel."
        )
    sys.exit(subprocess.run([sys.executable, str(script)], check=False).returncode)  # noqa: S603 - our own script


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
@click.argument("term", nargs=-1)
@click.option("--json", "in_json", is_flag=True, help="For scripts, with the addresses of the sources.")
def scopes(*, term: tuple[str, ...], in_json: bool) -> None:
    """Say which scope a TERM needs, where, what must be granted, and where sources disagree.

    A TERM is a resource ('genie space'), an MLflow class, a scope, or a path of the REST API ('POST /api/2.0/sql/statements').
    Without one, everything is listed.
    """
    from obo_kit.scopes._answer import answer, as_text

    words = " ".join(term)
    with _said_plainly():
        found = answer(words)
    if not (found["kinds"] or found["scopes"] or found["routes"]):
        raise click.ClickException(f"The catalogue knows nothing like '{words}'. To mend it: try a shorter word.")
    click.echo(json.dumps(found, indent=2) if in_json else as_text(found))


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
@click.option("--token-hours", type=click.FloatRange(0, min_open=True), default=8.0, show_default=True)
@click.option("--log", "show_log", is_flag=True, help="Print the requests as they come.")
def workspace(*, config: str, port: int, tokens: bool, token_hours: float, show_log: bool) -> None:
    """Run a local workspace: a stand-in on loopback that Databricks clients talk to. Ctrl-C ends it."""
    from obo_kit.testing import ConfigError, LocalWorkspace

    with _told_to_end() as over:
        try:
            made = LocalWorkspace.from_config(config, port=port).start()
        except (ConfigError, ImportError) as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            msg = f"Port {port} cannot be used: {error.strerror}. To mend it: choose another."
            raise click.ClickException(msg) from None
        try:
            if show_log:
                made.log.listen(lambda record: click.echo(_request(record)))
            click.echo(f"{made.NOTICE}\n\nhost   {made.host}\nusers  {', '.join(made.users) or 'none'}")
            click.echo(_tokens(made, token_hours * 3600) if tokens else "tokens: start it with --tokens\n")
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


def _tokens(made: LocalWorkspace, seconds: float) -> str:
    host = f"export DATABRICKS_HOST={shlex.quote(made.host)}"
    lines: list[str] = []
    for user in made.users:
        lines += ["", f"# {user}", f"{host} DATABRICKS_TOKEN={made.token(user, expires_in=seconds)}"]
    for name in made.service_principals:
        who = made.service_principal(name)
        lines += [
            "",
            f"# {name}",
            f"{host} DATABRICKS_CLIENT_ID={who.client_id} DATABRICKS_CLIENT_SECRET={who.client_secret}",
        ]
    return "\n".join([*lines, ""])


def _request(record: RequestRecord) -> str:
    tool = f"  {record.tool}" if record.tool else ""
    fault = f" ({record.fault})" if record.fault else ""
    return (
        f"{record.user or '-':<12} {record.status}  {record.decision + fault:<16} {record.method} {record.path}{tool}"
    )


if __name__ == "__main__":
    main()
