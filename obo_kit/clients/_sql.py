"""One user's connection of databricks-sql-connector to one SQL warehouse.

The connector keeps a token as long as it lasts, in its transport and in its provider of credentials. Here, every message first
passes the session's fence and the tool's guard, and is recorded. The connector's provider is asked for each of them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from obo_kit._upstream.answers import read_answer
from obo_kit._upstream.patches import databricks_sql
from obo_kit.clients._pipeline import begin, headers_for, without_frames
from obo_kit.context._calls import TOOL_HEADER
from obo_kit.context._frame import current_call
from obo_kit.exceptions import PolicyError
from obo_kit.identity._credentials import Leased, lease_behind, lease_of

try:
    from databricks.sql import exc
    from databricks.sql.client import Connection
except ImportError as missing:
    raise ImportError(
        "A SQL connection needs databricks-sql-connector: pip install databricks-sql-connector"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from obo_kit.identity._credentials import Lease

__all__: list[str] = []

_KIND = "sql_warehouse"
_VARIABLE = "DATABRICKS_WAREHOUSE_ID"
_MOST = 65_536  # the bytes that are read of a refusal


def warehouse() -> str:
    """Return the warehouse that the running tool declares, else the one that ``DATABRICKS_WAREHOUSE_ID`` names.

    Raises:
        PolicyError: There is none, or the tool declares several.
    """
    call = current_call()
    while call is not None:
        names = [name for kind, name in call.declared.resources if kind.name == _KIND] if call.declared else []
        if len(names) > 1:
            raise PolicyError(
                f"The tool '{call.tool}' declares several SQL warehouses: {', '.join(names)}.",
                remedy="Declare one warehouse per tool: a connection belongs to one warehouse.",
            )
        if names:
            return names[0]
        call = call.outer
    name = os.environ.get(_VARIABLE, "").strip()
    if not name:
        raise PolicyError(
            "No SQL warehouse is named for this connection.",
            remedy="Declare @requires_scopes(DatabricksSQLWarehouse('<warehouse id>')) on the tool, or set "
            f"{_VARIABLE}.",
        )
    return name


def local_settings(host: str, path: str) -> dict[str, Any]:
    """Return the connector's settings for a host without TLS, which can only be a local workspace; else nothing."""
    parts = urlsplit(host)
    if parts.scheme != "http" or parts.hostname != "127.0.0.1":
        return {}
    # The whole address, because the connector would put https before it. Nothing here collects its telemetry.
    return {"_connection_uri": f"{host}{path}", "enable_telemetry": False}


class UserConnection(Connection, Leased):  # Leased comes last: an author's connection is turned into this class
    """A connection that acts as one user until that user's session closes."""

    def __init__(self, lease: Lease, name: str) -> None:
        self._lease = lease
        host = lease.host()
        path = f"/sql/1.0/warehouses/{name}"
        fence = self._fence = _Fence(lease, host + path)
        parts = urlsplit(host)
        settings = local_settings(host, path)
        if parts.port is not None:
            settings["_port"] = parts.port
        fence.before()
        try:
            super().__init__(
                server_hostname=parts.hostname or host,
                http_path=path,
                credentials_provider=lambda: fence.headers,
                user_agent_entry="obo-kit",
                _socket_timeout=lease.limits.read,
                _retry_stop_after_attempts_duration=max(1.0, lease.limits.retry),
                **settings,
            )
        except Exception as error:
            raise fence.after(error)  # noqa: B904 - the error itself
        fence.enclose(self.session.backend)

    @property
    def session(self) -> Any:
        """Return the connector's session."""
        return self._opened

    @session.setter
    def session(self, session: Any) -> None:
        # It opens while the connection is built, so its answers are read from here on.
        self._opened = session
        if hasattr(session.backend, "_transport"):
            self._fence.watch(session.backend._transport)

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        self._lease.check()
        return super().cursor(*args, **kwargs)

    def obo_end(self) -> None:
        """Close it together with its session, while the session may still send requests."""
        with contextlib.suppress(Exception):
            self.close()
        with contextlib.suppress(AttributeError):
            cast("Any", self.session.backend)._transport.setCustomHeaders({})  # they held the last token

    def __del__(self) -> None:
        """Send no request to close anything: a finalizer may run anywhere, and the session ends its connections."""


