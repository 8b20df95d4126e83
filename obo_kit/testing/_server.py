"""The HTTP server: uvicorn on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOOPBACK", "Server"]

LOOPBACK = "127.0.0.1"
_START_LIMIT = 10.0
# Time that requests in flight are given when the workspace stops, seconds.
_GRACE = 0.3


class Server:
    """One listening socket and the thread that serves it. Started on construction; ``stop`` ends both.

    Args:
        app: The ASGI application.
        ssl_certfile: Certificate chain in PEM; serves HTTPS.
        ssl_keyfile: Its key, where it is not in the same file.
    """

    def __init__(
        self, app: Callable[..., Any], *, ssl_certfile: str | None = None, ssl_keyfile: str | None = None
    ) -> None:
        import uvicorn

        self.closing = False
        self._app = app
        config = uvicorn.Config(
            self._application,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            # Who connects is who the log shows, whatever a forwarding header says.
            proxy_headers=False,
            # Longer than a test thinks, so that no client finds its kept connection closed.
            timeout_keep_alive=600,
            h11_max_incomplete_event_size=64 * 1024,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
        )
        # Read the certificate here: an error in the thread would be lost.
        config.load()
        self._server = uvicorn.Server(config)
        # asyncio turns Nagle's algorithm off only where the protocol is named; with it, answers wait 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._socket.bind((LOOPBACK, 0))
            self.port: int = self._socket.getsockname()[1]
            self._thread = threading.Thread(
                target=lambda: asyncio.run(self._serve()),
                name=f"obo-kit-workspace-{self.port}",
                daemon=True,
            )
            self._thread.start()
            deadline = time.monotonic() + _START_LIMIT
            while not self._server.started:
                if not self._thread.is_alive() or time.monotonic() > deadline:
                    msg = "The local workspace did not start; uvicorn's log says why"
                    raise RuntimeError(msg)
                time.sleep(0.002)
        except BaseException:
            self._server.should_exit = True
            self._socket.close()
            raise

    def stop(self) -> None:
        """Stop serving and wait for the thread. Requests still in flight are given a moment, then cut off."""
        self._server.should_exit = True
        self._thread.join(_GRACE)
        if self._thread.is_alive():
            # Their clients see a broken connection, as when a real server dies, and not a made-up answer.
            self.closing = True
            self._server.force_exit = True
            self._loop.call_soon_threadsafe(self._abort)
            self._thread.join(_START_LIMIT)
        self._socket.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # Cut off by ``stop``: the connection is gone, there is nobody to tell.
            if not self.closing:
                raise

    def _abort(self) -> None:
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
