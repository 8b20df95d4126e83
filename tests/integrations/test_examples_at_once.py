"""Every example for an app, asked by two users at once: each gets their own answer, and no event loop waits for a request.

The agents for Model Serving are asked at once in test_ported_serving.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
pytest.importorskip("fastapi", reason="MLflow's agent server")

import ported
from test_apps import APPS, HEAVY, no_analytics, streamlit

from obo_kit.testing import LocalWorkspace

__all__ = ["no_analytics"]  # a fixture

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore", "error:a user's session:ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.usefixtures("no_traces", "no_analytics"),
]

STARTER = Path(__file__).parents[2] / "examples" / "starter" / "apps"
USERS = ("alice", "bob")


@contextlib.contextmanager
def page(name: str) -> Iterator[Any]:
    """One of examples/apps, which tell each user who they are."""
    with LocalWorkspace() as workspace:
        for user in USERS:
            workspace.add_user(user)
        with workspace.as_app() as runtime, APPS[name]() as ask:

            def check(user: str, answer: str) -> None:
                assert [one for one in USERS if f"{one}@example.com" in answer] == [user]

            yield workspace, lambda user: ask(runtime.headers(user)), check


@contextlib.contextmanager
def starter(stream: bool) -> Iterator[Any]:
    """What `obo-kit init --for apps` writes."""
    from fastapi.testclient import TestClient
    from mlflow.genai.agent_server import server

    server._invoke_function = server._stream_function = None  # they may be declared once in a process
    spec = importlib.util.spec_from_file_location("starter_of_a_test", STARTER / "agent.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    body = {"input": [{"role": "user", "content": "?"}], "stream": stream}
    with LocalWorkspace.from_config(STARTER / "workspace.yaml") as workspace, workspace.as_app() as runtime:
        client = TestClient(module.app)

        def ask(user: str) -> str:
            return client.post("/invocations", json=body, headers=runtime.headers(user, scopes=["sql"])).text

        def check(user: str, answer: str) -> None:
            assert {"alice": "There are 2 orders.", "bob": "Order data is not available to you."}[user] in answer

        yield workspace, ask, check


@contextlib.contextmanager
def port(name: str) -> Iterator[Any]:
    """One of examples/ported that is an app."""
    from test_ported_apps import EXPECTED, TEXTS, served

    with ported.running_workspace() as workspace, workspace.as_app(service_principal="app") as runtime:
        scopes = ported.by_hand(name)["app_config"]["user_api_scopes"]
        with served(name, "agent") as (_, ask):

            def check(user: str, answer: str) -> None:
                says, used = EXPECTED[name][user]
                assert {text for text in TEXTS if text in answer} == says
                assert ported.what_it_saw(workspace, user, used) == used

            yield workspace, lambda user: ask(runtime.headers(user, scopes=scopes), False), check


@contextlib.contextmanager
def data_page() -> Iterator[Any]:
    """The one of examples/ported that is a page of Streamlit."""
    from test_ported_data_app import EXPECTED, SQL, TOTALS

    with ported.running_workspace() as workspace, workspace.as_app(service_principal="app") as runtime:
        workspace.grant("bob", "CAN USE", ported.WAREHOUSE)
        with streamlit(ported.source("data_app")) as ask:

            def check(user: str, answer: str) -> None:
                says, decisions = EXPECTED[user]
                assert {line for line in says | TOTALS if line in answer} == says
                assert ported.what_it_saw(workspace, user, {SQL}) == {SQL: decisions}

            yield workspace, lambda user: ask(runtime.headers(user, scopes=["sql"])), check


EXAMPLES: dict[str, Any] = {
    **{name: partial(page, name) for name in APPS},
    "starter": partial(starter, False),
    "starter, streaming": partial(starter, True),
    **{f"ported {path.parent.name}": partial(port, path.parent.name) for path in ported.PORTED.glob("*_app/agent.py")},
    "ported data_app": data_page,
}
_PAGES = {*HEAVY, "ported data_app"}
_A_LOOP_PER_REQUEST = {"Dash"}  # in the request's own thread, where nobody else is served


@contextlib.contextmanager
def blocking_reads() -> Iterator[list[str]]:
    """The reads from a socket that an event loop of this process waits for: meanwhile it serves nobody else."""
    reads: list[str] = []
    recv_into = socket.socket.recv_into

    def watched(one: socket.socket, *arguments: Any) -> int:
        if one.gettimeout() != 0 and asyncio._get_running_loop() is not None:
            reads.append("".join(traceback.format_stack(limit=25)))
        return recv_into(one, *arguments)

    with patch.object(socket.socket, "recv_into", watched):
        yield reads


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in _PAGES else pytest.mark.long) for name in EXAMPLES]
)
def test_two_users_at_once_get_their_own_and_no_event_loop_waits(name):
    with EXAMPLES[name]() as (workspace, ask, check):
        for user in USERS:  # what the first request of a process loads is no part of it
            check(user, ask(user))
        workspace.log.clear()
        workspace.latency = 0.2  # so that the two are served at the same time
        with blocking_reads() as reads, ThreadPoolExecutor(2) as pool:
            for user, answer in zip(USERS, pool.map(ask, USERS), strict=True):
                check(user, answer)
        assert {record.user for record in workspace.log.filter(kind="user")} == set(USERS)
        assert name in _A_LOOP_PER_REQUEST or not reads, reads[0]
