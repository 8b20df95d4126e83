"""Find places that outlive the request, where a function stores something."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._names import PUTS, Module
from obo_kit.analysis.check._scopes import FUNCTIONS, Binding, Function, Scope, walk
from obo_kit.analysis.check._vocabulary import CACHES, arguments, last, own_class

__all__ = ["KEEPS", "PUTS", "WHOSE", "is_cache", "is_queued", "memoized", "root", "says_whose", "stays"]

# Decorators that are methods of a cache: ``@memory.cache``, ``@cache.memoize(60)``.
_CACHE_METHODS: Final = frozenset({"cache", "cache_on_arguments", "cached", "memoize"})
_QUEUES: Final = frozenset({"JoinableQueue", "LifoQueue", "PriorityQueue", "Queue", "SimpleQueue"})
# They keep a value by a key.
KEEPS: Final = frozenset({"hset", "set", "setdefault", "setex", "update"})
# Names in a key that say which user, or which request, an answer belongs to.
WHOSE: Final = re.compile(
    r"user|principal|cache_key|email|identity|session|token|owner|tenant|uuid"
    r"|(?:conversation|job|message|request|run|task|thread|trace)_?id",
    re.IGNORECASE,
)
# A scope in which a container of dependencies provides one object for all: ``register(Client, make, scope=Scope.singleton)``.
_ONCE: Final = re.compile(r"(^|\.)singleton(scope)?$", re.IGNORECASE)
_ON_OBJECT: Final = "on the object, which outlives the request"


def stays(agent: Agent, target: ast.expr, *, item: bool = False, of: ast.expr | None = None) -> str:
    """Return the place that outlives the request, in words; empty if the place does not, or if the source does not tell.

    Args:
        agent: The file.
        target: The target of the assignment.
        item: Whether the value is put into the target, as with ``target.append``.
        of: The object, if the target is an attribute that the source does not write down (``setattr``).
    """
    module = agent.module
    node = of or target
    if _is_environment(module, node):
        return "in the environment of the process"
    if module.function_of(node) is None or agent.early_in(next(module.functions_around(node))):
        return ""  # reported where it was built
    if isinstance(target, ast.Name) and not item:  # declared `global`, or `nonlocal`
        scope = module.scope[target].home(target.id)
        return "in a global" if scope is module.top else _of_closure(agent, scope)
    base = node
    while isinstance(base, (ast.Attribute, ast.Subscript)):
        if isinstance(base, ast.Attribute) and (where := _of_attribute(agent, base, target, item=item)) is not None:
            return where
        base = base.value
    return _of_base(agent, base, of_object=of is not None)


def _of_attribute(agent: Agent, attribute: ast.Attribute, target: ast.expr, *, item: bool) -> str | None:
    """Describe an attribute that a value is put on, or into; `None` if what it belongs to decides."""
    owner = agent.module.owner(attribute.value)
    if owner is not None:
        return _of_owner(agent, owner, attribute, into=item or attribute is not target)
    if _is_app_state(attribute):
        return "on the application, which outlives the request"
    direct = attribute is target and not item
    return "in a global of another module" if direct and _is_library(agent.module, attribute.value) else None


def _of_closure(agent: Agent, scope: Scope | None) -> str:
    """Describe a variable of a function that runs before any request, so that what it defines outlives the request."""
    early = scope is not None and isinstance(scope.node, FUNCTIONS) and agent.early_in(scope.node)
    return "in a closure, which outlives the request" if early else ""


def _is_environment(module: Module, node: ast.expr) -> bool:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        if module.dotted(node) == "os.environ":
            return True
        node = node.value
    return module.dotted(node) == "os.environ"


def _is_library(module: Module, node: ast.expr) -> bool:
    """Return whether it is a module of a library, by ``import openai``."""
    bindings = module.bindings(node)[1] if isinstance(node, ast.Name) else []
    return bool(bindings) and all(isinstance(binding.node, ast.Import) for binding in bindings)


def _is_app_state(node: ast.Attribute) -> bool:
    """Return whether an attribute is ``request.app.state``."""
    return node.attr == "state" and isinstance(node.value, ast.Attribute) and node.value.attr == "app"


def _of_base(agent: Agent, base: ast.expr, *, of_object: bool) -> str:
    module = agent.module
    if isinstance(base, ast.Call):
        return "in a global" if module.dotted(base.func) == "builtins.globals" else _of_class(agent, base)
    if not isinstance(base, ast.Name):
        return ""
    if of_object and (owner := module.owner(base)) is not None:
        return _ON_OBJECT if agent.lives_long(owner) else ""
    scope, bindings = module.bindings(base)
    if scope is module.top:
        return "in a global" if bindings and all(_is_global(module, binding) for binding in bindings) else ""
    if scope is not None and scope.node is not module.function_of(base) and _are_made(bindings):
        return _of_closure(agent, scope)
    return _of_local(agent, bindings[0]) if len(bindings) == 1 else ""


def _are_made(bindings: list[Binding]) -> bool:
    return bool(bindings) and all(binding.how in ("value", "def") for binding in bindings)


def _is_global(module: Module, binding: Binding) -> bool:
    """Return whether a name of a module is an object that stays: its own, or that of another module of the project."""
    if binding.how == "import":
        origin = module.imported(binding.imported)
        return isinstance(origin, tuple) and not isinstance(origin[1], FUNCTIONS)
    return binding.how in ("value", "def")


def _of_local(agent: Agent, binding: Binding) -> str:
    """Describe a default that all calls share, or another name for something that stays."""
    value = binding.value
    if binding.how == "parameter":
        made = isinstance(value, ast.Call) and agent.module.dotted(value.func) in ("builtins.dict", "builtins.list")
        return "in a default that all calls share" if made or isinstance(value, (ast.Dict, ast.List, ast.Set)) else ""
    match value if binding.how == "value" else None:
        case ast.Attribute() | ast.Name() | ast.Subscript() as place:
            return stays(agent, place, item=True)
        case ast.Call(func=ast.Attribute(value=place, attr="setdefault")):
            return stays(agent, place, item=True)
        case _:
            return ""


def _of_owner(agent: Agent, owner: ast.ClassDef, attribute: ast.Attribute, *, into: bool) -> str:
    """Describe an attribute of an object, or what a value is put into there."""
    if into and _is_shared(owner, attribute.attr):
        return "on the class, which all its objects share"
    stays_long = agent.lives_long(owner) or _is_class(agent.module, attribute.value) or _is_made_once(agent, owner)
    return _ON_OBJECT if stays_long else ""


def _is_made_once(agent: Agent, owner: ast.ClassDef) -> bool:
    """Return whether a decorator, or a metaclass, gives the same object to everybody."""
    made = [keyword.value for keyword in owner.keywords if keyword.arg == "metaclass"]
    metaclasses = [own for part in made if (own := own_class(agent.module, part)) is not None]
    makers = [(home, home.function_of(call)) for home, call in agent.reader.constructions(owner)]
    cached = [(home, item) for home, maker in makers for item in getattr(maker, "decorator_list", [])]
    return (
        _is_made_for_all(agent, owner)
        or any(_keeps_results(agent, decorator) for decorator in owner.decorator_list)
        or any(_keeps_what_it_calls(agent, *own) for own in metaclasses)
        or any(is_cache(home, decorator) for home, decorator in cached)
    )


def _is_made_for_all(agent: Agent, owner: ast.ClassDef) -> bool:
    """Return whether ``__new__`` gives an object that the class keeps, or what makes an object keeps it for later."""
    module = agent.module
    for binding in module.body[owner].names.get("__new__", []) if owner in module.body else ():
        if isinstance(binding.value, FUNCTIONS):
            returned = [result for result in module.returns(binding.value) if isinstance(result, ast.Attribute)]
            if any(
                module.owner(result.value) is owner or _is_name_of(module, result.value, owner) for result in returned
            ):
                return True
    makers = [(home, home.parent[call]) for home, call in agent.reader.constructions(owner) if home is module]
    kept = [target for _, maker in makers if isinstance(maker, ast.Assign) for target in maker.targets]
    return any(_is_on_class(module, target, owner) for target in kept)


def _is_on_class(module: Module, target: ast.expr, owner: ast.ClassDef) -> bool:
    """Return whether it is a global that a function sets, or an attribute of a class."""
    if isinstance(target, ast.Name):
        return module.function_of(target) is not None and module.scope[target].home(target.id) is module.top
    if not isinstance(target, ast.Attribute):
        return False
    by_name = _is_name_of(module, target.value, owner)
    return by_name or (module.owner(target.value) is owner and _is_class(module, target.value))


def _is_name_of(module: Module, node: ast.expr, owner: ast.ClassDef) -> bool:
    origin = module.origin(node)
    return isinstance(origin, tuple) and origin[1] is owner


def _is_shared(owner: ast.ClassDef, name: str) -> bool:
    """Return whether ``answers = {}`` stands in the body of a class, and no method gives an object one of its own."""
    stores = [node for node in ast.walk(owner) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    if owner.bases or any(node.attr == name for node in stores):  # pydantic's models copy what stands in their bodies
        return False
    return any(
        ast.unparse(statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]) == name
        and isinstance(statement.value, (ast.Dict, ast.List, ast.Set))
        for statement in owner.body
        if isinstance(statement, (ast.AnnAssign, ast.Assign))
    )


def _is_class(module: Module, node: ast.expr) -> bool:
    """Return whether ``self`` is in fact ``cls``, which all objects share."""
    if any(getattr(outer, "name", "") == "__new__" for outer in module.functions_around(node)):
        return True
    functions = [outer for outer in module.functions_around(node) if module.class_of(outer) is not None][:1]
    decorators = [item for function in functions for item in getattr(function, "decorator_list", [])]
    return any(module.dotted(decorator) == "builtins.classmethod" for decorator in decorators)


def _of_class(agent: Agent, call: ast.Call) -> str:
    is_type = agent.module.dotted(call.func) == "builtins.type" and len(call.args) == 1
    return "on the class" if is_type and agent.module.owner(call.args[0]) is not None else ""


def memoized(agent: Agent) -> Iterator[tuple[Module, Function, ast.expr, bool]]:
    """Yield the functions whose results are kept, where the file says so, and whether each object keeps its own."""
    for function in agent.module.functions:
        for decorator in [] if isinstance(function, ast.Lambda) else function.decorator_list:
            kept = _keeps_results(agent, decorator)
            if kept:
                yield agent.module, function, decorator, kept == _BY_OBJECT
    for call in agent.module.calls:
        for part in _kept_by(agent, call):
            wrapped = agent.module.origin(part)
            if isinstance(wrapped, tuple) and isinstance(wrapped[1], FUNCTIONS):
                yield wrapped[0], wrapped[1], call, False


def _kept_by(agent: Agent, call: ast.Call) -> list[ast.expr]:
    """Return the functions whose results a call makes stay: a memoizer's, or those that a container provides once."""
    kinds = (ast.Name, ast.Attribute, ast.Lambda)
    parts: list[ast.expr] = [part for part in arguments(call) if isinstance(part, kinds)]
    if parts[:1] == call.args[:1] and len(call.args) == 1 and _keeps_results(agent, call.func):
        return parts[:1]
    once = any(isinstance(part, (ast.Name, ast.Attribute)) and _ONCE.search(ast.unparse(part)) for part in parts)
    return parts if once else []


