"""The frameworks of the matrix: how each is given a tool, is asked, and tells its model what became of it.

The model is an endpoint of the local workspace, asked with the agent's own credentials: it calls the first tool it is told of,
with the arguments that the user's message holds, and answers with what it is told back.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import as_user, client, extra, of_mcp_1

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's about its own type hints
    import mlflow
    from mlflow.genai.agent_server import server
    from mlflow.pyfunc import ChatAgent, ResponsesAgent
    from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse
    from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent

from obo_kit import user_session
from obo_kit.integrations.asgi import UserHeadersMiddleware
from obo_kit.testing import LocalWorkspace

MODEL = "agent-llm"
AGENT = "program"  # "agent" is what a served model is called


@dataclass(frozen=True)
class Told:
    """What the model is told back, or the program where there is none."""

    text: str
    error: bool = False  # by the framework's own mark


@dataclass
class World:
    workspace: LocalWorkspace
    proxy: Any = None
    requests: list[dict[str, Any]] = field(default_factory=list)

    def model(self, body: dict[str, Any]) -> Any:
        self.requests.append(body)
        last = body["messages"][-1]
        if last["role"] == "tool":
            return _text(last["content"])
        function = {"name": body["tools"][0]["function"]["name"], "arguments": _text(last["content"])}
        return {"tool_calls": [{"id": "call_1", "type": "function", "function": function}]}

    @property
    def agent(self) -> Any:
        return client(self.workspace, AGENT)

    def told_back(self, arguments: dict[str, Any]) -> str:
        """What became of a question, as the server saw it."""
        answers = (body["messages"] for body in self.requests[::-1] if body["messages"][-1]["role"] == "tool")
        return next(
            _text(told[-1]["content"]) for told in answers if _text(told[0]["content"]) == json.dumps(arguments)
        )


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def asked(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": json.dumps(arguments)}]


async def called(tool: Callable[..., Any], /, *args: Any, **arguments: Any) -> Any:
    """As a program calls it: in a thread, where it is not to be awaited."""
    if inspect.iscoroutinefunction(tool):
        return await tool(*args, **arguments)
    return await asyncio.to_thread(tool, *args, **arguments)


class Framework:
    """One row. `ask` gives a tool to the framework and has it called as the user; `stream` does so in steps."""

    name: str
    kinds: tuple[str, ...] = ("function", "coroutine")
    stream: Any = None
    streams_the_tool = False  # a tool that is a generator, step by step; else its steps are the framework's own

    async def schema(self, world: World, tool: Any) -> Any:
        """Everything that the model is told of the tool, after it was called once, and what is kept of the call."""
        with as_user(world.workspace, "alice"):
            await self.ask(world, "alice", tool, {"question": "x"})
        return world.requests[-2]["tools"]

    async def ask(self, world: World, user: str, tool: Any, arguments: dict[str, Any]) -> Told:
        raise NotImplementedError


class PlainFunctions(Framework):
    name = "plain functions"
    streams_the_tool = True

    async def schema(self, world, tool):
        return [str(inspect.signature(tool)), tool.__doc__, sorted(tool.__annotations__)]

    async def ask(self, world, user, tool, arguments):
        return Told(str(await called(tool, **arguments)))

    async def stream(self, world, user, tool):
        made = tool("x")
        if inspect.isasyncgen(made):
            async for item in made:
                yield item
        else:
            for item in made:
                yield item


SPEC = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Find things.",
        "parameters": {"type": "object", "properties": {"question": {"type": "string"}}},
    },
}


class RawSpecs(Framework):
    name = "raw OpenAI specs"
    streams_the_tool = True

    def turns(self, world: World, tool: Any, arguments: dict[str, Any]) -> Any:
        """What the model is asked in turn; what `tool` gives is sent back."""
        openai = extra("databricks_openai", "DatabricksOpenAI")(workspace_client=world.agent)
        messages: list[Any] = asked(arguments)
        while True:
            answer = openai.chat.completions.create(model=MODEL, messages=messages, tools=[SPEC]).choices[0].message
            if not answer.tool_calls:
                return
            call = answer.tool_calls[0]
            result = yield json.loads(call.function.arguments)
            messages += [answer.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": str(result)}]

    async def ask(self, world, user, tool, arguments):
        turns = self.turns(world, tool, arguments)
        step = await asyncio.to_thread(next, turns)
        result = await called(tool, **step)
        with contextlib.suppress(StopIteration):
            await asyncio.to_thread(lambda: [*_sent(turns, result)])
        return Told(world.told_back(arguments))

    async def stream(self, world, user, tool):
        arguments = ""
        async with extra("databricks_openai", "AsyncDatabricksOpenAI")(workspace_client=world.agent) as openai:
            async for chunk in await openai.chat.completions.create(
                model=MODEL, messages=asked({"question": user}), tools=[SPEC], stream=True
            ):
                for call in (chunk.choices[0].delta.tool_calls or ()) if chunk.choices else ():
                    arguments += call.function.arguments or ""
        for item in tool(**json.loads(arguments)):
            yield item


def _sent(turns: Any, result: Any) -> Any:
    try:
        yield turns.send(result)
    except StopIteration:
        return


class LangChain(Framework):
    name = "LangChain"

    def made(self, tool: Any, **settings: Any) -> Any:
        make = extra("langchain_core.tools", "tool")
        return make(**settings)(tool) if settings else make(tool)

    def chat(self, world: World) -> Any:
        return of_mcp_1("databricks_langchain", "ChatDatabricks")(
            model=MODEL, workspace_client=world.agent, max_retries=0
        )

    async def ask(self, world, user, tool, arguments, **settings):
        made = self.made(tool, **settings)
        chat = self.chat(world).bind_tools([made])
        messages = asked(arguments)
        answer = await asyncio.to_thread(chat.invoke, messages)
        (call,) = answer.tool_calls
        message = await (made.ainvoke(call) if made.coroutine else asyncio.to_thread(made.invoke, call))
        await asyncio.to_thread(chat.invoke, [*messages, answer, message])
        assert message.content == world.told_back(arguments)
        return Told(message.content, message.status == "error")


class LangGraph(LangChain):
    name = "LangGraph"

    def graph(self, world: World, tool: Any) -> Any:
        from langgraph.graph import START, MessagesState, StateGraph
        from langgraph.prebuilt import ToolNode, tools_condition

        chat = self.chat(world).bind_tools([self.made(tool)])

        async def ask(state):
            return {"messages": [await chat.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("model", ask)
        graph.add_node("tools", ToolNode([tool]))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        return graph.compile()

    async def ask(self, world, user, tool, arguments):
        extra("langgraph.prebuilt", "ToolNode")
        state = await self.graph(world, tool).ainvoke({"messages": asked(arguments)})
        (message,) = (one for one in state["messages"] if one.type == "tool")
        assert message.content == world.told_back(arguments)
        return Told(message.content, message.status == "error")

    async def stream(self, world, user, tool):
        extra("langgraph.prebuilt", "ToolNode")
        graph = self.graph(world, tool)
        async for step in graph.astream({"messages": asked({"question": user})}, stream_mode="updates"):
            (update,) = step.values()
            yield update["messages"][-1].content


class CreateAgent(LangGraph):
    name = "LangChain `create_agent`"

    def graph(self, world: World, tool: Any) -> Any:
        from langchain.agents.middleware import AgentMiddleware

        class Passing(AgentMiddleware):
            async def awrap_tool_call(self, request, handler):
                return await handler(request)

            async def awrap_model_call(self, request, handler):
                return await handler(request.override(tools=request.tools))

        create = extra("langchain.agents", "create_agent")
        return create(self.chat(world), [self.made(tool)], middleware=[Passing()])


class OpenAIAgents(Framework):
    name = "OpenAI Agents SDK"

    @contextlib.asynccontextmanager
    async def agent(self, world: World, tool: Any) -> AsyncIterator[Any]:
        extra("agents", "Agent")
        from agents import Agent, OpenAIChatCompletionsModel, function_tool

        async with extra("databricks_openai", "AsyncDatabricksOpenAI")(workspace_client=world.agent) as openai:
            yield Agent(name="a", model=OpenAIChatCompletionsModel(MODEL, openai), tools=[function_tool(tool)])

    async def ask(self, world, user, tool, arguments):
        async with self.agent(world, tool) as agent:
            from agents import RunConfig, Runner

            result = await Runner.run(agent, json.dumps(arguments), run_config=RunConfig(tracing_disabled=True))
        assert result.final_output == world.told_back(arguments)
        return Told(world.told_back(arguments))

    async def stream(self, world, user, tool):
        async with self.agent(world, tool) as agent:
            from agents import RunConfig, Runner

            untraced = RunConfig(tracing_disabled=True)
            run = Runner.run_streamed(agent, json.dumps({"question": user}), run_config=untraced)
            async for event in run.stream_events():
                if event.type == "run_item_stream_event":
                    yield str(getattr(event.item, "output", ""))


class Responses(RawSpecs):
    name = "MLflow `ResponsesAgent`"
    kinds = ("function",)
    streams_the_tool = False

    def built(self, world: World, tool: Any) -> Any:
        turns = self.turns

        class Agent(ResponsesAgent):
            @user_session
            def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
                items = [event.item for event in self.predict_stream(request)]
                return ResponsesAgentResponse(output=items)

            @user_session
            def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
                arguments = json.loads(request.input[0].content)
                asking = turns(world, tool, arguments)
                with contextlib.suppress(StopIteration):
                    result = tool(**next(asking))
                    item = self.create_function_call_output_item("call_1", str(result))
                    yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)
                    asking.send(result)
                item = self.create_text_output_item(world.told_back(arguments), "1")
                yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)

        return Agent()

    async def ask(self, world, user, tool, arguments):
        request = ResponsesAgentRequest(input=asked(arguments))
        answer = await asyncio.to_thread(self.built(world, tool).predict, request)
        assert answer.output[0].output == world.told_back(arguments)
        return Told(world.told_back(arguments))

    async def stream(self, world, user, tool):
        request = ResponsesAgentRequest(input=asked({"question": user}))
        for event in self.built(world, tool).predict_stream(request):
            yield str(event.item)


class Chat(RawSpecs):
    name = "MLflow `ChatAgent`"
    streams_the_tool = False
    kinds = ("function",)

    def built(self, world: World, tool: Any) -> Any:
        turns = self.turns

        @user_session
        class Agent(ChatAgent):
            def predict(self, messages, context=None, custom_inputs=None):
                return ChatAgentResponse(messages=[one.delta for one in self.predict_stream(messages)])

            def predict_stream(self, messages, context=None, custom_inputs=None):
                arguments = json.loads(messages[0].content)
                asking = turns(world, tool, arguments)
                with contextlib.suppress(StopIteration):
                    result = tool(**next(asking))
                    message = ChatAgentMessage(role="tool", name="find", content=str(result), tool_call_id="1", id="1")
                    yield ChatAgentChunk(delta=message)
                    asking.send(result)
                yield ChatAgentChunk(
                    delta=ChatAgentMessage(role="assistant", content=world.told_back(arguments), id="2")
                )

        return Agent()

    async def ask(self, world, user, tool, arguments):
        messages = [ChatAgentMessage(**message) for message in asked(arguments)]
        answer = await asyncio.to_thread(self.built(world, tool).predict, messages)
        assert answer.messages[0].content == world.told_back(arguments)
        return Told(world.told_back(arguments))

    async def stream(self, world, user, tool):
        messages = [ChatAgentMessage(**message) for message in asked({"question": user})]
        for chunk in self.built(world, tool).predict_stream(messages):
            yield chunk.delta.content


class Traced(PlainFunctions):
    """What is kept of a call: see `schema`, which needs a store of MLflow's."""

    name = "`mlflow.trace`"

    async def schema(self, world, tool):
        spans, before = [], mlflow.get_tracking_uri()
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # quicker to make than a database
        mlflow.set_tracking_uri(Path(tempfile.mkdtemp()).as_uri())
        mlflow.tracing.enable()
        mlflow.tracing.configure(span_processors=[lambda span: spans.append(span.to_dict())])
        try:
            with as_user(world.workspace, "alice"):
                await called(mlflow.trace(tool), question="x")
        finally:
            mlflow.tracing.reset()
            mlflow.tracing.disable()
            mlflow.set_tracking_uri(before)
            del os.environ["MLFLOW_ALLOW_FILE_STORE"]
        return spans

    async def ask(self, world, user, tool, arguments):
        return await super().ask(world, user, mlflow.trace(tool), arguments)

    def stream(self, world, user, tool):
        return super().stream(world, user, mlflow.trace(tool))


