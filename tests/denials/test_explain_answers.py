"""`explain` on one answer at a time: status, code and text are read together, and whose answer it is counts."""

# ruff: noqa: E501 - recorded texts keep their lines; what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import contextlib
import functools
import sys
import warnings

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError
from databricks.sdk.errors.parser import _Parser
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from refusals import QUESTION, R, answer_of, denied, search
from support import LLM, SPACE, as_user

import obo_kit
from obo_kit import Denial, explain, optional_tool, with_user_client
from obo_kit.context._calls import Refusal
from obo_kit.denials._classify import classify

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
    response = answer_of(403, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}')
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
        "no", response=answer_of(status, '{"error": {"message": "not found"}}', "https://api.example.org/v1")
    )
    assert explain(error) is None


def test_an_http_error_shaped_as_the_platform_s_is_explained():
    """Rule 16."""
    error = requests.HTTPError("no", response=answer_of(403, '{"error_code": "PERMISSION_DENIED", "message": "no"}'))
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


@pytest.mark.parametrize(
    ("path", "form", "reason"),
    [
        ("/api/2.0/external-function", "other", None),
        ("/api/2.0/external-function", "platform", R.TOKEN_EXPIRED),
        ("/serving-endpoints/llm/invocations", "provider", None),
        ("/serving-endpoints/llm/invocations", "other", R.TOKEN_EXPIRED),
        ("/api/2.0/genie/spaces", "other", R.TOKEN_EXPIRED),
    ],
)
def test_what_a_service_behind_the_platform_refuses_is_not_the_user_s(path, form, reason):
    """Rule 15: the account that it refuses is the connection's, or the endpoint's."""
    found = classify(Refusal(status=401, text="No.", path=path, form=form))
    assert (found.reason if found is not None else None) is reason


QUOTED = "User does not have SELECT on Table 'a.b.c'."


@pytest.mark.parametrize(
    ("status", "code", "text", "reason"),
    [
        (200, "BAD_REQUEST", f"[CAST_INVALID_INPUT] The value '{QUOTED}' cannot be cast. SQLSTATE: 22018", None),
        (200, "BAD_REQUEST", f"[USER_RAISED_EXCEPTION] PERMISSION_DENIED: {QUOTED} SQLSTATE: P0001", None),
        (200, "BAD_REQUEST", f"org.apache.spark.SparkException: [PARSE_SYNTAX_ERROR] Error near '{QUOTED}'.", None),
        (200, "BAD_REQUEST", f"[INSUFFICIENT_PERMISSIONS] {QUOTED}", R.ACCESS_DENIED),
        (200, "BAD_REQUEST", f"[SOME_NEW_CLASS] {QUOTED} SQLSTATE: 42501", R.ACCESS_DENIED),
        (200, "BAD_REQUEST", QUOTED, R.ACCESS_DENIED),
        (400, "INVALID_PARAMETER_VALUE", f"Invalid filter value: {QUOTED}", None),
        (400, "INVALID_PARAMETER_VALUE", QUOTED, R.ACCESS_DENIED),
        (404, None, "<html><body>Not Found</body></html>", None),
    ],
)
def test_words_that_an_answer_quotes_are_no_refusal(status, code, text, reason):
    """Rule 15: data, the statement or an argument may hold any words."""
    found = classify(Refusal(status=status, error_code=code, text=text))
    assert (found.reason if found is not None else None) is reason
