"""What the kit relies on in other packages besides their public, documented names, and why.

A rename there would change nothing but what the kit does: `tests/upstream/` looks each of these up in what is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__: list[str] = []


@dataclass(frozen=True, slots=True)
class Attribute:
    """A name in another package that the kit overrides, reads, sets or replaces.

    Attributes:
        owner: A module, or a class as ``module:Class``; alternatives for other versions are separated by a bar.
        name: The attribute. For a module, it may also be a word of its source: a variable, or a message.
        why: What the kit does with it.
        read_in: The versions in which it was read.
    """

    owner: str
    name: str
    why: str
    read_in: str


def _each(owner: str, names: str, why: str, read_in: str) -> tuple[Attribute, ...]:
    return tuple(Attribute(owner, name, why, read_in) for name in names.split())


_REQUESTS = "requests 2.32 to 2.34"
_URLLIB3 = "urllib3 1.26 to 2.6"
_SDK = "databricks-sdk 0.120 to 0.162"
_SEARCH = "databricks-ai-search 0.75 to 0.81"
_SQL = "databricks-sql-connector 4.2 to 4.9"
_OPENAI = "openai 2.6 to 2.54"
_MCP = "mcp 1.24 to 2.3"
_AGENTS = "openai-agents 0.19 and 0.20"
_MLFLOW = "mlflow 3.10 to 3.17"
_BRIDGE = "databricks-ai-bridge 0.20 to 0.22"

ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    # --- connections ---
    *_each(
        "requests.adapters:HTTPAdapter",
        "init_poolmanager proxy_manager_for build_connection_pool_key_attributes cert_verify",
        "overridden: one TLS context and one pool for all users",
        _REQUESTS,
    ),
    Attribute(
        "requests.adapters:HTTPAdapter", "get_connection_with_tls_context", "calls what is overridden", _REQUESTS
    ),
    *_each("requests.adapters:BaseAdapter", "send close", "overridden: a request goes through the pipeline", _REQUESTS),
    *_each("urllib3.poolmanager:PoolManager", "pool_classes_by_scheme", "set: pools without locks", _URLLIB3),
    *_each("urllib3.connectionpool:HTTPConnectionPool", "QueueCls ConnectionCls", "overridden: the same", _URLLIB3),
    *_each("urllib3.connection:HTTPConnection", "connect getresponse sock", "overridden: stale connections", _URLLIB3),
    *_each(
        "httpx:Auth|httpx2:Auth", "async_auth_flow sync_auth_flow", "overridden by `bearer`", "httpx 0.28, httpx2 2.16"
    ),
    *_each(
        "httpx:Response|httpx2:Response", "_content", "set: `mcp` 2 keeps what was refused", "httpx 0.28, httpx2 2.16"
    ),
    # --- the Databricks SDK ---
    *_each(
        "databricks.sdk.config:Config",
        "_load_from_env _resolve_host_metadata debug_string token host authenticate attributes",
        "overridden or called: nothing of the app's own configuration reaches a user's",
        _SDK,
    ),
    Attribute("databricks.sdk.config:Config", "_credentials_strategy", "read: whose client an author holds", _SDK),
    Attribute("databricks.sdk.core:ApiClient", "_api_client", "read: the way to the requests session", _SDK),
    Attribute("databricks.sdk._base_client:_BaseClient", "_session", "read: the pipeline is mounted on it", _SDK),
    Attribute("databricks.sdk.core:ApiClient", "_cfg", "read: whose client an author holds", _SDK),
    Attribute("databricks.sdk.core:Config", "authenticate", "overridden: where a package sends by itself", _SDK),
    Attribute("databricks.sdk.core:Config", "host", "overridden: bound to the user's workspace", _SDK),
    Attribute("databricks.sdk.core:Config", "_inner", "read and written: where the host is kept", _SDK),
    Attribute("databricks.sdk:WorkspaceClient", "_config", "read and written: a copy without headers", _SDK),
    Attribute("databricks.sdk", "_make_dbutils", "replaced: the user's in place of the runtime's", _SDK),
    Attribute("databricks.sdk.mixins.files:FilesExt", "_config", "read: whose client it is", _SDK),
    Attribute(
        "databricks.sdk.mixins.files",
        "_cached_authenticated_session",
        "written: the fence; newer versions have it",
        "0.162",
    ),
    Attribute("databricks.sdk.mixins.files", "_fetch_endpoints", "replaced: it would go past the fence", "0.162"),
    Attribute(
        "databricks.sdk.mixins.open_ai_client:ServingEndpointsExt",
        "_get_authorized_http_client",
        "replaced: speaks through the fence",
        _SDK,
    ),
    Attribute("databricks.sdk.mixins.open_ai_client", "_api", "read: whose client it is", _SDK),
    Attribute(
        "databricks_openai.utils.clients",
        "_get_authorized_http_client",
        "replaced: the fence",
        "databricks-openai 0.18",
    ),
    Attribute(
        "databricks_openai.utils.clients",
        "_get_authorized_async_http_client",
        "replaced: the fence",
        "databricks-openai 0.18",
    ),
    *_each("databricks.sdk.clock:Clock", "time sleep", "overridden: no wait past the session's limits", _SDK),
    *_each("databricks.sdk.credentials_provider:CredentialsStrategy", "auth_type", "overridden", _SDK),
    Attribute("databricks.sdk", "_make_dbutils", "replaced: a user's `dbutils` is the user's, or refused", _SDK),
    Attribute(
        "databricks.sdk.mixins.open_ai_client", "_get_authorized_http_client", "replaced: it goes by the pipeline", _SDK
    ),
    *_each(
        "databricks.sdk.mixins.files",
        "_cached_authenticated_session _fetch_endpoints",
        "set: uploads go by the pipeline",
        _SDK,
    ),
    *_each(
        "databricks_openai.utils.clients",
        "_get_authorized_http_client _get_authorized_async_http_client",
        "replaced: they go by the pipeline",
        "databricks-openai 0.16 to 0.18",
    ),
    # --- vector search ---
    *_each(
        "databricks.ai_search.client:AISearchClient",
        "_fetch_index_params _get_token_for_request _issue_request personal_access_token get_index get_async_index "
        "create_direct_access_index create_delta_sync_index",
        "overridden: one session per user, and no request that only a service principal needs",
        _SEARCH,
    ),
    *_each(
        "databricks.ai_search.index:AISearchIndex",
        "_issue_request _get_token_for_request _request_headers personal_access_token similarity_search",
        "overridden or called: the same",
        _SEARCH,
    ),
    *_each("databricks.ai_search.async_index:AsyncAISearchIndex", "_issue_request _sync", "overridden, read", _SEARCH),
    # --- SQL ---
    *_each("databricks.sql.client:Connection", "cursor close session", "overridden, called, read", _SQL),
    *_each(
        "databricks.sql.backend.thrift_backend|databricks.sql.session",
        "_connection_uri _port _socket_timeout _retry_stop_after_attempts_duration make_request",
        "passed on, replaced: a local workspace, the session's limits, and the pipeline",
        _SQL,
    ),
    # --- OpenAI ---
    *_each(
        "openai:OpenAI|openai:AsyncOpenAI", "copy with_options _prepare_request _client", "overridden, read", _OPENAI
    ),
    Attribute("openai._client", "_extra_kwargs", "passed on when a client is copied", _OPENAI),
    Attribute(
        "databricks_openai:DatabricksOpenAI", "_workspace_client", "read and set", "databricks-openai 0.16 to 0.18"
    ),
    # --- MCP ---
    *_each(
        "databricks_mcp.oauth_provider:DatabricksOAuthClientProvider",
        "async_auth_flow databricks_token_storage",
        "replaced, read: it authenticates by the session's client",
        "databricks-mcp 0.5 to 0.9",
    ),
    Attribute(
        "databricks_mcp.oauth_provider:DatabricksTokenStorage",
        "workspace_client",
        "read: the session's client",
        "databricks-mcp 0.5 to 0.9",
    ),
    *_each(
        "mcp.client.streamable_http:StreamableHTTPTransport",
        "_handle_post_request _handle_resumption_request",
        "replaced: a message is its sender's, and not the connection's",
        _MCP,
    ),
    Attribute("mcp.client.streamable_http|mcp.shared.session", "Session terminated", "read: a 404", _MCP),
    Attribute(
        "mcp.server.fastmcp:FastMCP|mcp.server.mcpserver:MCPServer", "_tool_manager", "read: what it serves", _MCP
    ),
    Attribute("mcp.server.fastmcp.tools:Tool|mcp.server.mcpserver.tools:Tool", "fn", "read: what it serves", _MCP),
    Attribute(
        "mcp.server.fastmcp.exceptions|mcp.server.mcpserver.exceptions", "ToolError", "raised for a denial", _MCP
    ),
    Attribute(
        "fastmcp.server.providers.local_provider:LocalProvider", "_components", "read: what it serves", "fastmcp 4.0"
    ),
    Attribute("fastmcp.exceptions", "ToolError", "raised for a denial", "fastmcp 4.0"),
    # --- LangChain ---
    *_each(
        "langchain_core.tools:BaseTool",
        "_injected_args_keys handle_tool_error response_format args_schema description _run _arun",
        "forgotten, set, read: a tool that was built before it was decorated",
        "langchain-core 0.3 to 1.8",
    ),
    *_each(
        "langchain_core.tools:StructuredTool",
        "func coroutine",
        "set: where a tool is called",
        "langchain-core 0.3 to 1.8",
    ),
    *_each(
        "langchain_mcp_adapters.client:MultiServerMCPClient",
        "connections get_tools",
        "set, replaced",
        "langchain-mcp-adapters 0.1 to 0.3",
    ),
    *_each(
        "databricks_langchain:VectorSearchRetrieverTool", "_vector_store workspace_client index_name", "set", _BRIDGE
    ),
    *_each("databricks_openai:VectorSearchRetrieverTool", "_index workspace_client execute tool", "set", _BRIDGE),
    *_each("databricks_langchain:DatabricksVectorSearch", "index", "set", "databricks-langchain 0.16 to 0.22"),
    # --- the OpenAI Agents SDK, databricks_openai ---
    *_each("agents:FunctionTool", "on_invoke_tool params_json_schema description", "set", _AGENTS),
    Attribute("agents.tool", "_invoke_tool_impl", "replaced: below what makes a text of every exception", _AGENTS),
    *_each("agents.tool", "the_func schema", "replaced: variables of the function that makes a tool", _AGENTS),
    *_each("agents.mcp:MCPServerStreamableHttp", "connect list_tools call_tool session", "replaced, read", _AGENTS),
    Attribute("agents.mcp:MCPServerStreamableHttp", "invalidate_tools_cache", "called on a copy", _AGENTS),
    Attribute("agents.models._openai_shared", "get_default_openai_client", "called: who is asked for a model", _AGENTS),
    *_each(
        "databricks_openai.agents:McpServer", "workspace_client params", "set, read", "databricks-openai 0.16 to 0.18"
    ),
    *_each(
        "databricks_openai:McpServerToolkit",
        "aget_tools workspace_client databricks_mcp_client url",
        "replaced, set",
        "databricks-openai 0.16 to 0.18",
    ),
    Attribute("databricks_openai.mcp_server_toolkit:ToolInfo", "execute", "replaced", "databricks-openai 0.16 to 0.18"),
    Attribute(
        "databricks_mcp:DatabricksMCPClient", "call_tool", "replaced: a result may be a refusal", "databricks-mcp 0.5"
    ),
    # --- MLflow, OpenTelemetry ---
    *_each("mlflow.genai.agent_server.server", "get_invoke_function get_stream_function", "called", _MLFLOW),
    Attribute("mlflow.genai.agent_server.utils", "get_request_headers", "called: who asks", _MLFLOW),
    *_each(
        "mlflow.models.resources", "_ResourceBuilder _get_resource_class_by_type", "called: resources in YAML", _MLFLOW
    ),
    Attribute("mlflow.models.utils", "_load_model_code_path", "called: to load an agent file", _MLFLOW),
    Attribute("mlflow.models.utils", "code_model_", "read: the name of an agent file's module", _MLFLOW),
    Attribute(
        "opentelemetry.context.contextvars_context", "current_context", "read: is a span active?", "1.20 to 1.40"
    ),
    # --- packages that are read by the policy alone ---
    Attribute("databricks_ai_bridge.lakebase", "_LakebaseBase", "read: what an object reaches", _BRIDGE),
    Attribute("databricks_ai_bridge.genie", "Genie query failed with error: ", "read: a failed message", _BRIDGE),
    *_each(
        "pydantic._internal._validate_call:ValidateCallWrapper",
        "validate_return function",
        "read: does it take a text?",
        "pydantic 2.9 to 2.14",
    ),
    Attribute(
        "anyio._backends._asyncio", "cancel scope", "read: a failed MCP client cancels itself", "anyio 4.5 to 4.16"
    ),
    Attribute("agents.mcp.server", "HTTP error", "read: a server keeps the status alone", _AGENTS),
    Attribute("databricks.sdk.service.dashboards", "failed to reach", "read: the waiter drops the reason", _SDK),
)
"""Each beside what the kit does with it."""
