"""What differs is found, what does not differ is not, and a workspace sees nothing but the list."""

from __future__ import annotations

import dataclasses
import json
import os
import time

import pytest
import verifying

from obo_kit.analysis.verify._plan import listed
from obo_kit.analysis.verify._refusals import REFUSAL_PROBES
from obo_kit.analysis.verify._run import Options, Run
from obo_kit.scopes._recording import dump, load
from obo_kit.testing._refusals import REFUSALS
from obo_kit.testing.server._scopes import ask
from obo_kit.testing.services._genie import Genie

SIGN_IN = {("GET", "/.well-known/databricks-config")}


@pytest.fixture(scope="module")
def baseline():
    with verifying.workspace() as workspace:
        outcome = verifying.asked()
        return outcome, verifying.results(outcome), workspace.log.entries


@pytest.fixture
def patient(monkeypatch):
    """A failure is repeated at once."""
    monkeypatch.setattr("obo_kit.analysis.verify._transport._wait", lambda _raw, _attempt: 0.02)


def only_the_list(log) -> bool:
    allowed = {(probe.method, probe.target.partition("?")[0]) for probe in listed(verifying.NAMED)} | SIGN_IN
    return {(record.method, record.path) for record in log} <= allowed


# ---------------------------------------------------------------- a workspace as the catalogue says


def test_it_finds_no_difference_but_what_the_local_workspace_does_not_serve(baseline):
    outcome, results, log = baseline
    differing = {claim: aspects for claim, (status, aspects) in results.items() if status == "differs"}
    absent = {claim for claim, aspects in differing.items() if {aspect for aspect, _ in aspects} == {"api"}}
    # Routes that the local workspace leaves out: with every scope, they are answered "No API found".
    assert len(absent) > 80
    assert set(differing) == absent
    unserved = {record.path for record in log if record.decision == "not found" and record.status == 404}
    assert all(any(path.startswith(_start(claim)) for path in unserved) for claim in absent)
    assert not outcome.failed
    assert outcome.recording.complete
    assert outcome.recording.obo == "on"
    assert outcome.recording.asked_as == "user"
    assert results["obo:apps"][0] == "agrees"


def _start(claim):
    return claim.partition(":")[2].rpartition(" ")[2].partition("{")[0].rstrip("/")


def test_all_refusals_that_can_be_provoked_safely_are(baseline):
    _, results, _ = baseline
    untried = {key for key in REFUSAL_PROBES if results[f"refusal:{key}"][0] == "not_tried"}
    assert untried == {"genie_forbidden"}  # of the two ways to keep somebody out of a space, a workspace has one


def test_only_the_list_is_sent(baseline):
    outcome, _, log = baseline
    assert only_the_list(log)
    assert {record.method for record in log} == {"GET", "POST"}
    assert len(log) - outcome.sent <= 1
    assert outcome.sent <= 400


def test_nothing_of_the_workspace_is_recorded(baseline, tmp_path):
    outcome, _, _ = baseline
    dump(outcome.recording, tmp_path / "recording.json")
    text = (tmp_path / "recording.json").read_text()
    names = [*verifying.NAMED.denied.values(), *verifying.NAMED.use.values(), "alice", "127.0.0.1", "obo_kit_verify"]
    for name in (*names, "eyJ", "dapi", "sales-emea", "salaries", "finance", "00000000"):
        assert name not in text


def test_it_says_the_same_twice(baseline):
    before, _, _ = baseline
    with verifying.workspace():
        again = verifying.asked()
    assert again.recording.answers == before.recording.answers
    assert again.recording.digest == before.recording.digest


# ---------------------------------------------------------------- workspaces that differ on purpose


def _reword(monkeypatch, key, **changes):
    monkeypatch.setitem(REFUSALS, key, dataclasses.replace(REFUSALS[key], **changes))


def _asks(workspace, start, asks):
    """Let the routes under a path ask for other scopes."""
    workspace._gate._routes = [
        (route, dataclasses.replace(api, asks=asks) if api.path.startswith(start) else api)
        for route, api in workspace._gate._routes
    ]


def other_words(workspace, monkeypatch):
    _reword(monkeypatch, "warehouse_missing", text="There is no warehouse {name} in this workspace.")
    _reword(monkeypatch, "serving_missing", text="The given endpoint does not exist.")
    _reword(monkeypatch, "credential_missing", text="Please sign in. [ReqId: {request}]")
    return {f"refusal:{key}": {"wording"} for key in ("warehouse_missing", "serving_missing", "credential_missing")}


def other_forms(workspace, monkeypatch):
    _reword(monkeypatch, "index_missing", form="text")
    _reword(monkeypatch, "app_missing", status=403, code="PERMISSION_DENIED")
    _reword(monkeypatch, "invalid_token", status=401, headers={})
    _reword(monkeypatch, "connection_missing", code="RESOURCE_DOES_NOT_EXIST")
    return {
        "refusal:index_missing": {"content type", "code"},
        "refusal:app_missing": {"status", "code"},
        "refusal:invalid_token": {"status", "headers"},
        "refusal:connection_missing": {"code"},
    }


