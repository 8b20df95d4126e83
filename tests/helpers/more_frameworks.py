"""Frameworks beyond those that the extras name: each is given the same tool, and a model that asks for it.

The model is an endpoint of the local workspace, asked over the OpenAI protocol with the agent's own credentials: it calls
the first tool it is told of with the arguments in the user's message, and repeats what it is told back.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from frameworks import MODEL, Framework, Told, World
from support import extra

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")
os.environ.setdefault("AGNO_TELEMETRY", "false")
os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")


Conversation: TypeAlias = "Callable[[str], Awaitable[str | None]]"


class Agents(World):
    """The same world, for agents with a system prompt of their own."""

    def model(self, body: dict[str, Any]) -> Any:
        self.requests.append(body)
        last = body["messages"][-1]
        if last["role"] == "tool":
            return _text(last)
        user = next(message for message in body["messages"][::-1] if message["role"] == "user")
        tool = body["tools"][0]["function"]["name"]
        return {
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": _arguments(_text(user))}}
            ]
        }

    def told_back(self, arguments: dict[str, Any]) -> str:
        for body in self.requests[::-1]:
            messages = body["messages"]
            user = next((message for message in messages[::-1] if message["role"] == "user"), None)
            if user and messages[-1]["role"] == "tool" and _arguments(_text(user)) == json.dumps(arguments):
                return _text(messages[-1])
        raise AssertionError("the model was told nothing back")

    @property
    def key(self) -> str:
        return self.agent.config.token

    @property
    def url(self) -> str:
        return f"{self.workspace.host}/serving-endpoints"


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _arguments(text: str) -> str:
    return re.search(r"\{.*\}", text, re.DOTALL)[0]


class Beyond(Framework):
    """One row: `run` lets an agent with one tool answer a question."""

    title: str
    package: str
    imports = ""
    streams = True

    @property
    def module(self) -> str:
        return self.imports or self.package.replace("-", "_")

    @property
    def version(self) -> str:
        return importlib.metadata.version(self.package)

    async def run(self, world: Agents, tool: Any, question: str) -> Any:
        raise NotImplementedError

    async def stream_run(self, world: Agents, tool: Any, question: str) -> str | None:
        """Let an agent answer in the framework's own stream; return what its model is told, if not in a message."""
        raise NotImplementedError

    def conversation(self, world: Agents, tool: Any) -> Conversation:
        """Begin a conversation; return a function that asks in it, with all that was said before."""
        raise NotImplementedError

    async def ask(self, world, user, tool, arguments):
        result = await self.run(world, tool, json.dumps(arguments))
        return self.mark(world.told_back(arguments), result)

    def mark(self, text: str, result: Any) -> Told:
        """Read the framework's own mark of an error off what the model was told, or off what `run` returned."""
        del result
        return Told(text)


class PydanticAI(Beyond):
    title, package = "pydantic-ai", "pydantic-ai-slim"
    imports = "pydantic_ai"

    def agent(self, world, tool):
        Agent = extra("pydantic_ai", "Agent")
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        agent = Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=world.url, api_key=world.key)))
        agent.tool_plain(tool)
        return agent

    async def run(self, world, tool, question):
        return await self.agent(world, tool).run(question)

    async def stream_run(self, world, tool, question):
        async with self.agent(world, tool).run_stream(question) as result:
            async for _ in result.stream_text():
                pass

    def conversation(self, world, tool):
        agent, history = self.agent(world, tool), []

        async def say(question):
            history[:] = (await agent.run(question, message_history=history)).all_messages()

        return say


