"""The examples that commands run or copy."""

from __future__ import annotations

from pathlib import Path

from obo_kit.cli._terminal import RefusedError

__all__ = ["example"]


def example(name: str) -> Path:
    """Return the folder of an example: the wheel carries those of the repository, where they stand beside the package.

    Raises:
        RefusedError: It is in neither place.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "_examples" / name, package.parent / "examples" / name):
        if folder.is_dir():
            return folder
    raise RefusedError(f"The example '{name}' is not part of this installation. Fix: install obo-kit from a wheel.")
