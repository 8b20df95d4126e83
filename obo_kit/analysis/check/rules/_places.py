"""Find places that outlive the request, where a function stores something."""

from __future__ import annotations

import ast
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._scopes import FUNCTIONS, Binding, Scope
from obo_kit.analysis.check._vocabulary import last

__all__ = ["PUTS", "is_cache", "keeps_results", "stays"]

PUTS: Final = frozenset(
    {"add", "append", "appendleft", "extend", "insert", "put", "put_nowait", "setdefault", "update"}
)
_CACHES: Final = frozenset(
    {"alru_cache", "cache", "cache_data", "cache_resource", "cached", "cached_property", "cachedmethod", "cachier"}
    | {"lru_cache", "ttl_cache"}
)
# Decorators that are methods of a cache: ``@memory.cache``, ``@cache.memoize(60)``.
_CACHE_METHODS: Final = frozenset({"cache", "cache_on_arguments", "cached", "memoize"})
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
    if any(agent.early_in(outer) for outer in module.functions_around(node)):
        return ""
    base = node
    while isinstance(base, (ast.Attribute, ast.Subscript)):
        if isinstance(base, ast.Attribute):
            owner = agent.reader.owner(module, base.value)
            if owner is not None:
                return _of_owner(agent, owner, base, into=item or base is not target)
            if _is_app_state(base):
                return "on the application, which outlives the request"
        base = base.value
    return _of_base(agent, base, of_object=of is not None)


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


def _is_app_state(node: ast.Attribute) -> bool:
    """Return whether an attribute is ``request.app.state``."""
    return node.attr == "state" and isinstance(node.value, ast.Attribute) and node.value.attr == "app"


def _of_base(agent: Agent, base: ast.expr, *, of_object: bool) -> str:
    module = agent.module
    if isinstance(base, ast.Call):
        return "in a global" if module.dotted(base.func) == "builtins.globals" else _of_class(agent, base)
    if not isinstance(base, ast.Name):
        return ""
    if of_object and (owner := agent.reader.owner(module, base)) is not None:
        return _ON_OBJECT if agent.lives_long(owner) else ""
    scope, bindings = module.bindings(base)
    if scope is module.top:
        made = [binding.how for binding in bindings]
        return "in a global" if made and all(how in ("value", "def") for how in made) else ""
    return _of_local(agent, bindings[0]) if len(bindings) == 1 else ""


def _of_local(agent: Agent, binding: Binding) -> str:
    """Describe a default that all calls share, or another name for something that stays."""
    value = binding.value
    if binding.how == "parameter":
        made = isinstance(value, ast.Call) and agent.module.dotted(value.func) in ("builtins.dict", "builtins.list")
        return "in a default that all calls share" if made or isinstance(value, (ast.Dict, ast.List, ast.Set)) else ""
    if binding.how == "value" and isinstance(value, (ast.Attribute, ast.Name)):
        return stays(agent, value, item=True)
    return ""


def _of_owner(agent: Agent, owner: ast.ClassDef, attribute: ast.Attribute, *, into: bool) -> str:
    """Describe an attribute of an object, or what a value is put into there."""
    if into and _is_shared(owner, attribute.attr):
        return "on the class, which all its objects share"
    return _ON_OBJECT if agent.lives_long(owner) or _is_class(agent.module, attribute.value) else ""


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
    functions = [outer for outer in module.functions_around(node) if module.class_of(outer) is not None][:1]
    decorators = [item for function in functions for item in getattr(function, "decorator_list", [])]
    return any(module.dotted(decorator) == "builtins.classmethod" for decorator in decorators)


def _of_class(agent: Agent, call: ast.Call) -> str:
    is_type = agent.module.dotted(call.func) == "builtins.type" and len(call.args) == 1
    return "on the class" if is_type and agent.reader.owner(agent.module, call.args[0]) is not None else ""


def keeps_results(agent: Agent, decorator: ast.expr) -> bool:
    """Return whether a decorator keeps what a function returned: a library's, or one of the file's own."""
    return is_cache(agent.module, decorator) or _is_own_memoizer(agent, decorator)


def _is_own_memoizer(agent: Agent, decorator: ast.expr) -> bool:
    """Return whether a decorator of the file's own puts what the function returned into a place that all calls share."""
    module = agent.module
    called = agent.reader.called(module, decorator.func if isinstance(decorator, ast.Call) else decorator)
    if called is None or called[0] is not module:
        return False
    for store in module.stores:
        around = list(module.functions_around(store.target))
        if (
            called[1] in around[1:]
            and isinstance(store.target, ast.Subscript)
            and isinstance(store.target.value, ast.Name)
        ):
            scope = module.bindings(store.target.value)[0]
            if scope is not None and scope.node is not around[0] and _calls_parameter(module, store.value):
                return True
    return False


def _calls_parameter(module: Module, node: ast.AST | None, depth: int = 0) -> bool:
    """Return whether a value is, or has in it, what the decorated function returned."""
    for part in ast.walk(node) if node is not None else ():
        match part:
            case ast.Call(func=ast.Name() as func):
                if any(binding.how == "parameter" for binding in module.bindings(func)[1]):
                    return True
            case ast.Name() if depth < 2:
                values = [binding.value for binding in module.bindings(part)[1] if binding.how == "value"]
                if any(_calls_parameter(module, value, depth + 1) for value in values):
                    return True
            case _:
                pass
    return False


def is_cache(module: Module, node: ast.expr) -> bool:
    """Return whether this decorator of a library keeps what a function returned."""
    func = node.func if isinstance(node, ast.Call) else node
    dotted = module.dotted(func)
    if dotted:
        return last(dotted) in _CACHES and "." in dotted and not dotted.startswith("builtins.")
    if not isinstance(func, ast.Attribute) or func.attr not in _CACHE_METHODS:
        return False
    made = module.origin(func.value)
    return isinstance(made, tuple) and isinstance(made[1], ast.Call) and bool(made[0].dotted(made[1].func))
