"""The table of rules: what each code says, why, how it is mended, and how it is found."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from obo_kit.analysis.check._agent import Agent, Use, held_by, opened_by_any
from obo_kit.analysis.check._fixes import Edit, declare
from obo_kit.analysis.check._names import FUNCTIONS, TRIES, Function, parameters, walk
from obo_kit.analysis.check._ownership import (
    BUILT_ON,
    CARRY_NO_USER,
    CLIENTS,
    SEARCH,
    TOKEN,
    argument,
    arguments,
    kit_name,
    last,
    opens_session,
    returns,
)
from obo_kit.scopes._lookup import ROUTES, covers

if TYPE_CHECKING:
    from obo_kit.analysis.check._names import Module
    from obo_kit.analysis.check._ownership import Facts, Value

__all__ = ["RULES", "Hit", "Rule"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A place where a rule is broken.

    Attributes:
        node: The place.
        message: What is wrong there.
        edits: What mends it, where the source tells all that is needed.
    """

    node: ast.expr
    message: str
    edits: tuple[Edit, ...] = ()


Finder: TypeAlias = Callable[[Agent], Iterator[Hit]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        code: As it is selected, ignored and suppressed.
        title: The mistake, in one line.
        why: What comes of it.
        fix: How it is mended.
        find: Finds it in an agent.
    """

    code: str
    title: str
    why: str
    fix: str
    find: Finder


RULES: Final[dict[str, Rule]] = {}
"""Every rule, by its code."""


def _rule(code: str, title: str, *, why: str, fix: str) -> Callable[[Finder], Finder]:
    def add(find: Finder) -> Finder:
        RULES[code] = Rule(code=code, title=title, why=why, fix=fix, find=find)
        return find

    return add


def _text(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _whose(value: Value) -> str:
    if value.what == TOKEN:
        return "the user's token"
    return "the user's session" if value.what == "UserSession" else "the user's client"


# ---------------------------------------------------------------- OBO1: whose identity


@_rule(
    "OBO101",
    "A user's client is built before there is a user",
    why="At import time, or when a long-lived object is made, no request is running. The client acts as nobody, as the "
    "developer, or as whoever asks first.",
    fix="Build it inside the request: let `@with_user_client` hand it to the tool, or use `current_session().client` "
    "there. Factories of tools go to `available_tools`.",
)
def _built_too_early(agent: Agent) -> Iterator[Hit]:
    for call, when in agent.early.items():
        values = agent.reader.values(agent.module, call)
        users = [one for one in values if one.who == "user" and one.what not in ("strategy", "user_session", TOKEN)]
        given = arguments(call)
        given += [call.func.value] if isinstance(call.func, ast.Attribute) else []
        kept = isinstance(agent.module.parent[call], (ast.Assign, ast.AnnAssign))
        if users and not any(_holds_client(agent, one) for one in given):
            yield Hit(node=call, message=f"`{_text(call)}` gives the user's client, and runs {when}.")
        elif kit_name(agent.module, call.func) == "available_tools":
            yield Hit(node=call, message=f"`{_text(call)}` builds tools for one user, and runs {when}.")
        elif kept and (facts := _tool_called(agent, call)) is not None and "with_user_client" in facts.kit:
            yield Hit(node=call, message=f"`{_text(call)}` acts for the user, and runs {when}.")


def _holds_client(agent: Agent, node: ast.expr) -> bool:
    held = agent.reader.held(agent.module, node)
    return held is not None and held.what != TOKEN


def _tool_called(agent: Agent, call: ast.Call) -> Facts | None:
    called = agent.reader.called(agent.module, call.func)
    facts = agent.reader.facts(*called) if called is not None else None
    return facts if facts is not None and facts.is_tool else None


_MODELS: Final = frozenset({"AsyncDatabricksOpenAI", "ChatDatabricks", "DatabricksOpenAI"})
_AMBIENT: Final = frozenset({"WorkspaceClient"} | SEARCH | CARRY_NO_USER | BUILT_ON.keys())


@_rule(
    "OBO102",
    "A tool that acts for the user uses the agent's own client",
    why="A client that is built without the user's identity takes the credentials of its surroundings: the agent's service "
    "principal, or a developer's. The tool then answers with what the agent may see.",
    fix="Take the client from `@with_user_client`, and pass it on: `workspace_client=client`. What everybody shares is "
    "reached outside of the tool, and declared with `system_resources`.",
)
def _ambient_in_a_tool(agent: Agent) -> Iterator[Hit]:
    kinds = [one.requirement.kind for *_, one in agent.system if one.requirement is not None]
    system = {kind.name for kind in kinds if kind is not None}
    for call in agent.module.calls:
        tool = agent.around(call)
        if tool is None:
            continue
        declared = agent.of_tool(tool)
        built = [one for one in agent.reader.values(agent.module, call) if one.who == "agent" and not one.path]
        for value in built:
            if _builds_ambient(agent, call, value) and (
                value.what not in _MODELS or any(_is_model(one.requirement) for one in declared)
            ):
                yield Hit(
                    node=call,
                    message=f"`{_text(call)}` in the tool '{tool.name}' acts as the agent, not as the user.",
                )
                break
        held = held_by(declared) or frozenset()
        for value in agent.reader.values(agent.module, call.func):
            use = agent.use(call, value) if value.who == "agent" and value.path and held else None
            if use is None or not use.routes or _built_inside(agent, call, tool):
                continue
            per_user = all(one.kind is not None and one.kind not in system for one in use.routes)
            if per_user and not use.missing(held)[0]:
                yield Hit(
                    node=call,
                    message=f"`{_text(call.func)}` acts as the agent, and '{tool.name}' declares it for the user.",
                )


def _builds_ambient(agent: Agent, call: ast.Call, value: Value) -> bool:
    if value.what not in _AMBIENT or value.what != last(agent.module.dotted(call.func)):
        return False
    if value.what not in ("McpServer", "McpServerToolkit"):
        return True
    address = agent.module.text_of(argument(call, 0, "url"))  # a server elsewhere needs no client of the workspace's
    return address is not None and "/api/2.0/mcp/" in address


def _is_model(requirement: object) -> bool:
    scope, kind = getattr(requirement, "scope", None), getattr(requirement, "kind", None)
    return (kind is not None and kind.name == "serving_endpoint") or scope in (
        "model-serving",
        "serving.serving-endpoints",
    )


def _built_inside(agent: Agent, call: ast.Call, tool: Facts) -> bool:
    """Whether the client is built in the tool, where it was found already."""
    inside = set(walk(tool.function))
    names = [one for one in ast.walk(call.func) if isinstance(one, (ast.Name, ast.Call))]
    for one in names:
        origin = agent.module.origin(one)
        if isinstance(origin, tuple) and isinstance(origin[1], ast.Call) and origin[1] in inside:
            return True
    return False


_PUTS: Final = frozenset(
    {"add", "append", "appendleft", "extend", "insert", "put", "put_nowait", "setdefault", "update"}
)
_CACHES: Final = frozenset(
    {"alru_cache", "cache", "cache_data", "cache_resource", "cached", "cached_property", "cachedmethod", "lru_cache"}
)


@_rule(
    "OBO103",
    "The user's client, token or answer outlives the request",
    why="What is kept on `self`, in a global or in a cache is there for the next request, of another user. The kit's own "
    "clients refuse to work by then; others act as the wrong user.",
    fix="Keep it in a local variable, or ask `current_session()` wherever it is needed: it has one client for each request.",
)
def _kept(agent: Agent) -> Iterator[Hit]:
    module, reader = agent.module, agent.reader
    for store in module.stores:
        where = _stays(agent, store.target)
        held = reader.held(module, store.value) if where else None
        if held is not None:
            yield Hit(node=store.target, message=f"`{_text(store.target)}` keeps {_whose(held)} {where}.")
    for call in module.calls:
        yield from _put(agent, call)
        yield from _cached_by_call(agent, call)
    for function in module.functions:
        for decorator in [] if isinstance(function, ast.Lambda) else function.decorator_list:
            if _is_cache(module, decorator):
                yield from _cached(agent, function, decorator)


def _put(agent: Agent, call: ast.Call) -> Iterator[Hit]:
    module = agent.module
    given = arguments(call)
    target: ast.expr | None = None
    if isinstance(call.func, ast.Attribute) and call.func.attr in _PUTS:
        target = call.func.value
        where = _stays(agent, target, item=True)
    elif module.dotted(call.func) == "builtins.setattr" and len(given) == 3:
        target, given = given[0], given[2:]
        where = _stays(agent, ast.copy_location(ast.Attribute(target, "", ast.Store()), call), of=target)
    else:
        return
    held = (
        next((found for one in given if (found := agent.reader.held(module, one)) is not None), None) if where else None
    )
    if held is not None:
        yield Hit(node=call, message=f"`{_text(call)}` keeps {_whose(held)} {where}.")


def _stays(agent: Agent, target: ast.expr, *, item: bool = False, of: ast.expr | None = None) -> str:
    """Where something that is put there outlives the request, in words; nothing where it does not, or nobody knows."""
    module = agent.module
    function = module.function_of(of or target)
    if function is None or any(agent.early_in(one) for one in module.functions_around(of or target)):
        return ""  # found when it was built
    if isinstance(target, ast.Name) and not item:
        return "in a global"  # stores hold no other names
    base: ast.expr = of if of is not None else target
    while isinstance(base, (ast.Attribute, ast.Subscript)):
        owner = agent.reader.owner(module, base.value) if isinstance(base, ast.Attribute) else None
        if owner is not None:
            return "on the object, which outlives the request" if agent.lives_long(owner) else ""
        if module.dotted(base) == "os.environ":
            return "in the environment of the process"
        base = base.value
    if isinstance(base, ast.Call):
        return "in a global" if module.dotted(base.func) == "builtins.globals" else _of_class(agent, base)
    if not isinstance(base, ast.Name):
        return ""
    if of is not None and (owner := agent.reader.owner(module, base)) is not None:
        return "on the object, which outlives the request" if agent.lives_long(owner) else ""
    scope, bindings = module.bindings(base)
    if scope is module.top:
        made = [one.how for one in bindings]
        return "in a global" if made and all(how in ("value", "def") for how in made) else ""
    if len(bindings) == 1 and bindings[0].how == "parameter":
        default = bindings[0].value
        shared = isinstance(default, (ast.Dict, ast.List, ast.Set)) or (
            isinstance(default, ast.Call) and module.dotted(default.func) in ("builtins.dict", "builtins.list")
        )
        return "in a default that all calls share" if shared else ""
    if len(bindings) == 1 and bindings[0].how == "value" and isinstance(bindings[0].value, (ast.Attribute, ast.Name)):
        return _stays(agent, bindings[0].value, item=True)
    return ""


def _of_class(agent: Agent, call: ast.Call) -> str:
    is_type = agent.module.dotted(call.func) == "builtins.type" and len(call.args) == 1
    return "on the class" if is_type and agent.reader.owner(agent.module, call.args[0]) is not None else ""


def _is_cache(module: Module, node: ast.expr) -> bool:
    dotted = module.dotted(node.func if isinstance(node, ast.Call) else node)
    return last(dotted) in _CACHES and "." in dotted and not dotted.startswith("builtins.")


def _cached(agent: Agent, function: Function, place: ast.expr) -> Iterator[Hit]:
    module, reader = agent.module, agent.reader
    name = "<lambda>" if isinstance(function, ast.Lambda) else function.name
    own = module.class_of(function)
    if own is not None and last(module.dotted(place)) == "cached_property" and not agent.lives_long(own):
        return
    facts = reader.facts(module, function)
    if facts.is_tool:
        yield Hit(node=place, message=f"The cache keeps what '{name}' answers one user, for all the others.")
        return
    held = next((found for one in returns(function) if (found := reader.held(module, one)) is not None), None)
    if held is not None:
        yield Hit(node=place, message=f"The cache keeps {_whose(held)}, which '{name}' returns.")
    elif any("token" in one.arg.lower() for one in parameters(function)) and _client_of_parameter(agent, function):
        yield Hit(node=place, message=f"The cache keeps the tokens that '{name}' is called with, and their clients.")


def _client_of_parameter(agent: Agent, function: Function) -> bool:
    """Whether a function makes a client of a token that it is handed."""
    for node in walk(function, into_functions=False):
        if isinstance(node, ast.Call) and last(agent.module.dotted(node.func)) in (*SEARCH, "WorkspaceClient"):
            token = argument(node, None, "token") or argument(node, 1, "personal_access_token")
            if isinstance(token, ast.Name) and token.id in {one.arg for one in parameters(function)}:
                return True
    return False


def _cached_by_call(agent: Agent, call: ast.Call) -> Iterator[Hit]:
    """``functools.cache(build)`` and ``lru_cache(maxsize=1)(build)``."""
    if len(call.args) == 1 and _is_cache(agent.module, call.func):
        origin = agent.module.origin(call.args[0])
        if isinstance(origin, tuple) and origin[0] is agent.module and isinstance(origin[1], FUNCTIONS):
            yield from _cached(agent, origin[1], call)


_STARTS: Final = {
    "_thread.start_new_thread": (0, "function"),
    "gevent.spawn": (0, "function"),
    "threading.Thread": (1, "target"),
    "threading.Timer": (1, "function"),
}
_POOLS: Final = {"map": (0, "fn"), "run_in_executor": (1, "func"), "spawn": (0, "function"), "submit": (0, "fn")}


@_rule(
    "OBO104",
    "Work for the user goes to a thread that does not know the user",
    why="`threading.Thread`, thread pools and `run_in_executor` start without the request's context: the tool there raises "
    "`NoUserSessionError`, or finds no user.",
    fix="Wrap the function: `pool.submit(obo_kit.propagate(ask), question)`. `asyncio.to_thread` needs nothing.",
)
def _thread_without_user(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        start = _STARTS.get(module.dotted(call.func))
        if start is None and isinstance(call.func, ast.Attribute) and call.func.attr in _POOLS:
            start = _POOLS[call.func.attr] if _is_pool(agent, call.func) else None
        if start is None or module.function_of(call) is None or agent.guarded(call):
            continue
        work = argument(call, *start)
        needs = _needs_session(agent, module, work, set()) if work is not None else ""
        if needs:
            yield Hit(
                node=work or call, message=f"`{_text(call)}` runs {needs} in a thread that does not know the user."
            )


def _is_pool(agent: Agent, func: ast.Attribute) -> bool:
    """Whether the object is a pool of threads, or an event loop, as far as can be seen."""
    if func.attr == "run_in_executor":
        return True
    found: list[ast.AST | None] = [func.value]
    if isinstance(func.value, ast.Attribute):
        owner = agent.reader.owner(agent.module, func.value.value)
        found += agent.reader.stored(agent.module, owner, func.value.attr) if owner is not None else ()
    if isinstance(func.value, ast.Name):
        found += [one.value for one in agent.module.bindings(func.value)[1]]
    for one in found:
        origin = agent.module.origin(one) if one is not None else None
        if isinstance(origin, tuple) and isinstance(origin[1], ast.Call):
            dotted = origin[0].dotted(origin[1].func)
            if last(dotted) in ("ThreadPoolExecutor", "ThreadPool") or dotted == "gevent.pool.Pool":
                return True
    return False


def _needs_session(agent: Agent, module: Module, work: ast.expr, been: set[Function]) -> str:
    """What of the work needs the session, for people; nothing where none of it does, or it brings its own."""
    if isinstance(work, ast.Call):
        if module.dotted(work.func) == "functools.partial" and work.args:
            return _needs_session(agent, module, work.args[0], been)
        return ""
    called = agent.reader.called(module, work)
    if called is None:
        origin = module.origin(work)
        inner = origin[1] if isinstance(origin, tuple) and origin[1] is not work else None
        return _needs_session(agent, module, inner, been) if isinstance(inner, ast.Call) else ""
    home, function = called
    if function in been:
        return ""
    been.add(function)
    facts = agent.reader.facts(home, function)
    if "user_session" in facts.kit:
        return ""
    if facts.is_tool:
        return f"the tool '{facts.name}'" if "with_user_client" in facts.kit else ""
    for node in walk(function):
        if isinstance(node, ast.Call) and not _own_session(home, node, function):
            name = kit_name(home, node.func)
            if name in ("current_session", "available_tools") or (name == "with_user_client" and not node.args):
                return f"`{_text(node)}`"
            if (found := _needs_session(agent, home, node.func, been)) and not isinstance(node.func, ast.Call):
                return found
    return ""


def _own_session(module: Module, node: ast.AST, function: Function) -> bool:
    for above in module.ancestors(node):
        if above is function:
            return False
        if opens_session(module, above):
            return True
    return False


# ---------------------------------------------------------------- OBO2: refusals


_BROAD: Final = frozenset({"builtins.BaseException", "builtins.Exception"})


@_rule(
    "OBO201",
    "A broad `except` hides refusals together with bugs",
    why="`except Exception` around a call for the user makes one answer of a refusal, a bug and an outage. Nobody learns "
    "which scope or grant is missing.",
    fix="Leave it out and put `@optional_tool(fallback=…)` on the tool: it forgives denials alone. Or ask "
    "`obo_kit.explain(error)`, and raise what it does not explain.",
)
def _broad_except(agent: Agent) -> Iterator[Hit]:
    for body, place in _swallowed(agent.module):
        called = _call_for_user(agent, body)
        if called is not None:
            yield Hit(
                node=place or called, message=f"Refusals of `{_text(called.func)}` are swallowed here, with bugs."
            )


def _swallowed(module: Module) -> Iterator[tuple[list[ast.stmt], ast.expr | None]]:
    """The blocks whose errors are all swallowed, and what says so."""
    for node in ast.walk(module.tree):
        if isinstance(node, TRIES):
            for handler in node.handlers:
                if _is_broad(module, handler) and not _looks_closer(module, handler):
                    yield node.body, handler.type
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for call in (item.context_expr for item in node.items):
                suppressed = call.args if isinstance(call, ast.Call) else ()
                if isinstance(call, ast.Call) and module.dotted(call.func) == "contextlib.suppress":
                    yield from [(node.body, call)] if any(module.dotted(one) in _BROAD for one in suppressed) else ()


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
    """Whether a handler raises something, or asks what it caught."""
    for node in (one for statement in handler.body for one in (statement, *walk(statement))):
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and kit_name(module, node.func) == "explain"):
            return True
    return False


def _call_for_user(agent: Agent, body: list[ast.stmt]) -> ast.Call | None:
    """A call in these statements that a refusal may come from, and that does not forgive it itself."""
    module, reader = agent.module, agent.reader
    for statement in body:
        for node in (statement, *walk(statement, into_functions=False)):
            if not isinstance(node, ast.Call):
                continue
            values = reader.values(module, node.func)
            if any(one.who == "user" and one.path and one.path[0] not in ("config", "get") for one in values):
                return node
            facts = _tool_called(agent, node)
            if facts is not None and "with_user_client" in facts.kit and "optional_tool" not in facts.kit:
                return node
            named = module.dotted(node.func)
            handed = any(_is_client(agent, one) for one in arguments(node))
            if handed and last(named) not in _MODELS and not named.startswith("builtins.") and agent.reaches_out(node):
                return node
    return None


# ---------------------------------------------------------------- OBO3: what is declared, and what is used


@_rule(
    "OBO301",
    "An API is used whose scope is not declared",
    why="The policy is collected from what is declared, so the user's token will lack the scope: the call is refused after "
    "deployment. A tool that declares other scopes is refused at once.",
    fix="Declare it with `@requires_scopes(…)`: the scope, or the resource, which implies its scopes. `--fix` writes it.",
)
def _undeclared(agent: Agent) -> Iterator[Hit]:
    everywhere = held_by(agent.everywhere)
    for facts in agent.acting():
        if facts.is_tool:
            held = held_by(agent.of_tool(facts))
            told = f"'{facts.name}' does not declare it"
        else:
            held, told = everywhere, "no tool declares it"
        if held is None:
            continue
        by_scope: dict[tuple[str, ...], list[tuple[Use, tuple[str, ...]]]] = {}
        for use in agent.uses(facts)[0]:
            needed, choice = use.missing(held)
            if needed:
                by_scope.setdefault(needed, []).append((use, choice))
        edits = declare(facts, sorted({scope for needed in by_scope for scope in needed})) if by_scope else ()
        for needed, found in by_scope.items():
            use, _ = found[0]
            names = " and ".join(repr(one) for one in needed)
            yield Hit(
                node=use.place,
                message=f"`{use.title}` needs the scope {names}, and {told}.",
                edits=edits,
            )


@_rule(
    "OBO302",
    "A scope is declared that nothing uses",
    why="The user's token then opens more than the tool needs, and the user is asked to consent to it.",
    fix="Leave it out of `@requires_scopes(…)`. It is reported only where every use of the user's client is understood.",
)
def _unused(agent: Agent) -> Iterator[Hit]:
    for facts in agent.reader.tools(agent.module):
        uses, complete = agent.uses(facts)
        routes = [route for use in uses for route in use.routes or () if not opened_by_any(route)]
        if not complete or not routes or not facts.requires:
            continue
        used = {scope for route in routes for scope in (*route.any_of, *route.all_of)}
        genie = any(route.kind in ("genie_space", "mcp_genie") for route in routes)
        for one in (one for call in facts.requires for one in agent.declared(call)):
            requirement = one.requirement
            if requirement is None:
                break
            if genie and requirement.kind is not None and requirement.kind.name in ("sql_warehouse", "uc_table"):
                continue  # what the space is made of
            spelled = {scope for group in requirement.spellings for scope in group}
            if _in_routes(spelled) and not any(_touches(mine, other) for mine in spelled for other in used):
                yield Hit(node=one.node, message=f"'{facts.name}' declares {one.title}, and uses nothing of it.")


def _touches(mine: str, other: str) -> bool:
    return covers(mine, other) or covers(other, mine)


def _in_routes(scopes: set[str]) -> bool:
    """Whether the catalogue knows what a scope opens, apart from what any scope opens."""
    special = [route for route in ROUTES if not opened_by_any(route)]
    return any(_touches(one, other) for one in scopes for route in special for other in (*route.any_of, *route.all_of))


# ---------------------------------------------------------------- OBO4: the policy


@_rule(
    "OBO401",
    "System authorization for something that is declared per user",
    why="With both in the policy the agent may reach the resource for everybody, whatever the user may do, and nothing says "
    "which of the two was meant.",
    fix="Decide for one: `requires_scopes` where each user's own permission counts, `system_resources` where all users share "
    "the agent's.",
)
def _both_ways(agent: Agent) -> Iterator[Hit]:
    per_user = {one.same_as: one for one in agent.everywhere if one.same_as is not None}
    for module, _, one in agent.system:
        if module is agent.module and one.same_as in per_user:
            yield Hit(node=one.node, message=f"{one.title} is declared for the user as well, with `requires_scopes`.")
    if any(module is agent.module and one.same_as in per_user for module, _, one in agent.system):
        return
    system = {one.same_as for *_, one in agent.system if one.same_as is not None}
    for facts in agent.reader.tools(agent.module):
        for one in (one for call in facts.requires for one in agent.declared(call)):
            if one.same_as in system:
                yield Hit(node=one.node, message=f"{one.title} is a system resource as well.")


@_rule(
    "OBO402",
    "`resources=` beside `auth_policy=`",
    why="MLflow refuses the two together, when the model is logged.",
    fix="Put the resources into the policy's `SystemAuthPolicy`, or log with `obo_kit.log_model`, which joins them.",
)
def _resources_beside_policy(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        given = _logs_with(module, call)
        if given is not None and {"resources", "auth_policy"} <= given.keys():
            yield Hit(node=call, message=f"`{_text(call.func)}` gets both `resources=` and `auth_policy=`.")


def _logs_with(module: Module, call: ast.Call) -> dict[str, ast.expr] | None:
    """The arguments of a call of MLflow's ``log_model`` or ``save_model``."""
    func: ast.AST = call.func
    found: dict[str, ast.expr] = {}
    if module.dotted(func) == "functools.partial" and call.args:
        func = call.args[0]
    origin = module.origin(func)
    if isinstance(origin, tuple) and isinstance(origin[1], ast.Call):
        partial = origin[1]
        if origin[0].dotted(partial.func) != "functools.partial":
            return None
        found |= _logs_with(origin[0], partial) or {}
        func = partial.args[0] if partial.args else func
        module_of = origin[0]
    else:
        module_of = module
    dotted = module_of.dotted(func)
    if dotted.partition(".")[0] != "mlflow" or last(dotted) not in ("log_model", "save_model"):
        return None
    for one in call.keywords:
        if one.arg is not None:
            found[one.arg] = one.value
        else:
            found |= _unpacked(module, one.value)
    return {name: value for name, value in found.items() if not _is_none(value)}


def _unpacked(module: Module, node: ast.expr) -> dict[str, ast.expr]:
    origin = module.origin(node)
    match origin[1] if isinstance(origin, tuple) else None:
        case ast.Dict(keys=keys, values=values):
            return {
                key.value: value
                for key, value in zip(keys, values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
        case ast.Call(keywords=keywords) as call if module.dotted(call.func) == "builtins.dict":
            return {one.arg: one.value for one in keywords if one.arg is not None}
        case _:
            return {}


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
