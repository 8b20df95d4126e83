"""The request boundary: rules 4 to 7 of the design, on what the server saw."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import gc
import logging
import sys
import threading
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
    UserSession,
    current_session,
    user_session,
    with_user_client,
)
from obo_kit.identity._process import PROCESS

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


# --- every kind of function ----------------------------------------------------------------------------------------------


class Kinds:
    @user_session
    def method(self, x):
        return x, whoami(), current_session()

    @staticmethod
    @user_session
    def static(x):
        return x, whoami(), current_session()

    @user_session
    @staticmethod
    def static_below(x):
        return x, whoami(), current_session()

    @classmethod
    @user_session
    def classy(cls, x):
        return x, whoami(), current_session()

    @user_session
    @classmethod
    def classy_below(cls, x):
        return x, whoami(), current_session()

    @user_session
    async def coroutine(self, x):
        await asyncio.sleep(0)
        return x, whoami(), current_session()

    @user_session
    def generator(self, x):
        yield x, whoami(), current_session()

    @user_session
    async def async_generator(self, x):
        await asyncio.sleep(0)
        yield x, whoami(), current_session()

    @user_session
    def returns_a_generator(self, x):
        return (item for item in [(x, whoami(), current_session())])

    @user_session
    def returns_a_coroutine(self, x):
        async def later():
            return x, whoami(), current_session()

        return later()


@pytest.fixture
def serving(workspace):
    """Model Serving while alice asks."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"):
        yield runtime


def driven(kind: str, result):
    if "async_generator" in kind:

        async def collect():
            return [item async for item in result]

        return asyncio.run(collect())[0]
    if "generator" in kind:
        return next(iter(list(result)))
    return asyncio.run(result) if "coroutine" in kind else result


@pytest.mark.parametrize("kind", [name for name in vars(Kinds) if not name.startswith("__")])
def test_every_kind_of_function_runs_in_a_session_that_ends_with_it(workspace, serving, kind):
    """Rule 6."""
    x, who, session = driven(kind, getattr(Kinds(), kind)(7))
    assert (x, who, session.closed) == (7, "alice", True)
    assert callers(workspace) == ["alice"]
    with pytest.raises(NoUserSessionError):
        current_session()


def test_what_cannot_be_an_entry_point_is_refused_at_decoration():
    """Rule 6."""
    for wrong in (7, "f", object(), type("Agent", (), {})):
        with pytest.raises(TypeError):
            user_session(wrong)
    assert not PROCESS.entry_point_declared


def test_a_class_of_any_kind_is_wrapped_at_its_entry_points(workspace, serving):
    """Rule 6: predict and predict_stream, each in a session."""

    @user_session
    class Agent:
        def predict(self, request):
            return [current_session(), *self.predict_stream(request)]

        def predict_stream(self, request):
            yield current_session()
            yield current_session()

    agent = Agent()
    one, *others = agent.predict("hello")
    assert all(other is one for other in others)
    assert one.closed
    (first, second) = agent.predict_stream("hello")
    assert first is second is not one
    assert first.closed


@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")
def test_an_mlflow_agent_is_wrapped_as_a_whole(workspace, serving, no_traces):
    """Rule 6: MLflow's own wrappers are plain functions that return generators."""
    from mlflow.pyfunc import ResponsesAgent
    from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent

    @user_session
    class Agent(ResponsesAgent):
        def predict(self, request):
            items = [event.item for event in self.predict_stream(request)]
            return ResponsesAgentResponse(output=items)

        def predict_stream(self, request):
            for number in range(2):
                item = self.create_text_output_item(text=whoami(), id=str(number))
                yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)

    request = ResponsesAgentRequest(input=ASK)
    agent = Agent()
    answer = agent.predict(request)
    assert [item.content[0]["text"] for item in answer.output] == ["alice", "alice"]
    workspace.log.clear()
    streams = agent.predict_stream(request)
    assert next(streams).item["content"][0]["text"] == "alice"
    with serving.user("bob"):
        other = agent.predict_stream(request)
        assert next(other).item["content"][0]["text"] == "bob"
        assert next(streams).item["content"][0]["text"] == "alice"
        assert next(other).item["content"][0]["text"] == "bob"
    assert callers(workspace) == ["alice", "bob", "alice", "bob"]
    with pytest.raises(NoUserSessionError):
        current_session()
    for stream in (streams, other):
        stream.close()


@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")
def test_what_mlflow_s_base_class_leaves_open_stays_open(no_traces):
    """Rule 6: MLflow looks at it to see what an agent can do."""
    from mlflow.pyfunc import ResponsesAgent

    @user_session
    class Agent(ResponsesAgent):
        def predict(self, request):
            raise NotImplementedError

    assert "predict_stream" not in vars(Agent)


# --- generators ----------------------------------------------------------------------------------------------------------


def stream_of(workspace, name):
    """A stream of one user's, and the sessions it had."""
    sessions: list[UserSession] = []

    @as_user(workspace, name)
    def stream():
        sessions.append(current_session())
        while True:
            yield whoami()

    return stream(), sessions


def test_interleaved_streams_stay_apart_and_leave_nothing_behind(workspace):
    """Rule 6: bound around each step, never held across a yield."""
    (alice, _), (bob, _) = stream_of(workspace, "alice"), stream_of(workspace, "bob")
    for _ in range(3):
        assert next(alice) == "alice"
        with pytest.raises(NoUserSessionError):
            current_session()
        assert next(bob) == "bob"
    with as_user(workspace, "carol"):
        assert next(alice) == "alice"
        assert whoami() == "carol"
    alice.close()
    bob.close()
    assert callers(workspace) == ["alice", "bob"] * 3 + ["alice", "carol"]


