"""The connections that all users of a process share: one pool, one TLS context, and nothing that belongs to a user.

If nobody finishes a response, the garbage collector does. It may run at any allocation, even while the same thread is inside
the pool. So nothing here, and nothing that a finalizer of a response reaches, takes a lock that a thread cannot take twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import socket
import ssl
import threading
import time
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Retry
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.wait import wait_for_read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from urllib3.util import Timeout

__all__: list[str] = []

IDLE_SECONDS: Final = 55.0
"""How long an idle connection is kept, in seconds. Azure's load balancers silently drop one after 240 s, AWS's NAT gateways
after 350 s, and many proxies after 60 s."""
MOST_IDLE: Final = 64
FIRST_BYTE_SECONDS: Final = 2.0
"""How long a request that only reads waits on a used connection for the first byte, before a fresh connection is tried."""

SLOW_SECONDS: Final = 300.0
"""How long a kind of request counts as slow, after a fresh connection answered it just as slowly."""


def _socket_options() -> list[tuple[int, int, int]]:
    """Return options that make the system check whether the other end of an idle or waiting connection is still there."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    # By the names that the system has: macOS has another name for TCP_KEEPIDLE, and only Linux limits unacknowledged data.
    wanted = {"TCP_KEEPIDLE": 20, "TCP_KEEPALIVE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 10_000}
    options += [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name)
    ]
    return options


# --- a pool that a finalizer may enter again -------------------------------------------------------------------------------


class StaleConnectionError(OSError):
    """A used connection did not answer."""


class Attempt:
    """How the request that is sent inside this block may use the pool."""

    __slots__ = ("_token", "fresh", "patience")

    def __init__(self, *, fresh: bool = False, patience: float | None = None) -> None:
        self.fresh = fresh
        self.patience = patience

    def __enter__(self) -> None:
        self._token = _attempt.set(self)

    def __exit__(self, *exception: object) -> None:
        _attempt.reset(self._token)


_attempt: ContextVar[Attempt | None] = ContextVar("obo_kit_attempt", default=None)


class IdleConnections:
    """Keeps the idle connections of one host, the last used first, without a lock.

    `urllib3` keeps them in a `queue.LifoQueue`, whose lock a thread cannot take twice, although finalizers release
    connections too. A `deque` needs no lock.
    """

    def __init__(self, maxsize: int = MOST_IDLE) -> None:
        self._maxsize = maxsize
        self._idle: deque[tuple[Any, float]] = deque()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return a connection that has not been idle for long. Close the others.

        Raises:
            queue.Empty: There is none, so the caller makes a new one.
        """
        del block, timeout  # nobody waits here: more connections may be open than are kept
        attempt = _attempt.get()
        while attempt is None or not attempt.fresh:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - since < IDLE_SECONDS:
                return connection
            connection.close()
        raise queue.Empty

    def put(self, connection: Any, block: bool = True, timeout: float | None = None) -> None:
        """Keep a connection. If there are too many, drop the one that was idle longest."""
        del block, timeout
        if connection is None or connection.sock is None:
            return
        self._idle.append((connection, time.monotonic()))
        while len(self._idle) > self._maxsize:
            with contextlib.suppress(IndexError):
                self._idle.popleft()[0].close()

    def qsize(self) -> int:
        """Return the number of idle connections."""
        return len(self._idle)


class _Impatient:
    """Notices early that a used connection is dead, if the request may be sent again."""

    sock: Any
    _used = False

    def connect(self) -> None:
        self._used = False
        super().connect()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    def getresponse(self) -> Any:
        attempt = _attempt.get()
        if self._used and attempt is not None and attempt.patience is not None:
            buffered = getattr(self.sock, "pending", None)
            if not (buffered is not None and buffered()) and not wait_for_read(self.sock, attempt.patience):
                raise StaleConnectionError(f"no answer within {attempt.patience:g} s on a connection used before")
        response = super().getresponse()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        self._used = True
        return response


class _Connection(_Impatient, HTTPConnection):
    pass


class _SecureConnection(_Impatient, HTTPSConnection):
    pass


class _HostPool(HTTPConnectionPool):
    QueueCls: Any = IdleConnections
    ConnectionCls: Any = _Connection


class _SecureHostPool(HTTPSConnectionPool):
    QueueCls: Any = IdleConnections
    ConnectionCls: Any = _SecureConnection


_ONCE: Final = Retry(0, read=False)


class Pool(HTTPAdapter):
    """The connections of this process, with one TLS context: parsing a CA bundle takes longer than a request."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__(pool_connections=16, pool_maxsize=MOST_IDLE)

    def _shared_settings(self, manager: Any) -> Any:
        manager.pool_classes_by_scheme = {"http": _HostPool, "https": _SecureHostPool}
        return manager

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.context, socket_options=_socket_options(), **kwargs)
        self._shared_settings(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        settings = {"ssl_context": self.context, "socket_options": _socket_options(), **kwargs}
        return self._shared_settings(super().proxy_manager_for(proxy, **settings))

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, True, cert)
        # A bundle named here would be parsed again for every new connection. The context already contains it.
        pool.pop("ca_certs", None)
        pool.pop("ca_cert_dir", None)
        return host, pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        del verify, cert
        if url.lower().startswith("https"):
            conn.cert_reqs = "CERT_REQUIRED"

    def open(self, method: str, url: str, *, timeout: Timeout, proxies: dict[str, str], **content: Any) -> Any:
        """Send a request as `send` does, on the same connections, but return `urllib3`'s own answer, not yet read.

        Raises:
            urllib3.exceptions.HTTPError: No answer came, or the URL is none.
            requests.exceptions.InvalidProxyURL: The proxy's address is none.
        """
        target = PreparedRequest()
        target.method, target.url = method, url
        connections = self.get_connection_with_tls_context(target, True, proxies=proxies)
        self.cert_verify(connections, url, True, None)
        return connections.urlopen(
            method,
            self.request_url(target, proxies),
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            retries=_ONCE,
            timeout=timeout,
            **content,
        )


