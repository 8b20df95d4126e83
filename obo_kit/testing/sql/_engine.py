"""SQL on DuckDB, with the grants of whoever asks.

Grants hold by construction: a statement runs in a database that holds the tables and functions it was found to name,
each of which its user was found to be granted, and nothing else (``_sql_world``). What was overlooked is not there.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from obo_kit.testing._refusals import REFUSALS, refusal_text
from obo_kit.testing.iam._directory import Principal
from obo_kit.testing.sql._databases import Function, Parameter, Table, Worlds, split_name
from obo_kit.testing.sql._rewriter import PREFIX, Reading, UnreadableError, identifier
from obo_kit.testing.sql._rows import Rows, records
from obo_kit.testing.sql._types import Column, duck_type, sql_type, text_of

if TYPE_CHECKING:
    from obo_kit.testing.iam._grants import Grants

__all__ = ["Column", "Engine", "Function", "Interrupt", "Outcome", "Parameter", "SqlRefusal", "split_name"]

_logger = logging.getLogger("obo_kit.testing")

DEFAULT_CATALOG = "main"
DEFAULT_SCHEMA = "default"
ROW_LIMIT = 100_000
TIME_LIMIT = 60.0
# How long ``close`` waits for interrupted statements, seconds.
_CLOSE_LIMIT = 1.0
# As whom definitions are tried out.
_NOBODY = Principal(name="nobody", user_name="", kind="user", id="0", groups=frozenset())


@dataclass(frozen=True, kw_only=True)
class SqlRefusal:
    """Why a statement failed: a key of ``REFUSALS``, the filled-in text, and the table it is about, if any."""

    key: str
    text: str
    table: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a statement came to: rows of text (None for null), or an error."""

    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    truncated: bool = False
    error: SqlRefusal | None = None

    @property
    def decision(self) -> str:
        """What the request log records."""
        return REFUSALS[self.error.key].decision if self.error else "allowed"


class _StatementError(Exception):
    def __init__(self, key: str, *, table: str | None = None, **fields: str) -> None:
        self.refusal = SqlRefusal(key=key, text=refusal_text(key, **fields), table=table)
        super().__init__(key)


