"""OBO109, OBO110: Genie without a client, and work that goes on when the request is over."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._scopes import walk
from obo_kit.analysis.check._vocabulary import BUILT_ON, CLIENTS, argument, arguments, official, unpacks
from obo_kit.analysis.check.rules._table import Hit, rule, text_of

__all__: list[str] = []


@rule(
    "OBO109",
    "Genie is asked as the agent, beside a user's client",
    why="`Genie(space)` without `client=` takes the credentials of its surroundings. The function has the user's client, and "
    "its answers come from what the agent may see.",
    fix="Pass it on: `Genie(space_id, client=client)`.",
)
def _genie_without_client(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        name = official(module, call.func)
        function = module.function_of(call)
        if name not in ("Genie", "GenieAgent") or function is None or agent.around(call) is not None or unpacks(call):
            continue
        if not _is_nothing(argument(call, *BUILT_ON[name])):
            continue
        for node in walk(function, into_functions=False):
            if isinstance(node, (ast.Call, ast.Name)) and node is not call and _is_client(agent, node):
                yield Hit(
                    node=call, message=f"`{text_of(call)}` acts as the agent, where the user's client is at hand."
                )
                break


def _is_nothing(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


@rule(
    "OBO110",
    "Work for the user goes on when the request is over",
    why="A background task runs after the answer was sent. The kit's clients are closed by then (`SessionClosedError`); others "
    "act for a user who is no longer there, with a token that expires.",
    fix="Do it within the request, or hand over what was read and not the client. What the agent does for itself uses the "
    "agent's own client.",
)
def _goes_on(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_task":
            given = arguments(call)
        elif module.dotted(call.func) in ("asyncio.create_task", "asyncio.ensure_future") and call.args:
            if not isinstance(module.parent[call], ast.Expr):
                continue  # somebody may wait for it
            given = arguments(call.args[0]) if isinstance(call.args[0], ast.Call) else []
        else:
            continue
        if any(_is_client(agent, one) for one in given):
            yield Hit(node=call, message=f"`{text_of(call)}` takes the user's client out of the request.")


def _is_client(agent: Agent, node: ast.expr) -> bool:
    values = agent.reader.values(agent.module, node)
    return any(one.who == "user" and not one.path and (one.what in CLIENTS or one.what in BUILT_ON) for one in values)
