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
from obo_kit.analysis.check._vocabulary import BUILT_ON, built_class, kit_name

__all__ = ["Trail"]

_LOOKS_ONLY: Final = frozenset({"bool", "hasattr", "id", "isinstance", "print", "repr", "str", "type"})


class Trail:
    """Follows the user's client through a tool and its helpers."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
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
            if value.who == "user" and value.path:
                self._note(place, requests_of(module, value, call), ".".join(value.path))
        for value in self.reader.values(module, call, env):
            if value.who == "user" and value.what in BUILT_ON and built_class(module, call.func) == value.what:
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
        clients = [
            value for value in self.reader.values(module, node, env) if value.who == "user" and value.what != "strategy"
        ]
        if not clients:
            return
        above = module.parent[node]
        while isinstance(above, (ast.Await, ast.IfExp, ast.BoolOp, ast.NamedExpr)):
            above = module.parent[above]
        made = all(
            client.what in BUILT_ON and not client.what.endswith("OpenAI") and not client.path for client in clients
        )
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
            case ast.Call():
                known = above.func is node or self._looked_into(module, above)
            case ast.keyword():
                call = module.parent[above]
                known = isinstance(call, ast.Call) and self._looked_into(module, call)
            case ast.Return() | ast.List() | ast.Tuple():
                known = made
            case _:
                known = False
        self.complete &= known

    def _looked_into(self, module: Module, call: ast.Call) -> bool:
        if built_class(module, call.func) in BUILT_ON or kit_name(module, call.func):
            return True
        if module.dotted(call.func) in {f"builtins.{name}" for name in _LOOKS_ONLY}:
            return True
        called = self.reader.called(module, call.func)
        return called is not None and not self.reader.facts(*called).is_tool
