"""Tell whose clients an agent's names hold: the user's, the agent's own, or those of someone that the source does not name.

Only what is certain counts. A name that may hold several values holds all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

from obo_kit.analysis.check._clients import (
    ENTERS,
    GIVE_TOKEN,
    Env,
    entered,
    is_header,
    of_class,
    of_environment,
    of_library,
    of_method,
    of_setting,
    of_strategy,
    user,
)
from obo_kit.analysis.check._functions import FunctionReader, runs, state_of
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._options import completed, entries_of
from obo_kit.analysis.check._scopes import FUNCTIONS, Binding, Function, defaults, parameters
from obo_kit.analysis.check._vocabulary import (
    SESSION,
    TOKEN,
    Value,
    argument,
    arguments,
    built_class,
    kit_name,
    last,
    own_class,
    unpacks,
)

__all__ = ["ValueReader", "attribute_asked_for", "is_property", "looked_up_in"]

_DEPTH: Final = 60
_MEANINGS: Final = 5
# The classes of nodes that `ValueReader` looks into. Most expressions are of another.
_MAY_BE_CLIENTS: Final = frozenset(
    {ast.Attribute, ast.Await, ast.BinOp, ast.BoolOp, ast.Call, ast.IfExp, ast.JoinedStr, ast.Name, ast.NamedExpr}
    | {ast.Starred, ast.Subscript, ast.arg}
)
_CHOICES = (ast.IfExp, ast.BoolOp)


class ValueReader(FunctionReader):
    """Finds out what the expressions of a project are."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[ast.AST, tuple[tuple[ast.arg, tuple[Value, ...]], ...]], tuple[Value, ...]] = {}
        self._busy: set[ast.AST] = set()
        self._cut = 0

    def values(self, module: Module, node: ast.AST | None, env: Env | None = None) -> tuple[Value, ...]:
        """Return the clients, and what acts like one, that an expression may be; empty if it is anything else."""
        if node is None or node.__class__ not in _MAY_BE_CLIENTS:
            return ()
        key = (node, tuple(env.items()) if env else ())
        if key in self._known:
            return self._known[key]
        if node in self._busy or len(self._busy) > _DEPTH:  # a value that refers to itself is unknown
            self._cut += 1
            return ()
        self._busy.add(node)
        cut = self._cut
        try:
            values = tuple(dict.fromkeys(self._values(module, node, env or {})))
        finally:
            self._busy.discard(node)
        if self._cut == cut or not self._busy:
            self._known[key] = values
        return values

    def _values(self, module: Module, node: ast.AST, env: Env) -> Iterable[Value]:
        match node:
            case ast.Name():
                return self._named(module, node, env)
            case ast.arg():
                return self._parameter(module, node, module.default_of(node), env)
            case ast.Attribute():
                return self._attribute(module, node, env)
            case ast.Call():
                return self._called(module, node, env)
            case ast.Subscript():
                return self._item_of(module, node, env)
            case ast.Await(value=inner) | ast.NamedExpr(value=inner) | ast.Starred(value=inner):
                return self.values(module, inner, env)
            case ast.IfExp() | ast.BoolOp():
                return self._any_of(module, choices(node), env)
            case ast.JoinedStr() | ast.BinOp():
                return [item for item in self._any_of(module, _text_parts(node), env) if item.what == TOKEN]
            case _:
                return ()

    def _item_of(self, module: Module, node: ast.Subscript, env: Env) -> Iterable[Value]:
        """Return the token that an item is: of headers or the environment by its name, or a part of a token."""
        text = module.text_of(node.slice)
        if text is not None and (entries := [*self._entries(module, node.value, text, env)]):
            return entries
        numbered = isinstance(node.slice, (ast.Slice, ast.UnaryOp)) or getattr(node.slice, "value", "") in (0, 1, 2)
        if numbered or text == "Authorization":
            return [value for value in self.values(module, node.value, env) if value.what == TOKEN]
        return user(TOKEN) if is_header(text) else of_environment(module, node)

    def _entries(self, module: Module, node: ast.expr, key: str, env: Env) -> Iterator[Value]:
        """Yield what a dictionary holds for a key, where the source shows the dictionary: ``{"token": token}["token"]``."""
        for home, meant, inner in self.meanings(module, node, env):
            match meant:
                case ast.Dict(keys=keys, values=values):
                    named = zip(keys, values, strict=True)
                    yield from self._any_of(home, [part for each, part in named if home.text_of(each) == key], inner)
                case ast.Call(func=func, args=[], keywords=keywords) if home.dotted(func) == "builtins.dict":
                    yield from self._any_of(home, [part.value for part in keywords if part.arg == key], inner)
                case _:
                    pass

    def _any_of(self, module: Module, nodes: Iterable[ast.expr], env: Env) -> list[Value]:
        return [value for node in nodes for value in self.values(module, node, env)]

    # ------------------------------------------------------------ names

    def _named(self, module: Module, node: ast.Name, env: Env) -> Iterable[Value]:
        scope, bindings = module.bindings(node)
        if scope is None:
            return ()
        values: list[Value] = []
        for binding in bindings:
            values += self._bound(module, binding, env)
        return values

    def _bound(self, module: Module, binding: Binding, env: Env) -> Iterable[Value]:
        if binding.how == "value":
            return self.values(module, binding.value, env)
        if binding.how == "enter":
            return [entered(value) for value in self.values(module, binding.value, env)]
        if binding.how == "item":
            return self._items(module, binding.value, env)
        if binding.how == "parameter" and isinstance(binding.node, ast.arg):
            return self._parameter(module, binding.node, binding.value, env)
        if binding.how == "import":
            origin = module.imported(binding.imported, 0)
            if isinstance(origin, tuple) and isinstance(origin[1], ast.expr):
                return self.values(*origin)
            return of_strategy(origin) if isinstance(origin, str) else ()
        return ()

    def _items(self, module: Module, node: ast.AST | None, env: Env) -> Iterable[Value]:
        """Return the items of a loop over an expression: MCP servers and clients that were put into a list."""
        for home, meant, inner in self.meanings(module, node, env):
            match meant:
                case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                    yield from self._any_of(home, parts, inner)
                case ast.ListComp(elt=part) | ast.GeneratorExp(elt=part):
                    yield from self.values(home, part, inner)
                case ast.Call(func=ast.Attribute(value=whole, attr="items" | "values"), args=[]):
                    values = entries_of(home, whole) if isinstance(whole, ast.Name) else getattr(whole, "values", [])
                    yield from self._any_of(home, values, inner)
                case _:
                    pass

    def meanings(
        self, module: Module, node: ast.AST | None, env: Env, depth: int = 0
    ) -> Iterator[tuple[Module, ast.AST, Env]]:
        """Yield the expressions that an expression may stand for, through names, parameters and helpers."""
        if node is None or depth > _MEANINGS:
            return
        called = self.called(module, node.func) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and module.owner(node.value) is not None):
            for home, part in self._assigned_to(module, node):
                yield from self.meanings(home, part, env, depth + 1)
        elif isinstance(node, ast.Call) and called is not None:
            if not self.facts(*called).is_tool:
                inner = self.env_of(module, node, *called, env)
                for part in called[0].returns(called[1]):
                    yield from self.meanings(called[0], part, inner, depth + 1)
        else:
            yield module, node, env

    def _assigned_to(self, module: Module, node: ast.Attribute | ast.Name) -> Iterator[tuple[Module, ast.AST | None]]:
        """Yield what is assigned to a name, or to an attribute of ``self``, or passed for a parameter."""
        if isinstance(node, ast.Attribute):
            owner = module.owner(node.value)
            yield from ((module, value) for value in (self.stored(module, owner, node.attr) if owner else ()))
            return
        for binding in module.bindings(node)[1]:
            if binding.how == "value":
                yield module, binding.value
            elif isinstance(binding.node, ast.arg):
                yield from self.handed(module, binding.node, binding.value)

    # ------------------------------------------------------------ parameters

    def _parameter(self, module: Module, node: ast.arg, default: ast.AST | None, env: Env) -> Iterable[Value]:
        if node in env:
            return env[node]
        function = module.parent[node]
        assert isinstance(function, FUNCTIONS)
        what = self.injected(self.facts(module, function)).get(node.arg)
        if what is not None:
            return user(what)
        asked = self.asked_for(module, node, default)
        if is_header(node.arg) or any(is_header(home.text_of(argument(item, None, "alias"))) for home, item in asked):
            return user(TOKEN)
        values = [value for home, passed in self.handed(module, node, default) for value in self.values(home, passed)]
        if not values and node.annotation is not None and (what := self._client_type(module, node.annotation)):
            return [Value("given", what)]
        return values

    def rest_of(self, module: Module, name: ast.Name) -> Iterator[Value]:
        """Yield the values of the keywords that callers pass for ``**details``."""
        for binding in module.bindings(name)[1]:
            function = module.parent.get(binding.node)
            if isinstance(function, FUNCTIONS) and function.args.kwarg is binding.node:
                own = {parameter.arg for parameter in parameters(function)}
                for home, call in self.callers(function):
                    passed = (keyword.value for keyword in call.keywords if keyword.arg not in own)
                    yield from (value for part in passed for value in self.values(home, part))

    def handed_as(self, module: Module, name: ast.Name) -> Iterator[tuple[Module, ast.expr]]:
        """Yield the arguments for the parameter that a name stands for."""
        for binding in module.bindings(name)[1]:
            if isinstance(binding.node, ast.arg):
                yield from self.handed(module, binding.node, binding.value)

    def handed(self, module: Module, node: ast.arg, default: ast.AST | None) -> Iterator[tuple[Module, ast.expr]]:
        """Yield the arguments for a parameter: from the function's callers, and from the dependency that FastAPI calls."""
        function = module.parent[node]
        assert isinstance(function, FUNCTIONS)
        for home, call in self.callers(function):
            passed = self.passed(module, function, call).get(node)
            if passed is not None:
                yield home, passed
        for home, asked in self.asked_for(module, node, default):
            if last(home.dotted(asked.func)) in ("Depends", "Security") and asked.args:
                called = self.called(home, asked.args[0])
                if called is not None and called[1] is not function:
                    steps = [item.value for item in called[0].yields(called[1]) if item.value is not None]
                    yield from ((called[0], returned) for returned in (*called[0].returns(called[1]), *steps))

    def asked_for(self, module: Module, node: ast.arg, default: ast.AST | None) -> list[tuple[Module, ast.Call]]:
        """Return ``Header(…)`` and ``Depends(…)`` of a parameter, from its default or its annotation."""
        calls = [(module, default)] if isinstance(default, ast.Call) else []
        origin = module.origin(node.annotation) if node.annotation is not None else None
        if (
            isinstance(origin, tuple)
            and isinstance(origin[1], ast.Subscript)
            and isinstance(origin[1].slice, ast.Tuple)
        ):
            home, annotation = origin[0], origin[1].slice
            calls += [(home, element) for element in annotation.elts if isinstance(element, ast.Call)]
        return calls

    def passed(self, home: Module, function: Function, call: ast.Call) -> dict[ast.arg, ast.expr]:
        """Return the arguments of a call that the source shows, by the function's parameters, without a method's own object."""
        wanted = parameters(function)
        if home.class_of(function) is not None and isinstance(call.func, (ast.Attribute, ast.Name)):
            static = "staticmethod" in {ast.unparse(entry) for entry in getattr(function, "decorator_list", [])}
            wanted = wanted if static else wanted[1:]
        if function in self._stand_ins:  # what a decorator hands on as a whole is judged where the function is called
            wanted = [item for item in wanted if item not in (function.args.vararg, function.args.kwarg)]
            wanted = wanted[1:] if call in self._of_methods else wanted
        by_name = {item.arg: item for item in wanted}
        shown = takewhile(lambda item: not isinstance(item, ast.Starred), call.args)
        passed = dict(zip(wanted, shown, strict=False))
        passed |= {by_name[keyword.arg]: keyword.value for keyword in call.keywords if keyword.arg in by_name}
        return passed

    def env_of(self, module: Module, call: ast.Call, home: Module, function: Function, env: Env) -> Env:
        """Return the values of the parameters in this call, and of those that a method's own object was made with."""
        passed = self.passed(home, function, call)
        values = {**env, **{item: self.values(module, passed[item], env) for item in passed}}
        if not unpacks(call):
            left_out = {item: default for item, default in defaults(function).items() if item not in passed}
            values |= {item: own for item, default in left_out.items() if (own := self.values(home, default))}
        made = self.made_by(module, call.func.value) if isinstance(call.func, ast.Attribute) else None
        target = made[0].origin(made[1].func) if made is not None else None
        if made is not None and isinstance(target, tuple) and (begins := runs(*target)) is not None:
            values |= self.env_of(*made, target[0], begins, {})
        return values

    def callers(self, function: Function) -> list[tuple[Module, ast.Call]]:
        """Return the calls of one of the project's functions."""
        return self._callers.get(function, [])

    # ------------------------------------------------------------ attributes

    def _attribute(self, module: Module, node: ast.Attribute, env: Env) -> Iterable[Value]:
        if strategy := of_strategy(node.attr):
            return strategy
        owner = module.owner(node.value)
        if owner is not None:
            return self._of_object(module, owner, node.attr, env)
        values = [_attribute_of(value, node.attr) for value in self.values(module, node.value, env)]
        if not values and (made := self.made_of(module, node.value)) is not None:
            return self._of_object(*made, node.attr, env) or of_setting(node)
        if not values:
            origin = module.origin(node)
            if isinstance(origin, tuple) and origin[1] is not node and isinstance(origin[1], ast.expr):
                return self.values(*origin)
            return [*self._given_to_object(module, node, env)] or [*self._in_state(node)] or of_setting(node)
        return [item for item in values if item is not None]

    def _given_to_object(self, module: Module, node: ast.Attribute, env: Env) -> Iterable[Value]:
        """Yield the values that one of the project's own objects was made with: ``Headers(token=token).token``."""
        if node.attr not in self._given:
            return
        for home, meant, inner in self.meanings(module, node.value, env):
            if isinstance(meant, ast.Call) and (passed := argument(meant, None, node.attr)) is not None:
                origin = home.origin(meant.func)
                of_own = home.owner(meant.func) or (origin[1] if isinstance(origin, tuple) else None)
                if isinstance(of_own, ast.ClassDef):
                    yield from self.values(home, passed, inner)

    def _in_state(self, node: ast.Attribute) -> Iterator[Value]:
        """Yield the values that are put into the state of the application, or of a request."""
        for home, value in self._states.get(state_of(node) or ("", ""), []):
            yield from self.values(home, value)

    def _of_object(self, module: Module, owner: ast.ClassDef, name: str, env: Env) -> Iterable[Value]:
        values: list[Value] = []
        for value in self.stored(module, owner, name):
            values += self.values(module, value, env)
        for home, value in self.given_to_field(module, owner, name):
            values += self.values(home, value)
        for binding in module.body[owner].names.get(name, []):
            values += self._bound(module, binding, {})
            if isinstance(binding.value, FUNCTIONS) and is_property(module, binding.value):
                values += self.returned(module, binding.value, env)
        return values

    # ------------------------------------------------------------ calls

    def _called(self, module: Module, node: ast.Call, env: Env) -> Iterable[Value]:
        values = of_class(self, module, completed(module, node), env) or of_library(self, module, node, env)
        if values:
            return values
        entering = kit_name(module, node.func)
        if entering == "current_session":
            return user(SESSION)
        if entering in ("with_user_client", "user_session") and not node.args and _is_entered(module, node):
            return user(entering)
        called = self.called(module, node.func)
        if called is not None:
            return self._of_function(module, node, *called, env)
        if (registry := looked_up_in(node.func)) is not None:
            return self._of_registered(module, registry)
        if (own := own_class(module, node.func)) is not None:
            return self._made_by_own(module, node, *own, env)
        name = last(module.dotted(node.func))
        if name == "get_user_workspace_client":  # defined in the platform's templates
            return user("WorkspaceClient")
        if name == "DatabricksMultiServerMCPClient" and node.args:
            return [item for item in self._items(module, node.args[0], env) if item.who == "user"][:1]
        return self._by_method(module, node, env)

    def _made_by_own(
        self, module: Module, node: ast.Call, home: Module, cls: ast.ClassDef, env: Env
    ) -> Iterable[Value]:
        """Return what a class that derives from an official one makes, by ``super().__init__(…)`` in its ``__init__``."""
        begins = runs(home, cls)
        for call in home.inside(begins, ast.Call) if begins is not None else ():
            if isinstance(call.func, ast.Attribute) and call.func.attr == "__init__" and built_class(home, call.func):
                return self.values(home, call, self.env_of(module, node, home, begins, env)) if begins else ()
        return ()

    def _of_function(
        self, module: Module, node: ast.Call, home: Module, function: Function, env: Env
    ) -> Iterable[Value]:
        """Return what a call of one of the project's functions returns."""
        forwarded = [] if self.facts(home, function).is_tool else self.forwarded(module, node)
        values = [value for inner in forwarded for value in of_class(self, module, inner, env)]
        return values or self.returned(home, function, self.env_of(module, node, home, function, env))

    def _of_registered(self, module: Module, registry: ast.expr) -> Iterable[Value]:
        """Return what the functions give that were put into a dictionary: ``FACTORIES[name]()``."""
        name, owner = ast.unparse(registry), module.owner(getattr(registry, "value", registry))
        for store in module.stores:
            place = store.target.value if isinstance(store.target, ast.Subscript) else None
            same = place is not None and ast.unparse(place) == name
            if same and (owner is None or module.class_around(store.target) is owner):
                handed = [*self.handed_as(module, store.value)] if isinstance(store.value, ast.Name) else []
                for home, made in handed or [(module, store.value)]:
                    yield from self.provided(home, made)

    def _by_method(self, module: Module, node: ast.Call, env: Env) -> Iterable[Value]:
        return (
            of_method(self, module, node, env) or self._variable(module, node, env) or self._composed(module, node, env)
        )

    def _composed(self, module: Module, node: ast.Call, env: Env) -> Iterable[Value]:
        """Return the token in a text that is put together: ``"{}".format(token)``, ``" ".join([token])``."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in ("format", "join"):
            return ()
        if not isinstance(node.func.value, (ast.Constant, ast.JoinedStr, ast.Name)) or module.dotted(node.func):
            return ()
        parts = [value for part in arguments(node) for value in self.values(module, part, env)]
        parts += self._items(module, node.args[0], env) if node.func.attr == "join" and node.args else []
        return [value for value in parts if value.what == TOKEN]

    def _variable(self, module: Module, node: ast.Call, env: Env) -> Iterable[Value]:
        """Return the values that a context variable was set to, or that an attribute asked for by name has."""
        if (attribute := attribute_asked_for(node)) is not None:
            return self.values(module, attribute, env)
        if not isinstance(node.func, ast.Attribute) or node.func.attr != "get":
            return ()
        made = self.context_variable(module, node.func.value)
        return self.values_set(made) if made is not None else ()

    def values_set(self, made: ast.Call) -> list[Value]:
        """Return the values that a context variable is set to."""
        return [value for home, item in self._set.get(made, []) for value in self.values(home, item)]

    def returned(self, module: Module, function: Function, env: Env) -> Iterable[Value]:
        """Return the values that a function returns; none for a tool, whose result is data."""
        if self.facts(module, function).is_tool:
            return ()
        return [value for returned in module.returns(function) for value in self.values(module, returned, env)]

    def provided(self, module: Module, node: ast.expr, env: Env | None = None) -> tuple[Value, ...]:
        """Return what an expression may be, or what it returns if it is a function."""
        called = (module, node) if isinstance(node, ast.Lambda) else self.called(module, node)
        return self.values(module, node, env) or (
            tuple(self.returned(*called, env or {})) if called is not None else ()
        )


def looked_up_in(func: ast.expr) -> ast.expr | None:
    """Return the dictionary that a function is taken from, to be called: ``FACTORIES[name]``, ``FACTORIES.get(name)``."""
    match func:
        case ast.Subscript(value=ast.Name() | ast.Attribute() as registry):
            return registry
        case ast.Call(func=ast.Attribute(value=ast.Name() | ast.Attribute() as registry, attr="get")):
            return registry
        case _:
            return None


def attribute_asked_for(node: ast.Call) -> ast.Attribute | None:
    """Return ``getattr(request.state, "client")`` as the attribute that it asks for."""
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
            return ast.copy_location(ast.Attribute(owner, name, ast.Load()), node)
        case _:
            return None


def _text_parts(node: ast.JoinedStr | ast.BinOp) -> list[ast.expr]:
    """Return the parts that make up a text."""
    if isinstance(node, ast.JoinedStr):
        return [value.value for value in node.values if isinstance(value, ast.FormattedValue)]
    if isinstance(node.op, ast.Mod):
        return node.right.elts if isinstance(node.right, ast.Tuple) else getattr(node.right, "values", [node.right])
    return [node.left, node.right] if isinstance(node.op, ast.Add) else []


def choices(node: ast.IfExp | ast.BoolOp) -> list[ast.expr]:
    """Return the expressions that a choice is between."""
    return node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]


def _is_entered(module: Module, call: ast.Call) -> bool:
    """Return whether a call is used as a context manager, and not as a decorator."""
    above = module.parent.get(call)
    if isinstance(above, ast.Call) and isinstance(above.func, ast.Attribute):
        return above.func.attr in ENTERS
    return isinstance(above, ast.withitem)


def is_property(module: Module, function: Function) -> bool:
    decorators = [] if isinstance(function, ast.Lambda) else function.decorator_list
    return any(last(module.dotted(decorator)) in ("property", "cached_property") for decorator in decorators)


def _attribute_of(value: Value, name: str) -> Value | None:
    if value.what == SESSION:
        return Value(value.who, "WorkspaceClient") if name == "client" else Value(value.who, SESSION, (name,))
    if value.what == TOKEN:
        return value if name == "access_token" else None
    if value.path == ("config",) or (value.what == "strategy" and not value.path):
        if name == "token":
            return Value(value.who, TOKEN)
        return Value(value.who, value.what, (*value.path, name)) if name in GIVE_TOKEN else None
    return Value(value.who, value.what, (*value.path, name))
