"""Many users at once: rules 4 to 7 and 10 of the design, on what the server saw."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import asyncio
import contextvars
import json
import multiprocessing
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.ai_search.client import VectorSearchClient
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from support import INDEX, as_user, callers, calls, me

import obo_kit.identity._sources as identity_module
from obo_kit import (
    IdentityMismatchError,
    NoUserIdentityError,
    NoUserSessionError,
    OboError,
    ScopeViolationError,
    SessionClosedError,
    TokenExpiredError,
    UserIdentity,
    current_session,
    propagate,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.identity._headers import REQUEST_HEADERS, RequestHeaders
from obo_kit.identity._process import PROCESS
from obo_kit.integrations.asgi import UserHeadersMiddleware

NAMES = ("alice", "bob", "carol")


def whoami(*_: object) -> str:
    return me(current_session().client)


@with_user_client
def bare_tool(client):
    """A tool that no session is opened for."""
    return me(client)


# --- threads and tasks -----------------------------------------------------------------------------------------------------


def test_a_thread_of_one_s_own_has_no_session_and_says_so(workspace):
    """Rule 7: contexts do not flow into threads; the error names `propagate`."""
    with as_user(workspace, "alice"), ThreadPoolExecutor(1) as pool:
        with pytest.raises(NoUserSessionError, match="propagate"):
            pool.submit(whoami).result()
    assert calls(workspace) == []


def test_propagate_carries_the_session_into_a_pool_and_leaves_nothing_there(workspace):
    """Rule 4."""
    with ThreadPoolExecutor(1) as pool:
        for name in ("alice", "bob"):
            with as_user(workspace, name):
                assert pool.submit(propagate(whoami)).result() == name
                assert list(pool.map(propagate(whoami), range(2))) == [name] * 2
            with pytest.raises(NoUserSessionError):
                pool.submit(whoami).result()
    assert callers(workspace) == ["alice"] * 3 + ["bob"] * 3


def test_work_carried_out_of_a_request_that_has_ended_refuses(workspace):
    """Rule 5."""
    with as_user(workspace, "alice"):
        carried = propagate(whoami)
    with pytest.raises(SessionClosedError):
        carried()
    with as_user(workspace, "bob"), pytest.raises(SessionClosedError):
        carried()
    assert calls(workspace) == []


def test_propagate_needs_a_session_to_carry(workspace):
    """Rule 7."""
    with pytest.raises(NoUserSessionError):
        propagate(whoami)


def test_propagate_carries_generators_and_coroutine_functions(workspace):
    """Rule 4."""

    def stream():
        yield whoami()
        yield whoami()

    async def later():
        await asyncio.sleep(0)
        return whoami()

    with as_user(workspace, "alice"):
        carried, coroutine = propagate(stream), propagate(later)
        elsewhere = contextvars.Context()
        assert elsewhere.run(list, carried()) == ["alice", "alice"]
        assert elsewhere.run(asyncio.run, coroutine()) == "alice"


async def test_tasks_and_to_thread_inherit_the_session(workspace):
    """Rule 4."""

    @user_session
    async def request():
        await asyncio.sleep(0.001)
        in_task = await asyncio.create_task(asyncio.to_thread(whoami))
        return in_task, await asyncio.to_thread(whoami)

    async def one(runtime_user):
        with runtime_user:
            return await request()

    with workspace.as_model_serving() as runtime:
        answers = await asyncio.gather(*(one(runtime.user(name)) for name in NAMES * 4))
    assert answers == [(name, name) for name in NAMES * 4]


async def test_run_in_executor_needs_propagate(workspace):
    """Rule 7."""
    loop = asyncio.get_running_loop()
    async with as_user(workspace, "alice"):
        with pytest.raises(NoUserSessionError):
            await loop.run_in_executor(None, whoami)
        assert await loop.run_in_executor(None, propagate(whoami)) == "alice"
    assert callers(workspace) == ["alice"]


async def test_a_task_that_outlives_its_request_has_no_user_and_is_told_so(workspace):
    """Rules 5 to 7: background work; also where no entry point is declared and the runtime would have somebody to offer."""
    go_on = asyncio.Event()

    @with_user_client
    def tool(client):
        return me(client)

    async def background(client):
        await go_on.wait()
        for use in (current_session, tool, lambda: propagate(tool)):
            with pytest.raises(NoUserSessionError, match=r"has ended(.|\n)*[Bb]ackground work has no user"):
                use()
        with pytest.raises(SessionClosedError):
            await asyncio.to_thread(me, client)

    async with as_user(workspace, "alice") as session:
        task = asyncio.create_task(background(session.client))
        await asyncio.sleep(0)
    go_on.set()
    with workspace.as_notebook("bob"):
        await task
    assert calls(workspace) == []


@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")
def test_a_session_that_begins_after_its_request_under_mlflow_s_agent_server_is_that_request_s(workspace):
    """Rule 4: MLflow keeps a request's headers in its context, and so in what the request started; nobody else's."""
    from mlflow.genai.agent_server import utils

    @user_session
    def job():
        return whoami()

    with workspace.as_app() as proxy:
        started = contextvars.copy_context()
        started.run(utils.set_request_headers, proxy.headers("alice"))
        contextvars.copy_context().run(utils.set_request_headers, proxy.headers("bob"))
        assert started.run(job) == "alice"
        with pytest.raises(NoUserIdentityError, match="headers of the request are not available"):
            job()
    assert callers(workspace) == ["alice"]


def test_what_a_request_left_behind_does_not_take_the_next_one_s_token(workspace):
    """Rule 4: where the process has one token, leftover work would act as whoever asks now."""

    @with_user_client
    def tool(client):
        return me(client)

    def again():
        with user_session() as session:
            return session.identity.principal

    with workspace.as_model_serving(token_source="process") as runtime:
        with runtime.user("alice"):
            with user_session():
                left_behind = contextvars.copy_context()
            assert left_behind.run(again) == "alice@example.com"
        with runtime.user("bob"):
            with pytest.raises(NoUserIdentityError, match="another user by now"):
                left_behind.run(again)
            with pytest.raises(NoUserSessionError, match="has ended"):
                left_behind.run(tool)
            with pytest.raises(NoUserSessionError):
                tool()  # sessions are opened in this process, and none is in sight
            with user_session():
                assert tool() == "bob"
    assert callers(workspace) == ["bob"]


def test_one_session_builds_one_client_for_all_of_its_threads(workspace):
    """Rule 9."""
    with as_user(workspace, "alice") as session, ThreadPoolExecutor(8) as pool:
        barrier = threading.Barrier(8)

        def build(_):
            barrier.wait()
            return id(session.client)

        assert len(set(pool.map(build, range(8)))) == 1


# --- frameworks' own threads -----------------------------------------------------------------------------------------------


def asked_for_tools(number: int) -> list[dict[str, object]]:
    return [{"id": f"call_{i}", "function": {"name": "who_is_asking", "arguments": "{}"}} for i in range(number)]


@with_user_client
def who_is_asking(client: WorkspaceClient) -> str:
    """Say who asks."""
    return f"{me(client)} {threading.get_ident()}"


@pytest.mark.parametrize("mode", ["stream", "astream"])
def test_langgraph_s_threads_act_as_the_stream_s_user(workspace, mode):
    """Rule 4: tools in threads of the graph's, in streams that are interleaved."""
    pytest.importorskip("langgraph", reason="langgraph comes with the extra langchain")
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode

    def model(state):
        calls = [{"id": str(i), "name": "who_is_asking", "args": {}} for i in range(3)]
        return {"messages": [AIMessage("", tool_calls=calls)]}

    graph = StateGraph(MessagesState)
    for name, node in {"model": model, "tools": ToolNode([tool(who_is_asking)]), "again": model}.items():
        graph.add_node(name, node)
    graph.add_edge(START, "model").add_edge("model", "tools").add_edge("tools", "again")
    agent = graph.compile()

    @user_session
    def predict_stream():
        for update in agent.stream({"messages": []}):
            yield [message.content.split() for message in update.get("tools", {}).get("messages", [])]

    @user_session
    async def predict_astream():
        async for update in agent.astream({"messages": []}):
            yield [message.content.split() for message in update.get("tools", {}).get("messages", [])]

    async def interleaved():
        streams = {}
        for name in NAMES:
            with runtime.user(name):
                streams[name] = predict_stream() if mode == "stream" else predict_astream()
                await step(streams[name])
        said = {name: await step(stream) for name, stream in streams.items()}
        for stream in streams.values():
            await step(stream)
            await (asyncio.to_thread(stream.close) if mode == "stream" else stream.aclose())
        return said

    async def step(stream):
        return next(stream) if mode == "stream" else await anext(stream)

    with workspace.as_model_serving() as runtime:
        said = asyncio.run(interleaved())
    for name, answers in said.items():
        assert [who for who, _ in answers] == [name] * 3
        assert str(threading.get_ident()) not in {thread for _, thread in answers}
    assert sorted(callers(workspace)) == sorted(NAMES * 3)


