"""Rewrites that need neither the user nor the store: operators, special forms, names of columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError

from obo_kit.testing.sql._calls import (
    as_text,
    call,
    cast,
    date_part,
    duck_text,
    interval,
    known_type,
    literal,
    piped,
    present,
    surrounded,
    typed_as,
)
from obo_kit.testing.sql._dialect import LAKEHOUSE
from obo_kit.testing.sql._lambdas import struct_of
from obo_kit.testing.sql._refusals import StatementError
from obo_kit.testing.sql._types import fields_of

__all__ = [
    "CHANGES",
    "aliased",
    "construct",
    "derived",
    "is_cte",
    "kept_order",
    "literal_text",
    "never_null",
    "read_identifier",
    "substituted",
]

Expr = exp.Expr

_RANKS = frozenset({"dense_rank", "ntile", "rank", "row_number"})
_DAYS = frozenset({"YEAR", "QUARTER", "MONTH", "WEEK", "DAY"})


def construct(node: Expr) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).upper()


def read_identifier(text: str, *parts: str) -> dict[str, Expr]:
    """Return the name in IDENTIFIER, its last part under the first of the parts. Raises StatementError if it is no name."""
    try:
        named = exp.to_table(text, dialect=LAKEHOUSE)
        if not all(isinstance(part, exp.Identifier) for part in named.parts):
            raise ValueError
    except (ValueError, SqlglotError):
        raise StatementError("sql_unsupported", "IDENTIFIER only takes a name.") from None
    return dict(zip(parts, reversed(named.parts), strict=False))


def literal_text(arguments: list[Expr]) -> str | None:
    """Return the one argument's text, if it is a literal."""
    (value,) = arguments if len(arguments) == 1 else (None,)
    return value.name if isinstance(value, exp.Literal) and value.is_string else None


def is_cte(table: Expr, name: str) -> bool:
    """Return whether a WITH clause around this place defines a name."""
    if table.args.get("db"):
        return False
    entry, below, node = table, table, table.parent
    while node is not None:
        with_ = node.args.get("with_")
        if with_ is not None:
            names = [each.alias.lower() for each in with_.expressions]
            if below is with_:
                names = names[: (entry.index or 0) + bool(with_.args.get("recursive"))]
            if name in names:
                return True
        entry, below, node = below, node, node.parent
    return False


def aliased(table: Expr, name: str) -> Expr:
    if table.args.get("alias") is None:
        table.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
    return table


def derived(query: Expr, table: exp.Table, name: str) -> exp.Subquery:
    """Return a query in place of a table: under its alias, with the clauses that follow it."""
    alias = table.args.get("alias")
    if alias is None or alias.this is None:
        columns = alias.columns if alias is not None else []
        alias = exp.TableAlias(this=exp.to_identifier(name, quoted=True), columns=columns)
    clauses = {key: table.args[key] for key in ("pivots", "sample", "joins", "laterals") if table.args.get(key)}
    return exp.Subquery(this=query, alias=alias, **clauses)


def kept_order(query: Expr, names: list[exp.Identifier]) -> exp.Order | None:
    """Return the order of a query, so that the outer query can repeat it. It may add columns to the names."""
    order = query.args.get("order")
    if order is None or not isinstance(query, exp.Select) or query.args.get("distinct"):
        return None
    outer = []
    for at, each in enumerate(order.expressions):
        if isinstance(each.this, exp.Literal) and each.this.is_int:
            name = names[int(each.this.name) - 1]
        else:
            name = exp.to_identifier(f"order {at}", quoted=True)
            query.append("expressions", exp.Alias(this=each.this.copy(), alias=name))
            names.append(name)
        by = exp.Ordered(this=exp.Column(this=name.copy()), desc=each.args.get("desc"))
        by.set("nulls_first", each.args.get("nulls_first"))
        outer.append(by)
    return exp.Order(expressions=outer)


