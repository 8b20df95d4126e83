"""Statements that write: INSERT, UPDATE, DELETE, MERGE, CREATE, ALTER, COMMENT, DROP, GRANT and REVOKE."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from obo_kit.testing.iam._grants import PRIVILEGES, lack_text
from obo_kit.testing.sql._calls import duck_text, duck_type
from obo_kit.testing.sql._databases import NAME, Access, Session, Table, View, backticked, quoted
from obo_kit.testing.sql._dialect import LAKEHOUSE
from obo_kit.testing.sql._nodes import aliased
from obo_kit.testing.sql._refusals import StatementError
from obo_kit.testing.sql._rewriter import Rewriter

if TYPE_CHECKING:
    from obo_kit.testing.iam._directory import Principal
    from obo_kit.testing.iam._grants import Grants

__all__ = ["OWNER", "WRITES", "Written", "plan_write", "run_grant"]

Written = tuple[tuple[str, ...], list[tuple[int, ...]]]
"""The columns and the row that report what was written."""

Run = Callable[[Any], Written]

_NONE: Written = ((), [])
# Table properties that CREATE TABLE may set. None of them changes what the table holds.
_TABLE_PROPERTIES = frozenset(
    {"SchemaCommentProperty", "PartitionedByProperty", "Cluster", "ClusterProperty", "Property"}
)
_SECURABLE = (
    r"(?:(?P<kind>CATALOG|SCHEMA|DATABASE|TABLE|VIEW|FUNCTION|VOLUME|CONNECTION)\s+)?"
    rf"(?P<name>{NAME})"
)
_WHO = r"(?:`(?P<quoted>[^`]+)`|(?P<plain>[\w@.+-]+))\s*;?\s*"
_GRANT = re.compile(
    rf"\s*(?P<verb>GRANT|REVOKE)\s+(?P<privileges>[\w ,]+?)\s+ON\s+{_SECURABLE}\s+(?:TO|FROM)\s+{_WHO}", re.IGNORECASE
)
OWNER = re.compile(rf"\s*(?P<verb>ALTER)\s+{_SECURABLE}\s+(?:SET\s+)?OWNER\s+TO\s+{_WHO}", re.IGNORECASE)


def plan_write(tree: exp.Expr, rewriter: Rewriter, grants: Grants) -> Run:
    """Return a function that runs a writing statement on a cursor, once the accesses that it needs are granted.

    Raises:
        StatementError: The statement names what does not exist, or is not served.
    """
    return WRITES[type(tree)](tree, rewriter, grants)


def _target(node: exp.Expr, rewriter: Rewriter, *, reading: bool = False) -> Table:
    if not isinstance(node, exp.Table) or isinstance(node.this, exp.Anonymous):
        raise StatementError("sql_unsupported", "writing is only served for tables.")
    name = rewriter.full_name(node)
    table = rewriter.store.tables.get(name)
    if table is None:
        raise StatementError("sql_missing", backticked(name))
    if reading and table.policed:
        raise StatementError(
            "sql_unsupported", "UPDATE, DELETE and MERGE on a table with a row filter or masks is not served."
        )
    rewriter.accesses += [
        Access(privilege=each, kind="table", name=name) for each in (("SELECT", "MODIFY") if reading else ("MODIFY",))
    ]
    if reading:
        aliased(node, name.rpartition(".")[2])
    return table


def _assigned(assignments: Iterable[exp.Expr]) -> None:
    """Let assignments name the columns of the target alone."""
    for each in assignments:
        if isinstance(each, exp.EQ) and isinstance(each.this, exp.Column):
            each.set("this", exp.column(each.this.name, quoted=True))


_INSERTS = frozenset({"by_name", "expression", "overwrite", "this", "where"})


def _insert(tree: exp.Insert, rewriter: Rewriter, _: Grants) -> Run:
    extra = {name for name, value in tree.args.items() if value} - _INSERTS
    if "with_" in extra and isinstance(tree.expression, exp.Query) and tree.expression.args.get("with_") is None:
        tree.expression.set("with_", tree.args["with_"].pop())
        extra -= {"with_"}
    if extra or tree.expression is None:
        raise StatementError("sql_unsupported", f"INSERT {' '.join(sorted(extra)).upper()} is not served.")
    target, columns = tree.this, ""
    if isinstance(target, exp.Schema):
        columns = f" ({', '.join(quoted(each.name) for each in target.expressions)})"
        target = target.this
    condition = tree.args.get("where")
    table = _target(target, rewriter, reading=condition is not None)
    path = rewriter.store.path(table.name)
    replaced = _condition(target, condition, rewriter) if condition is not None else "true"
    by_name = " BY NAME" if tree.args.get("by_name") else ""
    query = rewriter.text(tree.expression)

    def run(cursor: Any) -> Written:
        rows = query
        if tree.args.get("overwrite") or condition is not None:
            # It may read the rows that it replaces.
            cursor.execute(f"CREATE OR REPLACE TEMP TABLE incoming AS {query}")
            rows = "SELECT * FROM incoming"
            if condition is not None:
                names = "" if by_name else columns or f" ({', '.join(map(quoted, table.types))})"
                outside = f"SELECT count(*) FROM incoming AS incoming{names} WHERE ({replaced}) IS NOT TRUE"  # noqa: S608  rewritten
                if cursor.execute(outside).fetchall() != [(0,)]:
                    raise StatementError("sql_replace_where", "The data does not fit the condition of REPLACE WHERE.")
            cursor.execute(f"DELETE FROM {path} WHERE {replaced}")  # noqa: S608  rewritten
        count = cursor.execute(f"INSERT INTO {path}{columns}{by_name} {rows}").fetchall()[0][0]
        return ("num_affected_rows", "num_inserted_rows"), [(count, count)]

    return run


def _condition(target: exp.Table, condition: exp.Expr, rewriter: Rewriter) -> str:
    """Return the condition of REPLACE WHERE, on the columns of the table, to run."""
    if condition.find(exp.Placeholder, exp.Query):
        raise StatementError("sql_unsupported", "REPLACE WHERE with a parameter or a query is not served.")
    deletion = exp.Delete(this=target.copy(), where=exp.Where(this=condition.copy()))
    text = duck_text(rewriter.rewrite(deletion, writing=True).args["where"].this)
    rewriter.store.prepare(text)
    return text


def _change(tree: exp.Update | exp.Delete, rewriter: Rewriter, _: Grants) -> Run:
    _target(tree.this, rewriter, reading=True)
    _assigned(tree.expressions)
    text = rewriter.text(tree, writing=True)
    return lambda cursor: (("num_affected_rows",), [(cursor.execute(text).fetchall()[0][0],)])


def _merge(tree: exp.Merge, rewriter: Rewriter, _: Grants) -> Run:
    table = _target(tree.this, rewriter, reading=True)
    using = tree.args["using"]
    source = using.alias_or_name
    for when in tree.args["whens"].expressions:
        then = when.args["then"]
        if isinstance(then, exp.Update) and isinstance(then.expressions[0], exp.Star):
            then.set(
                "expressions",
                [exp.EQ(this=exp.column(each), expression=exp.column(each, source)) for each in table.types],
            )
        elif isinstance(then, exp.Insert) and isinstance(then.this, exp.Star):
            for name, of in (("this", None), ("expression", source)):
                then.set(name, exp.Tuple(expressions=[exp.column(each, of) for each in table.types]))
        if isinstance(then, exp.Update):
            _assigned(then.expressions)
    rewritten = rewriter.rewrite(tree, writing=True)
    text, twice = duck_text(rewritten) + " RETURNING merge_action", _matched_twice(rewritten)
    rewriter.store.prepare(text)

    def run(cursor: Any) -> Written:
        if twice and cursor.execute(twice).fetchall():
            raise StatementError(
                "sql_merge_twice", "Multiple source rows matched and would change the same target row."
            )
        actions = [action for (action,) in cursor.execute(text).fetchall()]
        counts = [actions.count(each) for each in ("UPDATE", "DELETE", "INSERT")]
        names = ("num_affected_rows", "num_updated_rows", "num_deleted_rows", "num_inserted_rows")
        return names, [(len(actions), *counts)]

    return run


def _matched_twice(tree: exp.Expr) -> str | None:
    """Return a query of the target's rows that several rows would change; None if that does not matter."""
    whens = [each for each in tree.args["whens"].expressions if each.args["matched"]]
    conditions = [each.args.get("condition") or exp.true() for each in whens]
    if not whens or (len(whens) == 1 and whens[0].args["then"].name == "DELETE" and conditions[0] == exp.true()):
        return None
    on = exp.and_(tree.args["on"].copy(), exp.or_(*(each.copy() for each in conditions)))
    rows = exp.select("1").from_(tree.this.copy()).join(tree.args["using"].copy(), on=on)
    return duck_text(rows.group_by(exp.column("rowid", tree.this.alias)).having("count(*) > 1").limit(1))


