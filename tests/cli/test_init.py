"""``obo-kit init``: what it writes, and what it leaves alone. The files run in test_playground.py and tests/wheel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from obo_kit.analysis.check import _runner
from obo_kit.cli import main

STARTER = Path(__file__).parents[2] / "examples" / "starter"


def run(*arguments):
    return CliRunner().invoke(main, ["init", *map(str, arguments)])


@pytest.mark.parametrize("target", ["model-serving", "apps"])
def test_an_agent_its_workspace_and_its_test_are_written(tmp_path, target):
    folder = tmp_path / "deep" / "agent"
    done = run(folder, "--for", target)
    assert done.exit_code == 0, done.output
    names = {path.name for path in folder.iterdir()}
    assert {"agent.py", "workspace.yaml", "test_agent.py", "conftest.py", "pytest.ini"} <= names
    assert names == {path.name for path in (STARTER / target).iterdir() if path.is_file()}
    for command in (f"cd {folder}", "pytest", "obo-kit playground agent.py", "obo-kit policy agent.py"):
        assert f"  {command}" in done.stdout


@pytest.mark.parametrize("target", ["model-serving", "apps"])
def test_what_is_written_breaks_no_rule(target):
    report = _runner.check([STARTER / target / "agent.py", STARTER / target / "test_agent.py"])
    assert (report.findings, report.unreadable) == ((), ())


def test_json_names_the_files(tmp_path):
    written = json.loads(run(tmp_path / "x", "--json").stdout)
    assert written["target"] == "model-serving"
    assert all(Path(name).is_file() for name in written["files"])


def test_this_folder_is_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run()
    assert (done.exit_code, "cd " in done.stdout) == (0, False)
    assert (tmp_path / "agent.py").is_file()


def test_no_file_is_overwritten(tmp_path):
    (tmp_path / "agent.py").write_text("mine")
    done = run(tmp_path)
    assert (done.exit_code, "agent.py already exists. Fix: choose another folder" in done.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["agent.py"]
    assert (tmp_path / "agent.py").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file" / "inside")
    assert (done.exit_code, "cannot be written to" in done.stderr) == (1, True)