def substituted(body: Expr, values: Mapping[str, Expr], name: str) -> Expr:
    def swap(node: Expr) -> Expr:
        if isinstance(node, exp.Column) and node.name.lower() in values and node.table.lower() in {"", name}:
            return exp.Paren(this=values[node.name.lower()].copy())
        return node

    return body.transform(swap)


def never_null(node: Expr, result: Expr) -> Expr | None:
    """Return an empty array in place of null, around FILTER and OVER."""
    node.replace(result)
    outer = surrounded(result)
    wrapped = call("coalesce")
    outer.replace(wrapped)
    wrapped.set("expressions", [outer, call("list_value")])
    return None


def _concat(node: Expr) -> Expr:
    """Join adjacent string literals."""
    return exp.Literal.string("".join(each.name for each in node.expressions))


def _binary(name: str) -> Callable[[Expr], Expr]:
    return lambda node: call(name, node.this, node.expression)


def _days(node: Expr) -> bool:
    if isinstance(node, (exp.Anonymous, exp.Cast)):
        made = node.name.startswith("spark_make_") and node.name.endswith("_interval")
        return made or "months" in node.meta
    return isinstance(node, exp.Interval) and node.unit is not None and node.unit.name.upper().rstrip("S") in _DAYS


def _add(node: Expr) -> Expr | None:
    if _days(node.expression) and not isinstance(node.this, exp.Interval):
        return call("plus", node.this, node.expression)
    if _days(node.this) and not isinstance(node.expression, exp.Interval):
        return call("plus", node.expression, node.this)
    return None


def _subtract(node: Expr) -> Expr | None:
    if isinstance(node.this, (exp.Literal, exp.Interval)) or isinstance(node.expression, exp.Literal):
        return None
    if isinstance(node.expression, exp.Interval) and not _days(node.expression):
        return None
    return call("minus", node.this, node.expression)


def _of_text(node: Expr) -> None:
    node.set("this", as_text(node.this))


def _like(node: Expr) -> Expr | None:
    right = node.expression
    _of_text(node)
    if not isinstance(right, (exp.Any, exp.All)):
        node.set("expression", as_text(right))
        return _escaped(node) if not isinstance(node.parent, exp.Escape) else None
    inner = right.this.this if isinstance(right.this, exp.Paren) else right.this
    patterns = inner.expressions if isinstance(inner, exp.Tuple) else [inner]
    # NOT LIKE ANY and NOT LIKE ALL negate each comparison.
    parent = node.parent if isinstance(node.parent, exp.Not) else None
    each: list[Expr] = [_escaped(type(node)(this=node.this.copy(), expression=pattern)) for pattern in patterns]
    if parent is not None or node.args.get("negate"):
        each = [exp.Not(this=comparison) for comparison in each]
    combined = exp.Paren(this=(exp.or_ if isinstance(right, exp.Any) else exp.and_)(*each))
    if parent is None:
        return combined
    parent.replace(combined)
    return None


def _escaped(node: Expr) -> Expr:
    if isinstance(node.expression, exp.Literal) and "\\" not in node.expression.name:
        return node
    return exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))


def _cast_node(node: exp.Cast) -> Expr:
    return cast(node.this, node.to, attempt=isinstance(node, exp.TryCast))


def _bracket(node: Expr) -> Expr:
    if len(node.expressions) != 1:
        raise StatementError("sql_unsupported", "a bracket with several values is not served.")
    return call("_at", node.this, node.expressions[0])


def _json_path(node: Expr) -> Expr:
    if not isinstance(node.expression, exp.JSONPath):
        raise StatementError("sql_syntax", "Syntax error at or near '->'.")
    path, many = "$", False
    for part in node.expression.expressions[1:]:
        if isinstance(part, exp.JSONPathKey) and isinstance(part.this, str):
            path += '."' + part.this.replace('"', '\\"') + '"'
        elif isinstance(part, exp.JSONPathSubscript) and isinstance(part.this, int):
            path += f"[{part.this}]"
        elif isinstance(part, exp.JSONPathSubscript) and isinstance(part.this, exp.JSONPathWildcard):
            path, many = f"{path}[*]", True
        else:
            raise StatementError("sql_unsupported", "a path into JSON like this is not served.")
    if many:
        return call("_all_at_path", typed_as(node.this, "VARCHAR"), exp.Literal.string(path))
    # A part of a VARIANT is a VARIANT, until a cast makes a value of it.
    return call(
        "json_extract_string" if isinstance(node.parent, exp.Cast) else "_path", node.this, exp.Literal.string(path)
    )


