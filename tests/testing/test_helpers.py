"""What the local workspace does for the hands that use it: users, objects for names, tables in a notebook."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from databricks.sdk import WorkspaceClient
from mlflow.models.auth_policy import AuthPolicy
from mlflow.models.resources import (
    DatabricksFunction,
    DatabricksServingEndpoint,
    DatabricksSQLWarehouse,
    DatabricksTable,
)

from obo_kit import UserSession, auth_policy, optional_tool, requires_scopes, with_user_client
from obo_kit.testing import LocalWorkspace

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
ORDERS = {"main.shop.orders": {"rows": [{"id": 1}]}}


@pytest.fixture
def workspace():
    with LocalWorkspace.from_config({"users": ["alice", "bob"], "warehouses": ["w1"], "tables": ORDERS}) as made:
        yield made


# ---------------------------------------------------------------------------------------------- users


@pytest.mark.parametrize("runtime", ["model-serving", "apps", "notebook"])
def test_a_block_runs_as_a_user(workspace, runtime):
    for user in ("alice", "bob"):
        with workspace.as_user(user, runtime=runtime) as session:
            assert isinstance(session, UserSession)
            assert session.client.current_user.me().user_name == f"{user}@example.com"
        assert session.closed


def test_the_user_of_a_block_has_the_scopes_that_are_asked_for(workspace):
    @optional_tool(fallback="no")
    @requires_scopes("genie")
    @with_user_client
    def ask(client: WorkspaceClient) -> str:
        return "yes"

    with workspace.as_user("alice", scopes=["sql"]) as session:
        assert ask() == "no"
        assert [denial.reason.value for denial in session.denials] == ["missing_scope"]


def test_every_runtime_s_user_yields_the_headers_of_the_request(workspace):
    with workspace.as_model_serving() as runtime, runtime.user("alice") as headers:
        assert headers == {}
    with workspace.as_app() as runtime, runtime.user("alice") as headers:
        assert headers["X-Forwarded-Email"] == "alice@example.com"


# ---------------------------------------------------------------------------------------------- scopes of tokens


def test_a_scope_that_nobody_knows_is_refused_with_the_nearest(workspace):
    with pytest.raises(ValueError, match=r"no scope 'geni'; did you mean 'genie'\? Fix: correct it"):
        workspace.token("alice", scopes=["geni"])
    with pytest.raises(ValueError, match="no scope 'qqqq' Fix: correct it, or pass allow_unknown=True"):
        workspace.token("alice", scopes=["sql", "qqqq"])
    with (
        workspace.as_model_serving() as runtime,
        pytest.raises(ValueError, match="no scope 'qqqq'"),
        runtime.user("alice", scopes=["qqqq"]),
    ):
        pass


@pytest.mark.parametrize("scope", ["all-apis", "openid", "offline_access", "sql:restricted-query", "clusters:read"])
def test_scopes_of_the_catalogue_and_their_parts_are_taken(workspace, scope):
    assert workspace.token("alice", scopes=[scope])


def test_a_scope_that_the_catalogue_does_not_know_yet_is_taken_on_request(workspace):
    assert workspace.token("alice", scopes=["brand-new"], allow_unknown=True)


# ---------------------------------------------------------------------------------------------- grants


def test_grants_take_the_objects_that_a_tool_declares(workspace):
    principal = workspace.add_service_principal("agent")
    workspace.add_function("main.shop.double", "x * 2", parameters={"x": "INT"}, returns="INT")
    workspace.add_endpoint("llm", ["hello"])
    resources = (
        ("CAN USE", DatabricksSQLWarehouse("w1"), ("sql_warehouse", "w1")),
        ("SELECT", DatabricksTable("main.shop.orders"), ("table", "main.shop.orders")),
        ("EXECUTE", DatabricksFunction("main.shop.double"), ("function", "main.shop.double")),
        ("CAN QUERY", DatabricksServingEndpoint("llm"), ("serving_endpoint", "llm")),
    )
    for privilege, resource, place in resources:
        for who, grantee in (("bob", "bob@example.com"), (principal, principal.client_id)):
            workspace.grant(who, privilege, resource)
            assert (grantee, privilege, *place) in workspace._grants.entries()
            workspace.revoke(who, privilege, resource)
            assert (grantee, privilege, *place) not in workspace._grants.entries()
    assert workspace.token(principal)


def test_what_is_no_resource_is_refused(workspace):
    with pytest.raises(ValueError, match="A securable is a name or an MLflow resource, not 7"):
        workspace.grant("bob", "SELECT", 7)


# ---------------------------------------------------------------------------------------------- notebooks


def cells(markup: str) -> list[str]:
    """The text of each cell; a table that is no XML raises."""
    return [cell.text or "" for cell in ET.fromstring(markup).iter() if cell.tag in ("td", "caption")]


def test_a_log_is_a_table_in_a_notebook(workspace):
    with workspace.as_user("alice") as session:
        session.client.current_user.me()
    shown = cells(workspace.log._repr_html_())
    assert shown[0] == f"{len(workspace.log)} requests"
    assert {"alice", "GET", "/api/2.0/preview/scim/v2/Me", "allowed"} <= set(shown)


def test_a_session_shows_its_denials_in_a_notebook(workspace):
    @optional_tool(fallback="no")
    @requires_scopes("genie")
    @with_user_client
    def ask(client: WorkspaceClient) -> None: ...

    ask.__name__ = "<ask>"
    with workspace.as_user("alice", scopes=["sql"]) as session:
        token = session.client.config.token
        ask()
        markup = session._repr_html_()
    assert {"missing_scope", "ask"} & set(cells(markup))
    assert cells(session.denials._repr_html_()) == cells(markup)[1:]
    assert "alice@example.com" in cells(markup)[0]
    assert token not in markup


def test_a_policy_is_mlflow_s_and_shows_what_is_in_it():
    @requires_scopes(DatabricksSQLWarehouse("<w1>"))
    def select(): ...

    policy = auth_policy([select, DatabricksServingEndpoint("llm")])
    assert isinstance(policy, AuthPolicy)
    assert repr(policy) == "<AuthPolicy: as the user: sql; as the agent itself: Serving endpoint llm>"
    assert cells(policy._repr_html_())[1:] == ["the user", "sql", "the agent itself", "Serving endpoint llm"]
    assert repr(auth_policy([])) == "<AuthPolicy: as the user: nothing; as the agent itself: nothing>"
