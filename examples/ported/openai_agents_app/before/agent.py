"""Apps, OpenAI Agents SDK on MLflow's agent server: a tool that closes over the user's client, and MCP servers."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from agents import (
    Agent,
    Runner,
    function_tool,
    set_default_openai_api,
    set_default_openai_client,
    set_tracing_disabled,
)
from databricks.sdk import WorkspaceClient
from databricks_openai import AsyncDatabricksOpenAI
from databricks_openai.agents import McpServer
from mlflow.genai.agent_server import AgentServer, get_request_headers, invoke, stream
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent

LLM = "chat-model"
SPACES = {"sales": "01f0ea87c0de", "staff": "01f0ea87c0df"}

set_default_openai_client(AsyncDatabricksOpenAI())
set_default_openai_api("chat_completions")
set_tracing_disabled(True)


def get_user_workspace_client() -> WorkspaceClient:
    token = get_request_headers().get("x-forwarded-access-token")
    return WorkspaceClient(token=token, auth_type="pat")


@asynccontextmanager
async def make_agent() -> AsyncIterator[Agent]:
    user_client = get_user_workspace_client()

    @function_tool
    def whoami() -> str:
        """Say who the user is."""
        return user_client.current_user.me().user_name

    async with AsyncExitStack() as stack:
        servers = []
        for name, space in SPACES.items():
            url = f"{os.environ['DATABRICKS_HOST']}/api/2.0/mcp/genie/{space}"
            server = McpServer(url=url, name=name, workspace_client=user_client)
            try:
                servers.append(await stack.enter_async_context(server))
            except Exception as error:
                print(f"Leaving out {name}: {error}")
        yield Agent(name="sales-agent", model=LLM, tools=[whoami], mcp_servers=servers)


@invoke()
async def answer(request: ResponsesAgentRequest) -> ResponsesAgentResponse:
    async with make_agent() as agent:
        result = await Runner.run(agent, [item.model_dump() for item in request.input])
        return ResponsesAgentResponse(output=[item.to_input_item() for item in result.new_items])


@stream()
async def answers(request: ResponsesAgentRequest) -> AsyncIterator[ResponsesAgentStreamEvent]:
    async with make_agent() as agent:
        result = Runner.run_streamed(agent, [item.model_dump() for item in request.input])
        async for event in result.stream_events():
            if event.type == "raw_response_event":
                yield event.data.model_dump()


server = AgentServer("ResponsesAgent")
app = server.app

if __name__ == "__main__":
    server.run("agent:app")
