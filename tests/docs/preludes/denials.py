import collections
import dataclasses

from databricks_langchain import VectorSearchRetrieverTool
from fastapi import FastAPI
from mlflow.models.resources import DatabricksGenieSpace, DatabricksVectorSearchIndex

import obo_kit
from obo_kit import Denial, DenialReason, available_tools, optional_tool, requires_scopes, with_user_client

INDEX, warehouse_id, sql = "main.shop.faq", "a1b2c3", "SELECT 1"
workspace = open_workspace()
session = stack.enter_context(workspace.as_user("bob", scopes=["vector-search", "sql", "genie"]))
client = session.client
app = FastAPI()
tools = []
GERMAN = collections.defaultdict(lambda: "Das ist nicht möglich.")
stack.callback(obo_kit.rewrite_denials, None)


class TOOLS:
    @staticmethod
    def labels(*labels):
        return TOOLS

    @staticmethod
    def inc():
        """Count."""


@optional_tool(fallback="Sales figures are not available to you.")
@requires_scopes(DatabricksGenieSpace("01f0"))
@with_user_client
def ask_sales(client, question: str) -> str:
    return client.genie.get_space("01f0").title


@requires_scopes(DatabricksVectorSearchIndex(INDEX))
def make_docs_tool(client):
    return VectorSearchRetrieverTool(index_name=INDEX, tool_description="x", workspace_client=client)


make_sales_tool = make_docs_tool
