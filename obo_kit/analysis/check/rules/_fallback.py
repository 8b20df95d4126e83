"""OBO105, OBO106: a user's client that may turn out to be the agent's own, or is made so that it may."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._clients import CREDENTIALS, ENVIRONMENT, GIVEN_TO, NEUTRAL, is_header
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._options import Options, completed, entries_of, options_of
from obo_kit.analysis.check._ownership import attribute_asked_for, choices
from obo_kit.analysis.check._scopes import TRIES, falls_off
from obo_kit.analysis.check._vocabulary import (
    BUILT_ON,
    TOKEN,
    Value,
    argument,
    built_class,
    is_nothing,
    official,
    unpacks,
)
from obo_kit.analysis.check.rules._again import ACTS, next_candidates, repeated
from obo_kit.analysis.check.rules._choosers import handed_second, models_behind, providers_behind
from obo_kit.analysis.check.rules._table import Hit, rule, text_of

__all__: list[str] = []

_Statement: TypeAlias = "ast.Return | ast.Assign | ast.AnnAssign"


@rule(
    "OBO105",
    "A user's client falls back to the agent's own",
    why="If the token is missing, or building the client fails, the request continues as the agent's service principal. A "
    "caller without a token then sees everything that the agent may see.",
    fix="Raise if there is no token. `@user_session` and `@with_user_client` do that in every runtime.",
)
def _falls_back(agent: Agent) -> Iterator[Hit]:
    for place, what in (*_second_choices(agent), *next_candidates(agent), *handed_second(agent), *_providers(agent)):
        yield Hit(
            node=place, message=f"`{text_of(place)}` takes the place of the user's {what}, and acts as the agent."
        )
    for model in models_behind(agent):
        yield Hit(node=model, message=f"`{text_of(model)}` is asked as the agent, after the user's call failed.")
    for call in repeated(agent):
        yield Hit(
            node=call, message=f"`{text_of(call.func)}` is asked again as the agent, after the user's call failed."
        )
    for call in agent.module.calls:
        if _without_client(agent, call):
            yield Hit(node=call, message=f"`{text_of(call)}` acts as the agent where the user's client is missing.")
        if _without_token(agent, call):
            yield Hit(node=call, message=f"`{text_of(call)}` acts as the agent where the user's token is missing.")


def _second_choices(agent: Agent) -> Iterator[tuple[ast.expr, str]]:
    """Yield the agent's own that is returned, assigned or chosen if there is nothing of the user's, and what it is."""
    reported: set[ast.AST] = set()
    # A name stands for what was assigned to it: that is reported, if it is a second choice itself.
    for second in sorted(_outcomes(agent), key=lambda part: isinstance(part, ast.Name)):
        values = agent.reader.provided(agent.module, second)
        own = {value.what for value in values if value.who == "agent" and not value.path} & ACTS
        if not own or _is_argument(agent, second) or not reported.isdisjoint(_stands_for(agent, second)):
            continue
        if _is_second_choice(agent, second, own):
            reported.add(second)
            yield second, "token" if TOKEN in own else "client"


def _stands_for(agent: Agent, node: ast.expr) -> Iterator[ast.expr]:
    """Yield the alternatives that were assigned to a local name."""
    scope, bindings = agent.module.bindings(node) if isinstance(node, ast.Name) else (agent.module.top, [])
    for binding in bindings if scope is not agent.module.top else ():
        if isinstance(binding.value, ast.expr):
            yield from _chosen_from(agent, binding.value)


def _providers(agent: Agent) -> Iterator[tuple[ast.expr, str]]:
    """Yield the objects that give the agent's client, and are returned if there is no user."""
    for first, second in providers_behind(agent):
        if _decides(agent, second, first) or _is_chosen(agent, first, second):
            yield second, "client"


def _is_chosen(agent: Agent, first: ast.expr, second: ast.expr) -> bool:
    """Return whether a choice between two is about the user."""
    above = agent.module.parent[second]
    return isinstance(above, ast.IfExp) and first in (above.body, above.orelse) and _asks_for_user(agent, above.test)


