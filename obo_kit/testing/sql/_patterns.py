"""Translate the platform's date and time patterns (``yyyy-MM-dd``) into DuckDB's (``%Y-%m-%d``)."""

from __future__ import annotations

import re

from sqlglot import exp

from obo_kit.testing.sql._calls import call, typed_as
from obo_kit.testing.sql._refusals import StatementError

__all__ = ["formatted", "strptime_format"]

_LETTERS = {
    "y": "%Y", "yyyy": "%Y", "yy": "%y", "M": "%-m", "MM": "%m", "MMM": "%b", "MMMM": "%B", "L": "%-m", "LL": "%m",
    "LLL": "%b", "LLLL": "%B", "d": "%-d", "dd": "%d", "D": "%-j", "DDD": "%j", "H": "%-H", "HH": "%H", "h": "%-I",
    "hh": "%I", "m": "%-M", "mm": "%M", "s": "%-S", "ss": "%S", "SSS": "%g", "SSSSSS": "%f", "E": "%a", "EE": "%a",
    "EEE": "%a", "EEEE": "%A", "a": "%p", "G": "AD", "z": "UTC", "VV": "Etc/UTC", "X": "Z", "XX": "Z", "XXX": "Z",
    "x": "+00", "xx": "+0000", "xxx": "+00:00", "Z": "+0000", "O": "GMT",
}  # fmt: skip
_PARSED = {
    **{letters: layout.replace("%-", "%") for letters, layout in _LETTERS.items() if layout[0] == "%"},
    "SSS": "%g",
    **dict.fromkeys(("x", "xx", "xxx", "Z"), "%z"),
}
_PIECE = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+")


def _pieces(pattern: str) -> list[tuple[str, bool]]:
    """Return letters (True) and plain text (False), in order. Raises StatementError if the pattern is invalid."""
    pieces, at = [], 0
    while at < len(pattern):
        match = _PIECE.match(pattern, at)
        if match is None:
            raise StatementError("sql_unsupported", f"the pattern {pattern!r} of a date is not served.")
        if match[1] is not None:
            pieces.append((match[1].replace("''", "'") or "'", False))
        else:
            pieces.append((match[0], match[2] is not None))
        at = match.end()
    return pieces


def strptime_format(pattern: str) -> str:
    """Return the pattern for reading a text."""
    return "".join(
        _layout(text, _PARSED, pattern) if letters else text.replace("%", "%%") for text, letters in _pieces(pattern)
    )


def _layout(letters: str, table: dict[str, str], pattern: str) -> str:
    if letters not in table:
        raise StatementError("sql_unsupported", f"{letters!r} in the pattern {pattern!r} of a date is not served.")
    return table[letters]


def formatted(moment: exp.Expr, pattern: str) -> exp.Expr:
    """Return an expression that writes a moment by a pattern."""
    parts: list[exp.Expr] = []
    layout = ""
    for text, letters in _pieces(pattern):
        if letters and text in {"Q", "QQQ", "q"}:
            parts += [_written(moment, layout)] if layout else []
            number = typed_as(call("quarter", moment.copy()), "VARCHAR")
            parts.append(number if len(text) == 1 else exp.DPipe(this=exp.Literal.string("Q"), expression=number))
            layout = ""
        else:
            layout += _layout(text, _LETTERS, pattern) if letters else text.replace("%", "%%")
    parts += [_written(moment, layout)] if layout or not parts else []
    result = parts[0]
    for part in parts[1:]:
        result = exp.DPipe(this=result, expression=part)
    return exp.Paren(this=result)


def _written(moment: exp.Expr, layout: str) -> exp.Expr:
    return exp.Anonymous(this="strftime", expressions=[moment.copy(), exp.Literal.string(layout)])
