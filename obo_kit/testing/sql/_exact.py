"""Give the values of a rewritten statement the platform's types.

DuckDB computes DECIMAL by rules of its own: a quotient is a DOUBLE, a sum has 38 digits. A literal takes the type of what is
beside it, SMALLINT say, a FLOAT beside an integer stays a FLOAT, and text is no number. Only DuckDB knows the types of
operands. So it binds the statement once with a note around every operand (``_notes``), which tells its type; those of results
follow from the inside out. Then operands are cast as the platform does it (``_coercion``), and results are cast, or computed by
``_decimals`` where DuckDB would lose digits.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from sqlglot import exp

from obo_kit.testing.sql import _decimals
from obo_kit.testing.sql._calls import call, cast, duck_text, is_moment, is_text, known_type, surrounded, typed_as
from obo_kit.testing.sql._coercion import CONDITIONS, NUMBERS_OF_TEXT, ROUNDED, TOGETHER, family
from obo_kit.testing.sql._decimals import OPERATORS, Shape, full_shape, type_name
from obo_kit.testing.sql._dialect import parse_type
from obo_kit.testing.sql._notes import Note, noting
from obo_kit.testing.sql._refusals import StatementError
from obo_kit.testing.sql._sharing import shared
from obo_kit.testing.sql._types import fields_of, sql_type

if TYPE_CHECKING:
    from obo_kit.testing.sql._databases import Store

__all__ = ["exact"]

Expr = exp.Expr

_OPERATORS: dict[type, str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Mod: "%", exp.Case: "case",
    exp.DPipe: "concat", exp.Union: "set", exp.Except: "set", exp.Intersect: "set",
    **dict.fromkeys(
        (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.In, exp.Between), "compare"
    ),
}  # fmt: skip
_CALLS = {
    "spark_plus": "+", "spark_minus": "-", "spark_divide": "/", "spark_mod": "%", "spark_div": "div", "spark_pmod": "pmod",
    "spark_try_add": "+", "spark_try_subtract": "-", "spark_try_multiply": "*", "spark_try_divide": "/",
    "spark_try_mod": "%", "sum": "sum", "avg": "avg", "spark_round": "round", "spark_bround": "bround", "spark_ceil": "ceil",
    "spark_floor": "floor", "coalesce": "coalesce", "spark_nvl": "coalesce",
    "greatest": "greatest", "least": "least", "spark_if": "case", "spark_nvl2": "case",
    "list_value": "array", "field": "field",
    **dict.fromkeys(("spark_array_union", "spark_array_except", "spark_array_intersect"), "arrays"),
    "spark_arrays_overlap": "overlap",
    **dict.fromkeys(("spark_array_append", "spark_array_prepend", "spark_array_remove"), "element"),
    "spark_array_contains": "search", "spark_array_position": "position",
    **dict.fromkeys(
        (
            "abs", "cbrt", "cos", "degrees", "exp", "pow", "radians", "sin", "spark_ln", "spark_log10", "spark_log2",
            "spark_negative", "spark_positive", "spark_sign", "spark_sqrt", "tan",
        ),
        "number",
    ),
    **dict.fromkeys(
        ("median", "quantile_cont", "stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp"), "double"
    ),
}  # fmt: skip
_PLAIN: dict[str, type[Expr]] = {
    "+": exp.Add, "-": exp.Sub, "*": exp.Mul, "/": exp.Div, "%": exp.Mod, "div": exp.IntDiv, "pmod": exp.Mod
}  # fmt: skip
# Calls in which a literal stands beside values of other types.
_BESIDE = frozenset({*_CALLS, "lag", "lead"}) - {"spark_round", "spark_bround", "spark_ceil", "spark_floor"}
_SPECIAL = "DECIMAL|TINYINT|SMALLINT|FLOAT|TIMESTAMP_NS"
# Macros whose result is special whatever they are given, each with the number of its arguments.
_MAKERS = {"spark__seconds": 1, "spark_ceil": 2, "spark_floor": 2, "spark_try_subtract": 2}


def exact(store: Store, tree: Expr, tables: Collection[str], *, always: bool) -> Expr:
    """Return a rewritten statement with the platform's types. Raises StatementError if that is not served.

    Args:
        store: What binds the statement.
        tree: The statement.
        tables: The tables that it reads.
        always: Whether to ask for types though nothing in the statement tells that it is needed.
    """
    _check_values(tree)
    if not (always or _concerns(store, tree, tables)):
        return tree
    root = exp.Paren(this=tree)
    for literal in list(root.find_all(exp.Literal)):
        _state(literal)
    notes = _mark(root)
    for literal in list(root.find_all(exp.Literal)):
        if "note" not in literal.meta:
            _state_whole(literal)
    if notes and _bound(store, root, notes):
        for node in _marked(root):
            _settle(node, notes[node.meta["note"]])
    rewritten: Expr = root.this
    return rewritten


def _check_values(tree: Expr) -> None:
    """Refuse values of unlike kinds in a column of VALUES: the platform casts none of them."""
    for values in tree.find_all(exp.Values):
        for column in zip(*(row.expressions for row in values.expressions), strict=False):
            kinds = set(map(_kind, column)) - {""}
            if len(kinds) > 1:
                raise StatementError("sql_inline_types", f"A column of VALUES has values of the kinds {sorted(kinds)}.")


def _marked(root: Expr) -> list[Expr]:
    """Return the marked expressions, the innermost first."""
    return [node for node in reversed(list(root.bfs())) if "note" in node.meta]


def _bound(store: Store, root: Expr, notes: list[Note]) -> bool:
    """Bind a copy of the statement that fills the notes. False: it cannot run in any form, and fails when it should run."""
    import duckdb

    with noting(notes) as token:
        probe = root.copy()
        for node in _marked(probe):
            _ask(node, f"{token}.{node.meta['note']}")
        try:
            store.bind(duck_text(shared(probe.this)))
        except duckdb.Error:
            try:
                store.bind(duck_text(shared(root.this.copy())))
            except duckdb.Error:
                return False
            raise StatementError("sql_unsupported", "the types of a statement of this form are not served.") from None
    return True


def _concerns(store: Store, tree: Expr, tables: Collection[str]) -> bool:
    """Return whether anything of the statement may be of a type that DuckDB treats otherwise, and does not refuse."""
    if any(re.search(f"{_SPECIAL}|BOOLEAN", kind) for name in tables for kind in store.tables[name].types.values()):
        return True
    return any(
        (isinstance(node, exp.Literal) and not node.is_string and not (node.is_int and int(node.name) < 2**63))
        or (isinstance(node, exp.DataType) and re.search(_SPECIAL, node.this.value))
        or (isinstance(node, exp.Anonymous) and _MAKERS.get(node.name) == len(node.expressions))
        or isinstance(node, (exp.Boolean, exp.SetOperation))
        or _mixed(node)
        for node in tree.walk()
    )


def _mixed(node: Expr) -> bool:
    """Return whether an expression brings together what the platform does not, or only after a cast."""
    operation = _operation(node)
    if operation is None or operation in ROUNDED | {"concat"}:
        return False
    operands = _operands(node)
    kinds = {_kind(each) for each in operands} - {""}
    if operation in CONDITIONS:
        return kinds != {"truth"}
    if kinds == {"moment", "text"} and all(_kind(each) != "text" or is_moment(each) for each in operands):
        return False
    return len(kinds) > 1 or (operation in NUMBERS_OF_TEXT and kinds & {"moment", "truth"} != set())


def _kind(operand: Expr) -> str:
    """Return what is known of an operand's kind of values without asking: a family, where all numbers are one.

    An array is of its elements' kind: it is compared with others, and with what may be one of its elements.
    """
    which = family(known_type(operand).rstrip("[]"))
    return "number" if which in {"whole", "float", "decimal"} else which


def _state(literal: exp.Literal) -> None:
    """State the type of a number below one, whose zero before the point DuckDB counts, and of one beyond BIGINT."""
    text = literal.name
    if literal.is_int and int(text) >= 2**63:
        literal.replace(typed_as(literal.copy(), type_name((len(text), 0))))
    if literal.is_string or literal.is_int or text.partition(".")[0].strip("0") or "e" in text.lower():
        return
    above = literal.parent
    if isinstance(above, (exp.TableSample, exp.Interval)) or (
        isinstance(above, exp.Anonymous) and above.name.startswith(("quantile", "spark_make"))
    ):
        return
    literal.replace(typed_as(literal.copy(), type_name(_decimals.literal_shape(text))))


def _state_whole(literal: exp.Literal) -> None:
    """State that an integer is an INT, where DuckDB would read it as a SMALLINT or TINYINT."""
    above: Expr | None = literal.parent
    while isinstance(above, (exp.Paren, exp.Neg)):
        above = above.parent
    beside = isinstance(above, (*_OPERATORS, exp.Case, exp.If)) or (
        isinstance(above, exp.Tuple) and isinstance(above.parent, exp.Values)
    )
    if literal.is_int and (beside or getattr(above, "name", "") in _BESIDE) and not isinstance(above, exp.Cast):
        literal.replace(typed_as(literal.copy(), "INTEGER" if int(literal.name) < 2**31 else "BIGINT"))


# ---------------------------------------------------------------------------------------------- operands


def _operation(node: Expr) -> str | None:
    above = node.parent
    assigned = isinstance(node, exp.EQ) and isinstance(above, exp.Update)
    pivoted = isinstance(node, exp.In) and isinstance(above, exp.Pivot)
    if assigned or pivoted or getattr(above, "name", "").startswith("quantile"):
        # An assignment, the values of PIVOT, and the shares of percentiles, which are constants.
        return None
    if isinstance(node, exp.Anonymous):
        return _CALLS.get(node.name)
    if isinstance(node, exp.Neg) and not (isinstance(node.this, exp.Literal) and not node.this.is_string):
        return "number"
    if isinstance(node, (exp.Column, exp.Literal)):
        return _condition(node)
    if isinstance(node, exp.DPipe) and is_text(node):
        return None
    return _OPERATORS.get(type(node))


# What is a condition wherever it stands: the only part of these, or the part of this name.
_CONDITIONS: dict[type, str | None] = {
    exp.And: None, exp.Or: None, exp.Not: None, exp.Where: None, exp.Having: None, exp.Qualify: None, exp.If: "this",
    exp.Join: "on",
}  # fmt: skip


def _condition(node: Expr) -> str | None:
    """Return the operation that takes a value as a condition; None for another value."""
    while isinstance(node.parent, exp.Paren):
        node = node.parent
    above = node.parent
    if isinstance(above, exp.Anonymous) and above.name == "spark_if":
        return "condition" if above.expressions[0] is node else None
    # After CASE and a value, the branches name values.
    compared = isinstance(above, exp.If) and isinstance(above.parent, exp.Case) and above.parent.this is not None
    if _CONDITIONS.get(type(above), "") not in {None, node.arg_key} or compared:
        return None
    return "connective" if isinstance(above, (exp.Connector, exp.Not)) else "condition"


def _operands(node: Expr) -> list[Expr]:
    """Return the expressions on whose types the result depends."""
    if isinstance(node, exp.Case):
        values = [each.args["true"] for each in node.args["ifs"]]
        return values + ([node.args["default"]] if node.args.get("default") is not None else [])
    if isinstance(node, exp.In):
        return [node.this, *node.expressions, *filter(None, [node.args.get("query")])]
    if isinstance(node, exp.Between):
        return [node.this, node.args["low"], node.args["high"]]
    if isinstance(node, (exp.Column, exp.Literal)):
        return [node]
    if isinstance(node, exp.Neg):
        return [node.this]
    if not isinstance(node, exp.Anonymous):
        return [node.this, node.expression]
    operation, arguments = _CALLS[node.name], node.expressions
    if operation == "case":
        return list(arguments[1:])
    if operation in ROUNDED | NUMBERS_OF_TEXT | {"field"}:
        return [value.expressions[0] if isinstance(value, exp.Distinct) else value for value in arguments[:1]]
    return list(arguments)


def _mark(root: Expr) -> list[Note]:
    """Mark the expressions to ask for. Those of one text in one query or lambda share a note: GROUP BY still fits them."""
    notes: list[Note] = []
    known: dict[tuple[int, str], int] = {}
    for node in root.walk():
        operation = _operation(node)
        if operation is None or not _askable(node, operation):
            continue
        text = duck_text(node) if operation != "set" else str(id(node))
        key = id(node.find_ancestor(exp.Query, exp.Lambda)), text
        if key not in known:
            known[key] = len(notes)
            operands = _operands(node)
            note = Note(operation=operation, digits=tuple(map(_digits, operands)), target=_target(node, operation))
            note.name = node.expressions[1].name if operation == "field" else ""
            note.kinds = {at: {"NULL"} for at, each in enumerate(operands) if _is_null(each)}
            notes.append(note)
        node.meta["note"] = known[key]
    return notes


def _askable(node: Expr, operation: str) -> bool:
    operands = _operands(node)
    if operation in OPERATORS and len(operands) != 2:
        return False
    if operation == "set":
        # The first part of a recursive one gives the types.
        with_ = node.find_ancestor(exp.With)
        return with_ is None or not with_.args.get("recursive")
    if operation in {"array", "compare"} and len(operands) < 2:
        return False
    return (
        not _is_null(node)
        and bool(operands)
        and not any(isinstance(each, (exp.Interval, exp.Star, *_ROWS)) for each in operands)
    )


# Operands that are no single value.
_ROWS = (exp.Tuple, exp.Any, exp.All)


def _is_null(operand: Expr) -> bool:
    """Return whether an operand has no type of its own: null, a choice among nulls, an empty array, or an error."""
    operand = operand.unnest()
    if _operation(operand) in TOGETHER - {"array"} and all(map(_is_null, _operands(operand))):
        return True
    return isinstance(operand, exp.Null) or (
        isinstance(operand, exp.Anonymous)
        and (
            operand.name in {"spark_raise_error", "spark__no_order"}
            or (operand.name == "list_value" and not operand.expressions)
        )
    )


def _digits(operand: Expr) -> int | None:
    while isinstance(operand, (exp.Paren, exp.Neg)):
        operand = operand.this
    whole = isinstance(operand, exp.Literal) and operand.is_int
    return len(operand.name.lstrip("0")) or 1 if whole else None


def _target(node: Expr, operation: str) -> int | None:
    if operation not in ROUNDED or len(node.expressions) < 2:
        return None
    text = node.expressions[1].sql("duckdb").strip("()").replace(" ", "")
    return int(text) if text.lstrip("-").isdecimal() else _UNKNOWN


# The place to round to, where it is no constant.
_UNKNOWN = 10**6


def _ask(node: Expr, key: str) -> None:
    """Put notes around an expression and its operands."""
    operation = _operation(node)
    assert operation is not None
    if operation == "set":
        for at, side in enumerate(_operands(node)):
            _note_rows(side, key, at)
        _note_rows(node, key, None)
        return
    if operation in CONDITIONS:
        _note(node, f"{key}.0")
        return
    for at, operand in enumerate(_operands(node)):
        if at and isinstance(node, exp.In) and operand.arg_key == "query":
            _put(operand, functools.partial(_column_of, change=functools.partial(call, "_noted", f"{key}.{at}")))
        elif not _is_null(operand):
            _note(operand, f"{key}.{at}")
    node = _bindable(node, operation)
    if operation == "compare" or (operation in {"sum", "avg"} and _pivoted(node)):
        # A comparison is BOOLEAN. DuckDB pivots what an aggregate returns, and a cast of it.
        return
    _note(surrounded(node), f"{key}.result")


def _note(node: Expr, place: str) -> None:
    """Put a note around an expression, or add the place to the one that is there."""
    inner = node.unnest()
    if isinstance(inner, exp.Anonymous) and inner.name == "spark__noted":
        (before, _) = inner.expressions
        before.set("this", f"{before.name} {place}")
    else:
        _put(node, functools.partial(call, "_noted", place))


def _put(node: Expr, change: Callable[[Expr], Expr]) -> None:
    """Put what is made of an expression in its place, without a copy: there may be long ones within long ones."""
    placeholder = exp.Null()
    node.replace(placeholder)
    placeholder.replace(change(node))


def _bindable(node: Expr, operation: str) -> Expr:
    """Put what DuckDB binds, whatever the types of the operands, in place of an expression, and return it."""
    if operation in {"compare", "concat", "field"}:
        operands = _operands(node)
        return _replaced(
            node, exp.Paren(this=exp.and_(*(exp.Is(this=each, expression=exp.null()) for each in operands)))
        )
    plain = _PLAIN.get(operation)
    if plain is not None and getattr(node, "name", "") not in {"spark_plus", "spark_minus"}:
        left, right = _operands(node)
        return _replaced(node, exp.Paren(this=plain(this=left, expression=right)))
    rounded = operation in {"round", "bround"} or (operation in ROUNDED and len(node.expressions) > 1)
    if rounded or isinstance(node, exp.Neg) or node.name == "abs":
        # DuckDB 1.5 does not tell the type of such a number. It is that of the operand, or ours.
        return _replaced(node, exp.Paren(this=_operands(node)[0]))
    return node


def _column_of(query: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return a query of one column with that column changed."""
    name = exp.to_identifier("only column", quoted=True)
    alias = exp.TableAlias(this=exp.to_identifier("side", quoted=True), columns=[name])
    side = exp.Subquery(this=query.unnest(), alias=alias)
    return exp.Subquery(this=exp.Select(expressions=[change(exp.Column(this=name.copy()))]).from_(side, copy=False))


