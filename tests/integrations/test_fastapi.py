"""FastAPI: the kit's dependency, one's own, and what the wrong ones are told."""

from __future__ import annotations

import pytest
from support import callers, me

from obo_kit import NoUserIdentityError, NoUserSessionError, current_session, user_session, with_user_client

fastapi = pytest.importorskip("fastapi", reason="FastAPI is no extra")
from fastapi.responses import PlainTextResponse, StreamingResponse  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from starlette.requests import Request  # noqa: E402

from obo_kit.integrations.fastapi import user_dependency  # noqa: E402


@with_user_client
def whoami(client) -> str:
    return me(client)


def sync_endpoint() -> PlainTextResponse:
    return PlainTextResponse(whoami())


async def async_endpoint() -> PlainTextResponse:
    return PlainTextResponse(whoami())


async def stream_endpoint() -> StreamingResponse:
    async def chunks():
        for _ in range(2):
            yield whoami() + "\n"

    return StreamingResponse(chunks())


def served(endpoint, dependency=None, **settings):
    app = fastapi.FastAPI()
    dependencies = [fastapi.Depends(dependency or user_dependency(**settings))]
    app.get("/", dependencies=dependencies, response_model=None)(endpoint)
    return TestClient(app)


@pytest.mark.parametrize("endpoint", [sync_endpoint, async_endpoint, stream_endpoint])
def test_the_session_of_the_dependency_is_in_force_in_the_endpoint(workspace, endpoint):
    """Rule 1: also where FastAPI runs it in a thread, and in what it streams. It ends with the request."""
    with workspace.as_app() as runtime:
        client = served(endpoint)
        for name in ("alice", "bob"):
            assert set(client.get("/", headers=runtime.headers(name)).text.split()) == {name}
    assert set(callers(workspace)) == {"alice", "bob"}
    with pytest.raises(NoUserSessionError):
        current_session()


def test_the_workspace_may_be_named(workspace):
    headers = {"X-Forwarded-Access-Token": workspace.token("alice")}
    assert served(sync_endpoint, host=workspace.host).get("/", headers=headers).text == "alice"


def test_a_request_without_a_user_is_refused_unless_that_is_allowed(workspace):
    """Rule 2."""

    def without_tools():
        return PlainTextResponse("served")

    with workspace.as_app():
        with pytest.raises(NoUserIdentityError):
            served(without_tools).get("/")
        assert served(without_tools, required=False).get("/").text == "served"
        with pytest.raises(NoUserIdentityError, match="no X-Forwarded-Access-Token header"):
            served(sync_endpoint, required=False).get("/")
    assert callers(workspace) == []


async def own_dependency(request: Request):
    async with user_session(headers=request.headers) as session:
        yield session


def sync_dependency(request: Request):
    with user_session(headers=request.headers) as session:
        yield session


def test_a_dependency_of_one_s_own_is_asynchronous(workspace):
    """Rule 7: a sync one's session is in a thread of its own; the endpoint is told the fix, and acts as nobody."""
    with workspace.as_app() as runtime:
        headers = runtime.headers("alice")
        assert served(sync_endpoint, own_dependency).get("/", headers=headers).text == "alice"
        with pytest.raises(NoUserSessionError, match=r"open elsewhere[\s\S]*`async def`[\s\S]*user_dependency"):
            served(sync_endpoint, sync_dependency).get("/", headers=headers)
    assert callers(workspace) == ["alice"]
