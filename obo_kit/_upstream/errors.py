"""Read what exceptions are, and what they hold, by name: importing the classes would load their packages."""

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
    """Return the exceptions that another one holds, all of which count; `None` for what is no exception."""
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
    """Check whether an exception tells of a failure: not of a cancellation, nor of the end of a stream or of the program."""
    return isinstance(error, Exception) or is_failure_in_disguise(error)


def is_failure_in_disguise(error: object) -> bool:
    """Check whether a cancellation is none: a failed MCP client cancels itself, and nobody the task.

    Python 3.10 does not say who was cancelled: there it is one, as long as a task runs.
    """
    if not is_a(error, classes.CANCELLED_ERROR) or not CANCELLED.pattern.search(str(error)):
        return False
    import asyncio

    try:
        task: Any = asyncio.current_task()
    except RuntimeError:  # no loop runs here: it has come out of one that has ended
        return True
    return task is None or (hasattr(task, "cancelling") and task.cancelling() == 0)


def tells_nothing(error: object) -> bool:
    """Check whether it is an MCP client's error that says nothing of what the client met with: only the wire tells."""
    if is_failure_in_disguise(error):
        return True
    if not is_a(error, classes.STREAM_CLOSED, classes.STREAM_BROKEN):
        return False  # these meet the next message, after one without an answer was refused
    trace = cast("BaseException", error).__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith("mcp."):
            return True
        trace = trace.tb_next
    return False


SEAL = secrets.token_hex(16)
"""Marks what this process had `mcp` keep: a server that sends such data of its own does not know it."""


def kept_of(error: BaseException) -> dict[str, Any] | None:
    """Return what the kit had `mcp` 2 keep of a refusal: ``status``, ``path``, ``body`` and ``own``."""
    data = getattr(getattr(error, "error", None), "data", None) if is_a(error, classes.MCP_ERROR) else None
    kept: Any = data.get("obo_kit") if isinstance(data, dict) else None
    if not isinstance(kept, dict) or kept.get("seal") != SEAL or not isinstance(kept.get("status"), int):
        return None
    return kept if all(isinstance(kept.get(name), str) for name in ("path", "body")) else None


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an HTTP client's error carries."""
    kept = kept_of(error)
    if kept is not None:
        return cast("int", kept["status"])
    if package_of(error) not in HTTP_CLIENTS:
        return None
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def method_of(error: BaseException) -> str | None:
    """Return the method of the request that an HTTP client's error tells of; `None` where it tells of none."""
    try:
        method = getattr(getattr(error, "request", None), "method", None)
    except RuntimeError:  # `httpx` has none until the request was made
        return None
    return method.upper() if isinstance(method, str) else None
