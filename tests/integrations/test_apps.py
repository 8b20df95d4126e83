"""The examples for app frameworks, each driven by its framework's own test client (rules 1 and 2).

Dash, Streamlit, Gradio and Shiny are heavy: `make test-apps` installs them. The others come with MLflow.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import callers, calls, running

from obo_kit import NoUserIdentityError, current_session, user_session

# The frameworks warn of themselves; what stays an error is a session of ours that nobody closed.
pytestmark = pytest.mark.filterwarnings(
    "ignore", "error:a user's session:ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning"
)

EXAMPLES = Path(__file__).parents[2] / "examples" / "apps"

Disconnected = pytest.importorskip("starlette.websockets").WebSocketDisconnect
Ask = Callable[[dict[str, str]], str]


def example(name: str) -> Any:
    """The example's module, fresh."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def needs(framework: str) -> None:
    pytest.importorskip(framework, reason=f"{framework} is not installed: make test-apps installs it")


# --- how each is asked ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def agent_server(stream: bool = False) -> Iterator[Ask]:
    from fastapi.testclient import TestClient
    from mlflow.genai.agent_server import server

    server._invoke_function = server._stream_function = None  # they may be declared once in a process
    client = TestClient(example("agent_server").app)
    yield lambda headers: client.post("/invocations", json={"stream": stream}, headers=headers).text


@contextlib.contextmanager
def fastapi(path: str = "/") -> Iterator[Ask]:
    from fastapi.testclient import TestClient

    client = TestClient(example("fastapi_app").app)
    yield lambda headers: client.get(path, headers=headers).text


@contextlib.contextmanager
def websocket() -> Iterator[Ask]:
    from fastapi.testclient import TestClient

    client = TestClient(example("fastapi_app").app)

    def ask(headers: dict[str, str]) -> str:
        with client.websocket_connect("/chat", headers=headers) as socket:
            socket.send_text("who am I?")
            return socket.receive_text()

    yield ask


@contextlib.contextmanager
def flask(path: str = "/") -> Iterator[Ask]:
    app = example("flask_app").app
    app.testing = True
    client = app.test_client()
    yield lambda headers: client.get(path, headers=headers).text


@contextlib.contextmanager
def dash() -> Iterator[Ask]:
    needs("dash")
    app = example("dash_app").app
    app.server.testing = True
    client = app.server.test_client()
    clicked = {
        "output": "answer.children",
        "outputs": {"id": "answer", "property": "children"},
        "inputs": [{"id": "ask", "property": "n_clicks", "value": 1}],
        "changedPropIds": ["ask.n_clicks"],
    }
    yield lambda headers: client.post("/_dash-update-component", json=clicked, headers=headers).text


@contextlib.contextmanager
def gradio() -> Iterator[Ask]:
    needs("gradio")
    import fastapi
    from fastapi.testclient import TestClient

    demo = example("gradio_app").demo
    import gradio

    with TestClient(gradio.mount_gradio_app(fastapi.FastAPI(), demo, "/", show_error=True)) as client:

        def ask(headers: dict[str, str]) -> str:
            event = client.post("/gradio_api/call/whoami", json={"data": []}, headers=headers).json()["event_id"]
            return client.get(f"/gradio_api/call/whoami/{event}", headers=headers).text

        yield ask


@contextlib.contextmanager
def shiny() -> Iterator[Ask]:
    needs("shiny")
    from shiny.reactive import _core

    _core._reactive_environment._lock = None  # one for each process: it may be of the loop that another test had
    from starlette.testclient import TestClient

    begin = {".clientdata_output_answer_hidden": False, ".clientdata_url_search": ""}

    with TestClient(example("shiny_app").app) as client:  # one event loop for all

        def ask(headers: dict[str, str]) -> str:
            with client.websocket_connect("/websocket/", headers=headers) as page:
                page.send_text(json.dumps({"method": "init", "data": begin}))
                while "values" not in (said := json.loads(page.receive_text())) or not (
                    said["values"] or said["errors"]
                ):
                    pass
                return json.dumps(said)

        yield ask


@contextlib.contextmanager
def streamlit(page: Path = EXAMPLES / "streamlit_app.py") -> Iterator[Ask]:
    needs("streamlit")
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from websockets.sync.client import connect

    command = [sys.executable, "-m", "streamlit", "run", str(page)]
    command += ["--server.address=127.0.0.1", "--server.port={port}", "--server.headless=true"]
    with running([*command, "--browser.gatherUsageStats=false"]) as port:

        def ask(headers: dict[str, str]) -> str:
            run = BackMsg()
            run.rerun_script.query_string = ""
            said = []
            with connect(f"ws://127.0.0.1:{port}/_stcore/stream", additional_headers=headers) as page:
                page.send(run.SerializeToString())
                while True:
                    message = ForwardMsg.FromString(page.recv(timeout=90))
                    said.append(str(message))
                    if message.WhichOneof("type") == "script_finished":
                        return "".join(said)

        yield ask


