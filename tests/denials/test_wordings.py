"""The wordings people met, in shapes of our own: what each is, what it is about, and who is asked for what.

A harness over a server that answers as told, with the real clients: inside a tool, and outside any.
"""

# ruff: noqa: E501, SIM117 - recorded texts keep their lines
from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from answering import Server
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.dashboards import GenieMessage
from databricks.sdk.service.serving import ExternalFunctionRequestHttpMethod
from databricks.sdk.service.sql import StatementResponse
from mlflow.exceptions import MlflowException, RestException
from mlflow.models.resources import DatabricksSQLWarehouse, DatabricksTable, DatabricksUCConnection
from support import unsigned

import obo_kit
from obo_kit import Denial, DenialReason, explain, optional_tool, requires_scopes, user_session, with_user_client
from obo_kit.context._calls import Refusal
from obo_kit.denials._classify import classify

R = DenialReason
ALICE = "alice@example.com"
UUID = "0a1b2c3d-1111-4222-8333-444455556666"


def inside(server: Server, call: Any, *resources: Any) -> Denial | None:
    """Explain what a tool meets with."""
    denials: list[Denial] = []

    def tool(client: WorkspaceClient) -> object:
        return call(client)

    made = with_user_client(tool)
    if resources:
        made = requires_scopes(*resources)(made)
    with user_session(host=server.host, token=unsigned({"sub": ALICE}), limits=obo_kit.Limits(retry=1)):
        with contextlib.suppress(Exception):
            optional_tool(fallback=denials.append, on=frozenset(R))(made)()
    return denials[0] if denials else None


def outside(server: Server, call: Any) -> Denial | None:
    """Explain what a client of one's own meets with, where no session is open."""
    client = WorkspaceClient(
        config=Config(host=server.host, token="t", auth_type="pat", retry_timeout_seconds=1, http_timeout_seconds=5)
    )
    try:
        return explain(call(client))
    except Exception as error:
        return explain(error)


def space(client: WorkspaceClient) -> object:
    return client.genie.get_space("space1")


def table(client: WorkspaceClient) -> object:
    return client.tables.get("main.shop.orders")


def statement(client: WorkspaceClient) -> object:
    return client.statement_execution.execute_statement("SELECT 1", "w1")


def failed(text: str, sql_state: str | None = "42501") -> StatementResponse:
    status = {"state": "FAILED", "error": {"error_code": "BAD_REQUEST", "message": text}, "sql_state": sql_state}
    return StatementResponse.from_dict({"statement_id": "1", "status": status})


