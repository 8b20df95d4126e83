"""Patch `asyncio.Queue`, so that an item remembers the request that put it there.

Read in Python 3.10 to 3.14: `put` and `get` end with `put_nowait` and `get_nowait`.
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

    @functools.wraps(put)
    def put_nowait(self: Any, item: Any) -> None:
        put(self, item)
        by, waiting = putter(), vars(self).setdefault(_BY, {})
        if by is not None and (item is None or isinstance(item, int) or _was_out(self, item)):
            by = None  # a resource that comes back to its pool, not a piece of work
        if by is not None or id(item) in waiting:
            waiting.setdefault(id(item), []).append(by)

    @functools.wraps(get_now)
    def get_nowait(self: Any) -> Any:
        item, caller = get_now(self), sys._getframe(1)
        by = vars(self)[_LATEST] = _put_by(self, item)
        if putter() is not None:
            _note_out(self, item)
        if caller.f_code is not get.__code__ and (note := taking(caller)) is not None:
            note(by)
        return item

    async def noted(self: Any, note: Callable[[Any], None]) -> Any:
        item = await get(self)
        note(vars(self)[_LATEST])
        return item

    @functools.wraps(get)
    def get_later(self: Any) -> Awaitable[Any]:
        # Ask here, since `wait_for` and `create_task` run the coroutine in a copy of the taker's context.
        note = taking(sys._getframe(1))
        return get(self) if note is None else noted(self, note)

    queue.put_nowait, queue.get_nowait, queue.get = put_nowait, get_nowait, get_later


def _put_by(queue: Any, item: Any) -> Any:
    waiting = vars(queue).get(_BY)
    if not waiting or id(item) not in waiting:
        return None
    putters = waiting[id(item)]
    by = putters.pop(0)
    if not putters:
        del waiting[id(item)]
    return by


def _note_out(queue: Any, item: Any) -> None:
    with contextlib.suppress(TypeError):  # text, numbers and tuples are work, not resources
        vars(queue).setdefault(_OUT, weakref.WeakValueDictionary())[id(item)] = item


def _was_out(queue: Any, item: Any) -> bool:
    out = vars(queue).get(_OUT)
    return out is not None and out.get(id(item)) is item
