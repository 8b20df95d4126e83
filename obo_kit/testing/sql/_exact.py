"""Give numbers of a rewritten statement the platform's types and values.

DuckDB computes DECIMAL by rules of its own: a quotient is a DOUBLE, a sum has 38 digits. A literal takes the type of what is
beside it, SMALLINT say, and a FLOAT beside an integer stays a FLOAT. Only DuckDB knows the types of operands. So it binds the
statement once with a note around every operand (``_notes``), which tells its type; those of results follow from the inside
out. Then each result is cast, or computed by ``_decimals`` where DuckDB would lose digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from sqlglot import exp

from obo_kit.testing.sql import _decimals
from obo_kit.testing.sql._calls import call, duck_text, typed_as
from obo_kit.testing.sql._decimals import COMBINED, OPERATORS, Shape, full_shape
from obo_kit.testing.sql._dialect import UnreadableError
from obo_kit.testing.sql._notes import Note, noting, type_name

if TYPE_CHECKING:
    from obo_kit.testing.sql._databases import Store

__all__ = ["exact"]

Expr = exp.Expr

_OPERATORS: dict[type, str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Mod: "%"}
_CALLS = {
    "spark_plus": "+", "spark_minus": "-", "spark_divide": "/", "spark_mod": "%", "spark_div": "div", "spark_pmod": "pmod",
    "spark_try_add": "+", "spark_try_subtract": "-", "spark_try_multiply": "*", "spark_try_divide": "/",
    "spark_try_mod": "%", "sum": "sum", "avg": "avg", "round": "round", "spark_bround": "bround", "spark_ceil": "ceil",
    "spark_floor": "floor", "coalesce": "coalesce", "spark_nvl": "coalesce", "spark_ifnull": "coalesce",
    "greatest": "greatest", "least": "least", "spark_if": "case", "spark_iff": "case", "spark_nvl2": "case",
    "quantile_cont": "double", "median": "double",
}  # fmt: skip
_ROUNDED = frozenset({"round", "bround", "ceil", "floor"})
_PLAIN: dict[str, type[Expr]] = {
    "+": exp.Add, "-": exp.Sub, "*": exp.Mul, "/": exp.Div, "%": exp.Mod, "div": exp.IntDiv, "pmod": exp.Mod
}  # fmt: skip
# Calls in which a literal stands beside values of other types.
_BESIDE = frozenset({*_CALLS, "list_value", "lag", "lead"}) - {"round", "spark_bround", "spark_ceil", "spark_floor"}
_SPECIAL_TYPES = frozenset(
    {exp.DataType.Type.DECIMAL, exp.DataType.Type.TINYINT, exp.DataType.Type.SMALLINT, exp.DataType.Type.FLOAT}
)
_SPECIAL = re.compile("DECIMAL|TINYINT|SMALLINT|FLOAT")
# Macros that return a DECIMAL whatever they are given.
_MAKERS = frozenset({"spark_seconds", "spark_second_part"})


def exact(store: Store, tree: Expr, tables: Collection[str]) -> Expr:
    """Return a rewritten statement with the platform's DECIMAL. Raises UnreadableError if that is not served."""
    if not _concerns(store, tree, tables):
        return tree
    root = exp.Paren(this=tree)
    for literal in list(root.find_all(exp.Literal)):
        _state(literal)
    notes = _mark(root)
    for literal in list(root.find_all(exp.Literal)):
        _state_whole(literal)
    if notes and _bound(store, root, notes):
        for node in _marked(root):
            _settle(node, notes[node.meta["note"]])
    rewritten: Expr = root.this
    return rewritten


def _marked(root: Expr) -> list[Expr]:
    """Return the marked expressions, the innermost first."""
    return [node for node in reversed(list(root.bfs())) if "note" in node.meta]


def _bound(store: Store, root: Expr, notes: list[Note]) -> bool:
    """Bind a copy of the statement that fills the notes. False: it cannot run in any form, and fails when it should run."""
    import duckdb

    with noting(notes) as token:
        probe = root.copy()
        for node in _marked(probe):
            _ask(node, f"{token} {node.meta['note']}")
        try:
            store.bind(duck_text(probe.this))
        except duckdb.Error:
            try:
                store.bind(duck_text(root.this))
            except duckdb.Error:
                return False
            raise UnreadableError("sql_unsupported", "DECIMAL in a statement of this form is not served.") from None
    return True


def _concerns(store: Store, tree: Expr, tables: Collection[str]) -> bool:
    """Return whether anything of the statement may be of a type that DuckDB treats otherwise."""
    if any(_SPECIAL.search(kind) for name in tables for kind in store.tables[name].types.values()):
        return True
    return any(
        (isinstance(node, exp.Literal) and not node.is_string and not (node.is_int and int(node.name) < 2**63))
        or (isinstance(node, exp.DataType) and node.this in _SPECIAL_TYPES)
        or (isinstance(node, exp.Anonymous) and (node.name in _MAKERS or _rounds_to_a_place(node)))
        for node in tree.walk()
    )


def _rounds_to_a_place(node: exp.Anonymous) -> bool:
    return node.name in {"spark_ceil", "spark_floor"} and len(node.expressions) == 2


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
    if isinstance(node, exp.Case):
        return "case"
    if isinstance(node, exp.Anonymous):
        return _CALLS.get(node.name)
    return _OPERATORS.get(type(node))


def _operands(node: Expr) -> list[Expr]:
    """Return the expressions on whose types the result depends."""
    if isinstance(node, exp.Case):
        values = [each.args["true"] for each in node.args["ifs"]]
        return values + ([node.args["default"]] if node.args.get("default") is not None else [])
    if not isinstance(node, exp.Anonymous):
        return [node.this, node.expression]
    operation, arguments = _CALLS[node.name], node.expressions
    if operation == "case":
        return list(arguments[1:])
    if operation in OPERATORS or operation in COMBINED:
        return list(arguments)
    value = arguments[0]
    return [value.expressions[0] if isinstance(value, exp.Distinct) else value]


