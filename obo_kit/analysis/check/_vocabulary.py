"""The words of the check: clients by name, whose they are, and how calls are read."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from obo_kit.analysis.check._names import Module

__all__ = ["Value", "built_class", "kit_name", "last", "official", "opens_session"]

SESSION: Final = "UserSession"
TOKEN: Final = "token"  # noqa: S105 - the word
CLIENTS: Final = frozenset(
    {"WorkspaceClient", "VectorSearchClient", "AISearchClient", "DatabricksOpenAI", "AsyncDatabricksOpenAI", SESSION}
)
SEARCH: Final = frozenset({"VectorSearchClient", "AISearchClient"})
# Where an official class takes the client it acts with: by position, if it can, and by keyword.
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
_ROOTS: Final = ("databricks", "databricks_ai_bridge", "databricks_langchain", "databricks_mcp", "databricks_openai")


@dataclass(frozen=True, slots=True)
class Value:
    """A client, or what acts like one: a token, a session, an index, a tool.

    Attributes:
        who: Whose it is; ``given``: it was handed over, or made with an identity that the source does not tell.
        what: Its class, or ``token``.
        path: What is reached from it: ``("genie", "ask_question")``.
    """

    who: Literal["user", "agent", "given"]
    what: str
    path: tuple[str, ...] = ()


def last(dotted: str) -> str:
    """The last part of a dotted name."""
    return dotted.rpartition(".")[2]


def official(module: Module, node: ast.AST) -> str:
    """The name of what an expression names in Databricks' own packages; else nothing."""
    dotted = module.dotted(node)
    return last(dotted) if dotted.partition(".")[0] in _ROOTS else ""


def built_class(module: Module, func: ast.AST) -> str:
    """The official name that a call makes an object of, also by a class method such as ``McpServer.from_uc_function``."""
    owner, name = last(module.dotted(func).rpartition(".")[0]), official(module, func)
    return owner if name.startswith("from_") and owner in BUILT_ON else name


def kit_name(module: Module, node: ast.AST) -> str:
    """The name of what an expression names in this package; else nothing."""
    dotted = module.dotted(node)
    return last(dotted) if dotted.partition(".")[0] == "obo_kit" else ""


def argument(call: ast.Call, position: int | None, keyword: str) -> ast.expr | None:
    """The argument that is passed by position or keyword."""
    for one in call.keywords:
        if one.arg == keyword:
            return one.value
    if position is None or len(call.args) <= position:
        return None
    return None if any(isinstance(one, ast.Starred) for one in call.args[: position + 1]) else call.args[position]


def arguments(call: ast.Call) -> list[ast.expr]:
    """All arguments of a call."""
    return [*call.args, *(one.value for one in call.keywords)]


def unpacks(call: ast.Call) -> bool:
    """Whether a call has arguments that cannot be seen: ``*args`` or ``**kwargs``."""
    return any(isinstance(one, ast.Starred) for one in call.args) or any(one.arg is None for one in call.keywords)


def is_nothing(node: ast.expr | None) -> bool:
    """Whether an argument is left out, or ``None``."""
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def opens_session(module: Module, node: ast.AST) -> bool:
    """Whether a statement is a ``with`` that names the user for what is inside of it."""
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
