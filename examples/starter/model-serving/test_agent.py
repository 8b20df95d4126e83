"""The agent as alice, who may see the orders, and as bob, who may not: `pytest`."""

import pytest
from agent import Agent, count_orders
from mlflow.types.responses import ResponsesAgentRequest

REQUEST = ResponsesAgentRequest(input=[{"role": "user", "content": "How many orders are there?"}])


def test_alice_is_answered(as_user):
    with as_user("alice", scopes=["sql"]):
        assert count_orders() == "There are 2 orders."


def test_bob_is_told_that_orders_are_not_his_to_see(as_user, local_workspace):
    with as_user("bob", scopes=["sql"]) as session:
        assert count_orders() == "Order data is not available to you."
        assert [denial.reason.value for denial in session.denials] == ["access_denied"]
    assert {record.user for record in local_workspace.log.filter(tool="count_orders")} == {"bob"}


def test_everybody_gets_an_answer(as_user, obo_user):  # runs once per user of workspace.yaml
    with as_user(obo_user, scopes=["sql"]):
        answer = Agent().predict(REQUEST)
    assert "rder" in answer.output[0].content[0]["text"]


@pytest.mark.obo_users("alice")
def test_a_scope_that_was_forgotten(as_user, obo_user):
    with as_user(obo_user, scopes=["genie"]) as session:
        count_orders()
    assert [denial.reason.value for denial in session.denials] == ["missing_scope"]
