"""Functions that take functions: ``transform``, ``filter``, ``aggregate`` and their kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlglot import exp

from obo_kit.testing.sql._calls import array, call, typed_as
from obo_kit.testing.sql._dialect import UnreadableError

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


def _body(function: Expr, replacements: dict[int, Callable[[Expr], Expr]]) -> exp.Lambda:
    """Return a lambda whose parameters are replaced in its body."""
    if not isinstance(function, exp.Lambda):
        raise UnreadableError("sql_arguments", "A lambda is expected.")
    names = {
        function.expressions[at].name.lower(): change
        for at, change in replacements.items()
        if at < len(function.expressions)
    }

    def swap(node: Expr) -> Expr:
        is_name = (
            isinstance(node, exp.Identifier)
            and node.arg_key != "alias"
            and not (isinstance(node.parent, exp.PropertyEQ) and node.arg_key == "this")
        )
        is_field = isinstance(node.parent, exp.Dot) and node.arg_key == "expression"
        change = names.get(node.name.lower()) if is_name and not is_field else None
        return change(node) if change is not None else node

    return exp.Lambda(this=function.this.transform(swap), expressions=function.expressions)


def transform(values: Expr, function: Expr) -> Expr:
    return call(
        "list_transform",
        values,
        _body(
            function, {1: lambda node: typed_as(exp.Sub(this=node.copy(), expression=exp.Literal.number(1)), "INTEGER")}
        ),
    )


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
    missing = exp.If(this=exp.Is(this=compare.this.copy(), expression=exp.null()), true=call("no_order"))
    order, zero = exp.Case(ifs=[missing], default=compare.this), exp.Literal.number(0)
    earlier = exp.and_(exp.EQ(this=order, expression=zero), exp.LT(this=places[0], expression=places[1]))
    before = exp.Lambda(
        this=exp.or_(exp.LT(this=order.copy(), expression=zero), earlier), expressions=[left, places[0]]
    )
    ranked = struct_of([("before", call("len", call("list_filter", whole, before))), ("value", right)])
    pairs = call("list_transform", whole.copy(), exp.Lambda(this=ranked, expressions=[right.copy(), places[1].copy()]))
    value = exp.Lambda(this=call("struct_extract", pair, "value"), expressions=[pair.copy()])
    result = call("list_transform", call("list_sort", pairs), value)
    return _with(values, exp.Lambda(this=result, expressions=[whole.copy()]))


def _pairwise(function: Expr, first: str, second: str) -> exp.Lambda:
    def part(name: str) -> Callable[[Expr], Expr]:
        return lambda _: call(
            "struct_extract",
            exp.to_identifier("pair", quoted=True),
            exp.Literal.number(int(name)) if name.isdigit() else exp.Literal.string(name),
        )

    inner = _body(function, {0: part(first), 1: part(second)})
    return exp.Lambda(this=inner.this, expressions=[exp.to_identifier("pair", quoted=True)])


def zip_with(first: Expr, second: Expr, function: Expr) -> Expr:
    return call("list_transform", call("list_zip", first, second), _pairwise(function, "1", "2"))


def zip_maps(first: Expr, second: Expr, function: Expr) -> Expr:
    """Merge two maps: the function makes each value of its key and the values there, null where there is none."""
    key = _body(function, {}).expressions[0]
    values: dict[int, Callable[[Expr], Expr]] = {
        1: lambda _: call("try_element_at", first.copy(), key.copy()),
        2: lambda _: call("try_element_at", second.copy(), key.copy()),
    }
    entry = struct_of([("key", key), ("value", _body(function, values).this)])
    keys = call("array_union", call("map_keys", first), call("map_keys", second))
    return call("map_from_entries", call("list_transform", keys, exp.Lambda(this=entry, expressions=[key.copy()])))


def on_entries(kind: str) -> Callable[[Expr, Expr], Expr]:
    def rewrite(entries: Expr, function: Expr) -> Expr:
        inner = _pairwise(function, "key", "value")
        pair = exp.to_identifier("pair", quoted=True)
        key, value = (call("struct_extract", pair, exp.Literal.string(each)) for each in ("key", "value"))
        if kind == "filter":
            return call("map_from_entries", call("list_filter", call("map_entries", entries), inner))
        fields = [("key", inner.this if kind == "keys" else key), ("value", inner.this if kind == "values" else value)]
        made = exp.Lambda(this=struct_of(fields), expressions=inner.expressions)
        return call("map_from_entries", call("list_transform", call("map_entries", entries), made))

    return rewrite


def quantified(macro: str) -> Callable[[Expr, Expr], Expr]:
    return lambda values, function: call(macro, transform(values, function))
