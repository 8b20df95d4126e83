"""Name columns that a statement gives no name: by their text, as Spark writes an expression (inferred for the platform)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.generator import Generator

from obo_kit.testing.sql._dialect import LAKEHOUSE
from obo_kit.testing.sql._functions import CASTS
from obo_kit.testing.sql._generators import GENERATORS
from obo_kit.testing.sql._selects import source_names

__all__ = ["name_columns"]

Expr = exp.Expr

_NAMED = (exp.Alias, exp.Aliases, exp.Column, exp.Star, exp.Dot)
# As these functions write themselves, where that is not their name and arguments.
_WRITTEN: dict[tuple[str, int], Callable[..., str]] = {
    ("dateadd", 3): "timestampadd({}, {}, {})".format,
    ("date_add", 3): "timestampadd({}, {}, {})".format,
    ("datediff", 3): "timestampdiff({}, {}, {})".format,
    ("date_diff", 3): "timestampdiff({}, {}, {})".format,
    ("if", 3): "(IF({}, {}, {}))".format,
    ("isnull", 1): "({} IS NULL)".format,
    ("isnotnull", 1): "({} IS NOT NULL)".format,
    ("round", 1): "round({}, 0)".format,
}


def name_columns(select: exp.Select) -> None:
    """Give columns without a name the platform's name."""
    names = _Names(source_names(select))
    columns = []
    for each in select.expressions:
        column = each.unnest() if isinstance(each, exp.Paren) else each
        if isinstance(column, exp.Alias) and isinstance(column.this, exp.Paren):
            column.set("this", column.this.unnest())
        is_call = isinstance(column, exp.Dot) and isinstance(column.expression, exp.Anonymous)
        generates = isinstance(column, exp.Anonymous) and column.name.lower() in GENERATORS
        if generates or (isinstance(column, _NAMED) and not is_call):
            columns.append(column)
        else:
            columns.append(exp.Alias(this=column, alias=exp.to_identifier(_name(column, names), quoted=True)))
    select.set("expressions", columns)


def _name(column: Expr, names: _Names) -> str:
    inner = column
    while isinstance(inner, (exp.Cast, exp.Paren)):
        inner = inner.this
    if isinstance(inner, exp.JSONExtract) and isinstance(inner.expression, exp.JSONPath):
        keys = [part.this for part in inner.expression.expressions if isinstance(part, exp.JSONPathKey)]
        if keys:
            return str(keys[-1])
    if isinstance(column, exp.Cast) or (isinstance(column, exp.Anonymous) and column.name.lower() in CASTS):
        value = next(column.iter_expressions(), column).unnest()
        if isinstance(value, (exp.Column, exp.Dot)):
            return str(value.name)
    text: str = names.generate(column)
    return text


def _operator(symbol: str) -> Callable[[Any, Expr], str]:
    return lambda self, node: f"({self.sql(node, 'this')} {symbol} {self.sql(node, 'expression')})"


def _like(write: Callable[[Any, Expr], str]) -> Callable[[Any, Expr], str]:
    return lambda self, node: f"(NOT {write(self, node)})" if node.args.get("negate") else write(self, node)


def _call(name: str) -> Callable[[Any, Expr], str]:
    return lambda self, node: f"{name}({', '.join(map(self.sql, node.iter_expressions()))})"


