"""Find the agent's own client behind the user's: as the next of several candidates, or asked once more after the user's."""

from __future__ import annotations

import ast
import builtins
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Final, TypeAlias

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._clients import Env, is_header
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._scopes import FUNCTIONS, TRIES, walk
from obo_kit.analysis.check._vocabulary import SEARCH, TOKEN, Value, arguments, last

__all__ = ["ACTS", "asked", "held_in", "next_candidates", "repeated", "requests_for_user"]

ACTS: Final = frozenset({"Connection", "WorkspaceClient", "strategy", TOKEN} | SEARCH)
# Methods of HTTP clients that send a request.
_ASKS: Final = frozenset({"delete", "get", "patch", "post", "put", "request", "send", "stream"})
_HTTP_CLIENTS: Final = frozenset({"aiohttp.ClientSession", "httpx.AsyncClient", "httpx.Client", "requests.Session"})
# Names of functions and methods that ask nobody, and are called so often that looking at each costs time.
_SEND_NOTHING: Final = frozenset(dir(builtins)).union(
    ("", *dir(str), *dir(list), *(name for name in dir(dict) if name != "get")),
    ("add", "debug", "dumps", "error", "exception", "getLogger", "getenv", "info", "loads", "sleep", "time", "warning"),
)
_BRANCHES = (ast.If, ast.IfExp)
_ENDS = (ast.Return, ast.Break, ast.Continue)
_Whose: TypeAlias = "tuple[str, set[tuple[str, tuple[str, ...]]]]"


def held_in(agent: Agent, module: Module, node: ast.expr, env: Env) -> list[Value]:
    """Return the clients and tokens that a value is, or that the headers of a request bring."""
    if isinstance(node, (ast.Constant, ast.Lambda, ast.Compare)):
        return []
    values = [value for value in agent.reader.values(module, node, env) if not value.path]
    if values:
        return values
    for home, meant, inner in agent.reader.meanings(module, node, env):
        match meant:
            case ast.Dict(values=parts):
                values += [value for part in parts for value in _tokens(agent, home, part, inner)]
            case ast.Call(func=func) if home.dotted(func) == "builtins.dict":
                values += [value for part in arguments(meant) for value in _tokens(agent, home, part, inner)]
            case _:
                pass
    return values


def requests_for_user(agent: Agent, call: ast.Call) -> bool:
    """Return whether a call sends an HTTP request with the user's token."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else last(agent.module.dotted(call.func))
    if name not in _ASKS:
        return False
    sent = [item.value for item in call.keywords if item.arg in ("auth", "headers")]
    users = any(value.who == "user" for part in sent for value in held_in(agent, agent.module, part, {}))
    return (users or _is_with_token(agent, call.func)) and not agent.reader.values(agent.module, call)


def _is_with_token(agent: Agent, func: ast.expr) -> bool:
    """Return whether it is a method of an HTTP client that was made with the user's token in its headers."""
    name = func.value if isinstance(func, ast.Attribute) else None
    for binding in agent.module.bindings(name)[1] if isinstance(name, ast.Name) else ():
        made = binding.value if binding.how in ("enter", "value") else None
        if isinstance(made, ast.Call) and agent.module.dotted(made.func) in _HTTP_CLIENTS:
            held = agent.reader.held(agent.module, made)
            return held is not None and held.what == TOKEN
    return False


def _tokens(agent: Agent, module: Module, node: ast.expr, env: Env) -> list[Value]:
    return [value for value in held_in(agent, module, node, env) if value.what == TOKEN]


# --- candidates -----------------------------------------------------------------------------------------------------------


def next_candidates(agent: Agent) -> Iterator[tuple[ast.expr, str]]:
    """Yield the agent's own among candidates of which the first that works is taken, or one by a key, and what it is."""
    module = agent.module
    loops: list[ast.For | ast.AsyncFor] = [*module.of(ast.For), *module.of(ast.AsyncFor)]
    for loop in loops:
        if isinstance(loop.target, ast.Name) and any(isinstance(inner, _ENDS[:2]) for inner in walk(loop)):
            yield from _behind_user(agent, loop.iter, _uses(loop, loop.target.id))
    for several in module.of(ast.comprehension):
        made = module.parent[several]
        if isinstance(several.target, ast.Name) and _takes_first(module, made):
            yield from _behind_user(agent, several.iter, _uses(made, several.target.id))
    for call in module.calls:
        if (drawn := _drawn_from(module, call)) is not None:
            yield from _behind_user(agent, drawn, [])
    for chosen in module.of(ast.Subscript):
        if isinstance(chosen.ctx, ast.Load) and not isinstance(chosen.slice, (ast.Constant, ast.Slice)):
            yield from _by_key(agent, chosen)


def _drawn_from(module: Module, call: ast.Call) -> ast.expr | None:
    """Return what ``next(…)`` draws from, or a ``filter`` of which the first is taken."""
    name = module.dotted(call.func)
    if name == "builtins.next" and call.args:
        return call.args[0]
    return call.args[1] if name == "builtins.filter" and len(call.args) == 2 and _takes_first(module, call) else None


