"""Apps, an MCP server of one's own whose tools act for whoever calls them.

Run: uvicorn agent:app
"""

from databricks.sdk import WorkspaceClient
from mcp.server.fastmcp import FastMCP
from mlflow.models.resources import DatabricksSQLWarehouse

from obo_kit import explain, optional_tool, requires_scopes, with_user_client
from obo_kit.integrations.asgi import UserHeadersMiddleware

WAREHOUSE = "a1b2c3d4e5f6"

mcp = FastMCP("sales", stateless_http=True, json_response=True)


@mcp.tool()
@optional_tool
@requires_scopes("iam.current-user:read")
@with_user_client
def whoami(client: WorkspaceClient) -> str:
    """Say who the user is."""
    return client.current_user.me().user_name


@mcp.tool()
@optional_tool
@requires_scopes(DatabricksSQLWarehouse(WAREHOUSE))
@with_user_client
def revenue(client: WorkspaceClient) -> str:
    """Say how much was sold."""
    response = client.statement_execution.execute_statement("SELECT sum(total) FROM main.sales.revenue", WAREHOUSE)
    if denial := explain(response):
        raise denial.error()
    return response.result.data_array[0][0]


app = mcp.streamable_http_app()
app.add_middleware(UserHeadersMiddleware)
