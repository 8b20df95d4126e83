"""Find helpers and decorators of the author's that take one of their arguments where another fails, or gives nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._scopes import FUNCTIONS, TRIES, Function, walk
from obo_kit.analysis.check._vocabulary import TOKEN, Value, argument, own_class
from obo_kit.analysis.check.rules._again import ACTS, asked, held_in

__all__ = ["handed_second", "models_behind", "providers_behind"]

_Outcome: TypeAlias = "tuple[ast.arg | None, ast.expr]"
"""What a function may return: the parameter that it comes from, as it is or called, and the place."""
_Pair: TypeAlias = "tuple[ast.arg, _Outcome]"
"""A parameter whose value may fail or be nothing, and what is taken then."""


def handed_second(agent: Agent) -> Iterator[tuple[ast.expr, str]]:
    """Yield the agent's own that a helper or a decorator takes where the user's fails, and what it is."""
    known: dict[Function, list[_Pair]] = {}
    for call in agent.module.calls:
        called = agent.reader.called(agent.module, call.func) if call.args or call.keywords else None
        if called is not None and called[1].args.args + called[1].args.kwonlyargs:
            if called[1] not in known:
                known[called[1]] = _second_choices(*called)
            for pair in known[called[1]]:
                yield from _by_helper(agent, call, called, pair)
    for function in agent.module.functions:
        for decorator in [] if isinstance(function, ast.Lambda) else function.decorator_list:
            called = agent.reader.called(agent.module, decorator.func if isinstance(decorator, ast.Call) else decorator)
            if called is not None:
                yield from _by_decorator(agent, function, decorator, *called)
            yield from _by_library(agent, function, decorator)


def _by_library(agent: Agent, function: Function, decorator: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    """Find ``@retry(retry_error_callback=own_client)``."""
    named = argument(decorator, None, "retry_error_callback") if isinstance(decorator, ast.Call) else None
    if named is not None:
        gives = _kinds(agent.reader.returned(agent.module, function, {}), "user") & ACTS
        if kinds := gives & _kinds(_given_by(agent, named), "agent"):
            yield named, _name(kinds)


def models_behind(agent: Agent) -> Iterator[ast.expr]:
    """Yield the agent's own models behind the user's: ``model.with_fallbacks([own])``."""
    for call in agent.module.calls:
        match call:
            case ast.Call(func=ast.Attribute(value=first, attr="with_fallbacks"), args=[ast.List(elts=others), *_]):
                kinds = _kinds(agent.reader.values(agent.module, first), "user")
                for own in others:
                    if kinds & _kinds(agent.reader.values(agent.module, own), "agent"):
                        yield own
            case _:
                pass


# --- objects --------------------------------------------------------------------------------------------------------------


def providers_behind(agent: Agent) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield two objects that a function returns, where one gives the user's client by a method, and the other the agent's."""
    for function in agent.module.functions:
        made = [part for each in agent.module.returns(function) for part in _alternatives(each)]
        offered = [(part, _offers(agent, part)) for part in made if isinstance(part, ast.Call)]
        for first, users in offered:
            for second, own in offered:
                if any((name, "user", what) in users for name, who, what in own if who == "agent"):
                    yield first, second