class _Names(LAKEHOUSE.Generator):  # type: ignore[misc,valid-type]
    """Writes an expression without quotes, sources and its author's parentheses, and each operation in parentheses."""

    TRANSFORMS: ClassVar[Any] = {
        **LAKEHOUSE.Generator.TRANSFORMS,
        **{
            kind: _operator(symbol)
            for kind, symbol in (
                (exp.Add, "+"), (exp.Sub, "-"), (exp.Mul, "*"), (exp.Div, "/"), (exp.Mod, "%"), (exp.IntDiv, "div"),
                (exp.EQ, "="), (exp.GT, ">"), (exp.GTE, ">="), (exp.LT, "<"), (exp.LTE, "<="), (exp.NullSafeEQ, "<=>"),
                (exp.And, "AND"), (exp.Or, "OR"), (exp.BitwiseAnd, "&"), (exp.BitwiseOr, "|"), (exp.BitwiseXor, "^"),
                (exp.Is, "IS"),
            )
        },
        exp.Between: _call("between"),
        exp.Boolean: lambda _, node: str(node.this).lower(),
        exp.CurrentDate: lambda *_: "current_date()",
        exp.CurrentTimestamp: lambda *_: "current_timestamp()",
        exp.CurrentUser: lambda *_: "current_user()",
        exp.DPipe: _call("concat"),
        exp.Extract: lambda self, node: f"extract({node.name} FROM {self.sql(node, 'expression')})",
        exp.Filter: lambda self, node: f"{self.sql(node, 'this')} FILTER (WHERE {self.sql(node.expression, 'this')})",
        exp.ILike: _like(_call("ilike")),
        exp.In: lambda self, node: f"({Generator.in_sql(self, node)})",
        exp.Interval: lambda self, node: f"INTERVAL '{self.sql(node, 'this')}' {self.sql(node, 'unit')}",
        exp.Like: _like(lambda self, node: f"{self.sql(node, 'this')} LIKE {self.sql(node, 'expression')}"),
        exp.NEQ: lambda self, node: f"(NOT {_operator('=')(self, node)})",
        exp.Paren: lambda self, node: self.sql(node, "this"),
        exp.RegexpLike: _like(_call("RLIKE")),
        exp.StrPosition: lambda self, node: f"locate({self.sql(node, 'substr')}, {self.sql(node, 'this')}, 1)",
        exp.Substring: _call("substring"),
        exp.Trim: lambda self, node: f"trim({self.sql(node, 'this')})",
    }  # fmt: skip

    def __init__(self, sources: set[str]) -> None:
        super().__init__(comments=False, normalize_functions=False)
        self._sources = sources

    def anonymous_sql(self, expression: exp.Anonymous) -> str:
        """Write a call in lower case."""
        name, arguments = expression.name.lower(), [self.sql(each) for each in expression.expressions]
        if name == "count" and arguments == ["*"]:
            return "count(1)"
        written = _WRITTEN.get((name, len(arguments)))
        return written(*arguments) if written is not None else f"{name}({', '.join(arguments)})"

    def case_sql(self, expression: exp.Case) -> str:
        """Write the comparisons of a CASE with an operand."""
        written = "CASE"
        for each in expression.args["ifs"]:
            condition = (
                exp.EQ(this=expression.this.copy(), expression=each.this.copy()) if expression.this else each.this
            )
            written += f" WHEN {self.sql(condition)} THEN {self.sql(each, 'true')}"
        default = self.sql(expression, "default")
        return f"{written} ELSE {default} END" if default else f"{written} END"

    def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
        """Write a literal of a date or moment as one."""
        if (
            isinstance(expression.this, exp.Literal)
            and expression.this.is_string
            and expression.to.is_type(*exp.DataType.TEMPORAL_TYPES)
        ):
            return f"{'DATE' if expression.to.is_type('DATE') else 'TIMESTAMP'} '{expression.name}'"
        return str(super().cast_sql(expression, safe_prefix))

    def column_sql(self, expression: exp.Column) -> str:
        """Write a name without its source."""
        parts = [part.name for part in expression.parts]
        return ".".join(parts[1:] if len(parts) > 1 and parts[0].lower() in self._sources else parts)

    def identifier_sql(self, expression: exp.Identifier) -> str:
        """Write a name without its quotes."""
        return str(expression.name)

    def literal_sql(self, expression: exp.Literal) -> str:
        """Write a text without its quotes."""
        return str(expression.this)

    def neg_sql(self, expression: exp.Neg) -> str:
        """Write a negative number as one."""
        inner = self.sql(expression, "this")
        return f"-{inner}" if isinstance(expression.this, exp.Literal) else f"(- {inner})"

    def not_sql(self, expression: exp.Not) -> str:
        """Write a negation; IS NOT NULL as it is read."""
        inner = expression.this.unnest()
        written = self.sql(inner)
        if isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null):
            return f"({self.sql(inner, 'this')} IS NOT NULL)"
        return f"(NOT {written})"
