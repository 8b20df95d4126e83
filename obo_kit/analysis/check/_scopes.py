"""Scopes and bindings by Python's rules, and walks through a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Binding", "Function", "Scope", "Store", "children", "falls_off", "parameters", "walk"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
How: TypeAlias = Literal["value", "enter", "item", "import", "def", "parameter", "other"]

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
# Fields of nodes that hold no nodes with a place of their own.
_PLACELESS = frozenset(
    {"arg", "asname", "attr", "conversion", "ctx", "id", "is_async", "kind", "level", "module", "op", "ops", "simple"}
    | {"type_comment"}
)
# The fields of each class of nodes that may hold nodes with a place.
_FIELDS = {
    kind: tuple(name for name in kind._fields if name not in _PLACELESS)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
TRIES: tuple[type[ast.Try], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))  # `except*` exists since Python 3.11


@dataclass(eq=False, slots=True)
class Binding:
    """One place that gives a name its meaning.

    Attributes:
        node: The place.
        how: ``value``: an expression is assigned; ``enter``: ``with <value> as``; ``item``: ``for … in <value>``; ``import``;
            ``def``: a function or class; ``parameter``; ``other``: anything that is not followed.
        value: The expression, the definition, or a parameter's default.
        imported: The dotted name of an import.
    """

    node: ast.AST
    how: How
    value: ast.AST | None = None
    imported: str = ""


@dataclass(eq=False, slots=True)
class Scope:
    """A module, class or function, and the names bound in it."""

    node: ast.Module | ast.ClassDef | Function
    parent: Scope | None
    names: dict[str, list[Binding]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    elsewhere: dict[str, Scope] = field(default_factory=dict)  # names declared `global` or `nonlocal`

    def bind(self, name: str, binding: Binding) -> None:
        """Add a binding of a name, in the scope where it takes effect."""
        self.elsewhere.get(name, self).names.setdefault(name, []).append(binding)

    def home(self, name: str) -> Scope | None:
        """Return the scope that a name in this one refers to, by Python's rules."""
        if name in self.elsewhere:
            return self.elsewhere[name]
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names and (scope is self or not isinstance(scope.node, ast.ClassDef)):
                return scope
            scope = scope.parent
        return None

    def within(self, node: ast.AST) -> bool:
        """Return whether it is the scope of a function or class, or of something inside it."""
        scope: Scope | None = self
        while scope is not None and scope.node is not node:
            scope = scope.parent
        return scope is not None


@dataclass(eq=False, slots=True)
class Store:
    """An assignment to a place that may stay: ``target = value`` for an attribute, an item, or a name declared global."""

    target: ast.expr
    value: ast.expr


def parameters(function: Function) -> list[ast.arg]:
    """Return all parameters, in order."""
    signature = function.args
    several = [item for item in (signature.vararg, signature.kwarg) if item is not None]
    return [*signature.posonlyargs, *signature.args, *signature.kwonlyargs, *several]


def defaults(function: Function) -> dict[ast.arg, ast.expr]:
    signature = function.args
    positional = [*signature.posonlyargs, *signature.args]
    default_of = dict(zip(reversed(positional), reversed(signature.defaults), strict=False))
    default_of |= {
        item: default for item, default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True) if default
    }
    return default_of


def falls_off(function: Function) -> bool:
    """Return whether a function may come to its end without ``return``, and so return ``None``."""
    return not isinstance(function, ast.Lambda) and _goes_on(function.body)


def _goes_on(block: list[ast.stmt]) -> bool:
    match block[-1] if block else None:
        case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
            return False
        case ast.If(body=body, orelse=other):
            return _goes_on(body) or _goes_on(other)
        case ast.With(body=body) | ast.AsyncWith(body=body):
            return _goes_on(body)
        case ast.While(test=ast.Constant(value=True)):
            return False
        case ast.Match(cases=cases):
            return any(_goes_on(case.body) for case in cases) or ast.unparse(cases[-1].pattern) != "_"
        case ast.Try(body=body, handlers=handlers, orelse=other):
            return any(_goes_on(part) for part in (other or body, *(handler.body for handler in handlers)))
        case _:
            return True


def children(node: ast.AST) -> list[ast.AST]:
    """Return the nodes right inside a node that have a place in the text, in its order: no contexts, no operators."""
    nodes: list[ast.AST] = []
    for name in _FIELDS[node.__class__]:
        inside = getattr(node, name)
        if inside.__class__ is list:
            nodes += [item for item in inside if isinstance(item, ast.AST)]
        elif isinstance(inside, ast.AST):
            nodes.append(inside)
    return nodes


def walk(node: ast.AST, *, into_functions: bool = True) -> Iterator[ast.AST]:
    """Yield what is inside a node, in the order of the text, without the node. A function's own body is inside it."""
    pending = inside_of(node)[::-1]
    while pending:
        child = pending.pop()
        yield child
        if into_functions or child.__class__ not in FUNCTIONS:
            pending += inside_of(child)[::-1]


def inside_of(node: ast.AST) -> list[ast.AST]:
    """Return what is right inside a node; of a function, its body."""
    if isinstance(node, FUNCTIONS):
        return [*node.body] if isinstance(node.body, list) else [node.body]
    return children(node)
