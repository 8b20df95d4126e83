"""The facts: the scopes, and which of them belong together. Data only; every list is a dated observation."""

from __future__ import annotations

from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from obo_kit.scopes._model import Confidence, Family, Scope, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

# The days on which the lists below were seen. No target publishes its list, so an entry is only as good as its day.
_REST_2025: Final = date(2025, 9, 1)
_REST: Final = date(2026, 7, 14)
_ENUM: Final = date(2026, 8, 6)
_PICKER: Final = date(2026, 8, 10)
_DOCS: Final = date(2026, 9, 28)

_MS: Final[frozenset[Target]] = frozenset({"model-serving"})
_APPS: Final[frozenset[Target]] = frozenset({"apps"})
_BOTH: Final[frozenset[Target]] = _MS | _APPS
_NONE: Final[frozenset[Target]] = frozenset()


# ---------------------------------------------------------------- scopes


def _scope(
    name: str,
    accepted: frozenset[Target],
    as_of: date,
    *sources: str,
    family: str | None = None,
    refused: frozenset[Target] = _NONE,
    always: frozenset[Target] = _NONE,
    confidence: Confidence = "documented",
    note: str = "",
) -> Scope:
    return Scope(
        name=name,
        accepted_by=accepted,
        refused_by=refused,
        always_granted_by=always,
        family=family,
        confidence=confidence,
        as_of=as_of,
        sources=sources,
        note=note,
        reach=_REACH.get(name, ""),
    )


# A scope names an API, not a resource in it (G-BHAVINK). It is documented that an endpoint's own scopes bound what it does
# (D-OBO-OLD). The rest follows from the routes that a scope opens.
_SQL_REACH: Final = (
    "Every warehouse that the user may use, and any statement there: it reads and writes whatever the user may."
)
_SERVING_REACH: Final = (
    "Every endpoint that the user may query, agents among them: such an endpoint acts with its own scopes, which may be "
    "more than this agent's."
)
_SEARCH_REACH: Final = "Every index that the user may read; those that the user may change, it changes too."
_CONNECTION_REACH: Final = "Every connection that the user may use, and the service behind it."
_FILES_REACH: Final = "Every volume that the user may read or write."
_REACH: Final = {
    "ai-gateway": "Every model and every connection that the user may use through the gateway.",
    "ai-search": _SEARCH_REACH,
    "apps": "Every app that the user may use, or manage.",
    "apps.apps": "Every app that the user may use, or manage.",
    "catalog.connections": _CONNECTION_REACH,
    "dashboards.genie": "Every Genie space that the user may run.",
    "files": _FILES_REACH,
    "files.files": _FILES_REACH,
    "genie": "Every Genie space that the user may run.",
    "mcp.external": _CONNECTION_REACH,
    "mcp.functions": "Every function that the user may execute.",
    "mcp.genie": "Every Genie space that the user may run.",
    "mcp.sql": _SQL_REACH,
    "mcp.vectorsearch": "Every index that the user may read.",
    "model-serving": _SERVING_REACH,
    "postgres": "Every Lakebase instance that the user may manage.",
    "serving.serving-endpoints": _SERVING_REACH,
    "sql": _SQL_REACH,
    "sql.statement-execution": _SQL_REACH,
    "unity-catalog": "Every object in Unity Catalog that the user may see or change, its grants included.",
    "vector-search": _SEARCH_REACH,
    "vectorsearch.vector-search-indexes": _SEARCH_REACH,
    "workspace.workspace": "Every file and notebook that the user may read or write.",
}

_IAM_NOTE: Final = "Apps grants it always, and refuses to be told."
_UC_NOTE: Final = "Model Serving refuses it and takes unity-catalog instead."