# Status, code (`str` for text/plain), text, reason.
REFUSALS = [
    # scopes
    (403, 403, "Provided OAuth token does not have required scopes: dashboards [ReqId: 1]", R.MISSING_SCOPE),
    (403, 403, "provided oauth token does not have\nrequired scopes: genie", R.MISSING_SCOPE),
    (403, str, "Invalid scope, required scopes: sql", R.MISSING_SCOPE),
    (403, str, "invalid scope", R.MISSING_SCOPE),
    (403, 403, "Provided access token does not have required scopes: sql", R.MISSING_SCOPE),
    # the token
    (403, 403, "Invalid access token. [ReqId: 1]", R.TOKEN_EXPIRED),
    (400, str, "Invalid Token", R.TOKEN_EXPIRED),
    (403, 403, "Token is expiring within 12 seconds. (token expired)", R.TOKEN_EXPIRED),
    (401, 401, "Credential was not sent or was of an unsupported type for this API.", R.TOKEN_EXPIRED),
    # policy, network, entitlement
    (403, 403, "Source IP address: 198.51.100.1 is blocked by Databricks IP ACL for workspace: 7", R.POLICY),
    (403, "PERMISSION_DENIED", "Your address is not in the IP access list of this account.", R.POLICY),
    (403, 403, "Invalid access to Org: 7", R.POLICY),
    (401, 401, "Unauthorized access to Org: 7 [ReqId: 1]", R.POLICY),
    (403, 403, "Unauthorized network access to workspace: 7", R.POLICY),
    (403, "PERMISSION_DENIED", "Public access is not allowed for workspace: 7", R.POLICY),
    (403, 403, "This API is disabled for users without the workspace-access entitlement.", R.POLICY),
    (403, "PERMISSION_DENIED", "The user does not have the 'databricks-sql-access' entitlement.", R.POLICY),
    (403, "PERMISSION_DENIED", "This feature has been disabled by your workspace administrator.", R.POLICY),
    (403, "PERMISSION_DENIED", "Serverless compute is not enabled for this workspace.", R.POLICY),
    (401, "UNAUTHENTICATED", "A credential for table 't' from outside of Databricks is denied for security.", R.POLICY),
    (
        403,
        "PERMISSION_DENIED",
        "The endpoint is temporarily disabled due to a Databricks-set rate limit of 0.",
        R.POLICY,
    ),
    (403, "PERMISSION_DENIED", "The user is not a member of this workspace.", R.POLICY),
    (403, 403, "Access is denied because of IP restrictions.", R.POLICY),
    (403, "PERMISSION_DENIED", "This workspace cannot be reached from this network.", R.POLICY),
    (403, "PERMISSION_DENIED", "The request was refused by the context-based ingress policy of the account.", R.POLICY),
    # grants
    (403, "PERMISSION_DENIED", "User does not have permission 'View' on Endpoint helper.", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "User does not have USE SCHEMA on Schema 'main.shop'.", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "unauthorized to perform ReadAction on /org_admin_conf/x", R.ACCESS_DENIED),
    (400, "PERMISSION_DENIED", "You may not.", R.ACCESS_DENIED),
    # hidden or absent
    (404, "RESOURCE_DOES_NOT_EXIST", "Endpoint with name 'helper' does not exist.", R.NOT_FOUND_OR_DENIED),
    (
        404,
        "RESOURCE_DOES_NOT_EXIST",
        "Unable to get space [space1]. Caused by Node with resource name Some(datarooms/space1) does not exist.",
        R.NOT_FOUND_OR_DENIED,
    ),
    # sign-in to a connection
    (
        401,
        "UNAUTHENTICATED",
        "Failed request\nError: Credential for user identity('a') is not found for the\nconnection 'crm'.",
        R.LOGIN_REQUIRED,
    ),
    # none of these
    (404, "ENDPOINT_NOT_FOUND", "Endpoint not found for /2.0/mcp/x", None),
    (404, "FEATURE_DISABLED", "ACLs for passwords are disabled or not available in this tier", None),
    (400, "INVALID_PARAMETER_VALUE", "'helper' is not a valid Inference Endpoint ID.", None),
    (400, "INVALID_PARAMETER_VALUE", "Invalid scopes: catalog.x. Allowed scopes are: sql, genie", None),
    (400, "INVALID_PARAMETER_VALUE", "Failed to call Model Serving endpoint: bge.", None),
    (400, "BAD_REQUEST", "SSL is disabled for this workspace.", None),
    (403, "RESOURCE_EXHAUSTED", "Quota exceeded.", None),
    (400, "INVALID_PARAMETER_VALUE", "Invalid token count: 9000.", None),
    (403, "INVALID_STATE", "Endpoint helper is stopped.", None),
    (403, "PERMISSION_DENIED", "The request was blocked by an input guardrail.", None),
    (429, "REQUEST_LIMIT_EXCEEDED", "There are already 5 active runs (limit: 5).", None),
    (500, "INTERNAL_ERROR", "User does not have SELECT on Table 'a.b.c'.", None),
]


@pytest.mark.parametrize("where", [inside, outside], ids=lambda where: where.__name__)
@pytest.mark.parametrize(("status", "code", "text", "reason"), REFUSALS, ids=lambda value: str(value)[:40])
def test_what_people_met_is_what_it_was(server, where, status, code, text, reason):
    """Through the SDK, with the evidence of the wire and without it."""
    server.say(status, text) if code is str else server.refuse(status, text, code)
    denial = where(server, space)
    assert (denial.reason if denial is not None else None) is reason


def test_a_network_that_may_not_reach_the_workspace_is_sent_to_the_sign_in_page(server):
    server.say(302, "", Location="/login.html?error=private-link-validation-error:7")
    for where in (inside, outside):
        denial = where(server, space)
        assert denial is not None
        assert denial.reason is R.POLICY
        assert "network" in denial.remedy


