"""A tool's client is narrowed to the tool's declaration (rule 23), and used by its own request alone (rule 5).

Every client that a session hands out, in every mode.
"""

from __future__ import annotations

import contextvars
import logging

import pytest
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksVectorSearchIndex
from official import OFFICIAL, oauth_token, quiet
from support import INDEX, as_user, calls, frames_of

from obo_kit import (
    DenialReason,
    IdentityMismatchError,
    ScopeViolationError,
    SessionClosedError,
    audit,
    explain,
    requires_scopes,
    with_user_client,
)

# They ask the session's client for headers, and send requests of their own: pinned and fenced, but not narrowed.
THEIR_OWN_WAY = (oauth_token,)
GUARDED = [build for build in OFFICIAL if build not in THEIR_OWN_WAY]
NOTHING = "billing"
"""A scope that opens no API: whatever the client sends is outside of it."""


def straying(workspace, session, build):
    """A use of a client, as a tool that declares something else. Built before, outside of any tool."""
    use = build(session)
    workspace.log.clear()

    @requires_scopes(NOTHING)
    def strays():
        with quiet():
            return use()

    return strays


@pytest.fixture(params=GUARDED, ids=lambda build: build.__name__)
def tool(request, workspace, no_traces):
    with as_user(workspace, "alice") as session:
        yield straying(workspace, session, request.param)


def test_raise_sends_nothing(workspace, tool, monkeypatch):
    """Rule 23: and however the client's library wraps the error, it is told as what it is."""
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "raise")
    with pytest.raises(BaseException) as refused:
        tool()
    denial = explain(refused.value)
    assert denial is not None
    assert denial.reason is DenialReason.SCOPE_VIOLATION
    assert calls(workspace) == []


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_warn_says_it_once_and_off_never(workspace, tool, monkeypatch, caplog, mode):
    """Rule 23: the call is made, as the user. The audit knows it from the client's side, by tool."""
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", mode)
    monkeypatch.setattr("obo_kit.testing.server._log.tell_of_request", lambda *_: None)
    with audit() as report:
        tool()
    sent = calls(workspace)
    assert {record.user for record in sent} == {"alice"}
    assert [(one.tool, bool(one.requests)) for one in report.tools] == [("strays", True)]
    assert {one.tool for one in report.would_fail} == {"strays"}
    tool()
    warned = [record for record in caplog.records if record.name == "obo_kit.clients._pipeline"]
    assert {record.levelno for record in warned} <= {logging.WARNING}
    said = [record.getMessage() for record in warned]
    assert bool(said) is (mode == "warn")
    assert len(said) == len(set(said))
    assert all("'strays' called" in line for line in said)


@pytest.mark.parametrize("build", THEIR_OWN_WAY, ids=lambda build: build.__name__)
def test_what_cannot_be_narrowed_is_seen_by_the_audit(workspace, no_traces, monkeypatch, build):
    """Rule 23 ends where a library sends requests of its own: a local workspace sees them, without the tool's name."""
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "raise")
    with as_user(workspace, "alice") as session, audit() as report:
        straying(workspace, session, build)()
    assert {record.user for record in calls(workspace)} == {"alice"}
    assert [one.tool for one in report.tools if one.requests] == [None]


@pytest.mark.parametrize("package", ["databricks_langchain", "databricks_openai"])
def test_a_retriever_tool_speaks_for_the_tool_that_built_it(workspace, no_traces, monkeypatch, caplog, package):
    """Rule 23: it copies the user's token, and its search, too, is known to be that tool's. To describe itself it reads the
    index's columns, which takes a scope that opens everything: the advice is to describe it."""
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "warn")
    retriever = pytest.importorskip(package).VectorSearchRetrieverTool

    @requires_scopes(DatabricksVectorSearchIndex(INDEX))
    @with_user_client
    def make_search(client: WorkspaceClient, **settings: str):
        return retriever(index_name=INDEX, workspace_client=client, tool_name="search", num_results=1, **settings)

    with as_user(workspace, "alice"), quiet():
        tool = make_search()
        search = tool.invoke if package == "databricks_langchain" else lambda asked: tool.execute(**asked)
        assert search({"query": "refund"})
        (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("obo_kit.")]
        assert "Fix: Give VectorSearchRetrieverTool a tool_description=" in warning
        assert "Or declare @requires_scopes('unity-catalog') on 'make_search' (unity-catalog opens more" in warning
        caplog.clear()
        make_search(tool_description="Search.")
    assert {record.tool for record in calls(workspace)} == {"make_search"}
    assert not [record for record in caplog.records if record.name.startswith("obo_kit.")]
    with pytest.raises(SessionClosedError):
        search({"query": "refund"})


