"""What is derived from a session's client is the user's, narrowed, fenced and bound to the host, like the client itself."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.ai_search.client import AISearchClient
from databricks.sdk import AccountClient, WorkspaceClient
from databricks.sdk.core import ApiClient
from support import ASK, LLM, as_user, callers, calls, extra, frames_of, me, on_the_way, recording_proxy

from obo_kit import (
    IdentityMismatchError,
    NoUserIdentityError,
    ScopeViolationError,
    SessionClosedError,
    UserIdentity,
    audit,
    explain,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.clients._pipeline import headers_for
from obo_kit.identity._credentials import DEFAULT_LIMITS, Lease

pytestmark = [pytest.mark.usefixtures("no_traces"), pytest.mark.filterwarnings("ignore")]
POST = ("POST", "/api/2.0/sql/statements")
BODY = {"statement": "SELECT 1", "warehouse_id": "wh1"}


def plain_thread(client):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(client.statement_execution.execute_statement, "SELECT 1", "wh1").result()


def workspace_client_of_the_config(client):
    return WorkspaceClient(config=client.config).statement_execution.execute_statement("SELECT 1", "wh1")


def api_client_of_the_config(client):
    return ApiClient(client.config).do(*POST, body=BODY)


def account_client_of_the_config(client):
    return AccountClient(config=client.config).api_client.do(*POST, body=BODY)


def copied_config_in_a_thread(client):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ApiClient(client.config.copy()).do, *POST, body=BODY).result()


def dbutils(client):
    return client.dbutils._client.do(*POST, body=BODY)


def openai_client_of_the_sdk(client):
    pytest.importorskip("openai", reason="openai is an extra")
    made = client.serving_endpoints.get_open_ai_client(max_retries=0)
    return made.chat.completions.create(model=LLM, messages=ASK)


def openai_client_of_the_package(client):
    made = extra("databricks_openai", "DatabricksOpenAI")(workspace_client=client, max_retries=0)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(made.chat.completions.create, model=LLM, messages=ASK).result()


def async_openai_client_of_the_package(client):
    made = extra("databricks_openai", "AsyncDatabricksOpenAI")(workspace_client=client, max_retries=0)
    return asyncio.run(made.chat.completions.create(model=LLM, messages=ASK))


def chat_databricks(client):
    return extra("databricks_langchain", "ChatDatabricks")(model=LLM, workspace_client=client).invoke("hello")


def coded_path(client):
    return client.api_client.do("POST", "/api/2.0/genie%2F..%2Fsql%2Fstatements", body=BODY)


def parameter_in_the_path(client):
    return client.api_client.do("POST", "/api/2.0/sql;a=b/Statements", body=BODY)


WAYS = (
    plain_thread,
    workspace_client_of_the_config,
    api_client_of_the_config,
    account_client_of_the_config,
    copied_config_in_a_thread,
    dbutils,
    openai_client_of_the_sdk,
    openai_client_of_the_package,
    async_openai_client_of_the_package,
    chat_databricks,
    coded_path,
    parameter_in_the_path,
)


def told(error):
    """The violation that an error is, or that a library wrapped."""
    while error is not None and not isinstance(error, ScopeViolationError):
        error = error.__cause__ or error.__context__
    return error


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_tool_s_client_stays_narrowed(workspace, way):
    """Rule 23: nothing is sent. The audit sees the request, and whose it is."""

    @requires_scopes("genie")
    @with_user_client
    def tool(client: WorkspaceClient):
        return way(client)

    with as_user(workspace, "alice"), audit() as report, pytest.raises(Exception, match=r".") as refused:
        tool()
    assert told(refused.value) is not None
    assert explain(refused.value) is not None
    assert calls(workspace) == []
    assert {one.tool for one in report.tools if one.requests or one.unknown} == {"tool"}


def test_a_lazy_result_stays_narrowed(workspace):
    """Rule 23: it is consumed where no tool is in force any more."""

    @requires_scopes("genie")
    @with_user_client
    def tool(client: WorkspaceClient):
        return client.warehouses.list()

    with as_user(workspace, "alice"):
        lazy = tool()
        with pytest.raises(ScopeViolationError):
            list(lazy)
    assert calls(workspace) == []


@pytest.mark.parametrize("way", WAYS[:10], ids=lambda way: way.__name__)
def test_what_is_declared_is_let_through_and_nothing_after_the_session(workspace, way):
    """Rules 5 and 23."""
    kept = []

    @requires_scopes("sql", "model-serving")
    @with_user_client
    def tool(client: WorkspaceClient):
        kept.append(client)
        return way(client)

    with as_user(workspace, "alice"):
        tool()
    assert set(callers(workspace)) == {"alice"}
    workspace.log.clear()
    with as_user(workspace, "bob"), pytest.raises(Exception, match=r".") as refused:
        way(kept[0])
    error = refused.value
    while error is not None and not isinstance(error, SessionClosedError):
        error = error.__cause__ or error.__context__
    assert error is not None
    assert calls(workspace) == []


def test_a_configuration_keeps_its_host(workspace):
    """Rule 8: nor does a copy of it leave."""
    with as_user(workspace, "alice") as session:
        for config in (session.client.config, session.client.config.copy()):
            with pytest.raises(IdentityMismatchError, match="another host"):
                config.host = "https://other.example"
        assert me(session.client) == "alice"


@pytest.mark.parametrize("build", [lambda c: c, lambda c: WorkspaceClient(config=c.config)], ids=["client", "derived"])
def test_another_host_gets_no_token_and_the_log_says_so(workspace, caplog, build):
    """Rule 8."""
    with recording_proxy() as (elsewhere, asked), as_user(workspace, "alice") as session:
        api = build(session.client).api_client
        for _ in range(2):
            api.do("GET", url=f"{elsewhere}/somewhere")
    assert len(asked) == 2
    assert b"eyJ" not in b"".join(asked)
    assert len([record for record in caplog.records if "withheld" in record.getMessage()]) == 1


def test_the_token_goes_to_no_host_by_plain_http():
    """Rule 8: loopback apart, whose way nobody else is on."""
    for host in ("http://workspace.example", "http://10.0.0.1:8080", "http://127.0.0.1.example"):
        with pytest.raises(NoUserIdentityError, match="https://"), user_session(host=host, token="dapi123"):
            pass
        lease = Lease(UserIdentity.from_token(host=host, token="dapi123"), DEFAULT_LIMITS)
        with pytest.raises(NoUserIdentityError, match="https://"):
            headers_for(lease, f"{host}/api/2.0/x")


OF_THE_TOKEN = {
    "workspace_client": lambda host, token: list(
        WorkspaceClient(host=host, token=token, auth_type="pat").warehouses.list()
    ),
    "vector_search": lambda host, token: AISearchClient(
        workspace_url=host, personal_access_token=token, disable_notice=True
    ).list_endpoints(),
}


@pytest.mark.parametrize("use", OF_THE_TOKEN.values(), ids=OF_THE_TOKEN)
def test_a_client_that_copies_the_session_s_token_is_behind_the_fence_too(workspace, monkeypatch, use):
    """Rules 5, 8 and 23: it goes to the workspace alone, is narrowed to the tool, and ends with the session."""
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "raise")
    token = workspace.token("alice")
    with recording_proxy() as (elsewhere, asked), user_session(host=workspace.host, token=token) as session:
        use(workspace.host, session.client.config.token)
        use(elsewhere, session.client.config.token)
        copied = session.client.config.token

        @requires_scopes("genie")
        @with_user_client
        def tool(client):
            use(workspace.host, client.config.token)

        sent = len(callers(workspace))
        with pytest.raises(ScopeViolationError):
            tool()
    with pytest.raises(SessionClosedError):
        use(workspace.host, copied)
    assert callers(workspace) == ["alice"] * sent
    assert asked
    assert token.encode() not in b"".join(asked)


def test_dbutils_on_a_cluster_are_the_user_s(workspace, monkeypatch):
    """Rule 2: the SDK would hand out the runtime's own."""

    class Runtime:
        class secrets:
            @staticmethod
            def get(scope, key):
                return "the owner's"

    class Initializer:
        @staticmethod
        def getOrCreate():
            return types.SimpleNamespace(get_namespace_globals=lambda: {"dbutils": Runtime})

    module = types.ModuleType("dbruntime")
    module.UserNamespaceInitializer = Initializer
    monkeypatch.setitem(sys.modules, "dbruntime", module)
    monkeypatch.delitem(sys.modules, "databricks.sdk.runtime", raising=False)
    with as_user(workspace, "alice") as session:
        for client in (session.client, WorkspaceClient(config=session.client.config)):
            with pytest.raises(Exception, match="No API found"):
                client.dbutils.secrets.get("s", "k")
    monkeypatch.delitem(sys.modules, "databricks.sdk.runtime", raising=False)
    assert set(callers(workspace)) == {"alice"}


