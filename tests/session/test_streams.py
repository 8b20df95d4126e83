"""Entry points of every kind, and streams: the session is bound around each step (rules 4 and 6)."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading

import pytest
from support import as_user, callers, me

import obo_kit.session._entry as session_module
from obo_kit import NoUserSessionError, UserSession, current_session, user_session
from obo_kit.identity._process import PROCESS

ASK = [{"role": "user", "content": "hello"}]


def whoami() -> str:
    return me(current_session().client)


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
    sessions, cleaned, asked = [], [], asyncio.Event()

    @as_user(workspace, "alice")
    async def stream():
        sessions.append(current_session())
        try:
            yield whoami()
            asked.set()
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
        await asked.wait()
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
    sessions, begun = [], asyncio.Event()

    @as_user(workspace, "alice")
    async def request():
        sessions.append(current_session())
        begun.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(request())
    await begun.wait()
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
