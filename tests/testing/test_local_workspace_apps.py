"""Apps of the local workspace, and its token endpoint, as alice (may), bob (may not) and service principals."""

from __future__ import annotations

import time

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import NotFound, PermissionDenied
from databricks.sdk.oauth import PATOAuthTokenExchange
from support import client, last

from obo_kit.testing import LocalWorkspace

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@pytest.fixture(scope="module")
def shared():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_user("bob")
        workspace.add_app("support", user_api_scopes=["sql", "genie"], description="Answers tickets")
        workspace.add_app("wiki")
        workspace.grant("alice", "CAN USE", "support")
        yield workspace


@pytest.fixture
def workspace(shared):
    shared.log.clear()
    return shared


def test_an_app_says_what_its_users_tokens_carry(workspace):
    app = client(workspace, "alice", scopes=["apps"]).apps.get("support")
    assert (app.user_api_scopes, app.description) == (["sql", "genie"], "Answers tickets")
    assert set(app.effective_user_api_scopes) == {"sql", "genie", "iam.current-user:read", "iam.access-control:read"}
    assert app.url == f"https://support-{workspace.workspace_id}.aws.databricksapps.com"
    with workspace.as_app(name="support") as runtime:
        assert app.service_principal_client_id == runtime.service_principal.client_id


def test_apps_need_scope_then_grant(workspace):
    with pytest.raises(PermissionDenied, match="required scopes: apps"):
        client(workspace, "alice", scopes=["sql"]).apps.get("support")
    with pytest.raises(PermissionDenied, match="CAN_USE on app support"):
        client(workspace, "bob").apps.get("support")
    assert (last(workspace).user, last(workspace).decision) == ("bob", "missing grant")
    with pytest.raises(NotFound, match="App with name absent"):
        client(workspace, "alice").apps.get("absent")
    assert [app.name for app in client(workspace, "alice").apps.list()] == ["support"]
    assert list(client(workspace, "bob").apps.list()) == []


@pytest.mark.parametrize(
    ("name", "scopes", "text"),
    [
        ("new", ["unity-catalog"], "The specified scope unity-catalog is not a valid scope."),
        ("new", ["sqll"], "The specified scope sqll is not a valid scope."),
        ("new", "sql", "in a list"),
        ("New App", [], "small letters"),
        ("wiki", [], "another app named"),
    ],
)
def test_an_app_that_the_platform_would_refuse_is_refused(workspace, name, scopes, text):
    with pytest.raises(ValueError, match=text):
        workspace.add_app(name, user_api_scopes=scopes)


def exchange(workspace, **form):
    form = {"grant_type": EXCHANGE, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", **form}
    return requests.post(f"{workspace.host}/oidc/v1/token", data=form, timeout=60)


def test_the_sdk_exchanges_a_token_for_one_with_fewer_scopes(workspace):
    source = PATOAuthTokenExchange(
        get_original_token=lambda: workspace.token("alice", expires_in=120), host=workspace.host, scopes="apps"
    )
    exchanged = source.token()
    narrow = WorkspaceClient(config=Config(host=workspace.host, token=exchanged.access_token, auth_type="pat"))
    assert narrow.apps.get("support").name == "support"
    assert (last(workspace).user, last(workspace).scopes_held) == ("alice", {"apps"})
    with pytest.raises(PermissionDenied, match="required scopes"):
        narrow.statement_execution.execute_statement("SELECT 1", "wh1")


def test_the_sdk_logs_in_with_a_token_from_the_environment(workspace, monkeypatch):
    monkeypatch.setenv("DATABRICKS_OIDC_TOKEN", workspace.token("alice"))
    federated = WorkspaceClient(host=workspace.host, auth_type="env-oidc")
    assert federated.current_user.me().user_name == "alice@example.com"
    assert ("POST", "/oidc/v1/token") in {(record.method, record.path) for record in workspace.log}


def test_an_exchanged_token_is_no_stronger_and_lives_no_longer(workspace):
    subject = workspace.token("alice", scopes=["sql", "genie"], expires_in=60)
    body = exchange(workspace, subject_token=subject, scope="sql.statement-execution").json()
    assert (body["scope"], body["token_type"]) == ("sql.statement-execution", "Bearer")
    assert 0 < body["expires_in"] <= 60
    assert exchange(workspace, subject_token=subject).json()["scope"] == "genie sql"
    answer = exchange(workspace, subject_token=subject, scope="sql unity-catalog")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert "Scopes 'unity-catalog' are not assigned to the client" in answer.json()["error_description"]
    assert last(workspace).scopes_missing == ("unity-catalog",)


def test_only_a_live_token_of_this_workspace_is_exchanged(workspace):
    expired = workspace.token("alice", expires_in=-1)
    with LocalWorkspace() as other:
        other.add_user("alice")
        stranger = other.token("alice")
    for subject in (expired, stranger, "x", ""):
        answer = exchange(workspace, subject_token=subject)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    answer = exchange(workspace, grant_type="password", subject_token=workspace.token("alice"))
    assert answer.json()["error"] == "unsupported_grant_type"


def test_discovery_names_the_token_endpoint(workspace):
    config = requests.get(f"{workspace.host}/.well-known/databricks-config", timeout=60).json()
    assert (config["oidc_endpoint"], config["workspace_id"]) == (f"{workspace.host}/oidc", workspace.workspace_id)
    for document in ("oauth-authorization-server", "openid-configuration"):
        found = requests.get(f"{config['oidc_endpoint']}/.well-known/{document}", timeout=60).json()
        assert found["token_endpoint"] == f"{workspace.host}/oidc/v1/token"
        assert EXCHANGE in found["grant_types_supported"]
    assert {record.user for record in workspace.log} == {None}
    assert time.time() - last(workspace).at < 60


def test_a_logged_system_policy_grants_functions_connections_and_apps():
    from mlflow.models.resources import DatabricksApp, DatabricksFunction, DatabricksUCConnection

    from obo_kit.testing.serving._deployments import grant_resources

    with LocalWorkspace() as workspace:
        workspace.add_service_principal("agent")
        workspace.add_app("wiki")
        workspace.add_function("main.s.f", "1")
        workspace.add_connection("crm", "http://127.0.0.1:1")
        resources = (DatabricksFunction("main.s.f"), DatabricksUCConnection("crm"), DatabricksApp("wiki"))
        listed = {name: entries for resource in resources for name, entries in resource.to_dict().items()}
        grant_resources({"system_auth_policy": {"resources": {"databricks": listed}}}, "agent", workspace._grants)
        agent = workspace._directory.find("agent")
        for privilege, kind, name in (
            ("EXECUTE", "function", "main.s.f"),
            ("USE CONNECTION", "uc_connection", "crm"),
            ("CAN USE", "app", "wiki"),
        ):
            assert workspace._grants.holds(agent, privilege, kind, name)
