"""The OpenAI clients of one user.

Building `DatabricksOpenAI` costs a TLS context of its own: here all users share a transport, each
client behind its session's fence, which puts on the user's token at every request.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from typing import TYPE_CHECKING, Any, NoReturn, cast

from obo_kit.clients._workspace import (
    admit,
    async_http_transport,
    bound_for,
    http_transport,
    note,
    note_outage,
    without_frames,
)

try:
    import openai
    from databricks_openai import AsyncDatabricksOpenAI, DatabricksOpenAI
except ImportError as missing:
    raise ImportError('DatabricksOpenAI needs an extra: pip install "obo-kit[openai]"') from missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from obo_kit.identity._credentials import Lease
else:
    # The library that the installed `openai` speaks: `httpx`, or its successor `httpx2`.
    httpx = importlib.import_module(openai.DefaultHttpxClient.__base__.__module__.partition(".")[0])

__all__: list[str] = []


@contextlib.contextmanager
def _authorized(request: httpx.Request, lease: Lease, url: str) -> Iterator[None]:
    """The token is on the request while it is under way: errors and answers hold it without (rule 8)."""
    headers = bound_for(lease, url)
    request.headers.pop("Authorization", None)  # a stand-in's
    request.headers.update(headers)
    try:
        yield
    except httpx.TransportError as error:
        _broken(request, error)
        raise
    finally:
        for name in headers:
            request.headers.pop(name, None)


def _note(request: httpx.Request, response: httpx.Response, content: bytes | None) -> None:
    if content is not None:
        response.stream = httpx.ByteStream(content)  # read to its end; the transport's own holds what was sent
    body = None if content is None else lambda: content
    note(request.method, request.url.path, response.status_code, response.headers, body)


def _broken(request: httpx.Request, error: httpx.TransportError) -> None:
    what = "no answer in time" if isinstance(error, httpx.TimeoutException) else "the connection failed"
    sent = not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    note_outage(request.method, request.url.path, what, sent=sent)
    without_frames(error)


class _Wire(httpx.BaseTransport):
    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        with _authorized(request, self._lease, url):
            response: httpx.Response = http_transport(httpx, url).handle_request(request)
        _bound_retry(response, self._lease)
        _note(request, response, response.read() if response.status_code >= 400 else None)
        return response


class _AsyncWire(httpx.AsyncBaseTransport):
    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        transport = await async_http_transport(httpx, url)
        with _authorized(request, self._lease, url):
            response: httpx.Response = await transport.handle_async_request(request)
        _bound_retry(response, self._lease)
        _note(request, response, await response.aread() if response.status_code >= 400 else None)
        return response


def _bound_retry(response: httpx.Response, lease: Lease) -> None:
    """`openai` sleeps as long as ``Retry-After`` says, up to a minute; a session does not (rule 11)."""
    stated = response.headers.get("retry-after", "")
    if stated and not (stated.isdigit() and int(stated) <= lease.limits.retry):
        response.headers["x-should-retry"] = "false"


_PLAIN = re.compile(r"/[A-Za-z0-9_/-]*")


def _ask_leave(client: Any, options: Any) -> None:
    # Before the attempt: `openai` takes an error of its transport for a failing connection, and tries again.
    client._obo_lease.credentials()
    url = options.url
    # A plain path is joined as `openai` does, without making a URL of it.
    path = client.base_url.path.rstrip("/") + url if _PLAIN.fullmatch(url) else client._prepare_url(url).path
    admit(options.method.upper(), path)


def _refuse() -> NoReturn:
    raise TypeError("an OpenAI client acts as a user and cannot be pickled or deep-copied")


def _settings(lease: Lease, workspace_client: Any) -> dict[str, Any]:
    return {
        "base_url": f"{workspace_client.config.host}/serving-endpoints",
        "api_key": "no-token",
        "timeout": httpx.Timeout(lease.limits.read, connect=lease.limits.connect),
        "max_retries": 1,
    }


def _kept(client: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a copy: the same user's, behind the same fence."""
    if options.get("http_client") not in (None, client._client):
        raise TypeError(
            "an OpenAI client that acts as a user keeps its http_client; build your own for your own requests"
        )
    ours = {"lease": client._obo_lease, "workspace_client": client._workspace_client}
    return {**options, "_extra_kwargs": ours}


class _UserOpenAI(DatabricksOpenAI):
    def __init__(self, *, lease: Lease, workspace_client: Any, **settings: Any) -> None:
        self._obo_lease = lease
        self._workspace_client = workspace_client
        if "http_client" not in settings:
            settings["http_client"] = httpx.Client(transport=_Wire(lease), trust_env=False, follow_redirects=True)
        cast("Any", openai.OpenAI).__init__(self, **{**_settings(lease, workspace_client), **settings})

    def copy(self, **options: Any) -> Any:
        return super().copy(**_kept(self, options))

    with_options = copy

    def _prepare_options(self, options: Any) -> Any:
        _ask_leave(self, options)
        return super()._prepare_options(options)

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        _refuse()


class _UserAsyncOpenAI(AsyncDatabricksOpenAI):
    def __init__(self, *, lease: Lease, workspace_client: Any, **settings: Any) -> None:
        self._obo_lease = lease
        self._workspace_client = workspace_client
        if "http_client" not in settings:
            settings["http_client"] = httpx.AsyncClient(
                transport=_AsyncWire(lease), trust_env=False, follow_redirects=True
            )
        cast("Any", openai.AsyncOpenAI).__init__(self, **{**_settings(lease, workspace_client), **settings})

    def copy(self, **options: Any) -> Any:
        return super().copy(**_kept(self, options))

    with_options = copy

    async def _prepare_options(self, options: Any) -> Any:
        _ask_leave(self, options)
        return await super()._prepare_options(options)

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        _refuse()


def openai_client(lease: Lease, workspace_client: Any) -> DatabricksOpenAI:
    """A `DatabricksOpenAI` that acts as one user until that user's session closes."""
    return _UserOpenAI(lease=lease, workspace_client=workspace_client)


def async_openai_client(lease: Lease, workspace_client: Any) -> AsyncDatabricksOpenAI:
    """An `AsyncDatabricksOpenAI` that acts as one user until that user's session closes."""
    return _UserAsyncOpenAI(lease=lease, workspace_client=workspace_client)
