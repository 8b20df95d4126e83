"""Whose clients an agent's names hold: the user's, the agent's own, or someone's that the source does not tell.

Only what is certain is said. A name that may hold several things holds all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

from obo_kit.analysis.check._functions import FunctionReader
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._scopes import FUNCTIONS, Binding, Function, parameters, walk
from obo_kit.analysis.check._vocabulary import (
    BUILT_ON,
    CARRY_NO_USER,
    CLIENTS,
    SEARCH,
    SESSION,
    TOKEN,
    Value,
    argument,
    arguments,
    kit_name,
    last,
    official,
    returns,
    unpacks,
)

__all__ = ["Env", "Reader"]

Env: TypeAlias = Mapping[ast.arg, "tuple[Value, ...]"]

_HEADER: Final = "x-forwarded-access-token"
_STRATEGIES: Final = ("ModelServingUserCredentials", "MODEL_SERVING_USER_CREDENTIALS")
_GIVEN_TO: Final[Mapping[str, tuple[str, ...]]] = {
    "WorkspaceClient": ("config", "credentials_strategy", "credentials_provider", "token"),
    "Config": ("credentials_strategy", "credentials_provider", "token"),
    "VectorSearchClient": ("credential_strategy", "personal_access_token"),
    "AISearchClient": ("credential_strategy", "personal_access_token"),
}
# What says nothing about who acts.
_NEUTRAL: Final = frozenset(
    {
        "auth_type",
        "cluster_id",
        "custom_headers",
        "debug_headers",
        "debug_truncate_bytes",
        "disable_notice",
        "host",
        "product",
        "product_version",
        "workspace_id",
        "workspace_url",
    }
)
_TEXT_METHODS: Final = frozenset({"decode", "encode", "lstrip", "removeprefix", "replace", "rstrip", "strip"})
_DEPTH: Final = 60
# What they make keeps what they are given, as an object's own constructor is taken to do.
_MAKERS: Final = frozenset(
    {"create_agent", "create_react_agent", "create_tool_calling_agent", "from_function", "function_tool"}
)
_ENTERS: Final = frozenset({"enter_async_context", "enter_context"})
_SEVERAL: Final = ("builtins.dict", "builtins.list", "builtins.set", "builtins.tuple", "functools.partial")


def _user(what: str, *path: str) -> tuple[Value, ...]:
    return (Value("user", what, path),)


class Reader(FunctionReader):
    """Finds out what the expressions of a project hold."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[ast.AST, tuple[tuple[ast.arg, tuple[Value, ...]], ...]], tuple[Value, ...]] = {}
        self._busy: set[ast.AST] = set()
        self._holding: set[ast.AST] = set()
        self._cut = 0

    # ------------------------------------------------------------ values

    def values(self, module: Module, node: ast.AST | None, env: Env | None = None) -> tuple[Value, ...]:
        """What an expression may be, of clients and what acts like one; nothing where it is something else."""
        if node is None:
            return ()
        key = (node, tuple(env.items()) if env else ())
        if key in self._known:
            return self._known[key]
        if node in self._busy or len(self._busy) > _DEPTH:  # of what refers to itself nothing is known
            self._cut += 1
            return ()
        self._busy.add(node)
        cut = self._cut
        try:
            found = tuple(dict.fromkeys(self._values(module, node, env or {})))
        finally:
            self._busy.discard(node)
        if self._cut == cut or not self._busy:
            self._known[key] = found
        return found

    def _values(self, module: Module, node: ast.AST, env: Env) -> Iterable[Value]:
        match node:
            case ast.Name():
                return self._named(module, node, env)
            case ast.Attribute():
                return self._attribute(module, node, env)
            case ast.Call():
                return self._called(module, node, env)
            case ast.Subscript(slice=key):
                return _user(TOKEN) if _is_header(module.text_of(key)) else ()
            case ast.Await(value=inner) | ast.NamedExpr(value=inner) | ast.Starred(value=inner):
                return self.values(module, inner, env)
            case ast.IfExp():
                return [*self.values(module, node.body, env), *self.values(module, node.orelse, env)]
            case ast.BoolOp():
                return [found for one in node.values for found in self.values(module, one, env)]
            case ast.JoinedStr(values=parts):
                inner_parts = [one.value for one in parts if isinstance(one, ast.FormattedValue)]
                held = [found for one in inner_parts for found in self.values(module, one, env)]
                return [one for one in held if one.what == TOKEN]
            case ast.BinOp(op=ast.Add()):
                both = [*self.values(module, node.left, env), *self.values(module, node.right, env)]
                return [one for one in both if one.what == TOKEN]
            case _:
                return ()

    def _named(self, module: Module, node: ast.Name, env: Env) -> Iterable[Value]:
        scope, bindings = module.bindings(node)
        if scope is None:
            return ()
        found: list[Value] = []
        for one in bindings:
            found += self._bound(module, one, env)
        return found

    def _bound(self, module: Module, binding: Binding, env: Env) -> Iterable[Value]:
        if binding.how == "value":
            return self.values(module, binding.value, env)
        if binding.how == "enter":
            return [_entered(one) for one in self.values(module, binding.value, env)]
        if binding.how == "item":
            return self._items(module, binding.value, env)
        if binding.how == "parameter" and isinstance(binding.node, ast.arg):
            return self._parameter(module, binding.node, binding.value, env)
        if binding.how == "import":
            origin = module.imported(binding.imported, 0)
            if isinstance(origin, tuple) and isinstance(origin[1], ast.expr):
                return self.values(*origin)
            if isinstance(origin, str) and last(origin) in _STRATEGIES:
                return _user("strategy")
        return ()

    def _items(self, module: Module, node: ast.AST | None, env: Env, depth: int = 0) -> Iterable[Value]:
        """What a loop over an expression goes through: MCP servers and clients that were put into a list."""
        found: list[Value] = []
        if node is None or depth > 8:
            return found
        match node:
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                found += [one for part in parts for one in self.values(module, part, env)]
            case ast.ListComp(elt=part) | ast.GeneratorExp(elt=part):
                found += self.values(module, part, env)
            case ast.Name():
                for binding in module.bindings(node)[1]:
                    if binding.how == "value":
                        found += self._items(module, binding.value, env, depth + 1)
                    elif binding.how == "parameter" and isinstance(binding.node, ast.arg):
                        function = module.parent[binding.node]
                        assert isinstance(function, FUNCTIONS)
                        for home, call in self._callers.get(function, []):
                            given = self.passed(module, function, call).get(binding.node)
                            found += self._items(home, given, env, depth + 1)
            case ast.Call():
                called = self.called(module, node.func)
                if called is not None and not self.facts(*called).is_tool:
                    inner = self.env_of(module, node, *called, env)
                    found += [
                        one for part in returns(called[1]) for one in self._items(called[0], part, inner, depth + 1)
                    ]
            case _:
                pass
        return found

    def _parameter(self, module: Module, node: ast.arg, default: ast.AST | None, env: Env) -> Iterable[Value]:
        if node in env:
            return env[node]
        function = module.parent[node]
        assert isinstance(function, FUNCTIONS)
        what = self.injected(self.facts(module, function)).get(node.arg)
        if what is not None:
            return _user(what)
        if _is_header(node.arg):
            return _user(TOKEN)
        if isinstance(default, ast.Call) and _is_header(module.text_of(argument(default, None, "alias"))):
            return _user(TOKEN)
        found: list[Value] = []
        for home, call in self._callers.get(function, []):
            given = self.passed(module, function, call).get(node)
            found += self.values(home, given) if given is not None else ()
        if not found and node.annotation is not None and (what := self._client_type(module, node.annotation)):
            return [Value("given", what)]
        return found

    def passed(self, home: Module, function: Function, call: ast.Call) -> dict[ast.arg, ast.expr]:
        """The arguments of a call, by the function's parameters. A method's own object is passed over."""
        if unpacks(call):
            return {}
        wanted = parameters(function)
        if home.class_of(function) is not None and isinstance(call.func, (ast.Attribute, ast.Name)):
            static = "staticmethod" in {ast.unparse(one) for one in getattr(function, "decorator_list", [])}
            wanted = wanted if static else wanted[1:]
        by_name = {one.arg: one for one in wanted}
        given = dict(zip(wanted, call.args, strict=False))
        given |= {by_name[one.arg]: one.value for one in call.keywords if one.arg in by_name}
        return given

    def env_of(self, module: Module, call: ast.Call, home: Module, function: Function, env: Env) -> Env:
        """What the parameters hold in this call."""
        given = self.passed(home, function, call)
        return {**env, **{one: self.values(module, given[one], env) for one in given}}

    def _attribute(self, module: Module, node: ast.Attribute, env: Env) -> Iterable[Value]:
        if node.attr in _STRATEGIES:
            return _user("strategy")
        owner = self.owner(module, node.value)
        if owner is not None:
            return self._of_object(module, owner, node.attr)
        found = [_attribute_of(one, node.attr) for one in self.values(module, node.value, env)]
        if not found:
            origin = module.origin(node)
            if isinstance(origin, tuple) and origin[1] is not node and isinstance(origin[1], ast.expr):
                return self.values(*origin)
        return [one for one in found if one is not None]

    def stored(self, module: Module, owner: ast.ClassDef, name: str) -> list[ast.expr]:
        """What the methods of a class put into an attribute."""
        return [
            store.value
            for store in module.stores
            if isinstance(store.target, ast.Attribute)
            and store.target.attr == name
            and self.owner(module, store.target.value) is owner
        ]

    def _of_object(self, module: Module, owner: ast.ClassDef, name: str) -> Iterable[Value]:
        found: list[Value] = []
        for value in self.stored(module, owner, name):
            found += self.values(module, value)
        for binding in module.body[owner].names.get(name, []):
            found += self._bound(module, binding, {})
            if isinstance(binding.value, FUNCTIONS) and _is_property(module, binding.value):
                found += self.returned(module, binding.value, {})
        return found

    def _called(self, module: Module, node: ast.Call, env: Env) -> Iterable[Value]:
        name = official(module, node.func)
        if name in _GIVEN_TO:
            return [self._made(module, node, name, env)]
        if name in BUILT_ON:
            return [self._built(module, node, name, env)]
        if name in CARRY_NO_USER:
            return [Value("agent", name)]
        if name == "DatabricksMultiServerMCPClient" and node.args:
            return [one for one in self._items(module, node.args[0], env) if one.who == "user"][:1]
        dotted = module.dotted(node.func)
        if dotted == "databricks.sql.connect":
            given = [argument(node, None, one) for one in ("access_token", "credentials_provider")]
            held = [one for part in given for one in self.values(module, part, env)]
            return _user("Connection") if any(one.who == "user" for one in held) else ()
        if last(dotted) in _STRATEGIES:
            return _user("strategy")
        if last(dotted) in ("fetch_obo_token",):
            return _user(TOKEN)
        if dotted in ("copy.copy", "typing.cast", "builtins.str"):
            return self.values(module, node.args[-1], env) if node.args else ()
        entering = kit_name(module, node.func)
        if entering == "current_session":
            return _user(SESSION)
        if entering in ("with_user_client", "user_session") and not node.args and _is_entered(module, node):
            return _user(entering)
        called = self.called(module, node.func)
        if called is not None:
            return self.returned(*called, self.env_of(module, node, *called, env))
        if last(dotted) == "get_user_workspace_client":  # of the platform's templates
            return _user("WorkspaceClient")
        return self._of_method(module, node, env)

    def _of_method(self, module: Module, node: ast.Call, env: Env) -> Iterable[Value]:
        if not isinstance(node.func, ast.Attribute):
            return ()
        name = node.func.attr
        if name == "get" and node.args and _is_header(module.text_of(node.args[0])):
            return _user(TOKEN)
        if name in _ENTERS and node.args:
            return [_entered(one) for one in self.values(module, node.args[0], env)]
        found: list[Value] = []
        for one in self.values(module, node.func.value, env):
            if one.what == TOKEN and name in _TEXT_METHODS:
                found.append(one)
            elif one.what == SESSION and name == "get" and node.args:
                wanted = last(module.dotted(node.args[0]))
                found += [Value(one.who, wanted)] if wanted in CLIENTS else []
            elif one.what in SEARCH and name in ("get_index", "get_async_index"):
                found.append(Value(one.who, "VectorSearchIndex"))
            elif one.path == ("serving_endpoints",) and name == "get_open_ai_client":
                found.append(Value(one.who, "DatabricksOpenAI"))
            elif one.path == ("serving_endpoints",) and name == "get_langchain_chat_open_ai_client":
                found.append(Value(one.who, "ChatDatabricks"))
            elif name in ("with_options", "copy") and one.what.endswith("DatabricksOpenAI"):
                found.append(one)
        return found

    def _made(self, module: Module, call: ast.Call, name: str, env: Env) -> Value:
        given = [one for one in call.keywords if not (isinstance(one.value, ast.Constant) and one.value.value is None)]
        deciding = [one.value for one in given if one.arg in _GIVEN_TO[name]]
        if name in SEARCH and len(call.args) > 1:
            deciding.append(call.args[1])
        if name == "Config":
            name = "strategy"
        held = [one for part in deciding for one in self.values(module, part, env)]
        if any(one.who == "user" for one in held):
            return Value("user", name)
        known = not unpacks(call) and not deciding and len(call.args) <= (1 if name in SEARCH else 0)
        return Value("agent" if known and all(one.arg in _NEUTRAL for one in given) else "given", name)

    def _built(self, module: Module, call: ast.Call, name: str, env: Env) -> Value:
        on = argument(call, *BUILT_ON[name])
        if on is None or (isinstance(on, ast.Constant) and on.value is None):
            return Value("given" if unpacks(call) or _own_transport(call) else "agent", name)
        held = {one.who for one in self.values(module, on, env)}
        who: Literal["user", "agent", "given"] = "user" if "user" in held else "agent" if held == {"agent"} else "given"
        return Value(who, name)

    def returned(self, module: Module, function: Function, env: Env) -> Iterable[Value]:
        """What a function returns; nothing for a tool, whose result is data."""
        if self.facts(module, function).is_tool:
            return ()
        return [found for one in returns(function) for found in self.values(module, one, env)]

    # ------------------------------------------------------------ what is held on to

    def held(self, module: Module, node: ast.AST | None, env: Env | None = None) -> Value | None:
        """The user's client or token that a value keeps hold of: itself, in a container, or in a function's closure."""
        if node is None or node in self._holding:
            return None
        env = env or {}
        for one in self.values(module, node, env):
            if _keeps(one):
                return one
        self._holding.add(node)
        try:
            return next((found for found in self._held(module, node, env) if found is not None), None)
        finally:
            self._holding.discard(node)

    def _held(self, module: Module, node: ast.AST, env: Env) -> Iterator[Value | None]:
        match node:
            case ast.Lambda() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield self._closed_over(module, node, env)
            case ast.Name():
                scope, bindings = module.bindings(node)
                known = () if scope is None or scope is module.top else bindings
                yield from (self.held(module, one.value, env) for one in known if one.how in ("value", "def"))
            case ast.Call():
                yield from self._held_by_call(module, node, env)
            case _:
                yield from (self.held(module, one, env) for one in _parts(node))

    def _held_by_call(self, module: Module, node: ast.Call, env: Env) -> Iterator[Value | None]:
        given = arguments(node)
        named = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if module.dotted(node.func) in _SEVERAL or named[:1].isupper() or named in _MAKERS:
            yield from (self.held(module, one, env) for one in given)
        if kit_name(module, node.func) == "available_tools":
            yield Value("user", "tools")
        called = self.called(module, node.func)
        if called is not None and not self.facts(*called).is_tool:
            home, function = called
            inner = self.env_of(module, node, home, function, env)
            yield from (self.held(home, one, inner) for one in returns(function))

    def _closed_over(self, module: Module, function: Function, env: Env) -> Value | None:
        for node in walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                home = module.scope[node].home(node.id)
                if home is not None and home is not module.top and not home.within(function):
                    found = next((one for one in self.values(module, node, env) if _keeps(one)), None)
                    if found is not None:
                        return found
        return None


