"""Refusals as clients raise them, for the tests of what they are explained as."""

from __future__ import annotations

import warnings

import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors.parser import _Parser
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from databricks.sdk.service.sql import ServiceError, StatementResponse, StatementStatus
from mlflow.models.resources import (
    DatabricksGenieSpace,
    DatabricksServingEndpoint,
    DatabricksSQLWarehouse,
    DatabricksVectorSearchIndex,
)
from support import INDEX, LLM, SPACE

from obo_kit import Denial, DenialReason, optional_tool, requires_scopes, with_user_client
from obo_kit.context._calls import ToolCall

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from databricks.ai_search.client import AISearchClient


R = DenialReason
QUESTION = "How many tickets are there?"


def denied(tool, *args):
    """What a tool was denied."""
    got: list[Denial] = []
    optional_tool(fallback=got.append)(tool)(*args)
    (denial,) = got
    return denial


# --- the calls of the OBO documentation, as users who may not -------------------------------------------------------------


@requires_scopes(DatabricksVectorSearchIndex(INDEX))
@with_user_client
def search(client: AISearchClient, index: str = INDEX):
    found = client.get_index(index_name=index).similarity_search(query_text="refund", columns=["id"], num_results=1)
    return found["result"]["data_array"]


@requires_scopes("vector-search")
@with_user_client
def sdk_search(client: WorkspaceClient, index: str = INDEX):
    return client.vector_search_indexes.query_index(index, columns=["id"], query_text="refund", num_results=1)


@requires_scopes(DatabricksGenieSpace(SPACE))
@with_user_client
def ask(client: WorkspaceClient, space: str = SPACE):
    return client.genie.start_conversation_and_wait(space, QUESTION)


@requires_scopes(DatabricksGenieSpace(SPACE))
@with_user_client
def look_at_space(client: WorkspaceClient):
    return client.genie.get_space(SPACE)


@requires_scopes(DatabricksServingEndpoint(LLM))
@with_user_client
def query(client: WorkspaceClient, endpoint: str = LLM):
    return client.serving_endpoints.query(endpoint, messages=[ChatMessage(role=ChatMessageRole.USER, content="hello")])


@requires_scopes(DatabricksSQLWarehouse("wh1"))
@with_user_client
def select(client: WorkspaceClient, table: str = "main.support.tickets", warehouse: str = "wh1"):
    return client.statement_execution.execute_statement(
        statement=f"SELECT id FROM {table}", warehouse_id=warehouse, wait_timeout="30s"
    )


CALLS = [search, sdk_search, ask, look_at_space, query, select]


def call_with(refusals):
    """A tool call whose clients saw these refusals."""
    call = ToolCall("tool", None)
    call.evidence.refusals.extend(refusals)
    return call


# --- what is answered, case by case ---------------------------------------------------------------------------------------


def answer_of(status: int, body: str, url: str = "https://example.com/api/2.0/x") -> requests.Response:
    response = requests.Response()
    response.status_code, response._content, response.url = status, body.encode(), url
    response.reason = "Reason"
    response.request = requests.Request("GET", url).prepare()
    return response


# --- wrapped --------------------------------------------------------------------------------------------------------------


def sdk_error(status=403, code="PERMISSION_DENIED", text="no") -> Exception:
    body = f'{{"error_code": "{code}", "message": "{text}"}}'
    error = _Parser().get_api_error(answer_of(status, body))
    assert error is not None
    return error


def raised(make, cause=None, context=None) -> BaseException:
    try:
        try:
            if context is not None:
                raise context
        except Exception:
            if cause is not None:
                raise make from cause
            raise make  # noqa: B904 - the accidental context is what is tested
        if cause is not None:
            raise make from cause
        raise make
    except BaseException as error:
        return error


# --- values ---------------------------------------------------------------------------------------------------------------

DENIAL_TEXT = (
    "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have SELECT on Table 'a.b.c'. SQLSTATE: 42501"
)


def statement(state, text=DENIAL_TEXT, sql_state=None):
    return StatementResponse(status=StatementStatus(state=state, error=ServiceError(message=text), sql_state=sql_state))