class Failing(io.RawIOBase):
    def readable(self):
        return True

    def read(self, *_):
        raise RuntimeError("the disk fails")


def interrupted(workspace, call, error):
    """Raise an error out of a signal handler, in the middle of a call."""

    def handler(*_):
        raise error

    def send():
        while not on_the_way(workspace):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    sender = threading.Thread(target=send)
    try:
        sender.start()
        call()
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def all_answered(workspace):
    """Also what nobody waits for any more: it would be written down in the next test."""
    while on_the_way(workspace):
        time.sleep(0.01)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no such signals on this system")
@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), RuntimeError("soft limit")], ids=repr)
@pytest.mark.parametrize("derived", [False, True], ids=["client", "derived"])
def test_no_frame_holds_the_token_whatever_passes(workspace, error, derived):
    """Rule 8: an interrupt, or an upload that fails, goes through the frames of the transport."""
    token = workspace.token("alice")
    workspace.latency = 0.6
    with user_session(host=workspace.host, token=token) as session:
        client = WorkspaceClient(config=session.client.config) if derived else session.client
        for call in (
            lambda: interrupted(workspace, client.current_user.me, error),
            lambda: client.api_client.do("PUT", "/api/2.0/fs/files/x", data=Failing()),
            lambda: client.api_client.do("GET", "/x", headers={"X-Title": "\u58f2\u4e0a"}),
        ):
            with pytest.raises(BaseException, match=r"") as raised:
                call()
            assert token not in frames_of(raised.value)
    all_answered(workspace)


def test_a_cancelled_async_request_leaves_no_token_in_a_frame(workspace):
    """Rule 8: a client that goes away."""
    token = workspace.token("alice")
    workspace.latency = 0.6

    async def main(session):
        client = session.get(extra("databricks_openai", "AsyncDatabricksOpenAI"))
        task = asyncio.create_task(client.chat.completions.create(model=LLM, messages=ASK))
        while not on_the_way(workspace):
            await asyncio.sleep(0.01)
        task.cancel()
        await task

    with user_session(host=workspace.host, token=token) as session, pytest.raises(asyncio.CancelledError) as raised:
        asyncio.run(main(session))
    assert token not in frames_of(raised.value)
    all_answered(workspace)


def test_clients_of_one_tool_are_built_once_per_session(workspace):
    """Rule 9: narrowed, and shared by the calls of the tool in all threads."""

    @requires_scopes("sql")
    @with_user_client
    def tool(client: WorkspaceClient):
        return client

    with as_user(workspace, "alice") as session:
        assert tool() is tool() is not session.client
        found = []
        thread = threading.Thread(target=lambda: found.append(session.client))
        thread.start()
        thread.join()
        assert found == [session.client]
