"""The facts: the kinds of resources, how each target spells their scopes, and what the user must be granted."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from obo_kit.scopes._model import Confidence, Grant, ResourceKind

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOCS: Final = date(2026, 9, 28)


def _grant(privilege: str, on: str, *sources: str, confidence: Confidence = "documented", note: str = "") -> Grant:
    return Grant(privilege=privilege, on=on, confidence=confidence, sources=sources, note=note)


def _kind(
    name: str,
    title: str,
    *mlflow_classes: str,
    serving: tuple[str, ...],
    apps: tuple[str, ...],
    serving_granular: tuple[str, ...] | None = None,
    apps_granular: tuple[str, ...] | None = None,
    serving_also: tuple[str, ...] = (),
    apps_also: tuple[str, ...] = (),
    grants: tuple[Grant, ...],
    sources: tuple[str, ...],
    confidence: Confidence = "documented",
    as_of: date = _DOCS,
    note: str = "",
) -> ResourceKind:
    return ResourceKind(
        name=name,
        title=title,
        mlflow_classes=mlflow_classes,
        current={"model-serving": serving, "apps": apps},
        granular={
            "model-serving": serving if serving_granular is None else serving_granular,
            "apps": apps if apps_granular is None else apps_granular,
        },
        also={"model-serving": serving_also, "apps": apps_also},
        grants=grants,
        confidence=confidence,
        as_of=as_of,
        sources=sources,
        note=note,
    )


_PARENTS: Final = "its catalog and schema"
_USE_PARENTS: Final = _grant("USE CATALOG + USE SCHEMA", _PARENTS, "G-HEALTH", "fid:70669522900")
_CAN_QUERY: Final = _grant(
    "CAN QUERY", "the serving endpoint", "G-TPL-MIGRATE", "P-APX", note="CAN VIEW is a different, smaller grant."
)
_VS_ENDPOINT: Final = _grant(
    "CAN USE",
    "the vector search endpoint",
    "G-BHAVINK-PLAY",
    "fid:56828970741",
    confidence="reported",
    note="One source says CAN MANAGE.",
)
_CAN_USE_WAREHOUSE: Final = _grant(
    "CAN USE", "the warehouse", "G-TPL-MIGRATE", "P-APX", note="CAN MONITOR was reported not to be enough."
)
_INDEX_GRANTS: Final = (
    _grant("SELECT", "the index (a table in Unity Catalog)", "G-TPL-MIGRATE", "P-APX"),
    _USE_PARENTS,
    _VS_ENDPOINT,
)
_TABLE_GRANTS: Final = (_grant("SELECT", "the table", "G-TPL-MIGRATE", "P-APX"), _USE_PARENTS, _CAN_USE_WAREHOUSE)
_FUNCTION_GRANTS: Final = (
    _grant("EXECUTE", "the function", "G-TPL-MIGRATE", "P-APX"),
    _USE_PARENTS,
    _grant("CAN USE", "the warehouse, where it runs as SQL", "KIT", confidence="inferred"),
)
_GENIE_GRANTS: Final = (
    _grant("CAN RUN", "the Genie space", "G-TPL-MIGRATE", "P-APX", "fid:70669522900"),
    _grant("CAN USE", "its warehouse (pro or serverless)", "fid:70669522900", "fid:58231455167", confidence="reported"),
    _grant(
        "SELECT + USE CATALOG + USE SCHEMA",
        "every table in the space",
        "fid:70669522900",
        "fid:58231455167",
        confidence="reported",
    ),
    _grant("Databricks SQL entitlement", "the user", "UNTRACED"),
)
_USE_CONNECTION: Final = _grant(
    "USE CONNECTION",
    "the connection",
    "G-TPL-MIGRATE",
    "P-APX",
    "G-BHAVINK-PLAY",
    note="Revoking it takes effect at once; a stored external token stays but cannot be used.",
)
_OWN_LOGIN: Final = _grant(
    "the user's own login",
    "the connection, where it is per user",
    "fid:68349805652",
    "fid:12599444317",
    confidence="reported",
)
_GATEWAY: Final = _kind(
    "ai_gateway_model",
    "AI Gateway model",
    serving=("ai-gateway",),
    apps=("ai-gateway",),
    grants=(
        _grant("EXECUTE", "the model service", "fid:68862795987", confidence="reported"),
        _grant("USE CATALOG + USE SCHEMA", _PARENTS, "fid:68862795987", confidence="reported"),
    ),
    sources=("G-DAO-276", "C-160960", "D-APPS-AUTH", "P-AGENTBRICKS"),
    confidence="reported",
    note="Model Serving refused the scope in mid-2026 and listed it by 2026-08-06. /serving-endpoints/responses needs "
    "it in addition to model-serving.",
)

_KINDS: Final = (
    _kind(
        "serving_endpoint",
        "Serving endpoint",
        "DatabricksServingEndpoint",
        serving=("model-serving",),
        apps=("model-serving",),
        serving_granular=("serving.serving-endpoints",),
        apps_granular=("serving.serving-endpoints",),
        grants=(_CAN_QUERY,),
        sources=("D-MS", "G-HEALTH", "D-APPS-AUTH", "G-TPL-222"),
    ),
    _GATEWAY,
    # The SDK calls a model service a governed AI Gateway endpoint in Unity Catalog, so it is reached as one.
    replace(
        _GATEWAY,
        name="uc_model_service",
        title="UC model service",
        mlflow_classes=("DatabricksUCModelService",),
        grants=(
            *_GATEWAY.grants,
            _grant(
                "USE CONNECTION",
                "the provider's connection, where a provider stands behind the service",
                "fid:60196880968",
                confidence="reported",
            ),
        ),
        as_of=date(2026, 11, 28),
        sources=(*_GATEWAY.sources, "G-SDKPY", "P-MLFLOW", "fid:60196880968"),
    ),
    _kind(
        "vector_search_index",
        "Vector search index",
        "DatabricksVectorSearchIndex",
        serving=("vector-search",),
        apps=("vector-search",),
        serving_granular=("vectorsearch.vector-search-indexes",),
        apps_granular=("vectorsearch.vector-search-indexes",),
        serving_also=("ai-search",),
        apps_also=("ai-search",),
        grants=_INDEX_GRANTS,
        sources=("G-HEALTH", "D-MS", "D-APPS-AUTH"),
    ),
    _kind(
        "vector_search_endpoint",
        "Vector search endpoint",
        serving=("vector-search",),
        apps=("vector-search",),
        serving_granular=("vectorsearch.vector-search-endpoints",),
        apps_granular=("vectorsearch.vector-search-endpoints",),
        serving_also=("ai-search",),
        apps_also=("ai-search",),
        grants=(_VS_ENDPOINT,),
        sources=("G-HEALTH", "D-APPS-AUTH"),
    ),
    _kind(
        "sql_warehouse",
        "SQL warehouse",
        "DatabricksSQLWarehouse",
        serving=("sql",),
        apps=("sql",),
        serving_granular=("sql.statement-execution", "sql.warehouses"),
        apps_granular=("sql.statement-execution", "sql.warehouses:read"),
        grants=(_CAN_USE_WAREHOUSE,),
        sources=("G-HEALTH", "G-BRIDGE", "D-APPS-AUTH", "fid:61964634769"),
        note="sql:restricted-query was reported not to do for the Statement Execution API. No Apps picker showed "
        "sql.warehouses without its :read.",
    ),
    _kind(
        "uc_table",
        "UC table",
        "DatabricksTable",
        serving=("sql",),
        apps=("sql",),
        serving_granular=("sql.statement-execution", "sql.warehouses"),
        apps_granular=("sql.statement-execution", "sql.warehouses:read"),
        serving_also=("unity-catalog",),
        apps_also=("catalog.catalogs:read", "catalog.schemas:read", "catalog.tables:read"),
        grants=_TABLE_GRANTS,
        sources=("fid:70586659427", "D-APPS-AUTH"),
        note="Its data is reached through statements only; the further spellings open its metadata.",
    ),
    _kind(
        "uc_function",
        "UC function",
        "DatabricksFunction",
        serving=("sql",),
        apps=("sql",),
        serving_granular=("sql.statement-execution", "sql.warehouses"),
        apps_granular=("sql.statement-execution", "sql.warehouses:read"),
        serving_also=("unity-catalog", "mcp.functions"),
        apps_also=("mcp.functions",),
        grants=_FUNCTION_GRANTS,
        sources=("fid:70586659427", "P-APX", "P-AGENTBRICKS"),
        confidence="reported",
        note="sql where it runs on a warehouse, mcp.functions where it is called through managed MCP. Serverless Spark "
        "does not act for the user.",
    ),
    _kind(
        "genie_space",
        "Genie space",
        "DatabricksGenieSpace",
        serving=("genie",),
        apps=("genie",),
        serving_granular=("dashboards.genie",),
        apps_granular=("dashboards.genie",),
        grants=_GENIE_GRANTS,
        sources=("G-HEALTH", "G-DAO-276", "D-APPS-AUTH", "G-SKILLS-NEW", "G-BHAVINK"),
        note="One source (Azure) asks for both names; dashboards.genie is deprecated.",
    ),
    _kind(
        "uc_connection",
        "UC connection",
        "DatabricksUCConnection",
        serving=("catalog.connections", "model-serving"),
        apps=("catalog.connections", "model-serving"),
        serving_granular=("catalog.connections", "serving.serving-endpoints"),
        apps_granular=("catalog.connections", "serving.serving-endpoints"),
        apps_also=("mcp.external", "ai-gateway"),
        grants=(_USE_CONNECTION, _OWN_LOGIN),
        sources=("G-HEALTH", "D-APPS-AUTH", "G-TPL", "G-BRIDGE-656", "fid:69521569942"),
        confidence="reported",
        note="The pair is documented for Model Serving. Apps documents catalog.connections alone, but the route is the "
        "same one. MCP through a connection is the kind mcp_external.",
    ),
    _kind(
        "databricks_app",
        "Databricks App",
        "DatabricksApp",
        serving=("apps",),
        apps=("apps",),
        serving_granular=("apps.apps",),
        grants=(_grant("CAN USE", "the app", "G-TPL", "P-APX", "fid:70669522900"),),
        sources=("G-HEALTH", "G-DAO-276", "D-APPS-AUTH", "G-TPL", "fid:61964634769"),
        note="Apps refused apps.apps in June 2026. One source says that a second app asks for CAN USE alone.",
    ),
    _kind(
        "volume",
        "UC volume",
        serving=(),
        apps=("files",),
        apps_granular=("files.files",),
        grants=(
            _grant("READ VOLUME (WRITE VOLUME to write)", "the volume", "G-SKILLS"),
            _grant("USE CATALOG + USE SCHEMA", _PARENTS, "KIT", confidence="inferred"),
        ),
        sources=("fid:70586659427", "D-APPS-AUTH"),
        note="Model Serving documents it as unsupported.",
    ),
    _kind(
        "lakebase",
        "Lakebase instance",
        "DatabricksLakebase",
        serving=(),
        apps=("postgres",),
        grants=(
            _grant(
                "a Postgres role",
                "the database (Unity Catalog does not apply)",
                "fid:69389892685",
                "G-BHAVINK-PLAY",
                confidence="reported",
                note="The scope gates the management API; a login uses its own credential, good for one hour.",
            ),
        ),
        sources=("G-DAO-276", "D-APPS-AUTH", "G-SKILLS"),
        confidence="reported",
        note="Model Serving refused postgres.",
    ),
    _kind(
        "workspace_files",
        "Workspace files",
        serving=("workspace.workspace",),
        apps=("workspace.workspace",),
        grants=(_grant("CAN READ (or more)", "the folder or notebook", "KIT", confidence="inferred"),),
        sources=("G-DAO-276", "D-APPS-AUTH"),
        confidence="reported",
    ),
    _kind(
        "mcp_genie",
        "Genie MCP server",
        serving=("mcp.genie",),
        apps=("genie",),
        serving_also=("genie",),
        apps_also=("mcp.genie",),
        grants=_GENIE_GRANTS,
        sources=("G-HEALTH", "D-MCP", "P-AGENTBRICKS"),
    ),
    _kind(
        "mcp_functions",
        "UC functions MCP server",
        serving=("mcp.functions",),
        apps=("mcp.functions",),
        serving_also=("unity-catalog",),
        grants=_FUNCTION_GRANTS,
        sources=("G-HEALTH", "D-MCP", "P-AGENTBRICKS", "G-TPL"),
        note="The MCP page says unity-catalog, which Apps refuses.",
    ),
    _kind(
        "mcp_vectorsearch",
        "Vector search MCP server",
        serving=("mcp.vectorsearch",),
        apps=("vector-search",),
        serving_also=("vector-search", "ai-search"),
        apps_also=("mcp.vectorsearch", "ai-search"),
        grants=_INDEX_GRANTS,
        sources=("G-HEALTH", "D-MCP", "P-APX", "G-DAO-113"),
        note="The older address.",
    ),
    _kind(
        "mcp_ai_search",
        "AI search MCP server",
        serving=("ai-search",),
        apps=("ai-search",),
        grants=_INDEX_GRANTS,
        sources=("G-SOLANA-116", "D-MCP"),
        confidence="reported",
        as_of=date(2026, 11, 28),
        note="The newer address of vector search MCP: no other scope opens it, all-apis neither.",
    ),
    _kind(
        "mcp_sql",
        "SQL MCP server",
        serving=("mcp.sql", "sql"),
        apps=("sql",),
        serving_granular=("mcp.sql", "sql.statement-execution", "sql.warehouses"),
        serving_also=("sql",),
        apps_also=("ai-gateway",),
        grants=_TABLE_GRANTS,
        sources=("G-HEALTH", "D-MCP", "P-AGENTBRICKS", "G-BRIDGE-619"),
        note="Databricks' own runtime asks for ai-gateway besides the scope of each managed tool (2026-09-18).",
    ),
    _kind(
        "mcp_external",
        "External MCP server",
        serving=("mcp.external",),
        apps=("mcp.external",),
        serving_also=("unity-catalog",),
        apps_also=("catalog.connections", "ai-gateway"),
        grants=(
            _grant("USE CONNECTION", "the connection", "G-BHAVINK-PLAY"),
            _OWN_LOGIN,
            _grant("EXECUTE", "the MCP service (newer UC securable)", "G-BHAVINK-PLAY", confidence="reported"),
        ),
        sources=("G-HEALTH", "G-DAO-113", "G-TPL", "P-AGENTBRICKS", "fid:69521569942"),
        confidence="reported",
    ),
    _kind(
        "supervisor_agent",
        "Supervisor agent",
        serving=("model-serving",),
        apps=("ai-gateway",),
        apps_also=("genie", "mcp.functions", "model-serving", "catalog.connections"),
        grants=(_grant("CAN QUERY", "the endpoint", "KIT", confidence="inferred"),),
        sources=("G-TPL",),
        confidence="inferred",
        note="On Apps each kind of hosted tool needs its scope besides; tools of the kind app do not act for the user.",
    ),
    _kind(
        "knowledge_assistant",
        "Knowledge assistant",
        serving=("model-serving",),
        apps=("model-serving",),
        grants=(
            _grant(
                "CAN QUERY",
                "its serving endpoint, by the endpoint's id",
                "fid:70209365701",
                "fid:66975382202",
                "fid:55807509980",
                confidence="reported",
                note="The access list of the assistant does not reach its endpoint.",
            ),
            _grant("CAN QUERY", "the assistant, a list of its own", "fid:70209365701", confidence="reported"),
        ),
        sources=("G-TPL", "fid:70209365701", "fid:66975382202", "fid:55807509980"),
        confidence="reported",
        as_of=date(2026, 11, 28),
        note="Two access lists: the assistant's and its serving endpoint's.",
    ),
)

KINDS: Final[Mapping[str, ResourceKind]] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""Every kind of resource, by name."""
