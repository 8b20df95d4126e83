"""SQL warehouses, their sessions, and the Statement Execution API, as REST routes."""

from __future__ import annotations

import datetime
import re
import secrets
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from obo_kit.testing._refusals import Refusal, RefusedError, declare
from obo_kit.testing.iam._directory import Principal
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._service import Core, Mixin, Part, Service
from obo_kit.testing.sql._engine import Interrupt, Outcome
from obo_kit.testing.sql._engine import Session as SqlSession
from obo_kit.testing.sql._results import FORMATS, chunk_body, chunk_count, chunk_file, statement_body

__all__ = ["Session", "Warehouses", "WarehousesMixin", "check_settings"]

# The number of statements, and of sessions, that are kept.
_KEPT = 1000
# The settings of a session, and the values that are served; None for every value.
# Source: docs.databricks.com/sql/language-manual/sql-ref-parameters, and the connector's list.
_SETTINGS: dict[str, frozenset[str] | None] = {
    "ansi_mode": frozenset({"true"}),
    "enable_photon": None,
    "legacy_time_parser_policy": frozenset({"exception", "corrected"}),
    "max_file_partition_bytes": None,
    "query_tags": None,
    "read_only_external_metastore": None,
    "statement_timeout": None,
    "timezone": frozenset({"utc", "etc/utc", "gmt", "z"}),
    "use_cached_result": None,
}
# What clients set for themselves.
_SETTING_OF_SPARK = re.compile(r"spark\.(sql\.)?thriftserver\..*")
# Life of a link to a result, in seconds (databricks-sdk: at most 15 minutes).
_LINK_LIFE = 900.0


declare(
    {
        "no_such_setting": Refusal(
            status=400,
            code="BAD_REQUEST",
            text="[CONFIG_NOT_AVAILABLE] Configuration {name} is not available. SQLSTATE: 42K0I",
            decision="not found",
            standing="inferred",
            source="Spark error class; where a session's settings are refused is not known",
        ),
        "setting_unsupported": Refusal(
            status=400,
            code="BAD_REQUEST",
            text="[UNSUPPORTED_FEATURE] The local workspace does not serve the setting {detail}. SQLSTATE: 0A000",
            decision="bad request",
            standing="inferred",
            source="a limit of the stand-in, not of the platform",
        ),
    }
)


@dataclass(kw_only=True)
class Session(SqlSession):
    """A user's session on a warehouse: what its statements leave for later ones."""

    owner: str
    warehouse: str


@dataclass(kw_only=True)
class _Statement:
    """A user's statement. Once ``canceled``, it says so even while the engine is still busy with it."""

    owner: str
    future: Future[Outcome]
    interrupt: Interrupt
    linked: bool
    format: str
    canceled: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    signature: str = field(default_factory=lambda: secrets.token_hex(16))

    def cancel(self) -> None:
        """Cancel a statement that has not ended."""
        self.canceled = self.future.cancel() or not self.future.done()
        self.interrupt()

    @property
    def outcome(self) -> Outcome | None:
        """Return the outcome; None while it runs."""
        return self.future.result() if self.future.done() and not self.canceled else None


