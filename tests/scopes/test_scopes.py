"""What one scope covers of another, as far as anybody has seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from spellings import names, sets, spellings

from obo_kit.scopes import Verdict, covers, implied, minimise, route_for, route_verdict, same_family, verdict


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
