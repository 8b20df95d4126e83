"""``obo-kit scopes``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from obo_kit.cli._catalogue_answer import answer, as_text
from obo_kit.cli._terminal import RefusedError, fitted, json_option, print_json, refusals, text_width

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["scopes"]


@click.command(short_help="Show which scope a resource or a path needs.")
@click.argument("term", nargs=-1)
@json_option
def scopes(*, term: tuple[str, ...], in_json: bool) -> None:
    """Say which scope a TERM needs, where, what must be granted, and where sources disagree.

    A TERM is a resource ('genie space'), an MLflow class, a scope, or a path of the REST API ('POST /api/2.0/sql/statements').
    Without one, you get a short list of all there is; with --json, everything that is known of it.
    """
    words = " ".join(term)
    with refusals():
        entries = answer(words)
    if not (entries["kinds"] or entries["scopes"] or entries["routes"]):
        raise RefusedError(f"The catalogue knows nothing like '{words}'. Fix: try a shorter word.")
    if in_json:
        print_json(entries)
    elif words:
        titled = (
            line if line[:1] in ("", " ") else click.style(line, bold=True) for line in as_text(entries).splitlines()
        )
        click.echo("\n".join(titled))
    else:
        click.echo("\n".join(_listed(entries)))


def _listed(entries: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each kind of resource, and the names of the scopes."""
    rows = [("RESOURCE", "MODEL SERVING", "DATABRICKS APPS")]
    for kind in entries["kinds"]:
        model_serving, apps = (
            ", ".join(kind["targets"][target]["declare"]) or "-" for target in ("model-serving", "apps")
        )
        rows.append((kind["title"], model_serving, apps))
    yield from fitted(rows)
    yield from ("", click.style("All scopes", bold=True))
    names = " ".join(scope["name"] for scope in entries["scopes"])
    yield from textwrap.wrap(names, text_width(), initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    if entries["file"]:
        yield from ("", f"With the entries of {entries['file']}.")
    yield from ("", "What one of them needs: obo-kit scopes TERM")
