"""Functions of Databricks SQL that need a program, not an expression: DuckDB calls them once per row."""

from __future__ import annotations

import decimal
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from typing import Any, NoReturn

from obo_kit.testing.sql._decimals import computed
from obo_kit.testing.sql._hashes import hashed
from obo_kit.testing.sql._json_paths import all_at_path, fitted, matches_of_path
from obo_kit.testing.sql._notes import noted
from obo_kit.testing.sql._orders import places
from obo_kit.testing.sql._texts import cast_text, double_text, json_text, variant_text

__all__ = ["ROUTINES", "number_digits", "register_routine"]

_SOUNDEX = {
    letter: str(digit)
    for digit, letters in enumerate(("BFPV", "CGJKQSXZ", "DT", "L", "MN", "R"), 1)
    for letter in letters
}


def _fail(message: str) -> NoReturn:
    raise ValueError(message)


def _soundex(text: str) -> str:
    word = text.upper()
    if not re.match(r"[A-Z]", word):
        return text
    code, before = word[0], _SOUNDEX.get(word[0], "")
    for letter in word[1:]:
        digit = _SOUNDEX.get(letter, "")
        if digit and digit != before:
            code += digit
        # H and W do not separate letters of one sound; vowels do.
        before = before if letter in "HW" else digit
    return code[:4].ljust(4, "0")


def _levenshtein(a: str, b: str) -> int:
    """Return the distance of two texts in characters: DuckDB 1 counts bytes."""
    row = list(range(len(b) + 1))
    for at, letter in enumerate(a, 1):
        above, row = row, [at]
        for place, other in enumerate(b, 1):
            row.append(min(above[place] + 1, row[-1] + 1, above[place - 1] + (letter != other)))
    return row[-1]


def _digest(data: bytes, bits: str) -> str | None:
    """Return the SHA-2 of a number of bits; 0 stands for 256."""
    size = {"0": "256"}.get(bits, bits)
    return hashlib.new(f"sha{size}", data).hexdigest() if size in {"224", "256", "384", "512"} else None


# ---------------------------------------------------------------------------------------------- numbers by a format


def number_digits(pattern: str) -> tuple[int, int]:
    """Return the digits of a number format, and those after its point. Raises ValueError if it is not a number format."""
    match = re.fullmatch(r"(?:MI|S)?\$?([09G,]*)(?:[.D]([09]*))?\$?(?:MI|S|PR)?", pattern.upper())
    if match is None or not re.search("[09]", pattern):
        msg = f"{pattern!r} is not a number format"
        raise ValueError(msg)
    after = len(match[2] or "")
    return len(re.sub("[G,]", "", match[1])) + after, after


def _shape(pattern: str) -> tuple[list[str], str]:
    """Return the groups of digits before the point, and the digits after it."""
    before, _, after = re.sub(r"MI|S|PR|\$", "", pattern.upper()).replace("D", ".").partition(".")
    return before.replace("G", ",").split(","), after


def _parsed_number(text: str, pattern: str) -> str | None:
    groups, after = _shape(pattern)
    sign, body = _sign(text.strip(), pattern.upper())
    whole, point, part = body.partition(".")
    fits = re.fullmatch(_whole_pattern(groups), whole) and re.fullmatch(rf"\d{{0,{len(after)}}}", part)
    if not fits or (point and not after) or not (whole or part):
        return None
    return sign + (whole.replace(",", "") or "0") + point + part


def _sign(body: str, pattern: str) -> tuple[str, str]:
    """Return the sign of a number, and its text without sign and currency."""
    sign = ""
    if pattern.startswith(("MI", "S")) and body.startswith(("+", "-")):
        sign, body = body[0], body[1:]
    elif pattern.endswith(("MI", "S")) and body.endswith(("+", "-")):
        sign, body = body[-1], body[:-1]
    elif pattern.endswith("PR") and body.startswith("<") and body.endswith(">"):
        sign, body = "-", body[1:-1]
    return sign.replace("+", ""), body.replace("$", "", 1) if "$" in pattern else body