def _ignore_nulls(node: Expr) -> Expr:
    inner = node.this
    if not isinstance(inner, exp.Anonymous):
        raise StatementError("sql_unsupported", "IGNORE NULLS is not served here.")
    if isinstance(node.parent, exp.Window):
        # A node's children were rewritten before it. The library cannot express this in DuckDB.
        value = exp.Var(this=f"{duck_text(inner.expressions[0])} IGNORE NULLS")
        return exp.Anonymous(this=inner.this, expressions=[value, *inner.expressions[1:]])
    return exp.Filter(this=inner, expression=exp.Where(this=present(inner.expressions[0])))


def _within_group(node: exp.WithinGroup) -> Expr:
    function, order = node.this, node.expression
    name = {"percentile_cont": "quantile_cont", "percentile_disc": "quantile_disc"}.get(function.name)
    (by, *others) = order.expressions if isinstance(order, exp.Order) else [None]
    if function.name == "mode" and not function.expressions and by is not None and not others:
        # Of several most frequent values, both take the first.
        return exp.Anonymous(this="mode", expressions=[exp.Order(this=by.this.copy(), expressions=[by])])
    if name is None or by is None or others:
        raise StatementError("sql_unsupported", f"{function.name} WITHIN GROUP like this is not served.")
    share = literal(function.expressions[0], "the share of a percentile")
    # To DuckDB, a negative share means the descending order.
    signed = exp.Literal(this=f"-{share}" if by.args.get("desc") else share, is_string=False)
    # A percentile is a DOUBLE, also one that is a value of the column.
    return exp.Anonymous(this=name, expressions=[typed_as(by.this, "DOUBLE"), signed])


def _tuple(node: exp.Tuple) -> Expr | None:
    """Turn a row among the columns into a struct."""
    if type(node.parent) not in {exp.Select, exp.Alias} or node.arg_key not in {"expressions", "this"}:
        return None
    return struct_of((f"col{at}", value) for at, value in enumerate(node.expressions, 1))


def _merge_filters(node: Expr) -> Expr | None:
    if not isinstance(node.this, exp.Filter):
        return None
    both = exp.and_(node.this.expression.this, node.expression.this)
    return exp.Filter(this=node.this.this, expression=exp.Where(this=both))


def _in_rows(node: exp.In) -> Expr | None:
    """Compare a row with others field by field: nulls are equal there."""
    query = node.args["query"].unnest() if node.args.get("query") is not None else None
    if isinstance(query, exp.Select) and len(query.expressions) > 1 and not isinstance(node.this, exp.Tuple):
        raise StatementError("sql_types", f"One value is compared with {len(query.expressions)} columns of a query.")
    if not isinstance(node.this, exp.Tuple) or not node.expressions or isinstance(node.parent, exp.Pivot):
        return None
    mine = node.this.expressions
    if any(not isinstance(row, exp.Tuple) or len(row.expressions) != len(mine) for row in node.expressions):
        raise StatementError("sql_types", "The rows of IN have different fields.")
    rows = (zip(mine, row.expressions, strict=True) for row in node.expressions)
    return exp.Paren(
        this=exp.or_(*(exp.and_(*(exp.NullSafeEQ(this=a.copy(), expression=b) for a, b in row)) for row in rows))
    )


def _trim(node: Expr) -> Expr:
    name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or "").upper(), "trim")
    return exp.Anonymous(this=name, expressions=[as_text(node.this), node.expression or exp.Literal.string(" ")])


