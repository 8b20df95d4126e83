"""The transports of one user's `httpx` clients.

The synchronous one uses the pool that `requests` uses. With `httpx`'s own `httpcore`, a dropped stream is finished under a lock
that a thread cannot take twice, and the garbage collector may finish one anywhere. The asynchronous one uses the transport of
its event loop, where the loop finishes dropped streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from urllib3.util import Timeout

from obo_kit.clients._apps import is_known, trusts_app
from obo_kit.clients._connections import async_transport, pool, proxies_for
from obo_kit.clients._pipeline import Exchange, begin, without_frames
from obo_kit.clients._transport import caused, deliver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from obo_kit.identity._credentials import Lease

__all__: list[str] = []

_BLOCK = 65_536
_EXCHANGE = "obo_kit_exchange"


def announce(lease: Lease, request: Any) -> None:
    """Check a request before it is sent: `openai` would take an error of its transport for a failed connection."""
    request.extensions[_EXCHANGE] = begin(lease, request.method, str(request.url))


def _exchange(lease: Lease, request: Any) -> Exchange:
    """Return the announced exchange, once: a redirect copies the extensions."""
    announced = request.extensions.pop(_EXCHANGE, None)
    if isinstance(announced, Exchange) and announced.url == str(request.url):
        return announced
    return begin(lease, request.method, str(request.url))


# --- synchronous -----------------------------------------------------------------------------------------------------------


class SyncTransport:
    """Sends the requests of a synchronous client as one user, as an `httpx.BaseTransport` does."""

    def __init__(self, lease: Lease, httpx: Any) -> None:
        self._lease = lease
        self._httpx = httpx

    def __enter__(self) -> SyncTransport:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def close(self) -> None:
        """Do nothing: the connections belong to the process."""

    def handle_request(self, request: Any) -> Any:
        exchange, httpx = _exchange(self._lease, request), self._httpx
        limits, parts = request.extensions.get("timeout") or {}, urlsplit(exchange.url)
        whole = isinstance(request.stream, httpx.ByteStream)
        body = (b"".join(request.stream) or None) if whole else request.stream

        def send(headers: dict[str, str]) -> tuple[Any, bytes | None]:
            answer = pool().open(
                request.method,
                exchange.url,
                timeout=Timeout(connect=limits.get("connect"), read=limits.get("read")),
                proxies=proxies_for(f"{parts.scheme}://{parts.netloc}"),
                headers=_replaced(request.headers.raw, headers),
                body=body,
            )
            # An error is read here, because an answer may also break off in the middle.
            return answer, answer.read(decode_content=True) if answer.status >= 400 else None

        try:
            answer, content = deliver(exchange, send, again=whole)
        except (urllib3.exceptions.HTTPError, requests.RequestException) as error:
            raise _translated(httpx, error)(str(error), request=request) from error
        headers = [*answer.headers.items(), *_bound_retry(answer.headers, self._lease)]
        if content is None:
            exchange.record(answer.status, answer.headers)
            reason = (answer.reason or "").encode("ascii", "ignore")
            extensions = {"http_version": b"HTTP/1.1", "reason_phrase": reason}
            stream = _body_types(httpx)[0](httpx, answer)
            return httpx.Response(answer.status, headers=headers, stream=stream, extensions=extensions)
        content = exchange.told(content)
        exchange.record(answer.status, answer.headers, lambda: content)
        headers = [(name, value) for name, value in headers if name.lower() not in _ENCODED]
        return httpx.Response(answer.status, headers=headers, content=content)


_ENCODED = {"content-encoding", "content-length", "transfer-encoding"}
"""What describes the form in which an answer came, before it was read to its end and decoded."""


def _replaced(sent: list[tuple[bytes, bytes]], ours: dict[str, str]) -> dict[str, str]:
    """Return the headers of a request, the user's in place of those with the same names."""
    headers, names = dict(ours), {name.lower() for name in ours}
    for raw_name, raw_value in sent:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name.lower() not in names:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class _Body:
    """The body of an answer as it comes. Its reader, another thread or the garbage collector may finish it."""

    def __init__(self, httpx: Any, raw: Any) -> None:
        self._httpx = httpx
        self._raw = raw

    def __iter__(self) -> Iterator[bytes]:
        raw = self._raw
        try:
            if raw.chunked or not hasattr(raw, "read1"):
                yield from raw.stream(_BLOCK, decode_content=False)
            while block := raw.read1(_BLOCK, decode_content=False):
                yield block
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _translated(self._httpx, error)(str(error)) from error

    def close(self) -> None:
        raw = self._raw
        if not raw.closed and hasattr(raw, "shutdown"):
            with contextlib.suppress(Exception):
                raw.shutdown()  # wakes a thread that is reading
        raw.close()
        raw.release_conn()


