"""What stands above a tool: what frameworks pass to it, and what they make of a denial (rules 13 and 19)."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import subprocess
import sys
from typing import Annotated

import pytest
from databricks.sdk import WorkspaceClient
from support import SPACE, as_user, callers, calls, extra, mcp_server, me

from obo_kit import (
    AccessDeniedError,
    Denial,
    capture_events,
    optional_tool,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.integrations._other_agents import ToolDeniedError

DENIED = "What this tool uses does not exist, or you do not have access to it. Trying again will not help."


@pytest.fixture
def alice(workspace):
    with as_user(workspace, "alice") as session:
        yield session


@pytest.fixture
def carol(workspace):
    with as_user(workspace, "carol") as session:
        yield session


def title(client):
    return client.genie.get_space(SPACE).title


@with_user_client
def space(client: WorkspaceClient, question: str) -> str:
    """Ask."""
    return title(client)


@with_user_client
async def space_async(client: WorkspaceClient, question: str) -> str:
    """Ask."""
    return await asyncio.to_thread(title, client)


def langchain_tool(fn, **settings):
    return extra("langchain_core.tools", "tool")(**settings)(fn)


def called(tool, **arguments):
    """By a model: the answer is a message."""
    return tool.invoke({"type": "tool_call", "id": "call_1", "name": tool.name, "args": {"question": "x", **arguments}})


# --- what a denial becomes: LangChain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["function", "in a thread", "coroutine"])
@pytest.mark.parametrize("response_format", ["content", "content_and_artifact"])
async def test_a_denied_langchain_tool_gives_a_message_that_is_an_error(carol, response_format, how):
    """Rule 19: whatever the result's form, and wherever it runs."""
    tool = langchain_tool(optional_tool(space_async if how == "coroutine" else space), response_format=response_format)
    call = {"type": "tool_call", "id": "call_1", "name": tool.name, "args": {"question": "x"}}
    message = tool.invoke(call) if how == "function" else await tool.ainvoke(call)
    assert (message.content, message.status, message.artifact, message.tool_call_id) == (
        DENIED,
        "error",
        None,
        "call_1",
    )
    assert await tool.ainvoke({"question": "x"}) == DENIED  # asked by a program, which has no use for a message
    assert len(carol.denials) == 2


def test_another_fallback_than_text_is_a_result(workspace):
    """Rule 19: with the artifact that its form asks for."""
    fallback = {"found": []}
    with as_user(workspace, "carol"):
        message = called(langchain_tool(optional_tool(fallback=fallback)(space)))
        assert (json.loads(message.content), message.status) == (fallback, "success")
        tool = langchain_tool(optional_tool(fallback=fallback)(space), response_format="content_and_artifact")
        assert tool.invoke({"question": "x"}) == fallback
        assert called(tool).artifact is None
        tool = langchain_tool(optional_tool(fallback=("no", [1]))(space), response_format="content_and_artifact")
        message = called(tool)
        assert (message.content, message.artifact, message.status) == ("no", [1], "success")


HANDLERS = {"none": None, "true": True, "text": "ours", "function": lambda error: f"ours: {error}"}


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("raised", [ValueError, "ToolException", "empty"])
def test_what_a_tool_does_with_other_errors_stays(workspace, handler, raised):
    """Rule 19: the author's ``handle_tool_error`` is asked for everything but the denial."""
    exception = extra("langchain_core.tools", "ToolException")
    kind = exception if isinstance(raised, str) else raised
    errors = [kind() if raised == "empty" else kind("boom")]

    def body(client: WorkspaceClient, question: str) -> str:
        """Ask."""
        if question == "bug":
            raise errors[0]
        return title(client)

    def outcome(tool):
        try:
            return called(tool, question="bug").content
        except Exception as error:
            return repr(error)

    untouched = langchain_tool(with_user_client(body))
    tool = langchain_tool(optional_tool(with_user_client(body)))
    untouched.handle_tool_error = tool.handle_tool_error = HANDLERS[handler]
    with as_user(workspace, "carol"):
        assert outcome(tool) == outcome(untouched)
        for _ in range(2):
            message = called(tool)
            assert (message.content, message.status) == (DENIED, "error")
        assert outcome(tool) == outcome(untouched)


