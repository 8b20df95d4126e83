"""Find out who keeps the user's client: a container, an object, or a function's closure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._clients import Env
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._ownership import ValueReader, is_property
from obo_kit.analysis.check._scopes import Function, walk
from obo_kit.analysis.check._vocabulary import SESSION, Value, arguments, kit_name

__all__ = ["Reader"]

# Objects that these make keep their arguments, as any object is assumed to do.
_MAKERS: Final = frozenset(
    {"create_agent", "create_react_agent", "create_tool_calling_agent", "from_function", "function_tool"}
)
# Methods that give the object itself, made ready to run.
_ENDS: Final = frozenset({"bind_tools", "build", "compile", "with_config"})
_SEVERAL: Final = ("builtins.dict", "builtins.list", "builtins.set", "builtins.tuple", "functools.partial")


class Reader(ValueReader):
    """Finds out what the expressions of a project are, and which clients they keep."""

    def __init__(self) -> None:
        super().__init__()
        self._holding: set[ast.AST] = set()

    def held(self, module: Module, node: ast.AST | None, env: Env | None = None) -> Value | None:
        """Return the user's client or token that a value keeps: the value itself, in a container, or in a closure."""
        if node is None or node.__class__ is ast.Constant or node in self._holding:
            return None
        env = env or {}
        for value in self.values(module, node, env):
            if _keeps(value):
                return value
        self._holding.add(node)
        try:
            return next((client for client in self._held(module, node, env) if client is not None), None)
        finally:
            self._holding.discard(node)

    def _held(self, module: Module, node: ast.AST, env: Env) -> Iterator[Value | None]:
        match node:
            case ast.Lambda() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield self._closed_over(module, node, env)
            case ast.Name():
                scope, bindings = module.bindings(node)
                known = () if scope is None or scope is module.top else bindings
                own = known and module.owner(node) is None  # what is on `self` is judged where it is put
                yield from (self.held(module, item.value, env) for item in known if item.how in ("value", "def"))
                yield from (self.held(module, part, env) for part in (module.put_into(node) if own else ()))
            case ast.Call():
                yield from self._held_by_call(module, node, env)
            case ast.Attribute(value=owner) if self._is_method(module, node):
                yield self.held(module, owner, env)
                yield from (self.held(module, part, env) for part in self._used_by_method(module, node))
            case _:
                yield from (self.held(module, part, env) for part in _parts(node))

    def _is_method(self, module: Module, node: ast.Attribute) -> bool:
        called = self.called(module, node)
        return called is not None and not is_property(*called) and not self.facts(*called).is_tool

    def _used_by_method(self, module: Module, node: ast.Attribute) -> list[ast.Attribute]:
        """Return what a method that ``self.METHOD`` stands for uses of its object."""
        called, owner = self.called(module, node), module.owner(node.value)
        if called is None or owner is None:
            return []
        parts = [part for part in walk(called[1]) if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Load)]
        return [part for part in parts if called[0].owner(part.value) is owner]

    def _held_by_call(self, module: Module, node: ast.Call, env: Env) -> Iterator[Value | None]:
        passed = arguments(node)
        named = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if (
            module.dotted(node.func) in _SEVERAL
            or named[:1].isupper()
            or named in _MAKERS
            or (module.owner(node.func) is not None)
        ):
            yield from (self.held(module, item, env) for item in passed)
        if kit_name(module, node.func) == "available_tools":
            yield Value("user", "tools")
        if named in _ENDS and isinstance(node.func, ast.Attribute):
            yield self.held(module, node.func.value, env)
        called = self.called(module, node.func)
        if called is not None and not self.facts(*called).is_tool:
            home, function = called
            inner = self.env_of(module, node, home, function, env)
            yield from (self.held(home, returned, inner) for returned in home.returns(function))

    def _closed_over(self, module: Module, function: Function, env: Env) -> Value | None:
        for node in walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                home = module.scope[node].home(node.id)
                if home is not None and home is not module.top and not home.within(function):
                    client = next((value for value in self.values(module, node, env) if _keeps(value)), None)
                    if client is not None:
                        return client
        return None


def _parts(node: ast.AST) -> list[ast.expr]:
    """Return the parts of a container, or of a choice."""
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
        case ast.BinOp(op=ast.Add() | ast.BitOr()):
            return [node.left, node.right]
        case _:
            return []


def _keeps(value: Value) -> bool:
    """Return whether code that has this value can act as the user."""
    if value.who != "user" or value.what in ("strategy", "user_session", "with_user_client"):
        return False
    return not (value.what == SESSION and value.path)
