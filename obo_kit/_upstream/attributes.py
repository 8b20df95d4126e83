"""Names in other packages that the kit relies on, besides the public and documented ones, and why.

If one of them is renamed, nothing changes but the kit's behavior. So `tests/upstream/` looks each of them up in what is
installed, tests a rename of each, and compares the versions with `locks/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from obo_kit._upstream import versions

__all__: list[str] = []


@dataclass(frozen=True, slots=True)
class Attribute:
    """A name in another package that the kit overrides, reads, sets or replaces.

    Attributes:
        owner: A module, or a class as ``module:Class``. A bar separates alternatives for other versions.
        name: The attribute. For a module, it may also be a word of its source: a variable, or a message.
        why: What the kit does with it.
        read_in: The versions in which it was read. Older ones may not have it.
        until: The version that dropped it, if any.
    """

    owner: str
    name: str
    why: str
    read_in: str
    until: str = ""


def _each(owner: str, names: str, why: str, read_in: str) -> tuple[Attribute, ...]:
    return tuple(Attribute(owner, name, why, read_in) for name in names.split())


_REACHES: Final = "read: what an object reaches, and with which client"

ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    # --- connections ---
    *_each(
        "requests.adapters:HTTPAdapter",
        "init_poolmanager proxy_manager_for build_connection_pool_key_attributes cert_verify",
        "overridden: one TLS context and one pool for all users",
        versions.REQUESTS,
    ),
    *_each(
        "requests.adapters:HTTPAdapter",
        "get_connection_with_tls_context request_url",
        "used as its own send does, which calls what is overridden",
        versions.REQUESTS,
    ),
    *_each(
        "requests.adapters:BaseAdapter",
        "send close",
        "overridden: a request goes through the pipeline",
        versions.REQUESTS,
    ),
    *_each("urllib3.poolmanager:PoolManager", "pool_classes_by_scheme", "set: pools without locks", versions.URLLIB3),
    *_each(
        "urllib3.connectionpool:HTTPConnectionPool", "QueueCls ConnectionCls", "overridden: the same", versions.URLLIB3
    ),
    *_each(
        "urllib3.connection:HTTPConnection",
        "connect getresponse sock",
        "overridden: stale connections",
        versions.URLLIB3,
    ),
    *_each("httpx:Auth|httpx2:Auth", "async_auth_flow sync_auth_flow", "overridden by `bearer`", versions.HTTPX),
    *_each("httpx:Response|httpx2:Response", "_content", "set: `mcp` 2 keeps what was refused", versions.HTTPX),
    # --- the Databricks SDK ---
    *_each(
        "databricks.sdk.config:Config",
        "_load_from_env _resolve_host_metadata debug_string token host authenticate as_dict attributes",
        "overridden or called: nothing of the app's own configuration reaches a user's",
        versions.SDK,
    ),
    Attribute(
        "databricks.sdk.config:Config", "_credentials_strategy", "read: whose client an author holds", versions.SDK
    ),
    Attribute("databricks.sdk.core:ApiClient", "_api_client", "read: the way to the requests session", versions.SDK),
    Attribute(
        "databricks.sdk._base_client:_BaseClient", "_session", "read: the pipeline is mounted on it", versions.SDK
    ),
    Attribute("databricks.sdk.core:ApiClient", "_cfg", "read: whose client an author holds", versions.SDK),
    Attribute(
        "databricks.sdk.core:Config", "authenticate", "overridden: where a package sends by itself", versions.SDK
    ),
    Attribute(
        "databricks.sdk.core:Config",
        "_header_factory",
        "replaced: a copied token is read for each request",
        versions.SDK,
    ),
    Attribute("databricks.sdk.core:Config", "host", "overridden: bound to the user's workspace", versions.SDK),
    Attribute("databricks.sdk.core:Config", "_inner", "read and written: where the host is kept", versions.SDK),
    Attribute("databricks.sdk:WorkspaceClient", "_config", "read and written: a copy without headers", versions.SDK),
    Attribute("databricks.sdk", "_make_dbutils", "replaced: the user's in place of the runtime's", versions.SDK),
    Attribute("databricks.sdk.dbutils", "RemoteDbUtils", "called: the same", versions.SDK),
    Attribute("databricks.sdk.mixins.files:FilesExt", "_config", "read: whose client it is", versions.SDK),
    *_each("databricks.sdk.clock:Clock", "time sleep", "overridden: no wait past the session's limits", versions.SDK),
    *_each("databricks.sdk.credentials_provider:CredentialsStrategy", "auth_type", "overridden", versions.SDK),
    *_each(
        "databricks.sdk.mixins.open_ai_client:ServingEndpointsExt",
        "_get_authorized_http_client _api",
        "replaced, read: it goes by the pipeline",
        versions.SDK,
    ),
    *_each(
        "databricks.sdk.mixins.files",
        "_authenticated_session _authenticated_session_lock _cached_authenticated_session _fetch_endpoints",
        "set: uploads go by the pipeline",
        "databricks-sdk 0.162",
    ),
    Attribute("databricks.sdk.errors:DatabricksError", "retry_after_secs", "read: how long to wait", versions.SDK),
    *_each(
        "databricks_openai.utils.clients",
        "_get_authorized_http_client _get_authorized_async_http_client Client",
        "replaced: they go by the pipeline",
        versions.DATABRICKS_OPENAI,
    ),
    # --- vector search ---
    *_each(
        "databricks.ai_search.client:AISearchClient",
        "_fetch_index_params _get_token_for_request _issue_request personal_access_token get_index get_async_index "
        "create_direct_access_index create_delta_sync_index",
        "overridden: one session per user, and no request that only a service principal needs",
        versions.SEARCH,
    ),
    *_each(
        "databricks.ai_search.index:AISearchIndex",
        "_issue_request _get_token_for_request _request_headers personal_access_token similarity_search",
        "overridden or called: the same",
        versions.SEARCH,
    ),
    *_each(
        "databricks.ai_search.async_index:AsyncAISearchIndex",
        "_issue_request _sync",
        "overridden, read",
        versions.SEARCH,
    ),
    # --- SQL ---
    *_each("databricks.sql.client:Connection", "cursor close session", "overridden, called, read", versions.SQL),
    Attribute(
        "databricks.sql.session:Session", "_create_backend", "wrapped: a local workspace without TLS", versions.SQL
    ),
    *_each(
        "databricks.sql.backend.thrift_backend|databricks.sql.session",
        "_connection_uri _port _socket_timeout _retry_stop_after_attempts_duration make_request",
        "passed on, replaced: a local workspace, the session's limits, and the pipeline",
        versions.SQL,
    ),
    # --- OpenAI ---
    *_each(
        "openai:OpenAI|openai:AsyncOpenAI",
        "copy with_options _prepare_request _client",
        "overridden, read",
        versions.OPENAI,
    ),
    Attribute("openai._client", "_extra_kwargs", "passed on when a client is copied", versions.OPENAI),
    Attribute(
        "databricks_openai:DatabricksOpenAI", "_workspace_client", "read; set on first use", versions.DATABRICKS_OPENAI
    ),
    # --- MCP ---
    *_each(
        "databricks_mcp.oauth_provider:DatabricksOAuthClientProvider",
        "async_auth_flow databricks_token_storage",
        "replaced, read: it authenticates by the session's client",
        versions.DATABRICKS_MCP,
    ),
    *_each(
        "databricks_mcp.mcp",
        "DatabricksMCPClient server_url workspace_client",
        "patched: what it is built with",
        versions.DATABRICKS_MCP,
    ),
    Attribute(
        "databricks_mcp.oauth_provider:DatabricksTokenStorage",
        "workspace_client",
        "read: the session's client",
        versions.DATABRICKS_MCP,
    ),
    *_each(
        "mcp.client.streamable_http:StreamableHTTPTransport",
        "_handle_post_request _handle_resumption_request",
        "replaced: a message is its sender's, and not the connection's",
        versions.MCP,
    ),
    *_each(
        "mcp.client.streamable_http",
        "StreamableHTTPTransport SessionMessage session_message",
        "patched, read: the frame that a message was made in",
        versions.MCP,
    ),
    Attribute("mcp.client.streamable_http", "create_context_streams", "read: it is `mcp` 2", "mcp 2.3"),
    Attribute("mcp.client.streamable_http|mcp.shared.session", "Session terminated", "read: a 404", versions.MCP),
    Attribute(
        "mcp.server.fastmcp:FastMCP|mcp.server.mcpserver:MCPServer",
        "_tool_manager",
        "read: what it serves",
        versions.MCP,
    ),
    Attribute(
        "mcp.server.fastmcp.tools:Tool|mcp.server.mcpserver.tools:Tool", "fn", "read: what it serves", versions.MCP
    ),
    Attribute(
        "mcp.server.fastmcp.exceptions|mcp.server.mcpserver.exceptions",
        "ToolError",
        "raised for a denial",
        versions.MCP,
    ),
    Attribute(
        "fastmcp.server.providers.local_provider:LocalProvider", "_components", "read: what it serves", versions.FASTMCP
    ),
    Attribute("fastmcp.exceptions", "ToolError", "raised for a denial", versions.FASTMCP),
    # --- other frameworks ---
    Attribute("strands.tools.decorator:DecoratedFunctionTool", "_tool_func", "read: what it calls", "strands 1.62"),
    Attribute("crewai.tools.base_tool:Tool", "func", "read: what it calls", "crewai 1.15"),
    Attribute("crewai.tools", "ToolFailure", "returned for a denial", "crewai 1.15"),
    Attribute("autogen_core.tools:FunctionTool", "_func", "read: what it calls", "autogen 0.7"),
    *_each("llama_index.core.tools:FunctionTool", "_async_fn _fn", "read: what it calls", "llamaindex 0.14"),
    # --- LangChain ---
    Attribute(
        "langchain_core.runnables.config", "var_child_runnable_config", "read: which step of a run", versions.LANGCHAIN
    ),
    Attribute(
        "langgraph._internal._constants|langgraph.constants", "__pregel_task_id", "read: the same", versions.LANGGRAPH
    ),
    *_each(
        "langchain_core.tools:BaseTool",
        "_injected_args_keys handle_tool_error response_format args_schema description _run _arun",
        "forgotten, set, read: a tool that was built before it was decorated",
        versions.LANGCHAIN,
    ),
    *_each(
        "langchain_core.tools:StructuredTool",
        "func coroutine",
        "set: where a tool is called",
        versions.LANGCHAIN,
    ),
    *_each(
        "langchain_mcp_adapters.client:MultiServerMCPClient",
        "connections get_tools",
        "set, replaced",
        versions.LANGCHAIN_MCP,
    ),
    *_each(
        "databricks_langchain:VectorSearchRetrieverTool",
        "_vector_store workspace_client index_name",
        "set",
        versions.BRIDGE,
    ),
    *_each(
        "databricks_openai:VectorSearchRetrieverTool", "_index workspace_client execute tool", "set", versions.BRIDGE
    ),
    *_each("databricks_langchain:DatabricksVectorSearch", "index", "set", versions.DATABRICKS_LANGCHAIN),
    # --- the OpenAI Agents versions.SDK, databricks_openai ---
    *_each("agents:FunctionTool", "on_invoke_tool params_json_schema description", "set", versions.AGENTS),
    Attribute(
        "agents.tool:_FailureHandlingFunctionToolInvoker",
        "_invoke_tool_impl",
        "replaced: below what makes a text of every exception",
        versions.AGENTS,
    ),
    *_each("agents.tool", "the_func schema", "replaced: variables of the function that makes a tool", versions.AGENTS),
    *_each(
        "agents.mcp:MCPServerStreamableHttp", "connect list_tools call_tool session", "replaced, read", versions.AGENTS
    ),
    Attribute("agents.mcp:MCPServerStreamableHttp", "invalidate_tools_cache", "called on a copy", versions.AGENTS),
    Attribute(
        "agents.models._openai_shared", "get_default_openai_client", "called: who is asked for a model", versions.AGENTS
    ),
    *_each("databricks_openai.agents:McpServer", "workspace_client params", "set, read", versions.DATABRICKS_OPENAI),
    *_each(
        "databricks_openai:McpServerToolkit",
        "aget_tools workspace_client databricks_mcp_client url",
        "replaced, set",
        versions.DATABRICKS_OPENAI,
    ),
    Attribute("databricks_openai.mcp_server_toolkit:ToolInfo", "execute", "replaced", versions.DATABRICKS_OPENAI),
    Attribute(
        "databricks_mcp:DatabricksMCPClient",
        "call_tool",
        "replaced: a result may be a refusal",
        versions.DATABRICKS_MCP,
    ),
    # --- MLflow, OpenTelemetry ---
    *_each("mlflow.genai.agent_server.server", "get_invoke_function get_stream_function", "called", versions.MLFLOW),
    Attribute("mlflow.genai.agent_server.utils", "get_request_headers", "called: who asks", versions.MLFLOW),
    *_each(
        "mlflow.models.resources",
        "_ResourceBuilder _get_resource_class_by_type",
        "called: resources in YAML",
        versions.MLFLOW,
    ),
    Attribute("mlflow.models.utils", "_load_model_code_path", "called: to load an agent file", versions.MLFLOW),
    Attribute("mlflow.models.utils", "code_model_", "read: the name of an agent file's module", versions.MLFLOW),
    Attribute(
        "opentelemetry.context.contextvars_context",
        "current_context",
        "read: is a span active?",
        "opentelemetry-api 1.45",
    ),
    # --- servers: what they keep for the request that they serve ---
    Attribute(
        "streamlit.runtime.scriptrunner_utils.script_run_context",
        "get_script_run_ctx",
        "called: who serves",
        versions.STREAMLIT,
    ),
    Attribute("gradio.context:LocalContext", "blocks", "read: who serves", versions.GRADIO),
    *_each("flask", "has_request_context has_app_context", "called: who serves", versions.FLASK),
    Attribute("flask:Flask", "view_functions", "read: what it serves", versions.FLASK),
    Attribute("starlette.routing:Router", "routes", "read: what it serves", versions.STARLETTE),
    Attribute("mcp.server.lowlevel.server", "request_ctx", "read: who serves", "mcp 1.10, 1.24 and 1.30", until="2"),
    # --- client objects: what they reach, and with which client ---
    *_each("databricks_langchain:ChatDatabricks", "model workspace_client", _REACHES, versions.DATABRICKS_LANGCHAIN),
    Attribute("databricks_langchain:DatabricksEmbeddings", "endpoint", _REACHES, versions.DATABRICKS_LANGCHAIN),
    *_each("databricks_langchain:DatabricksMCPServer", "url workspace_client", _REACHES, versions.DATABRICKS_LANGCHAIN),
    *_each(
        "databricks_ai_bridge.vector_search_retriever_tool:VectorSearchRetrieverToolMixin",
        "resources workspace_client",
        _REACHES,
        versions.BRIDGE,
    ),
    *_each("databricks_ai_bridge.genie:Genie", "space_id genie", _REACHES, versions.BRIDGE),
    *_each("databricks_ai_bridge.lakebase:_LakebaseBase", "instance_name workspace_client", _REACHES, versions.BRIDGE),
    Attribute(
        "databricks.ai_search.index:AISearchIndex|databricks.ai_search.async_index:AsyncAISearchIndex",
        "name",
        _REACHES,
        versions.SEARCH,
    ),
    *_each("databricks_mcp:DatabricksMCPClient", "server_url client", _REACHES, versions.DATABRICKS_MCP),
    *_each(
        "unitycatalog.ai.langchain.toolkit:UnityCatalogTool",
        "uc_function_name client_config",
        _REACHES,
        "unitycatalog-langchain 0.3",
    ),
    *_each(
        "unitycatalog.ai.langchain.toolkit:UCFunctionToolkit|unitycatalog.ai.openai.toolkit:UCFunctionToolkit",
        "tools_dict client",
        _REACHES,
        "unitycatalog-langchain 0.3, unitycatalog-openai 0.2",
    ),
    *_each("agents:OpenAIChatCompletionsModel|agents:OpenAIResponsesModel", "model _client", _REACHES, versions.AGENTS),
    Attribute("agents:Agent", "model", _REACHES, versions.AGENTS),
    # --- packages that are read by the policy alone ---
    Attribute(
        "databricks_ai_bridge.genie", "Genie query failed with error: ", "read: a failed message", versions.BRIDGE
    ),
    *_each(
        "pydantic._internal._validate_call:ValidateCallWrapper",
        "validate_return function",
        "read: does it take a text?",
        versions.PYDANTIC,
    ),
    Attribute("anyio._backends._asyncio", "cancel scope", "read: a failed MCP client cancels itself", versions.ANYIO),
    Attribute("agents.mcp.server", "HTTP error", "read: a server keeps the status alone", versions.AGENTS),
    Attribute(
        "databricks.sdk.service.dashboards", "failed to reach", "read: the waiter drops the reason", versions.SDK
    ),
)
"""All names, each with what the kit does with it."""
