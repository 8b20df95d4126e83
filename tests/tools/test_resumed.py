"""A tool that LangGraph interrupts in one user's request, and that another user resumes."""

from __future__ import annotations

import logging

import pytest
from support import as_user, callers, me

from obo_kit import IdentityMismatchError, with_user_client

pytestmark = pytest.mark.usefixtures("no_traces")
FIRST = {"messages": []}


@with_user_client
def pay(client, amount: int) -> str:
    """Pay an amount."""
    from langgraph.types import interrupt

    return f"{interrupt('sure?')}: {me(client)} paid {amount}"


@pytest.fixture(scope="module")
def agent():
    """An agent that pays, once a person says so; and what says so."""
    pytest.importorskip("langgraph", reason="langgraph comes with the extra langchain")
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode
    from langgraph.types import Command

    graph = StateGraph(MessagesState)
    call = {"id": "1", "name": "pay", "args": {"amount": 3}}
    graph.add_node("model", lambda state: {"messages": [AIMessage("", tool_calls=[call])]})
    graph.add_node("tools", ToolNode([tool(pay)], handle_tool_errors=False))
    graph.add_edge(START, "model").add_edge("model", "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())

    def ask(thread, message):
        return compiled.invoke(message, {"configurable": {"thread_id": thread}})["messages"][-1].content

    return ask, Command(resume="yes")


def asked(workspace, agent, thread, *names):
    """What each user's request in a thread answers: the first begins, the others resume."""
    ask, go_on = agent
    answers = []
    for name in names:
        with as_user(workspace, name):
            answers.append(ask(thread, go_on if answers else FIRST))
    return answers


def test_whoever_began_resumes_it_in_silence(workspace, agent, caplog, monkeypatch):
    monkeypatch.setenv("OBO_KIT_RESUME", "refuse")
    assert asked(workspace, agent, "own", "alice", "alice") == ["", "yes: alice paid 3"]
    assert [record for record in caplog.records if record.name.startswith("obo_kit")] == []


def test_another_user_resumes_it_as_themselves_and_it_is_said_whose_it_was(workspace, agent, caplog):
    assert asked(workspace, agent, "said", "alice", "bob") == ["", "yes: bob paid 3"]
    (said,) = [record for record in caplog.records if record.name == "obo_kit.tools._resumed"]
    assert said.levelno == logging.WARNING
    assert (
        "interrupted in a request of alice@example.com, and is resumed in one of bob@example.com" in said.getMessage()
    )


def test_another_user_is_refused_where_that_is_set_and_the_first_may_go_on(workspace, agent, monkeypatch):
    monkeypatch.setenv("OBO_KIT_RESUME", "refuse")
    with pytest.raises(IdentityMismatchError, match="so it was not run"):
        asked(workspace, agent, "refused", "alice", "bob")
    assert set(callers(workspace)) <= {"alice"}
    ask, go_on = agent
    with as_user(workspace, "alice"):
        assert ask("refused", go_on) == "yes: alice paid 3"


def test_what_is_kept_is_bounded_and_acts_for_nobody(workspace, agent, monkeypatch):
    from obo_kit.tools import _resumed

    monkeypatch.setattr(_resumed, "_MOST", 2)
    for thread in ("a", "b", "c"):
        asked(workspace, agent, thread, "alice")
    assert len(_resumed.INTERRUPTED) == 2
    assert all(identity.released for identity in _resumed.INTERRUPTED.values())