def _mark(root: Expr) -> list[Note]:
    """Mark the expressions to ask for. Those of one text in one query or lambda share a note: GROUP BY still fits them."""
    notes: list[Note] = []
    known: dict[tuple[int, str], int] = {}
    for node in root.walk():
        operation = _operation(node)
        if operation is None or not _askable(node, operation):
            continue
        key = id(node.find_ancestor(exp.Query, exp.Lambda)), duck_text(node)
        if key not in known:
            known[key] = len(notes)
            operands = _operands(node)
            note = Note(operation=operation, digits=tuple(map(_digits, operands)), target=_target(node, operation))
            note.kinds = {at: {"NULL"} for at, each in enumerate(operands) if _is_null(each)}
            notes.append(note)
        node.meta["note"] = known[key]
    return notes


def _askable(node: Expr, operation: str) -> bool:
    operands = _operands(node)
    if operation in OPERATORS and len(operands) != 2:
        return False
    return bool(operands) and not any(
        isinstance(each, (exp.Interval, exp.Star)) or (isinstance(each, exp.Literal) and each.is_string)
        for each in operands
    )


def _is_null(operand: Expr) -> bool:
    """Return whether an operand has no type of its own: null, or an error."""
    return isinstance(operand.unnest(), exp.Null) or (
        isinstance(operand, exp.Anonymous) and operand.name == "spark_raise_error"
    )


def _digits(operand: Expr) -> int | None:
    while isinstance(operand, (exp.Paren, exp.Neg)):
        operand = operand.this
    whole = isinstance(operand, exp.Literal) and operand.is_int
    return len(operand.name.lstrip("0")) or 1 if whole else None


def _target(node: Expr, operation: str) -> int | None:
    if operation not in _ROUNDED or len(node.expressions) < 2:
        return None
    text = node.expressions[1].sql("duckdb").strip("()").replace(" ", "")
    return int(text) if text.lstrip("-").isdecimal() else _UNKNOWN


# The place to round to, where it is no constant.
_UNKNOWN = 10**6


def _ask(node: Expr, key: str) -> None:
    """Put notes around an expression and its operands."""
    operation = _operation(node)
    assert operation is not None
    for at, operand in enumerate(_operands(node)):
        if _is_null(operand):
            continue
        placeholder = exp.Null()
        operand.replace(placeholder)
        placeholder.replace(call("noted", f"{key} {at}", operand))
    plain = _PLAIN.get(operation)
    if plain is not None and getattr(node, "name", "") not in {"spark_plus", "spark_minus"}:
        left, right = _operands(node)
        node = _replaced(node, exp.Paren(this=plain(this=left, expression=right)))
    if operation in {"round", "bround"} or (operation in _ROUNDED and len(node.expressions) > 1):
        # DuckDB 1.5 does not tell the type of a rounded number. It is that of the number, or ours.
        node = _replaced(node, exp.Paren(this=node.expressions[0]))
    outer = _whole(node)
    if operation in {"sum", "avg"} and isinstance(node.find_ancestor(exp.Pivot, exp.Query), exp.Pivot):
        # DuckDB pivots what an aggregate returns, and a cast of it.
        return
    placeholder = exp.Null()
    outer.replace(placeholder)
    placeholder.replace(call("noted", f"{key} result", outer))


def _replaced(node: Expr, by: Expr) -> Expr:
    node.replace(by)
    return by


def _whole(node: Expr) -> Expr:
    """Return an aggregate with its FILTER and OVER."""
    while isinstance(node.parent, (exp.Filter, exp.Window)) and node.arg_key == "this":
        node = node.parent
    return node


# ---------------------------------------------------------------------------------------------- results


def _settle(node: Expr, note: Note) -> None:
    """Give an expression its type, and the way to compute it."""
    shapes = note.shapes()
    if shapes is None:
        if note.operation in OPERATORS | COMBINED and {"FLOAT"} in note.kinds.values():
            # DuckDB computes a FLOAT with an exact number as FLOAT.
            for operand in [each for at, each in enumerate(_operands(node)) if note.exact(at)]:
                operand.replace(typed_as(operand.copy(), "DOUBLE"))
        return
    if note.target == _UNKNOWN:
        raise UnreadableError(
            "sql_unsupported", f"{note.operation} of DECIMAL to a place that is no constant is not served."
        )
    if note.operation == "double":
        (operand,) = _operands(node)
        operand.replace(typed_as(operand.copy(), "DOUBLE"))
        return
    if note.operation == "avg" and isinstance(node.find_ancestor(exp.Pivot, exp.Query), exp.Pivot):
        raise UnreadableError("sql_unsupported", "avg of DECIMAL in PIVOT is not served.")
    outer, attempt = _whole(node), isinstance(node, exp.Anonymous) and node.name.startswith("spark_try")
    shape = (20, 0) if note.operation == "div" else _decimals.result(note.operation, shapes, note.target)
    made = _SETTLED.get(note.operation, _arithmetic if note.operation in OPERATORS else _kept)(
        outer, node, note, shapes, shape, attempt
    )
    outer.replace(typed_as(made, "BIGINT" if note.operation == "div" else type_name(shape)))


def _kept(outer: Expr, *_: object) -> Expr:
    return outer.copy()


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
    return call("computed", plan, *(typed_as(each, "VARCHAR") for each in operands))


_SETTLED: dict[str, Callable[..., Expr]] = {"avg": _average, **dict.fromkeys(_ROUNDED, _rounded)}
