"""Functions of Databricks SQL in DuckDB's terms: functions that mean the same, macros (``functions.sql``), and rewrites.

A function that is in none of the three is refused: a statement can never call a function of DuckDB just by naming it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from sqlglot import ErrorLevel, exp
from sqlglot.errors import UnsupportedError

from obo_kit.testing.sql._refusals import StatementError
from obo_kit.testing.sql._routines import ROUTINES

__all__ = [
    "array",
    "as_text",
    "by_parameter",
    "by_type",
    "call",
    "cast",
    "constant",
    "date_part",
    "duck_text",
    "duck_type",
    "interval",
    "is_macro",
    "is_moment",
    "is_ordered",
    "is_text",
    "known_type",
    "literal",
    "macro_source",
    "macros_in",
    "piped",
    "present",
    "surrounded",
    "typed_as",
    "unit_of",
]

Expr = exp.Expr

_WHOLE = {"TINYINT", "SMALLINT", "INT", "BIGINT"}
# DuckDB's name per type. A type that is not here is not served.
_DUCK = {
    "TEXT": "VARCHAR", "VARCHAR": "VARCHAR", "CHAR": "VARCHAR", "BOOLEAN": "BOOLEAN", "TINYINT": "TINYINT",
    "SMALLINT": "SMALLINT", "INT": "INTEGER", "BIGINT": "BIGINT", "FLOAT": "FLOAT", "DOUBLE": "DOUBLE", "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP", "TIMESTAMPTZ": "TIMESTAMP", "TIMESTAMPLTZ": "TIMESTAMP", "TIMESTAMPNTZ": "TIMESTAMP_NS",
    "BINARY": "BLOB", "VARBINARY": "BLOB", "VARIANT": "JSON", "NULL": "INTEGER", "INTERVAL": "INTERVAL",
}  # fmt: skip
# Functions of DuckDB and macros whose results are of one type, and macros that make a MAP.
_KNOWN_RESULTS = {
    **dict.fromkeys(("spark_string", "spark__text"), "VARCHAR"),
    **dict.fromkeys(("map", "map_concat", "map_from_entries", "spark_map_from_arrays", "spark_str_to_map"), "MAP"),
}
# Types of DuckDB whose text is the platform's.
_PLAIN_TEXTS = frozenset({"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "DATE", "TIMESTAMP", "BOOLEAN"})
# The height of a tree whose text may be made on its own.
_DEEP = 20
_UNITS = {
    "year": "year", "years": "year", "quarter": "quarter", "month": "month", "months": "month", "week": "week",
    "weeks": "week", "day": "day", "days": "day", "hour": "hour", "hours": "hour", "minute": "minute",
    "minutes": "minute", "second": "second", "seconds": "second", "millisecond": "millisecond",
    "microsecond": "microsecond", "dayofyear": "day", "milliseconds": "millisecond", "microseconds": "microsecond",
}  # fmt: skip
_PARTS = {
    "YEAR": "year", "YEARS": "year", "Y": "year", "YR": "year", "QUARTER": "quarter", "QTR": "quarter", "MONTH": "month",
    "MON": "month", "MONTHS": "month", "WEEK": "weekofyear", "W": "weekofyear", "WEEKS": "weekofyear", "DAY": "day",
    "D": "day", "DAYS": "day", "DAYOFWEEK": "dayofweek", "DOW": "dayofweek", "DAYOFWEEK_ISO": "_dayofweek_iso",
    "DOW_ISO": "_dayofweek_iso", "DOY": "dayofyear", "HOUR": "hour", "H": "hour", "HOURS": "hour", "MINUTE": "minute",
    "M": "minute", "MIN": "minute", "MINUTES": "minute", "SECOND": "_seconds", "S": "_seconds", "SEC": "_seconds",
    "SECONDS": "_seconds", "YEAROFWEEK": "yearofweek",
}  # fmt: skip


# The parts of INTERVAL '…' X TO Y.
_SPANS = {
    "YEAR TO MONTH": r"-?(?P<years>\d+)-(?P<months>\d+)",
    "DAY TO HOUR": r"-?(?P<days>\d+) (?P<hours>\d+)",
    "DAY TO MINUTE": r"-?(?P<days>\d+) (?P<hours>\d+):(?P<minutes>\d+)",
    "DAY TO SECOND": r"-?(?P<days>\d+) (?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
    "HOUR TO MINUTE": r"-?(?P<hours>\d+):(?P<minutes>\d+)",
    "HOUR TO SECOND": r"-?(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
    "MINUTE TO SECOND": r"-?(?P<minutes>\d+):(?P<seconds>\d+)",
}


@functools.cache
def _macros() -> dict[str, str]:
    text = (Path(__file__).parent / "functions.sql").read_text(encoding="utf-8")
    statements = dict(re.findall(r"^CREATE MACRO (spark_\w+)(.*?);$", text, re.MULTILINE | re.DOTALL))
    return {name: f"CREATE MACRO IF NOT EXISTS {name}{body}" for name, body in statements.items()}


@functools.cache
def by_type() -> frozenset[str]:
    """Return the macros that have a form of their own for a type."""
    return frozenset(
        name for name, text in _macros().items() if re.search(r"\((?:\w+, )?\w+ [A-Z]+(, [^()]*)?\) AS ", text)
    )


def macro_source(name: str) -> str:
    """Return the statement that makes a macro."""
    return _macros()[name]


@functools.cache
def macros_of(name: str) -> tuple[str, ...]:
    """Return a macro and the macros and routines that it calls, in the order to create them."""
    if name in ROUTINES:
        return (name,)
    inner = dict.fromkeys(re.findall(r"\bspark_\w+", macro_source(name)))
    below = (each for used in inner if used != name for each in macros_of(used))
    return (*dict.fromkeys(below), name)


def macros_in(text: str) -> list[str]:
    """Return the macros and routines that a text calls, in the order to create them."""
    return list(
        dict.fromkeys(
            each
            for name in dict.fromkeys(re.findall(r"\bspark_\w+(?=\()", text))
            if name in _macros() or name in ROUTINES
            for each in macros_of(name)
        )
    )


def call(name: str, *arguments: Expr | str | int | None) -> exp.Anonymous:
    """Return a call of a function of DuckDB, or of a macro or routine if there is one of the name."""
    return exp.Anonymous(
        this=f"spark_{name}" if is_macro(name) else name, expressions=[exp.convert(each) for each in arguments]
    )


# ---------------------------------------------------------------------------------------------- types


def duck_type(kind: exp.DataType) -> str:
    """Return DuckDB's name of a type. Raises StatementError if it is not served."""
    name = kind.this.value if isinstance(kind.this, exp.DataType.Type) else ""
    if name == "DECIMAL":
        numbers = [int(each.name) for each in kind.expressions]
        return f"DECIMAL({', '.join(map(str, numbers or [10, 0]))})"
    if name == "ARRAY" and len(kind.expressions) == 1:
        return duck_type(kind.expressions[0]) + "[]"
    if name == "MAP" and len(kind.expressions) == 2:
        return f"MAP({', '.join(map(duck_type, kind.expressions))})"
    if name == "STRUCT":
        fields = (
            f"{exp.to_identifier(each.name, quoted=True).sql('duckdb')} {duck_type(each.args['kind'])}"
            for each in kind.expressions
        )
        return f"STRUCT({', '.join(fields)})"
    if name not in _DUCK:
        raise StatementError("sql_unsupported", f"the type {kind.sql('databricks')} is not served.")
    return _DUCK[name]


