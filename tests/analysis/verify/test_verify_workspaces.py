"""What differs is found, what does not differ is not, and a workspace sees nothing but the list."""

from __future__ import annotations

import dataclasses
import json
import os
import time

import pytest
import verifying
from seeded import SEEDED, Seeded

from obo_kit.analysis.verify._compare import compare
from obo_kit.analysis.verify._plan import listed
from obo_kit.analysis.verify._refusals import REFUSAL_PROBES
from obo_kit.analysis.verify._run import Options, Run
from obo_kit.scopes._recording import dump, load
from obo_kit.testing._refusals import REFUSALS

SIGN_IN = {("GET", "/.well-known/databricks-config")}
EVERYTHING = Options(rate=5000, patience=1.5, exchange=True)


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
    allowed.add(("POST", "/oidc/v1/token"))
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


def aspects(results):
    """The claims that differ, and how."""
    return {
        claim: frozenset(aspect for aspect, _ in differences)
        for claim, (status, differences) in results.items()
        if status == "differs"
    }


def checked(seeded, monkeypatch):
    """Verify a workspace, and check what was found and what was sent; return the results."""
    with verifying.workspace(recording=seeded.recording) as workspace:
        seeded.spoil(workspace, monkeypatch)
        outcome = verifying.asked(options=EVERYTHING)
        assert aspects(verifying.results(outcome)) == seeded.differs
        assert outcome.sent <= 400
        assert only_the_list(workspace.log)
        if outcome.stopped or not outcome.recording.complete:
            # It goes on where it stopped, and asks nothing twice.
            workspace.clear_faults()
            workspace.log.clear()
            os.environ["DATABRICKS_TOKEN"] = workspace.token("alice")
            again = verifying.asked(options=EVERYTHING, before=outcome.recording)
            assert not again.stopped
            assert again.sent < 400
            outcome = again
    results = verifying.results(outcome)
    assert aspects(results) == seeded.differs
    return {result.claim: result for result in compare(outcome.recording, verifying.KIT, outcome.failed)}


def untried(results):
    return {claim for claim, result in results.items() if result.status == "not_tried"}


def test_all_differences_at_once_are_found_and_no_other(monkeypatch):
    together = [seeded for seeded in SEEDED.values() if not seeded.alone]
    answers = tuple(answer for seeded in together for answer in seeded.answers)
    differs = {}
    for seeded in together:
        for claim, found in seeded.differs.items():
            differs[claim] = differs.get(claim, frozenset()) | found
    checked(Seeded(answers=answers, obo="off", obo_model_serving="off", differs=differs), monkeypatch)


@pytest.fixture(scope="module")
def as_the_kit_says():
    with pytest.MonkeyPatch.context() as monkeypatch:
        return untried(checked(Seeded(), monkeypatch))


@pytest.mark.long
@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.usefixtures("patient")
def test_each_difference_is_found_and_none_is_invented(name, as_the_kit_says, monkeypatch):
    results = checked(SEEDED[name], monkeypatch)
    hidden = untried(results) - as_the_kit_says
    told = {claim: results[claim].why for claim in hidden if "does not get that far" not in results[claim].why}
    assert told.keys() == SEEDED[name].untried.keys()
    assert all(part in told[claim] for claim, part in SEEDED[name].untried.items())


@pytest.mark.long
def test_the_recording_of_a_workspace_stands_for_it(baseline, monkeypatch, tmp_path):
    """A local workspace that answers by a recording is found to differ as the recorded one was."""
    other = dataclasses.replace(REFUSALS["warehouse_missing"], text="There is no warehouse {name} here.")
    monkeypatch.setitem(REFUSALS, "warehouse_missing", other)
    with verifying.workspace():
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
