"""The same with the kit: each function is handed the user's client, on Model Serving and on Apps alike.

What each needs is declared where it stands, and the policy of both targets is collected from it.
"""

from __future__ import annotations

from databricks.sdk import WorkspaceClient
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole, ExternalFunctionRequestHttpMethod
from databricks.vector_search.client import VectorSearchClient
from databricks_ai_bridge.genie import Genie
from databricks_langchain import VectorSearchRetrieverTool
from databricks_langchain.genie import GenieAgent
from databricks_mcp import DatabricksMCPClient
from databricks_openai import VectorSearchRetrieverTool as OpenAIRetrieverTool
from mlflow.models.resources import (
    DatabricksGenieSpace,
    DatabricksServingEndpoint,
    DatabricksSQLWarehouse,
    DatabricksUCConnection,
    DatabricksVectorSearchIndex,
)
from obo_kit import raise_for_denial, user_tool

INDEX, LLM, WAREHOUSE, CONNECTION, SPACE = "main.support.articles", "llm", "wh1", "status", "space1"
QUESTION = "How many tickets are there?"
NO = "not available to you"


@user_tool(DatabricksVectorSearchIndex(INDEX), fallback=NO)
def retriever_of_langchain(client: WorkspaceClient) -> str:
    tool = VectorSearchRetrieverTool(index_name=INDEX, tool_description="Search.", workspace_client=client)
    return str(tool.invoke("refund"))


@user_tool(DatabricksVectorSearchIndex(INDEX), fallback=NO)
def retriever_of_openai(client: WorkspaceClient) -> str:
    tool = OpenAIRetrieverTool(index_name=INDEX, tool_description="Search.", workspace_client=client)
    return str(tool.execute("refund"))


@user_tool(DatabricksVectorSearchIndex(INDEX), fallback=NO)
def search(client: VectorSearchClient) -> str:
    index = client.get_index(index_name=INDEX)
    return str(index.similarity_search(query_text="refund", columns=["text"], num_results=1)["result"]["data_array"])


@user_tool(DatabricksServingEndpoint(LLM), fallback=NO)
def model(client: WorkspaceClient) -> str:
    message = ChatMessage(role=ChatMessageRole.USER, content="hello")
    return str(client.serving_endpoints.query(LLM, messages=[message]).choices[0].message.content)


@user_tool(DatabricksSQLWarehouse(WAREHOUSE), fallback=NO)
def warehouse(client: WorkspaceClient) -> str:
    response = client.statement_execution.execute_statement("SELECT count(*) FROM main.support.tickets", WAREHOUSE)
    return str(raise_for_denial(response).result.data_array)


@user_tool(DatabricksUCConnection(CONNECTION), fallback=NO)
def connection(client: WorkspaceClient) -> str:
    get = ExternalFunctionRequestHttpMethod.GET
    return str(client.serving_endpoints.http_request(conn=CONNECTION, method=get, path="/").text)


@user_tool(DatabricksGenieSpace(SPACE), fallback=NO)
def genie_agent(client: WorkspaceClient) -> str:
    asked = {"messages": [{"role": "user", "content": QUESTION}]}
    return str(GenieAgent(SPACE, client=client).invoke(asked)["messages"][-1].content)


@user_tool(DatabricksGenieSpace(SPACE), fallback=NO)
def genie(client: WorkspaceClient) -> str:
    return str(raise_for_denial(Genie(SPACE, client=client).ask_question(QUESTION)).result)


@user_tool(DatabricksGenieSpace(SPACE), fallback=NO)
def genie_of_the_sdk(client: WorkspaceClient) -> str:
    return str(client.genie.start_conversation_and_wait(SPACE, QUESTION).attachments)


@user_tool("mcp.genie", fallback=NO)
def mcp(client: WorkspaceClient) -> str:
    server = DatabricksMCPClient(f"{client.config.host}/api/2.0/mcp/genie/{SPACE}", client)
    return str(raise_for_denial(server.call_tool(f"query_space_{SPACE}", {"query": QUESTION})).content)
