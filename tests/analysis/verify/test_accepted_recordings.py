"""Accepted recordings: each can be read, holds nothing of its workspace, and `explain` tells its answers apart."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

import verifying
from seeded import SEEDED, Seeded
from verifying import NAMED

from obo_kit.analysis.verify._plan import listed
from obo_kit.analysis.verify._refusals import REFUSAL_PROBES
from obo_kit.analysis.verify._routes import ROUTE_PROBES
from obo_kit.analysis.verify._run import Options
from obo_kit.denials._recorded import as_issue, misread
from obo_kit.scopes import ROUTES
from obo_kit.scopes._recording import dump, load
from obo_kit.testing import LocalWorkspace

FOLDER = Path(__file__).parents[3] / "recordings"
FILES = sorted(FOLDER.glob("*.json"))
LOCAL = FOLDER / "local.json"
WRITE = bool(os.environ.get("OBO_KIT_WRITE_RECORDING"))


def test_the_folder_holds_recordings_and_its_page():
    assert {path.name for path in FOLDER.iterdir()} == {"README.md", *(path.name for path in FILES)}
    page = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"^\| `(\w[\w.\-]*\.json)` \|", page, re.MULTILINE)) == {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_accepted_recording_can_be_read_and_is_named_after_its_workspace(path):
    recording = load(path)  # which checks schema, digest, and that each text is placed
    if path == LOCAL:
        assert recording.cloud == "local"
    else:
        assert recording.cloud != "local"
        assert path.name == f"{recording.cloud}-{recording.recorded}.json"
    assert re.fullmatch(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.dev\d+)?", recording.kit)
    LocalWorkspace(recording=path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_accepted_recording_holds_requests_of_the_list_only(path):
    requests = {probe.request for probe in (*ROUTE_PROBES.values(), *listed(NAMED))}
    claims = {*(f"route:{' '.join([*sorted(route.methods), route.path])}" for route in ROUTES)}
    claims |= {f"refusal:{key}" for key in REFUSAL_PROBES}
    for answer in load(path).answers:
        assert answer.request in requests
        assert answer.claim in claims


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_explain_tells_each_answer_of_an_accepted_recording_apart(path):
    recording = load(path)
    assert as_issue(recording, misread(recording)).splitlines()[1:] == []


def record(recording=None):
    """Record a workspace; returns the recording, and what must not be in it."""
    with verifying.workspace(recording=recording) as workspace:
        outcome = verifying.asked(options=Options(exchange=True, rate=10_000))
        secrets = [
            workspace.host,
            workspace.workspace_id,
            "alice",
            "salaries",
            *NAMED.denied.values(),
            *NAMED.use.values(),
        ]
        return outcome.recording, secrets


def test_a_recording_of_the_local_workspace_would_be_accepted_as_such(tmp_path):
    """The file is written anew with OBO_KIT_WRITE_RECORDING=1. Nothing in it was observed."""
    recording, secrets = record()
    path = LOCAL if WRITE else tmp_path / "local.json"
    written = dump(recording, path)
    assert (written.cloud, written.complete) == ("local", True)
    assert [secret for secret in secrets if secret in path.read_text()] == []
    assert as_issue(written, misread(written)).splitlines()[1:] == []


def test_what_is_recorded_of_a_workspace_that_answers_as_recorded_is_the_same():
    before = load(LOCAL)
    again, _ = record(before)
    same = {(answer.claim, answer.request, answer.scopes): answer for answer in again.answers}
    assert len(before.answers) > 300
    for answer in before.answers:
        assert same[answer.claim, answer.request, answer.scopes] == answer
    assert (again.obo, again.digest) == (before.obo, again.signed().digest)


@pytest.mark.long
def test_so_it_is_with_a_workspace_that_differs_in_all_ways():
    answers = [answer for seeded in SEEDED.values() if not seeded.alone for answer in seeded.answers]
    before, _ = record(Seeded(answers=tuple(answers), obo="off").recording)
    again, _ = record(before)
    assert again.answers == before.answers
    assert again.obo == "off"
