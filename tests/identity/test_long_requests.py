"""Requests that outlive their user's token: rule 4 of the design, on what the server saw."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.ai_search.client import VectorSearchClient
from official import OFFICIAL, WRAPPING, retriever
from support import INDEX, as_user, callers, extra, me, unsigned

from obo_kit import (
    DenialReason,
    SessionClosedError,
    TokenExpiredError,
    UserIdentity,
    available_tools,
    current_session,
    explain,
    register_identity_source,
    user_session,
    with_user_client,
)
from obo_kit.identity._user import TokenState, token_state

pytestmark = pytest.mark.usefixtures("no_traces")


def configuration(session):
    config = session.client.config
    return lambda: (config.token, config.authenticate(), config.oauth_token())


def expired(workspace, name="alice", **settings):
    return user_session(host=workspace.host, token=workspace.token(name, expires_in=-1), **settings)


# --- renewed ---------------------------------------------------------------------------------------------------------------


def test_what_was_built_before_goes_on_with_the_same_user_s_new_token_and_with_no_other_s(workspace, later):
    """Rule 4: every client, also those whose libraries copy the token when they are built."""
    with workspace.as_model_serving() as runtime, contextlib.ExitStack() as stack:
        with runtime.user("alice"):
            session = stack.enter_context(user_session())
        uses = {build: build(session) for build in (*OFFICIAL, configuration)}
        before = session.identity
        later(3601)
        workspace.log.clear()
        with runtime.user("bob"):
            for build, use in uses.items():
                with pytest.raises(Exception, match=r".") as refused:
                    use()
                assert build in WRAPPING or isinstance(refused.value, TokenExpiredError), build
                assert explain(refused.value).reason is DenialReason.TOKEN_EXPIRED, build
        assert len(workspace.log) == 0
        with runtime.user("alice"):
            for build, use in uses.items():
                workspace.log.clear()
                use()
                assert set(callers(workspace)) == (set() if build is configuration else {"alice"}), build
                assert not workspace.log.filter(decision="expired token"), build
        assert session.identity.principal == before.principal
        assert session.identity.expires_at > before.expires_at


@pytest.mark.parametrize("source", ["request", "process"])
@pytest.mark.parametrize("now", ["nobody", "bob", "an expired alice"])
def test_without_a_new_token_of_the_same_user_it_is_said_and_nothing_is_sent(workspace, source, now):
    """Rule 4."""
    with workspace.as_model_serving(token_source=source) as runtime, contextlib.ExitStack() as stack:
        with runtime.user("alice", expires_in=-1):
            session = stack.enter_context(user_session())
        if now != "nobody":
            stack.enter_context(
                runtime.user("bob" if now == "bob" else "alice", expires_in=3600 if now == "bob" else -1)
            )
        with pytest.raises(TokenExpiredError, match="nothing was sent") as refused:
            me(session.client)
    assert refused.value.remedy
    assert len(workspace.log) == 0


def test_a_token_about_to_expire_is_exchanged_before_it_does(workspace):
    """Rule 4: a request that is on its way when it expires would be refused."""
    with workspace.as_model_serving() as runtime, contextlib.ExitStack() as stack:
        with runtime.user("alice", expires_in=20):
            session = stack.enter_context(user_session())
        assert token_state(session.identity) is TokenState.EXPIRING
        with runtime.user("alice"):
            assert me(session.client) == "alice"
        assert token_state(session.identity) is TokenState.FRESH


@pytest.mark.parametrize("now", ["nobody", "bob"])
def test_a_token_about_to_expire_is_used_where_there_is_no_better(workspace, now):
    """Rule 4: it is still the user's."""
    with workspace.as_model_serving() as runtime, contextlib.ExitStack() as stack:
        with runtime.user("alice", expires_in=20):
            session = stack.enter_context(user_session())
        if now == "bob":
            stack.enter_context(runtime.user("bob"))
        assert me(session.client) == "alice"
        assert token_state(session.identity) is TokenState.EXPIRING
    assert callers(workspace) == ["alice"]


def test_a_kept_stream_of_an_expired_user_stops_while_another_is_served(workspace, later):
    """Rule 4: its steps run inside the other's request."""

    @user_session
    def stream():
        while True:
            yield me(current_session().client)

    with workspace.as_model_serving(token_source="process") as runtime:
        with runtime.user("alice"):
            steps = stream()
            assert next(steps) == "alice"
        later(3601)
        with runtime.user("bob"):
            with pytest.raises(TokenExpiredError):
                next(steps)
    assert callers(workspace) == ["alice"]


