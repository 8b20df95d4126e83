"""Speak the Model Context Protocol with the package ``mcp`` (1.x or 2.x): one server for one request."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import mcp.shared.exceptions
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.responses import Response

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.mcp._tools import Request, Result, Tools
from obo_kit.testing.server._api import Answer, Call

if TYPE_CHECKING:
    from starlette.types import Message

__all__ = ["respond"]

_logger = logging.getLogger("obo_kit.testing")
_NAME = "obo-kit local workspace"
_INVALID_PARAMS = -32602


async def respond(call: Call, message: Mapping[str, Any], tools: Tools) -> Answer:
    """Let an MCP server answer a request, and end it."""
    session = _Session(message, tools)
    manager = StreamableHTTPSessionManager(session.server(), json_response=True, stateless=True)
    exchange = _Exchange(call)
    async with manager.run():
        await manager.handle_request(exchange.scope, exchange.receive, exchange.send)
    error = exchange.error()
    if exchange.status >= 400 and not (error and _is_request(message)):
        # A request that no MCP client would send gets the platform's kind of refusal, not a protocol error (inferred).
        raise RefusedError("malformed", detail=error["message"] if error else exchange.body.decode())
    decision = session.decision
    if decision == "allowed" and error is not None:
        decision = "bad request"
    return Answer(content=exchange.response(), decision=decision)


def _is_request(message: Mapping[str, Any]) -> bool:
    return message.get("jsonrpc") == "2.0" and isinstance(message.get("method"), str)


class _Session:
    """The question to the server, and the decision about it."""

    def __init__(self, message: Mapping[str, Any], tools: Tools) -> None:
        self.decision = "allowed"
        self._tools = tools
        params = message.get("params")
        self._params: Mapping[str, Any] = params if isinstance(params, dict) else {}

    def server(self) -> Server[Any, Any]:
        """Return an MCP server with the caller's tools."""
        make: Any = Server
        if not hasattr(Server, "call_tool"):  # mcp 2.x
            return make(_NAME, on_list_tools=self._list, on_call_tool=self._call)  # type: ignore[no-any-return]
        server: Server[Any, Any] = Server(_NAME)

        # The decorators of mcp 1.x would turn every error into a result.
        async def list_tools(_request: Any) -> types.ServerResult:
            return types.ServerResult(await self._list())

        async def call_tool(_request: Any) -> types.ServerResult:
            return types.ServerResult(await self._call())

        server.request_handlers[types.ListToolsRequest] = list_tools
        server.request_handlers[types.CallToolRequest] = call_tool
        return server

    async def _list(self, *_context: Any) -> types.ListToolsResult:
        tools = await self._tools.offered()
        return types.ListToolsResult.model_validate(
            {
                "tools": [
                    {"name": tool.name, "description": tool.description, "inputSchema": tool.schema} for tool in tools
                ]
            }
        )

    async def _call(self, *_context: Any) -> types.CallToolResult:
        arguments, meta = self._params.get("arguments") or {}, self._params.get("_meta") or {}
        request = Request(name=self._params["name"], arguments=arguments, meta=meta)
        try:
            result = await self._tools.run(request)
        except RefusedError as error:
            if error.refusal.status == 200:
                raise self._error(error) from None
            result = _refused(error)
        except Exception:
            _logger.exception("The local workspace failed to run the tool %s", request.name)
            self.decision = "fault"
            raise
        self.decision = result.decision
        return types.CallToolResult.model_validate(
            {
                "content": [{"type": "text", "text": result.text}],
                "structuredContent": result.structured,
                "isError": result.decision != "allowed",
            }
        )

    def _error(self, error: RefusedError) -> Exception:
        """Return a refusal as a JSON-RPC error."""
        self.decision = error.refusal.decision
        return rpc_error(_INVALID_PARAMS, _text(error))


def _refused(error: RefusedError) -> Result:
    """Return a refused tool call. Inferred, except the place of the code (P-AGENTBRICKS: ``structuredContent.error.code``)."""
    structured = {"error": {"code": error.refusal.code, "message": error.message}}
    return Result(text=_text(error), structured=structured, decision=error.refusal.decision)


def _text(error: RefusedError) -> str:
    code = f"{error.refusal.code}: "
    return error.message if error.message.startswith(code) else code + error.message


def rpc_error(code: int, message: str) -> Exception:
    """Return an exception that the server sends as a JSON-RPC error."""
    exceptions: Any = mcp.shared.exceptions
    if hasattr(exceptions, "MCPError"):  # mcp 2.x
        return exceptions.MCPError(code, message)  # type: ignore[no-any-return]
    return exceptions.McpError(types.ErrorData(code=code, message=message))  # type: ignore[no-any-return]


class _Exchange:
    """One HTTP exchange in memory: the request as the gate has read it, and the answer of the server."""

    def __init__(self, call: Call) -> None:
        # The gate has already identified the caller, so the server gets no token.
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in call.headers.items()
            if name not in {"authorization", "cookie"}
        ]
        self.scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": call.method,
            "scheme": "http",
            "path": call.path,
            "raw_path": call.path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": headers,
        }
        self._raw: bytes | None = call.raw
        self.status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def receive(self) -> Message:
        if self._raw is None:
            # The client never disconnects from a server that ends with the request.
            await asyncio.Event().wait()
        raw, self._raw = self._raw, None
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self._headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    def error(self) -> dict[str, Any] | None:
        """Return the JSON-RPC error that the server answers with, if there is one."""
        try:
            return cast("dict[str, Any] | None", json.loads(self.body).get("error"))
        except ValueError:  # no body, or plain text
            return None

    def response(self) -> Response:
        response = Response(self.body, status_code=self.status)
        response.raw_headers = self._headers
        return response
