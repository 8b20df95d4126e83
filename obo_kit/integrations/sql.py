"""Rows of SQL statements: all of them, with their types.

``response.result.data_array`` holds only the first chunk of a result, as text. Code that replaces
``databricks-sql-connector`` needs every row with its types::

    from obo_kit.integrations.sql import statement_rows


    @requires_scopes(DatabricksSQLWarehouse("a1b2c3"))
    @with_user_client
    def trips(client: WorkspaceClient) -> list[dict[str, Any]]:
        response = client.statement_execution.execute_statement("SELECT * FROM trips", "a1b2c3")
        return statement_rows(client, response)
"""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from obo_kit.denials import explain

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.sql import StatementResponse

__all__ = ["statement_rows"]


def _timestamp(text: str) -> datetime.datetime:
    # Python 3.10 does not read the Z.
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


# By a column's type_name. Any other type stays text.
_READERS: Mapping[str, Callable[[str], Any]] = {
    "BOOLEAN": lambda text: text == "true",
    "BYTE": int,
    "SHORT": int,
    "INT": int,
    "LONG": int,
    "FLOAT": float,
    "DOUBLE": float,
    "DECIMAL": Decimal,
    "DATE": datetime.date.fromisoformat,
    "TIMESTAMP": _timestamp,
    "BINARY": base64.b64decode,
    "ARRAY": json.loads,
    "MAP": json.loads,
    "STRUCT": json.loads,
}


def statement_rows(client: WorkspaceClient, response: StatementResponse) -> list[dict[str, Any]]:
    """Return every row of a statement, each as a dict by column name, with Python's types.

    Numbers, booleans, dates, timestamps, binary values, arrays, maps and structs become Python values; everything else stays
    text. Chunks after the first are fetched with the client, as the user.

    Args:
        client: The client that ran the statement.
        response: The result of ``execute_statement`` or ``get_statement``, with the disposition ``INLINE`` (the default).

    Raises:
        OboError: The statement was refused. The error is the one of its denial.
        ValueError: The statement is not finished, it failed for a reason other than a refusal, its result is behind links,
            or two columns have the same name.
    """
    if denial := explain(response):
        raise denial.error()
    _check_finished(response)
    names, readers = _columns(response)
    return [
        {name: None if text is None else read(text) for name, read, text in zip(names, readers, row, strict=True)}
        for row in _texts(client, response)
    ]


def _check_finished(response: StatementResponse) -> None:
    state = response.status.state.value if response.status and response.status.state else "unknown"
    if state != "SUCCEEDED" or response.result is None:
        error = response.status.error if response.status else None
        why = f": {error.message}" if error else ""
        msg = f"The statement is {state}{why}. Fix: poll get_statement until it has succeeded"
        raise ValueError(msg)
    if response.result.external_links:
        msg = "The result is behind links. Fix: run the statement with disposition INLINE"
        raise ValueError(msg)


def _columns(response: StatementResponse) -> tuple[list[str], list[Callable[[str], Any]]]:
    """Return each column's name, and the function that converts its text."""
    schema = response.manifest.schema if response.manifest else None
    columns = (schema.columns if schema else None) or []
    names = [column.name or "" for column in columns]
    if len(set(names)) < len(names):
        msg = f"Two columns have the same name: {', '.join(names)}. Fix: rename one of them with AS"
        raise ValueError(msg)
    return names, [_READERS.get(column.type_name.value if column.type_name else "", str) for column in columns]


def _texts(client: WorkspaceClient, response: StatementResponse) -> Iterator[list[Any]]:
    """Yield the rows of every chunk."""
    chunk = response.result
    while chunk is not None:
        yield from chunk.data_array or ()
        if chunk.next_chunk_index is None:
            return
        chunk = client.statement_execution.get_statement_result_chunk_n(
            response.statement_id or "", chunk.next_chunk_index
        )
