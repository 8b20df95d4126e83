"""Order the elements of an array as Spark does: null is the least of them, and the least field or element within them.

DuckDB gives the array as JSON, and its type.
"""

from __future__ import annotations

import decimal
import json
from typing import Any

from obo_kit.testing.sql._types import fields_of

__all__ = ["places"]


def places(how: str, kind: str, text: str) -> str:
    """Return the places of the elements in their order, from 1: ``up``, ``down``, or up with nulls ``last``."""
    keys = [_key(kind[:-2], value) for value in json.loads(text, parse_float=decimal.Decimal)]
    ordered = sorted(range(len(keys)), key=keys.__getitem__, reverse=how == "down")
    if how == "last":
        ordered.sort(key=lambda place: keys[place] == _NULL)
    return json.dumps([place + 1 for place in ordered])


_NULL = (0,)


def _key(kind: str, value: Any) -> tuple[Any, ...]:
    """Return what a value is ordered by."""
    if value is None:
        return _NULL
    if kind.endswith("[]"):
        return (1, [_key(kind[:-2], each) for each in value])
    if kind.startswith("STRUCT("):
        return (1, [_key(of_field, value[name]) for name, of_field in fields_of(kind)])
    # NaN is the greatest number.
    return (1, value) if value == value else (2,)  # noqa: PLR0124
