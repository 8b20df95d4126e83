"""Build small tables for notebooks. All values are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> str:
    """Return an HTML table with a title above it."""
    caption = f"<caption style='text-align:left'>{escape(title)}</caption>" if title else ""
    titles = "".join(f"<th style='text-align:left'>{escape(text)}</th>" for text in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{caption}<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return f"<td style='text-align:left'>{escape('' if value is None else str(value))}</td>"