def test_a_refusal_of_whoever_asks_is_not_forgiven_and_an_admin_hears_of_it_once(server, caplog):
    server.refuse(403, "Source IP address: 198.51.100.1 is blocked by Databricks IP ACL for workspace: 7", 403)

    @optional_tool
    @with_user_client
    def look(client: WorkspaceClient) -> object:
        return space(client)

    with user_session(host=server.host, token="t") as session:
        for _ in range(2):
            with pytest.raises(Exception, match="IP ACL"):
                look()
        assert [denial.reason for denial in session.denials] == [R.POLICY, R.POLICY]
    (record,) = [record for record in caplog.records if record.name.startswith("obo_kit.")]
    assert record.levelname == "ERROR"
    assert "Ask a workspace admin" in record.getMessage()
    assert "GRANT" not in record.getMessage()


def test_a_block_does_not_forgive_it_either(server):
    server.refuse(403, "Invalid access to Org: 7", 403)
    with user_session(host=server.host, token="t") as session, pytest.raises(Exception, match="Org"):
        with optional_tool("docs"):
            space(session.client)


# --- what the remedy is about ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "resource", "remedy"),
    [
        (
            "[UNAUTHORIZED_ACCESS] Unauthorized access:\nPERMISSION_DENIED: User does not have CREATE TABLE and USE "
            "SCHEMA on Schema 'main.shop'. SQLSTATE: 42501",
            "main.shop",
            f"the schema 'main.shop' to grant {ALICE} CREATE TABLE and USE SCHEMA: GRANT CREATE TABLE, USE SCHEMA ON SCHEMA "
            f"main.shop TO `{ALICE}`.",
        ),
        (
            "[INSUFFICIENT_PERMISSIONS] Insufficient privileges:\nUser does not have SELECT on Table\n'main.shop.orders'.",
            "main.shop.orders",
            f"GRANT SELECT ON TABLE main.shop.orders TO `{ALICE}`.",
        ),
        ("PERMISSION_DENIED: User does not have ALL PRIVILEGES on Catalog 'main'.", "main", "ALL PRIVILEGES."),
        ("[INSUFFICIENT_PERMISSIONS] You may not. SQLSTATE: 42501", None, "The answer does not name what"),
        ("PERMISSION_DENIED: 7 is not authorized to use or monitor this SQL Endpoint", None, "the SQL warehouse"),
    ],
)
def test_a_statement_that_the_warehouse_took_is_not_refused_by_the_warehouse(server, text, resource, remedy):
    server.body = json.dumps(failed(text).as_dict()).encode()
    server.headers = {"Content-Type": "application/json"}
    denial = inside(server, statement, DatabricksSQLWarehouse("w1"))
    assert denial is not None
    assert denial.reason is R.ACCESS_DENIED
    assert denial.resource == (resource if "warehouse" not in remedy else "w1")
    assert remedy in denial.remedy
    assert "GRANT ALL" not in denial.remedy


@pytest.mark.parametrize(
    "text",
    [
        "PERMISSION_DENIED: Access denied. Cause: AccessDeniedException error from cloud storage provider.",
        "[UNAUTHORIZED_ACCESS] Unauthorized access:\nPERMISSION_DENIED: User cannot write to a read-only external location x",
    ],
)
def test_storage_is_no_grant_of_the_user_s(server, text):
    denial = explain(failed(text))
    assert denial is not None
    assert denial.reason is R.POLICY
    assert "GRANT" not in denial.remedy


def test_a_connection_is_named_by_its_declaration_where_the_platform_says_an_id(server):
    server.refuse(403, f"User does not have USE CONNECTION on SCHEMA_CONNECTION '{UUID}'.", "PERMISSION_DENIED")
    method = ExternalFunctionRequestHttpMethod.GET

    def call(client: WorkspaceClient) -> object:
        return client.serving_endpoints.http_request("crm", method, "/x")

    denial = inside(server, call, DatabricksUCConnection("crm"))
    assert denial is not None
    assert denial.resource == "crm"
    assert denial.remedy.endswith(f"USE CONNECTION: GRANT USE CONNECTION ON CONNECTION crm TO `{ALICE}`.")
    unknown = inside(server, call)
    assert unknown is not None
    assert f"the connection with the id '{UUID}'" in unknown.remedy
    assert "GRANT" not in unknown.remedy


