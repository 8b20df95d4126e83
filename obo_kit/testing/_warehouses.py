"""SQL warehouses and the Statement Execution API, as REST routes."""

from __future__ import annotations

import re
import threading
import uuid
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from obo_kit.testing._gate import Answer, Api, Call
from obo_kit.testing._grants import Grants
from obo_kit.testing._principals import Caller
from obo_kit.testing._refusals import REFUSALS, RefusedError
from obo_kit.testing._sql import Column, Engine, Outcome

__all__ = ["Warehouses", "column_body", "statement_body"]

# Rows per chunk, and statements kept for polling.
CHUNK_ROWS = 1000
_KEPT = 1000


@dataclass(kw_only=True)
class _Statement:
    """A statement somebody ran. Once ``canceled`` it says so, though the engine may still be busy with it."""

    owner: str
    future: Future[Outcome]
    canceled: bool = False

    def cancel(self) -> None:
        self.canceled = self.future.cancel() or not self.future.done()


class Warehouses:
    """Serves statements run on warehouses. Lives as long as its workspace."""

    def __init__(self, grants: Grants, engine: Engine) -> None:
        self._grants = grants
        self._engine = engine
        self._titles: dict[str, str] = {}
        self._lock = threading.Lock()
        self._statements: OrderedDict[str, _Statement] = OrderedDict()
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="obo-kit-sql")

    def add(self, warehouse_id: str, title: str) -> None:
        """Add a warehouse. ValueError where the id is taken or not plain."""
        if not re.fullmatch(r"[\w-]+", warehouse_id):
            msg = f"A warehouse id is made of letters, digits, - and _, not {warehouse_id!r}"
            raise ValueError(msg)
        self._grants.register("sql_warehouse", warehouse_id)
        self._titles[warehouse_id] = title or warehouse_id

    def close(self) -> None:
        """Stop the threads; the engine has been closed before."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def apis(self) -> list[Api]:
        """The routes."""
        statements = "/api/2.0/sql/statements"
        return [
            Api(method="POST", path=statements, handler=self._execute, quick=False),
            Api(method="POST", path=statements + "/", handler=self._execute, quick=False),
            Api(method="GET", path=statements + "/{statement}", handler=self._get),
            Api(method="POST", path=statements + "/{statement}/cancel", handler=self._cancel),
            Api(method="GET", path=statements + "/{statement}/result/chunks/{chunk}", handler=self._chunk),
            Api(method="GET", path="/api/2.0/sql/warehouses", handler=self._list),
            Api(method="GET", path="/api/2.0/sql/warehouses/{warehouse}", handler=self._describe),
        ]

    # ------------------------------------------------------------------ statements

    def _execute(self, call: Call) -> Answer:
        body = call.json()
        sql = call.text(body, "statement")
        warehouse = call.text(body, "warehouse_id")
        if not self._grants.exists("sql_warehouse", warehouse):
            raise RefusedError("warehouse_missing", name=warehouse)
        if not self._grants.holds(call.user.principal, "CAN USE", "sql_warehouse", warehouse):
            raise RefusedError("warehouse_denied", user_id=call.user.principal.id)
        if (body.get("disposition") or "INLINE") != "INLINE" or (body.get("format") or "JSON_ARRAY") != "JSON_ARRAY":
            raise RefusedError(
                "invalid_parameter", detail="The local workspace serves disposition INLINE with format JSON_ARRAY only"
            )
        parameters = body.get("parameters") or []
        limit = body.get("row_limit")
        if not isinstance(parameters, list) or not all(isinstance(entry, dict) for entry in parameters):
            raise RefusedError("invalid_parameter", detail="parameters must be a list of objects")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise RefusedError("invalid_parameter", detail="row_limit must be a positive integer")
        wait = _seconds(call.text(body, "wait_timeout", "10s"))
        cancel = call.text(body, "on_wait_timeout", "CONTINUE") == "CANCEL"
        try:
            future = self._pool.submit(
                self._engine.run,
                call.user.principal,
                sql,
                parameters=parameters,
                catalog=call.text(body, "catalog", "") or None,
                schema=call.text(body, "schema", "") or None,
                row_limit=limit,
            )
        except RuntimeError:  # the pool is closed: the workspace is stopping
            raise RefusedError("invalid_parameter", detail="The local workspace is stopping") from None
        statement = str(uuid.uuid4())
        kept = _Statement(owner=call.user.principal.user_name, future=future)
        with self._lock:
            self._statements[statement] = kept
            if len(self._statements) > _KEPT:
                self._statements.popitem(last=False)
        try:
            outcome = future.result(timeout=wait)
        except FutureTimeout:
            if cancel:
                kept.cancel()
            state = "CANCELED" if kept.canceled else "PENDING"
            return Answer(content={"statement_id": statement, "status": {"state": state}})
        return Answer(content=statement_body(statement, outcome), decision=outcome.decision)

    def _get(self, call: Call) -> Answer:
        statement = call.params["statement"]
        kept = self._own(statement, call.user)
        if kept.canceled or not kept.future.done():
            state = "CANCELED" if kept.canceled else "RUNNING"
            return Answer(content={"statement_id": statement, "status": {"state": state}})
        outcome = kept.future.result()
        return Answer(content=statement_body(statement, outcome), decision=outcome.decision)

    def _cancel(self, call: Call) -> Answer:
        self._own(call.params["statement"], call.user).cancel()
        return Answer(content={})

    def _chunk(self, call: Call) -> Answer:
        statement, number = call.params["statement"], call.params["chunk"]
        kept = self._own(statement, call.user)
        outcome = kept.future.result() if kept.future.done() and not kept.canceled else None
        chunk = int(number) if re.fullmatch(r"\d{1,9}", number) else -1
        if outcome is None or outcome.error or not 0 <= chunk < _chunks(outcome):
            raise RefusedError("invalid_parameter", detail=f"There is no chunk {number} of statement {statement}")
        return Answer(content=_chunk(statement, outcome, chunk))

    def _own(self, statement: str, caller: Caller) -> _Statement:
        with self._lock:
            found = self._statements.get(statement)
        if found is None or found.owner != caller.principal.user_name:
            raise RefusedError("statement_missing", name=statement)
        return found

    # ------------------------------------------------------------------ warehouses

    def _list(self, call: Call) -> Answer:
        mine = [
            self._warehouse(name)
            for name in self._grants.names("sql_warehouse")
            if self._grants.holds(call.user.principal, "CAN USE", "sql_warehouse", name)
        ]
        return Answer(content={"warehouses": mine})

    def _describe(self, call: Call) -> Answer:
        name = call.params["warehouse"]
        if not self._grants.exists("sql_warehouse", name):
            raise RefusedError("warehouse_missing", name=name)
        if not self._grants.holds(call.user.principal, "CAN USE", "sql_warehouse", name):
            raise RefusedError("warehouse_denied", user_id=call.user.principal.id)
        return Answer(content=self._warehouse(name))

    def _warehouse(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "name": self._titles[name],
            "state": "RUNNING",
            "warehouse_type": "PRO",
            "enable_serverless_compute": True,
        }


def statement_body(statement: str, outcome: Outcome) -> dict[str, Any]:
    """A finished statement, as the API shapes it."""
    if outcome.error is not None:
        refusal = REFUSALS[outcome.error.key]
        return {
            "statement_id": statement,
            "status": {
                "state": "FAILED",
                "error": {"error_code": refusal.code, "message": outcome.error.text},
                "sql_state": refusal.sql_state,
            },
        }
    chunks = _chunks(outcome)
    return {
        "statement_id": statement,
        "status": {"state": "SUCCEEDED"},
        "manifest": {
            "format": "JSON_ARRAY",
            "schema": {
                "column_count": len(outcome.columns),
                "columns": [column_body(position, column) for position, column in enumerate(outcome.columns)],
            },
            "total_chunk_count": chunks,
            "chunks": [
                {"chunk_index": chunk, "row_offset": chunk * CHUNK_ROWS, "row_count": len(_rows(outcome, chunk))}
                for chunk in range(chunks)
            ],
            "total_row_count": len(outcome.rows),
            "truncated": outcome.truncated,
        },
        "result": _chunk(statement, outcome, 0),
    }


def _chunks(outcome: Outcome) -> int:
    return max(1, -(-len(outcome.rows) // CHUNK_ROWS))


def _rows(outcome: Outcome, chunk: int) -> tuple[tuple[str | None, ...], ...]:
    return outcome.rows[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS]


def _chunk(statement: str, outcome: Outcome, chunk: int) -> dict[str, Any]:
    rows = _rows(outcome, chunk)
    body: dict[str, Any] = {
        "chunk_index": chunk,
        "row_offset": chunk * CHUNK_ROWS,
        "row_count": len(rows),
        "data_array": [list(row) for row in rows],
    }
    if chunk + 1 < _chunks(outcome):
        body["next_chunk_index"] = chunk + 1
        body["next_chunk_internal_link"] = f"/api/2.0/sql/statements/{statement}/result/chunks/{chunk + 1}"
    return body


def column_body(position: int, column: Column) -> dict[str, Any]:
    """A column, as the APIs of SQL and of Unity Catalog shape it."""
    return {
        "name": column.name,
        "position": position,
        "type_name": column.type_name,
        "type_text": column.type_text,
    }


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,2})s", text)
    if match is None or not (int(match[1]) == 0 or 5 <= int(match[1]) <= 50):
        raise RefusedError("invalid_parameter", detail="wait_timeout must be 0s, or between 5s and 50s")
    return float(match[1])
