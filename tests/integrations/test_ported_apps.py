"""Agents for Databricks Apps that were ported to the kit (examples/ported): each served by its own server, and asked by three
users, streaming and not. What counts is what the server saw, with tokens of the scopes that were collected."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ported import (
    CONTRACTS,
    QUESTION,
    REVENUE,
    SALARIES,
    SALES,
    STAFF,
    USERS,
    by_hand,
    collected,
    load,
    running_workspace,
    what_it_saw,
)

from obo_kit.testing import AppRuntime, LocalWorkspace

for package in ("databricks_openai", "databricks_langchain", "databricks_mcp"):
    pytest.importorskip(package, reason=f"{package} is an extra")
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore", "error:a user's session:ResourceWarning"),  # the frameworks' own are theirs
    pytest.mark.usefixtures("no_traces"),
]

CHAT, SQL, ME, AGENTS = "/chat/completions", "/sql/statements", "/scim/v2/Me", "/serving-endpoints/responses"
NO = "do not have access"
ALLOWED, REFUSED = {"allowed"}, {"missing grant"}
# Agent: user: what the answer holds, and what the server saw the user use, with the decisions.
EXPECTED: dict[str, dict[str, tuple[set[str], dict[str, set[str]]]]] = {
    "openai_agents_app": {
        "alice": ({"alice@", REVENUE, SALARIES}, {ME: ALLOWED, SALES: ALLOWED, STAFF: ALLOWED}),
        "bob": ({"bob@", REVENUE}, {ME: ALLOWED, SALES: ALLOWED, STAFF: REFUSED}),
        "carol": ({"carol@"}, {ME: ALLOWED, SALES: REFUSED, STAFF: REFUSED}),
    },
    "langgraph_mcp_app": {
        "alice": ({REVENUE, "contract ends"}, {SALES: ALLOWED, "legal/contracts": ALLOWED}),
        "bob": ({REVENUE}, {SALES: ALLOWED, "legal/contracts": REFUSED}),
        "carol": ({"You said:"}, {SALES: REFUSED, "legal/contracts": REFUSED}),
    },
    "document_app": {
        "alice": ({"You said:", "contract ends"}, {CHAT: ALLOWED, CONTRACTS: ALLOWED}),
        "bob": ({"You said:", NO}, {CHAT: ALLOWED, CONTRACTS: REFUSED}),
        "carol": ({NO}, {CHAT: REFUSED, CONTRACTS: REFUSED}),
    },
    "orchestrator_app": {
        "alice": ({"refund form", "Clause 7"}, {AGENTS: ALLOWED}),
        "bob": ({"refund form", NO}, {AGENTS: ALLOWED | REFUSED}),
        "carol": ({NO}, {AGENTS: REFUSED}),
    },
    "mcp_server_app": {
        "alice": ({"alice@", REVENUE}, {ME: ALLOWED, SQL: ALLOWED}),
        "bob": ({"bob@", NO}, {ME: ALLOWED, SQL: REFUSED}),
        "carol": ({"carol@", NO}, {ME: ALLOWED, SQL: REFUSED}),
    },
}
TEXTS = {text for users in EXPECTED.values() for says, _ in users.values() for text in says}
STREAMING = set(EXPECTED) - {"mcp_server_app"}  # what an MCP server answers is a stream of events in any case


@pytest.fixture(scope="module")
def shared():
    with running_workspace() as workspace:
        yield workspace


@pytest.fixture
def app(shared: LocalWorkspace) -> Iterator[AppRuntime]:
    with shared.as_app(service_principal="app") as runtime:
        yield runtime
    # What the agents leave open is closed here, where their warnings are expected.
    for name in [name for name in sys.modules if name.startswith("ported_")]:
        del sys.modules[name]
    if kept := sys.modules.get("agents.models._openai_shared"):
        kept._default_openai_client = None
    gc.collect()


Ask = Callable[[dict[str, str], bool], str]


@contextlib.contextmanager
def served(name: str, form: str) -> Iterator[tuple[Any, Ask]]:
    """The example's module, and a way to ask its server with a request's headers."""
    from fastapi.testclient import TestClient

    module = load(name, form)
    with TestClient(module.app, base_url="http://127.0.0.1:8000") as client:

        def ask(headers: dict[str, str], stream: bool) -> str:
            if name == "mcp_server_app":
                return "".join(call_tool(tool, headers) for tool in ("whoami", "revenue"))
            body = {"input": [{"role": "user", "content": QUESTION}], "stream": stream}
            if name == "document_app":
                body = {"document": "A contract.", "questions": [QUESTION], "stream": stream}
            return client.post("/invocations", json=body, headers=headers).text

        def call_tool(tool: str, headers: dict[str, str]) -> str:
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
            return client.post(
                "/mcp", json=call, headers={**headers, "Accept": "application/json, text/event-stream"}
            ).text

        yield module, ask


def check(workspace: LocalWorkspace, name: str, user: str, answer: str) -> None:
    says, used = EXPECTED[name][user]
    assert {text for text in TEXTS if text in answer} == says
    assert what_it_saw(workspace, user, used) == used
    assert {record.user for record in workspace.log} <= {user, "app", None}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_ported_agent_is_served_and_asked_by_three_users(shared, app, name):
    """Rules 4, 15 and 22."""
    with served(name, "agent") as (module, ask):
        assert collected(module) == by_hand(name)
        scopes = by_hand(name)["app_config"]["user_api_scopes"]
        for user in USERS:
            for stream in (False, True) if name in STREAMING else (False,):
                shared.log.clear()
                check(shared, name, user, ask(app.headers(user, scopes=scopes), stream))
        shared.log.clear()
        ask({"X-Forwarded-Email": "alice@example.com"}, False)
        assert {record.user for record in shared.log} <= {"app", None}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_agent_by_the_templates_recipe_gave_alice_the_same(shared, app, name):
    with served(name, "before") as (_, ask):
        shared.log.clear()
        check(shared, name, "alice", ask(app.headers("alice", scopes=["all-apis", "ai-search"]), False))
