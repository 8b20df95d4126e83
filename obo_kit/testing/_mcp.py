"""Managed MCP servers: a real MCP server behind every path, whose tools are the workspace's own REST calls.

A server is made for a request and ends with it, so it belongs to one caller and keeps nothing. The package ``mcp`` is
imported by the first request that needs it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from obo_kit.testing._gate import Answer, Api, Call
from obo_kit.testing._mcp_tools import GenieTools, Inner, SearchTools, SqlTools, Tools
from obo_kit.testing._refusals import RefusedError

__all__ = ["Mcp"]

_BASE = "/api/2.0/mcp"
_SERVERS: dict[str, type[Tools]] = {
    "/genie/{space}": GenieTools,
    "/vector-search/{catalog}/{schema}": SearchTools,
    "/vector-search/{catalog}/{schema}/{name}": SearchTools,
    "/ai-search/{catalog}/{schema}": SearchTools,
    "/ai-search/{catalog}/{schema}/{name}": SearchTools,
    "/sql": SqlTools,
}


class Mcp:
    """Serves MCP. Lives as long as its workspace.

    Args:
        inner: Answers a REST call as part of a request; see ``Gate.inner``.
        pool: The threads of the workspace.
    """

    def __init__(self, inner: Inner, pool: Callable[[], Executor]) -> None:
        self._inner = inner
        self._pool = pool

    def apis(self) -> list[Api]:
        """The routes."""
        posts = [
            Api(method="POST", path=_BASE + path, handler=partial(self._serve, tools), tool=_called_tool)
            for path, tools in _SERVERS.items()
        ]
        others = [
            Api(method=method, path=_BASE + path, handler=_no_stream)
            for path in _SERVERS
            for method in ("GET", "DELETE")
        ]
        return posts + others

    async def _serve(self, kind: type[Tools], call: Call) -> Answer:
        message = call.json()
        tools = kind(self._inner, call)
        # What one address stands for is refused as a whole, with the refusal of its REST API (inferred).
        await tools.open()
        protocol = await asyncio.get_running_loop().run_in_executor(
            self._pool(), importlib.import_module, "obo_kit.testing._mcp_protocol"
        )
        answer: Answer = await protocol.respond(call, message, tools)
        return answer


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