def _without_client(agent: Agent, call: ast.Call) -> bool:
    """Return whether an official client is built on ``user_client if token else None``, or on a name for that."""
    module = agent.module
    name = built_class(module, call.func)
    on = argument(call, *BUILT_ON[name]) if name in BUILT_ON else None
    if isinstance(on, ast.Name):
        if any(on.id in {part.id for part in _names_in(test)} for test in _tests(module, call)):
            return False
        handed = [passed for home, passed in agent.reader.handed_as(module, on) if home is module]
        return any(_may_lack_user(agent, part) for part in (on, *handed) if isinstance(part, ast.Name))
    return on is not None and _is_or_nothing(agent, on)


def _is_or_nothing(agent: Agent, node: ast.expr) -> bool:
    """Return whether it is ``user_client if token else None``."""
    match node:
        case ast.IfExp(body=first, orelse=other) if is_nothing(first) or is_nothing(other):
            return _is_user_s(agent, node) and _asks_for_user(agent, node.test)
        case _:
            return False


def _may_lack_user(agent: Agent, name: ast.Name) -> bool:
    """Return whether a name stands for the user's client, or for nothing where the token is missing or the client fails."""
    bindings = agent.module.bindings(name)[1]
    values = [binding.value for binding in bindings if isinstance(binding.value, ast.expr) and binding.how == "value"]
    if len(values) < len(bindings):
        return False
    if len(values) == 1:
        return _is_or_nothing(agent, values[0])
    users = [value for value in values if _is_user_s(agent, value)]
    return any(is_nothing(value) and any(_decides(agent, value, first) for first in users) for value in values)


def _tests(module: Module, node: ast.AST) -> Iterator[ast.expr]:
    """Yield the conditions in the function of a node."""
    function = module.function_of(node)
    yield from (item.test for item in module.inside(function, ast.If))
    yield from (item.test for item in module.inside(function, ast.IfExp))
    yield from (item.test for item in module.inside(function, ast.Assert))


def _names_in(node: ast.AST) -> Iterator[ast.Name]:
    return (part for part in ast.walk(node) if isinstance(part, ast.Name))


def _without_token(agent: Agent, call: ast.Call) -> bool:
    """Return whether ``WorkspaceClient(**options)`` may lack the user's token in its options."""
    connects = agent.module.dotted(call.func) == "databricks.sql.connect"
    given_to = CREDENTIALS if connects else GIVEN_TO.get(official(agent.module, call.func), ())
    options = options_of(agent.module, call) if given_to and unpacks(call) else None
    if not options or any(keyword.arg in given_to for keyword in call.keywords):
        return False
    tokens = [item for item in options if _names(agent, item, given_to, "user")]
    needs_token = all(_where_token_is(agent, item.place, call) for item in tokens)
    others = [item for item in options if item not in tokens]
    return bool(tokens) and needs_token and _is_own(agent, others, given_to, connects=connects)


def _is_own(agent: Agent, options: list[Options], given_to: tuple[str, ...], *, connects: bool) -> bool:
    """Return whether options have the agent's own credentials, or leave it to a client to find them."""
    neutral = not connects and {key for item in options for key in item.keywords} <= NEUTRAL
    return neutral or any(_names(agent, item, given_to, "agent") for item in options)


def _names(agent: Agent, options: Options, given_to: tuple[str, ...], who: str) -> bool:
    """Return whether options have the credentials of the user, or of the agent."""
    passed = [value for key, value in options.keywords.items() if key in given_to]
    return any(value.who == who for part in passed for value in agent.reader.provided(agent.module, part))


def _is_user_s(agent: Agent, node: ast.expr) -> bool:
    return any(value.who == "user" for value in agent.reader.values(agent.module, node))


def _where_token_is(agent: Agent, place: ast.AST, call: ast.Call) -> bool:
    """Return whether a place needs a condition that finds the token, while the call is also reached without it."""
    above_call = set(agent.module.ancestors(call))
    for above in agent.module.ancestors(place):
        if above in above_call:
            return False
        if isinstance(above, (ast.If, ast.IfExp)) and _asks_for_user(agent, above.test):
            ends = above.orelse[-1:] if isinstance(above, ast.If) else []
            return not isinstance(ends[0] if ends else None, (ast.Raise, ast.Return, ast.Continue))
    return False