@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_a_tool_that_is_a_class_s_method(carol, kind):
    """Rule 19: a `BaseTool` of the author's own. LangChain runs a coroutine in a task, whose stack does not show it."""
    base = extra("langchain_core.tools", "BaseTool")

    class Space(base):
        name: str = "space"
        description: str = "Ask."

        @optional_tool
        @with_user_client
        def _run(self, client: WorkspaceClient, question: str) -> str:
            return title(client)

        @optional_tool
        @with_user_client
        async def _arun(self, client: WorkspaceClient, question: str) -> str:
            return await asyncio.to_thread(title, client)

    call = {"type": "tool_call", "id": "call_1", "name": "space", "args": {"question": "x"}}
    if sys.version_info < (3, 11) and kind == "coroutine":
        pytest.skip("LangChain cannot give a task its context before Python 3.11")
    message = called(Space()) if kind == "function" else await Space().ainvoke(call)
    assert (message.content, message.status) == (DENIED, "error")
    assert Space()._run("x") == DENIED  # by the author's own code


def test_a_tool_that_is_given_another_tool_is_answered_as_a_function(carol):
    """Rule 19: an argument is not what calls."""

    @optional_tool
    @with_user_client
    def describe(tool, client: WorkspaceClient) -> str:
        return title(client)

    other = langchain_tool(optional_tool(space))
    runnable = extra("langchain_core.runnables", "RunnableLambda")(lambda _: describe(other))
    assert runnable.invoke("x") == DENIED


def test_a_tool_that_another_tool_s_function_calls_is_answered_as_a_function(carol):
    """Rule 19: only the tool that the framework holds is the framework's."""
    helper = optional_tool(fallback="nothing")(space)

    def outer(question: str) -> str:
        """Ask."""
        return f"found {helper(question)}"

    for fn in (outer, optional_tool(outer)):
        message = called(langchain_tool(fn))
        assert (message.content, message.status) == ("found nothing", "success")


def test_a_runnable_that_is_no_tool_is_given_the_text(carol):
    """Rule 19: there is no message to mark."""
    runnable = extra("langchain_core.runnables", "RunnableLambda")(optional_tool(space))
    assert runnable.invoke("x") == DENIED


def test_a_stranger_in_between_does_not_matter(carol):
    """Rules 13 and 19."""

    def stranger(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return fn(*args, **kwargs)

        return wrapper

    for tool in (stranger(optional_tool(space)), requires_scopes("genie")(stranger(optional_tool(space)))):
        message = called(langchain_tool(tool))
        assert (message.content, message.status) == (DENIED, "error")
    assert len(carol.denials) == 2


@pytest.mark.parametrize(("strangers", "status"), [(12, "error"), (20, "success")])
def test_the_look_at_the_stack_ends_after_sixteen_calls(carol, strangers, status):
    """Rule 19: further up it is told its text, which is as true."""

    def stranger(fn):
        return functools.wraps(fn)(lambda *args, **kwargs: fn(*args, **kwargs))  # noqa: PLW0108 - a frame of its own

    tool = functools.reduce(lambda fn, _: stranger(fn), range(strangers), optional_tool(space))
    message = called(langchain_tool(tool))
    assert (message.content, message.status) == (DENIED, status)


def test_a_denial_is_reported_once_and_as_a_denial(carol):
    """Rule 25: also where it leaves the tool as an exception."""
    tool = langchain_tool(optional_tool(space))
    with capture_events() as events:
        called(tool)
    assert [event.outcome for event in events] == ["denied"]


@pytest.mark.parametrize("refuse", ["raised", "returned"])
def test_a_fallback_may_raise_the_error_of_a_framework_that_the_kit_does_not_know(carol, refuse):
    """Rule 19: FastAPI's `HTTPException`, for one; it is not explained again."""
    http = extra("fastapi", "HTTPException")

    def forbid(denial: Denial):
        raise http(403, denial.user_message)

    @optional_tool(fallback=forbid)
    @with_user_client
    def tool(client: WorkspaceClient):
        if refuse == "raised":
            return title(client)
        try:
            title(client)
        except Exception as error:
            from databricks.sdk.service.sql import ServiceError, StatementResponse, StatementState, StatementStatus

            failed = ServiceError(message=f"PERMISSION_DENIED: {error}")
            return StatementResponse(status=StatementStatus(state=StatementState.FAILED, error=failed))

    with capture_events() as events, pytest.raises(http) as raised:
        tool()
    assert raised.value.status_code == 403
    assert [event.outcome for event in events] == ["denied"]


async def test_create_agent_s_model_is_told_in_a_toolmessage_of_status_error(workspace):
    """Rule 19: also with the middleware that LangChain offers for errors."""
    middleware = extra("langchain.agents.middleware", "wrap_tool_call")
    from langchain.agents import create_agent
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    class Model(GenericFakeChatModel):  # no model can be had here
        def bind_tools(self, tools, **settings):
            return self

    caught = []

    @middleware
    async def errors(request, handler):
        try:
            return await handler(request)
        except Exception as error:
            caught.append(error)
            raise

    call = {"type": "tool_call", "id": "1", "name": "space", "args": {"question": "x"}}
    model = Model(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("done")]))
    agent = create_agent(model, [optional_tool(space)], middleware=[errors])
    with as_user(workspace, "carol"):
        state = await agent.ainvoke({"messages": [("user", "x")]})
    assert [(one.content, one.status) for one in state["messages"] if one.type == "tool"] == [(DENIED, "error")]
    assert caught == []


