"""The command line, as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from obo_kit.cli import main

AGENT = """
import mlflow
from mlflow.models.resources import DatabricksGenieSpace, DatabricksServingEndpoint
from obo_kit import requires_scopes, system_resources

system_resources(DatabricksServingEndpoint("llm"))

@requires_scopes(DatabricksGenieSpace("01f0"))
def ask(client): ...

mlflow.models.set_model(lambda model_input: model_input)
"""


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def agent(tmp_path: Path) -> str:
    path = tmp_path / "agent.py"
    path.write_text(AGENT)
    return str(path)


def test_policy_prints_the_mlflow_policy_of_an_agent_file(agent):
    result = run("policy", agent)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)
    assert printed["user_auth_policy"] == {"api_scopes": ["genie"]}
    assert printed["system_auth_policy"]["resources"]["databricks"] == {"serving_endpoint": [{"name": "llm"}]}


def test_policy_for_apps_prints_what_a_bundle_takes(agent):
    printed = json.loads(run("policy", agent, "--target", "apps").output)
    assert printed["user_api_scopes"] == ["genie"]
    assert printed["resources"][0]["serving_endpoint"] == {"name": "llm", "permission": "CAN_QUERY"}


def test_policy_of_an_agent_that_cannot_be_loaded_says_why_and_fails(tmp_path):
    path = tmp_path / "agent.py"
    path.write_text("raise RuntimeError('no model today')")
    result = run("policy", str(path))
    assert result.exit_code == 1
    assert "no model today" in result.output
    assert "To mend it" in result.output


def test_scopes_says_what_a_resource_needs_and_what_must_be_granted():
    printed = run("scopes", "genie space").output
    assert "model-serving  genie" in printed
    assert "CAN RUN" in printed


def test_scopes_without_a_term_lists_the_whole_catalogue():
    from obo_kit.scopes import KINDS, SCOPES

    printed = run("scopes").output
    assert all(name in printed for name in SCOPES)
    assert all(kind.title in printed for kind in KINDS.values())


def test_a_scope_that_no_target_takes_is_said_to_be_so():
    assert "no target takes it" in run("scopes", "clusters").output


def test_an_unknown_term_fails_with_a_hint():
    result = run("scopes", "qqqq")
    assert result.exit_code == 1
    assert "shorter word" in result.output
