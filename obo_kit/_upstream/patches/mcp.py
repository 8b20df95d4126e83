"""Patch the streamable HTTP transport of `mcp`, so that a message belongs to the call that sends it.

`mcp` 1 sends all messages from tasks of the connection, which may be older than the tool that uses it (rule 23). `mcp` 2 sends
each message in its own context. Read in mcp 1.10, 1.24, 1.30 and 2.3.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import Any

from obo_kit._upstream.patches._mechanics import after_init, once

__all__: list[str] = []

MODULES = ("mcp.client.streamable_http",)
_FRAME = "obo_kit_frame"


@once
def patch(module: Any, frame: ContextVar[Any]) -> None:
    """Make the transport send each message with the frame of the code that made the message.

    Args:
        module: One of `MODULES`, once it is loaded.
        frame: The context variable of the frame.
    """
    if hasattr(module, "create_context_streams"):  # `mcp` 2
        return
    after_init(module.SessionMessage, lambda message: setattr(message, _FRAME, frame.get()))
    transport = module.StreamableHTTPTransport
    for name in ("_handle_post_request", "_handle_resumption_request"):
        setattr(transport, name, _in_its_frame(getattr(transport, name), frame))


def _in_its_frame(send: Any, frame: ContextVar[Any]) -> Any:
    @functools.wraps(send)
    async def sent(self: Any, context: Any) -> None:
        made_in = getattr(context.session_message, _FRAME, None)
        token = frame.set(made_in if made_in is not None else frame.get())
        try:
            await send(self, context)
        finally:
            frame.reset(token)

    return sent
