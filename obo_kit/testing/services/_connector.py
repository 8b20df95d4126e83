"""Serve databricks-sql-connector in its default protocol, Thrift over HTTP, with the service that its package ships.

The connector's package brings the protocol (``TCLIService``) and Thrift, so every user of the connector has both. Results come
as Arrow if the client can read it, else column by column. Inferred: the platform refuses here with the texts of its REST API,
in a header that the connector reads.
"""

from __future__ import annotations

import fnmatch
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from obo_kit.testing._refusals import Refusal, RefusedError, declare
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._service import Core, Mixin, Part, Service
from obo_kit.testing.services import _thrift
from obo_kit.testing.services._tables import Tables
from obo_kit.testing.services._warehouses import Session, Warehouses, check_settings
from obo_kit.testing.sql._engine import Column, Interrupt, Outcome

__all__ = ["Connector", "ConnectorMixin"]

declare(
    {
        "thrift_missing": Refusal(
            status=501,
            code="NOT_IMPLEMENTED",
            text="The local workspace speaks Thrift where databricks-sql-connector is installed: "
            "pip install databricks-sql-connector",
            decision="bad request",
            standing="inferred",
            source="a limit of the stand-in, not of the platform",
        ),
        "thrift_malformed": Refusal(
            status=400,
            code="MALFORMED_REQUEST",
            text="The body is no call of TCLIService",
            decision="bad request",
            standing="inferred",
            source="HTTP semantics; the wording is ours",
        ),
    }
)

# The maximum number of rows in one answer. The platform limits the bytes instead, and higher.
BATCH = 10_000
# Seconds that an answer waits for a statement. A client sends its cancellation between requests, so none may take long.
_FIRST_WAIT, _NEXT_WAIT = 1.0, 0.25
_KEPT = 1000


@dataclass(kw_only=True)
class _Operation:
    """One statement, or one metadata request, and how far its rows have been read. ``arrow`` as for ``_thrift.metadata``."""

    owner: str
    future: Future[Outcome]
    interrupt: Interrupt
    arrow: frozenset[str] | None
    kind: int
    offset: int = 0
    canceled: bool = False
    id: bytes = field(default_factory=lambda: uuid.uuid4().bytes)

    def wait(self, seconds: float) -> Outcome | None:
        """Return the outcome; None while it runs, and after it has been canceled."""
        if self.canceled:
            return None
        try:
            return self.future.result(timeout=seconds)
        except FutureTimeout:
            return None

    def cancel(self) -> None:
        self.canceled = self.future.cancel() or not self.future.done()
        self.interrupt()


class Connector(Service):
    """Serves sessions, statements and metadata to the connector. Lives as long as its workspace; thread-safe.

    Attributes:
        batch: The maximum number of rows in one answer.
    """

    def __init__(self, core: Core) -> None:
        self.batch = BATCH
        self._grants = core.grants
        self._warehouses = core.service(Warehouses)
        self._tables = core.service(Tables)
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._operations: OrderedDict[bytes, _Operation] = OrderedDict()

    def apis(self) -> list[Api]:
        """Return the routes."""
        path = "/sql/1.0/warehouses/{warehouse}"
        # The connector does not read the body of a refusal. It shows this header.
        return [
            Api(
                method="POST",
                path=path,
                handler=self._serve,
                quick=False,
                reason_header="X-Thriftserver-Error-Message",
            )
        ]

    def _serve(self, call: Call) -> Answer:
        warehouse = call.params["warehouse"]
        self._warehouses.check_usable(call.user.principal, warehouse)
        if not _thrift.available():
            raise RefusedError("thrift_missing")
        handler = _Calls(self, call, warehouse)
        try:
            reply = _thrift.answer(call.raw, handler)
        except _thrift.MalformedError:
            raise RefusedError("thrift_malformed") from None
        return Answer(content=Response(reply, media_type="application/x-thrift"), decision=handler.decision)

    # ------------------------------------------------------------------ what is kept between calls

    def keep_session(self, session: Session) -> bytes:
        """Keep a session and return its id."""
        name = uuid.uuid4().bytes
        with self._lock:
            self._sessions[name] = session
            while len(self._sessions) > _KEPT:
                self._sessions.popitem(last=False)
        return name

    def session(self, owner: str, name: bytes) -> Session | None:
        """Return a session of that owner."""
        with self._lock:
            session = self._sessions.get(name)
        return session if session is not None and session.owner == owner else None

    def forget_session(self, name: bytes) -> None:
        """Close a session."""
        with self._lock:
            self._sessions.pop(name, None)

    def keep(self, operation: _Operation) -> None:
        """Keep an operation until it is closed."""
        with self._lock:
            self._operations[operation.id] = operation
            while len(self._operations) > _KEPT:
                self._operations.popitem(last=False)

    def operation(self, owner: str, name: bytes) -> _Operation | None:
        """Return an operation of that owner."""
        with self._lock:
            operation = self._operations.get(name)
        return operation if operation is not None and operation.owner == owner else None

    def forget(self, operation: _Operation) -> None:
        """Close an operation."""
        operation.cancel()
        with self._lock:
            self._operations.pop(operation.id, None)

    def run(self, call: Call, session: Session, request: Any) -> tuple[Future[Outcome], Interrupt]:
        """Run a statement in a session."""
        interrupt = Interrupt()
        future = self._warehouses.submit(
            call.user.principal,
            session,
            request.statement,
            parameters=_parameters(request.parameters or ()),
            row_limit=request.resultRowLimit,
            interrupt=interrupt,
        )
        return future, interrupt

    def seen(self, call: Call, *kinds: str) -> list[list[str]]:
        """Return the names of what the caller sees of these kinds, in parts, sorted."""
        names = ((kind, name) for kind in kinds for name in self._grants.names(kind))
        return sorted(name.split(".") for kind, name in names if self._grants.sees(call.user.principal, kind, name))

    def columns(self, table: str) -> Sequence[Column]:
        """Return the columns of a table."""
        return self._tables.columns(table)


