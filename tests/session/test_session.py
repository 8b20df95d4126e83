"""The request boundary: rules 4 to 7 of the design, on what the server saw."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import gc
import logging
import sys
import weakref

import pytest
from databricks.ai_search.client import VectorSearchClient
from databricks.sdk import WorkspaceClient
from support import INDEX, LLM, as_user, callers, calls, me, unsigned

import obo_kit.session._entry as session_module
from obo_kit import (
    IdentityMismatchError,
    NoUserIdentityError,
    NoUserSessionError,
    SessionClosedError,
    current_session,
    user_session,
    with_user_client,
)

ASK = [{"role": "user", "content": "hello"}]


def whoami() -> str:
    return me(current_session().client)


# --- pinned --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["request", "process"])
def test_what_the_runtime_says_later_does_not_matter(workspace, source):
    """Rule 4: the token is read once, at capture."""
    with workspace.as_model_serving(token_source=source) as runtime:
        with runtime.user("alice"):
            scope = user_session()
            session = scope.__enter__()
        try:
            with runtime.user("bob"):
                assert me(session.client) == "alice"
                assert session.get(VectorSearchClient).get_index(index_name=INDEX).describe()["name"] == INDEX
            assert me(session.client) == "alice"
        finally:
            scope.__exit__(None, None, None)
    assert set(callers(workspace)) == {"alice"}


def test_an_index_kept_by_alice_is_alice_s_while_the_runtime_serves_bob(workspace):
    """Rule 4: the package reads the runtime again at every query."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"), user_session() as session:
        index = session.get(VectorSearchClient).get_index(index_name=INDEX)
        with runtime.user("bob"):
            index.similarity_search(query_text="refund", columns=["id"])
        assert set(callers(workspace)) == {"alice"}


def test_a_stream_stays_its_user_s_after_the_next_request_began(workspace):
    """Rule 4: the moment of capture is the first step."""

    @user_session
    def stream():
        for _ in range(3):
            yield whoami()

    with workspace.as_model_serving(token_source="process") as runtime:
        with runtime.user("alice"):
            steps = stream()
            assert next(steps) == "alice"
        with runtime.user("bob"):
            assert list(steps) == ["alice", "alice"]
    assert callers(workspace) == ["alice"] * 3


# --- fenced --------------------------------------------------------------------------------------------------------------


def kept_things(session):
    client = session.client
    vectors = session.get(VectorSearchClient)
    index = vectors.get_index(index_name=INDEX)
    config = client.config

    def rebuilt():
        return WorkspaceClient(config=config.copy()).current_user.me()

    return {
        "client": client.current_user.me,
        "shallow copy": copy.copy(client).current_user.me,
        "service object": client.serving_endpoints.list,
        "api client": functools.partial(client.api_client.do, "GET", "/api/2.0/preview/scim/v2/Me"),
        "configuration": config.authenticate,
        "oauth token": config.oauth_token,
        "shallow copy of the configuration": copy.copy(config).authenticate,
        "client of a copied configuration": rebuilt,
        "vector search client": functools.partial(vectors.get_index, index_name=INDEX),
        "copy of the vector search client": functools.partial(copy.copy(vectors).list_indexes, "local-vs"),
        "index": functools.partial(index.similarity_search, query_text="refund", columns=["id"]),
        "copy of the index": copy.copy(index).describe,
        "the session's client": lambda: session.client,
        "another client of the session": lambda: session.get(VectorSearchClient),
    }


KEPT = [
    "client",
    "shallow copy",
    "service object",
    "api client",
    "configuration",
    "oauth token",
    "shallow copy of the configuration",
    "client of a copied configuration",
    "vector search client",
    "copy of the vector search client",
    "index",
    "copy of the index",
    "the session's client",
    "another client of the session",
]


@pytest.mark.parametrize("kept", KEPT)
def test_what_is_kept_after_the_request_raises_unwrapped_and_sends_nothing(workspace, kept):
    """Rule 5."""
    with as_user(workspace, "alice") as session:
        things = kept_things(session)
    assert sorted(things) == sorted(KEPT)
    workspace.log.clear()
    with pytest.raises(SessionClosedError, match="nothing was sent"):
        things[kept]()
    assert len(workspace.log) == 0


def test_a_kept_openai_client_raises_unwrapped_and_sends_nothing(workspace):
    """Rule 5."""
    databricks_openai = pytest.importorskip("databricks_openai", reason="databricks_openai is an extra")
    with as_user(workspace, "alice") as session:
        kept = session.get(databricks_openai.DatabricksOpenAI)
        kept_async = session.get(databricks_openai.AsyncDatabricksOpenAI)
    with pytest.raises(SessionClosedError):
        kept.chat.completions.create(model=LLM, messages=ASK)
    with pytest.raises(SessionClosedError):
        asyncio.run(kept_async.chat.completions.create(model=LLM, messages=ASK))
    assert calls(workspace) == []


