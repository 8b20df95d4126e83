"""`explain` on the calls of the OBO documentation: each official client, as a user who may not."""

from __future__ import annotations

import contextlib
import warnings

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import DatabricksError, OperationFailed
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from databricks.sdk.service.sql import StatementState
from refusals import CALLS, QUESTION, R, ask, call_with, denied, look_at_space, query, sdk_search, search, select
from support import INDEX, LLM, SPACE, as_user

from obo_kit import Denial, explain, optional_tool, user_session, with_user_client
from obo_kit.context._calls import Refusal
from obo_kit.identity._user import TokenState

GRANT = "GRANT SELECT ON TABLE main.support.tickets TO `carol@example.com`"


def with_token(workspace, name, **options):
    return user_session(host=workspace.host, token=workspace.token(name, **options))


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
    seen = [Refusal(status=200, text="PERMISSION_DENIED: no", path="/api/2.0/genie/x")]
    from obo_kit.denials._explain import explain_in

    assert explain_in(OperationFailed("failed to reach RUNNING, got State.ERROR"), call_with(seen), None) is None
    assert explain_in(OperationFailed("failed to reach COMPLETED, got MessageStatus.FAILED"), call_with(seen), None)


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
    assert explain_in(error, call_with(failed), None) is None
    assert explain_in(error, call_with(failed[::-1]), None)


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
