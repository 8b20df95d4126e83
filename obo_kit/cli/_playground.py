"""``obo-kit playground``."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import click

from obo_kit.cli._terminal import json_option, recording_option, refusals, working
from obo_kit.cli._workspace import asked_to_end, refused_start
from obo_kit.scopes._lookup import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obo_kit.cli.playground import Playground
    from obo_kit.scopes._lookup import Target

__all__ = ["playground"]


@click.command(short_help="Ask an agent as alice and bob, in your browser.")
@click.argument("agent")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False), help="The workspace; workspace.yaml by default."
)
@recording_option
@click.option("--target", type=click.Choice(TARGETS), help="Where it runs; by default, what the file is made for.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the page; by default, a free one.")
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@json_option
def playground(
    *,
    agent: str,
    config: str | None,
    recording: str | None,
    target: Target | None,
    port: int,
    show: bool,
    in_json: bool,
) -> None:
    """Serve a page on 127.0.0.1 to ask an AGENT as several users, and to see what really goes out. Ctrl-C ends it.

    AGENT is a file, the dotted name of a module, or a logged model (models:/agent/1). It runs as it is: a model in the
    stand-in for Model Serving, an app (FastAPI, Starlette, Flask, MLflow's agent server) behind the stand-in for Databricks
    Apps. Pages (Streamlit, Gradio, Dash, Shiny) are not shown: test their tools with pytest.

    The address holds a token: nobody else on this machine can open the page.
    """
    with asked_to_end() as over, _started(agent, config, recording, target, port) as served:
        if in_json:
            click.echo(json.dumps({"url": served.url, "users": served.workspace.users}))
        else:
            click.echo(f"{served.workspace.notice}\n\nOpen {click.style(served.url, bold=True)}")
        if show:
            click.launch(served.url)
        while not over.wait(1.0):  # a wait without an end cannot be interrupted everywhere
            pass
    click.echo("The playground has stopped.", err=in_json)


@contextlib.contextmanager
def _started(
    agent: str, config: str | None, recording: str | None, target: Target | None, port: int
) -> Iterator[Playground]:
    with refusals(), working(f"Starting {agent}"):
        from obo_kit.testing._packages import check_packages

        check_packages()
        from obo_kit.cli.playground import Playground

        with refused_start(port):
            served = Playground(agent, config=config, recording=recording, target=target, port=port).start()
    try:
        yield served
    finally:
        served.stop()
