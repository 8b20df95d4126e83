"""The clients of one user: pinned, fenced, and cheap (rules 5, 8 to 11, 16 and 23).

Shared by all users of a process: what the host says of itself, one connection pool, one TLS context. Not shared: tokens,
cookies, headers, configuration. Imports the Databricks SDK, so it is itself imported with the first client.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast
from urllib.parse import quote, urlsplit

import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.clock import Clock
from databricks.sdk.core import Config
from databricks.sdk.credentials_provider import CredentialsStrategy, OAuthCredentialsProvider
from databricks.sdk.oauth import Token
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.exceptions import NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from obo_kit._upstream.texts import is_login
from obo_kit._version import __version__
from obo_kit.clients._mcp_patch import take_over_mcp
from obo_kit.context._calls import TOOL_HEADER, Outage, Refusal
from obo_kit.context._frame import current_call
from obo_kit.exceptions import ScopeViolationError
from obo_kit.identity._sources import in_apps, in_model_serving, origin_of
from obo_kit.instrumentation._events import tell_of_request
from obo_kit.scopes._lookup import Verdict, is_read, route_for, route_verdict

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Mapping

    from obo_kit.identity._credentials import Lease

__all__ = ["CLIENT_TYPES", "build"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

# --- shared by the process -----------------------------------------------------------------------------------------------

_SURROUNDINGS = (
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    *(f"{name}_PROXY" for name in ("HTTPS", "HTTP", "ALL", "NO")),
    *(f"{name}_proxy" for name in ("https", "http", "all", "no")),
)
_UNREACHABLE_SECONDS = 60.0  # how long a host that did not say who it is is not asked again


class _Pool(HTTPAdapter):
    """The connections of this process, and one TLS context: parsing a CA bundle costs more than a request."""

    def __init__(self, ca_bundle: str) -> None:
        self._context = _tls_context(ca_bundle)
        super().__init__(pool_connections=16, pool_maxsize=64)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, True, cert)
        # A bundle named here is parsed again for every new connection; the context holds it already.
        pool.pop("ca_certs", None)
        pool.pop("ca_cert_dir", None)
        return host, pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        del verify, cert
        if url.lower().startswith("https"):
            conn.cert_reqs = "CERT_REQUIRED"


@dataclass(frozen=True, slots=True)
class _Host:
    """What is the same for all users of a host."""

    workspace_id: str | None
    account_id: str | None
    discovery_url: str | None
    cloud: Any
    until: float


class _Process:
    """What this process shares between its users. Renewed after a fork: a pool used on both sides hands one user the
    other's answer."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[str, _Pool] = {}
        self.proxies: dict[tuple[str, ...], dict[str, str]] = {}
        self.hosts: dict[str, _Host] = {}
        self.host_locks: dict[str, threading.Lock] = {}
        self.http: dict[str | None, Any] = {}
        self.async_http: dict[Any, _OfLoop] = {}


_shared = _Process()


def _renew() -> None:
    global _shared
    _shared = _Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def _tls_context(ca_bundle: str | None = None) -> ssl.SSLContext:
    context = create_urllib3_context()
    ca_bundle = ca_bundle or _ca_bundle()
    if os.path.isdir(ca_bundle):
        context.load_verify_locations(capath=ca_bundle)
    else:
        context.load_verify_locations(cafile=ca_bundle)
    return context


def _ca_bundle() -> str:
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH


def _pool() -> _Pool:
    shared, ca_bundle = _shared, _ca_bundle()
    if ca_bundle not in shared.pools:
        with shared.lock:
            if ca_bundle not in shared.pools:
                shared.pools[ca_bundle] = _Pool(ca_bundle)
    return shared.pools[ca_bundle]


def _proxies(host: str) -> dict[str, str]:
    shared = _shared
    key = (host, *(os.environ.get(name, "") for name in _SURROUNDINGS))
    proxies = shared.proxies.get(key)
    if proxies is None:
        proxies = shared.proxies[key] = dict(get_environ_proxies(host))
    return proxies


