"""A support agent that answers each user with what that user may see."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterator
from uuid import uuid4

import mlflow
from databricks.ai_search.client import AISearchClient
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksServingEndpoint, DatabricksVectorSearchIndex
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
)
from tools import ask_sales, list_tickets, triage

from obo_kit import (
    current_session,
    optional_tool,
    requires_scopes,
    system_resources,
    user_session,
    with_user_client,
)

LLM = "support-llm"
FAQ_INDEX = "main.support.faq"

system_resources(DatabricksServingEndpoint(LLM))  # the same for everyone: reached with the agent's own credentials


@optional_tool(fallback="The FAQ is not available to you.")
@requires_scopes(DatabricksVectorSearchIndex(FAQ_INDEX))
@with_user_client
def search_faq(client: AISearchClient, question: str) -> str:
    """Find what the FAQ says about a question."""
    index = client.get_index(index_name=FAQ_INDEX)
    found = index.similarity_search(query_text=question, columns=["text"], num_results=1)
    rows = found["result"]["data_array"]
    return rows[0][0] if rows else "nothing"


TOOLS = {tool.__name__: tool for tool in (search_faq, ask_sales, list_tickets, triage)}


def spec(tool) -> dict:
    """What the model sees of a tool: the user's client is no part of it."""
    names = list(inspect.signature(tool).parameters)
    parameters = {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names}
    return {
        "type": "function",
        "function": {"name": tool.__name__, "description": tool.__doc__, "parameters": parameters},
    }


@functools.cache
def agent_client() -> WorkspaceClient:
    """System authorization: one client for the process is right here, because it is the same for every user."""
    return WorkspaceClient()


def ask_model(messages: list[dict]) -> dict:
    """One turn of the model."""
    try:
        client = agent_client()
    except ValueError:  # MLflow runs `predict` once while it logs, perhaps where nothing is configured
        return {"role": "assistant", "content": "There is no model here."}
    body = {"messages": messages, "tools": [spec(tool) for tool in TOOLS.values()]}
    answer = client.api_client.do("POST", f"/serving-endpoints/{LLM}/invocations", body=body)
    return answer["choices"][0]["message"]


class SupportAgent(ResponsesAgent):
    """Lets the model call tools until it answers."""

    @user_session
    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        events = self.predict_stream(request)
        items = [event.item for event in events if event.type == "response.output_item.done"]
        denials = {denial.tool: denial.reason.value for denial in current_session().denials}
        return ResponsesAgentResponse(output=items, custom_outputs={"denials": denials})

    @user_session
    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        messages = [{"role": item.role, "content": item.content} for item in request.input]
        for _ in range(5):
            message = ask_model(messages)
            messages.append(message)
            calls = message.get("tool_calls") or []
            if not calls:
                break
            for call in calls:
                name, arguments = call["function"]["name"], call["function"]["arguments"]
                result = TOOLS[name](**json.loads(arguments))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
                done = self.create_function_call_output_item(call_id=call["id"], output=result)
                yield ResponsesAgentStreamEvent(type="response.output_item.done", item=done)
        answer, item_id = message.get("content") or "", str(uuid4())
        for word in answer.split(" "):
            yield ResponsesAgentStreamEvent(**self.create_text_delta(delta=f"{word} ", item_id=item_id))
        item = self.create_text_output_item(text=answer, id=item_id)
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)


mlflow.models.set_model(SupportAgent())