class Interrupt:
    """Stops one statement, running or not yet begun. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: Any = None
        self._wanted = False

    def __call__(self) -> None:
        """Stop it. An interrupt that comes before the engine has begun is lost, so it is asked until it has stopped."""
        with self._lock:
            self._wanted = True
            if self._cursor is None:
                return
            self._cursor.interrupt()
        again = threading.Timer(0.05, self)
        again.daemon = True
        again.start()

    def watch(self, cursor: Any) -> None:
        """Know the cursor it runs on (None: no longer). RuntimeError where it is to stop already."""
        with self._lock:
            self._cursor = cursor
            if self._wanted and cursor is not None:
                msg = "The statement was canceled"
                raise RuntimeError(msg)


class Engine:
    """The tables and functions of one workspace and the statements run on them. Lives as long as it; thread-safe."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._worlds = Worlds()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._running: set[Any] = set()
        self._closed = False

    def load(
        self,
        name: str,
        rows: Rows,
        *,
        row_filter: str | None = None,
        column_masks: Mapping[str, str] | None = None,
    ) -> str:
        """Load rows and return the full name; nobody may select from them until the table is registered as one.

        ValueError where they do not form a table (no row, or values of a column that do not go together), or where
        filter or masks do not fit it.
        """
        import duckdb
        import pyarrow as pa  # type: ignore[import-untyped]

        full = ".".join(split_name(name))
        given = records(rows)
        if not given:
            msg = f"Table {name!r} needs at least one row: its columns are taken from the rows"
            raise ValueError(msg)
        columns = list(dict.fromkeys(key for record in given for key in record))
        try:
            table = pa.table({column: [record.get(column) for record in given] for column in columns})
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            msg = f"The rows of table {name!r} do not form columns: {error}"
            raise ValueError(msg) from None
        unknown = set(column_masks or {}).difference(columns)
        if unknown:
            msg = f"Table {name!r} has no column {sorted(unknown)[0]!r} to mask; it has: {', '.join(columns)}"
            raise ValueError(msg)
        with duckdb.connect(":memory:") as scratch:
            types = dict(zip(columns, map(str, scratch.from_arrow(table).types), strict=True))
        loaded = Table(name=full, rows=table, types=types, row_filter=row_filter, column_masks=dict(column_masks or {}))
        self._add(self._worlds.tables, loaded, f"SELECT * FROM {_quoted(full)}")  # noqa: S608  a checked, quoted name
        return full

    def define(self, function: Function) -> None:
        """Add a function. ValueError where the name is taken, or the body does not read or names what is not there."""
        call = f"{_quoted(function.name)}({', '.join(['NULL'] * len(function.parameters))})"
        source = "" if isinstance(function.returns, str) else "* FROM "
        self._add(self._worlds.functions, function, f"SELECT {source}{call}")

    def _add(self, kind: dict[str, Any], new: Table | Function, use: str) -> None:
        """Add a table or function, and try how nobody would use it, so that what it says is found wrong here."""
        import duckdb

        what = "function" if isinstance(new, Function) else "table or index"
        with self._lock:
            if new.name in kind:
                msg = f"There is already a {what} named {new.name!r}"
                raise ValueError(msg)
            # Not before this point: what a definition names must be there before it, so that none comes back to itself.
            self._worlds.check(_NOBODY, new)
            kind[new.name] = new
        if isinstance(new, Table) and not new.policed:
            return
        tables, functions = ([], [new.name]) if isinstance(new, Function) else ([new.name], [])
        try:
            with self._worlds.open(_NOBODY, tables, functions) as cursor:
                cursor.sql(use)
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
            del kind[new.name]
            msg = f"The SQL of {new.name!r} does not fit: {_detail(error)}"
            raise ValueError(msg) from None
        except duckdb.Error:
            # A function may well refuse nulls, or a user who is nobody.
            _logger.debug("%s could not be tried out", new.name, exc_info=True)

    def columns(self, name: str) -> tuple[Column, ...]:
        """The columns of a table."""
        return tuple(_column(column, duck) for column, duck in self._worlds.tables[name].types.items())

    def run(
        self,
        principal: Principal,
        sql: str,
        *,
        parameters: Sequence[Mapping[str, Any]] = (),
        catalog: str | None = None,
        schema: str | None = None,
        row_limit: int | None = None,
        interrupt: Interrupt | None = None,
    ) -> Outcome:
        """Run one statement as the principal. Never raises for what the statement says or does."""
        import duckdb

        interrupt = interrupt or Interrupt()

        try:
            reading = self._prepare(principal, sql, catalog or DEFAULT_CATALOG, schema or DEFAULT_SCHEMA)
            values = self._values(reading.parameters, parameters)
            limit = min(row_limit or ROW_LIMIT, ROW_LIMIT)
            with self._worlds.open(principal, reading.tables, reading.functions) as cursor:
                return self._execute(cursor, reading.text, values, limit, interrupt)
        except _StatementError as error:
            return Outcome(error=error.refusal)
        except (duckdb.Error, RuntimeError, ValueError, OverflowError, RecursionError) as error:
            return Outcome(error=_explained(error).refusal)

    def close(self) -> None:
        """Interrupt what is running and free the databases."""
        with self._idle:
            self._closed = True
            deadline = time.monotonic() + _CLOSE_LIMIT
            while self._running and time.monotonic() < deadline:
                # Again and again: an interrupt that comes just before a statement starts is lost.
                for cursor in self._running:
                    cursor.interrupt()
                self._idle.wait(0.02)
            self._worlds.close(busy=bool(self._running))

    # ------------------------------------------------------------------ reading the statement

    def _prepare(self, principal: Principal, sql: str, catalog: str, schema: str) -> Reading:
        """Read a statement; refuse one that names what is not there or not granted."""
        try:
            reading = self._worlds.read(principal, sql, catalog=catalog, schema=schema)
        except UnreadableError as error:
            raise _StatementError(error.key, detail=error.detail) from None
        # The platform resolves names first: what is absent is reported before what is not granted.
        for name in reading.tables:
            if not self._grants.exists("table", name):
                raise _StatementError("sql_missing", name=_backticked(name))
        for name in reading.functions:
            if not self._grants.exists("function", name):
                raise _StatementError("sql_no_function", name=_backticked(name))
        for name in reading.tables:
            if not self._grants.holds(principal, "SELECT", "table", name):
                raise _StatementError("sql_denied", table=name, name=name)
        for name in reading.functions:
            if not self._grants.holds(principal, "EXECUTE", "function", name):
                raise _StatementError("sql_no_execute", name=name)
        return reading

    def _values(self, wanted: Sequence[str], parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        given = {str(parameter.get("name")): parameter for parameter in parameters}
        values: dict[str, Any] = {}
        for name in wanted:
            if name not in given:
                raise _StatementError("sql_parameter", name=name)
            try:
                duck = duck_type(str(given[name].get("type") or "STRING"))
            except ValueError as error:
                raise _StatementError("sql_failed", detail=f"Parameter {name}: {error}.") from None
            values[name] = self._worlds.cast(given[name].get("value"), duck)
        return values

    # ------------------------------------------------------------------ running it

    def _execute(self, cursor: Any, text: str, values: dict[str, Any], limit: int, interrupt: Interrupt) -> Outcome:
        timer = threading.Timer(TIME_LIMIT, interrupt)
        timer.daemon = True
        with self._lock:
            if self._closed:
                msg = "The local workspace has stopped"
                raise RuntimeError(msg)
            self._running.add(cursor)
        timer.start()
        try:
            interrupt.watch(cursor)
            relation = cursor.sql(text, params=values) if values else cursor.sql(text)
            # A relation tells exact types in every DuckDB; the description of a cursor does not.
            columns = tuple(map(_column, relation.columns, map(str, relation.types)))
            rows = relation.limit(limit + 1).fetchall()
        finally:
            timer.cancel()
            interrupt.watch(None)
            with self._idle:
                self._running.discard(cursor)
                self._idle.notify_all()
        return Outcome(
            columns=columns,
            rows=tuple(tuple(text_of(value) for value in row) for row in rows[:limit]),
            truncated=len(rows) > limit,
        )


def _quoted(name: str) -> str:
    catalog, schema, table = split_name(name)
    return ".".join(identifier(part) for part in (PREFIX + catalog, schema, table))


def _backticked(name: str) -> str:
    return ".".join(f"`{part}`" for part in name.split("."))


def _column(name: str, duck: str) -> Column:
    type_text, type_name = sql_type(duck)
    return Column(name=_author_names(name), type_text=type_text, type_name=type_name)


def _explained(error: Exception) -> _StatementError:
    """What the platform would make of a statement that DuckDB cannot run. The patterns are DuckDB's words."""
    detail = _detail(error)
    for pattern, key in (
        (r"^Catalog Error: .*Function with name \"?(?P<name>.+?)\"? does not exist", "sql_no_function"),
        (r"^Catalog Error: .*Table with name (?P<name>.+?) does not exist", "sql_missing"),
        (r"^Binder Error: (?P<detail>Macro .*does not support the supplied arguments)", "sql_arguments"),
        (r"^Binder Error: (?P<detail>.*column.*)", "sql_column"),
        (r"^Conversion Error: (?P<detail>.*)", "sql_cast"),
    ):
        match = re.search(pattern, detail, re.IGNORECASE)
        if match is not None:
            return _StatementError(
                key, **{name: f"`{text}`" if name == "name" else text for name, text in match.groupdict().items()}
            )
    return _StatementError("sql_failed", detail=detail)


def _detail(error: Exception) -> str:
    """The first line of what DuckDB says."""
    return _author_names((str(error).strip().splitlines() or [type(error).__name__])[0])


def _author_names(text: str) -> str:
    """A text of DuckDB with the names that the author knows."""
    return re.sub(rf'"{PREFIX}(\w+)"|own [0-9a-f]{{16}} |{PREFIX}', r"\1", text)
