"""MCP clients act as the user, and nothing of a refusal is lost. Rules 4, 5, 8, 9, 16, 19 and 23."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import sys
from typing import Any

import pytest
from support import SPACE, as_user, calls, extra, frames_of, nobody, of_mcp_1

from obo_kit import (
    DenialReason,
    Limits,
    ScopeViolationError,
    SessionClosedError,
    explain,
    optional_tool,
    requires_scopes,
    user_session,
)
from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a
from obo_kit._upstream.errors import is_failure_in_disguise, kept_of, leaves_of, status_of, tells_nothing
from obo_kit.integrations.mcp import bearer

pytest.importorskip("mcp", reason="mcp is an extra")

R = DenialReason
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own
    pytest.mark.usefixtures("no_traces"),
]
MCP = f"/api/2.0/mcp/genie/{SPACE}"


@pytest.fixture(autouse=True)
def _no_connection_is_left():
    yield
    gc.collect()


def databricks_client(session):
    return extra("databricks_mcp", "DatabricksMCPClient")(f"{session.identity.host}{MCP}", session.client)


@contextlib.asynccontextmanager
async def opened(url, auth):
    """A client of `mcp` itself, as its documentation has it, of either version."""
    import mcp

    if hasattr(mcp, "Client"):
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        async with (
            httpx2.AsyncClient(auth=auth, trust_env=False) as http,
            mcp.Client(streamable_http_client(url, http_client=http)) as client,
        ):
            yield client
    else:
        from mcp.client.streamable_http import streamablehttp_client  # pyright: ignore

        async with streamablehttp_client(url, auth=auth) as (read, write, _), mcp.ClientSession(read, write) as client:
            await client.initialize()
            yield client


async def listed(url, auth):
    async with opened(url, auth) as client:
        return [tool.name for tool in (await client.list_tools()).tools]


def leaves(error: BaseException | None) -> list[BaseException]:
    """All that an exception holds: the parts of a group, and causes."""
    if error is None:
        return []
    held = [one for one in leaves_of(error) if one is not None]
    return [error, *(leaf for one in (*held, error.__cause__) for leaf in leaves(one))]


# --- who asks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_client_that_is_given_the_sessions_client_acts_as_the_user(workspace, name):
    """Rule 9: with nothing to change."""
    with as_user(workspace, name) as session:
        assert [tool.name for tool in databricks_client(session).list_tools()]
    assert {record.user for record in calls(workspace)} == {name}


def test_a_client_of_mcp_itself_acts_as_the_user(workspace):
    """Rule 9: three users, at the same time."""

    async def ask(name):
        with as_user(workspace, name) as session:
            return await listed(f"{workspace.host}{MCP}", bearer(session))

    async def all_three():
        return await asyncio.gather(*map(ask, ("alice", "bob", "carol")), return_exceptions=True)

    alice, bob, carol = asyncio.run(all_three())
    assert alice == bob != []
    assert isinstance(carol, BaseException)
    seen = [(record.user, record.status) for record in calls(workspace) if record.method == "POST"]
    assert {user for user, _ in seen} == {"alice", "bob", "carol"}
    assert all(status >= 400 for user, status in seen if user == "carol")
    assert all(status < 300 for user, status in seen if user != "carol")


@pytest.mark.parametrize("kind", ["bearer", "provider"])
def test_an_auth_that_is_kept_sends_nothing_after_its_session(workspace, kind):
    """Rule 5: not as its user, and not as the next one's."""
    with as_user(workspace, "alice") as session:
        build = extra("databricks_mcp", "DatabricksOAuthClientProvider") if kind == "provider" else None
        kept = bearer(session) if build is None else build(session.client)
        assert asyncio.run(listed(f"{workspace.host}{MCP}", kept))
    workspace.log.clear()
    with as_user(workspace, "bob"), pytest.raises(BaseException) as refused:
        asyncio.run(asyncio.wait_for(listed(f"{workspace.host}{MCP}", kept), 10))
    assert len(workspace.log) == 0
    assert any(isinstance(leaf, SessionClosedError) for leaf in leaves(refused.value))


