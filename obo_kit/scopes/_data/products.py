"""The facts: the scope that opens a product's REST API, for products of which only the scope is documented. Data only.

The scopes page lists a scope for each category of operations and counts the operations, but does not name them. A path
belongs to the category that carries the product's name. An entry says so if the count equals the number of the product's
methods in databricks-sdk 0.120, including the operations on its permissions.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COUNTED", "PERMISSIONS", "PRODUCTS"]

_APPS: Final = ("apps", "apps.apps")
_SQL: Final = ("sql",)
_ALERTS: Final = ("alerts", "sql", "sql.alerts")
_QUERIES: Final = ("sql", "sql.queries")
_WAREHOUSES: Final = ("sql", "sql.warehouses")
_UC: Final = ("unity-catalog",)
_SHARING: Final = ("sharing", "unity-catalog")
_WORKSPACE: Final = ("workspace.workspace", "workspace")

PRODUCTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "/api/1.2/commands": ("command-execution",),
        "/api/1.2/contexts": ("command-execution",),
        "/api/2.0/ai-functions": ("ai-functions",),
        "/api/2.0/alerts": _ALERTS,
        "/api/2.0/app-spaces": _APPS,
        "/api/2.0/apps-settings": _APPS,
        "/api/2.0/clean-rooms": ("cleanrooms",),
        "/api/2.0/data-sharing": _SHARING,
        "/api/2.0/dbfs": ("files",),
        "/api/2.0/entity-tag-assignments": ("tags",),
        "/api/2.0/git-credentials": _WORKSPACE,
        "/api/2.0/global-init-scripts": ("global-init-scripts",),
        "/api/2.0/instance-pools": ("instance-pools",),
        "/api/2.0/lakeview": ("dashboards",),
        "/api/2.0/libraries": ("libraries",),
        "/api/2.0/lineage-tracking": _UC,
        "/api/2.0/marketplace-exchange": ("marketplace",),
        "/api/2.0/marketplace-provider": ("marketplace",),
        "/api/2.0/mlflow": ("mlflow",),
        "/api/2.0/notification-destinations": ("notifications",),
        "/api/2.0/online-tables": _UC,
        "/api/2.0/pipelines": ("pipelines",),
        "/api/2.0/policies/clusters": ("clusters",),
        "/api/2.0/policies/jobs": ("jobs",),
        "/api/2.0/policy-families": ("clusters",),
        "/api/2.0/preview/scim": ("scim",),
        "/api/2.0/preview/sql": _SQL,
        "/api/2.0/preview/sql/alerts": _ALERTS,
        "/api/2.0/preview/sql/queries": _QUERIES,
        "/api/2.0/quality-monitors": ("qualitymonitor",),
        "/api/2.0/redash-v2/config": _SQL,
        "/api/2.0/repos": _WORKSPACE,
        "/api/2.0/secrets": ("secrets", "workspace"),
        "/api/2.0/settings": ("settings",),
        "/api/2.0/sql/alerts": _ALERTS,
        "/api/2.0/sql/config/warehouses": _WAREHOUSES,
        "/api/2.0/sql/visualizations": _QUERIES,
        "/api/2.0/token": ("authentication",),
        "/api/2.0/token-management": ("authentication",),
        "/api/2.0/unity-catalog": _UC,
        "/api/2.1/clusters": ("clusters",),
        "/api/2.1/data-sharing": _SHARING,
        "/api/2.1/marketplace-consumer": ("marketplace",),
        "/api/2.1/quality-monitoring": (*_UC, "qualitymonitor"),
        "/api/2.1/settings": ("settings",),
        "/api/2.1/tag-policies": ("tags",),
        "/api/2.1/unity-catalog/providers": _SHARING,
        "/api/2.1/unity-catalog/public": _SHARING,
        "/api/2.1/unity-catalog/recipients": _SHARING,
        "/api/2.1/unity-catalog/shares": _SHARING,
        "/api/3.0/rfa": _UC,
        "/api/data-classification": ("dataclassification",),
        "/api/data-quality": ("dataquality",),
        "/api/warehouses": _WAREHOUSES,
    }
)
"""Paths, and the scopes of which any one is taken to open everything below."""

PERMISSIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "": (),
        "/alertsv2": _ALERTS,
        "/apps": _APPS,
        "/authorization/passwords": ("scim",),
        "/authorization/tokens": ("authentication",),
        "/cluster-policies": ("clusters",),
        "/clusters": ("clusters",),
        "/dashboards": ("dashboards",),
        "/dbsql-dashboards": _SQL,
        "/directories": _WORKSPACE,
        "/experiments": ("mlflow",),
        "/files": _WORKSPACE,
        "/genie": ("genie", "dashboards.genie"),
        "/instance-pools": ("instance-pools",),
        "/jobs": ("jobs",),
        "/knowledge-assistants": ("knowledge-assistants",),
        "/notebooks": _WORKSPACE,
        "/pipelines": ("pipelines",),
        "/queries": _QUERIES,
        "/registered-models": ("mlflow",),
        "/repos": _WORKSPACE,
        "/serving-endpoints": ("model-serving", "serving.serving-endpoints"),
        "/sql/warehouses": _WAREHOUSES,
        "/supervisor-agents": ("supervisor-agents",),
        "/vector-search-endpoints": ("vector-search", "ai-search", "vectorsearch.vector-search-endpoints"),
        "/warehouses": _WAREHOUSES,
    }
)
"""The objects of the permissions API, and the scopes of the products that they belong to."""

COUNTED: Final = frozenset(
    {
        "alerts",
        "authentication",
        "cleanrooms",
        "command-execution",
        "dashboards",
        "dataclassification",
        "dataquality",
        "global-init-scripts",
        "instance-pools",
        "jobs",
        "libraries",
        "marketplace",
        "mlflow",
        "notifications",
        "qualitymonitor",
        "secrets",
        "sharing",
        "tags",
    }
)
"""The scopes for which the page counts exactly as many operations as the SDK has methods."""
