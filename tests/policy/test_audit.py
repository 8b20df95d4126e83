"""`audit`: what tools used against what they declare. Issue: the policy that proves itself; rules 8, 22 and 23."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksGenieSpace
from support import SPACE, as_user, calls, client, me

from obo_kit import (
    PolicyError,
    ScopeViolationError,
    audit,
    current_session,
    optional_tool,
    propagate,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.policy._audit import AuditReport
from obo_kit.scopes import ROUTES, route_for
from obo_kit.tools._registry import REGISTRY

pytestmark = pytest.mark.usefixtures("registry")


def asks_genie(*declared):
    @requires_scopes(*declared)
    @with_user_client
    def ask(client: WorkspaceClient) -> str:
        return client.genie.get_space(SPACE).title

    return ask


def lists_warehouses():
    return [one.id for one in current_session().client.warehouses.list()]


def found(findings):
    return [(one.tool, one.what, one.scopes) for one in findings]


# --- the two lists --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", ["genie", "dashboards.genie", DatabricksGenieSpace(SPACE)])
def test_a_tool_that_uses_what_it_declares_passes(workspace, declared):
    """In either vocabulary, and by resource."""
    with as_user(workspace, "alice"), audit() as report:
        asks_genie(declared)()
    report.check()
    assert report
    (tool,) = report.tools
    assert (tool.tool, tool.calls, tool.declared) == ("ask", {"allowed": 1}, tool.used)
    assert tool.requests == ("GET /api/2.0/genie/",)


def test_what_is_declared_and_never_used_is_found(workspace):
    """Least privilege."""
    with as_user(workspace, "alice"), audit() as report:
        asks_genie("genie", "sql", DatabricksGenieSpace(SPACE), "jobs")()
    assert found(report.least_privilege) == [("ask", "sql", ("sql",)), ("ask", "jobs", ("jobs",))]
    assert report.would_fail == ()
    assert not report
    with pytest.raises(PolicyError, match=r"2 differences[\s\S]*ask: sql. Remove it from @requires_scopes on 'ask'"):
        report.check()


@pytest.mark.parametrize("mode", ["raise", "warn", "off"])
def test_what_is_used_and_not_declared_is_found(workspace, monkeypatch, mode):
    """Would fail; also where the guard lets it pass, or is off."""
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", mode)

    @requires_scopes("genie")
    @with_user_client
    def strays(client):
        client.genie.get_space(SPACE)
        return [one.id for one in client.warehouses.list()]

    with as_user(workspace, "alice"), audit() as report:
        if mode == "raise":
            with pytest.raises(ScopeViolationError):
                strays()
        else:
            strays()
    assert found(report.would_fail) == [("strays", "GET /api/2.0/sql/warehouses", ("sql",))]
    assert report.least_privilege == ()
    with pytest.raises(PolicyError, match=r"1 difference [\s\S]*Declare @requires_scopes\('sql'\) on 'strays'"):
        report.check()


def test_all_the_scopes_of_a_request_that_needs_several_are_named(workspace, monkeypatch):
    """One deployment mends everything."""
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "off")

    @requires_scopes("genie", "ai-gateway")
    @with_user_client
    def responds(client):
        with pytest.raises(Exception, match=r"."):
            client.api_client.do("POST", "/serving-endpoints/responses", body={})

    with as_user(workspace, "alice"), audit() as report:
        responds()
    assert found(report.would_fail) == [("responds", "POST /serving-endpoints/responses", ("model-serving",))]
    assert [one.what for one in report.least_privilege] == ["genie"]


def test_a_tool_that_declares_nothing_is_held_against_what_all_declare(workspace):
    """Rules 22 and 23: it is not narrowed, but the token holds the policy's scopes alone."""

    @with_user_client
    def plain(client):
        return client.genie.get_space(SPACE).title

    with as_user(workspace, "alice"), audit() as report:
        plain()
        lists_warehouses()
    sql = (None, "GET /api/2.0/sql/warehouses", ("sql",))
    assert found(report.would_fail) == [("plain", "GET /api/2.0/genie/", ("genie",)), sql]
    asks_genie("genie")
    assert found(report.would_fail) == [sql]
    assert "on the tool that sends it" in report.would_fail[0].remedy


def test_what_opens_unasked_uses_no_other_scope(workspace):
    """Nearly every scope opens the user's own record: none is needed for it."""
    tool = requires_scopes("genie")(with_user_client(me))
    with as_user(workspace, "alice"), audit() as report:
        tool()
    assert [one.what for one in report.least_privilege] == ["genie"]
    assert report.would_fail == ()


# --- what it sees ---------------------------------------------------------------------------------------------------------