def test_a_client_kept_is_no_client_of_the_next_request(workspace):
    """Rule 5: kept on self, it raises also while another session is open."""
    with as_user(workspace, "alice") as session:
        kept = session.client
    with as_user(workspace, "bob") as session:
        with pytest.raises(SessionClosedError):
            me(kept)
        assert me(session.client) == "bob"
    assert callers(workspace) == ["bob"]


def test_closing_twice_does_nothing_and_a_closed_session_says_so(workspace):
    """Rule 5."""
    with as_user(workspace, "alice") as session:
        assert not session.closed
        session.close()
        session.close()
        assert session.closed
        assert "closed" in repr(session)
        with pytest.raises(NoUserSessionError):
            current_session()


def test_a_session_never_closed_warns_and_is_fenced_when_nothing_refers_to_it(workspace):
    """Rule 5: nobody can close it any more, and a client may have been kept."""

    def forgotten():
        return as_user(workspace, "alice").__enter__().client

    with pytest.warns(ResourceWarning, match="never closed: <UserSession of UserIdentity.*alice"):
        # The context is the last to know the session: there is no wait for the garbage collector.
        kept = contextvars.Context().run(forgotten)
    with pytest.raises(SessionClosedError):
        me(kept)
    assert calls(workspace) == []


def test_a_dropped_stream_ends_its_session_without_a_warning_in_whatever_order_the_collector_finishes_them(workspace):
    """Rule 5: a client that hangs up is no mistake of the author's."""
    caught = []

    class Answer:
        def __init__(self):
            @as_user(workspace, "alice")
            def steps():
                caught.append(self)  # makes the stream part of a cycle
                while True:
                    yield current_session()

            self.steps = steps()

    def position(thing):
        return next(place for place, other in enumerate(gc.get_objects()) if other is thing)

    def dropped(box):
        answer = Answer()
        session = next(answer.steps)
        caught.clear()
        box += [session, answer]

    box = []
    dropped(box)
    box = list(box)  # younger than both: the collector reaches the session first, and moves it before the stream
    gc.collect()
    if position(box[0]) > position(box[1].steps):
        pytest.skip("this collector keeps another order")
    closed = weakref.finalize(box[0], lambda: None)
    box.clear()
    gc.collect()
    assert not closed.alive


async def test_an_async_stream_dropped_where_no_loop_looks_after_it_ends_its_session(workspace):
    """Rule 6: no loop, nobody to `aclose` it."""
    kept = []

    @as_user(workspace, "alice")
    async def stream():
        kept.append(current_session().client)
        yield 1

    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        steps = stream()
        assert await anext(steps) == 1
        del steps
        gc.collect()
    finally:
        sys.set_asyncgen_hooks(*hooks)
    with pytest.raises(SessionClosedError):
        me(kept[0])


# --- nesting -------------------------------------------------------------------------------------------------------------


def test_an_inner_boundary_joins_the_open_session(workspace):
    """Rule 6: predict calls predict_stream."""

    @user_session
    def inner():
        return current_session()

    with as_user(workspace, "alice") as session:
        assert inner() is session
        with user_session() as joined:
            assert joined is session
        assert not session.closed
    assert session.closed


def test_naming_the_same_token_inside_joins(workspace):
    """Rule 6."""
    alice = {"host": workspace.host, "token": workspace.token("alice")}
    with user_session(**alice) as session, user_session(**alice) as joined:
        assert joined is session


@pytest.mark.parametrize("claimed", ["a narrower token of the same user", "a forged one"])
def test_what_a_token_claims_does_not_let_it_join(workspace, claimed):
    """Rule 6: claims that nobody verified authorize nothing, and no token is dropped for a wider one."""
    other = (
        workspace.token("alice", scopes=["sql"])
        if claimed.startswith("a narrower")
        else unsigned({"sub": "alice@example.com"})
    )
    with (
        as_user(workspace, "alice"),
        pytest.raises(IdentityMismatchError),
        user_session(host=workspace.host, token=other),
    ):
        pass


def test_naming_the_same_opaque_token_inside_joins(workspace):
    """Rule 6."""
    with (
        user_session(host=workspace.host, token="dapi1") as one,
        user_session(host=workspace.host, token="dapi1") as two,
    ):
        assert one is two


@pytest.mark.parametrize("case", ["another user", "another host", "another opaque token", "opaque against a name"])
def test_naming_another_user_inside_is_refused(workspace, case):
    """Rule 6: also a token that does not say whose it is."""
    alice = {"host": workspace.host, "token": workspace.token("alice")}
    outer, inner = {
        "another user": (alice, {"host": workspace.host, "token": workspace.token("bob")}),
        "another host": (alice, {**alice, "host": "http://localhost:1"}),
        "another opaque token": ({"host": workspace.host, "token": "a"}, {"host": workspace.host, "token": "b"}),
        "opaque against a name": (alice, {"host": workspace.host, "token": "dapi1"}),
    }[case]
    with user_session(**outer) as session:
        with pytest.raises(IdentityMismatchError), user_session(**inner):
            pass
        assert current_session() is session
    assert calls(workspace) == []


