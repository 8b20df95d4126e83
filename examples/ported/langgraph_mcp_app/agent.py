"""Apps, LangGraph on MLflow's agent server: the graph's tools come from MCP servers."""

import os
from collections.abc import AsyncIterator

from databricks.sdk import WorkspaceClient
from databricks_langchain import ChatDatabricks, DatabricksMCPServer, DatabricksMultiServerMCPClient
from langchain.agents import create_agent
from mlflow.genai.agent_server import AgentServer, invoke, stream
from mlflow.models.resources import DatabricksGenieSpace, DatabricksVectorSearchIndex
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
    output_to_responses_items_stream,
    to_chat_completions_input,
)
from obo_kit import available_tools_async, requires_scopes, user_session

LLM = "chat-model"
SPACE = "01f0ea87c0de"
CONTRACTS = "main.legal.contracts"
AGENT = WorkspaceClient()  # made once: making it asks the workspace, and the event loop would wait


def mcp_server(name: str, path: str, client: WorkspaceClient) -> DatabricksMultiServerMCPClient:
    url = f"{os.environ['DATABRICKS_HOST']}/api/2.0/mcp/{path}"
    return DatabricksMultiServerMCPClient([DatabricksMCPServer(name=name, url=url, workspace_client=client)])


@requires_scopes(DatabricksGenieSpace(SPACE))
async def genie_tools(client: WorkspaceClient):
    return await mcp_server("genie", f"genie/{SPACE}", client).get_tools()


@requires_scopes("ai-search", DatabricksVectorSearchIndex(CONTRACTS))
async def search_tools(client: WorkspaceClient):
    return await mcp_server("search", f"ai-search/{CONTRACTS.replace('.', '/')}", client).get_tools()


async def make_graph():
    model = ChatDatabricks(endpoint=LLM, workspace_client=AGENT)
    return create_agent(model, await available_tools_async(genie_tools, search_tools))


@invoke()
async def answer(request: ResponsesAgentRequest) -> ResponsesAgentResponse:
    items = [event.item async for event in answers(request) if event.type == "response.output_item.done"]
    return ResponsesAgentResponse(output=items)


@stream()
async def answers(request: ResponsesAgentRequest) -> AsyncIterator[ResponsesAgentStreamEvent]:
    graph = await make_graph()
    messages = to_chat_completions_input([item.model_dump() for item in request.input])
    async for update in graph.astream({"messages": messages}, stream_mode="updates"):
        for node in update.values():
            for event in output_to_responses_items_stream(node["messages"]):
                yield event


server = AgentServer("ResponsesAgent")
app = user_session(server.app)

if __name__ == "__main__":
    server.run("agent:app")
