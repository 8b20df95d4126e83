"""Clients that are made from a session's client, by the SDK or by other packages: they speak through the same fence.

Each patch looks for a lease, and leaves alone what was not made from one. Read in databricks-sdk 0.120 and 0.162,
databricks-openai 0.16 and 0.18.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

import requests

from obo_kit.clients._httpx import AsyncTransport, SyncTransport
from obo_kit.clients._transport import attach
from obo_kit.identity._credentials import lease_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

_PATCHED = "obo_kit_patched"


def take_over(module: Any) -> None:
    """Have the clients that a module makes from a lease speak through the fence."""
    if not getattr(module, _PATCHED, False):
        setattr(module, _PATCHED, True)
        {"databricks.sdk": _take_over_sdk}.get(module.__name__, _take_over_openai)(module)


def _take_over_sdk(sdk: Any) -> None:
    api, files = sdk.core.ApiClient, importlib.import_module("databricks.sdk.mixins.files").FilesExt
    serving = importlib.import_module("databricks.sdk.mixins.open_ai_client").ServingEndpointsExt
    api.__init__ = _then(api.__init__, _attach_api)
    files.__init__ = _then(files.__init__, _attach_files)
    serving._get_authorized_http_client = _http_client(
        serving._get_authorized_http_client, "httpx", lambda self: self._api._cfg
    )
    make_dbutils = sdk._make_dbutils

    def dbutils(config: Any) -> Any:
        # On a cluster the SDK hands out the runtime's own, which acts as the cluster's owner.
        return make_dbutils(config) if lease_of(config) is None else sdk.dbutils.RemoteDbUtils(config)

    sdk._make_dbutils = dbutils


def _then(theirs: Callable[..., None], attach_to: Callable[[Any, Any], None]) -> Callable[..., None]:
    """Return a constructor that does what it did, and then attaches what it made from a lease."""

    @functools.wraps(theirs)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        theirs(self, *args, **kwargs)
        attach_to(self, lease_of(getattr(self, "_cfg", None) or getattr(self, "_config", None)))

    return __init__


def _attach_api(client: Any, lease: Any) -> None:
    if lease is not None:
        # The SDK keeps its `requests` session in a private place, and offers no public one.
        attach(client._api_client._session, lease)


def _attach_files(files: Any, lease: Any) -> None:
    if lease is not None:
        session = requests.Session()
        attach(session, lease)
        files._cached_authenticated_session = session
        # Asked for with headers of the configuration, past the fence; without an answer the SDK has an order of its own.
        files._fetch_endpoints = list


def _http_client(theirs: Callable[..., Any], library: str, source: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return a maker of `httpx` clients that makes the user's from a lease."""

    def made(of: Any, *args: Any, **kwargs: Any) -> Any:
        lease = lease_of(source(of))
        if lease is None:
            return theirs(of, *args, **kwargs)
        httpx = importlib.import_module(library)
        follow = _follows_redirects(theirs, args, kwargs)
        return httpx.Client(transport=SyncTransport(lease, httpx), trust_env=False, follow_redirects=follow)

    return made


def _follows_redirects(theirs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return what a maker of HTTP clients was asked for; the older ones cannot be asked, and follow none."""
    return bool(args[0]) if args else bool(kwargs.get("follow_redirects", theirs.__defaults__ is not None))


def _take_over_openai(clients: Any) -> None:
    library = clients.Client.__module__.partition(".")[0]
    clients._get_authorized_http_client = _http_client(
        clients._get_authorized_http_client, library, lambda client: client
    )
    theirs = clients._get_authorized_async_http_client

    def made(client: Any, *args: Any, **kwargs: Any) -> Any:
        lease = lease_of(client)
        if lease is None:
            return theirs(client, *args, **kwargs)
        httpx = importlib.import_module(library)
        transport, follow = AsyncTransport(lease, httpx), _follows_redirects(theirs, args, kwargs)
        return httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=follow)

    clients._get_authorized_async_http_client = made
