"""Find the keywords that a call unpacks: ``WorkspaceClient(**options)``, if the source shows how the dictionary is built."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from obo_kit.analysis.check._names import Module

__all__ = ["Options", "completed", "entries_of", "options_of"]


@dataclass(frozen=True, slots=True)
class Options:
    """Keywords that one place puts into the dictionary that a call unpacks."""

    place: ast.AST
    keywords: dict[str, ast.expr]


def options_of(module: Module, call: ast.Call) -> list[Options] | None:
    """Return what may be unpacked into a call's keywords, place by place; ``None`` if the source does not show all of it."""
    options: list[Options] = []
    for keyword in call.keywords:
        parts = _parts(module, keyword.value) if keyword.arg is None else []
        if parts is None:
            return None
        options += parts
    return None if any(isinstance(argument, ast.Starred) for argument in call.args) else options


def completed(module: Module, call: ast.Call) -> ast.Call:
    """Return a call with the function and the arguments that ``functools.partial`` adds to it; or the call itself."""
    match module.origin(call.func):
        case (home, ast.Call(args=[func, *first], keywords=more) as partial) if home is module:
            if module.dotted(partial.func) == "functools.partial":
                named = {keyword.arg: keyword for keyword in [*more, *call.keywords]}
                whole = ast.Call(func=func, args=[*first, *call.args], keywords=[*named.values()])
                return ast.copy_location(whole, call)
        case _:
            pass
    return call


def entries_of(module: Module, name: ast.Name) -> list[ast.expr]:
    """Return the values in a dictionary that a name stands for; none if the source does not show all of it."""
    function = module.function_of(name)
    removed = [target for statement in module.inside(function, ast.Delete) for target in statement.targets]
    removed += [call.func for call in module.inside(function, ast.Call)]
    if any(_removes(node, name) for node in removed):
        return []
    entries: dict[str, ast.expr] = {}
    for item in sorted(_parts(module, name) or (), key=lambda item: getattr(item.place, "lineno", 0)):
        entries |= item.keywords
    return list(entries.values())


def _removes(node: ast.expr, name: ast.Name) -> bool:
    match node:
        case ast.Subscript(value=ast.Name(id=name.id)):
            return True
        case ast.Attribute(value=ast.Name(id=name.id), attr="pop" | "popitem" | "clear"):
            return True
        case _:
            return False


def _parts(module: Module, node: ast.expr) -> list[Options] | None:
    if not isinstance(node, ast.Name):
        return _dictionary(module, node)
    scope, bindings = module.bindings(node)
    if scope is None or not bindings:
        return None
    options = [*_added(module, node)]
    for binding in scope.names[node.id]:
        parts = _dictionary(module, binding.value) if binding.how == "value" else None
        if parts is None:
            return None
        options += parts
    return options


def _dictionary(module: Module, node: ast.AST | None) -> list[Options] | None:
    """Return the keywords of a dictionary literal, or of a choice between two."""
    match node:
        case ast.IfExp(body=body, orelse=orelse):
            first, second = _dictionary(module, body), _dictionary(module, orelse)
            return None if first is None or second is None else [*first, *second]
        case ast.Dict(keys=keys, values=values):
            return _displayed(module, node, keys, values)
        case ast.Call(func=func, args=[], keywords=keywords) if module.dotted(func) == "builtins.dict":
            if any(keyword.arg is None for keyword in keywords):
                return None
            return [Options(node, {keyword.arg: keyword.value for keyword in keywords if keyword.arg is not None})]
        case ast.Call(func=ast.Name() as func):
            return _returned(module, func)
        case _:
            return None


def _returned(module: Module, func: ast.Name) -> list[Options] | None:
    """Return the keywords of the dictionary that a function of the same module returns."""
    origin = module.origin(func)
    if not isinstance(origin, tuple) or origin[0] is not module or not isinstance(origin[1], ast.FunctionDef):
        return None
    returned = module.returns(origin[1])
    result = returned[0] if len(returned) == 1 else None
    made = [binding.value for binding in module.bindings(result)[1]] if isinstance(result, ast.Name) else [result]
    return _parts(module, result) if result is not None and all(isinstance(part, ast.Dict) for part in made) else None


def _displayed(
    module: Module, node: ast.Dict, keys: list[ast.expr | None], values: list[ast.expr]
) -> list[Options] | None:
    """Return the keywords of ``{**options, "token": token}``."""
    entries: dict[str, ast.expr] = {}
    for key, value in zip(keys, values, strict=True):
        match key:
            case None:
                match module.origin(value):
                    case (home, ast.Dict(keys=inner) as whole) if None not in inner and not _grows(module, value):
                        parts = _dictionary(home, whole)
                    case _:
                        parts = None
                if parts is None:
                    return None
                entries |= parts[0].keywords
            case ast.Constant(value=str(name)):
                entries[name] = value
            case _:
                return None
    return [Options(node, entries)]


def _grows(module: Module, node: ast.expr) -> bool:
    """Return whether something is put into the dictionary that a name stands for."""
    return isinstance(node, ast.Name) and any(_added(module, node))


def _added(module: Module, name: ast.Name) -> Iterator[Options]:
    """Yield the keywords of ``options["token"] = token`` and ``options.update(token=token)``."""
    function = module.function_of(name)
    for store in module.stores:
        match store.target:
            case ast.Subscript(value=ast.Name(id=name.id), slice=ast.Constant(value=str(key))):
                if module.function_of(store.target) is function:
                    yield Options(store.target, {key: store.value})
    for call in module.inside(function, ast.Call):
        match call.func:
            case ast.Attribute(value=ast.Name(id=name.id), attr="update"):
                yield Options(call, {item.arg: item.value for item in call.keywords if item.arg is not None})
                inner = [part for argument in call.args for part in _dictionary(module, argument) or []]
                yield from (Options(call, part.keywords) for part in inner)