def test_a_copied_context_does_not_keep_a_session_open(workspace):
    """Rule 6: a session that is closed never counts, wherever its context was copied to."""
    with as_user(workspace, "alice"):
        context = contextvars.copy_context()
    with pytest.raises(NoUserSessionError):
        context.run(current_session)

    def next_request():
        with as_user(workspace, "bob"):
            return whoami()

    assert context.run(next_request) == "bob"
    assert callers(workspace) == ["bob"]


def test_one_scope_object_is_entered_once(workspace):
    """Rule 6: two requests that shared it could not tell whose session ends first."""
    scope = as_user(workspace, "alice")
    with scope:
        pass
    with pytest.raises(RuntimeError, match="once"), scope:
        pass


def test_sessions_of_two_scopes_may_end_in_any_order(workspace):
    """Rule 6: contexts of their own, as tasks and threads have."""
    one, two = as_user(workspace, "alice"), as_user(workspace, "bob")
    first, second = contextvars.copy_context(), contextvars.copy_context()
    alice, bob = first.run(one.__enter__), second.run(two.__enter__)
    first.run(one.__exit__, None, None, None)
    assert alice.closed
    assert not bob.closed
    assert second.run(whoami) == "bob"
    second.run(two.__exit__, None, None, None)
    assert bob.closed
    assert callers(workspace) == ["bob"]


# --- entry points --------------------------------------------------------------------------------------------------------


@with_user_client
def tool(client: WorkspaceClient) -> str:
    return me(client)


def test_without_an_entry_point_each_tool_call_captures_for_itself(workspace):
    """Rule 7."""
    with workspace.as_model_serving() as runtime:
        for name in ("alice", "bob"):
            with runtime.user(name):
                assert tool() == name
        with pytest.raises(NoUserIdentityError):
            tool()
    assert callers(workspace) == ["alice", "bob"]


def test_with_an_entry_point_a_tool_outside_of_any_session_refuses(workspace):
    """Rule 7: also where the runtime would have a user to offer; the error names `propagate`."""

    @user_session
    def predict():
        return tool()

    with workspace.as_model_serving() as runtime, runtime.user("alice"):
        assert predict() == "alice"
        with pytest.raises(NoUserSessionError, match="propagate"):
            tool()
        with pytest.raises(NoUserSessionError), with_user_client():
            pass
    assert callers(workspace) == ["alice"]


def test_once_a_with_form_was_entered_a_tool_outside_refuses(workspace):
    """Rule 7: whatever form opened a session, a tool that sees none has lost it."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"):
        assert tool() == "alice"  # for itself, where nobody opens sessions
        with as_user(workspace, "bob"):
            assert tool() == "bob"
        with pytest.raises(NoUserSessionError):
            tool()
    assert callers(workspace) == ["alice", "bob"]


# --- the process's one token -----------------------------------------------------------------------------------------------


def test_overlapping_requests_on_a_process_s_one_token_are_warned_about_once(workspace, caplog):
    """Rule 4: pinning cannot mend a source that is read too late."""
    with workspace.as_model_serving(token_source="process") as runtime, runtime.user("alice"):
        for _ in range(2):
            with user_session():
                pass
        assert "overlap" not in caplog.text
        for _ in range(2):
            contexts = [contextvars.Context() for _ in range(3)]
            scopes = [user_session() for _ in contexts]
            for context, scope in zip(contexts, scopes, strict=True):
                context.run(scope.__enter__)
            for context, scope in zip(contexts, scopes, strict=True):
                context.run(scope.__exit__, None, None, None)
    warned = [record for record in caplog.records if "overlap" in record.getMessage()]
    assert [record.levelno for record in warned] == [logging.WARNING]


def test_overlapping_requests_on_a_process_s_one_token_can_be_refused(workspace, monkeypatch):
    """Rule 4; and one after the other they are served."""
    monkeypatch.setenv("OBO_KIT_PROCESS_TOKEN", "refuse")
    with workspace.as_model_serving(token_source="process") as runtime, runtime.user("alice"):
        for _ in range(2):
            with user_session() as session:
                with user_session() as joined:
                    assert joined is session
                with pytest.raises(NoUserIdentityError, match="overlap"):
                    contextvars.Context().run(user_session().__enter__)
                assert me(session.client) == "alice"
    assert callers(workspace) == ["alice", "alice"]


def test_a_token_per_request_may_overlap(workspace, monkeypatch, caplog):
    """Rule 4."""
    monkeypatch.setenv("OBO_KIT_PROCESS_TOKEN", "refuse")
    with workspace.as_model_serving() as runtime, runtime.user("alice"), user_session():
        inner = contextvars.copy_context()
        inner.run(session_module.FRAME.set, None)
        scope = user_session()
        inner.run(scope.__enter__)
        inner.run(scope.__exit__, None, None, None)
    assert "overlap" not in caplog.text


def test_leaving_a_block_that_was_refused_is_nothing(workspace):
    """A framework's teardown may leave a block whose entry raised: the refusal must not become another error."""
    scope = user_session(headers={}, host=workspace.host)
    with pytest.raises(NoUserIdentityError):
        scope.__enter__()
    scope.__exit__(None, None, None)