def _pivoted(node: Expr) -> bool:
    return isinstance(node.find_ancestor(exp.Pivot, exp.Query), exp.Pivot)


def _note_rows(query: Expr, key: str, at: int | None) -> None:
    """Put a note around the rows of a side of a set operation; around its result, where ``at`` is None."""
    row, placeholder = exp.column("noted row", quoted=True), exp.Null()
    query.replace(placeholder)
    source = exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier("noted row", quoted=True)))
    if at is None:
        placeholder.replace(
            exp.Select(expressions=[call("unnest", call("_noted", f"{key}.result", row))]).from_(source, copy=False)
        )
    else:
        asked = exp.Is(this=call("_noted", f"{key}.{at}", row), expression=exp.null())
        placeholder.replace(exp.select("*").from_(source, copy=False).where(asked, copy=False))


def _replaced(node: Expr, by: Expr) -> Expr:
    node.replace(by)
    return by


# ---------------------------------------------------------------------------------------------- results


def _settle(node: Expr, note: Note) -> None:
    """Give an expression its type, and the way to compute it."""
    if note.operation == "field":
        node.replace(_field(node, note))
        return
    wanted, shapes = note.coerced(), note.shapes()
    attempt = isinstance(node, exp.Anonymous) and node.name.startswith("spark_try")
    if shapes is None:
        _cast_operands(node, note, wanted, attempt=attempt)
        return
    if note.target == _UNKNOWN:
        raise StatementError(
            "sql_unsupported", f"{note.operation} of DECIMAL to a place that is no constant is not served."
        )
    outer = surrounded(node)
    shape = (20, 0) if note.operation == "div" else _decimals.result(note.operation, shapes, note.target)
    made = _SETTLED.get(note.operation, _arithmetic)(outer, node, note, shapes, shape, attempt)
    outer.replace(typed_as(made, "BIGINT" if note.operation == "div" else type_name(shape)))


