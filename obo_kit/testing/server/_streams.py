"""Server-sent events from an iterator."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any

from obo_kit.testing._refusals import REFUSALS, refusal_text

__all__ = ["DONE", "END", "Steps", "sse", "sse_error"]

_logger = logging.getLogger("obo_kit.testing")

DONE = b"data: [DONE]\n\n"
END = object()


def sse(event: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return f"data: {json.dumps(event)}\n\n".encode()


def sse_error(error: Exception) -> bytes:
    """Return the event that ends a stream whose source raised (reported: ``event: error``; its fields are inferred)."""
    _logger.debug("A stream ended with an error", exc_info=error)
    message = refusal_text("model_error", error=type(error).__name__, detail=str(error))
    code = REFUSALS["model_error"].code
    # The OpenAI clients raise for an ``error`` inside the data. Other clients read the flat fields.
    body = {"error_code": code, "message": message, "error": {"code": code, "message": message}}
    return b"event: error\n" + sse(body)


class Steps:
    """An iterator that advances step by step: each step in a thread of a pool, all steps in one context of their own.

    Args:
        make: Returns the iterator. Called in the first step.
        pool: The threads.
    """

    def __init__(self, make: Callable[[], Iterator[Any]], pool: Executor) -> None:
        self._make = make
        self._pool = pool
        self._context = contextvars.Context()
        # One step at a time, and no closing during one: a context cannot be entered twice.
        self._busy = threading.Lock()
        self._iterator: Iterator[Any] | None = None

    def step(self) -> Any:
        """Take one step in this thread. Return ``END`` after the last."""
        with self._busy:
            return self._context.run(self._next)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield the remaining items without blocking the event loop."""
        loop = asyncio.get_running_loop()
        while (item := await loop.run_in_executor(self._pool, self.step)) is not END:
            yield item

    def close(self) -> None:
        """Close the iterator. Waits for the running step."""
        with self._busy:
            close = getattr(self._iterator, "close", None)
            if close is not None:
                self._context.run(close)

    def _next(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._make())
        return next(self._iterator, END)
