"""`explain`: rules 15 to 17 of the design, with real clients where a client can be had, and by case where it cannot."""

# ruff: noqa: E501, SIM117 - recorded texts keep their lines; what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import contextlib
import functools
import re
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import DatabricksError, OperationFailed
from databricks.sdk.errors.parser import _Parser
from databricks.sdk.service.dashboards import GenieMessage, MessageError, MessageStatus
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from databricks.sdk.service.sql import ServiceError, StatementResponse, StatementState, StatementStatus
from mlflow.models.resources import (
    DatabricksGenieSpace,
    DatabricksServingEndpoint,
    DatabricksSQLWarehouse,
    DatabricksTable,
    DatabricksVectorSearchIndex,
)
from support import INDEX, LLM, SPACE, as_user

import obo_kit
from obo_kit import (
    AccessDeniedError,
    Denial,
    DenialReason,
    IdentityMismatchError,
    MissingScopeError,
    NoUserIdentityError,
    NoUserSessionError,
    ScopeViolationError,
    SessionClosedError,
    TokenExpiredError,
    explain,
    optional_tool,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit._upstream.lost_texts import LOST_TEXTS
from obo_kit._upstream.texts import TEXTS
from obo_kit.context._calls import Refusal, ToolCall
from obo_kit.denials._classify import classify
from obo_kit.denials._remedies import USER_MESSAGES as _USER_MESSAGES
from obo_kit.identity._user import TokenState
from obo_kit.scopes import KINDS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from databricks.ai_search import utils as search_utils
    from databricks.ai_search.client import AISearchClient

R = DenialReason
QUESTION = "How many tickets are there?"
GRANT = "GRANT SELECT ON TABLE main.support.tickets TO `carol@example.com`"


def denied(tool, *args):
    """What a tool was denied."""
    got: list[Denial] = []
    optional_tool(fallback=got.append)(tool)(*args)
    (denial,) = got
    return denial


def with_token(workspace, name, **options):
    return user_session(host=workspace.host, token=workspace.token(name, **options))


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
every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)


@every_call
def test_who_may_is_not_denied(workspace, call):
    """Rule 15."""
    with as_user(workspace, "alice") as session:
        optional_tool(call)()
        assert session.denials == ()


@every_call
def test_an_expired_token(workspace, monkeypatch, call):
    """Rule 15: told from a missing grant, though both are 403."""
    # Otherwise the kit sees it first, and sends nothing.
    monkeypatch.setattr(
        "obo_kit.identity._credentials.token_state", lambda _: TokenState.FRESH
    )  # a clock that is behind
    with with_token(workspace, "alice", expires_in=-5):
        denial = denied(call)
    assert (denial.reason, denial.status) == (R.TOKEN_EXPIRED, 403)
    assert denial.principal == "alice@example.com"
    assert "fresh token" in denial.remedy


@every_call
def test_a_token_that_the_workspace_does_not_know(workspace, call):
    """Rule 15."""
    with user_session(host=workspace.host, token="dapi0123456789"):
        denial = denied(call)
    assert (denial.reason, denial.status) == (R.TOKEN_EXPIRED, 403)
    assert denial.principal is None


@every_call
def test_a_missing_scope_named_by_the_platform(workspace, monkeypatch, call):
    """Rule 16: where the token did not say what it carries."""
    monkeypatch.setattr("obo_kit.tools._spec.Requirements.check", lambda *_: None)
    with with_token(workspace, "alice", scopes=["files"]):
        denial = denied(call)
    assert (denial.reason, denial.status) == (R.MISSING_SCOPE, 403)
    assert denial.scopes
    assert denial.tool == call.__name__


DENIED = [
    (
        search,
        R.ACCESS_DENIED,
        403,
        INDEX,
        f"Ask the owner of the vector search index '{INDEX}' to grant carol@example.com SELECT",
    ),
    (sdk_search, R.ACCESS_DENIED, 403, INDEX, f"the vector search index '{INDEX}'"),
    (ask, R.NOT_FOUND_OR_DENIED, 404, SPACE, f"If it is, ask the owner of the Genie space '{SPACE}' to grant"),
    (look_at_space, R.NOT_FOUND_OR_DENIED, 404, SPACE, "CAN RUN on the Genie space"),
    (
        query,
        R.ACCESS_DENIED,
        403,
        LLM,
        f"Ask the owner of the serving endpoint '{LLM}' to grant carol@example.com CAN QUERY.",
    ),
    (
        select,
        R.ACCESS_DENIED,
        403,
        "wh1",
        "Ask the owner of the SQL warehouse 'wh1' to grant carol@example.com CAN USE.",
    ),
]


@pytest.mark.parametrize(
    ("call", "reason", "status", "resource", "remedy"), DENIED, ids=lambda it: getattr(it, "__name__", "")
)
def test_a_missing_grant(workspace, call, reason, status, resource, remedy):
    """Rules 15 and 17: carol may nothing; the remedy says whom to ask for what."""
    with as_user(workspace, "carol"):
        denial = denied(call)
    assert (denial.reason, denial.status, denial.resource) == (reason, status, resource)
    assert denial.principal == "carol@example.com"
    assert remedy in denial.remedy


@pytest.mark.parametrize("call", [search, sdk_search, ask, query], ids=lambda call: call.__name__)
def test_what_does_not_exist(workspace, call):
    """Rule 15: the platform does not say whether it is hidden."""
    with as_user(workspace, "alice"):
        denial = denied(call, "main.support.nothing" if "search" in call.__name__ else "nothing")
    assert (denial.reason, denial.status) == (R.NOT_FOUND_OR_DENIED, 404)
    assert "Check that the name is right" in denial.remedy


def test_a_denied_table_comes_as_a_value(workspace):
    """Rule 16: a failed statement is an ordinary answer."""
    workspace.grant("carol", "CAN USE", "wh1")
    try:
        with as_user(workspace, "carol"):
            response = select()
            assert response.status.state is StatementState.FAILED
            outside = explain(response)
            denial = denied(select)
    finally:
        workspace.revoke("carol", "CAN USE", "wh1")
    assert outside is not None
    assert outside.reason is denial.reason is R.ACCESS_DENIED
    assert (denial.resource, denial.status) == ("main.support.tickets", 200)
    assert denial.remedy == (
        f"Ask the owner of the table 'main.support.tickets' to grant carol@example.com SELECT: {GRANT}."
    )