_BY_OBJECT: Final = "by object"
_FOR_ALL: Final = "for all"


def _keeps_results(agent: Agent, decorator: ast.expr) -> str:
    """Return how a decorator keeps what a function returned: a library's, or one of the project's own; empty if it does not."""
    module = agent.module
    if is_cache(module, decorator):
        func = decorator.func if isinstance(decorator, ast.Call) else decorator
        return _BY_OBJECT if last(module.dotted(func)) == "cached_property" else _FOR_ALL
    match module.origin(decorator):
        case (home, ast.Call() as made):  # ``@memoize(60)``, or ``memoize = lru_cache(maxsize=256)``
            if is_cache(home, made):
                return _FOR_ALL
            code = agent.reader.called(home, made.func) or own_class(home, made.func)
        case _:
            code = agent.reader.called(module, decorator) or own_class(module, decorator)
    return _keeps_what_it_calls(agent, *code) if code is not None else ""


def _keeps_what_it_calls(agent: Agent, home: Module, code: ast.AST) -> str:
    """Return how a decorator of the project's own keeps what the decorated function returned."""
    for place, keys, value in _puts_inside(code):
        around = [*home.functions_around(root(place))]
        below = around.index(code) > 0 if isinstance(code, FUNCTIONS) else bool(around)
        if below and _is_result(agent, home, value) and not says_whose(home, *keys):
            if isinstance(place, ast.Attribute) and _is_instance(home, place.value, around[-1]):
                return _BY_OBJECT
            if _outlives_call(home, place, around[0]) and _is_read(code, place):
                return _FOR_ALL
    return ""


