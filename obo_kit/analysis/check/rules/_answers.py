"""OBO107: one user's answer is kept for the next user."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._scopes import FUNCTIONS, Function, parameters, walk
from obo_kit.analysis.check._vocabulary import TOKEN, argument, arguments, last
from obo_kit.analysis.check.rules._again import requests_for_user
from obo_kit.analysis.check.rules._places import KEEPS, WHOSE, memoized, says_whose, stays
from obo_kit.analysis.check.rules._table import Hit, rule, text_of, tool_called

__all__: list[str] = []

_LOOKS_AT_CLIENT: Final = frozenset({"config", "get", "get_workspace_id", "identity"})
_CALLS_FIRST: Final = frozenset(
    {"anyio.to_thread.run_sync", "asyncio.to_thread", "fastapi.concurrency.run_in_threadpool"}
    | {"starlette.concurrency.run_in_threadpool"}
)


@rule(
    "OBO107",
    "An answer for one user is kept for the others",
    why="A cache with only the question as its key gives the first user's answer to everybody, also to users who may not see "
    "it.",
    fix="Remove the cache, or make the user a part of its key: `current_session().cache_key`.",
)
def _answers_kept(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for store in module.stores:
        yield from _stored(agent, store.target, store.value)
    for call in module.calls:
        yield from _put(agent, call)
        yield from _kept_by_setting(agent, call)
    for home, function, place, _ in memoized(agent):
        if home is module:
            yield from _decorated(agent, function, place)


def _stored(agent: Agent, target: ast.expr, value: ast.expr) -> Iterator[Hit]:
    """Find ``ANSWERS[question] = answer``, and an answer in a global."""
    where = stays(agent, target) if not isinstance(target, ast.Attribute) else ""
    if where and where != "in the environment of the process" and not says_whose(agent.module, *_keys(agent, target)):
        yield from _answer_kept(agent, target, [value], where)


def _put(agent: Agent, call: ast.Call) -> Iterator[Hit]:
    """Find ``ANSWERS.setdefault(question, answer)``."""
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr not in KEEPS or not call.args:
        return
    if func.attr == "set" and (len(call.args) < 2 or agent.reader.context_variable(agent.module, func.value)):
        return
    where = stays(agent, func.value, item=True)
    if where and not says_whose(agent.module, *_keys(agent, func.value), *call.args[: 2 if func.attr == "hset" else 1]):
        yield from _answer_kept(agent, call, arguments(call), where)


def _answer_kept(agent: Agent, place: ast.expr, values: list[ast.expr], where: str) -> Iterator[Hit]:
    for value in values:
        if agent.reader.held(agent.module, value) is None:  # OBO103 reports a client
            answered = _answer_in(agent, value)
            if answered is not None:
                yield Hit(
                    node=place,
                    message=f"`{text_of(place)}` keeps what `{text_of(answered.func)}` gave one user {where}.",
                )
                return


def _keys(agent: Agent, target: ast.expr, depth: int = 0) -> Iterator[ast.expr]:
    """Yield the keys of a place: ``ANSWERS[user][question]``, also of what a name stands for."""
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        if isinstance(target, ast.Subscript):
            yield target.slice
        target = target.value
    for binding in agent.module.bindings(target)[1] if isinstance(target, ast.Name) and depth < 3 else ():
        match binding.value if binding.how == "value" else None:
            case ast.Call(func=ast.Attribute(value=place, attr="setdefault"), args=[key, *_]):
                yield key
                yield from _keys(agent, place, depth + 1)
            case ast.Attribute() | ast.Subscript() as place:
                yield from _keys(agent, place, depth + 1)
            case _:
                pass


def _answer_in(agent: Agent, node: ast.expr, depth: int = 0) -> ast.Call | None:
    """Return the call for the user whose answer an expression is."""
    for part in (node, *walk(node, into_functions=False)):
        if isinstance(part, ast.Call) and _is_for_user(agent, part):
            return part
        if isinstance(part, ast.Name) and depth < 3 and agent.module.function_of(part) is not None:
            bindings = agent.module.bindings(part)[1]
            values = [binding.value for binding in bindings if binding.how in ("item", "value")]
            for value in (*values, *(agent.module.put_into(part) if values else ())):
                answered = _answer_in(agent, value, depth + 1) if isinstance(value, ast.expr) else None
                if answered is not None:
                    return answered
    return None


def _is_for_user(agent: Agent, call: ast.Call) -> bool:
    """Return whether a call asks for the user: by a client of theirs, as a tool, or in a helper that has one."""
    handed_over = agent.module.dotted(call.func) in _CALLS_FIRST and call.args
    func = call.args[0] if handed_over else call.func
    values = agent.reader.values(agent.module, func)
    if any(value.who == "user" and value.path and value.what not in (TOKEN, "strategy") for value in values):
        return not any(item.path and item.path[0] in _LOOKS_AT_CLIENT for item in values)
    called = agent.reader.called(agent.module, call.func)
    if called is None:
        return _asks_with_user(agent, call)
    facts = tool_called(agent, call)
    if facts is not None:
        return "with_user_client" in facts.kit
    sends = called[0] is agent.module and any(
        requests_for_user(agent, inner) for inner in agent.module.inside(called[1], ast.Call)
    )
    return (sends or agent.reaches_out(call)) and not _gives_client(agent, called[1])


def _asks_with_user(agent: Agent, call: ast.Call) -> bool:
    """Return whether a library reads for the user: ``read_sql(query, connection)``, or a request with the user's token."""
    dotted = agent.module.dotted(call.func)
    name = call.func.attr if isinstance(call.func, ast.Attribute) else last(dotted)
    if name.startswith("read_sql"):
        values = [value for part in arguments(call) for value in agent.reader.values(agent.module, part)]
        return any(value.who == "user" and value.what == "Connection" for value in values)
    return requests_for_user(agent, call)


