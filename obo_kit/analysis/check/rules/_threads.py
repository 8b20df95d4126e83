"""OBO104: work for the user goes where the session does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._scopes import Function, walk
from obo_kit.analysis.check._vocabulary import argument, kit_name, last, opens_session
from obo_kit.analysis.check.rules._table import Hit, rule, text_of

__all__: list[str] = []


_STARTS: Final = {
    "_thread.start_new_thread": (0, "function"),
    "gevent.spawn": (0, "function"),
    "threading.Thread": (1, "target"),
    "threading.Timer": (1, "function"),
}
_POOLS: Final = {"map": (0, "fn"), "run_in_executor": (1, "func"), "spawn": (0, "function"), "submit": (0, "fn")}


@rule(
    "OBO104",
    "Work for the user goes to a thread that does not know the user",
    why="`threading.Thread`, thread pools and `run_in_executor` start without the request's context: the tool there raises "
    "`NoUserSessionError`, or finds no user.",
    fix="Wrap the function: `pool.submit(obo_kit.propagate(ask), question)`. `asyncio.to_thread` needs nothing.",
)
def _thread_without_user(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        start = _STARTS.get(module.dotted(call.func))
        if start is None and isinstance(call.func, ast.Attribute) and call.func.attr in _POOLS:
            start = _POOLS[call.func.attr] if _is_pool(agent, call.func) else None
        if start is None or module.function_of(call) is None or agent.in_script(call):
            continue
        work = argument(call, *start)
        needs = _needs_session(agent, module, work, set()) if work is not None else ""
        if needs:
            yield Hit(
                node=work or call, message=f"`{text_of(call)}` runs {needs} in a thread that does not know the user."
            )


def _is_pool(agent: Agent, func: ast.Attribute) -> bool:
    """Whether the object is a pool of threads, or an event loop, as far as can be seen."""
    if func.attr == "run_in_executor":
        return True
    found: list[ast.AST | None] = [func.value]
    if isinstance(func.value, ast.Attribute):
        owner = agent.reader.owner(agent.module, func.value.value)
        found += agent.reader.stored(agent.module, owner, func.value.attr) if owner is not None else ()
    if isinstance(func.value, ast.Name):
        found += [one.value for one in agent.module.bindings(func.value)[1]]
    for one in found:
        origin = agent.module.origin(one) if one is not None else None
        if isinstance(origin, tuple) and isinstance(origin[1], ast.Call):
            dotted = origin[0].dotted(origin[1].func)
            if last(dotted) in ("ThreadPoolExecutor", "ThreadPool") or dotted == "gevent.pool.Pool":
                return True
    return False


def _needs_session(agent: Agent, module: Module, work: ast.expr, been: set[Function]) -> str:
    """What of the work needs the session, for people; nothing where none of it does, or it brings its own."""
    if isinstance(work, ast.Call):
        if module.dotted(work.func) == "functools.partial" and work.args:
            return _needs_session(agent, module, work.args[0], been)
        return ""
    called = agent.reader.called(module, work)
    if called is None:
        origin = module.origin(work)
        inner = origin[1] if isinstance(origin, tuple) and origin[1] is not work else None
        return _needs_session(agent, module, inner, been) if isinstance(inner, ast.Call) else ""
    home, function = called
    if function in been:
        return ""
    been.add(function)
    facts = agent.reader.facts(home, function)
    if "user_session" in facts.kit:
        return ""
    if facts.is_tool:
        return f"the tool '{facts.name}'" if "with_user_client" in facts.kit else ""
    for node in walk(function):
        if isinstance(node, ast.Call) and not _own_session(home, node, function):
            name = kit_name(home, node.func)
            if name in ("current_session", "available_tools") or (name == "with_user_client" and not node.args):
                return f"`{text_of(node)}`"
            if (found := _needs_session(agent, home, node.func, been)) and not isinstance(node.func, ast.Call):
                return found
    return ""


def _own_session(module: Module, node: ast.AST, function: Function) -> bool:
    for above in module.ancestors(node):
        if above is function:
            return False
        if opens_session(module, above):
            return True
    return False
