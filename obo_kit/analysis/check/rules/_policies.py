"""OBO4: the policy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._options import options_of
from obo_kit.analysis.check._scopes import TRIES, Function
from obo_kit.analysis.check._vocabulary import last
from obo_kit.analysis.check.rules._table import Hit, rule, text_of

__all__: list[str] = []

# What is inside of these may not run.
_MAY = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.Match, *TRIES)


@rule(
    "OBO401",
    "System authorization for a resource that is declared per user",
    why="With both in the policy, the agent may reach the resource for every user, even for one without access. Nothing says "
    "which of the two you meant.",
    fix="Choose one: `requires_scopes` if each user's own permission counts, `system_resources` if all users share the "
    "agent's.",
)
def _both_ways(agent: Agent) -> Iterator[Hit]:
    per_user = {declaration.same_as: declaration for declaration in agent.everywhere if declaration.same_as is not None}
    twice = [item for module, _, item in agent.system if module is agent.module and item.same_as in per_user]
    for each in twice:
        yield Hit(node=each.node, message=f"{each.title} is also declared for the user, with `requires_scopes`.")
    if twice:
        return
    system = {entry.same_as for *_, entry in agent.system if entry.same_as is not None}
    for facts in agent.reader.tools(agent.module):
        for require in (part for call in facts.requires for part in agent.declared(call)):
            if require.same_as in system:
                yield Hit(node=require.node, message=f"{require.title} is also a system resource.")


@rule(
    "OBO402",
    "`resources=` beside `auth_policy=`",
    why="MLflow refuses the two together when the model is logged.",
    fix="Put the resources into the policy's `SystemAuthPolicy`, or log with `obo_kit.log_model`, which joins them.",
)
def _resources_beside_policy(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        passed = _logs_with(module, call, surely=True)
        if passed is not None and {"resources", "auth_policy"} <= passed.keys():
            yield Hit(node=call, message=f"`{text_of(call.func)}` gets both `resources=` and `auth_policy=`.")


@rule(
    "OBO403",
    "An agent that acts for its user is logged without a policy",
    why="Without `auth_policy=`, Model Serving gives the agent no user's token: every tool is refused after deployment.",
    fix='Log with `obo_kit.log_model(…)`, which collects the policy, or pass `auth_policy=obo_kit.auth_policy("agent.py")`.',
)
def _no_policy(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        passed = _logs_with(module, call)
        if passed is None or "auth_policy" in passed or options_of(module, call) is None or _is_partial(module, call):
            continue  # a partial call is judged where it is completed
        logged = _logged(agent, passed.get("python_model"))
        if logged is not None and _acts_for_user(agent, logged):
            yield Hit(
                node=call,
                message=f"`{text_of(call.func)}` logs '{logged.path.name}', which acts for the user, without a policy.",
            )


def _logged(agent: Agent, model: ast.expr | None) -> Module | None:
    """Return the module of the agent that is logged: a file, or the module that defines its object's class."""
    path = _path_of(agent.module, model)
    if path is not None:
        return agent.beside(path) if path.endswith(".py") else None
    origin = agent.module.origin(model) if model is not None else None
    if isinstance(model, ast.Name) and origin is None:
        origin = next((home.origin(passed) for home, passed in agent.reader.handed_as(agent.module, model)), None)
    if isinstance(origin, tuple) and isinstance(origin[1], ast.Call):
        origin = origin[0].origin(origin[1].func)
    return origin[0] if isinstance(origin, tuple) and isinstance(origin[1], (ast.ClassDef, ast.FunctionDef)) else None


def _path_of(module: Module, node: ast.expr | None) -> str | None:
    """Return the path of a file as far as the source tells: ``HERE / "agent.py"``, ``os.path.join(here, "agent.py")``."""
    text = module.text_of(node)
    origin = module.origin(node) if node is not None else None
    if text is not None or not isinstance(origin, tuple):
        return text.rpartition("{}/")[2] if text is not None else None
    home, value = origin
    match value:
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            parts = [_path_of(home, left), _path_of(home, right)]
        case ast.Call(func=func, args=arguments) if last(home.dotted(func)) in _PATHS:
            parts = [_path_of(home, argument) for argument in arguments]
        case ast.Call(func=ast.Attribute(value=inner, attr="as_posix" | "resolve")):
            parts = [_path_of(home, inner)]
        case _:
            return None
    return "/".join(part for part in parts if part) or None


_PATHS: Final = frozenset({"Path", "PurePath", "abspath", "join", "realpath", "str"})


def _acts_for_user(agent: Agent, module: Module) -> bool:
    """Return whether a module has tools of the kit's, or follows the platform's recipe."""
    return any(
        agent.reader.tools(home)
        or any(
            value.what == "strategy" and value.who == "user"
            for node in (*home.calls, *home.of(ast.Attribute))
            if home.function_of(node) in functions
            for value in agent.reader.values(home, node)
        )
        for home, functions in _runs(agent, module).items()
    )


def _runs(agent: Agent, module: Module) -> dict[Module, set[Function]]:
    """Return the functions of a module, and those of helper modules that they call."""
    agent.reader.take(module)
    runs: dict[Module, set[Function]] = {module: set(module.functions)}
    pending = [(module, function) for function in module.functions]
    while pending:
        home, function = pending.pop()
        for call in home.inside(function, ast.Call):
            called = agent.reader.called(home, call.func)
            if called is not None and called[1] not in runs.setdefault(called[0], set()):
                runs[called[0]].add(called[1])
                pending.append(called)
    return runs


def _logs_with(module: Module, call: ast.Call, *, surely: bool = False) -> dict[str, ast.expr] | None:
    """Return the arguments that a call of MLflow's ``log_model`` or ``save_model`` may have, or those that it always has."""
    home, func, partial = _behind_partial(module, call)
    dotted = home.dotted(func)
    if dotted.partition(".")[0] != "mlflow" or last(dotted) not in ("log_model", "save_model"):
        return None
    passed = _logs_with(home, partial, surely=surely) or {} if partial is not None else {}
    around = set(module.ancestors(call))
    for options in options_of(module, call) or ():
        if not surely or around.issuperset(
            above for above in module.ancestors(options.place) if isinstance(above, _MAY)
        ):
            passed |= options.keywords
    passed |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
    return {name: value for name, value in passed.items() if not _is_none(value)}


def _behind_partial(module: Module, call: ast.Call) -> tuple[Module, ast.AST, ast.Call | None]:
    """Return the function that a call runs, and the call of ``functools.partial`` that made it, if any."""
    if _is_partial(module, call):
        return module, call.args[0], None
    origin = module.origin(call.func)
    match origin:
        case (home, ast.Call() as partial) if _is_partial(home, partial):
            return home, partial.args[0], partial
        case _:
            return module, call.func, None


def _is_partial(module: Module, call: ast.Call) -> bool:
    return module.dotted(call.func) == "functools.partial" and bool(call.args)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
