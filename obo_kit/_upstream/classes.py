"""Classes of other packages, known by name: importing them would load their packages.

Each is looked up in what is installed by `tests/upstream/`, with the newest and the lowest versions that the kit takes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Final

__all__: list[str] = []


@dataclass(frozen=True, slots=True)
class Class:
    """A class of another package; classes derived from it count.

    Attributes:
        names: Its name, and those that it had in other versions.
        modules: Where it is found, in whichever version is installed.
        versions: In what it was read.
    """

    names: tuple[str, ...]
    modules: tuple[str, ...]
    versions: str
    by_package: frozenset[tuple[str, str]] = field(init=False, repr=False)
    """Each package that has it, with each of its names."""

    def __post_init__(self) -> None:
        pairs = ((module.partition(".")[0], name) for module in self.modules for name in self.names)
        object.__setattr__(self, "by_package", frozenset(pairs))

    def has(self, kind: type) -> bool:
        """Return whether a class is this one, or derived from it."""
        return not self.by_package.isdisjoint(bases_of(kind))


def package_of(thing: object) -> str:
    """Return the package of a thing's class."""
    return (type(thing).__module__ or "").partition(".")[0]


def is_a(thing: object, *classes: Class) -> bool:
    """Return whether a thing is of one of the classes, or of one derived from them."""
    kind: Any = type(thing)
    bases = bases_of(kind)
    for each in classes:  # noqa: SIM110 - asked of every exception: half the time of any()
        if not each.by_package.isdisjoint(bases):
            return True
    return False


