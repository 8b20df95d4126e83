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
from typing import Any

from frameworks import MODEL, Framework, Told, World
from support import extra

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")
os.environ.setdefault("AGNO_TELEMETRY", "false")
os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")


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
            user = next((message for message in messages if message["role"] == "user"), None)
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

    @property
    def module(self) -> str:
        return self.imports or self.package.replace("-", "_")

    @property
    def version(self) -> str:
        return importlib.metadata.version(self.package)

    async def run(self, world: Agents, tool: Any, question: str) -> Any:
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

    async def run(self, world, tool, question):
        Agent = extra("pydantic_ai", "Agent")
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=world.url, api_key=world.key))
        return await Agent(model, tools=[tool]).run(question)


class LlamaIndex(Beyond):
    title, package = "LlamaIndex", "llama-index-core"
    imports = "llama_index.core"

    async def run(self, world, tool, question):
        FunctionTool = extra("llama_index.core.tools", "FunctionTool")
        from llama_index.core.agent.workflow import FunctionAgent
        from llama_index.llms.openai_like import OpenAILike

        llm = OpenAILike(
            model=MODEL, api_base=world.url, api_key=world.key, is_chat_model=True, is_function_calling_model=True
        )
        made = FunctionTool.from_defaults(**{"async_fn" if asyncio.iscoroutinefunction(tool) else "fn": tool})
        return await FunctionAgent(tools=[made], llm=llm, streaming=False).run(question)

    def mark(self, text, result):
        return Told(text, error=result.tool_calls[0].tool_output.is_error)


class Strands(Beyond):
    title, package = "Strands", "strands-agents"
    imports = "strands"

    async def run(self, world, tool, question):
        make = extra("strands", "tool")
        from strands import Agent
        from strands.models.openai import OpenAIModel

        model = OpenAIModel(client_args={"base_url": world.url, "api_key": world.key}, model_id=MODEL)
        agent = Agent(model=model, tools=[make(tool)], callback_handler=None)
        await agent.invoke_async(question)
        return agent.messages

    def mark(self, text, result):
        (told,) = (part["toolResult"] for message in result for part in message["content"] if "toolResult" in part)
        return Told(text, error=told["status"] == "error")


class Agno(Beyond):
    title, package = "Agno", "agno"

    async def run(self, world, tool, question):
        Agent = extra("agno.agent", "Agent")
        from agno.models.openai.like import OpenAILike

        model = OpenAILike(id=MODEL, base_url=world.url, api_key=world.key)
        return await Agent(model=model, tools=[tool], telemetry=False).arun(question)


class Smolagents(Beyond):
    """Its model is told what a tool gave as an observation of the user's."""

    title, package = "smolagents", "smolagents"
    kinds = ("function",)

    async def ask(self, world, user, tool, arguments):
        told = await self.run(world, tool, json.dumps(arguments))
        return Told(told, error=told.startswith("Error"))

    async def run(self, world, tool, question):
        make = extra("smolagents", "tool")
        from smolagents import OpenAIServerModel, ToolCallingAgent

        model = OpenAIServerModel(MODEL, api_base=world.url, api_key=world.key)
        agent = ToolCallingAgent([make(tool)], model, max_steps=1, verbosity_level=0)
        await asyncio.to_thread(agent.run, question)
        step = next(step for step in agent.memory.steps if getattr(step, "tool_calls", None))
        return step.observations if step.error is None else f"Error: {step.error}"


class Haystack(Beyond):
    title, package = "Haystack", "haystack-ai"
    imports = "haystack"

    async def run(self, world, tool, question):
        create = extra("haystack.tools", "create_tool_from_function")
        from haystack.components.agents import Agent
        from haystack.components.generators.chat import OpenAIChatGenerator
        from haystack.dataclasses import ChatMessage
        from haystack.utils import Secret

        chat = OpenAIChatGenerator(api_key=Secret.from_token(world.key), model=MODEL, api_base_url=world.url)
        agent = Agent(chat_generator=chat, tools=[create(tool)])
        agent.warm_up()
        return await agent.run_async(messages=[ChatMessage.from_user(question)])