def test_a_session_that_has_ended_gives_no_auth(workspace):
    """Rule 5."""
    with as_user(workspace, "alice") as session:
        pass
    with pytest.raises(SessionClosedError):
        bearer(session)


def test_a_provider_of_any_other_client_keeps_its_own_flow(workspace):
    """What the kit did not build is not the kit's."""
    from databricks.sdk import WorkspaceClient

    with as_user(workspace, "alice") as session:
        databricks_client(session).list_tools()
    workspace.log.clear()
    other = WorkspaceClient(host=workspace.host, token=workspace.token("bob"), auth_type="pat")
    with as_user(workspace, "alice"):
        extra("databricks_mcp", "DatabricksMCPClient")(f"{workspace.host}{MCP}", other).list_tools()
    assert {record.user for record in calls(workspace)} == {"bob"}


def test_the_token_goes_to_databricks_alone(workspace, monkeypatch):
    """Rule 8: to the user's workspace, and to the apps that the author lists."""
    app = "https://x-1.aws.databricksapps.com/mcp"
    monkeypatch.setenv("OBO_KIT_APPS", "https://y-1.aws.databricksapps.com, x-1.aws.databricksapps.com")
    with as_user(workspace, "alice") as session:
        assert authorized(session, f"{workspace.host}{MCP}")
        assert authorized(session, app)
        for url in (
            app.replace("https", "http"),
            app.replace("x-1", "z-1"),
            app.replace("x-1", "u:p@x-1"),
            app.replace(".com/", ".com:444/"),
            "https://databricksapps.com.example/mcp",
            "https://other.example/mcp",
            r"https://other.example\.databricksapps.com/",
        ):
            with pytest.raises(ScopeViolationError, match="nothing was sent"):
                authorized(session, url)


def test_a_server_that_is_refused_leaves_no_token_in_a_frame(workspace):
    """Rule 8."""
    token = workspace.token("alice")
    client = extra("databricks_mcp", "DatabricksMCPClient")
    with user_session(host=workspace.host, token=token) as session:
        with pytest.raises(ScopeViolationError, match="nothing was sent") as refused:
            client("https://other.example/mcp", session.client).list_tools()
        assert token not in frames_of(refused.value)


@pytest.mark.parametrize(("listed", "sent"), [("https://x-1.aws.databricksapps.com", True), ("https://other", False)])
def test_the_token_goes_to_an_app_that_the_workspace_lists(workspace, new_process_state, listed, sent):
    """Rule 8: under the very URL; asked for once."""
    workspace.add_fault(status=200, body={"name": "x", "url": listed}, times=None, path_prefix="/api/2.0/apps/x")
    url = "https://x-1.aws.databricksapps.com/mcp"
    with as_user(workspace, "alice") as session:
        for _ in range(2):
            with contextlib.nullcontext() if sent else pytest.raises(ScopeViolationError):
                assert authorized(session, url)
    asked = [(record.user, record.path) for record in calls(workspace)]
    assert asked == [("alice", "/api/2.0/apps/x")]


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
def test_bearer_sends_the_user_in_either_kind_of_client_and_nothing_afterwards(workspace, sync):
    """Rules 5 and 8; `httpx` would send a request without any word where an auth has no synchronous flow."""
    url = f"{workspace.host}{MCP}"
    with as_user(workspace, "alice") as session:
        auth = bearer(session)
        (seen,) = sent_with(auth, url, sync)
        assert seen.startswith("Bearer ")
    with pytest.raises(SessionClosedError):
        sent_with(auth, url, sync)


def test_no_answer_of_a_chain_of_redirects_holds_the_token(workspace):
    """Rule 8: a redirect inside the workspace takes the token along."""
    http = importlib.import_module(type(bearer_of(workspace)).__mro__[1].__module__.partition(".")[0])
    with (
        as_user(workspace, "alice") as session,
        http.Client(auth=bearer(session), follow_redirects=True, trust_env=False) as client,
    ):
        workspace.add_fault(status=307, headers={"Location": f"{workspace.host}/api/2.0/b"}, times=2)
        answer = client.get(f"{workspace.host}/api/2.0/a")
    assert len(answer.history) == 2
    for each in (*answer.history, answer):
        assert "authorization" not in each.request.headers
    assert {record.user for record in calls(workspace)} == {"alice"}