async def test_the_agents_sdk_s_threads_act_as_the_request_s_user(workspace):
    """Rule 4: the model and the tools, in concurrent runs."""
    agents = pytest.importorskip("agents", reason="the Agents SDK comes with the extra openai")
    from databricks_openai import AsyncDatabricksOpenAI

    untraced = agents.RunConfig(tracing_disabled=True)

    def model(body):
        said = [message["content"] for message in body["messages"] if message["role"] == "tool"]
        return said[0] if said else {"tool_calls": asked_for_tools(1)}

    workspace.add_endpoint("planner", model)
    for name in NAMES:
        workspace.grant(name, "CAN QUERY", "planner")

    @user_session
    async def predict():
        client = current_session().get(AsyncDatabricksOpenAI)
        agent = agents.Agent(
            name="agent",
            model=agents.OpenAIChatCompletionsModel("planner", client),
            tools=[agents.function_tool(who_is_asking)],
        )
        return (await agents.Runner.run(agent, "Who am I?", run_config=untraced)).final_output

    async def one(name):
        with runtime.user(name):
            return await predict()

    with workspace.as_model_serving() as runtime:
        answers = await asyncio.gather(*(one(name) for name in NAMES * 2))
    assert [answer.split()[0] for answer in answers] == list(NAMES * 2)
    assert str(threading.get_ident()) not in {answer.split()[1] for answer in answers}
    assert sorted(callers(workspace)) == sorted(NAMES * 2 * 3)


