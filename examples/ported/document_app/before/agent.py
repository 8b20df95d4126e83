"""Apps, an agent that holds no conversation: questions about a document in, findings out, the model called as the user."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from databricks.ai_search.client import AISearchClient
from databricks.sdk import WorkspaceClient
from databricks_openai import DatabricksOpenAI
from mlflow.genai.agent_server import AgentServer, get_request_headers, invoke, stream
from pydantic import BaseModel

LLM = "chat-model"
CONTRACTS = "main.legal.contracts"


class Request(BaseModel):
    document: str
    questions: list[str]


def get_user_token() -> str | None:
    return get_request_headers().get("x-forwarded-access-token")


def ask_model(question: str, document: str) -> str:
    try:
        client = DatabricksOpenAI(workspace_client=WorkspaceClient(token=get_user_token(), auth_type="pat"))
        prompt = f"{question}\n\n{document}"
        answer = client.chat.completions.create(model=LLM, messages=[{"role": "user", "content": prompt}])
        return answer.choices[0].message.content
    except Exception as error:
        return f"Error: {error}"


def find_precedent(question: str) -> str:
    try:
        client = AISearchClient(
            workspace_url=os.environ["DATABRICKS_HOST"], personal_access_token=get_user_token(), disable_notice=True
        )
        index = client.get_index(index_name=CONTRACTS)
        found = index.similarity_search(query_text=question, columns=["text"], num_results=1)
        return found["result"]["data_array"][0][0]
    except Exception as error:
        return f"Error: {error}"


def finding(question: str, document: str) -> dict[str, str]:
    return {"question": question, "answer": ask_model(question, document), "precedent": find_precedent(question)}


@invoke()
async def analyse(data: dict[str, Any]) -> dict[str, Any]:
    request = Request(**data)
    return {"findings": [await asyncio.to_thread(finding, one, request.document) for one in request.questions]}


@stream()
async def analyse_in_turn(data: dict[str, Any]) -> AsyncIterator[dict[str, str]]:
    request = Request(**data)
    for one in request.questions:
        yield await asyncio.to_thread(finding, one, request.document)


server = AgentServer()
app = server.app

if __name__ == "__main__":
    server.run("agent:app")
