"""The catalogue: its entries hang together, its names are found, and each resource is spelled for each target."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import itertools
import pickle
import subprocess
import sys

import pytest
from spellings import NAMINGS

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
    catalogue,
    check_known,
    kind_of,
    minimise,
    nearest,
    scopes_of,
    search,
)
from obo_kit.scopes._data.scopes import FAMILIES, INSTEAD, MISNAMED, OTHER_NAME

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