def test_a_tool_steps_aside_with_the_reason(workspace):
    """Rule 15: an expired token is a denial."""
    from obo_kit import optional_tool

    @optional_tool(fallback=lambda denial: denial.reason)
    @with_user_client
    def tool(client):
        return me(client)

    with expired(workspace):
        assert tool() is DenialReason.TOKEN_EXPIRED
    assert len(workspace.log) == 0


# --- who is asked ------------------------------------------------------------------------------------------------------------


def test_an_explicit_token_cannot_be_renewed(workspace):
    """Rule 4: also where a runtime could offer one."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"), expired(workspace) as session:
        with pytest.raises(TokenExpiredError, match="no runtime can renew it"):
            _ = session.client
    assert len(workspace.log) == 0


def test_headers_are_a_request_s_and_a_function_is_asked_again(workspace):
    """Rule 4."""
    with workspace.as_app() as app:
        old, new = app.headers("alice", expires_in=-1), app.headers("alice")
        with user_session(headers=old) as session, pytest.raises(TokenExpiredError):
            _ = session.client
        current = old
        with user_session(headers=lambda: current) as session:
            with pytest.raises(TokenExpiredError):
                _ = session.client
            current = app.headers("bob")
            with pytest.raises(TokenExpiredError, match="may be another user"):
                _ = session.client
            current = new
            assert me(session.client) == "alice"
    assert callers(workspace) == ["alice"]


class Source:
    name = "elsewhere"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    def capture(self):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def identity_of(workspace, token, **fields):
    return UserIdentity.from_token(host=workspace.host, token=token, source="elsewhere", **fields)


def test_a_registered_source_is_asked_again(workspace):
    """Rule 4."""
    tokens = [workspace.token("alice", expires_in=seconds) for seconds in (-1, 3600)]
    register_identity_source(Source(*(identity_of(workspace, token) for token in tokens)))
    with user_session() as session:
        assert me(session.client) == "alice"
    assert callers(workspace) == ["alice"]


def test_many_threads_ask_once(workspace):
    """Rule 4."""

    class Slow(Source):
        def capture(self):
            time.sleep(0.05)
            return super().capture()

    tokens = [workspace.token("alice", expires_in=seconds) for seconds in (-1, 3600)]
    source = Slow(*(identity_of(workspace, token) for token in tokens))
    register_identity_source(source)
    with user_session() as session, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: session._lease.credentials()[1], range(16))) == {tokens[1]}
    assert source.asked == 2


def test_while_a_token_lasts_a_runtime_without_a_better_one_is_not_asked_at_every_call(workspace):
    """Rule 4: the official class writes a traceback into the log each time."""
    source = Source(identity_of(workspace, workspace.token("alice", expires_in=20)))
    register_identity_source(source)
    with user_session() as session:
        source.answers = [OSError("away")]
        for _ in range(5):
            assert me(session.client) == "alice"
    assert source.asked == 2


def test_a_source_that_fails_is_named_and_what_it_said_is_not_repeated(workspace):
    """Rules 4 and 8: it may hold the token that it was about to hand over."""
    old = identity_of(workspace, workspace.token("alice", expires_in=-1))
    register_identity_source(Source(old, OSError("canary0123")))
    with user_session() as session, pytest.raises(TokenExpiredError, match="OSError") as refused:
        _ = session.client
    assert "canary" not in f"{refused.value}{refused.value.__cause__}{refused.value.__context__!r}"


@pytest.mark.parametrize("case", ["no name", "another host", "a name against none"])
def test_in_doubt_about_whose_a_new_token_is_it_is_nobody_s(workspace, case):
    """Rule 4: certainly the same user, or not at all."""
    nameless_old, nameless_new = (unsigned({"exp": time.time() + left}) for left in (-1, 3600))
    old, new = {
        "no name": (identity_of(workspace, nameless_old), identity_of(workspace, nameless_new)),
        "another host": (
            identity_of(workspace, workspace.token("alice", expires_in=-1)),
            UserIdentity.from_token(host="http://localhost:9", token=workspace.token("alice")),
        ),
        "a name against none": (
            identity_of(workspace, workspace.token("alice", expires_in=-1)),
            identity_of(workspace, nameless_new),
        ),
    }[case]
    register_identity_source(Source(old, new))
    with user_session() as session, pytest.raises(TokenExpiredError, match="may be another user"):
        _ = session.client
    assert len(workspace.log) == 0


def test_a_developer_s_token_is_looked_up_again(workspace, monkeypatch):
    """Rule 4: a notebook may be open for longer than a token lasts."""
    with workspace.as_notebook("bob"), user_session() as session:
        monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("bob", expires_in=-1))
        with pytest.raises(TokenExpiredError):
            _ = session.client
        monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("alice"))
        with pytest.raises(TokenExpiredError, match="may be another user"):
            _ = session.client
        monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("bob"))
        assert me(session.client) == "bob"
        assert session.identity.principal == "bob@example.com"
    assert set(callers(workspace)) == {"bob"}


def test_an_ended_session_asks_nobody(workspace):
    """Rules 4 and 5."""
    source = Source(identity_of(workspace, workspace.token("alice", expires_in=20)))
    register_identity_source(source)
    with user_session() as session:
        client = session.client
        asked = source.asked
    with pytest.raises(SessionClosedError):
        me(client)
    assert source.asked == asked


def test_a_session_that_ends_while_it_asks_takes_nothing(workspace):
    """Rules 4 and 5."""
    new = identity_of(workspace, workspace.token("alice"))

    class Slow(Source):
        def capture(self):
            if self.asked:
                session.close()
            return super().capture()

    register_identity_source(Slow(identity_of(workspace, workspace.token("alice", expires_in=-1)), new))
    with user_session() as session, pytest.raises(SessionClosedError):
        _ = session.client
    assert session.identity.released
    assert len(workspace.log) == 0


# --- tools that copy the token -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["databricks_langchain", "databricks_openai"])
def test_a_retriever_tool_handed_out_by_the_kit_ends_with_the_session(workspace, module):
    """Rule 5: built through `available_tools`, by a decorated factory, or adopted."""
    build = extra(module, "VectorSearchRetrieverTool")

    @with_user_client
    def factory(client):
        return build(index_name=INDEX, tool_name="search", workspace_client=client)

    with as_user(workspace, "alice") as session:
        tools = [
            *available_tools(lambda client: retriever(module, client)),
            factory(),
            session.adopt(build(index_name=INDEX, tool_name="search", workspace_client=session.client)),
        ]
        uses = [tool.invoke if module == "databricks_langchain" else tool.execute for tool in tools]
        for use in uses:
            assert use("refund")
    workspace.log.clear()
    for use in uses:
        with pytest.raises(SessionClosedError):
            use("refund")
    assert len(workspace.log) == 0


class Store:
    """What holds an index, as LangChain's vector store does."""

    def __init__(self, index):
        self.index = index


