"""An agent for Model Serving: it answers each user with what that user may see."""

from collections.abc import Iterator

import mlflow
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksSQLWarehouse
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent

from obo_kit import optional_tool, requires_scopes, user_session, with_user_client
from obo_kit.integrations.sql import statement_rows

WAREHOUSE = "a1b2c3"


@optional_tool(fallback="Order data is not available to you.")  # a denial, and nothing else, becomes this
@requires_scopes(DatabricksSQLWarehouse(WAREHOUSE))  # declared once: policy, check and guard
@with_user_client  # the client of whoever asks; no model sees it
def count_orders(client: WorkspaceClient) -> str:
    """Count the orders."""
    response = client.statement_execution.execute_statement("SELECT count(*) AS n FROM main.shop.orders", WAREHOUSE)
    (row,) = statement_rows(client, response)  # waits, raises a refusal, and gives every row
    return f"There are {row['n']} orders."


class Agent(ResponsesAgent):
    """Counts the orders, whatever is asked: let your model call the tool instead."""

    @user_session  # one identity for the request, streams included
    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        events = self.predict_stream(request)
        return ResponsesAgentResponse(
            output=[event.item for event in events if event.type == "response.output_item.done"]
        )

    @user_session
    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        answer = count_orders()
        for word in answer.split(" "):
            yield ResponsesAgentStreamEvent(**self.create_text_delta(delta=f"{word} ", item_id="1"))
        item = self.create_text_output_item(text=answer, id="1")
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)


mlflow.models.set_model(Agent())
