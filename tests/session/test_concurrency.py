"""Many users at once, in threads and tasks: rules 4 to 7 and 10 of the design, on what the server saw."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.sdk import WorkspaceClient
from support import as_user, callers, calls, me

from obo_kit import (
    NoUserIdentityError,
    NoUserSessionError,
    SessionClosedError,
    current_session,
    propagate,
    user_session,
    with_user_client,
)

NAMES = ("alice", "bob", "carol")


def whoami(*_: object) -> str:
    return me(current_session().client)


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
