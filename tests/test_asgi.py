"""Databricks Apps behind a plain ASGI server (rule 1)."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from obo_kit import NoUserIdentityError, user_session, with_user_client
from obo_kit.integrations.asgi import UserHeadersMiddleware


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


def test_what_is_no_request_passes_through():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(UserHeadersMiddleware(app)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
