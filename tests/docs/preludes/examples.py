from databricks.sdk import WorkspaceClient
from databricks.sdk.service.sql import StatementState
from databricks_ai_bridge import ModelServingUserCredentials
from databricks_ai_bridge.genie import Genie
from databricks_langchain import VectorSearchRetrieverTool
from databricks_openai.agents import McpServer
from fastapi import FastAPI
from mlflow.models.resources import DatabricksGenieSpace, DatabricksVectorSearchIndex

from obo_kit import (
    available_tools,
    current_session,
    optional_tool,
    raise_for_denial,
    requires_scopes,
    user_session,
    user_tool,
)

WAREHOUSE, SPACE = "a1b2c3", "01f0"
workspace = open_workspace()
session = stack.enter_context(workspace.as_user("alice", scopes=["vector-search", "sql", "genie"]))
user_client = session.client


@requires_scopes(DatabricksVectorSearchIndex("main.shop.faq"))
def search_faq(client: WorkspaceClient):
    return VectorSearchRetrieverTool(
        index_name="main.shop.faq", tool_name="faq", tool_description="The FAQ.", workspace_client=client
    )


search_contracts = search_faq


class server:
    app = FastAPI()