def _parts(node: ast.AST) -> list[ast.expr]:
    """What a container, or a choice, is made of."""
    match node:
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.BoolOp(values=parts):
            return parts
        case ast.Dict():
            return [*node.values, *(key for key in node.keys if key is not None)]
        case ast.ListComp(elt=part) | ast.SetComp(elt=part) | ast.GeneratorExp(elt=part) | ast.DictComp(value=part):
            return [part]
        case ast.Starred(value=part) | ast.Await(value=part) | ast.NamedExpr(value=part):
            return [part]
        case ast.IfExp():
            return [node.body, node.orelse]
        case ast.BinOp(op=ast.Add()):
            return [node.left, node.right]
        case _:
            return []


def _is_entered(module: Module, call: ast.Call) -> bool:
    """Whether a call is used as a context manager, and not as a decorator."""
    above = module.parent[call]
    if isinstance(above, ast.Call) and isinstance(above.func, ast.Attribute):
        return above.func.attr in _ENTERS
    return isinstance(above, ast.withitem)


def _own_transport(call: ast.Call) -> bool:
    """Whether a client is told by other means how to authenticate."""
    return any(one.arg in ("api_key", "client_args", "headers", "http_client", "params") for one in call.keywords)


def _is_property(module: Module, function: Function) -> bool:
    decorators = [] if isinstance(function, ast.Lambda) else function.decorator_list
    return any(last(module.dotted(one)) in ("property", "cached_property") for one in decorators)


def _is_header(text: str | None) -> bool:
    return text is not None and text.lower().replace("_", "-") == _HEADER


def _keeps(value: Value) -> bool:
    """Whether who has this can act as the user."""
    if value.who != "user" or value.what in ("strategy", "user_session", "with_user_client"):
        return False
    return not (value.what == SESSION and value.path)


def _entered(value: Value) -> Value:
    if value.what == "with_user_client":
        return Value(value.who, "WorkspaceClient")
    return Value(value.who, SESSION) if value.what == "user_session" else value


def _attribute_of(value: Value, name: str) -> Value | None:
    if value.what == SESSION:
        return Value(value.who, "WorkspaceClient") if name == "client" else Value(value.who, SESSION, (name,))
    if value.what in (TOKEN, "strategy"):
        return None
    if value.path == ("config",):
        return Value(value.who, TOKEN) if name == "token" else None
    return Value(value.who, value.what, (*value.path, name))