@functools.lru_cache(maxsize=1024)
def bases_of(kind: type) -> frozenset[tuple[str, str]]:
    """Return a class and its bases, each by its package and name."""
    return frozenset((base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__)


def _class(name: str, *modules: str, read_in: str, earlier: tuple[str, ...] = ()) -> Class:
    return Class((name, *earlier), modules, read_in)


# --- Python ----------------------------------------------------------------------------------------------------------------

EXCEPTION_GROUP: Final = _class(
    "BaseExceptionGroup", "builtins", "exceptiongroup", read_in="Python 3.11, exceptiongroup 1.3"
)
CANCELLED_ERROR: Final = _class("CancelledError", "asyncio", read_in="Python 3.10 to 3.13")

# --- clients ---------------------------------------------------------------------------------------------------------------

_SDK = "databricks-sdk 0.120 to 0.162"
_HTTPX = "httpx 0.28, httpx2 2.16"
_REQUESTS = "requests 2.28 to 2.34"
SDK_ERROR: Final = _class("DatabricksError", "databricks.sdk.errors", read_in=_SDK)
OPERATION_FAILED: Final = _class("OperationFailed", "databricks.sdk.errors", read_in=_SDK)
SDK_TOO_MANY_REQUESTS: Final = _class("TooManyRequests", "databricks.sdk.errors", read_in=_SDK)
SDK_UNAVAILABLE: Final = _class("TemporarilyUnavailable", "databricks.sdk.errors", read_in=_SDK)
JSON_DECODE_ERROR: Final = _class("JSONDecodeError", "requests.exceptions", read_in=_REQUESTS)
REQUESTS_PASSING: Final = tuple(
    _class(name, "requests.exceptions", read_in=_REQUESTS)
    for name in ("ConnectionError", "Timeout", "RetryError", "ChunkedEncodingError")
)
REQUESTS_LASTING: Final = tuple(
    _class(name, "requests.exceptions", read_in=_REQUESTS) for name in ("SSLError", "ProxyError")
)
"""Of a wrong configuration; `requests` calls them failed connections."""
SQL_ERROR: Final = _class("DatabaseError", "databricks.sql.exc", read_in="databricks-sql-connector 4.9")
SQL_REQUEST_ERROR: Final = _class("RequestError", "databricks.sql.exc", read_in="databricks-sql-connector 4.9")
MLFLOW_ERROR: Final = _class("MlflowException", "mlflow.exceptions", read_in="mlflow 3.17")
UNSUPPORTED_PROTOCOL: Final = _class("UnsupportedProtocol", "httpx", "httpx2", read_in=_HTTPX)
HTTPX_PASSING: Final = tuple(
    _class(name, "httpx", "httpx2", read_in=_HTTPX)
    for name in ("TimeoutException", "NetworkError", "RemoteProtocolError")
)
HTTPX_LASTING: Final = _class("ProxyError", "httpx", "httpx2", read_in=_HTTPX)
OPENAI_CONNECTION_ERROR: Final = _class("APIConnectionError", "openai", read_in="openai 2.6 to 2.54")
STREAM_CLOSED: Final = _class("ClosedResourceError", "anyio", read_in="anyio 4.5 to 4.16")
STREAM_BROKEN: Final = _class("BrokenResourceError", "anyio", read_in="anyio 4.5 to 4.16")
VALIDATION_ERROR: Final = _class("ValidationError", "pydantic_core", read_in="pydantic-core 2.23 to 2.50")
RETRY_ERROR: Final = _class("RetryError", "tenacity", read_in="tenacity 8.2 to 9.2")

# --- MCP -------------------------------------------------------------------------------------------------------------------

MCP_ERROR: Final = _class(
    "McpError", "mcp.shared.exceptions", read_in="mcp 1.24 to 2.3: MCPError since mcp 2", earlier=("MCPError",)
)
MCP_RESULT: Final = _class("CallToolResult", "mcp.types", "mcp_types", read_in="mcp 1.24 to 2.3")
MCP_SERVER: Final = _class(
    "FastMCP",
    "mcp.server.fastmcp",
    "mcp.server.mcpserver",
    read_in="mcp 1.24 to 2.3: MCPServer since mcp 2",
    earlier=("MCPServer",),
)
FASTMCP_SERVER: Final = _class("FastMCP", "fastmcp", read_in="fastmcp 4.0")
DATABRICKS_MCP_PROVIDER: Final = _class(
    "DatabricksOAuthClientProvider", "databricks_mcp.oauth_provider", read_in="databricks-mcp 0.5 to 0.9"
)

# --- frameworks' tools, and what makes or holds them -------------------------------------------------------------------------

_OPENAI_TOOLS = "databricks-openai 0.16 to 0.18"
LANGCHAIN_TOOL: Final = _class("BaseTool", "langchain_core.tools", read_in="langchain-core 0.3 to 1.8")
LANGCHAIN_MCP_CLIENT: Final = _class(
    "MultiServerMCPClient", "langchain_mcp_adapters.client", read_in="langchain-mcp-adapters 0.1 to 0.3"
)
LANGCHAIN_MCP_ERROR: Final = _class(
    "_MCPToolExecutionError", "langchain_mcp_adapters.tools", read_in="langchain-mcp-adapters 0.3; none before"
)
UC_TOOLKIT: Final = _class(
    "UCFunctionToolkit",
    "unitycatalog.ai.langchain.toolkit",
    "unitycatalog.ai.openai.toolkit",
    read_in="unitycatalog-langchain 0.3, unitycatalog-openai 0.2",
)
UC_LANGCHAIN_TOOL: Final = _class(
    "UnityCatalogTool", "unitycatalog.ai.langchain.toolkit", read_in="unitycatalog-langchain 0.3"
)
UC_RESULT: Final = _class("FunctionExecutionResult", "unitycatalog.ai.core.base", read_in="unitycatalog-ai 0.3")
AGENTS_TOOL: Final = _class("FunctionTool", "agents", read_in="openai-agents 0.19 and 0.20")
AGENTS_SERVER: Final = _class("MCPServer", "agents.mcp", read_in="openai-agents 0.19 and 0.20")
AGENTS_ERROR: Final = _class("UserError", "agents.exceptions", read_in="openai-agents 0.19 and 0.20")
DATABRICKS_AGENTS_SERVER: Final = _class("McpServer", "databricks_openai.agents", read_in=_OPENAI_TOOLS)
OPENAI_RETRIEVER: Final = _class("VectorSearchRetrieverTool", "databricks_openai", read_in=_OPENAI_TOOLS)
OPENAI_TOOL: Final = _class("ToolInfo", "databricks_openai.mcp_server_toolkit", read_in=_OPENAI_TOOLS)
OPENAI_TOOLKIT: Final = _class("McpServerToolkit", "databricks_openai", read_in=_OPENAI_TOOLS)
RETRIEVER: Final = _class(
    "VectorSearchRetrieverToolMixin",
    "databricks_ai_bridge.vector_search_retriever_tool",
    read_in="databricks-ai-bridge 0.20 to 0.22",
)
GENIE_RESPONSE: Final = _class(
    "GenieResponse", "databricks_ai_bridge.genie", read_in="databricks-ai-bridge 0.20 to 0.22"
)

# --- servers ---------------------------------------------------------------------------------------------------------------

STARLETTE: Final = _class("Starlette", "starlette.applications", read_in="starlette 0.40 to 1.10")
ROUTER: Final = _class("Router", "starlette.routing", read_in="starlette 0.40 to 1.10")
FLASK: Final = _class("Flask", "flask", read_in="flask 3.1")

TOOL_OBJECTS: Final[dict[str, tuple[Class, ...]]] = {
    "langchain_core": (LANGCHAIN_TOOL, LANGCHAIN_MCP_CLIENT, UC_TOOLKIT),
    "openai": (AGENTS_TOOL, AGENTS_SERVER, OPENAI_RETRIEVER, OPENAI_TOOL, OPENAI_TOOLKIT),
}
"""The classes of tools, and of what makes or holds them, by the integration that knows them."""