def known_type(value: Expr) -> str:
    """Return what is known of DuckDB's type of a value without asking DuckDB; nothing if it is unknown."""
    value = value.unnest()
    if isinstance(value, exp.Literal):
        return "VARCHAR" if value.is_string else "INTEGER" if value.is_int else "DOUBLE"
    if isinstance(value, (exp.Boolean, exp.Predicate, exp.Connector, exp.Not)):
        return "BOOLEAN"
    if isinstance(value, exp.Cast):
        return str(getattr(value.to.this, "value", ""))
    if isinstance(value, exp.DPipe):
        return "VARCHAR" if is_text(value.this) or is_text(value.expression) else ""
    if isinstance(value, exp.Anonymous) and value.name == "list_value" and value.expressions:
        inner = known_type(value.expressions[0])
        return inner and f"{inner}[]"
    return _KNOWN_RESULTS.get(value.name, "") if isinstance(value, exp.Anonymous) else value.meta.get("kind") or ""


def is_moment(value: Expr) -> bool:
    """Return whether both engines read it as the same date, or date and time."""
    return known_type(value) in {"DATE", "TIMESTAMP"} or (
        isinstance(value, exp.Literal)
        and re.fullmatch(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,6})?)?", value.name) is not None
    )


def cast(value: Expr, kind: exp.DataType, *, attempt: bool = False) -> Expr:
    """Return a cast that has the platform's meaning."""
    duck = duck_type(kind)
    name = kind.this.value
    if isinstance(value, exp.Null):
        pass
    elif name in _WHOLE and not (isinstance(value, exp.Literal) and value.is_int):
        value = call("_try_whole" if attempt else "_whole", value)
    elif duck == "VARCHAR" and not (isinstance(value, exp.Literal) and (value.is_string or value.is_int)):
        value = call("string", value)
    elif duck in {"DOUBLE", "FLOAT"} and known_type(value) == "TIMESTAMP":
        value = call("epoch", value)
    elif duck in {"DATE", "TIMESTAMP"} and not is_moment(value):
        value = call(f"{'try_' if attempt else ''}{duck.lower()}", value)
    return typed_as(value, duck, attempt=attempt)


