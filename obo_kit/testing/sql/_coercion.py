"""Which types the platform gives the operands of an expression before it computes: those of ANSI mode.

Types are DuckDB's names. Source: docs.databricks.com/sql/language-manual/sql-ref-datatype-rules, and Spark for what it leaves
open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from obo_kit.testing.sql._decimals import OPERATORS, shape_of, type_name, widest
from obo_kit.testing.sql._refusals import StatementError
from obo_kit.testing.sql._types import fields_of, sql_type

__all__ = [
    "ARRAYS",
    "CONDITIONS",
    "NUMBERS_OF_TEXT",
    "ROUNDED",
    "TOGETHER",
    "coerced",
    "common",
    "family",
    "struct_type",
]

# Functions of numbers, to which text is a DOUBLE.
NUMBERS_OF_TEXT = frozenset({"avg", "double", "number", "sum"})
ROUNDED = frozenset({"bround", "ceil", "floor", "round"})
# Operations on arrays, the first of two operands at least.
ARRAYS = frozenset({"arrays", "concat", "element", "overlap", "position", "search"})
# What stands for a condition: the families that it may have. Only AND, OR and NOT cast text.
CONDITIONS = {"condition": {"truth", ""}, "connective": {"truth", "text", ""}}
# Ways to bring operands together, in which all of them get one type.
TOGETHER = frozenset({"array", "case", "coalesce", "greatest", "least"})

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
# What becomes a DECIMAL that has room for it.
_NARROW = (*_WHOLE, '"NULL"', "NULL")
_FAMILIES = {
    **dict.fromkeys(_WHOLE, "whole"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "float"),
    **dict.fromkeys(('"NULL"', "NULL"), "null"),
    "VARCHAR": "text",
    # The names of the parsing library.
    "TEXT": "text",
    "INT": "whole",
    "BOOLEAN": "truth",
    "DATE": "moment",
}
_NUMBERS = frozenset({"whole", "decimal", "float"})
# The families that a function of numbers takes for a DOUBLE; for the others, text.
_WIDENED = {"double": {"text", "decimal"}, **{each: {"text", "null"} for each in ROUNDED}}
# What text becomes beside values of a family.
_BESIDE_TEXT = {"whole": "BIGINT", "decimal": "DOUBLE", "float": "DOUBLE"}


def family(kind: str) -> str:
    """Return the kind of values that a type has; nothing for a type that has no rules here."""
    if kind.startswith("DECIMAL") and not kind.endswith("]"):
        return "decimal"
    if kind.startswith("TIMESTAMP") and not kind.endswith("]"):
        return "moment"
    return _FAMILIES.get(kind, "")


def common(first: str, second: str) -> str | None:
    """Return the least common type of two; None if there is none, or no rule for it."""
    families = family(first), family(second)
    if first == second or "null" in families:
        return second if families[0] == "null" else first
    if "text" in families:
        other, kind = (families[1], second) if families[0] == "text" else (families[0], first)
        return _BESIDE_TEXT.get(other, kind if other in {"moment", "truth"} else None)
    if _NUMBERS.issuperset(families):
        return _common_number(first, second)
    if families == ("moment", "moment"):
        return next(each for each in (first, second) if each != "DATE") if "DATE" in {first, second} else "TIMESTAMP"
    if first.endswith("[]") and second.endswith("[]"):
        inner = common(first[:-2], second[:-2])
        return inner and f"{inner}[]"
    return None


def _common_number(first: str, second: str) -> str:
    if first in _WHOLE and second in _WHOLE:
        return max(first, second, key=_WHOLE.index)
    shapes = [shape for shape in map(shape_of, (first, second)) if shape is not None]
    return type_name(widest(shapes)) if len(shapes) == 2 else "DOUBLE"


def coerced(operation: str, kinds: Sequence[str]) -> list[str]:
    """Return the types of operands once the platform has cast them. Raises StatementError if it refuses them."""
    families = set(map(family, kinds)) - {"null"}
    if operation in NUMBERS_OF_TEXT | ROUNDED:
        _check(operation, kinds, not families & {"moment", "truth"})
        wide = _WIDENED.get(operation, {"text"})
        return ["DOUBLE" if family(kind) in wide else kind for kind in kinds]
    if operation == "set":
        return _rows(kinds)
    if operation in ARRAYS:
        return _arrays(operation, kinds)
    if operation in CONDITIONS:
        if families - CONDITIONS[operation]:
            raise StatementError("sql_types", f"A condition is BOOLEAN, not {sql_type(kinds[0])[0]}.")
        return list(kinds)
    if "" in families or not families:
        return _one(kinds) or list(kinds)
    return _computed(operation, kinds, families) if operation in OPERATORS else _joined(operation, kinds, families)


def _arrays(operation: str, kinds: Sequence[str]) -> list[str]:
    """Return the types of arrays, and of a value that may be an element.

    Only concatenation casts text. Only it and a search bring numbers to a DECIMAL that none of them has.
    """
    if "" in kinds or (operation == "concat" and not all(kind.endswith("[]") for kind in kinds)):
        return list(kinds)
    value = operation in {"element", "position", "search"}
    elements = [kind if value and at else kind.removesuffix("[]") for at, kind in enumerate(kinds)]
    both = _one(elements)
    if both is None or (operation != "concat" and not _alike(elements, both[0], narrow=operation != "search")):
        raise _mismatch(operation, kinds)
    return [kind if value and at else f"{kind}[]" for at, kind in enumerate(both)]


def _alike(kinds: Sequence[str], target: str, *, narrow: bool) -> bool:
    """Return whether no text is cast, and if ``narrow``, no number to a DECIMAL that was not there."""
    families = set(map(family, kinds)) - {"null", ""}
    if "text" in families:
        return len(families) == 1
    fits = (each in _NARROW or shape_of(each) == shape_of(target) for each in kinds)
    return not narrow or "decimal" not in families or all(fits)


def _joined(operation: str, kinds: Sequence[str], families: set[str]) -> list[str]:
    target = _one(kinds)
    # These take values of one kind, and cast no text.
    strict = operation in {"greatest", "least"} and "text" in families and len(families) > 1
    if target is None or strict:
        raise _mismatch(operation, kinds)
    return list(kinds) if operation == "compare" and "text" not in families else target


def _computed(operation: str, kinds: Sequence[str], families: set[str]) -> list[str]:
    moments = "moment" in families and operation not in {"+", "-"}
    _check(operation, kinds, not moments and "truth" not in families and families != {"text"})
    numbers = families - {"text"} <= _NUMBERS and bool(families & {"text", "float"})
    dates = operation == "-" and families == {"text", "moment"}
    return (_one(kinds) if numbers or dates else None) or list(kinds)


def _one(kinds: Sequence[str]) -> list[str] | None:
    """Return the least common type of all, for each of them."""
    target: str | None = '"NULL"'
    for kind in kinds:
        target = common(target, kind) if target is not None else None
    return [target] * len(kinds) if target is not None else None


def _check(operation: str, kinds: Sequence[str], fits: bool) -> None:
    if not fits:
        raise _mismatch(operation, kinds)


def _mismatch(operation: str, kinds: Sequence[str]) -> StatementError:
    names = " and ".join(sql_type(kind)[0] for kind in dict.fromkeys(kinds))
    return StatementError("sql_types", f"Values of the types {names} do not go together in {operation}.")


def _rows(kinds: Sequence[str]) -> list[str]:
    """Return the type of the rows of both sides of UNION, EXCEPT or INTERSECT, each under its names."""
    left, right = map(fields_of, kinds)
    if len(left) != len(right):
        return list(kinds)
    pairs = [(mine, theirs, common(mine, theirs)) for (_, mine), (_, theirs) in zip(left, right, strict=True)]
    for at, (mine, theirs, both) in enumerate(pairs, 1):
        if both is None and (family(mine) or family(theirs)):
            names = " and ".join(sql_type(kind)[0] for kind in (mine, theirs))
            raise StatementError("sql_set_types", f"Column {at} of the sides has the types {names}.")
    return [
        struct_type((name, both or kind) for (name, kind), (_, _, both) in zip(side, pairs, strict=True))
        for side in (left, right)
    ]


def struct_type(fields: Iterable[tuple[str, str]]) -> str:
    """Return the name of a STRUCT, from the names and types of its fields."""
    named = (f'"{name.replace(chr(34), chr(34) * 2)}" {kind}' for name, kind in fields)
    return f"STRUCT({', '.join(named)})"
