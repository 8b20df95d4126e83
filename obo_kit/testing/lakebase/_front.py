"""The front of a Lakebase instance: it accepts TLS and a token, and passes the connection on to Postgres.

The messages are those of Postgres's protocol, "Message Formats" in its documentation. Once a connection is signed in, its
messages are no longer read.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.server._uvicorn import LOOPBACK

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["PORT", "Front", "SignIn"]

PORT = 5432
_START_LIMIT = 10.0
_TLS, _GSS, _CANCEL = 80877103, 80877104, 80877102
_PASSWORD = b"R" + struct.pack("!ii", 8, 3)
_LIMIT = 64 * 1024  # the maximum number of bytes before a client has signed in
_TRIES = 20


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """A client's request to sign in.

    Attributes:
        role: The Postgres role.
        database: The database.
        password: The password that was sent.
        connection: Client address and port.
        at: When it connected, in seconds since the epoch.
    """

    role: str
    database: str
    password: str
    connection: str
    at: float


class Front:
    """A listening socket, and the thread that serves it. Starts when constructed.

    Args:
        check: Called with each `SignIn`, in a worker thread. It raises RefusedError, or returns where Postgres listens.
        signed_in: Called when Postgres has answered, with the SQLSTATE of its refusal; empty if it let the role in.
        backend: Returns where Postgres listens, for a client that cancels a statement.
        tls: The certificate to serve.

    Attributes:
        host: The address it listens on. On Linux, an address of its own in 127.0.0.0/8, so that the port is Postgres's.
        port: The port.
    """

    def __init__(
        self,
        *,
        check: Callable[[SignIn], str],
        signed_in: Callable[[SignIn, str], None],
        backend: Callable[[], str],
        tls: Callable[[str], SSLContext],
    ) -> None:
        self.check, self.signed_in, self.backend = check, signed_in, backend
        listening = _listen()
        self.host: str = listening.getsockname()[0]
        self.port: int = listening.getsockname()[1]
        self.tls = tls(self.host)
        self.loop = asyncio.new_event_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.transports: set[asyncio.Transport] = set()
        self._listening = listening
        self._thread = threading.Thread(target=self._serve, name=f"obo-kit-lakebase-{self.port}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and cut off connected clients."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_START_LIMIT)

    def _serve(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(loop.create_server(lambda: _Client(self), sock=self._listening))
        try:
            loop.run_forever()
        finally:
            server.close()
            for task in self.tasks:
                task.cancel()
            for transport in list(self.transports):
                transport.abort()
            with contextlib.suppress(Exception):
                loop.run_until_complete(asyncio.gather(*self.tasks, return_exceptions=True))
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.run_until_complete(asyncio.sleep(0.01))  # the transports close
            loop.close()


def _listen() -> socket.socket:
    """Return a socket on Postgres's port of a loopback address of its own, or on any port of 127.0.0.1."""
    for _ in range(_TRIES if sys.platform == "linux" else 0):
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            candidate.bind((f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}", PORT))  # noqa: S311
            return candidate
        except OSError:
            candidate.close()
    anywhere = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    anywhere.bind((LOOPBACK, 0))
    return anywhere


class _Client(asyncio.Protocol):
    """A client's connection until its password arrives; then `_Relay` takes over."""

    def __init__(self, front: Front, *, encrypted: bool = False) -> None:
        self._front = front
        self._encrypted = encrypted
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._startup: bytes | None = None
        self._busy = False
        self._at = time.time()
        self._relay: _Relay | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._front.transports.add(self._transport)
        if self._buffer:
            self.data_received(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._front.transports.discard(self._transport)
        if self._relay is not None:
            self._relay.close()

    def pause_writing(self) -> None:
        if self._relay is not None:
            self._relay.pause()

    def resume_writing(self) -> None:
        if self._relay is not None:
            self._relay.resume()

    def data_received(self, data: bytes) -> None:
        if self._relay is not None:
            self._relay.send(data)
            return
        self._buffer += data
        if len(self._buffer) > _LIMIT:
            self._end()
        elif self._transport is not None and not self._busy:
            self._read(self._transport)

    def _read(self, transport: asyncio.Transport) -> None:
        if self._startup is None:
            packet = self._take(0)
            if packet is not None:
                self._begin(transport, packet)
        elif (packet := self._take(1)) is not None:
            if packet[:1] != b"p":
                self._end()
                return
            self._do(self._sign_in(transport, packet[5:].rstrip(b"\0")))

    def _begin(self, transport: asyncio.Transport, packet: bytes) -> None:
        (code,) = struct.unpack_from("!i", packet, 4)
        if code == _TLS and not self._encrypted and not self._buffer:
            self._do(self._start_tls(transport))
        elif code == _GSS:
            transport.write(b"N")
        elif code == _CANCEL:
            self._do(self._cancel(packet))
        elif code >> 16 != 3:
            self._end()
        else:
            self._startup = packet
            if self._encrypted:
                transport.write(_PASSWORD)
            else:
                asked = self._asked(b"")
                self._refuse(RefusedError("lakebase_unencrypted", role=asked.role, database=asked.database))

    def _take(self, start: int) -> bytes | None:
        """Return the next message that has arrived in full; ``start`` bytes come before its length."""
        if len(self._buffer) < start + 4:
            return None
        (length,) = struct.unpack_from("!i", self._buffer, start)
        if not (8 if start == 0 else 4) <= length <= _LIMIT:
            self._end()
            return None
        if len(self._buffer) < start + length:
            return None
        packet, self._buffer = self._buffer[: start + length], self._buffer[start + length :]
        return packet

    def _asked(self, password: bytes) -> SignIn:
        assert self._startup is not None
        assert self._transport is not None
        words = self._startup[8:].split(b"\0")
        options = dict(zip(words[::2], words[1::2], strict=False))
        role = options.get(b"user", b"").decode("utf-8", "replace")
        peer = self._transport.get_extra_info("peername") or ("", 0)
        return SignIn(
            role=role,
            database=options.get(b"database", b"").decode("utf-8", "replace") or role,
            password=password.decode("utf-8", "replace"),
            connection=f"{peer[0]}:{peer[1]}",
            at=self._at,
        )

    async def _start_tls(self, transport: asyncio.Transport) -> None:
        transport.pause_reading()
        transport.write(b"S")
        inner = _Client(self._front, encrypted=True)
        with contextlib.suppress(OSError):  # the client left, or does not speak TLS
            encrypted = await self._front.loop.start_tls(transport, inner, self._front.tls, server_side=True)
            if encrypted is not None:
                inner.connection_made(encrypted)

    async def _sign_in(self, transport: asyncio.Transport, password: bytes) -> None:
        asked = self._asked(password)
        try:
            address = await self._front.loop.run_in_executor(None, self._front.check, asked)
            relay = _Relay(self._front, transport, lambda state: self._front.signed_in(asked, state))
            await self._front.loop.create_unix_connection(lambda: relay, address)
        except RefusedError as error:
            self._refuse(error)
        except (OSError, ValueError) as error:
            self._refuse(RefusedError("lakebase_broken", error=str(error)))
        else:
            assert self._startup is not None
            self._relay = relay
            relay.send(self._startup + self._buffer)

    async def _cancel(self, packet: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            address = await self._front.loop.run_in_executor(None, self._front.backend)
            _, writer = await asyncio.open_unix_connection(address)
            writer.write(packet)
            await writer.drain()
            writer.close()
        self._end()

    def _do(self, work: Any) -> None:
        """Start work. Data that arrives meanwhile waits."""
        self._busy = True
        task = self._front.loop.create_task(work)
        self._front.tasks.add(task)
        task.add_done_callback(self._front.tasks.discard)

    def _refuse(self, error: RefusedError) -> None:
        fields = {b"S": "FATAL", b"V": "FATAL", b"C": error.refusal.sql_state or "", b"M": error.message}
        body = b"".join(key + value.encode() + b"\0" for key, value in fields.items()) + b"\0"
        if self._transport is not None:
            self._transport.write(b"E" + struct.pack("!i", len(body) + 4) + body)
        self._end()

    def _end(self) -> None:
        self._busy = True
        if self._transport is not None:
            self._transport.close()


class _Relay(asyncio.Protocol):
    """The connection to Postgres for a client that has signed in. It passes data on at the reader's pace."""

    def __init__(self, front: Front, client: asyncio.Transport, answered: Callable[[str], None]) -> None:
        self._front = front
        self._client = client
        self._answered: Callable[[str], None] | None = answered
        self._beginning = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._front.transports.add(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._answered is not None:
            self._beginning += data
            state = _sign_in_state(self._beginning)
            if state is not None:
                self._answered(state)
                self._answered = None
        self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._front.transports.discard(self._transport)
        self._client.close()

    def pause_writing(self) -> None:
        self._client.pause_reading()

    def resume_writing(self) -> None:
        self._client.resume_reading()

    def send(self, data: bytes) -> None:
        """Pass data on to Postgres."""
        assert self._transport is not None
        self._transport.write(data)

    def pause(self) -> None:
        """Make Postgres wait, because the client does not read."""
        assert self._transport is not None
        self._transport.pause_reading()

    def resume(self) -> None:
        """Let Postgres go on."""
        assert self._transport is not None
        self._transport.resume_reading()

    def close(self) -> None:
        """Close the connection, because the client has left."""
        if self._transport is not None:
            self._transport.close()


def _sign_in_state(answer: bytes) -> str | None:
    """Return the SQLSTATE of a refused sign-in, empty for one that worked; None while Postgres has not decided."""
    at = 0
    while len(answer) >= at + 5:
        kind, (length,) = answer[at : at + 1], struct.unpack_from("!i", answer, at + 1)
        end = at + 1 + length
        if len(answer) < end or length < 4:
            return None
        if kind == b"E":
            fields = {field[:1]: field[1:] for field in answer[at + 5 : end].split(b"\0")}
            return fields.get(b"C", b"XX000").decode("ascii", "replace")
        if kind == b"Z":
            return ""
        at = end
    return None