def _is_argument(agent: Agent, node: ast.expr) -> bool:
    """Return whether it is what a caller passed. What FastAPI's dependencies give counts, as nothing else calls them."""
    if not isinstance(node, ast.Name):
        return False
    bindings = [binding for binding in agent.module.bindings(node)[1] if isinstance(binding.node, ast.arg)]
    return bool(bindings) and not any(
        agent.reader.asked_for(agent.module, binding.node, binding.value)
        for binding in bindings
        if isinstance(binding.node, ast.arg)
    )


def _outcomes(agent: Agent) -> Iterable[ast.expr]:
    """Yield what is returned, assigned or chosen, taken apart into the alternatives."""
    outcomes: dict[ast.expr, None] = {}
    module = agent.module
    statements: list[_Statement] = [*module.of(ast.Return), *module.of(ast.Assign), *module.of(ast.AnnAssign)]
    for statement in statements:
        if statement.value is not None:
            outcomes |= dict.fromkeys(_chosen_from(agent, statement.value))
    for step in module.of(ast.Yield):
        if step.value is not None:
            outcomes |= dict.fromkeys(_chosen_from(agent, step.value))
    choices: list[ast.expr] = [*module.of(ast.IfExp), *module.of(ast.BoolOp), *module.of(ast.Call)]
    for choice in choices:
        parts = list(_chosen_from(agent, choice))
        outcomes |= dict.fromkeys(parts if parts != [choice] else ())
    return outcomes


