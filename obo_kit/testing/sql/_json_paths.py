"""Read JSON where DuckDB does it otherwise: paths with wildcards (``get_json_object``, the operator ``:``), and types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["all_at_path", "fitted", "matches_of_path"]

# A step of a path: a key, an index, or None for all elements.
Step = str | int | None
_STEP = re.compile(r"\.\"((?:[^\"\\]|\\.)*)\"|\['([^']*)'\]|\.([^.\[\]'\"*]+)|\[(\d+)\]|(\[\*\])")
_MISSING = object()


def _steps(path: str) -> list[Step] | None:
    """Return the steps of a path; None if it is none."""
    steps: list[Step] = []
    at = 1 if path.startswith("$") else -1
    while 0 <= at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            return None
        name = next((each for each in match.groups()[:3] if each is not None), None)
        steps.append(name.replace('\\"', '"') if name is not None else int(match[4]) if match[4] else None)
        at = match.end()
    return steps if at >= 0 else None


def _part(value: Any, step: Step) -> Any:
    if isinstance(step, str):
        return value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return _MISSING


def matches_of_path(text: str, path: str) -> str | None:
    """Return what ``get_json_object`` finds: one match as it is, several as an array, null for none (inferred from Spark)."""
    matches = _follow(text, path, _found)
    if not matches:
        return None
    return _written(matches if len(matches) > 1 else matches[0])


def _found(value: Any, steps: Sequence[Step], *, inner: bool = False) -> list[Any]:
    """Return the matches. Nulls are none; a wildcard below another keeps its array, two in a row make one."""
    if value is _MISSING or value is None:
        return []
    if not steps:
        return [value]
    if steps[0] is not None:
        return _found(_part(value, steps[0]), steps[1:], inner=inner)
    if not isinstance(value, list):
        return []
    if list(steps[:2]) == [None, None]:
        below = [match for each in value for match in _found(each, steps[2:], inner=True)]
        return [[part for match in below for part in (match if isinstance(match, list) else [match])]]
    matches = [match for each in value for match in _found(each, steps[1:], inner=True)]
    return [matches] if inner else matches


def all_at_path(text: str, path: str) -> str | None:
    """Return what the operator ``:`` finds, always as an array: null stands for an element without the field."""
    return _written(_follow(text, path, _all))


def _all(value: Any, steps: Sequence[Step]) -> Any:
    if not steps:
        return None if value is _MISSING else value
    if steps[0] is not None:
        return _all(_part(value, steps[0]), steps[1:])
    if not isinstance(value, list):
        return None
    below = [_all(each, steps[1:]) for each in value]
    return [part for each in below for part in each or ()] if None in steps[1:] else below


def _follow(text: str, path: str, find: Callable[[Any, list[Step]], Any]) -> Any:
    steps = _steps(path)
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return find(value, steps) if steps is not None else None


def _written(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# ---------------------------------------------------------------------------------------------- values for a type


class _Number(str):
    """A number with a point, as it is written."""

    __slots__ = ()


# The JSON values that a type takes, and the bits of whole numbers. Of the others, text may be anything.
_TAKEN: dict[str, tuple[type, ...]] = {
    "BOOLEAN": (bool,), "DOUBLE": (int, _Number), "FLOAT": (int, _Number), "DATE": (str,), "TIMESTAMP": (str, int),
}  # fmt: skip
_BITS = {"TINYINT": 7, "SMALLINT": 15, "INTEGER": 31, "BIGINT": 63}
_UNFIT = object()


def fitted(text: str, structure: str) -> str:
    """Return JSON with null for every value that is not of its type: no text is cast to a number, and no 1.5 to an INT.

    An array with such an element is null.
    """
    value = _fit(json.loads(text, parse_float=_Number), json.loads(structure))
    return _dumped(None if value is _UNFIT else value)


def _fit(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            return _UNFIT
        fields = {name: _fit(value.get(name), each) for name, each in kind.items()}
        return {name: None if each is _UNFIT else each for name, each in fields.items()}
    if isinstance(kind, list):
        items = [_fit(each, kind[0]) for each in value] if isinstance(value, list) else [_UNFIT]
        return _UNFIT if _UNFIT in items else items
    return value if _fits(value, kind) else _UNFIT


def _fits(value: Any, kind: str) -> bool:
    if kind in _BITS:
        return type(value) is int and -(2 ** _BITS[kind]) <= value < 2 ** _BITS[kind]
    return kind not in _TAKEN or type(value) in _TAKEN[kind]


def _dumped(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(name)}:{_dumped(each)}' for name, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_dumped, value))}]"
    return json.dumps(value, ensure_ascii=False)
