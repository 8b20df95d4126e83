"""SQL types as Databricks names them, as DuckDB names them, and their values as text."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "duck_type", "sql_type", "text_of", "type_json"]


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
    "HUGEINT": ("DECIMAL(38,0)", "DECIMAL"),
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
# DuckDB's name per Databricks type.
_DUCK = {
    "STRING": "VARCHAR",
    "BOOLEAN": "BOOLEAN",
    "BYTE": "TINYINT",
    "TINYINT": "TINYINT",
    "SHORT": "SMALLINT",
    "SMALLINT": "SMALLINT",
    "INT": "INTEGER",
    "INTEGER": "INTEGER",
    "LONG": "BIGINT",
    "BIGINT": "BIGINT",
    "FLOAT": "FLOAT",
    "REAL": "FLOAT",
    "DOUBLE": "DOUBLE",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
    "TIMESTAMP_NTZ": "TIMESTAMP",
    "BINARY": "BLOB",
}
_DECIMAL = re.compile(r"(?:DECIMAL|DEC|NUMERIC)(?:\((\d{1,2})(?:,\s*(\d{1,2}))?\))?")
# What Spark's JSON calls the types whose name there is not the lower-case one.
_JSON = {"INT": "integer", "BIGINT": "long", "SMALLINT": "short", "TINYINT": "byte"}


def duck_type(text: str) -> str:
    """DuckDB's name of a type that Databricks names so. ValueError where it is not known here."""
    name = " ".join(text.upper().split())
    number = _DECIMAL.fullmatch(name)
    if number is not None:
        return f"DECIMAL({number[1] or 10},{number[2] or 0})"
    if name.startswith("ARRAY<") and name.endswith(">"):
        return duck_type(name[6:-1]) + "[]"
    if name not in _DUCK:
        msg = f"{text!r} is no SQL type that the local workspace knows; there are: {', '.join(_DUCK)}, DECIMAL, ARRAY"
        raise ValueError(msg)
    return _DUCK[name]


def sql_type(duck: str) -> tuple[str, str]:
    """The SQL type as Databricks writes it, and the name of the base type, of a type of DuckDB."""
    if duck in _TYPES:
        return _TYPES[duck]
    if duck.startswith("DECIMAL"):
        return duck, "DECIMAL"
    if duck.startswith("TIMESTAMP"):
        return "TIMESTAMP", "TIMESTAMP"
    if duck.endswith("[]"):
        return f"ARRAY<{sql_type(duck[:-2])[0]}>", "ARRAY"
    for name in ("STRUCT", "MAP"):
        if duck.startswith(name):
            return name, name
    return "STRING", "STRING"


def type_json(type_text: str) -> Any:
    """A type as Spark's JSON writes it: a name, or an object for an array."""
    if type_text.startswith("ARRAY<"):
        return {"type": "array", "elementType": type_json(type_text[6:-1]), "containsNull": True}
    return _JSON.get(type_text, type_text.lower())


_SCALARS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (str, str),
    (bool, lambda value: "true" if value else "false"),
    (datetime.datetime, lambda value: value.isoformat(timespec="milliseconds")),
    (datetime.date, lambda value: value.isoformat()),
    (decimal.Decimal, lambda value: format(value, "f")),
    (bytes, lambda value: base64.b64encode(value).decode()),
    (list, lambda value: json.dumps(value, default=text_of)),
    (dict, lambda value: json.dumps(value, default=text_of)),
)


def text_of(value: Any) -> str | None:
    """A value as the JSON_ARRAY format writes it."""
    if value is None:
        return None
    for kind, write in _SCALARS:
        if isinstance(value, kind):
            return write(value)
    return str(value)
