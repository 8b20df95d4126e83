"""The database that statements run on: one per workspace, in memory, with the tables and functions of Unity Catalog.

Tables are in schemas whose names no statement can know. The rewriter inserts these names where a statement may read a table.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from obo_kit.testing.sql._types import sql_type

if TYPE_CHECKING:
    from obo_kit.testing.sql._http import HttpRequest

__all__ = [
    "NAME",
    "PART",
    "Access",
    "Function",
    "Parameter",
    "Session",
    "Store",
    "Table",
    "View",
    "backticked",
    "parts_of",
    "quoted",
    "split_name",
]

PART = r"(?:`[^`]+`|[\w-]+)"
NAME = rf"{PART}(?:\.{PART}){{0,2}}"
"""Patterns of a name in a statement, and of a part of it."""

_SETTINGS = (
    "enable_external_access = false",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    # Otherwise DuckDB would look up an unknown table name among the variables of this program.
    "python_enable_replacements = false",
    "memory_limit = '1GB'",
    "threads = 2",
    "TimeZone = 'UTC'",
    "order_by_non_integer_literal = true",
    "lock_configuration = true",
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: its columns, and what is applied to its rows before a user sees them.

    Attributes:
        name: ``catalog.schema.table``, in lower case.
        types: DuckDB's type per column.
        row_filter: A SQL condition over the columns: the rows that a user sees. None for all.
        column_masks: A SQL expression over the columns, per masked column.
        comment: The author's comment.
        column_comments: The author's comments on columns.
    """

    name: str
    types: Mapping[str, str]
    row_filter: str | None = None
    column_masks: Mapping[str, str] = field(default_factory=dict)
    comment: str | None = None
    column_comments: Mapping[str, str] = field(default_factory=dict)

    @property
    def policed(self) -> bool:
        """Return whether users may see it differently."""
        return self.row_filter is not None or bool(self.column_masks)

    def sql(self) -> str:
        """Return what a user sees of it, as a statement on the whole table, in Databricks SQL."""
        columns = (self._visible(column, duck) for column, duck in self.types.items())
        where = f" WHERE ({self.row_filter})" if self.row_filter is not None else ""
        return f"SELECT {', '.join(columns)} FROM {backticked(self.name)}{where}"  # noqa: S608  the workspace's author writes it

    def _visible(self, column: str, duck: str) -> str:
        mask = self.column_masks.get(column)
        return f"`{column}`" if mask is None else f"CAST({mask} AS {sql_type(duck)[0]}) AS `{column}`"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a function: name, type as Databricks writes it, default as SQL, and the author's comment."""

    name: str
    type_text: str
    default: str | None = None
    comment: str = ""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A SQL function of Unity Catalog. It runs with its definer's rights, and knows its caller.

    Attributes:
        name: ``catalog.schema.function``, in lower case.
        body: An expression or a query.
        parameters: In order.
        returns: The type of its result; the columns, if it returns a table.
        comment: The author's comment.
    """

    name: str
    body: str
    parameters: tuple[Parameter, ...]
    returns: str | tuple[Parameter, ...]
    comment: str


@dataclass(frozen=True, kw_only=True)
class Access:
    """A privilege that a statement needs on something in Unity Catalog."""

    privilege: str
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class View:
    """A temporary view: a query, and the schema that its short names refer to."""

    sql: str
    catalog: str
    schema: str
    columns: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Session:
    """The state that statements leave for the next one of their session. One statement runs at a time.

    Attributes:
        catalog: The catalog of short names.
        schema: The schema of short names.
        unchecked: Whether a client named them, and nobody has looked yet whether it may use them.
        views: The temporary views.
    """

    catalog: str = "main"
    schema: str = "default"
    unchecked: bool = False
    views: dict[str, View] = field(default_factory=dict)

    def complete(self, parts: Sequence[str], count: int = 3) -> str:
        """Return the whole name of so many parts, in lower case, from its last parts."""
        return ".".join([*(self.catalog, self.schema)[: max(0, count - len(parts))], *parts]).lower()

    def securable(self, kind: str | None, name: str) -> tuple[str, str]:
        """Return the kind and the whole name of what a statement names as the object of privileges."""
        kind = (kind or "TABLE").lower()
        kind = {"database": "schema", "view": "table", "connection": "uc_connection"}.get(kind, kind)
        return kind, self.complete(parts_of(name), {"catalog": 1, "uc_connection": 1, "schema": 2}.get(kind, 3))


def parts_of(name: str) -> list[str]:
    """Return the parts of a dotted name, without their quotes."""
    return [part.strip("`") for part in re.findall(PART, name)]


def quoted(*parts: str) -> str:
    """Quote a name for DuckDB, part by part."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def backticked(name: str) -> str:
    """Quote a dotted name for Databricks SQL, part by part."""
    return ".".join(f"`{part}`" for part in name.split("."))


