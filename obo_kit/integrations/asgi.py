"""Databricks Apps behind FastAPI, Starlette or any other ASGI server.

MLflow's agent server needs none of this: the kit reads the headers that it keeps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from obo_kit.context._frame import FRAME
from obo_kit.identity._headers import REQUEST_HEADERS, RequestHeaders

__all__ = ["UserHeadersMiddleware"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class UserHeadersMiddleware:
    """Keeps each request's headers for as long as the request, so that a session opened inside finds its user.

    ``app.add_middleware(UserHeadersMiddleware)`` in FastAPI and Starlette; ``UserHeadersMiddleware(app)`` elsewhere. It
    reads nothing itself: where there is no user, ``user_session`` says so, on Databricks Apps and anywhere else. Each
    request begins without a session, also one that is sent from inside another user's. A websocket keeps the headers it was
    opened with, and so a token that expires.
    """

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = RequestHeaders(scope["headers"])
        token = REQUEST_HEADERS.set(headers)
        # A request that comes from inside another session (agent to agent, a test's client) opens its own.
        frame = FRAME.set(None)
        try:
            await self._app(scope, receive, send)
        finally:
            FRAME.reset(frame)
            REQUEST_HEADERS.reset(token)
            headers.value = None  # a task that the request left behind has no user any more
