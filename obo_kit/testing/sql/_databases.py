"""The databases that statements run in: one per set of tables and functions, and per user where users differ in them.

A database holds its tables as its user sees them: row filters and column masks are applied while it is filled, so that
no statement can get round them. Beside them it holds its functions and, where no statement can name it, what those
functions read.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from obo_kit.testing.sql._rewriter import PREFIX, Reading, UnreadableError, identifier, read
from obo_kit.testing.sql._types import duck_type

if TYPE_CHECKING:
    from obo_kit.testing.iam._directory import Principal

__all__ = ["Function", "Parameter", "Table", "Worlds", "split_name"]

# Databases kept.
_KEPT = 64


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: its rows, and what is done to them before a user sees them.

    Attributes:
        name: ``catalog.schema.table``, in lower case.
        rows: A pyarrow table.
        types: DuckDB's type per column.
        row_filter: SQL condition over the columns: the rows a user sees. None for all.
        column_masks: SQL expression over the columns, per column that is masked.
    """

    name: str
    rows: Any
    types: Mapping[str, str]
    row_filter: str | None = None
    column_masks: Mapping[str, str] = field(default_factory=dict)

    @property
    def policed(self) -> bool:
        """Whether users may see it differently."""
        return self.row_filter is not None or bool(self.column_masks)

    def sql(self) -> str:
        """What a user sees of it, as a statement on the whole of it."""
        columns = (
            f"CAST(({mask}) AS {kind}) AS {identifier(column)}" if mask else identifier(column)
            for column, kind in self.types.items()
            for mask in [self.column_masks.get(column)]
        )
        table = ".".join(identifier(part) for part in split_name(self.name))
        where = f" WHERE ({self.row_filter})" if self.row_filter is not None else ""
        return f"SELECT {', '.join(columns)} FROM {table}{where}"  # noqa: S608  the workspace's author writes it


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a function: name, type as Databricks writes it, default as SQL, and what the author says of it."""

    name: str
    type_text: str
    default: str | None = None
    comment: str = ""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A SQL function of Unity Catalog. It runs with the rights of who defined it, and knows who calls it.

    Attributes:
        name: ``catalog.schema.function``, in lower case.
        body: An expression or a query.
        parameters: In order.
        returns: Type of its result; the columns, where it returns a table.
        comment: What the author says of it.
    """

    name: str
    body: str
    parameters: tuple[Parameter, ...]
    returns: str | tuple[Parameter, ...]
    comment: str

    def sql(self) -> str:
        """Its body as a statement in which each parameter stands under the name :data:`PREFIX` gives it.

        The parameters are columns of a row named like the function, as on the platform: a column of a table that the
        body reads goes before a parameter of the same name, and ``function.parameter`` tells them apart.
        """
        casts = (f"CAST({identifier(PREFIX + one.name)} AS {duck_type(one.type_text)})" for one in self.parameters)
        names = ", ".join(identifier(one.name) for one in self.parameters)
        row = f"(VALUES ({', '.join(casts)})) AS {identifier(split_name(self.name)[2])}({names})"
        if isinstance(self.returns, str):
            source = f" FROM {row}" if self.parameters else ""
            return f"SELECT CAST(({self.body}) AS {duck_type(self.returns)}){source}"
        columns = ", ".join(
            f"CAST({identifier(PREFIX + one.name)} AS {duck_type(one.type_text)}) AS {identifier(one.name)}"
            for one in self.returns
        )
        result = ", ".join(identifier(PREFIX + one.name) for one in self.returns)
        source = f"{row}, " if self.parameters else ""
        return f"SELECT {columns} FROM {source}LATERAL ({self.body}) AS result({result})"  # noqa: S608  as above


def split_name(name: str) -> tuple[str, str, str]:
    """Split ``catalog.schema.name``, in lower case. ValueError where it has not three plain parts."""
    parts = name.lower().split(".")
    if len(parts) != 3 or not all(re.fullmatch(r"[a-z_][\w-]*", part) for part in parts):
        msg = f"A name in Unity Catalog has three parts, catalog.schema.name, unlike {name!r}"
        raise ValueError(msg)
    return parts[0], parts[1], parts[2]