def index_with(workspace, token):
    client = VectorSearchClient(workspace_url=workspace.host, personal_access_token=token, disable_notice=True)
    return client.get_index(index_name=INDEX)


def test_a_store_whose_index_copied_the_token_is_adopted(workspace):
    """Rules 5 and 8: from then on it asks the session, and keeps no token."""
    token = workspace.token("alice")
    with user_session(host=workspace.host, token=token) as session:
        store = session.adopt(Store(index_with(workspace, token)))
        assert store.index.describe()["name"] == INDEX
        assert token not in repr(vars(store.index))
    workspace.log.clear()
    with pytest.raises(SessionClosedError):
        store.index.describe()
    assert len(workspace.log) == 0


def test_only_what_copied_this_user_s_token_is_adopted(workspace):
    """Rule 5: an agent may share an index among its users, with credentials of its own."""
    own = index_with(workspace, workspace.token("bob"))
    with as_user(workspace, "alice") as session:
        for thing in (Store(own), Store(None), [Store(own), 7], "text", None, {"index": own}):
            assert session.adopt(thing) is thing
    assert type(own).__module__.startswith("databricks.")
    workspace.log.clear()
    own.describe()
    assert callers(workspace) == ["bob"]


@pytest.mark.parametrize("name", ["DatabricksEmbeddings", "UCFunctionToolkit", "DatabricksFunctionClient"])
def test_a_client_that_carries_no_user_is_refused_with_the_way_round(workspace, name):
    """Rule 9: the kit says so instead of pretending."""
    with as_user(workspace, "alice") as session:
        with pytest.raises(TypeError, match=r"serving_endpoints\.query|execute_statement"):
            session.get(type(name, (), {}))