def _create(tree: exp.Create, rewriter: Rewriter, grants: Grants) -> Run:
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    columns = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
    properties = tree.args["properties"].expressions if tree.args.get("properties") else []
    if tree.kind == "VIEW":
        return _create_view(tree, target, columns, properties, rewriter)
    if tree.kind != "TABLE" or not isinstance(target, exp.Table) or not all(map(_harmless, properties)):
        raise StatementError("sql_unsupported", f"CREATE {tree.kind} like this is not served.")
    comment = next((each.this.name for each in properties if isinstance(each, exp.SchemaCommentProperty)), None)
    return _create_table(
        tree, Table(name=rewriter.full_name(target), types={}, comment=comment), columns, rewriter, grants
    )


def _create_table(tree: exp.Create, table: Table, columns: list[exp.Expr], rewriter: Rewriter, grants: Grants) -> Run:
    name = table.name
    schema = name.rpartition(".")[0]
    if not grants.exists("schema", schema):
        raise StatementError("sql_no_schema", backticked(schema))
    there = name in rewriter.store.tables
    if there and tree.args.get("exists"):
        return lambda _: _NONE
    if (there and not tree.args.get("replace")) or grants.exists("vector_search_index", name):
        raise StatementError("sql_exists", backticked(name))
    rewriter.accesses.append(Access(privilege="CREATE TABLE", kind="schema", name=schema))
    if there:
        rewriter.accesses.append(Access(privilege="MANAGE", kind="table", name=name))
    if tree.expression is not None:
        body = f"AS {rewriter.text(tree.expression)}"
    else:
        # Keys only inform; nobody enforces them.
        body = f"({', '.join(_column_definition(each) for each in columns if not _is_key(each))})"
    store, owner = rewriter.store, rewriter.principal.user_name

    def run(cursor: Any) -> Written:
        store.make_schema(cursor, name)
        cursor.execute(f"CREATE OR REPLACE TABLE {store.path(name)} {body}")
        for column, duck in store.types(cursor, name).items():
            if duck == "HUGEINT":
                cursor.execute(f"ALTER TABLE {store.path(name)} ALTER {quoted(column)} TYPE BIGINT")
        if there:
            grants.unregister("table", name)
        types = store.types(cursor, name)
        store.tables[name] = dataclasses.replace(table, types=types, column_comments=_comments(columns))
        grants.register("table", name, owner=owner)
        return ("num_affected_rows", "num_inserted_rows"), []

    return run


