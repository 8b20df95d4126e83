"""Send one user's requests to MCP servers through the fence and the guard, and keep refusals.

Every MCP client of the Databricks packages authenticates by a `DatabricksOAuthClientProvider` that it builds from the
`WorkspaceClient` it receives. That provider copies the token, looks for an authorization server after a 401, and leaves the
body of a refusal unread. If it is built from a session's client, it follows `flow` instead.
"""

from __future__ import annotations

import contextlib
import functools
import json
from typing import TYPE_CHECKING, Any, cast

import anyio.to_thread
from mcp.client.auth import OAuthClientProvider

from obo_kit._upstream.errors import SEAL
from obo_kit._upstream.patches import databricks_mcp, mcp
from obo_kit._upstream.texts import is_login
from obo_kit.clients._apps import is_known, trusts_app
from obo_kit.clients._patches import patch_clients
from obo_kit.clients._pipeline import begin, refuse_foreign, without_frames
from obo_kit.context._calls import TOOL_HEADER
from obo_kit.context._frame import FRAME, current_evidence
from obo_kit.identity._credentials import lease_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    from obo_kit.identity._credentials import Lease

__all__: list[str] = []

# The class of the library that the installed `mcp` uses: `httpx`, or its successor `httpx2` from `mcp` 2 on.
Auth: Any = next(base for base in OAuthClientProvider.__mro__ if base.__name__ == "Auth")

_MAX_BODY = 2000


def sync_flow(lease: Lease, request: Any) -> Generator[Any, Any, None]:
    """Authenticate one request, as the `sync_auth_flow` of an `httpx.Auth` does: see `flow`."""
    with _authorized(lease, request) as exchange:
        response = yield request
    exchange.close(response, response.read() if response.status_code >= 400 else None)


async def flow(lease: Lease, request: Any) -> AsyncGenerator[Any, Any]:
    """Authenticate one request, as the `async_auth_flow` of an `httpx.Auth` does.

    The request holds the token only while it is under way. Errors and answers hold a request without it (rule 8).

    Raises:
        SessionClosedError: The session has ended. With this and the other errors, nothing is sent.
        TokenExpiredError: The token has expired, and the runtime has no new one of the same user.
        ScopeViolationError: The tool called an API outside the scopes that it declares.
    """
    url = str(request.url)
    if not lease.closed and not is_known(lease, url):
        await anyio.to_thread.run_sync(trusts_app, lease, url)  # sends a request to the workspace
    with _authorized(lease, request) as exchange:
        response = yield request
    exchange.close(response, await response.aread() if response.status_code >= 400 else None)


@contextlib.contextmanager
def _authorized(lease: Lease, request: Any) -> Iterator[_McpExchange]:
    exchange = _McpExchange(lease, request)
    try:
        refuse_foreign(lease, exchange.url)
        request.headers.update(exchange.headers())
        yield exchange
    except GeneratorExit:  # no answer came; a flow does not learn why
        exchange.abandon()
        raise
    except BaseException as error:
        raise without_frames(error)  # noqa: B904 - the error itself
    finally:
        _without_token(request)


def _without_token(request: Any) -> None:
    for name in ("Authorization", TOOL_HEADER):
        request.headers.pop(name, None)


class _McpExchange:
    """One message to an MCP server, and its outcome."""

    def __init__(self, lease: Lease, request: Any) -> None:
        self._request = request
        self.url = str(request.url)
        self._exchange = begin(lease, request.method, self.url)
        self._evidence = current_evidence()
        if self._evidence is not None and request.method == "POST":
            self._evidence.mcp_path = request.url.path if self._exchange.own else None

    def headers(self) -> dict[str, str]:
        """Return the user's headers."""
        return self._exchange.headers()

    def abandon(self) -> None:
        """Record that no answer came."""
        if self._request.method == "POST":
            self._exchange.fail("no answer", sent=True)
            if self._evidence is not None:
                self._evidence.last = None

    def close(self, response: Any, content: bytes | None) -> None:
        """Record the answer, and keep what `mcp` would lose of a refusal."""
        if content is not None:
            # The library has no way to replace a body that was read.
            content = response._content = self._exchange.told(content)
        evidence, answers = self._evidence, [*response.history, response]
        for each in answers:  # a redirect inside the workspace takes the token along
            _without_token(each.request)
        before = evidence.refusals[-1] if evidence is not None and evidence.refusals else None
        # If one of the followed redirects led to the sign-in page, that redirect is the answer, not the page.
        answer = next((each for each in response.history if is_login(each.headers.get("location"))), response)
        self._exchange.record(answer.status_code, answer.headers, None if content is None else lambda: content)
        if evidence is not None and self._request.method == "POST":
            latest = evidence.refusals[-1] if evidence.refusals else None
            evidence.last = latest if latest is not before else None
        if content is not None:
            _keep(self._request, response, content, own=self._exchange.own)
        elif is_login(answer.headers.get("location")):
            # `mcp` before 1.30 logs that it cannot read the page, and then waits forever.
            answer.raise_for_status()


def _keep(request: Any, response: Any, content: bytes, *, own: bool) -> None:
    """Make `mcp` 2 keep a refusal.

    It raises the same error for every refusal, without status or body. But it passes on a JSON-RPC error. So the refusal is
    rewritten as one, with the code and the message that `mcp` gives it. A 404 stays as it is: it has another meaning to `mcp`.
    """
    if Auth.__module__.partition(".")[0] == "httpx" or response.status_code == 404:
        return
    question, answer = _parsed(request.content), _parsed(content)
    if "id" not in question or "jsonrpc" in answer:
        return
    error = {
        "code": -32603,
        "message": "Server returned an error response",
        "data": {
            "obo_kit": {
                "seal": SEAL,
                "own": own,
                "status": response.status_code,
                "path": request.url.path,
                "body": content[:_MAX_BODY].decode("utf-8", "replace"),
            }
        },
    }
    response.headers["content-type"] = "application/json"
    response._content = json.dumps({"jsonrpc": "2.0", "id": question["id"], "error": error}).encode()


def _parsed(content: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(content)
        if isinstance(body, dict):
            return cast("dict[str, Any]", body)
    return {}


class Bearer(Auth):  # type: ignore[misc]
    """Authenticates an MCP client's requests as one user, until that user's session closes."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        patch_clients()

    def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        return flow(self._lease, request)

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        return sync_flow(self._lease, request)


_FLOWS = {"async_auth_flow": flow, "sync_auth_flow": sync_flow}


def patch(module: Any) -> None:
    """Make clients of `databricks_mcp` follow `flow` if they were built from a session's client. Others stay as they are."""
    if module.__name__ in mcp.MODULES:
        mcp.patch(module, FRAME)
    else:
        databricks_mcp.patch(module, _flow_of, _without_headers)


def _flow_of(name: str, workspace_client: Any) -> Callable[[Any], Any] | None:
    lease = lease_of(workspace_client)
    return functools.partial(_FLOWS[name], lease) if lease is not None else None


def _without_headers(server_url: str, workspace_client: Any) -> Any:
    lease = lease_of(workspace_client)
    if lease is None:
        return workspace_client
    refuse_foreign(lease, server_url)
    # After an error, it would ask the server again by itself, with the token and past the guard.
    return workspace_client.without_headers()
