"""Statements of Databricks SQL with their rows, and what it takes to compare: shared by the test of the local workspace and
by the one against Spark.

Each line of ``statements.jsonl`` has the statement (``sql``) and its ``rows``, as values. ``error``: the platform refuses it,
and so does the local workspace, in this error class. ``refused``: the local workspace does not serve it, and says so.
``duckdb``: only served from this version of DuckDB on. ``differs``: why Spark gives something else than ``rows``.
``any_order``: the rows have no order. ``types``: the types of the columns, in Spark's short names.
``names``: the columns' names.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import re
from pathlib import Path

LINES = [json.loads(line) for line in (Path(__file__).parent / "statements.jsonl").read_text("utf-8").splitlines()]
STATEMENTS = [line for line in LINES if "sql" in line]
ORDERS = [
    {
        "id": 1,
        "item": "tea",
        "amount": 3.5,
        "ts": datetime.datetime(2026, 1, 2, 10),
        "tags": "hot,green",
        "js": '{"a": 1, "b": {"c": "x"}}',
    },
    {
        "id": 2,
        "item": "cups",
        "amount": 12.0,
        "ts": datetime.datetime(2026, 2, 3, 11),
        "tags": "ware",
        "js": '{"a": 2}',
    },
    {
        "id": 3,
        "item": "tea",
        "amount": 7.25,
        "ts": datetime.datetime(2026, 2, 4, 12),
        "tags": "hot",
        "js": '{"a": 3}',
    },
]
_NUMBERS = {"INT": int, "LONG": int, "SHORT": int, "BYTE": int, "DOUBLE": float, "FLOAT": float, "DECIMAL": float}


def value_of(text, type_name):
    """A value of the Statement Execution API, by the type of its column."""
    if text is None:
        return None
    if type_name in _NUMBERS:
        return _NUMBERS[type_name](text)
    if type_name == "BOOLEAN":
        return text == "true"
    return json.loads(text) if type_name in {"ARRAY", "MAP", "STRUCT"} else text


def values_of(answer):
    """The rows of a statement's answer, as values."""
    kinds = [column.type_name.value for column in answer.manifest.schema.columns]
    return [list(map(value_of, row, kinds)) for row in answer.result.data_array or []]


def short_types(names):
    """Types as Spark names them in short, whichever of the two wrote them."""
    return [re.sub("timestamp_.tz", "timestamp", name.lower().replace(" ", "")) for name in names]


def comparable(value):
    """A value as JSON has it, its numbers to nine digits."""
    if isinstance(value, dict):
        return {str(key): comparable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        as_dict = getattr(value, "asDict", None)
        return comparable(as_dict()) if as_dict else [comparable(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, str):
        # A TIMESTAMP has a Z, a TIMESTAMP_NTZ has none; Spark's Python has neither.
        return re.sub(r"(?<=T\d\d:\d\d:\d\d\.\d{3})Z$", "", value)
    return round(float(value), 9) if isinstance(value, (float, decimal.Decimal)) else value


def same(found, expected, *, any_order=False):
    """Whether rows are the same."""
    found, expected = comparable(found), comparable(expected)
    return sorted(map(repr, found)) == sorted(map(repr, expected)) if any_order else found == expected
