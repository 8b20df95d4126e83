"""The scopes that each call of the REST API asks for, and which calls only read."""

from __future__ import annotations

import datetime
import itertools

import pytest
from spellings import NAMINGS

from obo_kit.scopes import KINDS, SCOPES, SOURCES, TARGETS, Verdict, is_read, route_for, route_verdict, scopes_of

# ---------------------------------------------------------------- routes

SERVING = ["model-serving", "serving.serving-endpoints"]
INDEX = ["vector-search", "ai-search", "vectorsearch.vector-search-indexes"]
CALLS = [
    ("POST", "/serving-endpoints/my-llm/invocations", [*SERVING, "model-serving-inference"], "serving_endpoint"),
    ("POST", "/serving-endpoints/chat/completions", SERVING, "serving_endpoint"),
    ("POST", "/serving-endpoints/embeddings", SERVING, "serving_endpoint"),
    ("GET", "/api/2.0/serving-endpoints/my-llm", SERVING, "serving_endpoint"),
    ("GET", "/api/2.0/serving-endpoints/my-llm/openapi", SERVING, "serving_endpoint"),
    ("POST", "/ai-gateway/mlflow/v1/chat/completions", ["ai-gateway"], "ai_gateway_model"),
    ("GET", "/api/2.0/vector-search/indexes/a.b.c", INDEX, "vector_search_index"),
    ("POST", "/api/2.0/vector-search/indexes/a.b.c/query", INDEX, "vector_search_index"),
    ("POST", "/api/2.0/vector-search/indexes/a.b.c/query-next-page", INDEX, "vector_search_index"),
    ("POST", "/api/2.0/vector-search/indexes/a.b.c/scan", INDEX, "vector_search_index"),
    ("POST", "/api/2.0/vector-search/indexes/a.b.c/upsert-data", INDEX, "vector_search_index"),
    ("GET", "/api/2.0/vector-search/endpoints/e/indexes/a.b.c", INDEX[:2], "vector_search_index"),
    (
        "GET",
        "/api/2.0/vector-search/endpoints/e",
        ["vector-search", "ai-search", "vectorsearch.vector-search-endpoints"],
        "vector_search_endpoint",
    ),
    (
        "POST",
        "/api/2.0/ai-search/workspaces/1/endpoints/e/indexes/i:query",
        ["ai-search", "vector-search"],
        "vector_search_index",
    ),
    ("POST", "/api/2.0/sql/statements/", ["sql", "sql.statement-execution"], "sql_warehouse"),
    ("GET", "/api/2.0/sql/statements/1/result/chunks/0", ["sql", "sql.statement-execution"], "sql_warehouse"),
    ("GET", "/api/2.0/sql/warehouses/1", ["sql", "sql.warehouses", "sql.warehouses:read"], "sql_warehouse"),
    ("POST", "/api/2.0/sql/warehouses/1/start", ["sql", "sql.warehouses"], "sql_warehouse"),
    ("POST", "/api/2.0/genie/spaces/1/start-conversation", ["genie", "dashboards.genie"], "genie_space"),
    ("POST", "/api/2.0/mcp/genie/01ef", ["genie", "mcp.genie"], "mcp_genie"),
    ("POST", "/api/2.0/mcp/functions/system/ai", ["mcp.functions", "unity-catalog"], "mcp_functions"),
    ("POST", "/api/2.0/mcp/vector-search/c/s", ["vector-search", "ai-search", "mcp.vectorsearch"], "mcp_vectorsearch"),
    ("POST", "/api/2.0/mcp/ai-search/c/s/i", ["ai-search"], "mcp_ai_search"),
    ("POST", "/api/2.0/mcp/sql", ["sql", "mcp.sql"], "mcp_sql"),
    ("POST", "/api/2.0/mcp/external/github", ["mcp.external", "unity-catalog"], "mcp_external"),
    ("POST", "/api/2.0/unity-catalog/connections/c/proxy/x", ["mcp.external", "unity-catalog"], "mcp_external"),
    (
        "GET",
        "/api/2.1/unity-catalog/tables/a.b.c",
        ["unity-catalog", "catalog.tables:read", "catalog.tables"],
        "uc_table",
    ),
    ("POST", "/api/2.1/unity-catalog/tables", ["unity-catalog"], None),
    ("GET", "/api/2.1/unity-catalog/functions/a.b.f", ["unity-catalog"], "uc_function"),
    ("GET", "/api/2.1/unity-catalog/volumes/a.b.v", ["unity-catalog"], "volume"),
    ("GET", "/api/2.1/unity-catalog/model-services/m", ["model-serving", "unity-catalog"], "uc_model_service"),
    ("GET", "/api/2.1/unity-catalog/iceberg/v1/config", [], None),
    ("GET", "/api/2.0/fs/files/Volumes/a/b/c/x.txt", ["files", "files.files"], "volume"),
    ("GET", "/api/2.0/workspace/export", ["workspace", "workspace.workspace"], "workspace_files"),
    ("GET", "/api/2.0/apps/mine", ["apps", "apps.apps"], "databricks_app"),
    ("GET", "/api/2.0/postgres/projects", ["postgres"], "lakebase"),
    ("POST", "/api/2.1/jobs/run-now", ["jobs"], None),
    ("POST", "/api/2.2/jobs/run-now", ["jobs"], None),
    ("POST", "/api/2.0/token/create", ["authentication"], None),
]