def bearer_of(workspace):
    with as_user(workspace, "alice") as session:
        return bearer(session)


def sent_with(auth, url, sync):
    """The `Authorization` headers that a client with this auth sends."""
    http = importlib.import_module(type(auth).__mro__[1].__module__.partition(".")[0])
    seen: list[str | None] = []

    def answer(request):
        seen.append(request.headers.get("authorization"))
        return http.Response(200, json={})

    async def later():
        async with http.AsyncClient(transport=http.MockTransport(answer), auth=auth) as client:
            await client.get(url)

    if sync:
        with http.Client(transport=http.MockTransport(answer), auth=auth) as client:
            client.get(url)
    else:
        asyncio.run(later())
    return seen


def authorized(session, url):
    return sent_with(bearer(session), url, True)[0] is not None


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scopes", "reasons"),
    [
        ("alice", ("sql",), {R.MISSING_SCOPE}),
        ("carol", ("all-apis",), {R.ACCESS_DENIED, R.NOT_FOUND_OR_DENIED}),
        ("alice", ("all-apis",), set()),
    ],
)
def test_what_the_workspace_says_is_told(workspace, name, scopes, reasons):
    """Rule 16: the workspace's own answers: the token lacks the scope, the user lacks the grant, nothing is lacking."""
    with user_session(host=workspace.host, token=workspace.token(name, scopes=scopes)) as session:
        optional_tool(fallback=None)(databricks_client(session).list_tools)()
        assert {denial.reason for denial in session.denials} <= reasons
        assert len(session.denials) == bool(reasons)
        assert all(denial.status in (403, 404) for denial in session.denials)
        assert all(denial.scopes for denial in session.denials if denial.reason is R.MISSING_SCOPE)


def test_errors_keep_status_and_body_and_no_token(workspace):
    """Rules 8 and 16: outside of any tool, on the exception itself."""
    workspace.add_fault(status=403, body={"error_code": "PERMISSION_DENIED", "message": "You may not."}, times=None,
                        path_prefix=MCP)  # fmt: skip
    with as_user(workspace, "alice") as session, pytest.raises(BaseException) as refused:
        databricks_client(session).list_tools()
    (told,) = {status_of(leaf) for leaf in leaves(refused.value)} - {None}
    assert told == 403
    denial = explain(refused.value)
    assert denial is not None
    assert (denial.reason, denial.status, denial.error_code) == (R.ACCESS_DENIED, 403, "PERMISSION_DENIED")
    for leaf in leaves(refused.value):
        request = getattr(leaf, "request", None)
        assert request is None or "authorization" not in request.headers


@pytest.mark.parametrize(
    "data",
    [
        None,
        "x",
        {},
        {"obo_kit": None},
        {"obo_kit": {"status": "403", "path": "/", "body": ""}},
        {"obo_kit": {"status": 403}},
    ],
)
def test_what_a_server_says_in_another_form_is_not_taken_for_a_refusal(data):
    """Rule 16: never guessed."""
    error = type("MCPError", (Exception,), {"__module__": "mcp.shared.exceptions"})("x")
    error.error = type("ErrorData", (), {"code": -32603, "message": "x", "data": data})()
    assert kept_of(error) is None
    assert explain(error) is None


def test_a_tool_is_narrowed(workspace):
    """Rule 23: nothing is sent outside of what the tool declares."""

    @requires_scopes("sql")
    def tool(session):
        return databricks_client(session).list_tools()

    with as_user(workspace, "alice") as session, pytest.raises(BaseException) as refused:
        tool(session)
    assert calls(workspace) == []
    denial = explain(refused.value)
    assert denial is not None
    assert denial.reason is R.SCOPE_VIOLATION


