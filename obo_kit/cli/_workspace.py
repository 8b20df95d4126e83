"""``obo-kit workspace``."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from obo_kit._utils.plain import visible
from obo_kit.cli._terminal import RefusedError, json_option, recording_option, refusals, working

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obo_kit.testing import LocalWorkspace, RequestRecord

__all__ = ["asked_to_end", "workspace"]

# How a shell sets variables: what comes first, one of them, what stands between two.
_VARIABLE = {"sh": ("export ", "{}={}", " "), "powershell": ("", '$env:{} = "{}"', "; ")}
_SQL_CONNECTOR = "databricks-sql-connector, beside the lines of a user"


@click.command(short_help="Run a local workspace that Databricks clients talk to.")
@click.option(
    "--config",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    help="The workspace's contents: a YAML file.",
)
@recording_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; by default, a free one.")
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
@json_option
@click.option("--log", "show_log", is_flag=True, help="Print the requests as they come.")
def workspace(
    *,
    config: str,
    recording: str | None,
    port: int,
    tokens: bool,
    shell: str,
    token_hours: float,
    in_json: bool,
    show_log: bool,
) -> None:
    """Run a local workspace: a stand-in on loopback that Databricks clients talk to. Ctrl-C ends it.

    With --tokens it prints lines for another shell: one per user, and one with which databricks-sql-connector finds the
    workspace there, over HTTP. With --json it prints an object with the same, and with --log an object per request.
    """
    with asked_to_end() as over, started(config, port=port, recording=recording) as made:
        if show_log:
            made.log.listen(lambda record: click.echo(_request_json(record) if in_json else _request(record)))
        credentials = _credentials(made, token_hours * 3600) if tokens else {}
        connector = _sql_connector(made) if tokens else {}
        if in_json:
            shown = {"host": made.host, "users": made.users, "credentials": credentials, "sql_connector": connector}
            click.echo(json.dumps(shown))
        else:
            click.echo(f"{made.notice}\n\nhost   {made.host}\nusers  {', '.join(made.users) or 'none'}")
            lines = {_SQL_CONNECTOR: connector} if connector else {}
            click.echo(_for_shell({**lines, **credentials}, shell) if tokens else "tokens: start it with --tokens\n")
        while not over.wait(1.0):  # a wait without an end cannot be interrupted everywhere
            pass
    click.echo("The local workspace has stopped.", err=in_json)


@contextlib.contextmanager
def started(config: Any, *, port: int = 0, recording: str | None = None) -> Iterator[LocalWorkspace]:
    """Run a local workspace for the block.

    Raises:
        RefusedError: The file has a mistake, a package is not installed, or the port is taken.
    """
    with refusals(), working("Starting the local workspace"):
        from obo_kit.testing import LocalWorkspace

        with refused_start(port):
            workspace = LocalWorkspace.from_config(config, port=port)
            if recording is not None:
                workspace.recording = recording
            workspace.start()
    try:
        yield workspace
    finally:
        workspace.stop()


@contextlib.contextmanager
def refused_start(port: int) -> Iterator[None]:
    """Say in the words of the command line why a server did not start.

    Raises:
        RefusedError: The file has a mistake, a package is not installed, or the port is taken.
    """
    from obo_kit.testing import ConfigError

    try:
        yield
    except (ConfigError, ImportError) as error:
        raise RefusedError(str(error)) from None
    except OSError as error:
        raise RefusedError(f"Port {port} cannot be used: {error.strerror}. Fix: choose another.") from None


@contextlib.contextmanager
def asked_to_end() -> Iterator[threading.Event]:
    """Return an event that Ctrl-C and SIGTERM set."""
    over = threading.Event()
    before = {number: signal.signal(number, lambda *_: over.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _credentials(made: LocalWorkspace, seconds: float) -> dict[str, dict[str, str]]:
    """Return the variables that stand for each principal of a workspace."""
    from obo_kit.testing.server._uvicorn import around_proxies

    # The other shell may hold credentials of its own: of two kinds, the SDK takes the one that is named.
    credentials = {
        user: {"DATABRICKS_TOKEN": made.token(user, expires_in=seconds), "DATABRICKS_AUTH_TYPE": "pat"}
        for user in made.users
    }
    for name in made.service_principals:
        principal = made.service_principal(name)
        credentials[name] = {
            "DATABRICKS_CLIENT_ID": principal.client_id,
            "DATABRICKS_CLIENT_SECRET": principal.client_secret,
            "DATABRICKS_AUTH_TYPE": "oauth-m2m",
        }
    around = around_proxies()
    return {name: {"DATABRICKS_HOST": made.host, **variables, **around} for name, variables in credentials.items()}


def _sql_connector(made: LocalWorkspace) -> dict[str, str]:
    """Return the variables with which databricks-sql-connector finds a workspace from another process.

    The connector itself only speaks HTTPS, on port 443.
    """
    from obo_kit.testing._sql_addresses import SITE

    warehouses = made._grants.names("sql_warehouse")
    if not warehouses:
        return {}
    folders = [SITE, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "DATABRICKS_SERVER_HOSTNAME": made.host.partition("://")[2],
        "DATABRICKS_HTTP_PATH": f"/sql/1.0/warehouses/{warehouses[0]}",
        "PYTHONPATH": os.pathsep.join(folders),
    }


def _for_shell(credentials: dict[str, dict[str, str]], shell: str) -> str:
    opening, assignment, between = _VARIABLE[shell]
    lines: list[str] = []
    for name, variables in credentials.items():
        line = between.join(assignment.format(variable, shlex.quote(value)) for variable, value in variables.items())
        lines += ["", f"# {name}", f"{opening}{line}"]
    return "\n".join([*lines, ""])


def _request(record: RequestRecord) -> str:
    tool = f"  {record.tool}" if record.tool else ""
    fault = f" ({record.fault})" if record.fault else ""
    decision = click.style(f"{record.decision + fault:<16}", fg="green" if record.decision == "allowed" else "red")
    request = visible(f"{record.method} {record.path}{tool}", "")
    return f"{visible(record.user or '-', ''):<12} {record.status}  {decision} {request}"


def _request_json(record: RequestRecord) -> str:
    return json.dumps(record.as_dict())
