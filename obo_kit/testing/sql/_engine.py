"""Run SQL on DuckDB with the caller's grants.

A statement is rewritten from a tree in which every table, function and construct was examined (``_rewriter``). The privileges
that it needs in Unity Catalog are checked before it runs. The names of the database itself are secret, so it cannot reach
anything that was not examined.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from obo_kit.testing._refusals import REFUSALS, filled, refusal_text
from obo_kit.testing.iam._directory import Principal
from obo_kit.testing.iam._grants import lack_text
from obo_kit.testing.sql._databases import Function, Parameter, Session, Store, Table, backticked, split_name
from obo_kit.testing.sql._refusals import KNOWN_ERRORS, StatementError
from obo_kit.testing.sql._rows import Rows, records
from obo_kit.testing.sql._texts import text_of
from obo_kit.testing.sql._types import Column

if TYPE_CHECKING:
    from sqlglot import exp

    from obo_kit.testing.iam._grants import Grants
    from obo_kit.testing.sql._databases import Access
    from obo_kit.testing.sql._http import HttpRequest
    from obo_kit.testing.sql._writes import Written

__all__ = ["Column", "Engine", "Function", "Interrupt", "Outcome", "Parameter", "Session", "SqlRefusal", "split_name"]

_T = TypeVar("_T")

_logger = logging.getLogger("obo_kit.testing")

# The maximum number of rows in a result. The platform limits the bytes instead, and higher.
ROW_LIMIT = 1_000_000
TIME_LIMIT = 60.0
# How long ``close`` waits for interrupted statements, in seconds.
_CLOSE_LIMIT = 1.0
# Schemas of every catalog.
_EVERYWHERE = frozenset({"default", "information_schema"})
# The principal that definitions are tried as.
_NOBODY = Principal(name="nobody", user_name="", kind="user", id="0", groups=frozenset())


@dataclass(frozen=True, kw_only=True)
class SqlRefusal:
    """Why a statement failed: a key of ``REFUSALS``, the values for its text, and the table that it is about, if any."""

    key: str
    fields: Mapping[str, str]
    table: str | None = None

    @property
    def code(self) -> str | int:
        """Return the error's code."""
        return filled(self.key, self.fields)[0].code

    @property
    def text(self) -> str:
        """Return the message, in the words in which the request is answered."""
        return filled(self.key, self.fields)[1]

    @property
    def sql_state(self) -> str | None:
        """Return the SQLSTATE at the end of the text, else the usual one."""
        _, said, state = self.text.rpartition("SQLSTATE: ")
        return state if said else REFUSALS[self.key].sql_state


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a statement: rows of Python values (None for null), or an error."""

    columns: tuple[Column, ...] = ()
    values: tuple[tuple[Any, ...], ...] = ()
    truncated: bool = False
    error: SqlRefusal | None = None

    @functools.cached_property
    def rows(self) -> tuple[tuple[str | None, ...], ...]:
        """Return the rows as the texts that the API sends."""
        kinds = [column.duck for column in self.columns]
        return tuple(tuple(map(text_of, row, kinds)) for row in self.values)

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """Return the size of each row in bytes. The platform counts its own form of them."""
        return tuple(sum(len(cell or "") for cell in row) for row in self.rows)

    def within(self, size: int | None) -> Outcome:
        """Return as many of the rows as fit into a number of bytes."""
        if size is None or sum(self.sizes) <= size:
            return self
        count = sum(1 for _ in itertools.takewhile(lambda each: each <= size, itertools.accumulate(self.sizes)))
        return dataclasses.replace(self, values=self.values[:count], truncated=True)

    @property
    def decision(self) -> str:
        """Return the decision for the request log."""
        return REFUSALS[self.error.key].decision if self.error else "allowed"


class Interrupt:
    """Stops one statement, whether it is running or has not begun. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: Any = None
        self._wanted = False

    def __call__(self) -> None:
        """Stop it. An interrupt is lost if it comes before the engine begins, so repeat it until the statement stops."""
        with self._lock:
            self._wanted = True
            if self._cursor is None:
                return
            self._cursor.interrupt()
        again = threading.Timer(0.05, self)
        again.daemon = True
        again.start()

    def watch(self, cursor: Any) -> None:
        """Note the cursor that it runs on (None: it no longer runs). Raises RuntimeError if it was already interrupted."""
        with self._lock:
            self._cursor = cursor
            if self._wanted and cursor is not None:
                msg = "The statement was canceled"
                raise RuntimeError(msg)


