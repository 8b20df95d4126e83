"""Reads a statement: which tables and parameters it names, and how DuckDB would write it.

DuckDB's own parser does the reading; this module walks its syntax tree, and writes full names and the user's name into
it. Nothing about grants depends on it being complete (see ``_sql``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PREFIX", "Reading", "UnreadableError", "identifier", "read"]

# DuckDB reserves the catalog names main, system and temp; a prefix makes every catalog an ordinary one.
PREFIX = "uc "

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
        parameters: The parameters it names.
    """

    text: str
    tables: tuple[str, ...]
    parameters: tuple[str, ...]


def read(parser: Any, sql: str, *, catalog: str, schema: str, user_name: str, known: frozenset[str]) -> Reading:
    """Read one statement.

    Args:
        parser: A DuckDB connection.
        sql: The statement, as Databricks writes it.
        catalog: Completes names of less than three parts, in lower case.
        schema: Completes names of one part, in lower case.
        user_name: What ``current_user()`` stands for.
        known: The tables there are.

    Raises:
        UnreadableError: It cannot be run.
    """
    tree = _parse(parser, _translate(sql))
    if len(tree["statements"]) != 1:
        raise UnreadableError("sql_syntax", "Expected exactly one statement")
    me = _node_of(parser, "SELECT " + _literal(user_name))["select_list"][0]
    reader = _Reader(parser, catalog, schema, me, known)
    text = parser.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(reader.rewrite(tree))]).fetchone()[0]
    return Reading(
        text=text, tables=tuple(dict.fromkeys(reader.tables)), parameters=tuple(dict.fromkeys(reader.parameters))
    )


def _parse(parser: Any, sql: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()[0])
    if tree.get("error"):
        key = "sql_unsupported" if tree.get("error_type") == "not implemented" else "sql_syntax"
        raise UnreadableError(key, str(tree.get("error_message", "")).rstrip("."))
    return tree


def _node_of(parser: Any, sql: str) -> dict[str, Any]:
    node: dict[str, Any] = _parse(parser, sql)["statements"][0]["node"]
    return node


class _Reader:
    """Walks DuckDB's syntax tree: notes tables and parameters, writes full names and the user's name into it."""

    def __init__(self, parser: Any, catalog: str, schema: str, me: Mapping[str, Any], known: frozenset[str]) -> None:
        self.tables: list[str] = []
        self.parameters: list[str] = []
        self._parser = parser
        self._catalog = catalog
        self._schema = schema
        self._me = me
        self._known = known
        self._ctes: set[str] = set()

    def rewrite(self, tree: dict[str, Any]) -> dict[str, Any]:
        self._collect_ctes(tree)
        rewritten: dict[str, Any] = self._node(tree)
        return rewritten

    def _collect_ctes(self, node: Any) -> None:
        if isinstance(node, dict):
            ctes = node.get("cte_map")
            if isinstance(ctes, dict):
                self._ctes.update(str(entry.get("key", "")).lower() for entry in ctes.get("map", ()))
            if node.get("type") == "RECURSIVE_CTE_NODE":
                self._ctes.add(str(node.get("cte_name", "")).lower())
            for value in node.values():
                self._collect_ctes(value)
        elif isinstance(node, list):
            for value in node:
                self._collect_ctes(value)

    def _node(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._node(value) for value in node]
        if not isinstance(node, dict):
            return node
        kind = node.get("type")
        if self._is_me(node):
            return {**self._me, "alias": node.get("alias") or "current_user()"}
        if kind == "BASE_TABLE":
            self._table(node)
        elif kind == "SHOW_REF" and not node.get("query") and "." in str(node.get("table_name")):
            # DuckDB before 1.2 keeps the described table as text.
            node["query"] = _node_of(self._parser, f"SELECT * FROM {node['table_name']}")  # noqa: S608  the parser's own
            node["table_name"] = ""
        elif kind == "COLUMN_REF" and ".".join(node["column_names"][:3]).lower() in self._known:
            node["column_names"][0] = PREFIX + node["column_names"][0].lower()
        elif kind == "VALUE_PARAMETER":
            self.parameters.append(str(node.get("identifier")))
        return {name: self._node(value) for name, value in node.items()}

    @staticmethod
    def _is_me(node: Mapping[str, Any]) -> bool:
        names = {"current_user", "session_user"}
        if node.get("type") == "FUNCTION":
            return str(node.get("function_name")).lower() in names
        if node.get("type") == "COLUMN_REF":
            return len(node["column_names"]) == 1 and node["column_names"][0].lower() in names
        return False

    def _table(self, node: dict[str, Any]) -> None:
        catalog, schema, table = node.get("catalog_name"), node.get("schema_name"), str(node["table_name"])
        if not catalog and not schema and table.lower() in self._ctes:
            return
        path = [
            (str(catalog) if catalog else self._catalog).lower(),
            (str(schema) if schema else self._schema).lower(),
            table.lower(),
        ]
        self.tables.append(".".join(path))
        path[0] = PREFIX + path[0]
        node["catalog_name"], node["schema_name"], node["table_name"] = path
        # From DuckDB 2 on the tree has the name twice.
        if "qualified_name" in node:
            node["qualified_name"] = {"path": list(path)}


def _translate(sql: str) -> str:
    def lexeme(match: re.Match[str]) -> str:
        if match[1] is not None:
            return identifier(match[1].replace("``", "`"))
        return f"${match[2]}" if match[2] else match[0]

    return _LEXEME.sub(lexeme, sql)


def identifier(name: str) -> str:
    """Quote a name."""
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
