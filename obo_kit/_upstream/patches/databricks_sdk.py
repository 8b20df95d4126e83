"""Patch the Databricks SDK: objects that it makes from a session's client send as the session's user.

Read in databricks-sdk 0.120 and 0.162.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import requests

from obo_kit._upstream.patches._mechanics import after_init, in_place_of, once

__all__: list[str] = []

MODULES = ("databricks.sdk",)
_HTTPX = "httpx"  # the library of its OpenAI clients


def _patch_files(kind: Any, whose: Callable[[Any], Any], attach: Callable[[Any, Any], None]) -> None:
    """Replace what newer versions have: the session that uploads use, and a request that goes past the pipeline."""
    if hasattr(kind, "_authenticated_session"):
        session_of = kind._authenticated_session

        def authenticated_session(files: Any) -> Any:
            if (credentials := whose(files._config)) is None:
                return session_of(files)
            with files._authenticated_session_lock:
                if files._cached_authenticated_session is None:
                    session = requests.Session()
                    attach(session, credentials)
                    files._cached_authenticated_session = session
                return files._cached_authenticated_session

        kind._authenticated_session = authenticated_session
    if hasattr(kind, "_fetch_endpoints"):
        ask = kind._fetch_endpoints
        # Without an answer, the SDK uses an order of its own.
        kind._fetch_endpoints = lambda files: ask(files) if whose(files._config) is None else []


@once
def patch(
    sdk: Any,
    whose: Callable[[Any], Any],
    attach: Callable[[Any, Any], None],
    http_client: Callable[[str, Any, bool], Any],
) -> None:
    """Make the SDK's objects of a user's configuration send as the user: API clients, files, OpenAI clients, `dbutils`.

    Args:
        sdk: One of `MODULES`, once it is loaded.
        whose: Returns the credentials of the user that a configuration belongs to; `None` for any other configuration.
        attach: Makes a `requests` session send with credentials.
        http_client: Makes an `httpx` client of a library, with credentials. Its last argument says whether to follow redirects.
    """

    def attach_api(client: Any) -> None:
        if (credentials := whose(client._cfg)) is not None:
            # The SDK keeps its `requests` session in a private attribute, and has no public one.
            attach(client._api_client._session, credentials)

    def read_token_again(config: Any) -> None:
        if type(config) is sdk.core.Config and whose(config) is not None:
            # The SDK reads the token once, and keeps the header that it makes of it.
            config._header_factory = lambda: {"Authorization": f"Bearer {config.token}"}

    mixins = "databricks.sdk.mixins"
    after_init(sdk.core.Config, read_token_again)
    serving = importlib.import_module(f"{mixins}.open_ai_client").ServingEndpointsExt
    after_init(sdk.core.ApiClient, attach_api)
    _patch_files(importlib.import_module(f"{mixins}.files").FilesExt, whose, attach)
    serving._get_authorized_http_client = in_place_of(
        serving._get_authorized_http_client,
        lambda serving: whose(serving._api._cfg),
        functools.partial(http_client, _HTTPX),
    )
    make_dbutils = sdk._make_dbutils

    def dbutils(config: Any) -> Any:
        # On a cluster, the SDK returns the runtime's own `dbutils`, which acts as the cluster's owner.
        return make_dbutils(config) if whose(config) is None else sdk.dbutils.RemoteDbUtils(config)

    sdk._make_dbutils = dbutils