def test_an_absent_table_comes_as_a_value(workspace):
    """Rule 16."""
    with as_user(workspace, "alice"):
        denial = denied(select, "main.support.nothing")
    assert denial.reason is R.NOT_FOUND_OR_DENIED
    assert "nothing" in (denial.resource or "")


@pytest.mark.parametrize("statement", ["main.support.tickets WHERE", "main.support.tickets WHERE nothing = 1"])
def test_a_statement_that_is_wrong_is_no_denial(workspace, statement):
    """Rule 15: a bug comes back as it came."""
    with as_user(workspace, "alice"):
        response = optional_tool(select)(statement)
    assert response.status.state is StatementState.FAILED
    assert explain(response) is None


@pytest.mark.parametrize(
    ("kept", "reason", "resource", "remedy"),
    [
        (["CAN RUN", "CAN USE"], R.ACCESS_DENIED, "main.support.tickets", f"SELECT: {GRANT}."),
        (
            ["CAN RUN", "SELECT"],
            R.ACCESS_DENIED,
            None,
            "owner of the SQL warehouse to grant carol@example.com CAN USE.",
        ),
    ],
    ids=["no SELECT", "no warehouse"],
)
def test_a_failed_genie_message(workspace, kept, reason, resource, remedy):
    """Rule 16: the waiter raises without the reason, and the wire knows it."""
    securables = {"CAN RUN": SPACE, "CAN USE": "wh1", "SELECT": "main.support.tickets"}
    for privilege in kept:
        workspace.grant("carol", privilege, securables[privilege])
    try:
        with as_user(workspace, "carol"):
            with pytest.raises(OperationFailed):
                ask()
            denial = denied(ask)
    finally:
        for privilege in kept:
            workspace.revoke("carol", privilege, securables[privilege])
    assert (denial.reason, denial.resource, denial.status) == (reason, resource, 200)
    assert denial.remedy.endswith(remedy)


def test_a_genie_message_that_failed_for_another_reason_is_no_denial(workspace):
    """Rule 16: not even after a refusal that the tool put up with."""
    workspace.add_genie_space(
        "broken",
        warehouse_id="wh1",
        tables=["main.support.tickets"],
        answers=lambda _: "SELECT nothing FROM main.support.tickets",
    )
    workspace.grant("alice", "CAN RUN", "broken")

    @optional_tool
    @with_user_client
    def tool(client: WorkspaceClient):
        with contextlib.suppress(DatabricksError):
            client.genie.get_space("nothing")
        return client.genie.start_conversation_and_wait("broken", QUESTION)

    with as_user(workspace, "alice"), pytest.raises(OperationFailed):
        tool()


def test_a_failed_waiter_of_another_api_takes_no_evidence_of_genie_s():
    """Rule 16."""
    call = SimpleNamespace(seen=[Refusal(status=200, text="PERMISSION_DENIED: no", path="/api/2.0/genie/x")])
    from obo_kit.denials._explain import explain_in

    assert explain_in(OperationFailed("failed to reach RUNNING, got State.ERROR"), _as_call(call), None) is None
    assert explain_in(OperationFailed("failed to reach COMPLETED, got MessageStatus.FAILED"), _as_call(call), None)


def _as_call(call):
    made = ToolCall("tool", None)
    made.evidence.refusals.extend(call.seen)
    return made


def test_the_last_failed_message_counts(workspace):
    """Rule 16."""
    from obo_kit.denials._explain import explain_in

    failed = [
        Refusal(
            status=200, text="PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT", path="/api/2.0/genie/x"
        ),
        Refusal(status=200, text="[PARSE_SYNTAX_ERROR] no", path="/api/2.0/genie/x"),
    ]
    error = OperationFailed("failed to reach COMPLETED, got MessageStatus.FAILED")
    assert explain_in(error, _as_call(SimpleNamespace(seen=failed)), None) is None
    assert explain_in(error, _as_call(SimpleNamespace(seen=failed[::-1])), None)


def test_a_client_of_the_author_s_own_is_explained_too(workspace):
    """Rule 16: without evidence from the wire."""
    client = WorkspaceClient(
        config=Config(host=workspace.host, token=workspace.token("carol"), auth_type="pat", retry_timeout_seconds=2)
    )
    for call, reason in (
        (
            lambda: client.serving_endpoints.query(LLM, messages=[ChatMessage(role=ChatMessageRole.USER, content="x")]),
            R.ACCESS_DENIED,
        ),
        (lambda: client.genie.get_space(SPACE), R.NOT_FOUND_OR_DENIED),
    ):
        with pytest.raises(DatabricksError) as caught:
            call()
        denial = explain(caught.value)
        assert denial is not None
        assert denial.reason is reason


