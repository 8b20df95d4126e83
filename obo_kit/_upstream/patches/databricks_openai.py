"""Patch the OpenAI clients of `databricks_openai`, which has its own makers of HTTP clients.

Read in databricks-openai 0.16 and 0.18.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from obo_kit._upstream.patches._mechanics import in_place_of, once

__all__: list[str] = []

MODULES = ("databricks_openai.utils.clients",)


@once
def patch(
    clients: Any,
    whose: Callable[[Any], Any],
    http_client: Callable[[str, Any, bool], Any],
    async_http_client: Callable[[str, Any, bool], Any],
) -> None:
    """Make the package's objects send as the user if they are made from a user's client.

    Args:
        clients: One of `MODULES`, once it is loaded.
        whose: Returns the credentials of the user that a client belongs to; `None` for any other client.
        http_client: Makes an `httpx` client of a library, with credentials. Its last argument says whether to follow redirects.
        async_http_client: The same for an asynchronous client.
    """
    library = clients.Client.__module__.partition(".")[0]
    clients._get_authorized_http_client = in_place_of(
        clients._get_authorized_http_client, whose, functools.partial(http_client, library)
    )
    clients._get_authorized_async_http_client = in_place_of(
        clients._get_authorized_async_http_client, whose, functools.partial(async_http_client, library)
    )
