"""Whoever calls an agent without a user gets a line for them, and the deployer's remedy is in the log (rules 2 and 17)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from support import SPACE

from obo_kit import PolicyError, current_session, requires_scopes, user_session, with_user_client
from obo_kit.integrations.errors import answer_refusals

pytestmark = pytest.mark.filterwarnings("ignore")
LINE = "This tool needs to know who you are"
SCOPE = "postgres"


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


@requires_scopes(SCOPE)
def reserved() -> str:
    return "never"


def broken() -> str:
    raise PolicyError("No policy.", remedy="Collect it.")


@with_user_client
def ask(client: WorkspaceClient) -> str:
    return client.genie.get_space(SPACE).title or ""


def ask_without_a_tool() -> str:
    return current_session().client.genie.get_space(SPACE).title or ""


def ask_as_the_agent() -> str:
    current_session().client.current_user.me()  # what the user asked before was answered
    return WorkspaceClient().genie.get_space(SPACE).title or ""


REFUSED = {"/ask": ask, "/ask-without-a-tool": ask_without_a_tool}
VIEWS = {"/": whoami, "/reserved": reserved, "/broken": broken, "/ask-as-the-agent": ask_as_the_agent, **REFUSED}


def of_fastapi() -> Any:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from obo_kit.integrations.asgi import UserHeadersMiddleware

    app = FastAPI()
    app.add_middleware(UserHeadersMiddleware)
    for path, view in VIEWS.items():
        app.get(path)(user_session(view))

    @app.websocket("/chat")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        async with user_session():
            await websocket.send_text("never")

    answer_refusals(app)
    return TestClient(app, raise_server_exceptions=False)


def of_starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    def served(view: Any) -> Any:
        return lambda request: PlainTextResponse(user_session(headers=request.headers)(view)())

    app = Starlette(routes=[Route(path, served(view)) for path, view in VIEWS.items()])
    answer_refusals(app)
    return TestClient(app, raise_server_exceptions=False)


def of_flask() -> Any:
    flask = pytest.importorskip("flask")
    app = flask.Flask(__name__)
    for path, view in VIEWS.items():
        app.add_url_rule(path, path, user_session(headers=lambda: flask.request.headers)(view))
    answer_refusals(app)
    return app.test_client()


@pytest.mark.parametrize("serve", [of_fastapi, of_starlette, of_flask], ids=lambda serve: serve.__name__)
def test_a_call_without_a_user_is_answered_for_its_caller(workspace, caplog, serve):
    with workspace.as_app() as runtime:
        client = serve()
        answer = client.get("/")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert LINE in answer.text
        assert "Fix" not in answer.text
        (record,) = [record for record in caplog.records if record.name == "obo_kit.integrations.errors"]
        assert record.levelname == "ERROR"
        assert "Fix: " in record.getMessage()
        answer = client.get("/reserved", headers=runtime.headers("alice", scopes=["sql"]))
        assert answer.status_code == 403
        assert "WWW-Authenticate" not in answer.headers
        assert SCOPE not in answer.text
        assert SCOPE in caplog.text
        answer = client.get("/", headers=runtime.headers("alice"))
        assert answer.status_code == 200
        assert "alice" in answer.text
        assert client.get("/broken", headers=runtime.headers("alice")).status_code == 500


@pytest.mark.parametrize("serve", [of_fastapi, of_starlette, of_flask], ids=lambda serve: serve.__name__)
@pytest.mark.parametrize("path", REFUSED)
def test_what_the_workspace_refuses_a_user_is_a_403(workspace, caplog, serve, path):
    """It leaves the view as the client's own error, with a tool around it or without one."""
    with workspace.as_app() as runtime:
        client = serve()
        answer = client.get(path, headers=runtime.headers("carol", scopes=["genie"]))
        assert answer.status_code == 403
        assert "do not have access to it" in answer.text
        assert SPACE not in answer.text
        assert "carol@example.com" in caplog.text  # in the remedy
        assert client.get(path, headers=runtime.headers("alice", scopes=["genie"])).status_code == 200
        workspace.add_fault("status", status=500, path_prefix="/api/2.0/genie", times=None)
        assert client.get(path, headers=runtime.headers("alice", scopes=["genie"])).status_code == 500


