"""Functions that take functions: ``transform``, ``filter``, ``aggregate`` and their kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

from obo_kit.testing.sql._calls import array, call, present, typed_as
from obo_kit.testing.sql._refusals import StatementError

__all__ = [
    "filtered",
    "first_made",
    "on_entries",
    "quantified",
    "reduced",
    "sorted_by",
    "struct_of",
    "transform",
    "zip_maps",
    "zip_with",
]

Expr = exp.Expr


def struct_of(fields: Iterable[tuple[str, Expr]]) -> Expr:
    return exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=value) for name, value in fields
        ]
    )


def _body(function: Expr, replacements: Mapping[int, Expr]) -> exp.Lambda:
    """Return a lambda of whose parameters some are replaced in its body, by their places."""
    if not isinstance(function, exp.Lambda):
        raise StatementError("sql_arguments", "A lambda is expected.")
    names = {each.name.lower(): replacements[at] for at, each in enumerate(function.expressions) if at in replacements}

    def swap(node: Expr) -> Expr:
        is_name = (
            isinstance(node, exp.Identifier)
            and node.arg_key != "alias"
            and not (isinstance(node.parent, exp.PropertyEQ) and node.arg_key == "this")
        )
        is_field = isinstance(node.parent, exp.Dot) and node.arg_key == "expression"
        value = names.get(node.name.lower()) if is_name and not is_field else None
        return value.copy() if value is not None else node

    return exp.Lambda(this=function.this.transform(swap), expressions=function.expressions)


def transform(values: Expr, function: Expr) -> Expr:
    # DuckDB counts places from one.
    from_zero = [exp.Sub(this=each.copy(), expression=exp.Literal.number(1)) for each in function.expressions[:2]]
    places = {at: typed_as(each, "INTEGER") for at, each in enumerate(from_zero) if at == 1}
    return call("list_transform", values, _body(function, places))


def filtered(values: Expr, function: Expr) -> Expr:
    return call("list_filter", values, transform(values, function).expressions[1])


def reduced(values: Expr, start: Expr, merge: Expr, finish: Expr | None = None) -> Expr:
    result: Expr = call("list_reduce", values, _body(merge, {}), start)
    return result if finish is None else _with(result, _body(finish, {}))


def _with(value: Expr, function: exp.Lambda) -> Expr:
    """Return what a lambda makes of one value."""
    return first_made(array(value), function)


def first_made(values: Expr, function: exp.Lambda) -> Expr:
    """Return what a lambda makes of the first value of an array."""
    transformed = call("list_transform", values, function)
    return exp.Bracket(this=transformed, expressions=[exp.Literal.number(1)], offset=1, safe=True)


def sorted_by(values: Expr, compare: Expr) -> Expr:
    """Sort by a function of two elements: the place of an element is the number of those before it."""
    left, right = _body(compare, {}).expressions
    whole, pair, *places = (exp.to_identifier(name, quoted=True) for name in ("whole", "pair", "left at", "right at"))
    order = exp.case().when(present(compare.this), compare.this, copy=False).else_(call("_no_order"), copy=False)
    zero = exp.Literal.number(0)
    earlier = exp.and_(exp.EQ(this=order, expression=zero), exp.LT(this=places[0], expression=places[1]))
    before = exp.Lambda(
        this=exp.or_(exp.LT(this=order.copy(), expression=zero), earlier), expressions=[left, places[0]]
    )
    ranked = struct_of([("before", call("len", call("list_filter", whole, before))), ("value", right)])
    pairs = call("list_transform", whole.copy(), exp.Lambda(this=ranked, expressions=[right.copy(), places[1].copy()]))
    value = exp.Lambda(this=call("struct_extract", pair, "value"), expressions=[pair.copy()])
    result = call("list_transform", call("list_sort", pairs), value)
    return _with(values, exp.Lambda(this=result, expressions=[whole.copy()]))


def _pairwise(function: Expr, *parts: str | int) -> exp.Lambda:
    pair = exp.to_identifier("pair", quoted=True)
    inner = _body(function, {at: call("struct_extract", pair.copy(), part) for at, part in enumerate(parts)})
    return exp.Lambda(this=inner.this, expressions=[pair])


def zip_with(first: Expr, second: Expr, function: Expr) -> Expr:
    return call("list_transform", call("list_zip", first, second), _pairwise(function, 1, 2))


def zip_maps(first: Expr, second: Expr, function: Expr) -> Expr:
    """Merge two maps: the function makes each value of its key and the values there, null where there is none."""
    key = _body(function, {}).expressions[0]
    values = {at: call("try_element_at", each.copy(), key.copy()) for at, each in enumerate((first, second), 1)}
    entry = struct_of([("key", key), ("value", _body(function, values).this)])
    keys = call("array_union", call("map_keys", first), call("map_keys", second))
    return call("map_from_entries", call("list_transform", keys, exp.Lambda(this=entry, expressions=[key.copy()])))


def on_entries(kind: str, entries: Expr, function: Expr) -> Expr:
    inner = _pairwise(function, "key", "value")
    if kind == "filter":
        return call("map_from_entries", call("list_filter", call("map_entries", entries), inner))
    key, value = (call("struct_extract", inner.expressions[0].copy(), each) for each in ("key", "value"))
    fields = [("key", inner.this if kind == "keys" else key), ("value", inner.this if kind == "values" else value)]
    made = exp.Lambda(this=struct_of(fields), expressions=inner.expressions)
    return call("map_from_entries", call("list_transform", call("map_entries", entries), made))


def quantified(macro: str, values: Expr, function: Expr) -> Expr:
    return call(macro, transform(values, function))
