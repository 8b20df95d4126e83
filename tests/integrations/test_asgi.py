"""Databricks Apps behind a plain ASGI server (rule 1)."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from support import calls

from obo_kit import NoUserIdentityError, NoUserSessionError, current_session, user_session, with_user_client
from obo_kit.integrations.asgi import UserHeadersMiddleware, UserSessionMiddleware


@with_user_client
def whoami(client) -> str:
    return client.current_user.me().user_name


@user_session
def sync_endpoint(request: Request) -> PlainTextResponse:
    return PlainTextResponse(whoami())


@user_session
async def async_endpoint(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await asyncio.to_thread(whoami))


def stream_endpoint(request: Request) -> StreamingResponse:
    @user_session
    def chunks():
        for _ in range(3):
            yield whoami() + "\n"

    return StreamingResponse(chunks())


@pytest.fixture
def app() -> TestClient:
    routes = [Route("/sync", sync_endpoint), Route("/async", async_endpoint), Route("/stream", stream_endpoint)]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(UserHeadersMiddleware)]))


def served(endpoint, route=Route) -> TestClient:
    return TestClient(Starlette(routes=[route("/", endpoint)], middleware=[Middleware(UserHeadersMiddleware)]))


@pytest.mark.parametrize("path", ["/sync", "/async", "/stream"])
def test_each_request_acts_as_the_user_whose_token_the_proxy_forwarded(app, workspace, path):
    workspace.log.clear()
    with workspace.as_app() as proxy:
        for user in ("alice", "bob"):
            answer = app.get(path, headers=proxy.headers(user, scopes=["iam.current-user:read"]))
            assert set(answer.text.split()) == {f"{user}@example.com"}
    seen = [entry.user for entry in workspace.log if entry.path.endswith("/Me")]
    assert set(seen) == {"alice", "bob"}
    assert seen == sorted(seen)


def test_a_request_without_a_token_raises_and_sends_nothing(app, workspace):
    workspace.log.clear()
    with workspace.as_app(), pytest.raises(NoUserIdentityError, match="X-Forwarded-Access-Token"):
        app.get("/sync")
    assert len(workspace.log) == 0


def test_a_background_task_of_the_response_is_still_the_request_s(workspace):
    """Rule 1: Starlette runs it before the request ends."""
    said = []

    @user_session
    def task():
        said.append(whoami())

    async def endpoint(request):
        return PlainTextResponse("accepted", background=BackgroundTask(task))

    with workspace.as_app() as proxy:
        served(endpoint).get("/", headers=proxy.headers("alice"))
    assert said == ["alice@example.com"]


@pytest.mark.parametrize("begun", ["during the request", "after it"])
def test_a_task_left_behind_has_a_user_only_if_its_session_began_during_the_request(workspace, begun):
    """Rules 2 and 4: one that serves whoever comes later must not go on as the first."""
    proceed, tasks = asyncio.Event(), []

    @user_session
    async def begun_early():
        await proceed.wait()
        return await asyncio.to_thread(whoami)

    async def begun_late():
        await proceed.wait()
        return await begun_early()

    async def endpoint(request):
        tasks.append(asyncio.create_task(begun_early() if begun == "during the request" else begun_late()))
        await asyncio.sleep(0)
        return PlainTextResponse("accepted")

    with workspace.as_app() as proxy, served(endpoint) as client:
        client.get("/", headers=proxy.headers("alice"))
        client.portal.call(proceed.set)
        if begun == "during the request":
            assert client.portal.call(asyncio.wait_for, tasks[0], 10) == "alice@example.com"
            assert len(calls(workspace)) == 1
        else:
            with pytest.raises(NoUserIdentityError, match="has ended"):
                client.portal.call(asyncio.wait_for, tasks[0], 10)
            assert calls(workspace) == []


def test_a_websocket_s_user_is_who_opened_it(workspace):
    """Rule 1."""

    async def endpoint(websocket):
        await websocket.accept()
        async for _ in websocket.iter_text():
            async with user_session():
                await websocket.send_text(whoami())

    with workspace.as_app() as proxy:
        client = served(endpoint, WebSocketRoute)
        with (
            client.websocket_connect("/", headers=proxy.headers("alice")) as alice,
            client.websocket_connect("/", headers=proxy.headers("bob")) as bob,
        ):
            for _ in range(2):
                for user, socket in {"alice": alice, "bob": bob}.items():
                    socket.send_text("who am I?")
                    assert socket.receive_text() == f"{user}@example.com"
    assert [record.user for record in calls(workspace)] == ["alice", "bob"] * 2


def test_what_is_no_request_passes_through():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(UserHeadersMiddleware(app)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


# --- a whole application ------------------------------------------------------------------------------------------------------


@pytest.fixture
def whole_app(workspace):
    """Entry points without a decorator, and tools that are called in them."""

    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{await asyncio.to_thread(whoami)} {current_session() is current_session()}")

    def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(f"{whoami()}\n" for _ in range(3))

    def healthy(request: Request) -> PlainTextResponse:
        return PlainTextResponse("healthy")

    routes = [Route("/", answer), Route("/stream", stream), Route("/health", healthy)]
    app = Starlette(routes=routes)
    assert user_session(app) is app
    return TestClient(app)


@pytest.mark.parametrize("path", ["/", "/stream"])
def test_an_app_serves_each_request_in_the_session_of_its_user(workspace, whole_app, path):
    """Rules 1 and 4: streams included."""
    with workspace.as_app() as proxy:
        for user in ("alice", "bob"):
            answer = whole_app.get(path, headers=proxy.headers(user, scopes=["iam.current-user:read"]))
            assert {word for word in answer.text.split() if "@" in word} == {f"{user}@example.com"}
    assert {entry.user for entry in workspace.log} == {"alice", "bob"}


def test_a_request_to_an_app_without_a_user_has_none(workspace, whole_app):
    """Rule 2: it is served, for a health check has no user; what acts for the user is refused."""
    with workspace.as_app():
        assert whole_app.get("/health").text == "healthy"
        with pytest.raises(NoUserIdentityError, match="has no X-Forwarded-Access-Token") as refused:
            whole_app.get("/")
    assert "user_api_scopes" in refused.value.remedy  # the reason, and not only that there is nobody
    assert calls(workspace) == []


def test_a_session_of_an_app_ends_with_its_request(workspace):
    """Rule 5."""
    kept = []

    async def endpoint(request: Request) -> PlainTextResponse:
        kept.append(current_session())
        return PlainTextResponse("")

    app = UserSessionMiddleware(Starlette(routes=[Route("/", endpoint)]))
    with workspace.as_app() as proxy, TestClient(app) as client:
        client.get("/", headers=proxy.headers("alice"))
        assert [session.closed for session in kept] == [True]
        with pytest.raises(NoUserSessionError):  # rule 7: this process opens sessions
            whoami()


def test_an_app_takes_its_users_from_its_requests():
    for settings in ({"headers": {}}, {"token": "t"}, {"required": False}):
        with pytest.raises(TypeError, match="leave out"):
            user_session(**settings)(Starlette())
