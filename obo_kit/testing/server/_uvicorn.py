"""The HTTP server: uvicorn on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import uvicorn

from obo_kit.testing.server._faults import CUT

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOOPBACK", "Server", "around_proxies"]

LOOPBACK = "127.0.0.1"
_START_LIMIT = 10.0
_TICK = 1.0  # seconds between updates of uvicorn's date header
# Time for requests in flight when the workspace stops, in seconds.
_GRACE = 0.3


def around_proxies() -> dict[str, str]:
    """Return the variables with which no client asks the environment's proxy for loopback. Without a proxy, there are none."""
    proxies = urllib.request.getproxies_environment()
    if not {"http", "https", "all"} & proxies.keys():
        return {}
    excepted = [host for host in map(str.strip, proxies.get("no", "").split(",")) if host]
    if not {LOOPBACK, "*"} & set(excepted):
        excepted.append(LOOPBACK)
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(excepted))


class _Uvicorn(uvicorn.Server):
    """uvicorn that stops at once if nothing is in flight: its own two waits of 0.1 s add up in a test suite."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.wake = asyncio.Event()
        # Requests that are cut off end with a broken connection, as when a real server dies, not with a made-up answer.
        self.closing = False

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 10
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.wake.wait(), _TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        deadline = time.monotonic() + _GRACE
        while (self.server_state.connections or self.server_state.tasks) and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        self.closing = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        await self.lifespan.shutdown()


class Server:
    """One listening socket and the thread that serves it. Starts when constructed; ``stop`` ends both.

    Args:
        app: The ASGI application. Its scopes have the extension ``CUT``.
        port: The port to listen on; 0 for a free one.
        ssl_certfile: Certificate chain in PEM; serves HTTPS.
        ssl_keyfile: Its key, if it is not in the same file.
        lifespan: Whether the application gets start and end events: ``"auto"`` for an author's application.

    Raises:
        OSError: The port is taken.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        *,
        port: int = 0,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        lifespan: Literal["auto", "off"] = "off",
    ) -> None:
        self._app = app
        config = uvicorn.Config(
            self._application,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan=lifespan,
            ws="none",
            # The log shows the address that really connects, whatever a forwarding header says.
            proxy_headers=False,
            # Longer than a test pauses, so that clients find their kept connections open.
            timeout_keep_alive=600,
            h11_max_incomplete_event_size=64 * 1024,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
        )
        # Read the certificate here: an error in the thread would be lost.
        config.load()
        self._server = _Uvicorn(config)
        # asyncio switches off Nagle's algorithm only if the protocol is named. With it, answers wait 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if port:
                # A chosen port may be needed again as soon as the last server has left it.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((LOOPBACK, port))
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
        """Stop serving and wait for the thread. Requests in flight get a moment, then they are cut off."""
        self._server.should_exit = True
        with contextlib.suppress(RuntimeError):  # the loop has already ended
            self._loop.call_soon_threadsafe(self._server.wake.set)
        self._thread.join(_START_LIMIT)
        self._socket.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope.setdefault("extensions", {})[CUT] = partial(self._cut, scope["client"])
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # ``stop`` cut the connection: there is nobody to answer.
            if not self._server.closing:
                raise

    def _cut(self, client: tuple[str, int], reset: bool) -> None:
        """End a client's connection: with a TCP reset, or after the data that was already sent."""
        for connection in list(self._server.server_state.connections):
            transport = connection.transport
            if tuple(transport.get_extra_info("peername") or ()) == tuple(client):
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    transport.abort()
                else:
                    transport.close()
