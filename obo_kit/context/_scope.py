"""Context managers that also work as decorators: `user_session`, `with_user_client`, `optional_tool`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, ClassVar, Generic, TypeVar, cast

from obo_kit._utils.collector import apart

__all__: list[str] = []

T = TypeVar("T")
E = TypeVar("E", bool, None)


def _end_nothing(_error: BaseException | None) -> Any:
    """End a block that was not entered, or whose entry failed: a framework's teardown may try."""


class Scope(Generic[T, E]):
    """A sync and async context manager for one block at a time.

    If two requests shared one, they would mix up their users, or their denials.
    """

    __slots__ = ("_free", "_leave")

    in_use: ClassVar[str]
    """The error message for a second block: what is wrong, and what to write instead."""
    once: ClassVar[bool] = False
    """Whether it serves a single block in all."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._leave: Callable[[BaseException | None], E] | None = None

    def begin(self, block: FrameType) -> tuple[T, Callable[[BaseException | None], E]]:
        """Open a block. Return the block's value, and a function that ends it and takes the error that left it, if any."""
        raise NotImplementedError

    def _enter(self, block: FrameType) -> T:
        if not self._free.acquire(False):
            raise RuntimeError(self.in_use)
        try:
            value, self._leave = self.begin(block)
        except BaseException:
            self._release()
            raise
        return value

    def _release(self) -> None:
        if not self.once:
            self._leave = None
            self._free.release()

    def _exit(self, error: BaseException | None) -> E:
        leave = self._leave
        if leave is None:
            return apart(cast("Callable[[BaseException | None], E]", _end_nothing), error)
        self._release()
        return apart(leave, error)

    def __enter__(self) -> T:
        return self._enter(sys._getframe(1))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> E:
        return self._exit(error)

    async def __aenter__(self) -> T:
        return self._enter(sys._getframe(1))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> E:
        return self._exit(error)