@pytest.mark.parametrize("auth", ["bearer", "provider"])
def test_a_tool_is_narrowed_on_a_connection_that_was_opened_earlier(workspace, auth):
    """Rule 23: `mcp` sends from tasks of the connection, which know nothing of the tool that uses it."""
    provider = extra("databricks_mcp", "DatabricksOAuthClientProvider")

    async def used_by(scope):
        @requires_scopes(scope)
        async def tool(client):
            return [tool.name for tool in (await client.list_tools()).tools]

        with as_user(workspace, "alice") as session:
            made = bearer(session) if auth == "bearer" else provider(session.client)
            async with opened(f"{workspace.host}{MCP}", made) as client:
                await client.list_tools()
                return await asyncio.wait_for(tool(client), 10)

    def posted():
        return [record.tool for record in calls(workspace) if record.method == "POST"]

    assert asyncio.run(used_by("genie"))
    own = [None] * (len(posted()) - 1)
    assert posted() == [*own, "tool"]
    workspace.log.clear()
    with pytest.raises(BaseException) as refused:
        asyncio.run(used_by("sql"))
    assert any(isinstance(leaf, ScopeViolationError) for leaf in leaves(refused.value))
    assert posted() == own


def test_a_client_that_is_imported_late_loses_no_refusal(workspace, monkeypatch):
    """Rule 16: in the tool's body, say, when the session's client is there already."""
    extra("databricks_mcp", "DatabricksMCPClient")
    for name in [name for name in sys.modules if name.partition(".")[0] == "databricks_mcp"]:
        monkeypatch.delitem(sys.modules, name)
    workspace.add_fault(status=401, body="", times=None, path_prefix=MCP)
    with as_user(workspace, "alice") as session:
        _ = session.client
        optional_tool(fallback=None)(lambda: databricks_client(session).list_tools())()
        assert [one.reason for one in session.denials] == [R.TOKEN_EXPIRED]
    assert {record.path for record in calls(workspace)} == {MCP}


def test_a_sign_in_page_ends_the_request_in_an_error(workspace):
    """Rule 16: also where the HTTP client follows the redirect. Clients of `mcp` before 1.30 cannot read the page, and wait."""
    from obo_kit.clients._mcp import Auth  # of `httpx`, or of its successor

    http = importlib.import_module(Auth.__module__.partition(".")[0])
    workspace.add_fault(status=302, headers={"Location": "/login.html"}, times=None, path_prefix=MCP)
    workspace.add_fault(status=200, body="<html>", headers={"Content-Type": "text/html"}, path_prefix="/login")

    async def ask(session):
        async with http.AsyncClient(auth=bearer(session), trust_env=False, follow_redirects=True) as client:
            return await client.post(f"{workspace.host}{MCP}", json={})

    with as_user(workspace, "alice") as session:
        with pytest.raises(http.HTTPStatusError) as refused:
            asyncio.run(ask(session))
        denial = explain(refused.value)
    assert denial is not None
    assert denial.reason is R.TOKEN_EXPIRED
    assert "Authorization" not in refused.value.request.headers
    workspace.clear_faults()


def test_a_refusal_behind_another_redirect_is_not_lost(workspace):
    """Rule 16: what counts is the answer at its end."""
    from obo_kit.clients._mcp import Auth
    from obo_kit.context._frame import current_call

    http = importlib.import_module(Auth.__module__.partition(".")[0])
    workspace.add_fault(status=307, headers={"Location": f"{MCP}/"}, times=1, path_prefix=MCP)
    workspace.add_fault(status=403, body={"error_code": "PERMISSION_DENIED", "message": "No."}, path_prefix=f"{MCP}/")

    @optional_tool
    async def ask(auth):
        async with http.AsyncClient(auth=auth, trust_env=False, follow_redirects=True) as client:
            answer = await client.post(f"{workspace.host}{MCP}", json={})
        call = current_call()
        assert call is not None
        return answer.status_code, [refusal.status for refusal in call.evidence.refusals]

    with as_user(workspace, "alice") as session:
        assert asyncio.run(ask(bearer(session))) == (403, [403])


def test_an_anyio_stream_that_is_closed_elsewhere_is_no_refusal():
    """Rule 15: it counts where an MCP client met with it."""
    error = pytest.importorskip("anyio").ClosedResourceError()
    assert not tells_nothing(error)


# --- what passes ---------------------------------------------------------------------------------------------------------


def test_what_passes_is_tried_again(workspace):
    """Rule 19: a 429 had no effect."""
    workspace.add_fault(status=429, headers={"Retry-After": "0"}, times=1, path_prefix=MCP)
    with as_user(workspace, "alice") as session:
        assert optional_tool(retry=True)(lambda: [t.name for t in databricks_client(session).list_tools()])()
    assert calls(workspace)[0].status == 429


