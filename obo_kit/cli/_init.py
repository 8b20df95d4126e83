"""``obo-kit init``."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from obo_kit.cli._examples import example
from obo_kit.cli._terminal import RefusedError, json_option, print_json
from obo_kit.scopes._lookup import TARGETS

__all__ = ["init"]

_NEXT = (
    ("pytest", "run it as alice and as bob"),
    ("obo-kit playground agent.py", "ask it in your browser"),
    ("obo-kit policy agent.py", "see what it will be allowed to do"),
    ("obo-kit doctor agent.py", "see what is missing before you deploy"),
)


@click.command(short_help="Write an agent, its workspace and its test.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option(
    "--for",
    "target",
    type=click.Choice(TARGETS),
    default=TARGETS[0],
    show_default=True,
    help="The runtime of the agent.",
)
@json_option
def init(*, folder: Path, target: str, in_json: bool) -> None:
    """Write an agent, its workspace and its test into a FOLDER: this one by default.

    The test is green at once: it runs the agent as two users, one of whom may not see the data. No file is overwritten.
    """
    templates = sorted(path for path in (example("starter") / target).iterdir() if path.is_file())
    taken = [path.name for path in templates if (folder / path.name).exists()]
    if taken:
        raise RefusedError(f"{', '.join(taken)} already exists. Fix: choose another folder: obo-kit init my-agent.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [str(shutil.copyfile(path, folder / path.name)) for path in templates]
    except OSError as error:
        raise RefusedError(f"'{folder}' cannot be written to: {error.strerror}. Fix: choose another folder.") from None
    if in_json:
        print_json({"folder": str(folder), "target": target, "files": written})
        return
    click.echo("\n".join(f"Wrote {name}" for name in written))
    click.echo("\nNext:")
    if folder != Path():
        click.echo(f"  cd {folder}")
    width = max(len(command) for command, _ in _NEXT)
    click.echo("\n".join(f"  {click.style(f'{command:<{width}}', bold=True)}  {why}" for command, why in _NEXT))
