"""``obo-kit verify``: what it shows, what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import verifying
from click.testing import CliRunner

from obo_kit.cli import main
from obo_kit.scopes._recording import load

RATE = ("--rate", "5000")
NARROW = tuple(part for text in verifying.NARROW for part in ("--token-with", text))


def run(*arguments):
    return CliRunner().invoke(main, ["verify", *arguments])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "recording.json"
    with verifying.workspace() as workspace:
        result = run(*RATE, *NARROW, "--output", str(path), "--denied", "sql_warehouse=w-hidden")
        secrets = [os.environ[name] for name in os.environ if name.startswith(("OBO_TEST_", "DATABRICKS_TOKEN"))]
        sent = len(workspace.log)
    return path, result, secrets, sent


def test_it_says_what_differs_what_agrees_and_what_was_not_tried(recorded):
    path, result, secrets, _ = recorded
    assert result.exit_code == 1  # the local workspace does not serve all of the platform
    assert "These are the answers to you." in result.output
    assert "the workspace says: No API found for '<name>'" in result.output
    assert "agrees" in result.output
    assert "--denied uc_table=NAME" in " ".join(result.output.split())
    assert "Only a request that changes something meets with it." in result.output
    assert not any(secret in result.output for secret in secrets)
    assert not any(secret in path.read_text() for secret in secrets)
    assert load(path).complete


def test_a_recording_is_compared_without_a_workspace(recorded, monkeypatch):
    path, result, _, _ = recorded
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:1")
    again = run("--recording", str(path), "--json")
    assert again.exit_code == 1
    told = json.loads(again.stdout)
    counts = {status: sum(claim["status"] == status for claim in told["claims"]) for status in ("agrees", "differs")}
    assert f"{counts['agrees']} agree, {counts['differs']} differ" in result.output
    assert told["asked_as"] == "user"


def test_the_review_shows_all_that_a_recording_holds(recorded):
    path, _, _, _ = recorded
    result = run("--recording", str(path), "--review")
    data = json.loads(path.read_text())
    shown = " ".join(result.output.split())
    for answer in data["answers"]:
        for text in (answer["claim"], answer["request"], answer["wording"], *answer["required_scopes"]):
            assert " ".join(text.split()) in shown
    assert data["digest"] in shown


def test_a_dry_run_shows_the_list_and_sends_nothing(monkeypatch):
    with verifying.workspace() as workspace:
        result = run("--dry-run")
        told = json.loads(run("--dry-run", "--json").stdout)
        assert not len(workspace.log)
    assert result.exit_code == 0
    assert "Nothing was sent." in result.output
    assert "POST /serving-endpoints/obo_kit_verify_absent/invocations" in result.output
    assert {row["method"] for row in told} == {"GET", "POST"}
    assert all(row["why"] for row in told)
    assert f"{len(told)} requests" in result.output


def test_without_a_login_it_ends_with_2(monkeypatch):
    with verifying.workspace():
        monkeypatch.delenv("DATABRICKS_TOKEN")
        monkeypatch.setenv("PATH", "")
        result = run()
    assert result.exit_code == 2
    assert "Fix: Run `databricks auth login" in result.output


def test_a_login_that_the_workspace_does_not_take_ends_with_2(monkeypatch):
    with verifying.workspace():
        monkeypatch.setenv("DATABRICKS_TOKEN", "dapi0123456789abcdef")
        result = run(*RATE)
    assert result.exit_code == 2
    assert "does not take your token" in result.output
    assert "0123456789abcdef" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--resume",),
        ("agent.py", "--output", "x.json"),
        ("agent.py", "--review"),
        ("--recording", "x.json", "--output", "y.json"),
        ("--denied", "sql_warehouse"),
        ("--denied", "moon=1"),
        ("--use", "genie_space=1"),
        ("--rate", "0"),
    ],
)
def test_options_that_do_not_fit_end_with_2(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.output


def test_a_file_that_is_no_recording_is_not_overwritten(tmp_path):
    (tmp_path / "notes.json").write_text('{"my": "notes"}')
    with verifying.workspace() as workspace:
        result = run(*RATE, "--output", str(tmp_path / "notes.json"))
        assert not workspace.log.filter(path="/api")
    assert result.exit_code == 1
    assert "is not a recording" in result.output
    assert (tmp_path / "notes.json").read_text() == '{"my": "notes"}'


def test_a_workspace_that_does_not_answer_costs_no_recording(recorded, monkeypatch, tmp_path):
    monkeypatch.setattr("obo_kit.analysis.verify._transport._wait", lambda _raw, _attempt: 0.01)
    path = tmp_path / "recording.json"
    path.write_bytes(recorded[0].read_bytes())
    with verifying.workspace() as workspace:
        workspace.add_fault(status=503, times=None, path_prefix="/api")
        result = run(*RATE, "--output", str(path))
    assert result.exit_code == 1
    assert "does not answer" in result.output
    assert path.read_bytes() == recorded[0].read_bytes()


def test_a_recording_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    result = run("--recording", str(tmp_path / "x.json"))
    assert result.exit_code == 1
    assert "Fix:" in result.output


@pytest.mark.long
def test_an_agent_is_asked_for_by_itself(tmp_path):
    from verifying import HIDDEN, OWN, write_agent

    with verifying.workspace():
        ready = run(write_agent(tmp_path, OWN), *RATE)
        told = json.loads(run(write_agent(tmp_path, HIDDEN), *RATE, "--json").stdout)
    assert ready.exit_code == 0, ready.output
    assert "It would work for you today." in ready.output
    assert told["ok"] is False
    assert {need["state"] for need in told["needs"]} == {"absent", "lacks", "unclear"}


def in_a_process(path):
    output = ("--output", str(path), "--denied", "sql_warehouse=w-hidden")
    return [sys.executable, "-m", "obo_kit", "verify", *NARROW, *output]


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_answered_and_the_next_run_goes_on(tmp_path, sent, recorded):
    path = tmp_path / "recording.json"
    with verifying.workspace(latency=0.01) as workspace:
        with subprocess.Popen(
            [*in_a_process(path), "--rate", "40"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            deadline = time.monotonic() + 40
            while len(workspace.log) < 30 and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(sent)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "Interrupted" in errors
        assert "Traceback" not in errors
        partial = load(path)
        assert not partial.complete
        assert len(partial.answers) >= 20
        workspace.log.clear()
        workspace.latency = 0
        run(*RATE, *NARROW, "--output", str(path), "--resume", "--denied", "sql_warehouse=w-hidden")
        again = len(workspace.log)
    whole = load(path)
    assert whole.complete
    assert whole.answers == load(recorded[0]).answers
    assert again < recorded[3] - 15


@pytest.mark.long
def test_a_run_that_is_killed_leaves_a_whole_recording_and_the_next_run_goes_on(tmp_path, recorded):
    """Nobody can clean up after SIGKILL: at every moment, the file is whole or is not there."""
    path = tmp_path / "recording.json"
    sizes = set()
    with verifying.workspace(latency=0.01) as workspace:
        command = [*in_a_process(path), "--rate", "25"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while len(sizes) < 3 and time.monotonic() < deadline:
                if path.exists():
                    sizes.add(len(load(path).answers))
                time.sleep(0.002)
            process.kill()
            _, errors = process.communicate(timeout=60)
        assert process.returncode != 0
        assert b"Traceback" not in errors
        partial = load(path)
        assert not partial.complete
        assert len(partial.answers) >= 20
        workspace.log.clear()
        workspace.latency = 0
        run(*RATE, *NARROW, "--output", str(path), "--resume", "--denied", "sql_warehouse=w-hidden")
        again = len(workspace.log)
    assert load(path).complete
    assert load(path).answers == load(recorded[0]).answers
    assert again < recorded[3] - 15


def test_without_the_local_workspace_the_scopes_are_compared_all_the_same(recorded, monkeypatch):
    monkeypatch.setattr("obo_kit.cli._verify.kit_words", lambda: None)
    result = run("--recording", str(recorded[0]), "--json")
    claims = {claim["claim"]: claim for claim in json.loads(result.stdout)["claims"]}
    assert claims["route:GET /api/2.0/serving-endpoints"]["status"] == "agrees"
    assert "obo-kit[testing]" in claims["refusal:warehouse_missing"]["why"]
