"""Apps, LangGraph on MLflow's agent server: the graph's tools come from MCP servers."""

import os
from collections.abc import AsyncIterator

from databricks.sdk import WorkspaceClient
from databricks_langchain import ChatDatabricks, DatabricksMCPServer, DatabricksMultiServerMCPClient
from langchain.agents import create_agent
from mlflow.genai.agent_server import AgentServer, get_request_headers, invoke, stream
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
    output_to_responses_items_stream,
    to_chat_completions_input,
)

LLM = "chat-model"
SPACE = "01f0ea87c0de"
CONTRACTS = "main.legal.contracts"


def get_user_workspace_client() -> WorkspaceClient:
    token = get_request_headers().get("x-forwarded-access-token")
    return WorkspaceClient(token=token, auth_type="pat")


def mcp_server(name: str, path: str, client: WorkspaceClient) -> DatabricksMultiServerMCPClient:
    url = f"{os.environ['DATABRICKS_HOST']}/api/2.0/mcp/{path}"
    return DatabricksMultiServerMCPClient([DatabricksMCPServer(name=name, url=url, workspace_client=client)])


async def genie_tools(client: WorkspaceClient):
    return await mcp_server("genie", f"genie/{SPACE}", client).get_tools()


async def search_tools(client: WorkspaceClient):
    return await mcp_server("search", f"ai-search/{CONTRACTS.replace('.', '/')}", client).get_tools()


async def make_graph():
    user_client = get_user_workspace_client()
    tools = []
    for factory in (genie_tools, search_tools):
        try:
            tools += await factory(user_client)
        except Exception as error:
            print(f"Leaving out {factory.__name__}: {error}")
    return create_agent(ChatDatabricks(endpoint=LLM), tools)


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
app = server.app

if __name__ == "__main__":
    server.run("agent:app")
