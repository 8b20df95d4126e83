"""`obo-kit verify --recording … --update` and `--explain`."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from obo_kit.cli import main
from obo_kit.scopes._recording import Answer, Recording, dump

pytest.importorskip("ruamel.yaml", reason="a file is updated by the extra obo-kit[bundle]")

ROUTE = "route:GET /api/2.0/serving-endpoints"
MISSING = {"claim": ROUTE, "request": "GET /api/2.0/serving-endpoints/{name}", "case": "missing_scope", "status": 403}
KNOWN = Answer(
    **MISSING, form="json", wording="Required scopes: <scope:model-serving>", required_scopes=("model-serving",)
)
MISREAD = Answer(**MISSING, form="json", code="PERMISSION_DENIED", wording="No, and no")


@pytest.fixture
def verify(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*options, answers=(KNOWN,), cloud="aws"):
        dump(Recording(recorded="2026-12-01", kit="0.1.0", cloud=cloud, answers=answers), "seen.json")
        return CliRunner().invoke(main, ["verify", "--recording", "seen.json", *options])

    return run


def test_the_catalogue_file_is_written_and_each_change_is_said(verify, tmp_path):
    done = verify("--update", "obo_kit_catalogue.yaml")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "routes: GET /api/2.0/serving-endpoints: added, observed as known (model-serving or serving.serving-endpoints)",
        "",
        "obo_kit_catalogue.yaml is written.",
    ]
    text = (tmp_path / "obo_kit_catalogue.yaml").read_text()
    assert "confidence: observed, as_of: 2026-12-01" in text
    assert "says so already" in verify("--update", "obo_kit_catalogue.yaml").output
    assert (tmp_path / "obo_kit_catalogue.yaml").read_text() == text


def test_changes_as_json(verify):
    done = json.loads(verify("--update", "c.yaml", "--json").output)
    assert (done["changed"], [change["what"] for change in done["changes"]]) == (True, ["added"])


def test_a_recording_without_scopes_changes_nothing(verify, tmp_path):
    done = verify("--update", "c.yaml", answers=(MISREAD,))
    assert "shows no scopes" in done.output
    assert not (tmp_path / "c.yaml").exists()


def test_a_local_recording_is_no_observation(verify, tmp_path):
    done = verify("--update", "c.yaml", cloud="local")
    assert done.exit_code == 1
    assert "local workspace" in done.output
    assert not (tmp_path / "c.yaml").exists()


def test_what_explain_misreads_is_printed_as_an_issue(verify):
    done = verify("--explain", answers=(KNOWN, MISREAD))
    assert done.exit_code == 1
    assert "it is missing_scope, and explain says access_denied" in done.output
    assert "No, and no" in done.output
    (only,) = json.loads(verify("--explain", "--json", answers=(KNOWN, MISREAD)).output)
    assert only["answer"]["wording"] == "No, and no"
    done = verify("--explain")
    assert (done.exit_code, done.output) == (0, "explain tells all 1 answers apart.\n")


@pytest.mark.parametrize("options", [("--update", "c.yaml", "--explain"), ("--explain", "--review")])
def test_one_use_at_a_time(verify, options):
    assert verify(*options).exit_code == 2


def test_a_use_needs_a_recording():
    assert CliRunner().invoke(main, ["verify", "--explain"]).exit_code == 2
