"""Parse statements in the dialect of Databricks.

Functions keep the names that their author wrote. Only this package decides which functions exist
(:mod:`obo_kit.testing.sql._calls`), not the parsing library.
"""

from __future__ import annotations

import functools
import itertools
import logging
import re
from collections.abc import Callable
from typing import Any, ClassVar

from sqlglot import TokenType, exp
from sqlglot.dialects.databricks import Databricks
from sqlglot.errors import SqlglotError

from obo_kit.testing.sql._refusals import StatementError

__all__ = ["LAKEHOUSE", "only_reads", "parse", "parse_type"]

# sqlglot warns "Contains unsupported syntax". Such a statement becomes a Command, which is refused or read by name.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_AFTER_NO_COMMA = frozenset({TokenType.COMMA, TokenType.FROM, TokenType.R_PAREN})
_SPECIAL_FORMS = "CAST TRY_CAST EXTRACT TRIM POSITION SUBSTRING SUBSTR OVERLAY LISTAGG STRING_AGG".split()  # noqa: SIM905

# Statements of the platform that the library does not read.
_UNREAD = re.compile(
    r"\s*(?:(LIST|PUT|GET|REMOVE)\s*['\"]|(UNDROP|RESTORE)\s+\w|(BEGIN)\b(?!\s*;?\s*$)|(MERGE\s+WITH\s+SCHEMA\s+EVOLUTION)\b|"
    r"CREATE\s+(?:OR\s+REPLACE\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?\S+\s+((?:(?:SHALLOW|DEEP)\s+)?CLONE)\b)",
    re.IGNORECASE,
)


def _positive(value: exp.Expr) -> exp.Expr:
    number = isinstance(value, exp.Literal) and not value.is_string
    return value if number else exp.Anonymous(this="positive", expressions=[value])


class _Parser(Databricks.Parser):  # type: ignore[misc,valid-type]
    FUNCTIONS: ClassVar[Any] = {}
    # GROUP BY window(…) is a call.
    QUERY_MODIFIER_TOKENS: ClassVar[Any] = Databricks.Parser.QUERY_MODIFIER_TOKENS - {TokenType.WINDOW}
    # Otherwise array(…)[0] would be read as the array of 0.
    ARRAY_CONSTRUCTORS: ClassVar[Any] = {}
    PIPE_SYNTAX_TRANSFORM_PARSERS: ClassVar[Any] = {
        **Databricks.Parser.PIPE_SYNTAX_TRANSFORM_PARSERS,
        # The library puts the alias where a table stands.
        "AS": lambda self, query: exp.select("*").from_(exp.Subquery(this=query, alias=self._parse_table_alias())),
        "DROP": lambda self, query: self._parse_piped_star(query, "except_", self._parse_id_var),
        "SET": lambda self, query: self._parse_piped_star(query, "replace", self._parse_set_column),
    }
    # The library drops a plus. It makes a number of text.
    UNARY_PARSERS: ClassVar[Any] = {
        **Databricks.Parser.UNARY_PARSERS,
        TokenType.PLUS: lambda self: _positive(self._parse_unary()),
    }
    FUNCTION_PARSERS: ClassVar[Any] = {
        name: parser for name, parser in Databricks.Parser.FUNCTION_PARSERS.items() if name in _SPECIAL_FORMS
    }
    NO_PAREN_FUNCTION_PARSERS: ClassVar[Any] = {
        name: parser for name, parser in Databricks.Parser.NO_PAREN_FUNCTION_PARSERS.items() if name in {"ANY", "CASE"}
    }

    def _parse_placeholder(self) -> exp.Expr | None:
        """Parse a parameter, and note where it stands: positional ones count from left to right."""
        result: exp.Expr | None = super()._parse_placeholder()
        if result is not None:
            result.meta["at"] = self._prev.start
        return result

    def _parse_piped_star(self, query: exp.Select, change: str, parse_one: Callable[[], exp.Expr]) -> exp.Select:
        """Parse what a step of a pipe changes of all columns."""
        self._advance()
        star = exp.Star(**{change: self._parse_csv(parse_one)})
        result: exp.Select = self._build_pipe_cte(query.select(star, append=False, copy=False), [exp.Star()])
        return result

    def _parse_set_column(self) -> exp.Expr:
        name = self._parse_id_var()
        self._match(TokenType.EQ)
        return exp.Alias(this=self._parse_assignment(), alias=name)

    def _parse_describe(self) -> exp.Describe:
        """Parse DESCRIBE; the library does not read these words after it."""
        if self._match_text_seq("CATALOG"):
            return exp.Describe(this=self._parse_table(), kind="CATALOG")
        if self._match_text_seq("QUERY"):
            return exp.Describe(this=self._parse_statement(), kind="QUERY")
        if self._match_text_seq("DETAIL"):
            return exp.Describe(this=self._parse_table(), style="DETAIL")
        result: exp.Describe = super()._parse_describe()
        return result


