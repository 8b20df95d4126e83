"""The functions ``hash`` and ``xxhash64``: Murmur3 and xxHash of values by their types, with the seed 42, as Spark has them.

DuckDB gives the values as JSON, and their type.
"""

from __future__ import annotations

import datetime
import decimal
import json
import struct
from collections.abc import Callable
from typing import Any

from obo_kit.testing.sql._types import fields_of

__all__ = ["hashed"]

_INT, _LONG = 2**32 - 1, 2**64 - 1
_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
)  # fmt: skip
_EPOCH = datetime.date(1970, 1, 1)


def _rotated(value: int, by: int, bits: int) -> int:
    return (value << by | value >> (bits - by)) & (_INT if bits == 32 else _LONG)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


# ---------------------------------------------------------------------------------------------- Murmur3


def _murmur(data: bytes, seed: int) -> int:
    """Return the hash of bytes. Each byte after the last four is mixed in on its own, other than in the published algorithm."""
    whole = len(data) // 4 * 4
    words = [*struct.unpack(f"<{whole // 4}I", data[:whole]), *(_signed(each, 8) & _INT for each in data[whole:])]
    value = seed & _INT
    for word in words:
        mixed = _rotated(word * 0xCC9E2D51 & _INT, 15, 32) * 0x1B873593 & _INT
        value = (_rotated(value ^ mixed, 13, 32) * 5 + 0xE6546B64) & _INT
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EBCA6B & _INT
    value = (value ^ value >> 13) * 0xC2B2AE35 & _INT
    return _signed(value ^ value >> 16, 32)


# ---------------------------------------------------------------------------------------------- xxHash


def _round(value: int, word: int) -> int:
    return _rotated((value + word * _P2) & _LONG, 31, 64) * _P1 & _LONG


def _xxhash(data: bytes, seed: int) -> int:
    """Return the hash of bytes."""
    at, size, seed = 0, len(data), seed & _LONG
    value = (seed + _P5) & _LONG
    if size >= 32:
        lanes = [(seed + each) & _LONG for each in (_P1 + _P2, _P2, 0, -_P1)]
        for at in range(0, size - 31, 32):
            lanes = [_round(lane, word) for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at), strict=True)]
        at += 32
        value = sum(_rotated(lane, by, 64) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & _LONG
        for lane in lanes:
            value = ((value ^ _round(0, lane)) * _P1 + _P4) & _LONG
    value = (value + size) & _LONG
    while at + 8 <= size:
        value = (_rotated(value ^ _round(0, struct.unpack_from("<Q", data, at)[0]), 27, 64) * _P1 + _P4) & _LONG
        at += 8
    if at + 4 <= size:
        value = (_rotated(value ^ struct.unpack_from("<I", data, at)[0] * _P1 & _LONG, 23, 64) * _P2 + _P3) & _LONG
        at += 4
    for byte in data[at:]:
        value = _rotated(value ^ byte * _P5 & _LONG, 11, 64) * _P1 & _LONG
    value = (value ^ value >> 33) * _P2 & _LONG
    value = (value ^ value >> 29) * _P3 & _LONG
    return _signed(value ^ value >> 32, 64)


# ---------------------------------------------------------------------------------------------- values

_HASHES: dict[str, Callable[[bytes, int], int]] = {"hash": _murmur, "xxhash64": _xxhash}


def hashed(plan: str, kind: str, text: str) -> str:
    """Return the hash of a value. The plan: function and seed. Raises ValueError for a type that is not served."""
    name, seed = plan.split()
    return str(_hashed(_HASHES[name], kind, json.loads(text, parse_float=decimal.Decimal), int(seed)))


def _hashed(function: Callable[[bytes, int], int], kind: str, value: Any, seed: int) -> int:
    if value is None:
        return seed
    if kind.endswith("[]"):
        parts = [(kind[:-2], each) for each in value]
    elif kind.startswith("STRUCT("):
        parts = [(of_field, value[name]) for name, of_field in fields_of(kind)]
    else:
        return function(_bytes(kind, value), seed)
    for of_part, part in parts:
        seed = _hashed(function, of_part, part, seed)
    return seed


def _bytes(kind: str, value: Any) -> bytes:
    if kind == "VARCHAR":
        return str(value).encode()
    if kind == "DOUBLE":
        # Zero has one hash, whatever its sign.
        return struct.pack("<d", float(value) or 0.0)
    if kind == "FLOAT":
        return struct.pack("<f", float(value) or 0.0)
    if kind in {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER"}:
        return struct.pack("<i", value)
    if kind == "BIGINT":
        return struct.pack("<q", value)
    if kind == "DATE":
        return struct.pack("<i", (datetime.date.fromisoformat(value) - _EPOCH).days)
    if kind == "TIMESTAMP":
        since = datetime.datetime.fromisoformat(value) - datetime.datetime(1970, 1, 1)
        return struct.pack("<q", since // datetime.timedelta(microseconds=1))
    if kind.startswith("DECIMAL"):
        precision, scale = map(int, kind[8:-1].split(","))
        whole = int(decimal.Decimal(value).scaleb(scale, decimal.Context(prec=2 * precision)))
        # Java's smallest two's complement.
        size = (whole + (whole < 0)).bit_length() // 8 + 1
        return struct.pack("<q", whole) if precision <= 18 else whole.to_bytes(size, "big", signed=True)
    msg = "[UNSUPPORTED_FEATURE] The local workspace does not serve hashes of values like these SQLSTATE: 0A000"
    raise ValueError(msg)
