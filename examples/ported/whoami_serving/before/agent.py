"""Model Serving, tools as raw OpenAI specs, the model called as the user too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.sql import StatementState
from databricks_ai_bridge import ModelServingUserCredentials
from databricks_openai import DatabricksOpenAI
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
    output_to_responses_items_stream,
    to_chat_completions_input,
)
from pydantic import BaseModel

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


def make_whoami(user_client: WorkspaceClient) -> Tool:
    def whoami() -> str:
        try:
            response = user_client.statement_execution.execute_statement("SELECT current_user()", WAREHOUSE)
            if response.status.state != StatementState.SUCCEEDED:
                return f"The query failed: {response.status.state}"
            return response.result.data_array[0][0]
        except Exception as error:
            return f"whoami failed: {error}"

    return Tool(name="whoami", description="Say who the user is.", run=whoami)


class Agent(ResponsesAgent):
    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}

    def call_llm(self, user_client: WorkspaceClient, messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        client = DatabricksOpenAI(workspace_client=user_client)
        for chunk in client.chat.completions.create(
            model=LLM,
            messages=to_chat_completions_input(messages),
            tools=[tool.spec() for tool in self.tools.values()],
            stream=True,
        ):
            yield chunk.to_dict()

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        events = self.predict_stream(request)
        return ResponsesAgentResponse(output=[e.item for e in events if e.type == "response.output_item.done"])

    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        user_client = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())
        whoami = make_whoami(user_client)
        self.tools = {whoami.name: whoami}
        messages = [item.model_dump() for item in request.input]
        while messages[-1].get("role") != "assistant":
            if messages[-1].get("type") == "function_call":
                call = messages[-1]
                said = self.tools[call["name"]].run(**json.loads(call["arguments"]))
                messages.append(self.create_function_call_output_item(call["call_id"], said))
                yield ResponsesAgentStreamEvent(type="response.output_item.done", item=messages[-1])
            else:
                chunks = self.call_llm(user_client, messages)
                yield from output_to_responses_items_stream(chunks, aggregator=messages)


mlflow.models.set_model(Agent())
