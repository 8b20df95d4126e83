"""Every refusal the local workspace can give, in one table, each with its standing and its source.

``standing`` says how sure we are that the platform answers so:

``documented``
    Databricks' documentation, or code that Databricks ships, says so.
``reported``
    Somebody saw it on a workspace and wrote it down.
``inferred``
    Nobody wrote it down; this is the answer that fits the rest best.

``source`` names a refusal that was recorded (``errors.``), a kind of resource in the catalogue (``kinds.``), or a public
file by its number in a search index (``fid:``); or it says what the answer was inferred from.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["REFUSALS", "Refusal", "RefusedError", "refusal_text"]

Standing = Literal["documented", "reported", "inferred"]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One way to say no.

    Attributes:
        status: HTTP status. 200 where the platform reports the refusal as data (SQL, Genie).
        code: ``error_code`` of the body. A number where the platform sends a number.
        text: Message; the fields in braces are filled in, ``{request}`` with a request id.
        decision: What the request log records.
        standing: See the module.
        source: See the module.
        headers: Response headers that come with it.
        sql_state: SQLSTATE of a failed statement.
    """

    status: int
    code: str | int
    text: str
    decision: str
    standing: Standing
    source: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sql_state: str | None = None


_OAUTH_CODES = frozenset({"invalid_client", "invalid_grant", "invalid_scope", "unsupported_grant_type"})
_TOKEN_HEADERS = {"X-Databricks-Reason-Phrase": "Invalid access token."}