@pytest.mark.parametrize("package", ["DatabricksOpenAI", "AsyncDatabricksOpenAI"])
async def test_openai_clients(workspace, package):
    """Rule 16."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = getattr(pytest.importorskip("databricks_openai", reason="an extra"), package)
    ask = [{"role": "user", "content": "hello"}]
    got: list[Denial] = []

    async def tool(client):
        made = client.chat.completions.create(model=LLM, messages=ask)
        return made if package == "DatabricksOpenAI" else await made

    tool.__annotations__["client"] = kind
    with as_user(workspace, "carol"):
        await optional_tool(fallback=got.append)(with_user_client(tool))()
    with with_token(workspace, "alice", scopes=["files"]):
        await optional_tool(fallback=got.append)(with_user_client(tool))()
    with with_token(workspace, "alice", expires_in=-5):
        await optional_tool(fallback=got.append)(with_user_client(tool))()
    assert [denial.reason for denial in got] == [R.ACCESS_DENIED, R.MISSING_SCOPE, R.TOKEN_EXPIRED]


# --- what is answered, case by case ---------------------------------------------------------------------------------------

GENIE_PATH = "/api/2.0/genie/spaces/space1"
JSON = [
    # status, error_code, text, reason
    (403, "PERMISSION_DENIED", "no", R.ACCESS_DENIED),
    (400, "PERMISSION_DENIED", "no", R.ACCESS_DENIED),
    (403, "INVALID_PARAMETER_VALUE", "no", R.ACCESS_DENIED),
    (403, None, "whatever", R.ACCESS_DENIED),
    (401, None, "whatever", R.TOKEN_EXPIRED),
    (401, 401, "Credential was not sent or was of an unsupported type for this API. [ReqId: 0]", R.TOKEN_EXPIRED),
    (403, 403, "Invalid access token. [ReqId: 00000000-0000-0000-0000-000000000000]", R.TOKEN_EXPIRED),
    (403, None, "Token is expiring within 30 seconds. (token expired)", R.TOKEN_EXPIRED),
    (403, 403, "Provided OAuth token does not have required scopes: unity-catalog [ReqId: 0]", R.MISSING_SCOPE),
    (400, None, "Scopes 'sql' are not assigned to the client 00000000", R.MISSING_SCOPE),
    (403, "PERMISSION_DENIED", "User does not have EXECUTE on Routine 'a.b.f'.", R.ACCESS_DENIED),
    (404, "RESOURCE_DOES_NOT_EXIST", "gone", R.NOT_FOUND_OR_DENIED),
    (404, "TABLE_DOES_NOT_EXIST", "Table 'a.b.c' does not exist.", R.NOT_FOUND_OR_DENIED),
    (404, "NOT_FOUND", "It does not exist or you do not have permission", R.NOT_FOUND_OR_DENIED),
    (401, "UNAUTHENTICATED", "Credential for user identity('1') is not found for the connection 'gh'. Please login first", R.LOGIN_REQUIRED),
    (404, "ENDPOINT_NOT_FOUND", "No API found for 'GET /api/2.0/nothing'", None),
    (404, None, "No API found for 'GET /api/2.0/nothing'", None),
    (403, None, "x is disabled for this workspace. Please use Unity Gateway.", None),
    (403, "FEATURE_DISABLED", "no", None),
    (404, None, "whatever", None),
    (400, "INVALID_PARAMETER_VALUE", "no", None),
    (400, "INVALID_PARAMETER_VALUE", "Invalid scope name: must be lower case", None),
    (400, "BAD_REQUEST", "user token passthrough not enabled", None),
    (409, "RESOURCE_CONFLICT", "PERMISSION_DENIED: no", None),
    (429, "REQUEST_LIMIT_EXCEEDED", "PERMISSION_DENIED: no", None),
    (500, "INTERNAL_ERROR", "User does not have SELECT on Table 'a.b.c'.", None),
    (503, "TEMPORARILY_UNAVAILABLE", "does not exist", None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "code", "text", "reason"), JSON, ids=lambda it: str(it)[:30])
def test_status_code_and_text_are_read_together(workspace, status, code, text, reason):
    """Rules 15 and 16: through the SDK and through the vector-search client."""
    body = {"message": text} | ({"error_code": code} if code is not None else {})
    workspace.add_fault(status=status, body=body, path_prefix="/api/2.0/", times=None)
    got: list[Denial] = []

    def attempt(tool):
        with contextlib.suppress(Exception):
            optional_tool(fallback=got.append)(tool)()

    with as_user(workspace, "alice", limits=obo_kit.Limits(retry=0.5)):
        attempt(with_user_client(lambda client: client.genie.get_space(SPACE)))
        if status not in (429, 503):  # nothing to learn from waiting for the other client, too
            attempt(search)
    expected = [reason] * (1 if status in (429, 503) else 2) if reason else []
    assert [denial.reason for denial in got] == expected
    assert all(denial.status == status for denial in got)


PLAIN = [
    (403, "Invalid scope", R.MISSING_SCOPE),
    (403, "Invalid scope, required scopes: postgres", R.MISSING_SCOPE),
    (403, "", R.ACCESS_DENIED),
    (401, "", R.TOKEN_EXPIRED),
    (403, "Forbidden by the gateway\nand in two lines", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED: no", R.ACCESS_DENIED),
    (403, "Invalid Token", R.TOKEN_EXPIRED),
    (404, "", None),
    (400, "Invalid scope", None),
    (500, "", None),
]


@pytest.mark.parametrize(("status", "text", "reason"), PLAIN, ids=str)
def test_answers_that_are_not_json(workspace, status, text, reason):
    """Rule 16: the SDK calls them a bug of its own."""
    workspace.add_fault(status=status, body=text, path_prefix="/api/2.0/", times=None)
    got: list[Denial] = []
    with as_user(workspace, "alice"):
        for tool in (with_user_client(lambda client: client.genie.get_space(SPACE)), search):
            with contextlib.suppress(Exception):
                optional_tool(fallback=got.append)(tool)()
    assert [(denial.reason, denial.status) for denial in got] == ([(reason, status)] * 2 if reason else [])
    assert all("bug in the Databricks SDK" not in denial.detail for denial in got)
    if text == "Invalid scope" and reason:
        # The text does not say which; the route does.
        assert [denial.scopes for denial in got] == [("genie",), ("vector-search",)]


def test_a_status_lost_by_the_class_needs_the_wire():
    """Rule 16: the SDK picks the class by the code, and 400 with this code is an author's mistake."""
    response = _answer(403, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}')
    error = _Parser().get_api_error(response)
    assert type(error).__name__ == "InvalidParameterValue"
    assert explain(error) is None


def test_invalid_token_on_the_responses_route_is_a_missing_scope(workspace):
    """Rule 16: the platform's own words mislead there."""
    workspace.add_fault(status=403, body="Invalid Token", path_prefix="/serving-endpoints/responses")

    @with_user_client
    def tool(client: WorkspaceClient):
        client.api_client.do("POST", "/serving-endpoints/responses", body={})

    with as_user(workspace, "alice"):
        denial = denied(tool)
    assert (denial.reason, denial.scopes) == (R.MISSING_SCOPE, ("ai-gateway", "model-serving"))


def _answer(status: int, body: str, url: str = "https://example.com/api/2.0/x") -> requests.Response:
    response = requests.Response()
    response.status_code, response._content, response.url = status, body.encode(), url
    response.reason = "Reason"
    response.request = requests.Request("GET", url).prepare()
    return response


