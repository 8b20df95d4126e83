"""OBO109, OBO110: Genie without a client, and work that goes on when the request is over."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._scopes import Function, parameters, walk
from obo_kit.analysis.check._vocabulary import (
    BUILT_ON,
    CLIENTS,
    TOKEN,
    argument,
    arguments,
    is_nothing,
    last,
    official,
    unpacks,
)
from obo_kit.analysis.check.rules._places import PUTS, is_queued, stays
from obo_kit.analysis.check.rules._table import Hit, rule, text_of, whose
from obo_kit.analysis.check.rules._threads import needs_session, pooled, started

__all__: list[str] = []


@rule(
    "OBO109",
    "Genie is asked as the agent, although a user's client is at hand",
    why="`Genie(space)` without `client=` takes the credentials of its surroundings. The function has the user's client, but "
    "the answers show what the agent may see.",
    fix="Pass the client on: `Genie(space_id, client=client)`.",
)
def _genie_without_client(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        name = official(module, call.func)
        if name not in ("Genie", "GenieAgent") or agent.around(call) is not None or unpacks(call):
            continue
        client = argument(call, *BUILT_ON[name])
        if not is_nothing(client):
            yield from _omitted(agent, call, client)
            continue
        function = module.function_of(call)
        here = function is not None and _has_user(agent, function, but=call)
        if not here and function is not None and isinstance(module.parent[call], ast.Return) and not _is_shared(agent):
            yield from _asked_through(agent, function)
        if here or (not _is_shared(agent) and any(_has_user(agent, asker) for asker in _askers(agent, call))):
            yield Hit(node=call, message=f"`{text_of(call)}` acts as the agent, although the user's client is at hand.")


def _omitted(agent: Agent, made: ast.Call, client: ast.expr | None) -> Iterator[Hit]:
    """Find the calls of a helper, ``def genie(client=None): return Genie(space, client=client)``, that leave the client out."""
    module = agent.module
    owner = module.owner(client.value) if isinstance(client, ast.Attribute) else None
    kept = agent.reader.stored(module, owner, client.attr) if owner and isinstance(client, ast.Attribute) else [client]
    for name in kept if len(kept) == 1 else ():  # `self.client = client`
        for binding in module.bindings(name)[1] if isinstance(name, ast.Name) else ():
            function = module.function_of(name if owner is not None and name is not None else made)
            if isinstance(binding.node, ast.arg) and isinstance(binding.value, ast.Constant) and function is not None:
                yield from _asked_through(agent, function, leaving_out=binding.node)


def _asked_through(agent: Agent, helper: Function, leaving_out: ast.arg | None = None) -> Iterator[Hit]:
    """Find the calls of a helper that gives a Genie without a client, where the user's client is at hand."""
    module = agent.module
    for home, call in agent.reader.callers(helper):
        caller = home.function_of(call) if home is module and not unpacks(call) else None
        passed = leaving_out is not None and leaving_out in agent.reader.passed(module, helper, call)
        if caller is not None and not passed and _has_user(agent, caller, but=call):
            yield Hit(node=call, message=f"`{text_of(call)}` acts as the agent, although the user's client is at hand.")


def _has_user(agent: Agent, function: Function, but: ast.Call | None = None) -> bool:
    """Return whether a function has the user's client, or the token to make one."""
    for node in (*parameters(function), *walk(function, into_functions=False)):
        if isinstance(node, (ast.Call, ast.Name, ast.Subscript, ast.arg)) and node is not but:
            values = agent.reader.values(agent.module, node)
            if any(
                value.who == "user" and not value.path and (_is_client(value.what) or value.what == TOKEN)
                for value in values
            ):
                return True
    return False


def _is_client(what: str) -> bool:
    return what in CLIENTS or what in BUILT_ON


def _askers(agent: Agent, made: ast.Call) -> Iterator[Function]:
    """Yield the functions that use an object that was made for all requests: in a global, or on the agent."""
    module = agent.module
    store = module.parent[made]
    target = store.targets[0] if isinstance(store, ast.Assign) else None
    name = target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""
    for node in module.parent if name else ():
        if not isinstance(node, (ast.Attribute, ast.Name)) or not isinstance(node.ctx, ast.Load):
            continue
        same = node.attr == name if isinstance(node, ast.Attribute) else node.id == name
        if same and type(node) is type(target) and (function := module.function_of(node)) is not None:
            yield function


