"""Answer denials to pydantic's `validate_call`, which may check the type of what a tool returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

__all__: list[str] = []


def answer(package: str, holder: Any, value: Any, error: Callable[[], Exception]) -> Any:
    """Return a denial's text if the tool's return type accepts it.

    Raises:
        Exception: The denial's own error, if pydantic would reject the text as a wrong result.
    """
    del package
    if not isinstance(value, str) or not holder.validate_return:
        return value
    try:
        TypeAdapter(inspect.signature(holder.function).return_annotation).validate_python(value)
    except ValidationError:
        raise error() from None
    return value
