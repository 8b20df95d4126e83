"""OBO2: refusals."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._functions import Facts
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._ownership import looked_up_in
from obo_kit.analysis.check._scopes import TRIES, walk
from obo_kit.analysis.check._vocabulary import BUILT_ON, CLIENTS, TOKEN, arguments, kit_name, last
from obo_kit.analysis.check.rules._again import requests_for_user
from obo_kit.analysis.check.rules._places import PUTS
from obo_kit.analysis.check.rules._table import MODELS, Hit, rule, text_of, tool_called

__all__: list[str] = []

# They call what they are handed in a thread, and raise what it raises.
_IN_THREAD: Final = frozenset({"run_in_threadpool", "run_sync", "to_thread"})

# What asks for nothing, or for what was granted before: a connection is refused when it is made, rows when they are asked for.
_REFUSED_NOTHING: Final = frozenset({"close", "commit", "config", "cursor", "get", "rollback"}).union(
    ("fetchall", "fetchall_arrow", "fetchmany", "fetchmany_arrow", "fetchone")
)
_BROAD: Final = frozenset({"builtins.BaseException", "builtins.Exception"})


@rule(
    "OBO201",
    "A broad `except` hides refusals together with bugs",
    why="`except Exception` around a call for the user gives one answer to a refusal, a bug and an outage. Nobody learns which "
    "scope or grant is missing.",
    fix="Remove it and put `@optional_tool(fallback=…)` on the tool, which forgives only denials. Or call "
    "`obo_kit.explain(error)`, and raise what it does not explain.",
)
def _broad_except(agent: Agent) -> Iterator[Hit]:
    for body, place, tells in _caught(agent.module):
        called = _call_for_user(agent, body)
        if called is not None:
            what = "are answered here in the same way as bugs" if tells else "are swallowed here, with bugs"
            asked = called.args[0] if _runs_in_thread(agent, called) else called.func
            yield Hit(node=place or called, message=f"Refusals of `{text_of(asked)}` {what}.")
    for gathered in agent.module.calls:
        if agent.module.dotted(gathered.func) == "asyncio.gather" and _drops_errors(agent.module, gathered):
            called = next((call for call in _gathered(agent.module, gathered) if _may_be_refused(agent, call)), None)
            if called is not None:
                text = text_of(called.args[0] if _runs_in_thread(agent, called) else called.func)
                yield Hit(node=gathered.func, message=f"Refusals of `{text}` are swallowed here, with bugs.")


def _drops_errors(module: Module, gathered: ast.Call) -> bool:
    """Return whether ``gather(…, return_exceptions=True)`` hands errors to code that never looks at them."""
    wanted = [keyword.value for keyword in gathered.keywords if keyword.arg == "return_exceptions"]
    if not any(isinstance(value, ast.Constant) and value.value is True for value in wanted):
        return False
    above = [node for node in module.ancestors(gathered) if not isinstance(node, ast.Await)]
    match above[0]:
        case ast.Expr():
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            uses = _uses(module, gathered, name)
            return all(_filters_errors_out(module, use) for use in uses) and len(uses) <= 1
        case ast.comprehension() as loop:
            return _forgets(loop)
    return False


def _uses(module: Module, place: ast.AST, name: str) -> list[ast.Name]:
    """Return where a name is read, in the function of a place and inside of it."""
    around = module.function_of(place) or module.tree
    return [
        node
        for node in ast.walk(around)
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
    ]


def _filters_errors_out(module: Module, results: ast.Name) -> bool:
    beside = (node for node in module.ancestors(results) if not isinstance(node, ast.Call))  # ``zip(names, results)``
    above = next(beside)
    return isinstance(above, ast.comprehension) and _forgets(above)


def _forgets(loop: ast.comprehension) -> bool:
    """Return whether a comprehension leaves out what is an error: ``if not isinstance(answer, Exception)``."""
    return any(
        isinstance(test, ast.UnaryOp)
        and isinstance(test.op, ast.Not)
        and isinstance(test.operand, ast.Call)
        and ast.unparse(test.operand.func) == "isinstance"
        for test in loop.ifs
    )


def _gathered(module: Module, gathered: ast.Call) -> Iterator[ast.Call]:
    """Yield the calls that ``gather`` waits for, also those of a list that has a name."""
    for argument in gathered.args:
        parts: list[ast.AST] = [argument]
        if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.Name):
            parts += [binding.value for binding in module.bindings(argument.value)[1] if binding.value is not None]
        yield from (node for part in parts for node in ast.walk(part) if isinstance(node, ast.Call))


def _caught(module: Module) -> Iterator[tuple[list[ast.stmt], ast.expr | None, bool]]:
    """Yield the blocks whose errors are all caught, the code that catches them, and whether it tells which error it was."""
    for tried in (node for kind in dict.fromkeys(TRIES) for node in module.of(kind)):
        for handler in tried.handlers:
            if _is_broad(module, handler) and not _looks_closer(module, handler):
                yield tried.body, handler.type, _tells(module, handler)
    blocks: list[ast.With | ast.AsyncWith] = [*module.of(ast.With), *module.of(ast.AsyncWith)]
    for block in blocks:
        for call in (item.context_expr for item in block.items):
            if isinstance(call, ast.Call) and _suppresses_all(module, call):
                yield block.body, call, False


def _suppresses_all(module: Module, call: ast.Call) -> bool:
    named = module.dotted(call.func) == "contextlib.suppress"
    return named and any(module.dotted(argument) in _BROAD for argument in call.args)


def _tells(module: Module, handler: ast.ExceptHandler) -> bool:
    """Return whether a handler says what it caught: by its name, or in a log with the traceback."""
    for node in (node for statement in handler.body for node in ast.walk(statement)):
        if isinstance(node, ast.Name) and node.id == handler.name:
            return True
        if isinstance(node, ast.Call) and (
            last(module.dotted(node.func)) in ("format_exc", "print_exc")
            or (isinstance(node.func, ast.Attribute) and node.func.attr == "exception")
            or any(keyword.arg == "exc_info" for keyword in node.keywords)
        ):
            return True
    return False


def _is_client(agent: Agent, node: ast.expr) -> bool:
    """Return whether an argument is the user's client itself, for other code to use."""
    values = agent.reader.values(agent.module, node)
    return any(
        value.who == "user" and (value.what in CLIENTS or value.what in BUILT_ON) and not value.path for value in values
    )