def test_evidence_is_not_mistaken_for_an_error_it_does_not_belong_to(workspace):
    """Rule 16: a refusal that was put up with does not explain the next failure."""

    @optional_tool
    @with_user_client
    def tool(client: WorkspaceClient):
        with contextlib.suppress(DatabricksError):
            client.genie.get_space("nothing")
        raise ValueError("a bug")

    with as_user(workspace, "carol"), pytest.raises(ValueError, match="a bug"):
        tool()


def test_an_error_kept_for_later_is_explained_by_its_own_refusal(workspace):
    """Rule 16: not by the last one."""

    @with_user_client
    def tool(client: WorkspaceClient):
        with pytest.raises(DatabricksError) as first:
            client.serving_endpoints.query(LLM, messages=[ChatMessage(role=ChatMessageRole.USER, content="x")])
        with contextlib.suppress(DatabricksError):
            client.genie.get_space(SPACE)
        raise first.value

    with as_user(workspace, "carol"):
        denial = denied(tool)
    assert (denial.reason, denial.resource) == (R.ACCESS_DENIED, LLM)
    assert denial.detail.startswith(f"POST /serving-endpoints/{LLM}/invocations: ")


def test_a_refusal_inside_a_called_tool_explains_the_caller_s(workspace):
    """Rule 16: the evidence goes where the exception goes."""
    inner = with_user_client(lambda client: client.genie.start_conversation_and_wait(SPACE, QUESTION))
    workspace.revoke("bob", "SELECT", "main.support.tickets")
    try:
        with as_user(workspace, "bob") as session:
            denial = denied(functools.partial(inner))
            assert list(session.denials) == [denial]
    finally:
        workspace.grant("bob", "SELECT", "main.support.tickets")
    assert denial.reason is R.ACCESS_DENIED


# --- whose refusal it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_by_somebody_else_s_server_is_no_denial(status):
    """Rule 15: an API key of the author's that has expired is not the user's sign-in."""
    error = requests.HTTPError(
        "no", response=_answer(status, '{"error": {"message": "not found"}}', "https://api.example.org/v1")
    )
    assert explain(error) is None


def test_an_http_error_shaped_as_the_platform_s_is_explained():
    """Rule 16."""
    error = requests.HTTPError("no", response=_answer(403, '{"error_code": "PERMISSION_DENIED", "message": "no"}'))
    denial = explain(error)
    assert denial is not None
    assert (denial.reason, denial.status, denial.detail) == (R.ACCESS_DENIED, 403, "GET /api/2.0/x: no")


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
def test_httpx_errors(package):
    """Rule 16: also one whose body was never read."""
    httpx = pytest.importorskip(package, reason=f"{package} comes with an extra")
    request = httpx.Request("POST", "https://example.com/api/2.0/x")
    response = httpx.Response(403, json={"error_code": "PERMISSION_DENIED", "message": "no"}, request=request)
    assert explain(httpx.HTTPStatusError("no", request=request, response=response))
    unread = httpx.Response(403, stream=httpx.ByteStream(b"x"), request=request)
    assert explain(httpx.HTTPStatusError("no", request=request, response=unread)) is None


def test_openai_s_own_refusal_is_no_denial():
    """Rule 15."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        openai = pytest.importorskip("openai", reason="an extra")
    package = next(
        one for name in ("httpx2", "httpx") if (one := getattr(sys.modules["openai._exceptions"], name, None))
    )
    request = package.Request("POST", "https://api.openai.com/v1/chat")
    response = package.Response(401, json={"error": {"message": "Incorrect API key provided"}}, request=request)
    error = openai.AuthenticationError("no", response=response, body={"message": "Incorrect API key provided"})
    assert explain(error) is None


# --- wrapped --------------------------------------------------------------------------------------------------------------


def sdk_error(status=403, code="PERMISSION_DENIED", text="no") -> Exception:
    body = f'{{"error_code": "{code}", "message": "{text}"}}'
    error = _Parser().get_api_error(_answer(status, body))
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


def groups():
    found = [sys.modules["builtins"].ExceptionGroup] if sys.version_info >= (3, 11) else []
    with contextlib.suppress(ImportError):
        from exceptiongroup import ExceptionGroup as Backport

        found.append(Backport)
    return found


def test_a_cause_is_followed():
    """Rule 16: `raise X from denied`, and the SDK's own TimeoutError."""
    for outer in (ValueError("x"), TimeoutError("timed out"), PermissionError("x"), RuntimeError("x")):
        denial = explain(raised(outer, cause=sdk_error()))
        assert denial is not None
        assert denial.reason is R.ACCESS_DENIED
    assert explain(raised(ValueError(), cause=raised(ValueError(), cause=sdk_error())))


def test_an_accidental_context_is_not_followed():
    """Rule 16: a bug in an `except` block is a bug."""
    assert explain(raised(KeyError("x"), context=sdk_error())) is None
    assert explain(sdk_error()) is not None


def test_a_cause_that_is_no_denial_stays_none():
    """Rule 15: a time-out for too many requests."""
    assert explain(raised(TimeoutError("x"), cause=sdk_error(429, "REQUEST_LIMIT_EXCEEDED"))) is None


def test_a_known_error_is_not_explained_by_its_cause():
    """Rule 16: the outer refusal says what it is itself."""
    assert explain(raised(sdk_error(400, "INVALID_PARAMETER_VALUE"), cause=sdk_error())) is None


@pytest.mark.parametrize("group", groups(), ids=lambda group: group.__module__)
def test_a_group_is_a_denial_only_if_all_of_it_is(group):
    """Rule 16."""
    assert explain(group("x", [sdk_error()]))
    assert explain(group("x", [sdk_error(), group("y", [sdk_error(404, "NOT_FOUND")])]))
    assert explain(group("x", [sdk_error(), ValueError("bug")])) is None
    assert explain(group("x", [sdk_error(), group("y", [sdk_error(), KeyError()])])) is None
    assert explain(raised(group("x", [ValueError()]), cause=sdk_error())) is None


