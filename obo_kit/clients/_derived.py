"""Put clients that the SDK or `databricks_openai` make from a session's client behind the same fence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from obo_kit._upstream.patches import databricks_openai, databricks_sdk
from obo_kit.clients._httpx import AsyncTransport, SyncTransport
from obo_kit.clients._transport import attach
from obo_kit.identity._credentials import lease_behind, lease_of

if TYPE_CHECKING:
    from obo_kit.identity._credentials import Lease

__all__: list[str] = []


def patch(module: Any) -> None:
    """Make the clients that a module builds from a lease use the fence. Other clients stay as they are."""
    if module.__name__ in databricks_sdk.MODULES:
        databricks_sdk.patch(module, lease_behind, attach, _http_client)
    else:
        databricks_openai.patch(module, lease_of, _http_client, _async_http_client)


def _http_client(library: str, lease: Lease, follow_redirects: bool) -> Any:
    httpx = importlib.import_module(library)
    transport = SyncTransport(lease, httpx)
    return httpx.Client(transport=transport, trust_env=False, follow_redirects=follow_redirects)


def _async_http_client(library: str, lease: Lease, follow_redirects: bool) -> Any:
    httpx = importlib.import_module(library)
    transport = AsyncTransport(lease, httpx)
    return httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=follow_redirects)
