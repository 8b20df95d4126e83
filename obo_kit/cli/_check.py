"""``obo-kit check``."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obo_kit._utils.plain import visible
from obo_kit.cli._terminal import json_option, refusals, working

if TYPE_CHECKING:
    from obo_kit.analysis.check._runner import Report

__all__ = ["check"]


@click.command(short_help="Read agents without running them, and find mistakes.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path, allow_dash=True))
@click.option("--fix", "write_fixes", is_flag=True, help="Write the missing declarations into the files.")
@click.option(
    "--format", "style", type=click.Choice(("text", "json", "sarif", "github")), default="text", show_default=True
)
@json_option
@click.option("--select", multiple=True, help="Codes to look for, or their beginnings; all by default.")
@click.option("--ignore", multiple=True, help="Codes to leave out, or their beginnings.")
@click.option("--exclude", multiple=True, help="Files and folders to leave out: names or paths, * for any text.")
@click.option(
    "--stdin-filename", type=click.Path(path_type=Path), default=Path("stdin.py"), help="What '-' stands for."
)
@click.option("--statistics", "count", is_flag=True, help="Count how often each rule is broken, without the places.")
def check(
    *,
    paths: tuple[Path, ...],
    write_fixes: bool,
    style: str,
    in_json: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    exclude: tuple[str, ...],
    stdin_filename: Path,
    count: bool,
) -> None:
    """Read the agents in PATHS, files or folders, without running them, and say what goes wrong with users and scopes.

    Files are modules (.py) and notebooks (.ipynb, or exported as source); '-' is the standard input. Ends with 0 if
    it finds nothing, and with 1 if it finds something. Ends with 2 if the call is wrong, if there is nothing to check, or if it
    cannot read a file that you named.
    """
    if in_json and (style not in ("text", "json") or count):
        raise click.UsageError(f"--json stands for --format json: leave out --format {style} and --statistics.")
    with (
        refusals(),
        _uncollected(),
        working("Reading the agents"),
    ):  # the catalogue of the project's own is read with the rules
        named = [path for path in paths if str(path) != "-"]
        _go_by_catalogue(named)

        from obo_kit.analysis.check import _runner
        from obo_kit.analysis.check._output import FORMATS, statistics_of

        stdin = (stdin_filename, sys.stdin.buffer.read()) if len(named) < len(paths) else None
        if write_fixes and stdin is not None:
            raise click.UsageError("--fix writes to files, and '-' is not a file.")
        read = functools.partial(
            _runner.check,
            named,
            select=_codes("--select", select),
            ignore=_codes("--ignore", ignore),
            exclude=exclude,
            stdin=stdin,
        )
        report = _fixed(read) if write_fixes else read()
    if not report.files and not report.unreadable:
        raise click.UsageError("There are no .py or .ipynb files to check. Test files count only if you name them.")
    click.echo(statistics_of(report) if count else FORMATS["json" if in_json else style](report))
    for path, why in report.unreadable:
        click.echo(visible(f"{path}: {why}", ""), err=True)
    sys.exit(_exit_code(report))


def _fixed(read: Callable[[], Report]) -> Report:
    """Write the missing declarations into the files; return what is still wrong with them."""
    from obo_kit.analysis.check import _runner

    report = read()
    changed = _runner.fix(report)
    if not changed:
        return report
    click.echo("\n".join(visible(f"Fixed {path}", "") for path in changed), err=True)
    return read()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave what is read in memory to the end of the process, which is near.

    All of it is needed until then: looking for garbage in it takes a third of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _go_by_catalogue(agents: list[Path]) -> None:
    """Go by the project's catalogue file beside the first of the agents that has one."""
    from obo_kit.scopes._lookup import FILE, look_beside

    folders = [path if path.is_dir() else path.parent for path in agents]
    beside = next((folder for folder in folders if (folder / FILE).exists()), None)
    if beside is not None:
        look_beside(beside)


def _exit_code(report: Report) -> int:
    spoilt = report.named_unreadable or (report.unreadable and not report.findings)
    return 2 if spoilt else int(bool(report.findings))


def _codes(option: str, values: tuple[str, ...]) -> tuple[str, ...]:
    from obo_kit.analysis.check.rules import RULES

    codes = tuple(code.strip().upper() for several in values for code in several.split(",") if code.strip())
    for code in codes:
        if not any(rule.startswith(code) for rule in RULES):
            raise click.BadParameter(f"there is no rule {code}; there are {', '.join(RULES)}", param_hint=option)
    return codes
