"""SQL on DuckDB, with the grants of whoever asks.

Grants hold by construction: a statement runs in a database that contains only the tables its user may select from, so
that no trick of SQL reaches another. The parser is asked which tables a statement names only to say *why* it fails.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from obo_kit.testing._refusals import REFUSALS, refusal_text
from obo_kit.testing._sql_reader import PREFIX, UnreadableError, identifier, read

if TYPE_CHECKING:
    from obo_kit.testing._grants import Grants
    from obo_kit.testing._principals import Principal

__all__ = ["Column", "Engine", "Outcome", "SqlRefusal", "split_name"]

DEFAULT_CATALOG = "main"
DEFAULT_SCHEMA = "default"
ROW_LIMIT = 100_000
TIME_LIMIT = 60.0
# How long ``close`` waits for interrupted statements, seconds.
_CLOSE_LIMIT = 1.0
# Databases kept, one per set of granted tables.
_WORLDS = 16

# Databricks type and type_name per DuckDB type.
_TYPES = {
    "BOOLEAN": ("BOOLEAN", "BOOLEAN"),
    "TINYINT": ("TINYINT", "BYTE"),
    "SMALLINT": ("SMALLINT", "SHORT"),
    "INTEGER": ("INT", "INT"),
    "BIGINT": ("BIGINT", "LONG"),
    "UTINYINT": ("SMALLINT", "SHORT"),
    "USMALLINT": ("INT", "INT"),
    "UINTEGER": ("BIGINT", "LONG"),
    "UBIGINT": ("DECIMAL(20,0)", "DECIMAL"),
    "HUGEINT": ("DECIMAL(38,0)", "DECIMAL"),
    "FLOAT": ("FLOAT", "FLOAT"),
    "DOUBLE": ("DOUBLE", "DOUBLE"),
    "VARCHAR": ("STRING", "STRING"),
    "UUID": ("STRING", "STRING"),
    "TIME": ("STRING", "STRING"),
    "BLOB": ("BINARY", "BINARY"),
    "DATE": ("DATE", "DATE"),
    "INTERVAL": ("INTERVAL", "INTERVAL"),
    '"NULL"': ("VOID", "NULL"),
    "NULL": ("VOID", "NULL"),
}
# What a statement parameter may be declared as, and DuckDB's name for it.
_PARAMETER_TYPES = {
    "STRING": "VARCHAR",
    "BOOLEAN": "BOOLEAN",
    "BYTE": "TINYINT",
    "TINYINT": "TINYINT",
    "SHORT": "SMALLINT",
    "SMALLINT": "SMALLINT",
    "INT": "INTEGER",
    "INTEGER": "INTEGER",
    "LONG": "BIGINT",
    "BIGINT": "BIGINT",
    "FLOAT": "FLOAT",
    "DOUBLE": "DOUBLE",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
    "BINARY": "BLOB",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a result: its name, its SQL type as Databricks writes it, and the name of the base type."""

    name: str
    type_text: str
    type_name: str


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


def split_name(name: str) -> tuple[str, str, str]:
    """Split ``catalog.schema.name``, in lower case. ValueError where it has not three plain parts."""
    parts = name.lower().split(".")
    if len(parts) != 3 or not all(re.fullmatch(r"[a-z_][\w-]*", part) for part in parts):
        msg = f"A table needs a name of three parts, catalog.schema.table, not {name!r}"
        raise ValueError(msg)
    return parts[0], parts[1], parts[2]


