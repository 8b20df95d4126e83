"""Model Serving, LangGraph and vector search: one retriever tool for each index that the user may read."""

from __future__ import annotations

from collections.abc import Iterator

import mlflow
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials
from databricks_langchain import ChatDatabricks, VectorSearchRetrieverTool
from langchain.agents import create_agent
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
    output_to_responses_items_stream,
    to_chat_completions_input,
)

LLM = "chat-model"
FAQ = "main.support.faq"
CONTRACTS = "main.legal.contracts"


def search_faq(client: WorkspaceClient):
    return VectorSearchRetrieverTool(
        index_name=FAQ, tool_name="search_faq", tool_description="Search the FAQ.", workspace_client=client
    )


def search_contracts(client: WorkspaceClient):
    return VectorSearchRetrieverTool(
        index_name=CONTRACTS,
        tool_name="search_contracts",
        tool_description="Search contracts.",
        workspace_client=client,
    )


class Agent(ResponsesAgent):
    def make_graph(self):
        user_client = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())
        tools = []
        for factory in (search_faq, search_contracts):
            try:
                tools.append(factory(user_client))
            except Exception as error:
                print(f"Leaving out {factory.__name__}: {error}")
        return create_agent(ChatDatabricks(endpoint=LLM), tools)

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        events = self.predict_stream(request)
        return ResponsesAgentResponse(output=[e.item for e in events if e.type == "response.output_item.done"])

    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        messages = to_chat_completions_input([item.model_dump() for item in request.input])
        for update in self.make_graph().stream({"messages": messages}, stream_mode="updates"):
            for node in update.values():
                yield from output_to_responses_items_stream(node["messages"])


mlflow.models.set_model(Agent())
