"""The server that the benchmarks ask: a local workspace's answers over HTTPS, kept and sent again, at a chosen distance.

What is measured is the client, and the machine has few cores: so the server does next to no work of its own. The local
workspace answers whoever asks something for the first time; the same request of the same user then gets the same answer.
Latency is added in one of two places:

- in the server: from a request's arrival to its answer. Connecting costs nothing but the work it is.
- on the way: a relay before the server holds back whatever passes, for half a round trip in either direction, and the
  first bytes of a connection for one round trip more, which TCP's own handshake takes on a real network.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import queue
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def serve(pipe: Any, certificate: str, key: str, furnish: Callable[[Any], list[str]]) -> None:
    """The server's process: says where it is, then does what it is told until it is told to stop."""
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from obo_kit.testing import LocalWorkspace

    numbers = itertools.count()

    class Numbered(HttpToolsProtocol):
        """A connection that its requests know."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.app_state = {"connection": next(numbers)}

    # With the protocol named, asyncio sends small packets at once.
    with LocalWorkspace() as workspace, socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        tokens = furnish(workspace)
        app = Replay(workspace)
        settings = uvicorn.Config(
            app,
            http=Numbered,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            timeout_keep_alive=600,
            log_level="critical",
            lifespan="off",
        )
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        pipe.send((listening.getsockname()[1], tokens))
        while (told := pipe.recv()) != "stop":
            if isinstance(told, float):
                app.latency = told
            else:
                pipe.send(app.seen)
                app.seen = []
        server.should_exit = server.force_exit = True
        thread.join(5)


class Replay:
    """The ASGI application: the workspace's answers, and who it saw."""

    def __init__(self, workspace: Any) -> None:
        self.latency = 0.0
        self.seen: list[tuple[str, int, str | None]] = []  # path, connection, user
        self._workspace = workspace
        self._kept: dict[Any, tuple[int, list[tuple[bytes, bytes]], bytes, str | None]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        arrived = time.perf_counter()
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path = scope["path"]
        headers = {name: value for name, value in scope["headers"] if name in {b"authorization", b"content-type"}}
        key = (scope["method"], path, scope["query_string"], headers.get(b"authorization"), body)
        if key not in self._kept:
            self._kept[key] = await asyncio.to_thread(self._asked, key, headers)
        status, answered, content, user = self._kept[key]
        self.seen.append((path, scope["state"]["connection"], user))
        # The event loop's own clock ticks in milliseconds: the last is polled for.
        while (left := arrived + self.latency - time.perf_counter()) > 0:
            await asyncio.sleep(max(0.0, left - 0.0015))
        await send({"type": "http.response.start", "status": status, "headers": answered})
        await send({"type": "http.response.body", "body": content})

    def _asked(self, key: Any, headers: dict[bytes, bytes]) -> tuple[int, list[tuple[bytes, bytes]], bytes, str | None]:
        import requests

        method, path, query, _, body = key
        url = f"{self._workspace.host}{path}" + (f"?{query.decode()}" if query else "")
        answer = requests.request(
            method,
            url,
            data=body,
            headers={name.decode(): value.decode() for name, value in headers.items()},
            timeout=10,
        )
        kept = [
            (name.lower().encode(), value.encode())
            for name, value in answer.headers.items()
            if name.lower() not in {"date", "server", "content-length", "transfer-encoding", "connection"}
        ]
        seen = [entry.user for entry in self._workspace.log if entry.path == path][-1]
        kept.append((b"content-length", str(len(answer.content)).encode()))
        return answer.status_code, kept, answer.content, seen


def relay(pipe: Any, server: int) -> None:
    """The relay's process: says where it is, then is told round trips, in seconds, until it is told to stop."""
    trip = [0.0]

    def carry(source: socket.socket, target: socket.socket, extra: float) -> None:
        """One direction: whatever arrives leaves half a round trip later."""
        waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def deliver() -> None:
            with contextlib.suppress(OSError):
                while True:
                    due, data = waiting.get()
                    time.sleep(max(0.0, due - time.perf_counter()))
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)

        threading.Thread(target=deliver, daemon=True).start()
        data = b"."
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            waiting.put((time.perf_counter() + trip[0] / 2 + extra, data))
            extra = 0.0

    def accept(listening: socket.socket) -> None:
        while True:
            near, _ = listening.accept()
            far = socket.create_connection(("127.0.0.1", server))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=carry, args=(near, far, trip[0]), daemon=True).start()
            threading.Thread(target=carry, args=(far, near, 0.0), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
        pipe.send(listening.getsockname()[1])
        while (told := pipe.recv()) != "stop":
            trip[0] = told
            pipe.send(told)


class Process:
    """A process of this file, and the pipe to it."""

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=target, args=(theirs, *args), daemon=True)
        self._process.start()
        self.said = self.pipe.recv()

    def stop(self) -> None:
        self.pipe.send("stop")
        self._process.join(10)


class Server:
    """A running server.

    Attributes:
        near: Its address.
        far: Its address by way of the relay.
        tokens: What furnishing the workspace gave: a token of each user.
        bundle: The path of the CA bundle that clients need: of production size, with the server's own authority.
    """

    def __init__(self, server: Process, relayed: Process, bundle: str) -> None:
        self._server = server
        self._relay = relayed
        self.bundle = bundle
        port, self.tokens = server.said
        self.near, self.far = f"https://127.0.0.1:{port}", f"https://127.0.0.1:{relayed.said}"

    def latency(self, *, in_server: float = 0.0, on_the_way: float = 0.0) -> None:
        """Set both, in seconds."""
        self._relay.pipe.send(on_the_way)
        self._relay.pipe.recv()
        self._server.pipe.send(in_server)

    def seen(self) -> list[tuple[str, int, str | None]]:
        """Path, connection and user of every request since the last look."""
        self._server.pipe.send("seen")
        return self._server.pipe.recv()


@contextmanager
def running(furnish: Callable[[Any], list[str]]) -> Iterator[Server]:
    """A server of a workspace that a function furnishes; the function gives a token of each user."""
    import certifi
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="obo-kit-bench-") as folder:
        certificate, key, bundle = (Path(folder, name) for name in ("certificate.pem", "key.pem", "bundle.pem"))
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        server = Process(serve, str(certificate), str(key), furnish)
        relayed = Process(relay, server.said[0])
        try:
            yield Server(server, relayed, str(bundle))
        finally:
            relayed.stop()
            server.stop()