@pytest.mark.parametrize(("method", "path", "passing", "kind"), CALLS)
def test_a_call_needs_one_of_these_scopes(method, path, passing, kind):  # rule 20
    route = route_for(method, path)
    assert route.kind == kind
    for scope in passing if route.exact else (*passing, "all-apis"):
        assert route_verdict(route, {scope}) == (Verdict.GRANTED, ())
    for scope in ({"iam.access-control:read", "openid"}, {"tags"}, ()):
        assert route_verdict(route, scope) == (Verdict.MISSING, route.any_of)


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/serving-endpoints/responses", ("model-serving", "ai-gateway")),
        ("/ai-gateway/connections/c/mcp", ("ai-gateway", "unity-catalog")),
        ("/api/2.0/external-function", ("catalog.connections", "serving.serving-endpoints")),
    ],
)
def test_a_call_that_needs_two_scopes_names_those_that_are_missing(path, needed):  # rule 20
    route = route_for("POST", path)
    assert route_verdict(route, needed) == (Verdict.GRANTED, ())
    assert route_verdict(route, needed[:1]) == (Verdict.MISSING, needed[1:])
    assert route_verdict(route, needed[1:]) == (Verdict.MISSING, needed[:1])
    assert route_verdict(route, ()) == (Verdict.MISSING, needed)
    assert route_verdict(route, ("never.seen",)) == (Verdict.UNKNOWN, ())


def test_the_new_name_does_for_the_old_one_that_the_connection_route_lists():
    route = route_for("POST", "/api/2.0/external-function")
    assert route_verdict(route, {"catalog.connections", "model-serving"}) == (Verdict.GRANTED, ())


def test_the_connection_proxy_does_not_take_catalog_connections():
    route = route_for("POST", "/api/2.0/unity-catalog/connections/c/proxy/x")
    assert route_verdict(route, {"catalog.connections"})[0] is Verdict.MISSING


def test_a_restricted_query_scope_runs_no_statement():
    route = route_for("POST", "/api/2.0/sql/statements")
    assert route_verdict(route, {"sql:restricted-query"})[0] is Verdict.MISSING


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ("vectorsearch.vector-search-indexes:read", "/api/2.0/vector-search/indexes/a.b.c"),
        ("vectorsearch.vector-search-endpoints:read", "/api/2.0/vector-search/endpoints/e"),
        ("sql.warehouses:read", "/api/2.0/sql/warehouses/1"),
        ("catalog.tables:read", "/api/2.1/unity-catalog/tables/a.b.c"),
    ],
)
def test_a_scope_that_reads_does_not_change(scope, path):  # rule 23
    assert route_verdict(route_for("GET", path), {scope})[0] is Verdict.GRANTED
    assert route_verdict(route_for("DELETE", path), {scope})[0] is Verdict.MISSING


def test_a_scope_for_endpoints_does_not_open_indexes():  # rule 23
    route = route_for("POST", "/api/2.0/vector-search/indexes/a.b.c/query")
    assert route_verdict(route, {"vectorsearch.vector-search-endpoints"})[0] is Verdict.MISSING


def test_a_route_is_not_judged_by_a_scope_nobody_has_seen():
    assert route_verdict(route_for("GET", "/api/2.0/genie/spaces"), {"never.seen"}) == (Verdict.UNKNOWN, ())


@pytest.mark.parametrize(
    ("scope", "expected"),
    [("iam.current-user:read", Verdict.GRANTED), ("all-apis", Verdict.GRANTED), ("identity", Verdict.GRANTED)]
    + [(name, Verdict.UNKNOWN) for name in ("sql", "dashboards.genie", "catalog.connections", "mcp.sql")],
)
def test_whether_any_scope_lets_the_user_be_asked_for_is_disputed(scope, expected):
    assert route_verdict(route_for("GET", "/api/2.0/preview/scim/v2/Me"), {scope})[0] is expected


