"""Apps, an MCP server of one's own whose tools act for whoever calls them.

Run: uvicorn agent:app
"""

import asyncio

from databricks.sdk import WorkspaceClient
from mcp.server.fastmcp import FastMCP
from mlflow.models.resources import DatabricksSQLWarehouse
from obo_kit import raise_for_denial, user_session, user_tool

WAREHOUSE = "a1b2c3d4e5f6"
REVENUE = "SELECT sum(total) FROM main.sales.revenue"

mcp = FastMCP("sales", stateless_http=True, json_response=True)


@mcp.tool()
@user_tool("iam.current-user:read")
async def whoami(client: WorkspaceClient) -> str:
    """Say who the user is."""
    return (await asyncio.to_thread(client.current_user.me)).user_name


@mcp.tool()
@user_tool(DatabricksSQLWarehouse(WAREHOUSE))
async def revenue(client: WorkspaceClient) -> str:
    """Say how much was sold."""
    response = await asyncio.to_thread(client.statement_execution.execute_statement, REVENUE, WAREHOUSE)
    return raise_for_denial(response).result.data_array[0][0]


app = user_session(mcp.streamable_http_app())