def _translated(httpx: Any, error: Exception) -> Any:
    """Return the `httpx` error for an error of `urllib3`, or of `requests` for a proxy that cannot be used."""
    cause = caused(error)
    below = cause.args[1] if isinstance(cause, urllib3.exceptions.ProtocolError) and len(cause.args) > 1 else None
    if isinstance(below, OSError) and not isinstance(below, HTTPException):
        return httpx.ReadError  # reset: a server that just closes breaks the protocol
    return getattr(httpx, next((name for types, name in _TRANSLATIONS if isinstance(cause, types)), "ReadError"))


_TRANSLATIONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (urllib3.exceptions.ProxyError, "ProxyError"),
    ((urllib3.exceptions.NewConnectionError, urllib3.exceptions.SSLError), "ConnectError"),
    (urllib3.exceptions.ConnectTimeoutError, "ConnectTimeout"),
    (urllib3.exceptions.TimeoutError, "ReadTimeout"),
    ((urllib3.exceptions.LocationValueError, requests.exceptions.InvalidURL), "UnsupportedProtocol"),
    (urllib3.exceptions.ProtocolError, "RemoteProtocolError"),
)


# --- asynchronous ------------------------------------------------------------------------------------------------------------


class AsyncTransport:
    """Sends the requests of an asynchronous client as one user, as an `httpx.AsyncBaseTransport` does."""

    def __init__(self, lease: Lease, httpx: Any) -> None:
        self._lease = lease
        self._httpx = httpx

    async def __aenter__(self) -> AsyncTransport:
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def aclose(self) -> None:
        """Do nothing: the connections belong to the event loop."""

    async def handle_async_request(self, request: Any) -> Any:
        httpx, exchange = self._httpx, _exchange(self._lease, request)
        try:
            response = await _answered(httpx, self._lease, exchange, request)
            content = exchange.told(await response.aread()) if response.status_code >= 400 else None
        except BaseException as error:
            if isinstance(error, httpx.TransportError):
                never_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
                in_time = not isinstance(error, httpx.TimeoutException)
                exchange.fail("the connection failed" if in_time else "no answer in time", sent=not never_sent)
            raise without_frames(error)  # noqa: B904 - the error itself
        response.headers.update(_bound_retry(response.headers, self._lease))
        response.stream = httpx.ByteStream(content) if content is not None else _body_types(httpx)[1](response.stream)
        if content is not None:
            response._content = content  # the library has no way to replace a body that was read
        exchange.record(response.status_code, response.headers, None if content is None else lambda: content)
        return response


async def _answered(httpx: Any, lease: Lease, exchange: Exchange, request: Any) -> Any:
    """Send a copy. Only the copy holds the token."""
    if not is_known(lease, exchange.url):
        await asyncio.to_thread(trusts_app, lease, exchange.url)  # sends a request to the workspace
    sent = httpx.Request(
        request.method, request.url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )
    sent.headers.update(exchange.headers())
    return await (await async_transport(httpx, exchange.url)).handle_async_request(sent)


class _AsyncBody:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for block in self._stream:
                yield block
        except BaseException as error:
            raise without_frames(error)  # noqa: B904 - the error itself

    async def aclose(self) -> None:
        await self._stream.aclose()


# --- both --------------------------------------------------------------------------------------------------------------------


@functools.cache
def _body_types(httpx: Any) -> tuple[Any, Any]:
    """Return the bodies as streams of the installed library, which requires classes of its own."""
    return type("Body", (_Body, httpx.SyncByteStream), {}), type("AsyncBody", (_AsyncBody, httpx.AsyncByteStream), {})


def _bound_retry(headers: Any, lease: Lease) -> list[tuple[str, str]]:
    """Return headers that keep `openai` from sleeping as long as ``Retry-After`` says, up to a minute (rule 11)."""
    stated = headers.get("retry-after", "")
    within = not stated or (stated.isdigit() and int(stated) <= lease.limits.retry)
    return [] if within else [("x-should-retry", "false")]
