"""Reads a statement: what it names, and how DuckDB would write it.

DuckDB's own parser does the reading; this module walks its syntax tree, and writes full names and who the user is into
it. What runs is the tree that was walked: a table or a table function that was not seen here is not in it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PREFIX", "Reading", "UnreadableError", "identifier", "literal", "read"]

# DuckDB reserves the catalog names main, system and temp; a prefix makes every catalog an ordinary one. The parameters
# of functions have it too, so that no column is taken for one.
PREFIX = "uc "

_USER_NAMES = frozenset({"current_user", "session_user"})
_GROUP_TESTS = frozenset({"is_account_group_member", "is_member"})
# Other table functions of DuckDB read files, run text as SQL or list what is in the database.
_TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "unnest"})

# Databricks writes names in backticks and parameters as :name; DuckDB "..." and $name. The other alternatives only keep
# strings, comments and casts as they are.
_LEXEME = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | `((?:[^`]|``)*)` | :: | :([A-Za-z_]\w*)""",
    re.DOTALL | re.VERBOSE,
)


class UnreadableError(Exception):
    """The statement cannot be run, whoever asks: it is no SQL, or more than one statement, or one that does not read.

    Attributes:
        key: Key of ``REFUSALS``.
        detail: What the parser said.
    """

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(detail)
        self.key = key
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A statement that was read.

    Attributes:
        text: In DuckDB's words, every name in full.
        tables: The tables it names, ``catalog.schema.table`` in lower case.
        functions: The functions of Unity Catalog it names, likewise.
        parameters: The parameters it names.
    """

    text: str
    tables: tuple[str, ...]
    functions: tuple[str, ...]
    parameters: tuple[str, ...]


def read(
    parser: Any,
    sql: str,
    *,
    catalog: str,
    schema: str,
    user_name: str,
    groups: Collection[str],
    tables: Collection[str],
    functions: Collection[str],
    prefix: str = PREFIX,
) -> Reading:
    """Read one statement.

    Args:
        parser: A DuckDB connection.
        sql: The statement, as Databricks writes it.
        catalog: Completes names of less than three parts.
        schema: Completes names of one part.
        user_name: What ``current_user()`` stands for.
        groups: What ``is_account_group_member()`` is true for.
        tables: The tables there are.
        functions: The functions of Unity Catalog there are.
        prefix: Put before every catalog.

    Raises:
        UnreadableError: It cannot be run.
    """
    tree = _parse(parser, _translate(sql))
    if len(tree["statements"]) != 1:
        raise UnreadableError("sql_syntax", "Expected exactly one statement")
    reader = _Reader(
        prefix=prefix,
        catalog=catalog.lower(),
        schema=schema.lower(),
        me=_expression(parser, literal(user_name)),
        member=_expression(parser, f"list_contains([{', '.join(map(literal, sorted(groups)))}]::VARCHAR[], NULL)"),
        tables=tables,
        functions=functions,
    )
    rewritten = reader.rewrite(tree, frozenset())
    text = parser.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(rewritten)]).fetchall()[0][0]
    return Reading(
        text=text,
        tables=tuple(dict.fromkeys(reader.named_tables)),
        functions=tuple(dict.fromkeys(reader.named_functions)),
        parameters=tuple(dict.fromkeys(reader.parameters)),
    )


def _parse(parser: Any, sql: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    if tree.get("error"):
        key = "sql_unsupported" if tree.get("error_type") == "not implemented" else "sql_syntax"
        raise UnreadableError(key, str(tree.get("error_message", "")).rstrip("."))
    return tree


def _expression(parser: Any, sql: str) -> dict[str, Any]:
    node: dict[str, Any] = _parse(parser, "SELECT " + sql)["statements"][0]["node"]["select_list"][0]
    return node


class _Reader:
    """Walks DuckDB's syntax tree: notes what it names, writes full names and who the user is into it."""

    def __init__(
        self,
        *,
        prefix: str,
        catalog: str,
        schema: str,
        me: Mapping[str, Any],
        member: Mapping[str, Any],
        tables: Collection[str],
        functions: Collection[str],
    ) -> None:
        self.named_tables: list[str] = []
        self.named_functions: list[str] = []
        self.parameters: list[str] = []
        self._prefix = prefix
        self._catalog = catalog
        self._schema = schema
        self._me = me
        self._member = member
        self._tables = tables
        self._functions = functions

    def rewrite(self, node: Any, ctes: frozenset[str]) -> Any:
        """Return the node in DuckDB's words; ``ctes`` are the names that WITH has given by here."""
        if isinstance(node, list):
            return [self.rewrite(value, ctes) for value in node]
        if not isinstance(node, dict):
            return node
        kind = str(node.get("type"))
        if kind == "RECURSIVE_CTE_NODE":
            ctes |= {str(node["cte_name"]).lower()}
        # A name counts from the next entry on. What it stood for before could be a view of DuckDB's own.
        for entry in (node.get("cte_map") or {}).get("map", ()):
            entry["value"] = self.rewrite(entry["value"], ctes)
            ctes |= {str(entry["key"]).lower()}
        if kind == "BASE_TABLE":
            self._table(node, ctes)
        elif kind == "SHOW_REF" and not node.get("query"):
            raise UnreadableError("sql_unsupported", "SHOW is not served")
        elif kind == "TABLE_FUNCTION":
            self._table_function(node["function"])
        elif kind in {"FUNCTION", "COLUMN_REF"} and self._is_identity(node):
            return self._identity(node, ctes)
        elif kind == "FUNCTION":
            self._function(node)
        elif kind == "COLUMN_REF" and ".".join(node["column_names"][:3]).lower() in self._tables:
            node["column_names"][0] = self._prefix + node["column_names"][0].lower()
        elif kind == "VALUE_PARAMETER":
            self.parameters.append(str(node.get("identifier")))
        return {name: value if name == "cte_map" else self.rewrite(value, ctes) for name, value in node.items()}

    @staticmethod
    def _is_identity(node: Mapping[str, Any]) -> bool:
        if node["type"] == "COLUMN_REF":
            return len(node["column_names"]) == 1 and node["column_names"][0].lower() in _USER_NAMES
        name = str(node["function_name"]).lower()
        return name in _USER_NAMES or (name in _GROUP_TESTS and len(_arguments(node)) == 1)

    def _identity(self, node: dict[str, Any], ctes: frozenset[str]) -> dict[str, Any]:
        name = str(node.get("function_name", "")).lower()
        if name not in _GROUP_TESTS:
            return {**self._me, "alias": node.get("alias") or "current_user()"}
        test: dict[str, Any] = copy.deepcopy(dict(self._member))
        _replace_last_argument(test, self.rewrite(_arguments(node)[0], ctes))
        return {**test, "alias": node.get("alias") or f"{name}()"}

    def _function(self, node: dict[str, Any]) -> None:
        path, full = self._full_name(node)
        # DuckDB's own functions go without a catalog.
        if not node.get("catalog") and full not in self._functions:
            return
        self.named_functions.append(full)
        path[0] = self._prefix + path[0]
        node["catalog"], node["schema"], node["function_name"] = path
        if "qualified_name" in node:
            node["qualified_name"] = {"path": list(path)}
        for argument in node.get("arguments", ()):
            argument["name"] = argument["name"] and PREFIX + argument["name"].lower()
        for argument in _arguments(node):
            argument["alias"] = argument.get("alias") and PREFIX + argument["alias"].lower()

    def _full_name(self, function: Mapping[str, Any]) -> tuple[list[str], str]:
        path = [
            str(function.get("catalog") or self._catalog).lower(),
            str(function.get("schema") or self._schema).lower(),
            str(function["function_name"]).lower(),
        ]
        return path, ".".join(path)

    def _table_function(self, node: Mapping[str, Any]) -> None:
        _, full = self._full_name(node)
        plain = not node.get("schema") and str(node["function_name"]).lower() in _TABLE_FUNCTIONS
        if not plain and not node.get("catalog") and full not in self._functions:
            raise UnreadableError("sql_no_table_function", str(node["function_name"]))

    def _table(self, node: dict[str, Any], ctes: frozenset[str]) -> None:
        catalog, schema, table = node.get("catalog_name"), node.get("schema_name"), str(node["table_name"])
        if not catalog and not schema and table.lower() in ctes:
            return
        path = [
            str(catalog or self._catalog).lower(),
            str(schema or self._schema).lower(),
            table.lower(),
        ]
        self.named_tables.append(".".join(path))
        path[0] = self._prefix + path[0]
        node["catalog_name"], node["schema_name"], node["table_name"] = path
        # From DuckDB 2 on the tree has the name twice.
        if "qualified_name" in node:
            node["qualified_name"] = {"path": list(path)}


def _arguments(function: Mapping[str, Any]) -> list[dict[str, Any]]:
    # From DuckDB 2 on each argument is wrapped with its name.
    if "arguments" in function:
        return [argument["expression"] for argument in function["arguments"]]
    children: list[dict[str, Any]] = function["children"]
    return children


def _replace_last_argument(function: dict[str, Any], expression: dict[str, Any]) -> None:
    if "arguments" in function:
        function["arguments"][-1]["expression"] = expression
    else:
        function["children"][-1] = expression


def _translate(sql: str) -> str:
    def lexeme(match: re.Match[str]) -> str:
        if match[1] is not None:
            return identifier(match[1].replace("``", "`"))
        return f"${match[2]}" if match[2] else match[0]

    return _LEXEME.sub(lexeme, sql)


def identifier(name: str) -> str:
    """Quote a name."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("'", "''") + "'"