class ValidateCall(PlainFunctions):
    name = "pydantic `validate_call`"

    def checked(self, tool: Any, **settings: Any) -> Any:
        return extra("pydantic", "validate_call")(**settings)(tool)

    async def schema(self, world, tool):
        return await super().schema(world, self.checked(tool))

    async def ask(self, world, user, tool, arguments):
        return await super().ask(world, user, self.checked(tool), arguments)

    def stream(self, world, user, tool):
        return super().stream(world, user, self.checked(tool))


class MCPServer(Framework):
    name = "MCP server (`mcp`)"

    def server(self, tool: Any) -> Any:
        try:
            from mcp.server import MCPServer as FastMCP
        except ImportError:  # its name before mcp 2
            FastMCP = extra("mcp.server.fastmcp", "FastMCP")
        made = FastMCP("test")
        made.tool()(tool)
        # A name of the tool's module, as an author has it: `mcp` 2 runs it in a thread, whose stack does not show the server.
        getattr(inspect.unwrap(tool), "__globals__", {})["server"] = made
        return made

    @contextlib.asynccontextmanager
    async def connected(self, made: Any) -> AsyncIterator[Any]:
        try:
            from mcp import Client
        except ImportError:  # mcp 1
            connect = extra("mcp.shared.memory", "create_connected_server_and_client_session")
            async with connect(made._mcp_server) as session:
                yield session
        else:
            async with Client(made) as session:
                yield session

    async def schema(self, world, tool):
        async with self.connected(self.server(tool)) as session:
            return [one.model_dump(mode="json") for one in (await session.list_tools()).tools]

    async def ask(self, world, user, tool, arguments):
        async with self.connected(self.server(tool)) as session:
            result = await session.call_tool(tool.__name__, arguments)
        failed = "is_error" if "is_error" in type(result).model_fields else "isError"
        return Told("".join(part.text for part in result.content), getattr(result, failed))


