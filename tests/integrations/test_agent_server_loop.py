"""The examples on MLflow's agent server, served as Apps serves them: a slow tool holds up its own user and nobody else."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from obo_kit.testing import LocalWorkspace

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
pytest.importorskip("fastapi", reason="MLflow's agent server")

from obo_kit.testing.server._uvicorn import Server

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 3.0


@pytest.fixture(params=["apps/agent_server.py", "starter/apps/agent.py"])
def example(request, no_traces):
    path = EXAMPLES / request.param
    spec = importlib.util.spec_from_file_location(path.stem + "_of_a_test", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's about its own type hints
        from mlflow.genai.agent_server import server

        server._invoke_function = server._stream_function = None  # they may be declared once in a process
        spec.loader.exec_module(module)
    yield module.app
    server._invoke_function = server._stream_function = None
    del sys.modules[spec.name]


@pytest.mark.long
def test_the_server_answers_while_two_users_wait_for_a_slow_tool(example):
    config = EXAMPLES / "starter" / "apps" / "workspace.yaml"
    with LocalWorkspace.from_config(config) as workspace, workspace.as_app() as runtime:
        app = Server(example)
        address = f"http://127.0.0.1:{app.port}"
        body = {"input": [{"role": "user", "content": "?"}]}

        def ask(user):
            headers = runtime.headers(user, scopes=["sql"])
            started = time.monotonic()
            answer = requests.post(f"{address}/invocations", json=body, headers=headers, timeout=60)
            return json.dumps(answer.json()), time.monotonic() - started

        try:
            for user in workspace.users:  # what the first request of a process loads is no part of the measure
                ask(user)
            workspace.latency = SECONDS
            with ThreadPoolExecutor(2) as pool:
                asked = [pool.submit(ask, user) for user in workspace.users]
                waits = []
                while not all(future.done() for future in asked):
                    started = time.monotonic()
                    assert requests.get(f"{address}/health", timeout=60).ok
                    waits.append(time.monotonic() - started)
                    threading.Event().wait(0.1)
                (alice, seconds), (bob, others) = (future.result() for future in asked)
        finally:
            app.stop()
        assert min(seconds, others) >= SECONDS  # the tool was slow, for both at once
        assert max(seconds, others) < 2 * SECONDS
        assert len(waits) >= 5
        assert max(waits) < SECONDS / 2
        assert alice != bob
        assert {record.user for record in workspace.log.filter(kind="user")} == {"alice", "bob"}


@pytest.mark.long
async def test_a_websocket_of_the_fastapi_example_holds_up_nobody():
    """Two users at once, each on a socket of their own; the loop is measured by a task that wants to run all the time."""
    path = EXAMPLES / "apps" / "fastapi_app.py"
    spec = importlib.util.spec_from_file_location("fastapi_app_of_a_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob"):
            workspace.add_user(user)
        with workspace.as_app() as runtime:

            async def chat(user: str) -> str:
                headers = [(key.lower().encode(), value.encode()) for key, value in runtime.headers(user).items()]
                scope = {
                    "type": "websocket",
                    "path": "/chat",
                    "headers": headers,
                    "query_string": b"",
                    "subprotocols": [],
                }
                told = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "?"}]
                told.append({"type": "websocket.disconnect", "code": 1000})
                said: list[dict] = []

                async def receive() -> dict:
                    return told.pop(0)

                async def send(message: dict) -> None:
                    said.append(message)

                await module.app(scope, receive, send)
                return said[1]["text"]

            await chat("alice")  # what the first request of a process loads is no part of the measure
            workspace.latency = SECONDS
            gaps: list[float] = []

            async def tick() -> None:
                while True:
                    started = time.monotonic()
                    await asyncio.sleep(0.01)
                    gaps.append(time.monotonic() - started)

            ticking = asyncio.create_task(tick())
            started = time.monotonic()
            answers = await asyncio.gather(chat("alice"), chat("bob"))
            seconds = time.monotonic() - started
            ticking.cancel()
    assert answers == ["alice@example.com", "bob@example.com"]
    assert SECONDS <= seconds < 2 * SECONDS
    assert max(gaps) < SECONDS / 2