# --- fork ----------------------------------------------------------------------------------------------------------------

forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
# The process has threads (the workspace's); what is tested is what happens when servers fork all the same.
ignore_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def in_a_child(work) -> object:
    """What a forked child says of itself, as JSON."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                json.dump(work(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0
    return json.loads(said)


@forking
@ignore_threads
def test_a_session_counts_as_closed_in_a_forked_child(workspace):
    """Rule 5: a forked worker serves others."""
    with as_user(workspace, "alice") as session:
        client = session.client
        index = session.get(VectorSearchClient).get_index(index_name=INDEX)
        workspace.log.clear()

        def child():
            said = [session.closed]
            for use in (whoami, lambda: me(client), index.describe, lambda: session.client):
                try:
                    use()
                except Exception as error:
                    said.append(type(error).__name__)
            return said

        assert in_a_child(child) == [True, "NoUserSessionError", *["SessionClosedError"] * 3]
        assert len(workspace.log) == 0
        assert me(client) == "alice"


@forking
@ignore_threads
def test_a_forked_child_may_open_sessions_of_its_own(workspace, monkeypatch):
    """Rule 4: those of its parent are no overlap."""
    monkeypatch.setenv("OBO_KIT_PROCESS_TOKEN", "refuse")
    with workspace.as_model_serving(token_source="process") as runtime, runtime.user("alice"), user_session():

        def child():
            with user_session() as session:
                return me(session.client)

        # Forked where no request is served, as servers fork their workers.
        assert contextvars.Context().run(in_a_child, child) == "alice"


@forking
@ignore_threads
def test_a_pool_forked_inside_a_request_does_not_go_on_as_its_user(workspace):
    """Rule 4: the request's variables stay set in the worker, for whomever it works later."""

    @with_user_client
    def tool(client):
        return me(client)

    @user_session
    def work():
        return tool()

    def refusals():
        said = []
        for use in (tool, work):
            try:
                said.append(use())
            except OboError as error:
                said.append(type(error).__name__)
        return said

    with workspace.as_model_serving() as runtime, runtime.user("alice"), user_session():
        assert in_a_child(refusals) == ["NoUserSessionError", "NoUserIdentityError"]

        def named():
            with as_user(workspace, "bob") as session:
                return me(session.client)

        assert in_a_child(named) == "bob"
    assert callers(workspace) == ["bob"]