class SemanticKernel(Beyond):
    title, package = "Semantic Kernel", "semantic-kernel"

    async def run(self, world, tool, question):
        make = extra("semantic_kernel.functions", "kernel_function")
        from openai import AsyncOpenAI
        from semantic_kernel.agents import ChatCompletionAgent
        from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
        from semantic_kernel.functions import KernelFunctionFromMethod, KernelPlugin

        client = AsyncOpenAI(api_key=world.key, base_url=world.url)
        service = OpenAIChatCompletion(ai_model_id=MODEL, async_client=client)
        function = KernelFunctionFromMethod(make(tool), plugin_name="p")
        agent = ChatCompletionAgent(service=service, plugins=[KernelPlugin("p", functions=[function])])
        return await agent.get_response(question)


class CrewAI(Beyond):
    title, package = "CrewAI", "crewai"
    kinds = ("function",)

    async def run(self, world, tool, question):
        make = extra("crewai.tools", "tool")
        from crewai import LLM, Agent

        llm = LLM(model=f"openai/{MODEL}", base_url=world.url, api_key=world.key)
        agent = Agent(role="r", goal="g", backstory="b", llm=llm, tools=[make(tool)], max_iter=2, cache=False)
        await asyncio.to_thread(agent.kickoff, question)
        return agent

    def mark(self, text, result):
        return Told(text, error=bool(result.last_tool_failures))


class ADK(Beyond):
    title, package = "Google ADK", "google-adk"
    imports = "litellm"  # which it loads with the first question: that takes longer than a test may

    async def run(self, world, tool, question):
        FunctionTool = extra("google.adk.tools", "FunctionTool")
        from google.adk.agents import LlmAgent
        from google.adk.models.lite_llm import LiteLlm
        from google.adk.runners import InMemoryRunner

        model = LiteLlm(f"openai/{MODEL}", api_base=world.url, api_key=world.key)
        runner = InMemoryRunner(LlmAgent(name="a", model=model, tools=[FunctionTool(tool)]), app_name="app")
        return await runner.run_debug(question, quiet=True)

    def mark(self, text, result):
        answer = json.loads(text)
        return Told(answer.get("result", answer.get("error")), error="error" in answer)


class AutoGen(Beyond):
    title, package = "AutoGen", "autogen-agentchat"

    async def run(self, world, tool, question):
        FunctionTool = extra("autogen_core.tools", "FunctionTool")
        from autogen_agentchat.agents import AssistantAgent
        from autogen_ext.models.openai import OpenAIChatCompletionClient

        info = {
            "vision": False, "function_calling": True, "json_output": False, "family": "unknown",
            "structured_output": False,
        }  # fmt: skip
        client = OpenAIChatCompletionClient(model=MODEL, base_url=world.url, api_key=world.key, model_info=info)
        agent = AssistantAgent("a", client, tools=[FunctionTool(tool, "Find things.")], reflect_on_tool_use=True)
        return await agent.run(task=question)

    def mark(self, text, result):
        (told,) = (message.content[0] for message in result.messages if message.type == "ToolCallExecutionEvent")
        return Told(text, error=told.is_error)


class AG2(Beyond):
    title, package = "AG2", "ag2"

    async def run(self, world, tool, question):
        Agent = extra("ag2", "Agent")
        from ag2.config import OpenAIConfig

        config = OpenAIConfig(MODEL, api_key=world.key, base_url=world.url)
        return await Agent("a", config=config, tools=[tool]).ask(question)


class DSPy(Beyond):
    title, package = "DSPy", "dspy"

    async def run(self, world, tool, question):
        Tool = extra("dspy", "Tool")
        import dspy

        lm = dspy.LM(f"openai/{MODEL}", api_base=world.url, api_key=world.key, cache=False)
        made = Tool(tool)
        request = await lm.aforward(
            messages=[{"role": "user", "content": question}], tools=[made.format_as_litellm_function_call()]
        )
        message = request.choices[0].message
        call = message.tool_calls[0]
        result = await made.acall(**json.loads(call.function.arguments))
        told = {"role": "tool", "tool_call_id": call.id, "content": str(result)}
        return await lm.aforward(messages=[{"role": "user", "content": question}, message.model_dump(), told])


BEYOND = (
    PydanticAI(), LlamaIndex(), Strands(), Agno(), Smolagents(), Haystack(), SemanticKernel(), CrewAI(), ADK(), AutoGen(),
    AG2(), DSPy(),
)  # fmt: skip
