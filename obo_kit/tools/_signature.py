"""Read a function's annotations: which parameters are the user's client, and what the others are."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from obo_kit.clients import CLIENT_TYPES
from obo_kit.tools._spec import Injection, Reading, Slot

__all__: list[str] = []

# Recognized by name: importing the classes would take seconds, and an annotation may be text that cannot be evaluated.
_KNOWN = frozenset({*CLIENT_TYPES, "UserSession"})
_DEFAULT_PARAMETER = "client"
_DEFAULT_TYPE = "WorkspaceClient"
_BUILTINS = vars(builtins)


def plain(fn: Any) -> Any:
    """Return the function below `functools.partial`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def read(fn: Any) -> Reading:
    """Read a function's annotations, evaluated as far as possible, and its signature with these annotations."""
    function = plain(fn) if isinstance(fn, functools.partial) else fn
    space = getattr(function, "__globals__", {})
    local = function.__code__.co_freevars if isinstance(function, types.FunctionType) else ()
    hints = dict(getattr(function, "__annotations__", {}))
    for name, annotation in hints.items():
        hint = annotation
        if isinstance(annotation, str) and annotation not in local:
            hint = space.get(annotation, _BUILTINS.get(annotation))
        # Most are classes, or the name of one. Only the others need a full evaluation.
        hints[name] = hint if type(hint) is type else evaluated(annotation, function)
    return Reading(fn=fn, hints=hints, signature=_signature(fn, hints))


def _signature(fn: Any, hints: dict[str, Any]) -> inspect.Signature:
    if type(fn) is types.FunctionType and not fn.__dict__:
        # Use a copy that has the evaluated annotations, so that the parameters are made only once.
        copied = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
        copied.__kwdefaults__, copied.__annotations__ = fn.__kwdefaults__, hints
        return inspect.signature(copied, follow_wrapped=False)
    signature = inspect.signature(fn)
    function, parameters = plain(fn), signature.parameters.values()
    for parameter in parameters:
        if parameter.name not in hints and parameter.annotation is not parameter.empty:
            hints[parameter.name] = evaluated(parameter.annotation, function)  # of a signature that was set by hand
    return signature.replace(
        parameters=[
            parameter.replace(annotation=hints.get(parameter.name, parameter.empty)) for parameter in parameters
        ],
        return_annotation=hints.get("return", signature.return_annotation),
    )


def evaluated(annotation: Any, fn: Any) -> Any:
    """Evaluate one annotation of a function. One that cannot be evaluated stays as it is, and fails where it would anyway."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    holder: Any = SimpleNamespace(__annotations__={"it": annotation})
    try:
        closure = inspect.getclosurevars(fn).nonlocals if inspect.isfunction(fn) else {}
        return typing.get_type_hints(holder, getattr(fn, "__globals__", {}), dict(closure), include_extras=True)["it"]
    except Exception:
        return annotation


def client_type_of(annotation: Any, fn: Any) -> str | None:
    """Return the name of the client type that an annotation asks for; `None` if it asks for none."""
    return _type_of(evaluated(annotation, fn))


def _type_of(annotation: Any) -> str | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        ours = annotation.__name__ in _KNOWN and annotation.__module__.startswith(("databricks", "obo_kit"))
        return annotation.__name__ if ours else None
    if isinstance(annotation, str):  # it cannot be evaluated
        return _type_in_text(annotation)
    if isinstance(annotation, typing.ForwardRef):
        return _type_in_text(annotation.__forward_arg__)
    other: Any = annotation
    if type(other).__name__ == "TypeAliasType":
        return _type_of(other.__value__)
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return _first(_type_of, typing.get_args(annotation))
    return _type_of(typing.get_args(annotation)[0]) if origin is typing.Annotated else None


def _first(read_part: Callable[[Any], str | None], parts: Iterable[Any]) -> str | None:
    return next((name for part in parts if (name := read_part(part))), None)


def _type_in_text(text: str) -> str | None:
    try:
        return _type_in_tree(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        return None


def _type_in_tree(tree: ast.expr) -> str | None:
    if isinstance(tree, (ast.Name, ast.Attribute)):
        names = ast.unparse(tree).split(".")
        # Many packages have a Connection, so the text must say which one it is.
        unclear = names[-1] == "Connection" and "sql" not in names[:-1]
        return names[-1] if names[-1] in _KNOWN and not unclear else None
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return _type_in_text(tree.value)
    if isinstance(tree, ast.BinOp):
        return _first(_type_in_tree, (tree.left, tree.right))
    if isinstance(tree, ast.Subscript):
        return _type_in_parts(ast.unparse(tree.value).rpartition(".")[2], tree.slice)
    return None


def _type_in_parts(outer: str, inner: ast.expr) -> str | None:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer in ("Optional", "Union"):
        return _first(_type_in_tree, parts)
    return _type_in_tree(parts[0]) if outer == "Annotated" and parts else None


def injection_of(reading: Reading, param: str | None) -> Injection:
    """Find the parameters to fill.

    Raises:
        TypeError: There are none, or one of them cannot be filled.
    """
    parameters = reading.signature.parameters
    wanted: dict[str, str] = {}
    for name in parameters:
        kind = _type_of(reading.hints.get(name))
        if kind is not None:
            wanted[name] = kind
    if param is not None:
        if param not in parameters:
            raise TypeError(f"with_user_client(param={param!r}): {reading.name}() has no such parameter")
        wanted.setdefault(param, _DEFAULT_TYPE)
    elif not wanted:
        wanted = _wanted_by_name(reading)
    slots: list[Slot] = []
    for index, (name, parameter) in enumerate(parameters.items()):
        if name in wanted:
            slots.append(_slot(reading, parameter, index, wanted[name]))
    return Injection(slots=tuple(slots), names=frozenset(wanted))


def _wanted_by_name(reading: Reading) -> dict[str, str]:
    parameter = reading.signature.parameters.get(_DEFAULT_PARAMETER)
    if parameter is None:
        raise TypeError(
            f"@with_user_client found no client parameter in {reading.name}(): annotate one with a client type "
            f"({', '.join(sorted(_KNOWN))}), name it 'client', or pass its name as param=…"
        )
    if parameter.annotation not in (parameter.empty, Any, object):
        raise TypeError(
            f"@with_user_client does not know the type of the parameter 'client' of {reading.name}(): annotate it with "
            f"{_DEFAULT_TYPE}, or pass the name of the intended parameter as param=…"
        )
    return {_DEFAULT_PARAMETER: _DEFAULT_TYPE}


def _slot(reading: Reading, parameter: inspect.Parameter, index: int, client_type: str) -> Slot:
    kind = parameter.kind
    if kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise TypeError(f"@with_user_client cannot fill the parameter {parameter} of {reading.name}()")
    earlier = list(reading.signature.parameters.values())[:index] if kind is parameter.POSITIONAL_ONLY else ()
    return Slot(
        name=parameter.name,
        client_type=client_type,
        index=None if kind is parameter.KEYWORD_ONLY else index,
        defaults=tuple(map(attrgetter("default"), earlier)),
    )