def _gives_client(agent: Agent, function: Function) -> bool:
    """Return whether a function returns the client, which OBO103 reports."""
    return any(agent.reader.held(agent.module, returned) is not None for returned in agent.module.returns(function))


# --- memoizers ------------------------------------------------------------------------------------------------------------


def _decorated(agent: Agent, function: Function, decorator: ast.expr) -> Iterator[Hit]:
    if agent.reader.facts(agent.module, function).is_tool or _key_says_whose(decorator):
        return  # OBO103 reports a tool
    call = _asks_itself(agent, function)
    if call is not None and not _gives_client(agent, function):
        yield Hit(
            node=decorator, message=f"The cache keeps what `{text_of(call.func)}` gave one user, for all the others."
        )


def _key_says_whose(decorator: ast.expr) -> bool:
    key = argument(decorator, None, "key") if isinstance(decorator, ast.Call) else None
    return key is not None and bool(WHOSE.search(ast.unparse(key)))


def _asks_itself(agent: Agent, function: Function) -> ast.Call | None:
    """Return a call for the user inside a function, if the user's client is not in the cache's key."""
    keys = {parameter.arg for parameter in parameters(function) if not parameter.arg.startswith("_")}
    if any(WHOSE.search(key) for key in keys):
        return None
    for node in walk(function):
        if isinstance(node, ast.Call) and _is_for_user(agent, node):
            names = {part.id for part in ast.walk(node.func) if isinstance(part, ast.Name)}
            if not names & keys:
                return node
    return None


# --- caches of a framework above --------------------------------------------------------------------------------------


def _kept_by_setting(agent: Agent, call: ast.Call) -> Iterator[Hit]:
    """Find LangGraph's ``cache_policy=CachePolicy()`` and Agno's ``cache_results=True`` on what acts for the user."""
    place = _setting(agent, call)
    if place is None:
        return
    for function in _under(agent, call):
        facts = agent.reader.facts(agent.module, function)
        if facts.is_tool or any(isinstance(inner, ast.Call) and _is_for_user(agent, inner) for inner in walk(function)):
            yield Hit(
                node=place,
                message=f"`{text_of(place)}` keeps what '{facts.name}' answers one user, for all the others.",
            )
            return


def _setting(agent: Agent, call: ast.Call) -> ast.expr | None:
    """Return the setting that keeps answers; None if a key of the author's tells them apart."""
    results = argument(call, None, "cache_results")
    if isinstance(results, ast.Constant) and results.value is True:
        return call
    policy = argument(call, None, "cache_policy")
    origin = agent.module.origin(policy) if policy is not None else None
    made = origin[1] if isinstance(origin, tuple) else None
    if not isinstance(origin, tuple) or not isinstance(made, ast.Call):
        return None
    if last(origin[0].dotted(made.func)) != "CachePolicy" or argument(made, 0, "key_func") is not None:
        return None
    return policy


def _under(agent: Agent, call: ast.Call) -> Iterator[Function]:
    """Yield the functions that a setting applies to: decorated by it, passed to the call, or called on its result."""
    above = agent.module.parent[call]
    if isinstance(above, FUNCTIONS) and not isinstance(above, ast.Lambda) and call in above.decorator_list:
        yield above
    passed = arguments(call)
    if isinstance(above, ast.Call) and above.func is call:
        passed += arguments(above)
    for part in (inner for argument_ in passed for inner in ast.walk(argument_)):
        called = agent.reader.called(agent.module, part) if isinstance(part, (ast.Name, ast.Attribute)) else None
        if called is not None and called[0] is agent.module:
            yield called[1]