def _whole_pattern(groups: list[str]) -> str:
    """Return a pattern of the digits before the point; a format that starts with 9 takes fewer of them."""
    full = ",".join(rf"\d{{{len(group)}}}" for group in groups)
    if groups[0].startswith("0"):
        return full
    fewer = [
        ",".join(
            [
                rf"\d{{{0 if at == len(groups) - 1 else 1},{len(group)}}}",
                *(rf"\d{{{len(each)}}}" for each in groups[at + 1 :]),
            ]
        )
        for at, group in enumerate(groups)
    ]
    return "|".join([full, *fewer])


def _to_number(text: str, pattern: str) -> str:
    number = _parsed_number(text, pattern)
    if number is None:
        msg = (
            f"[INVALID_FORMAT.MISMATCH_INPUT] The format is invalid: '{pattern}'. "
            f"The input \"STRING\" '{text}' does not match the format. SQLSTATE: 42601"
        )
        raise ValueError(msg)
    return number


def _number_text(text: str, pattern: str) -> str:
    """Write a number by a format (spaces, and the sign that a format without one leaves out, are inferred from Spark)."""
    pattern = pattern.upper().replace("D", ".")
    groups, after = _shape(pattern)
    number = decimal.Decimal(text)
    whole, _, part = format(abs(number), "f").partition(".")
    digits, part = whole.lstrip("0"), part.rstrip("0")
    places = sum(map(len, groups))
    if len(digits) > places or len(part) > len(after):
        body, part = ",".join("#" * len(group) for group in groups), "#" * len(after)
    else:
        body, part = _placed(digits.rjust(places), groups), part.ljust(len(after), "0")
    before, behind = _signs(pattern, negative=number < 0)
    free = len(body) - len(body.lstrip(" "))
    body = f"{before}${body}" if "$" in pattern else body[:free] + before + body[free:]
    if "." in pattern:
        body = (body[:-1] + "0" if body.endswith(" ") else body) + ("." + part if after else " ")
    return body + behind


def _placed(digits: str, groups: list[str]) -> str:
    """Put digits in their groups: a group that begins with 0 is filled with zeros, another with spaces."""
    text, at = "", 0
    for group in groups:
        part = digits[at : at + len(group)]
        part = part.replace(" ", "0") if group.startswith("0") else part
        text += ("," if text.strip() else " ") * bool(at) + part
        at += len(group)
    return text


def _signs(pattern: str, *, negative: bool) -> tuple[str, str]:
    """Return what is before a number and after it to tell its sign."""
    if pattern.endswith("PR"):
        return ("<", ">") if negative else ("", "  ")
    sign = "-" if negative else "+" if "S" in pattern else " "
    if pattern.startswith(("MI", "S")):
        return sign, ""
    return "", sign if pattern.endswith(("MI", "S")) else ""


# ---------------------------------------------------------------------------------------------- format_number


def _format_number(kind: str, text: str, pattern: str) -> str:
    """Write a number by a pattern such as ``#,###.00``. A DOUBLE is rounded as the number that it is, not by its digits."""
    match = re.fullmatch(r"([^#0,.]*)([#,]*)([0,]*)(?:\.(0*)(#*))?([^#0,.]*)", pattern)
    if match is None or "'" in pattern or "%" in pattern:
        msg = f"[UNSUPPORTED_FEATURE] The local workspace does not serve the pattern {pattern} of format_number SQLSTATE: 0A000"
        raise ValueError(msg)
    prefix, _, required, fixed, optional, suffix = (each or "" for each in match.groups())
    number = decimal.Decimal(float(text) if kind == "DOUBLE" else text)
    step = decimal.Decimal(1).scaleb(-len(fixed + optional))
    digits = format(abs(number).quantize(step, decimal.ROUND_HALF_EVEN), "f")
    whole, _, part = digits.partition(".")
    whole = whole.lstrip("0").rjust(required.count("0"), "0")
    if "," in pattern.partition(".")[0]:
        whole = re.sub(r"(?<=\d)(?=(\d{3})+$)", ",", whole)
    part = part[: len(fixed)] + part[len(fixed) :].rstrip("0")
    sign = "-" if number < 0 and re.search("[1-9]", digits) else ""
    return f"{sign}{prefix}{whole or ('' if part else '0')}{'.' + part if part else ''}{suffix}"