def as_text(value: Expr) -> Expr:
    """Return a value as text, as the platform casts it implicitly."""
    if is_text(value):
        return value
    return typed_as(value, "VARCHAR") if value.meta.get("kind") in _PLAIN_TEXTS else call("_text", value)


def is_ordered(window: exp.Window) -> bool:
    """Return whether a window, or the one of the statement that it names, has an order."""
    select = window.find_ancestor(exp.Select)
    named = (select.args.get("windows") or ()) if select is not None and window.alias else ()
    windows = [window, *(each for each in named if each.name.lower() == window.alias.lower())]
    return any(each.args.get("order") is not None for each in windows)


def surrounded(aggregate: Expr) -> Expr:
    """Return an aggregate with its FILTER and OVER."""
    while isinstance(aggregate.parent, (exp.Filter, exp.Window)) and aggregate.arg_key == "this":
        aggregate = aggregate.parent
    return aggregate


def is_text(value: Expr) -> bool:
    """Return whether a value is known to be text."""
    return known_type(value) in {"TEXT", "VARCHAR"}


def piped(left: Expr, right: Expr) -> Expr:
    """Return two texts as one, or two arrays. What stands beside text becomes text."""
    if is_text(left) or is_text(right):
        left, right = as_text(left), as_text(right)
    left, right = (typed_as(each, "VARCHAR") if isinstance(each, exp.Null) else each for each in (left, right))
    return exp.DPipe(this=left, expression=right, safe=False)


def literal(value: Expr, what: str) -> str:
    if isinstance(value, exp.Literal):
        return str(value.this)
    raise StatementError("sql_unsupported", f"{what} must be a constant.")


def unit_of(value: Expr) -> str:
    unit = _UNITS.get(value.name.lower()) if isinstance(value, (exp.Column, exp.Var)) else None
    if unit is None:
        raise StatementError("sql_unit", value.sql("databricks"))
    return unit


def date_part(part: Expr, value: Expr) -> Expr:
    """Return a part of a date or time, as EXTRACT names it."""
    name = _PARTS.get(part.name.upper())
    if name is None:
        raise StatementError("sql_extract", f"Cannot extract `{part.name}` from a date or time.")
    return call(name, value)