def _uses(place: ast.AST, name: str) -> list[ast.expr]:
    return [node for node in ast.walk(place) if isinstance(node, ast.Name) and node.id == name]


def _takes_first(module: Module, node: ast.AST) -> bool:
    match module.parent[node]:
        case ast.Call(func=func, args=[first, *_]) if first is node:
            return module.dotted(func) == "builtins.next"
        case ast.Subscript(slice=ast.Constant(value=0)):
            return True
        case _:
            return False


def _behind_user(agent: Agent, several: ast.expr, uses: list[ast.expr]) -> Iterator[tuple[ast.expr, str]]:
    for call in _calls_with_rest(agent, several):
        yield from _own_behind([(part, _as_used(agent, part, uses)) for part in call.args])
    called = agent.reader.called(agent.module, several.func) if isinstance(several, ast.Call) else None
    if called is not None and called[0] is agent.module:
        steps = [step.value for step in agent.module.yields(called[1]) if step.value is not None]
        yield from _own_behind([(part, _as_used(agent, part, uses)) for part in steps])
    for home, meant, _ in agent.reader.meanings(agent.module, several, {}):
        if isinstance(meant, (ast.List, ast.Tuple)) and home is agent.module:
            yield from _own_behind([(part, _as_used(agent, part, uses)) for part in meant.elts])


def _calls_with_rest(agent: Agent, several: ast.expr) -> list[ast.Call]:
    """Return the calls in the file whose arguments ``*several`` stands for."""
    bindings = agent.module.bindings(several)[1] if isinstance(several, ast.Name) else []
    functions = [agent.module.parent.get(binding.node) for binding in bindings if isinstance(binding.node, ast.arg)]
    return [
        call
        for binding, function in zip(bindings, functions, strict=False)
        if isinstance(function, FUNCTIONS) and function.args.vararg is binding.node
        for home, call in agent.reader.callers(function)
        if home is agent.module
    ]


def _own_behind(values: list[tuple[ast.expr, list[Value]]]) -> Iterator[tuple[ast.expr, str]]:
    users = [number for number, (_, each) in enumerate(values) if any(value.who == "user" for value in each)]
    yield from _own_among(values[users[0] :] if users else [])


def _by_key(agent: Agent, chosen: ast.Subscript) -> Iterator[tuple[ast.expr, str]]:
    """Find ``{True: user_client, False: own_client}[bool(token)]``."""
    for home, meant, _ in agent.reader.meanings(agent.module, chosen.value, {}):
        if home is agent.module and _is_about_user(agent, chosen.slice):
            parts: list[ast.expr] = getattr(meant, "values" if isinstance(meant, ast.Dict) else "elts", [])
            yield from _own_among([(part, _as_used(agent, part, [chosen])) for part in parts])


def _own_among(values: list[tuple[ast.expr, list[Value]]]) -> Iterator[tuple[ast.expr, str]]:
    kinds = {value.what for _, each in values for value in each if value.who == "user"} & ACTS
    for part, each in values:
        if own := {value.what for value in each if value.who == "agent"} & kinds:
            yield part, "token" if TOKEN in own else "client"


def _is_about_user(agent: Agent, node: ast.expr, depth: int = 0) -> bool:
    """Return whether a key is chosen by the user's token: ``bool(token)``, ``"user" if HEADER in headers else "app"``."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and is_header(part.value):
            return True
        if isinstance(part, ast.expr) and any(value.who == "user" for value in agent.reader.values(agent.module, part)):
            return True
        if isinstance(part, ast.Name) and depth < 2:
            bindings = agent.module.bindings(part)[1]
            values = [binding.value for binding in bindings if binding.how == "value"]
            if any(isinstance(value, ast.expr) and _is_about_user(agent, value, depth + 1) for value in values):
                return True
    return False


def _as_used(agent: Agent, node: ast.expr, uses: Iterable[ast.expr]) -> list[Value]:
    """Return what a candidate is, or what it gives: a function when it is called, an object by the method that is called."""
    module, reader = agent.module, agent.reader
    values = held_in(agent, module, node, {})
    for use in uses if not values else ():
        match module.parent[use]:
            case ast.Call(func=func) if func is use and (called := reader.called(module, node)) is not None:
                values += reader.returned(*called, {})
            case ast.Attribute(attr=name) as method if (made := reader.made_of(module, node)) is not None:
                above = module.parent[method]
                for binding in made[0].body[made[1]].names.get(name, []):
                    if isinstance(binding.value, FUNCTIONS) and isinstance(above, ast.Call):
                        values += reader.returned(made[0], binding.value, {})
            case _:
                pass
    return values


# --- asked again ----------------------------------------------------------------------------------------------------------


def repeated(agent: Agent) -> Iterator[ast.Call]:
    """Yield the calls for the agent that repeat one for the user which failed, or gave nothing."""
    by_name: defaultdict[str, list[ast.Call]] = defaultdict(list)
    for call in agent.module.calls:
        by_name[_name_of(call.func)].append(call)
    for alike in (calls for name, calls in by_name.items() if len(calls) > 1 and name not in _SEND_NOTHING):
        whose = {call: asked(agent, call) for call in alike}
        if {who for who, _ in whose.values()} >= {"agent", "user"}:
            yield from _repeated_among(agent, whose)


def _repeated_among(agent: Agent, whose: Mapping[ast.Call, _Whose]) -> Iterator[ast.Call]:
    users = {call for call, (who, _) in whose.items() if who == "user"}
    for call, (who, what) in whose.items():
        if who == "agent" and any(
            before in users and whose[before][1] & what and (sure or _alike(before, call))
            for before, sure in _before(agent.module, call)
        ):
            yield call


def _name_of(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def asked(agent: Agent, call: ast.Call) -> _Whose:
    """Return for whom a call asks, and what: a method of a client's, or a function that receives a client or token."""
    values = agent.reader.values(agent.module, call.func)
    what = {(value.what, value.path) for value in values if value.path}
    whose = {value.who for value in values if value.path}
    if not values and not agent.module.dotted(call.func).startswith("builtins."):
        if agent.reader.values(agent.module, call):
            return "", set()  # it makes a client
        passed = [value for part in arguments(call) for value in held_in(agent, agent.module, part, {})]
        what, whose = {(ast.unparse(call.func), ())}, {value.who for value in passed if value.what in ACTS}
    return (whose.pop() if len(whose) == 1 else "", what)