def test_a_stream_may_be_stepped_by_another_thread_each_time(workspace):
    """Rule 6: as Starlette does it."""
    (alice, _), (bob, _) = stream_of(workspace, "alice"), stream_of(workspace, "bob")
    said = []
    for stream in (alice, bob) * 3:
        thread = threading.Thread(target=lambda stream=stream: said.append(next(stream)))
        thread.start()
        thread.join()
    assert said == ["alice", "bob"] * 3 == callers(workspace)
    alice.close()
    bob.close()


def test_a_stream_may_be_stepped_in_another_context_each_time(workspace):
    """Rule 6."""
    stream, sessions = stream_of(workspace, "alice")
    for _ in range(3):
        assert contextvars.Context().run(next, stream) == "alice"
    contextvars.Context().run(stream.close)
    assert sessions[0].closed


@pytest.mark.parametrize("end", ["close", "throw", "drop", "exhaust"])
def test_a_stream_s_session_ends_with_it_however_it_ends(workspace, end):
    """Rule 6."""
    sessions = []

    @as_user(workspace, "alice")
    def stream():
        sessions.append(current_session())
        try:
            yield whoami()
            yield whoami()
        finally:
            whoami()  # what is cleaned up is the user's, too

    steps = stream()
    assert next(steps) == "alice"
    assert not sessions[0].closed
    if end == "close":
        steps.close()
    elif end == "throw":
        with pytest.raises(KeyError):
            steps.throw(KeyError("x"))
    elif end == "exhaust":
        list(steps)
    del steps
    gc.collect()
    assert sessions[0].closed
    assert set(callers(workspace)) == {"alice"}


def test_a_stream_that_is_never_begun_opens_nothing(workspace, monkeypatch):
    """Rule 6."""
    opened = []
    monkeypatch.setattr(session_module, "opened", lambda *args: opened.append(args))
    stream, _ = stream_of(workspace, "alice")
    del stream
    gc.collect()
    assert opened == []


def test_a_returned_generator_that_is_never_begun_closes_its_session(workspace):
    """Rule 6: a plain function that returns a generator has opened it already."""
    sessions = []

    @as_user(workspace, "alice")
    def stream():
        sessions.append(current_session())
        return (number for number in range(3))

    steps = stream()
    assert not sessions[0].closed
    del steps
    gc.collect()
    assert sessions[0].closed


def test_send_throw_and_the_return_value_go_through(workspace):
    """Rule 6: generators keep their protocol."""

    @as_user(workspace, "alice")
    def conversation():
        heard = []
        while len(heard) < 3:
            try:
                heard.append((yield len(heard)))
            except KeyError:
                heard.append("caught")
        return heard

    steps = conversation()
    assert next(steps) == 0
    assert steps.send("a") == 1
    assert steps.throw(KeyError("b")) == 2
    with pytest.raises(StopIteration) as stop:
        steps.send("c")
    assert stop.value.value == ["a", "caught", "c"]


async def test_interleaved_async_streams_stay_apart(workspace):
    """Rule 6, in one task."""

    def stream_for(name):
        @as_user(workspace, name)
        async def stream():
            while True:
                await asyncio.sleep(0)
                yield whoami()

        return stream()

    alice, bob = stream_for("alice"), stream_for("bob")
    for _ in range(3):
        assert await anext(alice) == "alice"
        assert await anext(bob) == "bob"
        with pytest.raises(NoUserSessionError):
            current_session()
    await alice.aclose()
    await bob.aclose()
    assert callers(workspace) == ["alice", "bob"] * 3


@pytest.mark.parametrize("end", ["aclose", "athrow", "drop", "cancel"])
async def test_an_async_stream_s_session_ends_with_it_however_it_ends(workspace, end):
    """Rule 6."""
    sessions, cleaned = [], []

    @as_user(workspace, "alice")
    async def stream():
        sessions.append(current_session())
        try:
            yield whoami()
            await asyncio.sleep(60)
            yield whoami()
        finally:
            cleaned.append(current_session().identity.principal)

    steps = stream()
    assert await anext(steps) == "alice"
    pending = anext(steps) if end == "cancel" else None
    if end == "aclose":
        await steps.aclose()
    elif end == "athrow":
        with pytest.raises(KeyError):
            await steps.athrow(KeyError("x"))
    elif end == "cancel":

        async def step():
            await pending

        task = asyncio.create_task(step())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    del steps
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    assert sessions[0].closed
    assert cleaned == ["alice@example.com"]


async def test_asend_and_athrow_go_through(workspace):
    """Rule 6."""

    @as_user(workspace, "alice")
    async def conversation():
        heard = []
        while True:
            try:
                heard.append((yield tuple(heard)))
            except KeyError:
                heard.append("caught")

    steps = conversation()
    assert await anext(steps) == ()
    assert await steps.asend("a") == ("a",)
    assert await steps.athrow(KeyError("b")) == ("a", "caught")
    await steps.aclose()


async def test_a_cancelled_request_closes_its_session(workspace):
    """Rule 6: the client has gone away."""
    sessions = []

    @as_user(workspace, "alice")
    async def request():
        sessions.append(current_session())
        await asyncio.sleep(60)

    task = asyncio.create_task(request())
    await asyncio.sleep(0.01)
    assert not sessions[0].closed
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sessions[0].closed


async def test_the_async_context_manager_is_the_same(workspace):
    """Rule 6."""
    async with as_user(workspace, "alice") as session:
        assert await asyncio.to_thread(whoami) == "alice"
    assert session.closed


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
