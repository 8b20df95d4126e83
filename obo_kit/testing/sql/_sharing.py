"""Compute the arguments of a call once, however often the macros around them name them.

A macro repeats its argument wherever it names it. So calls within calls multiply: a telephone number that six ``replace``
clean would be millions of words. Arguments of what grows beyond a size become the parameter of a lambda, which names them once.
"""

from __future__ import annotations

import functools
import itertools
import operator
import re

from sqlglot import exp

from obo_kit.testing.sql._calls import array, by_type, call, macro_source
from obo_kit.testing.sql._lambdas import first_made

__all__ = ["shared"]

Expr = exp.Expr

# The words that a call may become before its arguments are shared.
_MOST = 300
_PLAIN = (exp.Boolean, exp.Column, exp.Identifier, exp.Interval, exp.Literal, exp.Null)
# What is no value.
_NO_VALUES = (exp.Distinct, exp.Lambda, exp.Order, exp.Star)
_AGGREGATES = frozenset({"spark_skewness"})


def shared(tree: Expr) -> Expr:
    """Return a rewritten statement in which no call grows beyond a size. It may change the tree."""
    root = exp.Paren(this=tree)
    sizes: dict[int, int] = {}
    for node in reversed(list(root.bfs())):
        parts = [sizes[id(each)] for each in node.iter_expressions()]
        growths = _growths(node.name, len(parts)) if isinstance(node, exp.Anonymous) else None
        size = 1 + sum(map(operator.mul, growths or [1] * len(parts), parts))
        # The type of an aggregate is not known when DuckDB chooses a form of a macro, that of a lambda's parameter is.
        typed = node.name in by_type() and any(each.find(exp.Anonymous, exp.Query) for each in node.expressions)
        if growths and (typed or (max(growths) > 1 and size > _MOST)) and _is_shareable(node):
            sizes[id(_sharing(node))] = 1 + sum(parts)
        else:
            sizes[id(node)] = size
    rewritten: Expr = root.this
    return rewritten


def _is_shareable(node: Expr) -> bool:
    arguments = node.expressions
    if node.name in _AGGREGATES or all(map(_is_plain, arguments)):
        return False
    if isinstance(node.find_ancestor(exp.Pivot, exp.Query), exp.Pivot):
        # PIVOT names columns within aggregates only.
        return False
    return not any(isinstance(each, _NO_VALUES) for each in arguments) and node.find(exp.Columns) is None


def _is_plain(node: Expr) -> bool:
    return isinstance(node.this if isinstance(node, exp.Neg) else node, _PLAIN)


def _sharing(node: Expr) -> Expr:
    """Replace a call by one whose arguments, but for names and constants, are those of a lambda."""
    parameter, place = exp.to_identifier("given", quoted=True), exp.Null()
    arguments = [each for each in node.expressions if not _is_plain(each)]
    for at, each in enumerate(arguments, 1):
        each.replace(call("struct_extract", parameter.copy(), at) if len(arguments) > 1 else parameter.copy())
    lists = list(map(array, arguments))
    node.replace(place)
    rows = call("list_zip", *lists) if len(lists) > 1 else lists[0]
    result = first_made(rows, exp.Lambda(this=node, expressions=[parameter]))
    place.replace(result)
    return result


@functools.cache
def _growths(name: str, count: int) -> list[int] | None:
    """Return how often a macro names each of so many arguments, at most; None for what is no macro.

    DuckDB's own `array_to_string` names its argument twice.
    """
    try:
        source = re.sub(r"'(?:[^']|'')*'", "''", macro_source(name))
    except KeyError:
        return None
    below = set(re.findall(r"\bspark_\w+", source)) - {name}
    most = max(
        itertools.chain(
            [1 + ("array_to_string(" in source)], *(_growths(each, at) or () for each in below for at in (1, 2, 3))
        )
    )
    forms = re.split(rf"(?:{name}|,\s+)\(((?:\w+(?: \w+)?(?:, )?)*)\) AS ", source)[1:]
    bodies = [
        ([each.split()[0] for each in names.split(", ")], body)
        for names, body in zip(forms[::2], forms[1::2], strict=True)
        if names and names.count(", ") + 1 == count
    ]
    return [
        max((len(re.findall(rf"\b{names[at]}\b", body)) for names, body in bodies), default=1) * most
        for at in range(count)
    ]
