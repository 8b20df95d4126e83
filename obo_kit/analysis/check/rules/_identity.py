"""OBO101 and OBO102: a client is built where it is not the user who asks."""

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
    "developer, or as whoever asks first.",
    fix="Build it inside the request: let `@with_user_client` hand it to the tool, or use `current_session().client` "
    "there. Factories of tools go to `available_tools`.",
)
def _built_too_early(agent: Agent) -> Iterator[Hit]:
    for call, when in agent.early.items():
        values = agent.reader.values(agent.module, call)
        users = [one for one in values if one.who == "user" and one.what not in ("strategy", "user_session", TOKEN)]
        given = arguments(call)
        given += [call.func.value] if isinstance(call.func, ast.Attribute) else []
        kept = isinstance(agent.module.parent[call], (ast.Assign, ast.AnnAssign))
        if users and not any(_holds_client(agent, one) for one in given):
            yield Hit(node=call, message=f"`{text_of(call)}` gives the user's client, and runs {when}.")
        elif kit_name(agent.module, call.func) == "available_tools":
            yield Hit(node=call, message=f"`{text_of(call)}` builds tools for one user, and runs {when}.")
        elif kept and (facts := tool_called(agent, call)) is not None and "with_user_client" in facts.kit:
            yield Hit(node=call, message=f"`{text_of(call)}` acts for the user, and runs {when}.")


def _holds_client(agent: Agent, node: ast.expr) -> bool:
    held = agent.reader.held(agent.module, node)
    return held is not None and held.what != TOKEN


_AMBIENT: Final = frozenset({"WorkspaceClient"} | SEARCH | CARRY_NO_USER | BUILT_ON.keys())


@rule(
    "OBO102",
    "A tool that acts for the user uses the agent's own client",
    why="A client that is built without the user's identity takes the credentials of its surroundings: the agent's service "
    "principal, or a developer's. The tool then answers with what the agent may see.",
    fix="Take the client from `@with_user_client`, and pass it on: `workspace_client=client`. What everybody shares is "
    "reached outside of the tool, and declared with `system_resources`.",
)
def _ambient_in_a_tool(agent: Agent) -> Iterator[Hit]:
    kinds = [one.requirement.kind for *_, one in agent.system if one.requirement is not None]
    system = {kind.name for kind in kinds if kind is not None}
    for call in agent.module.calls:
        tool = agent.around(call)
        if tool is not None:
            yield from _built_in_a_tool(agent, call, tool)
            yield from _used_in_a_tool(agent, call, tool, system)


def _built_in_a_tool(agent: Agent, call: ast.Call, tool: Facts) -> Iterator[Hit]:
    """A client without the user's identity is made in a tool; one of models only where the tool declares one."""
    for value in agent.reader.values(agent.module, call):
        if value.who != "agent" or value.path or not _builds_ambient(agent, call, value):
            continue
        if value.what not in MODELS or any(_is_model(one.requirement) for one in agent.of_tool(tool)):
            yield Hit(
                node=call, message=f"`{text_of(call)}` in the tool '{tool.name}' acts as the agent, not as the user."
            )
            return


def _used_in_a_tool(agent: Agent, call: ast.Call, tool: Facts, system: set[str]) -> Iterator[Hit]:
    """A client of the agent's is asked for what the tool declares for the user."""
    held = held_by(agent.of_tool(tool))
    if not held or _built_inside(agent, call, tool):
        return
    for value in agent.reader.values(agent.module, call.func):
        use = agent.use(call, value) if value.who == "agent" and value.path else None
        if use is None or not use.routes:
            continue
        per_user = all(one.kind is not None and one.kind not in system for one in use.routes)
        if per_user and not use.missing(held)[0]:
            yield Hit(
                node=call,
                message=f"`{text_of(call.func)}` acts as the agent, and '{tool.name}' declares it for the user.",
            )


def _builds_ambient(agent: Agent, call: ast.Call, value: Value) -> bool:
    if value.what not in _AMBIENT or value.what != last(agent.module.dotted(call.func)):
        return False
    if value.what not in ("McpServer", "McpServerToolkit"):
        return True
    address = agent.module.text_of(argument(call, 0, "url"))  # a server elsewhere needs no client of the workspace's
    return address is not None and "/api/2.0/mcp/" in address


def _is_model(requirement: object) -> bool:
    scope, kind = getattr(requirement, "scope", None), getattr(requirement, "kind", None)
    return (kind is not None and kind.name == "serving_endpoint") or scope in (
        "model-serving",
        "serving.serving-endpoints",
    )


def _built_inside(agent: Agent, call: ast.Call, tool: Facts) -> bool:
    """Whether the client is built in the tool, where it was found already."""
    inside = set(walk(tool.function))
    names = [one for one in ast.walk(call.func) if isinstance(one, (ast.Name, ast.Call))]
    for one in names:
        origin = agent.module.origin(one)
        if isinstance(origin, tuple) and isinstance(origin[1], ast.Call) and origin[1] in inside:
            return True
    return False