# ---------------------------------------------------------------------------------------------- schemas


def _schema_of_json(text: str) -> str:
    try:
        return _schema(json.loads(text))
    except ValueError:
        return "STRING"


def _schema(value: Any) -> str:
    if isinstance(value, dict):
        return f"STRUCT<{', '.join(f'{name}: {_schema(value[name])}' for name in sorted(value))}>"
    if isinstance(value, list):
        kinds = {_schema(each) for each in value if each is not None} or {"STRING"}
        if kinds == {"BIGINT", "DOUBLE"}:
            return "ARRAY<DOUBLE>"
        if len(kinds) > 1:
            raise ValueError(_UNEVEN)
        return f"ARRAY<{kinds.pop()}>"
    for kind, name in ((bool, "BOOLEAN"), (int, "BIGINT"), (float, "DOUBLE")):
        if isinstance(value, kind):
            return name
    return "STRING"


_UNEVEN = (
    "[UNSUPPORTED_FEATURE] The local workspace does not serve schema_of_json of arrays of several types SQLSTATE: 0A000"
)


def _typeof(duck: str) -> str:
    from obo_kit.testing.sql._types import sql_type

    return "variant" if duck == "JSON" else re.sub(r"(?<=[:,]) ", "", sql_type(duck)[0]).lower()


_TEXT = "VARCHAR"
# Function, DuckDB's types of its arguments, and of its result. Null gives null.
ROUTINES: dict[str, tuple[Callable[..., Any], tuple[str, ...], str]] = {
    "spark__all_at_path": (all_at_path, (_TEXT, _TEXT), _TEXT),
    "spark__cast_text": (cast_text, (_TEXT, _TEXT), _TEXT),
    "spark__computed": (computed, (_TEXT, _TEXT, _TEXT), _TEXT),
    "spark__crc32_bytes": (zlib.crc32, ("BLOB",), "BIGINT"),
    "spark__digest": (_digest, ("BLOB", _TEXT), _TEXT),
    "spark__double_text": (double_text, (_TEXT,), _TEXT),
    "spark__fail": (_fail, (_TEXT,), '"NULL"'),
    "spark__fitted": (fitted, (_TEXT, _TEXT), _TEXT),
    "spark__hashed": (hashed, (_TEXT, _TEXT, _TEXT), _TEXT),
    "spark__json_text": (json_text, (_TEXT, _TEXT), _TEXT),
    "spark_levenshtein": (_levenshtein, (_TEXT, _TEXT), "INTEGER"),
    "spark__matches_of_path": (matches_of_path, (_TEXT, _TEXT), _TEXT),
    "spark__note": (noted, (_TEXT, _TEXT), _TEXT),
    "spark__number_by_pattern": (_format_number, (_TEXT, _TEXT, _TEXT), _TEXT),
    "spark__number_text": (_number_text, (_TEXT, _TEXT), _TEXT),
    "spark__parsed_number": (_to_number, (_TEXT, _TEXT), _TEXT),
    "spark__try_parsed_number": (_parsed_number, (_TEXT, _TEXT), _TEXT),
    "spark__places": (places, (_TEXT, _TEXT, _TEXT), _TEXT),
    "spark_schema_of_json": (_schema_of_json, (_TEXT,), _TEXT),
    "spark_soundex": (_soundex, (_TEXT,), _TEXT),
    "spark__type_name": (_typeof, (_TEXT,), _TEXT),
    "spark__variant_text": (variant_text, (_TEXT,), _TEXT),
}


def register_routine(connection: Any, name: str) -> None:
    """Add a function to a database."""
    import duckdb

    function, takes, returns = ROUTINES[name]
    # DuckDB counts the parameters. It calls the function with null only so that it may also return null.
    by_count = (
        lambda a: None if a is None else function(a),
        lambda a, b: None if a is None or b is None else function(a, b),
        lambda a, b, c: None if a is None or b is None or c is None else function(a, b, c),
    )
    connection.create_function(
        name,
        by_count[len(takes) - 1],
        [duckdb.type(each) for each in takes],
        duckdb.type(returns),
        null_handling="special",
    )