def test_tenacity_s_wrapper_is_opened():
    """Rule 16."""
    import tenacity

    def fails(error):
        @tenacity.retry(stop=tenacity.stop_after_attempt(1))
        def tool():
            raise error

        with pytest.raises(tenacity.RetryError) as caught:
            tool()
        return caught.value

    assert explain(fails(sdk_error()))
    assert explain(fails(ValueError("bug"))) is None


def test_pydantic_s_wrapper_is_opened_if_all_of_it_is_a_denial():
    """Rule 16: a validator that raises `from` a refusal."""
    pydantic = pytest.importorskip("pydantic", reason="comes with an extra")

    def checked(value):
        if value == "denied":
            raise ValueError("refused") from sdk_error()
        raise ValueError("bad")

    class Model(pydantic.BaseModel):
        one: Any = None
        two: Any = None
        _checked = pydantic.field_validator("one", "two")(classmethod(lambda cls, value: checked(value)))

    def fails(**values):
        with pytest.raises(pydantic.ValidationError) as caught:
            Model(**values)
        return caught.value

    assert explain(fails(one="denied"))
    assert explain(fails(one="denied", two="denied"))
    assert explain(fails(one="denied", two="bad")) is None
    assert explain(fails(one="bad")) is None


def test_a_chain_that_loops_ends():
    """Rule 16: nothing hangs."""
    one, two = ValueError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    assert explain(one) is None


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), StopIteration(), MemoryError(), OSError()]
)
def test_other_exceptions_are_no_denials(error):
    """Rule 15."""
    assert explain(error) is None


# --- what the packages make of refusals -----------------------------------------------------------------------------------


def genie_text(error):
    return f"Genie query failed with error: {error!r}"


def mcp_result(text, flag="isError"):
    class CallToolResult(SimpleNamespace):
        pass

    CallToolResult.__module__ = "mcp.types"
    return CallToolResult(content=[SimpleNamespace(text=text)], **{flag: True})


def test_a_failed_genie_message_as_the_bridge_tells_it():
    """Rule 16: `databricks_ai_bridge.genie` makes a text of it."""
    from databricks_ai_bridge.genie import GenieResponse

    denied_text = genie_text({"error": "PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT", "type": "X"})
    for value in (denied_text, GenieResponse(result=denied_text)):
        denial = explain(value)
        assert denial is not None
        assert (denial.reason, denial.resource) == (R.ACCESS_DENIED, "a.b.c")
    for text in (
        genie_text({"error": "The space is busy", "type": "X"}),
        "Genie query failed with error: Unknown error",
        "Genie query cancelled.",
        "Genie query failed with error: {'error': ",
        "Genie query failed with error: ['PERMISSION_DENIED: x']",
        "They say: " + denied_text,
        "PERMISSION_DENIED: no",
    ):
        assert explain(text) is None
        assert explain(GenieResponse(result=text)) is None
    assert explain(GenieResponse(result=SimpleNamespace())) is None


@pytest.mark.parametrize("flag", ["isError", "is_error"])
def test_an_mcp_tool_that_says_it_failed(flag):
    """Rule 16: the flag is spelled so in `mcp` 1, and so in `mcp` 2."""
    assert explain(mcp_result("PERMISSION_DENIED: no", flag)).reason is R.ACCESS_DENIED
    assert explain(mcp_result("division by zero", flag)) is None
    ordinary = mcp_result("PERMISSION_DENIED: no", flag)
    setattr(ordinary, flag, False)
    assert explain(ordinary) is None


def test_a_function_s_result_with_an_error():
    """Rule 16."""
    FunctionExecutionResult = pytest.importorskip(
        "unitycatalog.ai.core.base", reason="comes with the extras langchain and openai"
    ).FunctionExecutionResult

    text = "Failed to execute function: [INSUFFICIENT_PERMISSIONS] User does not have EXECUTE on Routine 'a.b.f'."
    denial = explain(FunctionExecutionResult(error=text))
    assert denial is not None
    assert (denial.reason, denial.resource) == (R.ACCESS_DENIED, "a.b.f")
    assert explain(FunctionExecutionResult(error="division by zero")) is None
    assert explain(FunctionExecutionResult(format="SCALAR", value=text)) is None


def test_a_sign_in_page_in_place_of_an_answer(workspace):
    """Rule 16: only where the redirect was seen; a page that a tool fetched elsewhere is its result."""
    page = "<!doctype html><html><body>Sign in</body></html>"
    assert explain(page) is None
    workspace.add_fault(status=302, headers={"Location": "/login.html"}, body="", times=None, path_prefix="/api")
    workspace.add_fault(status=200, body=page, times=None, path_prefix="/login")

    @with_user_client
    def look(client: WorkspaceClient):
        try:
            return client.genie.get_space(SPACE)
        finally:
            assert explain(page).reason is R.TOKEN_EXPIRED
            assert explain("no page") is None

    with as_user(workspace, "alice"):
        denial = denied(look)
    assert denial.reason is R.TOKEN_EXPIRED


def test_a_redirect_to_elsewhere_is_no_sign_in():
    """Rule 16."""
    assert classify(Refusal(status=302, location="/login.html?next=x")).reason is R.TOKEN_EXPIRED
    assert classify(Refusal(status=302, location="/elsewhere")) is None


def test_a_key_error_of_the_bridge_is_a_failed_statement(workspace):
    """Rule 16: it reads the state where it is not, where the statement of a message failed."""
    from obo_kit.denials._explain import explain_in

    evidence = [Refusal(status=200, text="PERMISSION_DENIED: no", path="/api/2.0/genie/x")]
    space: dict = {"__name__": "databricks_ai_bridge.genie"}
    exec("def poll(): raise KeyError('state')", space)
    with pytest.raises(KeyError) as caught:
        space["poll"]()
    assert explain_in(caught.value, _as_call(SimpleNamespace(seen=evidence)), None)
    assert explain_in(KeyError("state"), _as_call(SimpleNamespace(seen=evidence)), None) is None
    assert explain(caught.value) is None


# --- the author's own words -----------------------------------------------------------------------------------------------


@pytest.fixture
def own_words():
    yield obo_kit.rewrite_denials
    obo_kit.rewrite_denials(None)