class Engine:
    """The tables of one workspace and the statements run on them. Lives as long as it; thread-safe."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._tables: dict[str, Any] = {}
        self._worlds: OrderedDict[frozenset[str], Any] = OrderedDict()
        self._parser: Any = None
        self._running: set[Any] = set()
        self._closed = False

    def load(self, name: str, rows: Iterable[Mapping[str, Any]]) -> str:
        """Load rows and return the full name; nobody may select from them until the table is registered as one.

        ValueError where they do not form a table: no row, or values of a column that do not go together.
        """
        import pyarrow as pa  # type: ignore[import-untyped]

        full = ".".join(split_name(name))
        records = [dict(row) for row in rows]
        if not records:
            msg = f"Table {name!r} needs at least one row: its columns are taken from the rows"
            raise ValueError(msg)
        columns = list(dict.fromkeys(key for record in records for key in record))
        try:
            table = pa.table({column: [record.get(column) for record in records] for column in columns})
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            msg = f"The rows of table {name!r} do not form columns: {error}"
            raise ValueError(msg) from None
        with self._lock:
            if full in self._tables:
                msg = f"There is already a table or index named {name!r}"
                raise ValueError(msg)
            self._tables[full] = table
        return full

    def columns(self, name: str) -> tuple[Column, ...]:
        """The columns of a table."""
        with self._lock:
            cursor = self._world(frozenset({name})).cursor()
        with cursor:
            return _columns(cursor.sql(f"SELECT * FROM {_quoted(name)}"))  # noqa: S608  a checked, quoted name

    def run(
        self,
        principal: Principal,
        sql: str,
        *,
        parameters: Sequence[Mapping[str, Any]] = (),
        catalog: str | None = None,
        schema: str | None = None,
        row_limit: int | None = None,
    ) -> Outcome:
        """Run one statement as the principal. Never raises for what the statement says or does."""
        import duckdb

        try:
            text, wanted = self._prepare(principal, sql, catalog or DEFAULT_CATALOG, schema or DEFAULT_SCHEMA)
            granted = frozenset(
                name for name in self._grants.names("table") if self._grants.holds(principal, "SELECT", "table", name)
            )
            values = self._values(wanted, parameters)
            with self._lock:
                cursor = self._world(granted).cursor()
            with cursor:
                return self._execute(cursor, text, values, min(row_limit or ROW_LIMIT, ROW_LIMIT))
        except _StatementError as error:
            return Outcome(error=error.refusal)
        except duckdb.CatalogException as error:
            return _failed("sql_missing" if "Table" in str(error) else "sql_failed", error)
        except duckdb.BinderException as error:
            return _failed("sql_column" if "column" in str(error).lower() else "sql_failed", error)
        except (duckdb.Error, RuntimeError, ValueError, OverflowError, RecursionError) as error:
            return _failed("sql_failed", error)

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
            # A connection that is still busy cannot be closed; it goes when its statement does.
            if not self._running:
                for world in self._worlds.values():
                    world.close()
            self._worlds.clear()
            if self._parser is not None:
                self._parser.close()
                self._parser = None

    # ------------------------------------------------------------------ reading the statement

    def _prepare(self, principal: Principal, sql: str, catalog: str, schema: str) -> tuple[str, list[str]]:
        """Return the statement in DuckDB's words, and its parameters; refuse one whose tables are not granted."""
        with self._lock:
            try:
                reading = read(
                    self._parsing(),
                    sql,
                    catalog=catalog.lower(),
                    schema=schema.lower(),
                    user_name=principal.user_name,
                    known=frozenset(self._tables),
                )
            except UnreadableError as error:
                raise _StatementError(error.key, detail=error.detail) from None
            for name in reading.tables:
                # The platform resolves names first: an absent table is reported before one that is not granted.
                if not self._grants.exists("table", name):
                    raise _StatementError("sql_missing", name=".".join(f"`{part}`" for part in name.split(".")))
            for name in reading.tables:
                if not self._grants.holds(principal, "SELECT", "table", name):
                    raise _StatementError("sql_denied", table=name, name=name)
            return reading.text, list(reading.parameters)

    def _parsing(self) -> Any:
        import duckdb

        self._check_open()
        if self._parser is None:
            self._parser = _locked_down(duckdb.connect(":memory:"))
        return self._parser

    def _check_open(self) -> None:
        if self._closed:
            msg = "The local workspace has stopped"
            raise RuntimeError(msg)

    def _values(self, wanted: Sequence[str], parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        given = {str(parameter.get("name")): parameter for parameter in parameters}
        values: dict[str, Any] = {}
        for name in wanted:
            if name not in given:
                raise _StatementError("sql_parameter", name=name)
            value, kind = given[name].get("value"), str(given[name].get("type") or "STRING").upper()
            number = re.fullmatch(r"DECIMAL\((\d{1,2}),\s*(\d{1,2})\)", kind)
            duck = f"DECIMAL({number[1]},{number[2]})" if number else _PARAMETER_TYPES.get(kind)
            if duck is None:
                raise _StatementError("sql_failed", detail=f"Parameter {name} has the unknown type {kind}.")
            with self._lock:
                row = self._parsing().execute(f"SELECT CAST(?::VARCHAR AS {duck})", [value]).fetchone()
            values[name] = row[0]
        return values

    # ------------------------------------------------------------------ running it

    def _world(self, granted: frozenset[str]) -> Any:
        """The database that holds just these tables. Called with the lock held."""
        import duckdb

        self._check_open()
        world = self._worlds.get(granted)
        if world is None:
            world = duckdb.connect(":memory:")
            for name in sorted(granted):
                catalog, schema, _ = split_name(name)
                world.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {identifier(PREFIX + catalog)}")
                world.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(PREFIX + catalog)}.{identifier(schema)}")
                world.register("incoming", self._tables[name])
                world.execute(f"CREATE TABLE {_quoted(name)} AS SELECT * FROM incoming")  # noqa: S608  a quoted name
                world.unregister("incoming")
            _locked_down(world)
            self._worlds[granted] = world
            if len(self._worlds) > _WORLDS:
                # Cursors that still run keep their database alive.
                self._worlds.popitem(last=False)
        self._worlds.move_to_end(granted)
        return world

    def _execute(self, cursor: Any, text: str, values: dict[str, Any], limit: int) -> Outcome:
        timer = threading.Timer(TIME_LIMIT, cursor.interrupt)
        timer.daemon = True
        with self._lock:
            self._check_open()
            self._running.add(cursor)
        timer.start()
        try:
            relation = cursor.sql(text, params=values) if values else cursor.sql(text)
            columns = _columns(relation)
            rows = relation.limit(limit + 1).fetchall()
        finally:
            timer.cancel()
            with self._idle:
                self._running.discard(cursor)
                self._idle.notify_all()
        return Outcome(
            columns=columns,
            rows=tuple(tuple(_text(value) for value in row) for row in rows[:limit]),
            truncated=len(rows) > limit,
        )