def _harmless(node: exp.Expr) -> bool:
    if isinstance(node, exp.FileFormatProperty):
        return node.name.lower() == "delta"
    return type(node).__name__ in _TABLE_PROPERTIES


def _is_key(node: exp.Expr) -> bool:
    if isinstance(node, exp.Constraint):
        return all(map(_is_key, node.expressions))
    return isinstance(node, (exp.PrimaryKey, exp.ForeignKey))


def _column_definition(column: exp.Expr) -> str:
    if not isinstance(column, exp.ColumnDef) or column.args.get("kind") is None:
        raise StatementError("sql_unsupported", "a table constraint is not served.")
    kinds = [each.args["kind"] for each in column.args.get("constraints") or ()]
    if not all(isinstance(each, (exp.NotNullColumnConstraint, exp.CommentColumnConstraint)) for each in kinds):
        raise StatementError("sql_unsupported", f"what is said of the column {column.name} is not served.")
    required = any(isinstance(each, exp.NotNullColumnConstraint) and not each.args.get("allow_null") for each in kinds)
    return f"{quoted(column.name)} {duck_type(column.args['kind'])}{' NOT NULL' if required else ''}"


def _comments(columns: Iterable[exp.Expr]) -> dict[str, str]:
    """Return the comments in definitions of columns."""
    kinds = [(each.name.lower(), rule.args["kind"]) for each in columns for rule in each.args.get("constraints") or ()]
    return {name: kind.this.name for name, kind in kinds if isinstance(kind, exp.CommentColumnConstraint)}