def _is_shared(agent: Agent) -> bool:
    """Return whether the file says itself that a Genie space is the agent's."""
    return bool(agent.system) or "DatabricksGenieSpace" in agent.module.text


_BACKGROUND: Final = frozenset(
    {"add_job", "add_task", "apply_async", "delay", "enqueue", "enqueue_at", "enqueue_in", "send_task"}
)
_OF_ACTOR: Final = ("send", "send_with_options")  # of a function that a worker runs
_IN_GROUPS: Final = ("create_task", "start_soon")
_LATER: Final = frozenset({"BackgroundTask", "create_task", "ensure_future"})


@rule(
    "OBO110",
    "Work for the user goes on when the request is over",
    why="A background task runs after the answer was sent. The kit's clients are closed by then (`SessionClosedError`). Other "
    "clients act for a user who is no longer there, with a token that expires.",
    fix="Do the work within the request, or pass on the data that was read and not the client. For the agent's own work, use "
    "the agent's own client.",
)
def _goes_on(agent: Agent) -> Iterator[Hit]:
    for call in agent.module.calls:
        if agent.module.function_of(call) is None:
            continue
        handed = [*_handed(call)] if _outlives(agent, call) else [*_started_by_helper(agent, call)]
        client = next((kept for part in handed if (kept := agent.reader.held(agent.module, part)) is not None), None)
        if client is not None:
            yield Hit(node=call, message=f"`{text_of(call)}` takes {whose(client)} out of the request.")
        elif _is_background(agent, call) and call.args and (work := _work(agent, call)):
            yield Hit(node=call, message=f"`{text_of(call)}` runs {work} when the request is over.")


def _handed(call: ast.Call) -> Iterator[ast.expr]:
    """Yield the arguments of work: those of the call, and those of a coroutine that it receives."""
    for passed in arguments(call):
        yield passed
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if isinstance(passed, ast.Call) and name in _LATER - {"BackgroundTask"}:
            yield from (passed.func, *arguments(passed))


def _started_by_helper(agent: Agent, call: ast.Call) -> Iterator[ast.expr]:
    """Yield what a call gives to a helper that starts it, as ``def spawn(work): return create_task(work)``."""
    called = agent.reader.called(agent.module, call.func)
    if called is None or called[0] is not agent.module:
        return
    passed = agent.reader.passed(*called, call)
    for inner in agent.module.inside(called[1], ast.Call) if passed else ():
        names = {part.id for part in inner.args if isinstance(part, ast.Name)}
        handed = [value for item, value in passed.items() if item.arg in names]
        if handed and (_outlives(agent, inner) or _is_given_back(agent, inner, to=call)):
            yield from handed
            yield from (part for value in handed if isinstance(value, ast.Call) for part in arguments(value))


def _starts_it(agent: Agent, decorator: ast.expr) -> bool:
    """Return whether a decorator of the file's own only starts the function: ``Thread(target=function).start()``."""
    origin = agent.module.origin(decorator)
    if not isinstance(origin, tuple) or origin[0] is not agent.module or not isinstance(origin[1], ast.FunctionDef):
        return False
    first = {item.arg for item in parameters(origin[1])[:1]}
    return any(
        isinstance(inner, ast.Call)
        and not first.isdisjoint(part.id for item in arguments(inner) for part in _names_in(item))
        and _is_let_go(agent, inner)
        for inner in walk(origin[1])
    )


def _names_in(node: ast.expr) -> Iterator[ast.Name]:
    return (part for part in ast.walk(node) if isinstance(part, ast.Name))


def _is_given_back(agent: Agent, call: ast.Call, to: ast.Call) -> bool:
    """Return whether a helper returns the task that it starts to a call that does not wait for it."""
    if not isinstance(agent.module.parent[to], ast.Expr):
        return False
    name = call.func.attr if isinstance(call.func, ast.Attribute) else last(agent.module.dotted(call.func))
    if name not in _LATER and not pooled(agent, call):
        return False
    above = agent.module.parent[call]
    if not isinstance(above, ast.Assign) or not isinstance(above.targets[0], ast.Name):
        return isinstance(above, ast.Return)
    uses = list(_uses(agent, above.targets[0]))
    return all(isinstance(agent.module.parent[use], ast.Return) or _only_kept(agent, use) for use in uses)