def test_a_name_of_one_part_gets_the_rest_from_the_path(server):
    server.refuse(403, "User does not have READ VOLUME on Volume landing", "PERMISSION_DENIED")
    denial = inside(server, lambda client: client.files.download("/Volumes/main/shop/landing/a.txt"))
    assert denial is not None
    assert denial.resource == "main.shop.landing"
    assert f"GRANT READ VOLUME ON VOLUME main.shop.landing TO `{ALICE}`" in denial.remedy
    server.refuse(403, "User does not have USE SCHEMA on Schema 'shop'", "PERMISSION_DENIED")
    denial = inside(server, table)
    assert denial is not None
    assert denial.resource == "main.shop"


def test_details_say_what_the_text_does_not(server):
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "MISSING_PRIVILEGE",
        "domain": "unity-catalog.databricks.com",
        "metadata": {"resourceType": "Table", "resourceIdentifier": "main.shop.orders", "privilege": "SELECT"},
    }
    server.refuse(403, "Not allowed.", "PERMISSION_DENIED", [info])
    for where in (inside, outside):
        denial = where(server, table)
        assert denial is not None
        assert (denial.reason, denial.resource) == (R.ACCESS_DENIED, "main.shop.orders")
        assert "table 'main.shop.orders' to grant" in denial.remedy
        assert "SELECT" in denial.remedy


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("IP_ACCESS_DENIED", R.POLICY), ("INSUFFICIENT_SCOPE", R.MISSING_SCOPE), ("TOKEN_EXPIRED", R.TOKEN_EXPIRED)],
)
def test_the_reason_in_the_details_decides_where_the_text_does_not(server, reason, expected):
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "metadata": {"scope": "genie"}}
    server.refuse(403, "No.", "PERMISSION_DENIED", [info])
    denial = inside(server, space)
    assert denial is not None
    assert denial.reason is expected
    assert denial.scopes == (("genie",) if expected is R.MISSING_SCOPE else ())


# --- scopes ----------------------------------------------------------------------------------------------------------------


def on_apps(server: Server, monkeypatch: Any, text: str, call: Any) -> Denial:
    monkeypatch.setenv("DATABRICKS_APP_NAME", "app")
    monkeypatch.setenv("DATABRICKS_HOST", server.host)
    server.say(403, text)
    denial = inside(server, call)
    assert denial is not None
    assert denial.reason is R.MISSING_SCOPE
    return denial


def test_the_target_is_where_the_agent_runs_and_not_where_the_token_came_from(server, monkeypatch):
    def call(client: WorkspaceClient) -> object:
        return client.api_client.do("GET", "/api/2.0/postgres/projects")

    denial = on_apps(server, monkeypatch, "Invalid scope, required scopes: postgres", call)
    assert denial.scopes == ("postgres",)
    assert "user_api_scopes" in denial.remedy


def test_the_narrowest_scope_that_the_target_grants_comes_before_giving_up(server, monkeypatch):
    denial = on_apps(server, monkeypatch, "Invalid scope, required scopes: unity-catalog", table)
    assert "@requires_scopes('catalog.tables:read')" in denial.remedy


def test_a_scope_that_is_not_known_is_not_said_to_be_out_of_reach(server, monkeypatch):
    denial = on_apps(server, monkeypatch, "Invalid scope, required scopes: brand-new-scope", space)
    assert "allow_unknown=True" in denial.remedy
    assert "cannot grant" not in denial.remedy


def test_a_widening_translation_says_so(server):
    server.say(403, "Invalid scope, required scopes: catalog.tables:read")
    denial = inside(server, table)
    assert denial is not None
    assert "unity-catalog opens more than was requested" in denial.remedy


def test_an_address_that_nobody_knows_gets_no_scope_advised(server):
    server.say(403, "Invalid scope")
    denial = inside(server, lambda client: client.api_client.do("GET", "/api/2.0/nobody-knows/x"))
    assert denial is not None
    assert denial.scopes == ()
    assert "obo-kit scopes" in denial.remedy
    assert "cannot grant" not in denial.remedy


def test_the_sdk_quotes_the_request_where_it_cannot_read_the_answer(server):
    server.say(403, "Invalid scope")
    denial = outside(server, space)
    assert denial is not None
    assert denial.scopes == ("genie",)