def _comment(tree: exp.Comment, rewriter: Rewriter, _: Grants) -> Run:
    kind, text = tree.args["kind"], tree.expression.name
    if kind == "COLUMN":
        *parts, column = tree.this.parts
        return _commented(exp.table_(*reversed(parts)), column.name, text, rewriter)
    if kind != "TABLE":
        raise StatementError("sql_unsupported", f"COMMENT ON {kind} is not served.")
    return _changing(_target(tree.this, rewriter).name, rewriter, lambda *_: {"comment": text})


def _commented(target: exp.Expr, column: str, text: str, rewriter: Rewriter) -> Run:
    def change(now: Table, _: Any) -> dict[str, Any]:
        if column.lower() not in map(str.lower, now.types):
            raise StatementError("sql_column", f"A column with name `{column}` cannot be resolved.")
        return {"column_comments": {**now.column_comments, column.lower(): text}}

    return _changing(_target(target, rewriter).name, rewriter, change)


def _alter(tree: exp.Alter, rewriter: Rewriter, _: Grants) -> Run:
    """Return a function that adds columns, or sets the comment on one."""
    (action,) = tree.args["actions"] if len(tree.args["actions"]) == 1 else (tree,)
    if isinstance(action, exp.AlterColumn) and set(filter(action.args.get, action.args)) == {"this", "comment"}:
        return _commented(tree.this, action.name, action.args["comment"].name, rewriter)
    columns = action.expressions if isinstance(action, exp.Schema) else [action]
    definitions = [_column_definition(each) for each in columns if isinstance(each, exp.ColumnDef)]
    placed = any(each.args.get("position") or each.args.get("exists") for each in columns)
    if len(definitions) < len(columns) or placed or any(each.endswith("NOT NULL") for each in definitions):
        raise StatementError("sql_unsupported", "ALTER like this is not served.")
    name, store = _target(tree.this, rewriter).name, rewriter.store

    def add(now: Table, cursor: Any) -> dict[str, Any]:
        for each in definitions:
            cursor.execute(f"ALTER TABLE {store.path(name)} ADD COLUMN {each}")
        return {"types": store.types(cursor, name), "column_comments": {**now.column_comments, **_comments(columns)}}

    return _changing(name, rewriter, add)


def _changing(name: str, rewriter: Rewriter, change: Callable[[Table, Any], dict[str, Any]]) -> Run:
    """Return a function that changes what is known of a table, to what ``change`` returns."""

    def run(cursor: Any) -> Written:
        now = rewriter.store.tables[name]
        rewriter.store.tables[name] = dataclasses.replace(now, **change(now, cursor))
        return _NONE

    return run


def _create_view(
    tree: exp.Create,
    target: exp.Table,
    columns: list[exp.Expr],
    properties: list[exp.Expr],
    rewriter: Rewriter,
) -> Run:
    if not any(isinstance(each, exp.TemporaryProperty) for each in properties) or target.args.get("db"):
        raise StatementError("sql_unsupported", "CREATE VIEW, other than a temporary one, is not served.")
    session, name = rewriter.session, target.name.lower()
    if name in session.views and not tree.args.get("replace"):
        raise StatementError("sql_exists", f"`{name}`")
    view = View(
        sql=tree.expression.sql(LAKEHOUSE),
        catalog=session.catalog,
        schema=session.schema,
        columns=tuple(each.name for each in columns),
    )
    rewriter.rewrite(tree.expression)

    def run(_: Any) -> Written:
        session.views[name] = view
        return _NONE

    return run