def _work(agent: Agent, call: ast.Call) -> str:
    return needs_session(agent, agent.module, call.args[0], set())


def _is_background(agent: Agent, call: ast.Call) -> bool:
    """Return whether work runs after the answer, or somewhere else."""
    attribute = isinstance(call.func, ast.Attribute) and (
        call.func.attr in _BACKGROUND
        or (call.func.attr in _OF_ACTOR and agent.reader.called(agent.module, call.func.value) is not None)
    )
    named = last(agent.module.dotted(call.func)) == "BackgroundTask"
    return (attribute and not pooled(agent, call)) or named or _is_enqueued(agent, call)


def _is_enqueued(agent: Agent, call: ast.Call) -> bool:
    """Return whether a call of a function only puts it into a queue, as ``@huey.task()`` makes it, or starts it."""
    called = agent.reader.called(agent.module, call.func)
    for decorator in getattr(called[1], "decorator_list", []) if called is not None else ():
        match decorator:
            case ast.Call(func=ast.Attribute(value=queue, attr="task")):
                made = called[0].origin(queue) if called is not None else None
                if isinstance(made, tuple) and isinstance(made[1], ast.Call):
                    return made[0].dotted(made[1].func).partition(".")[0] == "huey"
            case _ if called is not None and called[0] is agent.module and _starts_it(agent, decorator):
                return True
            case _:
                pass
    return False


def _outlives(agent: Agent, call: ast.Call) -> bool:
    """Return whether nothing in the request waits for what a call starts."""
    if _is_background(agent, call) or (is_queued(agent.module, call) and _is_shared_queue(agent, call)):
        return True
    return _is_let_go(agent, call)


def _is_let_go(agent: Agent, call: ast.Call) -> bool:
    """Return whether a call starts a thread or a task, and nothing waits for it."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else last(agent.module.dotted(call.func))
    in_group = isinstance(call.func, ast.Attribute) and _is_entered(agent, call.func.value)
    if isinstance(call.func, ast.Attribute) and name in _IN_GROUPS and stays(agent, call.func.value, item=True):
        return True
    if name in _LATER:
        return not in_group and _is_dropped(agent, call)
    if started(agent, call):
        return _is_left_running(agent, call)
    return pooled(agent, call) and not in_group and isinstance(agent.module.parent[call], ast.Expr)


def _is_shared_queue(agent: Agent, call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and bool(stays(agent, call.func.value, item=True))


def _is_entered(agent: Agent, node: ast.expr) -> bool:
    """Return whether it is a group of tasks, or a pool, that a ``with`` block waits for."""
    bindings = agent.module.bindings(node)[1] if isinstance(node, ast.Name) else []
    return any(binding.how == "enter" for binding in bindings)


def _is_dropped(agent: Agent, call: ast.Call) -> bool:
    """Return whether a task is only kept from garbage collection, or not even that."""
    above = agent.module.parent[call]
    if isinstance(above, ast.Expr):
        return True
    if not isinstance(above, ast.Assign) or not isinstance(above.targets[0], ast.Name):
        return False
    uses = list(_uses(agent, above.targets[0]))
    return all(_only_kept(agent, use) for use in uses)


def _only_kept(agent: Agent, use: ast.Name) -> bool:
    above = agent.module.parent[use]
    if isinstance(above, ast.Attribute):
        return above.attr in ("add_done_callback", "set_name")
    return (
        isinstance(above, ast.Call)
        and isinstance(above.func, ast.Attribute)
        and above.func.attr in PUTS
        and bool(stays(agent, above.func.value, item=True))
    )


def _is_left_running(agent: Agent, call: ast.Call) -> bool:
    """Return whether a thread is started and never joined."""
    above = agent.module.parent[call]
    if isinstance(above, ast.Attribute):
        return above.attr == "start"
    if not isinstance(above, ast.Assign) or not isinstance(above.targets[0], ast.Name):
        return False
    uses = [agent.module.parent[use] for use in _uses(agent, above.targets[0])]
    return all(isinstance(item, ast.Attribute) and item.attr in ("daemon", "name", "start") for item in uses)


def _uses(agent: Agent, target: ast.Name) -> Iterator[ast.Name]:
    function = agent.module.function_of(target)
    for node in walk(function) if function is not None else ():
        if isinstance(node, ast.Name) and node.id == target.id and isinstance(node.ctx, ast.Load):
            yield node
