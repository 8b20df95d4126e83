"""What is said where a session is lost or missing: each framework's own fix, which is then followed."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from support import callers, me

from obo_kit import NoUserIdentityError, NoUserSessionError, user_session, with_user_client
from obo_kit.identity import PROCESS
from obo_kit.integrations.asgi import UserHeadersMiddleware

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own


@with_user_client
def whoami(client) -> str:
    return me(client)


def test_a_bare_tool_is_told_of_the_entry_point_that_makes_it_strict(workspace):
    """Rule 7: no session was ever opened."""
    PROCESS.entry_point_declared = True
    with (
        workspace.as_notebook("alice"),
        pytest.raises(NoUserSessionError, match=r"has an entry point \(@user_session\)"),
    ):
        whoami()
    assert callers(workspace) == []


# --- middleware ------------------------------------------------------------------------------------------------------------


class OpensASession(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        async with user_session(headers=request.headers):
            return await call_next(request)


async def endpoint(request):
    return PlainTextResponse(whoami())


def test_middleware_in_the_wrong_order_is_told_which_is_outermost(workspace):
    """Rule 6: what the outer one opened is not the request's."""
    wrong = [Middleware(OpensASession), Middleware(UserHeadersMiddleware)]

    def served(middleware):
        return TestClient(Starlette(routes=[Route("/", endpoint)], middleware=middleware))

    with workspace.as_app() as runtime:
        headers = runtime.headers("alice")
        with pytest.raises(NoUserSessionError, match="add UserHeadersMiddleware after that middleware"):
            served(wrong).get("/", headers=headers)
        assert callers(workspace) == []
        assert served(wrong[::-1]).get("/", headers=headers).text == "alice"


# --- FastAPI ---------------------------------------------------------------------------------------------------------------


def test_a_stream_of_fastapi_s_is_told_to_decorate_the_generator(workspace):
    """Rule 6: it runs after the endpoint has returned."""
    fastapi = pytest.importorskip("fastapi", reason="comes with mlflow")
    app = fastapi.FastAPI()

    def stream():
        yield whoami()

    @app.get("/lost")
    def lost():
        with user_session():
            return fastapi.responses.StreamingResponse(stream())

    @app.get("/decorated")
    def decorated():
        return fastapi.responses.StreamingResponse(user_session(stream)())

    with workspace.as_app() as runtime:
        headers = runtime.headers("alice")
        with pytest.raises(NoUserSessionError, match="Decorate the generator of a StreamingResponse"):
            TestClient(UserHeadersMiddleware(app)).get("/lost", headers=headers)
        assert callers(workspace) == []
        assert TestClient(UserHeadersMiddleware(app)).get("/decorated", headers=headers).text == "alice"


# --- Flask -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def flask():
    return pytest.importorskip("flask", reason="Flask is no extra")


def test_a_stream_of_flask_s_is_told_to_decorate_the_generator(workspace, flask):
    """Rule 6: it runs after the view has returned."""
    app = flask.Flask("app")
    app.testing = True

    def stream():
        yield whoami()

    @app.get("/lost")
    def lost():
        with user_session(headers=flask.request.headers):
            return flask.Response(flask.stream_with_context(stream()))

    @app.get("/decorated")
    def decorated():
        return flask.Response(user_session(headers=dict(flask.request.headers))(stream)())

    with workspace.as_app() as runtime:
        headers = runtime.headers("alice")
        with pytest.raises(NoUserSessionError, match="Decorate the generator that Flask streams"):
            app.test_client().get("/lost", headers=headers)
        assert callers(workspace) == []
        assert app.test_client().get("/decorated", headers=headers).text == "alice"


def test_a_view_of_flask_s_is_told_where_the_headers_are(workspace, flask):
    """Rule 2."""
    app = flask.Flask("app")
    app.testing = True
    app.get("/bare", endpoint="bare")(user_session(whoami))
    app.get("/named", endpoint="named")(user_session(headers=lambda: flask.request.headers)(whoami))
    with workspace.as_app() as runtime:
        headers = runtime.headers("alice")
        with pytest.raises(NoUserIdentityError, match=re.escape("@user_session(headers=lambda: request.headers)")):
            app.test_client().get("/bare", headers=headers)
        assert callers(workspace) == []
        assert app.test_client().get("/named", headers=headers).text == "alice"


