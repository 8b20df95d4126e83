"""Patch `asyncio.Queue`, so that an item remembers the request that put it there.

Read in Python 3.10, 3.11, 3.12 and 3.13: `put` and `get` end with `put_nowait` and `get_nowait`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import weakref
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from obo_kit._upstream.patches._mechanics import once

__all__: list[str] = []

MODULE = "asyncio.queues"
_BY, _OUT, _LATEST = "obo_kit_by", "obo_kit_out", "obo_kit_latest"


@once
def patch(module: Any, putter: Callable[[], Any], taking: Callable[[FrameType], Callable[[Any], None] | None]) -> None:
    """Make queues tell a taker who put the item there.

    Args:
        module: `MODULE`, once it is loaded.
        putter: Returns who puts an item, in the code that puts it; `None` for nobody.
        taking: Called with the frame that takes an item, in the context of that code. Returns the function to call with the
            item's putter; `None` if the taker need not know.
    """
    queue = module.Queue
    put, get, get_now = queue.put_nowait, queue.get, queue.get_nowait

    of_get = get.__code__

    @functools.wraps(put)
    def put_nowait(self: Any, item: Any) -> None:
        put(self, item)
        by = putter()
        if by is not None or self.__dict__.get(_BY):
            _note_putter(self.__dict__, item, by)

    @functools.wraps(get_now)
    def get_nowait(self: Any) -> Any:
        item = get_now(self)
        by = self.__dict__[_LATEST] = _putter_of(self.__dict__, item)
        if type(item) not in _WORK and putter() is not None:
            _note_out(self.__dict__, item)
        caller = sys._getframe(1)
        if caller.f_code is not of_get and (note := taking(caller)) is not None:
            note(by)
        return item

    async def noted(self: Any, note: Callable[[Any], None]) -> Any:
        item = await get(self)
        note(self.__dict__[_LATEST])
        return item

    @functools.wraps(get)
    def get_later(self: Any) -> Awaitable[Any]:
        # Ask here, since `wait_for` and `create_task` run the coroutine in a copy of the taker's context.
        note = taking(sys._getframe(1))
        return get(self) if note is None else noted(self, note)

    queue.put_nowait, queue.get_nowait, queue.get = put_nowait, get_nowait, get_later


_WORK = frozenset({str, bytes, int, float, bool, tuple, list, dict, type(None)})
"""Types that no weak reference can be had to: they are work, not resources."""
_SIGNALS = frozenset({int, bool, type(None)})
"""Types of items that say nothing: tokens of a limit, and the end of a queue."""


def _note_putter(queue: dict[str, Any], item: Any, by: Any) -> None:
    waiting = queue.setdefault(_BY, {})
    if type(item) in _SIGNALS or (_OUT in queue and queue[_OUT].get(id(item)) is item):
        by = None  # a resource that comes back to its pool, not a piece of work
    others = waiting.get(id(item), ())  # the same object may be in a queue more than once
    if by is not None or others:
        waiting[id(item)] = (*others, by)


def _putter_of(queue: dict[str, Any], item: Any) -> Any:
    waiting = queue.get(_BY)
    if not waiting:
        return None
    by, *others = waiting.pop(id(item), (None,))
    if others:
        waiting[id(item)] = tuple(others)
    return by


def _note_out(queue: dict[str, Any], item: Any) -> None:
    if _OUT not in queue:
        queue[_OUT] = weakref.WeakValueDictionary()
    with contextlib.suppress(TypeError):
        queue[_OUT][id(item)] = item