def test_the_scope_to_ask_for_first_names_the_user():
    found, missing = route_verdict(route_for("GET", "/api/2.0/preview/scim/v2/Me"), {"openid", "email"})
    assert found is Verdict.MISSING
    assert missing[0] == "iam.current-user:read"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/api",
        "/api/2.0/unheard-of",
        "/api/2.0/apps-unheard-of/templates",
        "/mcp",
        "/serving-endpoints",
        "/genie",
    ],
)
def test_a_path_the_catalogue_does_not_know_has_no_route(path):
    assert route_for("GET", path) is None


def test_a_method_the_catalogue_does_not_know_has_no_route():
    assert route_for("DELETE", "/serving-endpoints/x/invocations") is None


@pytest.mark.parametrize(
    "path",
    [
        "/api/2.0/genie/spaces?page_size=2",
        "/api/2.0/genie/spaces#top",
        "api/2.0/genie/",
        "//api/2.0//genie/spaces",
        "/api/./2.0/genie/spaces",
        "/api/2.0/%67enie/spaces",
        "/api/2.0/sql/../genie/spaces",
        "/api/2.0/sql/%2e%2e/genie/spaces",
        "/../api/2.0/genie",
    ],
)
def test_no_way_of_writing_a_path_escapes_its_route(path):  # rule 23
    assert route_for("get", path).kind == "genie_space"


def test_a_slash_inside_a_name_stays_inside_it():
    route = route_for("POST", "/serving-endpoints/a%2Fb/invocations")
    assert route.path == "/serving-endpoints/{name}/invocations"


def test_an_endpoint_may_be_called_like_a_route():
    assert route_for("POST", "/serving-endpoints/responses/invocations").path == "/serving-endpoints/{name}/invocations"
    assert route_for("POST", "/serving-endpoints/chat/completions").path == "/serving-endpoints/chat/completions"


def test_head_is_answered_by_the_route_of_get():
    assert route_for("HEAD", "/api/2.0/fs/files/x") is route_for("GET", "/api/2.0/fs/files/x")
    assert route_for("HEAD", "/api/2.0/sql/warehouses") is route_for("GET", "/api/2.0/sql/warehouses")


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("serving_endpoint", ("POST", "/serving-endpoints/x/invocations")),
        ("serving_endpoint", ("POST", "/serving-endpoints/chat/completions")),
        ("ai_gateway_model", ("POST", "/ai-gateway/mlflow/v1/responses")),
        ("uc_model_service", ("POST", "/ai-gateway/openai/v1/responses")),
        ("vector_search_index", ("POST", "/api/2.0/vector-search/indexes/a.b.c/query")),
        ("vector_search_endpoint", ("GET", "/api/2.0/vector-search/endpoints/e")),
        ("sql_warehouse", ("POST", "/api/2.0/sql/statements")),
        ("sql_warehouse", ("GET", "/api/2.0/sql/warehouses/1")),
        ("uc_table", ("POST", "/api/2.0/sql/statements")),
        ("uc_function", ("POST", "/api/2.0/sql/statements")),
        ("genie_space", ("POST", "/api/2.0/genie/spaces/1/start-conversation")),
        ("uc_connection", ("POST", "/api/2.0/external-function")),
        ("databricks_app", ("GET", "/api/2.0/apps/a")),
        ("volume", ("GET", "/api/2.0/fs/files/x")),
        ("lakebase", ("GET", "/api/2.0/postgres/projects")),
        ("workspace_files", ("GET", "/api/2.0/workspace/export")),
        ("mcp_genie", ("POST", "/api/2.0/mcp/genie/1")),
        ("mcp_functions", ("POST", "/api/2.0/mcp/functions/a/b")),
        ("mcp_vectorsearch", ("POST", "/api/2.0/mcp/vector-search/a/b")),
        ("mcp_ai_search", ("POST", "/api/2.0/mcp/ai-search/a/b/i")),
        ("mcp_sql", ("POST", "/api/2.0/mcp/sql")),
        ("mcp_external", ("POST", "/api/2.0/mcp/external/c")),
        ("knowledge_assistant", ("POST", "/serving-endpoints/ka/invocations")),
    ],
)
def test_the_scopes_of_a_resource_open_the_calls_that_use_it(kind, call):  # rules 21, 22, 23
    for target, naming in itertools.product(TARGETS, NAMINGS):
        if KINDS[kind].current[target]:
            assert route_verdict(route_for(*call), scopes_of(KINDS[kind], target, naming))[0] is Verdict.GRANTED