def _puts_inside(code: ast.AST) -> Iterator[tuple[ast.expr, list[ast.expr], ast.expr]]:
    """Yield the places that code puts values into, with the keys, and the values."""
    for node in walk(code):
        match node:
            case ast.Assign(targets=targets, value=value):
                yield from ((*_place_of(target), value) for target in targets)
            case ast.Call(func=ast.Attribute(value=place, attr=name), args=[*keys, value]) if name in PUTS | KEEPS:
                yield place, keys, value
            case ast.Call(func=ast.Name(id="setattr"), args=[owner, key, value]):
                yield ast.copy_location(ast.Attribute(owner, "", ast.Store()), node), [key], value
            case _:
                pass


def _place_of(target: ast.expr) -> tuple[ast.expr, list[ast.expr]]:
    """Return the place of ``RESULTS[key] = …``, and the keys. What is put into ``__dict__`` is an attribute."""
    keys: list[ast.expr] = []
    while isinstance(target, ast.Subscript):
        keys.append(target.slice)
        target = target.value
    if isinstance(target, ast.Attribute) and target.attr == "__dict__":
        target = ast.copy_location(ast.Attribute(target.value, "", ast.Store()), target)
    return target, keys


def _is_result(agent: Agent, module: Module, node: ast.AST | None, depth: int = 0) -> bool:
    """Return whether a value has in it what the decorated function returned. It is a parameter, or on ``self``."""
    for part in ast.walk(node) if node is not None else ():
        match part:
            case ast.Call(func=ast.Name() as func) if _is_parameter(module, func):
                return True
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__call__")):
                return True
            case ast.Call(func=ast.Attribute(value=owner, attr=name)) if (own := module.owner(owner)) is not None:
                if any(_is_parameter(module, value) for value in agent.reader.stored(module, own, name)):
                    return True
            case ast.Name() if depth < 2:
                values = [binding.value for binding in module.bindings(part)[1] if binding.how == "value"]
                if any(_is_result(agent, module, value, depth + 1) for value in values):
                    return True
            case _:
                pass
    return False