_ASKED_FOR: Final = (
    # SQL
    _scope("sql", _BOTH, _DOCS, "D-APPS-AUTH", "G-HEALTH", "G-DAO-276", "G-BRIDGE", family="sql"),
    _scope(
        "sql.statement-execution",
        _BOTH,
        _PICKER,
        "G-HEALTH",
        "G-DAO-276",
        "fid:61964634769",
        family="sql",
        confidence="reported",
        note="The documented name on Model Serving; on Apps seen in one measured picker.",
    ),
    _scope("sql.warehouses", _MS, _ENUM, "G-HEALTH", "G-DAO-276", family="sql"),
    _scope("sql.warehouses:read", _APPS, _PICKER, "fid:61964634769", family="sql", confidence="reported"),
    _scope(
        "sql:restricted-query",
        _APPS,
        _DOCS,
        "D-APPS-AUTH",
        "fid:68942659526",
        "fid:68864444415",
        note="A permission of its own, not a part of sql: the Statement Execution API was seen to refuse it.",
    ),
    # Genie
    _scope(
        "genie",
        _BOTH,
        _DOCS,
        "D-APPS-AUTH",
        "G-DAO-276",
        "G-SKILLS-NEW",
        "G-DEVHUB-154",
        family="genie",
        note="Model Serving refused the short name until early 2026.",
    ),
    _scope(
        "dashboards.genie",
        _BOTH,
        _DOCS,
        "G-HEALTH",
        "G-DAO-276",
        "G-SKILLS-NEW",
        family="genie",
        note="Deprecated name.",
    ),
    # Serving
    _scope(
        "model-serving",
        _BOTH,
        _DOCS,
        "D-MS",
        "D-APPS-AUTH",
        "G-DAO-276",
        "G-TPL-222",
        "D-OBO-OLD",
        "G-DEVHUB-154",
        family="model-serving",
    ),
    _scope(
        "serving.serving-endpoints",
        _BOTH,
        _DOCS,
        "G-HEALTH",
        "G-DAO-276",
        "G-SKILLS-NEW",
        "fid:66017891750",
        family="model-serving",
        note="Deprecated name; still taken as configuration, reported refused by LLM endpoints in 2026.",
    ),
    _scope(
        "ai-gateway",
        _BOTH,
        _DOCS,
        "D-APPS-AUTH",
        "P-AGENTBRICKS",
        "G-DAO-276",
        "C-160960",
        confidence="reported",
        note="Documented for Apps. Model Serving refused it in mid-2026 and listed it by 2026-08-06.",
    ),
    _scope("ai-functions", _APPS, _DOCS, "D-APPS-AUTH", "G-SKILLS-NEW"),
    # Vector search
    _scope("vector-search", _BOTH, _DOCS, "D-APPS-AUTH", "G-DAO-276", "G-BHAVINK", family="vector-search"),
    _scope(
        "ai-search",
        _BOTH,
        _DOCS,
        "D-MCP",
        "D-APPS-AUTH",
        "fid:70586659427",
        family="vector-search",
        note="The name after the rename of mid-2026: in the docs, absent from Model Serving's list of 2026-08-06.",
    ),
    _scope(
        "vectorsearch.vector-search-indexes", _BOTH, _ENUM, "G-HEALTH", "G-DAO-276", "G-DAO-113", family="vector-search"
    ),
    _scope(
        "vectorsearch.vector-search-endpoints",
        _BOTH,
        _ENUM,
        "G-HEALTH",
        "G-DAO-276",
        "G-DAO-113",
        family="vector-search",
    ),
    _scope(
        "vectorsearch.vector-search-indexes:read",
        _APPS,
        _ENUM,
        "fid:68862795987",
        family="vector-search",
        confidence="reported",
    ),
    _scope(
        "vectorsearch.vector-search-endpoints:read",
        _APPS,
        _ENUM,
        "fid:68862795987",
        family="vector-search",
        confidence="reported",
    ),
    # Unity Catalog
    _scope(
        "unity-catalog",
        _MS,
        _ENUM,
        "D-SCOPES",
        "G-DAO-276",
        "fid:60335514341",
        family="unity-catalog",
        refused=_APPS,
        note="Apps refuses it and takes the catalog.* scopes instead.",
    ),
    *(
        _scope(f"catalog.{part}", _APPS, _DOCS, "D-APPS-AUTH", "P-APX", family="unity-catalog")
        for part in ("catalogs", "schemas", "tables")
    ),
    *(
        _scope(
            f"catalog.{part}:read",
            _APPS,
            _DOCS,
            "D-APPS-AUTH",
            "G-DAO-276",
            "fid:61964634769",
            family="unity-catalog",
            refused=_MS,
            note=_UC_NOTE,
        )
        for part in ("catalogs", "schemas", "tables")
    ),
    _scope(
        "catalog.connections",
        _BOTH,
        _DOCS,
        "G-HEALTH",
        "D-APPS-AUTH",
        "G-DAO-276",
        "fid:69521569942",
        family="catalog.connections",
        note="The connection proxy was seen to refuse it: that route takes mcp.external or unity-catalog.",
    ),
    _scope("catalog.connections:read", _APPS, _DOCS, "D-APPS-AUTH", "P-APX", family="catalog.connections"),
    # MCP
    _scope("mcp.genie", _BOTH, _ENUM, "G-HEALTH", "G-DAO-276", "G-DAO-113", note="On Apps seen in June 2026 only."),
    _scope("mcp.functions", _BOTH, _PICKER, "G-HEALTH", "G-DAO-276", "P-AGENTBRICKS", "fid:61964634769"),
    _scope(
        "mcp.vectorsearch", _BOTH, _ENUM, "G-HEALTH", "G-DAO-276", "G-DAO-113", note="On Apps seen in June 2026 only."
    ),
    _scope("mcp.sql", _MS, _ENUM, "G-HEALTH", "G-DAO-276"),
    _scope("mcp.external", _BOTH, _PICKER, "G-HEALTH", "G-DAO-276", "fid:61964634769"),
    # The rest
    _scope(
        "apps",
        _BOTH,
        _DOCS,
        "D-APPS-AUTH",
        "G-DAO-276",
        "P-APX",
        "fid:61964634769",
        family="apps",
        note="Apps documents it, the picker measured on 2026-08-10 did not show it.",
    ),
    _scope("apps.apps", _MS, _ENUM, "G-HEALTH", "G-DAO-276", "fid:60335514341", family="apps", refused=_APPS),
    _scope("files", _APPS, _DOCS, "D-APPS-AUTH", "G-DAO-276", "G-DEVHUB-154", family="files", refused=_MS),
    _scope(
        "files.files", _APPS, _DOCS, "G-SKILLS-NEW", "G-DAO-276", family="files", refused=_MS, note="Deprecated name."
    ),
    _scope(
        "postgres", _APPS, _DOCS, "D-APPS-AUTH", "G-DAO-276", refused=_MS, note="Gates the management API of Lakebase."
    ),
    _scope("workspace.workspace", _BOTH, _DOCS, "D-APPS-AUTH", "G-DAO-276", family="workspace"),
    _scope("workspace.workspace:read", _APPS, _DOCS, "D-APPS-AUTH", "P-APX", family="workspace"),
    _scope(
        "iam.current-user:read",
        _MS,
        _DOCS,
        "D-APPS-AUTH",
        "G-DAO-276",
        "G-ONTOS-599",
        refused=_APPS,
        always=_APPS,
        note=_IAM_NOTE,
    ),
    _scope(
        "iam.access-control:read",
        _MS,
        _DOCS,
        "D-APPS-AUTH",
        "G-DAO-276",
        "G-ONTOS-599",
        refused=_APPS,
        always=_APPS,
        note=_IAM_NOTE,
    ),
)

