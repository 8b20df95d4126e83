"""Rewrite calls that have another form in DuckDB, and list the functions that exist."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from obo_kit.testing.sql._calls import (
    array,
    as_text,
    call,
    cast,
    date_part,
    duck_type,
    is_macro,
    is_ordered,
    known_type,
    literal,
    piped,
    present,
    typed_as,
    unit_of,
)
from obo_kit.testing.sql._dialect import parse_type
from obo_kit.testing.sql._lambdas import (
    filtered,
    on_entries,
    quantified,
    reduced,
    sorted_by,
    struct_of,
    transform,
    zip_maps,
    zip_with,
)
from obo_kit.testing.sql._patterns import formatted, strptime_format
from obo_kit.testing.sql._refusals import StatementError
from obo_kit.testing.sql._routines import ROUTINES, number_digits
from obo_kit.testing.sql._types import fields_of

__all__ = ["CASTS", "UNSERVED_TABLES", "renamed", "rewrite_call"]

Expr = exp.Expr

# Functions that are the same in both, by the same name.
_SAME = frozenset(
    "abs acos acosh approx_count_distinct arg_max arg_min asin asinh atan atan2 atanh avg bit_and bit_or bit_xor bool_and "  # noqa: SIM905
    "bool_or cbrt coalesce corr cos cosh cot covar_pop covar_samp cume_dist degrees dense_rank exp greatest ilike "
    "kurtosis_pop lag lead least like lower map_concat map_entries map_from_entries map_keys map_values md5 median mode "
    "nth_value ntile percent_rank percentile_cont percentile_disc pi pow radians rank regr_avgx regr_avgy regr_count "
    "regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy row_number sha1 sin sinh stddev stddev_pop stddev_samp "
    "sum tan tanh translate unhex upper var_pop var_samp variance".split()
)
_RENAMED = {
    "aggregate": "reduce", "any": "bool_or", "any_value": "first",
    "array_agg": "collect_list", "bit_get": "getbit", "timediff": "timestampdiff",
    "cardinality": "size", "ceiling": "ceil", "char": "chr", "character_length": "length",
    "char_length": "length", "charindex": "locate", "count_if": "countif",
    "kurtosis": "kurtosis_pop", "date_part": "datepart", "every": "bool_and",
    "first_value": "first", "last_value": "last", "lcase": "lower", "len": "length", "max_by": "arg_max", "mean": "avg",
    "min_by": "arg_min", "position": "locate", "power": "pow", "printf": "format_string", "random": "rand",
    "signum": "sign", "some": "bool_or", "std": "stddev", "substr": "substring",
    "to_varchar": "to_char", "try_avg": "avg", "try_sum": "sum",
    "ucase": "upper", "user": "current_user", "session_user": "current_user",
    "approx_percentile": "percentile_approx", "string_agg": "listagg", "curdate": "current_date",
    "now": "current_timestamp", "localtimestamp": "current_timestamp", "getdate": "current_timestamp",
    "dateadd": "date_add", "date_diff": "datediff", "sha": "sha1", "current_schema": "current_database",
    "dayofmonth": "day", "iff": "if", "ifnull": "nvl", "regexp": "regexp_like", "rlike": "regexp_like",
    "to_unix_timestamp": "unix_timestamp",
}  # fmt: skip
CASTS = frozenset(
    {
        "int", "bigint", "smallint", "tinyint", "double", "float", "string", "date", "timestamp", "boolean",
        "decimal", "binary",
    }
)  # fmt: skip  # functions named like the type that they cast to

_ONLY_OVER = frozenset(
    "cume_dist dense_rank lag lead nth_value ntile percent_rank rank row_number".split()  # noqa: SIM905
)
# Functions whose first argument becomes text.
_OF_TEXT = frozenset(
    "ascii bit_length contains endswith find_in_set ilike initcap instr left levenshtein like lower lpad ltrim mask "  # noqa: SIM905
    "octet_length overlay regexp_count regexp_extract regexp_extract_all regexp_instr regexp_like regexp_replace "
    "regexp_substr repeat replace right rpad rtrim soundex split split_part startswith substring_index translate trim "
    "upper url_encode".split()
)

# Functions of the platform that are not served, by name or by family: a name that is not here does not exist.
_UNSERVED = re.compile(
    r"(ai|bitmap|cloud_files|h3|hll|kll|st|theta|tuple|variant|vector|xpath)_\w+"
    r"|(try_)?(aes_(de|en)crypt|avg|base32|make_\w+|parse_url|reflect|secret|sum|url_decode|validate_utf8)"
    r"|(from|schema_of|to)_(csv|variant|variant_agg|xml)|(from|to|try_to)_(avro|base32|binary|protobuf|time)"
    r"|(make|to)_timestamp_(ltz|ntz)|make_(time|valid_utf8)|try_variant_\w+|approx_top_k\w*|collat(e|ion)s?|count_min_sketch"
    r"|current_(metastore|path|recipient|time|version)|hmac|histogram_numeric|input_file_\w+|is_valid_\w+"
    r"|jaro_winkler\w*|java_method|luhn_check|measure|monotonically_increasing_id|quote|randstr|session_window"
    r"|sentences|shiftrightunsigned|spark_partition_id|time_(diff|trunc|bucket)|to_variant_object|uniform"
    r"|unix_nanos|window_time|xpath"
)
# The same of functions that return rows.
UNSERVED_TABLES = re.compile(
    r"read_\w+|table_changes|event_log|list_secrets|vector_search|remote_query|sql_keywords|cloud_files_state|ai_\w+"
)


# ---------------------------------------------------------------------------------------------- calls


def renamed(called: exp.Anonymous | str) -> str:
    """Return the one name, of several, under which a function is known here."""
    name = called if isinstance(called, str) else called.name.lower()
    return _RENAMED.get(name, name)


def rewrite_call(node: exp.Anonymous) -> Expr | None:
    """Return a call in DuckDB's form; None if there is no such function."""
    name = renamed(node)
    if name in _ONLY_OVER:
        _check_window(name, node)
    if name in {"grouping", "grouping_id"}:
        return _grouping(name, node.expressions)
    if node.expressions and name in _OF_TEXT:
        node.set("expressions", [as_text(node.expressions[0]), *node.expressions[1:]])
    rewrite = _REWRITES.get(name)
    if rewrite is not None:
        try:
            return rewrite(*node.expressions)
        except (IndexError, TypeError, ValueError):
            raise StatementError(
                "sql_arguments", f"The `{node.name}` does not take {len(node.expressions)} arguments."
            ) from None
    if is_macro(name) and not name.startswith("_"):
        return call(name, *node.expressions)
    if name in _SAME:
        return exp.Anonymous(this=name, expressions=node.expressions)
    if _UNSERVED.fullmatch(name):
        raise StatementError("sql_unsupported", f"the function {name} is not served.")
    return None


