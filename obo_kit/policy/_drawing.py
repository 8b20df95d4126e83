"""Draw a policy as SVG that needs no script, no font of its own and no other file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final

from obo_kit.policy._report import as_text

if TYPE_CHECKING:
    from obo_kit.policy._report import Picture

__all__ = ["as_svg"]

_TITLES: Final = ("tool", "scope", "resource", "identity")
_FILLS: Final = ("#e8f0fe", "#fff4d6", "#e6f4ea", "#f3e8fd")
_WIDTH, _GAP, _LINE, _LETTERS = 190, 50, 16, 25
_NODE = '<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="#5f6368"/>'
_EDGE = '<path d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}" fill="none" stroke="#5f6368"/>'


@dataclass
class _Column:
    """The nodes of a column from the top: their labels, and their positions once laid out."""

    labels: dict[str, list[str]] = field(default_factory=dict)
    tops: dict[str, int] = field(default_factory=dict)

    def add(self, label: str) -> None:
        self.labels.setdefault(label, textwrap.wrap(label, _LETTERS) or [label])

    def height(self, label: str) -> int:
        return len(self.labels[label]) * _LINE + 12

    def lay_out(self) -> int:
        """Place the nodes below one another, and return where the column ends."""
        top = 34
        for label in self.labels:
            self.tops[label] = top
            top += self.height(label) + 12
        return top


def as_svg(picture: Picture) -> str:
    """Return the picture as SVG: from tools through scopes and resources to the identity that reaches them."""
    columns = [_Column() for _ in _TITLES]
    edges = dict.fromkeys(_ways(picture))
    for way in edges:
        for column, label in way:
            columns[column].add(label)
    height = max(column.lay_out() for column in columns)
    width = len(columns) * (_WIDTH + _GAP) - _GAP + 20
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f"<title>Policy</title><desc>{escape(as_text(picture))}</desc>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *(f'<text x="{_left(n)}" y="20" font-weight="bold">{title}</text>' for n, title in enumerate(_TITLES)),
        *(_edge(columns, start, end) for start, end in edges),
        *(line for number, column in enumerate(columns) for line in _nodes(number, column)),
        "</svg>",
    ]
    return "\n".join(lines)


_Place = tuple[int, str]


def _ways(picture: Picture) -> Iterator[tuple[_Place, _Place]]:
    """Yield the arrows, each from a place to one further right."""
    for tool in picture.tools:
        for need in tool.needs:
            for scope in need.scopes or ("(unasked)",):
                yield (0, tool.name), (1, scope)
                if need.resource is not None:
                    yield (1, scope), (2, need.resource)
                    yield (2, need.resource), (3, "the user")
                else:
                    yield (1, scope), (3, "the user")
    for system in picture.system:
        name = f"{system.resource} ({system.permission})" if system.permission else system.resource
        yield (0, "(the agent)"), (2, name)
        yield (2, name), (3, "the agent itself")


def _left(column: int) -> int:
    return 10 + column * (_WIDTH + _GAP)


def _edge(columns: list[_Column], start: _Place, end: _Place) -> str:
    (y1, y2) = (columns[n].tops[label] + columns[n].height(label) // 2 for n, label in (start, end))
    x1, x2 = _left(start[0]) + _WIDTH, _left(end[0])
    return _EDGE.format(x1=x1, y1=y1, x2=x2, y2=y2, middle=(x1 + x2) // 2)


def _nodes(number: int, column: _Column) -> Iterator[str]:
    for label, lines in column.labels.items():
        top = column.tops[label]
        yield _NODE.format(x=_left(number), y=top, width=_WIDTH, height=column.height(label), fill=_FILLS[number])
        for place, line in enumerate(lines):
            yield f'<text x="{_left(number) + 8}" y="{top + 18 + place * _LINE}">{escape(line)}</text>'