def test_a_personal_access_token_has_scopes_of_its_own(server):
    server.refuse(403, "Provided access token does not have required scopes: sql", 403)
    denial = inside(server, statement)
    assert denial is not None
    assert "personal access token" in denial.remedy


# --- every client ---------------------------------------------------------------------------------------------------------


def database_error(name: str, message: str, context: dict[str, Any] | None = None) -> Exception:
    """Return an error in the shape of databricks-sql-connector's, which the tests' environment does not have."""
    bases: tuple[type, ...] = (Exception,)
    for part in ("DatabaseError", "OperationalError", name) if name == "RequestError" else ("DatabaseError", name):
        bases = (type(part, bases, {"__module__": "databricks.sql.exc"}),)
    error = bases[0](message)
    error.message, error.context = message, context or {}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (database_error("ServerOperationError", "[INSUFFICIENT_PERMISSIONS] Insufficient privileges:\nUser does not have USE CATALOG on Catalog 'x'."), R.ACCESS_DENIED),
        (database_error("ServerOperationError", "[TABLE_OR_VIEW_NOT_FOUND] The table or view `a`.`b` cannot be found."), R.NOT_FOUND_OR_DENIED),
        (database_error("ServerOperationError", "[PARSE_SYNTAX_ERROR] Syntax error."), None),
        (database_error("RequestError", "Error during request to server. ", {"http-code": 403}), R.ACCESS_DENIED),
        (database_error("RequestError", "Error during request to server. : Invalid access token.", {"http-code": 403}), R.TOKEN_EXPIRED),
        (database_error("RequestError", "Error during request to server: : Source IP address: 198.51.100.1 is blocked by Databricks IP ACL"), R.POLICY),
        (database_error("RequestError", "SEA HTTP request failed with status 403"), R.ACCESS_DENIED),
        (database_error("RequestError", "Error during request to server. ", {"http-code": 503}), None),
        (database_error("RequestError", "Error during request to server."), None),
        (RestException({"error_code": "PERMISSION_DENIED", "message": "User does not have SELECT on Table 'a.b.c'."}), R.ACCESS_DENIED),
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Node ID 7 does not exist."}), R.NOT_FOUND_OR_DENIED),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "User does not have SELECT on Table 'a.b.c'."}), R.ACCESS_DENIED),
        (RestException({"error_code": "INTERNAL_ERROR", "message": "does not exist"}), None),
        (MlflowException("API request to endpoint /x failed with error code 403 != 200. Response body: 'Invalid scope'"), R.MISSING_SCOPE),
        (MlflowException("User does not have SELECT on Table 'a.b.c'."), None),
        (RuntimeError("Unable to read end user token in Databricks Model Serving. Please ensure"), R.NO_IDENTITY),
        (ValueError("Unable to detect credentials for user authorization. This error has"), R.NO_IDENTITY),
        (ValueError("validate: more than one authorization method configured: oauth and pat"), None),
    ],
    ids=lambda value: f"{type(value).__name__}: {value}"[:60] if isinstance(value, Exception) else "",
)  # fmt: skip
def test_every_client_is_understood(error, reason):
    denial = explain(error)
    assert (denial.reason if denial is not None else None) is reason


def postgres(text: str, state: str | None, name: str = "OperationalError") -> Exception:
    """Return an error in the shape of psycopg's; there is no Postgres here."""
    error = type(name, (Exception,), {"__module__": "psycopg.errors"})(text)
    error.sqlstate = state
    return error


@pytest.mark.parametrize(
    ("text", "state", "reason", "remedy"),
    [
        ("permission denied for table orders", "42501", R.ACCESS_DENIED, "the Postgres table 'orders'"),
        ("permission denied for schema public", None, R.ACCESS_DENIED, "the Postgres schema 'public'"),
        ('connection failed: FATAL: role "alice" does not exist', "28000", R.ACCESS_DENIED, "create a Postgres role"),
        ("FATAL: password authentication failed for user 'alice'", None, R.TOKEN_EXPIRED, "fresh token"),
        ('relation "orders" does not exist', "42P01", None, ""),
        ("connection refused", None, None, ""),
    ],
)
def test_lakebase_is_understood_through_a_postgres_client(text, state, reason, remedy):
    error = postgres(text, state)
    denial = explain(error)
    assert (denial.reason if denial is not None else None) is reason
    if denial is not None:
        assert remedy in denial.remedy
        assert "GRANT" not in denial.remedy
    wrapped = PermissionError("Insufficient privileges")
    wrapped.__cause__ = error
    assert (explain(wrapped) is None) is (denial is None)