def _drop(tree: exp.Drop, rewriter: Rewriter, grants: Grants) -> Run:
    targets = tree.args.get("tables") or [tree.this]
    (target,) = targets
    if tree.args["kind"] == "VIEW" and target.name.lower() in rewriter.session.views:
        views = rewriter.session.views
        return lambda _: (_NONE, views.pop(target.name.lower(), None))[0]
    if tree.args["kind"] not in {"TABLE", "VIEW"}:
        raise StatementError("sql_unsupported", f"DROP {tree.args['kind']} is not served.")
    name = rewriter.full_name(target)
    if name not in rewriter.store.tables or tree.args["kind"] == "VIEW":
        if tree.args.get("exists"):
            return lambda _: _NONE
        raise StatementError("sql_missing", backticked(name))
    rewriter.accesses.append(Access(privilege="MANAGE", kind="table", name=name))

    def run(_: Any) -> Written:
        rewriter.store.drop(name)
        grants.unregister("table", name)
        return _NONE

    return run


def _truncate(tree: exp.TruncateTable, rewriter: Rewriter, _: Grants) -> Run:
    (target,) = tree.expressions
    path = rewriter.store.path(_target(target, rewriter).name)

    def run(cursor: Any) -> Written:
        cursor.execute(f"DELETE FROM {path}")  # noqa: S608  a quoted name
        return _NONE

    return run


# The refusal of what does not exist, per kind; of a table for the others.
_ABSENT = {
    "uc_connection": "sql_no_connection",
    "catalog": "sql_no_catalog",
    "function": "sql_no_function",
    "schema": "sql_no_schema",
    "volume": "sql_no_volume",
}


def _granted_on(match: re.Match[str], session: Session, grants: Grants) -> tuple[str, str]:
    """Return the kind and the full name of the securable that a statement names."""
    kind, name = session.securable(match["kind"], match["name"])
    return "vector_search_index" if kind == "table" and grants.exists("vector_search_index", name) else kind, name


def run_grant(sql: str, principal: Principal, session: Session, grants: Grants) -> None:
    """Run GRANT, REVOKE or ALTER … OWNER TO.

    Raises StatementError if it is not served, or not allowed.
    """
    match = _GRANT.fullmatch(sql) or OWNER.fullmatch(sql)
    if match is None:
        raise StatementError("sql_unsupported", f"{sql.split(maxsplit=1)[0].upper()} like this is not served.")
    kind, name = _granted_on(match, session, grants)
    if not grants.exists(kind, name):
        raise StatementError(_ABSENT.get(kind, "sql_missing"), backticked(name))
    if not grants.manages(principal, kind, name):
        raise StatementError("sql_lacks", lack_text(("MANAGE", kind, name)))
    who, verb = match["quoted"] or match["plain"], match["verb"].upper()
    if not grants.knows(who):
        raise StatementError("sql_no_principal", who)
    if verb == "ALTER":
        grants.own(who, name, kind=kind)
        return
    privileges = [" ".join(each.upper().split()) for each in match["privileges"].split(",")]
    for privilege in privileges:
        if privilege not in PRIVILEGES[kind]:
            raise StatementError("sql_unsupported", f"the privilege {privilege} on a {kind} is not served.")
    change = grants.grant if verb == "GRANT" else grants.revoke
    for privilege in privileges:
        change(who, privilege, name, kind=kind)


WRITES: dict[type, Callable[[Any, Rewriter, Grants], Run]] = {
    exp.Alter: _alter,
    exp.Comment: _comment,
    exp.Create: _create,
    exp.Delete: _change,
    exp.Drop: _drop,
    exp.Insert: _insert,
    exp.Merge: _merge,
    exp.TruncateTable: _truncate,
    exp.Update: _change,
}