@pytest.mark.parametrize(
    ("apps", "path", "advice"),
    [
        (
            True,
            "/api/2.1/unity-catalog/tables/main.s.t",
            "@requires_scopes('catalog.tables:read') on 'stray', or leave",
        ),
        (
            False,
            "/api/2.1/unity-catalog/schemas",
            "('unity-catalog') on 'stray' (unity-catalog opens more than this call",
        ),
        (False, "/api/2.0/sql/statements", "@requires_scopes('sql.statement-execution') on 'stray', or leave"),
        (False, "/api/2.0/vector-search/indexes/main.s.i", "@requires_scopes('vector-search') on 'stray', or leave"),
        (False, "/ai-gateway/connections/crm/", "@requires_scopes('ai-gateway', 'unity-catalog') on 'stray', or leave"),
        (False, "/api/2.0/mcp/sql", "@requires_scopes('sql') on 'stray', or leave"),
    ],
)
def test_the_advice_is_the_narrowest_scope_that_the_target_grants(workspace, monkeypatch, apps, path, advice):
    """Rule 23: all that a call needs together; and what opens more than the call needs is said to."""
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "raise")
    if apps:
        monkeypatch.setenv("DATABRICKS_APP_NAME", "app")
        monkeypatch.setenv("DATABRICKS_HOST", workspace.host)

    @requires_scopes("genie")
    @with_user_client
    def stray(client: WorkspaceClient):
        client.api_client.do("GET", path)

    with as_user(workspace, "alice"), pytest.raises(ScopeViolationError) as caught:
        stray()
    assert advice in caught.value.remedy


@pytest.mark.parametrize("build", GUARDED, ids=lambda build: build.__name__)
def test_a_client_that_another_request_keeps_is_refused_while_both_are_served(workspace, no_traces, build):
    """Rule 5: on self, in a global, or an MCP connection that all requests share. To the request that keeps it, it answers."""
    alice = contextvars.Context()
    scope = as_user(workspace, "alice")
    use = alice.run(build, alice.run(scope.__enter__))
    try:
        workspace.log.clear()
        with as_user(workspace, "bob"), quiet(), pytest.raises(BaseException) as refused:
            use()
        assert calls(workspace) == []
        assert "belongs to the user of another request" in everything_in(refused.value)
        with quiet():
            alice.run(use)
        assert {record.user for record in calls(workspace)} == {"alice"}
    finally:
        alice.run(scope.__exit__, None, None, None)


@pytest.mark.parametrize(
    "take",
    [
        lambda config: config.authenticate(),
        lambda config: f"Bearer {config.token}",
        lambda config: config.oauth_token(),
    ],
    ids=["header", "token", "oauth token"],
)
def test_the_credentials_of_a_client_that_another_request_keeps_are_refused(workspace, take):
    """Rule 5: for code that sends requests by itself, as for the client's own."""
    alice = contextvars.Context()
    scope = as_user(workspace, "alice")
    config = alice.run(scope.__enter__).client.config
    try:
        assert alice.run(take, config)
        token = str(alice.run(lambda: config.token))
        with as_user(workspace, "bob"), pytest.raises(IdentityMismatchError) as refused:
            take(config)
        assert token not in frames_of(refused.value)
    finally:
        alice.run(scope.__exit__, None, None, None)
    with as_user(workspace, "bob"), pytest.raises(SessionClosedError):
        take(config)


def everything_in(error):
    """The texts of an error, its causes and the parts of a group."""
    if error is None:
        return ""
    parts = [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
    return " ".join([str(error), *map(everything_in, parts)])