REFUSALS: Mapping[str, Refusal] = {
    # ------------------------------------------------------------------ the token
    "credential_missing": Refusal(
        status=401,
        code=401,
        text="Credential was not sent or was of an unsupported type for this API. [ReqId: {request}]",
        decision="no credential",
        standing="reported",
        source="errors.credential_missing",
        headers={"WWW-Authenticate": 'Bearer realm="DatabricksRealm"'},
    ),
    "invalid_token": Refusal(
        status=403,
        code=403,
        text="Invalid access token. [ReqId: {request}]",
        decision="invalid token",
        standing="reported",
        source="errors.invalid_token",
        headers=_TOKEN_HEADERS,
    ),
    "expired_token": Refusal(
        status=403,
        code=403,
        text="Invalid access token. [ReqId: {request}]",
        decision="expired token",
        standing="reported",
        source="errors.invalid_token",
        headers=_TOKEN_HEADERS,
    ),
    "missing_scope": Refusal(
        status=403,
        code=403,
        text="Provided OAuth token does not have required scopes: {scopes} [ReqId: {request}]",
        decision="missing scope",
        standing="reported",
        source="errors.missing_scope_json",
    ),
    "missing_scope_uc": Refusal(
        status=403,
        code=403,
        text="Provided OAuth token does not have required scopes: {scopes} [ReqId: {request}] Tables and functions of "
        "Unity Catalog are not directly supported with on-behalf-of-user authorization: reach them through a Genie "
        "space (scope genie) or a SQL warehouse (scope sql).",
        decision="missing scope",
        standing="inferred",
        source="errors.missing_scope_json; the second sentence is the OBO documentation's advice in our words, "
        "which the platform does not send",
    ),
    "oauth_client": Refusal(
        status=401,
        code="invalid_client",
        text="Client authentication failed",
        decision="invalid token",
        standing="inferred",
        source="RFC 6749 section 5.2",
    ),
    "oauth_subject": Refusal(
        status=400,
        code="invalid_grant",
        text="The subject token is not valid, or has expired",
        decision="invalid token",
        standing="inferred",
        source="RFC 8693 section 2.2.2",
    ),
    "oauth_scope": Refusal(
        status=400,
        code="invalid_scope",
        text="Scopes '{scopes}' are not assigned to the client {client}",
        decision="missing scope",
        standing="reported",
        source="errors.oauth_token_endpoint_scope",
    ),
    "oauth_grant_type": Refusal(
        status=400,
        code="unsupported_grant_type",
        text="The grant type is not supported: {grant_type}",
        decision="bad request",
        standing="inferred",
        source="RFC 6749 section 5.2",
    ),
    # ------------------------------------------------------------------ the request
    "no_such_api": Refusal(
        status=404,
        code="ENDPOINT_NOT_FOUND",
        text="No API found for '{method} {path}'",
        decision="not found",
        standing="reported",
        source="ENDPOINT_NOT_FOUND in the code map of databricks-sdk errors/platform.py",
    ),
    "malformed": Refusal(
        status=400,
        code="MALFORMED_REQUEST",
        text="{detail}",
        decision="bad request",
        standing="inferred",
        source="MALFORMED_REQUEST in databricks-sdk errors",
    ),
    "invalid_parameter": Refusal(
        status=400,
        code="INVALID_PARAMETER_VALUE",
        text="{detail}",
        decision="bad request",
        standing="inferred",
        source="INVALID_PARAMETER_VALUE in databricks-sdk errors; the wording is ours",
    ),
    "too_large": Refusal(
        status=413,
        code="MAX_REQUEST_SIZE_EXCEEDED",
        text="Request body is larger than {limit} bytes",
        decision="bad request",
        standing="inferred",
        source="HTTP semantics; the wording is ours",
    ),
    # ------------------------------------------------------------------ MCP
    "mcp_no_stream": Refusal(
        status=405,
        code="BAD_REQUEST",
        text="This MCP server keeps no session and opens no stream: {method} is not allowed",
        decision="bad request",
        standing="inferred",
        source="MCP, streamable HTTP: a server without a stream of its own answers GET with 405",
        headers={"Allow": "POST"},
    ),
    "mcp_no_warehouse": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text="PERMISSION_DENIED: {user_id} is not authorized to use any SQL warehouse",
        decision="missing grant",
        standing="inferred",
        source="D-MCP: the server chooses a warehouse that the caller may use; the wording is ours",
    ),
    # A JSON-RPC error, sent with status 200.
    "mcp_tool_missing": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="Tool {name} does not exist",
        decision="not found",
        standing="inferred",
        source="code written against a workspace quotes -32602 BAD_REQUEST with these words; nobody reported it",
    ),
    # ------------------------------------------------------------------ SQL warehouses and tables
    "warehouse_denied": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text="PERMISSION_DENIED: {user_id} is not authorized to use or monitor this SQL Endpoint",
        decision="missing grant",
        standing="reported",
        source="errors.warehouse_denied",
    ),
    "warehouse_missing": Refusal(
        status=404,
        code="RESOURCE_DOES_NOT_EXIST",
        text="SQL warehouse {name} does not exist.",
        decision="not found",
        standing="inferred",
        source="RESOURCE_DOES_NOT_EXIST elsewhere; the wording is ours",
    ),
    "statement_missing": Refusal(
        status=404,
        code="NOT_FOUND",
        text="The statement {name} was not found.",
        decision="not found",
        standing="inferred",
        source="statements belong to whoever ran them; the wording is ours",
    ),
    "session_missing": Refusal(
        status=404,
        code="NOT_FOUND",
        text="The session {name} was not found.",
        decision="not found",
        standing="inferred",
        source="sessions belong to whoever opened them; the wording is ours",
    ),
    "link_denied": Refusal(
        status=403,
        code="AuthenticationFailed",
        text="The link is not valid, has expired, or was sent with an Authorization header.",
        decision="invalid token",
        standing="inferred",
        source="databricks-sdk on EXTERNAL_LINKS (short-lived, no Authorization header); storage differs by cloud",
    ),
    "table_denied": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text="User does not have SELECT on Table '{name}'.",
        decision="missing grant",
        standing="reported",
        source="errors.uc_privilege_missing",
    ),
    "table_missing": Refusal(
        status=404,
        code="TABLE_DOES_NOT_EXIST",
        text="Table '{name}' does not exist.",
        decision="not found",
        standing="reported",
        source="errors.uc_hidden",
    ),
    "function_denied": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text="User does not have EXECUTE on Routine '{name}'.",
        decision="missing grant",
        standing="reported",
        source="errors.uc_privilege_missing",
    ),
    "function_missing": Refusal(
        status=404,
        code="ROUTINE_DOES_NOT_EXIST",
        text="Routine '{name}' does not exist.",
        decision="not found",
        standing="inferred",
        source="errors.uc_hidden, which names tables; the code for a function is ours",
    ),
    # ------------------------------------------------------------------ connections
    "connection_denied": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text="User does not have USE CONNECTION on Connection '{name}'.",
        decision="missing grant",
        standing="reported",
        source="errors.uc_privilege_missing",
    ),
    "connection_missing": Refusal(
        status=404,
        code="CONNECTION_DOES_NOT_EXIST",
        text="Connection '{name}' does not exist.",
        decision="not found",
        standing="inferred",
        source="errors.uc_hidden (other *_DOES_NOT_EXIST)",
    ),
    "connection_login": Refusal(
        status=401,
        code="UNAUTHENTICATED",
        text="Credential for user identity('{user_id}') is not found for the connection '{name}'. "
        "Please login first to the connection by visiting {url}",
        decision="login required",
        standing="reported",
        source="errors.connection_login_required",
    ),
    "connection_unreachable": Refusal(
        status=502,
        code="BAD_GATEWAY",
        text="The service behind connection '{name}' did not answer: {error}",
        decision="upstream error",
        standing="inferred",
        source="HTTP semantics; the wording is ours",
    ),
    # Statement failures: HTTP 200, status.state FAILED, error_code always BAD_REQUEST.
    "sql_denied": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have SELECT on Table '{name}'. "
        "SQLSTATE: 42501",
        decision="missing grant",
        standing="reported",
        source="errors.sql_engine_denied",
        sql_state="42501",
    ),
    "sql_missing": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[TABLE_OR_VIEW_NOT_FOUND] The table or view {name} cannot be found. SQLSTATE: 42P01",
        decision="not found",
        standing="reported",
        source="errors.sql_hidden_or_absent",
        sql_state="42P01",
    ),
    "sql_no_execute": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have EXECUTE on Routine '{name}'. "
        "SQLSTATE: 42501",
        decision="missing grant",
        standing="inferred",
        source="errors.sql_engine_denied with the sample of errors.uc_privilege_missing for a routine",
        sql_state="42501",
    ),
    "sql_no_function": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[UNRESOLVED_ROUTINE] Cannot resolve routine {name}. SQLSTATE: 42883",
        decision="not found",
        standing="inferred",
        source="Spark error class",
        sql_state="42883",
    ),
    "sql_arguments": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[WRONG_NUM_ARGS] {detail} SQLSTATE: 42605",
        decision="bad request",
        standing="inferred",
        source="Spark error class; the detail is DuckDB's",
        sql_state="42605",
    ),
    "sql_no_table_function": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[UNRESOLVABLE_TABLE_VALUED_FUNCTION] Could not resolve {detail} to a table-valued function. SQLSTATE: 42883",
        decision="not found",
        standing="inferred",
        source="Spark error class",
        sql_state="42883",
    ),
    "sql_syntax": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[PARSE_SYNTAX_ERROR] {detail} SQLSTATE: 42601",
        decision="bad request",
        standing="inferred",
        source="Spark error class; the detail is DuckDB's",
        sql_state="42601",
    ),
    "sql_column": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[UNRESOLVED_COLUMN] {detail} SQLSTATE: 42703",
        decision="bad request",
        standing="inferred",
        source="Spark error class; the detail is DuckDB's",
        sql_state="42703",
    ),
    "sql_cast": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[CAST_INVALID_INPUT] {detail} SQLSTATE: 22018",
        decision="bad request",
        standing="inferred",
        source="Spark error class; the detail is DuckDB's",
        sql_state="22018",
    ),
    "sql_parameter": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[UNBOUND_SQL_PARAMETER] Found the unbound parameter: {name}. SQLSTATE: 42P02",
        decision="bad request",
        standing="inferred",
        source="Spark error class",
        sql_state="42P02",
    ),
    "sql_unsupported": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[UNSUPPORTED_STATEMENT] The local workspace runs one statement that only reads. {detail} SQLSTATE: 0A000",
        decision="bad request",
        standing="inferred",
        source="a limit of the stand-in, not of the platform",
        sql_state="0A000",
    ),
    "sql_failed": Refusal(
        status=200,
        code="BAD_REQUEST",
        text="[EXECUTION_ERROR] {detail} SQLSTATE: XXKST",
        decision="bad request",
        standing="inferred",
        source="the detail is DuckDB's",
        sql_state="XXKST",
    ),
    # ------------------------------------------------------------------ vector search
    "index_denied": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text="Insufficient permissions for UC entity {name}",
        decision="missing grant",
        standing="reported",
        source="errors.vs_index_denied",
    ),
    "index_missing": Refusal(
        status=404,
        code="RESOURCE_DOES_NOT_EXIST",
        text="Vector search index {name} does not exist.",
        decision="not found",
        standing="inferred",
        source="errors.vs_index_denied says a missing index is 404; the wording is ours",
    ),
    "index_not_direct": Refusal(
        status=400,
        code="INVALID_PARAMETER_VALUE",
        text="Index {name} is no Direct Vector Access index: it takes no data by this API.",
        decision="bad request",
        standing="inferred",
        source="databricks-sdk says that the index must be of that kind; the wording is ours",
    ),
    "search_columns": Refusal(
        status=400,
        code="INVALID_PARAMETER_VALUE",
        text="Requested columns to fetch are not present in index: {names}",
        decision="bad request",
        standing="reported",
        source="fid:30019228558, fid:59692250467 (the text); the code is inferred",
    ),
    "search_filter_operator": Refusal(
        status=400,
        code="INVALID_PARAMETER_VALUE",
        text="Invalid operator used in filter: {filter}",
        decision="bad request",
        standing="reported",
        source="fid:30019228558, fid:29681677083 (the text); the code is inferred",
    ),
    "search_filter_form": Refusal(
        status=400,
        code="INVALID_PARAMETER_VALUE",
        text="A {endpoint} endpoint takes filters as {form} only",
        decision="bad request",
        standing="inferred",
        source="the filtering guide documents which endpoint takes which form, not what becomes of the other one",
    ),
    "search_endpoint_denied": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text="User does not have CAN_USE on vector search endpoint {name}",
        decision="missing grant",
        standing="inferred",
        source="kinds.vector_search_endpoint (CAN USE); the wording is ours",
    ),
    "search_endpoint_missing": Refusal(
        status=404,
        code="RESOURCE_DOES_NOT_EXIST",
        text="Vector search endpoint {name} does not exist.",
        decision="not found",
        standing="inferred",
        source="as for an index",
    ),
    # ------------------------------------------------------------------ model serving
    "serving_denied": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text="PERMISSION_DENIED: User does not have CAN_QUERY on serving endpoint {name}",
        decision="missing grant",
        standing="reported",
        source="errors.serving_query_denied (weak: no raw capture)",
    ),
    "serving_missing": Refusal(
        status=404,
        code="RESOURCE_DOES_NOT_EXIST",
        text="Serving endpoint {name} does not exist.",
        decision="not found",
        standing="inferred",
        source="RESOURCE_DOES_NOT_EXIST elsewhere; the wording is ours",
    ),
    "serving_query_missing": Refusal(
        status=404,
        code="ENDPOINT_NOT_FOUND",
        text="The given endpoint does not exist, please retry after checking the specified model and version "
        "deployment exists.",
        decision="not found",
        standing="reported",
        source="fid:8610548622",
    ),
    # Misleading, and reported of one route: the words that elsewhere mean an expired token.
    "missing_gateway_scope": Refusal(
        status=403,
        code=403,
        text="Invalid Token",
        decision="missing scope",
        standing="reported",
        source="errors.missing_scope_as_invalid_token",
    ),
    "model_error": Refusal(
        status=400,
        code="BAD_REQUEST",
        text="The model raised {error}: {detail}",
        decision="model error",
        standing="inferred",
        source="BAD_REQUEST in databricks-sdk errors; the wording avoids the words that make databricks-sdk repeat a request",
    ),
    "deploy_bad_scope": Refusal(
        status=400,
        code="INVALID_PARAMETER_VALUE",
        text="Invalid user API scope(s) specified for model: {model}. Invalid scopes: {invalid}. "
        "Allowed scopes are: {allowed}",
        decision="bad request",
        standing="reported",
        source="errors.serving_deploy_bad_scope",
    ),
    # ------------------------------------------------------------------ Genie
    "genie_missing": Refusal(
        status=404,
        code="RESOURCE_DOES_NOT_EXIST",
        text="Genie space {name} does not exist.",
        decision="not found",
        standing="inferred",
        source="errors.genie_space_denied gives status and code; the wording is ours",
    ),
    "genie_denied": Refusal(
        status=404,
        code="RESOURCE_DOES_NOT_EXIST",
        text="Genie space {name} does not exist.",
        decision="missing grant",
        standing="reported",
        source="errors.genie_space_denied",
    ),
    "genie_forbidden": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text='You need "Can View" permission to perform this action',
        decision="missing grant",
        standing="reported",
        source="fid:14872235900, fid:31913721377 (a space that shows itself, to those who may not use it)",
    ),
    "genie_not_manager": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text='You need "Can Manage" permission to perform this action',
        decision="missing grant",
        standing="inferred",
        source="databricks-sdk says that include_all needs CAN MANAGE; the wording follows genie_forbidden",
    ),
    # Message failures: HTTP 200, message status FAILED.
    "genie_no_select": Refusal(
        status=200,
        code="GENERIC_SQL_EXEC_API_CALL_EXCEPTION",
        text="PERMISSION_DENIED: No access to '{name}'. User must have SELECT",
        decision="missing grant",
        standing="reported",
        source="errors.genie_message_failed",
    ),
    "genie_no_warehouse": Refusal(
        status=200,
        code="GENERIC_SQL_EXEC_API_CALL_EXCEPTION",
        text="PERMISSION_DENIED: {user_id} is not authorized to use or monitor this SQL Endpoint",
        decision="missing grant",
        standing="reported",
        source="errors.warehouse_denied (its note: also inside a FAILED Genie message)",
    ),
    "genie_scripted": Refusal(
        status=200,
        code="GENERIC_CHAT_COMPLETION_EXCEPTION",
        text="{detail}",
        decision="model error",
        standing="inferred",
        source="a failure that the author asked for; the type is one of databricks-sdk's MessageErrorType",
    ),
    "genie_sql_failed": Refusal(
        status=200,
        code="GENERIC_SQL_EXEC_API_CALL_EXCEPTION",
        text="{detail}",
        decision="bad request",
        standing="inferred",
        source="the engine's own text",
    ),
    # ------------------------------------------------------------------ apps
    "app_denied": Refusal(
        status=403,
        code="PERMISSION_DENIED",
        text="User does not have CAN_USE on app {name}",
        decision="missing grant",
        standing="inferred",
        source="kinds.databricks_app (CAN USE); the wording is ours",
    ),
    "app_missing": Refusal(
        status=404,
        code="NOT_FOUND",
        text="App with name {name} does not exist or is deleted.",
        decision="not found",
        standing="inferred",
        source="NOT_FOUND in databricks-sdk errors; the wording is ours",
    ),
    "app_bad_scope": Refusal(
        status=400,
        code="INVALID_PARAMETER_VALUE",
        text="The specified scope {scope} is not a valid scope.",
        decision="bad request",
        standing="reported",
        source="errors.apps_config_bad_scope",
    ),
    # ------------------------------------------------------------------ ourselves
    "internal": Refusal(
        status=500,
        code="INTERNAL_ERROR",
        text="The local workspace has a bug: {error}. Its traceback is in the log of obo_kit.testing.",
        decision="fault",
        standing="inferred",
        source="never sent on purpose",
    ),
}


def refusal_text(key: str, **fields: str) -> str:
    """Return the message of a refusal with its fields filled in."""
    return REFUSALS[key].text.format(request=uuid.uuid4(), **fields)


class RefusedError(Exception):
    """A request is refused. Raised by the handlers, turned into an answer by the gate; never leaves the server.

    Attributes:
        refusal: The entry of the table.
        message: Its text, filled in.
        missing: Scopes the token lacks.
    """

    def __init__(self, key: str, /, *, missing: tuple[str, ...] = (), **fields: str) -> None:
        self.refusal = REFUSALS[key]
        self.message = refusal_text(key, **fields)
        self.missing = missing
        super().__init__(self.message)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body, as the REST API (or, under ``/oidc``, OAuth) shapes it."""
        if self.refusal.code in _OAUTH_CODES:
            return {"error": self.refusal.code, "error_description": self.message}
        return {"error_code": self.refusal.code, "message": self.message}