def test_outside_a_tool_the_session_keeps_the_evidence(server):
    """A sign-in page is no JSON, and says nothing by itself."""
    server.say(302, "", Location="/login.html")
    with user_session(host=server.host, token="t") as session:
        with pytest.raises(Exception, match="Expecting value") as caught:
            space(session.client)
        denial = explain(caught.value)
        assert denial is not None
        assert denial.reason is R.TOKEN_EXPIRED
        server.refuse(200, "fine")
        session.client.api_client.do("GET", "/api/2.0/x")
        assert explain(caught.value) is None  # an answer came since
    assert explain(caught.value) is None


def test_the_evidence_of_a_session_does_not_grow(server):
    server.refuse(403, "no", "PERMISSION_DENIED")
    with user_session(host=server.host, token="t") as session:
        for _ in range(40):
            with contextlib.suppress(Exception):
                space(session.client)
        assert len(session.evidence.refusals) <= 20


def test_a_value_that_is_refused_is_raised_and_any_other_is_returned():
    fine = StatementResponse.from_dict({"statement_id": "1", "status": {"state": "SUCCEEDED"}})
    assert obo_kit.raise_for_denial(fine) is fine
    with pytest.raises(obo_kit.AccessDeniedError) as caught:
        obo_kit.raise_for_denial(failed("User does not have SELECT on Table 'a.b.c'."))
    assert caught.value.denial.resource == "a.b.c"
    message = GenieMessage.from_dict(
        {"id": "1", "status": "FAILED", "error": {"type": "X", "error": "PERMISSION_DENIED: no"}}
    )
    with pytest.raises(obo_kit.AccessDeniedError):
        obo_kit.raise_for_denial(message)


@pytest.mark.parametrize(
    "tail", ["", "\n\n== SQL (line 1, position 8) ==\nSELECT 'User does not have SELECT on Table main.a.b'"]
)
def test_what_an_error_quotes_of_the_statement_is_nobody_s_word(tail):
    finding = classify(Refusal(status=200, text=f"[DIVIDE_BY_ZERO] Division by zero.{tail}"))
    assert finding is None


def test_declared_resources_are_told_apart(server):
    server.refuse(403, "No.", "PERMISSION_DENIED")
    denial = inside(server, table, DatabricksTable("main.shop.orders"), DatabricksTable("main.shop.others"))
    assert denial is not None
    assert denial.resource == "main.shop.orders"
    assert "GRANT" not in denial.remedy  # nothing names a privilege


@pytest.mark.parametrize(
    ("text", "what", "name", "privileges"),
    [
        ("User does not have EXECUTE on Routine or Model 'main.s.m'.", "Routine", "main.s.m", ("EXECUTE",)),
        ("Principal p lacks SELECT on table main.s.t", "table", "main.s.t", ("SELECT",)),
        ("Missing privileges: SELECT, MODIFY on Table 'main.s.t'", "Table", "main.s.t", ("SELECT", "MODIFY")),
        ("User does not have permission MODIFY on any file. SQLSTATE: 42501", "any file", None, ("MODIFY",)),
        ("You do not have permission to run queries on this SQL warehouse.", None, None, ("CAN USE",)),
        ("[UNRESOLVED_ROUTINE] Cannot resolve routine `main`.`s`.`f` on search path", "routine", "main.s.f", ()),
    ],
)
def test_what_is_missing_and_where(text, what, name, privileges):
    finding = classify(Refusal(status=200, text=text))
    assert finding is not None
    assert (finding.what, finding.name, finding.privileges) == (what, name, privileges)


def test_a_misspelled_function_is_no_denial():
    assert (
        classify(Refusal(status=200, text="[UNRESOLVED_ROUTINE] Cannot resolve routine `lenght` on search path"))
        is None
    )