# --- what a denial becomes: where results are typed --------------------------------------------------------------------------


@optional_tool
@with_user_client
def count(client: WorkspaceClient, question: str) -> list[int]:
    """Count."""
    return [len(title(client))]


@optional_tool
@with_user_client
async def count_async(client: WorkspaceClient, question: str) -> list[int]:
    """Count."""
    return [len(await asyncio.to_thread(title, client))]


@pytest.fixture
def served():
    """An MCP server with a name in this module, as an author has it."""
    globals()["named_server"] = mcp_server(count, count_async, optional_tool(fallback=[])(space_as_list))
    yield globals()["named_server"]
    del globals()["named_server"]


@with_user_client
def space_as_list(client: WorkspaceClient, question: str) -> list[str]:
    """Ask."""
    return [title(client)]


@pytest.mark.parametrize("tool", ["count", "count_async"])
async def test_an_mcp_server_s_typed_tool_raises_the_server_s_own_error(carol, served, tool):
    """Rule 19: not a validator's complaint about the text."""
    with pytest.raises(Exception, match="Error executing tool") as raised:
        await served.call_tool(tool, {"question": "x"})
    assert type(raised.value).__name__ == "ToolError"
    assert str(raised.value) == f"Error executing tool {tool}: {DENIED}"


async def test_an_mcp_server_s_typed_tool_may_have_a_fallback_of_its_type(carol, served):
    """Rule 19."""
    assert "Error" not in str(await served.call_tool("space_as_list", {"question": "x"}))


async def test_a_thread_of_another_server_makes_no_mcp_error(carol):
    """Rule 19: a tool that no MCP server holds."""
    from anyio.to_thread import run_sync

    assert await run_sync(functools.partial(count, question="x")) == DENIED


async def test_fastmcp_raises_its_own_error(carol):
    """Rule 19: the text is shown even where details are masked."""
    made = extra("fastmcp", "FastMCP")("test", mask_error_details=True)
    from fastmcp.exceptions import ToolError

    for tool in (count, count_async):
        made.tool(tool)
        with pytest.raises(ToolError) as raised:
            await made.call_tool(tool.__name__, {"question": "x"})
        assert str(raised.value) == DENIED


