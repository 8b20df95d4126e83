"""What each target takes, grants unasked and refuses, and how a scope is told to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spellings import names, sets, spellings

from obo_kit.exceptions import PolicyError, UnknownScopeError
from obo_kit.scopes import SCOPES, TARGETS, Verdict, check_known, covers, implied, minimise, translate, verdict
from obo_kit.scopes._data.scopes import OTHER_NAME


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
