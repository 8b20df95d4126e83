"""Whose clients an agent's names hold: the user's, the agent's own, or someone's that the source does not tell.

Only what is certain is said. A name that may hold several things holds all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

from obo_kit.analysis.check._clients import (
    ENTERS,
    Env,
    entered,
    is_header,
    of_class,
    of_environment,
    of_library,
    of_method,
    of_strategy,
    user,
)
from obo_kit.analysis.check._functions import FunctionReader
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._scopes import FUNCTIONS, Binding, Function, parameters
from obo_kit.analysis.check._vocabulary import (
    SESSION,
    TOKEN,
    Value,
    argument,
    kit_name,
    last,
    unpacks,
)

__all__ = ["ValueReader"]

_DEPTH: Final = 60
_MEANINGS: Final = 5
_CHOICES = (ast.IfExp, ast.BoolOp)


class ValueReader(FunctionReader):
    """Finds out what the expressions of a project are."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[ast.AST, tuple[tuple[ast.arg, tuple[Value, ...]], ...]], tuple[Value, ...]] = {}
        self._busy: set[ast.AST] = set()
        self._cut = 0

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
                return user(TOKEN) if is_header(module.text_of(key)) else of_environment(module, node)
            case ast.Await(value=inner) | ast.NamedExpr(value=inner) | ast.Starred(value=inner):
                return self.values(module, inner, env)
            case ast.IfExp() | ast.BoolOp():
                return self._any_of(module, choices(node), env)
            case ast.JoinedStr() | ast.BinOp():
                return [one for one in self._any_of(module, _text_parts(node), env) if one.what == TOKEN]
            case _:
                return ()

    def _any_of(self, module: Module, nodes: Iterable[ast.expr], env: Env) -> list[Value]:
        return [found for one in nodes for found in self.values(module, one, env)]

    # ------------------------------------------------------------ names

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
            return [entered(one) for one in self.values(module, binding.value, env)]
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
        """What a loop over an expression goes through: MCP servers and clients that were put into a list."""
        for home, meant, inner in self._meanings(module, node, env):
            match meant:
                case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                    yield from self._any_of(home, parts, inner)
                case ast.ListComp(elt=part) | ast.GeneratorExp(elt=part):
                    yield from self.values(home, part, inner)
                case _:
                    pass

    def _meanings(
        self, module: Module, node: ast.AST | None, env: Env, depth: int = 0
    ) -> Iterator[tuple[Module, ast.AST, Env]]:
        """The expressions that one may stand for, through names, parameters and helpers."""
        if node is None or depth > _MEANINGS:
            return
        called = self.called(module, node.func) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Name):
            for binding in module.bindings(node)[1]:
                if binding.how == "value":
                    yield from self._meanings(module, binding.value, env, depth + 1)
                elif isinstance(binding.node, ast.arg):
                    for home, given in self._handed(module, binding.node, binding.value):
                        yield from self._meanings(home, given, env, depth + 1)
        elif isinstance(node, ast.Call) and called is not None:
            if not self.facts(*called).is_tool:
                inner = self.env_of(module, node, *called, env)
                for part in called[0].returns(called[1]):
                    yield from self._meanings(called[0], part, inner, depth + 1)
        else:
            yield module, node, env

    # ------------------------------------------------------------ parameters

    def _parameter(self, module: Module, node: ast.arg, default: ast.AST | None, env: Env) -> Iterable[Value]:
        if node in env:
            return env[node]
        function = module.parent[node]
        assert isinstance(function, FUNCTIONS)
        what = self.injected(self.facts(module, function)).get(node.arg)
        if what is not None:
            return user(what)
        asked = self._asked_for(module, node, default)
        if is_header(node.arg) or any(is_header(home.text_of(argument(one, None, "alias"))) for home, one in asked):
            return user(TOKEN)
        found = [value for home, given in self._handed(module, node, default) for value in self.values(home, given)]
        if not found and node.annotation is not None and (what := self._client_type(module, node.annotation)):
            return [Value("given", what)]
        return found

    def _handed(self, module: Module, node: ast.arg, default: ast.AST | None) -> Iterator[tuple[Module, ast.expr]]:
        """What a parameter is given: by the function's callers, and by the dependency that FastAPI asks for it."""
        function = module.parent[node]
        assert isinstance(function, FUNCTIONS)
        for home, call in self._callers.get(function, []):
            given = self.passed(module, function, call).get(node)
            if given is not None:
                yield home, given
        for home, asked in self._asked_for(module, node, default):
            if last(home.dotted(asked.func)) in ("Depends", "Security") and asked.args:
                called = self.called(home, asked.args[0])
                if called is not None and called[1] is not function:
                    steps = [one.value for one in called[0].yields(called[1]) if one.value is not None]
                    yield from ((called[0], one) for one in (*called[0].returns(called[1]), *steps))

    def _asked_for(self, module: Module, node: ast.arg, default: ast.AST | None) -> list[tuple[Module, ast.Call]]:
        """``Header(…)`` and ``Depends(…)`` of a parameter: its default, or in its annotation."""
        found = [(module, default)] if isinstance(default, ast.Call) else []
        origin = module.origin(node.annotation) if node.annotation is not None else None
        if (
            isinstance(origin, tuple)
            and isinstance(origin[1], ast.Subscript)
            and isinstance(origin[1].slice, ast.Tuple)
        ):
            home, annotation = origin[0], origin[1].slice
            found += [(home, one) for one in annotation.elts if isinstance(one, ast.Call)]
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

    # ------------------------------------------------------------ attributes

    def _attribute(self, module: Module, node: ast.Attribute, env: Env) -> Iterable[Value]:
        if strategy := of_strategy(node.attr):
            return strategy
        owner = self.owner(module, node.value)
        if owner is not None:
            return self._of_object(module, owner, node.attr)
        found = [_attribute_of(one, node.attr) for one in self.values(module, node.value, env)]
        if not found:
            origin = module.origin(node)
            if isinstance(origin, tuple) and origin[1] is not node and isinstance(origin[1], ast.expr):
                return self.values(*origin)
            return self._given_to_object(module, node, env)
        return [one for one in found if one is not None]

    def _given_to_object(self, module: Module, node: ast.Attribute, env: Env) -> Iterable[Value]:
        """What an object of the project's own was made with: ``Headers(token=token).token``."""
        if node.attr not in self._given:
            return
        for home, meant, inner in self._meanings(module, node.value, env):
            if isinstance(meant, ast.Call) and (given := argument(meant, None, node.attr)) is not None:
                origin = home.origin(meant.func)
                if isinstance(origin, tuple) and isinstance(origin[1], ast.ClassDef):
                    yield from self.values(home, given, inner)

    def _of_object(self, module: Module, owner: ast.ClassDef, name: str) -> Iterable[Value]:
        found: list[Value] = []
        for value in self.stored(module, owner, name):
            found += self.values(module, value)
        for binding in module.body[owner].names.get(name, []):
            found += self._bound(module, binding, {})
            if isinstance(binding.value, FUNCTIONS) and _is_property(module, binding.value):
                found += self.returned(module, binding.value, {})
        return found

    # ------------------------------------------------------------ calls

    def _called(self, module: Module, node: ast.Call, env: Env) -> Iterable[Value]:
        found = of_class(self, module, node, env) or of_library(self, module, node, env)
        if found:
            return found
        entering = kit_name(module, node.func)
        if entering == "current_session":
            return user(SESSION)
        if entering in ("with_user_client", "user_session") and not node.args and _is_entered(module, node):
            return user(entering)
        called = self.called(module, node.func)
        if called is not None:
            return self.returned(*called, self.env_of(module, node, *called, env))
        name = last(module.dotted(node.func))
        if name == "get_user_workspace_client":  # of the platform's templates
            return user("WorkspaceClient")
        if name == "DatabricksMultiServerMCPClient" and node.args:
            return [one for one in self._items(module, node.args[0], env) if one.who == "user"][:1]
        return of_method(self, module, node, env) or self._variable(module, node)

    def _variable(self, module: Module, node: ast.Call) -> Iterable[Value]:
        """What a context variable was set to."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr != "get":
            return ()
        made = self.context_variable(module, node.func.value)
        return [found for home, one in self._set.get(made, []) for found in self.values(home, one)] if made else ()

    def returned(self, module: Module, function: Function, env: Env) -> Iterable[Value]:
        """What a function returns; nothing for a tool, whose result is data."""
        if self.facts(module, function).is_tool:
            return ()
        return [found for one in module.returns(function) for found in self.values(module, one, env)]


def _text_parts(node: ast.JoinedStr | ast.BinOp) -> list[ast.expr]:
    """What a text is put together from."""
    if isinstance(node, ast.JoinedStr):
        return [one.value for one in node.values if isinstance(one, ast.FormattedValue)]
    return [node.left, node.right] if isinstance(node.op, ast.Add) else []


def choices(node: ast.IfExp | ast.BoolOp) -> list[ast.expr]:
    """The expressions that a choice is between."""
    return node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]


def _is_entered(module: Module, call: ast.Call) -> bool:
    """Whether a call is used as a context manager, and not as a decorator."""
    above = module.parent[call]
    if isinstance(above, ast.Call) and isinstance(above.func, ast.Attribute):
        return above.func.attr in ENTERS
    return isinstance(above, ast.withitem)


def _is_property(module: Module, function: Function) -> bool:
    decorators = [] if isinstance(function, ast.Lambda) else function.decorator_list
    return any(last(module.dotted(one)) in ("property", "cached_property") for one in decorators)


def _attribute_of(value: Value, name: str) -> Value | None:
    if value.what == SESSION:
        return Value(value.who, "WorkspaceClient") if name == "client" else Value(value.who, SESSION, (name,))
    if value.what in (TOKEN, "strategy"):
        return None
    if value.path == ("config",):
        return Value(value.who, TOKEN) if name == "token" else None
    return Value(value.who, value.what, (*value.path, name))
