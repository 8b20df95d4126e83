"""Rows of SQL statements: all of them, with their types.

``execute_statement`` answers after ten seconds, even while a warehouse is still starting, and then without a result. It reports
a refused statement as an ordinary value. ``response.result.data_array`` holds only the first chunk of a result, as text. A tool
needs every row with its types::

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

_MINUTES = datetime.timedelta(minutes=20)  # as the SDK's own waiters


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


def statement_rows(
    client: WorkspaceClient, response: StatementResponse, *, timeout: datetime.timedelta = _MINUTES
) -> list[dict[str, Any]]:
    """Return every row of a statement, each as a dict by column name, with Python's types. Wait for it if it is running.

    Numbers, booleans, dates, timestamps, binary values, arrays, maps and structs become Python values; everything else stays
    text. Chunks after the first are fetched with the client, as the user.

    Args:
        client: The client that ran the statement.
        response: The result of ``execute_statement`` or ``get_statement``, with the disposition ``INLINE`` (the default).
        timeout: How long to wait for a statement that is still running. It is not canceled then.

    Raises:
        OboError: The statement was refused. The error is the one of its denial.
        TimeoutError: The statement is still running after the timeout.
        ValueError: The statement failed for a reason other than a refusal, it was canceled, its result is behind links, or two
            columns have the same name.
    """
    if _is_running(response):
        response = _finished(client, response.statement_id or "", timeout)
    if denial := explain(response):
        raise denial.error()
    _check_succeeded(response)
    names, readers = _columns(response)
    return [
        {name: None if text is None else read(text) for name, read, text in zip(names, readers, row, strict=True)}
        for row in _texts(client, response)
    ]


def _state(response: StatementResponse) -> str:
    return response.status.state.value if response.status and response.status.state else "unknown"


def _is_running(response: StatementResponse) -> bool:
    return _state(response) in {"PENDING", "RUNNING"}


def _finished(client: WorkspaceClient, statement: str, timeout: datetime.timedelta) -> StatementResponse:
    """Ask for a statement until it has ended: first after a tenth of a second, later every five."""
    import tenacity

    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(_is_running),
        wait=tenacity.wait_exponential(multiplier=0.1, max=5),
        stop=tenacity.stop_after_delay(timeout.total_seconds()),
    )
    try:
        return waiting(client.statement_execution.get_statement, statement)
    except tenacity.RetryError:
        msg = f"The statement {statement} is still running after {timeout.total_seconds():g} s. Fix: raise timeout="
        raise TimeoutError(msg) from None


def _check_succeeded(response: StatementResponse) -> None:
    state = _state(response)
    if state != "SUCCEEDED" or response.result is None:
        error = response.status.error if response.status else None
        why = f": {error.message}" if error else ""
        msg = f"The statement is {state}{why}"
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
