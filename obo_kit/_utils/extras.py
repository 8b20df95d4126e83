"""The error for a package that an extra would have brought."""

from __future__ import annotations

__all__ = ["MissingExtraError"]


class MissingExtraError(ImportError):
    """Say which extra to install; the command line shows it without a traceback."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f'{what}: pip install "obo-kit[{extra}]"')