def test_texts_can_be_replaced(own_words):
    """Rule 17: translated, or with the resource named."""
    import dataclasses

    own_words(lambda denial: dataclasses.replace(denial, user_message="Kein Zugriff.", remedy="m"))
    denial = explain(TokenExpiredError("x", remedy="y"))
    assert (denial.user_message, denial.remedy, denial.detail) == ("Kein Zugriff.", "m", "x")
    assert optional_tool(lambda: raised(TokenExpiredError("x", remedy="y")))() is not None
    own_words(None)
    assert explain(TokenExpiredError("x", remedy="y")).user_message == _USER_MESSAGES[R.TOKEN_EXPIRED]


def test_a_reason_cannot_be_rewritten(own_words):
    """Rule 15: words are the author's, facts are not."""
    import dataclasses

    own_words(lambda denial: dataclasses.replace(denial, reason=R.ACCESS_DENIED))
    assert explain(TokenExpiredError("x", remedy="y")).reason is R.TOKEN_EXPIRED


@pytest.mark.parametrize("broken", [lambda denial: 1 / 0, lambda denial: "text"])
def test_words_that_fail_leave_the_kit_s(own_words, caplog, broken):
    """Rule 15: a denial stays one."""
    own_words(broken)
    assert explain(TokenExpiredError("x", remedy="y")).user_message == _USER_MESSAGES[R.TOKEN_EXPIRED]
    assert [record.name for record in caplog.records] == ["obo_kit.denials._explain"]


def test_words_are_a_function(own_words):
    """House rule 3."""
    with pytest.raises(TypeError, match="not a str"):
        own_words("text")


# --- the kit's own --------------------------------------------------------------------------------------------------------

OWN = {
    R.NO_IDENTITY: NoUserIdentityError("x", remedy="y"),
    R.TOKEN_EXPIRED: TokenExpiredError("x", remedy="y"),
    R.MISSING_SCOPE: MissingScopeError("x", remedy="y", scopes=["b", "a"]),
    R.SCOPE_VIOLATION: ScopeViolationError("x", remedy="y", scopes=["b", "a"]),
}


@pytest.mark.parametrize("reason", OWN, ids=str)
def test_the_kit_s_own_refusals(reason):
    """Rule 15: with their remedy and all of their scopes."""
    denial = explain(OWN[reason])
    assert denial is not None
    assert (denial.reason, denial.detail, denial.remedy) == (reason, "x", "y")
    assert denial.scopes == (("a", "b") if hasattr(OWN[reason], "scopes") else ())


@pytest.mark.parametrize("kind", [NoUserSessionError, SessionClosedError, IdentityMismatchError, obo_kit.PolicyError])
def test_mistakes_in_the_program_are_no_denials(kind):
    """Rule 15: not even where a denial caused them."""
    assert explain(raised(kind("x", remedy="y"), cause=sdk_error())) is None


@pytest.mark.parametrize("reason", R, ids=str)
def test_a_denial_raised_is_the_same_denial_again(reason):
    """`raise denial.error()`, for a tool that found it in a value."""
    denial = Denial(reason=reason, resource="r", user_message="u", detail="d", remedy="m", scopes=("a",), status=403)
    again = explain(denial.error())
    assert again is not None
    assert (again.reason, again.detail, again.remedy) == (reason, "d", "m")
    assert isinstance(denial.error(), AccessDeniedError) == (again.resource == "r")


# --- values ---------------------------------------------------------------------------------------------------------------

DENIAL_TEXT = (
    "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have SELECT on Table 'a.b.c'. SQLSTATE: 42501"
)


def statement(state, text=DENIAL_TEXT, sql_state=None):
    return StatementResponse(status=StatementStatus(state=state, error=ServiceError(message=text), sql_state=sql_state))


def test_a_failed_statement():
    """Rule 16."""
    denial = explain(statement(StatementState.FAILED))
    assert denial is not None
    assert (denial.reason, denial.resource) == (R.ACCESS_DENIED, "a.b.c")
    assert explain(statement(StatementState.FAILED, "no", "42501"))


@pytest.mark.parametrize(
    "state", [StatementState.CANCELED, StatementState.CLOSED, StatementState.SUCCEEDED, StatementState.RUNNING]
)
def test_a_statement_in_another_state_is_no_denial(state):
    """Rule 16."""
    assert explain(statement(state)) is None
    assert explain(StatementResponse()) is None
    assert explain(StatementResponse(status=StatementStatus(state=StatementState.FAILED))) is None


def test_a_failed_genie_message_as_a_value():
    """Rule 16."""

    def message(status, text):
        return GenieMessage(
            space_id="s",
            conversation_id="c",
            content="q",
            message_id="m",
            id="m",
            status=status,
            error=MessageError(error=text),
        )

    refused = "PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT"
    denial = explain(message(MessageStatus.FAILED, refused))
    assert denial is not None
    assert denial.resource == "a.b.c"
    assert explain(message(MessageStatus.FAILED, "a bug")) is None
    assert explain(message(MessageStatus.COMPLETED, refused)) is None


PROSE = [
    DENIAL_TEXT,
    "PERMISSION_DENIED: no",
    "Error 403: Invalid access token.",
    {"error_code": "PERMISSION_DENIED", "message": "no"},
    {"status": {"state": "FAILED", "error": {"message": DENIAL_TEXT}}},
    ["403"],
    SimpleNamespace(
        status=SimpleNamespace(state=SimpleNamespace(value="FAILED"), error=SimpleNamespace(message=DENIAL_TEXT))
    ),
    None,
    403,
    b"PERMISSION_DENIED",
    object,
    type("StatementResponse", (), {"status": statement(StatementState.FAILED).status})(),
]


@pytest.mark.parametrize("value", PROSE, ids=lambda value: type(value).__name__)
def test_other_values_are_never_taken_for_refusals(value):
    """Rule 16: a tool that returns prose about errors is not denied."""
    assert explain(value) is None
    assert optional_tool(fallback="no")(lambda: value)() is value


def test_an_exception_that_a_tool_returns_is_a_value():
    """Rule 16: it was not raised."""
    error = sdk_error()
    assert optional_tool(fallback="no")(lambda: error)() is error