def _chosen_from(agent: Agent, node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.IfExp():
            parts: Iterable[ast.expr] = (node.body, node.orelse)
        case ast.BoolOp(values=parts):
            pass
        case ast.Call() if (default := _default_of(agent, node)) is not None:
            parts = (default[1],)
        case ast.Await(value=inner) | ast.NamedExpr(value=inner):
            parts = (inner,)
        case _:
            yield node
            return
    for part in parts:
        yield from _chosen_from(agent, part)


def _is_second_choice(agent: Agent, node: ast.expr, kinds: set[str]) -> bool:
    """Return whether the user's own client would have been taken, had there been a token."""
    below: ast.AST = node
    for above in agent.module.ancestors(node):
        match above:
            case ast.IfExp(test=test) if below is not test:
                other = above.orelse if below is above.body else above.body
                if _user_s(agent, other, kinds):
                    return _asks_for_user(agent, test)
            case ast.BoolOp(op=ast.Or(), values=parts):
                before = parts[: [part is below for part in parts].index(True)]
                users = [part for part in before if _user_s(agent, part, kinds)]
                if not all(_is_left_out(agent, agent.module, part) for part in users):
                    return True
            case ast.Call() if (default := _default_of(agent, above)) is not None and _is_in(below, default[1]):
                return bool(default[0] & kinds)
            case ast.Return() | ast.Assign() | ast.AnnAssign() | ast.Yield():
                return _is_other_branch(agent, above, kinds)
            case ast.stmt():
                return False
            case _:
                pass
        below = above
    return False


def _is_other_yield(agent: Agent, second: ast.Yield, kinds: set[str]) -> bool:
    """Return whether a context manager, or a dependency, would have given the user's client."""
    steps = agent.module.inside(agent.module.function_of(second), ast.Yield)
    users = [step.value for step in steps if step.value is not None and _user_s(agent, step.value, kinds)]
    return any(_decides(agent, second, first) for first in users)


def _is_in(argument: ast.AST, value: ast.expr) -> bool:
    return value is argument or (isinstance(argument, ast.keyword) and argument.value is value)


def _default_of(agent: Agent, call: ast.Call) -> tuple[set[str], ast.expr] | None:
    """Return what of the user's a call gives, and its default: ``headers.get(…, own)``, ``getattr(…, own)``."""
    values: Iterable[Value]
    match call:
        case ast.Call(args=[*_, ast.Constant() | ast.Dict() | ast.List()], keywords=[]):
            return None  # the commonest defaults, which are no clients
        case ast.Call(func=ast.Attribute(value=owner, attr="get"), args=[key, default]):
            values = _items_of(agent, owner, key)
        case ast.Call(func=ast.Attribute(value=variable, attr="get"), args=[default]):
            values = _set_to(agent, variable)
        case ast.Call(keywords=[ast.keyword(arg="default", value=default)]):
            values = _set_to(agent, call)
        case ast.Call(args=[_, _, default]) if (attribute := attribute_asked_for(call)) is not None:
            values = [*agent.reader.values(agent.module, attribute)]
        case _:
            return None
    return (kinds, default) if (kinds := _kinds_of_user(values)) else None


def _set_to(agent: Agent, variable: ast.expr) -> list[Value]:
    made = agent.reader.context_variable(agent.module, variable)
    return agent.reader.values_set(made) if made is not None else []


def _items_of(agent: Agent, owner: ast.expr, key: ast.expr) -> list[Value]:
    """Return what is in headers, by the name of the user's token, or in a dictionary."""
    if is_header(agent.module.text_of(key)):
        return [Value("user", TOKEN)]
    added = entries_of(agent.module, owner) if isinstance(owner, ast.Name) else []
    values = [value for part in added for value in agent.reader.values(agent.module, part)]
    for home, meant, env in agent.reader.meanings(agent.module, owner, {}):
        for item in choices(meant) if isinstance(meant, ast.IfExp) else [meant]:
            parts = item.values if isinstance(item, ast.Dict) else []
            values += [value for part in parts for value in agent.reader.values(home, part, env)]
    return values


def _is_left_out(agent: Agent, module: Module, node: ast.expr, depth: int = 0) -> bool:
    """Return whether it is missing only if a caller omits an argument, and never because a token is missing."""
    bindings = module.bindings(node)[1] if isinstance(node, ast.Name) else []
    if len(bindings) != 1 or not isinstance(bindings[0].node, ast.arg):
        return False
    handed = list(agent.reader.handed(module, bindings[0].node, bindings[0].value))
    return bool(handed) and not any(_may_be_nothing(agent, home, passed, depth) for home, passed in handed)


def _may_be_nothing(agent: Agent, module: Module, node: ast.expr, depth: int) -> bool:
    """Return whether an expression is a header, which may be missing, or a helper that may return ``None`` for a client."""
    if any(value.what == TOKEN for value in agent.reader.values(module, node)):
        return True
    if isinstance(node, ast.Name):
        return _name_may_be_nothing(agent, module, node, depth)
    called = agent.reader.called(module, node.func) if isinstance(node, ast.Call) else None
    if called is not None:
        returned = called[0].returns(called[1])
        return falls_off(called[1]) or any(is_nothing(result) or isinstance(result, ast.IfExp) for result in returned)
    parts = choices(node) if isinstance(node, (ast.IfExp, ast.BoolOp)) else []
    return is_nothing(node) or any(_may_be_nothing(agent, module, part, depth) for part in parts)


def _name_may_be_nothing(agent: Agent, module: Module, node: ast.Name, depth: int) -> bool:
    bindings = module.bindings(node)[1]
    if any(binding.how == "parameter" for binding in bindings):
        return depth < 3 and not _is_left_out(agent, module, node, depth + 1)
    parts = [binding.value for binding in bindings if isinstance(binding.value, ast.expr)]
    return any(_may_be_nothing(agent, module, part, depth) for part in parts)


def _is_other_branch(agent: Agent, second: _Statement | ast.Yield, kinds: set[str]) -> bool:
    """Return whether the user's client would have been returned, or assigned to the same name."""
    if isinstance(second, ast.Yield):
        return _is_other_yield(agent, second, kinds)
    function = agent.module.function_of(second)
    if isinstance(second, ast.Return) and function is None:
        return False
    alike: list[_Statement] = [*agent.module.inside(function, ast.Return)]
    if not isinstance(second, ast.Return):
        alike = [*agent.module.inside(function, ast.Assign), *agent.module.inside(function, ast.AnnAssign)]
    names = _targets(second)
    return any(
        first is not second
        and first.value is not None
        and names == _targets(first)
        and _user_s(agent, first.value, kinds)
        and _meet(agent.module, first, second)
        and (_decides(agent, second, first.value) or _replaces_refused(agent.module, second, names))
        for first in alike
    )


def _meet(module: Module, first: _Statement, second: _Statement) -> bool:
    """Return whether one use of a name may mean what either statement assigns, and does not tell them apart."""
    assigned = {part for statement in (first, second) for part in ast.walk(statement) if isinstance(part, ast.Name)}
    names = {part.id for part in assigned if isinstance(part.ctx, ast.Store)}
    if not names:  # returned, or put on an object
        return True
    uses = (use for use in module.of(ast.Name) if use.id in names and isinstance(use.ctx, ast.Load))
    return any(
        all(
            any(binding.node in ast.walk(statement) for binding in module.bindings(use)[1])
            for statement in (first, second)
        )
        for use in uses
    )


def _targets(statement: _Statement) -> set[str]:
    if isinstance(statement, ast.Return):
        return set()
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return {ast.unparse(target) for target in targets}


def _decides(agent: Agent, second: ast.AST, first: ast.AST) -> bool:
    """Return whether a missing token, or an error, leads from one place to the other."""
    module = agent.module
    above_second, above_first = list(module.ancestors(second)), list(module.ancestors(first))
    for above in above_second:
        if isinstance(above, (ast.If, ast.Match)) and _apart(above, second, first):
            return _asks(agent, above)
        if isinstance(above, ast.If) and above not in above_first and _looks_where_it_runs(agent, above.test, second):
            return False
    if any(_asks(agent, above) for above in (*above_second, *above_first)):
        return True
    if any(_handles_missing_token(agent, above, second) for above in above_second):
        return True
    return _handles_error(module, above_first, first, second)


def _replaces_refused(module: Module, second: _Statement, names: set[str]) -> bool:
    """Return whether a handler puts something else in the place of what it was that failed."""
    for above in module.ancestors(second):
        if isinstance(above, ast.ExceptHandler) and isinstance(tried := module.parent[above], TRIES):
            used = (node for statement in tried.body for node in ast.walk(statement))
            return any(isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in names for node in used)
    return False


def _handles_error(module: Module, above_first: list[ast.AST], first: ast.AST, second: ast.AST) -> bool:
    """Return whether an error at the first place leads to the second."""
    for above in above_first:
        if _suppresses(module, above):
            return second not in set(ast.walk(above))
        if isinstance(above, TRIES):
            caught = {node for handler in above.handlers for node in ast.walk(handler)}
            return first not in caught and (second in caught or second not in set(ast.walk(above)))
    return False


def _suppresses(module: Module, node: ast.AST) -> bool:
    items = node.items if isinstance(node, (ast.With, ast.AsyncWith)) else []
    entered = [item.context_expr for item in items if isinstance(item.context_expr, ast.Call)]
    return any(module.dotted(call.func) == "contextlib.suppress" for call in entered)


def _handles_missing_token(agent: Agent, above: ast.AST, second: ast.AST) -> bool:
    """Return whether a place handles the error of ``token = headers["x-forwarded-access-token"]``."""
    if not (isinstance(second, ast.Return) and isinstance(above, TRIES)):
        return False
    if not any(second in set(ast.walk(handler)) for handler in above.handlers):
        return False
    return any(
        value.who == "user" and value.what == TOKEN
        for statement in above.body
        for node in ast.walk(statement)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
        for value in agent.reader.values(agent.module, node.value)
    )


def _looks_where_it_runs(agent: Agent, test: ast.expr, place: ast.AST) -> bool:
    """Return whether a condition is about the environment, so that the code at a place runs only on a laptop.

    Whether there is the token that is taken at that place says nothing about that.
    """
    module = agent.module
    if _takes_token(agent, getattr(place, "value", None)) and (
        _takes_token(agent, test)
        or any(isinstance(part, ast.Constant) and part.value == ENVIRONMENT for part in ast.walk(test))
    ):
        return False
    parts: list[ast.AST] = [*ast.walk(test)]
    for name in (inner for inner in ast.walk(test) if isinstance(inner, ast.Name)):
        parts += [
            part
            for binding in module.bindings(name)[1]
            if binding.how == "value" and binding.value
            for part in ast.walk(binding.value)
        ]
    return any(
        module.dotted(item) in ("os.environ", "os.getenv")
        for item in parts
        if isinstance(item, (ast.Attribute, ast.Name))
    )


def _takes_token(agent: Agent, node: ast.AST | None) -> bool:
    return TOKEN in {value.what for value in agent.reader.values(agent.module, node)}


def _asks(agent: Agent, above: ast.AST) -> bool:
    """Return whether a statement decides by the user's token or client."""
    test = above.test if isinstance(above, ast.If) else above.subject if isinstance(above, ast.Match) else None
    return test is not None and _asks_for_user(agent, test)


def _apart(above: ast.AST, first: ast.AST, second: ast.AST) -> bool:
    """Return whether two nodes are in different branches of a statement."""
    parts = [part if isinstance(part, list) else [part] for _, part in ast.iter_fields(above)]
    branches = [{node for part in several if isinstance(part, ast.AST) for node in ast.walk(part)} for several in parts]
    return any(first in branch and second not in branch for branch in branches) and any(
        second in each for each in branches
    )


def _asks_for_user(agent: Agent, test: ast.expr, depth: int = 0) -> bool:
    """Return whether a condition is about the user's token or client, by itself or by what its names and helpers say."""
    for node in ast.walk(test):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_header(node.value):
            return True  # `"X-Forwarded-Access-Token" in request.headers`
        if isinstance(node, ast.expr) and _is_user_s(agent, node):
            return True
        says = _says(agent, node) if isinstance(node, (ast.Name, ast.Attribute, ast.Call)) and depth < 3 else ()
        if any(_asks_for_user(agent, part, depth + 1) for part in says):
            return True
    return False


def _says(agent: Agent, node: ast.expr) -> Iterator[ast.expr]:
    """Yield what a name was assigned, and the conditions of a helper: ``has_token = bool(token)``, ``def mode(): …``."""
    module = agent.module
    called = agent.reader.called(module, node.func) if isinstance(node, ast.Call) else None
    owner = module.owner(node.value) if isinstance(node, ast.Attribute) else None
    if isinstance(node, ast.Name):
        values = [binding.value for binding in module.bindings(node)[1] if binding.how == "value"]
        yield from (value for value in values if isinstance(value, ast.expr))
    elif called is not None and called[0] is module:
        yield from module.returns(called[1])
        yield from (inner.test for inner in module.inside(called[1], ast.If))
    elif owner is not None and isinstance(node, ast.Attribute):
        yield from agent.reader.stored(module, owner, node.attr)


def _user_s(agent: Agent, node: ast.AST, kinds: set[str]) -> bool:
    values = agent.reader.provided(agent.module, node) if isinstance(node, ast.expr) else ()
    return bool(_kinds_of_user(values) & kinds)


def _kinds_of_user(values: Iterable[Value]) -> set[str]:
    return {value.what for value in values if value.who == "user" and not value.path}


_BY_TOKEN: Final = frozenset({"AccountClient", "Config", "WorkspaceClient"})


@rule(
    "OBO106",
    "A client gets the user's token without `auth_type`",
    why="In an app, the environment holds the app's own client id and secret. The SDK then finds two ways to authenticate, and "
    "refuses or takes the app's own.",
    fix='Pass `auth_type="pat"` with the token, or take the client from `@with_user_client`.',
)
def _no_auth_type(agent: Agent) -> Iterator[Hit]:
    for call in agent.module.calls:
        for whole in (completed(agent.module, call), *agent.reader.forwarded(agent.module, call)):
            with_token = any(keyword.arg in ("token", None) for keyword in whole.keywords)
            if not with_token or built_class(agent.module, whole.func) not in _BY_TOKEN:
                continue
            keywords = _keywords(agent.module, whole)
            values = agent.reader.values(agent.module, keywords.get("token"))
            named = any(value.who == "user" and value.what == TOKEN for value in values)
            if named and is_nothing(keywords.get("auth_type")):
                yield Hit(node=call, message=f"`{text_of(call)}` gets the user's token, but no `auth_type`.")


def _keywords(module: Module, call: ast.Call) -> dict[str, ast.expr]:
    """Return the keywords of a call, unpacked ones included; none if the source does not show all of them."""
    options = options_of(module, call)
    if options is None:
        return {}
    unpacked = {key: value for item in options for key, value in item.keywords.items()}
    return unpacked | {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
