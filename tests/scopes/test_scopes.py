"""The catalogue of scopes: its data hang together, and its look-ups say what the sources say."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import itertools
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obo_kit import scopes
from obo_kit.exceptions import PolicyError, UnknownScopeError
from obo_kit.scopes import (
    KINDS,
    ROUTES,
    SCOPES,
    SOURCES,
    TARGETS,
    ResourceKind,
    Scope,
    Verdict,
    catalogue,
    check_known,
    covers,
    implied,
    is_read,
    kind_of,
    minimise,
    nearest,
    route_for,
    route_verdict,
    same_family,
    scopes_of,
    search,
    translate,
    verdict,
)
from obo_kit.scopes._data.scopes import FAMILIES, INSTEAD, MISNAMED, OTHER_NAME

NAMINGS = ("current", "granular")


def _list(words: str) -> list[str]:
    return words.split()


SERVING_ENUM = _list(
    """
    sql sql.statement-execution sql.warehouses mcp.genie mcp.external mcp.sql mcp.vectorsearch mcp.functions
    catalog.connections vector-search vectorsearch.vector-search-indexes vectorsearch.vector-search-endpoints
    iam.current-user:read iam.access-control:read dashboards.genie genie ai-gateway unity-catalog apps.apps apps
    model-serving serving.serving-endpoints workspace.workspace
"""
)
APPS_PICKERS = _list(
    """
    ai-functions ai-gateway apps files genie model-serving postgres sql sql:restricted-query vector-search
    catalog.catalogs catalog.connections catalog.schemas catalog.tables workspace.workspace
    catalog.catalogs:read catalog.connections:read catalog.schemas:read catalog.tables:read workspace.workspace:read
    sql.statement-execution sql.warehouses:read mcp.external mcp.functions mcp.genie mcp.vectorsearch
    serving.serving-endpoints files.files dashboards.genie
    vectorsearch.vector-search-indexes vectorsearch.vector-search-endpoints
    vectorsearch.vector-search-indexes:read vectorsearch.vector-search-endpoints:read
"""
)
REST_PAGE = _list(
    """
    access-management dashboards alerts apps authentication cleanrooms clusters command-execution dataclassification
    dataquality sql workspace sharing files genie global-init-scripts identity instance-pools jobs knowledge-assistants
    libraries marketplace mlflow model-serving networking notifications pipelines postgres qualitymonitor query-history
    scim secrets settings tags unity-catalog vector-search