def other_scopes(workspace, monkeypatch):
    _asks(workspace, "/api/2.0/serving-endpoints", ask("dashboards", standing="reported", source=""))
    # Beside the catalogue's, others may do: only a token with them could tell.
    _asks(workspace, "/api/2.0/apps", ask("apps | apps.apps | settings", standing="reported", source=""))
    # With the catalogue's scope, nobody gets as far as the absent endpoint.
    return {"route:GET /api/2.0/serving-endpoints": {"scopes"}, "refusal:serving_missing": set()}


def scopes_that_are_not_asked_for(workspace, monkeypatch):
    anything = ask("genie | sql | model-serving | all-apis", standing="reported", source="")
    _asks(workspace, "/api/2.1/unity-catalog/connections", anything)
    _asks(workspace, "/api/2.0/vector-search/endpoints/{endpoint}/indexes", anything)
    return {
        "route:/api/2.1/unity-catalog/connections": {"scopes"},
        "route:/api/2.0/vector-search/endpoints/{endpoint}/indexes": {"scopes"},
    }


def plain_text(workspace, monkeypatch):
    _reword(monkeypatch, "missing_scope", text="Invalid scope, required scopes: {scopes}", form="text")
    return "missing_scope"


def bare_text(workspace, monkeypatch):
    _reword(monkeypatch, "missing_scope_text", text="Invalid scope")
    return "missing_scope_text"


def unheard_of_words(workspace, monkeypatch):
    """`explain` does not know these: that the token was refused is all that tells."""
    _reword(monkeypatch, "missing_scope_text", text="Computer says no")
    return "missing_scope_text"


def missing_routes(workspace, monkeypatch):
    gone = (
        "/api/2.0/genie/spaces/{space}",
        "/api/2.0/sql/statements/{statement}",
        "/api/2.0/vector-search/indexes/{index}",
    )
    workspace._gate._routes = [(route, api) for route, api in workspace._gate._routes if api.path not in gone]
    return {
        "route:/api/2.0/genie/": {"api"},
        "route:/api/2.0/mcp/genie": {"api"},  # asks for the space
        "route:/api/2.0/sql/statements": {"api"},
        "route:GET /api/2.0/vector-search/indexes": {"api"},
        "refusal:genie_missing": {"code", "wording"},
        "refusal:genie_denied": {"code", "wording"},
        "refusal:genie_forbidden": {"status", "code", "wording"},
        "refusal:statement_missing": {"code", "wording"},
        "refusal:index_missing": {"code", "wording"},
        "refusal:index_denied": {"status", "code", "wording"},
    }


def rate_limits(workspace, monkeypatch):
    for after in range(0, 200, 20):
        workspace.add_fault(status=429, headers={"Retry-After": "0"}, after=after, times=1)
    return {}


def resets(workspace, monkeypatch):
    for after in (5, 50, 100):
        workspace.add_fault("reset", after=after, times=1)
    workspace.add_fault(status=503, after=150, times=2)
    return {}


def without_obo(workspace, monkeypatch):
    apps = [{"name": "app-own", "user_api_scopes": ["sql"], "effective_user_api_scopes": ["iam.current-user:read"]}]
    workspace.add_fault(status=200, body={"apps": apps}, path_prefix="/api/2.0/apps", times=1)
    return {"obo:apps": {"obo"}}


def spaces_that_are_not_hidden(workspace, monkeypatch):
    spaces = workspace._core.service(Genie)._spaces
    spaces["01hidden"] = dataclasses.replace(spaces["01hidden"], hidden=False)
    return {"refusal:genie_denied": set(), "refusal:genie_forbidden": set()}


def a_login_page(workspace, monkeypatch):
    workspace.add_fault("login_page", path_prefix="/api/2.1/unity-catalog/functions", times=None)
    # A page says nothing of scopes.
    return {
        "refusal:function_missing": {"status", "code", "content type", "wording"},
        "route:/api/2.1/unity-catalog/functions": set(),
    }


SEEDS = [
    other_words,
    other_forms,
    other_scopes,
    scopes_that_are_not_asked_for,
    plain_text,
    bare_text,
    unheard_of_words,
    missing_routes,
    rate_limits,
    resets,
    without_obo,
    spaces_that_are_not_hidden,
    a_login_page,
]


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.__name__)
@pytest.mark.usefixtures("patient")
def test_every_difference_is_found_and_none_is_invented(seed, baseline, monkeypatch):
    before, results, _ = baseline
    with verifying.workspace() as workspace:
        expected = seed(workspace, monkeypatch)
        outcome = verifying.asked()
        log = workspace.log.entries
    if isinstance(expected, str):
        expected = _worded(expected, before)
    assert verifying.changed(verifying.results(outcome), results) == expected
    assert not outcome.stopped
    assert len(log) <= 400
    assert only_the_list(log)


