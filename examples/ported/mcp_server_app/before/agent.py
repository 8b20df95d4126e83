"""Apps, an MCP server of one's own whose tools act for whoever calls them.

Run: uvicorn agent:app
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from databricks.sdk import WorkspaceClient
from mcp.server.fastmcp import FastMCP
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response

WAREHOUSE = "a1b2c3d4e5f6"
REVENUE = "SELECT sum(total) FROM main.sales.revenue"
HEADERS: ContextVar[dict[str, str]] = ContextVar("headers")

mcp = FastMCP("sales", stateless_http=True, json_response=True)


def get_user_workspace_client() -> WorkspaceClient:
    if "DATABRICKS_APP_NAME" not in os.environ:
        return WorkspaceClient()
    token = HEADERS.get({}).get("x-forwarded-access-token")
    if not token:
        raise ValueError("There is no token in the request's headers")
    return WorkspaceClient(token=token, auth_type="pat")


@mcp.tool()
async def whoami() -> str:
    """Say who the user is."""
    try:
        return (await asyncio.to_thread(get_user_workspace_client().current_user.me)).user_name
    except Exception as error:
        return f"Error: {error}"


@mcp.tool()
async def revenue() -> str:
    """Say how much was sold."""
    try:
        client = get_user_workspace_client()
        response = await asyncio.to_thread(client.statement_execution.execute_statement, REVENUE, WAREHOUSE)
        if response.status.error:
            return f"Error: {response.status.error.message}"
        return response.result.data_array[0][0]
    except Exception as error:
        return f"Error: {error}"


app = mcp.streamable_http_app()


async def keep_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    HEADERS.set(dict(request.headers))
    return await call_next(request)


app.add_middleware(BaseHTTPMiddleware, dispatch=keep_headers)
