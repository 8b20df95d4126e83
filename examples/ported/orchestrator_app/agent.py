"""Apps, an orchestrator: each of its tools asks another agent on a serving endpoint."""

from collections.abc import AsyncIterator

from agents import (
    Agent,
    FunctionTool,
    Runner,
    function_tool,
    set_default_openai_api,
    set_default_openai_client,
    set_tracing_disabled,
)
from databricks_openai import AsyncDatabricksOpenAI
from mlflow.genai.agent_server import AgentServer, invoke, stream
from mlflow.models.resources import DatabricksServingEndpoint
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent
from obo_kit import user_session, user_tool

LLM = "chat-model"
AGENTS = {"ask_support": "support-agent", "ask_legal": "legal-agent"}

set_default_openai_client(AsyncDatabricksOpenAI())
set_default_openai_api("chat_completions")
set_tracing_disabled(True)


def make_tool(name: str, endpoint: str) -> FunctionTool:
    @user_tool(DatabricksServingEndpoint(endpoint), "ai-gateway")  # the responses path asks for both
    async def ask(client: AsyncDatabricksOpenAI, question: str) -> str:
        response = await client.responses.create(model=endpoint, input=question)
        return response.output_text

    return function_tool(ask, name_override=name, description_override=f"Ask the agent {endpoint}.")


ORCHESTRATOR = Agent(name="orchestrator", model=LLM, tools=[make_tool(*one) for one in AGENTS.items()])


@invoke()
async def answer(request: ResponsesAgentRequest) -> ResponsesAgentResponse:
    result = await Runner.run(ORCHESTRATOR, [item.model_dump() for item in request.input])
    return ResponsesAgentResponse(output=[item.to_input_item() for item in result.new_items])


@stream()
async def answers(request: ResponsesAgentRequest) -> AsyncIterator[ResponsesAgentStreamEvent]:
    result = Runner.run_streamed(ORCHESTRATOR, [item.model_dump() for item in request.input])
    async for event in result.stream_events():
        if event.type == "raw_response_event":
            yield event.data.model_dump()


server = AgentServer("ResponsesAgent")
app = user_session(server.app)

if __name__ == "__main__":
    server.run("agent:app")