@pytest.mark.parametrize("serve", [of_fastapi, of_starlette, of_flask], ids=lambda serve: serve.__name__)
def test_what_the_agent_itself_is_refused_stays_an_error(workspace, serve):
    with workspace.as_app() as runtime:
        assert serve().get("/ask-as-the-agent", headers=runtime.headers("alice")).status_code == 500
        assert serve().get("/nowhere", headers=runtime.headers("alice")).status_code == 404


@pytest.mark.parametrize("first", ["user_session", "answer_refusals"])
def test_an_expired_token_of_a_whole_application_is_a_401(workspace, first):
    """As docs/howto/migrate.md has it: the session of every request is opened inside of what answers."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()
    steps = [user_session, answer_refusals]
    for step in steps if first == "user_session" else reversed(steps):
        step(app)
    with workspace.as_app() as runtime:
        client = TestClient(app, raise_server_exceptions=False)
        answer = client.get("/", headers=runtime.headers("alice", expires_in=-60))
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "Reload the page" in answer.json()["detail"]


def test_flask_s_own_handler_of_all_errors_keeps_the_rest(workspace):
    flask = pytest.importorskip("flask")
    app = flask.Flask(__name__)
    app.register_error_handler(Exception, lambda error: (type(error).__name__, 418))
    app.add_url_rule("/", "/", user_session(headers=lambda: flask.request.headers)(whoami))
    answer_refusals(app)
    with workspace.as_app():
        assert app.test_client().get("/").status_code == 401
        assert app.test_client().get("/nowhere").text == "NotFound"


def test_a_websocket_without_a_user_is_closed_with_the_line(workspace):
    with workspace.as_app(), pytest.raises(WebSocketDisconnect) as closed:  # noqa: SIM117 - what is left in either
        with of_fastapi().websocket_connect("/chat") as socket:
            socket.receive_text()
    assert closed.value.code == 1008
    assert LINE in closed.value.reason


@pytest.fixture
def agent_server(workspace, no_traces):
    from fastapi.testclient import TestClient
    from mlflow.genai.agent_server import AgentServer, invoke, server, stream

    server._invoke_function = server._stream_function = None  # they may be declared once in a process

    @invoke()
    @user_session
    async def answer(request: dict) -> dict:
        if request.get("reserved"):
            reserved()
        if request.get("ask"):
            ask()
        if request.get("broken"):
            raise ValueError("a bug")
        return {"answer": current_session().client.current_user.me().user_name}

    @stream()
    @user_session
    async def answers(request: dict) -> Any:
        yield {"answer": current_session().client.current_user.me().user_name}

    made = AgentServer()
    answer_refusals(made)
    with workspace.as_app() as runtime:
        yield TestClient(made.app, raise_server_exceptions=False), runtime
    server._invoke_function = server._stream_function = None


@pytest.mark.parametrize("stream", [False, True])
def test_the_agent_server_answers_before_the_agent_runs(agent_server, caplog, stream):
    client, runtime = agent_server
    answer = client.post("/invocations", json={"stream": stream})
    assert (answer.status_code, list(answer.json())) == (401, ["detail"])
    assert LINE in answer.text
    assert "Fix: " in caplog.text
    answer = client.post("/invocations", json={"stream": stream}, headers=runtime.headers("alice"))
    assert answer.status_code == 200
    assert "alice" in answer.text
    assert client.get("/health").status_code == 200


def test_the_agent_server_s_500_is_a_refusal_s_403(agent_server):
    client, runtime = agent_server
    headers = runtime.headers("alice", scopes=["sql"])
    answer = client.post("/invocations", json={"reserved": True}, headers=headers)
    assert answer.status_code == 403
    assert SCOPE not in json.dumps(answer.json())
    assert client.post("/invocations", json={"broken": True}, headers=headers).status_code == 500
    headers = runtime.headers("carol", scopes=["genie"])
    assert client.post("/invocations", json={"ask": True}, headers=headers).status_code == 403


def test_what_is_no_application_is_refused():
    with pytest.raises(TypeError, match="not a int"):
        answer_refusals(1)
