"""Read an agent's source for the static checks, and resolve what each name stands for. Nothing is run."""

from __future__ import annotations

import ast
import builtins
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from obo_kit.analysis.check._scopes import (
    FUNCTIONS,
    TRIES,
    Binding,
    Function,
    How,
    Scope,
    Store,
    children,
    defaults,
    inside_of,
    parameters,
)
from obo_kit.analysis.check._sources import Source, SourceError

__all__ = ["PUTS", "Files", "Module", "Origin"]

_BINDING = frozenset(
    {ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.comprehension, ast.withitem}
    | {ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal}
)
# Methods that put their arguments into an object.
PUTS = frozenset(
    {
        "add",
        "add_node",
        "add_tool",
        "add_tools",
        "append",
        "appendleft",
        "extend",
        "insert",
        "put",
        "put_nowait",
        "register",
    }
    | {"setdefault", "update"}
)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Match, ast.match_case, ast.IfExp, *TRIES)


def _public() -> frozenset[str]:
    """Return the public names of the kit, read from its own source like everything here."""
    tree = ast.parse((Path(__file__).parents[2] / "__init__.py").read_text("utf-8"))
    listed = next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return frozenset(ast.literal_eval(listed))


PUBLIC = _public()
_Node = TypeVar("_Node", bound=ast.AST)


class Files(Protocol):
    """The source of the modules that a module imports."""

    def followed(self, importer: Module, dotted: str) -> Module | None:
        """Return the helper module that an import names."""

    def named(self, beside: Module, path: str) -> Module | None:
        """Return the module of a file whose path is relative to another."""


