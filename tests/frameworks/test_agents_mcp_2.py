"""The OpenAI Agents SDK with `mcp` 2, which speaks to a managed MCP server as the user: `make test-frameworks`."""

from __future__ import annotations

import asyncio
import importlib.metadata

import pytest
from support import SPACE, as_user, calls

from obo_kit.integrations.mcp import bearer

agents_mcp = pytest.importorskip("agents.mcp")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_traces"),
    pytest.mark.filterwarnings("ignore"),  # the framework's own
    pytest.mark.skipif(importlib.metadata.version("mcp").startswith("1."), reason="mcp 1"),
]


def test_an_mcp_server_of_the_agents_sdk_acts_as_the_user(workspace):
    async def names(session):
        params = {"url": f"{workspace.host}/api/2.0/mcp/genie/{SPACE}", "auth": bearer(session)}
        async with agents_mcp.MCPServerStreamableHttp(params=params) as server:
            return [tool.name for tool in await server.list_tools()]

    for user in ("alice", "bob"):
        with as_user(workspace, user) as session:
            assert f"query_space_{SPACE}" in asyncio.run(names(session))
    assert {record.user for record in calls(workspace)} == {"alice", "bob"}
