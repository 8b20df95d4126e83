"""Scopes and bindings, by Python's rules, and the way through a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Binding", "Function", "Scope", "Store", "children", "parameters", "walk"]

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
TRIES: tuple[type[ast.Try], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))  # `except*` is of Python 3.11


@dataclass(eq=False, slots=True)
class Binding:
    """One place that gives a name its meaning.

    Attributes:
        node: The place.
        how: ``value``: an expression is assigned; ``enter``: ``with <value> as``; ``item``: ``for … in <value>``; ``import``;
            ``def``: a function or class; ``parameter``; ``other``: something that is not looked into.
        value: The expression, the definition, or a parameter's default.
        imported: The dotted name that is imported.
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
    elsewhere: dict[str, Scope] = field(default_factory=dict)  # declared `global` or `nonlocal`

    def bind(self, name: str, binding: Binding) -> None:
        """Add a binding of a name, in the scope where it takes effect."""
        self.elsewhere.get(name, self).names.setdefault(name, []).append(binding)

    def home(self, name: str) -> Scope | None:
        """The scope that a name in this one refers to, by Python's rules."""
        if name in self.elsewhere:
            return self.elsewhere[name]
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names and (scope is self or not isinstance(scope.node, ast.ClassDef)):
                return scope
            scope = scope.parent
        return None

    def within(self, node: ast.AST) -> bool:
        """Whether it is the scope of a function or class, or of something inside of it."""
        scope: Scope | None = self
        while scope is not None and scope.node is not node:
            scope = scope.parent
        return scope is not None


@dataclass(eq=False, slots=True)
class Store:
    """Something is put where it stays: ``target = value`` for an attribute, an item, or a name declared global."""

    target: ast.expr
    value: ast.expr


def parameters(function: Function) -> list[ast.arg]:
    """All parameters, in order."""
    given = function.args
    several = [one for one in (given.vararg, given.kwarg) if one is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *several]


def defaults(function: Function) -> dict[ast.arg, ast.expr]:
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    found = dict(zip(reversed(positional), reversed(given.defaults), strict=False))
    found |= {one: default for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default}
    return found


def children(node: ast.AST) -> list[ast.AST]:
    """Return the nodes right inside of a node that have a place in the text, in its order: no contexts, no operators."""
    found: list[ast.AST] = []
    for name in _FIELDS[node.__class__]:
        inside = getattr(node, name)
        if inside.__class__ is list:
            found += [one for one in inside if isinstance(one, ast.AST)]
        elif isinstance(inside, ast.AST):
            found.append(inside)
    return found


def walk(node: ast.AST, *, into_functions: bool = True) -> Iterator[ast.AST]:
    """What is inside of a node in the order of the text, without itself. A function's own body counts as inside of it."""
    pending = inside_of(node)[::-1]
    while pending:
        child = pending.pop()
        yield child
        if into_functions or child.__class__ not in FUNCTIONS:
            pending += inside_of(child)[::-1]


def inside_of(node: ast.AST) -> list[ast.AST]:
    """Return what is right inside of a node; of a function, its body."""
    if isinstance(node, FUNCTIONS):
        return [*node.body] if isinstance(node.body, list) else [node.body]
    return children(node)