def interval(node: exp.Interval) -> Expr:
    """Return an interval in DuckDB's form. Raises StatementError if it is not served."""
    unit, value = node.args.get("unit"), node.this
    if isinstance(unit, exp.IntervalSpan):
        text = literal(value, "an interval").strip()
        span = f"{unit.this.name} TO {unit.expression.name}".upper()
        match = re.fullmatch(_SPANS.get(span, r"(?!)"), text)
        if match is None:
            raise StatementError("sql_unsupported", f"INTERVAL {text!r} {span} is not served.")
        sign = "-" if text.startswith("-") else ""
        parts = " ".join(f"{sign}{number} {name}" for name, number in match.groupdict().items() if number)
        result = typed_as(exp.Literal.string(parts), "INTERVAL")
        if span == "YEAR TO MONTH":
            result.meta["months"] = True
        return result
    if unit is None:
        raise StatementError("sql_unsupported", f"{node.sql('databricks')} is not served.")
    if unit.name.lower() not in _UNITS or unit.name.lower() in {"quarter", "dayofyear"}:
        raise StatementError("sql_syntax", f"Syntax error at or near '{unit.name}': it is no unit of INTERVAL.")
    if isinstance(value, exp.Literal) and re.fullmatch(r"-?\d+(\.\d+)?", value.name):
        amount: Expr = exp.Literal.string(value.name)
    else:
        amount = exp.Paren(this=value)
    return exp.Interval(this=amount, unit=exp.Var(this=_UNITS[unit.name.lower()].upper()))


def constant(value: object, kind: exp.DataType) -> Expr:
    """Return a parameter's value, still in the platform's dialect."""
    if value is None:
        return exp.Cast(this=exp.null(), to=kind)
    if kind.is_type("TEXT", "VARCHAR"):
        return exp.Literal.string(str(value))
    if kind.is_type("INT") and re.fullmatch(r"-?\d{1,9}", str(value)):
        number = exp.Literal.number(str(value).lstrip("-"))
        return exp.Paren(this=exp.Neg(this=number)) if str(value).startswith("-") else number
    return exp.Cast(this=exp.Literal.string(str(value)), to=kind)


def duck_text(tree: Expr) -> str:
    """Return the SQL text to run. Raises StatementError if DuckDB cannot express a part of it."""
    try:
        return _text_of(tree)
    except RecursionError:
        return _text_of(_with_texts(tree.copy()))


def _text_of(tree: Expr) -> str:
    try:
        return tree.sql("duckdb", comments=False, normalize_functions=False, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        raise StatementError("sql_unsupported", str(error)) from None


def _with_texts(tree: Expr) -> Expr:
    """Put the text of deep arguments of calls in their place, the innermost first: texts are made by recursion."""
    heights: dict[int, int] = {}
    for node in reversed(list(tree.bfs())):
        height = 1 + max((heights[id(each)] for each in node.iter_expressions()), default=0)
        if height > _DEEP and isinstance(node.parent, exp.Anonymous):
            heights[id(node.replace(exp.Var(this=_text_of(node))))] = 1
        else:
            heights[id(node)] = height
    return tree


def typed_as(value: Expr, duck: str, *, attempt: bool = False) -> exp.Cast:
    """Return a plain cast to a type of DuckDB."""
    return (exp.TryCast if attempt else exp.Cast)(this=value, to=_built(duck).copy())


@functools.lru_cache(maxsize=256)
def _built(duck: str) -> exp.DataType:
    return exp.DataType.build(duck, dialect="duckdb")


def present(value: Expr) -> Expr:
    """Return the condition that a value is not null."""
    return exp.Not(this=exp.Is(this=value.copy(), expression=exp.null()))


def by_parameter(what: str, arguments: Sequence[Expr], parameters: Sequence[str]) -> dict[str, Expr]:
    """Return the arguments of a call by their parameters. Raises StatementError if they are none of its."""
    plain = [each for each in arguments if not isinstance(each, exp.Kwarg)]
    named = {each.this.name.lower(): each.expression for each in arguments if isinstance(each, exp.Kwarg)}
    fit = len(plain) <= len(parameters) and set(named) <= set(parameters[len(plain) :])
    if not fit or len(plain) + len(named) < len(arguments):
        raise StatementError("sql_arguments", f"The `{what}` takes: {', '.join(parameters) or 'nothing'}.")
    return {**dict(zip(parameters, plain, strict=False)), **named}


def array(*values: Expr) -> exp.Anonymous:
    """Return an array of values."""
    return call("list_value", *values)


def is_macro(name: str) -> bool:
    """Check whether there is a macro or routine for a function of the name."""
    return f"spark_{name}" in _macros() or f"spark_{name}" in ROUTINES