@forking
@ignore_threads
@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")
@pytest.mark.parametrize("server", ["the kit's middleware", "MLflow's agent server"])
def test_a_pool_forked_while_an_app_serves_does_not_go_on_as_its_user(workspace, server):
    """Rule 4: also where the request has opened no session yet."""
    from mlflow.genai.agent_server import utils

    def refused():
        with pytest.raises(NoUserIdentityError, match="another process serves"), user_session():
            pass

    with workspace.as_app() as proxy:
        headers = proxy.headers("alice")

        def request():
            if server == "the kit's middleware":
                REQUEST_HEADERS.set(RequestHeaders(headers))
            else:
                utils.set_request_headers(headers)
            assert in_a_child(refused) is None
            with user_session() as session:
                return me(session.client)

        assert contextvars.Context().run(request) == "alice"
    assert callers(workspace) == ["alice"]


@forking
@ignore_threads
def test_forked_workers_share_no_connection_and_no_answers(workspace):
    """Rule 10: a pool used on both sides of a fork hands one user another's answer."""
    for name in NAMES:
        with as_user(workspace, name) as session:
            me(session.client)
    parent = {record.connection for record in workspace.log}
    workspace.log.clear()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    tokens = {name: workspace.token(name) for name in NAMES}

    def worker(seed):
        chance = random.Random(seed)
        wrong = []
        for _ in range(25):
            name = chance.choice(NAMES)
            with user_session(host=workspace.host, token=tokens[name]) as session:
                said = me(session.client)
            if said != name:
                wrong.append((name, said))
        answers.put(wrong)

    workers = [context.Process(target=worker, args=(seed,)) for seed in range(4)]
    for one in workers:
        one.start()
    deadline = time.monotonic() + 8  # workers that share a connection may wait for each other's answers for ever
    try:
        for one in workers:
            one.join(max(0.0, deadline - time.monotonic()))
        assert [one.exitcode for one in workers] == [0] * 4
    finally:
        for one in workers:
            one.kill()
            one.join()
    assert [answers.get() for _ in workers] == [[]] * 4
    seen = {record.connection for record in calls(workspace)}
    assert len(calls(workspace)) == 100
    assert len(seen) == 4
    assert not seen & parent


# --- every interleaving ----------------------------------------------------------------------------------------------------


class Request:
    """One request: the context it runs in, as a task or a thread has one."""

    def __init__(self, name, scope, build=True):
        self.name, self.scope = name, scope
        self.renewable, self.renewed = True, False
        self.context = contextvars.Context()
        self.session = self.context.run(scope.__enter__)
        self.client = self.session.client if build else None


class Runtime:
    """A runtime that serves one user after the other, whose tokens last or do not."""

    name = "runtime"

    def __init__(self, workspace):
        self.workspace = workspace
        self.serves(NAMES[0], 3600)

    def serves(self, name, seconds):
        token = self.workspace.token(name, expires_in=seconds)
        self.user = name
        self.identity = UserIdentity.from_token(host=self.workspace.host, token=token, source=self.name)

    def capture(self):
        return self.identity


class Stream:
    """A stream of one user's, and the client it held."""

    def __init__(self, workspace, name):
        self.name, self.clients = name, []

        @as_user(workspace, name)
        def steps():
            self.clients.append(current_session().client)
            while True:
                yield whoami()

        self.steps = steps()