class LlamaIndex(Beyond):
    title, package = "LlamaIndex", "llama-index-core"
    imports = "llama_index.core"

    def agent(self, world, tool, *, streaming=False):
        FunctionTool = extra("llama_index.core.tools", "FunctionTool")
        from llama_index.core.agent.workflow import FunctionAgent
        from llama_index.llms.openai_like import OpenAILike

        llm = OpenAILike(
            model=MODEL, api_base=world.url, api_key=world.key, is_chat_model=True, is_function_calling_model=True
        )
        made = FunctionTool.from_defaults(**{"async_fn" if asyncio.iscoroutinefunction(tool) else "fn": tool})
        return FunctionAgent(tools=[made], llm=llm, streaming=streaming)

    async def run(self, world, tool, question):
        return await self.agent(world, tool).run(question)

    async def stream_run(self, world, tool, question):
        handler = self.agent(world, tool, streaming=True).run(question)
        async for _ in handler.stream_events():
            pass
        await handler

    def conversation(self, world, tool):
        agent, kept = self.agent(world, tool), {}

        async def say(question):
            from llama_index.core.workflow import Context

            context = Context.from_dict(agent, kept["state"]) if kept else Context(agent)
            await agent.run(question, ctx=context)
            kept["state"] = context.to_dict()

        return say

    def mark(self, text, result):
        return Told(text, error=result.tool_calls[0].tool_output.is_error)


class Strands(Beyond):
    title, package = "Strands", "strands-agents"
    imports = "strands"

    def agent(self, world, tool, messages=()):
        make = extra("strands", "tool")
        from strands import Agent
        from strands.models.openai import OpenAIModel

        model = OpenAIModel(client_args={"base_url": world.url, "api_key": world.key}, model_id=MODEL)
        return Agent(model=model, tools=[make(tool)], callback_handler=None, messages=[*messages])

    async def run(self, world, tool, question):
        agent = self.agent(world, tool)
        await agent.invoke_async(question)
        return agent.messages

    async def stream_run(self, world, tool, question):
        async for _ in self.agent(world, tool).stream_async(question):
            pass

    def conversation(self, world, tool):
        messages: list[Any] = []

        async def say(question):
            agent = self.agent(world, tool, messages)
            await agent.invoke_async(question)
            messages[:] = agent.messages

        return say

    def mark(self, text, result):
        (told,) = (part["toolResult"] for message in result for part in message["content"] if "toolResult" in part)
        return Told(text, error=told["status"] == "error")


class Agno(Beyond):
    title, package = "Agno", "agno"

    def agent(self, world, tool, **settings):
        Agent = extra("agno.agent", "Agent")
        from agno.models.openai.like import OpenAILike

        model = OpenAILike(id=MODEL, base_url=world.url, api_key=world.key)
        return Agent(model=model, tools=[tool], telemetry=False, **settings)

    async def run(self, world, tool, question):
        return await self.agent(world, tool).arun(question)

    async def stream_run(self, world, tool, question):
        async for _ in self.agent(world, tool).arun(question, stream=True):
            pass

    def conversation(self, world, tool):
        from agno.db.in_memory import InMemoryDb

        agent = self.agent(world, tool, db=InMemoryDb(), add_history_to_context=True)

        async def say(question):
            await agent.arun(question, session_id="s")

        return say


class Smolagents(Beyond):
    """Its model is told what a tool gave as an observation of the user's."""

    title, package = "smolagents", "smolagents"
    kinds = ("function",)

    async def ask(self, world, user, tool, arguments):
        told = await self.run(world, tool, json.dumps(arguments))
        return Told(told, error=told.startswith("Error"))

    def agent(self, world, tool, **settings):
        make = extra("smolagents", "tool")
        from smolagents import OpenAIServerModel, ToolCallingAgent

        model = OpenAIServerModel(MODEL, api_base=world.url, api_key=world.key)
        return ToolCallingAgent([make(tool)], model, max_steps=1, verbosity_level=0, **settings)

    def observed(self, agent):
        *_, step = (step for step in agent.memory.steps if getattr(step, "tool_calls", None))
        return step.observations if step.error is None else f"Error: {step.error}"

    async def run(self, world, tool, question):
        agent = self.agent(world, tool)
        await asyncio.to_thread(agent.run, question)
        return self.observed(agent)

    async def stream_run(self, world, tool, question):
        agent = self.agent(world, tool, stream_outputs=True)
        await asyncio.to_thread(lambda: [*agent.run(question, stream=True)])
        return self.observed(agent)

    def conversation(self, world, tool):
        agent = self.agent(world, tool)

        async def say(question):
            await asyncio.to_thread(agent.run, question, reset=False)
            return self.observed(agent)

        return say