def _is_broad(module: Module, handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(module.dotted(kind) in _BROAD for kind in kinds)


def _looks_closer(module: Module, handler: ast.ExceptHandler) -> bool:
    """Return whether a handler raises something, examines what it caught, or keeps it for code that raises it later."""
    inside = [inner for statement in handler.body for inner in (statement, *walk(statement))]
    return (
        any(isinstance(item, ast.Raise) for item in inside)
        or any(isinstance(entry, ast.Call) and kit_name(module, entry.func) == "explain" for entry in inside)
        or _decides_by_error(module, handler, inside)
    )


def _decides_by_error(module: Module, handler: ast.ExceptHandler, inside: list[ast.AST]) -> bool:
    """Return whether a condition is about the error, or about its text."""
    if handler.name is None:
        return False
    error_names = {handler.name}
    for part in inside:
        if isinstance(part, ast.Assign) and _names(part.value) & error_names:
            error_names |= {target.id for target in part.targets if isinstance(target, ast.Name)}
    tests = [item.test for item in inside if isinstance(item, (ast.If, ast.IfExp))]
    function = module.function_of(handler)
    raised = [inner.exc for inner in module.inside(function, ast.Raise) if isinstance(inner.exc, ast.Name)]
    return any(_names(test) & error_names for test in tests) or any(entry.id in error_names for entry in raised)


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _call_for_user(agent: Agent, body: list[ast.stmt]) -> ast.Call | None:
    """Return a call in these statements that may be refused, and that does not forgive it itself."""
    calls = [node for part in body for node in (part, *walk(part, into_functions=False)) if isinstance(node, ast.Call)]
    raises = any(isinstance(call.func, ast.Attribute) and call.func.attr == "raise_for_status" for call in calls)
    refused = (call for call in calls if _may_be_refused(agent, call) or (raises and requests_for_user(agent, call)))
    return next(refused, None)


def _may_be_refused(agent: Agent, call: ast.Call) -> bool:
    if _runs_in_thread(agent, call):
        return _is_method_of_user(agent, call.args[0]) or _asks_by_object(agent, call.args[0])
    if _is_method_of_user(agent, call.func) or _runs_for_user(agent, call.func):
        return True
    if facts := [*_tools_called(agent, call)]:
        return any("with_user_client" in each.kit and "optional_tool" not in each.kit for each in facts)
    if isinstance(call.func, ast.Attribute) and call.func.attr in PUTS:
        return False  # `append` and the like only store it
    named = agent.module.dotted(call.func)
    if last(named) in MODELS or named.startswith("builtins."):
        return False
    return (_is_handed(agent, call) and agent.reaches_out(call)) or _asks_by_object(agent, call.func)


def _tools_called(agent: Agent, call: ast.Call) -> Iterator[Facts]:
    """Yield the tools that a call may run: by their name, or out of a dictionary of the file's, ``TOOLS[name](…)``."""
    if (facts := tool_called(agent, call)) is not None:
        yield facts
    registry = looked_up_in(call.func)
    for home, meant, _ in agent.reader.meanings(agent.module, registry, {}) if registry is not None else ():
        for value in meant.values if isinstance(meant, ast.Dict) else ():
            called = agent.reader.called(home, value)
            if called is not None and (facts := agent.reader.facts(*called)).is_tool:
                yield facts


def _asks_by_object(agent: Agent, func: ast.expr) -> bool:
    """Return whether it is a method that asks for the user, of an object of the project's own that was made with the client."""
    called, reader = agent.reader.called(agent.module, func), agent.reader
    if called is None or called[0].class_of(called[1]) is None or reader.facts(*called).is_tool:
        return False
    if any(called[0].inside(called[1], kind) for kind in TRIES):  # it may answer refusals itself
        return False
    by_name = isinstance(func, ast.Attribute) and getattr(called[1], "name", "") == func.attr
    of_object = func.value if isinstance(func, ast.Attribute) and by_name else func
    made = reader.made_by(agent.module, of_object)
    return made is not None and _is_handed_to(agent, *made) and agent.asks_by(func)


def _runs_in_thread(agent: Agent, call: ast.Call) -> bool:
    return bool(call.args) and last(agent.module.dotted(call.func)) in _IN_THREAD


def _is_method_of_user(agent: Agent, func: ast.expr) -> bool:
    values = agent.reader.values(agent.module, func)
    return any(
        value.who == "user" and value.path and value.what != "strategy" and value.path[0] not in _REFUSED_NOTHING
        for value in values
    )


def _runs_for_user(agent: Agent, func: ast.expr) -> bool:
    """Return whether it is a parameter for code that calls for the user: ``attempt(lambda: client.genie.get_space(space))``."""
    for home, passed in agent.reader.handed_as(agent.module, func) if isinstance(func, ast.Name) else ():
        called = agent.reader.called(home, passed)
        for part in called[0].returns(called[1]) if called is not None and isinstance(called[1], ast.Lambda) else ():
            for inner in ast.walk(part):
                values = agent.reader.values(home, inner.func) if isinstance(inner, ast.Call) else ()
                if any(
                    value.who == "user" and value.path and value.what not in (TOKEN, "strategy") for value in values
                ):
                    return True
    return False


def _is_handed_to(agent: Agent, home: Module, made: ast.Call) -> bool:
    """Return whether an object is made with the user's client, or with a token for one."""
    values = [value for part in arguments(made) for value in agent.reader.values(home, part)]
    return any(value.who == "user" and not value.path for value in values)


def _is_handed(agent: Agent, call: ast.Call) -> bool:
    """Return whether a call receives the user's client, or whether a helper of the project's receives the token for one."""
    passed = arguments(call)
    if any(_is_client(agent, part) for part in passed):
        return True
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    own = agent.reader.called(agent.module, call.func) is not None
    kinds = (TOKEN, "Connection", "Cursor") if own else ("Connection",) if name.startswith("read_sql") else ()
    return any(_is_one_of(agent, part, kinds) for part in passed if kinds)


def _is_one_of(agent: Agent, node: ast.expr, kinds: tuple[str, ...]) -> bool:
    values = agent.reader.values(agent.module, node)
    return any(value.who == "user" and value.what in kinds and not value.path for value in values)
