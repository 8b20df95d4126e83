"""Clients that lose a refusal: inside a tool, and outside one, where the session keeps what it saw. Rule 16."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from support import of_mcp_1

from obo_kit import DenialReason, Limits, explain, optional_tool, user_session

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("no_traces")]
R = DenialReason


def in_a_tool(use: Callable[[], Any]) -> DenialReason | None:
    denials: list[Any] = []
    with contextlib.suppress(Exception):
        optional_tool(fallback=denials.append, on=frozenset(R))(use)()
    return denials[0].reason if denials else None


def in_no_tool(use: Callable[[], Any]) -> DenialReason | None:
    try:
        use()
    except BaseException as error:
        denial = explain(error)
        return denial.reason if denial is not None else None
    return None


places = pytest.mark.parametrize("where", [in_a_tool, in_no_tool], ids=lambda where: where.__name__)


@places
def test_the_bridge_without_a_user_s_token(monkeypatch, where):
    """The bridge says so in an ordinary exception."""
    from databricks_ai_bridge import ModelServingUserCredentials

    monkeypatch.setenv("IS_IN_DB_MODEL_SERVING_ENV", "true")
    monkeypatch.setenv("DATABRICKS_MODEL_SERVING_HOST_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("DB_MODEL_SERVING_HOST_URL", "http://127.0.0.1:9")
    client = ModelServingUserCredentials()

    def use() -> object:
        return WorkspaceClient(credentials_strategy=client).current_user.me()

    assert where(use) is R.NO_IDENTITY


@places
@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (403, '{"error_code": "PERMISSION_DENIED", "message": "Not for you."}', R.ACCESS_DENIED),
        (
            404,
            '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Node ID 7 does not exist."}',
            R.NOT_FOUND_OR_DENIED,
        ),
        (403, "Invalid scope, required scopes: mlflow", R.MISSING_SCOPE),
        (400, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "No such run."}', None),
    ],
)
def test_mlflow_s_own_client(server, where, status, text, reason):
    from mlflow import MlflowClient

    server.say(status, text, **{"Content-Type": "application/json" if text.startswith("{") else "text/plain"})
    assert where(lambda: MlflowClient(tracking_uri=server.host).get_experiment("7")) is reason
    assert server.requests


@places
@pytest.mark.parametrize(
    ("status", "text", "headers", "reason"),
    [
        (403, "Invalid scope, required scopes: genie", {}, R.MISSING_SCOPE),
        (403, "Source IP address: 203.0.113.7 is blocked by Databricks IP ACL for workspace: 1", {}, R.POLICY),
        (401, "Invalid access token.", {}, R.TOKEN_EXPIRED),
        (302, "", {"Location": "/login.html"}, R.TOKEN_EXPIRED),
        (500, "Oops.", {}, None),
    ],
)
def test_a_server_of_the_agents_sdk(server, where, status, text, headers, reason):
    McpServer = of_mcp_1("databricks_openai.agents", "McpServer")

    server.say(status, text, **headers)
    with user_session(host=server.host, token="t", limits=Limits(retry=0.2)) as session:

        async def connect() -> None:
            made = McpServer(url=f"{server.host}/api/2.0/mcp/genie/s", workspace_client=session.client)
            try:
                await made.connect()
            finally:
                await made.cleanup()

        assert where(lambda: asyncio.run(connect())) is reason
        assert server.requests