def _is_parameter(module: Module, node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and any(binding.how == "parameter" for binding in module.bindings(node)[1])


def _is_instance(module: Module, node: ast.expr, method: Function) -> bool:
    """Return whether it is the object that ``__get__`` is asked for."""
    named = isinstance(method, ast.FunctionDef) and method.name == "__get__" and isinstance(node, ast.Name)
    return named and module.owner(node) is None and _is_parameter(module, node)


def _outlives_call(module: Module, place: ast.expr, function: Function) -> bool:
    """Return whether a place is on ``self``, or belongs to the code around a function."""
    base = root(place)
    if not isinstance(base, ast.Name):
        return False
    scope = module.scope.get(base, module.top).home(base.id)
    return module.owner(base) is not None or (scope is not None and scope.node is not function)


def is_queued(module: Module, call: ast.Call) -> bool:
    """Return whether a call puts work into a queue, which something else takes out when the request may be over."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("put", "put_nowait"):
        return False
    match module.origin(call.func.value):
        case (home, ast.Call(func=made)):
            return last(home.dotted(made)) in _QUEUES
        case _:
            return False


def root(place: ast.expr) -> ast.expr:
    """Return what the attributes and items of a place belong to."""
    while isinstance(place, (ast.Attribute, ast.Subscript)):
        place = place.value
    return place


def _is_read(code: ast.AST, place: ast.expr) -> bool:
    """Return whether a decorator looks into the place where it keeps results. Else it only counts, or writes them down."""
    text, at = ast.unparse(place), (place.lineno, place.col_offset)
    return any(
        isinstance(node, (ast.Attribute, ast.Name))
        and (node.lineno, node.col_offset) != at
        and ast.unparse(node) == text
        and isinstance(node.ctx, ast.Load)
        for node in ast.walk(code)
    )


def says_whose(module: Module, *keys: ast.expr, depth: int = 0) -> bool:
    """Return whether one of the keys tells users apart, or is built where the source does not show it."""
    for key in keys:
        if WHOSE.search(ast.unparse(key)):
            return True
        for name in (inner for inner in ast.walk(key) if isinstance(inner, ast.Name)):
            for binding in module.bindings(name)[1]:
                if binding.how == "parameter" and name.id == "key":
                    return True
                value = binding.value if binding.how == "value" else None
                if isinstance(value, ast.expr) and depth < 3 and says_whose(module, value, depth=depth + 1):
                    return True
    return False


def is_cache(module: Module, node: ast.expr) -> bool:
    """Return whether this decorator of a library keeps what a function returned."""
    func = node.func if isinstance(node, ast.Call) else node
    dotted = module.dotted(func)
    if dotted:
        return last(dotted) in CACHES and "." in dotted and not dotted.startswith("builtins.")
    if not isinstance(func, ast.Attribute) or func.attr not in _CACHE_METHODS:
        return False
    made = module.origin(func.value)
    return isinstance(made, tuple) and isinstance(made[1], ast.Call) and bool(made[0].dotted(made[1].func))