_REST_ONLY_NOTE: Final = "A REST API scope that no target grants to a user's token."

# The scopes page's list, without the names that a target accepts too.
_REST_ONLY: Final = tuple(
    _scope(name, _NONE, _REST, "D-SCOPES", "G-BHAVINK", note=_REST_ONLY_NOTE)
    for name in (
        "access-management",
        "alerts",
        "authentication",
        "cleanrooms",
        "clusters",
        "command-execution",
        "dashboards",
        "dataclassification",
        "dataquality",
        "global-init-scripts",
        "identity",
        "instance-pools",
        "jobs",
        "knowledge-assistants",
        "libraries",
        "marketplace",
        "mlflow",
        "networking",
        "notifications",
        "pipelines",
        "qualitymonitor",
        "query-history",
        "scim",
        "secrets",
        "settings",
        "sharing",
        "tags",
    )
)

_OTHERS: Final = (
    _scope(
        "workspace",
        _NONE,
        _REST,
        "D-SCOPES",
        "fid:60335514341",
        family="workspace",
        refused=_APPS,
        note=_REST_ONLY_NOTE,
    ),
    _scope("supervisor-agents", _NONE, _DOCS, "fid:70164252764", confidence="reported", note=_REST_ONLY_NOTE),
    _scope(
        "model-serving-inference",
        _NONE,
        _DOCS,
        "fid:70164252764",
        family="model-serving",
        confidence="reported",
        note="Named by refusals of serving endpoints, beside model-serving.",
    ),
    _scope(
        "serving.serving-endpoints-data-plane",
        _NONE,
        _REST_2025,
        "fid:56128500988",
        family="model-serving",
        confidence="reported",
        note="Shown by the Apps picker of 2025.",
    ),
    _scope("sql.queries", _NONE, _REST_2025, "D-REST-2025", family="sql"),
    _scope("sql.alerts", _NONE, _REST_2025, "fid:56128500988", family="sql", confidence="reported"),
    _scope("sql.query-history", _NONE, _REST, "G-BHAVINK", family="sql", confidence="inferred"),
    *(
        _scope(name, _NONE, _REST, "G-BHAVINK", note="An account scope: no workspace token carries it.")
        for name in ("billing", "provisioning")
    ),
    *(
        _scope(
            name,
            _NONE,
            _REST,
            "G-BHAVINK",
            "fid:46160422395",
            always=_APPS,
            confidence="reported",
            note="An OpenID Connect scope: it opens no API.",
        )
        for name in ("openid", "email", "profile", "offline_access")
    ),
    _scope(
        "all-apis",
        _NONE,
        _REST,
        "G-BHAVINK",
        "fid:60335514341",
        "fid:60524535675",
        refused=_APPS,
        note="Opens every workspace API, though one source doubts that it is a strict superset. No target grants it.",
    ),
)

