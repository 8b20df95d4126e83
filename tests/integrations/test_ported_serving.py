"""Agents for Model Serving that were ported to the kit (examples/ported): logged with MLflow, served, and asked by three
users at once, streaming and not. What counts is what the server saw."""

from __future__ import annotations

import json
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ported import (
    CONTRACTS,
    FAQ,
    PORTED,
    QUESTION,
    REVENUE,
    SALARIES,
    SALES,
    STAFF,
    USERS,
    by_hand,
    collected,
    furnish,
    load,
    source,
    what_it_saw,
)

import obo_kit
from obo_kit.testing import LocalWorkspace

for package in ("databricks_openai", "databricks_langchain"):
    pytest.importorskip(package, reason=f"{package} is an extra")
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]  # the frameworks' own

CHAT, SQL = "/chat/completions", "/sql/statements"
FOUND, CLAUSE = "Refunds are paid", "The contract ends"
# Agent: user: what the answer holds, and what the server saw the user use, with the decisions.
EXPECTED: dict[str, dict[str, tuple[set[str], dict[str, set[str]]]]] = {
    "whoami_serving": {
        "alice": ({"alice@example.com"}, {CHAT: {"allowed"}, SQL: {"allowed"}}),
        "bob": ({"Who you are is not available to you."}, {CHAT: {"allowed"}, SQL: {"missing grant"}}),
        "carol": ({"You may not use the model."}, {CHAT: {"missing grant"}}),
    },
    "retrieval_graph": {
        "alice": ({FOUND, CLAUSE}, {FAQ: {"allowed"}, CONTRACTS: {"allowed"}}),
        "bob": ({FOUND}, {FAQ: {"allowed"}, CONTRACTS: {"missing grant"}}),
        "carol": ({"You said:"}, {FAQ: {"missing grant"}, CONTRACTS: {"missing grant"}}),
    },
    "genie_chat_agent": {
        "alice": ({REVENUE, SALARIES}, {SALES: {"allowed"}, STAFF: {"allowed"}}),
        "bob": ({REVENUE, "does not exist, or you do not have access"}, {SALES: {"allowed"}, STAFF: {"missing grant"}}),
        "carol": ({"does not exist, or you do not"}, {SALES: {"missing grant"}, STAFF: {"missing grant"}}),
    },
}
DATA = {"alice@example.com", FOUND, CLAUSE, REVENUE, SALARIES}


SUPPORT_AGENT = {
    "auth_policy": {
        "system_auth_policy": {
            "resources": {"api_version": "1", "databricks": {"serving_endpoint": [{"name": "support-llm"}]}}
        },
        "user_auth_policy": {"api_scopes": ["genie", "model-serving", "sql", "vector-search"]},
    },
    "app_config": {
        "user_api_scopes": ["genie", "model-serving", "sql", "vector-search"],
        "resources": [
            {
                "name": "serving-endpoint-support-llm",
                "serving_endpoint": {"name": "support-llm", "permission": "CAN_QUERY"},
            }
        ],
    },
}


@pytest.fixture(scope="module")
def shared(empty_store):
    # Not without traces: with MLflow's tracing switched off, its `log_model` waits for a lock that it holds (3.17).
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
        import mlflow.store.tracking.sqlalchemy_store
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(empty_store)
    with LocalWorkspace() as workspace:
        furnish(workspace)
        yield workspace
    mlflow.set_tracking_uri(before)


@pytest.fixture
def workspace(shared):
    shared.log.clear()
    return shared


def asked(name: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTION}]
    return {"messages": messages} if name == "genie_chat_agent" else {"input": messages}


def log(workspace: LocalWorkspace, name: str, module: Any, folder: Any) -> str:
    """Logged from a notebook, as its author would. `obo_kit.log_model` does the same, and collects in a fresh process, which
    takes seconds: see test_ported_policies.py."""
    import mlflow

    experiment = mlflow.create_experiment(name, artifact_location=folder.as_uri())
    with workspace.as_notebook("alice"), mlflow.start_run(experiment_id=experiment):
        return mlflow.pyfunc.log_model(
            name="agent",
            python_model=str(source(name)),
            pip_requirements=[],
            auth_policy=obo_kit.auth_policy(module),
        ).model_uri


@pytest.mark.parametrize("name", EXPECTED)
def test_a_ported_agent_is_logged_served_and_asked_by_three_users_at_once(workspace, name, tmp_path):
    """Rules 4, 15 and 22: each is answered with their own, the denied with a reason, within the policy that was collected."""
    module = load(name)
    assert collected(module) == by_hand(name)
    model_uri = log(workspace, name, module, tmp_path)
    with workspace.deploy(model_uri, endpoint=name) as agent:
        assert agent.auth_policy["user_auth_policy"] == by_hand(name)["auth_policy"]["user_auth_policy"]
        for user in USERS:
            workspace.grant(user, "CAN QUERY", name)
        tokens = [workspace.token(user, scopes=["model-serving"]) for user in USERS]
        for ask in (agent.invoke, lambda *request: list(agent.stream(*request))):
            workspace.log.clear()
            with ThreadPoolExecutor(len(USERS)) as pool:
                answers = list(pool.map(lambda token, ask=ask: json.dumps(ask(token, asked(name))), tokens))
            for user, answer in zip(USERS, answers, strict=True):
                says, used = EXPECTED[name][user]
                assert {text for text in says | DATA if text in answer} == says
                assert what_it_saw(workspace, user, used) == used
            assert {record.user for record in workspace.log} <= {*USERS, name, None}


def test_mlflow_traces_after_a_runtime_as_it_did_before(workspace):
    """In Model Serving the first span switches its tracing off; `log_model` of MLflow 3.17 hangs in a process left so."""
    import mlflow
    from mlflow.tracing.provider import is_tracing_enabled

    for switch, traces in ((mlflow.tracing.disable, False), (mlflow.tracing.reset, True)):
        switch()
        with workspace.as_model_serving(), mlflow.start_span("one"):
            assert not is_tracing_enabled()
        assert is_tracing_enabled() is traces


@pytest.mark.parametrize("name", EXPECTED)
def test_the_agent_by_the_documented_recipe_gave_alice_the_same(workspace, name):
    before = load(name, "before").Agent()
    with workspace.as_model_serving(service_principal=f"{name}-before") as serving:
        workspace.grant(f"{name}-before", "CAN QUERY", "chat-model")
        for ask in (before.predict, lambda request: list(before.predict_stream(request))):
            workspace.log.clear()
            with serving.user("alice"):
                answer = str(ask(_as_typed(name)))
            says, used = EXPECTED[name]["alice"]
            assert {text for text in DATA if text in answer} == says
            assert what_it_saw(workspace, "alice", used) == used


def _as_typed(name: str) -> Any:
    from mlflow.types.agent import ChatAgentMessage
    from mlflow.types.responses import ResponsesAgentRequest

    if name == "genie_chat_agent":
        return [ChatAgentMessage(role="user", content=QUESTION)]
    return ResponsesAgentRequest(**asked(name))


def test_the_policy_of_the_support_agent_is_the_one_written_by_hand(monkeypatch):
    """Rules 21 and 22. That agent runs as three users in `make demo`."""
    monkeypatch.setattr(sys, "path", [str(PORTED.parent / "support_agent"), *sys.path])
    import agent

    try:
        assert collected(agent) == SUPPORT_AGENT
    finally:
        for module in ("agent", "tools"):
            del sys.modules[module]
