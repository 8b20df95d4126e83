"""OBO2: refusals."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._scopes import TRIES, walk
from obo_kit.analysis.check._vocabulary import BUILT_ON, CLIENTS, TOKEN, arguments, kit_name, last
from obo_kit.analysis.check.rules._places import PUTS
from obo_kit.analysis.check.rules._table import MODELS, Hit, rule, text_of, tool_called

__all__: list[str] = []


_BROAD: Final = frozenset({"builtins.BaseException", "builtins.Exception"})


@rule(
    "OBO201",
    "A broad `except` hides refusals together with bugs",
    why="`except Exception` around a call for the user makes one answer of a refusal, a bug and an outage. Nobody learns "
    "which scope or grant is missing.",
    fix="Leave it out and put `@optional_tool(fallback=…)` on the tool: it forgives denials alone. Or ask "
    "`obo_kit.explain(error)`, and raise what it does not explain.",
)
def _broad_except(agent: Agent) -> Iterator[Hit]:
    for body, place, tells in _caught(agent.module):
        called = _call_for_user(agent, body)
        if called is not None:
            what = "are answered here in the same way as bugs" if tells else "are swallowed here, with bugs"
            yield Hit(node=place or called, message=f"Refusals of `{text_of(called.func)}` {what}.")


def _caught(module: Module) -> Iterator[tuple[list[ast.stmt], ast.expr | None, bool]]:
    """The blocks whose errors are all caught, what says so, and whether somebody is told which error it was."""
    for tried in (one for kind in dict.fromkeys(TRIES) for one in module.of(kind)):
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
    return named and any(module.dotted(one) in _BROAD for one in call.args)


def _tells(module: Module, handler: ast.ExceptHandler) -> bool:
    """Whether a handler says what it caught: by its name, or in a log with the traceback."""
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
    """Whether an argument is the user's client itself, for somebody to use."""
    values = agent.reader.values(agent.module, node)
    return any(one.who == "user" and (one.what in CLIENTS or one.what in BUILT_ON) and not one.path for one in values)


def _is_broad(module: Module, handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(module.dotted(one) in _BROAD for one in kinds)


def _looks_closer(module: Module, handler: ast.ExceptHandler) -> bool:
    """Whether a handler raises something, asks what it caught, or keeps it for who raises it later."""
    inside = [one for statement in handler.body for one in (statement, *walk(statement))]
    return (
        any(isinstance(one, ast.Raise) for one in inside)
        or any(isinstance(one, ast.Call) and kit_name(module, one.func) == "explain" for one in inside)
        or _decides_by_error(module, handler, inside)
    )


def _decides_by_error(module: Module, handler: ast.ExceptHandler, inside: list[ast.AST]) -> bool:
    """Whether a condition is about the error, or about its text."""
    if handler.name is None:
        return False
    told = {handler.name}
    for one in inside:
        if isinstance(one, ast.Assign) and _names(one.value) & told:
            told |= {target.id for target in one.targets if isinstance(target, ast.Name)}
    tests = [one.test for one in inside if isinstance(one, (ast.If, ast.IfExp))]
    function = module.function_of(handler)
    raised = [one.exc for one in module.inside(function, ast.Raise) if isinstance(one.exc, ast.Name)]
    return any(_names(test) & told for test in tests) or any(one.id in told for one in raised)


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _call_for_user(agent: Agent, body: list[ast.stmt]) -> ast.Call | None:
    """A call in these statements that a refusal may come from, and that does not forgive it itself."""
    for statement in body:
        for node in (statement, *walk(statement, into_functions=False)):
            if isinstance(node, ast.Call) and _may_be_refused(agent, node):
                return node
    return None


def _may_be_refused(agent: Agent, call: ast.Call) -> bool:
    values = agent.reader.values(agent.module, call.func)
    if any(one.who == "user" and one.path and one.path[0] not in ("config", "get") for one in values):
        return True
    facts = tool_called(agent, call)
    if facts is not None:
        return "with_user_client" in facts.kit and "optional_tool" not in facts.kit
    if isinstance(call.func, ast.Attribute) and call.func.attr in PUTS:
        return False  # it goes into a list
    named = agent.module.dotted(call.func)
    if last(named) in MODELS or named.startswith("builtins."):
        return False
    return _is_handed(agent, call) and agent.reaches_out(call)


def _is_handed(agent: Agent, call: ast.Call) -> bool:
    """Whether a call is handed the user's client, or a helper of one's own the token to make one."""
    own = agent.reader.called(agent.module, call.func) is not None
    return any(_is_client(agent, one) or (own and _is_token(agent, one)) for one in arguments(call))


def _is_token(agent: Agent, node: ast.expr) -> bool:
    values = agent.reader.values(agent.module, node)
    return any(one.who == "user" and one.what == TOKEN and not one.path for one in values)
