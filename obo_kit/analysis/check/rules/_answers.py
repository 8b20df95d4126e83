"""OBO107, OBO108: what one user was answered, or their token, where others find it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._scopes import FUNCTIONS, Function, parameters, walk
from obo_kit.analysis.check._vocabulary import TOKEN, Value, arguments, last, returns
from obo_kit.analysis.check.rules._kept import is_cache, stays
from obo_kit.analysis.check.rules._table import Hit, rule, text_of, tool_called

__all__: list[str] = []

# Names in a key that say whose answer it is.
_WHOSE: Final = re.compile(r"user|principal|cache_key|email|identity|session|token", re.IGNORECASE)


@rule(
    "OBO107",
    "What one user was answered is kept for the others",
    why="A cache that is asked by the question alone gives the answer of whoever asked first to everybody, also to users who "
    "may not see it.",
    fix="Leave the cache out, or make the user a part of its key: `current_session().cache_key`.",
)
def _answers_kept(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for store in module.stores:
        if isinstance(store.target, ast.Subscript) and not _WHOSE.search(ast.unparse(store.target.slice)):
            where = stays(agent, store.target)
            if not where or agent.reader.held(module, store.value) is not None:
                continue  # a client, which OBO103 says
            if (call := _answer_in(agent, store.value)) is not None:
                yield Hit(
                    node=store.target,
                    message=f"`{text_of(store.target)}` keeps what `{text_of(call.func)}` gave one user {where}.",
                )
    for function in module.functions:
        for decorator in [] if isinstance(function, ast.Lambda) else function.decorator_list:
            if is_cache(module, decorator) and not agent.reader.facts(module, function).is_tool:
                call = _asks_itself(agent, function)
                if call is not None and not _gives_client(agent, function):
                    yield Hit(
                        node=decorator,
                        message=f"The cache keeps what `{text_of(call.func)}` gave one user, for all the others.",
                    )
    for call in module.calls:
        yield from _node_cached(agent, call)


def _answer_in(agent: Agent, node: ast.expr, depth: int = 0) -> ast.Call | None:
    """The call for the user that an expression is the answer of."""
    for part in (node, *walk(node, into_functions=False)):
        if isinstance(part, ast.Call) and _is_for_user(agent, part):
            return part
        if isinstance(part, ast.Name) and depth < 3:
            for binding in agent.module.bindings(part)[1]:
                if (
                    binding.how == "value"
                    and isinstance(binding.value, ast.expr)
                    and agent.module.function_of(part) is not None
                ):
                    found = _answer_in(agent, binding.value, depth + 1)
                    if found is not None:
                        return found
    return None


def _is_for_user(agent: Agent, call: ast.Call) -> bool:
    values = agent.reader.values(agent.module, call.func)
    if any(
        one.who == "user" and one.path and one.what != TOKEN and one.path[0] not in ("config", "get", "identity")
        for one in values
    ):
        return True
    facts = tool_called(agent, call)
    return facts is not None and "with_user_client" in facts.kit


def _asks_itself(agent: Agent, function: Function) -> ast.Call | None:
    """A call for the user inside a function, whose client is no part of what the cache is asked by."""
    keys = {one.arg for one in parameters(function) if not one.arg.startswith("_")}
    if any(_WHOSE.search(key) for key in keys):
        return None
    for node in walk(function, into_functions=False):
        if isinstance(node, ast.Call) and _is_for_user(agent, node):
            names = {part.id for part in ast.walk(node.func) if isinstance(part, ast.Name)}
            if not names & keys:
                return node
    return None


def _gives_client(agent: Agent, function: Function) -> bool:
    """Whether it is the client that is kept, which OBO103 says."""
    return any(agent.reader.held(agent.module, one) is not None for one in returns(function))


def _node_cached(agent: Agent, call: ast.Call) -> Iterator[Hit]:
    """LangGraph's ``add_node(…, cache_policy=CachePolicy())`` on what acts for the user."""
    module = agent.module
    for keyword in call.keywords:
        policy = keyword.value
        if (
            keyword.arg != "cache_policy"
            or not isinstance(policy, ast.Call)
            or last(module.dotted(policy.func)) != "CachePolicy"
        ):
            continue
        if any(one.arg == "key_func" for one in policy.keywords):
            continue
        for given in arguments(call):
            called = agent.reader.called(module, given) if given is not policy else None
            if called is None or called[0] is not module:
                continue
            facts = agent.reader.facts(*called)
            inside = [one for one in walk(called[1]) if isinstance(one, ast.Call) and _is_for_user(agent, one)]
            if facts.is_tool or inside:
                yield Hit(
                    node=policy,
                    message=f"`{text_of(policy)}` keeps what '{facts.name}' answers one user, for all the others.",
                )


