"""Support Databricks Apps behind FastAPI, Starlette or any other ASGI server.

MLflow's agent server needs none of this: the kit reads the headers that it keeps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from obo_kit.context._frame import FRAME
from obo_kit.identity._credentials import DEFAULT_LIMITS, Limits
from obo_kit.identity._headers import REQUEST_HEADERS, RequestHeaders
from obo_kit.identity._runtime import DeveloperKind
from obo_kit.session._entry import user_session

__all__ = ["UserHeadersMiddleware", "UserSessionMiddleware"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class UserHeadersMiddleware:
    """Keeps each request's headers as long as the request runs, so that a session opened inside finds its user.

    Use ``app.add_middleware(UserHeadersMiddleware)`` in FastAPI and Starlette, ``UserHeadersMiddleware(app)`` elsewhere. It
    does not read the headers itself: if there is no user, ``user_session`` says so, on Databricks Apps and elsewhere. Each
    request begins without a session, even if it is sent from inside another user's. A websocket keeps the headers of its
    opening, and so a token that expires.

    Add it last, so that it is the outermost middleware: a session that a middleware above it opens does not reach the request.
    """

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = RequestHeaders(scope["headers"])
        around = FRAME.get()
        headers.inside_a_session = around is not None and around.session is not None and not around.session.closed
        token = REQUEST_HEADERS.set(headers)
        # A request that comes from inside another session (agent to agent, or a test's client) opens its own.
        frame = FRAME.set(None)
        try:
            await self._app(scope, receive, send)
        finally:
            FRAME.reset(frame)
            REQUEST_HEADERS.reset(token)
            headers.value = None  # a task that outlives the request has no user any more


class UserSessionMiddleware:
    """Serves each request in the session of its user, as ``user_session(app)`` does for FastAPI and Starlette.

    Use ``UserSessionMiddleware(app)`` elsewhere. The session ends with the response, including its stream and background
    tasks. A request without a user's token is served in a session without a user. Calls in it that act for the user are
    denied.

    Args:
        app: The application.
        limits: As for `user_session`.
        developer: As for `user_session`.
    """

    def __init__(self, app: _App, *, limits: Limits = DEFAULT_LIMITS, developer: DeveloperKind | None = None) -> None:
        async def in_session(scope: _Scope, receive: _Receive, send: _Send) -> None:
            if scope["type"] not in ("http", "websocket"):
                await app(scope, receive, send)
                return
            async with user_session(required=False, limits=limits, developer=developer):
                await app(scope, receive, send)

        self._serve = UserHeadersMiddleware(in_session)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        await self._serve(scope, receive, send)