"""
)
LATER = ["ai-search", "ai-gateway", "ai-functions", "supervisor-agents", "model-serving-inference"]

names = st.sampled_from(sorted(SCOPES))
# Also spellings that nobody has seen, built so that they relate to one another the way real ones do.
spellings = names | st.from_regex(r"[ab](\.[cd])?(:(read|write))?", fullmatch=True)
sets = st.lists(spellings, max_size=8)


# ---------------------------------------------------------------- the data hang together


def _entries():
    grants = [grant for kind in KINDS.values() for grant in kind.grants]
    return [*SCOPES.values(), *KINDS.values(), *ROUTES, *grants, *FAMILIES.values(), *catalogue().disputes]


def test_every_source_that_an_entry_cites_resolves():
    for entry in _entries():
        assert entry.sources, entry
        assert [key for key in entry.sources if SOURCES[key].key != key] == []


def test_no_source_stands_there_uncited():
    assert {key for entry in _entries() for key in entry.sources} == set(SOURCES)


def test_an_address_is_an_address_or_nothing():
    assert all(source.url.startswith("https://") or not source.url for source in SOURCES.values())
    assert all(" " not in source.url and source.what for source in SOURCES.values())


def test_every_entry_is_dated_and_none_is_from_the_future_of_the_sheet():
    for entry in (*SCOPES.values(), *KINDS.values(), *ROUTES):
        first, last = catalogue().seen(entry)
        assert datetime.date(2025, 1, 1) < first <= last == entry.as_of <= datetime.date(2026, 11, 28)


def test_an_entry_says_when_it_was_first_seen():
    days = [datetime.date(2026, 6, 11), datetime.date(2026, 8, 6)]
    assert catalogue().seen(SCOPES["vectorsearch.vector-search-indexes"]) == tuple(days)
    assert catalogue().seen(SCOPES["sql.queries"]) == (datetime.date(2025, 9, 1),) * 2


def test_a_dispute_is_about_entries_of_the_catalogue_and_has_sources_for_both_sides():
    for dispute in catalogue().disputes:
        assert set(dispute.about) <= {*SCOPES, *KINDS}
        assert dispute.one != dispute.other
        assert dispute.stance
        assert len(dispute.sources) >= 2


def test_what_opens_an_api_says_how_far_it_reaches():
    asked_for = {name for kind in KINDS.values() for target in TARGETS for name in kind.current[target]}
    assert {name for name in asked_for if not SCOPES[name].reach} == set()


def test_entries_stand_under_their_own_names():
    assert all(scope.name == name for name, scope in SCOPES.items())
    assert all(kind.name == name for name, kind in KINDS.items())
    assert list(SCOPES) == sorted(SCOPES)


def test_every_scope_that_a_kind_or_a_route_or_a_table_names_is_in_the_catalogue():
    for kind in KINDS.values():
        for mapping in (kind.current, kind.granular, kind.also):
            assert set(mapping) == set(TARGETS)
            assert set(itertools.chain(*mapping.values())) <= set(SCOPES)
    for route in ROUTES:
        assert {*route.any_of, *route.all_of} <= set(SCOPES)
        assert bool(route.any_of) != bool(route.all_of)
        assert route.kind is None or route.kind in KINDS
    assert {
        *MISNAMED.values(),
        *OTHER_NAME,
        *OTHER_NAME.values(),
        *INSTEAD,
        *itertools.chain(*INSTEAD.values()),
    } <= set(SCOPES)
    assert not set(MISNAMED) & set(SCOPES)


def test_families_and_their_members_name_each_other():
    for name, family in FAMILIES.items():
        members = {*family.heads, *family.doubtful, *family.parts}
        assert members == {scope.name for scope in SCOPES.values() if scope.family == name}
        assert len(members) == len(family.heads) + len(family.doubtful) + len(family.parts)


def test_no_target_both_accepts_and_refuses_a_scope():
    assert [scope.name for scope in SCOPES.values() if scope.accepted_by & scope.refused_by] == []


def _overlap(one: str, other: str) -> bool:
    if one.startswith("{") or other.startswith("{"):
        ends = one.rpartition("}")[2], other.rpartition("}")[2]
        return ends[0].endswith(ends[1]) or ends[1].endswith(ends[0])
    return one == other


def test_no_call_has_two_routes_equally_specific():
    for one, other in itertools.combinations(ROUTES, 2):
        parts = one.path.strip("/").split("/"), other.path.strip("/").split("/")
        same_depth = len(parts[0]) == len(parts[1]) and all(map(_overlap, *parts))
        methods = one.methods & other.methods or not (one.methods or other.methods)
        assert not (same_depth and methods), (one.path, other.path)


def test_entries_can_be_hashed_pickled_and_copied():
    for entry in (*SCOPES.values(), *KINDS.values(), *ROUTES, *SOURCES.values()):
        assert hash(entry) == hash(pickle.loads(pickle.dumps(entry)))
        assert copy.deepcopy(entry) == entry
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(entry, dataclasses.fields(entry)[0].name, "")


def test_the_tables_cannot_be_changed():
    for table in (SCOPES, KINDS, SOURCES):
        with pytest.raises(TypeError):
            table["x"] = None


def test_all_names_exactly_what_is_public():
    assert scopes.__all__ == sorted(scopes.__all__)
    assert all(hasattr(scopes, name) for name in scopes.__all__)


def test_importing_the_catalogue_costs_the_standard_library_only():  # rule 24
    heavy = ("mlflow", "databricks", "yaml", "difflib")
    code = f"import sys, obo_kit.scopes; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- what the targets take


@pytest.mark.parametrize("scope", [*SERVING_ENUM, "ai-search"])
def test_what_model_serving_lists_is_told_to_it_as_written(scope):  # rule 21
    assert translate(scope, "model-serving") == (scope,)


@pytest.mark.parametrize("scope", [*APPS_PICKERS, "ai-search"])
def test_what_an_apps_picker_shows_is_told_to_apps_as_written(scope):  # rule 21
    assert translate(scope, "apps") == (scope,)


def test_no_target_is_believed_to_accept_what_nobody_saw_it_accept():  # rule 21
    accepted = {target: {n for n, scope in SCOPES.items() if target in scope.accepted_by} for target in TARGETS}
    assert accepted == {
        "model-serving": {*SERVING_ENUM, "ai-search"},
        "apps": {*APPS_PICKERS, "ai-search"},
    }


@pytest.mark.parametrize(
    "scope",
    ["catalog.catalogs:read", "catalog.schemas:read", "catalog.tables:read", "files", "files.files", "postgres"],
)
def test_model_serving_is_known_to_refuse(scope):
    assert "model-serving" in SCOPES[scope].refused_by


@pytest.mark.parametrize(
    "scope",
    ["all-apis", "unity-catalog", "workspace", "apps.apps", "iam.access-control:read", "iam.current-user:read"],
)
def test_apps_is_known_to_refuse(scope):
    assert "apps" in SCOPES[scope].refused_by


@pytest.mark.parametrize("scope", [*REST_PAGE, *LATER, "billing", "provisioning", "all-apis"])
def test_the_rest_vocabulary_is_known(scope):  # rule 20
    check_known(scope)


@pytest.mark.parametrize(
    "scope", ["iam.current-user:read", "iam.access-control:read", "openid", "email", "profile", "offline_access"]
)
def test_what_apps_grants_unasked_is_left_out(scope):  # rule 21
    assert translate(scope, "apps") == ()


@pytest.mark.parametrize(
    ("scope", "target", "told"),
    [
        ("sql.warehouses", "apps", "sql"),
        ("mcp.sql", "apps", "sql"),
        ("sql.queries", "apps", "sql"),
        ("sql.queries", "model-serving", "sql"),
        ("sql.warehouses:read", "model-serving", "sql.warehouses"),
        ("apps.apps", "apps", "apps"),
        ("workspace", "apps", "workspace.workspace"),
        ("workspace", "model-serving", "workspace.workspace"),
        ("workspace.workspace:read", "model-serving", "workspace.workspace"),
        ("model-serving-inference", "apps", "model-serving"),
        ("model-serving-inference", "model-serving", "model-serving"),
        ("serving.serving-endpoints-data-plane", "apps", "model-serving"),
        ("catalog.tables:read", "model-serving", "unity-catalog"),
        ("catalog.schemas", "model-serving", "unity-catalog"),
        ("catalog.connections:read", "model-serving", "catalog.connections"),
        ("vectorsearch.vector-search-indexes:read", "model-serving", "vectorsearch.vector-search-indexes"),
    ],
)
def test_a_spelling_the_target_does_not_take_becomes_its_equivalent(scope, target, told):  # rule 21
    assert translate(scope, target) == (told,)


@pytest.mark.parametrize(
    ("scope", "target", "way_out"),
    [
        ("unity-catalog", "apps", "catalog.tables:read"),
        ("sql:restricted-query", "model-serving", "sql"),
        ("scim", "model-serving", "iam.current-user:read"),
        ("scim", "apps", "grants iam.current-user:read unasked"),
        ("files", "model-serving", "Databricks Apps"),
        ("postgres", "model-serving", "Databricks Apps"),
        ("jobs", "apps", "system authorization"),
        ("jobs", "model-serving", "system authorization"),
        ("dashboards", "apps", "genie"),
        ("all-apis", "apps", "leave it out"),
        ("all-apis", "model-serving", "leave it out"),
        ("openid", "model-serving", "leave it out"),
    ],
)
def test_what_a_target_cannot_grant_is_refused_with_a_way_out(scope, target, way_out):  # rule 21
    with pytest.raises(PolicyError) as caught:
        translate(scope, target)
    assert scope in caught.value.message
    assert way_out in caught.value.remedy


def test_an_unknown_scope_is_not_translated():  # rule 20
    with pytest.raises(UnknownScopeError):
        translate("genei", "apps")


@given(names, st.sampled_from(TARGETS))
def test_a_translation_is_accepted_and_translates_to_itself(scope, target):  # rule 21
    try:
        told = translate(scope, target)
    except PolicyError:
        return
    for name in told:
        assert target in SCOPES[name].accepted_by
        assert translate(name, target) == (name,)
        assert covers(name, scope) or OTHER_NAME.get(scope) == name


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", sorted(SCOPES))
def test_a_known_name_passes_and_is_its_own_nearest(name):  # rule 20
    check_known(name)
    assert nearest(name) == name


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("genei", "genie"),
        ("Genie", "genie"),
        (" sql ", "sql"),
        ("SQL", "sql"),
        ("sql.warehouse", "sql.warehouses"),
        ("catalog.table:read", "catalog.tables:read"),
        ("vectorsearch.vector-search-index", "vectorsearch.vector-search-indexes"),
        ("model_serving", "model-serving"),
        ("vector_search", "vector-search"),
        ("vector search", "vector-search"),
        ("genie space", "genie"),
        ("genie_space", "genie"),
        ("DatabricksGenieSpace", "genie"),
        ("warehouse", "sql"),
        ("volumes", "files"),
        ("lakebase", "postgres"),
        ("serving-endpoints", "model-serving"),
        ("sql.sql-warehouses", "sql.warehouses"),
        ("catalog.catalog-tables", "catalog.tables:read"),
        ("jobs.jobs", "jobs"),
        ("vector-search.search", "vector-search"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(given_name, expected):  # rule 20
    assert nearest(given_name) == expected
    with pytest.raises(UnknownScopeError) as caught:
        check_known(given_name)
    assert caught.value.scope == given_name
    assert caught.value.nearest == expected
    assert repr(expected) in caught.value.remedy


@pytest.mark.parametrize("name", ["zzzzzz", "zz.zzzz", "", "   ", "..", "\N{SNOWMAN}"])
def test_where_nothing_is_near_no_name_is_offered(name):  # rule 20
    assert nearest(name) is None
    with pytest.raises(UnknownScopeError) as caught:
        check_known(name)
    assert caught.value.nearest is None
    assert "obo-kit scopes" in caught.value.remedy


def test_an_empty_name_is_not_taken_for_a_newer_scope():
    with pytest.raises(UnknownScopeError, match="empty") as caught:
        check_known("  ")
    assert "allow_unknown" not in caught.value.remedy


@pytest.mark.parametrize("thing", [None, 3, b"genie", ["genie"]])
def test_what_is_not_a_string_is_no_scope(thing):  # rule 20
    with pytest.raises(UnknownScopeError, match=type(thing).__name__) as caught:
        check_known(thing)
    assert caught.value.nearest is None


def test_search_finds_scopes_and_kinds_in_any_case():
    found = search("GENIE")
    assert SCOPES["dashboards.genie"] in found
    assert KINDS["genie_space"] in found
    assert KINDS["genie_space"] in search("DatabricksGenieSpace")
    assert SCOPES["sql:restricted-query"] in search("statement execution")
    assert search("no such thing") == []


def test_searching_for_nothing_lists_everything():
    assert search("") == [*SCOPES.values(), *KINDS.values()]
    assert {type(hit) for hit in search("")} == {Scope, ResourceKind}


# ---------------------------------------------------------------- resources

KIND_TABLE = [
    # kind, Model Serving, Apps, Model Serving granular, Apps granular
    ("serving_endpoint", "model-serving", "model-serving", "serving.serving-endpoints", "serving.serving-endpoints"),
    ("ai_gateway_model", "ai-gateway", "ai-gateway", "ai-gateway", "ai-gateway"),
    ("uc_model_service", "ai-gateway", "ai-gateway", "ai-gateway", "ai-gateway"),
    (
        "vector_search_index",
        "vector-search",
        "vector-search",
        "vectorsearch.vector-search-indexes",
        "vectorsearch.vector-search-indexes",
    ),
    (
        "vector_search_endpoint",
        "vector-search",
        "vector-search",
        "vectorsearch.vector-search-endpoints",
        "vectorsearch.vector-search-endpoints",
    ),
    (
        "sql_warehouse",
        "sql",
        "sql",
        "sql.statement-execution sql.warehouses",
        "sql.statement-execution sql.warehouses:read",
    ),
    ("uc_table", "sql", "sql", "sql.statement-execution sql.warehouses", "sql.statement-execution sql.warehouses:read"),
    (
        "uc_function",
        "sql",
        "sql",
        "sql.statement-execution sql.warehouses",
        "sql.statement-execution sql.warehouses:read",
    ),
    ("genie_space", "genie", "genie", "dashboards.genie", "dashboards.genie"),
    (
        "uc_connection",
        "catalog.connections model-serving",
        "catalog.connections model-serving",
        "catalog.connections serving.serving-endpoints",
        "catalog.connections serving.serving-endpoints",
    ),
    ("databricks_app", "apps", "apps", "apps.apps", "apps"),
    ("volume", "", "files", "", "files.files"),
    ("lakebase", "", "postgres", "", "postgres"),
    ("workspace_files", "workspace.workspace", "workspace.workspace", "workspace.workspace", "workspace.workspace"),
    ("mcp_genie", "mcp.genie", "genie", "mcp.genie", "genie"),
    ("mcp_functions", "mcp.functions", "mcp.functions", "mcp.functions", "mcp.functions"),
    ("mcp_vectorsearch", "mcp.vectorsearch", "vector-search", "mcp.vectorsearch", "vector-search"),
    ("mcp_ai_search", "ai-search", "ai-search", "ai-search", "ai-search"),
    ("mcp_sql", "mcp.sql sql", "sql", "mcp.sql sql.statement-execution sql.warehouses", "sql"),
    ("mcp_external", "mcp.external", "mcp.external", "mcp.external", "mcp.external"),
    ("supervisor_agent", "model-serving", "ai-gateway", "model-serving", "ai-gateway"),
    ("knowledge_assistant", "model-serving", "model-serving", "model-serving", "model-serving"),
]


def test_the_table_of_kinds_is_complete():
    assert {row[0] for row in KIND_TABLE} == set(KINDS)


@pytest.mark.parametrize("row", KIND_TABLE, ids=lambda row: row[0])
def test_each_kind_is_spelled_for_each_target_or_refused(row):  # rules 20, 21
    kind = KINDS[row[0]]
    for (naming, target), told in zip(itertools.product(NAMINGS, TARGETS), row[1:], strict=True):
        if told:
            assert scopes_of(kind, target, naming) == tuple(told.split())
        else:
            with pytest.raises(PolicyError, match=kind.title) as caught:
                scopes_of(kind, target, naming)
            assert "Databricks Apps" in caught.value.remedy
            assert "system authorization" in caught.value.remedy


def test_current_names_are_what_is_given_unasked():  # rule 21
    assert scopes_of(KINDS["genie_space"], "model-serving") == ("genie",)


def test_whatever_a_kind_asks_for_its_target_accepts():  # rule 21
    for kind, target in itertools.product(KINDS.values(), TARGETS):
        for naming in ("current", "granular", "also"):
            for scope in getattr(kind, naming)[target]:
                assert target in SCOPES[scope].accepted_by, (kind.name, target, scope)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_no_kind_asks_twice_for_the_same(kind):  # rule 22
    for target in TARGETS:
        for told in (kind.current[target], kind.granular[target]):
            assert set(minimise(told)) == set(told)


@pytest.mark.parametrize(
    ("cls", "kind"),
    [
        ("DatabricksServingEndpoint", "serving_endpoint"),
        ("DatabricksUCModelService", "uc_model_service"),
        ("DatabricksVectorSearchIndex", "vector_search_index"),
        ("DatabricksSQLWarehouse", "sql_warehouse"),
        ("DatabricksTable", "uc_table"),
        ("DatabricksFunction", "uc_function"),
        ("DatabricksGenieSpace", "genie_space"),
        ("DatabricksUCConnection", "uc_connection"),
        ("DatabricksApp", "databricks_app"),
        ("DatabricksLakebase", "lakebase"),
    ],
)
def test_each_mlflow_resource_has_a_kind_and_so_has_a_subclass_of_it(cls, kind):  # rule 20
    resources = pytest.importorskip("mlflow.models.resources")
    if not hasattr(resources, cls):
        pytest.skip(f"this MLflow has no {cls}")
    base = getattr(resources, cls)
    assert kind_of(base("name")) is KINDS[kind]
    assert kind_of(type("Mine", (base,), {})("name")) is KINDS[kind]


def test_no_resource_of_the_installed_mlflow_is_without_a_kind():  # rule 20
    resources = pytest.importorskip("mlflow.models.resources")
    for name in dir(resources):
        if name.startswith("Databricks") and name != "DatabricksResource":
            assert kind_of(getattr(resources, name)("name"))


def test_a_resource_of_no_known_kind_is_refused_by_the_name_of_its_type():  # rule 20
    with pytest.raises(PolicyError, match="frozenset") as caught:
        kind_of(frozenset())
    assert "DatabricksGenieSpace" in caught.value.remedy


def test_the_class_of_a_resource_is_no_resource():
    class DatabricksGenieSpace:
        pass

    assert kind_of(DatabricksGenieSpace()) is KINDS["genie_space"]
    with pytest.raises(PolicyError, match="is a class") as caught:
        kind_of(DatabricksGenieSpace)
    assert "DatabricksGenieSpace('...')" in caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "privilege", "on"),
    [
        ("serving_endpoint", "CAN QUERY", "endpoint"),
        ("ai_gateway_model", "EXECUTE", "model service"),
        ("vector_search_index", "SELECT", "index"),
        ("vector_search_endpoint", "CAN USE", "endpoint"),
        ("sql_warehouse", "CAN USE", "warehouse"),
        ("uc_table", "SELECT", "table"),
        ("uc_table", "USE CATALOG + USE SCHEMA", "catalog and schema"),
        ("uc_table", "CAN USE", "warehouse"),
        ("uc_function", "EXECUTE", "function"),
        ("genie_space", "CAN RUN", "Genie space"),
        ("genie_space", "CAN USE", "its warehouse"),
        ("uc_connection", "USE CONNECTION", "connection"),
        ("databricks_app", "CAN USE", "app"),
        ("volume", "READ VOLUME", "volume"),
        ("lakebase", "Postgres role", "database"),
        ("mcp_external", "EXECUTE", "MCP service"),
        ("knowledge_assistant", "CAN QUERY", "endpoint"),
    ],
)
def test_a_kind_says_which_grant_the_user_needs_on_what(kind, privilege, on):  # rule 20
    assert any(privilege in grant.privilege and on in grant.on for grant in KINDS[kind].grants)


# ---------------------------------------------------------------- what a scope covers


@pytest.mark.parametrize(
    ("held", "needed"),
    [
        ("sql", "sql"),
        ("sql", "sql.statement-execution"),
        ("sql", "sql.warehouses:read"),
        ("sql.warehouses", "sql.warehouses:read"),
        ("genie", "dashboards.genie"),
        ("dashboards.genie", "genie"),
        ("files.files", "files"),
        ("apps.apps", "apps"),
        ("workspace.workspace", "workspace"),
        ("workspace", "workspace.workspace:read"),
        ("workspace.workspace", "workspace.workspace:read"),
        ("ai-search", "vector-search"),
        ("vector-search", "ai-search"),
        ("ai-search", "vectorsearch.vector-search-indexes"),
        ("vector-search", "vectorsearch.vector-search-endpoints:read"),
        ("model-serving", "serving.serving-endpoints"),
        ("model-serving", "model-serving-inference"),
        ("unity-catalog", "catalog.tables:read"),
        ("unity-catalog", "catalog.schemas"),
        ("catalog.tables", "catalog.tables:read"),
        ("all-apis", "genie"),
        ("all-apis", "never.seen"),
        ("new", "new.part"),
        ("new", "new:read"),
        ("never.seen", "never.seen"),
    ],
)
def test_one_scope_covers_another(held, needed):  # rule 20
    assert covers(held, needed)
    assert verdict({held}, needed) is Verdict.GRANTED


@pytest.mark.parametrize(
    ("held", "needed"),
    [
        ("sql", "sql:restricted-query"),
        ("sql:restricted-query", "sql"),
        ("sql:restricted-query", "sql.statement-execution"),
        ("sql.statement-execution", "sql"),
        ("sql.warehouses:read", "sql.warehouses"),
        ("dashboards", "dashboards.genie"),
        ("dashboards", "genie"),
        ("catalog.tables:read", "unity-catalog"),
        ("catalog.tables", "catalog.schemas"),
        ("catalog.connections", "mcp.external"),
        ("catalog.connections", "unity-catalog"),
        ("unity-catalog", "catalog.connections"),
        ("mcp.functions", "unity-catalog"),
        ("workspace.workspace:read", "workspace"),
        ("vectorsearch.vector-search-endpoints", "vectorsearch.vector-search-indexes"),
        ("vectorsearch.vector-search-indexes:read", "vectorsearch.vector-search-indexes"),
        ("genie", "sql"),
        ("genie", "all-apis"),
    ],
)
def test_one_scope_does_not_do_for_another(held, needed):  # rule 20
    assert not covers(held, needed)
    assert verdict({held}, needed) is Verdict.MISSING


@pytest.mark.parametrize(
    ("held", "needed"),
    [
        ("serving.serving-endpoints", "model-serving"),
        ("model-serving-inference", "model-serving"),
        ("vectorsearch.vector-search-indexes", "vector-search"),
        ("vectorsearch.vector-search-endpoints:read", "ai-search"),
    ],
)
def test_where_sources_disagree_about_an_older_name_nothing_is_claimed(held, needed):
    assert not covers(held, needed)
    assert verdict({held}, needed) is Verdict.UNKNOWN


def test_a_token_that_does_not_say_what_it_carries_is_unknown():
    assert verdict(None, "genie") is Verdict.UNKNOWN
    assert route_verdict(route_for("GET", "/api/2.0/genie/spaces/1"), None) == (Verdict.UNKNOWN, ())


@pytest.mark.parametrize(
    ("held", "needed"), [({"genie"}, "never.seen"), ({"never.seen"}, "genie"), (set(), "never.seen")]
)
def test_a_spelling_nobody_has_seen_proves_nothing(held, needed):
    assert verdict(held, needed) is Verdict.UNKNOWN


def test_an_empty_token_lacks_what_is_known():
    assert verdict((), "genie") is Verdict.MISSING


@pytest.mark.parametrize(
    "function", [lambda s: verdict(s, "sql"), implied, minimise], ids=["verdict", "implied", "minimise"]
)
def test_a_scope_claim_must_be_split_first(function):
    with pytest.raises(TypeError, match="split"):
        function("sql genie")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("genie", "dashboards.genie", True),
        ("vector-search", "vectorsearch.vector-search-indexes", True),
        ("vector-search", "ai-search", True),
        ("sql", "sql.statement-execution", True),
        ("sql.warehouses", "sql.statement-execution", True),
        ("unity-catalog", "catalog.tables:read", True),
        ("model-serving", "serving.serving-endpoints", True),
        ("never.seen", "never.seen", True),
        ("mcp.genie", "mcp.genie", True),
        ("sql", "sql:restricted-query", False),
        ("sql", "mcp.sql", False),
        ("dashboards", "dashboards.genie", False),
        ("catalog.connections", "unity-catalog", False),
        ("jobs", "clusters", False),
        ("genie", "never.seen", False),
        ("never.seen", "genie", False),
    ],
)
def test_spellings_of_one_family(a, b, expected):  # rule 21
    assert same_family(a, b) is expected
    assert same_family(b, a) is expected


@given(spellings)
def test_a_scope_covers_itself_and_all_apis_covers_it(name):
    assert covers(name, name)
    assert covers("all-apis", name)
    assert verdict({name}, name) is Verdict.GRANTED


@given(names, names)
def test_known_scopes_cover_each_other_only_within_a_family_or_by_name(held, needed):
    if held != "all-apis" and covers(held, needed):
        assert same_family(held, needed) or needed.startswith((f"{held}.", f"{held}:"))


@given(sets, sets, spellings)
def test_more_scopes_never_take_a_grant_away(some, more, needed):
    if verdict(some, needed) is Verdict.GRANTED:
        assert verdict([*some, *more], needed) is Verdict.GRANTED


# ---------------------------------------------------------------- minimise


@pytest.mark.parametrize(
    ("given_scopes", "kept"),
    [
        (["sql", "sql.statement-execution", "sql.warehouses", "sql.warehouses:read"], ("sql",)),
        (["sql.warehouses:read", "sql.warehouses"], ("sql.warehouses",)),
        (["genie", "dashboards.genie"], ("dashboards.genie", "genie")),
        (["ai-search", "vector-search"], ("ai-search", "vector-search")),
        (["sql", "sql:restricted-query"], ("sql", "sql:restricted-query")),
        (["dashboards", "dashboards.genie"], ("dashboards", "dashboards.genie")),
        (["unity-catalog", "catalog.tables:read"], ("catalog.tables:read", "unity-catalog")),
        (["all-apis", "genie"], ("all-apis", "genie")),
        (["genie", "genie", "apps"], ("apps", "genie")),
        ([], ()),
    ],
)
def test_minimise_drops_what_another_scope_contains_by_name(given_scopes, kept):  # rule 21
    assert minimise(given_scopes) == kept
    assert implied(given_scopes) == set(given_scopes) - set(kept)


@given(sets)
def test_minimise_is_sorted_without_duplicates_and_idempotent(given_scopes):  # rule 21
    once = minimise(given_scopes)
    assert list(once) == sorted(set(once))
    assert minimise(once) == once
    assert implied(once) == frozenset()


@given(sets.flatmap(lambda items: st.tuples(st.just(items), st.permutations(items))))
def test_minimise_does_not_depend_on_order(pair):  # rule 21
    assert minimise(pair[0]) == minimise(pair[1])


@given(sets)
def test_minimise_loses_nothing(given_scopes):  # rules 21, 22
    kept = minimise(given_scopes)
    assert set(kept) <= set(given_scopes)
    for dropped in set(given_scopes) - set(kept):
        assert any(covers(name, dropped) for name in kept)


@given(sets, spellings)
def test_minimise_changes_no_grant(given_scopes, needed):  # rule 22
    before, after = verdict(given_scopes, needed), verdict(minimise(given_scopes), needed)
    assert (before is Verdict.GRANTED) is (after is Verdict.GRANTED)


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