def _overlay(node: Expr) -> Expr:
    return call("overlay", node.this, node.expression, node.args["from_"], node.args.get("for_") or -1)


def _listagg(node: Expr) -> Expr:
    value, separator = node.this, node.args.get("separator") or exp.Literal.string("")
    order = value if isinstance(value, exp.Order) else None
    value = order.this if order is not None else value
    distinct = isinstance(value, exp.Distinct)
    inner = call("string", value.expressions[0] if distinct else value)
    if order is not None:
        plain = value.expressions[0] if distinct else value
        for by in order.expressions if distinct else ():
            if by.this == plain:
                by.set("this", inner.copy())
        separator = exp.Order(this=separator, expressions=order.expressions)
    return exp.Anonymous(
        this="string_agg", expressions=[exp.Distinct(expressions=[inner]) if distinct else inner, separator]
    )


def _values(node: Expr) -> Expr | None:
    rows = [row if isinstance(row, exp.Tuple) else exp.Tuple(expressions=[row]) for row in node.expressions]
    node.set("expressions", rows)
    if isinstance(node.parent, exp.Insert):
        return None
    alias = node.args.get("alias") or exp.TableAlias(this=exp.to_identifier("values", quoted=True))
    if not alias.columns:
        alias.set(
            "columns", [exp.to_identifier(f"col{at}", quoted=True) for at in range(1, len(rows[0].expressions) + 1)]
        )
    node.set("alias", alias)
    if isinstance(node.parent, (exp.From, exp.Join)):
        return None
    return exp.select("*").from_(node.copy())


def _group(node: Expr) -> Expr | None:
    for window in node.expressions:
        if isinstance(window, exp.Anonymous) and window.name == "spark_window" and isinstance(node.parent, exp.Select):
            _name_window(node.parent, window)
    for name, class_ in (("rollup", exp.Rollup), ("cube", exp.Cube), ("grouping_sets", None)):
        if node.args.get(name):
            node.set("expressions", [class_(expressions=node.expressions)] if class_ else node.args[name])
            node.set(name, None)
    return None


def _name_window(select: exp.Select, window: Expr) -> None:
    """Let the columns of a statement that groups by a window name it ``window``."""
    for column in [each for value in select.expressions for each in value.find_all(exp.Column)]:
        if column.table.lower() == "window":
            part = call("struct_extract", window.copy(), column.name.lower())
            alias = exp.to_identifier(column.name, quoted=True)
            column.replace(exp.Alias(this=part, alias=alias) if column.parent is select else part)
        elif column.name.lower() == "window" and not column.table:
            column.replace(window.copy())


def _pivot(node: Expr) -> Expr | None:
    for each in list(node.find_all(exp.Anonymous)):
        # The platform gives null, not 0, where there is no row.
        if each.name == "count" and each.expressions:
            (value,) = each.expressions
            if isinstance(value, exp.Distinct):
                counted = call("len", call("list_distinct", call("list", *value.expressions)))
            else:
                counts = exp.true() if isinstance(value, exp.Star) else present(value)
                counted = call("sum", typed_as(counts, "INTEGER"))
            each.replace(typed_as(counted, "BIGINT"))
    aggregates = node.expressions
    if not node.args.get("unpivot") and len(aggregates) == 1 and isinstance(aggregates[0], exp.Alias):
        node.set("expressions", [aggregates[0].this])
    return None


def _cte(node: Expr) -> None:
    node.args["alias"].set("this", exp.to_identifier(f"with {node.alias.lower()}", quoted=True))


def _negated(node: Expr) -> Expr | None:
    """State the type of the least INT and BIGINT, whose digits alone are beyond it."""
    duck = {str(2**31): "INTEGER", str(2**63): "BIGINT"}.get(node.this.name) if node.this.is_int else None
    return typed_as(node.copy(), duck) if duck is not None else None


