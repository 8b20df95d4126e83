"""The OpenAI clients of one user.

Building `DatabricksOpenAI` costs a TLS context of its own (facts: hazards A6): here all users share a transport, each
client behind its session's fence, which puts on the user's token at every request.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NoReturn, cast

from obo_kit.clients import admit, async_http_transport, bound_for, http_transport, note, note_outage, without_frames

try:
    import openai
    from databricks_openai import AsyncDatabricksOpenAI, DatabricksOpenAI
except ImportError as missing:
    raise ImportError('DatabricksOpenAI needs an extra: pip install "obo-kit[openai]"') from missing

if TYPE_CHECKING:
    import httpx

    from obo_kit._lease import Lease
else:
    # The library that the installed `openai` speaks: `httpx`, or its successor `httpx2`.
    httpx = importlib.import_module(openai.DefaultHttpxClient.__base__.__module__.partition(".")[0])

__all__: list[str] = []


def _authorized(request: httpx.Request, lease: Lease) -> httpx.Request:
    sent = httpx.Request(request.method, request.url, headers=request.headers, stream=request.stream)
    sent.headers.update(bound_for(lease, str(request.url)))
    sent.extensions = request.extensions
    return sent


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
        sent = _authorized(request, self._lease)
        try:
            response: httpx.Response = http_transport(httpx, str(request.url)).handle_request(sent)
        except httpx.TransportError as error:
            _broken(request, error)
            raise
        _bound_retry(response, self._lease)
        _note(request, response, response.read() if response.status_code >= 400 else None)
        return response


class _AsyncWire(httpx.AsyncBaseTransport):
    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent = _authorized(request, self._lease)
        transport = await async_http_transport(httpx, str(request.url))
        try:
            response: httpx.Response = await transport.handle_async_request(sent)
        except httpx.TransportError as error:
            _broken(request, error)
            raise
        _bound_retry(response, self._lease)
        _note(request, response, await response.aread() if response.status_code >= 400 else None)
        return response


def _bound_retry(response: httpx.Response, lease: Lease) -> None:
    """`openai` sleeps as long as ``Retry-After`` says, up to a minute; a session does not (rule 11)."""
    stated = response.headers.get("retry-after", "")
    if stated and not (stated.isdigit() and int(stated) <= lease.limits.retry):
        response.headers["x-should-retry"] = "false"


def _ask_leave(client: Any, options: Any) -> None:
    # Before the attempt: `openai` takes an error of its transport for a failing connection, and tries again.
    client._obo_lease.credentials()
    admit(options.method.upper(), client._prepare_url(options.url).path)


def _refuse() -> NoReturn:
    raise TypeError("an OpenAI client acts as a user and cannot be pickled or deep-copied")


def _settings(lease: Lease, workspace_client: Any) -> dict[str, Any]:
    return {
        "base_url": f"{workspace_client.config.host}/serving-endpoints",
        "api_key": "no-token",
        "timeout": httpx.Timeout(lease.limits.read, connect=lease.limits.connect),
        "max_retries": 1,
    }


class _UserOpenAI(DatabricksOpenAI):
    def __init__(self, lease: Lease, workspace_client: Any) -> None:
        self._obo_lease = lease
        self._workspace_client = workspace_client
        wire = httpx.Client(transport=_Wire(lease), trust_env=False, follow_redirects=True)
        cast("Any", openai.OpenAI).__init__(self, http_client=wire, **_settings(lease, workspace_client))

    def _prepare_options(self, options: Any) -> Any:
        _ask_leave(self, options)
        return super()._prepare_options(options)

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        _refuse()


class _UserAsyncOpenAI(AsyncDatabricksOpenAI):
    def __init__(self, lease: Lease, workspace_client: Any) -> None:
        self._obo_lease = lease
        self._workspace_client = workspace_client
        wire = httpx.AsyncClient(transport=_AsyncWire(lease), trust_env=False, follow_redirects=True)
        cast("Any", openai.AsyncOpenAI).__init__(self, http_client=wire, **_settings(lease, workspace_client))

    async def _prepare_options(self, options: Any) -> Any:
        _ask_leave(self, options)
        return await super()._prepare_options(options)

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        _refuse()


def openai_client(lease: Lease, workspace_client: Any) -> DatabricksOpenAI:
    """A `DatabricksOpenAI` that acts as one user until that user's session closes."""
    return _UserOpenAI(lease, workspace_client)


def async_openai_client(lease: Lease, workspace_client: Any) -> AsyncDatabricksOpenAI:
    """An `AsyncDatabricksOpenAI` that acts as one user until that user's session closes."""
    return _UserAsyncOpenAI(lease, workspace_client)
