"""Remove parameters from a docstring in Google, NumPy or Sphinx style."""

from __future__ import annotations

import functools
import re

__all__: list[str] = []

_SECTION = re.compile(r"(Args|Arguments|Params|Parameters|Keyword Args|Keyword Arguments|Other Parameters)\s*:?")
_UNDERLINE = re.compile(r"-{3,}|={3,}")


@functools.lru_cache(maxsize=64)
def _patterns(name: str) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return how an entry begins in the style of Google, NumPy and Sphinx."""
    word = re.escape(name)
    return (
        re.compile(rf"\*{{0,2}}`*{word}`*\s*(\(.*\))?\s*:(\s|$)"),
        re.compile(rf"\*{{0,2}}`*{word}`*\s*(:(\s.*)?)?$"),
        re.compile(rf":(param|parameter|arg|argument|key|keyword|type)\s+([^:]*\s)?{word}\s*:"),
    )


class Docstring:
    """A docstring (Google, NumPy or Sphinx style) as lines, each with its text and its indent."""

    def __init__(self, doc: str) -> None:
        self.lines = doc.split("\n")
        self.texts = list(map(str.strip, self.lines))
        self.indents = [len(line) - len(line.lstrip()) for line in self.lines]

    def without(self, name: str) -> str:
        """Return it without a parameter's entries, and without the heading of a section that contained nothing else."""
        google, numpy, sphinx = _patterns(name)
        dropped: set[int] = set()
        for number, text in enumerate(self.texts):
            if text.startswith(":") and sphinx.match(text):
                dropped.update(range(number, self._end_of_entry(number)))
            if not _SECTION.fullmatch(text):
                continue
            underlined = self._is_underlined(number)
            if underlined or text.endswith(":"):
                dropped |= self._entries(number, underlined, numpy if underlined else google)
        return "\n".join([line for number, line in enumerate(self.lines) if number not in dropped])

    def _is_underlined(self, number: int) -> bool:
        return number + 1 < len(self.texts) and _UNDERLINE.fullmatch(self.texts[number + 1]) is not None

    def _entries(self, head: int, underlined: bool, pattern: re.Pattern[str]) -> set[int]:
        """Return the lines of a section's matching entries; with the section's heading, if there are no other entries."""
        body = head + 1 + underlined
        end = self._end_of_section(head, body, underlined)
        filled = [number for number in range(body, end) if self.texts[number]]
        dropped: set[int] = set()
        for number in filled:
            if self.indents[number] == self.indents[filled[0]] and pattern.match(self.texts[number]):
                dropped.update(range(number, min(end, self._end_of_entry(number))))
        return {*range(head, end)} if dropped and dropped.issuperset(filled) else dropped

    def _end_of_section(self, head: int, body: int, underlined: bool) -> int:
        """Return where a section ends: NumPy's at the next underlined heading, Google's where the indent ends."""
        for number in range(body, len(self.lines)):
            if not self.texts[number]:
                continue
            if underlined and self._is_underlined(number):
                return number
            if self.indents[number] < self.indents[head] + (not underlined):
                return number
        return len(self.lines)

    def _end_of_entry(self, start: int) -> int:
        """Return where an entry's own lines end: those that are indented further, and the empty ones between them."""
        end = start + 1
        for number in range(start + 1, len(self.lines)):
            if self.texts[number]:
                if self.indents[number] <= self.indents[start]:
                    break
                end = number + 1
        return end