@pytest.mark.parametrize("tool", [count, count_async], ids=["function", "coroutine"])
async def test_where_pydantic_checks_the_result_a_denial_is_raised(carol, tool):
    """Rule 19: as the kit's own error; it was no bad argument."""

    async def ask(checked):
        result = checked(question="x")
        return await result if inspect.isawaitable(result) else result

    validate = extra("pydantic", "validate_call")
    with pytest.raises(AccessDeniedError) as raised:
        await ask(validate(validate_return=True)(tool))
    assert raised.value.denial.user_message == DENIED
    assert await ask(validate(tool)) == DENIED  # which does not check it


@pytest.mark.parametrize("tool", [space, space_async], ids=["function", "coroutine"])
async def test_where_pydantic_checks_for_text_the_text_is_given(carol, tool):
    """Rule 19."""
    result = extra("pydantic", "validate_call")(validate_return=True)(optional_tool(tool))(question="x")
    assert (await result if inspect.isawaitable(result) else result) == DENIED


def test_the_outermost_framework_decides(carol):
    """Rule 19: LangChain above pydantic."""
    checked = extra("pydantic", "validate_call")(validate_return=True)(count)
    message = called(langchain_tool(checked))
    assert (message.content, message.status) == (DENIED, "error")


# --- what the frameworks pass ---------------------------------------------------------------------------------------------


FRAMEWORKS = {  # the modules that call a tool, and the attributes that they keep it in: these packages are not installed here
    "strands.tools.decorator": "_tool_func",
    "google.adk.tools.function_tool": "func",
    "crewai.tools.structured_tool": "func",
    "autogen_core.tools._function_tool": "_func",
    "llama_index.core.tools.function_tool": "_fn",
}


@pytest.mark.parametrize("module", FRAMEWORKS)
def test_the_framework_that_calls_is_known_by_its_module(carol, module):
    """Each one's own form of a failed tool; tests/frameworks asks the frameworks themselves."""
    tool = optional_tool(space)
    framework: dict[str, object] = {"__name__": module}
    exec(f"class Holder:\n    def run(self, **given):\n        return self.{FRAMEWORKS[module]}(**given)\n", framework)
    holder = framework["Holder"]()
    setattr(holder, FRAMEWORKS[module], tool)
    forms = {
        "strands": {"status": "error", "content": [{"text": DENIED}]},
        "google": {"error": DENIED},
        "crewai": DENIED,
    }
    if (form := forms.get(module.partition(".")[0])) is not None:
        assert holder.run(question="x") == form
    else:
        with pytest.raises(ToolDeniedError, match=DENIED):
            holder.run(question="x")


def test_langchain_s_own_parameters_reach_the_tool(alice):
    """Rule 13: and stay out of the schema."""
    extra("langgraph.prebuilt", "ToolNode")
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import InjectedToolCallId
    from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime

    def find(
        client: WorkspaceClient,
        question: str,
        config: RunnableConfig,
        state: Annotated[dict, InjectedState],
        call: Annotated[str, InjectedToolCallId],
        runtime: ToolRuntime,
    ) -> str:
        """Ask."""
        return f"{me(client)} {question} {config['configurable']['x']} {state['y']} {call} {runtime.tool_call_id}"

    find.__annotations__ |= {"config": RunnableConfig, "runtime": ToolRuntime, "state": Annotated[dict, InjectedState],
                             "call": Annotated[str, InjectedToolCallId]}  # fmt: skip
    node = ToolNode([optional_tool(with_user_client(find))])
    (made,) = node.tools_by_name.values()
    assert list(made.tool_call_schema.model_json_schema()["properties"]) == ["question"]
    from langchain_core.messages import AIMessage
    from langgraph.graph import START, StateGraph

    call = {"type": "tool_call", "id": "call_1", "name": "find", "args": {"question": "q", "client": "mine"}}
    graph = StateGraph(dict)
    graph.add_node(
        "tools", lambda state, config: node.invoke({"messages": [AIMessage("", tool_calls=[call])], "y": "s"}, config)
    )
    graph.add_edge(START, "tools")
    state = graph.compile().invoke({}, {"configurable": {"x": "c"}})
    assert state["messages"][0].content == "alice q c s call_1 call_1"


