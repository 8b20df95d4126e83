"""The parts that all commands share: color, tables, progress, ``--json``, and refusals without a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import IO, TYPE_CHECKING, Any

import click

from obo_kit._utils.extras import MissingExtraError
from obo_kit._utils.plain import visible
from obo_kit.exceptions import OboError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

__all__ = [
    "RefusedError",
    "color",
    "fitted",
    "json_option",
    "print_json",
    "progress",
    "recording_option",
    "refusals",
    "text_width",
    "working",
]


def color() -> bool | None:
    """Return whether to print colors: no with ``NO_COLOR``, yes with ``FORCE_COLOR``, else None: only on a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


class RefusedError(click.ClickException):
    """A command's error: what is wrong, and after ``Fix:`` what to do about it. The exit status is 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it on standard error."""
        head, fix, rest = visible(self.format_message(), "\n\t").rpartition("Fix: ")
        what = click.style("Error: ", fg="red", bold=True) + head
        click.echo(what + click.style(fix, fg="green", bold=True) + rest, file=file, err=True, color=color())


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Show the kit's refusals without a traceback."""
    try:
        yield
    except (OboError, MissingExtraError) as error:
        raise RefusedError(str(error)) from None


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, which is the same for every command: one value on standard output, words on standard error."""
    return click.option("--json", "in_json", is_flag=True, help="Print JSON, for scripts.")(command)


def recording_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--recording``, for the commands that run a local workspace."""
    words = "Refuse in the words and forms of this recording of your workspace (see `obo-kit verify`)."
    return click.option("--recording", type=click.Path(exists=True, dir_okay=False), help=words)(command)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, default=str))


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal what is going on in a block that may take more than a second."""
    if not sys.stderr.isatty():
        yield
        return
    with _console(sys.stderr).status(what):
        yield


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how much of a longer work is done: what is yielded takes the number done, and of how many."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.progress import Progress

    with Progress(console=_console(sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def text_width() -> int:
    """Return how wide lines of text may be: as the terminal, and 80 columns at most or if there is none."""
    return max(40, min(80, shutil.get_terminal_size((80, 24)).columns))


def fitted(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table that fits the terminal, or 80 columns if there is none. The first row is its head."""
    from rich.table import Table

    head, *body = rows
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in head:
        table.add_column(title, overflow="fold")
    for row in body:
        table.add_row(*(visible(cell, "") for cell in row))
    console = _console(sys.stdout)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def _console(file: IO[str]) -> Console:
    from rich.console import Console

    return Console(file=file, markup=False, emoji=False, highlight=False, soft_wrap=False)
