"""What each framework tells a model of a tool: never the user's client (rule 13). Every signature, every framework."""

from __future__ import annotations
import __future__

import asyncio
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import signatures
from support import extra


def read_as_text() -> dict[str, Any]:
    """The same tools, with their annotations as text (`from __future__ import annotations`)."""
    source = Path(signatures.__file__).read_text(encoding="utf-8")
    module = ModuleType("signatures_as_text")
    sys.modules[module.__name__] = module
    exec(
        compile(source, "signatures.py", "exec", __future__.annotations.compiler_flag, dont_inherit=True), vars(module)
    )
    return module.SIGNATURES


TOOLS = {
    name: (tool, as_text)
    for (name, tool), as_text in zip(signatures.SIGNATURES.items(), read_as_text().values(), strict=True)
}


def plain_function(tool):
    signature = inspect.signature(tool)
    return set(signature.parameters), [
        str(signature),
        tool.__doc__,
        tool.__name__,
        str(getattr(tool, "__annotations__", "")),
    ]


def langchain_tool(tool):
    extra("langchain_core.tools", "tool")
    from langchain_core.tools import tool as make

    return _langchain(make(tool))


def langchain_parse_docstring(tool):
    extra("langchain_core.tools", "StructuredTool")
    from langchain_core.tools import StructuredTool

    which = "coroutine" if inspect.iscoroutinefunction(tool) else "func"
    return _langchain(
        StructuredTool.from_function(**{which: tool}, parse_docstring=True, error_on_invalid_docstring=False)
    )


def langgraph_tool_node(tool):
    node = extra("langgraph.prebuilt", "ToolNode")([tool])
    (made,) = node.tools_by_name.values()
    return _langchain(made)


def _langchain(made):
    from langchain_core.utils.function_calling import convert_to_openai_tool

    told = convert_to_openai_tool(made)
    return set(told["function"]["parameters"]["properties"]), [told, made.args, made.description]


def openai_agents(tool):
    made = extra("agents", "function_tool")(tool)
    return set(made.params_json_schema["properties"]), [made.description, made.params_json_schema]


def pydantic_validate_call(tool):
    from pydantic import TypeAdapter

    told = TypeAdapter(tool).json_schema()
    checked = extra("pydantic", "validate_call")(tool)
    return set(told["properties"]), [told, checked.__doc__, str(inspect.signature(checked))]


async def mcp_server(tool):
    try:
        from mcp.server import MCPServer as FastMCP
    except ImportError:  # its name before mcp 2
        FastMCP = extra("mcp.server.fastmcp", "FastMCP")
    server = FastMCP("test")
    server.tool()(tool)
    (listed,) = await server.list_tools()
    told = listed.model_dump(mode="json", by_alias=True)
    return set(told["inputSchema"]["properties"]), [told]


async def fastmcp(tool):
    server = extra("fastmcp", "FastMCP")("test")
    server.tool(tool)
    (listed,) = await server.list_tools()
    told = listed.to_mcp_tool().model_dump(mode="json", by_alias=True)
    return set(told["inputSchema"]["properties"]), [told]


def fastapi_route(tool):
    app = extra("fastapi", "FastAPI")()
    app.post("/")(tool)
    told = app.openapi()
    asked = told["paths"]["/"]["post"]
    named = {one["name"] for one in asked["parameters"]}
    return named | ({"limit"} if "requestBody" in asked else set()), [told]


CONSUMERS = (
    plain_function,
    langchain_tool,
    langchain_parse_docstring,
    langgraph_tool_node,
    openai_agents,
    pydantic_validate_call,
    mcp_server,
    fastmcp,
    fastapi_route,
)


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda consumer: consumer.__name__)
def test_no_schema_has_the_client(consumer, name):
    """Rule 13: exactly what the author left to the model, and no word of the rest."""
    for tool in TOOLS[name]:
        found = consumer(tool)
        properties, told = asyncio.run(found) if inspect.iscoroutine(found) else found
        everything = inspect.signature(getattr(tool, "__wrapped__", tool)).parameters
        assert properties == set(everything) - {"client", "handle", "self", "cls"}
        text = json.dumps(told, default=str)
        assert "question" in text
        assert "Find things." in text
        assert re.search(r"client|handle|UserSession|INJECTED", text, re.IGNORECASE) is None, text


def test_there_are_enough_cases():
    """At least 150, without `fastmcp`, which is not installed beside the rest."""
    assert 2 * len(TOOLS) * (len(CONSUMERS) - 1) >= 400
