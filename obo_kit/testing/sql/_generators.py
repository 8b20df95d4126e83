"""Functions that return rows: ``explode`` and its kind."""

from __future__ import annotations

from sqlglot import exp

from obo_kit.testing.sql._calls import array, call, literal, typed_as

__all__ = ["GENERATORS", "ONLY_IN_FROM", "generated", "plain_sources"]

Expr = exp.Expr

GENERATORS = frozenset(
    "explode explode_outer inline inline_outer json_tuple posexplode posexplode_outer stack variant_explode "  # noqa: SIM905
    "variant_explode_outer".split()
)
ONLY_IN_FROM = frozenset({"variant_explode", "variant_explode_outer"})


def generated(name: str, arguments: list[Expr], *, pairs: bool) -> list[tuple[str, Expr]]:
    """Return a generator's columns: default name and expression. ``pairs``: its argument is a map."""
    name, outer = name.removesuffix("_outer"), name.endswith("_outer")
    if name == "stack":
        rows = int(literal(arguments[0], "the number of rows of stack"))
        width = -(-(len(arguments) - 1) // rows)
        cells = [*arguments[1:], *[exp.null()] * (rows * width - len(arguments) + 1)]
        return [(f"col{at}", call("unnest", array(*cells[at::width]))) for at in range(width)]
    if name == "json_tuple":
        text, *keys = arguments
        return [
            (f"c{at}", call("_key_at", text.copy(), f'$."{literal(key, "a key of json_tuple")}"'))
            for at, key in enumerate(keys)
        ]
    (value,) = arguments
    if name == "inline":
        deep = exp.PropertyEQ(this=exp.to_identifier("max_depth"), expression=exp.Literal.number(2))
        return [("", exp.Anonymous(this="unnest", expressions=[_or_null(value) if outer else value, deep]))]
    if name in ONLY_IN_FROM:
        items = call("_variant_items", value)
        return _fields(_or_null(items) if outer else items, "pos", "key", "value")
    return _exploded(
        call("map_entries", value) if pairs else value, pairs=pairs, outer=outer, places=name == "posexplode"
    )


def _exploded(items: Expr, *, pairs: bool, outer: bool, places: bool) -> list[tuple[str, Expr]]:
    at: Expr = call("range", call("len", items.copy()))
    if outer:
        items, at = _or_null(items), _or_null(at)
    columns: list[tuple[str, Expr]] = [("col", call("unnest", items))]
    if pairs:
        columns = _fields(items, "key", "value")
    return [("pos", typed_as(call("unnest", at), "INTEGER")), *columns] if places else columns


def _fields(items: Expr, *names: str) -> list[tuple[str, Expr]]:
    """Return the fields of an array of structs, a row per struct."""
    return [(each, call("struct_extract", call("unnest", items.copy()), exp.Literal.string(each))) for each in names]


def plain_sources(tree: Expr) -> None:
    """Write ``TABLE(f(x))`` as ``f(x)``, and a function after LATERAL that is no generator as a query of its rows."""
    for node in list(tree.find_all(exp.Table, exp.Lateral)):
        function = node.this
        if isinstance(function, exp.Anonymous) and function.name.upper() == "TABLE" and len(function.expressions) == 1:
            function = function.expressions[0]
        elif isinstance(node, exp.Table):
            continue
        *names, called = function.parts if isinstance(function, exp.Dot) else [function]
        if not isinstance(called, exp.Anonymous) or len(names) > 2:
            continue
        place = dict(zip(("db", "catalog"), reversed(names), strict=False))
        if isinstance(node, exp.Table):
            for part, name in {"this": called, **place}.items():
                node.set(part, name)
        elif names or called.name.lower() not in GENERATORS:
            name = exp.TableAlias(this=exp.to_identifier(called.name, quoted=True))
            node.set("alias", node.args.get("alias") or name)
            node.set("this", exp.Subquery(this=exp.select("*").from_(exp.Table(this=called, **place))))
        else:
            node.set("this", called)


def _or_null(items: Expr) -> Expr:
    empty = exp.EQ(
        this=call("coalesce", call("len", items.copy()), exp.Literal.number(0)), expression=exp.Literal.number(0)
    )
    return exp.Case(ifs=[exp.If(this=empty, true=array(exp.null()))], default=items)
