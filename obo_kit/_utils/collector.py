"""Keep finalizers from changing the context that they interrupt.

Before Python 3.12, the garbage collector may run inside `ContextVar.set`. If a finalizer then sets a variable of the same
context, the interrupted `set` goes on to read memory that is free, and the process crashes (python/cpython#148891). A generator
that is dropped in the middle of a stream is finished in this way.
"""

from __future__ import annotations

import contextvars
import gc
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__: list[str] = []

T = TypeVar("T")

_collecting_in: int | None = None
"""The thread in which the collector runs."""


def _note(phase: str, info: dict[str, Any]) -> None:
    global _collecting_in
    del info
    _collecting_in = threading.get_ident() if phase == "start" else None


if sys.version_info < (3, 12):
    gc.callbacks.append(_note)


def apart(work: Callable[..., T], *args: Any) -> T:
    """Do work that sets context variables. Where the garbage collector asks for it, do it in a copy of the context."""
    if _collecting_in is not None and _collecting_in == threading.get_ident():
        return contextvars.copy_context().run(work, *args)
    return work(*args)
