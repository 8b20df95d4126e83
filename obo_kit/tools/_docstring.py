"""Take parameters out of a docstring: Google, NumPy and Sphinx style."""

from __future__ import annotations

import re

__all__: list[str] = []

_SECTION = re.compile(r"(Args|Arguments|Params|Parameters|Keyword Args|Keyword Arguments|Other Parameters)\s*:?")
_UNDERLINE = re.compile(r"-{3,}|={3,}")


def without_entry(doc: str, name: str) -> str:
    """Drop a parameter's entry (Google, NumPy or Sphinx style), and the head of its section where nothing else is in it."""
    lines = doc.split("\n")
    word = re.escape(name)
    google = re.compile(rf"\*{{0,2}}`*{word}`*\s*(\(.*\))?\s*:(\s|$)")
    numpy = re.compile(rf"\*{{0,2}}`*{word}`*\s*(:(\s.*)?)?$")
    sphinx = re.compile(rf":(param|parameter|arg|argument|key|keyword|type)\s+([^:]*\s)?{word}\s*:")
    dropped: set[int] = set()
    for number, line in enumerate(lines):
        if sphinx.match(line.strip()):
            dropped.update(range(number, _end_of_entry(lines, number)))
        if not _SECTION.fullmatch(line.strip()):
            continue
        underlined = number + 1 < len(lines) and bool(_UNDERLINE.fullmatch(lines[number + 1].strip()))
        if not underlined and not line.strip().endswith(":"):
            continue
        body = number + 1 + underlined
        end = _end_of_section(lines, number, body, underlined)
        entries = [
            at for at in range(body, end) if lines[at].strip() and _indent(lines[at]) == _indent_of_first(lines, body)
        ]
        found = [at for at in entries if (numpy if underlined else google).match(lines[at].strip())]
        for at in found:
            dropped.update(range(at, min(end, _end_of_entry(lines, at))))
        if found and not any(lines[at].strip() for at in range(body, end) if at not in dropped):
            dropped.update(range(number, end))
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _indent_of_first(lines: list[str], start: int) -> int:
    return next((_indent(line) for line in lines[start:] if line.strip()), 0)


def _end_of_section(lines: list[str], head: int, body: int, underlined: bool) -> int:
    """Where a section's entries end: NumPy's at the next underlined head, Google's where the indent is back."""
    for at in range(body, len(lines)):
        if not lines[at].strip():
            continue
        if underlined:
            if at + 1 < len(lines) and _UNDERLINE.fullmatch(lines[at + 1].strip()):
                return at
            if _indent(lines[at]) < _indent(lines[head]):
                return at
        elif _indent(lines[at]) <= _indent(lines[head]):
            return at
    return len(lines)


def _end_of_entry(lines: list[str], start: int) -> int:
    """Where an entry's own lines end: those that are indented further, and the empty ones between them."""
    end = start + 1
    for at in range(start + 1, len(lines)):
        if lines[at].strip():
            if _indent(lines[at]) <= _indent(lines[start]):
                break
            end = at + 1
    return end
