"""OBO103: one user's client, token or answer is kept for the next user."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._scopes import Function, parameters, walk
from obo_kit.analysis.check._vocabulary import SEARCH, argument, arguments, last
from obo_kit.analysis.check.rules._places import KEEPS, PUTS, is_queued, memoized, root, stays
from obo_kit.analysis.check.rules._table import Hit, rule, text_of, whose

__all__: list[str] = []


# What these receive serves every request of the process.
_DEFAULTS: Final = frozenset(
    {"agents.set_default_openai_client", "agents.set_default_openai_key", "dspy.configure", "dspy.settings.configure"}
)


@rule(
    "OBO103",
    "The user's client, token or answer outlives the request",
    why="An object on `self`, in a global or in a cache is still there in the next user's request. The kit's own clients then "
    "refuse to work. Other clients act as the wrong user.",
    fix="Keep it in a local variable, or call `current_session()` wherever you need it: it has one client per request.",
)
def _kept(agent: Agent) -> Iterator[Hit]:
    module, reader = agent.module, agent.reader
    for store in module.stores:
        where = stays(agent, store.target)
        client = reader.held(module, store.value) if where else None
        if client is not None:
            yield Hit(node=store.target, message=f"`{text_of(store.target)}` keeps {whose(client)} {where}.")
        elif not where:
            yield from _put_by_helper(agent, store.target, store.target, [store.value])
    for call in module.calls:
        yield from _put(agent, call)
    for home, function, place, by_object in memoized(agent):
        own = home.class_of(function)
        if own is None or not by_object or agent.lives_long(own):
            yield from _cached(agent, home, function, place)


def _put(agent: Agent, call: ast.Call) -> Iterator[Hit]:
    if is_queued(agent.module, call):
        return  # OBO110 reports it
    where, passed = _place_of(agent, call)
    held = (agent.reader.held(agent.module, part) for part in passed if where)
    client = next((client for client in held if client is not None), None)
    if client is not None:
        yield Hit(node=call, message=f"`{text_of(call)}` keeps {whose(client)} {where}.")
    elif passed and not where and isinstance(call.func, ast.Attribute):
        yield from _put_by_helper(agent, call, call.func.value, passed)


def _place_of(agent: Agent, call: ast.Call) -> tuple[str, list[ast.expr]]:
    """Return the place that a call puts values into, if it outlives the request, and the values; none if it puts none."""
    module, passed = agent.module, arguments(call)
    dotted = module.dotted(call.func)
    if isinstance(call.func, ast.Attribute) and (
        call.func.attr in PUTS or (call.func.attr in KEEPS and len(passed) > 1)
    ):
        called = agent.reader.called(module, call.func)
        by_helper = called is not None and called[0].class_of(called[1]) is None  # its own code is judged
        return ("", []) if by_helper else (stays(agent, call.func.value, item=True), passed)
    if dotted == "os.putenv":
        return "in the environment of the process", passed
    if dotted in _DEFAULTS and module.function_of(call) is not None:
        return "as the default of the process", passed
    if dotted == "builtins.setattr" and len(passed) == 3:
        attribute = ast.copy_location(ast.Attribute(passed[0], "", ast.Store()), call)
        return stays(agent, attribute, of=passed[0]), passed[2:]
    return "", []


def _put_by_helper(agent: Agent, place: ast.expr, target: ast.expr, values: list[ast.expr]) -> Iterator[Hit]:
    """Find ``def authorize(session, token): session.headers["Authorization"] = token``, called with a session that stays."""
    module, reader = agent.module, agent.reader
    base = root(target)
    parameter = _parameter(module, base) if module.owner(base) is None else None
    function = module.function_of(base)
    if function is None or parameter is None or not any(reader.held(module, part) for part in values):
        return
    for home, call in reader.callers(function):
        passed = reader.passed(module, function, call).get(parameter) if home is module else None
        where = stays(agent, passed, item=True) if passed is not None else ""
        env = reader.env_of(home, call, module, function, {}) if where else {}
        client = next((held for part in values if (held := reader.held(module, part, env)) is not None), None)
        if where and client is not None:
            yield Hit(node=place, message=f"`{text_of(place)}` keeps {whose(client)} {where}.")
            return


def _parameter(module: Module, node: ast.expr) -> ast.arg | None:
    """Return the parameter that a name certainly stands for."""
    bindings = module.bindings(node)[1] if isinstance(node, ast.Name) else []
    return bindings[0].node if len(bindings) == 1 and isinstance(bindings[0].node, ast.arg) else None


def _cached(agent: Agent, module: Module, function: Function, place: ast.expr) -> Iterator[Hit]:
    reader = agent.reader
    name = "<lambda>" if isinstance(function, ast.Lambda) else function.name
    facts = reader.facts(module, function)
    if facts.is_tool:
        yield Hit(node=place, message=f"The cache keeps what '{name}' answers one user, for all the others.")
        return
    client = next(
        (client for returned in module.returns(function) if (client := reader.held(module, returned)) is not None),
        None,
    )
    if client is not None:
        yield Hit(node=place, message=f"The cache keeps {whose(client)}, which '{name}' returns.")
    elif (
        not _keeps_results_only(agent.module, place)
        and any("token" in parameter.arg.lower() for parameter in parameters(function))
        and _client_of_parameter(module, function)
    ):
        yield Hit(node=place, message=f"The cache keeps the tokens that '{name}' is called with, and their clients.")


def _keeps_results_only(module: Module, place: ast.expr) -> bool:
    """Return whether it is Streamlit's cache of data, which hashes the arguments and copies the results."""
    return last(module.dotted(place.func if isinstance(place, ast.Call) else place)) == "cache_data"


def _client_of_parameter(module: Module, function: Function) -> bool:
    """Return whether a function makes a client of a token that it receives."""
    for node in walk(function, into_functions=False):
        if isinstance(node, ast.Call) and last(module.dotted(node.func)) in (*SEARCH, "WorkspaceClient"):
            token = argument(node, None, "token") or argument(node, 1, "personal_access_token")
            if isinstance(token, ast.Name) and token.id in {parameter.arg for parameter in parameters(function)}:
                return True
    return False