class Module:
    """One file, parsed, with its scopes."""

    def __init__(self, path: Path, source: Source, project: Files) -> None:
        self.path = path
        self.project = project
        self.source = source
        self.text = source.text
        self.tree = source.parsed()
        self.parent: dict[ast.AST, ast.AST] = {}
        self.scope: dict[ast.AST, Scope] = {}  # the scope that a node is evaluated in
        self.body: dict[ast.AST, Scope] = {}  # the scope that a class or function opens
        self.kinds: defaultdict[type[ast.AST], list[Any]] = defaultdict(list)  # every node, by its class
        self._selves: set[str] = set()  # the names of the methods' first parameters
        self._puts: dict[tuple[Function | None, str], list[ast.expr]] | None = None
        self._inside: dict[type[ast.AST], dict[Function | None, list[Any]]] = {}
        self.functions: list[Function] = []
        self.classes: list[ast.ClassDef] = []
        self.calls: list[ast.Call] = self.kinds[ast.Call]
        self.stores: list[Store] = []
        self._origins: dict[ast.AST, Origin] = {}
        self._bindings: dict[ast.Name, tuple[Scope | None, list[Binding]]] = {}
        self.imports: list[str] = []  # every dotted name, wherever it is imported
        self.top = Scope(self.tree, None)
        self.body[self.tree] = self.top
        try:
            for statement in self.tree.body:
                self._take(statement, self.top, self.tree)
        except RecursionError:
            raise SourceError("is nested too deeply to be read") from None

    # ------------------------------------------------------------ reading

    def _take(self, node: ast.AST, scope: Scope, parent: ast.AST) -> None:
        """Note a node and those inside. Every node of a file passes here: its class is looked at, and nothing more."""
        kind = node.__class__
        self.parent[node], self.scope[node] = parent, scope
        self.kinds[kind].append(node)
        if kind in FUNCTIONS:
            self._take_function(cast("Function", node), scope)
            return
        if kind is ast.ClassDef:
            self._take_class(cast("ast.ClassDef", node), scope)
            return
        if kind in _BINDING:
            self._bind(node, scope)
        for child in children(node):
            self._take(child, scope, node)

    def _take_function(self, node: Function, scope: Scope) -> None:
        self.functions.append(node)
        inner = self.body[node] = Scope(node, scope)
        outside: list[ast.expr | None] = [*node.args.defaults, *node.args.kw_defaults]
        if not isinstance(node, ast.Lambda):
            scope.bind(node.name, Binding(node, "def", node))
            outside += [*node.decorator_list, node.returns]
        default_of = defaults(node)
        if isinstance(scope.node, ast.ClassDef):
            self._selves |= {first.arg for first in parameters(node)[:1]}
        for parameter in parameters(node):
            self.parent[parameter], self.scope[parameter] = node, inner
            inner.bind(parameter.arg, Binding(parameter, "parameter", default_of.get(parameter)))
            outside.append(parameter.annotation)
        for part in outside:
            if part is not None:
                self._take(part, scope, node)
        for child in inside_of(node):
            self._take(child, inner, node)

    def _take_class(self, node: ast.ClassDef, scope: Scope) -> None:
        self.classes.append(node)
        scope.bind(node.name, Binding(node, "def", node))
        inner = self.body[node] = Scope(node, scope)
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self._take(part, scope, node)
        for statement in node.body:
            self._take(statement, inner, node)

    def _bind(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.Assign():
                for target in node.targets:
                    self._assign(target, node.value, scope)
            case ast.AnnAssign(value=ast.expr() as value):
                self._assign(node.target, value, scope)
            case ast.AugAssign() | ast.NamedExpr():
                self._assign(node.target, node.value, scope)
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                self._assign_items(node.target, node.iter, scope)
            case ast.withitem(optional_vars=ast.expr() as target):
                self._assign(target, node.context_expr, scope, "enter")
            case ast.MatchAs(name=str(name)) if (subject := self._matched(node)) is not None:
                scope.bind(name, Binding(node, "value", subject))
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                scope.bind(name, Binding(node, "other"))
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope)
            case ast.Global() | ast.Nonlocal():
                outer = self.top if isinstance(node, ast.Global) else scope.parent or self.top
                scope.elsewhere |= {name: outer.home(name) or outer for name in node.names}
            case _:
                pass

    def _matched(self, node: ast.AST) -> ast.expr | None:
        """Return what a pattern stands for as a whole: ``case token``, ``case str(token)``, ``case str() as token``."""
        for above in self.ancestors(node):
            match above:
                case ast.match_case():
                    return cast("ast.Match", self.parent[above]).subject
                case ast.MatchAs() | ast.MatchOr() | ast.MatchClass(cls=ast.Name(id="str")):
                    pass
                case _:
                    return None
        return None

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        if isinstance(node, ast.ImportFrom):
            self._import_from(node, scope)
            return
        for alias in node.names:
            self.imports.append(alias.name)
            dotted = alias.name if alias.asname else alias.name.partition(".")[0]
            scope.bind(alias.asname or dotted, Binding(node, "import", imported=dotted))

    def _import_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        base = "." * node.level + (node.module or "")
        self.imports.append(base)
        for alias in node.names:
            if alias.name == "*":
                scope.stars.append(base)
            else:
                dotted = base + alias.name if base.endswith(".") else f"{base}.{alias.name}"
                self.imports.append(dotted)
                scope.bind(alias.asname or alias.name, Binding(node, "import", imported=dotted))

    def _assign_items(self, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        match target, value:
            case ast.Tuple(elts=[key, item]), ast.Call(func=ast.Attribute(attr="items"), args=[]):
                self._assign(key, None, scope)
                self._assign(item, value, scope, "item")
            case _:
                self._assign(target, value, scope, "item")

    def _assign(self, target: ast.expr, value: ast.expr | None, scope: Scope, how: How = "value") -> None:
        match target:
            case ast.Name(id=name):
                scope.bind(name, Binding(target, how if value is not None else "other", value))
                if value is not None and name in scope.elsewhere:
                    self.stores.append(Store(target, value))
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                several = value.elts if isinstance(value, (ast.Tuple, ast.List)) and how == "value" else []
                paired = len(several) == len(parts) and not any(isinstance(item, ast.Starred) for item in parts)
                for number, part in enumerate(parts):
                    self._assign(part, several[number] if paired else None, scope)
            case ast.Starred(value=inner):
                self._assign(inner, None, scope)
            case ast.Attribute() | ast.Subscript() if value is not None:
                self.stores.append(Store(target, value))
            case _:
                pass

    # ------------------------------------------------------------ nodes by their class

    def of(self, kind: type[_Node]) -> list[_Node]:
        """Return all nodes of a class."""
        return self.kinds.get(kind, [])

    def inside(self, function: Function | None, kind: type[_Node]) -> list[_Node]:
        """Return the nodes of a class in a function itself, not in functions that it defines."""
        if kind not in self._inside:
            by_function = self._inside[kind] = {}
            for node in self.kinds.get(kind, []):
                by_function.setdefault(self.function_of(node), []).append(node)
        return self._inside[kind].get(function, [])

    def returns(self, function: Function) -> list[ast.expr]:
        """Return the values of a function's own ``return`` statements."""
        if isinstance(function, ast.Lambda):
            return [function.body]
        return [inner.value for inner in self.inside(function, ast.Return) if inner.value is not None]

    def yields(self, function: Function) -> list[ast.Yield | ast.YieldFrom]:
        """Return a generator's own steps."""
        return [*self.inside(function, ast.Yield), *self.inside(function, ast.YieldFrom)]

    # ------------------------------------------------------------ the position of a node

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the nodes that contain a node, from the inside out."""
        while (above := self.parent.get(node)) is not None:
            yield above
            node = above

    def function_of(self, node: ast.AST) -> Function | None:
        """Return the function that a node is evaluated in. Defaults and decorators belong to the code around their function."""
        scope: Scope | None = self.scope.get(node, self.top)
        while scope is not None and not isinstance(scope.node, FUNCTIONS):
            scope = scope.parent
        return scope.node if scope is not None and isinstance(scope.node, FUNCTIONS) else None

    def functions_around(self, node: ast.AST) -> Iterator[Function]:
        """Yield the functions that a node is evaluated in, from the inside out."""
        around = self.function_of(node)
        while around is not None:
            yield around
            around = self.function_of(around)

    def class_of(self, function: ast.AST) -> ast.ClassDef | None:
        """Return the class that a function is a method of."""
        above = self.scope[function].node if function in self.scope else None
        return above if isinstance(above, ast.ClassDef) else None

    def class_around(self, node: ast.AST) -> ast.ClassDef | None:
        """Return the class that a method's code belongs to, in a function inside of the method too."""
        return next((own for each in self.functions_around(node) if (own := self.class_of(each)) is not None), None)

    def owner(self, node: ast.expr) -> ast.ClassDef | None:
        """Return the class that ``self`` or ``cls`` stands for."""
        if not isinstance(node, ast.Name) or node.id not in self._selves:
            return None
        for function in self.functions_around(node):
            own = self.class_of(function)
            if own is not None:
                first = parameters(function)[:1]
                scope = self.scope[node].home(node.id)
                return own if first and first[0].arg == node.id and scope is self.body[function] else None
        return None

    def default_of(self, parameter: ast.arg) -> ast.AST | None:
        """Return the default of a parameter."""
        scope = self.scope[parameter]
        return next((item.value for item in scope.names[parameter.arg] if item.node is parameter), None)

    def _branches(self, node: ast.AST) -> list[tuple[ast.AST, str]]:
        """Return the branches of the program that a node is in, from the outside in, up to its function."""
        branches: list[tuple[ast.AST, str]] = []
        below = node
        for above in self.ancestors(node):
            if isinstance(above, _BRANCHES) or _may_end_early(above):
                branches.append((above, _part_of(above, below)))
            if above in self.body:
                break
            below = above
        return branches[::-1]

    def bindings(self, name: ast.Name) -> tuple[Scope | None, list[Binding]]:
        """Return what a name may stand for where it is used: the last binding before it, and those in branches between."""
        if name not in self._bindings:
            self._bindings[name] = self._reaching(name)
        return self._bindings[name]

    def _reaching(self, name: ast.Name) -> tuple[Scope | None, list[Binding]]:
        scope = self.scope[name].home(name.id)
        if scope is None:
            return None, []
        bindings = scope.names[name.id]
        if len(bindings) == 1 or self.scope[name] is not scope:
            return scope, bindings
        here, place = self._branches(name), _place(name)
        reaching: list[Binding] = []
        for item in sorted(
            (binding for binding in bindings if _place(binding.node) < place), key=lambda it: _place(it.node)
        )[::-1]:
            assigned = item.how == "value" and not isinstance(self.parent[item.node], ast.NamedExpr)
            if assigned and self._statement(item.node) is self._statement(name):
                continue  # in `client = client or …`, the right side means the earlier value
            reaching.append(item)
            if here[: len(branches := self._branches(item.node))] == branches:
                return scope, [*reaching, *self._from_last_round(bindings, here, place, item)]
        return scope, reaching or bindings

    def _from_last_round(
        self, bindings: list[Binding], here: list[tuple[ast.AST, str]], place: tuple[int, int], before: Binding
    ) -> list[Binding]:
        """Return the bindings further down in a loop, which count in its next round if none before them always does."""
        loops = {node for node, part in here if isinstance(node, _LOOPS) and part == "body"}
        if not loops:
            return []
        loops -= set(self.ancestors(before.node))
        later = [item for item in bindings if _place(item.node) > place]
        return [item for item in later if not loops.isdisjoint(self.ancestors(item.node))]

    def put_into(self, name: ast.Name) -> list[ast.expr]:
        """Return what a function puts into the object that a local name stands for: as an attribute, an item or a header."""
        if self._puts is None:
            self._puts = {}
            stores = [(store.target, [store.value]) for store in self.stores]
            calls = [(call.func, [*call.args, *(keyword.value for keyword in call.keywords)]) for call in self.calls]
            for place, values in (*stores, *(item for item in calls if getattr(item[0], "attr", "") in PUTS)):
                base = place
                while isinstance(base, (ast.Attribute, ast.Subscript)):
                    base = base.value
                if isinstance(base, ast.Name) and base is not place:
                    parts = [value for value in values if not isinstance(value, (ast.Compare, ast.Constant))]
                    self._puts.setdefault((self.function_of(base), base.id), []).extend(parts)
        return self._puts.get((self.function_of(name), name.id), [])

    def _statement(self, node: ast.AST) -> ast.AST:
        return next(
            ancestor
            for ancestor in (node, *self.ancestors(node))
            if isinstance(ancestor, ast.stmt) or ancestor is self.tree
        )

    # ------------------------------------------------------------ the meaning of a name

    def origin(self, node: ast.AST) -> Origin:
        """Return what an expression names; see `Origin`."""
        if node not in self._origins:
            self._origins[node] = self._origin(node, 0)
        return self._origins[node]

    def _origin(self, node: ast.AST, depth: int) -> Origin:
        if depth > 20:
            return None
        match node:
            case ast.Name():
                scope, bindings = self.bindings(node)
                if scope is None:
                    return self._starred(node, depth)
                origins = [self._bound(binding, depth) for binding in bindings]
                # `try: from x import A` and `except ImportError: from y import A` mean the same.
                return next(
                    (origin for origin in origins if isinstance(origin, str)), origins[0] if len(origins) == 1 else None
                )
            case ast.Attribute():
                member = self._member(self._origin(node.value, depth + 1), node.attr, depth)
                return self._class_of_library(node) if member is None else member
            case _:
                return (self, node)

    def _starred(self, name: ast.Name, depth: int) -> Origin:
        scope: Scope | None = self.scope[name]
        stars = list(self.top.stars)
        while scope is not None:
            stars += [item for item in scope.stars if item not in stars]
            scope = scope.parent
        unknown: list[str] = []
        for star in stars:
            source = self.project.followed(self, star)
            if source is not None and (origin := source.named(name.id, depth + 1)) is not None:
                return origin
            if star == "obo_kit" and name.id in PUBLIC:
                return f"obo_kit.{name.id}"
            if source is None and star != "obo_kit":
                unknown.append(star)
        if unknown and not hasattr(builtins, name.id):
            return f"{unknown[-1]}.{name.id}"
        return f"builtins.{name.id}"

    def _bound(self, binding: Binding, depth: int) -> Origin:
        if binding.how == "import":
            return self.imported(binding.imported, depth)
        if binding.how == "def" and binding.value is not None:
            return (self, binding.value)
        if binding.how == "value" and binding.value is not None:
            return self._origin(binding.value, depth + 1)
        return None

    def imported(self, dotted: str, depth: int = 0) -> Origin:
        """Return what an imported name stands for."""
        whole = self.project.followed(self, dotted)
        if whole is not None:
            return (whole, whole.tree)
        base, _, name = dotted.rpartition(".")
        if dotted.startswith(".") and not base.strip("."):
            base = dotted[: len(dotted) - len(name)]
        source = self.project.followed(self, base) if base else None
        return source.named(name, depth + 1) if source is not None else dotted

    def named(self, name: str, depth: int = 0) -> Origin:
        """Return what a name stands for at the end of this module."""
        if depth > 20:
            return None
        if name not in self.top.names:
            inside = self.project.followed(self, f".{name}") if self.path.name == "__init__.py" else None
            return (inside, inside.tree) if inside is not None else self._named_by_star(name, depth)
        return self._bound(self.top.names[name][-1], depth)

    def _named_by_star(self, name: str, depth: int) -> Origin:
        for star in self.top.stars:
            source = self.project.followed(self, star)
            if source is not None and (origin := source.named(name, depth + 1)) is not None:
                return origin
            if star == "obo_kit" and name in PUBLIC:
                return f"obo_kit.{name}"
        return None

    def _member(self, base: Origin, name: str, depth: int) -> Origin:
        if isinstance(base, str):
            return f"{base}.{name}"
        if base is None:
            return None
        module, node = base
        if isinstance(node, ast.Module):
            return module.named(name, depth + 1)
        if isinstance(node, ast.ClassDef) and name in module.body[node].names:
            return module._bound(module.body[node].names[name][-1], depth + 1)
        return None

    def dotted(self, node: ast.AST) -> str:
        """Return the dotted name of an object that is built in or imported from elsewhere; else an empty text."""
        origin = self.origin(node)
        return origin if isinstance(origin, str) else ""

    def _class_of_library(self, node: ast.Attribute) -> Origin:
        """Return what is imported from elsewhere and stands in the body of a class: ``client_cls = WorkspaceClient``."""
        owner = self.owner(node.value)
        named = owner is not None and node.attr in self.body[owner].names
        origin = self._constant_of_class(node) if named else None
        return origin if isinstance(origin, str) else None

    def _constant_of_class(self, node: ast.Attribute) -> Origin:
        """Return what the body of a class says of ``self.NAME``, if nothing is ever assigned to it elsewhere."""
        method = next((outer for outer in self.functions_around(node) if self.class_of(outer) is not None), None)
        cls = self.class_of(method) if method is not None else None
        if (
            method is None
            or cls is None
            or ast.unparse(node.value) not in [item.arg for item in parameters(method)[:1]]
        ):
            return None
        assigned = any(
            isinstance(store.target, ast.Attribute) and store.target.attr == node.attr for store in self.stores
        )
        return None if assigned else self._member((self, cls), node.attr, 0)

    def text_of(self, node: ast.AST | None) -> str | None:
        """Return the constant text of an expression, if the source tells it. Unknown parts of an f-string become ``{}``."""
        if node is None:
            return None
        origin = self._constant(node)
        if not isinstance(origin, tuple):
            return None
        module, value = origin
        match value:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=parts):
                return "".join(module.text_of(part) or "{}" for part in parts)
            case ast.FormattedValue():
                return module.text_of(value.value)
            case ast.BinOp(op=ast.Add()):
                left, right = module.text_of(value.left), module.text_of(value.right)
                return None if left is None and right is None else f"{left or '{}'}{right or '{}'}"
            case _:
                return None

    def _constant(self, node: ast.AST) -> Origin:
        """Return what an expression names, also as an attribute of a class, or as an item of a dictionary."""
        if isinstance(node, ast.Subscript) and (entry := self._entry(node)) is not None:
            return entry
        origin = self.origin(node)
        return self._constant_of_class(node) if origin is None and isinstance(node, ast.Attribute) else origin

    def _entry(self, node: ast.Subscript) -> tuple[Module, ast.AST] | None:
        """Return what ``SPACES["sales"]`` is in a dictionary that the source writes down."""
        match self.origin(node.value), self.text_of(node.slice):
            case (home, ast.Dict(keys=keys, values=values)), str(key):
                entries = [part for each, part in zip(keys, values, strict=True) if home.text_of(each) == key]
                origin = home.origin(entries[-1]) if entries else None
                return origin if isinstance(origin, tuple) else None
            case _:
                return None


Origin: TypeAlias = "str | tuple[Module, ast.AST] | None"
"""What an expression names: the dotted name of an object that is imported from elsewhere (``builtins.`` for built-in ones); a
module with a definition in it, or with the expression that was assigned; or `None` if nothing can be told."""


def _part_of(above: ast.AST, below: ast.AST) -> str:
    for name, value in ast.iter_fields(above):
        if value is below or (isinstance(value, list) and below in value):
            return name
    return ""


def _may_end_early(node: ast.AST) -> bool:
    """Return whether what stands in a block may not run to its end, and nobody is told: ``with suppress(…)``."""
    items = node.items if isinstance(node, (ast.With, ast.AsyncWith)) else []
    entered = [item.context_expr.func for item in items if isinstance(item.context_expr, ast.Call)]
    return any(ast.unparse(func).rpartition(".")[2] == "suppress" for func in entered)


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)