class FastMCP(MCPServer):
    name = "MCP server (`fastmcp`)"

    def server(self, tool: Any) -> Any:
        made = extra("fastmcp", "FastMCP")("test")
        made.tool(tool)
        return made

    def connected(self, made: Any) -> Any:
        from fastmcp import Client

        return Client(made)

    async def schema(self, world, tool):
        async with self.connected(self.server(tool)) as session:
            return [one.model_dump(mode="json") for one in await session.list_tools()]

    async def ask(self, world, user, tool, arguments):
        async with self.connected(self.server(tool)) as session:
            result = await session.call_tool(tool.__name__, arguments, raise_on_error=False)
        return Told("".join(part.text for part in result.content), result.is_error)


class Served(Framework):
    """Servers that are sent the headers of Databricks Apps."""

    def app(self, tool: Any) -> Any:
        raise NotImplementedError

    async def get(self, world: World, user: str, tool: Any, path: str, arguments: dict[str, Any]) -> Any:
        from starlette.testclient import TestClient

        app = self.app(tool)

        headers = world.proxy.headers(user, scopes=["dashboards.genie"])
        served = TestClient(app, raise_server_exceptions=False)
        return await asyncio.to_thread(served.post, path, json=arguments, headers=headers)


class AgentServer(Served):
    name = "MLflow agent server"
    streams_the_tool = True

    made: tuple[Any, Any, Any] = (None, None, None)

    def app(self, tool: Any) -> Any:
        if self.made[0] is tool and self.made[1] is server._invoke_function:
            return self.made[2]  # another request of its may be on the way
        server._invoke_function = server._stream_function = None  # they may be declared once in a process

        @server.invoke()
        @user_session
        async def invoke(request):
            return {"answer": str(await called(tool, **request["input"]))}

        @server.stream()
        @user_session
        def stream(request):
            for item in tool("x"):
                yield {"answer": item}

        self.made = tool, server._invoke_function, server.AgentServer().app
        return self.made[2]

    async def schema(self, world, tool):
        server._invoke_function = None
        server.invoke()(tool)
        return [str(inspect.signature(server._invoke_function)), tool.__doc__]

    async def ask(self, world, user, tool, arguments):
        response = await self.get(world, user, tool, "/invocations", {"input": arguments})
        answer = response.json()
        return Told(answer.get("answer") or str(answer), response.status_code != 200)

    async def stream(self, world, user, tool):
        response = await self.get(world, user, tool, "/invocations", {"input": {}, "stream": True})
        for line in response.text.splitlines():
            if "answer" in line:
                yield line