SCOPES: Final[Mapping[str, Scope]] = MappingProxyType(
    {scope.name: scope for scope in sorted((*_ASKED_FOR, *_REST_ONLY, *_OTHERS), key=lambda scope: scope.name)}
)
"""Every spelling that is known to be a scope, by name."""


# ---------------------------------------------------------------- families


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "apps": Family(heads=("apps", "apps.apps"), sources=("G-DAO-276",)),
        "catalog.connections": Family(
            heads=("catalog.connections",), parts=frozenset({"catalog.connections:read"}), sources=("P-APX",)
        ),
        "files": Family(heads=("files", "files.files"), sources=("G-SKILLS-NEW",)),
        "genie": Family(heads=("genie", "dashboards.genie"), sources=("G-SKILLS-NEW",)),
        "model-serving": Family(
            heads=("model-serving",),
            doubtful=frozenset(
                {"serving.serving-endpoints", "serving.serving-endpoints-data-plane", "model-serving-inference"}
            ),
            sources=("G-SKILLS-NEW", "G-TPL-222", "fid:66017891750"),
        ),
        "sql": Family(
            heads=("sql",),
            parts=frozenset(name for name, scope in SCOPES.items() if scope.family == "sql" and name != "sql"),
            sources=("G-TPL-145",),
        ),
        "unity-catalog": Family(
            heads=("unity-catalog",),
            parts=frozenset(
                f"catalog.{part}{modifier}" for part in ("catalogs", "schemas", "tables") for modifier in ("", ":read")
            ),
            sources=("fid:60524535675", "G-BHAVINK", "G-DAO-276"),
        ),
        "vector-search": Family(
            heads=("vector-search", "ai-search"),
            doubtful=frozenset(
                f"vectorsearch.vector-search-{part}{modifier}"
                for part in ("indexes", "endpoints")
                for modifier in ("", ":read")
            ),
            sources=("G-BHAVINK", "fid:60524535675", "D-MCP", "D-REST-2025"),
        ),
        "workspace": Family(
            heads=("workspace", "workspace.workspace"),
            parts=frozenset({"workspace.workspace:read"}),
            sources=("fid:60524535675",),
        ),
    }
)

NOT_A_PARENT: Final = frozenset({("dashboards", "dashboards.genie")})
"""Pairs whose names look like parent and child but are not (G-BHAVINK)."""

OTHER_NAME: Final[Mapping[str, str]] = MappingProxyType({"mcp.sql": "sql"})
"""Names to ask for if a target does not accept a scope, beyond what families and dots say (D-MCP, P-AGENTBRICKS)."""

INSTEAD: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "access-management": ("iam.access-control:read",),
        "ai-functions": ("model-serving", "sql"),
        "dashboards": ("genie",),
        "identity": ("iam.current-user:read",),
        "knowledge-assistants": ("model-serving",),
        "query-history": ("sql",),
        "scim": ("iam.current-user:read",),
        "sql:restricted-query": ("sql",),
        "supervisor-agents": ("ai-gateway", "model-serving"),
        "unity-catalog": (
            "catalog.catalogs:read",
            "catalog.schemas:read",
            "catalog.tables:read",
            "mcp.external",
            "mcp.functions",
        ),
    }
)
"""Not equivalents: what an author who wrote the key may have meant. Choose one of them by hand."""

MISNAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "catalog.catalog-tables": "catalog.tables:read",
        "catalog.volumes": "files",
        "jobs.jobs": "jobs",
        "serving-endpoints": "model-serving",
        "sql.sql-warehouses": "sql.warehouses",
        "vector-search.search": "vector-search",
    }
)
"""Names that were tried on a target, were refused, and are not scopes (G-DAO-276, G-DAO-113, fid:45438015807)."""
