"""Read a package's source without importing it, and resolve what an expression in it stands for.

The databricks-sdk is seven megabytes of generated classes, slow to import and to parse. A question about one method needs only
a few of them. So a module is split at its top-level definitions, and only the needed ones are parsed.

Expressions are resolved as far as it takes to follow a call: objects of the package's own classes, their attributes as
assigned in ``__init__``, methods, properties, local variables in no particular order, and one object per place in the source
that builds it. Everything else stands for nothing.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Class",
    "Function",
    "Instance",
    "Method",
    "Module",
    "Package",
    "Reader",
    "Scope",
    "UNKNOWN",
    "Value",
    "find",
    "text_of",
]

FunctionNode: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"

_LEAVES: Final = (ast.expr_context, ast.operator, ast.cmpop, ast.Constant, ast.Name)

UNKNOWN: Final = "{}"
"""Stands for a part of a text that is known only at run time."""

_TOP: Final = re.compile(r"^(?=[^\W\d]|@)", re.MULTILINE)
_DEFINITION: Final = re.compile(r"(?:class|def|async def) (\w+)")
_IMPORT: Final = re.compile(r"^(?:from .+? import (?:\([^)]*\)|.+)|import .+)$", re.MULTILINE)
_REPEATED: Final = re.compile(r"(?:\{\})+")


class Package:
    """The modules of an installed package, by their full names.

    Raises:
        ModuleNotFoundError: The package is not installed, or not as source files.
    """

    def __init__(self, name: str) -> None:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"No source of {name} is installed.", name=name)
        self.name = name
        self._root = Path(next(iter(spec.submodule_search_locations)))
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """Return the module; ``None`` if it is not one of this package."""
        if name not in self._modules:
            self._modules[name] = self._find(name)
        return self._modules[name]

    def _find(self, name: str) -> Module | None:
        if f"{name}.".startswith(f"{self.name}."):
            place = self._root.joinpath(*name[len(self.name) + 1 :].split("."))
            for path, package in ((place / "__init__.py", name), (place.with_suffix(".py"), name.rpartition(".")[0])):
                if path.is_file():
                    return Module(self, package, path.read_text(encoding="utf-8"))
        return None


class Module:
    """One module's source, parsed one definition at a time."""

    def __init__(self, package: Package, parent: str, text: str) -> None:
        self._package = package
        self._parent = parent
        self._text = text
        self._values: dict[str, Value | None] = {}

    @cached_property
    def _chunks(self) -> dict[str, tuple[int, int]]:
        """Return where each top-level definition begins and ends. Data classes are left out: they send no requests."""
        starts = [match.start() for match in _TOP.finditer(self._text)]
        chunks: dict[str, tuple[int, int]] = {}
        decorated = False
        for start, end in zip(starts, [*starts, len(self._text)][1:], strict=True):
            match = _DEFINITION.match(self._text, start)
            if match and not decorated:
                chunks[match[1]] = (start, end)
            decorated = self._text.startswith("@dataclass", start)
        return chunks

    @cached_property
    def _imports(self) -> dict[str, list[tuple[str, str | None]]]:
        """Return what each imported name is: a module, or a name in one; ``"*"`` is any name of several."""
        imports: dict[str, list[tuple[str, str | None]]] = {}
        for node in ast.parse("\n".join(_IMPORT.findall(self._text))).body:
            if isinstance(node, ast.ImportFrom):
                source = resolve_name("." * node.level + (node.module or ""), self._parent)
                for alias in node.names:
                    imports.setdefault(alias.asname or alias.name, []).append((source, alias.name))
            elif isinstance(node, ast.Import):
                imports.update({alias.asname: [(alias.name, None)] for alias in node.names if alias.asname})
        return imports

    def get(self, name: str) -> Value | None:
        """Return what a module-level name stands for, or ``None``."""
        if name not in self._values:
            self._values[name] = None  # A name that is defined in terms of itself stands for nothing.
            self._values[name] = self._defined(name) or self._imported(name)
        return self._values[name]

    def _defined(self, name: str) -> Value | None:
        if name not in self._chunks:
            return None
        start, end = self._chunks[name]
        node = ast.parse(self._text[start:end]).body[0]
        if isinstance(node, ast.ClassDef):
            return Class(self, node)
        return Method(Function(self, node)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None

    def _imported(self, name: str) -> Value | None:
        for source, attribute in (*self._imports.get(name, ()), *self._imports.get("*", ())):
            module = self._package.module(source)
            if attribute is None:
                return module
            value = module.get(name if attribute == "*" else attribute) if module else None
            value = value or self._package.module(f"{source}.{attribute}")
            if value:
                return value
        return None


@dataclass(frozen=True, eq=False)
class Function:
    """A function, or a function of a class."""

    module: Module
    node: FunctionNode
    cls: Class | None = None

    @cached_property
    def parts(self) -> list[ast.AST]:
        """Return its statements and expressions in the order in which they run, as far as the source tells."""
        nodes: list[ast.AST] = []
        for statement in self.node.body:
            _inside_out(statement, nodes)
        return nodes

    @cached_property
    def assignments(self) -> dict[str, list[ast.expr]]:
        """Return the values of each local name, or attribute (``".name"``) of the first parameter, in any order."""
        values: dict[str, list[ast.expr]] = {}
        for part in self.parts:
            for target, value in _bindings(part):
                match target:
                    case ast.Name(id=name):
                        values.setdefault(name, []).append(value)
                    case ast.Attribute(value=ast.Name(id=own), attr=name) if own == self.own_name:
                        values.setdefault(f".{name}", []).append(value)
        return values

    @cached_property
    def parameters(self) -> dict[str, ast.expr | None]:
        """Return the parameters and their annotations, without the object itself."""
        args = self.node.args
        named = [*args.posonlyargs, *args.args, *args.kwonlyargs][1 if self.own_name else 0 :]
        return {parameter.arg: parameter.annotation for parameter in named}

    @cached_property
    def returned(self) -> list[ast.expr]:
        """Return the expressions that it returns."""
        return [part.value for part in self.parts if isinstance(part, ast.Return) and part.value is not None]

    @cached_property
    def own_name(self) -> str | None:
        """Return the function's name for its object."""
        args = [*self.node.args.posonlyargs, *self.node.args.args]
        return args[0].arg if self.cls and args else None

    @cached_property
    def is_property(self) -> bool:
        """Return whether reading the attribute calls it."""
        return any(isinstance(mark, ast.Name) and mark.id.endswith("property") for mark in self.node.decorator_list)


def _inside_out(node: ast.AST, nodes: list[ast.AST]) -> None:
    for name in node._fields:
        value = getattr(node, name)
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, ast.AST) and not isinstance(part, _LEAVES):
                _inside_out(part, nodes)
    nodes.append(node)


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr


@dataclass(frozen=True, eq=False)
class Class:
    """A class of the package."""

    module: Module
    node: ast.ClassDef

    @cached_property
    def functions(self) -> dict[str, Function]:
        """Return the functions defined in its body."""
        nodes = [node for node in self.node.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        return {node.name: Function(self.module, node, self) for node in nodes}

    @cached_property
    def mro(self) -> tuple[Class, ...]:
        """Return the class itself and its bases, nearest first."""
        bases = (_dotted(self.module, expr) for expr in self.node.bases)
        return (self, *dict.fromkeys(cls for base in bases if isinstance(base, Class) for cls in base.mro))


def _dotted(module: Module, expr: ast.expr) -> Value | None:
    if isinstance(expr, ast.Name):
        return module.get(expr.id)
    owner = _dotted(module, expr.value) if isinstance(expr, ast.Attribute) else None
    return owner.get(expr.attr) if isinstance(owner, Module) and isinstance(expr, ast.Attribute) else None


@dataclass(frozen=True, eq=False)
class Instance:
    """The objects that one place in the source builds."""

    cls: Class
    made_by: ast.Call | None = None
    made_in: Scope | None = None


@dataclass(frozen=True)
class Method:
    """A function, and the object that it belongs to."""

    function: Function
    owner: Instance | None = None


@dataclass(frozen=True)
class Super:
    """An object, seen as one of a base class."""

    owner: Instance
    above: tuple[Class, ...]


@dataclass(frozen=True)
class Scope:
    """The inside of a function, called on an object."""

    function: Function
    owner: Instance | None = None


Value: TypeAlias = "Module | Class | Instance | Method | Super"


class Reader:
    """Resolves what expressions stand for. Do not share it between threads."""

    def __init__(self) -> None:
        self._built: dict[ast.expr, Instance] = {}
        self._known: dict[tuple[ast.AST, Instance | None], tuple[Value, ...]] = {}
        self._open: set[tuple[ast.AST, Instance | None]] = set()
        self._cuts = 0

    def values(self, expr: ast.expr | None, scope: Scope) -> tuple[Value, ...]:
        """Return all values that an expression may stand for."""
        if expr is None:
            return ()
        key = (expr, scope.owner)
        if key in self._known:
            return self._known[key]
        if key in self._open:
            self._cuts += 1
            return ()  # It is defined in terms of itself, which adds no value.
        self._open.add(key)
        cuts = self._cuts
        try:
            values = tuple(dict.fromkeys(self._values(expr, scope)))
        finally:
            self._open.discard(key)
        if cuts == self._cuts:
            self._known[key] = values
        return values

    def _values(self, expr: ast.expr, scope: Scope) -> Iterator[Value]:
        if isinstance(expr, ast.Name):
            yield from self._name(expr.id, scope)
        elif isinstance(expr, ast.Attribute):
            for value in self.values(expr.value, scope):
                yield from self.attribute(value, expr.attr)
        elif isinstance(expr, ast.Call):
            if isinstance(expr.func, ast.Name) and expr.func.id == "super" and scope.owner and scope.function.cls:
                mro = scope.owner.cls.mro
                yield Super(scope.owner, mro[mro.index(scope.function.cls) + 1 :])
            for value in self.values(expr.func, scope):
                yield from self._result(value, expr, scope)
        else:
            for part in _alternatives(expr):
                yield from self.values(part, scope)

    def _name(self, name: str, scope: Scope) -> Iterator[Value]:
        function = scope.function
        if name == function.own_name and scope.owner:
            yield scope.owner
        elif name in function.assignments:
            for expr in function.assignments[name]:
                yield from self.values(expr, scope)
        elif name in function.parameters:
            yield from self._given(name, scope) or self._annotated(function.parameters[name], scope)
        else:
            value = function.module.get(name)
            if value is not None:
                yield value

    def _given(self, name: str, scope: Scope) -> tuple[Value, ...]:
        """Return the values that an object's constructor received for a parameter."""
        owner = scope.owner
        if not owner or not owner.made_by or not owner.made_in or scope.function is not find(owner.cls.mro, "__init__"):
            return ()
        passed = arguments(owner.made_by, *scope.function.parameters)
        return self.values(passed.get(name), owner.made_in)

    def _annotated(self, annotation: ast.expr | None, scope: Scope) -> Iterator[Value]:
        for part in ast.walk(annotation) if annotation else ():
            if isinstance(part, ast.Name | ast.Attribute):
                value = _dotted(scope.function.module, part)
                if isinstance(value, Class):
                    yield self._instance(value, part)

    def _instance(self, cls: Class, place: ast.expr, scope: Scope | None = None) -> Instance:
        if place not in self._built:
            self._built[place] = Instance(cls, place if isinstance(place, ast.Call) else None, scope)
        return self._built[place]

    def attribute(self, value: Value, name: str) -> Iterator[Value]:
        """Return what an attribute may stand for."""
        if isinstance(value, Module):
            member = value.get(name)
            if member is not None:
                yield member
        elif isinstance(value, Class):
            function = find(value.mro, name)
            if function:
                yield Method(function)
        elif isinstance(value, Instance):
            yield from self._member(value, value.cls.mro, name)
        elif isinstance(value, Super):
            yield from self._member(value.owner, value.above, name)

    def _member(self, owner: Instance, classes: tuple[Class, ...], name: str) -> Iterator[Value]:
        function = find(classes, name)
        if function:
            yield from self._returned(Scope(function, owner)) if function.is_property else (Method(function, owner),)
            return
        constructors = (cls.functions["__init__"] for cls in classes if "__init__" in cls.functions)
        assigned = next((each for each in constructors if f".{name}" in each.assignments), None)
        if assigned:
            for expr in assigned.assignments[f".{name}"]:
                yield from self.values(expr, Scope(assigned, owner))
            return
        fallback = find(classes, "__getattr__")
        if fallback:
            yield from self._returned(Scope(fallback, owner))

    def _result(self, value: Value, call: ast.Call, scope: Scope) -> Iterator[Value]:
        if isinstance(value, Class):
            yield self._instance(value, call, scope)
        elif isinstance(value, Method):
            yield from self._returned(Scope(value.function, value.owner))

    def _returned(self, scope: Scope) -> Iterable[Value]:
        values = [value for expr in scope.function.returned for value in self.values(expr, scope)]
        return values or self._annotated(scope.function.node.returns, scope)


def find(classes: Iterable[Class], name: str) -> Function | None:
    """Return the function of that name that comes first."""
    return next((cls.functions[name] for cls in classes if name in cls.functions), None)


def arguments(call: ast.Call, *names: str) -> dict[str, ast.expr]:
    """Return the arguments of a call, by name, for parameters of those names."""
    passed = dict(zip(names, call.args, strict=False))
    passed.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
    return passed


def _alternatives(expr: ast.expr) -> Iterator[ast.expr]:
    """Yield the alternatives of an expression's value. A container counts as its contents."""
    if isinstance(expr, ast.IfExp):
        yield from (expr.body, expr.orelse)
    elif isinstance(expr, ast.BoolOp):
        yield from expr.values
    elif isinstance(expr, ast.List | ast.Tuple | ast.Set):
        yield from expr.elts
    elif isinstance(expr, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        yield expr.elt
    elif isinstance(expr, ast.Await | ast.NamedExpr | ast.Starred | ast.Subscript):
        yield expr.value


def text_of(expr: ast.expr | None, scope: Scope) -> str:
    """Return the text of an expression, with ``{}`` for each part that is known only at run time."""
    return _REPEATED.sub(UNKNOWN, _text(expr, scope))


def _text(expr: ast.expr | None, scope: Scope) -> str:
    if isinstance(expr, ast.Constant) and isinstance(expr.value, str):
        return expr.value
    if isinstance(expr, ast.JoinedStr):
        return "".join(_text(part, scope) for part in expr.values)
    if isinstance(expr, ast.FormattedValue):
        return _text(expr.value, scope)
    if isinstance(expr, ast.BinOp) and isinstance(expr.op, ast.Add):
        return _text(expr.left, scope) + _text(expr.right, scope)
    assigned = scope.function.assignments.get(expr.id, ()) if isinstance(expr, ast.Name) else ()
    if len(assigned) == 1 and isinstance(assigned[0], ast.Constant | ast.JoinedStr):
        return _text(assigned[0], scope)
    return UNKNOWN