def _check_window(name: str, node: Expr) -> None:
    above = node.parent.parent if isinstance(node.parent, (exp.IgnoreNulls, exp.RespectNulls)) else node.parent
    if not isinstance(above, exp.Window):
        raise StatementError("sql_window_without", f'Window function "{name}" requires an OVER clause.')
    if not is_ordered(above):
        raise StatementError("sql_window_order", f"Window function {name} requires the window to be ordered.")


def _concat(*values: Expr) -> Expr:
    if len(values) == 1:
        return call("string", values[0])
    return exp.Paren(this=functools.reduce(piped, values or [exp.Literal.string("")]))


def _concat_ws(separator: Expr, *values: Expr) -> Expr:
    return call(
        "concat_ws", separator, *(call("_part", each, exp.Literal.string(""), separator.copy()) for each in values)
    )


def _hash(name: str, duck: str, first: Expr, *values: Expr) -> Expr:
    seed: Expr = typed_as(exp.Literal.number(42), duck)
    return functools.reduce(lambda result, value: call(name, result, value), (first, *values), seed)


def _nullif(value: Expr, other: Expr) -> Expr:
    equal = exp.EQ(this=value, expression=other)
    return exp.case().when(equal, exp.null(), copy=False).else_(value.copy(), copy=False)


def _decode(value: Expr, *rest: Expr) -> Expr:
    if len(rest) == 1:
        return call("_charset", value, rest[0])
    pairs = [rest[at : at + 2] for at in range(0, len(rest) - 1, 2)]
    default = rest[-1] if len(rest) % 2 else exp.null()
    branches = [exp.If(this=exp.NullSafeEQ(this=value.copy(), expression=a), true=b) for a, b in pairs]
    return exp.Case(ifs=branches, default=default)


def _struct(*values: Expr) -> Expr:
    if any(value.is_star for value in values):
        return _struct_of_row(*values)
    fields = []
    for at, value in enumerate(values, 1):
        inner = value.this if isinstance(value, exp.Alias) else value
        name = (
            value.alias
            if isinstance(value, exp.Alias)
            else value.name
            if isinstance(value, (exp.Column, exp.Dot))
            else f"col{at}"
        )
        fields.append((name, inner))
    return struct_of(fields)


