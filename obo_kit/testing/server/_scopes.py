"""The scopes that each part of the API asks for: the workspace's own table.

It comes only from documentation and reports, and shares nothing with ``obo_kit.scopes``, so that a wrong entry in either one
shows: a test compares the two, and lists where they differ and why. A token passes if it has a listed spelling; nothing is
inferred from names. The first spelling is the one that a refusal names, as the platform names one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Literal

__all__ = ["ROUTE_SCOPES", "Ask", "ScopeWords", "Words", "ask", "asked_by"]

Words = Literal["json", "text", "bare", "pat", "invalid"]
"""The wording of an API's refusal for a missing scope; see ``LocalWorkspace.missing_scope_words``."""

ScopeWords = Literal["reported", "json", "text", "bare"]

_ALL = "all-apis"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """The scopes that a route asks for.

    Attributes:
        groups: The token must have one spelling of each group.
        standing: How sure we are; see ``obo_kit.testing._refusals``.
        source: Where it comes from, by the keys of the fact sheet.
        all_apis: Whether ``all-apis`` is accepted in place of these scopes.
        words: The wording of a refusal here, as reported.
    """

    groups: tuple[tuple[str, ...], ...]
    standing: Literal["documented", "reported", "inferred", "observed"]
    source: str
    all_apis: bool = True
    words: Words = "json"

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the scopes to ask for."""
        return tuple(spellings[0] for spellings in self.groups)

    def missing(self, held: Set[str]) -> tuple[str, ...]:
        """Return the scopes that a token lacks; empty if it may pass."""
        if self.all_apis and _ALL in held:
            return ()
        return tuple(spellings[0] for spellings in self.groups if held.isdisjoint(spellings))


def ask(
    *groups: str,
    standing: Literal["documented", "reported", "inferred"],
    source: str,
    all_apis: bool = True,
    words: Words = "json",
) -> Ask:
    """Build the scopes that a route asks for. The spellings of a group are divided by ``|``."""
    spelled = tuple(tuple(part.strip() for part in group.split("|")) for group in groups)
    return Ask(groups=spelled, standing=standing, source=source, all_apis=all_apis, words=words)


_SERVING = "model-serving | serving.serving-endpoints"
_INDEX = "vector-search | ai-search | vectorsearch.vector-search-indexes"
_INDEX_READ = _INDEX + " | vectorsearch.vector-search-indexes:read"
_ENDPOINT = "vector-search | ai-search | vectorsearch.vector-search-endpoints"
_UC = "unity-catalog"

# Methods ("*" for all), the start of the path, and its scopes. The longest start decides. Of two of the same length, the one
# that names the method decides.
ROUTE_SCOPES: tuple[tuple[str, str, Ask], ...] = (
    # ------------------------------------------------------------------ model serving
    (
        "*",
        "/serving-endpoints",
        ask(_SERVING, standing="reported", source="fid:66017891750, fid:70151736575", words="text"),
    ),
    (
        "POST",
        "/serving-endpoints/{name}/invocations",
        ask(
            _SERVING + " | model-serving-inference",
            standing="documented",
            source="D-REST-2025, fid:70164252764; the bare words: G-CORPUS scope-serving-bare",
            words="bare",
        ),
    ),
    (
        "POST",
        "/serving-endpoints/responses",
        ask(_SERVING, "ai-gateway", standing="reported", source="fid:59262808423", words="invalid"),
    ),
    ("*", "/api/2.0/serving-endpoints", ask(_SERVING, standing="documented", source="D-REST-2025")),
    ("*", "/ai-gateway", ask("ai-gateway", standing="reported", source="fid:61505922210", words="text")),
    (
        "*",
        "/ai-gateway/connections/{name}",
        ask("ai-gateway", _UC, standing="reported", source="fid:69521569942, G-BRIDGE-656"),
    ),
    # ------------------------------------------------------------------ vector search
    ("*", "/api/2.0/vector-search/endpoints", ask(_ENDPOINT, standing="documented", source="D-REST-2025")),
    (
        "GET",
        "/api/2.0/vector-search/endpoints",
        ask(
            _ENDPOINT + " | vectorsearch.vector-search-endpoints:read",
            standing="reported",
            source="D-REST-2025, fid:68862795987 (the :read form)",
        ),
    ),
    # The address that names the endpoint refused a token with both dotted scopes.
    (
        "*",
        "/api/2.0/vector-search/endpoints/{endpoint}/indexes",
        ask("vector-search | ai-search", standing="reported", source="ai-bridge#264", words="bare"),
    ),
    ("*", "/api/2.0/vector-search/indexes", ask(_INDEX, standing="documented", source="D-REST-2025")),
    ("GET", "/api/2.0/vector-search/indexes", ask(_INDEX_READ, standing="reported", source="fid:68862795987")),
    *(
        (
            "POST",
            f"/api/2.0/vector-search/indexes/{{name}}/{operation}",
            ask(_INDEX_READ, standing="inferred", source="D-REST-2025; databricks-sdk calls it a read"),
        )
        for operation in ("query", "query-next-page", "scan")
    ),
    ("*", "/api/2.0/ai-search", ask("ai-search | vector-search", standing="inferred", source="G-SDKPY, D-MCP")),
    # ------------------------------------------------------------------ SQL and Genie
    (
        "*",
        "/api/2.0/sql/statements",
        ask("sql | sql.statement-execution", standing="documented", source="G-HEALTH, G-TPL-145", words="text"),
    ),
    (
        "*",
        "/api/2.0/sql/sessions",
        ask("sql | sql.statement-execution", standing="inferred", source="as statements", words="text"),
    ),
    # The connector's own protocol, Thrift over HTTP.
    (
        "*",
        "/sql/1.0/warehouses",
        ask("sql | sql.statement-execution", standing="inferred", source="as statements", words="text"),
    ),
    ("*", "/api/2.0/sql/warehouses", ask("sql | sql.warehouses", standing="documented", source="G-HEALTH")),
    (
        "GET",
        "/api/2.0/sql/warehouses",
        ask("sql | sql.warehouses | sql.warehouses:read", standing="reported", source="G-HEALTH, fid:61964634769"),
    ),
    ("*", "/api/2.0/sql/queries", ask("sql | sql.queries", standing="documented", source="D-REST-2025")),
    ("*", "/api/2.0/sql/history", ask("query-history | sql", standing="inferred", source="D-SCOPES")),
    (
        "*",
        "/api/2.0/genie",
        ask("genie | dashboards.genie", standing="reported", source="fid:61501728306, fid:68862795987"),
    ),
    # ------------------------------------------------------------------ MCP
    ("*", "/api/2.0/mcp/genie", ask("genie | mcp.genie", standing="documented", source="D-MCP, G-HEALTH")),
    (
        "*",
        "/api/2.0/mcp/functions",
        ask("unity-catalog | mcp.functions", standing="documented", source="D-MCP, P-AGENTBRICKS"),
    ),
    (
        "*",
        "/api/2.0/mcp/vector-search",
        ask("vector-search | ai-search | mcp.vectorsearch", standing="documented", source="D-MCP, G-HEALTH"),
    ),
    (
        "*",
        "/api/2.0/mcp/ai-search",
        ask("ai-search", standing="reported", source="solana-mcp-official#116, D-MCP", all_apis=False, words="pat"),
    ),
    ("*", "/api/2.0/mcp/sql", ask("sql | mcp.sql", standing="documented", source="D-MCP")),
    (
        "*",
        "/api/2.0/mcp/external",
        ask("mcp.external | unity-catalog", standing="reported", source="G-BHAVINK, fid:69521569942"),
    ),
    # ------------------------------------------------------------------ Unity Catalog
    ("*", "/api/2.0/unity-catalog", ask(_UC, standing="inferred", source="D-SCOPES")),
    (
        "*",
        "/api/2.0/unity-catalog/connections/{name}/proxy",
        ask("mcp.external | unity-catalog", standing="reported", source="fid:69521569942"),
    ),
    (
        "POST",
        "/api/2.0/external-function",
        ask("catalog.connections", _SERVING, standing="documented", source="G-HEALTH, G-SDKPY"),
    ),
    ("*", "/api/2.1/unity-catalog", ask(_UC, standing="reported", source="fid:68862795987, G-ONTOS-288")),
    *(
        (
            "GET",
            f"/api/2.1/unity-catalog/{part}",
            ask(
                f"{_UC} | catalog.{part}:read | catalog.{part}",
                standing="reported",
                source="fid:68862795987",
                words="text" if part == "catalogs" else "json",
            ),
        )
        for part in ("catalogs", "schemas", "tables")
    ),
    (
        "GET",
        "/api/2.1/unity-catalog/model-services",
        ask("model-serving | unity-catalog", standing="reported", source="fid:68862795987"),
    ),
    ("*", "/api/2.1/unity-catalog/iceberg", ask("all-apis", standing="reported", source="G-BHAVINK")),
    # ------------------------------------------------------------------ sharing
    *(
        (
            "*",
            f"/api/2.1/unity-catalog/{part}",
            ask("sharing", standing="documented", source="docs.databricks.com/api/sharing/v1"),
        )
        for part in ("shares", "recipients", "providers", "public")
    ),
    *(
        ("*", f"/api/{version}/data-sharing", ask("sharing", standing="inferred", source="as unity-catalog/shares"))
        for version in ("2.0", "2.1")
    ),
    # ------------------------------------------------------------------ the rest
    (
        "GET",
        "/api/2.0/preview/scim/v2/Me",
        ask(
            "iam.current-user:read | scim | identity | access-management",
            standing="reported",
            source="sdk-go#1408, ai-bridge#300, against D-SCOPES, which lists Me under nearly every group",
        ),
    ),
    ("*", "/api/2.0/preview/scim", ask("scim", standing="documented", source="D-SCOPES")),
    ("*", "/api/2.0/fs", ask("files | files.files", standing="documented", source="D-APPS-AUTH")),
    (
        "*",
        "/api/2.0/workspace",
        ask(
            "workspace | workspace.workspace | workspace.workspace:read",
            standing="reported",
            source="fid:68862795987",
            words="text",
        ),
    ),
    ("*", "/api/2.0/apps", ask("apps | apps.apps", standing="documented", source="D-SCOPES")),
    ("*", "/api/2.0/postgres", ask("postgres", standing="reported", source="fid:69389892685", words="text")),
    ("*", "/api/2.0/database", ask("postgres", standing="inferred", source="as /api/2.0/postgres", words="text")),
    ("*", "/api/2.1/knowledge-assistants", ask("knowledge-assistants", standing="documented", source="D-SCOPES")),
    ("*", "/api/2.1/supervisor-agents", ask("supervisor-agents", standing="reported", source="fid:70164252764")),
    ("*", "/api/2.0/multi-agent-supervisors", ask("all-apis", standing="reported", source="fid:55646881965")),
    ("*", "/api/2.1/jobs", ask("jobs", standing="reported", source="G-APPKIT-265")),
    ("*", "/api/2.2/jobs", ask("jobs", standing="inferred", source="as /api/2.1/jobs")),
    (
        "*",
        "/api/2.1/clusters",
        ask("clusters", standing="documented", source="docs.databricks.com/api/clusters/v2/list-spark-versions"),
    ),
    ("*", "/api/2.1/settings", ask("settings", standing="documented", source="docs.databricks.com/api/settings/v2")),
    ("POST", "/api/2.0/token/create", ask("authentication", standing="reported", source="fid:61964634769")),
)


def _segments(path: str) -> tuple[str, ...]:
    return tuple(segment for segment in path.split("/") if segment)


_BY_LENGTH: tuple[tuple[str, tuple[str, ...], Ask], ...] = tuple(
    sorted(
        ((methods, _segments(path), asked) for methods, path, asked in ROUTE_SCOPES),
        key=lambda row: (len(row[1]), row[0] != "*"),
        reverse=True,
    )
)


def _fitting(method: str, path: str) -> Iterator[Ask]:
    segments = _segments(path)
    for methods, start, asked in _BY_LENGTH:
        if (
            methods in {"*", method}
            and len(start) <= len(segments)
            and all(part == segment or part.startswith("{") for part, segment in zip(start, segments, strict=False))
        ):
            yield asked


@functools.lru_cache(maxsize=1024)
def asked_by(method: str, path: str) -> Ask | None:
    """Return the scopes that a path asks for; None if nothing is known, so that any valid token passes.

    Args:
        method: The HTTP method. HEAD counts as GET.
        path: A path, or the template of a route.
    """
    return next(_fitting("GET" if method == "HEAD" else method, path), None)
