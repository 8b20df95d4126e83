"""Distinguish functions from the objects that frameworks make of them."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

__all__: list[str] = []

_FUNCTIONS = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    functools.partial,
)


def is_function(thing: Any) -> bool:
    """Return whether an object is a function or a method, or `functools.partial` of one.

    `inspect.isroutine` does not do: it accepts any object with a ``__get__``, such as some frameworks' tool objects.
    """
    return isinstance(thing, _FUNCTIONS) or type(thing).__name__ == "cython_function_or_method"


def quietly(ask: Callable[[Any], Any], value: Any, otherwise: Any = None) -> Any:
    """Ask about any object at all. Some answer by loading themselves or by failing, as a proxy outside of its request does."""
    try:
        return ask(value)
    except Exception:
        return otherwise