def _struct_of_row(row: Expr, *others: Expr) -> Expr:
    if others:
        raise StatementError("sql_unsupported", "a struct of * and other values is not served.")
    return exp.Anonymous(this="struct_pack", expressions=[exp.Columns(this=row, unpack=True)])


def _named_struct(*values: Expr) -> Expr:
    return struct_of((literal(values[at], "a field name"), values[at + 1]) for at in range(0, len(values), 2))


def _array(*values: Expr) -> Expr:
    shapes = {tuple(field.name for field in value.expressions) for value in values if isinstance(value, exp.Struct)}
    if len(shapes) > 1:
        raise StatementError("sql_types", "The structs of an array need the same fields.")
    return array(*values)


def _array_sort(values: Expr, compare: Expr | None = None) -> Expr:
    return call("array_sort", values) if compare is None else sorted_by(values, compare)


def _elt(at: Expr, *values: Expr) -> Expr:
    return call("try_element_at", array(*values), at)


def _arrays_zip(*values: Expr) -> Expr:
    pair = exp.to_identifier("pair", quoted=True)
    fields = [
        (value.name if isinstance(value, exp.Column) else str(at), call("struct_extract", pair, at + 1))
        for at, value in enumerate(values)
    ]
    return call("list_transform", call("list_zip", *values), exp.Lambda(this=struct_of(fields), expressions=[pair]))


def _map(*values: Expr) -> Expr:
    return call("map", array(*values[::2]), array(*values[1::2]))


def _from_json(value: Expr, schema: Expr, options: Expr | None = None) -> Expr:
    if options is not None:
        raise StatementError("sql_unsupported", "from_json with options is not served.")
    if schema.name == "spark_schema_of_json":
        schema = exp.Literal.string(ROUTINES[schema.name][0](literal(schema.expressions[0], "a schema")))
    kind = parse_type(literal(schema, "a schema"))
    text: Expr = typed_as(value, "JSON", attempt=True)
    if "MAP(" in duck_type(kind):
        return typed_as(text, duck_type(kind), attempt=True)
    if kind.is_type("STRUCT"):
        # What is not JSON makes a struct of nulls, not null.
        written = exp.NEQ(this=call("trim", value.copy()), expression=exp.Literal.string(""))
        empty = typed_as(exp.Literal.string("{}"), "JSON")
        text = call("coalesce", text, exp.case().when(written, empty, copy=False))
    # The cast is for constants that are not JSON: to DuckDB, they have no type.
    structure = exp.Literal.string(_structure(kind))
    text = call("_fitted", typed_as(text, "VARCHAR"), structure)
    return typed_as(call("json_transform", text, structure.copy()), duck_type(kind))


def _to_json(value: Expr, options: Expr | None = None) -> Expr:
    if options is not None:
        raise StatementError("sql_unsupported", "to_json with options is not served.")
    return call("to_json", value)


def _variant_get(value: Expr, path: Expr, kind: Expr | None = None, *, attempt: bool = False) -> Expr:
    if kind is None:
        return call("json_extract", value, path)
    wanted = parse_type(literal(kind, "a type"))
    return cast(call("json_extract_string", value, path), wanted, attempt=attempt)


def _structure(kind: exp.DataType) -> str:
    def shape(each: exp.DataType) -> Any:
        if each.is_type("STRUCT"):
            return {field.name: shape(field.args["kind"]) for field in each.expressions}
        return [shape(each.expressions[0])] if each.is_type("ARRAY") else duck_type(each)

    return json.dumps(shape(kind))


def _date_add(*values: Expr) -> Expr:
    if len(values) == 2:
        return call("date_add", *values)
    unit, count, start = values
    step = call(f"to_{unit_of(unit)}s", typed_as(call("_whole", count), "INTEGER"))
    return exp.Paren(this=exp.Add(this=call("timestamp", start), expression=step))


def _datediff(*values: Expr) -> Expr:
    if len(values) == 2:
        return call("datediff", *values)
    unit, start, end = values
    return call("timestampdiff", exp.Literal.string(unit_of(unit)), start, end)


def _date_format(value: Expr, pattern: Expr) -> Expr:
    return formatted(call("timestamp", value), literal(pattern, "a pattern"))