HEAVY = {"Dash": dash, "Gradio": gradio, "Shiny": shiny, "Streamlit": streamlit}
APPS = {
    "agent server": agent_server,
    "agent server, streaming": lambda: agent_server(stream=True),
    "FastAPI": fastapi,
    "FastAPI, streaming": lambda: fastapi("/stream"),
    "FastAPI, websocket": websocket,
    "Flask": flask,
    "Flask, streaming": lambda: flask("/stream"),
    **HEAVY,
}


@pytest.fixture
def no_analytics(monkeypatch):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("app", [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in APPS])
def test_each_request_is_its_user_s_and_without_a_header_nothing_is_sent(workspace, no_traces, no_analytics, app):
    """Rules 1 and 2."""
    with workspace.as_app() as proxy, APPS[app]() as ask:
        for user in ("alice", "bob", "alice"):
            before = len(calls(workspace))
            said = ask(proxy.headers(user))
            assert f"{user}@example.com" in said
            assert set(callers(workspace)[before:]) == {user}
        before = len(workspace.log)
        try:
            said = ask({"X-Forwarded-Email": "alice@example.com"})
        except NoUserIdentityError as refused:
            said = str(refused)
        except Disconnected as closed:
            said = closed.reason
        assert "X-Forwarded-Access-Token" in said or "needs to know who you are" in said
        assert len(workspace.log) == before


# --- a durable server ----------------------------------------------------------------------------------------------------


class Runs:
    """In place of the durable server's database, which cannot be had here: its runs and their events."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []

    async def create_response(self, response_id, status, durable, original_request) -> None:
        self.runs[response_id] = {"status": status, "attempt_number": 1, "original_request": original_request}

    async def get_response(self, response_id) -> Any:
        long_ago = datetime.now(timezone.utc) - timedelta(minutes=1)
        return SimpleNamespace(created_at=long_ago, heartbeat_at=long_ago, trace_id=None, **self.runs[response_id])

    async def update_response_status(self, response_id, status, **_) -> bool:
        self.runs[response_id]["status"] = status
        return True

    async def append_message(self, response_id, number, item=None, stream_event=None, **_) -> None:
        self.events.append(stream_event)

    async def get_messages(self, response_id, **_) -> list[Any]:
        return [(number, None, event, 1) for number, event in enumerate(self.events)]

    async def heartbeat_response(self, response_id, attempt_number) -> bool:
        return True

    async def claim_stale_response(self, response_id, **_) -> int:
        self.runs[response_id]["attempt_number"] += 1
        return self.runs[response_id]["attempt_number"]

    async def find_stale_response_ids(self, **_) -> list[str]:
        return []

    async def init_db(self, **_) -> None:
        pass

    async def dispose_db(self) -> None:
        pass

    def is_db_configured(self) -> bool:
        return True

    def wait_until(self, status: str, response_id: str) -> None:
        deadline = time.monotonic() + 20
        while self.runs[response_id]["status"] != status:
            assert time.monotonic() < deadline, self.events
            time.sleep(0.01)


@pytest.mark.slow
def test_a_durable_run_is_the_asker_s_and_a_resumed_one_has_no_user(workspace, no_traces, monkeypatch):
    """Rules 2 and 4: it goes on after its request as who asked; after a crash it is resumed by whoever looks for it."""
    pytest.importorskip("psycopg", reason="the durable server needs psycopg: make test-apps installs it")
    from databricks_ai_bridge.long_running import LongRunningAgentServer
    from databricks_ai_bridge.long_running import server as long_running
    from fastapi.testclient import TestClient
    from mlflow.genai.agent_server import server

    runs = Runs()
    for name in [name for name in dir(long_running) if name in vars(Runs) and not name.startswith("_")]:
        monkeypatch.setattr(long_running, name, getattr(runs, name))
    server._invoke_function = server._stream_function = None
    answered = threading.Event()

    @server.invoke()
    @user_session
    async def invoke(request):
        await asyncio.to_thread(answered.wait, 20)
        content = [{"type": "output_text", "text": current_session().client.current_user.me().user_name}]
        return {"output": [{"type": "message", "role": "assistant", "id": "1", "content": content}]}

    @server.stream()
    @user_session
    async def stream(request):
        yield current_session().client.current_user.me().user_name

    with workspace.as_app() as proxy, TestClient(LongRunningAgentServer().app) as client:
        asked = {"input": [{"role": "user", "content": "Who am I?"}], "background": True}
        run = client.post("/responses", json=asked, headers=proxy.headers("alice")).json()["id"]
        answered.set()
        runs.wait_until("completed", run)
        assert "alice@example.com" in str(runs.events)
        assert callers(workspace) == ["alice"]

        runs.runs[run]["status"] = "in_progress"  # as a crash leaves it
        client.get(f"/responses/{run}", headers=proxy.headers("bob"))
        runs.wait_until("failed", run)
        assert "resumed run of a durable server have no user" in str(runs.events[-1])
        assert callers(workspace) == ["alice"]
