"""What a recording shows of routes, and the project's catalogue file written from it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obo_kit import PolicyError
from obo_kit.scopes import SCOPES, Verdict, _lookup, catalogue, route_for, route_verdict
from obo_kit.scopes._lookup import _BUILT_IN
from obo_kit.scopes._observed import corrected, groups_of, observed_routes
from obo_kit.scopes._overrides import overridden
from obo_kit.scopes._recording import Answer, Recording
from obo_kit.scopes._update import updated_catalogue

pytest.importorskip("ruamel.yaml", reason="a file is updated by the extra obo-kit[bundle]")

ENDPOINTS = "GET /api/2.0/serving-endpoints"
STATEMENTS = "/api/2.0/sql/statements"
GENIE = "/api/2.0/genie/"


def refused(route, *named, scopes=()):
    words = "Required scopes: " + ", ".join(f"<scope:{name}>" for name in named) if named else "Invalid scope"
    return seen(route, "missing_scope", 403, scopes, wording=words, required_scopes=named)


def seen(route, case, status, scopes, **fields):
    return Answer(
        claim=f"route:{route}", request="GET /x", case=case, status=status, form="json", scopes=scopes, **fields
    )


def recording(*answers, **fields):
    return Recording(**{"recorded": "2026-12-01", "kit": "0.1.0", "cloud": "aws", "answers": answers, **fields})


# ---------------------------------------------------------------------------------------------- what was seen


@pytest.mark.parametrize(
    ("known", "answers", "groups"),
    [
        pytest.param("a|b", [refused("/x", "sql")], "sql", id="a refusal names another scope"),
        pytest.param("sql|genie", [refused("/x", "genie")], "genie|sql", id="it names one of the known, which comes first"),
        pytest.param("sql|genie", [refused("/x", "sql", scopes=("genie",))], "sql", id="a scope that was refused is out"),
        pytest.param("sql", [seen("/x", "allowed", 200, ("genie",))], "sql|genie", id="a scope that passed is in"),
        pytest.param("sql", [seen("/x", "absent", 404, ("genie",))], "sql|genie", id="past the scopes is passed"),
        pytest.param("sql", [seen("/x", "allowed", 200, ("genie", "openid"))], "sql|genie", id="a login's own open nothing"),
        pytest.param("sql", [seen("/x", "allowed", 200, ("genie", "jobs"))], "sql", id="which of two opened it is not known"),
        pytest.param("sql", [seen("/x", "allowed", 200, ("all-apis",))], "sql", id="all-apis says nothing"),
        pytest.param("sql", [seen("/x", "allowed", 200, None)], "sql", id="a token that does not say"),
        pytest.param("sql", [seen("/x", "rate_limited", 429, ("genie",))], "sql", id="an outage says nothing"),
        pytest.param("sql", [refused("/x", "jobs", "genie")], "jobs+genie", id="several new ones are all needed"),
        pytest.param("sql|genie", [refused("/x", "sql", "genie")], "sql|genie", id="several known ones stay as they are"),
        pytest.param(
            "sql|genie", [refused("/x", "sql", "genie", scopes=("sql",))], "sql+genie", id="unless one of them did not do"
        ),
        pytest.param("sql+genie", [refused("/x", "genie", scopes=("sql",))], "sql+genie", id="of several it names the missing"),
        pytest.param("sql+genie", [seen("/x", "allowed", 200, ("sql",))], "sql", id="of several one sufficed"),
        pytest.param("sql", [refused("/x", scopes=("sql",))], "all-apis", id="nothing that is known opens it"),
        pytest.param("", [refused("/x", "sql")], "sql", id="a route that the catalogue does not know"),
        pytest.param("", [seen("/x", "allowed", 200, ("all-apis",))], "", id="of which nothing is seen"),
        pytest.param(
            "sql", [refused("/x", "sql", scopes=("genie",)), seen("/x", "allowed", 200, ("genie",))], "sql|genie",
            id="passed once is passed",
        ),
    ],
)  # fmt: skip
def test_what_a_route_asks_for_is_what_was_seen_and_else_what_was_known(known, answers, groups):
    def parsed(text):
        return tuple(tuple(group.split("|")) for group in text.split("+")) if text else ()

    (route,) = observed_routes(recording(*answers))
    assert corrected(parsed(known), route) == parsed(groups)


NAMES = st.sampled_from(["sql", "genie", "jobs", "files", "all-apis"])
NAMED = st.lists(NAMES, unique=True, max_size=2)
ANSWERS = st.lists(
    st.one_of(
        st.builds(lambda named, held: refused("/x", *named, scopes=tuple(held)), NAMED, st.sets(NAMES)),
        st.builds(lambda held: seen("/x", "allowed", 200, tuple(held)), st.sets(NAMES)),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@given(ANSWERS, st.sampled_from([(("sql", "genie"),), (("sql",), ("jobs",)), (("all-apis",),)]))
def test_no_token_with_one_scope_that_was_refused_and_never_passed_gets_through(answers, known):
    (route,) = observed_routes(recording(*answers))
    groups = corrected(known, route)
    passes = [scope for scope in ("sql", "genie", "jobs", "files") if all(scope in group for group in groups)]
    if len(known) == 1:
        assert not route.shut.intersection(passes)
    assert all(group for group in groups)
    assert set(route.openers) <= set(passes)


# ---------------------------------------------------------------------------------------------- the file

FILE = """\
# Ours: do not reformat.
as_of: 2026-11-23   # when we saw it
scopes:
  agent-bricks: {accepted_by: [model-serving], note: "quoted: as it was"}
