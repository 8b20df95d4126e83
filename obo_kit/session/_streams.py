"""`with` blocks that a generator holds across a ``yield``.

Such a block is entered in the context of the first step. Servers that take each step in a copy of the context, or in another
thread, lose it. Other servers keep it for the code that consumes the stream. So the generator's own frame decides: while it is
on the stack, its session is the current one. While it is suspended, the session is current for no code on the thread where it
was suspended. Only the stack can tell. The kit looks at the stack only while such a block is open.
"""

from __future__ import annotations

import inspect
import sys
import threading
from types import FrameType
from typing import Any

from obo_kit.context._calls import ToolCall
from obo_kit.context._frame import FRAME, Frame
from obo_kit.session._session import UserSession, running_task

__all__: list[str] = []

_GENERATORS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
# Modules that step a generator to enter a context or to set up a fixture. The code that it yields to belongs inside the block.
_CONTEXT_MANAGERS = frozenset({"contextlib", "_pytest", "pytest_asyncio", "pytest_anyio"})

BLOCKS: dict[int, tuple[FrameType, UserSession]] = {}
"""The open blocks, by the ids of their frames. Keeping the frames keeps their ids unique."""


class StreamFrame(Frame):
    """The frame of a block that a generator holds across its yields."""

    __slots__ = ("generator", "place")

    def __init__(self, session: UserSession, call: ToolCall | None, generator: FrameType) -> None:
        super().__init__(session, call)
        self.generator = id(generator)
        self.place = _place()

    @property
    def suspended(self) -> bool:
        return left_behind()


def generator_of(block: FrameType) -> FrameType | None:
    """Return the generator that contains a ``with`` block, unless it serves as a context manager or a fixture."""
    if not block.f_code.co_flags & _GENERATORS:
        return None
    driver = block.f_back
    name = str(driver.f_globals.get("__name__", "")) if driver is not None else ""
    if name.partition(".")[0] in _CONTEXT_MANAGERS or name.startswith("anyio._backends"):
        return None
    return block


def enter_block(generator: FrameType, session: UserSession) -> None:
    """Register a block, until `leave_block`."""
    BLOCKS[id(generator)] = (generator, session)


def leave_block(generator: FrameType) -> None:
    """Unregister a block."""
    BLOCKS.pop(id(generator), None)


def block_on_the_stack() -> UserSession | None:
    """Return the open session of the innermost generator on the stack that holds a block."""
    if not BLOCKS:
        return None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        block = BLOCKS.get(id(frame))
        if block is not None and block[0] is frame:
            return block[1] if not block[1].closed else None
        frame = frame.f_back
    return None


def left_behind() -> bool:
    """Return whether the current frame was set by a block whose generator is suspended, on this very thread and task."""
    frame = FRAME.get()
    if not isinstance(frame, StreamFrame) or frame.place != _place():
        return False
    running: FrameType | None = sys._getframe(1)
    while running is not None:
        if id(running) == frame.generator:
            return False
        running = running.f_back
    return True


def _place() -> tuple[int, Any]:
    """Return a value that differs between threads and between tasks."""
    task = running_task()
    return threading.get_ident(), id(task) if task is not None else None
