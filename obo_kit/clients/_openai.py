"""The OpenAI clients of one user.

Building `DatabricksOpenAI` costs a TLS context of its own. Here all users share a transport. Each client is behind its
session's fence, which adds the user's token to every request.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any, cast

from obo_kit._utils.extras import MissingExtraError
from obo_kit.clients._httpx import AsyncTransport, SyncTransport, announce
from obo_kit.identity._credentials import Leased

try:
    import openai
    from databricks_openai import AsyncDatabricksOpenAI, DatabricksOpenAI
except ImportError as missing:
    raise MissingExtraError("DatabricksOpenAI needs an extra", extra="openai") from missing

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from obo_kit.identity._credentials import Lease
else:
    # The library that the installed `openai` uses: `httpx`, or its successor `httpx2`.
    httpx = importlib.import_module(openai.DefaultHttpxClient.__base__.__module__.partition(".")[0])

__all__: list[str] = []


def _settings(lease: Lease) -> dict[str, Any]:
    return {
        "base_url": f"{lease.host()}/serving-endpoints",
        "api_key": "no-token",
        "timeout": httpx.Timeout(lease.limits.read, connect=lease.limits.connect),
        "max_retries": 1,
    }


def _kept(client: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a copy, which acts for the same user behind the same fence."""
    if options.get("http_client") not in (None, client._client):
        raise TypeError(
            "an OpenAI client that acts as a user keeps its http_client; build your own client for your own requests"
        )
    return {**options, "_extra_kwargs": {"lease": client._lease, "get": client._get}}


class _OfSession(Leased):
    _get: Callable[[str], Any]

    @functools.cached_property
    def _workspace_client(self) -> Any:
        """Return the session's client, with which the library looks up apps: most requests need none."""
        return self._get("WorkspaceClient")


class _UserOpenAI(_OfSession, DatabricksOpenAI):
    def __init__(self, *, lease: Lease, get: Callable[[str], Any], **settings: Any) -> None:
        self._lease = lease
        self._get = get
        if "http_client" not in settings:
            settings["http_client"] = httpx.Client(
                transport=cast("Any", SyncTransport(lease, httpx)), trust_env=False, follow_redirects=True
            )
        cast("Any", openai.OpenAI).__init__(self, **{**_settings(lease), **settings})

    def copy(self, **options: Any) -> Any:
        return super().copy(**_kept(self, options))

    with_options = copy

    def _prepare_request(self, request: Any) -> None:
        announce(self._lease, request)


class _UserAsyncOpenAI(_OfSession, AsyncDatabricksOpenAI):
    def __init__(self, *, lease: Lease, get: Callable[[str], Any], **settings: Any) -> None:
        self._lease = lease
        self._get = get
        if "http_client" not in settings:
            settings["http_client"] = httpx.AsyncClient(
                transport=cast("Any", AsyncTransport(lease, httpx)), trust_env=False, follow_redirects=True
            )
        cast("Any", openai.AsyncOpenAI).__init__(self, **{**_settings(lease), **settings})

    def copy(self, **options: Any) -> Any:
        return super().copy(**_kept(self, options))

    with_options = copy

    async def _prepare_request(self, request: Any) -> None:
        announce(self._lease, request)


def openai_client(lease: Lease, get: Callable[[str], Any]) -> DatabricksOpenAI:
    """Build a `DatabricksOpenAI` that acts as one user until that user's session closes."""
    return _UserOpenAI(lease=lease, get=get)


def async_openai_client(lease: Lease, get: Callable[[str], Any]) -> AsyncDatabricksOpenAI:
    """Build an `AsyncDatabricksOpenAI` that acts as one user until that user's session closes."""
    return _UserAsyncOpenAI(lease=lease, get=get)
