"""Managed MCP servers: a real MCP server for every path, with tools that make the workspace's own REST calls.

A server is made for one request and ends with it, so it belongs to one caller and keeps no state. The first request that needs
the package ``mcp`` imports it. An external MCP server is one of the author's own, behind a connection.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from functools import partial

from starlette.responses import JSONResponse

from obo_kit.testing._refusals import Refusal, RefusedError, declare
from obo_kit.testing.mcp._tools import FunctionTools, GenieTools, SearchTools, SqlTools, Tools
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._service import Core, Mixin, Part, Service
from obo_kit.testing.services._functions import Functions

__all__ = ["Mcp", "McpMixin"]

declare(
    {
        "mcp_no_stream": Refusal(
            status=405,
            code="BAD_REQUEST",
            text="This MCP server keeps no session and opens no stream: {method} is not allowed",
            decision="bad request",
            standing="inferred",
            source="MCP, streamable HTTP: a server without a stream of its own answers GET with 405",
            headers={"Allow": "POST"},
        ),
        "mcp_no_warehouse": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text="PERMISSION_DENIED: {user_id} is not authorized to use any SQL warehouse",
            decision="missing grant",
            standing="inferred",
            source="D-MCP: the server chooses a warehouse that the caller may use; the wording is ours",
        ),
        "mcp_read_only": Refusal(
            status=400,
            code="BAD_REQUEST",
            text="execute_sql_read_only runs only statements that read",
            decision="bad request",
            standing="inferred",
            source="D-MCP names the tool; the wording is ours",
        ),
        # A JSON-RPC error, sent with status 200.
        "mcp_tool_missing": Refusal(
            status=200,
            code="BAD_REQUEST",
            text="Tool {name} does not exist",
            decision="not found",
            standing="inferred",
            source="code written against a workspace quotes -32602 BAD_REQUEST with these words; nobody reported it",
        ),
    }
)

_BASE = "/api/2.0/mcp"
_EXTERNAL = _BASE + "/external/{connection}"
# The code that tells the client to send the user to a page first (MCP, URL mode elicitation).
_LOGIN_REQUIRED = -32042


class Mcp(Service):
    """Serves MCP. Lives as long as its workspace.

    Args:
        inner: Answers a REST call as part of a request.
        functions: The functions of the workspace.
        pool: Its threads.
    """

    def __init__(self, core: Core) -> None:
        self._inner = core.inner
        self._functions = core.service(Functions)
        self._pool = core.threads

    def apis(self) -> list[Api]:
        """Return the routes."""
        securables = ("/{catalog}/{schema}", "/{catalog}/{schema}/{name}")
        servers: dict[str, Callable[[Call], Tools]] = {
            "/genie/{space}": partial(GenieTools, self._inner),
            "/sql": partial(SqlTools, self._inner),
            **{
                f"/{kind}{path}": partial(SearchTools, self._inner)
                for kind in ("vector-search", "ai-search")
                for path in securables
            },
            **{f"/functions{path}": self._function_tools for path in securables},
        }
        apis = [
            Api(method="POST", path=_EXTERNAL, handler=self._external, mcp_tool=_called_tool),
            Api(method="DELETE", path=_EXTERNAL, handler=self._external),
            Api(method="GET", path=_EXTERNAL, handler=_no_stream),
        ]
        for path, tools in servers.items():
            apis.append(
                Api(method="POST", path=_BASE + path, handler=partial(self._serve, tools), mcp_tool=_called_tool)
            )
            apis += [Api(method=method, path=_BASE + path, handler=_no_stream) for method in ("GET", "DELETE")]
        return apis

    async def _serve(self, make: Callable[[Call], Tools], call: Call) -> Answer:
        message = call.json()
        tools = make(call)
        # A caller who may not use an address is refused for all tools, with the refusal of its REST API (inferred).
        await tools.open()
        protocol = await asyncio.get_running_loop().run_in_executor(
            self._pool(), importlib.import_module, "obo_kit.testing.mcp._protocol"
        )
        answer: Answer = await protocol.respond(call, message, tools)
        return answer

    def _function_tools(self, call: Call) -> Tools:
        return FunctionTools(self._functions, self._pool(), self._inner, call)

    async def _external(self, call: Call) -> Answer:
        """Pass the request on to the server behind a connection, as the connection's proxy does, and return its answer."""
        try:
            path = f"/api/2.0/unity-catalog/connections/{call.params['connection']}/proxy"
            return await self._inner(call, call.method, path, call.raw)
        except RefusedError as error:
            number = call.json().get("id")
            if error.key != "connection_login" or number is None:
                raise
            # P-AGENTBRICKS documents the code. Inferred: it comes with status 200 to every request, and with data.
            login = {
                "mode": "url",
                "elicitationId": call.params["connection"],
                "message": error.message,
                "url": error.fields["url"],
            }
            detail = {"code": _LOGIN_REQUIRED, "message": error.message, "data": {"elicitations": [login]}}
            content = JSONResponse({"jsonrpc": "2.0", "id": number, "error": detail})
            return Answer(content=content, decision=error.refusal.decision)


def _no_stream(call: Call) -> Answer:
    raise RefusedError("mcp_no_stream", method=call.method)


def _called_tool(call: Call) -> str | None:
    try:
        message = json.loads(call.raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("method") != "tools/call":
        return None
    params = message.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    return name if isinstance(name, str) else None


class McpMixin(Mixin):
    """The managed MCP servers. Nothing needs to be added for them."""

    _mcp = Part(Mcp)
