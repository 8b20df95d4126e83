"""What exceptions are, and what they hold. Told by name: importing the classes would load their packages."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, cast

__all__: list[str] = []

HTTP_CLIENTS = frozenset({"databricks", "openai", "requests", "httpx", "httpx2"})
MAX_DEPTH = 16


def package_of(thing: object) -> str:
    """The package of a thing's class."""
    return (type(thing).__module__ or "").partition(".")[0]


def is_a(thing: object, package: str, *names: str) -> bool:
    """Whether a thing is of one of the classes, or of one derived from them."""
    kind: Any = type(thing)
    bases = _bases(kind)
    return any((package, name) in bases for name in names)


@functools.lru_cache(maxsize=256)
def _bases(kind: type) -> frozenset[tuple[str, str]]:
    return frozenset((base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__)


def leaves_of(error: BaseException) -> Sequence[BaseException | None]:
    """The exceptions that another one holds, all of which count; `None` for what is no exception."""
    if is_a(error, "builtins", "BaseExceptionGroup") or is_a(error, "exceptiongroup", "BaseExceptionGroup"):
        return tuple(cast("Any", error).exceptions)
    if is_a(error, "pydantic_core", "ValidationError"):
        held = [entry.get("ctx", {}).get("error") for entry in cast("Any", error).errors()]
        return [one if isinstance(one, BaseException) else None for one in held]
    if is_a(error, "tenacity", "RetryError"):
        return (cast("Any", error).last_attempt.exception(),)
    return ()


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an HTTP client's error carries."""
    if package_of(error) not in HTTP_CLIENTS:
        return None
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) else None