class LAKEHOUSE(Databricks):
    """Databricks SQL in which all functions are calls by name, and a doubled quote is one quote of a string."""

    class Tokenizer(Databricks.Tokenizer):
        """Reads strings as the platform does by default."""

        STRING_ESCAPES: ClassVar[list[str]] = ["\\", "'"]

    Parser = _Parser


def parse(sql: str) -> exp.Expr:
    """Return the tree of one statement, which the caller may change. Raises StatementError if it is not one statement."""
    return _parsed(sql).copy()


def only_reads(sql: str) -> bool:
    """Return whether a statement changes nothing. One that cannot be read changes nothing either."""
    try:
        tree = _parsed(sql)
    except StatementError:
        return True
    command = tree.this.upper() if isinstance(tree, exp.Command) else ""
    return isinstance(tree, (exp.Query, exp.Values, exp.Describe)) or command in {"SHOW", "EXPLAIN"}


@functools.lru_cache(maxsize=512)
def _parsed(sql: str) -> exp.Expr:
    unread = _UNREAD.match(sql)
    if unread is not None:
        raise StatementError(
            "sql_unsupported", f"{next(each for each in unread.groups() if each).upper()} is not served."
        )
    try:
        text = re.sub(r"^\s*TABLE\b", "SELECT * FROM ", sql, flags=re.IGNORECASE)
        _check_commas(text)
        trees = [tree for tree in LAKEHOUSE().parse(text) if tree is not None and not isinstance(tree, exp.Semicolon)]
    except SqlglotError as error:
        raise StatementError("sql_syntax", _first_error(error)) from None
    except RecursionError:
        raise StatementError("sql_unsupported", "it is nested too deeply.") from None
    if len(trees) != 1:
        raise StatementError("sql_syntax", "Expected exactly one statement.")
    return trees[0]


def _check_commas(text: str) -> None:
    """Refuse a comma with nothing after it. The library overlooks it."""
    for token, after in itertools.pairwise(LAKEHOUSE().tokenize(text)):
        if token.token_type is TokenType.COMMA and after.token_type in _AFTER_NO_COMMA:
            near = f"Syntax error at or near '{after.text}'. (line {after.line}, pos {after.col})"
            raise StatementError("sql_syntax", near)


def _first_error(error: SqlglotError) -> str:
    errors = getattr(error, "errors", None)
    if not errors:
        return "The statement cannot be read."
    first = errors[0]
    if "<class" in first["description"]:
        # The library names its own classes.
        first = {**first, "description": "Syntax error"}
    near = f" at or near '{first['highlight']}'" if first.get("highlight") else ""
    return f"{first['description'].rstrip('.')}{near}. (line {first['line']}, pos {first['col']})"


@functools.lru_cache(maxsize=256)
def parse_type(text: str) -> exp.DataType:
    """Return a type from Databricks' notation; ``a INT, b STRING`` is a struct. Raises StatementError if it is not one."""
    for candidate in (text, f"STRUCT<{text}>"):
        try:
            kind = exp.DataType.build(candidate, dialect=LAKEHOUSE, udt=False)
        except (SqlglotError, ValueError):
            continue
        fields = kind.expressions if kind.is_type("STRUCT") else ()
        if all(isinstance(field, exp.ColumnDef) for field in fields) and (fields or not kind.is_type("STRUCT")):
            return kind
    raise StatementError("sql_syntax", f"{text!r} is not a SQL type.")
