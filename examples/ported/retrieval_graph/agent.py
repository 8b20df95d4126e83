"""Model Serving, LangGraph and vector search: one retriever tool for each index that the user may read."""

from __future__ import annotations

from collections.abc import Iterator

import mlflow
from databricks.sdk import WorkspaceClient
from databricks_langchain import ChatDatabricks, VectorSearchRetrieverTool
from langchain.agents import create_agent
from mlflow.models.resources import DatabricksVectorSearchIndex
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
    output_to_responses_items_stream,
    to_chat_completions_input,
)
from obo_kit import available_tools, requires_scopes, user_session

LLM = "chat-model"
FAQ = "main.support.faq"
CONTRACTS = "main.legal.contracts"


@requires_scopes(DatabricksVectorSearchIndex(FAQ))
def search_faq(client: WorkspaceClient):
    return VectorSearchRetrieverTool(
        index_name=FAQ, tool_name="search_faq", tool_description="Search the FAQ.", workspace_client=client
    )


@requires_scopes(DatabricksVectorSearchIndex(CONTRACTS))
def search_contracts(client: WorkspaceClient):
    return VectorSearchRetrieverTool(
        index_name=CONTRACTS,
        tool_name="search_contracts",
        tool_description="Search contracts.",
        workspace_client=client,
    )


@user_session
class Agent(ResponsesAgent):
    def make_graph(self):
        return create_agent(ChatDatabricks(endpoint=LLM), available_tools(search_faq, search_contracts))

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        events = self.predict_stream(request)
        return ResponsesAgentResponse(output=[e.item for e in events if e.type == "response.output_item.done"])

    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        messages = to_chat_completions_input([item.model_dump() for item in request.input])
        for update in self.make_graph().stream({"messages": messages}, stream_mode="updates"):
            for node in update.values():
                yield from output_to_responses_items_stream(node["messages"])


mlflow.models.set_model(Agent())
