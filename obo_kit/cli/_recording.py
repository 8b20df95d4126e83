"""Use a recording for `obo-kit verify`: write the catalogue file from it, and check `explain` against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from obo_kit.cli._terminal import print_json

if TYPE_CHECKING:
    from obo_kit.scopes._recording import Recording

__all__ = ["check_explain", "update_catalogue"]


def update_catalogue(recording: Recording, file: str, *, in_json: bool) -> None:
    """Write into a catalogue file what a recording shows, and print what becomes of each entry.

    Raises:
        PolicyError: The recording shows nothing of Databricks, or the file cannot be used.
    """
    from obo_kit.scopes._update import updated_catalogue

    update = updated_catalogue(file, recording)
    if update.changed:
        update.write()
    if in_json:
        changes = [
            {"entry": change.entry, "what": change.what, "before": change.before, "after": change.after}
            for change in update.changes
        ]
        print_json({"file": file, "changed": update.changed, "changes": changes})
        return
    for change in update.changes:
        click.echo(click.style(str(change), fg="yellow" if change.what in ("kept", "declared") else None))
    if not update.changes:
        click.echo("The recording shows no scopes of any route. Record with tokens of narrower scopes: --token-with.")
    elif update.changed:
        click.echo(f"\n{file} is written.")
    else:
        click.echo(f"\n{file} says so already.")


def check_explain(recording: Recording, *, in_json: bool) -> bool:
    """Print the answers of a recording that `explain` takes for something else, as an issue; return if there are none."""
    from obo_kit.denials._recorded import as_issue, misread

    wrong = misread(recording)
    if in_json:
        print_json([{"answer": each.answer.model_dump(mode="json"), "problem": str(each)} for each in wrong])
    elif wrong:
        click.echo(as_issue(recording, wrong))
    else:
        click.echo(f"explain tells all {len(recording.answers)} answers apart.")
    return not wrong
