"""MCP clients that act for the user.

The clients of the Databricks packages need nothing from here: `DatabricksMCPClient`, `McpServerToolkit`,
`databricks_openai.agents.McpServer`, `DatabricksMCPServer` and `DatabricksOAuthClientProvider` act for the user if you pass
them ``session.client``. `bearer` is for a client of `mcp` itself::

    async with streamablehttp_client(url, auth=bearer(session)) as (read, write, _): ...  # mcp 1

    async with httpx2.AsyncClient(auth=bearer(session)) as http:  # mcp 2
        async with Client(streamable_http_client(url, http_client=http)) as client: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from obo_kit._utils.extras import MissingExtraError

if TYPE_CHECKING:
    from obo_kit.session._session import UserSession

__all__ = ["bearer"]


def bearer(session: UserSession) -> Any:
    """Authenticate an MCP client as the session's user, until the session closes.

    The token is read for each request. It goes to the user's own workspace and to Databricks apps
    (``https://….databricksapps.com``), and to no other host. A tool is narrowed to the scopes that it declares. A refusal
    keeps its status and body, for `obo_kit.explain`.

    Args:
        session: An open session.

    Returns:
        An `Auth` of the library that the installed `mcp` uses: ``httpx`` with `mcp` 1, ``httpx2`` with `mcp` 2. Once the
        session has closed, a request with it raises `SessionClosedError` and sends nothing.

    Raises:
        SessionClosedError: The session has closed.
        ImportError: `mcp` is not installed.
    """
    try:
        from obo_kit.clients import Bearer
    except ImportError as missing:
        raise MissingExtraError("bearer needs an extra", extra="mcp") from missing
    session._lease.check()
    return Bearer(session._lease)
