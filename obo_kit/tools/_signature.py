"""Read a function's annotations: which parameters are the user's client, and what the others are."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import types
import typing
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from obo_kit.tools._spec import Injection, Reading, Slot

__all__: list[str] = []

# Recognised by name: importing the classes would cost seconds, and an annotation may be a string that cannot be evaluated.
_KNOWN = frozenset(
    {
        "WorkspaceClient",
        "VectorSearchClient",
        "AISearchClient",
        "DatabricksOpenAI",
        "AsyncDatabricksOpenAI",
        "Connection",
        "UserSession",
    }
)
_DEFAULT_PARAMETER = "client"
_DEFAULT_TYPE = "WorkspaceClient"


def plain(fn: Any) -> Any:
    """Return the function below `functools.partial`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def _variables_of(fn: Any) -> tuple[str, ...]:
    code = getattr(fn, "__code__", None)
    return code.co_freevars if code is not None else ()


def evaluated_hints(fn: Any, hidden: frozenset[str]) -> dict[str, Any]:
    """Evaluate annotations name by name; one that cannot be stays as it is, and fails where it would have anyway."""
    fn = plain(fn)
    hints: dict[str, Any] = {}
    for name, annotation in getattr(fn, "__annotations__", {}).items():
        if name in hidden:
            continue
        hints[name] = evaluated(annotation, fn)
    return hints


def read(fn: Any, hidden: frozenset[str]) -> Reading:
    """Read a function's annotations and its signature, without the parameters that are hidden."""
    hints = evaluated_hints(fn, hidden)
    signature = inspect.signature(fn)
    shown = [parameter for name, parameter in signature.parameters.items() if name not in hidden]
    parameters = [
        parameter
        if (hint := hints.get(parameter.name, parameter.annotation)) is parameter.annotation
        else parameter.replace(annotation=hint)
        for parameter in shown
    ]
    returned = hints.get("return", signature.return_annotation)
    return Reading(
        fn=fn,
        hints=hints,
        signature=signature.replace(parameters=parameters, return_annotation=returned),
        hidden=hidden,
    )


def evaluated(annotation: Any, fn: Any) -> Any:
    """Evaluate one annotation of a function, where that is possible."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    if isinstance(annotation, str) and annotation.isidentifier() and annotation not in _variables_of(fn):
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
    if isinstance(annotation, str):
        found = evaluated(annotation, fn)
        return _type_in_text(annotation) if isinstance(found, str) else client_type_of(found, fn)
    if isinstance(annotation, typing.ForwardRef):
        return _type_in_text(annotation.__forward_arg__)
    if type(annotation).__name__ == "TypeAliasType":
        return client_type_of(annotation.__value__, fn)
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        root = annotation.__module__.split(".")[0]
        return (
            annotation.__name__
            if annotation.__name__ in _KNOWN and root.startswith(("databricks", "obo_kit"))
            else None
        )
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        arguments = typing.get_args(annotation)[: 1 if origin is typing.Annotated else None]
        return next((found for part in arguments if (found := client_type_of(part, fn))), None)
    return None


def _type_in_text(text: str) -> str | None:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return None
    return _type_in_tree(tree)


def _type_in_tree(tree: ast.expr) -> str | None:
    if isinstance(tree, ast.Name):
        # Many packages have a Connection: as a mere text, it must say whose it is.
        return tree.id if tree.id in _KNOWN and tree.id != "Connection" else None
    if isinstance(tree, ast.Attribute):
        if tree.attr == "Connection" and "sql" not in ast.unparse(tree.value).split("."):
            return None
        return tree.attr if tree.attr in _KNOWN else None
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return _type_in_text(tree.value)
    if isinstance(tree, ast.BinOp):
        return _type_in_tree(tree.left) or _type_in_tree(tree.right)
    if isinstance(tree, ast.Subscript) and isinstance(tree.value, (ast.Name, ast.Attribute)):
        outer = tree.value.id if isinstance(tree.value, ast.Name) else tree.value.attr
        parts = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        if outer in ("Optional", "Union"):
            return next((found for part in parts if (found := _type_in_tree(part))), None)
        if outer == "Annotated":
            return _type_in_tree(parts[0])
    return None


def injection_of(fn: Callable[..., Any], param: str | None) -> Injection:
    """Find the parameters to fill.

    Raises:
        TypeError: There are none, or one of them cannot be filled.
    """
    name = getattr(fn, "__name__", repr(fn))
    parameters = inspect.signature(fn).parameters
    wanted: dict[str, str] = {}
    for key, parameter in parameters.items():
        if parameter.annotation is not parameter.empty and (found := client_type_of(parameter.annotation, fn)):
            wanted[key] = found
    if param is not None:
        if param not in parameters:
            raise TypeError(f"with_user_client(param={param!r}): {name}() has no such parameter")
        wanted.setdefault(param, _DEFAULT_TYPE)
    elif not wanted:
        by_name = parameters.get(_DEFAULT_PARAMETER)
        if by_name is None:
            raise TypeError(
                f"@with_user_client found no client parameter in {name}(): annotate one with a client type "
                f"({', '.join(sorted(_KNOWN))}), name it 'client', or say which with param=…"
            )
        if evaluated(by_name.annotation, fn) not in (by_name.empty, Any, object):
            raise TypeError(
                f"@with_user_client does not know the type of the parameter 'client' of {name}(): annotate it with "
                f"{_DEFAULT_TYPE}, or say which parameter is meant with param=…"
            )
        wanted[_DEFAULT_PARAMETER] = _DEFAULT_TYPE
    slots: list[Slot] = []
    for index, (key, parameter) in enumerate(parameters.items()):
        if key not in wanted:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"@with_user_client cannot fill the parameter {parameter} of {name}()")
        positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        before = list(parameters.values())[:index] if parameter.kind is parameter.POSITIONAL_ONLY else ()
        slots.append(
            Slot(
                name=key,
                client_type=wanted[key],
                index=index if positional else None,
                defaults=tuple(earlier.default for earlier in before),
            )
        )
    return Injection(slots=tuple(slots), names=frozenset(wanted))
