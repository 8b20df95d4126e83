"""``http_request``: a call of the service behind a connection of Unity Catalog, from a statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlglot import exp

from obo_kit.testing.sql._calls import array, by_parameter, literal, typed_as
from obo_kit.testing.sql._refusals import StatementError

__all__ = ["HttpRequest", "http_request", "register"]

HttpRequest = Callable[[str, str, Mapping[str, str | None]], tuple[int, str]]
"""Takes a user name, a connection, and ``method``, ``path``, ``headers``, ``params`` and ``json`` (the last three as JSON).

Returns status and text.

It raises ValueError with the platform's words if the request cannot be made.
"""

_NAME = "workspace_http_request"
_PARAMETERS = ("conn", "method", "path", "headers", "params", "json")
_MAPS = ("headers", "params")


def http_request(arguments: list[exp.Expr], user_name: str) -> tuple[str, exp.Expr]:
    """Return the connection, and a call of `register`'s function as the user.

    Raises StatementError if the arguments are none of its, or the connection is no constant.
    """
    named = by_parameter("http_request", arguments, _PARAMETERS)
    if not {"conn", "method"} <= set(named):
        raise StatementError("sql_arguments", "The `http_request` requires conn and method.")
    connection = literal(named["conn"], "a connection")
    values = []
    for name in _PARAMETERS[1:]:
        value = named.get(name, exp.Literal.string("") if name == "path" else exp.null())
        if name in _MAPS and not isinstance(value, exp.Null):
            value = exp.Anonymous(this="to_json", expressions=[value])
        values.append(typed_as(value, "VARCHAR"))
    who, where = exp.Literal.string(user_name), exp.Literal.string(connection)
    return connection, exp.Anonymous(this=_NAME, expressions=[who, where, array(*values)])


def is_called(text: str) -> bool:
    """Check whether a text, as DuckDB gets it, calls the function."""
    return f"{_NAME}(" in text


def register(connection: Any, request: HttpRequest) -> None:
    """Add the function to a database."""
    import duckdb

    def answer(user: Any, name: Any, values: Any) -> dict[str, Any]:
        status, text = request(user, name, dict(zip(_PARAMETERS[1:], values, strict=True)))
        return {"status_code": status, "text": text}

    text = duckdb.type("VARCHAR")
    connection.create_function(
        _NAME,
        answer,
        [text, text, duckdb.list_type(text)],
        duckdb.type("STRUCT(status_code INTEGER, text VARCHAR)"),
        null_handling="special",
        side_effects=True,
    )