def test_no_answer_is_noted():
    """Rule 19: seen on the wire, and told."""

    @optional_tool
    async def tool(auth):
        from obo_kit.context._frame import current_call

        try:
            return await listed(f"{host}{MCP}", auth)
        finally:
            call = current_call()
            assert call is not None
            noted.extend(one.what for one in call.evidence.outages)

    noted: list[str] = []
    with (
        nobody() as host,
        user_session(host=host, token="x", limits=Limits(retry=0.2)) as session,
        pytest.raises(BaseException),  # noqa: B017
    ):
        asyncio.run(asyncio.wait_for(tool(bearer(session)), 60))
    assert noted
    assert set(noted) == {"no answer"}


# --- the OpenAI Agents SDK -------------------------------------------------------------------------------------------------


REFUSED = {
    "scope": (403, {"error_code": 403, "message": "Provided OAuth token does not have required scopes: x"}, R.MISSING_SCOPE),
    "token": (401, "", R.TOKEN_EXPIRED),
    "grant": (403, {"error_code": "PERMISSION_DENIED", "message": "You may not."}, R.ACCESS_DENIED),
    "disabled": (403, {"error_code": "FEATURE_DISABLED", "message": "x is disabled for this workspace."}, None),
    "outage": (503, "", None),
}  # fmt: skip


@pytest.mark.parametrize("key", REFUSED)
@pytest.mark.parametrize("phase", ["connect", "call"])
def test_what_the_agents_sdk_makes_of_a_refusal(workspace, phase, key):
    """A `UserError` without its cause when connecting; in a call a cancellation that nobody asked for."""
    if phase == "call" and sys.version_info < (3, 11):
        pytest.skip("Python 3.10 does not say who was cancelled")
    build = of_mcp_1("databricks_openai.agents", "McpServer")
    status, body, reason = REFUSED[key]
    raised: list[BaseException] = []

    @optional_tool(fallback=lambda denial: denial)
    async def tool(session):
        try:
            if phase == "connect":
                workspace.add_fault(status=status, body=body, times=None, path_prefix=MCP)
            async with build(f"{workspace.host}{MCP}", workspace_client=session.client) as server:
                await server.list_tools()
                workspace.add_fault(status=status, body=body, times=None, path_prefix=MCP)
                return await server.call_tool(f"query_space_{SPACE}", {"query": "x"})
        except BaseException as error:
            raised.append(error)
            raise

    with as_user(workspace, "alice") as session:
        if reason is None:
            with pytest.raises(BaseException) as came:
                asyncio.run(tool(session))
            assert phase == "call" or came.value is raised[0]
        else:
            denial: Any = asyncio.run(tool(session))
            assert denial.reason is reason
            assert session.denials == (denial,)
    assert (
        is_a(raised[0], classes.AGENTS_ERROR) if phase == "connect" else isinstance(raised[0], asyncio.CancelledError)
    )


def test_a_real_cancellation_is_never_a_denial(workspace):
    """Rule 15: whatever was refused before it."""
    workspace.add_fault(status=403, body="", times=None, path_prefix=MCP)

    @optional_tool(fallback="fallback")
    async def tool(session):
        with contextlib.suppress(Exception):  # a group of exceptions is one
            await listed(f"{workspace.host}{MCP}", bearer(session))
        began.set()
        await asyncio.sleep(30)

    async def cancelled():
        running = asyncio.create_task(tool(session))
        await began.wait()
        running.cancel("Cancelled via cancel scope 7f")
        with pytest.raises(asyncio.CancelledError):
            await running

    began = asyncio.Event()
    with as_user(workspace, "alice") as session:
        asyncio.run(cancelled())
        assert session.denials == ()


def test_who_was_cancelled():
    """A cancellation that is none is one in the words of `anyio`, while nobody cancels the task that sees it."""
    assert is_failure_in_disguise(asyncio.CancelledError("Cancelled via cancel scope 7f"))
    assert not is_failure_in_disguise(asyncio.CancelledError())
    assert not is_failure_in_disguise(ValueError("Cancelled via cancel scope 7f"))