class Warehouses(Service):
    """Serves statements that run on warehouses. Lives as long as its workspace."""

    def __init__(self, core: Core) -> None:
        self._grants = core.grants
        self._engine = core.engine
        self._host = core.host
        self._titles: dict[str, str] = {}
        self._lock = threading.Lock()
        self._statements: OrderedDict[str, _Statement] = OrderedDict()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="obo-kit-sql")

    def add(self, warehouse_id: str, title: str) -> None:
        """Add a warehouse. Raises ValueError if the id is taken or malformed."""
        if not re.fullmatch(r"[\w-]+", warehouse_id):
            msg = f"A warehouse id consists of letters, digits, - and _, not {warehouse_id!r}"
            raise ValueError(msg)
        self._grants.register("sql_warehouse", warehouse_id)
        self._titles[warehouse_id] = title or warehouse_id

    def close(self) -> None:
        """Stop the threads. The engine is closed already."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def apis(self) -> list[Api]:
        """Return the routes."""
        statements, sessions = "/api/2.0/sql/statements", "/api/2.0/sql/sessions"
        return [
            Api(method="POST", path=statements, handler=self._execute, quick=False),
            Api(method="POST", path=statements + "/", handler=self._execute, quick=False),
            Api(method="GET", path=statements + "/{statement}", handler=self._get, quick=False),
            Api(method="DELETE", path=statements + "/{statement}", handler=self._forget),
            Api(method="POST", path=statements + "/{statement}/cancel", handler=self._cancel),
            Api(method="GET", path=statements + "/{statement}/result/chunks/{chunk}", handler=self._chunk),
            # Storage needs no token: the address is the key.
            Api(method="GET", path="/local-storage/{statement}/{chunk}", handler=self._download, open=True),
            Api(method="POST", path=sessions, handler=self._open_session),
            Api(method="DELETE", path=sessions + "/{session}", handler=self._close_session),
            Api(method="GET", path="/api/2.0/sql/warehouses", handler=self._list),
            Api(method="GET", path="/api/2.0/sql/warehouses/{warehouse}", handler=self._describe),
        ]

    # ------------------------------------------------------------------ statements

    def _execute(self, call: Call) -> Answer:
        body = call.json()
        sql = call.text(body, "statement")
        self.check_usable(call.user.principal, call.text(body, "warehouse_id"))
        linked = _choice(body, "disposition", "INLINE", "EXTERNAL_LINKS", "INLINE_OR_EXTERNAL_LINKS") != "INLINE"
        result_format = _choice(body, "format", *FORMATS)
        if not linked and result_format != "JSON_ARRAY":
            raise RefusedError(
                "invalid_parameter", detail="ARROW_STREAM and CSV are supported only with EXTERNAL_LINKS disposition"
            )
        parameters = body.get("parameters") or []
        if not isinstance(parameters, list) or not all(isinstance(entry, dict) for entry in parameters):
            raise RefusedError("invalid_parameter", detail="parameters must be a list of objects")
        wait = _seconds(call.text(body, "wait_timeout", "10s"))
        cancel = _choice(body, "on_wait_timeout", "CONTINUE", "CANCEL") == "CANCEL" and wait > 0
        cold = "cold_warehouse" in call.faults  # still starting when the wait is over
        self._engine.get_ready()
        interrupt = Interrupt()
        future: Future[Outcome] = Future()
        if not (cold and cancel):
            future = self.submit(
                call.user.principal,
                self._session(call, body),
                sql,
                parameters=parameters,
                row_limit=_limit(body, "row_limit"),
                byte_limit=_limit(body, "byte_limit"),
                interrupt=interrupt,
            )
        statement = _Statement(
            owner=call.user.principal.user_name,
            future=future,
            interrupt=interrupt,
            linked=linked,
            format=result_format,
        )
        with self._lock:
            self._statements[statement.id] = statement
            if len(self._statements) > _KEPT:
                self._statements.popitem(last=False)
        try:
            future.result(timeout=0 if cold else wait)
        except FutureTimeout:
            if cancel:
                statement.cancel()
        return _busy(statement, "PENDING") if cold else self._state(statement, "PENDING")

    def submit(
        self,
        principal: Principal,
        session: Session,
        sql: str,
        *,
        parameters: Sequence[Mapping[str, Any]],
        row_limit: int | None,
        interrupt: Interrupt,
        byte_limit: int | None = None,
    ) -> Future[Outcome]:
        """Run a statement in a session, in a thread. Raises RefusedError if the workspace is stopping."""

        def run() -> Outcome:
            return self._engine.run(
                principal, sql, parameters=parameters, session=session, row_limit=row_limit, interrupt=interrupt
            ).within(byte_limit)

        try:
            return self._pool.submit(run)
        except RuntimeError:  # the pool is closed
            raise RefusedError("invalid_parameter", detail="The local workspace is stopping") from None

    def _get(self, call: Call) -> Answer:
        return self._state(self._own(call), "RUNNING")

    def _state(self, statement: _Statement, busy: str) -> Answer:
        outcome = statement.outcome
        if outcome is None:
            return _busy(statement, busy)
        link = self._link(statement) if statement.linked else None
        return Answer(
            content=statement_body(statement.id, outcome, result_format=statement.format, link=link),
            decision=outcome.decision,
        )

    def _cancel(self, call: Call) -> Answer:
        self._own(call).cancel()
        return Answer(content={})

    def _forget(self, call: Call) -> Answer:
        statement = self._own(call)
        statement.cancel()
        with self._lock:
            self._statements.pop(statement.id, None)
        return Answer(content={})

    def _own(self, call: Call) -> _Statement:
        name = call.params["statement"]
        with self._lock:
            statement = self._statements.get(name)
        if statement is None or statement.owner != call.user.principal.user_name:
            raise RefusedError("statement_missing", name=name)
        return statement

    # ------------------------------------------------------------------ results

    def _chunk(self, call: Call) -> Answer:
        statement = self._own(call)
        outcome, chunk = statement.outcome, _chunk_of(call)
        if outcome is None or outcome.error or not 0 <= chunk < chunk_count(outcome):
            detail = f"There is no chunk {call.params['chunk']} of statement {statement.id}"
            raise RefusedError("invalid_parameter", detail=detail)
        return Answer(
            content=chunk_body(statement.id, outcome, chunk, link=self._link(statement) if statement.linked else None)
        )

    def _link(self, statement: _Statement) -> Callable[[int], dict[str, str]]:
        ends = int(time.time() + _LINK_LIFE)
        expiration = datetime.datetime.fromtimestamp(ends, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

        def link(chunk: int) -> dict[str, str]:
            query = f"expires={ends}&signature={statement.signature}"
            return {
                "external_link": f"{self._host()}/local-storage/{statement.id}/{chunk}?{query}",
                "expiration": expiration,
            }

        return link

    def _download(self, call: Call) -> Answer:
        with self._lock:
            statement = self._statements.get(call.params["statement"])
        outcome, chunk = statement.outcome if statement else None, _chunk_of(call)
        signature, expires = call.query.get("signature", ""), call.query.get("expires", "")
        valid = (
            statement is not None
            and secrets.compare_digest(signature.encode(), statement.signature.encode())
            and re.fullmatch(r"\d{1,12}", expires) is not None
            and int(expires) > time.time()
            # Storage refuses a request that carries a token: clients must leave it out.
            and "authorization" not in call.headers
        )
        if not valid or statement is None or outcome is None or outcome.error or not 0 <= chunk < chunk_count(outcome):
            raise RefusedError("link_denied")
        return Answer(
            content=Response(chunk_file(outcome, chunk, statement.format), media_type=FORMATS[statement.format])
        )

    # ------------------------------------------------------------------ sessions

    def _session(self, call: Call, body: dict[str, Any]) -> Session:
        """Return the session that a statement names, or a new one."""
        name = call.text(body, "session_id", "")
        if not name:
            return Session(
                owner=call.user.principal.user_name,
                warehouse="",
                catalog=(call.text(body, "catalog", "") or "main").lower(),
                schema=(call.text(body, "schema", "") or "default").lower(),
                unchecked=bool(body.get("catalog") or body.get("schema")),
            )
        return self._own_session(call, name)

    def _own_session(self, call: Call, name: str) -> Session:
        with self._lock:
            session = self._sessions.get(name)
        if session is None or session.owner != call.user.principal.user_name:
            raise RefusedError("session_missing", name=name)
        return session

    def _open_session(self, call: Call) -> Answer:
        body = call.json()
        warehouse = call.text(body, "warehouse_id")
        self.check_usable(call.user.principal, warehouse)
        check_settings(body.get("session_confs"))
        name = str(uuid.uuid4())
        session = self._session(call, {**body, "session_id": None})
        session.warehouse = warehouse
        with self._lock:
            self._sessions[name] = session
            if len(self._sessions) > _KEPT:
                self._sessions.popitem(last=False)
        return Answer(content={"session_id": name})

    def _close_session(self, call: Call) -> Answer:
        self._own_session(call, call.params["session"])
        with self._lock:
            self._sessions.pop(call.params["session"], None)
        return Answer(content={})

    # ------------------------------------------------------------------ warehouses

    def check_usable(self, principal: Principal, name: str) -> None:
        """Refuse a warehouse that is absent or that the principal may not use."""
        if not self._grants.exists("sql_warehouse", name):
            raise RefusedError("warehouse_missing", name=name)
        if not self._grants.holds(principal, "CAN USE", "sql_warehouse", name):
            raise RefusedError("warehouse_denied", user_id=principal.id)

    def _list(self, call: Call) -> Answer:
        mine = [
            self._warehouse(name)
            for name in self._grants.names("sql_warehouse")
            if self._grants.holds(call.user.principal, "CAN USE", "sql_warehouse", name)
        ]
        return Answer(content={"warehouses": mine})

    def _describe(self, call: Call) -> Answer:
        self.check_usable(call.user.principal, call.params["warehouse"])
        return Answer(content=self._warehouse(call.params["warehouse"]))

    def _warehouse(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "name": self._titles[name],
            "state": "RUNNING",
            "warehouse_type": "PRO",
            "enable_serverless_compute": True,
        }


def check_settings(settings: Any) -> None:
    """Refuse a setting that does not exist, or a value that would change results: statements run with the defaults."""
    if not isinstance(settings or {}, dict):
        raise RefusedError("invalid_parameter", detail="session_confs must be an object")
    for name, value in (settings or {}).items():
        known = _SETTING_OF_SPARK.sub("", str(name).lower())
        if known and known not in _SETTINGS:
            raise RefusedError("no_such_setting", name=str(name))
        values = _SETTINGS.get(known)
        if values is not None and str(value).lower() not in values:
            raise RefusedError("setting_unsupported", detail=f"{known} = {value}")


def _busy(statement: _Statement, state: str) -> Answer:
    state = "CANCELED" if statement.canceled else state
    return Answer(content={"statement_id": statement.id, "status": {"state": state}})


def _chunk_of(call: Call) -> int:
    number = call.params["chunk"]
    return int(number) if re.fullmatch(r"\d{1,9}", number) else -1


def _choice(body: dict[str, Any], name: str, *choices: str) -> str:
    """Return a field that has one of the choices; the first one by default."""
    value = body.get(name) or choices[0]
    if value not in choices:
        raise RefusedError("invalid_parameter", detail=f"{name} must be one of {', '.join(choices)}")
    return str(value)


def _limit(body: dict[str, Any], name: str) -> int | None:
    limit = body.get(name)
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise RefusedError("invalid_parameter", detail=f"{name} must be a positive integer")
    return limit


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,2})s", text)
    if match is None or not (int(match[1]) == 0 or 5 <= int(match[1]) <= 50):
        raise RefusedError("invalid_parameter", detail="wait_timeout must be 0s, or between 5s and 50s")
    return float(match[1])


class WarehousesMixin(Mixin):
    """SQL warehouses."""

    _warehouses = Part(Warehouses)

    def add_warehouse(self, warehouse_id: str, *, name: str = "") -> None:
        """Add a SQL warehouse. Users need CAN USE on it.

        Raises:
            ValueError: The id is malformed or taken.
        """
        self._warehouses.add(warehouse_id, name)