def test_a_local_workspace_tells_of_clients_that_the_kit_did_not_make(workspace):
    """Of users', and not of the agent's own."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"), audit() as report:
        WorkspaceClient().current_user.me()
        assert report.tools == ()
        client(workspace, "bob").genie.get_space(SPACE)
    assert [record.kind for record in calls(workspace) if record.kind] == ["service_principal", "user"]
    assert [(one.tool, one.requests) for one in report.tools] == [(None, ("GET /api/2.0/genie/",))]


def test_what_a_client_of_nobody_s_used_may_be_a_tool_s(workspace):
    """So that the tool is not said to declare too much."""

    @requires_scopes("genie")
    def ask():
        return client(workspace, "alice").genie.get_space(SPACE).title

    with as_user(workspace, "alice"), audit() as report:
        ask()
    report.check()
    assert [(one.tool, one.used) for one in report.tools] == [("ask", ("genie",)), (None, ())]


def test_each_tool_has_its_own_requests_and_a_block_inside_is_the_tool_s(workspace):
    """Tools that call each other, in threads too."""
    ask = asks_genie("genie")

    @requires_scopes("sql")
    def outer():
        with optional_tool("block"):
            lists_warehouses()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(propagate(ask)).result()

    with as_user(workspace, "alice"), audit() as report:
        outer()
    report.check()
    assert [(one.tool, one.used, dict(one.calls)) for one in report.tools] == [
        ("ask", ("genie",), {"allowed": 1}),
        ("outer", ("sql",), {"allowed": 1}),
    ]


def test_it_sees_its_block_and_nothing_else(workspace):
    """Also where audits are nested."""
    ask = asks_genie("genie")
    with as_user(workspace, "alice"):
        ask()
        with audit() as outer:
            ask()
            with audit() as inner:
                ask()
        ask()
    assert [outer.tools[0].calls, inner.tools[0].calls] == [{"allowed": 2}, {"allowed": 1}]


# --- what it does not claim -----------------------------------------------------------------------------------------------


def test_a_tool_of_which_no_call_ended_well_is_unproven(workspace):
    """A token that lacks the scope stops the tool before it has sent anything."""
    ask = optional_tool(fallback="no")(asks_genie("genie"))
    with user_session(host=workspace.host, token=workspace.token("alice", scopes=["sql"])), audit() as report:
        assert ask() == "no"
    assert report.least_privilege == ()
    assert report.unproven == ("ask",)
    report.check()


def test_a_request_that_the_catalogue_does_not_know_proves_nothing(workspace):
    """It may need what seems unused. Its path is cut: it may name what is nobody's business."""

    @requires_scopes("genie")
    @with_user_client
    def unknown(client):
        with pytest.raises(Exception, match="does not know this path"):
            client.api_client.do("GET", "/api/2.0/nobody/knows/private/matters")

    with as_user(workspace, "alice"), audit() as report:
        unknown()
    assert (report.least_privilege, report.would_fail, report.unproven) == ((), (), ("unknown",))
    assert report.tools[0].unknown == ("GET /api/2.0/nobody/knows/…",)


def test_a_scope_that_the_catalogue_does_not_know_is_left_alone(workspace):
    """Rule 20."""
    tool = requires_scopes("quite-new", allow_unknown=True)(lists_warehouses)
    with as_user(workspace, "alice"), audit() as report:
        tool()
    report.check()


def test_tools_that_were_not_called_are_named():
    """A report that is silent of them would be taken for a proof."""
    asks_genie("genie")
    with audit() as report:
        pass
    assert [name.rpartition(".")[2] for name in report.not_called] == ["ask"]
    with pytest.raises(PolicyError, match="saw no tool"):
        report.check()


# --- reading it -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(workspace, monkeypatch):
    """A report with something of everything, and the token that must not be in it."""
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "off")

    @requires_scopes("genie", "jobs")
    def strays():
        current_session().client.genie.get_space(SPACE)
        return lists_warehouses()

    token = workspace.token("alice")
    denied = optional_tool(fallback="no")(requires_scopes("sql")(lambda: None))
    never = requires_scopes("files")(lambda: None)
    never.__name__ = "never"
    with audit() as report:
        with user_session(host=workspace.host, token=token):
            strays()
            me(current_session().client)
        with user_session(host=workspace.host, token=workspace.token("alice", scopes=["genie"])):
            denied()
    return report, token


def test_it_reads_as_text_and_as_json_and_holds_no_token(mixed):
    """Rule 8."""
    report, token = mixed
    text, written = str(report), json.dumps(report.as_dict())
    for line in (
        "obo_kit audit: not ok",
        "    calls     1 allowed",
        "    declared  genie, jobs",
        "    used      genie",
        "  (outside any tool)",
        "Would fail (used, not declared):",
        "  strays: GET /api/2.0/sql/warehouses (sql). Declare @requires_scopes('sql') on 'strays', or leave the request out.",
        "Least privilege (declared, never used):",
        "  strays: jobs. Remove it from @requires_scopes on 'strays'.",
        "Unproven: <lambda>",
    ):
        assert line in text.splitlines()
    for secret in (token, token.split(".")[1], "eyJ", SPACE, "alice"):
        assert secret not in text + written + repr(report)
    read = json.loads(written)
    assert read["ok"] is False
    assert [one["scopes"] for one in (*read["would_fail"], *read["least_privilege"])] == [["sql"], ["jobs"]]
    assert read["unproven"] == ["<lambda>"]
    assert [one["tool"] for one in read["tools"]] == ["<lambda>", "strays", None]


def test_several_processes_add_up(mixed, monkeypatch):
    """As the workers of pytest-xdist do: through JSON, and each may know what the others do not."""
    report, _ = mixed
    state = json.loads(json.dumps(report.to_state()))
    monkeypatch.setattr(REGISTRY, "_tools", {})
    both = AuditReport()
    both.add_state(state)
    assert both.as_dict() == json.loads(json.dumps(report.as_dict()))
    both.add_state(state)
    assert {one.tool: dict(one.calls) for one in both.tools}["strays"] == {"allowed": 2}
    assert found(both.least_privilege) == found(report.least_privilege)


def test_templates_of_the_catalogue_stand_for_their_routes():
    """What is kept of a request is its template."""
    for route in ROUTES:
        for method in route.methods or {"GET", "POST", "DELETE"}:
            kept = route_for(method, route.path)
            assert kept is not None
            assert kept.path == route.path or (kept.any_of, kept.all_of) == (route.any_of, route.all_of)