def _window(node: Expr) -> Expr | None:
    name = node.this.name if isinstance(node.this, exp.Anonymous) else ""
    if name.startswith("spark_"):
        raise StatementError("sql_unsupported", f"{name.removeprefix('spark_')} OVER is not served.")
    inner = node.this.this if isinstance(node.this, exp.Filter) else node.this
    if inner.name != "list" and any(isinstance(each, exp.Distinct) for each in inner.expressions):
        raise StatementError("sql_window_distinct", f"Distinct window functions are not supported: {inner.name}.")
    return typed_as(node.copy(), "INTEGER") if name in _RANKS else None


def _any(node: Expr) -> Expr | None:
    """Tell the aggregate ``any(…)`` from the quantifier, which the platform only has after LIKE."""
    if isinstance(node.parent, (exp.Like, exp.ILike)):
        return None
    if isinstance(node.parent, exp.Binary) or isinstance(node, exp.All):
        raise StatementError("sql_syntax", f"Syntax error at or near '{construct(node)}'.")
    return call("bool_or", *node.this.flatten())


def _ordered(node: exp.Ordered) -> None:
    """Order structs whose type is known so that null is the least field: to DuckDB, it would be the greatest."""
    query = node.find_ancestor(exp.Query)
    group = query.args.get("group") if query is not None else None
    # There, DuckDB only takes the columns themselves.
    if not isinstance(query, exp.SetOperation) and (group is None or not group.args.get("all")):
        node.set("this", _order_key(node.this, known_type(node.this)))


def _order_key(value: Expr, kind: str) -> Expr:
    if not kind.startswith("STRUCT("):
        return value
    fields = []
    for name, of_field in fields_of(kind):
        field = call("struct_extract", value.copy(), name)
        fields += [(f"has {name}", present(field)), (name, _order_key(field, of_field))]
    return exp.case().when(present(value), struct_of(fields), copy=False)


def _frame(node: exp.WindowSpec) -> None:
    if node.args.get("exclude"):
        raise StatementError("sql_syntax", "Syntax error at or near 'EXCLUDE'.")


CHANGES: dict[type, Callable[[Any], Expr | None]] = {
    exp.Add: _add,
    exp.All: _any,
    exp.Any: _any,
    exp.BitwiseLeftShift: _binary("shiftleft"),
    exp.BitwiseRightShift: _binary("shiftright"),
    exp.Bracket: _bracket,
    exp.Concat: _concat,
    exp.CTE: _cte,
    exp.Cast: _cast_node,
    exp.DPipe: lambda node: piped(node.this, node.expression),
    exp.Div: _binary("divide"),
    exp.Extract: lambda node: date_part(node.this, node.expression),
    exp.Filter: _merge_filters,
    exp.Group: _group,
    exp.GroupConcat: _listagg,
    exp.HexString: lambda node: call("unhex", node.name),
    exp.ILike: _like,
    exp.Identifier: lambda node: node.set("quoted", True),
    exp.IgnoreNulls: _ignore_nulls,
    exp.In: _in_rows,
    exp.IntDiv: _binary("div"),
    exp.Interval: interval,
    exp.JSONExtract: _json_path,
    exp.Like: _like,
    exp.Mod: _binary("mod"),
    exp.Neg: _negated,
    exp.Ordered: _ordered,
    exp.Overlay: _overlay,
    exp.Pivot: _pivot,
    exp.RawString: lambda node: exp.Literal.string(node.name),
    exp.RegexpLike: _of_text,
    exp.RespectNulls: lambda node: node.this,
    exp.StrPosition: lambda node: call(
        "locate", node.args["substr"], node.this, *[each for each in [node.args.get("position")] if each]
    ),
    exp.Sub: _subtract,
    exp.Substring: lambda node: call(
        "substring", as_text(node.this), *[each for each in map(node.args.get, ("start", "length")) if each]
    ),
    exp.Trim: _trim,
    exp.TryCast: _cast_node,
    exp.Tuple: _tuple,
    exp.Values: _values,
    exp.Window: _window,
    exp.WindowSpec: _frame,
    exp.WithinGroup: _within_group,
}
