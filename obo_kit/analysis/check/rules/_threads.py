"""OBO104: work for the user goes to a thread without the session."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._scopes import FUNCTIONS, Function, walk
from obo_kit.analysis.check._vocabulary import argument, kit_name, last, opens_session
from obo_kit.analysis.check.rules._table import Hit, rule, text_of

__all__ = ["needs_session", "pooled", "started"]


_STARTS: Final = {
    "_thread.start_new_thread": (0, "function"),
    "gevent.spawn": (0, "function"),
    "joblib.delayed": (0, "function"),
    "multiprocessing.Process": (1, "target"),
    "threading.Thread": (1, "target"),
    "threading.Timer": (1, "function"),
}
_POOLS: Final = {
    "apply": (0, "func"),
    "apply_async": (0, "func"),
    "imap": (0, "func"),
    "imap_unordered": (0, "func"),
    "map": (0, "fn"),
    "map_async": (0, "func"),
    "run_in_executor": (1, "func"),
    "spawn": (0, "function"),
    "starmap": (0, "func"),
    "submit": (0, "fn"),
}
_MADE_BY: Final = frozenset({"ProcessPoolExecutor", "ThreadPool", "ThreadPoolExecutor"})


@rule(
    "OBO104",
    "Work for the user goes to a thread that does not know the user",
    why="`threading.Thread`, thread pools and `run_in_executor` start without the request's context: the tool there raises "
    "`NoUserSessionError`, or finds no user.",
    fix="Wrap the function: `pool.submit(obo_kit.propagate(ask), question)`. `asyncio.to_thread` needs no wrapping.",
)
def _thread_without_user(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        work = _work_of(agent, call)
        if work is None or module.function_of(call) is None or agent.in_script(call):
            continue
        needs = needs_session(agent, module, work, set())
        if needs:
            place = work if isinstance(work, ast.expr) and not isinstance(work, ast.Lambda) else call
            yield Hit(node=place, message=f"`{text_of(call)}` runs {needs} in a thread that does not know the user.")


def _work_of(agent: Agent, call: ast.Call) -> ast.expr | Function | None:
    """Return what a call runs in another thread."""
    start = _STARTS.get(agent.module.dotted(call.func))
    if start is None and isinstance(call.func, ast.Attribute) and pooled(agent, call):
        start = _POOLS[call.func.attr]
    return argument(call, *start) if start is not None else _run_of(agent, call)


def _run_of(agent: Agent, call: ast.Call) -> Function | None:
    """Return the method ``run`` of a thread whose class is the project's own."""
    origin = agent.module.origin(call.func)
    if not isinstance(origin, tuple) or origin[0] is not agent.module or not isinstance(origin[1], ast.ClassDef):
        return None
    if not any(agent.module.dotted(base) in _STARTS for base in origin[1].bases):
        return None
    for binding in agent.module.body[origin[1]].names.get("run", [])[-1:]:
        if isinstance(binding.value, FUNCTIONS):
            return binding.value
    return None


def started(agent: Agent, call: ast.Call) -> bool:
    """Return whether a call makes a thread, a timer or a process."""
    return agent.module.dotted(call.func) in _STARTS


def pooled(agent: Agent, call: ast.Call) -> bool:
    """Return whether the call is a method of a thread pool, or of an event loop, as far as the source tells."""
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr not in _POOLS:
        return False
    if func.attr == "run_in_executor":
        return True
    pools: list[ast.AST | None] = [func.value]
    if isinstance(func.value, ast.Attribute):
        owner = agent.module.owner(func.value.value)
        pools += agent.reader.stored(agent.module, owner, func.value.attr) if owner is not None else ()
    if isinstance(func.value, ast.Name):
        pools += [binding.value for binding in agent.module.bindings(func.value)[1]]
    return any(_is_pool(agent, pool) for pool in pools if pool is not None)


def _is_pool(agent: Agent, node: ast.AST) -> bool:
    origin = agent.module.origin(node)
    if not isinstance(origin, tuple) or not isinstance(origin[1], ast.Call):
        return False
    dotted = origin[0].dotted(origin[1].func)
    return last(dotted) in _MADE_BY or dotted in ("gevent.pool.Pool", "multiprocessing.Pool")


def needs_session(agent: Agent, module: Module, work: ast.expr | Function, been: set[Function]) -> str:
    """Return the part of the work that needs the session, for people; empty if no part does, or it has its own session."""
    if isinstance(work, ast.Call):
        partial = module.dotted(work.func) == "functools.partial" and work.args
        return needs_session(agent, module, work.args[0], been) if partial else ""
    called = (module, work) if isinstance(work, FUNCTIONS) else agent.reader.called(module, work)
    if called is None:
        parts = [*_stands_for(agent, module, work)]
        return next((needs for home, part in parts if (needs := needs_session(agent, home, part, been))), "")
    if called[1] in been:
        return ""
    been.add(called[1])
    facts = agent.reader.facts(*called)
    if "user_session" in facts.kit:
        return ""
    if facts.is_tool:
        return f"the tool '{facts.name}'" if "with_user_client" in facts.kit else ""
    return _needed_inside(agent, *called, been)


def _stands_for(agent: Agent, module: Module, work: ast.AST) -> Iterator[tuple[Module, ast.expr]]:
    """Yield what work stands for that is no function of the project's: a ``partial``, or the arguments for a parameter."""
    origin = module.origin(work)
    if isinstance(origin, tuple) and origin[1] is not work and isinstance(origin[1], ast.Call):
        yield module, origin[1]
    elif isinstance(work, ast.Name):
        yield from agent.reader.handed_as(module, work)
        for binding in module.bindings(work)[1]:
            if isinstance(binding.node, ast.arg):
                yield from _mapped_to(agent, module, binding.node)


def _mapped_to(agent: Agent, module: Module, parameter: ast.arg) -> Iterator[tuple[Module, ast.expr]]:
    """Yield the items that a pool calls a function with: ``pool.map(lambda job: job(), jobs)``."""
    function = module.parent[parameter]
    for call in module.calls:
        if isinstance(call.func, ast.Attribute) and "map" in call.func.attr and len(call.args) > 1:
            called = agent.reader.called(module, call.args[0])
            if called is not None and called[1] is function:
                for home, meant, _ in agent.reader.meanings(module, call.args[1], {}):
                    items = getattr(meant, "elts", None) or [getattr(meant, "elt", None)]
                    yield from ((home, item) for item in items if item is not None)


def _needed_inside(agent: Agent, home: Module, function: Function, been: set[Function]) -> str:
    for node in walk(function):
        if isinstance(node, ast.Call) and not _own_session(home, node, function):
            name = kit_name(home, node.func)
            if name in ("current_session", "available_tools") or (name == "with_user_client" and not node.args):
                return f"`{text_of(node)}`"
            if not isinstance(node.func, ast.Call) and (needed := needs_session(agent, home, node.func, been)):
                return needed
    return ""


def _own_session(module: Module, node: ast.AST, function: Function) -> bool:
    for above in module.ancestors(node):
        if above is function:
            return False
        if opens_session(module, above):
            return True
    return False