def _alternatives(node: ast.expr) -> Iterator[ast.expr]:
    parts = (
        [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values if isinstance(node, ast.BoolOp) else []
    )
    for part in parts:
        yield from _alternatives(part)
    if not parts:
        yield node


def _offers(agent: Agent, made: ast.Call) -> set[tuple[str, str, str]]:
    """Return what one of the project's own objects was made with, and what its methods give: the name, whose, and what."""
    own = own_class(agent.module, made.func)
    if own is None:
        return set()
    passed = [*enumerate(made.args), *((keyword.arg, keyword.value) for keyword in made.keywords)]
    fields = {
        (str(name), value.who, value.what)
        for name, part in passed
        for value in agent.reader.values(agent.module, part)
        if value.what in ACTS and not value.path
    }
    methods = [item for item in own[1].body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return fields | {
        (method.name, value.who, value.what)
        for method in methods
        for value in agent.reader.returned(own[0], method, {})
        if value.what in ACTS and not value.path
    }


def _by_helper(
    agent: Agent, call: ast.Call, called: tuple[Module, Function], pair: _Pair
) -> Iterator[tuple[ast.expr, str]]:
    """Find what a helper takes where an argument fails: another argument, or what it makes itself."""
    (home, helper), (first, (parameter, place)) = called, pair
    passed = agent.reader.passed(home, helper, call)
    if parameter is None:
        user_s = passed.get(first)
        own = _kinds(held_in(agent, home, place, {}), "agent") if user_s is not None and home is agent.module else set()
        if user_s is not None and (kinds := own & _kinds(_given_by(agent, user_s), "user") & ACTS):
            yield place, _name(kinds)
        return
    several = call.args[len(helper.args.args) :] if parameter is first else [passed.get(first), passed.get(parameter)]
    candidates = [part for part in several if part is not None]
    for number, user_s in enumerate(candidates):
        for own_part in candidates[number + 1 :]:
            if what := _takes_place(agent, user_s, own_part):
                yield own_part, what


def _by_decorator(
    agent: Agent, function: Function, decorator: ast.expr, home: Module, made_by: Function
) -> Iterator[tuple[ast.expr, str]]:
    """Find what a decorator takes where the function that it decorates fails: its own argument, or what it makes itself."""
    inside = [node for node in walk(made_by) if isinstance(node, FUNCTIONS)]
    pairs = [pair for inner in inside for pair in _second_choices(home, inner)]
    gives = _kinds(agent.reader.returned(agent.module, function, {}), "user") & ACTS if pairs else set()
    passed = agent.reader.passed(home, made_by, decorator) if isinstance(decorator, ast.Call) else {}
    for first, (parameter, place) in pairs if gives else ():
        own = passed.get(parameter) if parameter is not None else None
        values = _given_by(agent, own) if own is not None else held_in(agent, home, place, {}) if not parameter else []
        if first not in passed and (kinds := _kinds(values, "agent") & gives):
            yield own or decorator, _name(kinds)


def _takes_place(agent: Agent, first: ast.expr, second: ast.expr) -> str:
    """Return what of the user's the agent's own takes the place of; empty if neither gives a client or asks for the same."""
    kinds = _kinds(_given_by(agent, first), "user") & _kinds(_given_by(agent, second), "agent") & ACTS
    if kinds:
        return _name(kinds)
    questions = [[asked(agent, call) for call in _calls_in(agent, each)] for each in (first, second)]
    users = [what for who, what in questions[0] if who == "user"]
    return "call" if any(who == "agent" and any(what & each for each in users) for who, what in questions[1]) else ""


def _name(kinds: set[str]) -> str:
    return "token" if TOKEN in kinds else "client"


def _kinds(values: Iterable[Value], who: str) -> set[str]:
    return {value.what for value in values if value.who == who and not value.path}


def _given_by(agent: Agent, node: ast.expr) -> list[Value]:
    """Return what an argument is, or what it gives when the helper calls it."""
    values = held_in(agent, agent.module, node, {})
    if not values and isinstance(node, (ast.Name, ast.Attribute, ast.Lambda, ast.Call)):
        called = ast.copy_location(ast.Call(func=node, args=[], keywords=[]), node)
        values = [value for value in agent.reader.values(agent.module, called) if not value.path]
    return values


def _calls_in(agent: Agent, node: ast.expr) -> list[ast.Call]:
    """Return the calls of a function that is an argument."""
    called = agent.reader.called(agent.module, node) if isinstance(node, (ast.Lambda, ast.Name)) else None
    if called is None or called[0] is not agent.module:
        return []
    return [
        inner for part in agent.module.returns(called[1]) for inner in ast.walk(part) if isinstance(inner, ast.Call)
    ]


# --- the helper -----------------------------------------------------------------------------------------------------------


def _second_choices(home: Module, function: Function) -> list[_Pair]:
    """Return the parameters that a function returns, or what they return, with what it returns if they fail or give nothing."""
    outcomes = [outcome for part in home.returns(function) for outcome in _outcomes(home, part)]
    return [
        (first[0], second)
        for first in outcomes
        for second in outcomes
        if first[0] is not None
        and (first[0] is not second[0] or first[0].arg == getattr(function.args.vararg, "arg", ""))
        and _leads_to(home, function, first, second)
    ]


def _outcomes(home: Module, node: ast.expr, depth: int = 0) -> Iterator[_Outcome]:
    match node:
        case ast.IfExp(body=body, orelse=other):
            parts: list[ast.expr] = [body, other]
        case ast.BoolOp(values=parts):
            pass
        case ast.Await(value=inner) | ast.NamedExpr(value=inner):
            parts = [inner]
        case ast.Call(func=ast.Name() as func) if (parameter := _parameter_of(home, func)) is not None:
            yield parameter, node
            return
        case ast.Name():
            if (parameter := _parameter_of(home, node)) is not None:
                yield parameter, node
            bindings = home.bindings(node)[1] if depth < 3 else []
            parts = [item.value for item in bindings if item.how == "value" and isinstance(item.value, ast.expr)]
        case _:
            yield None, node
            return
    for part in parts:
        yield from _outcomes(home, part, depth + 1)


def _parameter_of(home: Module, name: ast.Name) -> ast.arg | None:
    """Return the parameter that a name stands for: as it is, or as an item of it in a loop."""
    for binding in home.bindings(name)[1]:
        if isinstance(binding.node, ast.arg):
            return binding.node
        if binding.how == "item" and isinstance(binding.value, ast.Name):
            return _parameter_of(home, binding.value)
    return None


def _leads_to(home: Module, function: Function, first: _Outcome, second: _Outcome) -> bool:
    """Return whether a function goes on to the second because the first failed, or gave nothing."""
    (parameter, place), (other, next_place) = first, second
    for above in home.ancestors(place):
        if above is function:
            break
        tried = {node for part in above.body for node in ast.walk(part)} if isinstance(above, TRIES) else set()
        if place in tried and (other is parameter or next_place not in tried):
            return True
        if isinstance(above, ast.BoolOp) and isinstance(above.op, ast.Or) and next_place in set(ast.walk(above)):
            return _at(place) < _at(next_place)
    tests = [node.test for node in walk(function, into_functions=False) if isinstance(node, (ast.If, ast.IfExp))]
    return any(_is_about(home, test, parameter, place) for test in tests)


def _at(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _is_about(home: Module, test: ast.expr, parameter: ast.arg | None, place: ast.expr) -> bool:
    """Return whether a condition looks at a parameter, or at what it returned."""
    for node in ast.walk(test):
        if node is place:
            return True
        if isinstance(node, ast.Name):
            if _parameter_of(home, node) is parameter:
                return True
            values = [binding.value for binding in home.bindings(node)[1] if binding.how == "value"]
            if any(value is not None and place in set(ast.walk(value)) for value in values):
                return True
    return False
