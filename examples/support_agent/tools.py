"""The tools that act for the user: plain functions, two decorators' worth of declarations, no `try`/`except`."""

from __future__ import annotations

from databricks.sdk import WorkspaceClient
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from mlflow.models.resources import DatabricksGenieSpace, DatabricksServingEndpoint, DatabricksSQLWarehouse

from obo_kit import optional_tool, requires_scopes, with_user_client
from obo_kit.integrations.sql import statement_rows

GENIE_SPACE = "01f0ea87c0de"
WAREHOUSE = "a1b2c3d4e5f6"
TRIAGE_ENDPOINT = "support-triage"


@optional_tool(fallback="Sales figures are not available to you.")
@requires_scopes(DatabricksGenieSpace(GENIE_SPACE))
@with_user_client
def ask_sales(client: WorkspaceClient, question: str) -> str:
    """Answer a question about sales figures."""
    message = client.genie.start_conversation_and_wait(GENIE_SPACE, question)
    parts = message.attachments or []  # a summary, the query, questions to ask next: in any order
    query = next((part for part in parts if part.query and part.attachment_id), None)
    if query is None:
        return " ".join(part.text.content for part in parts if part.text and part.text.content) or "no answer"
    result = client.genie.get_message_attachment_query_result(
        GENIE_SPACE, message.conversation_id, message.message_id, query.attachment_id
    ).statement_response
    rows = result.result.data_array if result and result.result else None
    return "; ".join(", ".join(row) for row in rows or []) or "no sales"


@optional_tool
@requires_scopes(DatabricksSQLWarehouse(WAREHOUSE))
@with_user_client
def list_tickets(client: WorkspaceClient, topic: str) -> str:
    """List the open support tickets about a topic."""
    response = client.statement_execution.execute_statement(
        statement="SELECT id, subject FROM main.support.tickets WHERE subject ILIKE '%' || :topic || '%' ORDER BY id",
        warehouse_id=WAREHOUSE,
        parameters=[_text("topic", topic)],
    )
    rows = statement_rows(client, response)
    return "; ".join(f"{row['id']} {row['subject']}" for row in rows) or "no open tickets"


@optional_tool
@requires_scopes(DatabricksServingEndpoint(TRIAGE_ENDPOINT))
@with_user_client
def triage(client: WorkspaceClient, question: str) -> str:
    """Say how urgent a question is."""
    answer = client.serving_endpoints.query(
        TRIAGE_ENDPOINT, messages=[ChatMessage(role=ChatMessageRole.USER, content=question)]
    )
    message = answer.choices[0].message if answer.choices else None
    return (message.content if message else None) or "unknown"


def _text(name: str, value: str):
    from databricks.sdk.service.sql import StatementParameterListItem

    return StatementParameterListItem(name=name, value=value)
