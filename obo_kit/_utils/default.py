"""Defaults that are readable in ``help()`` and in an editor."""

from __future__ import annotations

__all__ = ["Default"]


class Default:
    """A default that no caller can pass by accident. Its repr says what the default means."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text
