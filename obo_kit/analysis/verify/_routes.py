"""The list, first part: for each route of the catalogue the request that asks for it, or why none can be safe.

Each row was reviewed: a GET of a thing that does not exist wherever the API has one, so that no data comes back; else a list
of at most one entry; a POST only where it names what does not exist, or only reads. The paths are the official SDK's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from obo_kit.analysis.verify._probe import ABSENT, ABSENT_ID, Probe, get, post

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ROUTE_PROBES", "UNSAFE_ROUTES", "claim_of"]

_LIST: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
_CHAT: Final = {"model": ABSENT, "messages": []}
_NO_ACT: Final = "Reading it is another route. What is left of it changes something."

# Reads of what does not exist: `{absent}` stands for a name, `{absent_id}` for an id.
_READS: Final = (
    ("GET /api/2.0/serving-endpoints", "/api/2.0/serving-endpoints/{absent}"),
    ("GET /api/2.0/serving-endpoints/{name}/openapi", "/api/2.0/serving-endpoints/{absent}/openapi"),
    ("/ai-gateway/connections/{name}/", "/ai-gateway/connections/{absent}/"),
    ("GET /api/2.0/vector-search/endpoints", "/api/2.0/vector-search/endpoints/{absent}"),
    (
        "/api/2.0/vector-search/endpoints/{endpoint}/indexes",
        "/api/2.0/vector-search/endpoints/{absent}/indexes/{absent}",
    ),
    ("GET /api/2.0/vector-search/indexes", "/api/2.0/vector-search/indexes/{absent}"),
    ("/api/2.0/ai-search/", "/api/2.0/ai-search/workspaces/{absent}/endpoints/{absent}"),
    ("/api/2.0/sql/statements", "/api/2.0/sql/statements/{absent_id}"),
    ("/api/2.0/sql/sessions", "/api/2.0/sql/sessions/{absent_id}"),
    ("GET /api/2.0/sql/warehouses", "/api/2.0/sql/warehouses/{absent}"),
    ("/api/2.0/sql/queries", "/api/2.0/sql/queries/{absent_id}"),
    ("/api/2.0/genie/", "/api/2.0/genie/spaces/{absent}"),
    ("/api/2.0/unity-catalog/connections/{name}/proxy", "/api/2.0/unity-catalog/connections/{absent}/proxy"),
    ("GET /api/2.1/unity-catalog/tables", "/api/2.1/unity-catalog/tables/{absent}.{absent}.{absent}"),
    ("GET /api/2.1/unity-catalog/volumes", "/api/2.1/unity-catalog/volumes/{absent}.{absent}.{absent}"),
    ("/api/2.1/unity-catalog/functions", "/api/2.1/unity-catalog/functions/{absent}.{absent}.{absent}"),
    ("/api/2.1/unity-catalog/connections", "/api/2.1/unity-catalog/connections/{absent}"),
    ("/api/2.1/unity-catalog/", "/api/2.1/unity-catalog/permissions/catalog/{absent}"),
    ("/api/2.1/unity-catalog/iceberg", "/api/2.1/unity-catalog/iceberg/v1/config"),
    ("/api/2.0/fs/", "/api/2.0/fs/directories/Volumes/{absent}/{absent}/{absent}"),
    ("/api/2.0/apps", "/api/2.0/apps/obo-kit-verify-absent"),
    ("/api/2.0/postgres/", "/api/2.0/postgres/projects/{absent}"),
    ("/api/2.0/database", "/api/2.0/database/instances/{absent}"),
    ("/api/2.1/knowledge-assistants", "/api/2.1/knowledge-assistants/{absent}"),
    ("/api/2.1/supervisor-agents", "/api/2.1/supervisor-agents/{absent}"),
    ("/api/2.0/multi-agent-supervisors", "/api/2.0/multi-agent-supervisors/{absent}"),
    ("/api/2.1/unity-catalog/memory-stores", "/api/2.1/unity-catalog/memory-stores/{absent}"),
    ("/api/2.0/ai-functions", "/api/2.0/ai-functions/batches/{absent_id}"),
    ("/api/2.0/alerts", "/api/2.0/alerts/{absent_id}"),
    ("/api/2.0/app-spaces", "/api/2.0/app-spaces/{absent}"),
    ("/api/2.0/apps-settings", "/api/2.0/apps-settings/templates/{absent}"),
    ("/api/2.0/clean-rooms", "/api/2.0/clean-rooms/{absent}"),
    ("/api/2.0/data-sharing", "/api/2.0/data-sharing/recipients/{absent}/federation-policies/{absent}"),
    ("/api/2.0/entity-tag-assignments", "/api/2.0/entity-tag-assignments/catalogs/{absent}/tags"),
    ("/api/2.0/git-credentials", "/api/2.0/git-credentials/0"),
    ("/api/2.0/global-init-scripts", "/api/2.0/global-init-scripts/{absent_id}"),
    ("/api/2.0/lakeview", "/api/2.0/lakeview/dashboards/{absent_id}"),
    ("/api/2.0/lineage-tracking", "/api/2.0/lineage-tracking/external-metadata/{absent}"),
    ("/api/2.0/notification-destinations", "/api/2.0/notification-destinations/{absent_id}"),
    ("/api/2.0/online-tables", "/api/2.0/online-tables/{absent}.{absent}.{absent}"),
    ("/api/2.0/pipelines", "/api/2.0/pipelines/{absent_id}"),
    ("/api/2.0/policy-families", "/api/2.0/policy-families/{absent}"),
    ("/api/2.0/preview/scim", "/api/2.0/preview/scim/v2/Groups/0"),
    ("/api/2.0/preview/sql", "/api/2.0/preview/sql/dashboards/{absent_id}"),
    ("/api/2.0/preview/sql/alerts", "/api/2.0/preview/sql/alerts/{absent_id}"),
    ("/api/2.0/preview/sql/queries", "/api/2.0/preview/sql/queries/{absent_id}"),
    ("/api/2.0/quality-monitors", "/api/2.0/quality-monitors/table/{absent_id}"),
    ("/api/2.0/repos", "/api/2.0/repos/0"),
    ("/api/2.0/sql/alerts", "/api/2.0/sql/alerts/{absent_id}"),
    ("/api/2.0/sql/visualizations", "/api/2.0/sql/visualizations/{absent_id}"),
    ("/api/2.0/token-management", "/api/2.0/token-management/tokens/{absent_id}"),
    ("/api/2.0/unity-catalog", "/api/2.0/unity-catalog/connections/{absent}"),
    ("/api/2.1/data-sharing", "/api/2.1/data-sharing/providers/{absent}/shares/{absent}"),
    ("/api/2.1/quality-monitoring", "/api/2.1/quality-monitoring/tables/{absent}.{absent}.{absent}/monitor"),
    ("/api/2.1/settings", "/api/2.1/settings/{absent}"),
    ("/api/2.1/tag-policies", "/api/2.1/tag-policies/{absent}"),
    ("/api/2.1/unity-catalog/providers", "/api/2.1/unity-catalog/providers/{absent}"),
    (
        "/api/2.1/unity-catalog/public",
        "/api/2.1/unity-catalog/public/data_sharing_activation_info/{absent}",
    ),
    ("/api/2.1/unity-catalog/recipients", "/api/2.1/unity-catalog/recipients/{absent}"),
    ("/api/2.1/unity-catalog/shares", "/api/2.1/unity-catalog/shares/{absent}"),
    ("/api/3.0/rfa", "/api/3.0/rfa/destinations/table/{absent}.{absent}.{absent}"),
    ("/api/data-classification", "/api/data-classification/v1/catalogs/{absent}/config"),
    ("/api/data-quality", "/api/data-quality/v1/monitors/table/{absent_id}"),
    ("/api/2.0/permissions", "/api/2.0/permissions/{absent}/{absent}"),
    *(
        (f"/api/2.0/permissions/{kind}", f"/api/2.0/permissions/{kind}/{{absent}}")
        for kind in (
            "alertsv2", "apps", "cluster-policies", "clusters", "dashboards", "dbsql-dashboards", "directories",
            "experiments", "files", "genie", "instance-pools", "jobs", "knowledge-assistants", "notebooks", "pipelines",
            "queries", "registered-models", "repos", "serving-endpoints", "sql/warehouses", "supervisor-agents",
            "vector-search-endpoints", "warehouses",
        )
    ),
)  # fmt: skip

# Reads of what does not exist, which a query names; and lists of at most one entry, where there is no such read.
_QUERIES: Final[tuple[tuple[str, str, dict[str, str]], ...]] = (
    ("/api/2.0/sql/history", "/api/2.0/sql/history/queries", {"max_results": "1"}),
    ("GET /api/2.1/unity-catalog/catalogs", "/api/2.1/unity-catalog/catalogs", {"max_results": "1"}),
    ("GET /api/2.1/unity-catalog/schemas", "/api/2.1/unity-catalog/schemas", {"catalog_name": ABSENT}),
    ("GET /api/2.1/unity-catalog/model-services", "/api/2.1/unity-catalog/model-services", {"max_results": "1"}),
    ("GET /api/2.0/preview/scim/v2/Me", "/api/2.0/preview/scim/v2/Me", {}),
    (
        "/api/2.0/access-control/",
        "/api/2.0/access-control/check-policy-v2",
        {"actor.actor_id": "0", "permission": "READ", "resource": ABSENT},
    ),
    ("/api/2.0/workspace/", "/api/2.0/workspace/get-status", {"path": f"/{ABSENT}"}),
    ("/api/2.1/jobs/", "/api/2.1/jobs/get", {"job_id": "0"}),
    ("/api/2.2/jobs/", "/api/2.2/jobs/get", {"job_id": "0"}),
    (
        "/api/1.2/commands",
        "/api/1.2/commands/status",
        {"clusterId": ABSENT, "contextId": "0", "commandId": "0"},
    ),
    ("/api/1.2/contexts", "/api/1.2/contexts/status", {"clusterId": ABSENT, "contextId": "0"}),
    ("/api/2.0/dbfs", "/api/2.0/dbfs/get-status", {"path": f"/{ABSENT}"}),
    ("/api/2.0/instance-pools", "/api/2.0/instance-pools/get", {"instance_pool_id": ABSENT}),
    ("/api/2.0/libraries", "/api/2.0/libraries/cluster-status", {"cluster_id": ABSENT}),
    ("/api/2.0/marketplace-exchange", "/api/2.0/marketplace-exchange/exchanges", {"page_size": "1"}),
    ("/api/2.0/marketplace-provider", "/api/2.0/marketplace-provider/providers", {"page_size": "1"}),
    ("/api/2.0/mlflow", "/api/2.0/mlflow/experiments/get", {"experiment_id": ABSENT}),
    ("/api/2.0/policies/clusters", "/api/2.0/policies/clusters/get", {"policy_id": ABSENT}),
    ("/api/2.0/policies/jobs", "/api/2.0/policies/jobs/get-compliance", {"job_id": "0"}),
    ("/api/2.0/redash-v2/config", "/api/2.0/redash-v2/config", {}),
    ("/api/2.0/secrets", "/api/2.0/secrets/acls/get", {"scope": ABSENT, "principal": ABSENT}),
    (
        "/api/2.0/settings",
        "/api/2.0/settings/types/default_namespace_ws/names/default",
        {},
    ),
    ("/api/2.0/sql/config/warehouses", "/api/2.0/sql/config/warehouses", {}),
    ("/api/2.0/token", "/api/2.0/token/list", {}),
    ("/api/2.1/clusters", "/api/2.1/clusters/get", {"cluster_id": ABSENT}),
    ("/api/2.1/marketplace-consumer", "/api/2.1/marketplace-consumer/listings", {"page_size": "1"}),
    ("/api/warehouses", "/api/warehouses/v1/default-warehouse-overrides", {"page_size": "1"}),
    (
        "/api/2.0/permissions/authorization/passwords",
        "/api/2.0/permissions/authorization/passwords/permissionLevels",
        {},
    ),
    (
        "/api/2.0/permissions/authorization/tokens",
        "/api/2.0/permissions/authorization/tokens/permissionLevels",
        {},
    ),
)
_MCP: Final = (
    ("/api/2.0/mcp/genie", "/api/2.0/mcp/genie/{absent}"),
    ("/api/2.0/mcp/functions/{catalog}/{schema}", "/api/2.0/mcp/functions/{absent}/{absent}"),
    ("/api/2.0/mcp/vector-search/{catalog}/{schema}", "/api/2.0/mcp/vector-search/{absent}/{absent}"),
    ("/api/2.0/mcp/ai-search/{catalog}/{schema}", "/api/2.0/mcp/ai-search/{absent}/{absent}"),
    ("/api/2.0/mcp/sql", "/api/2.0/mcp/sql"),
    ("/api/2.0/mcp/external/{connection}", "/api/2.0/mcp/external/{absent}"),
)
_INDEX: Final = "/api/2.0/vector-search/indexes/{absent}"
_ENDPOINT: Final = "/api/2.0/ai-search/workspaces/{absent}/endpoints/{absent}/indexes/{absent}"
_SEARCH: Final = {"query_text": "", "columns": [], "num_results": 1}


def claim_of(methods: frozenset[str], path: str) -> str:
    """Return the name of the claim about a route of the catalogue: ``route:GET /api/…``, without a method where it is any."""
    return f"route:{' '.join([*sorted(methods), path])}"


ROUTE_PROBES: Final[Mapping[str, Probe]] = {
    f"route:{route}": probe
    for route, probe in (
        *((route, get(path)) for route, path in _READS),
        *((route, get(path, query=query, case="allowed")) for route, path, query in _QUERIES),
        # The protocol asks for its tools by POST.
        *((route, post(path, _LIST, "reads", case="allowed")) for route, path in _MCP),
        ("POST /serving-endpoints/{name}/invocations", post("/serving-endpoints/{absent}/invocations", {}, "absent")),
        ("POST /serving-endpoints/chat/completions", post("/serving-endpoints/chat/completions", _CHAT, "absent")),
        (
            "POST /serving-endpoints/completions",
            post("/serving-endpoints/completions", {"model": ABSENT, "prompt": ""}, "absent"),
        ),
        (
            "POST /serving-endpoints/embeddings",
            post("/serving-endpoints/embeddings", {"model": ABSENT, "input": []}, "absent"),
        ),
        (
            "POST /serving-endpoints/responses",
            post("/serving-endpoints/responses", {"model": ABSENT, "input": []}, "absent"),
        ),
        ("/ai-gateway/", post("/ai-gateway/mlflow/v1/chat/completions", _CHAT, "absent")),
        ("/sql/1.0/warehouses", post("/sql/1.0/warehouses/{absent}", "", "absent", form="text")),
        *(
            (f"POST /api/2.0/vector-search/indexes/{{name}}/{verb}", post(f"{_INDEX}/{verb}", body, "absent"))
            for verb, body in (
                ("query", _SEARCH),
                ("query-next-page", {"page_token": ABSENT_ID}),
                ("scan", {"num_results": 1}),
            )
        ),
        *(
            (
                "POST /api/2.0/ai-search/workspaces/{workspace}/endpoints/{endpoint}/indexes/{index}:" + verb,
                post(f"{_ENDPOINT}:{verb}", body, "absent"),
            )
            for verb, body in (("query", _SEARCH), ("scan", {"num_results": 1}))
        ),
        (
            "POST /api/2.0/external-function",
            post(
                "/api/2.0/external-function",
                {"connection_name": ABSENT, "method": "GET", "path": "/"},
                "absent",
            ),
        ),
    )
}
"""The request that asks for each route."""

UNSAFE_ROUTES: Final[Mapping[str, str]] = {
    "route:/api/2.0/serving-endpoints": _NO_ACT,
    "route:/api/2.0/vector-search/endpoints": _NO_ACT,
    "route:/api/2.0/vector-search/indexes": _NO_ACT,
    "route:/api/2.0/sql/warehouses": _NO_ACT,
    "route:POST /api/2.0/token/create": "It issues a token that lasts.",
}
"""Why there is none for the others."""
