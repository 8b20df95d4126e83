"""Notes of the types that DuckDB finds for the operands of a statement while it binds it.

``spark_noted(place, value)`` tells :func:`noted` the type of the value, and has the type that it answers.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from obo_kit.testing.sql._decimals import OPERATORS, Shape, result, shape_of
from obo_kit.testing.sql._dialect import UnreadableError

__all__ = ["Note", "noted", "noting", "type_name"]

_NULLS = frozenset({'"NULL"', "NULL"})
# The DECIMAL that the platform takes a number for, where a function takes only DECIMAL (inferred from Spark).
_FLOATS: dict[str, Shape] = {"FLOAT": (14, 7), "DOUBLE": (30, 15)}


@dataclass(kw_only=True)
class Note:
    """One expression of a statement, and the types of its operands.

    Attributes:
        operation: The operator or function.
        digits: Per operand, the digits of a literal integer.
        target: The place to round to.
        kinds: Per operand, DuckDB's types that were noted.
    """

    operation: str
    digits: tuple[int | None, ...]
    target: int | None = None
    kinds: dict[int, set[str]] = field(default_factory=dict)

    def decimal(self, at: int) -> bool:
        """Return whether an operand is a DECIMAL."""
        return any(kind.startswith("DECIMAL") for kind in self.kinds.get(at, ()))

    def exact(self, at: int) -> bool:
        """Return whether an operand is an exact number."""
        return any(shape_of(kind) for kind in self.kinds.get(at, ()))

    def shapes(self) -> list[Shape] | None:
        """Return the shapes of the operands; None if the result is no DECIMAL.

        Raises UnreadableError if an operand has several types.
        """
        positions = range(len(self.digits))
        always = self.operation in {"ceil", "floor"} and self.target is not None
        if not always and not any(map(self.decimal, positions)):
            return None
        if any(len(each) > 1 for each in self.kinds.values()):
            raise UnreadableError("sql_unsupported", "DECIMAL beside other types under one name is not served.")
        shapes = []
        for at in positions:
            (kind,) = self.kinds.get(at, {""})
            if kind in _NULLS:
                continue
            shape = shape_of(kind, self.digits[at] if self.operation in OPERATORS else None)
            shape = shape or (_FLOATS.get(kind) if always else None)
            if shape is None:
                return None
            shapes.append(shape)
        return shapes * 2 if self.operation in OPERATORS and len(shapes) == 1 else shapes or None

    def result(self, native: str) -> str:
        """Return the type of the result, given the one that it would have without DECIMAL."""
        shapes = self.shapes()
        if self.operation == "double" or shapes is None:
            return native
        return "BIGINT" if self.operation == "div" else type_name(result(self.operation, shapes, self.target))


def type_name(shape: Shape) -> str:
    """Return DuckDB's name of a DECIMAL."""
    return f"DECIMAL({shape[0]}, {shape[1]})"


# The notes of the statements that are being bound.
_open: dict[str, list[Note]] = {}
_tokens = itertools.count()


@contextlib.contextmanager
def noting(notes: list[Note]) -> Iterator[str]:
    """Fill the notes while a statement is bound. Gives the token that their places begin with."""
    token = str(next(_tokens))
    _open[token] = notes
    try:
        yield token
    finally:
        del _open[token]


def noted(place: str, kind: str) -> str:
    """Note a type, and return the type to go on with, as JSON. Bound statements call it."""
    token, at, operand = place.split()
    note = _open[token][int(at)]
    if operand == "result":
        kind = note.result(kind)
    else:
        note.kinds.setdefault(int(operand), set()).add(kind)
        kind = "DOUBLE" if note.operation in OPERATORS and kind.startswith("DECIMAL") else kind
    return json.dumps("INTEGER" if kind in _NULLS else kind)
