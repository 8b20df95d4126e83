"""Agents on serving endpoints that call the workspace back: the same user, with the scopes of each agent's own policy."""

from __future__ import annotations

import threading
import time

import openai
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, InvalidParameterValue, PermissionDenied
from support import client

from obo_kit import current_session, explain, optional_tool, requires_scopes, with_user_client
from obo_kit.testing import LocalWorkspace

HIDDEN = "Order data is not available to you."
HELLO = [{"role": "user", "content": "How many orders?"}]


@optional_tool(fallback=HIDDEN)
@requires_scopes("sql")
@with_user_client
def count_orders(client: WorkspaceClient) -> str:
    answer = client.statement_execution.execute_statement("SELECT count(*) FROM main.shop.orders", "wh1")
    if denial := explain(answer):
        raise denial.error()
    return f"There are {answer.result.data_array[0][0]} orders."


def ask(api: WorkspaceClient, endpoint: str) -> str:
    body = {"messages": HELLO}
    answer = api.api_client.do("POST", f"/serving-endpoints/{endpoint}/invocations", body=body)
    return answer["choices"][0]["message"]["content"]


@pytest.fixture
def workspace():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob"):
            workspace.add_user(user)
        workspace.add_warehouse("wh1")
        workspace.add_table("main.shop.orders", [{"id": 1}, {"id": 2}])
        workspace.grant("users", "CAN USE", "wh1")
        workspace.grant("alice", "SELECT", "main.shop.orders")
        workspace.add_endpoint("helper", lambda request: count_orders(), user_api_scopes=["sql"])
        workspace.grant("users", "CAN QUERY", "helper")
        yield workspace


def statements(workspace):
    return [
        (record.user, record.scopes_held, record.decision)
        for record in workspace.log.filter(path="/api/2.0/sql/statements")
    ]


def test_it_acts_as_whoever_asks_with_its_own_scopes(workspace):
    for user, text in (("alice", "There are 2 orders."), ("bob", HIDDEN)):
        assert ask(client(workspace, user, scopes=["model-serving"]), "helper") == text
    assert statements(workspace) == [
        ("alice", frozenset({"sql"}), "allowed"),
        ("bob", frozenset({"sql"}), "missing grant"),
    ]


def test_what_the_caller_may_is_not_the_agents(workspace):
    """The caller's token has every scope, and the agent's policy does not have the one that its tool needs."""
    workspace.add_endpoint("narrow", lambda request: count_orders(), user_api_scopes=["genie"])
    workspace.grant("users", "CAN QUERY", "narrow")
    assert ask(client(workspace, "alice"), "narrow") == HIDDEN

    @with_user_client
    def unguarded(client: WorkspaceClient) -> str:
        return str(client.statement_execution.execute_statement("SELECT 1", "wh1").status)

    workspace.add_endpoint("unguarded", lambda request: unguarded(), user_api_scopes=["genie"])
    workspace.grant("users", "CAN QUERY", "unguarded")
    with pytest.raises(BadRequest, match="required scopes: sql"):
        ask(client(workspace, "alice"), "unguarded")
    assert statements(workspace)[-1] == ("alice", frozenset({"genie"}), "missing scope")


def test_an_agent_calls_an_agent(workspace):
    @with_user_client
    def delegate(client: WorkspaceClient) -> str:
        return ask(client, "helper")

    workspace.add_endpoint("front", lambda request: delegate(), user_api_scopes=["model-serving"])
    workspace.grant("users", "CAN QUERY", "front")
    assert ask(client(workspace, "alice", scopes=["model-serving"]), "front") == "There are 2 orders."
    assert ask(client(workspace, "bob", scopes=["model-serving"]), "front") == HIDDEN
    called = [
        (record.user, record.path.split("/")[2], record.scopes_held)
        for record in workspace.log.filter(path="/serving-endpoints")
    ]
    serving = frozenset({"model-serving"})
    assert called == [(user, name, serving) for user in ("alice", "bob") for name in ("front", "helper")]
    assert {scopes for _, scopes, _ in statements(workspace)} == {frozenset({"sql"})}

    workspace.add_endpoint("lost", lambda request: delegate(), user_api_scopes=["sql"])
    workspace.grant("users", "CAN QUERY", "lost")
    with pytest.raises(BadRequest, match="required scopes: model-serving"):
        ask(client(workspace, "alice"), "lost")


def test_many_agents_call_agents_at_the_same_time(workspace):
    """More at once than there are threads of the workspace: none waits for a thread that waits for it."""
    from concurrent.futures import ThreadPoolExecutor

    api = {user: client(workspace, user, scopes=["model-serving"]) for user in ("alice", "bob")}
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda user: ask(api[user], "helper"), ["alice", "bob"] * 20))
    assert answers == ["There are 2 orders.", HIDDEN] * 20


def test_a_stream_is_the_callers_in_each_of_its_steps(workspace):
    def speak(request):
        yield current_session().identity.principal + " "
        yield count_orders()
        yield " " + threading.current_thread().name.partition("_")[0]

    workspace.add_endpoint("speaker", speak, user_api_scopes=["sql"])
    workspace.grant("users", "CAN QUERY", "speaker")
    for user, text in (("alice", "There are 2 orders."), ("bob", HIDDEN)):
        token = workspace.token(user, scopes=["model-serving"])
        api = openai.OpenAI(base_url=f"{workspace.host}/serving-endpoints", api_key=token)
        stream = api.chat.completions.create(model="speaker", messages=HELLO, stream=True)
        spoken = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert spoken == f"{user}@example.com {text} obo-kit-agent"


def test_the_token_ends_with_the_callers(workspace):
    seen = []

    def look(request):
        seen.append(current_session().identity.expires_at.timestamp())
        return "done"

    workspace.add_endpoint("look", look, user_api_scopes=["sql"])
    workspace.grant("users", "CAN QUERY", "look")
    api = WorkspaceClient(
        host=workspace.host, token=workspace.token("alice", scopes=["model-serving"], expires_in=120), auth_type="pat"
    )
    assert ask(api, "look") == "done"
    assert 100 < seen[0] - time.time() < 125


def test_the_endpoint_says_its_policy(workspace):
    api = client(workspace, "alice", scopes=["model-serving"])
    found = api.api_client.do("GET", "/api/2.0/serving-endpoints/helper")
    assert found["auth_policy"] == {"user_auth_policy": {"api_scopes": ["sql"]}}
    assert found["task"] == "agent/v1/chat"


def test_mistakes_of_the_author_are_said(workspace):
    with pytest.raises(ValueError, match="names in a list"):
        workspace.add_endpoint("x", lambda request: "", user_api_scopes="sql")
    with pytest.raises(InvalidParameterValue, match="Invalid scopes: files"):
        workspace.add_endpoint("x", lambda request: "", user_api_scopes=["files"])
    workspace.revoke("users", "CAN QUERY", "helper")
    with pytest.raises(PermissionDenied):
        ask(client(workspace, "alice"), "helper")