def _locked_down(connection: Any) -> Any:
    for setting in (
        "enable_external_access = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "memory_limit = '1GB'",
        "threads = 2",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _quoted(name: str) -> str:
    catalog, schema, table = split_name(name)
    return ".".join(identifier(part) for part in (PREFIX + catalog, schema, table))


def _failed(key: str, error: Exception) -> Outcome:
    detail = (str(error).strip().splitlines() or [type(error).__name__])[0].replace(PREFIX, "")
    fields = {"name": detail} if key == "sql_missing" else {"detail": detail}
    return Outcome(error=SqlRefusal(key=key, text=refusal_text(key, **fields)))


def _columns(relation: Any) -> tuple[Column, ...]:
    # A relation tells exact types in every DuckDB from 1.1 on; the description of a cursor does not.
    return tuple(
        Column(name=column, type_text=text, type_name=name)
        for column, duck in zip(relation.columns, relation.types, strict=True)
        for text, name in [_type(str(duck))]
    )


def _type(duck: str) -> tuple[str, str]:
    if duck in _TYPES:
        return _TYPES[duck]
    if duck.startswith("DECIMAL"):
        return duck, "DECIMAL"
    if duck.startswith("TIMESTAMP"):
        return "TIMESTAMP", "TIMESTAMP"
    if duck.endswith("]"):
        return "ARRAY", "ARRAY"
    for name in ("STRUCT", "MAP"):
        if duck.startswith(name):
            return name, name
    return "STRING", "STRING"


_SCALARS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (str, str),
    (bool, lambda value: "true" if value else "false"),
    (datetime.datetime, lambda value: value.isoformat(timespec="milliseconds")),
    (datetime.date, lambda value: value.isoformat()),
    (decimal.Decimal, lambda value: format(value, "f")),
    (bytes, lambda value: base64.b64encode(value).decode()),
    (list, lambda value: json.dumps(value, default=_text)),
    (dict, lambda value: json.dumps(value, default=_text)),
)


def _text(value: Any) -> str | None:
    """A value as the JSON_ARRAY format writes it."""
    if value is None:
        return None
    for kind, write in _SCALARS:
        if isinstance(value, kind):
            return write(value)
    return str(value)