@pytest.mark.parametrize("place", ["client first", "context first"])
async def test_the_agents_sdk_s_context_reaches_the_tool(alice, place):
    """Rule 13: it has to be the first of what is left; and ``is_enabled`` asks a plain function of the kit's."""
    wrapper = extra("agents", "RunContextWrapper")
    from agents import function_tool
    from agents.tool_context import ToolContext

    def client_first(client, context, question: str) -> str:
        """Ask."""
        return f"{me(client)} {context.context} {question}"

    def context_first(context, client, question: str) -> str:
        """Ask."""
        return f"{me(client)} {context.context} {question}"

    fn = client_first if place == "client first" else context_first
    fn.__annotations__ |= {"context": wrapper[str], "client": WorkspaceClient, "question": str}

    @optional_tool(fallback=False)
    @with_user_client
    def enabled(client, context, agent) -> bool:
        return me(client) == "alice"

    tool = function_tool(with_user_client(fn), is_enabled=enabled)
    assert list(tool.params_json_schema["properties"]) == ["question"]
    context = ToolContext(context="ctx", tool_name=tool.name, tool_call_id="1", tool_arguments="{}")
    assert await tool.on_invoke_tool(context, '{"question": "q"}') == "alice ctx q"
    assert tool.is_enabled(context, None) is True


async def test_an_mcp_server_s_context_reaches_the_tool(alice):
    """Rule 13."""
    server = mcp_server()
    context = sys.modules[type(server).__module__].Context

    def find(client: WorkspaceClient, question: str, ctx) -> str:
        """Ask."""
        return f"{me(client)} {question} {type(ctx).__name__}"

    find.__annotations__["ctx"] = context
    server.tool()(with_user_client(find))
    (listed,) = await server.list_tools()
    assert list(listed.model_dump(by_alias=True)["inputSchema"]["properties"]) == ["question"]
    assert "alice q Context" in str(await server.call_tool("find", {"question": "q"}))


def test_fastapi_s_dependencies_reach_the_tool(workspace):
    """Rule 13: a tool is a dependency, and has dependencies."""
    fastapi = extra("fastapi", "FastAPI")
    from fastapi import Depends, Request
    from fastapi.testclient import TestClient

    from obo_kit.integrations.asgi import UserHeadersMiddleware

    def found(client: WorkspaceClient, request: Request, extra: Annotated[str, Depends(lambda: "dep")], q: str = "q"):
        return f"{me(client)} {request.method} {extra} {q}"

    found.__annotations__ |= {"request": Request, "extra": Annotated[str, Depends(lambda: "dep")]}
    app = fastapi()
    app.add_middleware(UserHeadersMiddleware)
    tool = optional_tool(with_user_client(found))
    app.get("/")(tool)
    app.get("/dependency")(lambda found=Depends(tool): found)  # noqa: B008 - FastAPI's own way
    with workspace.as_app() as proxy:
        asking = TestClient(app)
        for path in ("/", "/dependency"):
            assert asking.get(path, headers=proxy.headers("bob")).json() == "bob GET dep q"


# --- servers and packages ---------------------------------------------------------------------------------------------------


def test_an_mcp_server_on_apps_serves_each_user_as_themselves(workspace, monkeypatch):
    """Rules 2 and 13: over HTTP; a session of MCP's that outlives a request has no user of the kit's."""
    from starlette.testclient import TestClient

    from obo_kit.integrations.asgi import UserHeadersMiddleware

    server = mcp_server(optional_tool(space))
    monkeypatch.setitem(globals(), "named_server", server)  # as an author has it: `mcp` 2 calls it in a thread
    settings = {"stateless_http": True, "json_response": True}
    if hasattr(server, "settings") and hasattr(server.settings, "stateless_http"):  # mcp 1
        server.settings.stateless_http = server.settings.json_response = True
        server.settings.transport_security = None
        settings = {}
    app = server.streamable_http_app(**settings)
    app.add_middleware(UserHeadersMiddleware)
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "space", "arguments": {"question": "x"}},
    }
    told = {}
    with workspace.as_app() as proxy, TestClient(app, base_url="http://127.0.0.1:8000") as asking:
        for user in ("alice", "bob", "carol", "nobody"):
            headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
            if user != "nobody":
                headers |= proxy.headers(user, scopes=["dashboards.genie"])
            result = asking.post("/mcp", json=call, headers=headers).json()["result"]
            told[user] = (result["content"][0]["text"], result["isError"])
    assert told["alice"] == told["bob"] == (SPACE, False)
    assert told["carol"] == (f"Error executing tool space: {DENIED}", True)
    assert told["nobody"][1]
    assert [record.user for record in calls(workspace)] == ["alice", "bob", "carol"]