class FastAPI(Served):
    name = "FastAPI dependencies"
    streams_the_tool = True

    def app(self, tool: Any) -> Any:
        fastapi = extra("fastapi", "FastAPI")
        from fastapi import Depends
        from fastapi.responses import StreamingResponse

        app = fastapi()

        @app.post("/")
        def answer(found=Depends(tool)):  # noqa: B008 - FastAPI's own way
            return found

        @app.post("/stream")
        def stream():
            return StreamingResponse(f"{item}\n" for item in tool("x"))

        app.add_middleware(UserHeadersMiddleware)
        return app

    async def schema(self, world, tool):
        return self.app(tool).openapi()

    async def ask(self, world, user, tool, arguments):
        query = "&".join(f"{name}={value}" for name, value in arguments.items())
        response = await self.get(world, user, tool, f"/?{query}", {})
        return Told(response.json(), response.status_code != 200)

    async def stream(self, world, user, tool):
        response = await self.get(world, user, tool, "/stream", {})
        for line in response.text.splitlines():
            yield line


FRAMEWORKS = (
    PlainFunctions(),
    RawSpecs(),
    LangChain(),
    CreateAgent(),
    LangGraph(),
    OpenAIAgents(),
    Responses(),
    Chat(),
    Traced(),
    AgentServer(),
    ValidateCall(),
    MCPServer(),
    FastMCP(),
    FastAPI(),
)
