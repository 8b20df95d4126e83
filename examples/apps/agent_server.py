"""MLflow's agent server, as Databricks' app templates use it: the kit reads the headers that the server keeps.

A tool that waits runs in a thread, which keeps the session: the server answers others meanwhile.

Run: python examples/apps/agent_server.py
"""

import asyncio
from collections.abc import AsyncIterator

from databricks.sdk import WorkspaceClient
from mlflow.genai.agent_server import AgentServer, invoke, stream

from obo_kit import user_session, with_user_client
from obo_kit.integrations.errors import answer_refusals


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


@invoke()
@user_session
async def answer(request: dict) -> dict:
    return {"answer": await asyncio.to_thread(whoami)}


@stream()
@user_session
async def answers(request: dict) -> AsyncIterator[dict]:
    for _ in range(2):
        yield {"answer": await asyncio.to_thread(whoami)}


server = AgentServer()
answer_refusals(server)  # a call without a user: 401, and a line for whoever called
app = server.app

if __name__ == "__main__":
    server.run("agent_server:app")
