"""Follow the user's client through a tool and its helpers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._clients import Env
from obo_kit.analysis.check._holding import Reader
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._requests import Requests, Use, requests_of, use_of
from obo_kit.analysis.check._scopes import FUNCTIONS, Function, walk
from obo_kit.analysis.check._vocabulary import BUILT_ON, Value, built_class, kit_name

__all__ = ["Trail"]

_LOOKS_ONLY: Final = frozenset({"bool", "hasattr", "id", "isinstance", "print", "repr", "str", "type"})


class Trail:
    """Follows the user's client through a tool and its helpers, or the agent's own."""

    def __init__(self, reader: Reader, who: str = "user") -> None:
        self.reader = reader
        self.who = who  # whose client is followed
        self.uses: list[Use] = []
        self.complete = True
        self._been: set[Function] = set()

    def follow(self, module: Module, function: Function, env: Env, place: ast.Call | None) -> None:
        if function in self._been:
            return
        self._been.add(function)
        for node in self._inside(module, function):
            if isinstance(node, ast.Call):
                self._call(module, node, env, place or node)
            elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
                self._mention(module, node, env)

    def _inside(self, module: Module, node: ast.AST) -> Iterator[ast.AST]:
        for inner in walk(node, into_functions=False):
            yield inner
            if isinstance(inner, FUNCTIONS):
                if self.reader.facts(module, inner).is_tool:
                    self.complete = False
                else:
                    yield from self._inside(module, inner)

    def _call(self, module: Module, call: ast.Call, env: Env, place: ast.Call) -> None:
        for value in self.reader.values(module, call.func, env):
            if value.who == self.who and value.path:
                self._note(place, requests_of(module, value, call), ".".join(value.path))
        for value in self.reader.values(module, call, env):
            if value.who == self.who and value.what in BUILT_ON and built_class(module, call.func) == value.what:
                self._note(place, requests_of(module, value, call), value.what)
        self._mention(module, call, env)
        called = self.reader.called(module, call.func)
        if called is not None:
            if self.reader.facts(*called).is_tool:
                self.complete = False
            else:
                self.follow(*called, self.reader.env_of(module, call, *called, env), place)
        elif isinstance(call.func, ast.Name):
            dotted = module.dotted(call.func)
            self.complete &= bool(dotted) and not dotted.startswith(".")

    def _note(self, place: ast.Call, requests: Requests, title: str) -> None:
        use = use_of(place, requests, title)
        self.complete &= use.routes is not None
        self.uses.append(use)

    def _mention(self, module: Module, node: ast.Name | ast.Attribute | ast.Call, env: Env) -> None:
        """Record that not everything is known, if the client goes somewhere that is not followed."""
        values = self.reader.values(module, node, env)
        clients = [value for value in values if value.who == self.who and value.what != "strategy"]
        if not clients:
            return
        above = module.parent[node]
        while isinstance(above, (ast.Await, ast.IfExp, ast.BoolOp, ast.NamedExpr)):
            above = module.parent[above]
        match above:
            case (
                ast.Attribute()
                | ast.Assign()
                | ast.AnnAssign()
                | ast.withitem()
                | ast.Compare()
                | ast.UnaryOp()
                | ast.Expr()
                | ast.If()
                | ast.FormattedValue()
            ):
                known = True
            case ast.Call(func=func) if func is node:
                known = True
            case ast.Call():
                known = self._looked_into(module, above) or self._hands_over(module, above, clients)
            case ast.keyword():
                known = isinstance(call := module.parent[above], ast.Call) and self._looked_into(module, call)
            case ast.Return() | ast.List() | ast.Tuple():
                known = all(_is_tool_object(client) for client in clients)
            case _:
                known = False
        self.complete &= known

    def _hands_over(self, module: Module, call: ast.Call, methods: list[Value]) -> bool:
        """Record the methods that a call hands to a thread: ``to_thread(client.genie.list_spaces)``."""
        asked = [(method, requests_of(module, method, call)) for method in methods if method.path]
        if len(asked) < len(methods) or any(requests is None for _, requests in asked):
            return False
        for method, requests in asked:
            self._note(call, requests, ".".join(method.path))
        return True

    def _looked_into(self, module: Module, call: ast.Call) -> bool:
        if built_class(module, call.func) in BUILT_ON or kit_name(module, call.func):
            return True
        if module.dotted(call.func) in {f"builtins.{name}" for name in _LOOKS_ONLY}:
            return True
        called = self.reader.called(module, call.func)
        return called is not None and not self.reader.facts(*called).is_tool


def _is_tool_object(value: Value) -> bool:
    """Return whether it is an object whose requests were recorded when it was built."""
    return (value.what in BUILT_ON or value.what == "tools") and not value.what.endswith("OpenAI") and not value.path
