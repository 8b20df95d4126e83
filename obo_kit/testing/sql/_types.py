"""SQL types in the names of Databricks, of DuckDB and of Arrow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "arrow_type", "fields_of", "map_types", "sql_type", "type_json"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a result: its name, and its type in DuckDB."""

    name: str
    duck: str = "VARCHAR"

    @property
    def type_text(self) -> str:
        """Return the SQL type as Databricks writes it."""
        return sql_type(self.duck)[0]

    @property
    def type_name(self) -> str:
        """Return the name of the base type."""
        return sql_type(self.duck)[1]


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
    # It stands for TIMESTAMP_NTZ: DuckDB casts it as that is cast. The API has no type_name of its own for it (inferred).
    "TIMESTAMP_NS": ("TIMESTAMP_NTZ", "TIMESTAMP"),
    '"NULL"': ("VOID", "NULL"),
    "NULL": ("VOID", "NULL"),
}
# A field of a DuckDB STRUCT.
_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|(\w+)) (.+)')
# Arrow type per type_name; text for any other.
_ARROW = {
    "BOOLEAN": "bool_",
    "BYTE": "int8",
    "SHORT": "int16",
    "INT": "int32",
    "LONG": "int64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "BINARY": "binary",
    "DATE": "date32",
}
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


def arrow_type(duck: str) -> Any:
    """Return the type of a DuckDB type's values in Arrow."""
    import pyarrow as pa  # type: ignore[import-untyped]

    text, name = sql_type(duck)
    if name == "ARRAY":
        return pa.list_(arrow_type(duck[:-2]))
    if name == "MAP":
        return pa.map_(*map(arrow_type, map_types(duck)))
    if name == "STRUCT":
        return pa.struct([(field, arrow_type(kind)) for field, kind in fields_of(duck)])
    if name == "DECIMAL":
        return pa.decimal128(*map(int, re.findall(r"\d+", text)))
    if name == "TIMESTAMP":
        return pa.timestamp("us", tz=None if duck == "TIMESTAMP_NS" else "Etc/UTC")
    return getattr(pa, _ARROW.get(name, "string"))()


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
