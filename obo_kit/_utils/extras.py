"""The error for a package that one of the kit's extras installs."""

from __future__ import annotations

__all__ = ["MissingExtraError"]


class MissingExtraError(ImportError):
    """A package is missing. The message names the extra to install; the command line shows it without a traceback."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f'{what}: pip install "obo-kit[{extra}]"')
