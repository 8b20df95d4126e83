"""Patch the Databricks SDK: what it makes from a session's client speaks as the session's user.

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
_HTTPX = "httpx"  # what its OpenAI clients speak


@once
def patch(
    sdk: Any,
    whose: Callable[[Any], Any],
    attach: Callable[[Any, Any], None],
    http_client: Callable[[str, Any, bool], Any],
) -> None:
    """Have what the SDK makes from a user's configuration speak as the user: API clients, files, OpenAI clients, `dbutils`.

    Args:
        sdk: One of `MODULES`, once it is loaded.
        whose: Returns the credentials of the user whose configuration it is given; `None` for another's.
        attach: Has a `requests` session speak with credentials.
        http_client: Makes an `httpx` client of a library, with credentials, that follows redirects or does not.
    """

    def attach_api(client: Any) -> None:
        if (credentials := whose(client._cfg)) is not None:
            # The SDK keeps its `requests` session in a private place, and offers no public one.
            attach(client._api_client._session, credentials)

    def attach_files(files: Any) -> None:
        if (credentials := whose(files._config)) is not None:
            session = files._cached_authenticated_session = requests.Session()
            attach(session, credentials)
            # Asked for with headers of the configuration, past the fence; without an answer the SDK has an order of its own.
            files._fetch_endpoints = list

    mixins = "databricks.sdk.mixins"
    serving = importlib.import_module(f"{mixins}.open_ai_client").ServingEndpointsExt
    after_init(sdk.core.ApiClient, attach_api)
    after_init(importlib.import_module(f"{mixins}.files").FilesExt, attach_files)
    serving._get_authorized_http_client = in_place_of(
        serving._get_authorized_http_client,
        lambda serving: whose(serving._api._cfg),
        functools.partial(http_client, _HTTPX),
    )
    make_dbutils = sdk._make_dbutils

    def dbutils(config: Any) -> Any:
        # On a cluster the SDK hands out the runtime's own, which acts as the cluster's owner.
        return make_dbutils(config) if whose(config) is None else sdk.dbutils.RemoteDbUtils(config)

    sdk._make_dbutils = dbutils