class _Fence:
    """The path of a connection's messages: through the session's fence and the tool's guard, with a record of refusals."""

    def __init__(self, lease: Lease, url: str) -> None:
        self._lease = lease
        self._url = url
        self._local = bool(local_settings(url, ""))
        self._exchange: Any = None
        self._transport: Any = None
        self._refusal = b""
        self._encloses = False
        self._passed = False

    def enclose(self, backend: Any) -> None:
        """Let each message of a backend pass."""
        if hasattr(backend, "make_request"):
            backend.make_request = self.around(backend.make_request)
            self._encloses = True

    def watch(self, transport: Any) -> None:
        """Read refusals: the connector looks only at their headers."""
        if transport is self._transport:
            return
        self._transport, send = transport, transport.flush

        def flush() -> None:
            send()
            self._refusal = transport.read(_MOST) if transport.code >= HTTPStatus.BAD_REQUEST else b""

        transport.flush = flush

    def before(self) -> None:
        self._exchange = begin(self._lease, "POST", self._url)
        self._passed = True

    def headers(self) -> dict[str, str]:
        # In lower case: the connector would keep a token that it finds under "Authorization", until the token ends. It sends
        # the headers of the last message again, so the name of the last tool has to be cleared.
        if not self._encloses and not self._passed:
            self.before()  # its backend sends in a way of its own
        self._passed = False
        own = self._exchange.headers() if self._exchange is not None else headers_for(self._lease, self._url)
        headers = {TOOL_HEADER: "", **own}
        return {name.lower(): value for name, value in headers.items() if name != TOOL_HEADER or self._local}

    def after(self, error: BaseException) -> BaseException:
        """Record a refusal, and return the error with the refusal's text, and without the frames that hold the token."""
        context = getattr(error, "context", None)
        status = context.get("http-code") if isinstance(error, exc.RequestError) and context else None
        if isinstance(status, int) and context is not None:
            text = self._exchange.told(str(context.get("error-message") or read_answer(self._refusal).text).encode())
            context["error-message"] = text.decode("utf-8", "replace")
            self._exchange.record(status, {}, lambda: text)
        return without_frames(error)

    def around(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def sent(method: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            self.before()
            try:
                return send(method, request, *args, **kwargs)
            except Exception as error:
                raise self.after(error)  # noqa: B904 - the error itself

        return sent


def sql_connection(lease: Lease, _get: Callable[[str], Any]) -> Connection:
    """Build a `databricks.sql` connection that acts as one user until that user's session closes.

    Raises:
        PolicyError: No warehouse is named, or several are.
    """
    return UserConnection(lease, warehouse())


# --- built by hand -----------------------------------------------------------------------------------------------------------


def patch(module: Any) -> None:
    """Put connections that are built with a session's token, or its ``config.authenticate``, behind the session's fence."""
    databricks_sql.patch(module, _built)


def _built(connection: Any, arguments: dict[str, Any], build: Callable[[], None]) -> None:
    token, provider = arguments.get("access_token"), arguments.get("credentials_provider")
    lease = lease_of(token)
    if lease is not None:
        arguments.update(access_token=None, credentials_provider=lambda: _adopted(connection, lease, arguments))
    elif provider is not None and not arguments.get("use_kernel"):  # the kernel reads the provider by itself
        arguments["credentials_provider"] = functools.partial(_provided, connection, provider, arguments)
    try:
        build()
    except Exception as error:
        fence = getattr(connection, "_fence", None)
        raise fence.after(error) if isinstance(fence, _Fence) else error  # noqa: B904 - the error itself
    if isinstance(connection, UserConnection):
        connection._fence.enclose(connection.session.backend)


def _provided(connection: Any, provider: Any, arguments: dict[str, Any]) -> Any:
    """Ask an author's provider of credentials. Return the fence's headers in place of a session's."""
    headers = provider()
    lease = lease_behind(getattr(headers, "__self__", None))
    return headers if lease is None else _adopted(connection, lease, arguments)


def _adopted(connection: Any, lease: Lease, arguments: dict[str, Any]) -> Callable[[], dict[str, str]]:
    """Turn a connection that is being built into the user's. Return where it gets its headers from."""
    host = str(arguments["server_hostname"]).removeprefix("https://").strip("/")
    url = arguments.get("_connection_uri") or f"https://{host}:{arguments.get('_port', 443)}{arguments['http_path']}"
    fence = _Fence(lease, url)
    fence.before()  # the connector would wrap what is raised later
    connection.__class__, connection._lease, connection._fence = UserConnection, lease, fence
    return fence.headers


patch(sys.modules[Connection.__module__])