class Worlds:
    """What there is, and the databases made of it. Lives as long as its workspace; thread-safe."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.functions: dict[str, Function] = {}
        # What functions and policies read lies under a prefix that no statement can know.
        self._hidden = f"own {secrets.token_hex(8)} "
        self._lock = threading.Lock()
        self._parsing = threading.Lock()
        self._kept: OrderedDict[tuple[Principal | None, frozenset[str], frozenset[str]], Any] = OrderedDict()
        self._parser: Any = None
        self._closed = False

    # ------------------------------------------------------------------ reading

    def read(self, principal: Principal, sql: str, *, catalog: str, schema: str, prefix: str = PREFIX) -> Reading:
        """Read a statement of the principal. UnreadableError where it does not read."""
        with self._parsing:
            return read(
                self._connected(),
                sql,
                catalog=catalog,
                schema=schema,
                user_name=principal.user_name,
                groups=principal.groups,
                tables=self.tables,
                functions=self.functions,
                prefix=prefix,
            )

    def cast(self, value: str | None, kind: str) -> Any:
        """A text as a value of a type of DuckDB. duckdb.Error where it is none."""
        with self._parsing:
            return self._connected().execute(f"SELECT CAST(?::VARCHAR AS {kind})", [value]).fetchall()[0][0]

    def _connected(self) -> Any:
        import duckdb

        self._check_open()
        if self._parser is None:
            self._parser = _locked_down(duckdb.connect(":memory:"))
        return self._parser

    def check(self, principal: Principal, new: Table | Function) -> None:
        """Read what a new table or function says. ValueError where it does not read or names what is not there."""
        try:
            reading = self._definition(principal, new.name, new.sql())
        except UnreadableError as error:
            msg = f"The SQL of {new.name!r} does not read: {error.detail}"
            raise ValueError(msg) from None
        known = {*self.tables, *self.functions, new.name} if isinstance(new, Table) else {*self.tables, *self.functions}
        for name in (*reading.tables, *reading.functions):
            if name not in known:
                msg = f"{new.name!r} names {name!r}, which is not there yet"
                raise ValueError(msg)

    # ------------------------------------------------------------------ making databases

    def open(self, principal: Principal, tables: Iterable[str], functions: Iterable[str]) -> Any:
        """Return a cursor in the database that holds just these, as the principal sees them."""
        named = frozenset(tables), frozenset(functions)
        personal = bool(named[1]) or any(self.tables[name].policed for name in named[0])
        key = (principal if personal else None, *named)
        with self._lock:
            self._check_open()
            world = self._kept.get(key)
            if world is not None:
                self._kept.move_to_end(key)
                return world.cursor()
        # Filled outside the lock: it takes statements, and two at once do no harm.
        world = _locked_down(self._filled(principal, *named))
        with self._lock:
            self._check_open()
            self._kept[key] = world
            if len(self._kept) > _KEPT:
                # Cursors that still run keep their database alive.
                self._kept.popitem(last=False)
            return world.cursor()

    def close(self, *, busy: bool) -> None:
        """Open no more; free the databases. A database that is still ``busy`` goes when its statement does."""
        with self._lock, self._parsing:
            self._closed = True
            if not busy:
                for world in self._kept.values():
                    world.close()
            self._kept.clear()
            if self._parser is not None:
                self._parser.close()
                self._parser = None

    def _check_open(self) -> None:
        if self._closed:
            msg = "The local workspace has stopped"
            raise RuntimeError(msg)

    def _filled(self, principal: Principal, tables: frozenset[str], functions: frozenset[str]) -> Any:
        import duckdb

        world = duckdb.connect(":memory:")
        for name in sorted(tables):
            _put(world, PREFIX, name, self.seen(principal, name))
        for name in sorted(functions):
            self._put_function(world, PREFIX, principal, name)
        return world

    def seen(self, principal: Principal, name: str) -> Any:
        """The rows of a table as the principal sees them, a pyarrow table."""
        import duckdb

        table = self.tables[name]
        if not table.policed:
            return table.rows
        reading = self._definition(principal, name, table.sql())
        with duckdb.connect(":memory:") as scratch:
            _put(scratch, self._hidden, name, table.rows)
            self._put_read(scratch, principal, reading, but=name)
            return scratch.sql(reading.text).to_arrow_table()

    def _put_function(self, world: Any, prefix: str, principal: Principal, name: str) -> None:
        function = self.functions[name]
        reading = self._definition(principal, name, function.sql())
        self._put_read(world, principal, reading)
        parameters = ", ".join(
            identifier(PREFIX + one.name) + (f" := {one.default}" if one.default is not None else "")
            for one in function.parameters
        )
        body = f"({reading.text})" if isinstance(function.returns, str) else f"TABLE {reading.text}"
        _make_schema(world, prefix, name)
        world.execute(f"CREATE OR REPLACE MACRO {_path(prefix, name)}({parameters}) AS {body}")

    def _definition(self, principal: Principal, name: str, sql: str) -> Reading:
        """Read what the author wrote of a table or function; short names in it mean its own schema."""
        catalog, schema, _ = split_name(name)
        return self.read(principal, sql, catalog=catalog, schema=schema, prefix=self._hidden)

    def _put_read(self, world: Any, principal: Principal, reading: Reading, *, but: str | None = None) -> None:
        """Put what a function or a policy reads where statements cannot name it."""
        for name in reading.tables:
            if name != but:
                _put(world, self._hidden, name, self.seen(principal, name))
        for name in reading.functions:
            self._put_function(world, self._hidden, principal, name)


def _put(world: Any, prefix: str, name: str, rows: Any) -> None:
    _make_schema(world, prefix, name)
    world.register("incoming", rows)
    world.execute(f"CREATE TABLE IF NOT EXISTS {_path(prefix, name)} AS SELECT * FROM incoming")  # noqa: S608  a quoted name
    world.unregister("incoming")


def _make_schema(world: Any, prefix: str, name: str) -> None:
    catalog, schema, _ = split_name(name)
    world.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {identifier(prefix + catalog)}")
    world.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(prefix + catalog)}.{identifier(schema)}")


def _path(prefix: str, name: str) -> str:
    catalog, schema, table = split_name(name)
    return ".".join(identifier(part) for part in (prefix + catalog, schema, table))


def _locked_down(connection: Any) -> Any:
    for setting in (
        "enable_external_access = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        # Or a name that is no table's would be looked for among the variables of this program.
        "python_enable_replacements = false",
        "memory_limit = '1GB'",
        "threads = 2",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection
