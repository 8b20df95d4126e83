"""Model Serving, a ChatAgent that asks Genie spaces."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import mlflow
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge.genie import Genie
from mlflow.models.resources import DatabricksGenieSpace
from mlflow.pyfunc import ChatAgent
from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse
from obo_kit import raise_for_denial, user_session, user_tool

SPACES = {"sales": "01f0ea87c0de", "staff": "01f0ea87c0df"}


@user_tool(*map(DatabricksGenieSpace, SPACES.values()))
def ask(client: WorkspaceClient, space: str, question: str) -> str:
    return raise_for_denial(Genie(SPACES[space], client=client).ask_question(question)).result


@user_session
class Agent(ChatAgent):
    def predict(self, messages, context=None, custom_inputs=None) -> ChatAgentResponse:
        return ChatAgentResponse(messages=[chunk.delta for chunk in self.predict_stream(messages)])

    def predict_stream(self, messages, context=None, custom_inputs=None) -> Iterator[ChatAgentChunk]:
        for space in SPACES:
            said = ask(space, messages[-1].content)
            message = ChatAgentMessage(role="assistant", name=space, content=said, id=str(uuid4()))
            yield ChatAgentChunk(delta=message)


mlflow.models.set_model(Agent())
