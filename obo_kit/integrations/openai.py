"""Tool objects of the OpenAI Agents SDK and of `databricks_openai`, as the kit's decorators see them.

The models of both read text, so a denied tool answers with its fallback.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a
from obo_kit.context._frame import current_call
from obo_kit.denials import explain
from obo_kit.integrations._retriever import retriever_of
from obo_kit.integrations._schema import without
from obo_kit.session._session import RUN_FUNCTIONS
from obo_kit.tools._adapters import (
    attribute,
    listing,
    method,
    methods_of,
    on_copy,
    without_methods,
)
from obo_kit.tools._spec import Entry, ToolObject, spec_of

if TYPE_CHECKING:
    from obo_kit.session._session import UserSession
    from obo_kit.tools._spec import ToolSpec

__all__: list[str] = []


def tool_object(target: Any) -> ToolObject:
    """Return the decorators' view of a tool, or of a toolkit or server that offers tools."""
    name = str(getattr(target, "name", None) or type(target).__name__)
    if is_a(target, classes.AGENTS_TOOL):
        return _function_tool(target, name)
    if is_a(target, classes.AGENTS_SERVER):
        return _server(target, name)
    if is_a(target, classes.OPENAI_TOOLKIT):
        return ToolObject(
            target=target,
            name=name,
            entries=(listing(target, "aget_tools"),),
            makes_tools=True,
            copy_for=_toolkit_of,
            finish=lambda _: _raise_refusals(target.databricks_mcp_client),
        )
    if is_a(target, classes.UC_TOOLKIT):  # of either framework: it holds tools, and needs no package of theirs
        return ToolObject(target=target, name=name, items=target.tools, instead=RUN_FUNCTIONS)
    if is_a(target, classes.OPENAI_TOOL):
        return ToolObject(
            target=target,
            name=name,
            entries=(attribute(target, "execute"),),
            instead="put it on the McpServerToolkit that makes the tool",
        )
    return ToolObject(
        target=target, name=target.tool["function"]["name"], entries=(method(target, "execute"),), copy_for=retriever_of
    )


def _toolkit_of(toolkit: Any, session: UserSession) -> Any:
    copied = copy.copy(toolkit)
    copied.workspace_client = session.client
    copied.databricks_mcp_client = type(toolkit.databricks_mcp_client)(toolkit.url, session.client)
    _raise_refusals(copied.databricks_mcp_client)
    return copied


def _function_tool(tool: Any, name: str) -> ToolObject:
    """Find the function that a tool runs, below the code that turns every exception into text, if it was made of one."""
    run = _run_by(tool)
    made = _variables(run.fn)
    if not {"the_func", "schema"} <= made.keys():
        instead = "it was not made by function_tool; give the client to the function that it calls"
        return ToolObject(target=tool, name=name, entries=(run,), instead=instead)
    return ToolObject(
        target=tool,
        name=name,
        entries=(attribute(made["the_func"], "cell_contents"),),
        takes_clients=True,
        finish=functools.partial(_finish_function, tool, made["schema"]),
    )


def _run_by(tool: Any) -> Entry:
    invoker = tool.on_invoke_tool
    return (
        attribute(invoker, "_invoke_tool_impl")
        if hasattr(invoker, "_invoke_tool_impl")
        else attribute(tool, "on_invoke_tool")
    )


def _variables(fn: Any) -> dict[str, Any]:
    """Return the closure cells of a function, by name."""
    return dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)) if inspect.isfunction(fn) else {}


def _finish_function(tool: Any, schema: Any, spec: ToolSpec) -> None:
    if spec.injection is None:
        return
    hidden, made = spec.injection.names, schema.cell_contents
    shown = [parameter for name, parameter in made.signature.parameters.items() if name not in hidden]
    schema.cell_contents = replace(
        made,
        params_pydantic_model=without(made.params_pydantic_model, hidden),
        params_json_schema=without(made.params_json_schema, hidden),
        signature=made.signature.replace(parameters=shown),
    )
    tool.params_json_schema = without(tool.params_json_schema, hidden)
    tool.description = spec.injection.without_entries(tool.description)


_REFUSED, _CONNECTED = "__obo_refused__", "__obo_connected__"


def _server(server: Any, name: str) -> ToolObject:
    """Return the decorators' view of a server. A server that refuses the user is a server without tools."""
    adapter = ToolObject(
        target=server,
        name=name,
        entries=(
            _of_connection(server, "connect", lambda _: None),
            _of_connection(server, "list_tools", lambda value: value if isinstance(value, list) else []),
            _of_connection(server, "call_tool", _failed_call),
        ),
        needs_session=True,
        finish=functools.partial(_finish_server, server),
    )
    if not is_a(server, classes.DATABRICKS_AGENTS_SERVER):
        return replace(adapter, instead="it has no WorkspaceClient; use databricks_openai.agents.McpServer")
    if server.session is not None:
        return replace(adapter, instead="it is connected already; decorate it before it connects")
    return replace(adapter, copy_for=_server_of)


def _of_connection(server: Any, name: str, shape: Callable[[Any], Any]) -> Entry:
    """Return a method of a server. Its requests run in the tasks of the call that connected, which holds the evidence."""
    entry = method(server, name, shape)
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
        try:
            return await original(self, *args, **kwargs)
        except Exception as error:
            if name == "connect":
                state[_REFUSED] = explain(error) is not None
            raise

    return replace(entry, fn=call)


def _finish_server(server: Any, spec: ToolSpec) -> None:
    """Pass all other requests to a server on to the session's own server, from its prompts to the end of the connection."""
    if spec.injection is None:
        return
    ours = methods_of(server)
    for name, fn in inspect.getmembers(type(server), inspect.iscoroutinefunction):
        if not name.startswith("_") and name not in ours:
            method(server, name).install(on_copy(fn, _server_of))


def _server_of(server: Any, session: UserSession) -> Any:
    """Return a server with the same settings and without a connection."""
    copied = copy.copy(server)
    state = without_methods(copied)
    for name, value in state.items():
        if isinstance(value, (AsyncExitStack, asyncio.Lock)):
            state[name] = type(value)()
    copied.workspace_client = session.client
    copied.invalidate_tools_cache()  # the original may have been connected before
    return copied


def _failed_call(value: Any) -> Any:
    from mcp.types import CallToolResult, TextContent

    if not isinstance(value, str):
        return value
    return CallToolResult(content=[TextContent(type="text", text=value)], isError=True)


def _raise_refusals(client: Any) -> None:
    """Raise the client's refusals: the toolkit's tools keep only a result's text, and drop that it is an error."""
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
