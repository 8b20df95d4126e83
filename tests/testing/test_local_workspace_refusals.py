"""Refusals in the words and forms that were reported: a missing scope per surface, and what administrators refuse by."""

from __future__ import annotations

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import DatabricksError, PermissionDenied, PrivateLinkValidationError
from support import as_user

from obo_kit import DenialReason, explain, user_session
from obo_kit.testing import ConfigError, LocalWorkspace
from obo_kit.testing.server._faults import POLICIES

ME = "/api/2.0/preview/scim/v2/Me"
STATEMENTS = "/api/2.0/sql/statements"
INIT = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}


@pytest.fixture
def workspace():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_endpoint("llm", lambda body: "hello")
        yield workspace


def ask(workspace, method, path, scopes, body=None):
    headers = {
        "Authorization": f"Bearer {workspace.token('alice', scopes=scopes)}",
        "Accept": "application/json, text/event-stream",
    }
    return requests.request(
        method, workspace.host + path, headers=headers, json=body or {}, timeout=60, allow_redirects=False
    )


def client(workspace, *scopes):
    token = workspace.token("alice", scopes=scopes or ["all-apis"])
    return WorkspaceClient(config=Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2))


# ---------------------------------------------------------------------------------------------- a missing scope


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("POST", STATEMENTS, "Invalid scope, required scopes: sql"),
        ("POST", "/serving-endpoints/chat/completions", "Invalid scope, required scopes: model-serving"),
        ("POST", "/serving-endpoints/llm/invocations", "Invalid scope"),
        ("GET", "/api/2.0/vector-search/endpoints/ep/indexes/main.s.i", "Invalid scope"),
        ("GET", "/api/2.1/unity-catalog/catalogs", "Invalid scope, required scopes: unity-catalog"),
        ("GET", "/api/2.0/postgres/projects", "Invalid scope, required scopes: postgres"),
        ("GET", "/api/2.0/workspace/list", "Invalid scope, required scopes: workspace"),
    ],
)
def test_a_surface_answers_in_plain_text_as_reported(workspace, method, path, text):
    workspace.missing_scope_words = "reported"
    answer = ask(workspace, method, path, ["jobs"])
    assert (answer.status_code, answer.text) == (403, text)
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("words", ["json", "reported"])
def test_other_surfaces_answer_in_json_and_name_one_scope(workspace, words):
    workspace.missing_scope_words = words
    for path, scope in (
        ("/api/2.1/jobs/list", "jobs"),
        ("/api/2.0/genie/spaces", "genie"),
        (ME, "iam.current-user:read"),
    ):
        body = ask(workspace, "GET", path, ["files"]).json()
        assert body["error_code"] == 403
        assert body["message"].startswith(f"Provided OAuth token does not have required scopes: {scope} [ReqId: ")
        assert workspace.log.entries[-1].scopes_missing == (scope,)


def test_ai_search_over_mcp_is_not_in_all_apis(workspace):
    for scopes in (["all-apis"], ["vector-search"], ["mcp.vectorsearch"]):
        answer = ask(workspace, "POST", "/api/2.0/mcp/ai-search/main/s/i", scopes, INIT)
        assert answer.status_code == 403
        assert answer.json()["message"].startswith("Provided access token does not have required scopes: ai-search [")


@pytest.mark.parametrize("words", ["text", "bare"])
def test_one_form_for_all(workspace, words):
    workspace.missing_scope_words = words
    for path in ("/api/2.0/genie/spaces", "/api/2.1/jobs/list", STATEMENTS):
        answer = ask(workspace, "GET" if "sql" not in path else "POST", path, ["files"])
        assert answer.text.startswith("Invalid scope")
        assert ("required scopes" in answer.text) == (words == "text")


@pytest.mark.parametrize("words", ["reported", "json", "text", "bare"])
def test_the_kit_explains_each_form(workspace, words):
    workspace.missing_scope_words = words
    with user_session(host=workspace.host, token=workspace.token("alice", scopes=["files"])) as session:
        for call in (
            session.client.warehouses.list,
            lambda: list(session.client.genie.list_spaces().spaces or []),
            lambda: session.client.statement_execution.execute_statement("SELECT 1", "wh1"),
            lambda: session.client.serving_endpoints.query("llm", prompt="x"),
        ):
            with pytest.raises(PermissionDenied) as refused:
                list(call())
            denial = explain(refused.value)
            assert denial is not None
            assert denial.reason is DenialReason.MISSING_SCOPE


