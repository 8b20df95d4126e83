"""Tool objects of the OpenAI Agents SDK and of `databricks_openai`, as the kit's decorators see them.

The models of both read texts: a denied tool answers with its fallback.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from obo_kit._context import current_call
from obo_kit._objects import Entry, ToolObject, attribute, listing, method
from obo_kit._tool import spec_of
from obo_kit._unwrap import is_a
from obo_kit.denials import explain
from obo_kit.integrations._retriever import retriever_of

if TYPE_CHECKING:
    from obo_kit.session import UserSession

__all__: list[str] = []


def hold(target: Any) -> ToolObject:
    """A tool, or a toolkit or server that offers tools."""
    name = str(getattr(target, "name", None) or type(target).__name__)
    if is_a(target, "agents", "FunctionTool"):
        return ToolObject(
            target=target,
            name=name,
            entries=(_invoked(target),),
            instead="its model sees every parameter by now; put it below the decorator that makes the tool",
        )
    if is_a(target, "agents", "MCPServer"):
        return ToolObject(target=target, name=name, entries=_of_server(target))
    if is_a(target, "databricks_openai", "McpServerToolkit"):
        return ToolObject(
            target=target,
            name=name,
            entries=(listing(target, "aget_tools"),),
            makes_tools=True,
            twin=_toolkit_of,
            settle=lambda _: _raise_refusals(target.databricks_mcp_client),
        )
    if is_a(target, "databricks_openai", "ToolInfo"):
        return ToolObject(
            target=target,
            name=name,
            entries=(attribute(target, "execute"),),
            instead="put it on the McpServerToolkit that makes the tool",
        )
    return ToolObject(
        target=target, name=target.tool["function"]["name"], entries=(method(target, "execute"),), twin=retriever_of
    )


def _toolkit_of(toolkit: Any, session: UserSession) -> Any:
    twin = copy.copy(toolkit)
    twin.workspace_client = session.client
    twin.databricks_mcp_client = type(toolkit.databricks_mcp_client)(toolkit.url, session.client)
    _raise_refusals(twin.databricks_mcp_client)
    return twin


_IMPLEMENTATION = "_on_invoke_tool_impl"


def _invoked(tool: Any) -> Entry:
    """What `function_tool` made of a function, below what turns every exception into a text."""
    invoker = tool.on_invoke_tool
    if hasattr(invoker, "_invoke_tool_impl"):
        return attribute(invoker, "_invoke_tool_impl")
    if inspect.isfunction(invoker) and _IMPLEMENTATION in invoker.__code__.co_freevars:
        # Earlier versions keep it as a variable of the function around it.
        cells = dict(zip(invoker.__code__.co_freevars, invoker.__closure__ or (), strict=True))
        return attribute(cells[_IMPLEMENTATION], "cell_contents")
    return attribute(tool, "on_invoke_tool")


_REFUSED, _CONNECTED = "__obo_refused__", "__obo_connected__"


def _of_server(server: Any) -> tuple[Entry, ...]:
    """A server that refuses the user is one without tools."""

    def refused(_: Any) -> None:
        object.__setattr__(server, _REFUSED, True)

    return (
        _of_connection(server, "connect", refused),
        _of_connection(server, "list_tools", lambda value: value if isinstance(value, list) else []),
        _of_connection(server, "call_tool", _failed_call),
    )


def _of_connection(server: Any, name: str, says: Callable[[Any], Any]) -> Entry:
    """A method of a server. Everything is sent by tasks that belong to the call that connected: it has the evidence."""
    entry = method(server, name, says)
    if spec_of(entry.fn) is not None:
        return entry
    original = entry.fn

    @functools.wraps(original)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        this, state = current_call(), vars(self)
        if name == "connect":
            state.update({_CONNECTED: this, _REFUSED: False})
        elif name == "list_tools" and state.get(_REFUSED):
            return []
        elif this is not None and state.get(_CONNECTED) is not None:
            this.share(state[_CONNECTED])
        return await original(self, *args, **kwargs)

    return replace(entry, fn=call)


def _failed_call(value: Any) -> Any:
    from mcp.types import CallToolResult, TextContent

    if not isinstance(value, str):
        return value
    return CallToolResult(content=[TextContent(type="text", text=value)], isError=True)


def _raise_refusals(client: Any) -> None:
    """The toolkit's tools take the text of a result, and drop that it says it is an error."""
    if "call_tool" in vars(client):
        return
    call_tool = client.call_tool

    @functools.wraps(call_tool)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = call_tool(*args, **kwargs)
        denial = explain(result)
        if denial is not None:
            raise denial.error()
        return result

    client.call_tool = call
