"""Read the rows that an author passes: records, or a CSV file."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from obo_kit.testing._kit import read_regular

__all__ = ["Rows", "records"]

Rows = Iterable[Mapping[str, Any]] | str | os.PathLike[str]
"""Records, or the path of a CSV file whose first line names the columns; the types of a CSV's columns are guessed."""


def records(rows: Rows) -> list[dict[str, Any]]:
    """Return the rows as dicts. A NaN becomes null, since JSON has none. Raises ValueError if the file is unusable."""
    row_records = _from_csv(rows) if isinstance(rows, (str, os.PathLike)) else rows
    return [{name: _plain(value) for name, value in row.items()} for row in row_records]


def _from_csv(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import csv

    try:
        rows: list[dict[str, Any]] = csv.read_csv(io.BytesIO(read_regular(path))).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"The rows cannot be read from {os.fspath(path)!r}: {reason}"
        raise ValueError(msg) from None
    return rows


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
