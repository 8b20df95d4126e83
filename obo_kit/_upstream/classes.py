"""Classes of other packages, known by name: importing them would load their packages.

`tests/upstream/` looks each of them up in what is installed, with the newest and the lowest versions that the kit supports.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Final

from obo_kit._upstream import versions

__all__: list[str] = []


@dataclass(frozen=True, slots=True)
class Class:
    """A class of another package. Classes derived from it count too.

    Attributes:
        names: Its name, and its names in other versions.
        modules: Where it is, in whichever version is installed.
        read_in: The versions in which it was read.
    """

    names: tuple[str, ...]
    modules: tuple[str, ...]
    read_in: str
    by_package: frozenset[tuple[str, str]] = field(init=False, repr=False)
    """Each package that has it, with each of its names."""

    def __post_init__(self) -> None:
        pairs = ((module.partition(".")[0], name) for module in self.modules for name in self.names)
        object.__setattr__(self, "by_package", frozenset(pairs))

    def has(self, kind: type) -> bool:
        """Return whether a class is this one, or derived from it."""
        return not self.by_package.isdisjoint(bases_of(kind))


def package_of(thing: object) -> str:
    """Return the package of an object's class."""
    return (type(thing).__module__ or "").partition(".")[0]


def is_a(thing: object, *classes: Class) -> bool:
    """Return whether an object is an instance of one of the classes, or of a class derived from them."""
    kind: Any = type(thing)
    bases = bases_of(kind)
    for each in classes:  # noqa: SIM110 - runs for every exception, and takes half the time of any()
        if not each.by_package.isdisjoint(bases):
            return True
    return False


