"""Results of statements in the form of the Statement Execution API: inline, or as files behind links."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable, Container
from typing import Any

from obo_kit.testing.sql._engine import Column, Outcome, SqlRefusal
from obo_kit.testing.sql._texts import text_of
from obo_kit.testing.sql._types import arrow_type

__all__ = [
    "CHUNK_ROWS",
    "FORMATS",
    "arrow_table",
    "chunk_body",
    "chunk_count",
    "chunk_file",
    "column_body",
    "statement_body",
]

# Rows per chunk. The platform limits its chunks in bytes, and higher.
CHUNK_ROWS = 1000
INLINE_LIMIT = 25 * 2**20
FORMATS = {"JSON_ARRAY": "application/json", "ARROW_STREAM": "application/vnd.apache.arrow.stream", "CSV": "text/csv"}

Link = Callable[[int], dict[str, str]]
"""Returns the address of a chunk, and when it expires."""


def statement_body(
    statement: str, outcome: Outcome, *, result_format: str = "JSON_ARRAY", link: Link | None = None
) -> dict[str, Any]:
    """Return a finished statement, with its result inline, or behind a ``link`` per chunk."""
    if link is None and sum(outcome.sizes) > INLINE_LIMIT:
        outcome = Outcome(error=SqlRefusal(key="sql_inline_limit", fields={"limit": str(INLINE_LIMIT)}))
    if outcome.error is not None:
        return {
            "statement_id": statement,
            "status": {
                "state": "FAILED",
                "error": {"error_code": outcome.error.code, "message": outcome.error.text},
                "sql_state": outcome.error.sql_state,
            },
        }
    # Behind links, an empty result has no chunk: the connector's kernel reads it so.
    count = chunk_count(outcome) if outcome.values or link is None else 0
    return {
        "statement_id": statement,
        "status": {"state": "SUCCEEDED"},
        "manifest": {
            "format": result_format,
            "schema": {
                "column_count": len(outcome.columns),
                "columns": [column_body(position, column) for position, column in enumerate(outcome.columns)],
            },
            "total_chunk_count": count,
            "chunks": [_chunk(outcome, chunk) for chunk in range(count)],
            "total_row_count": len(outcome.values),
            "total_byte_count": sum(outcome.sizes),
            "truncated": outcome.truncated,
        },
        "result": chunk_body(statement, outcome, 0, link=link) if count else {},
    }


def chunk_count(outcome: Outcome) -> int:
    """Return the number of chunks of a result; one if it is empty."""
    return max(1, -(-len(outcome.values) // CHUNK_ROWS))


def _chunk(outcome: Outcome, chunk: int) -> dict[str, Any]:
    start = chunk * CHUNK_ROWS
    sizes = outcome.sizes[start : start + CHUNK_ROWS]
    return {"chunk_index": chunk, "row_offset": start, "row_count": len(sizes), "byte_count": sum(sizes)}


def chunk_body(statement: str, outcome: Outcome, chunk: int, *, link: Link | None = None) -> dict[str, Any]:
    """Return one chunk, with its rows or the link to them."""
    body = _chunk(outcome, chunk)
    if chunk + 1 < chunk_count(outcome):
        body["next_chunk_index"] = chunk + 1
        body["next_chunk_internal_link"] = f"/api/2.0/sql/statements/{statement}/result/chunks/{chunk + 1}"
    if link is None:
        return {**body, "data_array": [list(row) for row in _rows(outcome, chunk)]}
    return {"external_links": [{**body, **link(chunk)}]}


def chunk_file(outcome: Outcome, chunk: int, result_format: str) -> bytes:
    """Return the file behind a link. In CSV, only the first one has the names of the columns, and null is ``null``."""
    if result_format == "ARROW_STREAM":
        sink = io.BytesIO()
        # Arrays, maps and structs are text here (databricks-jdbc#1440).
        texts = ("ARRAY", "MAP", "STRUCT")
        table = arrow_table(outcome, chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS, texts)
        with importlib.import_module("pyarrow.ipc").new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()
    rows = _rows(outcome, chunk)
    if result_format == "JSON_ARRAY":
        return json.dumps([list(row) for row in rows], separators=(",", ":")).encode()
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    if chunk == 0:
        lines.writerow(column.name for column in outcome.columns)
    lines.writerows(["null" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue().encode()


def column_body(position: int, column: Column) -> dict[str, Any]:
    """Return a column in the form of the APIs of SQL and of Unity Catalog."""
    body = {
        "name": column.name,
        "position": position,
        "type_name": column.type_name,
        "type_text": column.type_text,
    }
    if column.type_name == "DECIMAL":
        precision, scale = column.type_text.removeprefix("DECIMAL(").removesuffix(")").split(",")
        body |= {"type_precision": int(precision), "type_scale": int(scale)}
    return body


def _rows(outcome: Outcome, chunk: int) -> tuple[tuple[str | None, ...], ...]:
    return outcome.rows[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS]


def arrow_table(outcome: Outcome, start: int, end: int, texts: Container[str] = ()) -> Any:
    """Return rows as an Arrow table. Columns of the base types in ``texts``, and of no type of Arrow's, are text."""
    import pyarrow as pa  # type: ignore[import-untyped]

    rows, arrays = outcome.values[start:end], []
    for position, column in enumerate(outcome.columns):
        kind = pa.string() if column.type_name in texts else arrow_type(column.duck)
        values = [row[position] for row in rows]
        if kind == pa.string():
            values = [text_of(value, column.duck) for value in values]
        arrays.append(pa.array(values, kind))
    return pa.Table.from_arrays(arrays, names=[column.name for column in outcome.columns])