def _parsed(kind: str, attempt: str, value: Expr, pattern: Expr | None = None) -> Expr:
    if pattern is None:
        return call(attempt + kind, value)
    return typed_as(call(f"_{attempt}parsed", value, strptime_format(literal(pattern, "a pattern"))), kind)


def _number(name: str, value: Expr, pattern: Expr) -> Expr:
    try:
        digits, after = number_digits(literal(pattern, "a number format"))
    except ValueError as error:
        raise StatementError("sql_unsupported", f"{error}.") from None
    return typed_as(call(name, value, pattern), f"DECIMAL({digits}, {after})")


def _to_char(value: Expr, pattern: Expr) -> Expr:
    with contextlib.suppress(ValueError):
        number_digits(literal(pattern, "a pattern"))
        return call("_number_text", typed_as(value, "VARCHAR"), pattern)
    if re.search("[09]", pattern.name):
        raise StatementError("sql_unsupported", f"the number format {pattern.name!r} is not served.")
    return _date_format(value, pattern)


def _window(moment: Expr, size: Expr, *others: Expr) -> Expr:
    text = literal(size, "the size of a window")
    match = re.fullmatch(
        r"(?:interval )?(\d+) ((?:week|day|hour|minute|second|millisecond|microsecond)s?)", text.lower()
    )
    if match is None or others:
        raise StatementError("sql_unsupported", "only tumbling windows of a fixed size are served.")
    return call("window", moment, typed_as(exp.Literal.string(f"{match[1]} {match[2]}"), "INTERVAL"))


def _unix_timestamp(value: Expr, pattern: Expr | None = None) -> Expr:
    return call("unix_timestamp", _parsed("timestamp", "", value, pattern))


def _from_unixtime(value: Expr, pattern: Expr | None = None) -> Expr:
    text = literal(pattern, "a pattern") if pattern is not None else "yyyy-MM-dd HH:mm:ss"
    return formatted(call("timestamp_seconds", value), text)


def _round(value: Expr, *scale: Expr) -> Expr:
    value = typed_as(value, "DOUBLE") if isinstance(value, exp.Null) else value
    return call("round", value, *scale)


_PLACEHOLDER = r"%(?:%|[-+ 0,#]*\d*(?:\.(\d+))?([a-zA-Z]))"


def _format_string(pattern: Expr, *values: Expr) -> Expr:
    text = literal(pattern, "a pattern")
    placeholders = list(re.finditer(_PLACEHOLDER, text))
    kinds = [each[2] for each in placeholders if each[2]]
    if len(kinds) != len(values) or not set(kinds) <= set("sdfexX"):
        raise StatementError("sql_unsupported", f"the pattern {pattern.sql('databricks')} is not served.")
    written = list(map(_formatted, [each for each in placeholders if each[2]], values))
    plain = re.sub(_PLACEHOLDER, lambda each: each[0] if each[2] in {None, "s"} else "%s", text)
    return exp.Anonymous(this="printf", expressions=[exp.Literal.string(plain), *written])


def _formatted(placeholder: re.Match[str], value: Expr) -> Expr:
    """Return a value as a placeholder writes it. Null is a word."""
    digits, kind = placeholder.groups()
    if kind == "s":
        return call("coalesce", as_text(value), "null")
    # The platform rounds halves up; DuckDB rounds them to even.
    value = call("round", value, int(digits or 6)) if kind == "f" else value
    number = typed_as(value, "DOUBLE" if kind in {"e", "f"} else "BIGINT")
    return call("coalesce", call("printf", placeholder[0], number), "null"[: int(digits or 4)])


# ---------------------------------------------------------------------------------------------- aggregates


def _collect_list(value: Expr) -> Expr:
    """Make a list without nulls. The rewriter handles what surrounds it."""
    inner = value.expressions[0] if isinstance(value, exp.Distinct) else value
    if isinstance(inner, exp.Struct) or inner.name == "struct_pack":
        return call("list", value)
    return exp.Filter(this=call("list", value), expression=exp.Where(this=present(inner)))


def _collect_set(value: Expr) -> Expr:
    return _collect_list(value if isinstance(value, exp.Distinct) else exp.Distinct(expressions=[value]))


def _count(*values: Expr) -> Expr:
    distinct = len(values) == 1 and isinstance(values[0], exp.Distinct)
    counted = values[0].expressions if distinct else list(values)
    if len(counted) > 1:
        row = struct_of((str(at), each) for at, each in enumerate(counted))
        counted = [exp.case().when(exp.and_(*map(present, counted)), row, copy=False)]
    return exp.Anonymous(this="count", expressions=[exp.Distinct(expressions=counted)] if distinct else counted)


