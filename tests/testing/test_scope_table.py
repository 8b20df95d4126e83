"""What each route asks of a token: the workspace's own table against the catalogue of the kit, difference by difference."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

from obo_kit.scopes import SCOPES, Verdict, route_for, route_verdict
from obo_kit.testing import LocalWorkspace
from obo_kit.testing.server._scopes import ROUTE_SCOPES, Ask, ask, asked_by

# Where the two differ: the route of the catalogue, the scopes by which, and why. A difference that goes comes off the list.
DIFFERENCES: dict[str, tuple[frozenset[str], str]] = {
    "/api/2.0/mcp/genie": (
        frozenset({"dashboards.genie"}),
        "the catalogue concludes it from the family of genie; no source names it for this address",
    ),
    "/api/2.0/sql/history": (frozenset({"sql.query-history"}), "concluded from the parent's name; no source says so"),
    **dict.fromkeys(
        (
            *(f"/api/2.1/unity-catalog/{part}" for part in ("shares", "recipients", "providers", "public")),
            *(f"/api/{version}/data-sharing" for version in ("2.0", "2.1")),
        ),
        (
            frozenset({"unity-catalog"}),
            "the catalogue takes the parent's scope as well; the API's pages name sharing alone",
        ),
    ),
    "/serving-endpoints/responses": (
        frozenset({"serving.serving-endpoints"}),
        "the catalogue doubts the older name here; the workspace lets it in, as it does for chat/completions",
    ),
}
# Only the workspace has these: starts of longer addresses.
UNKNOWN_TO_THE_KIT = {
    "/api/2.0/mcp/ai-search",
    "/api/2.0/mcp/external",
    "/api/2.0/mcp/functions",
    "/api/2.0/mcp/vector-search",
    "/serving-endpoints",
}


def _rows() -> dict[tuple[str, str], Ask | None]:
    """Return every served route and every row of the table, and what it asks for."""
    rows = {(api.method, api.path): api.asks for _, api in LocalWorkspace()._gate._routes if not api.open}
    for methods, path, _ in ROUTE_SCOPES:
        method = "PATCH" if methods == "*" else methods
        rows.setdefault((method, path), asked_by(method, path))
    return rows


def _tokens(asked: Ask) -> list[frozenset[str]]:
    """Return tokens with each scope alone, and where several are needed with each beside one of them."""
    firsts = [frozenset(), *([frozenset({name}) for name in asked.needed] if len(asked.groups) > 1 else [])]
    return [first | {scope} for first in firsts for scope in SCOPES]


def _differences() -> dict[str, set[str]]:
    differences: dict[str, set[str]] = {}
    for (method, path), asked in _rows().items():
        route = route_for(method, re.sub(r"\{[^}]*\}", "x", path))
        if asked is None or route is None:
            continue
        for held in _tokens(asked):
            passes = not asked.missing(held)
            if (route_verdict(route, held)[0] is Verdict.GRANTED) != passes:
                differences.setdefault(route.path, set()).update(held - set(asked.needed) or held)
    return differences


def test_kit_and_workspace_differ_only_where_the_list_says_so():
    assert _differences() == {path: set(scopes) for path, (scopes, _) in DIFFERENCES.items()}


def test_every_route_asks_for_something():
    silent = {path for (_, path), asked in _rows().items() if asked is None}
    assert silent == set()


def test_routes_that_only_the_workspace_knows():
    unknown = {path for method, path in _rows() if route_for(method, re.sub(r"\{[^}]*\}", "x", path)) is None}
    assert unknown == UNKNOWN_TO_THE_KIT


def test_every_row_has_its_source():
    for _, path, asked in ROUTE_SCOPES:
        assert asked.source, path
        assert asked.standing in {"documented", "reported", "inferred"}, path


@pytest.mark.parametrize(
    ("held", "missing"),
    [
        (set(), ("a", "b")),
        ({"a"}, ("b",)),
        ({"other", "b"}, ()),
        ({"all-apis"}, ()),
        ({"a.part", "b"}, ("a",)),
    ],
)
def test_a_token_needs_one_spelling_of_each_group(held, missing):
    asked = ask("a | other", "b", standing="inferred", source="here")
    assert (asked.needed, asked.missing(held)) == (("a", "b"), missing)


def test_all_apis_does_not_stand_for_every_scope():
    assert ask("a", standing="inferred", source="here", all_apis=False).missing({"all-apis"}) == ("a",)


def test_the_longest_start_decides_and_then_the_method():
    assert asked_by("GET", "/api/2.0/sql/warehouses/wh1").needed == ("sql",)
    assert "sql.warehouses:read" in asked_by("HEAD", "/api/2.0/sql/warehouses/wh1").groups[0]
    assert "sql.warehouses:read" not in asked_by("POST", "/api/2.0/sql/warehouses").groups[0]
    assert asked_by("GET", "/api/2.0/nothing") is None