def test_the_words_can_be_set_in_a_file_and_are_checked():
    assert LocalWorkspace.from_config({"missing_scope_words": "reported"}).missing_scope_words == "reported"
    with pytest.raises(ConfigError, match="missing_scope_words must be one of reported, json, text, bare, not 'loud'"):
        LocalWorkspace.from_config({"missing_scope_words": "loud"})


# ---------------------------------------------------------------------------------------------- administrators


@pytest.mark.parametrize(
    ("kind", "status", "code", "text", "phrase"),
    [
        ("ip_access_list", 403, 403, "Source IP address: 203.0.113.7 is blocked by Databricks IP ACL", True),
        ("entitlement", 403, 403, "This API is disabled for users without the databricks-sql-access", True),
        ("feature_disabled", 404, "FEATURE_DISABLED", "AI Gateway legacy endpoint is not available", False),
        ("other_workspace", 403, 403, "Invalid access to Org: ", True),
    ],
)
def test_an_administrator_s_refusal_is_a_ready_fault(workspace, kind, status, code, text, phrase):
    workspace.add_fault(kind)
    answer = ask(workspace, "GET", ME, ["all-apis"])
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.json()["message"].startswith(text)
    assert ("X-Databricks-Reason-Phrase" in answer.headers) == phrase
    assert (workspace.log.entries[-1].fault, workspace.log.entries[-1].decision) == (kind, "fault")
    assert ask(workspace, "GET", ME, ["all-apis"]).status_code == 200
    workspace.add_fault(kind, path_prefix=ME)
    with pytest.raises(DatabricksError):
        client(workspace).current_user.me()


def test_a_private_link_refuses_by_a_redirect_that_the_sdk_understands(workspace):
    workspace.add_fault("private_link", times=None)
    answer = ask(workspace, "GET", ME, ["all-apis"])
    assert answer.status_code == 302
    assert answer.headers["location"] == f"/login.html?error=private-link-validation-error:{workspace.workspace_id}"
    with pytest.raises(PrivateLinkValidationError):
        client(workspace).current_user.me()


def test_every_such_refusal_has_its_source_and_takes_nothing(workspace):
    for kind, policy in POLICIES.items():
        assert policy.source
        with pytest.raises(ValueError, match=f"A {kind} fault takes no status="):
            workspace.add_fault(kind, status=500)


# ---------------------------------------------------------------------------------------------- model serving and Genie


def test_serving_refuses_with_its_details(workspace):
    for name, status, code, text in (
        ("llm", 403, "PERMISSION_DENIED", "User does not have permission 'View' on Endpoint llm"),
        ("gone", 404, "RESOURCE_DOES_NOT_EXIST", "Endpoint with name 'gone' does not exist."),
    ):
        for method, path in (
            ("POST", f"/serving-endpoints/{name}/invocations"),
            ("GET", f"/api/2.0/serving-endpoints/{name}"),
        ):
            answer = ask(workspace, method, path, ["model-serving"])
            body = answer.json()
            assert (answer.status_code, body["error_code"], body["message"]) == (status, code, text)
            assert body["details"][0]["@type"] == "type.googleapis.com/google.rpc.RequestInfo"


def test_genie_hides_a_space_in_the_words_that_were_reported(workspace):
    answer = ask(workspace, "GET", "/api/2.0/genie/spaces/01f0", ["genie"])
    assert answer.status_code == 404
    assert answer.json()["message"] == (
        "Unable to get space [01f0]. Caused by Node with resource name Some(datarooms/01f0) does not exist."
    )
    with as_user(workspace, "alice") as session, pytest.raises(DatabricksError) as hidden:
        session.client.genie.get_space("01f0")
    assert explain(hidden.value).reason is DenialReason.NOT_FOUND_OR_DENIED