def split_name(name: str) -> tuple[str, str, str]:
    """Split ``catalog.schema.name``, in lower case. Raises ValueError if it does not have three plain parts."""
    parts = name.lower().split(".")
    if len(parts) != 3 or not all(re.fullmatch(r"[a-z_][\w-]*", part) for part in parts):
        msg = f"A name in Unity Catalog has three parts, catalog.schema.name, unlike {name!r}"
        raise ValueError(msg)
    return parts[0], parts[1], parts[2]


class Store:
    """The database of one workspace. Lives as long as the workspace; thread-safe."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.functions: dict[str, Function] = {}
        # The engine sets it: what a user sees of information_schema.
        self.metadata: Any = None
        # The service of the connections sets it: what http_request does.
        self.http: HttpRequest | None = None
        self._hidden = secrets.token_hex(8)
        self._lock = threading.RLock()
        self._connection: Any = None
        self._macros: set[str] = set()
        self._calls_out = False
        self._closed = False

    def place(self, name: str) -> str:
        """Return the schema that a table is in."""
        return f"{self._hidden} {name.rpartition('.')[0]}"

    def path(self, name: str) -> str:
        """Return the path of a table, quoted."""
        return quoted(self.place(name), name.rpartition(".")[2])

    def plain(self, text: str) -> str:
        """Return a text of the database without the database's internal names."""
        return re.sub(rf'"?{self._hidden} ([\w.-]+)"?|\bspark__?(?=\w)', r"\1", text)

    def cursor(self) -> Any:
        """Return a cursor. Raises RuntimeError if the workspace has stopped."""
        with self._lock:
            if self._closed:
                msg = "The local workspace has stopped"
                raise RuntimeError(msg)
            if self._connection is None:
                import duckdb

                self._connection = duckdb.connect(":memory:")
                for setting in _SETTINGS:
                    self._connection.execute(f"SET GLOBAL {setting}")
            return self._connection.cursor()

    def prepare(self, text: str) -> None:
        """Create the macros and routines that a text calls."""
        from obo_kit.testing.sql._calls import macro_source, macros_in
        from obo_kit.testing.sql._http import is_called, register
        from obo_kit.testing.sql._routines import ROUTINES, register_routine

        if self.http is not None and not self._calls_out and is_called(text):
            with self._lock:
                if not self._calls_out:
                    self.cursor().close()
                    register(self._connection, self.http)
                    self._calls_out = True
        wanted = [name for name in macros_in(text) if name not in self._macros]
        if wanted:
            with self._lock, self.cursor() as cursor:
                for name in wanted:
                    if name in ROUTINES:
                        register_routine(self._connection, name)
                    else:
                        cursor.execute(macro_source(name))
                    self._macros.add(name)

    def bind(self, text: str) -> None:
        """Read a text as if to run it. Raises duckdb.Error if it cannot run."""
        self.prepare(text)
        with self.cursor() as cursor:
            if re.match(r"\s*(SELECT|WITH|\(|VALUES|FROM)\b|\s*\(", text):
                cursor.sql(text)
            else:
                cursor.execute(f"EXPLAIN {text}")

    def load(self, name: str, rows: Any) -> dict[str, str]:
        """Replace a table with an arrow table, and return its types."""
        with self._lock, self.cursor() as cursor:
            self.make_schema(cursor, name)
            cursor.register("incoming", rows)
            cursor.execute(f"CREATE OR REPLACE TABLE {self.path(name)} AS SELECT * FROM incoming")  # noqa: S608  a quoted name
            cursor.unregister("incoming")
            return self.types(cursor, name)

    def make_schema(self, cursor: Any, name: str) -> None:
        """Create the schema for a table."""
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self.place(name))}")

    def types(self, cursor: Any, name: str) -> dict[str, str]:
        """Return the types of the columns of a table."""
        relation = cursor.sql(f"SELECT * FROM {self.path(name)} LIMIT 0")  # noqa: S608  a quoted name
        return dict(zip(relation.columns, map(str, relation.types), strict=True))

    def drop(self, name: str) -> None:
        """Drop a table."""
        self.tables.pop(name, None)
        with self._lock, self.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {self.path(name)}")

    def unpoliced(self, table: Table) -> Store:
        """Return the same store, with one table readable as a whole."""
        store = Store.__new__(Store)
        store.__dict__.update(self.__dict__)
        whole = dataclasses.replace(table, row_filter=None, column_masks={})
        store.tables = {**self.tables, table.name: whole}
        return store

    def cast(self, values: Iterable[tuple[str | None, str]]) -> list[Any]:
        """Convert texts to values of DuckDB's types. Raises duckdb.Error if a text does not fit."""
        with self.cursor() as cursor:
            return [
                cursor.execute(f"SELECT CAST(?::VARCHAR AS {kind})", [value]).fetchall()[0][0] for value, kind in values
            ]

    def close(self, *, busy: bool) -> None:
        """Refuse new cursors, and free the database. A ``busy`` database is freed when its statement ends."""
        with self._lock:
            self._closed = True
            if self._connection is not None and not busy:
                self._connection.close()
            self._connection = None