kinds:
  genie_space: {current: {apps: [dashboards.genie]}}
routes:
    # Four spaces, and a comment.
    POST /api/2.0/agent-bricks/{id}/run: {any_of: [agent-bricks], reads: true}
    GET /api/2.0/serving-endpoints:      # agrees with the workspace
        any_of: [serving.serving-endpoints, model-serving]
        note: 'ours'
    /api/2.0/genie/: {any_of: jobs}
    GET   /api/2.0/sql/warehouses: {any_of: sql, confidence: observed, as_of: 2026-11-01}
# the end
"""
DAY = "2026-12-01"


def update(tmp_path, text, *answers, **fields):
    path = tmp_path / "obo_kit_catalogue.yaml"
    if text is not None:
        path.write_bytes(text.encode())
    change = updated_catalogue(path, recording(*answers, **fields))
    assert (path.read_bytes().decode() if path.exists() else None) == text  # nothing is written yet
    if change.changed:
        change.write()
    return path, change


def what(change):
    return {each.entry: each.what for each in change.changes}


def test_a_new_file_holds_what_was_seen(tmp_path):
    path, change = update(tmp_path, None, refused(ENDPOINTS, "model-serving"), refused(GENIE, "genie-spaces"))
    found = overridden(_BUILT_IN, str(path))
    routes = {(route.methods, route.path): route for route in found.routes}
    endpoints, genie = routes[frozenset({"GET"}), ENDPOINTS.split()[1]], routes[frozenset(), GENIE]
    assert (endpoints.any_of, endpoints.confidence) == (("model-serving", "serving.serving-endpoints"), "observed")
    assert (genie.any_of, genie.confidence, genie.as_of.isoformat()) == (("genie-spaces",), "observed", DAY)
    assert genie.kind == "genie_space"  # the rest of the kit's entry stays
    assert what(change) == {
        f"routes: {ENDPOINTS}": "added",
        f"routes: {GENIE}": "added",
        "scopes: genie-spaces": "added",
        "kinds: genie_space: current: model-serving": "declared",
        "kinds: genie_space: current: apps": "declared",
    }
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_update_loses_nothing_that_was_there(tmp_path):
    path, change = update(
        tmp_path,
        FILE,
        refused(ENDPOINTS, "model-serving"),
        refused(GENIE, "genie"),
        refused("GET /api/2.0/sql/warehouses", "sql.warehouses"),
        refused("/api/2.0/apps", "apps"),
    )
    assert what(change) == {
        f"routes: {ENDPOINTS}": "updated",
        f"routes: {GENIE}": "kept",
        "routes: GET   /api/2.0/sql/warehouses": "updated",
        "routes: /api/2.0/apps": "added",
    }
    after = path.read_text()
    lines = after.splitlines()
    changed = {"        any_of: [serving.serving-endpoints, model-serving]", FILE.splitlines()[-2]}
    assert [line for line in FILE.splitlines() if line not in lines and line not in changed] == []
    routes = {(route.methods, route.path): route for route in overridden(_BUILT_IN, str(path)).routes}
    assert routes[frozenset(), GENIE].any_of == ("jobs",)
    assert routes[frozenset(), GENIE].confidence == "reported"
    endpoints = routes[frozenset({"GET"}), ENDPOINTS.split()[1]]
    assert (endpoints.note, endpoints.confidence) == ("ours", "observed")
    assert routes[frozenset({"GET"}), "/api/2.0/sql/warehouses"].any_of[0] == "sql.warehouses"
    assert "kept as it is written (jobs); the workspace asked for genie" in "\n".join(map(str, change.changes))


def test_windows_line_ends_stay(tmp_path):
    path, _ = update(tmp_path, FILE.replace("\n", "\r\n"), refused("/api/2.0/apps", "apps"))
    assert "\n" not in path.read_bytes().decode().replace("\r\n", "")


def test_a_second_update_changes_nothing(tmp_path):
    answers = (refused(ENDPOINTS, "model-serving"), refused(STATEMENTS, "sql.statement-execution", scopes=("sql",)))
    path, _ = update(tmp_path, FILE, *answers)
    _, change = update(tmp_path, path.read_text(), *answers)
    assert not change.changed
    assert change.diff() == ""
    assert set(what(change).values()) == {"unchanged"}


def test_an_older_recording_changes_nothing_that_a_younger_one_wrote(tmp_path):
    path, _ = update(tmp_path, None, refused(GENIE, "genie"))
    before = path.read_text()
    _, change = update(tmp_path, before, refused(GENIE, "jobs"), recorded="2026-11-30")
    assert what(change)[f"routes: {GENIE}"] == "kept"
    _, change = update(tmp_path, before, refused(GENIE, "jobs"), recorded="2026-12-02")
    assert what(change)[f"routes: {GENIE}"] == "updated"


def test_a_name_that_covers_another_and_was_refused_opens_nothing_any_more(tmp_path):
    path, _ = update(tmp_path, None, refused(STATEMENTS, "sql.statement-execution", scopes=("sql",)))
    (route,) = [route for route in overridden(_BUILT_IN, str(path)).routes if route.path == STATEMENTS]
    verdicts = {name: route_verdict(route, {name})[0] for name in ("sql", "sql.statement-execution", "all-apis")}
    assert verdicts == {
        "sql": Verdict.MISSING,
        "sql.statement-execution": Verdict.GRANTED,
        "all-apis": Verdict.GRANTED,
    }


def test_a_refusal_that_names_no_scope_makes_nothing_observed(tmp_path):
    path, change = update(tmp_path, None, refused(GENIE), seen(ENDPOINTS, "allowed", 200, ("all-apis",)))
    assert not change.changed
    assert not path.exists()


def test_a_local_workspace_is_no_observation(tmp_path):
    with pytest.raises(PolicyError, match="is of a local workspace"):
        update(tmp_path, None, refused(GENIE, "genie"), cloud="local")


@pytest.mark.parametrize("text", ["as_of: 2026-11-23\nroutes: [", "routes: {}\n", "as_of: 2026-11-23\nroute: {}\n"])
def test_a_file_that_cannot_be_read_stays_as_it_is(tmp_path, text):
    path = tmp_path / "obo_kit_catalogue.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError, match="The catalogue file cannot be used"):
        updated_catalogue(path, recording(refused(GENIE, "genie")))
    assert path.read_text() == text


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "obo_kit_catalogue.yaml"
    path.write_text(FILE)
    change = updated_catalogue(path, recording(refused("/api/2.0/apps", "apps")))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PolicyError, match="cannot be written: No space left"):
        change.write()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == FILE


@given(st.data())
def test_every_route_of_the_catalogue_can_be_observed(data):
    route = data.draw(st.sampled_from(_BUILT_IN.routes))
    named = data.draw(st.sampled_from(sorted(SCOPES)))
    claim = " ".join([*sorted(route.methods), route.path])
    (shown,) = observed_routes(recording(refused(claim, named)))
    assert (shown.methods, shown.path, shown.key) == (route.methods, route.path, claim)
    groups = corrected(groups_of(route), shown)
    assert any(named in group for group in groups)


# ---------------------------------------------------------------------------------------------- shown


@pytest.fixture
def in_force(tmp_path, monkeypatch):
    def go_by(*answers):
        path, _ = update(tmp_path, None, *answers)
        monkeypatch.setenv("OBO_KIT_CATALOGUE", str(path))
        forget()

    yield go_by
    monkeypatch.undo()
    forget()


def forget():
    for cached in (_lookup.catalogue, _lookup._words, _lookup._templates, _lookup.match_route):
        cached.cache_clear()


def shown(*term):
    from click.testing import CliRunner

    from obo_kit.cli import main

    answer = CliRunner().invoke(main, ["scopes", *term])
    assert answer.exit_code == 0, answer.output
    return " ".join(answer.output.split())


def test_the_command_says_what_was_observed_and_where_the_kit_differs(in_force):
    in_force(refused(ENDPOINTS, "model-serving"), refused(GENIE, "genie-spaces"))
    endpoints = shown(ENDPOINTS)
    assert "observed on your workspace, 2026-12-01" in endpoints
    assert "the kit the same (documented)" in endpoints
    assert "known observed, seen 2026-12-01" in endpoints
    genie = shown("genie space")
    assert "/api/2.0/genie/: genie-spaces [observed on your workspace, 2026-12-01; the kit differs: genie or" in genie
    assert "[observed" not in shown("GET /api/2.0/apps")


def test_what_was_observed_counts_for_the_scope_guard(in_force):
    in_force(refused(GENIE, "genie-spaces"))
    route = route_for("GET", "/api/2.0/genie/spaces")
    assert catalogue().seen(route)[1].isoformat() == DAY
    assert route_verdict(route, {"genie"}) == (Verdict.MISSING, ("genie-spaces",))
    assert route_verdict(route, {"genie-spaces"})[0] is Verdict.GRANTED
