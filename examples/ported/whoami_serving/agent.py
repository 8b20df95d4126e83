"""Model Serving, tools as raw OpenAI specs, the model called as the user too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
from databricks.sdk import WorkspaceClient
from databricks_openai import DatabricksOpenAI
from mlflow.models.resources import DatabricksServingEndpoint, DatabricksSQLWarehouse
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
    output_to_responses_items_stream,
    to_chat_completions_input,
)
from pydantic import BaseModel

from obo_kit import explain, optional_tool, requires_scopes, user_session, with_user_client

LLM = "chat-model"
WAREHOUSE = "a1b2c3d4e5f6"


class Tool(BaseModel):
    name: str
    description: str
    run: Callable[..., str]

    def spec(self) -> dict[str, Any]:
        parameters = {"type": "object", "properties": {}, "required": []}
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


@optional_tool(fallback="Who you are is not available to you.")
@requires_scopes(DatabricksSQLWarehouse(WAREHOUSE))
@with_user_client
def whoami(client: WorkspaceClient) -> str:
    response = client.statement_execution.execute_statement("SELECT current_user()", WAREHOUSE)
    if denial := explain(response):
        raise denial.error()
    return response.result.data_array[0][0]


TOOLS = {"whoami": Tool(name="whoami", description="Say who the user is.", run=whoami)}
NO_MODEL = {"id": "1", "choices": [{"delta": {"role": "assistant", "content": "The model is not available to you."}}]}


class Agent(ResponsesAgent):
    @optional_tool(fallback=NO_MODEL)
    @requires_scopes(DatabricksServingEndpoint(LLM))
    @with_user_client
    def call_llm(self, client: DatabricksOpenAI, messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for chunk in client.chat.completions.create(
            model=LLM,
            messages=to_chat_completions_input(messages),
            tools=[tool.spec() for tool in TOOLS.values()],
            stream=True,
        ):
            yield chunk.to_dict()

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        events = self.predict_stream(request)
        return ResponsesAgentResponse(output=[e.item for e in events if e.type == "response.output_item.done"])

    @user_session
    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        messages = [item.model_dump() for item in request.input]
        while messages[-1].get("role") != "assistant":
            if messages[-1].get("type") == "function_call":
                call = messages[-1]
                said = TOOLS[call["name"]].run(**json.loads(call["arguments"]))
                messages.append(self.create_function_call_output_item(call["call_id"], said))
                yield ResponsesAgentStreamEvent(type="response.output_item.done", item=messages[-1])
            else:
                chunks = self.call_llm(messages)
                yield from output_to_responses_items_stream(chunks, aggregator=messages)


mlflow.models.set_model(Agent())
