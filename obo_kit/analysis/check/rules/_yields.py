"""OBO111: a `with` block that names the user, around a `yield`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._clients import ENTERS
from obo_kit.analysis.check._scopes import Function
from obo_kit.analysis.check._vocabulary import kit_name, last
from obo_kit.analysis.check.rules._table import Hit, rule, text_of

__all__: list[str] = []

# Decorators that step a generator to enter a context or to set up a fixture. The code that it yields to belongs inside.
_MANAGERS: Final = frozenset({"asynccontextmanager", "contextmanager", "fixture"})


@rule(
    "OBO111",
    "A session is held across a `yield`",
    why="The block applies only while the generator's own code runs. Between its steps there is no user: not for the code that "
    "consumes the stream, and not for threads and tasks that a later step starts. If nobody finishes the stream, its session "
    "stays open.",
    fix="Put `@user_session(headers=lambda request: request.headers)` on the generator. For a FastAPI dependency, use "
    "`Depends(user_dependency())` of `obo_kit.integrations.fastapi`.",
)
def _held_across_yield(agent: Agent) -> Iterator[Hit]:
    for function in agent.module.functions:
        steps = agent.module.yields(function)
        if not steps or _is_stepped_inside(agent, function, steps):
            continue
        for call in _opened(agent, function):
            block = _block(agent, call)
            inside = [step for step in steps if block is None or block in agent.module.ancestors(step)]
            if any(not _is_closed(agent, function, call, step) for step in inside):
                yield Hit(node=call, message=f"`{text_of(call)}` is held across a `yield` of this generator.")


def _opened(agent: Agent, function: Function) -> Iterator[ast.Call]:
    """Yield the calls that open a session in a function, as a block or on a stack of blocks."""
    module = agent.module
    for node in module.inside(function, ast.Call):
        if kit_name(module, node.func) == "user_session":
            above = module.parent[node]
            stacked = above.func if isinstance(above, ast.Call) else None
            if isinstance(above, ast.withitem) or (isinstance(stacked, ast.Attribute) and stacked.attr in ENTERS):
                yield node


def _is_closed(agent: Agent, function: Function, call: ast.Call, step: ast.expr) -> bool:
    """Return whether the stack that holds a session is closed before a step: ``stack.close()``."""
    above = agent.module.parent[call]
    stack = above.func.value if isinstance(above, ast.Call) and isinstance(above.func, ast.Attribute) else None
    closes = (
        inner
        for inner in agent.module.inside(function, ast.Call)
        if isinstance(inner.func, ast.Attribute) and inner.func.attr in ("close", "aclose")
        if stack is not None and ast.unparse(inner.func.value) == ast.unparse(stack)
    )
    return any(call.lineno < inner.lineno < step.lineno for inner in closes)


def _block(agent: Agent, call: ast.Call) -> ast.AST | None:
    """Return the ``with`` that a session is opened in: its own, or that of the stack, if the function contains it."""
    for above in agent.module.ancestors(call):
        if isinstance(above, (ast.With, ast.AsyncWith)):
            return above
        if isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return None
    return None


def _is_stepped_inside(agent: Agent, function: Function, steps: list[ast.Yield | ast.YieldFrom]) -> bool:
    """Return whether the function makes a context manager, a fixture or a FastAPI dependency, or has its own session."""
    if isinstance(function, ast.Lambda):
        return True
    decorators = [
        decorator.func if isinstance(decorator, ast.Call) else decorator for decorator in function.decorator_list
    ]
    if any(last(agent.module.dotted(item)) in _MANAGERS for item in decorators):
        return True
    if isinstance(function, ast.AsyncFunctionDef) and len(steps) == 1 and _yields_what_it_opened(agent, steps[0]):
        return True  # FastAPI runs an async dependency in the endpoint's own context
    return "user_session" in agent.reader.facts(agent.module, function).kit


def _yields_what_it_opened(agent: Agent, step: ast.Yield | ast.YieldFrom) -> bool:
    if isinstance(step.value, ast.Name):
        return any(binding.how == "enter" for binding in agent.module.bindings(step.value)[1])
    return step.value is None
