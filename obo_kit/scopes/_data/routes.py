"""The facts: the scopes that open each part of the REST API. Data only."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

from obo_kit.scopes._data.products import COUNTED, PERMISSIONS, PRODUCTS
from obo_kit.scopes._data.scopes import SCOPES
from obo_kit.scopes._model import Confidence, Route

if TYPE_CHECKING:
    from collections.abc import Mapping

# The day on which the companion reports were gathered. A route is dated by the last of them.
_COMPILED: Final = date(2026, 11, 22)
_REST_2025: Final = date(2025, 9, 1)
_MCP: Final = date(2026, 9, 28)


def _route(
    methods: str,
    path: str,
    *any_of: str,
    all_of: tuple[str, ...] = (),
    kind: str | None = None,
    reads: bool = False,
    sources: tuple[str, ...],
    confidence: Confidence = "documented",
    as_of: date = _COMPILED,
    note: str = "",
    doubtful: tuple[str, ...] = (),
    exact: bool = False,
    instead: Mapping[str, str] | None = None,
) -> Route:
    return Route(
        methods=frozenset(methods.split()),
        path=path,
        any_of=any_of,
        all_of=all_of,
        kind=kind,
        reads=reads,
        confidence=confidence,
        as_of=as_of,
        sources=sources,
        note=note,
        doubtful=doubtful,
        exact=exact,
        instead=instead or {},
    )


_ANY: Final = ""
_SERVING: Final = ("model-serving", "serving.serving-endpoints")
_INDEX: Final = ("vector-search", "ai-search", "vectorsearch.vector-search-indexes")
_INDEX_READ: Final = (*_INDEX, "vectorsearch.vector-search-indexes:read")
_ENDPOINT: Final = ("vector-search", "ai-search", "vectorsearch.vector-search-endpoints")
_VS_SOURCES: Final = ("D-REST-2025", "G-BHAVINK")
_READ_NOTE: Final = "That the :read form is enough to search is concluded from the SDK's words on the newer API."

_NO_API: Final = frozenset({"openid", "email", "profile", "offline_access", "billing", "provisioning"})
_ME: Final = ("iam.current-user:read", "scim", "identity", "access-management")
# The scopes page lists Me under nearly every group of operations. Two reports contradict it.
_ME_TOO: Final = tuple(name for name in SCOPES if name not in {*_NO_API, *_ME, "all-apis"})

_SERVING_ROUTES: Final = (
    _route(
        "POST",
        "/serving-endpoints/{name}/invocations",
        "model-serving",
        "model-serving-inference",
        "serving.serving-endpoints",
        kind="serving_endpoint",
        sources=("D-REST-2025", "fid:70164252764"),
        note="The REST reference of 2025 names the dotted scope; refusals of 2026 name the two short ones.",
    ),
    _route(
        "POST",
        "/serving-endpoints/chat/completions",
        *_SERVING,
        kind="serving_endpoint",
        sources=("fid:66017891750", "fid:56388594490"),
        confidence="reported",
        note="serving.serving-endpoints alone was reported refused in 2026.",
    ),
    _route(
        "POST",
        "/serving-endpoints/completions",
        *_SERVING,
        kind="serving_endpoint",
        sources=("KIT", "fid:66017891750"),
        confidence="inferred",
        note="Taken to be as chat/completions.",
    ),
    _route(
        "POST",
        "/serving-endpoints/embeddings",
        *_SERVING,
        kind="serving_endpoint",
        sources=("KIT", "fid:66017891750"),
        confidence="inferred",
        note="Taken to be as chat/completions.",
    ),
    _route(
        "POST",
        "/serving-endpoints/responses",
        all_of=("model-serving", "ai-gateway"),
        kind="serving_endpoint",
        sources=("fid:59262808423",),
        confidence="reported",
        note="Without ai-gateway the refusal reads: Invalid Token.",
    ),
    _route(
        "GET",
        "/api/2.0/serving-endpoints",
        *_SERVING,
        kind="serving_endpoint",
        sources=("D-REST-2025", "fid:68862795987"),
    ),
    _route(
        "GET",
        "/api/2.0/serving-endpoints/{name}/openapi",
        *_SERVING,
        kind="serving_endpoint",
        sources=("D-REST-2025",),
        as_of=_REST_2025,
    ),
    _route(
        _ANY,
        "/api/2.0/serving-endpoints",
        *_SERVING,
        kind="serving_endpoint",
        sources=("KIT", "D-REST-2025"),
        confidence="inferred",
        note="Changing an endpoint is taken to need what reading it needs.",
    ),
    _route(
        _ANY,
        "/ai-gateway/",
        "ai-gateway",
        kind="ai_gateway_model",
        sources=("fid:61505922210",),
        confidence="reported",
    ),
    _route(
        _ANY,
        "/ai-gateway/connections/{name}/",
        all_of=("ai-gateway", "unity-catalog"),
        kind="uc_connection",
        sources=("G-BRIDGE-656", "fid:69521569942"),
        confidence="reported",
    ),
)

_SEARCH_ROUTES: Final = (
    _route(_ANY, "/api/2.0/vector-search/endpoints", *_ENDPOINT, kind="vector_search_endpoint", sources=_VS_SOURCES),
    _route(
        "GET",
        "/api/2.0/vector-search/endpoints",
        *_ENDPOINT,
        "vectorsearch.vector-search-endpoints:read",
        kind="vector_search_endpoint",
        sources=(*_VS_SOURCES, "fid:68862795987"),
    ),
    _route(
        _ANY,
        "/api/2.0/vector-search/endpoints/{endpoint}/indexes",
        *_INDEX[:2],
        kind="vector_search_index",
        sources=("G-BRIDGE-264", "D-REST-2025"),
        confidence="reported",
        note="How the vector-search client names an index whose endpoint it was told. Refused with both dotted scopes.",
        instead={"": "Leave endpoint_name out: the index's own address takes the index's scope alone"},
    ),
    _route(_ANY, "/api/2.0/vector-search/indexes", *_INDEX, kind="vector_search_index", sources=_VS_SOURCES),
    _route(
        "GET",
        "/api/2.0/vector-search/indexes",
        *_INDEX_READ,
        kind="vector_search_index",
        sources=(*_VS_SOURCES, "fid:68862795987"),
    ),
    *(
        _route(
            "POST",
            f"/api/2.0/vector-search/indexes/{{name}}/{operation}",
            *_INDEX_READ,
            kind="vector_search_index",
            reads=True,
            sources=(*_VS_SOURCES, "G-SDKPY"),
            note=_READ_NOTE,
        )
        for operation in ("query", "query-next-page", "scan")
    ),
    _route(
        _ANY,
        "/api/2.0/ai-search/",
        *_INDEX[:2],
        kind="vector_search_index",
        sources=("G-SDKPY", "D-MCP"),
        confidence="inferred",
    ),
    *(
        _route(
            "POST",
            f"/api/2.0/ai-search/workspaces/{{workspace}}/endpoints/{{endpoint}}/indexes/{{index}}:{operation}",
            *_INDEX[:2],
            kind="vector_search_index",
            reads=True,
            sources=("G-SDKPY", "D-MCP"),
            confidence="inferred",
        )
        for operation in ("query", "scan")
    ),
)

_SQL_ROUTES: Final = (
    _route(
        _ANY,
        "/api/2.0/sql/statements",
        "sql",
        "sql.statement-execution",
        kind="sql_warehouse",
        sources=(
            "D-REST-2025",
            "G-TPL-145",
            "G-HEALTH",
            "fid:68942659526",
            "G-SPARKLYR-3515",
            "G-DFER-143",
            "fid:60066003138",
        ),
        as_of=date(2026, 11, 28),
        note="sql:restricted-query was reported refused. Personal access tokens have scopes since May 2026, and are checked.",
    ),
    _route(
        _ANY,
        "/api/2.0/sql/sessions",
        "sql",
        "sql.statement-execution",
        kind="sql_warehouse",
        sources=("KIT", "D-REST-2025"),
        confidence="inferred",
        note="Sessions of databricks-sql-connector; taken to be as the statements in them.",
    ),
    _route(
        _ANY,
        "/sql/1.0/warehouses",
        "sql",
        "sql.statement-execution",
        kind="sql_warehouse",
        sources=("KIT", "D-REST-2025"),
        confidence="inferred",
        note="What databricks-sql-connector speaks by default; taken to be as the statements in it.",
    ),
    _route(
        "GET",
        "/api/2.0/sql/warehouses",
        "sql",
        "sql.warehouses",
        "sql.warehouses:read",
        kind="sql_warehouse",
        sources=("G-HEALTH", "fid:61964634769"),
    ),
    _route(
        _ANY,
        "/api/2.0/sql/warehouses",
        "sql",
        "sql.warehouses",
        kind="sql_warehouse",
        sources=("G-HEALTH",),
        confidence="inferred",
    ),
    _route(_ANY, "/api/2.0/sql/queries", "sql", "sql.queries", sources=("D-REST-2025",), as_of=_REST_2025),
    _route(
        _ANY,
        "/api/2.0/sql/history",
        "query-history",
        "sql",
        "sql.query-history",
        sources=("G-BHAVINK",),
        confidence="inferred",
    ),
    _route(
        _ANY,
        "/api/2.0/genie/",
        "genie",
        "dashboards.genie",
        kind="genie_space",
        sources=("fid:61501728306", "fid:68862795987", "G-BHAVINK"),
        confidence="reported",
    ),
)

# The reports name POST; the protocol's GET (event stream) and DELETE (end of the connection) reach the same server.
_MCP_ROUTES: Final = (
    _route(
        _ANY,
        "/api/2.0/mcp/genie",
        "genie",
        "mcp.genie",
        kind="mcp_genie",
        sources=("D-MCP", "G-HEALTH"),
        as_of=_MCP,
    ),
    _route(
        _ANY,
        "/api/2.0/mcp/functions/{catalog}/{schema}",
        "mcp.functions",
        "unity-catalog",
        kind="mcp_functions",
        sources=("D-MCP", "G-HEALTH", "P-AGENTBRICKS"),
        as_of=_MCP,
    ),
    _route(
        _ANY,
        "/api/2.0/mcp/vector-search/{catalog}/{schema}",
        "vector-search",
        "ai-search",
        "mcp.vectorsearch",
        kind="mcp_vectorsearch",
        sources=("G-HEALTH", "P-MCP"),
        as_of=_MCP,
        note="The older address.",
    ),
    _route(
        _ANY,
        "/api/2.0/mcp/ai-search/{catalog}/{schema}",
        "ai-search",
        exact=True,
        kind="mcp_ai_search",
        sources=("G-SOLANA-116", "D-MCP"),
        as_of=_MCP,
        note="The newer address; it also names the index. Refused with all-apis.",
    ),
    _route(_ANY, "/api/2.0/mcp/sql", "sql", "mcp.sql", kind="mcp_sql", sources=("D-MCP", "G-HEALTH"), as_of=_MCP),
    _route(
        _ANY,
        "/api/2.0/mcp/external/{connection}",
        "mcp.external",
        "unity-catalog",
        kind="mcp_external",
        sources=("G-BHAVINK", "fid:69521569942"),
        confidence="reported",
    ),
    _route(
        _ANY,
        "/api/2.0/unity-catalog/connections/{name}/proxy",
        "mcp.external",
        "unity-catalog",
        kind="mcp_external",
        sources=("fid:69521569942",),
        confidence="reported",
        note="catalog.connections does not do here.",
    ),
    _route(
        "POST",
        "/api/2.0/external-function",
        all_of=("catalog.connections", "serving.serving-endpoints"),
        kind="uc_connection",
        sources=("G-HEALTH", "G-SDKPY"),
        note="Where the SDK's http_request posts to. The pair is the docs' row for a UC connection; that "
        "model-serving does for the second is concluded from its family.",
    ),
)

_COLUMN_PROBE: Final = (
    "Give VectorSearchRetrieverTool a tool_description=: without one it reads the index's columns for it"
)

_UC_ROUTES: Final = (
    *(
        _route(
            "GET",
            f"/api/2.1/unity-catalog/{part}",
            "unity-catalog",
            f"catalog.{part}:read",
            f"catalog.{part}",
            kind="uc_table" if part == "tables" else None,
            sources=("fid:68862795987",),
            confidence="reported",
            instead={"vector_search_index": _COLUMN_PROBE} if part == "tables" else None,
        )
        for part in ("catalogs", "schemas", "tables")
    ),
    _route(
        "GET",
        "/api/2.1/unity-catalog/model-services",
        "model-serving",
        "unity-catalog",
        kind="uc_model_service",
        sources=("fid:68862795987",),
        confidence="reported",
    ),
    _route(
        "GET",
        "/api/2.1/unity-catalog/volumes",
        "unity-catalog",
        kind="volume",
        sources=("fid:68862795987",),
        confidence="reported",
        note="No scope of Apps reaches it.",
    ),
    _route(
        _ANY,
        "/api/2.1/unity-catalog/functions",
        "unity-catalog",
        kind="uc_function",
        sources=("D-SCOPES", "G-ONTOS-288"),
    ),
    _route(
        _ANY,
        "/api/2.1/unity-catalog/connections",
        "unity-catalog",
        kind="uc_connection",
        sources=("D-SCOPES", "G-ONTOS-288"),
    ),
    _route(_ANY, "/api/2.1/unity-catalog/", "unity-catalog", sources=("D-SCOPES", "G-ONTOS-288")),
    _route(
        _ANY,
        "/api/2.1/unity-catalog/iceberg",
        "all-apis",
        sources=("G-BHAVINK",),
        confidence="reported",
        note="Not obtainable in Apps.",
    ),
)

_WORKSPACE_ROUTES: Final = (
    _route(
        "GET",
        "/api/2.0/preview/scim/v2/Me",
        *_ME,
        doubtful=_ME_TOO,
        sources=("D-APPS-AUTH", "D-SCOPES", "G-SDKGO-1408", "G-BRIDGE-300"),
        note="The scopes page lists Me under nearly every scope. Two reports say that a token of Model Serving needs one "
        "for the user's identity.",
    ),
    _route(
        _ANY,
        "/api/2.0/access-control/",
        "iam.access-control:read",
        "access-management",
        sources=("G-SDKPY",),
        confidence="inferred",
    ),
    _route(_ANY, "/api/2.0/fs/", "files", "files.files", kind="volume", sources=("D-APPS-AUTH", "G-SDKPY")),
    _route(
        _ANY,
        "/api/2.0/workspace/",
        "workspace.workspace",
        "workspace",
        "workspace.workspace:read",
        kind="workspace_files",
        sources=("fid:68862795987",),
        confidence="reported",
    ),
    _route(_ANY, "/api/2.0/apps", "apps", "apps.apps", kind="databricks_app", sources=("D-SCOPES",)),
    _route(
        _ANY, "/api/2.0/postgres/", "postgres", kind="lakebase", sources=("fid:69389892685",), confidence="reported"
    ),
    _route(_ANY, "/api/2.0/database", "postgres", kind="lakebase", sources=("G-SDKPY",), confidence="inferred"),
    _route(
        _ANY,
        "/api/2.1/knowledge-assistants",
        "knowledge-assistants",
        kind="knowledge_assistant",
        sources=("D-SCOPES", "G-SDKPY"),
    ),
    _route(
        _ANY,
        "/api/2.1/supervisor-agents",
        "supervisor-agents",
        kind="supervisor_agent",
        sources=("fid:70164252764", "G-SDKPY"),
        confidence="reported",
    ),
    _route(
        _ANY,
        "/api/2.0/multi-agent-supervisors",
        "all-apis",
        kind="supervisor_agent",
        sources=("fid:55646881965",),
        confidence="reported",
        note="The older address of supervisor agents. No target grants all-apis.",
    ),
    _route(
        _ANY,
        "/api/2.1/unity-catalog/memory-stores",
        "unity-catalog",
        sources=("KIT", "G-TPL-MEM"),
        confidence="inferred",
        as_of=date(2026, 11, 28),
        note="Databricks' templates reach a memory store as the app, not as the user: system authorization, with "
        "READ_MEMORY_STORE or WRITE_MEMORY_STORE.",
    ),
    _route(
        _ANY,
        "/api/2.1/jobs/",
        "jobs",
        sources=("G-APPKIT-265",),
        confidence="reported",
        note="Not obtainable in Apps.",
    ),
    _route(_ANY, "/api/2.2/jobs/", "jobs", sources=("G-APPKIT-265",), confidence="inferred"),
    _route(
        "POST",
        "/api/2.0/token/create",
        "authentication",
        sources=("fid:61964634769",),
        confidence="reported",
        note="Not obtainable in Apps.",
    ),
)

_PERMISSIONS: Final = "access-management"
_PRODUCT_ROUTES: Final = tuple(
    _route(
        _ANY,
        path,
        *scopes,
        sources=("D-SCOPES", "G-BHAVINK"),
        confidence="inferred",
        note="The product's category on the scopes page"
        + (", which counts as many operations as databricks-sdk 0.120." if COUNTED & {*scopes} else "."),
    )
    for path, scopes in (
        *PRODUCTS.items(),
        *((f"/api/2.0/permissions{path}", (*scopes, _PERMISSIONS)) for path, scopes in PERMISSIONS.items()),
    )
)

ROUTES: Final[tuple[Route, ...]] = (
    *_SERVING_ROUTES,
    *_SEARCH_ROUTES,
    *_SQL_ROUTES,
    *_MCP_ROUTES,
    *_UC_ROUTES,
    *_WORKSPACE_ROUTES,
    *_PRODUCT_ROUTES,
)
"""Every part of the REST API whose scopes are known. If several match a call, the most specific one counts."""