@functools.lru_cache(maxsize=1024)
def bases_of(kind: type) -> frozenset[tuple[str, str]]:
    """Return a class and its bases, each by its package and name."""
    return frozenset((base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__)


def _class(name: str, *modules: str, read_in: str, also: tuple[str, ...] = ()) -> Class:
    return Class((name, *also), modules, read_in)


# --- Python ----------------------------------------------------------------------------------------------------------------

EXCEPTION_GROUP: Final = _class(
    "BaseExceptionGroup", "builtins", "exceptiongroup", read_in="Python 3.11, exceptiongroup 1.3"
)
CANCELLED_ERROR: Final = _class("CancelledError", "asyncio", read_in="Python 3.10 and 3.13")

# --- clients ---------------------------------------------------------------------------------------------------------------

SDK_ERROR: Final = _class("DatabricksError", "databricks.sdk.errors", read_in=versions.SDK)
OPERATION_FAILED: Final = _class("OperationFailed", "databricks.sdk.errors", read_in=versions.SDK)
SDK_TOO_MANY_REQUESTS: Final = _class("TooManyRequests", "databricks.sdk.errors", read_in=versions.SDK)
SDK_UNAVAILABLE: Final = _class("TemporarilyUnavailable", "databricks.sdk.errors", read_in=versions.SDK)
JSON_DECODE_ERROR: Final = _class("JSONDecodeError", "requests.exceptions", read_in=versions.REQUESTS)
REQUESTS_PASSING: Final = tuple(
    _class(name, "requests.exceptions", read_in=versions.REQUESTS)
    for name in ("ConnectionError", "Timeout", "RetryError", "ChunkedEncodingError")
)
REQUESTS_LASTING: Final = tuple(
    _class(name, "requests.exceptions", read_in=versions.REQUESTS) for name in ("SSLError", "ProxyError")
)
"""Errors of a wrong configuration. `requests` calls them failed connections."""
SQL_ERROR: Final = _class("DatabaseError", "databricks.sql.exc", read_in=versions.SQL)
SQL_REQUEST_ERROR: Final = _class("RequestError", "databricks.sql.exc", read_in=versions.SQL)
SPARK_ERROR: Final = _class("SparkConnectException", "pyspark.errors.exceptions.connect", read_in=versions.SPARK)
MLFLOW_ERROR: Final = _class("MlflowException", "mlflow.exceptions", read_in=versions.MLFLOW)
UNSUPPORTED_PROTOCOL: Final = _class("UnsupportedProtocol", "httpx", "httpx2", read_in=versions.HTTPX)
HTTPX_PASSING: Final = tuple(
    _class(name, "httpx", "httpx2", read_in=versions.HTTPX)
    for name in ("TimeoutException", "NetworkError", "RemoteProtocolError")
)
HTTPX_LASTING: Final = _class("ProxyError", "httpx", "httpx2", read_in=versions.HTTPX)
OPENAI_CONNECTION_ERROR: Final = _class("APIConnectionError", "openai", read_in=versions.OPENAI)
STREAM_CLOSED: Final = _class("ClosedResourceError", "anyio", read_in=versions.ANYIO)
STREAM_BROKEN: Final = _class("BrokenResourceError", "anyio", read_in=versions.ANYIO)
VALIDATION_ERROR: Final = _class("ValidationError", "pydantic_core", read_in="pydantic-core 2.46 and 2.50")
RETRY_ERROR: Final = _class("RetryError", "tenacity", read_in="tenacity 8.2 and 9.2")

# --- MCP -------------------------------------------------------------------------------------------------------------------

MCP_ERROR: Final = _class("McpError", "mcp.shared.exceptions", read_in=versions.MCP, also=("MCPError",))
MCP_RESULT: Final = _class("CallToolResult", "mcp.types", "mcp_types", read_in=versions.MCP)
MCP_SERVER: Final = _class(
    "FastMCP",
    "mcp.server.fastmcp",
    "mcp.server.mcpserver",
    read_in=versions.MCP,
    also=("MCPServer",),
)
FASTMCP_SERVER: Final = _class("FastMCP", "fastmcp", read_in=versions.FASTMCP)
DATABRICKS_MCP_PROVIDER: Final = _class(
    "DatabricksOAuthClientProvider", "databricks_mcp.oauth_provider", read_in=versions.DATABRICKS_MCP
)

# --- frameworks' tools, and the objects that make or hold them ---------------------------------------------------------------

LANGCHAIN_TOOL: Final = _class("BaseTool", "langchain_core.tools", read_in=versions.LANGCHAIN)
GRAPH_INTERRUPT: Final = _class("GraphInterrupt", "langgraph.errors", read_in=versions.LANGGRAPH)
LANGCHAIN_MCP_CLIENT: Final = _class(
    "MultiServerMCPClient", "langchain_mcp_adapters.client", read_in=versions.LANGCHAIN_MCP
)
LANGCHAIN_MCP_ERROR: Final = _class(
    "_MCPToolExecutionError", "langchain_mcp_adapters.tools", read_in=versions.LANGCHAIN_MCP
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
AGENTS_TOOL: Final = _class("FunctionTool", "agents", read_in=versions.AGENTS)
AGENTS_SERVER: Final = _class("MCPServer", "agents.mcp", read_in=versions.AGENTS)
AGENTS_ERROR: Final = _class("UserError", "agents.exceptions", read_in=versions.AGENTS)
DATABRICKS_AGENTS_SERVER: Final = _class("McpServer", "databricks_openai.agents", read_in=versions.DATABRICKS_OPENAI)
OPENAI_RETRIEVER: Final = _class("VectorSearchRetrieverTool", "databricks_openai", read_in=versions.DATABRICKS_OPENAI)
OPENAI_TOOL: Final = _class("ToolInfo", "databricks_openai.mcp_server_toolkit", read_in=versions.DATABRICKS_OPENAI)
OPENAI_TOOLKIT: Final = _class("McpServerToolkit", "databricks_openai", read_in=versions.DATABRICKS_OPENAI)
RETRIEVER: Final = _class(
    "VectorSearchRetrieverToolMixin",
    "databricks_ai_bridge.vector_search_retriever_tool",
    read_in=versions.BRIDGE,
)
GENIE_RESPONSE: Final = _class("GenieResponse", "databricks_ai_bridge.genie", read_in=versions.BRIDGE)

# --- clients of resources, which an agent may hold -------------------------------------------------------------------------

CHAT_DATABRICKS: Final = _class("ChatDatabricks", "databricks_langchain", read_in=versions.DATABRICKS_LANGCHAIN)
DATABRICKS_EMBEDDINGS: Final = _class(
    "DatabricksEmbeddings", "databricks_langchain", read_in=versions.DATABRICKS_LANGCHAIN
)
SEARCH_INDEX: Final = _class(
    "AISearchIndex",
    "databricks.ai_search.index",
    "databricks.ai_search.async_index",
    read_in=versions.SEARCH,
    also=("AsyncAISearchIndex",),
)
GENIE: Final = _class("Genie", "databricks_ai_bridge.genie", read_in=versions.BRIDGE)
LAKEBASE: Final = _class("_LakebaseBase", "databricks_ai_bridge.lakebase", read_in=versions.BRIDGE)
DATABRICKS_MCP_CLIENT: Final = _class("DatabricksMCPClient", "databricks_mcp", read_in=versions.DATABRICKS_MCP)
LANGCHAIN_MCP_SERVER: Final = _class(
    "DatabricksMCPServer", "databricks_langchain", read_in=versions.DATABRICKS_LANGCHAIN
)
ASYNC_DATABRICKS_OPENAI: Final = _class(
    "AsyncDatabricksOpenAI", "databricks_openai", read_in=versions.DATABRICKS_OPENAI
)
AGENTS_MODEL: Final = _class(
    "OpenAIChatCompletionsModel", "agents", read_in=versions.AGENTS, also=("OpenAIResponsesModel",)
)
AGENTS_AGENT: Final = _class("Agent", "agents", read_in=versions.AGENTS)
MODEL_SERVING_USER: Final = _class("ModelServingUserCredentials", "databricks_ai_bridge", read_in=versions.BRIDGE)

# --- servers ---------------------------------------------------------------------------------------------------------------

STARLETTE: Final = _class("Starlette", "starlette.applications", read_in=versions.STARLETTE)
ROUTER: Final = _class("Router", "starlette.routing", read_in=versions.STARLETTE)
FLASK: Final = _class("Flask", "flask", read_in=versions.FLASK)
STRANDS_TOOL: Final = _class("DecoratedFunctionTool", "strands.tools.decorator", read_in="strands 1.62")
PYDANTIC_AI_AGENT: Final = _class("AbstractAgent", "pydantic_ai.agent", read_in="pydantic-ai 2.68")

TOOL_OBJECTS: Final[dict[str, tuple[Class, ...]]] = {
    "langchain_core": (LANGCHAIN_TOOL, LANGCHAIN_MCP_CLIENT),
    "openai": (AGENTS_TOOL, AGENTS_SERVER, OPENAI_RETRIEVER, OPENAI_TOOL, OPENAI_TOOLKIT, UC_TOOLKIT),
}
"""The classes of tools, and of objects that make or hold them, by the integration that knows them."""