class _Calls:
    """The methods of ``TCLIService``, for one request. Thrift calls them by their names."""

    def __init__(self, connector: Connector, call: Call, warehouse: str) -> None:
        self._connector = connector
        self._call = call
        self._warehouse = warehouse
        self._owner = call.user.principal.user_name
        self.decision = "allowed"

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        """Answer a method that is not served with the protocol's own refusal."""
        if not name[:1].isupper():
            raise AttributeError(name)
        return lambda _request: _thrift.refused(name, f"The local workspace does not serve {name}")

    def OpenSession(self, request: Any) -> Any:
        try:
            check_settings(request.configuration)
        except RefusedError as refusal:
            self.decision = refusal.refusal.decision
            return _thrift.refused("OpenSession", refusal.message)
        space = request.initialNamespace
        session = Session(
            owner=self._owner,
            warehouse=self._warehouse,
            catalog=((space and space.catalogName) or "main").lower(),
            schema=((space and space.schemaName) or "default").lower(),
            unchecked=bool(space and (space.catalogName or space.schemaName)),
        )
        return _thrift.opened(self._connector.keep_session(session), request)

    def CloseSession(self, request: Any) -> Any:
        self._connector.forget_session(request.sessionHandle.sessionId.guid)
        return _thrift.closed_session()

    def GetInfo(self, request: Any) -> Any:
        return _thrift.info("Databricks")

    # ------------------------------------------------------------------ statements

    def ExecuteStatement(self, request: Any) -> Any:
        session = self._connector.session(self._owner, request.sessionHandle.sessionId.guid)
        if session is None:
            return _thrift.no_session("ExecuteStatement")
        future, interrupt = self._connector.run(self._call, session, request)
        arrow = _thrift.texts_of(request) if request.canReadArrowResult and _thrift.has_arrow() else None
        return self._begun("ExecuteStatement", request, future, interrupt, arrow=arrow)

    def GetCatalogs(self, request: Any) -> Any:
        names = self._connector.seen(self._call, "catalog")
        return self._listed("GetCatalogs", request, [{"TABLE_CAT": name} for (name,) in names])

    def GetSchemas(self, request: Any) -> Any:
        rows = [
            {"TABLE_SCHEM": schema, "TABLE_CATALOG": catalog}
            for catalog, schema in self._connector.seen(self._call, "schema")
            if _like(catalog, request.catalogName) and _like(schema, request.schemaName)
        ]
        return self._listed("GetSchemas", request, rows)

    def GetTables(self, request: Any) -> Any:
        types = request.tableTypes
        rows = [
            {"TABLE_CAT": catalog, "TABLE_SCHEM": schema, "TABLE_NAME": table, "TABLE_TYPE": "TABLE", "REMARKS": ""}
            for catalog, schema, table in self._matching(request)
            if not types or "TABLE" in types
        ]
        return self._listed("GetTables", request, rows)

    def GetColumns(self, request: Any) -> Any:
        rows = [
            {
                "TABLE_CAT": catalog,
                "TABLE_SCHEM": schema,
                "TABLE_NAME": table,
                "COLUMN_NAME": column.name,
                "DATA_TYPE": _thrift.jdbc_type(column),
                "TYPE_NAME": column.type_text,
                "NULLABLE": 1,
                "REMARKS": "",
                "ORDINAL_POSITION": position,
                "IS_NULLABLE": "YES",
                "IS_AUTO_INCREMENT": "NO",
            }
            for catalog, schema, table in self._matching(request)
            for position, column in enumerate(self._connector.columns(f"{catalog}.{schema}.{table}"))
            if _like(column.name, request.columnName)
        ]
        return self._listed("GetColumns", request, rows)

    def _matching(self, request: Any) -> list[tuple[str, str, str]]:
        return [
            (catalog, schema, table)
            for catalog, schema, table in self._connector.seen(self._call, "table", "vector_search_index")
            if _like(catalog, request.catalogName)
            and _like(schema, request.schemaName)
            and _like(table, request.tableName)
        ]

    def _listed(self, method: str, request: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
        future: Future[Outcome] = Future()
        kinds = _thrift.LISTED[method]
        columns = tuple(Column(name=name, duck=kind) for name, kind in kinds.items())
        future.set_result(Outcome(columns=columns, values=tuple(tuple(map(row.get, kinds)) for row in rows)))
        return self._begun(method, request, future, Interrupt(), arrow=None)

    def _begun(
        self, method: str, request: Any, future: Future[Outcome], interrupt: Interrupt, *, arrow: frozenset[str] | None
    ) -> Any:
        operation = _Operation(
            owner=self._owner, future=future, interrupt=interrupt, arrow=arrow, kind=_thrift.operation_kind(method)
        )
        self._connector.keep(operation)
        direct = request.getDirectResults
        status = metadata = rows = None
        if direct is not None:
            outcome = operation.wait(_FIRST_WAIT)
            status = self._status(operation, outcome)
            if outcome is not None and outcome.error is None:
                metadata = _thrift.metadata(outcome, arrow=operation.arrow)
                rows = self._batch(operation, outcome, direct.maxRows)
        return _thrift.begun(method, operation.id, operation.kind, status=status, metadata=metadata, rows=rows)

    def _status(self, operation: _Operation, outcome: Outcome | None) -> Any:
        if outcome is None:
            return _thrift.status("canceled" if operation.canceled else "running")
        self.decision = outcome.decision
        if outcome.error is None:
            return _thrift.status("finished")
        return _thrift.status("failed", text=outcome.error.text, sql_state=outcome.error.sql_state)

    def _batch(self, operation: _Operation, outcome: Outcome, wanted: int | None) -> Any:
        start = operation.offset
        count = min(wanted or self._connector.batch, self._connector.batch)
        operation.offset = min(len(outcome.values), start + count)
        return _thrift.rows(outcome, start, operation.offset, arrow=operation.arrow)

    # ------------------------------------------------------------------ operations

    def GetOperationStatus(self, request: Any) -> Any:
        operation = self._operation(request)
        if operation is None:
            return _thrift.no_operation("GetOperationStatus")
        return self._status(operation, operation.wait(_NEXT_WAIT))

    def GetResultSetMetadata(self, request: Any) -> Any:
        operation = self._operation(request)
        outcome = operation.wait(0) if operation is not None else None
        if operation is None or outcome is None:
            return _thrift.no_operation("GetResultSetMetadata")
        return _thrift.metadata(outcome, arrow=operation.arrow)

    def FetchResults(self, request: Any) -> Any:
        operation = self._operation(request)
        outcome = operation.wait(0) if operation is not None else None
        if operation is None or outcome is None:
            return _thrift.no_operation("FetchResults")
        answer = self._batch(operation, outcome, request.maxRows)
        if request.includeResultSetMetadata:
            answer.resultSetMetadata = _thrift.metadata(outcome, arrow=operation.arrow)
        return answer

    def CancelOperation(self, request: Any) -> Any:
        operation = self._operation(request)
        if operation is None:
            return _thrift.no_operation("CancelOperation")
        operation.cancel()
        return _thrift.done("CancelOperation")

    def CloseOperation(self, request: Any) -> Any:
        operation = self._operation(request)
        if operation is not None:
            self._connector.forget(operation)
        return _thrift.done("CloseOperation")

    def _operation(self, request: Any) -> _Operation | None:
        return self._connector.operation(self._owner, request.operationHandle.operationId.guid)


class ConnectorMixin(Mixin):
    """The connector's protocol. Nothing needs to be added for it besides a warehouse."""

    _connector = Part(Connector)


def _parameters(parameters: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the parameters of a statement as its REST API has them. Parameters without a name are numbered."""
    return [
        {
            **({"name": parameter.name} if parameter.name else {"ordinal": position}),
            **_typed(parameter, parameter.value.stringValue if parameter.value is not None else None),
        }
        for position, parameter in enumerate(parameters, start=1)
    ]


def _typed(parameter: Any, value: str | None) -> dict[str, Any]:
    """Return the type of a parameter or of a part of one, and its value or, of an ARRAY or MAP, its parts."""
    parts = [_typed(each, each.value) for each in parameter.arguments or ()]
    return {"type": parameter.type, "value": value, **({"arguments": parts} if parameter.arguments is not None else {})}


def _like(name: str, pattern: str | None) -> bool:
    """Check a name against a JDBC pattern: ``%`` and ``_`` stand for other characters; case does not matter."""
    if pattern in {None, "", "%"}:
        return True
    text = str(pattern).replace("\\_", "\0").replace("%", "*").replace("_", "?").replace("\0", "_")
    return fnmatch.fnmatchcase(name.lower(), text.lower())
