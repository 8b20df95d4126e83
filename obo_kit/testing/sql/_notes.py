"""Notes of the types that DuckDB finds for the operands of a statement while it binds it.

``spark__noted(places, value)`` tells :func:`noted` the type of the value, and has the type that it answers.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from obo_kit.testing.sql._coercion import ARRAYS, CONDITIONS, NUMBERS_OF_TEXT, ROUNDED, TOGETHER, coerced, family
from obo_kit.testing.sql._decimals import OPERATORS, Shape, result, shape_of, type_name
from obo_kit.testing.sql._refusals import StatementError
from obo_kit.testing.sql._types import fields_of, map_types

__all__ = ["Note", "noted", "noting"]

# The DECIMAL that the platform takes a number for, where a function takes only DECIMAL (inferred from Spark).
_FLOATS: dict[str, Shape] = {"FLOAT": (14, 7), "DOUBLE": (30, 15)}


@dataclass(kw_only=True)
class Note:
    """One expression of a statement, and the types of its operands.

    Attributes:
        operation: The operator or function.
        digits: Per operand, the digits of a literal integer.
        target: The place to round to.
        name: The field to take.
        kinds: Per operand, DuckDB's types that were noted.
    """

    operation: str
    digits: tuple[int | None, ...]
    target: int | None = None
    name: str = ""
    kinds: dict[int, set[str]] = field(default_factory=dict)

    def types(self) -> list[str]:
        """Return the type of each operand; nothing for one of several types."""
        kinds = (self.kinds.get(at, set()) for at in range(len(self.digits)))
        return [next(iter(each)) if len(each) == 1 else "" for each in kinds]

    def coerced(self) -> list[str]:
        """Return the types that the platform casts the operands to. Raises StatementError if it refuses them."""
        return coerced(self.operation, self.types())

    def shapes(self) -> list[Shape] | None:
        """Return the shapes of the operands of an operator or function that computes DECIMAL; None if it does not.

        Raises StatementError if an operand has several types.
        """
        always = self.operation in {"ceil", "floor"} and self.target is not None
        if self.operation not in _COMPUTING or not (always or self._decimal()):
            return None
        if max(map(len, self.kinds.values())) > 1:
            raise StatementError("sql_unsupported", "DECIMAL beside other types under one name is not served.")
        floats = _FLOATS if always else {}
        digits = self.digits if self.operation in OPERATORS else [None] * len(self.digits)
        operands = zip(self.coerced(), digits, strict=True)
        return self._complete(
            [shape_of(*each) or floats.get(each[0]) for each in operands if family(each[0]) != "null"]
        )

    def _complete(self, shapes: list[Shape | None]) -> list[Shape] | None:
        """Return the shapes if all operands have one; null has that of the other."""
        exact = [shape for shape in shapes if shape is not None]
        if len(exact) < len(shapes):
            return None
        return exact * 2 if self.operation in OPERATORS and len(exact) == 1 else exact or None

    def _decimal(self) -> bool:
        return any(family(kind) == "decimal" for kinds in self.kinds.values() for kind in kinds)

    def result(self, native: str) -> str:
        """Return the type of the result, given the one that DuckDB gives it."""
        shapes = self.shapes()
        if shapes is not None:
            return "BIGINT" if self.operation == "div" else type_name(result(self.operation, shapes, self.target))
        return self._other_result() or native

    def _other_result(self) -> str | None:
        """Return the type of a result that is no DECIMAL; None for DuckDB's."""
        if self.operation == "field":
            return _field_type(self.types()[0], self.name)
        coerced = self.coerced()
        if self.operation in {"arrays", "concat", "element", "set"}:
            return coerced[0] if coerced[0][-1:] in {")", "]"} else "VARCHAR"
        kinds = {each for each in coerced if family(each) != "null"}
        (kind,) = kinds if len(kinds) == 1 else [""]
        if self.operation == "array":
            return kind and f"{kind}[]"
        cast = family(kind) == "float" or kind not in self.types()
        return kind if self.operation in TOGETHER or (cast and self.operation in {"+", "-", "*", "%", "pmod"}) else None


_COMPUTING = OPERATORS | ROUNDED | {"avg", "sum"}


def _field_type(kind: str, name: str) -> str | None:
    """Return the type of a field of a struct, of the fields of an array of structs, or of a value of a map."""
    if kind.endswith("[]"):
        inner = _field_type(kind[:-2], name)
        return inner and f"{inner}[]"
    if kind.startswith("MAP("):
        return map_types(kind)[1]
    fields = fields_of(kind) if kind.startswith("STRUCT(") else []
    return next((each for field_name, each in fields if field_name.lower() == name.lower()), None)


def _stand_in(operation: str, kind: str) -> str:
    """Return the type with which DuckDB is to bind an operand: one that it takes there."""
    which = family(kind)
    if operation in ARRAYS:
        element = kind.rstrip("[]")
        known = family(element) and (operation != "concat" or element != kind)
        return f"INTEGER{kind.removeprefix(element)}" if known else kind
    if operation in OPERATORS:
        if which == "moment" and operation not in {"+", "-"}:
            return "INTEGER"
        return {"decimal": "DOUBLE", "text": "INTEGER", "truth": "INTEGER"}.get(which, kind)
    if operation in NUMBERS_OF_TEXT | ROUNDED:
        return {"text": "DOUBLE", "truth": "INTEGER"}.get(which, kind)
    if operation in CONDITIONS:
        return "BOOLEAN"
    return "INTEGER" if operation in TOGETHER and which else kind


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


def noted(places: str, kind: str) -> str:
    """Note a type at places, from the inside out, and return the type to go on with, as JSON. Bound statements call it."""
    for place in places.split():
        token, at, operand = place.split(".")
        note = _open[token][int(at)]
        if operand == "result":
            # What the platform refuses is refused once the statement is bound.
            with contextlib.suppress(StatementError):
                kind = note.result(kind)
        else:
            note.kinds.setdefault(int(operand), set()).add(kind)
            kind = _stand_in(note.operation, kind)
        kind = "INTEGER" if family(kind) == "null" else kind
    return json.dumps(kind)
