"""An agent for Databricks Apps, on MLflow's agent server: it answers each user with what that user may see."""

import asyncio
from collections.abc import AsyncIterator

from databricks.sdk import WorkspaceClient
from mlflow.genai.agent_server import AgentServer, invoke, stream
from mlflow.models.resources import DatabricksSQLWarehouse
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
    create_text_delta,
    create_text_output_item,
)

from obo_kit import optional_tool, requires_scopes, user_session, with_user_client
from obo_kit.integrations.sql import statement_rows

WAREHOUSE = "a1b2c3"


@optional_tool(fallback="Order data is not available to you.")  # a denial, and nothing else, becomes this
@requires_scopes(DatabricksSQLWarehouse(WAREHOUSE))  # declared once: scopes of the app, check and guard
@with_user_client  # the client of whoever asks; no model sees it
def count_orders(client: WorkspaceClient) -> str:
    """Count the orders."""
    response = client.statement_execution.execute_statement("SELECT count(*) AS n FROM main.shop.orders", WAREHOUSE)
    (row,) = statement_rows(client, response)  # waits, raises a refusal, and gives every row
    return f"There are {row['n']} orders."


@invoke()
@user_session  # one identity for the request, streams included
async def answer(request: ResponsesAgentRequest) -> ResponsesAgentResponse:
    text = await asyncio.to_thread(count_orders)  # it waits for the warehouse; the server goes on
    return ResponsesAgentResponse(output=[create_text_output_item(text=text, id="1")])


@stream()
@user_session
async def answers(request: ResponsesAgentRequest) -> AsyncIterator[ResponsesAgentStreamEvent]:
    text = await asyncio.to_thread(count_orders)
    for word in text.split(" "):
        yield ResponsesAgentStreamEvent(**create_text_delta(delta=f"{word} ", item_id="1"))
    yield ResponsesAgentStreamEvent(type="response.output_item.done", item=create_text_output_item(text=text, id="1"))


server = AgentServer("ResponsesAgent")
app = server.app

if __name__ == "__main__":
    server.run("agent:app")