# --- the table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_each_text_decides_its_own_sample(text):
    """House rule 2: no earlier entry takes it away, and each says where it is from."""
    assert text.pattern.search(text.sample)
    assert text.source.startswith(("reported: ", "documented: "))
    for status in text.statuses:
        path = text.path or "/api/2.0/x"
        found = classify(Refusal(status=status, text=text.sample, path=path))
        if text.reason is None:
            assert found is None
            continue
        assert found is not None
        assert found.reason is text.reason
        first = next(
            other
            for other in TEXTS
            if status in other.statuses and path.startswith(other.path) and other.pattern.search(text.sample)
        )
        assert first is text


@pytest.mark.parametrize("text", LOST_TEXTS, ids=lambda text: text.name)
def test_each_text_of_a_client_that_lost_the_refusal_is_known(text):
    """House rule 2. What the clients really say is tried in tests/test_mcp_auth.py and tests/test_matrix.py."""
    assert text.pattern.search(text.sample)
    assert text.source


def test_the_table_s_names_are_its_own():
    """House rule 2."""
    names = [text.name for text in TEXTS]
    assert len(names) == len(set(names))
    assert {text.kind for text in TEXTS if text.kind} <= set(KINDS)


SAMPLES = [
    # Recorded: status, code, sample, reason
    (403, "403", "Provided OAuth token does not have required scopes: unity-catalog [ReqId: 0]", R.MISSING_SCOPE),
    (403, "403", "Provided access token does not have required scopes: all-apis [ReqId: 0]", R.MISSING_SCOPE),
    (403, None, "Provided OAuth token does not have required scopes: model-serving, model-serving-inference", R.MISSING_SCOPE),
    (403, None, "Invalid scope, required scopes: postgres", R.MISSING_SCOPE),
    (403, None, "Invalid scope", R.MISSING_SCOPE),
    (400, "INVALID_PARAMETER_VALUE", "Invalid user API scope(s) specified for model: main.agents.bot. Invalid scopes: postgres", None),
    (400, "INVALID_PARAMETER_VALUE", "The specified scope unity-catalog is not a valid scope.", None),
    (400, None, "user token passthrough not enabled", None),
    (403, "403", "Invalid access token. [ReqId: 00000000-0000-0000-0000-000000000000]", R.TOKEN_EXPIRED),
    (403, None, "Invalid Token", R.TOKEN_EXPIRED),
    (403, None, "Token is expiring within 30 seconds. (token expired)", R.TOKEN_EXPIRED),
    (401, "401", "Credential was not sent or was of an unsupported type for this API. [ReqId: 0]", R.TOKEN_EXPIRED),
    (400, "access_denied", "Scopes 'sql' are not assigned to the client 00000000", R.MISSING_SCOPE),
    (200, "BAD_REQUEST", DENIAL_TEXT, R.ACCESS_DENIED),
    (200, "BAD_REQUEST", "PERMISSION_DENIED: User does not have USE CATALOG on Catalog 'x'", R.ACCESS_DENIED),
    (200, "BAD_REQUEST", "Catalog 'main' is not accessible in current workspace", R.ACCESS_DENIED),
    (200, "BAD_REQUEST", "[TABLE_OR_VIEW_NOT_FOUND] The table or view `a`.`b`.`c` cannot be found. SQLSTATE: 42P01", R.NOT_FOUND_OR_DENIED),
    (403, "PERMISSION_DENIED", "PERMISSION_DENIED: 123 is not authorized to use or monitor this SQL Endpoint", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "User does not have USE CATALOG on Catalog 'x'.", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "User does not have USE CONNECTION on Connection 'c'.", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "User does not have SELECT on Table 'a.b.c'.", R.ACCESS_DENIED),
    (404, "TABLE_DOES_NOT_EXIST", "Table 'a.b.c' does not exist.", R.NOT_FOUND_OR_DENIED),
    (403, "PERMISSION_DENIED", "Insufficient permissions for UC entity main.s.idx", R.ACCESS_DENIED),
    (404, "RESOURCE_DOES_NOT_EXIST", "RESOURCE_DOES_NOT_EXIST", R.NOT_FOUND_OR_DENIED),
    (200, None, "PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "PERMISSION_DENIED: User does not have CAN_QUERY on serving endpoint x", R.ACCESS_DENIED),
    (401, "UNAUTHENTICATED", "Credential for user identity('1') is not found for the connection 'gh'. Please login first to the connection by visiting https://host/explore/connections/gh", R.LOGIN_REQUIRED),
    (403, None, "x is disabled for this workspace. Please use Unity Gateway.", None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "code", "text", "reason"), SAMPLES, ids=lambda it: str(it)[:40])
def test_the_recorded_samples_of_the_facts(status, code, text, reason):
    """Rule 16."""
    found = classify(Refusal(status=status, error_code=code, text=text, path="/api/2.0/x"))
    assert (found.reason if found is not None else None) is reason


# --- what it tells whom ---------------------------------------------------------------------------------------------------


def test_what_the_user_is_told_names_nothing(workspace):
    """Rule 17: no host, no client id, no resource name; safe for the model."""
    told = []
    for user in ("carol", "alice"):
        with as_user(workspace, user):
            for call in CALLS:
                if user == "carol":
                    told.append(denied(call).user_message)
    assert set(told) <= set(_USER_MESSAGES.values())
    assert set(_USER_MESSAGES) == set(R)
    for message in _USER_MESSAGES.values():
        assert not re.search(r"https?:|127\.0|client|scope|token|[{}]", message)


def test_detail_has_the_platform_s_words_without_the_sdk_s_tail(workspace):
    """Rule 17: the tail names the host and the client id."""
    client = WorkspaceClient(
        config=Config(host=workspace.host, token=workspace.token("carol"), auth_type="pat", retry_timeout_seconds=2)
    )
    with pytest.raises(DatabricksError, match="Config: host=") as caught:
        client.serving_endpoints.query(LLM, messages=[ChatMessage(role=ChatMessageRole.USER, content="x")])
    denial = explain(caught.value)
    assert denial is not None
    assert denial.detail == "User does not have permission 'View' on Endpoint llm"
    assert workspace.host not in repr(denial)


@pytest.mark.parametrize(
    ("source", "spelled", "how"),
    [("apps", "vector-search", "user_api_scopes"), ("model-serving", "vector-search", "obo_kit.log_model")],
)
def test_a_missing_scope_is_spelled_for_where_it_runs(workspace, monkeypatch, source, spelled, how):
    """Rule 17: in a spelling that the target can grant."""
    monkeypatch.setattr("obo_kit.tools._spec.Requirements.check", lambda *_: None)
    tool = with_user_client(lambda client: client.vector_search_indexes.get_index(INDEX))
    if source == "apps":
        with workspace.as_app() as app:
            with user_session(headers=app.headers("alice")):
                denial = denied(tool)
    else:
        with workspace.as_model_serving() as runtime, runtime.user("alice", scopes=["files"]), user_session():
            denial = denied(tool)
    assert denial.reason is R.MISSING_SCOPE
    assert f"@requires_scopes('{spelled}')" in denial.remedy
    assert how in denial.remedy


def test_a_scope_that_the_target_cannot_grant_is_said_to_be_out_of_reach(workspace):
    """Rule 17."""
    workspace.add_fault(
        status=403, body={"error_code": 403, "message": "Provided OAuth token does not have required scopes: postgres"}
    )
    with workspace.as_model_serving() as runtime, runtime.user("alice"), user_session():
        denial = denied(with_user_client(lambda client: client.genie.get_space(SPACE)))
    assert denial.scopes == ("postgres",)
    assert "cannot grant postgres" in denial.remedy
    assert "system authorization" in denial.remedy


def test_what_is_declared_already_has_to_be_deployed(workspace):
    """Rule 17: declaring it again would not help."""
    workspace.add_fault(status=403, body="Invalid scope")
    with as_user(workspace, "alice"):
        denial = denied(look_at_space)
    assert "already declares genie" in denial.remedy


def test_all_missing_scopes_at_once():
    """Rule 16."""
    denial = explain(
        sdk_error(403, "403", "Provided OAuth token does not have required scopes: sql, genie, files [ReqId: 0]")
    )
    assert denial is not None
    assert denial.scopes == ("files", "genie", "sql")


REMEDIES = [
    ("User does not have SELECT on Table 'a.b.c'.", "Ask the owner of the table 'a.b.c' to grant the user SELECT."),
    (
        "User does not have USE CONNECTION on Connection 'c'.",
        "Ask the owner of the connection 'c' to grant the user USE CONNECTION.",
    ),
    (
        "User does not have CAN_QUERY on serving endpoint x",
        "Ask the owner of the serving endpoint 'x' to grant the user CAN QUERY.",
    ),
    (
        "123 is not authorized to use or monitor this SQL Endpoint",
        "Ask the owner of the SQL warehouse to grant the user CAN USE.",
    ),
    ("No access to 'a.b.c'. User must have SELECT", "Ask the owner of the UC table 'a.b.c' to grant the user SELECT."),
    (
        "no",
        "The answer does not name what the user lacks. Try the same as the user in the workspace, or compare with the grants of a "
        "user who has access.",
    ),
    ("User does not have SELECT on Table '{a}'.", "Ask the owner of the table '{a}' to grant the user SELECT."),
]


@pytest.mark.parametrize(("text", "remedy"), REMEDIES)
def test_the_remedy_names_the_grant(text, remedy):
    """Rule 17."""
    denial = explain(sdk_error(text=text))
    assert denial is not None
    assert denial.remedy == remedy


def test_a_user_s_id_is_not_taken_for_a_warehouse():
    """Rule 17: the text names who asked, not what was asked for."""
    denial = explain(sdk_error(text="PERMISSION_DENIED: 123 is not authorized to use or monitor this SQL Endpoint"))
    assert denial is not None
    assert denial.resource is None


@pytest.mark.parametrize(
    ("origin", "followed"),
    [("{host}", True), ("https://host.example", False), ("{host}@host.example", False), ("{host}.host.example", False)],
)
def test_a_login_is_asked_of_the_user_with_the_workspace_s_own_link(workspace, origin, followed):
    """Rule 17: and with no other."""
    link = f"{origin.format(host=workspace.host)}/oauth/connect?name=gh"
    error = sdk_error(401, "UNAUTHENTICATED", f"Credential for user identity('1') is not found for the connection 'gh'.\nPlease login first to the connection by visiting {link}")  # fmt: skip
    with as_user(workspace, "alice"):
        denial = explain(error)
    assert denial is not None
    assert (denial.reason, denial.resource) == (R.LOGIN_REQUIRED, "gh")
    assert (link in denial.remedy) is followed
    assert f"{workspace.host}/" in denial.remedy
    assert "host.example" not in denial.remedy


def test_a_resource_is_not_guessed_among_several(workspace):
    """Rule 17."""

    @requires_scopes(DatabricksTable("a.b.c"), DatabricksGenieSpace("other"), DatabricksGenieSpace("another"))
    @with_user_client
    def tool(client: WorkspaceClient):
        return client.genie.get_space(SPACE)

    with as_user(workspace, "carol"):
        denial = denied(tool)
    assert denial.resource == SPACE  # which the refusal names
    assert "other" not in denial.remedy


def test_a_resource_is_told_by_its_path(workspace):
    """Rule 17."""

    @requires_scopes(DatabricksGenieSpace("other"), DatabricksGenieSpace(SPACE))
    @with_user_client
    def tool(client: WorkspaceClient):
        return client.genie.get_space(SPACE)

    with as_user(workspace, "carol"):
        assert denied(tool).resource == SPACE


def test_vector_search_errors_without_the_kit_s_client():
    """Rule 16."""
    if not hasattr(search_utils, "exception_for_status"):
        pytest.skip("the errors of this databricks-ai-search hold no code")
    exception_for_status = search_utils.exception_for_status
    error = exception_for_status(403)("[403] Invalid access token.", status_code=403, error_code="403")
    denial = explain(error)
    assert denial is not None
    assert denial.reason is R.TOKEN_EXPIRED
    assert explain(exception_for_status(500)("PERMISSION_DENIED", status_code=500)) is None