def _count_if(value: Expr) -> Expr:
    return _count(exp.case().when(value, exp.Literal.number(1), copy=False))


def _grouping(name: str, arguments: list[Expr]) -> Expr:
    """Return which of the grouping columns a row sums up, as a bit per column."""
    if not arguments:
        raise StatementError("sql_arguments", f"The `{name}` needs GROUP BY.")
    bits = exp.Anonymous(this="grouping", expressions=arguments)
    return typed_as(bits, "TINYINT" if name == "grouping" else "BIGINT")


def _extreme(name: str, value: Expr) -> Expr:
    """Take the first struct in an order in which null is the least field: to DuckDB, it would be the greatest."""
    value = value.expressions[0] if isinstance(value, exp.Distinct) else value
    kind, least = known_type(value), name == "min"
    if isinstance(value, exp.Struct):
        fields = [each.expression.copy() for each in value.expressions]
    elif kind.startswith("STRUCT("):
        fields = [call("struct_extract", value.copy(), field) for field, _ in fields_of(kind)]
    else:
        return call(name, value)
    order = [exp.Ordered(this=each, desc=not least, nulls_first=least) for each in fields]
    return call("first", exp.Order(this=value, expressions=order))


def _nulls_too(name: str, value: Expr, ignore: Expr | None = None) -> Expr:
    made = call(name, value)
    return exp.IgnoreNulls(this=made) if ignore is not None and ignore.sql().upper() == "TRUE" else made


def _percentile(name: str, value: Expr, share: Expr, *accuracy: Expr) -> Expr:
    if name == "quantile_cont" and accuracy:
        raise StatementError("sql_unsupported", "percentile with a frequency is not served.")
    if share.find(exp.Neg):
        # To DuckDB, it would mean the descending order.
        raise StatementError("sql_types", "The percentage must be between 0 and 1.")
    return call(name, value, share)


_REWRITES: dict[str, Callable[..., Expr]] = {
    "array": _array, "array_sort": _array_sort, "arrays_zip": _arrays_zip, "concat": _concat,
    "concat_ws": _concat_ws, "count": _count, "date_add": _date_add,
    "date_format": _date_format, "datediff": _datediff, "datepart": date_part, "decode": _decode,
    "exists": functools.partial(quantified, "any"),
    "elt": _elt,
    "collect_list": _collect_list, "collect_set": _collect_set, "countif": _count_if,
    "filter": filtered, "first": functools.partial(_nulls_too, "first"),
    "forall": functools.partial(quantified, "every"), "format_string": _format_string,
    "hash": functools.partial(_hash, "_hash_of", "INTEGER"),
    "xxhash64": functools.partial(_hash, "_xxhash64_of", "BIGINT"),
    "from_json": _from_json, "from_unixtime": _from_unixtime, "last": functools.partial(_nulls_too, "last"), "map": _map,
    "max": functools.partial(_extreme, "max"), "min": functools.partial(_extreme, "min"),
    "map_filter": functools.partial(on_entries, "filter"), "map_zip_with": zip_maps,
    "named_struct": _named_struct, "nullif": _nullif,
    "percentile": functools.partial(_percentile, "quantile_cont"),
    "percentile_approx": functools.partial(_percentile, "quantile_disc"), "reduce": reduced, "round": _round, "struct": _struct,
    "timestampadd": _date_add, "timestampdiff": _datediff,
    "to_date": functools.partial(_parsed, "date", ""), "to_timestamp": functools.partial(_parsed, "timestamp", ""),
    "try_to_date": functools.partial(_parsed, "date", "try_"),
    "try_to_timestamp": functools.partial(_parsed, "timestamp", "try_"),
    # A seed does not give the platform's numbers.
    "rand": lambda _seed=None: call("rand"), "randn": lambda _seed=None: call("randn"),
    "to_char": _to_char, **{name: functools.partial(_number, name) for name in ("to_number", "try_to_number")},
    "to_json": _to_json, "transform": transform, "transform_keys": functools.partial(on_entries, "keys"),
    "transform_values": functools.partial(on_entries, "values"),
    "try_variant_get": functools.partial(_variant_get, attempt=True), "variant_get": _variant_get,
    "unix_timestamp": _unix_timestamp, "window": _window,
    "zeroifnull": lambda value: call("coalesce", value, 0), "zip_with": zip_with,
    **{name: functools.partial(lambda name, value: cast(value, parse_type(name)), name) for name in CASTS},
}  # fmt: skip
