"""The app as alice, who may see the orders, and as bob, who may not: `pytest`."""

import pytest
from agent import app, count_orders
from fastapi.testclient import TestClient

REQUEST = {"input": [{"role": "user", "content": "How many orders are there?"}]}


@pytest.fixture
def obo_runtime():
    return "apps"


def test_alice_is_answered(as_user):
    with as_user("alice", scopes=["sql"]):
        assert count_orders() == "There are 2 orders."


def test_bob_is_told_that_orders_are_not_his_to_see(as_user, local_workspace):
    with as_user("bob", scopes=["sql"]) as session:
        assert count_orders() == "Order data is not available to you."
        assert [denial.reason.value for denial in session.denials] == ["access_denied"]
    assert {record.user for record in local_workspace.log.filter(tool="count_orders")} == {"bob"}


@pytest.mark.parametrize(("user", "answer"), [("alice", "2 orders"), ("bob", "not available to you")])
def test_the_app_answers_whoever_the_headers_name(local_workspace, user, answer):
    with local_workspace.as_app() as runtime:
        headers = runtime.headers(user, scopes=["sql"])
        body = TestClient(app).post("/invocations", json=REQUEST, headers=headers).json()
    assert answer in body["output"][0]["content"][0]["text"]