def _worded(key, before):
    """The claims that a workspace refused in the words of one of its refusals, which are others now."""
    text = verifying.KIT.refusals[key].text.partition("{")[0]
    aspects = {"content type", "code", "wording"} if key == "missing_scope" else {"wording"}
    words = [answer for answer in before.recording.answers if answer.case == "missing_scope"]
    return {
        answer.claim: aspects
        for answer in words
        if answer.wording.startswith(text) and "reach them" not in answer.wording
    }


@pytest.mark.long
def test_the_recording_of_a_workspace_stands_for_it(baseline, monkeypatch, tmp_path):
    """A local workspace that answers by a recording is found to differ as the recorded one was."""
    with verifying.workspace() as workspace:
        other_words(workspace, monkeypatch)
        outcome = verifying.asked()
    monkeypatch.undo()
    dump(outcome.recording, tmp_path / "recording.json")
    with verifying.workspace(recording=tmp_path / "recording.json"):
        again = verifying.asked()
    # A route has one answer for what is absent: a file of a volume takes the one for a volume.
    changed = verifying.changed(verifying.results(again), verifying.results(outcome))
    assert changed.keys() <= {"refusal:directory_missing", "refusal:file_missing"}


# ---------------------------------------------------------------- what goes wrong on the way


@pytest.mark.usefixtures("patient")
def test_an_outage_in_the_middle_loses_nothing(baseline, tmp_path):
    before, results, _ = baseline
    path = tmp_path / "recording.json"
    with verifying.workspace() as workspace:
        workspace.add_fault(status=503, after=100, times=None)
        broken = verifying.asked(options=Options(rate=5000, patience=0.3))
        assert "does not answer" in broken.stopped
        assert not broken.recording.complete
        kept = len(dump(broken.recording, path).answers)
        assert kept > 50
        workspace.clear_faults()
        workspace.log.clear()
        whole = verifying.asked(before=load(path))
        again = len(workspace.log)
    assert whole.recording.complete
    assert whole.recording.answers == before.recording.answers
    assert verifying.results(whole) == results
    assert again < before.sent - 90  # what was answered is not asked again


def test_a_budget_that_is_spent_stops_it():
    with verifying.workspace() as workspace:
        outcome = verifying.asked(options=Options(rate=5000, budget=30))
        assert len([record for record in workspace.log if (record.method, record.path) not in SIGN_IN]) == 30
    assert "budget" in outcome.stopped
    assert 20 < len(outcome.recording.answers) < 40


def test_an_interruption_loses_nothing_that_was_answered():
    kept = []

    def interrupt(done, _of):
        if done == 25:
            raise KeyboardInterrupt

    with verifying.workspace():
        login, narrow, expired = verifying.tokens()
        run = Run(
            login=login,
            narrow=narrow,
            expired=expired,
            named=verifying.NAMED,
            options=Options(rate=5000),
            progress=interrupt,
        )
        run.keep = lambda: kept.append(run.recording)
        with pytest.raises(KeyboardInterrupt):
            run.run()
    assert len(kept[-1].answers) >= 25
    assert not kept[-1].complete


def test_it_keeps_under_a_rate():
    with verifying.workspace() as workspace:
        verifying.asked(options=Options(rate=50, budget=30))
        times = [record.at for record in workspace.log if (record.method, record.path) not in SIGN_IN]
    assert times[-1] - times[0] >= 29 / 50 * 0.9


@pytest.mark.usefixtures("patient")
def test_a_route_that_is_broken_by_itself_is_not_tried():
    with verifying.workspace() as workspace:
        workspace.add_fault(status=500, path_prefix="/api/2.0/serving-endpoints", times=None)
        outcome = verifying.asked(options=Options(rate=5000, budget=60))
    claim = "route:GET /api/2.0/serving-endpoints"
    assert outcome.failed[claim] == "The workspace failed to answer it."
    assert verifying.results(outcome)[claim] == ("not_tried", frozenset())


@pytest.mark.long
@pytest.mark.timeout(180)
def test_all_of_it_takes_less_than_two_minutes_at_50_ms():
    with verifying.workspace(latency=0.05) as workspace:
        started = time.monotonic()
        outcome = verifying.asked(options=Options(exchange=True))
        seconds = time.monotonic() - started
        log = len(workspace.log)
    assert outcome.recording.complete, outcome.stopped
    assert log <= 400
    assert seconds < 120


def test_a_machine_is_named_as_one():
    with verifying.workspace() as workspace:
        os.environ["DATABRICKS_TOKEN"] = workspace.token(workspace.add_service_principal("robot"))
        outcome = verifying.asked(options=Options(rate=5000, budget=6))
    assert outcome.recording.asked_as == "service_principal"


def test_a_recording_is_json_that_others_can_read(baseline):
    outcome, _, _ = baseline
    data = json.loads(outcome.recording.model_dump_json(by_alias=True))
    assert data["schema"] == 1
    assert {answer["claim"].partition(":")[0] for answer in data["answers"]} == {"route", "refusal"}