class _HermeticConfig(Config):
    """A configuration that holds what it is given: nothing of the environment, of a profile or of the app."""

    def _load_from_env(self) -> None:
        pass

    def _known_file_config_loader(self) -> None:
        pass

    def __copy__(self) -> Any:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        _refuse(self)

    def __deepcopy__(self, memo: Any, /) -> NoReturn:
        _refuse(self)


class _UserConfig(_HermeticConfig):
    """One user's configuration. What the host says of itself is asked once per process, not once per client."""

    def __init__(self, lease: Lease, **settings: Any) -> None:
        self._lease = lease
        super().__init__(**settings)

    @property
    def token(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """The token at this moment: some clients copy it when they are built. Nothing here keeps one."""
        return self._lease.credentials()[1]

    def debug_string(self) -> str:
        """What the SDK adds to messages. Its own names every variable of the environment that could lend an identity."""
        return f"Config: host={self.host}, token=***, auth_type={self.auth_type}"

    def _resolve_host_metadata(self) -> None:
        pass


def _refuse(thing: object) -> NoReturn:
    raise TypeError(f"{type(thing).__name__.lstrip('_')} acts as a user and cannot be pickled or deep-copied")


# The SDK collects its attributes from whichever class asks first; a subclass has none of its own.
Config.attributes()


class _Nobody(CredentialsStrategy):
    def auth_type(self) -> str:
        return "none"

    def __call__(self, cfg: Config) -> Callable[[], dict[str, str]]:
        return dict


def _host(host: str) -> _Host:
    shared = _shared
    known = shared.hosts.get(host)
    if known is not None and known.until > time.monotonic():
        return known
    with shared.lock:
        lock = shared.host_locks.setdefault(host, threading.Lock())
    with lock:
        known = shared.hosts.get(host)
        if known is not None and known.until > time.monotonic():
            return known
        asked = _HermeticConfig(
            host=host, credentials_strategy=_Nobody(), retry_timeout_seconds=1, http_timeout_seconds=2.0
        )
        answered = any((asked.workspace_id, asked.account_id, asked.discovery_url, asked.cloud))
        shared.hosts[host] = _Host(
            workspace_id=asked.workspace_id,
            account_id=asked.account_id,
            discovery_url=asked.discovery_url,
            cloud=asked.cloud,
            until=float("inf") if answered else time.monotonic() + _UNREACHABLE_SECONDS,
        )
        return shared.hosts[host]


# --- on the way out, and back --------------------------------------------------------------------------------------------


def _guard_mode() -> str:
    mode = os.environ.get("OBO_KIT_SCOPE_GUARD", "").strip().lower()
    if mode in ("warn", "off"):
        return mode
    if not mode and (in_model_serving() or in_apps()):
        return "warn"
    return "raise"


_warned: set[tuple[str, str]] = set()


def admit(method: str, path: str) -> None:
    """Narrow a tool to the scopes it declares (rule 23), and tell who watches of the request."""
    call = current_call()
    tell_of_request(method, path, call)
    if call is None or call.declared is None or (mode := _guard_mode()) == "off":
        return
    route = route_for(method, path)
    if route is None:
        return
    verdict, missing = route_verdict(route, call.declared.held)
    if verdict is not Verdict.MISSING:
        return
    error = ScopeViolationError(
        f"The tool '{call.tool}' called {method} {path}, outside the scopes it declares.",
        remedy=f"Declare @requires_scopes({missing[0]!r}) on '{call.tool}', or leave the call out.",
        scopes=missing,
    )
    if mode == "raise":
        raise error
    if (call.tool, route.path) not in _warned:
        _warned.add((call.tool, route.path))
        logger.warning("%s", error)


_FAILED = b'"FAILED"'
_VALUE_PATHS = ("/api/2.0/sql/statements", "/api/2.0/genie/")
_MAX_EVIDENCE = 50
_PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def note(
    method: str, path: str, status: int, headers: Mapping[str, str], body: Callable[[], bytes] | None = None
) -> None:
    """Keep what came back, for clients that lose it on the way (rule 16), and for another attempt (rule 19).

    Args:
        method: The request's.
        path: The request's.
        status: The answer's.
        headers: The answer's; found in any case.
        body: Reads the answer. `None` for a stream, which is its reader's.
    """
    call = current_call()
    if call is None:
        return
    evidence = call.evidence
    if status != HTTPStatus.TOO_MANY_REQUESTS and not is_read(method, path):
        evidence.effects += 1
    if len(evidence.refusals) + len(evidence.outages) >= _MAX_EVIDENCE:
        return
    if status in _PASSING:
        stated = headers.get("retry-after") or ""
        wait = float(stated) if stated.isdigit() else None
        evidence.outages.append(Outage(method=method, path=path, what=str(status), retry_after=wait))
    elif 300 <= status < 400:
        if is_login(location := headers.get("location")):
            evidence.refusals.append(Refusal(status=status, method=method, path=path, location=location))
    elif 400 <= status < 500 and status not in (408, 409, 425) and body is not None:
        content = body()
        found = _parsed(content)
        error_code, text = found.get("error_code"), found.get("message") or content[:2000].decode("utf-8", "replace")
        evidence.refusals.append(
            Refusal(
                status=status,
                error_code=str(error_code) if error_code not in (None, "") else None,
                text=str(text),
                method=method,
                path=path,
                location=headers.get("location"),
            )
        )
    elif status == 200 and body is not None and path.startswith(_VALUE_PATHS) and _FAILED in (content := body()):
        evidence.refusals.extend(_failures(_parsed(content), method, path))


def note_outage(method: str, path: str, what: str, *, sent: bool) -> None:
    """Keep that no answer came (rule 19). ``sent``: the request may have arrived."""
    call = current_call()
    if call is not None and len(call.evidence.outages) < _MAX_EVIDENCE:
        call.evidence.outages.append(Outage(method=method, path=path, what=what))
    if call is not None and sent and not is_read(method, path):
        call.evidence.effects += 1


def _parsed(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _failures(body: Mapping[str, Any], method: str, path: str) -> list[Refusal]:
    """The refusals inside an answer that says 200: a failed statement, or a failed Genie message."""
    found: list[Refusal] = []
    for answer in (body, body.get("statement_response"), body.get("message")):
        if not isinstance(answer, dict):
            continue
        status, error = answer.get("status"), answer.get("error")
        if isinstance(status, dict) and status.get("state") == "FAILED":
            error = status.get("error") or {}
            text, code, state = error.get("message"), error.get("error_code"), status.get("sql_state")
        elif status == "FAILED" and isinstance(error, dict):
            text, code, state = error.get("error"), error.get("type"), None
        else:
            continue
        found.append(
            Refusal(status=200, error_code=code, text=str(text or ""), method=method, path=path, sql_state=state)
        )
    return found


def bound_for(lease: Lease, url: str) -> dict[str, str]:
    """The user's headers for one request: for the user's own workspace, and no other host. On loopback, a workspace of
    `obo_kit.testing` is also told which tool asks.

    It is put on a copy of the request that nobody else sees: answers and errors hold the one without (rule 8).

    Raises:
        SessionClosedError: The session has ended.
        TokenExpiredError: The token has expired, and there is no new one of the same user's.
    """
    host, token = lease.credentials()
    if not url.startswith(f"{host}/"):  # in another spelling, perhaps
        parts = urlsplit(url)
        if origin_of(f"{parts.scheme}://{parts.netloc}") != host:
            return {}
    headers = {"Authorization": f"Bearer {token}"}
    if "//127.0.0.1" in host and urlsplit(host).hostname == "127.0.0.1" and (call := current_call()) is not None:
        headers[TOOL_HEADER] = quote(call.tool)
    return headers


def without_frames(error: BaseException) -> None:
    """Take away the frames that an error passed through: those of a transport hold the headers (rule 8)."""
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            pending += [one.__cause__, one.__context__]


_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def _described(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, requests.Timeout) else "the connection failed"


def _never_sent(error: requests.RequestException) -> bool:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError)


class _Wire(BaseAdapter):
    """The way of one user's requests to the shared pool: the fence, the guard, and the note of what was refused."""

    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self._lease = lease

    def send(  # noqa: PLR0917 - the signature is requests' own
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        limits, url = self._lease.limits, request.url or ""
        sent = request.copy()
        sent.headers.update(bound_for(self._lease, url))
        method, path = request.method or "", urlsplit(url).path
        admit(method, path)
        read = timeout if isinstance(timeout, (int, float)) else limits.read
        try:
            response = _pool().send(
                sent, stream=stream, timeout=(limits.connect, read), verify=verify, cert=cert, proxies=proxies
            )
            if not stream:
                _ = response.content  # here, because an answer may also break off in the middle
        except requests.RequestException as error:
            if isinstance(error, _BROKEN):
                note_outage(method, path, _described(error), sent=not _never_sent(error))
            without_frames(error)
            error.request = request
            if not isinstance(error, requests.ConnectTimeout):
                raise
            # What the SDK raises in the end; said at once, because TCP has knocked more than once already.
            raise TimeoutError(f"The workspace took no connection within {limits.connect:g} s.") from error
        response.request = request
        whole = not stream or response.status_code >= 400
        note(method, path, response.status_code, response.headers, (lambda: response.content) if whole else None)
        return response

    def close(self) -> None:
        """Nothing to close: the connections are the process's."""


_KEPT_SECONDS = 60.0  # `httpx` drops an idle connection after five


def http_transport(httpx: Any, url: str) -> Any:
    """The transport that all OpenAI clients of this process share, through their own fences.

    Args:
        httpx: The library that `openai` speaks: `httpx` or `httpx2`.
        url: Where the request goes: there may be a proxy on the way.
    """
    shared, proxy = _shared, _proxy(url)
    if proxy not in shared.http:
        with shared.lock:
            if proxy not in shared.http:
                shared.http[proxy] = httpx.HTTPTransport(**_transport_settings(httpx, proxy))
    return shared.http[proxy]


async def async_http_transport(httpx: Any, url: str) -> Any:
    """The same for the running event loop: its connections cannot be used from another, and are closed with it."""
    shared, loop, proxy = _shared, asyncio.get_running_loop(), _proxy(url)
    kept = shared.async_http.get(loop)
    if kept is None:
        kept = _OfLoop(shared.async_http, loop)
        with shared.lock:
            for other in [other for other in shared.async_http if other.is_closed()]:
                del shared.async_http[other]
            shared.async_http[loop] = kept
        await anext(kept.guard)
    if proxy not in kept.transports:
        kept.transports[proxy] = httpx.AsyncHTTPTransport(**_transport_settings(httpx, proxy))
    return kept.transports[proxy]


class _OfLoop:
    """The transports of one event loop. Waits in an asynchronous generator, which the loop closes when it shuts down."""

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


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    return select_proxy(url, _proxies(f"{parts.scheme}://{parts.netloc}"))


def _transport_settings(httpx: Any, proxy: str | None) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=_KEPT_SECONDS)
    return {"verify": _tls_context(), "proxy": proxy, "limits": limits}


def _attach(session: requests.Session, lease: Lease) -> None:
    wire = _Wire(lease)
    session.mount("https://", wire)
    session.mount("http://", wire)
    # Proxies are resolved once; and without this, a netrc entry would take the place of the user's token.
    session.trust_env = False
    session.auth = None  # the wire authenticates
    session.proxies = _proxies(lease.credentials()[0])


# --- the clients ---------------------------------------------------------------------------------------------------------


class _Credentials(CredentialsStrategy):
    """Serves every official client: ``pat`` and a token for those that read it, an OAuth provider for those that ask for
    one."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def auth_type(self) -> str:
        return "pat"

    def __call__(self, cfg: Config) -> OAuthCredentialsProvider:
        lease = self._lease

        return OAuthCredentialsProvider(
            lease.header,
            lambda: Token(access_token=lease.credentials()[1], token_type="Bearer"),  # noqa: S106
        )


class _Patience(threading.local):
    deadline = 0.0
    passed = 0.0  # waits that were not waited for
    slept = False


class _BoundedClock(Clock):
    """The SDK waits as long as ``Retry-After`` says, past its own deadline. A session does not begin such a wait: here it
    counts as over, and so does the time for retries."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._of_thread = _Patience()

    def time(self) -> float:
        patience = self._of_thread
        now = time.monotonic() + patience.passed
        if not patience.slept:  # a call begins
            patience.deadline = now + self._longest
        patience.slept = False
        return now

    def sleep(self, seconds: float) -> None:
        patience = self._of_thread
        patience.slept = True
        if time.monotonic() + patience.passed + seconds > patience.deadline:
            patience.passed += seconds
        else:
            time.sleep(seconds)


class _UserWorkspaceClient(WorkspaceClient):
    """A `WorkspaceClient` that acts as one user until that user's session closes."""

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        _refuse(self)

    def __deepcopy__(self, memo: Any, /) -> NoReturn:
        _refuse(self)

    def __copy__(self) -> Any:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


def _config(lease: Lease) -> Config:
    host, _ = lease.credentials()
    known, limits = _host(host), lease.limits
    retry = math.ceil(limits.retry)  # the SDK cuts fractions off, and takes 0 for its own 300
    return _UserConfig(
        lease,
        host=host,
        auth_type="pat",
        credentials_strategy=_Credentials(lease),
        workspace_id=known.workspace_id,
        account_id=known.account_id,
        discovery_url=known.discovery_url,
        cloud=known.cloud,
        http_timeout_seconds=limits.read,
        retry_timeout_seconds=retry,
        clock=_BoundedClock(retry),
        product="obo-kit",
        product_version=__version__,
    )


def lease_of(client: object) -> Lease | None:
    """The lease of a `WorkspaceClient` that the kit built; `None` for any other client."""
    return getattr(client.config, "_lease", None) if isinstance(client, _UserWorkspaceClient) else None


def _workspace_client(lease: Lease, get: _Get) -> WorkspaceClient:
    del get
    take_over_mcp()
    client = _UserWorkspaceClient(config=_config(lease))
    # The SDK keeps its `requests` session in a private place, and offers no public one.
    _attach(cast("Any", client.api_client)._api_client._session, lease)
    return client


def _vector_search_client(lease: Lease, get: _Get) -> Any:
    del get
    from obo_kit.clients._vector_search import UserVectorSearchClient

    session = requests.Session()
    _attach(session, lease)
    return UserVectorSearchClient(lease, session)


def _openai_client(lease: Lease, get: _Get) -> Any:
    from obo_kit.clients._openai import openai_client

    return openai_client(lease, get("WorkspaceClient"))


def _async_openai_client(lease: Lease, get: _Get) -> Any:
    from obo_kit.clients._openai import async_openai_client

    return async_openai_client(lease, get("WorkspaceClient"))


if TYPE_CHECKING:
    _Get = Callable[[str], Any]

CLIENT_TYPES: Mapping[str, Callable[[Lease, _Get], Any]] = {
    "WorkspaceClient": _workspace_client,
    "VectorSearchClient": _vector_search_client,
    "AISearchClient": _vector_search_client,
    "DatabricksOpenAI": _openai_client,
    "AsyncDatabricksOpenAI": _async_openai_client,
}


def build(name: str, lease: Lease, get: Callable[[str], Any]) -> Any:
    """Build one client of a session. ``get`` gives the session's other clients, by name."""
    lease.check()
    return CLIENT_TYPES[name](lease, get)
