"""Rewrite a statement of Databricks SQL for DuckDB, for one user.

Every node of the tree must be of a kind that is listed here. Tables become those of the store, by names that no statement can
know, with row filters and column masks applied. Functions become those of :mod:`obo_kit.testing.sql._calls`.
``current_user()`` becomes a literal. The tree that runs is the tree that was walked, so it contains nothing unexamined.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from obo_kit.testing.sql import _nodes
from obo_kit.testing.sql._calls import by_parameter, call, cast, constant, duck_text, known_type, typed_as
from obo_kit.testing.sql._databases import Access, Session, backticked
from obo_kit.testing.sql._dialect import parse, parse_type
from obo_kit.testing.sql._exact import exact
from obo_kit.testing.sql._functions import UNSERVED_TABLES, renamed, rewrite_call
from obo_kit.testing.sql._generators import GENERATORS, ONLY_IN_FROM, generated, plain_sources
from obo_kit.testing.sql._http import http_request
from obo_kit.testing.sql._names import name_columns
from obo_kit.testing.sql._nodes import (
    aliased,
    construct,
    derived,
    is_cte,
    kept_order,
    literal_text,
    never_null,
    read_identifier,
    substituted,
)
from obo_kit.testing.sql._refusals import StatementError
from obo_kit.testing.sql._selects import (
    check_ambiguous,
    check_names,
    check_order,
    fields_of_column,
    fill_grouping,
    inner_windows_first,
    shared_first,
    sources_of,
)
from obo_kit.testing.sql._sharing import shared

if TYPE_CHECKING:
    from obo_kit.testing.iam._directory import Principal
    from obo_kit.testing.sql._databases import Function, Store, Table, View

__all__ = ["Rewriter"]

Expr = exp.Expr

_NODES = frozenset(
    {
        "Select", "From", "Where", "Group", "Having", "Qualify", "Order", "Ordered", "Limit", "Offset",
        "Distinct", "Union", "Except", "Intersect", "Subquery", "With", "CTE", "TableAlias", "Table",
        "Identifier", "Column", "Star", "Dot", "Literal", "RawString", "HexString", "Null", "Boolean", "Alias",
        "Aliases", "Concat", "Paren", "Tuple", "Add", "Sub", "Mul", "Div", "IntDiv", "Mod", "Neg", "BitwiseAnd",
        "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitwiseLeftShift", "BitwiseRightShift",
        "EQ", "NEQ", "GT", "GTE", "LT", "LTE", "NullSafeEQ",
        "NullSafeNEQ", "Is", "In", "Between", "Like", "ILike", "Escape", "RegexpLike", "Any", "All", "Exists",
        "Not", "And", "Or", "Case", "If", "Cast", "TryCast", "DataType", "DataTypeParam", "ColumnDef",
        "Interval", "IntervalSpan", "Var", "Anonymous", "Lambda", "Kwarg", "Placeholder", "Window",
        "WindowSpec", "Filter", "IgnoreNulls", "RespectNulls", "WithinGroup", "Join", "Lateral", "Values",
        "Pivot", "PivotAlias", "TableSample", "Bracket", "JSONExtract", "JSONPath", "JSONPathRoot",
        "JSONPathKey", "JSONPathSubscript", "JSONPathWildcard", "Extract", "Trim", "Substring", "StrPosition", "Overlay",
        "GroupConcat", "DPipe", "CurrentDate", "CurrentTimestamp", "CurrentUser", "SessionUser", "Rollup",
        "Cube", "GroupingSets",
    }
)  # fmt: skip
WRITING = frozenset({"Insert", "Update", "Delete", "Merge", "Whens", "When", "Schema"})
_TABLE_ARGS = frozenset({"this", "db", "catalog", "alias", "pivots", "sample", "joins", "laterals"})
_SOURCES = (exp.Table, exp.Subquery, exp.Lateral, exp.Values)
_BARE: dict[type, str] = {
    exp.CurrentDate: "current_date",
    exp.CurrentTimestamp: "current_timestamp",
    exp.CurrentUser: "current_user",
    exp.SessionUser: "session_user",
}
_MOST_COLUMNS = 5000  # of a query whose columns are read: each join of stars with themselves doubles them
_OF_NAMES = frozenset(
    "coalesce concat current_catalog current_database current_user decode if lower nullif nvl substring trim "  # noqa: SIM905
    "upper".split()
)


def _drop_hints(tree: Expr) -> None:
    """Drop hints, and the order within partitions: they have no meaning here."""
    for select in tree.find_all(exp.Select):
        for name in ("hint", "distribute", "sort", "cluster"):
            select.set(name, None)


def _check_served(nodes: Iterable[Expr], allowed: Collection[str]) -> None:
    for node in nodes:
        if type(node).__name__ not in allowed:
            raise StatementError("sql_unsupported", f"{construct(node)} is not served.")
        if isinstance(node, (exp.From, exp.Join)) and not isinstance(node.this, _SOURCES):
            raise StatementError("sql_unsupported", f"{construct(node.this)} in place of a table is not served.")


def _check_generators(root: Expr) -> None:
    for node in root.find_all(exp.Anonymous):
        if node.name.lower() in GENERATORS:
            raise StatementError("sql_unsupported", f"the generator {node.name} is not served here.")


def _constant(parameter: Mapping[str, Any]) -> Expr:
    """Return a parameter's value, in the platform's dialect. An ARRAY or MAP has parts."""
    kind, parts = str(parameter.get("type") or "STRING"), parameter.get("arguments")
    if parts is None:
        return constant(parameter.get("value"), parse_type(kind))
    if kind.upper() not in {"ARRAY", "MAP"}:
        raise StatementError("sql_unsupported", f"a {kind} with parts is not served.")
    return exp.Anonymous(this=kind.lower(), expressions=[_constant(each) for each in parts])


def _hides(join: Expr) -> bool:
    """Return whether a join leaves out columns of a side."""
    return bool(join.args.get("using") or join.args.get("method")) or join.args.get("kind") in {"SEMI", "ANTI"}


def _names_a_call(node: exp.Dot) -> bool:
    """Return whether a dotted name is the first part of a function's: ``main.shop`` of ``main.shop.total(1)``."""
    above = node.parent
    while isinstance(above, exp.Dot) and isinstance(above.expression, exp.Identifier):
        above = above.parent
    return isinstance(above, exp.Dot)


