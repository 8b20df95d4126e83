"""Answers that a framework keeps above a tool, with the user in their key. Rule 4."""

from __future__ import annotations

from typing import TypedDict

import pytest
from databricks.sdk import WorkspaceClient
from support import SPACE, calls, extra

from obo_kit import current_session, user_session, user_tool

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the framework's own
    pytest.mark.usefixtures("no_traces"),
]


@user_tool("genie", fallback="no")
def title(client: WorkspaceClient) -> str:
    return client.genie.get_space(SPACE).title or ""


class State(TypedDict):
    question: str
    answer: str


def test_a_langgraph_cache_with_the_user_in_its_key_gives_nobody_another_s_answer(workspace):
    """As docs/frameworks.md says: alice's own answer is kept for her, and carol is refused."""
    graph_of = extra("langgraph.graph", "StateGraph")
    from langgraph.cache.memory import InMemoryCache
    from langgraph.types import CachePolicy

    policy = CachePolicy(key_func=lambda state: f"{current_session().cache_key}:{state}")
    builder = graph_of(State)
    builder.add_node("ask", lambda state: {"answer": title()}, cache_policy=policy)
    builder.set_entry_point("ask")
    graph = builder.compile(cache=InMemoryCache())
    tokens = {user: workspace.token(user) for user in ("alice", "bob", "carol")}  # nobody vouches for a name here
    for user, answer in (("alice", SPACE), ("alice", SPACE), ("carol", "no"), ("bob", SPACE)):
        with user_session(host=workspace.host, token=tokens[user]):
            assert graph.invoke({"question": "x", "answer": ""})["answer"] == answer
    assert [record.user for record in calls(workspace)] == ["alice", "carol", "bob"]
