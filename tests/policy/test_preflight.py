"""`preflight`: what a deployment lacks, told before a user meets it."""

from __future__ import annotations

import json

import pytest
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksGenieSpace
from support import callers

from obo_kit import (
    TokenExpiredError,
    app_config,
    auth_policy,
    preflight,
    register_identity_source,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.scopes import Verdict


@requires_scopes(DatabricksGenieSpace("space1"))
@with_user_client
def ask(client: WorkspaceClient, question: str) -> str:
    return question


@requires_scopes("files")
@with_user_client
def read(client: WorkspaceClient, path: str) -> str:
    return path


@pytest.fixture
def apps(monkeypatch, workspace):
    monkeypatch.setenv("DATABRICKS_APP_NAME", "app")
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)


@pytest.fixture
def serving(monkeypatch, workspace):
    monkeypatch.setenv("IS_IN_DB_MODEL_SERVING_ENV", "true")
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)


def session(workspace, *scopes):
    return user_session(host=workspace.host, token=workspace.token("alice", scopes=list(scopes)))


def test_at_start_up_nobody_can_tell(apps):
    """A user comes with a request."""
    found = preflight([ask])
    assert found
    assert (found.runtime, found.made_for, found.user) == ("apps", None, None)
    assert dict(found.scopes) == {"genie": Verdict.UNKNOWN}


def test_in_a_request_the_token_is_compared(workspace, apps):
    """Three-valued: granted, missing, unknown. Nothing is sent."""
    with session(workspace, "genie"):
        found = preflight([ask, read])
    assert dict(found.scopes) == {"files": Verdict.MISSING, "genie": Verdict.GRANTED}
    assert not found
    (problem,) = found.problems
    assert problem.startswith("The user's token does not carry files. Add them to the app's user_api_scopes")
    assert callers(workspace) == []
    assert "dapi" not in str(found)


def test_where_all_is_well(workspace, serving):
    """And says so, to people and to machines."""
    with session(workspace, "genie"):
        found = preflight([ask])
    assert found
    assert str(found).splitlines() == [
        "obo_kit preflight: ok",
        "  runtime   model-serving",
        "  user      there is one",
        "  scope     genie: granted",
    ]
    assert json.loads(json.dumps(found.as_dict())) == {
        "ok": True,
        "runtime": "model-serving",
        "made_for": None,
        "user": True,
        "scopes": {"genie": "granted"},
        "problems": [],
    }


@pytest.mark.parametrize(("runtime", "other"), [("apps", "model-serving"), ("serving", "apps")])
def test_a_policy_made_for_another_runtime(request, runtime, other):
    """Each has its own names for scopes."""
    request.getfixturevalue(runtime)
    found = preflight(auth_policy([ask]) if other == "model-serving" else app_config([ask]))
    assert found.made_for == other
    assert f"made for {other}" in found.problems[0]
    assert ("app_config" if runtime == "apps" else "auth_policy") in found.problems[0]
    assert "not ok" in str(found)
    assert f"policy made for {other}" in str(found)


@pytest.mark.parametrize("runtime", ["apps", "serving"])
def test_a_request_without_a_user(request, runtime):
    """On-behalf-of-user authorization is not enabled at all."""
    request.getfixturevalue(runtime)
    with user_session(required=False):
        found = preflight([ask])
    assert found.user is False
    assert "enable" in found.problems[0]


def test_what_the_runtime_cannot_grant(serving):
    """Files are to be had on Apps alone."""
    found = preflight([read])
    assert "cannot grant the scope 'files'" in found.problems[0]


def test_a_policy_without_scopes(serving):
    """An agent with system authorization only."""
    from mlflow.models.auth_policy import AuthPolicy, SystemAuthPolicy

    assert preflight(AuthPolicy(system_auth_policy=SystemAuthPolicy([]))).scopes == {}
    assert preflight({"resources": []}).scopes == {}


def test_elsewhere_any_policy_will_do(workspace, monkeypatch):
    """On the developer's machine, with the developer's own credentials."""
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("alice"))
    assert preflight(app_config([ask])).runtime == "elsewhere"
    assert preflight(auth_policy([ask]))


def test_a_user_who_cannot_be_told_is_a_problem(apps):
    """Everything at once, instead of an exception."""

    class Ended:
        name = "ended"

        def capture(self):
            raise TokenExpiredError("The token has expired.", remedy="Ask again.")

    register_identity_source(Ended())
    found = preflight([ask])
    assert (found.user, found.problems) == (None, ("The token has expired. Ask again.",))