def _before(module: Module, call: ast.Call) -> Iterator[tuple[ast.Call, bool]]:
    """Yield the calls whose failure leads to a call, and whether that is sure: an error, or what they returned."""
    below: ast.AST = call
    for above in module.ancestors(call):
        if isinstance(above, FUNCTIONS):
            return
        if isinstance(above, ast.ExceptHandler):
            tried = module.parent[above]
            body = tried.body if isinstance(tried, TRIES) else []
            yield from ((node, True) for part in body for node in _calls(part))
        else:
            answers = [*_unsatisfying(above, below), *_passed_over(above, below)]
            yield from ((node, False) for answer in answers for node in _calls_behind(module, answer))
        below = above


def _unsatisfying(above: ast.AST, below: ast.AST) -> Iterator[ast.expr]:
    """Yield the conditions, and the values of an ``or``, that lead to a place by what they lack."""
    if isinstance(above, _BRANCHES) and below is not above.test:
        in_body = below is above.body or (isinstance(above.body, list) and below in above.body)
        if _is_failure(above.test) is in_body:
            yield above.test
    elif isinstance(above, ast.BoolOp) and isinstance(above.op, ast.Or):
        yield from takewhile(lambda part: part is not below, above.values)


def _passed_over(above: ast.AST, below: ast.AST) -> Iterator[ast.expr]:
    """Yield the condition of ``if answer.ok: return …`` that stands before a statement."""
    for block in (getattr(above, name, None) for name in ("body", "orelse", "finalbody")):
        if isinstance(block, list) and below in block:
            for earlier in takewhile(lambda part: part is not below, block):
                if (
                    isinstance(earlier, ast.If)
                    and isinstance(earlier.body[-1], _ENDS)
                    and not _is_failure(earlier.test)
                ):
                    yield earlier.test


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def _calls_behind(module: Module, node: ast.expr) -> Iterator[ast.Call]:
    """Yield the calls in an expression, and those whose results its names stand for."""
    yield from _calls(node)
    for name in (inner for inner in ast.walk(node) if isinstance(inner, ast.Name)):
        for binding in module.bindings(name)[1]:
            if binding.how in ("value", "enter") and binding.value is not None:
                yield from _calls(binding.value)


def _is_failure(test: ast.expr) -> bool:
    """Return whether a condition holds when a call was refused, or gave nothing."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _is_failure(inner)
        case ast.BoolOp(values=parts):
            return any(_is_failure(part) for part in parts)
        case ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant(value=int(code))]):
            return code == 0 or code >= 400
        case ast.Compare(ops=[ast.Eq() | ast.In()], comparators=[other]):
            return "OK" not in ast.unparse(other) and "200" not in ast.unparse(other)
        case ast.Compare(ops=[ast.Is() | ast.NotEq() | ast.GtE() | ast.Gt()]):
            return not (isinstance(test.ops[0], ast.Gt) and ast.unparse(test.comparators[0]) == "0")
        case _:
            return False


def _alike(first: ast.Call, second: ast.Call) -> bool:
    """Return whether two calls ask for the same: what tells who asks is left out."""
    these, those = arguments(first), arguments(second)
    if len(these) != len(those):
        return False
    return not these or any(
        ast.unparse(first_part) == ast.unparse(other) for first_part, other in zip(these, those, strict=True)
    )