def _cast_operands(node: Expr, note: Note, wanted: list[str], *, attempt: bool) -> None:
    for operand, kind, target in zip(_operands(node), note.types(), wanted, strict=True):
        if kind == target or not kind or family(kind) == "null":
            continue
        query = operand.arg_key == "query"
        brought = functools.partial(_brought, kind=kind, target=target, attempt=attempt and not query)
        _put(operand, functools.partial(_column_of, change=brought) if query else brought)
    if note.operation == "-" and wanted == ["DATE", "DATE"]:
        node.replace(call("minus", *_operands(node)))


def _field(node: Expr, note: Note) -> Expr:
    """Return a field of a struct, or of every struct of an array, or a value of a map."""
    value, name = node.expressions
    kind = note.types()[0]
    if kind.startswith("MAP("):
        return call("try_element_at", value, name)
    if not note.result(""):
        key = "sql_field" if "STRUCT(" in kind else "sql_field_base"
        raise StatementError(key, f"There is no field `{note.name}` in {sql_type(kind)[0]}.")
    if not kind.endswith("[]"):
        return call("struct_extract", value, name)
    each = exp.to_identifier("each", quoted=True)
    return call("list_transform", value, exp.Lambda(this=call("struct_extract", each, name), expressions=[each.copy()]))


