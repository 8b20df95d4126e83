"""Apps, an agent that holds no conversation: questions about a document in, findings out, the model called as the user."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from databricks.ai_search.client import AISearchClient
from databricks_openai import DatabricksOpenAI
from mlflow.genai.agent_server import AgentServer, invoke, stream
from mlflow.models.resources import DatabricksServingEndpoint, DatabricksVectorSearchIndex
from obo_kit import user_session, user_tool
from pydantic import BaseModel

LLM = "chat-model"
CONTRACTS = "main.legal.contracts"


class Request(BaseModel):
    document: str
    questions: list[str]


@user_tool(DatabricksServingEndpoint(LLM))
def ask_model(client: DatabricksOpenAI, question: str, document: str) -> str:
    prompt = f"{question}\n\n{document}"
    answer = client.chat.completions.create(model=LLM, messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content


@user_tool(DatabricksVectorSearchIndex(CONTRACTS))
def find_precedent(client: AISearchClient, question: str) -> str:
    index = client.get_index(index_name=CONTRACTS)
    found = index.similarity_search(query_text=question, columns=["text"], num_results=1)
    return found["result"]["data_array"][0][0]


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
app = user_session(server.app)

if __name__ == "__main__":
    server.run("agent:app")