# --- Streamlit -------------------------------------------------------------------------------------------------------------

PAGE = """
import os
import streamlit as st
from obo_kit import OboError, user_session, with_user_client

def headers():
    return {"X-Forwarded-Access-Token": os.environ["TOKEN_OF_THE_PAGE"]}

@with_user_client
def whoami(client):
    return client.current_user.me().user_name

def said(function):
    def callback():
        try:
            st.session_state.said = function()
        except OboError as error:
            st.session_state.said = str(error)
    return callback

st.button("lost", on_click=said(whoami))
st.button("bare", on_click=said(user_session(lambda: whoami())))
st.button("decorated", on_click=said(user_session(headers=headers)(lambda: whoami())))
with user_session(headers=headers()):
    st.write(whoami())
"""


@pytest.mark.parametrize(
    ("button", "said"),
    [
        (0, "Open the session inside the callback or fragment itself"),
        (1, "@user_session(headers=lambda: st.context.headers)"),
        (2, "alice@example.com"),
    ],
    ids=["lost", "bare", "decorated"],
)
def test_a_callback_of_streamlit_s_is_told_to_open_the_session_itself(workspace, monkeypatch, button, said):
    """Rule 7: it runs outside of the script's block."""
    testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is no extra")
    with workspace.as_app() as runtime:
        monkeypatch.setenv("TOKEN_OF_THE_PAGE", runtime.headers("alice")["X-Forwarded-Access-Token"])
        page = testing.AppTest.from_string(PAGE, default_timeout=30).run()
        assert [line.value for line in page.markdown] == ["alice@example.com"]
        page.button[button].click().run()
        assert said in page.session_state["said"]
    assert set(callers(workspace)) == {"alice"}


# --- a stateful MCP server -------------------------------------------------------------------------------------------------


async def called(server, requests):
    """What a tool answers to each of these requests: in one MCP session, unless the server keeps none."""
    httpx = pytest.importorskip("httpx")
    app = UserHeadersMiddleware(server.streamable_http_app())
    kept = {"accept": "application/json, text/event-stream"}
    about = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    async with (
        server.session_manager.run(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000") as client,
    ):

        async def post(headers, method, params, **number):
            body = {"jsonrpc": "2.0", "method": method, "params": params, **number}
            return await client.post("/mcp", headers={**kept, **headers}, json=body)

        session = (await post(requests[0], "initialize", about, id=1)).headers.get("mcp-session-id")
        if session is not None:
            kept["mcp-session-id"] = session
        await post(requests[0], "notifications/initialized", {})
        answers = [await post(headers, "tools/call", {"name": "ask", "arguments": {}}, id=2) for headers in requests]
        return [json.loads(answer.text)["result"]["content"][0]["text"] for answer in answers]


@pytest.mark.parametrize("fix", [None, "headers", "stateless"])
def test_a_stateful_mcp_server_is_told_where_the_headers_are(workspace, no_traces, fix):
    """Rule 4: its tools run in the context of the request that began the connection, and may be another's."""
    mcp = pytest.importorskip("mcp.server.fastmcp", reason="mcp is an extra; its second version has another server")
    server = mcp.FastMCP("server", json_response=True, stateless_http=fix == "stateless")

    def with_context(ctx):
        return whoami()

    def without():
        return whoami()

    if fix == "headers":
        with_context.__annotations__ = {"ctx": mcp.Context, "return": str}
        tool = user_session(headers=lambda ctx: ctx.request_context.request.headers)(with_context)
    else:
        tool = user_session(without)
    server.add_tool(tool, name="ask")
    with workspace.as_app() as runtime:
        answers = asyncio.run(called(server, [runtime.headers(name) for name in ("alice", "bob")]))
    if fix is None:
        assert all("stateless_http=True" in answer for answer in answers)
        assert callers(workspace) == []
    else:
        assert answers == ["alice", "bob"]