def _brought(operand: Expr, kind: str, target: str, *, attempt: bool) -> Expr:
    """Return an operand, or the rows of a side, with the type that it is brought to."""
    if kind.startswith("STRUCT("):
        pairs = list(zip(fields_of(kind), fields_of(target), strict=True))
        inner = [exp.to_identifier(f"column {at}", quoted=True) for at in range(len(pairs))]
        columns = [
            exp.alias_(
                exp.column(column)
                if before == after or family(before) == "null"
                else _brought(exp.column(column), before, after, attempt=False),
                name,
                quoted=True,
            )
            for column, ((name, before), (_, after)) in zip(inner, pairs, strict=True)
        ]
        alias = exp.TableAlias(this=exp.to_identifier("side", quoted=True), columns=inner)
        return exp.Select(expressions=columns).from_(exp.Subquery(this=operand, alias=alias), copy=False)
    if family(kind) == "text":
        return cast(operand, parse_type(sql_type(target)[0]), attempt=attempt)
    return typed_as(operand, target)


def _arithmetic(_: Expr, node: Expr, note: Note, shapes: list[Shape], shape: Shape, attempt: bool) -> Expr:
    operation, operands = note.operation, _operands(node)
    kinds = list(shapes)
    full = full_shape(operation, *kinds)
    if operation in "+-*" and full[0] <= _decimals.MOST and not attempt:
        wanted = kinds if operation == "*" else [full, full]
        left, right = (typed_as(each, type_name(kind)) for each, kind in zip(operands, wanted, strict=True))
        return exp.Paren(this=_PLAIN[operation](this=left, expression=right))
    return _computed(operation, shape, *operands, attempt=attempt)


