"""The two filter languages of vector search: a dict on standard endpoints, SQL text on storage-optimised ones.

The vector search filtering guide documents the operators, and which endpoint takes which form.
"""

from __future__ import annotations

import datetime
import json
import operator
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from obo_kit.testing._refusals import RefusedError

__all__ = ["by_dict", "by_sql"]

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# The time limit of a SQL filter, in seconds.
_TIME_LIMIT = 10.0

_Row = Mapping[str, Any]
_Test = Callable[[_Row], bool]


def by_dict(rows: Sequence[_Row], filters_json: str, columns: Iterable[str]) -> set[int]:
    """Return the numbers of the rows that a dict keeps: ``col``, ``col NOT``, ``col <`` (and so on), ``col LIKE``.

    All keys of a dict, and all dicts in a list, must match. ``a OR b <`` takes one value per column.

    Raises:
        RefusedError: The filter is not such a dict.
    """
    try:
        filters = json.loads(filters_json)
    except (ValueError, RecursionError):
        filters = None
    in_list = isinstance(filters, list)
    parts: list[Any] = filters if isinstance(filters, list) else [filters]
    if not all(isinstance(part, dict) for part in parts):
        raise RefusedError("invalid_parameter", detail="filters_json must be a JSON object, or a list of them, as text")
    known = frozenset(columns)
    tests = [_test(key, value, known, in_list) for part in parts for key, value in part.items()]
    return {number for number, row in enumerate(rows) if all(test(row) for test in tests)}


def _test(key: str, value: Any, columns: frozenset[str], in_list: bool) -> _Test:
    keys = re.split(r"\s+OR\s+", key)
    if len(keys) == 1:
        return _single(key, value, columns, in_list)
    if not isinstance(value, list) or len(value) != len(keys):
        raise RefusedError("invalid_parameter", detail=f"Filter {key!r} needs a list with one value per column")
    tests = [_single(name, wanted, columns, in_list) for name, wanted in zip(keys, value, strict=True)]
    return lambda row: any(test(row) for test in tests)


def _single(key: str, value: Any, columns: frozenset[str], in_list: bool) -> _Test:
    if key in columns:
        return lambda row: _equals(row.get(key), value)
    column, _, word = key.partition(" ")
    if column not in columns:
        raise RefusedError("invalid_parameter", detail=f"Filter columns are not in the index: {column}")
    if word == "NOT":
        return lambda row: not _equals(row.get(column), value)
    if word == "LIKE":
        # Documented: LIKE finds whole words. It takes patterns only in the list form, for JSON in a column.
        like = _matches if in_list else _has_word
        values = value if isinstance(value, list) else [value]
        return lambda row: any(like(str(row.get(column)), str(wanted_word)) for wanted_word in values)
    if word in _COMPARE:
        return lambda row: _holds(_COMPARE[word], row.get(column), value)
    raise RefusedError("search_filter_operator", filter=key)


def _equals(stored: Any, wanted: Any) -> bool:
    """Return whether a value, or an element of an array value, equals the wanted value or one of the wanted values."""
    values = wanted if isinstance(wanted, list) else [wanted]
    mine = stored if isinstance(stored, list) else [stored]
    return any(_same(element, other) for element in mine for other in values)


def _same(stored: Any, wanted: Any) -> bool:
    if isinstance(stored, datetime.date) and isinstance(wanted, str):
        return _holds(operator.eq, stored, wanted)
    # True is not 1 here.
    return isinstance(stored, bool) == isinstance(wanted, bool) and bool(stored == wanted)


def _holds(compare: Callable[[Any, Any], bool], stored: Any, wanted: Any) -> bool:
    try:
        if isinstance(stored, datetime.date) and isinstance(wanted, str):
            stored, wanted = _moment(stored), _moment(datetime.datetime.fromisoformat(wanted.replace("Z", "+00:00")))
        return stored is not None and compare(stored, wanted)
    except (TypeError, ValueError):
        return False


def _moment(day: datetime.date) -> datetime.datetime:
    moment = day if isinstance(day, datetime.datetime) else datetime.datetime(day.year, day.month, day.day)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)


def _has_word(text: str, word: str) -> bool:
    return word in text.split()


def _matches(text: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("%")), text, re.DOTALL) is not None


def by_sql(rows: Sequence[_Row], condition: str, columns: Iterable[str]) -> set[int]:
    """Return the numbers of the rows that match a condition in DuckDB's reading. It sees only these rows.

    Raises:
        RefusedError: DuckDB does not accept the condition.
    """
    import duckdb
    import pyarrow as pa  # type: ignore[import-untyped]

    numbers = pa.array(range(len(rows)), pa.int64())
    connection = duckdb.connect(":memory:")
    timer = threading.Timer(_TIME_LIMIT, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        connection.execute("CREATE MACRO to_timestamp(text) AS CAST(text AS TIMESTAMP)")
        values = {column: [row.get(column) for row in rows] for column in columns}
        relation = connection.from_arrow(pa.table({**values, "_row_number": numbers}))
        for setting in ("enable_external_access = false", "memory_limit = '512MB'", "lock_configuration = true"):
            connection.execute(f"SET {setting}")
        return {number for (number,) in relation.filter(condition).project("_row_number").fetchall()}
    except (duckdb.Error, pa.ArrowException, RuntimeError, ValueError, OverflowError) as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RefusedError("invalid_parameter", detail=f"Could not read the filter: {detail}") from None
    finally:
        timer.cancel()
        connection.close()
