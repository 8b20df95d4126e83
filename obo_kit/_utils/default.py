"""Defaults that are readable in ``help()`` and in an editor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["NONE", "Default"]


class Default:
    """A default that no caller can pass by accident. Its repr says what the default means."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class _NoEntries(Mapping[str, Any]):
    """A mapping without entries that a dataclass takes as a default, so that ``help()`` shows it as ``{}``."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"


NONE: Mapping[str, Any] = _NoEntries()
"""A mapping without entries."""