class Haystack(Beyond):
    title, package = "Haystack", "haystack-ai"
    imports = "haystack"

    def agent(self, world, tool):
        create = extra("haystack.tools", "create_tool_from_function")
        from haystack.components.agents import Agent
        from haystack.components.generators.chat import OpenAIChatGenerator
        from haystack.utils import Secret

        chat = OpenAIChatGenerator(api_key=Secret.from_token(world.key), model=MODEL, api_base_url=world.url)
        agent = Agent(chat_generator=chat, tools=[create(tool)])
        agent.warm_up()
        return agent

    def asked(self, question):
        from haystack.dataclasses import ChatMessage

        return ChatMessage.from_user(question)

    async def run(self, world, tool, question):
        return await self.agent(world, tool).run_async(messages=[self.asked(question)])

    async def stream_run(self, world, tool, question):
        async def ignore(chunk):
            del chunk

        await self.agent(world, tool).run_async(messages=[self.asked(question)], streaming_callback=ignore)

    def conversation(self, world, tool):
        agent, messages = self.agent(world, tool), []

        async def say(question):
            messages[:] = (await agent.run_async(messages=[*messages, self.asked(question)]))["messages"]

        return say


class SemanticKernel(Beyond):
    title, package = "Semantic Kernel", "semantic-kernel"

    def agent(self, world, tool):
        make = extra("semantic_kernel.functions", "kernel_function")
        from openai import AsyncOpenAI
        from semantic_kernel.agents import ChatCompletionAgent
        from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
        from semantic_kernel.functions import KernelFunctionFromMethod, KernelPlugin

        client = AsyncOpenAI(api_key=world.key, base_url=world.url)
        service = OpenAIChatCompletion(ai_model_id=MODEL, async_client=client)
        function = KernelFunctionFromMethod(make(tool), plugin_name="p")
        return ChatCompletionAgent(service=service, plugins=[KernelPlugin("p", functions=[function])])

    async def run(self, world, tool, question):
        return await self.agent(world, tool).get_response(question)

    async def stream_run(self, world, tool, question):
        async for _ in self.agent(world, tool).invoke_stream(question):
            pass

    def conversation(self, world, tool):
        agent, kept = self.agent(world, tool), {}

        async def say(question):
            kept["thread"] = (await agent.get_response(question, thread=kept.get("thread"))).thread

        return say


class CrewAI(Beyond):
    title, package = "CrewAI", "crewai"
    kinds = ("function",)

    def agent(self, world, tool, **settings):
        make = extra("crewai.tools", "tool")
        from crewai import LLM, Agent

        llm = LLM(model=f"openai/{MODEL}", base_url=world.url, api_key=world.key, **settings)
        return Agent(role="r", goal="g", backstory="b", llm=llm, tools=[make(tool)], max_iter=2, cache=False)

    async def run(self, world, tool, question):
        agent = self.agent(world, tool)
        await asyncio.to_thread(agent.kickoff, question)
        return agent

    async def stream_run(self, world, tool, question):
        await asyncio.to_thread(self.agent(world, tool, stream=True).kickoff, question)

    def conversation(self, world, tool):
        agent, messages = self.agent(world, tool), []

        async def say(question):
            messages.append({"role": "user", "content": question})
            answer = await asyncio.to_thread(agent.kickoff, [*messages])
            messages.append({"role": "assistant", "content": answer.raw})

        return say

    def mark(self, text, result):
        return Told(text, error=bool(result.last_tool_failures))


class ADK(Beyond):
    title, package = "Google ADK", "google-adk"
    imports = "litellm"  # which it loads with the first question: that takes longer than a test may

    def runner(self, world, tool):
        FunctionTool = extra("google.adk.tools", "FunctionTool")
        from google.adk.agents import LlmAgent
        from google.adk.models.lite_llm import LiteLlm
        from google.adk.runners import InMemoryRunner

        model = LiteLlm(f"openai/{MODEL}", api_base=world.url, api_key=world.key)
        return InMemoryRunner(LlmAgent(name="a", model=model, tools=[FunctionTool(tool)]), app_name="app")

    async def run(self, world, tool, question):
        return await self.runner(world, tool).run_debug(question, quiet=True)

    async def stream_run(self, world, tool, question):
        from google.adk.agents.run_config import RunConfig, StreamingMode

        settings = RunConfig(streaming_mode=StreamingMode.SSE)
        await self.runner(world, tool).run_debug(question, quiet=True, run_config=settings)

    def conversation(self, world, tool):
        runner = self.runner(world, tool)

        async def say(question):
            await runner.run_debug(question, quiet=True)

        return say

    def mark(self, text, result):
        answer = json.loads(text)
        return Told(answer.get("result", answer.get("error")), error="error" in answer)


