"""Classify exceptions and read them by name: importing the classes would load their packages."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, cast

from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a, package_of
from obo_kit._upstream.lost_texts import CANCELLED

__all__: list[str] = []

HTTP_CLIENTS = frozenset({"databricks", "openai", "requests", "httpx", "httpx2"})
MAX_DEPTH = 16


def leaves_of(error: BaseException) -> Sequence[BaseException | None]:
    """Return the exceptions inside another one, all of which count; `None` for an item that is not an exception."""
    if is_a(error, classes.EXCEPTION_GROUP):
        return tuple(cast("Any", error).exceptions)
    if is_a(error, classes.VALIDATION_ERROR):
        entries = cast("Any", error).errors(include_url=False, include_input=False)
        causes = [entry.get("ctx", {}).get("error") for entry in entries]
        return [cause if isinstance(cause, BaseException) else None for cause in causes]
    if is_a(error, classes.RETRY_ERROR):
        return (cast("Any", error).last_attempt.exception(),)
    return ()


def is_failure(error: object) -> bool:
    """Check whether an exception is a failure, and not a cancellation or the end of a stream or of the program."""
    return isinstance(error, Exception) or is_failure_in_disguise(error)


def is_failure_in_disguise(error: object) -> bool:
    """Check whether a cancellation is in fact a failure: a failed MCP client cancels itself, although nobody cancels the task.

    Python 3.10 does not say who was cancelled. There it counts as a cancellation as long as a task runs.
    """
    if not is_a(error, classes.CANCELLED_ERROR) or not CANCELLED.pattern.search(str(error)):
        return False
    import asyncio

    try:
        task: Any = asyncio.current_task()
    except RuntimeError:  # no loop runs here: the exception left a loop that has ended
        return True
    return task is None or (hasattr(task, "cancelling") and task.cancelling() == 0)


def tells_nothing(error: object) -> bool:
    """Check whether it is an MCP client's error that does not say what the client met: then only the wire tells."""
    if not is_a(error, classes.CANCELLED_ERROR, classes.STREAM_CLOSED, classes.STREAM_BROKEN):
        return False
    if is_a(error, classes.CANCELLED_ERROR):
        return is_failure_in_disguise(error)
    # A closed stream is raised for the next message, after a refused one got no answer.
    trace = cast("BaseException", error).__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith("mcp."):
            return True
        trace = trace.tb_next
    return False


SEAL = secrets.token_hex(16)
"""Marks what this process made `mcp` keep. A server that sends such data of its own does not know it."""


def kept_of(error: BaseException) -> dict[str, Any] | None:
    """Return what the kit made `mcp` 2 keep of a refusal: ``status``, ``path``, ``body`` and ``own``."""
    data = getattr(getattr(error, "error", None), "data", None) if is_a(error, classes.MCP_ERROR) else None
    refusal: Any = data.get("obo_kit") if isinstance(data, dict) else None
    if not isinstance(refusal, dict) or refusal.get("seal") != SEAL or not isinstance(refusal.get("status"), int):
        return None
    return refusal if all(isinstance(refusal.get(name), str) for name in ("path", "body")) else None


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an HTTP client's error carries."""
    refusal = kept_of(error)
    if refusal is not None:
        return cast("int", refusal["status"])
    if package_of(error) not in HTTP_CLIENTS:
        return None
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def method_of(error: BaseException) -> str | None:
    """Return the method of the request that an HTTP client's error names; `None` if it names none."""
    try:
        method = getattr(getattr(error, "request", None), "method", None)
    except RuntimeError:  # `httpx` has none until the request is made
        return None
    return method.upper() if isinstance(method, str) else None