class Engine:
    """The tables and functions of one workspace, and the statements run on them. Lives as long as it; thread-safe."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._store = Store()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        # Writes run one after the other, as if each were alone.
        self._writing = threading.Lock()
        self._running: set[Any] = set()
        self._closed = self._is_ready = False

    def load(
        self,
        name: str,
        rows: Rows,
        *,
        row_filter: str | None = None,
        column_masks: Mapping[str, str] | None = None,
    ) -> str:
        """Load rows and return the full name. Nobody may select from it until it is registered as a table.

        Raises ValueError if the rows do not form a table (no row, or values of a column that do not go together), or if the
        filter or the masks do not fit it.
        """
        import pyarrow as pa  # type: ignore[import-untyped]

        full = ".".join(split_name(name))
        row_records = records(rows)
        if not row_records:
            msg = f"Table {name!r} needs at least one row: its columns are taken from the rows"
            raise ValueError(msg)
        columns = list(dict.fromkeys(key for record in row_records for key in record))
        try:
            table = pa.table({column: _arrow([record.get(column) for record in row_records]) for column in columns})
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            msg = f"The rows of table {name!r} do not form columns: {error}"
            raise ValueError(msg) from None
        unknown = set(column_masks or {}).difference(columns)
        if unknown:
            msg = f"Table {name!r} has no column {sorted(unknown)[0]!r} to mask; it has: {', '.join(columns)}"
            raise ValueError(msg)
        with self._lock:
            self._check_new(self._store.tables, full)
            types = self._store.load(full, table)
            self._store.tables[full] = loaded = Table(
                name=full, types=types, row_filter=row_filter, column_masks=dict(column_masks or {})
            )
        if loaded.policed:
            self._try(full, f"SELECT * FROM {backticked(full)}", lambda: self._store.drop(full))  # noqa: S608  a checked name
        return full

    def serve_http(self, request: HttpRequest) -> None:
        """Give statements `http_request`: what it does."""
        self._store.http = request

    def define(self, function: Function) -> None:
        """Add a function. Raises ValueError if the name is taken, the body is not readable, or names what does not exist."""
        scalar = isinstance(function.returns, str)
        with self._lock:
            self._check_new(self._store.functions, function.name)
            # Only add it now: a definition may only use functions that exist before it, so that none calls itself.
            self._try(function.name, f"SELECT ({function.body})" if scalar else function.body, None)
            self._store.functions[function.name] = function
        call = f"{backticked(function.name)}({', '.join(['NULL'] * len(function.parameters))})"
        use = f"SELECT {call}" if scalar else f"SELECT * FROM {call}"  # noqa: S608  a checked name
        self._try(function.name, use, lambda: self._store.functions.pop(function.name))

    def _check_new(self, kind: Mapping[str, Any], name: str) -> None:
        if name in kind:
            what = "function" if kind is self._store.functions else "table or index"
            msg = f"There is already a {what} named {name!r}"
            raise ValueError(msg)

    def _try(self, name: str, use: str, undo: Callable[[], object] | None) -> None:
        """Run a table's or function's SQL once without effect, to find mistakes in it here.

        Without an ``undo``, it is only read.
        """
        import duckdb

        from obo_kit.testing.sql._dialect import parse
        from obo_kit.testing.sql._rewriter import Rewriter

        catalog, schema, _ = split_name(name)
        session = Session(catalog=catalog, schema=schema)

        def read(*, typed: bool) -> None:
            rewriter = Rewriter(store=self._store, principal=_NOBODY, session=session, definer=True, typed=typed)
            text = rewriter.text(parse(use))
            if undo is not None:
                with self._store.cursor() as cursor:
                    cursor.sql(text)

        msg = None
        try:
            _with_types(read)
        except StatementError as error:
            absent = error.detail.replace("`", "")
            if error.key == "sql_syntax":
                msg = f"The SQL of {name!r} cannot be read: {error.detail}"
            elif error.key in {"sql_missing", "sql_no_function"} and "." in absent:
                msg = f"{name!r} names {absent!r}, which does not exist yet"
            else:
                msg = f"The SQL of {name!r} does not fit: {refusal_text(error.key, **error.fields)}"
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
            msg = f"The SQL of {name!r} does not fit: {self._detail(error)}"
        except duckdb.Error:
            # A function may rightly refuse nulls, or a user who is nobody.
            _logger.debug("%s could not be tried out", name, exc_info=True)
        if msg is not None:
            if undo is not None:
                undo()
            raise ValueError(msg) from None

    def columns(self, name: str) -> tuple[Column, ...]:
        """Return the columns of a table."""
        return tuple(Column(name=column, duck=duck) for column, duck in self._store.tables[name].types.items())

    # ------------------------------------------------------------------ running statements

    def get_ready(self) -> None:
        """Import what statements need. A slow machine takes seconds, which are no part of a statement's time."""
        if not self._is_ready:
            self.run(_NOBODY, "SELECT 1")
            self._is_ready = True

    def run(
        self,
        principal: Principal,
        sql: str,
        *,
        parameters: Sequence[Mapping[str, Any]] = (),
        session: Session | None = None,
        row_limit: int | None = None,
        interrupt: Interrupt | None = None,
    ) -> Outcome:
        """Run one statement as the principal. Never raises because of the statement's text or effects.

        Args:
            principal: The caller.
            sql: The statement, in Databricks SQL.
            parameters: Objects with ``name`` (none for a positional one), ``value`` and ``type``.
            session: The state of earlier statements; a new one by default.
            row_limit: The maximum number of rows in the result.
            interrupt: Stops it.
        """
        import duckdb

        interrupt = interrupt or Interrupt()
        limit = min(row_limit or ROW_LIMIT, ROW_LIMIT)
        run = functools.partial(
            self._run,
            principal,
            sql,
            parameters=parameters,
            session=session or Session(),
            limit=limit,
            interrupt=interrupt,
        )
        try:
            return _with_types(run)
        except StatementError as error:
            refused = error
        except RecursionError:
            refused = StatementError("sql_unsupported", "it is nested too deeply.")
        except (duckdb.Error, RuntimeError, OverflowError) as error:
            refused = self._explained(error, sql)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError):
            # No tree of this form was thought of.
            _logger.debug("A statement could not be rewritten", exc_info=True)
            refused = StatementError("sql_unsupported", "it has a form that is not known.")
        return Outcome(error=SqlRefusal(key=refused.key, fields=refused.fields, table=refused.table))

    def _run(
        self,
        principal: Principal,
        sql: str,
        *,
        parameters: Sequence[Mapping[str, Any]],
        session: Session,
        limit: int,
        interrupt: Interrupt,
        typed: bool = False,
    ) -> Outcome:
        from sqlglot import exp

        from obo_kit.testing.sql._metadata import Metadata
        from obo_kit.testing.sql._rewriter import Rewriter
        from obo_kit.testing.sql._settings import check_setting
        from obo_kit.testing.sql._writes import OWNER, WRITES, plan_write, run_grant

        if self._store.metadata is None:
            self._store.metadata = Metadata(self._store, self._grants)
        self._enter(principal, session)
        if re.match(r"\s*(SET|RESET)\b", sql, re.IGNORECASE):
            check_setting(sql)
            return Outcome()
        tree, explain = _read(sql)
        rewriter = Rewriter(store=self._store, principal=principal, session=session, parameters=parameters, typed=typed)
        if isinstance(tree, (exp.Query, exp.Values)):
            text = rewriter.text(tree)
            self._check(principal, rewriter.accesses)
            if explain:
                text = f"EXPLAIN {text}"
            return self._execute(lambda cursor: self._query(cursor, text, limit, explain=explain), interrupt)
        if type(tree) in WRITES and not explain and OWNER.fullmatch(sql) is None:
            write = plan_write(tree, rewriter, self._grants)
            self._check(principal, rewriter.accesses)
            return self._execute(lambda cursor: self._write(cursor, write), interrupt)
        what = tree.this.upper() if isinstance(tree, exp.Command) else type(tree).__name__.upper()
        if what in {"GRANT", "REVOKE", "ALTER"}:
            run_grant(sql, principal, session, self._grants)
            return Outcome()
        if isinstance(tree, exp.Use):
            self._use(principal, tree, session)
            return Outcome()
        if isinstance(tree, exp.Describe) and isinstance(tree.this, exp.Query):
            query = re.sub(r"^\s*DESC(RIBE)?\s+(QUERY\s+)?", "", sql, flags=re.IGNORECASE)
            return _described(
                self._run(principal, query, parameters=parameters, session=session, limit=1, interrupt=interrupt)
            )
        if isinstance(tree, exp.Describe):
            return _listed(self._store.metadata.describe(principal, tree, session))
        if what == "SHOW":
            return _listed(self._store.metadata.show(principal, tree.expression.name, session))
        raise StatementError("sql_unsupported", f"{what} is not served.")

    def _check(self, principal: Principal, accesses: Sequence[Access]) -> None:
        """Refuse what is not granted. Missing objects were reported before, as the platform does."""
        for access in accesses:
            if not self._grants.exists(access.kind, access.name):
                if access.kind == "uc_connection":
                    raise StatementError("sql_no_connection", backticked(access.name))
                raise StatementError("sql_missing", backticked(access.name))
        for access in accesses:
            if access.privilege == "MANAGE" and self._grants.manages(principal, access.kind, access.name):
                continue
            lack = self._grants.missing(principal, access.privilege, access.kind, access.name)
            if lack is not None:
                table = access.name if access.kind == "table" else None
                raise StatementError("sql_lacks", lack_text(lack), table=table)

    def _enter(self, principal: Principal, session: Session) -> None:
        """Refuse a session whose client named a catalog or schema that it may not use."""
        if session.unchecked:
            self._move(principal, [session.catalog, session.schema], session)
            session.unchecked = False

    def _use(self, principal: Principal, tree: exp.Use, session: Session) -> None:
        parts = [part.name.lower() for part in tree.this.parts]
        catalog = str(tree.args.get("kind") or "").upper() == "CATALOG"
        self._move(principal, [parts[0], "default"] if catalog else parts, session)

    def _move(self, principal: Principal, parts: Sequence[str], session: Session) -> None:
        """Make a catalog or schema that exists, and that the user may use, the session's."""
        catalog, schema = [session.catalog, *parts][-2:]
        if catalog != "system" and not self._grants.exists("catalog", catalog):
            raise StatementError("sql_no_catalog", backticked(catalog))
        place = f"{catalog}.{schema}"
        if schema not in _EVERYWHERE and not self._grants.exists("schema", place):
            raise StatementError("sql_no_schema", backticked(place))
        kind, name = ("catalog", catalog) if schema in _EVERYWHERE else ("schema", place)
        lack = self._grants.missing(principal, f"USE {kind.upper()}", kind, name)
        if lack is not None and catalog != "system":  # everybody may use the catalog of the system
            raise StatementError("sql_lacks", lack_text(lack))
        session.catalog, session.schema = catalog, schema

    def _query(self, cursor: Any, text: str, limit: int, *, explain: bool) -> Outcome:
        if explain:
            plan = "\n".join(str(row[1]) for row in cursor.execute(text).fetchall())
            return _listed((("plan",), [(f"== Physical Plan ==\n{self._store.plain(plan)}",)]))
        relation = cursor.sql(text)
        # A relation gives exact types in every DuckDB version; the description of a cursor does not.
        columns = tuple(
            Column(name=name, duck=str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)
        )
        relation = relation.limit(limit + 1)
        if any("INTERVAL" in column.duck for column in columns):
            relation = self._without_intervals(columns, relation)
        rows = relation.fetchall()
        if len(rows) > ROW_LIMIT:
            raise StatementError("sql_unsupported", f"a result of more than {ROW_LIMIT:,} rows is not served.")
        return Outcome(columns=columns, values=tuple(rows[:limit]), truncated=len(rows) > limit)

    def _without_intervals(self, columns: Sequence[Column], relation: Any) -> Any:
        """Return a relation with intervals as text: in Python, DuckDB's months would have 30 days."""
        if any("INTERVAL" in column.duck != "INTERVAL" for column in columns):
            raise StatementError("sql_unsupported", "an interval within an array, map or struct is not served.")
        self._store.prepare("spark__interval_text(")
        # DuckDB 1 takes no place of a column as the argument of a macro.
        texts = {"INTERVAL": "spark__interval_text(CAST(#{0} AS INTERVAL))"}
        return relation.project(
            ", ".join(texts.get(each.duck, "#{0}").format(at) for at, each in enumerate(columns, 1))
        )

    def _write(self, cursor: Any, write: Callable[[Any], Written]) -> Outcome:
        with self._writing:
            cursor.execute("BEGIN")
            try:
                names, rows = write(cursor)
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")
        return Outcome(columns=tuple(Column(name=name, duck="BIGINT") for name in names), values=tuple(rows))

    def _execute(self, work: Callable[[Any], Outcome], interrupt: Interrupt) -> Outcome:
        timer = threading.Timer(TIME_LIMIT, interrupt)
        timer.daemon = True
        with self._store.cursor() as cursor:
            with self._lock:
                if self._closed:
                    msg = "The local workspace has stopped"
                    raise RuntimeError(msg)
                self._running.add(cursor)
            timer.start()
            try:
                interrupt.watch(cursor)
                return work(cursor)
            finally:
                timer.cancel()
                interrupt.watch(None)
                with self._idle:
                    self._running.discard(cursor)
                    self._idle.notify_all()

    def close(self) -> None:
        """Interrupt running statements and free the database."""
        with self._idle:
            self._closed = True
            deadline = time.monotonic() + _CLOSE_LIMIT
            while self._running and time.monotonic() < deadline:
                # Repeatedly: an interrupt that comes just before a statement starts is lost.
                for cursor in self._running:
                    cursor.interrupt()
                self._idle.wait(0.02)
            self._store.close(busy=bool(self._running))

    # ------------------------------------------------------------------ errors

    def _explained(self, error: Exception, sql: str) -> StatementError:
        """Return the platform's error for a statement that DuckDB cannot run."""
        detail = self._detail(error)
        login = re.search(r"\[UNAUTHENTICATED\] .* SQLSTATE: 28000", detail)
        if login is not None:
            return StatementError("sql_login", login[0])
        own = re.search(r"\[[A-Z_.]+\] .* SQLSTATE: \w{5}", detail)
        if own is not None:
            return StatementError("sql_raised", own[0])
        for pattern, key in KNOWN_ERRORS:
            match = re.search(pattern, detail, re.IGNORECASE)
            if match is not None:
                grouped = key != "sql_aggregation" or re.search(r"\bGROUP\s+BY\b", sql, re.IGNORECASE)
                text = f"`{match['name']}`" if "name" in match.re.groupindex else match["detail"]
                return StatementError(key if grouped else "sql_no_group", text)
        return StatementError("sql_failed", detail)

    def _detail(self, error: Exception) -> str:
        """Return the first line of DuckDB's message, with the names that the author knows."""
        return self._store.plain((str(error).strip().splitlines() or [type(error).__name__])[0])


