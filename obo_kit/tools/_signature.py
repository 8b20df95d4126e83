"""Read a function's annotations: which parameters are the user's client, and what the others are."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from obo_kit.clients import CLIENT_TYPES
from obo_kit.tools._spec import Injection, Reading, Slot

__all__: list[str] = []

# Recognised by name: importing the classes would cost seconds, and an annotation may be a string that cannot be evaluated.
_KNOWN = frozenset({*CLIENT_TYPES, "UserSession"})
_DEFAULT_PARAMETER = "client"
_DEFAULT_TYPE = "WorkspaceClient"


def plain(fn: Any) -> Any:
    """Return the function below `functools.partial`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def read(fn: Any) -> Reading:
    """Read a function's annotations, evaluated as far as they can be, and its signature with these."""
    function = plain(fn) if isinstance(fn, functools.partial) else fn
    hints = {name: evaluated(value, function) for name, value in getattr(function, "__annotations__", {}).items()}
    return Reading(fn=fn, hints=hints, signature=_signature(fn, hints))


def _signature(fn: Any, hints: dict[str, Any]) -> inspect.Signature:
    if type(fn) is types.FunctionType and not fn.__dict__:
        # A copy that has the evaluated annotations: the parameters are made once.
        copied = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
        copied.__kwdefaults__, copied.__annotations__ = fn.__kwdefaults__, hints
        return inspect.signature(copied)
    signature = inspect.signature(fn)
    function, parameters = plain(fn), signature.parameters.values()
    return signature.replace(
        parameters=[
            parameter.replace(annotation=hints.get(parameter.name, evaluated(parameter.annotation, function)))
            for parameter in parameters
        ],
        return_annotation=hints.get("return", signature.return_annotation),
    )


def evaluated(annotation: Any, fn: Any) -> Any:
    """Evaluate one annotation of a function; one that cannot be stays as it is, and fails where it would have anyway."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    code = getattr(fn, "__code__", None)
    if (
        isinstance(annotation, str)
        and annotation.isidentifier()
        and (code is None or annotation not in code.co_freevars)
    ):
        space = getattr(fn, "__globals__", {})
        value = space.get(annotation, getattr(builtins, annotation, None))
        if isinstance(value, type):  # most are: what else there is goes the long way
            return value
    holder: Any = SimpleNamespace(__annotations__={"it": annotation})
    try:
        closure = inspect.getclosurevars(fn).nonlocals if inspect.isfunction(fn) else {}
        return typing.get_type_hints(holder, getattr(fn, "__globals__", {}), dict(closure), include_extras=True)["it"]
    except Exception:
        return annotation


def client_type_of(annotation: Any, fn: Any) -> str | None:
    """Return the name of the client type that an annotation asks for, if it does."""
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
        # Many packages have a Connection: as a mere text, it must say whose it is.
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
    for name, parameter in parameters.items():
        kind = _type_of(reading.hints.get(name, parameter.annotation))
        if kind is not None:
            wanted[name] = kind
    if param is not None:
        if param not in parameters:
            raise TypeError(f"with_user_client(param={param!r}): {reading.name}() has no such parameter")
        wanted.setdefault(param, _DEFAULT_TYPE)
    elif not wanted:
        wanted = _wanted_by_name(reading)
    slots = [_slot(reading, parameters, name, wanted[name]) for name in parameters if name in wanted]
    return Injection(slots=tuple(slots), names=frozenset(wanted))


def _wanted_by_name(reading: Reading) -> dict[str, str]:
    parameter = reading.signature.parameters.get(_DEFAULT_PARAMETER)
    if parameter is None:
        raise TypeError(
            f"@with_user_client found no client parameter in {reading.name}(): annotate one with a client type "
            f"({', '.join(sorted(_KNOWN))}), name it 'client', or say which with param=…"
        )
    if parameter.annotation not in (parameter.empty, Any, object):
        raise TypeError(
            f"@with_user_client does not know the type of the parameter 'client' of {reading.name}(): annotate it with "
            f"{_DEFAULT_TYPE}, or say which parameter is meant with param=…"
        )
    return {_DEFAULT_PARAMETER: _DEFAULT_TYPE}


def _slot(reading: Reading, parameters: Mapping[str, inspect.Parameter], name: str, client_type: str) -> Slot:
    parameter, index = parameters[name], list(parameters).index(name)
    kind = parameter.kind
    if kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise TypeError(f"@with_user_client cannot fill the parameter {parameter} of {reading.name}()")
    earlier = list(parameters.values())[:index] if kind is parameter.POSITIONAL_ONLY else ()
    return Slot(
        name=name,
        client_type=client_type,
        index=None if kind is parameter.KEYWORD_ONLY else index,
        defaults=tuple(map(attrgetter("default"), earlier)),
    )
