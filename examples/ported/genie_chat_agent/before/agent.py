"""Model Serving, a ChatAgent that asks Genie spaces."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import mlflow
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials
from databricks_ai_bridge.genie import Genie
from mlflow.pyfunc import ChatAgent
from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse

SPACES = {"sales": "01f0ea87c0de", "staff": "01f0ea87c0df"}


def ask(space: str, question: str) -> str:
    user_client = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())
    try:
        return Genie(SPACES[space], client=user_client).ask_question(question).result
    except Exception as error:
        return f"Error: {error}"


class Agent(ChatAgent):
    def predict(self, messages, context=None, custom_inputs=None) -> ChatAgentResponse:
        return ChatAgentResponse(messages=[chunk.delta for chunk in self.predict_stream(messages)])

    def predict_stream(self, messages, context=None, custom_inputs=None) -> Iterator[ChatAgentChunk]:
        for space in SPACES:
            said = ask(space, messages[-1].content)
            message = ChatAgentMessage(role="assistant", name=space, content=said, id=str(uuid4()))
            yield ChatAgentChunk(delta=message)


mlflow.models.set_model(Agent())