def _rounded(_: Expr, node: Expr, note: Note, shapes: list[Shape], shape: Shape, attempt: bool) -> Expr:
    value = typed_as(node.expressions[0], type_name(shapes[0]))
    return _computed(note.operation, shape, value, exp.Literal.string(str(note.target or 0)), attempt=attempt)


def _average(outer: Expr, node: Expr, _: Note, __: list[Shape], shape: Shape, attempt: bool) -> Expr:
    if _pivoted(node):
        # PIVOT takes one aggregate.
        return call("_mean_of", f"/ {shape[0]} {shape[1]}", call("list", *node.expressions))
    total, count = (_renamed(outer, node, name) for name in ("sum", "count"))
    count = call("nullif", count, exp.Literal.number(0))
    return _computed("/", shape, total, count, attempt=attempt)


def _renamed(outer: Expr, node: Expr, name: str) -> Expr:
    before = node.name
    node.set("this", name)
    copy = outer.copy()
    node.set("this", before)
    return copy


def _computed(operation: str, shape: Shape, *operands: Expr, attempt: bool) -> Expr:
    plan = f"{operation} {shape[0]} {shape[1]}{' try' if attempt else ''}"
    return call("_computed", plan, *(typed_as(each, "VARCHAR") for each in operands))


_SETTLED: dict[str, Callable[..., Expr]] = {
    "avg": _average,
    **dict.fromkeys(ROUNDED, _rounded),
    "sum": lambda outer, *_: outer.copy(),
}
