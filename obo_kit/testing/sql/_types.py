"""SQL types in the names of Databricks and of DuckDB, and their values as text."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "fields_of", "map_types", "sql_type", "text_of", "type_json"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a result: its name, its SQL type as Databricks writes it, and the name of the base type."""

    name: str
    type_text: str
    type_name: str


# Databricks type and type_name per DuckDB type.
_TYPES = {
    "BOOLEAN": ("BOOLEAN", "BOOLEAN"),
    "TINYINT": ("TINYINT", "BYTE"),
    "SMALLINT": ("SMALLINT", "SHORT"),
    "INTEGER": ("INT", "INT"),
    "BIGINT": ("BIGINT", "LONG"),
    "UTINYINT": ("SMALLINT", "SHORT"),
    "USMALLINT": ("INT", "INT"),
    "UINTEGER": ("BIGINT", "LONG"),
    "UBIGINT": ("DECIMAL(20,0)", "DECIMAL"),
    # DuckDB's type for the sum of integers.
    "HUGEINT": ("BIGINT", "LONG"),
    "FLOAT": ("FLOAT", "FLOAT"),
    "DOUBLE": ("DOUBLE", "DOUBLE"),
    "VARCHAR": ("STRING", "STRING"),
    "UUID": ("STRING", "STRING"),
    "TIME": ("STRING", "STRING"),
    "BLOB": ("BINARY", "BINARY"),
    "DATE": ("DATE", "DATE"),
    "INTERVAL": ("INTERVAL", "INTERVAL"),
    '"NULL"': ("VOID", "NULL"),
    "NULL": ("VOID", "NULL"),
}
# A field of a DuckDB STRUCT.
_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|(\w+)) (.+)')
# Spark's JSON names of types that differ from the lower-case name.
_JSON = {"INT": "integer", "BIGINT": "long", "SMALLINT": "short", "TINYINT": "byte"}


def sql_type(duck: str) -> tuple[str, str]:
    """Return the SQL type as Databricks writes it, and the name of the base type, for a DuckDB type."""
    if duck in _TYPES:
        return _TYPES[duck]
    if duck.endswith("[]"):
        return f"ARRAY<{sql_type(duck[:-2])[0]}>", "ARRAY"
    if duck.startswith("DECIMAL"):
        return duck.replace(" ", ""), "DECIMAL"
    if duck.startswith("TIMESTAMP"):
        return "TIMESTAMP", "TIMESTAMP"
    if duck.startswith("MAP("):
        key, value = map_types(duck)
        return f"MAP<{sql_type(key)[0]}, {sql_type(value)[0]}>", "MAP"
    if duck.startswith("STRUCT("):
        return f"STRUCT<{', '.join(f'{name}: {sql_type(kind)[0]}' for name, kind in fields_of(duck))}>", "STRUCT"
    return "STRING", "STRING"


def fields_of(duck: str) -> list[tuple[str, str]]:
    """Return the names and types of the fields of a DuckDB STRUCT."""
    fields = (_FIELD.fullmatch(field) for field in _split(duck[7:-1]))
    return [((each[1] or each[2]).replace('""', '"'), each[3]) for each in fields if each]


def map_types(duck: str) -> list[str]:
    """Return the types of the keys and values of a DuckDB MAP."""
    return _split(duck[4:-1])


def _split(text: str) -> list[str]:
    """Split a text at the commas outside brackets and quotes."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += {"(": 1, ")": -1}.get(letter, 0) * (not quoted)
        if letter == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def type_json(type_text: str) -> Any:
    """Return a type as Spark's JSON writes it: a name, or an object for an array."""
    if type_text.startswith("ARRAY<"):
        return {"type": "array", "elementType": type_json(type_text[6:-1]), "containsNull": True}
    return _JSON.get(type_text, type_text.lower())


def _interval_text(value: datetime.timedelta) -> str:
    """Return an interval of days, hours, minutes and seconds as the platform writes it (inferred)."""
    sign = "-" if value < datetime.timedelta() else ""
    value = abs(value)
    hours, rest = divmod(value.seconds, 3600)
    return f"{sign}{value.days} {hours:02}:{rest // 60:02}:{rest % 60:02}.{value.microseconds:06}000"


_SCALARS: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (str, str),
    (bool, lambda value: "true" if value else "false"),
    # With the Z that the platform adds to a TIMESTAMP (fid:45455947422). There is no TIMESTAMP_NTZ here.
    (datetime.datetime, lambda value: value.isoformat(timespec="milliseconds") + "Z"),
    (datetime.date, lambda value: value.isoformat()),
    (datetime.timedelta, _interval_text),
    (decimal.Decimal, lambda value: format(value, "f")),
    (bytes, lambda value: base64.b64encode(value).decode()),
    ((list, dict), lambda value: json.dumps(value, default=_inner)),
)


def _inner(value: Any) -> Any:
    """Return a value within an array, map or struct as JSON has it."""
    return float(value) if isinstance(value, decimal.Decimal) else text_of(value)


def text_of(value: Any) -> str | None:
    """Return a value as the JSON_ARRAY format writes it."""
    if value is None:
        return None
    for kind, write in _SCALARS:
        if isinstance(value, kind):
            return write(value)
    return str(value)