def _arrow(values: Sequence[Any]) -> Any:
    """Return a column's values for DuckDB. The fields of a struct keep their order: pyarrow may sort them by name."""
    import pyarrow as pa

    return pa.array(values, _with_order(pa.array(values).type, values))


def _with_order(kind: Any, values: Sequence[Any]) -> Any:
    import pyarrow as pa

    present = [value for value in values if value is not None]
    if pa.types.is_struct(kind):
        names = dict.fromkeys(name for value in present for name in value)
        return pa.struct(
            [(name, _with_order(kind.field(name).type, [value.get(name) for value in present])) for name in names]
        )
    if pa.types.is_list(kind):
        return pa.list_(_with_order(kind.value_type, [each for value in present for each in value]))
    return kind


def _read(sql: str) -> tuple[exp.Expr, bool]:
    """Return the tree of a statement, and whether it is only to be explained."""
    from sqlglot import exp

    from obo_kit.testing.sql._dialect import parse

    tree = parse(sql)
    if not isinstance(tree, exp.Command) or tree.this.upper() != "EXPLAIN":
        return tree, False
    text = re.sub(r"^\s*(EXTENDED|FORMATTED|COST|CODEGEN)\b", "", tree.expression.name, flags=re.IGNORECASE)
    return parse(text), True


def _with_types(run: Callable[..., _T]) -> _T:
    """Run a statement, and once more with the types of all operands if DuckDB refuses it: it may only lack casts."""
    import duckdb

    try:
        return run(typed=False)
    except duckdb.BinderException as refusal:
        try:
            return run(typed=True)
        except (duckdb.BinderException, duckdb.CatalogException):
            raise refusal from None


def _listed(listing: tuple[Sequence[str], Sequence[Sequence[str | None]]]) -> Outcome:
    names, rows = listing
    return Outcome(columns=tuple(Column(name=name) for name in names), values=tuple(map(tuple, rows)))


def _described(outcome: Outcome) -> Outcome:
    """Return the columns of an outcome, as DESCRIBE lists them."""
    rows = [(column.name, column.type_text.lower(), None) for column in outcome.columns]
    return _listed((("col_name", "data_type", "comment"), rows))
