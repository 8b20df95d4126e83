"""Would this agent work for whoever is logged in? Each resource that it declares is asked for, and nothing else."""

from __future__ import annotations

import os

import pytest
import verifying
from verifying import HIDDEN, OWN, write_agent

from obo_kit.analysis.verify._agent import verify_agent
from obo_kit.analysis.verify._login import sign_in
from obo_kit.exceptions import PolicyError

pytestmark = pytest.mark.long


def states(report):
    return {(need.tool, need.resource.rpartition(" ")[2]): need.state for need in report.needs}


def test_an_agent_whose_user_may_use_everything_would_work(tmp_path):
    with verifying.workspace() as workspace:
        report = verify_agent(write_agent(tmp_path, OWN), sign_in, rate=1000)
        log = workspace.log.entries
    assert states(report) == {
        ("ask_sales", "01own"): "ready",
        ("ask_sales", "w-own"): "ready",
        ("search", "main.docs.index"): "ready",
        ("search", "llm-own"): "ready",
        ("crm", "crm-own"): "ready",
        ("(the agent)", "llm-own"): "ready",
    }
    assert report.ok
    assert report.target == "model-serving"
    assert report.asked_as == "user"
    assert {scope.state for scope in report.scopes} == {"granted"}
    assert (report.obo, report.obo_why) == ("on", "The workspace's setting agents_obo is on.")
    assert {record.method for record in log} == {"GET"}
    assert len(log) <= 12  # a second at 50 ms, beside the collection of the file


def test_what_the_user_lacks_is_named_with_who_can_mend_it(tmp_path):
    with verifying.workspace():
        report = verify_agent(write_agent(tmp_path, HIDDEN), sign_in, rate=1000)
    told = states(report)
    assert told == {
        ("ask_sales", "01hidden"): "absent",  # the platform hides what one may not see
        ("ask_sales", "w-hidden"): "lacks",
        ("search", "finance.pay.index"): "lacks",
        ("search", "llm-gone"): "absent",
        ("crm", "crm-hidden"): "lacks",
        ("(the agent)", "llm-hidden"): "unclear",  # not the user's to be granted
    }
    assert not report.ok
    remedies = {need.resource.rpartition(" ")[2]: need.remedy for need in report.needs}
    assert "CAN USE" in remedies["w-hidden"]
    assert "USE CONNECTION" in remedies["crm-hidden"]
    assert all(remedies.values())


def test_an_app_is_asked_whether_users_tokens_reach_it(tmp_path):
    apps = [{"name": "a", "user_api_scopes": ["sql"], "effective_user_api_scopes": []}]
    with verifying.workspace() as workspace:
        agent = write_agent(tmp_path, OWN)
        on = verify_agent(agent, sign_in, target="apps", rate=1000)
        workspace.add_fault(status=200, body={"apps": apps}, path_prefix="/api/2.0/apps", times=1)
        off = verify_agent(agent, sign_in, target="apps", rate=1000)
    assert (on.obo, on.ok) == ("on", True)
    assert (off.obo, off.ok) == ("off", False)


def test_a_token_that_lacks_a_scope_is_told_of(tmp_path):
    with verifying.workspace() as workspace:
        os.environ["DATABRICKS_TOKEN"] = workspace.token("alice", scopes=["genie", "sql", "iam.current-user:read"])
        report = verify_agent(write_agent(tmp_path, OWN), sign_in, rate=1000)
    missing = {scope.name for scope in report.scopes if scope.state == "missing"}
    assert "genie" not in missing
    assert missing
    assert not report.ok


def test_an_outage_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("obo_kit.analysis.verify._transport._wait", lambda _raw, _attempt: 0.01)
    with verifying.workspace() as workspace:
        workspace.add_fault(status=500, path_prefix="/api/2.0/sql/warehouses", times=None)
        report = verify_agent(write_agent(tmp_path, OWN), sign_in, rate=1000)
    assert states(report)["ask_sales", "w-own"] == "not_tried"


def test_privileges_that_are_not_shown_are_not_taken_for_granted(tmp_path):
    with verifying.workspace() as workspace:
        nothing = {"privilege_assignments": [{"principal": "users", "privileges": [{"privilege": "BROWSE"}]}]}
        workspace.add_fault(
            status=200, body=nothing, path_prefix="/api/2.1/unity-catalog/effective-permissions/connection", times=None
        )
        report = verify_agent(write_agent(tmp_path, OWN), sign_in, rate=1000)
    need = next(need for need in report.needs if need.tool == "crm")
    assert need.state == "unclear"
    assert "USE CONNECTION" in need.remedy
    assert report.ok


def test_a_file_that_cannot_be_collected_sends_nothing(tmp_path):
    path = tmp_path / "agent.py"
    path.write_text("raise RuntimeError('no')")
    with verifying.workspace() as workspace:
        with pytest.raises(PolicyError):
            verify_agent(str(path), sign_in)
        assert {record.path for record in workspace.log} <= {"/.well-known/databricks-config"}