def test_a_session_of_mcp_s_does_not_lend_a_user_to_whoever_asks_in_it_later(workspace):
    """Rule 4: such a session outlives the request that began it."""
    from starlette.testclient import TestClient

    from obo_kit.integrations.asgi import UserHeadersMiddleware

    server = mcp_server(optional_tool(space))
    settings = {"json_response": True}
    if hasattr(server, "settings") and hasattr(server.settings, "json_response"):  # mcp 1
        server.settings.json_response = True
        server.settings.transport_security = None
        settings = {}
    app = server.streamable_http_app(**settings)
    app.add_middleware(UserHeadersMiddleware)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    with workspace.as_app() as proxy, TestClient(app, base_url="http://127.0.0.1:8000") as asking:

        def ask(user, **message):
            headers = {"Accept": "application/json, text/event-stream"} | proxy.headers(
                user, scopes=["dashboards.genie"]
            )
            return asking.post("/mcp", json={"jsonrpc": "2.0", **message}, headers=headers | known)

        known = {}
        known = {"mcp-session-id": ask("alice", id=1, method="initialize", params=hello).headers["mcp-session-id"]}
        ask("alice", method="notifications/initialized")
        for user in ("alice", "bob"):
            workspace.log.clear()
            result = ask(user, id=2, method="tools/call", params={"name": "space", "arguments": {"question": "x"}})
            # mcp 1 asks where the session began, and there is no user any more; mcp 2 where the request is.
            seen = [] if result.json()["result"]["isError"] else [user]
            assert callers(workspace) == seen


def test_a_package_that_is_missing_is_named_with_its_extra():
    """The kit works without any framework."""
    code = """
import subprocess
import sys
for name in ("databricks_openai", "openai", "mcp", "langchain_core", "langchain", "agents", "fastmcp", "databricks_langchain"):
    sys.modules[name] = None
import obo_kit
from obo_kit.integrations.mcp import bearer

@obo_kit.optional_tool
@obo_kit.with_user_client
def plain(client: "WorkspaceClient"): return "plain"

@obo_kit.with_user_client
def other(client: "DatabricksOpenAI"): ...

with obo_kit.user_session(host="http://127.0.0.1:9", token="t") as session:
    print(plain())
    for use in (other, lambda: bearer(session)):
        try:
            use()
        except ImportError as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "plain",
        'DatabricksOpenAI needs an extra: pip install "obo-kit[openai]"',
        'bearer needs an extra: pip install "obo-kit[mcp]"',
    ]


@pytest.mark.parametrize("order", ["above", "below"])
def test_mlflow_s_trace_may_stand_on_either_side(workspace, order, tmp_path, monkeypatch):
    """Rule 13: above, the span has no client; below, MLflow itself notes that there was one, and no token."""
    import mlflow

    def find(client: WorkspaceClient, question: str) -> str:
        """Ask."""
        return f"{me(client)} {question}"

    spans, before = [], mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    mlflow.tracing.enable()
    mlflow.tracing.configure(span_processors=[lambda span: spans.append(span.inputs)])
    try:
        tool = mlflow.trace(with_user_client(find)) if order == "above" else with_user_client(mlflow.trace(find))
        assert list(inspect.signature(tool).parameters) == ["question"]
        token = workspace.token("alice")
        with user_session(host=workspace.host, token=token):
            assert tool("x") == "alice x"
    finally:
        mlflow.tracing.reset()
        mlflow.tracing.disable()
        mlflow.set_tracking_uri(before)
    assert [set(inputs) for inputs in spans] == [{"question"} | ({"client"} if order == "below" else set())]
    assert token not in str(spans)