# --- tokens ---------------------------------------------------------------------------------------------------------------

_LOGS: Final = frozenset({"critical", "debug", "error", "exception", "info", "log", "warning"})
_SHOWS: Final = frozenset({"caption", "code", "html", "json", "markdown", "text", "write"})


@rule(
    "OBO108",
    "The user's token leaves the request",
    why="Who finds it in a log, in a page, in a session's state or in an answer can act as the user until it expires. What the "
    "model is told is written down in traces, too.",
    fix="Name the user (`current_session().identity.principal`), never the token. Where a client needs it, hand the client "
    "over.",
)
def _token_leaves(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        where = _sink(agent, call)
        if where and any(_token(agent, one) for one in arguments(call)):
            yield Hit(node=call, message=f"`{text_of(call)}` puts the user's token {where}.")
    for store in module.stores:
        if _is_session_state(agent, store.target) and _token(agent, store.value):
            yield Hit(
                node=store.target, message=f"`{text_of(store.target)}` keeps the user's token in the state of the page."
            )
    for function in module.functions:
        facts = agent.reader.facts(module, function)
        if facts.is_tool or _is_route(function):
            for answer in returns(function):
                if _token(agent, answer):
                    yield Hit(node=answer, message=f"'{facts.name}' answers with the user's token.")


def _sink(agent: Agent, call: ast.Call) -> str:
    dotted = agent.module.dotted(call.func)
    if dotted == "builtins.print":
        return "into the log"
    if isinstance(call.func, ast.Attribute):
        if call.func.attr in _LOGS and (dotted.startswith("logging.") or _is_logger(agent, call.func.value)):
            return "into the log"
        if call.func.attr in _SHOWS and dotted.startswith("streamlit."):
            return "into the page"
    return ""


def _is_logger(agent: Agent, node: ast.expr) -> bool:
    origin = agent.module.origin(node)
    if not isinstance(origin, tuple):
        return False
    module, made = origin
    return isinstance(made, ast.Call) and last(module.dotted(made.func)) in ("getLogger", "get_logger")


def _token(agent: Agent, node: ast.expr) -> bool:
    """Whether the token itself is in a value: named, in a text, or in a container."""
    match node:
        case ast.Dict(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return any(_token(agent, part) for part in parts)
        case _:
            return any(_is_token(one) for one in agent.reader.values(agent.module, node))


def _is_token(value: Value) -> bool:
    return value.who == "user" and value.what == TOKEN and not value.path


def _is_session_state(agent: Agent, target: ast.expr) -> bool:
    base: ast.AST = target
    while isinstance(base, (ast.Attribute, ast.Subscript)):
        base = base.value
        if agent.module.dotted(base) == "streamlit.session_state":
            return True
    return False


def _is_route(function: Function) -> bool:
    decorators = [] if isinstance(function, FUNCTIONS[2]) else function.decorator_list
    called = [one.func for one in decorators if isinstance(one, ast.Call)]
    return any(
        isinstance(one, ast.Attribute) and one.attr in ("delete", "get", "patch", "post", "put", "route")
        for one in called
    )