class AutoGen(Beyond):
    title, package = "AutoGen", "autogen-agentchat"

    def agent(self, world, tool, **settings):
        FunctionTool = extra("autogen_core.tools", "FunctionTool")
        from autogen_agentchat.agents import AssistantAgent
        from autogen_ext.models.openai import OpenAIChatCompletionClient

        info = {
            "vision": False, "function_calling": True, "json_output": False, "family": "unknown",
            "structured_output": False,
        }  # fmt: skip
        client = OpenAIChatCompletionClient(model=MODEL, base_url=world.url, api_key=world.key, model_info=info)
        tools = [FunctionTool(tool, "Find things.")]
        return AssistantAgent("a", client, tools=tools, reflect_on_tool_use=True, **settings)

    async def run(self, world, tool, question):
        return await self.agent(world, tool).run(task=question)

    async def stream_run(self, world, tool, question):
        async for _ in self.agent(world, tool, model_client_stream=True).run_stream(task=question):
            pass

    def conversation(self, world, tool):
        kept: dict[str, Any] = {}

        async def say(question):
            agent = self.agent(world, tool)
            if kept:
                await agent.load_state(kept["state"])
            await agent.run(task=question)
            kept["state"] = await agent.save_state()

        return say

    def mark(self, text, result):
        (told,) = (message.content[0] for message in result.messages if message.type == "ToolCallExecutionEvent")
        return Told(text, error=told.is_error)


class AG2(Beyond):
    title, package = "AG2", "ag2"

    def agent(self, world, tool, **settings):
        Agent = extra("ag2", "Agent")
        from ag2.config import OpenAIConfig

        config = OpenAIConfig(MODEL, api_key=world.key, base_url=world.url, **settings)
        return Agent("a", config=config, tools=[tool])

    async def run(self, world, tool, question):
        return await self.agent(world, tool).ask(question)

    async def stream_run(self, world, tool, question):
        await self.agent(world, tool, streaming=True).ask(question)

    def conversation(self, world, tool):
        agent, kept = self.agent(world, tool), {}

        async def say(question):
            kept["reply"] = await (kept["reply"] if kept else agent).ask(question)

        return say


class DSPy(Beyond):
    """Its programs give their results as a whole: what it streams are the fields of an answer, and no tools."""

    title, package = "DSPy", "dspy"
    streams = False

    async def answered(self, world, tool, messages):
        Tool = extra("dspy", "Tool")
        import dspy

        lm = dspy.LM(f"openai/{MODEL}", api_base=world.url, api_key=world.key, cache=False)
        made = Tool(tool)
        request = await lm.aforward(messages=messages, tools=[made.format_as_litellm_function_call()])
        message = request.choices[0].message
        call = message.tool_calls[0]
        result = await made.acall(**json.loads(call.function.arguments))
        messages += [message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": str(result)}]
        return await lm.aforward(messages=messages)

    async def run(self, world, tool, question):
        return await self.answered(world, tool, [{"role": "user", "content": question}])

    def conversation(self, world, tool):
        messages: list[Any] = []

        async def say(question):
            messages.append({"role": "user", "content": question})
            answer = await self.answered(world, tool, messages)
            messages.append({"role": "assistant", "content": answer.choices[0].message.content})

        return say


BEYOND = (
    PydanticAI(), LlamaIndex(), Strands(), Agno(), Smolagents(), Haystack(), SemanticKernel(), CrewAI(), ADK(), AutoGen(),
    AG2(), DSPy(),
)  # fmt: skip
