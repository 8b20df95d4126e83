"""Call the functions that ``headers=`` and ``token=`` take with the arguments of the decorated function's call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

__all__: list[str] = []

Getter: TypeAlias = "Callable[[tuple[Any, ...], dict[str, Any]], Any]"

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def getter_for(function: Callable[..., Any], target: Callable[..., Any], name: str) -> Getter:
    """Return how to call a function with arguments of the target's call: by name, else by position.

    Args:
        function: Takes no argument, some of the target's parameters by name, or the target's first ones.
        target: The decorated function.
        name: ``"headers"`` or ``"token"``, for messages.

    Raises:
        TypeError: The function has a parameter that the target does not have.
    """
    parameters = _parameters(function)
    if not parameters:
        return lambda *_: function()
    if all(parameter.kind in _ANY for parameter in parameters):
        return lambda args, kwargs: function(*args, **kwargs)
    signature = inspect.signature(target)
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    if _has_names(signature, parameters, required):
        names = [parameter.name for parameter in parameters]

        def by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            values = {**kwargs, **bound.arguments}
            return function(**{wanted: values[wanted] for wanted in names if wanted in values})

        return by_name
    places = [parameter.name for parameter in signature.parameters.values() if parameter.kind in _POSITIONAL]
    count = sum(parameter.kind in _POSITIONAL for parameter in parameters)
    if count != len(parameters) or len(places) < count:
        raise TypeError(
            f"{name}= is a function of {', '.join(required) or 'arguments'}, and {getattr(target, '__name__', 'the target')}"
            f"{signature} takes no such arguments"
        )

    def by_place(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return function(*(bound.arguments[place] for place in places[:count]))

    return by_place


def _has_names(signature: inspect.Signature, parameters: Sequence[inspect.Parameter], required: Sequence[str]) -> bool:
    """Check whether all parameters can be passed by name."""
    taken = signature.parameters
    open_ended = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values())
    by_name = all(parameter.kind not in (*_ANY, inspect.Parameter.POSITIONAL_ONLY) for parameter in parameters)
    return by_name and all(name in taken or open_ended for name in required)


def without_a_call(function: Callable[..., Any], name: str) -> Any:
    """Call a function for a ``with`` block, which has no arguments to pass on, and return its result.

    Raises:
        TypeError: The function has required parameters.
    """
    if any(parameter.default is parameter.empty and parameter.kind not in _ANY for parameter in _parameters(function)):
        raise TypeError(
            f"{name}= is a function of a call's arguments, and a `with` block has none: decorate the entry point with "
            "@user_session(…), or pass the value"
        )
    return function()


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a built-in without a signature
        return []