# --- shared by the whole process --------------------------------------------------------------------------------------------

_SURROUNDINGS = (
    *(f"{name}_PROXY" for name in ("HTTPS", "HTTP", "ALL", "NO")),
    *(f"{name}_proxy" for name in ("https", "http", "all", "no")),
)


@dataclass(frozen=True, slots=True)
class HostDescription:
    """A host's description of itself. It is the same for all users."""

    workspace_id: str | None
    account_id: str | None
    discovery_url: str | None
    cloud: Any
    until: float


class Process:
    """The state that this process shares between its users.

    It is renewed after a fork: a pool that both sides use would pass one user's answer to another.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pools: dict[tuple[str | None, str | None], Pool] = {}
        self.proxies: dict[tuple[str, ...], dict[str, str]] = {}
        self.hosts: dict[str, HostDescription] = {}
        self.host_locks: dict[str, Any] = {}
        self.async_http: dict[Any, _OfLoop] = {}
        self.slow: dict[tuple[str, int], float] = {}
        self.apps: dict[tuple[str, str], tuple[bool, float]] = {}


_shared = Process()


def shared() -> Process:
    """Return what this process shares."""
    return _shared


def renew() -> None:
    """Start again, sharing nothing with the time before."""
    global _shared
    _shared = Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew)


def _certificates() -> tuple[str | None, str | None]:
    """Return the bundle and the directory of the trusted authorities, found as the official clients find them.

    The bundle may be a directory, too: `tls_context` looks, once per pool and not once per request.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle:
        return bundle, None
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    return file or (None if directory else DEFAULT_CA_BUNDLE_PATH), directory


def tls_context(bundle: str | None, directory: str | None) -> ssl.SSLContext:
    """Build the TLS context of a pool."""
    context = create_urllib3_context()
    if bundle and os.path.isdir(bundle):
        bundle, directory = None, bundle
    context.load_verify_locations(cafile=bundle or None, capath=directory or None)
    return context


def pool() -> Pool:
    """Return the pool of this process, for the certificates that the environment names."""
    process, certificates = _shared, _certificates()
    if certificates not in process.pools:
        with process.lock:
            if certificates not in process.pools:
                process.pools[certificates] = Pool(tls_context(*certificates))
    return process.pools[certificates]


def proxies_for(host: str) -> dict[str, str]:
    """Return the proxies that the environment sets for a host."""
    process = _shared
    key = (host, *(os.environ.get(name, "") for name in _SURROUNDINGS))
    proxies = process.proxies.get(key)
    if proxies is None:
        proxies = process.proxies[key] = dict(get_environ_proxies(host))
    return proxies


# --- the connections of an event loop -----------------------------------------------------------------------------------------


async def async_transport(httpx: Any, url: str) -> Any:
    """Return the transport of the running event loop. Its connections belong to that loop, and are closed with it.

    Args:
        httpx: The library that `openai` uses: `httpx` or `httpx2`.
        url: The request's URL, which decides whether a proxy is used.
    """
    process, loop = _shared, asyncio.get_running_loop()
    parts = urlsplit(url)
    proxy = select_proxy(url, proxies_for(f"{parts.scheme}://{parts.netloc}"))
    of_loop = process.async_http.get(loop)
    if of_loop is None:
        of_loop = _OfLoop(process.async_http, loop)
        with process.lock:
            for other in [other for other in process.async_http if other.is_closed()]:
                process.async_http.pop(other, None)
            process.async_http[loop] = of_loop
        await anext(of_loop.guard)
    if proxy not in of_loop.transports:
        of_loop.transports[proxy] = httpx.AsyncHTTPTransport(
            verify=pool().context,
            proxy=proxy,
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=MOST_IDLE, keepalive_expiry=IDLE_SECONDS
            ),
            socket_options=_socket_options(),
        )
    return of_loop.transports[proxy]


class _OfLoop:
    """The transports of one event loop. They are closed by an async generator, which the loop closes when it shuts down."""

    def __init__(self, loops: dict[Any, _OfLoop], loop: asyncio.AbstractEventLoop) -> None:
        self.transports: dict[str | None, Any] = {}
        self.guard = self._wait(loops, loop)

    async def _wait(self, loops: dict[Any, _OfLoop], loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            loops.pop(loop, None)
            for transport in self.transports.values():
                await transport.aclose()
