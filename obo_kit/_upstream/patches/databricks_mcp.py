"""Patch the clients of `databricks_mcp`: they build their authentication themselves, and accept none.

Read in databricks-mcp 0.5 and 0.9.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from obo_kit._upstream.patches._mechanics import once

__all__: list[str] = []

MODULES = ("databricks_mcp.mcp", "databricks_mcp.oauth_provider")


@once
def patch(
    module: Any, flow_of: Callable[[str, Any], Callable[[Any], Any] | None], client_for: Callable[[str, Any], Any]
) -> None:
    """Make the package's objects authenticate as the session's user if they are built from a session's client.

    Args:
        module: One of `MODULES`, once it is loaded.
        flow_of: Returns the method of an `httpx.Auth` with this name, for a client; `None` leaves the client its own.
        client_for: Returns the client for a `DatabricksMCPClient`, from its server's address and the client that it received.
    """
    if hasattr(module, "DatabricksMCPClient"):
        _patch_client(module.DatabricksMCPClient, client_for)
    else:
        for name in ("async_auth_flow", "sync_auth_flow"):
            _patch_flow(module.DatabricksOAuthClientProvider, name, flow_of)


def _patch_flow(provider: Any, name: str, flow_of: Callable[[str, Any], Callable[[Any], Any] | None]) -> None:
    theirs = getattr(provider, name)

    @functools.wraps(theirs)
    def auth_flow(self: Any, request: Any) -> Any:
        flow = flow_of(name, self.databricks_token_storage.workspace_client)
        return theirs(self, request) if flow is None else flow(request)

    setattr(provider, name, auth_flow)


def _patch_client(client: Any, client_for: Callable[[str, Any], Any]) -> None:
    theirs = client.__init__

    @functools.wraps(theirs)
    def __init__(self: Any, server_url: str, workspace_client: Any = None, **settings: Any) -> None:
        theirs(self, server_url, client_for(server_url, workspace_client), **settings)

    client.__init__ = __init__
