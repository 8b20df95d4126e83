"""pydantic's `validate_call`, where it checks what a tool returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

__all__: list[str] = []


def answer(package: str, holder: Any, value: Any, error: Callable[[], Exception]) -> Any:
    """Return a denial's text where the tool's type takes one.

    Raises:
        Exception: The denial's own error, where pydantic would call the text a wrong result.
    """
    del package
    if not isinstance(value, str) or not holder.validate_return:
        return value
    try:
        TypeAdapter(inspect.signature(holder.function).return_annotation).validate_python(value)
    except ValidationError:
        raise error() from None
    return value