@dataclass(kw_only=True)
class Rewriter:
    """Rewrites one statement, and records the accesses that it needs.

    Attributes:
        definer: Whether it reads SQL of the workspace's author, which runs with the author's rights.
        typed: Whether to ask for the types of every operand: DuckDB refused the statement without.
    """

    store: Store
    principal: Principal
    session: Session
    parameters: Sequence[Mapping[str, Any]] = ()
    definer: bool = False
    typed: bool = False
    depth: int = 0
    now: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.timezone.utc))
    accesses: list[Access] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)

    def rewrite(self, tree: Expr, *, writing: bool = False) -> Expr:
        """Return the tree in DuckDB's form. Raises StatementError if it contains what is not served."""
        if self.depth > 16:
            raise StatementError("sql_failed", "Views, policies and functions are nested too deeply.")
        _drop_hints(tree)
        plain_sources(tree)
        root = exp.Paren(this=tree)
        _check_served(root.walk(), _NODES | WRITING if writing else _NODES)
        self._fill(root)
        self._read_names(root)
        nodes = [node for node in root.bfs() if node is not root]
        self._places = {self.full_name(node) for node in nodes if isinstance(node, exp.Table) and node.args.get("db")}
        self._kinds = self._column_kinds(nodes)
        self._withs = {id(node) for node in nodes if isinstance(node, exp.Table) and is_cte(node, node.name.lower())}
        self._read_withs(nodes)
        self._prefer_columns(nodes)
        selects = list(tree.find_all(exp.Select))
        for select in selects:
            check_names(select, self._columns_of)
            check_ambiguous(select, self._columns_of)
            check_order(select)
        for select in selects:
            shared_first(select)
            name_columns(select)
            fill_grouping(select)
            inner_windows_first(select, self._columns_of, self._kinds)
        for node in reversed(list(root.bfs())):
            self._change(node)
        _check_generators(root)
        rewritten: Expr = root.this
        # What is inserted into another statement gets its types there.
        return shared(exact(self.store, rewritten, self.tables, always=self.typed)) if not self.depth else rewritten

    def text(self, tree: Expr, *, writing: bool = False) -> str:
        """Return the text that runs a tree, once there is what it calls. Raises StatementError as :meth:`rewrite` does."""
        text = duck_text(self.rewrite(tree, writing=writing))
        self.store.prepare(text)
        return text

    def _column_kinds(self, nodes: list[Expr]) -> dict[str, str]:
        """Return DuckDB's type per column of the statement's tables; of columns of one name and several types, none."""
        tables = [self.store.tables.get(self.full_name(node)) for node in nodes if isinstance(node, exp.Table)]
        kinds: dict[str, str] = {}
        for name, kind in [each for table in tables if table for each in table.types.items()]:
            kinds[name.lower()] = kind if kinds.get(name.lower(), kind) == kind else ""
        return kinds

    def _read_withs(self, nodes: list[Expr]) -> None:
        """Read the columns of each WITH, in their order: a long chain of them is not read at one depth."""
        withs = [node for node in nodes if isinstance(node, exp.CTE)]
        times = Counter(each.alias.lower() for each in withs)
        self._ctes = {each.alias.lower(): each for each in withs if times[each.alias.lower()] == 1}
        self._made: dict[int, list[str] | None] = {}
        for each in withs:
            self._columns_made(each.this.unnest())

    def _columns_of(self, source: Expr) -> list[str] | None:
        """Return the columns of a source, in lower case; None if that takes more than reading it."""
        query, alias = source.this if isinstance(source, exp.Subquery) else None, source.args.get("alias")
        if source.args.get("pivots"):
            return None
        if alias is not None and alias.columns:
            return [each.name.lower() for each in alias.columns]
        if isinstance(source, exp.Table):
            if id(source) in self._withs:
                with_ = self._ctes.get(source.name.lower())  # None of several with one name
                query = with_.this if with_ is not None and not with_.args["alias"].columns else None
            elif source.args.get("db") or source.name.lower() not in self.session.views:
                table = self.store.tables.get(self.full_name(source))
                return None if table is None else list(map(str.lower, table.types))
        return self._columns_made(query.unnest()) if isinstance(query, exp.Query) else None

    def _columns_made(self, query: Expr) -> list[str] | None:
        """Return the columns of a query as :meth:`_columns_of` does. Each query is read once, whoever names it."""
        if id(query) not in self._made:
            self._made[id(query)] = None  # as long as it is read: it may name itself
            self._made[id(query)] = self._columns_read(query)
        return self._made[id(query)]

    def _columns_read(self, query: Expr) -> list[str] | None:
        while isinstance(query, exp.SetOperation):
            query = query.this.unnest()
        joins = query.args.get("joins") or ()
        if not isinstance(query, exp.Select) or query.args.get("laterals") or any(_hides(each) for each in joins):
            return None
        columns: list[str] = []
        for each in query.expressions:
            names = self._columns_of_star(query, each) if each.is_star else [self._name_of(query, each)]
            if names is None or len(columns) + len(names) > _MOST_COLUMNS:
                return None
            columns += names
        return columns

    def _name_of(self, query: exp.Select, column: Expr) -> str:
        bare = _BARE.get(type(column))
        if bare is not None:
            return bare if bare in self._columns_from(query) else ""
        return column.alias_or_name.lower()

    def _columns_of_star(self, query: exp.Select, star: Expr) -> list[str] | None:
        of = star.table.lower() if isinstance(star, exp.Column) else ""
        sources = [each for each in sources_of(query) if of in {"", each.alias_or_name.lower()}]
        columns = [self._columns_of(each) for each in sources]
        changed = any((star.this if of else star).args.values())
        return None if changed or None in columns or not columns else [name for each in columns for name in each or ()]

    def _columns_from(self, select: exp.Select) -> set[str]:
        """Return the columns of a statement's sources, in lower case, as far as reading them tells."""
        return set().union(*(self._columns_of(each) or () for each in sources_of(select)))

    def _change(self, node: Expr) -> None:
        mine, plain = _OWN.get(type(node)), _nodes.CHANGES.get(type(node))
        result = mine(self, node) if mine is not None else plain(node) if plain is not None else None
        if result is not None and result is not node:
            node.replace(result)

    def _fill(self, root: Expr) -> None:
        """Insert the values of parameters."""
        self._given = iter([each for each in self.parameters if not each.get("name")])
        for node in sorted(root.find_all(exp.Placeholder), key=lambda each: int(each.meta["at"])):
            node.replace(self._parameter(node))

    def _read_names(self, root: Expr) -> None:
        """Put names in place of IDENTIFIER."""
        for node in list(root.find_all(exp.Anonymous)):
            if node.name.lower() == "identifier":
                text = literal_text(node.expressions) or self._constant_text(node.expressions)
                if isinstance(node.parent, exp.Table):
                    for part, name in read_identifier(text, "this", "db", "catalog").items():
                        node.parent.set(part, name)
                else:
                    node.replace(exp.Column(**read_identifier(text, "this", "table", "db", "catalog")))

    def _constant_text(self, arguments: list[Expr]) -> str:
        """Compute the text of a name that is put together from constants: by functions that need no grant and little time."""
        query = exp.Select(expressions=[each.copy() for each in arguments])
        calls = set(map(renamed, query.find_all(exp.Anonymous)))
        if (
            not query.find(exp.Column, exp.Star, exp.Dot)
            and len(list(query.find_all(exp.Query))) == 1
            and calls <= _OF_NAMES
        ):
            inner = self._inner(self.session.catalog, self.session.schema, definer=False)
            text = inner.text(query)
            with self.store.cursor() as cursor:
                rows = cursor.execute(text).fetchall()
            if len(rows[0]) == 1 and isinstance(rows[0][0], str):
                return rows[0][0]
        raise StatementError("sql_unsupported", "IDENTIFIER only takes a name.")

    def _prefer_columns(self, nodes: list[Expr]) -> None:
        """Read ``current_date`` and its kind as columns where the sources have columns of these names."""
        for node in nodes:
            name, select = _BARE.get(type(node)), node.find_ancestor(exp.Select)
            if name is not None and select is not None and name in self._columns_from(select):
                node.replace(exp.column(name))

    def _inner(self, catalog: str, schema: str, *, definer: bool) -> Rewriter:
        session = Session(catalog=catalog, schema=schema, views={} if definer else self.session.views)
        return Rewriter(
            store=self.store,
            principal=self.principal,
            session=session,
            parameters=() if definer else self.parameters,
            definer=definer,
            typed=self.typed,
            depth=self.depth + 1,
            now=self.now,
            accesses=[] if definer else self.accesses,
            tables=self.tables,
        )

    def _parameter(self, node: exp.Placeholder) -> Expr:
        if node.args.get("this"):
            parameter = next((each for each in self.parameters if each.get("name") == node.name), None)
        else:
            parameter = next(self._given, None)
        if parameter is None:
            raise StatementError("sql_parameter", node.name or "?")
        try:
            return _constant(parameter)
        except StatementError as error:
            raise StatementError("sql_failed", f"Parameter {node.name}: {error.detail}") from None

    # ------------------------------------------------------------------ tables

    def full_name(self, table: Expr) -> str:
        """Return the whole name of a table or function, in lower case."""
        parts = [part for part in map(table.args.get, ("catalog", "db", "this")) if part]
        return self.session.complete([str(getattr(part, "name", part)) for part in parts])

    def table(self, node: exp.Table) -> Expr | None:
        """Rewrite a table: of Unity Catalog, of WITH, of the session, or the result of a function."""
        for name, value in node.args.items():
            if value and name not in _TABLE_ARGS:
                raise StatementError("sql_unsupported", f"{name.upper()} of a table is not served.")
        if isinstance(node.this, exp.Anonymous):
            return self._table_function(node)
        name = node.name.lower()
        short = not node.args.get("db")
        if id(node) in self._withs:
            node.set("this", exp.to_identifier(f"with {name}", quoted=True))
            return aliased(node, name)
        if short and name in self.session.views:
            return self._view(node, self.session.views[name])
        full = self.full_name(node)
        if full.split(".")[1] == "information_schema":
            return derived(self.store.metadata.information(self.principal, full), node, name)
        table = self.store.tables.get(full)
        if table is None:
            raise StatementError("sql_missing", backticked(full))
        if not self.definer:
            self.accesses.append(Access(privilege="SELECT", kind="table", name=full))
        if table.policed:
            return derived(self._policed(table), node, name)
        self.tables.add(full)
        node.set("this", exp.to_identifier(name, quoted=True))
        node.set("db", exp.to_identifier(self.store.place(full), quoted=True))
        node.set("catalog", None)
        if node.args.get("pivots"):
            plain = exp.Table(this=node.this, db=node.args["db"])
            return derived(exp.select("*").from_(aliased(plain, name)), node, name)
        return aliased(node, name)

    def _view(self, node: exp.Table, view: View) -> Expr:
        query = self._inner(view.catalog, view.schema, definer=False).rewrite(parse(view.sql))
        result = derived(query, node, node.name.lower())
        if view.columns and not result.args["alias"].columns:
            result.args["alias"].set("columns", [exp.to_identifier(each, quoted=True) for each in view.columns])
        return result

    def _policed(self, table: Table) -> Expr:
        """Return what the user sees of a table with a filter or masks. In these, the table's own name means its rows."""
        catalog, schema, _ = table.name.split(".")
        inner = self._inner(catalog, schema, definer=True)
        inner.store = self.store.unpoliced(table)
        return inner.rewrite(parse(table.sql()))

    def _table_function(self, node: exp.Table) -> Expr:
        function = node.this
        name = function.name.lower()
        if node.args.get("db") or self.full_name(node) in self.store.functions:
            query = self._routine(self.full_name(node), function.expressions, table=True)
            return derived(query, node, name)
        if name == "range":
            column = exp.alias_(exp.column("range", quoted=True), "id", quoted=True)
            bounds = exp.Table(
                this=call("range", *(cast(each, parse_type("BIGINT")) for each in function.expressions)),
                alias=exp.TableAlias(this=exp.to_identifier("range", quoted=True)),
            )
            return derived(exp.select(column).from_(bounds), node, name)
        if name in GENERATORS:
            return derived(self._generated(function, node.alias_column_names), node, name)
        if UNSERVED_TABLES.fullmatch(name):
            raise StatementError("sql_unsupported", f"the function {name} is not served.")
        raise StatementError("sql_no_table_function", f"`{function.name}`")

    def lateral(self, node: exp.Lateral) -> Expr | None:
        """Rewrite ``LATERAL VIEW``, or a generator after ``LATERAL``."""
        if not isinstance(node.this, exp.Anonymous):
            return None
        if node.this.name.lower() not in GENERATORS:
            raise StatementError("sql_no_table_function", f"`{node.this.name}`")
        alias = node.args.get("alias")
        if node.args.get("outer") and not node.this.name.lower().endswith("_outer"):
            node.this.set("this", f"{node.this.name}_outer")
        query = self._generated(node.this, node.alias_column_names)
        table = (
            alias.this if alias is not None and alias.this is not None else exp.to_identifier("generated", quoted=True)
        )
        lateral = exp.Lateral(this=exp.Subquery(this=query), alias=exp.TableAlias(this=table.copy()))
        if not node.args.get("view"):
            return lateral
        select = node.parent
        assert isinstance(select, exp.Select)
        select.args["laterals"].remove(node)
        # The last view is rewritten first.
        joins, made = select.args.get("joins") or [], exp.Join(this=lateral, kind="CROSS")
        made.meta["view"] = True
        select.set("joins", sorted([made, *joins], key=lambda join: "view" in join.meta))
        return None

    def _generated(self, function: exp.Anonymous, names: list[str]) -> exp.Select:
        return exp.Select(expressions=self._columns(function, names))

    def _columns(self, function: exp.Anonymous, names: list[str]) -> list[Expr]:
        name = function.name.lower()
        wanted = len(names) - (1 if name.startswith("pos") else 0)
        pairs = name.removeprefix("pos").startswith("explode") and (
            wanted == 2 or any(map(self._is_map, function.expressions[:1]))
        )
        try:
            columns = generated(name, function.expressions, pairs=pairs)
        except ValueError:
            raise StatementError("sql_arguments", f"The `{name}` takes one argument.") from None
        if names and len(names) != len(columns) and columns[0][0]:
            raise StatementError("sql_arguments", f"The `{name}` makes {len(columns)} columns, not {len(names)}.")
        return [
            exp.alias_(column, names[at] if at < len(names) else default, quoted=True) if default else column
            for at, (default, column) in enumerate(columns)
        ]

    def _is_map(self, value: Expr) -> bool:
        kinds = [known_type(value)]
        if isinstance(value, exp.Column):
            # It may be of a table that a view reads.
            kinds += [self.store.tables[each].types.get(value.name.lower(), "") for each in self.tables]
        return any(kind.startswith("MAP") for kind in kinds)

    def select(self, node: exp.Select) -> Expr | None:
        """Rewrite generators among the columns."""
        distinct = node.args.get("distinct")
        if distinct is not None and distinct.args.get("on"):
            raise StatementError("sql_unsupported", "DISTINCT ON is not served.")
        if node.args.get("limit") is not None and isinstance(node.args["limit"].expression, exp.Var):
            node.set("limit", None)
        columns: list[Expr] = []
        generators = 0
        for column in node.expressions:
            inner = column.this if isinstance(column, (exp.Alias, exp.Aliases)) else column
            if isinstance(inner, exp.Anonymous) and inner.name.lower() in GENERATORS - ONLY_IN_FROM:
                generators += 1
                if generators > 1:
                    raise StatementError("sql_generators", "Only one generator is allowed per SELECT clause.")
                named = isinstance(column, exp.Alias) and not column.args.get("implicit")
                names = (
                    [each.name for each in column.expressions]
                    if isinstance(column, exp.Aliases)
                    else [column.alias]
                    if named
                    else []
                )
                columns += self._columns(inner, names)
            else:
                columns.append(column)
        node.set("expressions", columns)
        return None

    # ------------------------------------------------------------------ functions

    def anonymous(self, node: exp.Anonymous) -> Expr | None:
        """Rewrite a call by a name of one part."""
        name = node.name.lower()
        if (node.arg_key == "this" and isinstance(node.parent, (exp.Table, exp.Lateral))) or name in GENERATORS:
            return None
        if isinstance(node.parent, exp.Dot) and node.arg_key == "expression":
            return None
        own = self._own(renamed(node), node.expressions)
        if own is not None:
            return own
        result = rewrite_call(node)
        if result is None:
            full = self.full_name(node)
            if full not in self.store.functions:
                raise StatementError("sql_no_function", f"`{node.name}`")
            return self._routine(full, node.expressions)
        if isinstance(result, exp.IgnoreNulls):
            node.replace(result)
            self._change(result)
            return None
        if name in {"collect_list", "collect_set", "array_agg"}:
            return never_null(node, result)
        return result

    def _own(self, name: str, arguments: list[Expr]) -> Expr | None:
        """Rewrite functions about the user, the session or the current time."""
        if name in {"is_account_group_member", "is_member"} and len(arguments) == 1:
            groups = [exp.Literal.string(group) for group in sorted(self.principal.groups)]
            # DuckDB 1 does not accept an empty list.
            return exp.Paren(this=exp.In(this=arguments[0], expressions=groups)) if groups else exp.false()
        if name == "http_request":
            connection, result = http_request(arguments, self.principal.user_name)
            if not self.definer:
                self.accesses.append(Access(privilege="USE CONNECTION", kind="uc_connection", name=connection))
            return result
        if arguments:
            return None
        # The time is the same in the whole statement, as on the platform.
        if name == "current_timestamp":
            return typed_as(exp.Literal.string(self.now.strftime("%Y-%m-%d %H:%M:%S.%f")), "TIMESTAMP")
        if name == "current_date":
            return typed_as(exp.Literal.string(self.now.strftime("%Y-%m-%d")), "DATE")
        if name == "unix_timestamp":
            return exp.Literal.number(int(self.now.timestamp()))
        text = {
            "current_catalog": self.session.catalog,
            "current_database": self.session.schema,
            "current_timezone": "Etc/UTC",
            "current_user": self.principal.user_name,
        }.get(name)
        return exp.Literal.string(text) if text is not None else None

    def bare(self, node: Expr) -> Expr | None:
        """Rewrite a function that is written without parentheses."""
        return self._own(renamed(_BARE[type(node)]), [])

    def dot(self, node: exp.Dot) -> Expr | None:
        """Rewrite a call by a name of several parts."""
        if not isinstance(node.expression, exp.Anonymous):
            named = self.typed and isinstance(node.expression, exp.Identifier) and not _names_a_call(node)
            return call("field", node.this, exp.Literal.string(node.expression.name)) if named else None
        names = (
            [part.name for part in node.this.flatten() if isinstance(part, exp.Identifier)]
            if isinstance(node.this, exp.Dot)
            else [node.this.name]
        )
        return self._routine(self.session.complete([*names, node.expression.name]), node.expression.expressions)

    def _routine(self, full: str, arguments: list[Expr], *, table: bool = False) -> Expr:
        """Return the body of a function of Unity Catalog, with its arguments inserted."""
        function = self.store.functions.get(full)
        if function is None or isinstance(function.returns, str) == table:
            raise StatementError("sql_no_function", backticked(full))
        if not self.definer:
            self.accesses.append(Access(privilege="EXECUTE", kind="function", name=full))
        catalog, schema, name = full.split(".")
        inner = self._inner(catalog, schema, definer=True)
        values = {
            each: cast(value, parse_type(kind)) for each, kind, value in self._arguments(function, arguments, inner)
        }
        names = [exp.to_identifier(each, quoted=True) for each in values]
        alias = exp.TableAlias(this=exp.to_identifier(name, quoted=True), columns=names)
        source = exp.Values(expressions=[exp.Tuple(expressions=list(values.values()))], alias=alias)
        if isinstance(function.returns, str):
            body = inner.rewrite(parse(f"SELECT ({function.body}) AS body")).expressions[0].this
            if not body.find(exp.Query, exp.Lambda):
                return exp.Paren(this=cast(substituted(body, values, name), parse_type(function.returns)))
            result = exp.Select(expressions=[cast(body, parse_type(function.returns))])
            return exp.Subquery(this=result.from_(source) if values else result)
        names = [exp.to_identifier(f"result {each.name}", quoted=True) for each in function.returns]
        columns = [
            exp.alias_(cast(exp.Column(this=inner_name.copy()), parse_type(each.type_text)), each.name, quoted=True)
            for inner_name, each in zip(names, function.returns, strict=True)
        ]
        query = inner.rewrite(parse(function.body))
        body, order = exp.Subquery(this=query), kept_order(query, names) if values else None
        alias = exp.TableAlias(this=exp.to_identifier("result", quoted=True), columns=names)
        if not values:
            body.set("alias", alias)
            return exp.Select(expressions=columns).from_(body)
        lateral = exp.Lateral(this=body, alias=alias)
        joins = [exp.Join(this=lateral, kind="CROSS")]
        return exp.Select(expressions=columns, joins=joins, order=order).from_(source)

    def _arguments(self, function: Function, arguments: list[Expr], inner: Rewriter) -> list[tuple[str, str, Expr]]:
        values = by_parameter(function.name, arguments, [each.name for each in function.parameters])
        result = []
        for parameter in function.parameters:
            value = values.get(parameter.name)
            if value is None and parameter.default is not None:
                value = inner.rewrite(parse(f"SELECT {parameter.default} AS value")).expressions[0].this
            if value is None:
                raise StatementError("sql_arguments", f"The `{function.name}` requires {parameter.name}.")
            result.append((parameter.name, parameter.type_text, value))
        return result

    def column(self, node: exp.Column) -> Expr | None:
        """Rewrite a column that is qualified by its table's full name: the table is known by its alias."""
        fields = fields_of_column(node) if self.typed else None
        if fields is not None:
            return fields
        node.meta["kind"] = self._kinds.get(node.name.lower())
        if node.args.get("db"):
            *place, _ = node.parts
            if self.session.complete([part.name for part in place]) in self._places:
                node.set("catalog", None)
                node.set("db", None)
        return None


_OWN: dict[type, Callable[[Rewriter, Any], Expr | None]] = {
    **dict.fromkeys(_BARE, Rewriter.bare),
    exp.Anonymous: Rewriter.anonymous,
    exp.Column: Rewriter.column,
    exp.Dot: Rewriter.dot,
    exp.Lateral: Rewriter.lateral,
    exp.Select: Rewriter.select,
    exp.Table: Rewriter.table,
}
