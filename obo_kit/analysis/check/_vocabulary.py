"""The vocabulary of the check: clients by name, whose they are, and the arguments of calls."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from obo_kit.analysis.check._names import Module

__all__ = ["Value", "built_class", "kit_name", "last", "official", "opens_session", "own_class"]

SESSION: Final = "UserSession"
TOKEN: Final = "token"  # noqa: S105 - the word
CLIENTS: Final = frozenset(
    {"WorkspaceClient", "VectorSearchClient", "AISearchClient", "DatabricksOpenAI", "AsyncDatabricksOpenAI", SESSION}
)
SEARCH: Final = frozenset({"VectorSearchClient", "AISearchClient"})
# Decorators of libraries that keep what a function returned.
CACHES: Final = frozenset(
    {"alru_cache", "cache", "cache_data", "cache_resource", "cached", "cached_property", "cachedmethod", "cachier"}
    | {"lru_cache", "ttl_cache"}
    # Of containers of dependencies, which keep what a provider returned.
    | {"Singleton", "ThreadSafeSingleton", "singleton"}
)
# The argument that holds the client of an official class: its position, if it has one, and its keyword.
BUILT_ON: Final[Mapping[str, tuple[int | None, str]]] = {
    "AsyncDatabricksOpenAI": (0, "workspace_client"),
    "ChatDatabricks": (None, "workspace_client"),
    "DatabricksMCPClient": (1, "workspace_client"),
    "DatabricksMCPServer": (None, "workspace_client"),
    "DatabricksOAuthClientProvider": (0, "workspace_client"),
    "DatabricksOpenAI": (0, "workspace_client"),
    "DatabricksVectorSearch": (None, "workspace_client"),
    "Genie": (1, "client"),
    "GenieAgent": (None, "client"),
    "McpServer": (1, "workspace_client"),
    "McpServerToolkit": (2, "workspace_client"),
    "VectorSearchRetrieverTool": (None, "workspace_client"),
}
CARRY_NO_USER: Final = frozenset({"DatabricksFunctionClient", "UCFunctionToolkit"})
_BASES: Final = 5
_ROOTS: Final = ("databricks", "databricks_ai_bridge", "databricks_langchain", "databricks_mcp", "databricks_openai")


@dataclass(frozen=True, slots=True)
class Value:
    """A client, or what acts like one: a token, a session, an index, a tool.

    Attributes:
        who: Whose it is; ``given``: it was passed, or made with an identity that the source does not tell.
        what: Its class, or ``token``.
        path: The attributes that were followed from it: ``("genie", "ask_question")``.
    """

    who: Literal["user", "agent", "given"]
    what: str
    path: tuple[str, ...] = ()


def last(dotted: str) -> str:
    """Return the last part of a dotted name."""
    return dotted.rpartition(".")[2]


def official(module: Module, node: ast.AST) -> str:
    """Return the name of an object in Databricks' own packages; empty for any other expression."""
    dotted = module.dotted(node)
    return last(dotted) if dotted.partition(".")[0] in _ROOTS else ""


def built_class(module: Module, func: ast.expr) -> str:
    """Return the official class that a call makes an object of.

    It may be called by a class method (``McpServer.from_uc_function``), as the base of one of the project's own classes, or by
    the name of such a class that leaves ``__init__`` to it.
    """
    name = official(module, func)
    if name.startswith("from_"):
        owner = last(module.dotted(func).rpartition(".")[0])
        return owner if owner in BUILT_ON else name
    if isinstance(func, ast.Attribute) and func.attr == "__init__":
        above = module.class_around(func) if isinstance(func.value, ast.Call) else None
        return official(module, func.value) if above is None else _base_of(module, above)
    own = own_class(module, func) if not name else None
    return name if own is None or "__init__" in own[0].body[own[1]].names else _base_of(*own)


def own_class(module: Module, func: ast.expr) -> tuple[Module, ast.ClassDef] | None:
    """Return the project's own class that a call makes an object of: by its name, or as ``cls``."""
    origin = module.origin(func)
    if origin is None and isinstance(func, ast.Name) and (own := module.owner(func)) is not None:
        return module, own
    return (origin[0], origin[1]) if isinstance(origin, tuple) and isinstance(origin[1], ast.ClassDef) else None


def _base_of(module: Module, cls: ast.ClassDef, depth: int = 0) -> str:
    """Return the official class that a class of the project's own derives from."""
    for base in cls.bases:
        own = own_class(module, base)
        name = official(module, base) or (_base_of(*own, depth + 1) if own is not None and depth < _BASES else "")
        if name:
            return name
    return ""


def kit_name(module: Module, node: ast.AST) -> str:
    """Return the name of an object in this package; empty for any other expression."""
    dotted = module.dotted(node)
    return last(dotted) if dotted.partition(".")[0] == "obo_kit" else ""


def argument(call: ast.Call, position: int | None, keyword: str) -> ast.expr | None:
    """Return the argument that is passed by position or keyword."""
    for item in call.keywords:
        if item.arg == keyword:
            return item.value
    if position is None or len(call.args) <= position:
        return None
    return (
        None
        if any(isinstance(argument, ast.Starred) for argument in call.args[: position + 1])
        else call.args[position]
    )


def arguments(call: ast.Call) -> list[ast.expr]:
    """Return all arguments of a call."""
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def unpacks(call: ast.Call) -> bool:
    """Return whether a call has arguments that the source does not show: ``*args`` or ``**kwargs``."""
    return any(isinstance(argument, ast.Starred) for argument in call.args) or any(
        keyword.arg is None for keyword in call.keywords
    )


def is_nothing(node: ast.expr | None) -> bool:
    """Return whether an argument is omitted, or ``None``."""
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def opens_session(module: Module, node: ast.AST) -> bool:
    """Return whether a statement is a ``with`` that names the user for its block."""
    if not isinstance(node, (ast.With, ast.AsyncWith)):
        return False
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call):
            named = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            # The last two are those of `obo_kit.testing`.
            if kit_name(module, call.func) == "user_session" or named in ("as_user", "user"):
                return True
    return False
