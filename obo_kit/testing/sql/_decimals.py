"""DECIMAL as the platform computes it: the types of results, and values beyond what DuckDB represents.

The rules are those of Databricks' documentation of the type DECIMAL and of its operators and functions.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterable, Sequence

__all__ = [
    "MOST",
    "OPERATORS",
    "Shape",
    "computed",
    "full_shape",
    "literal_shape",
    "result",
    "shape_of",
    "type_name",
    "widest",
]

Shape = tuple[int, int]
"""Precision and scale."""

MOST = 38
_WHOLE = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 20, "HUGEINT": 20}
OPERATORS = frozenset({"+", "-", "*", "/", "%", "div", "pmod"})
# Spark divides to one digit more than a DECIMAL has, before it rounds.
_CONTEXT = decimal.Context(prec=MOST + 1, rounding=decimal.ROUND_HALF_UP)
_EXACT = decimal.Context(prec=4 * MOST, rounding=decimal.ROUND_HALF_UP)


def shape_of(duck: str, digits: int | None = None) -> Shape | None:
    """Return the shape of a type of DuckDB as an operand of DECIMAL; None if it is no exact number.

    A literal integer has its own ``digits``.
    """
    if duck in _WHOLE:
        return digits or _WHOLE[duck], 0
    match = re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", duck)
    return (int(match[1]), int(match[2])) if match is not None else None


def type_name(shape: Shape) -> str:
    """Return DuckDB's name of a DECIMAL."""
    return f"DECIMAL({shape[0]},{shape[1]})"


def literal_shape(text: str) -> Shape:
    """Return the shape of a number with a point, as it is written."""
    whole, _, part = text.partition(".")
    return max(len((whole + part).lstrip("0")), len(part), 1), len(part)


def widest(shapes: Iterable[Shape]) -> Shape:
    """Return the shape that represents the values of all shapes."""
    listed = list(shapes)
    scale = max(each for _, each in listed)
    return min(MOST, max(precision - each for precision, each in listed) + scale), min(MOST, scale)


def _adjusted(precision: int, scale: int) -> Shape:
    """Keep the digits before the point, and at least six after it, where the precision is too high."""
    if precision <= MOST:
        return precision, scale
    return MOST, max(MOST - (precision - scale), min(scale, 6))


def full_shape(operation: str, left: Shape, right: Shape) -> Shape:
    """Return the shape of a result that loses nothing."""
    (p1, s1), (p2, s2) = left, right
    scale = max(s1, s2)
    if operation in "+-":
        return max(p1 - s1, p2 - s2) + scale + 1, scale
    if operation == "*":
        return p1 + p2 + 1, s1 + s2
    if operation == "/":
        digits = max(6, s1 + p2 + 1)
        return p1 - s1 + s2 + digits, digits
    return min(p1 - s1, p2 - s2) + scale, scale


def result(operation: str, shapes: Sequence[Shape], target: int | None = None) -> Shape:
    """Return the shape of the result of an operator or function whose operands have these shapes."""
    precision, scale = shapes[0]
    if operation == "sum":
        return min(MOST, precision + 10), scale
    if operation == "avg":
        return min(MOST, precision + 4), min(MOST, scale + 4)
    if operation in {"round", "bround", "ceil", "floor"}:
        if target is None and operation in {"ceil", "floor"} and not scale:
            return precision, 0
        target = target or 0
        if target < 0:
            return min(MOST, max(precision - scale + 1, 1 - target)), 0
        return min(MOST, precision - scale + 1 + min(scale, target)), min(scale, target)
    return _adjusted(*full_shape(operation, shapes[0], shapes[1]))


# ---------------------------------------------------------------------------------------------- values

_ROUNDINGS = {
    "round": decimal.ROUND_HALF_UP,
    "bround": decimal.ROUND_HALF_EVEN,
    "ceil": decimal.ROUND_CEILING,
    "floor": decimal.ROUND_FLOOR,
}


def computed(plan: str, left: str, right: str) -> str | None:
    """Compute one value. The plan: operation, precision and scale of the result, and ``try`` if null may stand for an error.

    Raises ValueError in the platform's words.
    """
    operation, precision, scale, *attempt = plan.split()
    a, b = decimal.Decimal(left), decimal.Decimal(right)
    if operation in {"/", "%", "div", "pmod"} and not b:
        if attempt:
            return None
        raise ValueError(_NO_REST if operation in {"%", "pmod"} else _BY_ZERO)
    value = _value(operation, a, b)
    shape = int(precision), int(scale)
    if operation == "div" and not -(2**63) <= value < 2**63:
        raise ValueError(_OVERFLOW)
    rounded = value.quantize(decimal.Decimal(1).scaleb(-shape[1]), context=_EXACT)
    if rounded.adjusted() >= shape[0] - shape[1] and rounded:
        if attempt:
            return None
        raise ValueError(_OUT_OF_RANGE.format(value=format(value, "f"), precision=shape[0], scale=shape[1]))
    return format(rounded, "f")


def _value(operation: str, a: decimal.Decimal, b: decimal.Decimal) -> decimal.Decimal:
    if operation in _ROUNDINGS:
        return a.quantize(decimal.Decimal(1).scaleb(-int(b)), _ROUNDINGS[operation], _EXACT)
    if operation in "+-":
        return _EXACT.add(a, b) if operation == "+" else _EXACT.subtract(a, b)
    if operation == "*":
        return _EXACT.multiply(a, b)
    if operation == "/":
        return _CONTEXT.divide(a, b)
    if operation == "div":
        return _EXACT.divide_int(a, b)
    rest = _EXACT.remainder(a, b)
    if operation == "pmod" and rest < 0:
        return _EXACT.remainder(_EXACT.add(rest, b), b)
    return rest


_BY_ZERO = (
    "[DIVIDE_BY_ZERO] Division by zero. Use `try_divide` to tolerate divisor being 0 and return NULL instead. "
    "SQLSTATE: 22012"
)
_NO_REST = (
    "[REMAINDER_BY_ZERO] Remainder by zero. Use `try_mod` to tolerate divisor being 0 and return NULL instead. "
    "SQLSTATE: 22012"
)
_OVERFLOW = (
    "[ARITHMETIC_OVERFLOW] Overflow in integral divide. Use `try_divide` to tolerate overflow and return NULL instead. "
    "SQLSTATE: 22003"
)
_OUT_OF_RANGE = (
    "[NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION] The value {value} cannot be represented as Decimal({precision}, {scale}). "
    'If necessary set "ansi_mode" to "false" to bypass this error, and return NULL instead. SQLSTATE: 22003'
)
