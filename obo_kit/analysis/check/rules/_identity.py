"""OBO101 and OBO102: a client is built that does not act as the user who asks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent, held_by
from obo_kit.analysis.check._functions import Facts
from obo_kit.analysis.check._scopes import walk
from obo_kit.analysis.check._vocabulary import (
    BUILT_ON,
    CARRY_NO_USER,
    SEARCH,
    TOKEN,
    Value,
    argument,
    arguments,
    kit_name,
    last,
)
from obo_kit.analysis.check.rules._table import MODELS, Hit, rule, text_of, tool_called

__all__: list[str] = []


@rule(
    "OBO101",
    "A user's client is built before there is a user",
    why="At import time, or when a long-lived object is made, no request is running. The client acts as nobody, as the "
    "developer, or as the first user who asks.",
    fix="Build it inside the request: let `@with_user_client` pass it to the tool, or use `current_session().client` "
    "there. Pass factories of tools to `available_tools`.",
)
def _built_too_early(agent: Agent) -> Iterator[Hit]:
    for call, when in agent.early.items():
        values = agent.reader.values(agent.module, call)
        users = [
            value for value in values if value.who == "user" and value.what not in ("strategy", "user_session", TOKEN)
        ]
        passed = arguments(call)
        passed += [call.func.value] if isinstance(call.func, ast.Attribute) else []
        assigned = isinstance(agent.module.parent[call], (ast.Assign, ast.AnnAssign))
        if users and not any(_holds_client(agent, item) for item in passed):
            yield Hit(node=call, message=f"`{text_of(call)}` gives the user's client, and runs {when}.")
        elif kit_name(agent.module, call.func) == "available_tools":
            yield Hit(node=call, message=f"`{text_of(call)}` builds tools for one user, and runs {when}.")
        elif assigned and (facts := tool_called(agent, call)) is not None and "with_user_client" in facts.kit:
            yield Hit(node=call, message=f"`{text_of(call)}` acts for the user, and runs {when}.")


def _holds_client(agent: Agent, node: ast.expr) -> bool:
    client = agent.reader.held(agent.module, node)
    return client is not None and client.what != TOKEN


_AMBIENT: Final = frozenset({"WorkspaceClient"} | SEARCH | CARRY_NO_USER | BUILT_ON.keys())


@rule(
    "OBO102",
    "A tool that acts for the user uses the agent's own client",
    why="A client that is built without the user's identity takes the credentials of its surroundings: the agent's service "
    "principal's, or a developer's. The tool then answers with what the agent may see.",
    fix="Take the client from `@with_user_client`, and pass it on: `workspace_client=client`. Reach shared resources outside "
    "the tool, and declare them with `system_resources`.",
)
def _ambient_in_a_tool(agent: Agent) -> Iterator[Hit]:
    kinds = [item.requirement.kind for *_, item in agent.system if item.requirement is not None]
    system = {kind.name for kind in kinds if kind is not None}
    for call in agent.module.calls:
        tool = agent.around(call)
        if tool is not None:
            yield from _built_in_a_tool(agent, call, tool)
            yield from _used_in_a_tool(agent, call, tool, system)


def _built_in_a_tool(agent: Agent, call: ast.Call, tool: Facts) -> Iterator[Hit]:
    """Find a client without the user's identity that is made in a tool. Model clients count only if it declares a model."""
    for value in agent.reader.values(agent.module, call):
        if value.who != "agent" or value.path or not _builds_ambient(agent, call, value):
            continue
        if value.what not in MODELS or any(_is_model(declaration.requirement) for declaration in agent.of_tool(tool)):
            yield Hit(
                node=call, message=f"`{text_of(call)}` in the tool '{tool.name}' acts as the agent, not as the user."
            )
            return


def _used_in_a_tool(agent: Agent, call: ast.Call, tool: Facts, system: set[str]) -> Iterator[Hit]:
    """Find an agent's own client that is asked for what the tool declares for the user."""
    declared = held_by(agent.of_tool(tool))
    if not declared or _built_inside(agent, call, tool):
        return
    values = agent.reader.values(agent.module, call.func)
    uses = [agent.use(call, value) for value in values if value.who == "agent" and value.path]
    for use in uses or agent.uses_through(call):
        kinds = {route.kind for route in use.routes or ()}
        per_user = None not in kinds and kinds.isdisjoint(system) if uses else agent.leaves_user_out(tool)
        if use.routes and per_user and not use.missing(declared)[0]:
            yield Hit(
                node=call,
                message=f"`{text_of(call.func)}` acts as the agent, but '{tool.name}' declares it for the user.",
            )


def _builds_ambient(agent: Agent, call: ast.Call, value: Value) -> bool:
    if value.what not in _AMBIENT or value.what != last(agent.module.dotted(call.func)):
        return False
    if value.what not in ("McpServer", "McpServerToolkit"):
        return True
    address = agent.module.text_of(argument(call, 0, "url"))  # a server elsewhere needs no workspace client
    return address is not None and "/api/2.0/mcp/" in address


def _is_model(requirement: object) -> bool:
    scope, kind = getattr(requirement, "scope", None), getattr(requirement, "kind", None)
    return (kind is not None and kind.name == "serving_endpoint") or scope in (
        "model-serving",
        "serving.serving-endpoints",
    )


def _built_inside(agent: Agent, call: ast.Call, tool: Facts) -> bool:
    """Return whether the client is built in the tool, where it was reported already."""
    inside = set(walk(tool.function))
    names = [inner for inner in ast.walk(call.func) if isinstance(inner, (ast.Name, ast.Call))]
    for name in names:
        origin = agent.module.origin(name)
        made = isinstance(origin, tuple) and isinstance(origin[1], ast.Call) and origin[1] in inside
        if made and agent.reader.values(agent.module, name):
            return True
    return False
