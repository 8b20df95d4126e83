"""Results of statements in the form of the Statement Execution API: inline, or as files behind links."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from typing import Any

from obo_kit.testing.sql._engine import Column, Outcome

__all__ = ["CHUNK_ROWS", "FORMATS", "chunk_body", "chunk_count", "chunk_file", "column_body", "statement_body"]

# Rows per chunk. The platform limits its chunks in bytes, and higher.
CHUNK_ROWS = 1000
FORMATS = {"JSON_ARRAY": "application/json", "ARROW_STREAM": "application/vnd.apache.arrow.stream", "CSV": "text/csv"}

Link = Callable[[int], dict[str, str]]
"""Returns the address of a chunk, and when it expires."""


def statement_body(
    statement: str, outcome: Outcome, *, result_format: str = "JSON_ARRAY", link: Link | None = None
) -> dict[str, Any]:
    """Return a finished statement, with its result inline, or behind a ``link`` per chunk."""
    if outcome.error is not None:
        return {
            "statement_id": statement,
            "status": {
                "state": "FAILED",
                "error": {"error_code": outcome.error.code, "message": outcome.error.text},
                "sql_state": outcome.error.sql_state,
            },
        }
    count = chunk_count(outcome)
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
            "chunks": [
                {"chunk_index": chunk, "row_offset": chunk * CHUNK_ROWS, "row_count": len(_rows(outcome, chunk))}
                for chunk in range(count)
            ],
            "total_row_count": len(outcome.rows),
            "truncated": outcome.truncated,
        },
        "result": chunk_body(statement, outcome, 0, link=link),
    }


def chunk_count(outcome: Outcome) -> int:
    """Return the number of chunks of a result; one if it is empty."""
    return max(1, -(-len(outcome.rows) // CHUNK_ROWS))


def chunk_body(statement: str, outcome: Outcome, chunk: int, *, link: Link | None = None) -> dict[str, Any]:
    """Return one chunk, with its rows or the link to them."""
    rows = _rows(outcome, chunk)
    body: dict[str, Any] = {"chunk_index": chunk, "row_offset": chunk * CHUNK_ROWS, "row_count": len(rows)}
    if chunk + 1 < chunk_count(outcome):
        body["next_chunk_index"] = chunk + 1
        body["next_chunk_internal_link"] = f"/api/2.0/sql/statements/{statement}/result/chunks/{chunk + 1}"
    if link is None:
        return {**body, "data_array": [list(row) for row in rows]}
    return {"external_links": [{**body, **link(chunk)}]}


def chunk_file(outcome: Outcome, chunk: int, result_format: str) -> bytes:
    """Return the file behind a link."""
    rows = _rows(outcome, chunk)
    if result_format == "JSON_ARRAY":
        return json.dumps([list(row) for row in rows], separators=(",", ":")).encode()
    if result_format == "CSV":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(column.name for column in outcome.columns)
        writer.writerows(rows)
        return text.getvalue().encode()
    return _arrow_file(outcome, rows)


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


def _arrow_file(outcome: Outcome, rows: tuple[tuple[str | None, ...], ...]) -> bytes:
    import pyarrow as pa  # type: ignore[import-untyped]

    kinds = {
        "BOOLEAN": pa.bool_(),
        "BYTE": pa.int8(),
        "SHORT": pa.int16(),
        "INT": pa.int32(),
        "LONG": pa.int64(),
        "FLOAT": pa.float32(),
        "DOUBLE": pa.float64(),
        "DATE": pa.date32(),
        "TIMESTAMP": pa.timestamp("us", tz="Etc/UTC"),
    }
    arrays = []
    for position, column in enumerate(outcome.columns):
        texts = [row[position] for row in rows]
        if column.type_name == "BINARY":
            arrays.append(pa.array([text and base64.b64decode(text) for text in texts], pa.binary()))
        elif column.type_name == "DECIMAL":
            body = column_body(position, column)
            kind = pa.decimal128(body["type_precision"], body["type_scale"])
            arrays.append(pa.array(texts, pa.string()).cast(kind))
        else:
            arrays.append(pa.array(texts, pa.string()).cast(kinds.get(column.type_name, pa.string())))
    table = pa.Table.from_arrays(arrays, names=[column.name for column in outcome.columns])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