# ---------------------------------------------------------------- reads


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/2.0/sql/statements/1"),
        ("get", "/anything"),
        ("HEAD", "/api/2.0/fs/files/x"),
        ("POST", "/api/2.0/vector-search/indexes/a.b.c/query"),
        ("post", "/api/2.0/vector-search/indexes/a.b.c/query-next-page?x=1"),
        ("POST", "/api/2.0/vector-search/indexes/a.b.c/scan/"),
        ("POST", "/api/2.0/ai-search/workspaces/1/endpoints/e/indexes/i:query"),
        ("POST", "/api/2.0/ai-search/workspaces/1/endpoints/e/indexes/i:scan"),
    ],
)
def test_a_call_without_effect_may_be_repeated(method, path):  # rule 19
    assert is_read(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/serving-endpoints/x/invocations"),
        ("POST", "/serving-endpoints/chat/completions"),
        ("POST", "/api/2.0/sql/statements"),
        ("POST", "/api/2.0/sql/statements/1/cancel"),
        ("POST", "/api/2.0/genie/spaces/1/start-conversation"),
        ("POST", "/api/2.0/vector-search/indexes/a.b.c/upsert-data"),
        ("DELETE", "/api/2.0/vector-search/indexes/a.b.c/delete-data"),
        ("PUT", "/api/2.0/vector-search/indexes/a.b.c/query"),
        ("POST", "/api/2.0/vector-search/indexes/a.b.c/query/more"),
        ("POST", "/api/2.0/ai-search/workspaces/1/endpoints/e/indexes/i:upsertData"),
        ("POST", "/api/2.0/external-function"),
        ("POST", "/api/2.0/mcp/sql"),
        ("POST", "/unheard-of"),
        ("OPTIONS", "/unheard-of"),
        ("DELETE", "/api/2.0/genie/spaces/1"),
    ],
)
def test_a_call_that_may_have_an_effect_or_is_unknown_is_no_read(method, path):  # rule 19
    assert not is_read(method, path)


# What changed, or was missing, by 2026-11-28; each with the day and the source that the catalogue gives.
def test_the_ai_search_mcp_server_takes_its_own_scope_alone():
    route = route_for("POST", "/api/2.0/mcp/ai-search/c/s/i")
    assert "G-SOLANA-116" in route.sources
    verdicts = {scope: route_verdict(route, {scope}) for scope in ("ai-search", "vector-search", "all-apis")}
    assert verdicts["ai-search"] == (Verdict.GRANTED, ())
    assert verdicts["vector-search"] == verdicts["all-apis"] == (Verdict.MISSING, ("ai-search",))
    assert [kind.current for kind in KINDS.values() if kind.name == "mcp_ai_search"] == [
        {"model-serving": ("ai-search",), "apps": ("ai-search",)}
    ]


def test_an_index_by_its_endpoint_s_address_is_not_for_the_dotted_scopes():
    route = route_for("GET", "/api/2.0/vector-search/endpoints/e/indexes/a.b.c")
    held = {"vectorsearch.vector-search-indexes", "vectorsearch.vector-search-endpoints"}
    assert route_verdict(route, held)[0] is Verdict.MISSING
    assert "endpoint_name" in route.instead[""]


@pytest.mark.parametrize(
    ("kind", "privilege", "on"),
    [
        ("uc_model_service", "USE CONNECTION", "the provider's connection"),
        ("knowledge_assistant", "CAN QUERY", "its serving endpoint, by the endpoint's id"),
        ("knowledge_assistant", "CAN QUERY", "the assistant, a list of its own"),
    ],
)
def test_grants_that_were_missing(kind, privilege, on):
    assert any(grant.privilege == privilege and grant.on.startswith(on) for grant in KINDS[kind].grants)
    assert KINDS[kind].as_of == datetime.date(2026, 11, 28)


@pytest.mark.parametrize(
    ("path", "scopes", "words"),
    [
        ("/api/2.0/multi-agent-supervisors/t1", ("all-apis",), "No target grants"),
        ("/api/2.1/unity-catalog/memory-stores/m", ("unity-catalog",), "as the app, not as the user"),
        ("/api/2.0/sql/statements", ("sql", "sql.statement-execution"), "Personal access tokens have scopes"),
    ],
)
def test_routes_that_were_missing(path, scopes, words):
    route = route_for("POST", path)
    assert route.any_of == scopes
    assert words in route.note


@pytest.mark.parametrize(
    "key",
    ["G-SOLANA-116", "G-BRIDGE-264", "G-BRIDGE-300", "G-BRIDGE-619", "G-SPARKLYR-3515", "G-DFER-143", "G-APPKIT-343",
     "G-APPKIT-557", "G-DEVHUB-154", "G-TPL-MEM"],
)  # fmt: skip
def test_what_says_so_is_cited(key):
    assert SOURCES[key].url.startswith("https://github.com/")


@pytest.mark.parametrize("scope", ["genie", "model-serving", "files"])
def test_the_current_names(scope):
    assert "G-DEVHUB-154" in SCOPES[scope].sources


def test_users_authorization_of_apps_is_generally_available():
    assert "generally available" in SOURCES["D-APPS-AUTH"].what
