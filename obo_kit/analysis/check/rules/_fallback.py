"""OBO105, OBO106: a client for the user that may be the agent's own, or is made so that it may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final, cast

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._scopes import TRIES, walk
from obo_kit.analysis.check._vocabulary import SEARCH, TOKEN, argument, official, returns, unpacks
from obo_kit.analysis.check.rules._table import Hit, rule, text_of

__all__: list[str] = []

_CLIENTS: Final = frozenset({"WorkspaceClient"} | SEARCH)


@rule(
    "OBO105",
    "A user's client falls back to the agent's own",
    why="Where the token is missing, or building the client fails, the request goes on as the agent's service principal: "
    "whoever asks without a token may see what the agent may see.",
    fix="Refuse instead: raise where there is no token. `@user_session` and `@with_user_client` do, in every runtime.",
)
def _falls_back(agent: Agent) -> Iterator[Hit]:
    for call in agent.module.calls:
        if official(agent.module, call.func) not in _CLIENTS:
            continue
        own = [one for one in agent.reader.values(agent.module, call) if one.who == "agent" and not one.path]
        if own and _is_second_choice(agent, call):
            yield Hit(
                node=call, message=f"`{text_of(call)}` takes the place of the user's client, and acts as the agent."
            )


def _is_second_choice(agent: Agent, call: ast.Call) -> bool:
    below: ast.AST = call
    for above in agent.module.ancestors(call):
        if isinstance(above, ast.IfExp) and below is not above.test:
            other = above.orelse if below is above.body else above.body
            return _user_s(agent, other) and _asks_for_user(agent, above.test)
        if isinstance(above, ast.BoolOp) and isinstance(above.op, ast.Or):
            return any(_user_s(agent, part) for part in above.values[: above.values.index(cast("ast.expr", below))])
        if isinstance(above, (ast.Return, ast.Assign, ast.AnnAssign)):
            return _is_other_branch(agent, above)
        if isinstance(above, ast.stmt):
            return False
        below = above
    return False


def _is_other_branch(agent: Agent, statement: ast.Return | ast.Assign | ast.AnnAssign) -> bool:
    """Whether the user's client would have been returned, or assigned to the same name, had there been a token."""
    module = agent.module
    function = module.function_of(statement)
    if isinstance(statement, ast.Return):
        if function is None:
            return False
        firsts: list[ast.expr] = [one for one in returns(function) if one is not statement.value]
    else:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = {ast.unparse(target) for target in targets}
        inside = walk(function, into_functions=False) if function is not None else ast.walk(module.tree)
        firsts = [
            one.value
            for one in inside
            if isinstance(one, (ast.Assign, ast.AnnAssign))
            and one is not statement
            and one.value is not None
            and names
            & {ast.unparse(target) for target in (one.targets if isinstance(one, ast.Assign) else [one.target])}
        ]
    return any(_user_s(agent, first) and _decides(agent, statement, first) for first in firsts)


def _decides(agent: Agent, second: ast.AST, first: ast.AST) -> bool:
    """Whether it is a missing token, or an error, that leads from one place to the other."""
    module = agent.module
    for above in (*module.ancestors(second), *module.ancestors(first)):
        if isinstance(above, ast.If) and _asks_for_user(agent, above.test):
            return True
        if isinstance(above, TRIES) and first in set(ast.walk(above)) and above in module.ancestors(first):
            caught = [node for handler in above.handlers for node in ast.walk(handler)]
            return second in caught or second not in set(ast.walk(above))
        if isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
    return False


def _asks_for_user(agent: Agent, test: ast.expr) -> bool:
    """Whether a condition is about the user's token or client."""
    return any(
        one.who == "user"
        for node in ast.walk(test)
        if isinstance(node, ast.expr)
        for one in agent.reader.values(agent.module, node)
    )


def _user_s(agent: Agent, node: ast.AST) -> bool:
    return any(
        one.who == "user" and one.what in _CLIENTS and not one.path for one in agent.reader.values(agent.module, node)
    )


@rule(
    "OBO106",
    "A client gets the user's token without `auth_type`",
    why="In an app the environment holds the app's own client id and secret. The SDK then finds two ways to authenticate and "
    "refuses, or takes the app's own.",
    fix='Pass `auth_type="pat"` with the token, or take the client from `@with_user_client`.',
)
def _no_auth_type(agent: Agent) -> Iterator[Hit]:
    for call in agent.module.calls:
        if official(agent.module, call.func) not in ("WorkspaceClient", "Config") or unpacks(call):
            continue
        token = argument(call, None, "token")
        values = agent.reader.values(agent.module, token)
        if any(one.who == "user" and one.what == TOKEN for one in values) and argument(call, None, "auth_type") is None:
            yield Hit(node=call, message=f"`{text_of(call)}` gets the user's token, and no `auth_type`.")
