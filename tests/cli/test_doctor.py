"""``obo-kit doctor``: what it finds wrong with a machine, a deployment and a file, and that it keeps secrets."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import without_identity

import obo_kit
from obo_kit.cli import _examination, main
from obo_kit.testing import LocalWorkspace

STARTER = Path(__file__).parents[2] / "examples" / "starter"


def examined(*arguments):
    done = CliRunner().invoke(main, ["doctor", *map(str, arguments), "--json"])
    report = json.loads(done.stdout)
    assert done.exit_code == (0 if report["ok"] else 1)
    return report


def problems(findings):
    return [finding for finding in findings if finding["level"] == "problem"]


@pytest.fixture(scope="module")
def apps():
    """The starter for Apps, examined once: collecting a file takes a process."""
    with pytest.MonkeyPatch.context() as patch:
        without_identity(patch)
        return examined(STARTER / "apps" / "agent.py")


# ---------------------------------------------------------------------------------------------- the machine


def test_the_environment_of_the_suite_is_healthy():
    report = examined()
    assert report["ok"], report
    assert set(report) == {"ok", "machine", "deployment"}
    assert any(obo_kit.__version__ in finding["what"] for finding in report["machine"])


def test_a_package_that_is_missing_or_too_old_is_a_problem_where_the_kit_needs_it(monkeypatch):
    versions = {"click": None, "mlflow": "3.1.0", "duckdb": None, "pytest": "1.0", "databricks-mcp": "0.1"}
    real = importlib.metadata.version

    def version(name):
        if name not in versions:
            return real(name)
        if versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(_examination.importlib.metadata, "version", version)
    report = examined()
    wrong = {finding["what"]: finding["fix"] for finding in problems(report["machine"])}
    assert wrong == {
        "The kit lacks click.": 'pip install "obo-kit"',
        "obo-kit is installed with mlflow 3.1.0, but needs >=3.10.1.": 'pip install "obo-kit"',
        "obo-kit[mcp] is installed with databricks-mcp 0.1, but needs >=0.5.": 'pip install "obo-kit[mcp]"',
    }
    said = "obo-kit[testing] is not installed; it would bring duckdb, and replace pytest 1.0."
    assert said in {finding["what"] for finding in report["machine"]}


@pytest.mark.parametrize(
    ("name", "value", "level"),
    [
        ("OBO_KIT_SCOPE_GAURD", "raise", "problem"),
        ("OBO_KIT_SCOPE_GUARD", "always", "problem"),
        ("OBO_KIT_SCOPE_GUARD", "off", "note"),
        ("OBO_KIT_DEVELOPER", "machine", "note"),
        ("OBO_KIT_SCOPE_GUARD", "raise", "ok"),
    ],
)
def test_the_kit_s_variables_are_known_and_their_values_judged(monkeypatch, name, value, level):
    monkeypatch.setenv(name, value)
    (finding,) = (one for one in _examination._variables() if one.what.startswith(name))
    assert finding.level == level
    assert bool(finding.fix) is (level != "ok")


def test_all_the_kit_s_variables_are_known():
    source = "\n".join(path.read_text("utf-8") for path in Path(obo_kit.__file__).parent.rglob("*.py"))
    assert set(re.findall(r"\bOBO_KIT_[A-Z_]+\b", source)) == set(_examination._VARIABLES)


def test_where_credentials_come_from_is_named_and_their_values_are_not(monkeypatch, tmp_path):
    """Rule 8."""
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-secret")
    config = tmp_path / "databrickscfg"
    config.write_text("[DEFAULT]\ntoken = dapi-other\n")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(config))
    printed = CliRunner().invoke(main, ["doctor"]).output
    assert "DATABRICKS_TOKEN" in printed
    assert "dapi" not in printed


def test_another_python_is_noted(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert _examination._python().level == "note"


# ---------------------------------------------------------------------------------------------- the deployment


def test_a_deployment_without_a_user_is_a_problem():
    workspace = pytest.importorskip("duckdb") and LocalWorkspace.from_config({"users": ["alice"]})
    with workspace, workspace.as_model_serving():
        (finding,) = _examination.deployment(None, None)
        assert finding.what == "This runs in Model Serving; outside a request."
    with workspace_with_app() as runtime, runtime.user("alice"):
        (finding,) = _examination.deployment(None, None)
        assert finding.what == "This runs in Databricks Apps; there is a user."


def workspace_with_app():
    import contextlib

    @contextlib.contextmanager
    def opened():
        with LocalWorkspace.from_config({"users": ["alice"]}) as workspace, workspace.as_app() as runtime:
            yield runtime

    return opened()


def test_a_bundle_that_has_drifted_is_a_problem(tmp_path):
    pytest.importorskip("ruamel.yaml", reason="comes with the extra bundle")
    agent = tmp_path / "agent.py"
    agent.write_text("")
    config = {"user_api_scopes": ["sql"], "resources": []}
    assert list(_examination._bundle(str(agent), config)) == []
    bundle = tmp_path / "databricks.yml"
    for text, level in (
        ("resources: {apps: {a: {user_api_scopes: [sql]}}}\n", "ok"),
        ("resources: {apps: {a: {user_api_scopes: [genie]}}}\n", "problem"),
        ("resources: {}\n", "problem"),
    ):
        bundle.write_text(text)
        (finding,) = _examination._bundle(str(agent), config)
        assert finding.level == level
        assert bool(finding.fix) is (level == "problem")


# ---------------------------------------------------------------------------------------------- the file


@pytest.mark.long
def test_a_file_s_target_scopes_and_bundle_are_said(apps):
    assert apps["ok"], apps
    said = " ".join(finding["what"] for finding in apps["file"])
    assert "is for apps, as it uses @invoke of MLflow's agent server" in said
    assert "Its app needs as the user: sql; as the agent itself: nothing." in said
    assert "obo-kit check finds nothing." in said
    assert any("holds what the agent declares" in finding["what"] for finding in apps["deployment"])


@pytest.mark.long
def test_what_would_be_refused_and_what_the_check_finds_are_problems(tmp_path, monkeypatch):
    agent = tmp_path / "agent.py"
    agent.write_text(
        "import obo_kit\n"
        "from databricks.sdk import WorkspaceClient\n"
        "@obo_kit.requires_scopes('files')\n"
        "@obo_kit.with_user_client\n"
        "def read(client: WorkspaceClient):\n"
        "    try: return client.genie.list_spaces()\n"
        "    except Exception: return 'not available'\n"
    )
    report = examined(agent, "--target", "model-serving")
    said = [finding["what"] for finding in problems(report["file"])]
    assert any("The tool 'read' cannot be deployed" in text or "sets no model" in text for text in said)
    assert any(re.search(r"agent\.py:\d: OBO\d+ ", text) for text in said)


def test_a_file_that_is_not_there_is_a_problem():
    report = examined("nowhere.py")
    assert "There is no agent file 'nowhere.py'" in problems(report["file"])[0]["what"]
    assert [finding["level"] for finding in report["deployment"]] == ["note"]


def test_for_people_it_fits_80_columns(tmp_path):
    done = CliRunner().invoke(main, ["doctor", "nowhere.py"])
    assert done.exit_code == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.endswith("Something is wrong; see 'problem' above.\n")
    for heading in ("This machine", "This deployment", "This file"):
        assert f"{heading}\n" in done.stdout
