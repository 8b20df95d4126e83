"""Values as text: as ``to_json`` writes them, as a cast to STRING does, and as results are sent.

For the first two, DuckDB gives the values as JSON, and their type.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import struct
from collections.abc import Callable
from typing import Any

from obo_kit.testing.sql._types import fields_of, map_types

__all__ = ["cast_text", "double_text", "json_text", "text_of", "variant_text"]


def double_text(text: str) -> str:
    """Return a DOUBLE as the platform writes it: 1.0E10."""
    number = decimal.Decimal(text)
    if not number.is_finite():
        return "NaN" if number.is_nan() else f"{'-' * number.is_signed()}Infinity"
    if not number or -3 <= number.adjusted() < 7:
        plain = format(number, "f")
        return plain if "." in plain else f"{plain}.0"
    sign, digits, _ = number.as_tuple()
    written = "".join(map(str, digits)).rstrip("0")
    return f"{'-' * sign}{written[0]}.{written[1:] or '0'}E{number.adjusted()}"


def _float_text(value: float) -> str:
    """Return the shortest text that is this FLOAT."""
    wanted = struct.pack("f", value)
    texts = (f"{value:.{digits}g}" for digits in range(6, 10))
    return next(text for text in texts if struct.pack("f", float(text)) == wanted)


def _number(kind: str, value: Any) -> str:
    if kind == "DOUBLE":
        return double_text(str(value))
    if kind == "FLOAT":
        return double_text(_float_text(float(value)))
    if kind.startswith("DECIMAL"):
        scale = int(kind[:-1].rpartition(",")[2])
        return f"{decimal.Decimal(value):.{scale}f}"
    return str(value)


def json_text(kind: str, text: str) -> str:
    """Return a value as JSON. A field of a struct that is null is left out."""
    return text if kind == "JSON" else _json(kind, _read(text))


def _json(kind: str, value: Any) -> str:
    if value is None:
        return "null"
    if kind.endswith("[]"):
        return f"[{','.join(_json(kind[:-2], each) for each in value)}]"
    if kind.startswith("MAP("):
        _, of_values = map_types(kind)
        return f"{{{','.join(f'{_quoted(key)}:{_json(of_values, each)}' for key, each in value.items())}}}"
    if kind.startswith("STRUCT("):
        fields = [(name, of_field) for name, of_field in fields_of(kind) if value[name] is not None]
        return f"{{{','.join(f'{_quoted(name)}:{_json(of_field, value[name])}' for name, of_field in fields)}}}"
    if kind.startswith("TIMESTAMP"):
        day, _, time = value.partition(" ")
        seconds, _, part = time.partition(".")
        return _quoted(f"{day}T{seconds}.{part.ljust(3, '0')}Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, list, dict)):
        return json.dumps(value, ensure_ascii=False, default=float, separators=(",", ":"))
    return _number(kind, value)


def cast_text(kind: str, text: str) -> str:
    """Return an array, map or struct as a cast to STRING writes it."""
    return _text(kind, _read(text))


def _text(kind: str, value: Any) -> str:
    if value is None:
        return "null"
    if kind.endswith("[]"):
        return f"[{', '.join(_text(kind[:-2], each) for each in value)}]"
    if kind.startswith("MAP("):
        of_keys, of_values = map_types(kind)
        return f"{{{', '.join(f'{_text(of_keys, key)} -> {_text(of_values, each)}' for key, each in value.items())}}}"
    if kind.startswith("STRUCT("):
        return f"{{{', '.join(_text(of_field, value[name]) for name, of_field in fields_of(kind))}}}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else _number(kind, value)


def variant_text(text: str) -> str:
    """Return JSON as a VARIANT has it: the keys in order, and no spaces."""
    value = json.loads(text, parse_float=_variant_number)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _variant_number(text: str) -> float:
    """Return a number with a point: a DECIMAL, without zeros at its end, or with an exponent a DOUBLE."""
    value = float(text)
    return int(value) if value.is_integer() and "e" not in text.lower() else value


def _read(text: str) -> Any:
    return json.loads(text, parse_float=decimal.Decimal)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


_SCALARS: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (str, str),
    (bool, lambda value: "true" if value else "false"),
    # With the Z that the platform adds to a TIMESTAMP (fid:45455947422).
    (datetime.datetime, lambda value: value.isoformat(timespec="milliseconds") + "Z"),
    (datetime.date, lambda value: value.isoformat()),
    (decimal.Decimal, lambda value: format(value, "f")),
    (bytes, lambda value: base64.b64encode(value).decode()),
    (
        (list, dict),
        lambda value: json.dumps(value, default=_inner, ensure_ascii=False, separators=(",", ":")),
    ),
)


def _inner(value: Any) -> Any:
    """Return a value within an array, map or struct as JSON has it."""
    return float(value) if isinstance(value, decimal.Decimal) else text_of(value)


def text_of(value: Any, duck: str = "") -> str | None:
    """Return a value of a DuckDB type as the JSON_ARRAY format writes it."""
    if value is None:
        return None
    for kind, write in _SCALARS:
        if isinstance(value, kind):
            return write(value).removesuffix("Z" if duck == "TIMESTAMP_NS" else "")
    return _number(duck, value)