class Interleavings(RuleBasedStateMachine):
    """Users, requests, nested boundaries, streams, kept clients, expired tokens and faults in any order.

    Rules 4 to 6: the server sees whom the model expects, and nothing after a close.
    """

    requests = Bundle("requests")
    streams = Bundle("streams")
    kept = Bundle("kept")
    contexts = Bundle("contexts")
    expired = Bundle("expired")
    workspace = None
    agent_server = None
    users = st.sampled_from(NAMES)

    @initialize()
    def begin(self):
        self.workspace.log.clear()
        self.expected = []
        self.live = []
        self.open_streams = []
        self.runtime = Runtime(self.workspace)
        identity_module._registered[:] = [self.runtime]

    @rule(target=requests, name=users)
    def open(self, name):
        return self.open_with(name, as_user(self.workspace, name))

    def open_with(self, name, scope):
        request = Request(name, scope)
        self.live.append(request)
        return request

    @rule(request=requests)
    def call(self, request):
        assert request.context.run(whoami) == request.name
        assert me(request.client) == request.name
        self.expected += [request.name] * 2

    @rule(name=users)
    def serve_the_next(self, name):
        self.runtime.serves(name, 3600)

    @rule(target=requests, name=users)
    def open_in_the_runtime(self, name):
        self.runtime.serves(name, 3600)
        return self.open_with(name, user_session())

    @rule(target=expired, name=users)
    def open_with_an_expired_token(self, name):
        self.runtime.serves(name, -1)
        request = Request(name, user_session(), build=False)
        self.live.append(request)
        self.runtime.serves(name if name == "alice" else "bob", 3600)
        return request

    @rule(target=expired, name=users)
    def open_with_an_expired_token_of_one_s_own(self, name):
        token = self.workspace.token(name, expires_in=-1)
        request = Request(name, user_session(host=self.workspace.host, token=token), build=False)
        request.renewable = False
        self.live.append(request)
        return request

    @rule(request=expired)
    def call_with_an_expired_token(self, request):
        if request.renewed or (request.renewable and self.runtime.user == request.name):
            assert request.context.run(whoami) == request.name
            self.expected.append(request.name)
            request.renewed = True
        else:
            with pytest.raises(TokenExpiredError):
                request.context.run(whoami)

    @rule(request=requests, status=st.sampled_from([401, 403, 404, 500]))
    def call_with_a_fault(self, request, status):
        self.workspace.add_fault(status=status)
        with pytest.raises(DatabricksError):
            request.context.run(whoami)
        self.expected.append(request.name)

    @rule(request=requests)
    def call_with_a_passing_outage(self, request):
        self.workspace.add_fault(status=503, headers={"Retry-After": "0"})
        assert request.context.run(whoami) == request.name
        self.expected += [request.name] * 2

    @rule(request=requests, name=users)
    def nest(self, request, name):
        def named():
            with as_user(self.workspace, name):  # another token, even where it is the same user's
                whoami()

        def joined():
            with user_session() as session:
                assert session is request.session
                return whoami()

        with pytest.raises(IdentityMismatchError):
            request.context.run(named)
        assert request.context.run(joined) == request.name
        self.expected.append(request.name)

    @rule(request=requests)
    def call_where_the_session_is_out_of_sight(self, request):
        def lost():
            for tool in (whoami, bare_tool):
                with pytest.raises(NoUserSessionError):
                    tool()

        def in_a_thread():
            with ThreadPoolExecutor(1) as pool:
                pool.submit(lost).result()

        request.context.run(in_a_thread)

    @rule(request=requests, name=users)
    def serve_a_request_inside(self, request, name):
        headers = {"X-Forwarded-Access-Token": self.workspace.token(name)}

        async def served(scope, receive, send):
            with user_session(headers=headers, host=self.workspace.host):
                assert whoami() == name
            with pytest.raises(NoUserSessionError):
                bare_tool()

        request.context.run(
            lambda: asyncio.run(UserHeadersMiddleware(served)({"type": "http", "headers": []}, None, None))
        )
        assert request.context.run(whoami) == request.name
        self.expected += [name, request.name]

    @rule(request=requests, name=users)
    def serve_the_agent_server_s_request_inside(self, request, name):
        """Rule 6: one that opens a session acts as its own user, one that only uses one is refused."""
        headers = {"x-forwarded-access-token": self.workspace.token(name)}

        def served():
            self.agent_server.set_request_headers(headers)
            with user_session():
                assert whoami() == name
            with pytest.raises(IdentityMismatchError):
                bare_tool()

        before, self.runtime.identity = self.runtime.identity, None
        request.context.run(contextvars.copy_context).run(served)
        self.runtime.identity = before
        assert request.context.run(whoami) == request.name
        self.expected += [name, request.name]

    @rule(request=requests)
    def call_with_nobody(self, request):
        """Rules 1 and 7: users were named, and now there is none; the environment has somebody to offer."""

        def nobody():
            with pytest.raises(NoUserIdentityError), user_session():
                pass
            with pytest.raises(NoUserSessionError):
                bare_tool()

        before, self.runtime.identity = self.runtime.identity, None
        contextvars.Context().run(nobody)
        self.runtime.identity = before

    @rule(request=requests)
    def use_a_narrowed_client(self, request):
        """Rule 23: the client's own, one derived from it, and in a thread without any context."""

        @requires_scopes("genie")
        @with_user_client
        def tool(client):
            derived = WorkspaceClient(config=client.config)

            def stray(of):
                return list(of.warehouses.list())

            with ThreadPoolExecutor(1) as pool:
                for use in (
                    lambda: stray(client),
                    lambda: stray(derived),
                    lambda: pool.submit(stray, derived).result(),
                ):
                    with pytest.raises(ScopeViolationError):
                        use()

        request.context.run(tool)

    @rule(request=requests)
    def derive_a_client(self, request):
        """Rule 5: it is the user's, and is kept in place of the client that it was derived from."""
        request.client = WorkspaceClient(config=request.client.config)
        assert me(request.client) == request.name
        self.expected.append(request.name)

    @rule(target=contexts, request=requests)
    def copy_context(self, request):
        return request.context.run(contextvars.copy_context), request

    @rule(copied=contexts)
    def call_in_copied_context(self, copied):
        context, request = copied
        if request.session.closed:
            with pytest.raises(NoUserSessionError):
                context.run(whoami)
        else:
            assert context.run(whoami) == request.name
            self.expected.append(request.name)

    @rule(target=kept, request=consumes(requests))
    def close(self, request):
        request.context.run(request.scope.__exit__, None, None, None)
        self.live.remove(request)
        assert request.session.closed
        with pytest.raises(NoUserSessionError):
            request.context.run(current_session)
        return request.client

    @rule(target=streams, name=users)
    def begin_stream(self, name):
        stream = Stream(self.workspace, name)
        self.open_streams.append(stream)
        return stream

    @rule(stream=streams)
    def step(self, stream):
        assert next(stream.steps) == stream.name
        self.expected.append(stream.name)

    @rule(stream=streams, request=requests)
    def step_inside_a_request(self, stream, request):
        if not stream.clients and stream.name != request.name:
            return  # begun inside another user's request, it refuses: `nest` says so
        if not stream.clients:
            return  # begun inside its own, it would end with it
        assert request.context.run(next, stream.steps) == stream.name
        assert request.context.run(current_session) is request.session
        self.expected.append(stream.name)

    @rule(target=kept, stream=consumes(streams))
    def end_stream(self, stream):
        if not stream.clients:
            assert next(stream.steps) == stream.name
            self.expected.append(stream.name)
        stream.steps.close()
        self.open_streams.remove(stream)
        return stream.clients[0]

    @rule(client=kept)
    def use_kept_client(self, client):
        with pytest.raises(SessionClosedError):
            me(client)

    @invariant()
    def the_server_saw_whom_the_model_expects(self):
        if self.workspace is not None:
            assert callers(self.workspace) == self.expected

    @invariant()
    def nothing_is_in_force_outside(self):
        with pytest.raises(NoUserSessionError):
            current_session()

    def teardown(self):
        for request in self.live:
            request.context.run(request.scope.__exit__, None, None, None)
        for stream in self.open_streams:
            stream.steps.close()
        if self.workspace is not None:
            self.workspace.clear_faults()
        identity_module._registered.clear()


LONG = os.environ.get("OBO_KIT_TEST_PROFILE", "") == "long"


@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")
def test_the_server_sees_no_other_user_in_any_interleaving(workspace, monkeypatch):
    """Rules 1, 4 to 7 and 23."""
    from hypothesis.stateful import run_state_machine_as_test
    from mlflow.genai.agent_server import utils

    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("carol"))
    machine = type("Machine", (Interleavings,), {"workspace": workspace, "agent_server": utils})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=500 if LONG else 25,
            stateful_step_count=80 if LONG else 25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    PROCESS.entry_point_declared = PROCESS.sessions_opened = PROCESS.user_named = False
