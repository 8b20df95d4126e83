"""The vector-search client of one user.

The package keeps one `requests` session (with its cookies) per thread for all callers, has no time-out, and copies the token
into every index. Here, each user's session has its own, behind the same fence as the SDK's client.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import TYPE_CHECKING, Any, cast

import requests
from databricks.ai_search import exceptions
from databricks.ai_search.async_index import AsyncAISearchIndex
from databricks.ai_search.client import AISearchClient
from databricks.ai_search.index import AISearchIndex
from databricks.ai_search.version import VERSION

from obo_kit._upstream.patches import ai_search
from obo_kit._upstream.retrievers import index_in
from obo_kit.clients._transport import attach
from obo_kit.identity._credentials import Leased, lease_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from obo_kit.identity._credentials import Lease

__all__: list[str] = []


class _Fenced:
    """The parts that the client and its indexes share."""

    _lease: Lease
    _obo_session: requests.Session

    @property
    def personal_access_token(self) -> str:
        """Return the current token, for code that reads it here. Nothing here keeps one."""
        return self._lease.credentials()[1]

    @personal_access_token.setter
    def personal_access_token(self, token: str) -> None:
        self.__dict__.pop("personal_access_token", None)

    def _get_token_for_request(self, *args: Any, **kwargs: Any) -> str:
        del args, kwargs
        self._lease.check()
        return ""  # the requests session authorizes each request itself

    def _issue_request(self, **kwargs: Any) -> Any:
        return _send(self._obo_session, self, **kwargs)

    def __copy__(self) -> Any:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


def _send(  # noqa: PLR0917 - keyword-only in practice: the package calls it so
    session: requests.Session,
    owner: Any,
    url: str,
    method: str,
    params: Any = None,
    json: Any = None,
    data: Any = None,
    headers: Any = None,
    **_unused: Any,
) -> Any:
    sent = {**(owner._request_headers() or {}), **(headers or {}), "X-Databricks-Python-SDK-Version": VERSION}
    response = session.request(method, url, params=params, json=json, data=data, headers=sent)
    if response.ok:
        return response.json()
    try:
        body = response.json()
    except ValueError:
        body = None
    details = body if isinstance(body, dict) else {}
    code, message = details.get("error_code"), details.get("message") or response.text
    raise _ERRORS.get(response.status_code, exceptions.AISearchException)(
        f"[{code}] {message}" if code else message or f"HTTP {response.status_code} error",
        status_code=response.status_code,
        response_content=response.content,
        **({"error_code": code, "details": details.get("details")} if _DETAILED else {}),
    )


# The errors that the package itself raises, by status. Whether they carry the platform's code depends on its version.
_ERRORS = {
    400: exceptions.BadRequest,
    403: exceptions.PermissionDenied,
    404: exceptions.NotFound,
    409: exceptions.ResourceConflict,
    429: exceptions.TooManyRequests,
}
_DETAILED = "error_code" in inspect.signature(exceptions.AISearchException.__init__).parameters


class UserVectorSearchIndex(
    _Fenced, AISearchIndex, Leased
):  # Leased comes last: existing indexes are turned into this class
    """An index that acts as one user until that user's session closes."""

    def similarity_search(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("disable_notice", True)  # it would print at every query that the token is a developer's
        return super().similarity_search(*args, **kwargs)


class UserAsyncVectorSearchIndex(AsyncAISearchIndex, Leased):
    """The same for ``async`` code. The package's own transport is one `httpx` client per event loop, cookies included."""

    async def _issue_request(self, **kwargs: Any) -> Any:
        return await asyncio.to_thread(self._sync._issue_request, **kwargs)


class UserVectorSearchClient(_Fenced, AISearchClient, Leased):
    """A vector-search client that acts as one user until that user's session closes."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        super().__init__(workspace_url=lease.host(), personal_access_token=lease.credentials()[1], disable_notice=True)
        self.fence(lease)

    def fence(self, lease: Lease) -> None:
        """Make this client and its indexes send as one user."""
        self._lease = lease
        self._obo_session = requests.Session()
        attach(self._obo_session, lease)
        self.personal_access_token = ""

    def _fetch_index_params(self, *args: Any, **kwargs: Any) -> Any:
        params = super()._fetch_index_params(*args, **kwargs)
        # Only a service principal's tokens are narrowed to the embedding endpoint. Looking it up for a user would cost a
        # request, outside the scopes of vector search.
        return {**params, "mlserving_endpoint_name": None, "mlserving_endpoint_name_for_query": None}

    def adopt(self, index: Any) -> Any:
        """Make an index act for this user, behind the session's fence."""
        index.__class__ = UserVectorSearchIndex
        index._lease, index._obo_session = self._lease, self._obo_session
        index.personal_access_token = ""  # it has copied the token
        return index

    def get_index(self, *args: Any, **kwargs: Any) -> Any:
        return self.adopt(super().get_index(*args, **kwargs))

    def create_direct_access_index(self, *args: Any, **kwargs: Any) -> Any:
        return self.adopt(super().create_direct_access_index(*args, **kwargs))

    def create_delta_sync_index(self, *args: Any, **kwargs: Any) -> Any:
        return self.adopt(super().create_delta_sync_index(*args, **kwargs))

    def get_async_index(self, *args: Any, **kwargs: Any) -> Any:
        index = super().get_async_index(*args, **kwargs)
        self.adopt(index._sync)
        index.__class__ = UserAsyncVectorSearchIndex
        return index


def vector_search_client(lease: Lease, get: Callable[[str], Any]) -> UserVectorSearchClient:
    """Build a vector-search client that acts as one user until that user's session closes."""
    del get
    return UserVectorSearchClient(lease)


def patch(module: Any) -> None:
    """Put clients that are built with a session's token behind the session's fence: retriever tools build their own."""
    ai_search.patch(module, _adopt)


def _adopt(client: Any) -> None:
    lease = lease_of(client.personal_access_token)
    if lease is not None:
        client.__class__ = UserVectorSearchClient
        client.fence(lease)


def copied_index(tool: object, lease: Lease) -> AISearchIndex | None:
    """Return the index in a retriever tool or vector store that copied this user's token when it was built."""
    index: Any = index_in(tool, AISearchIndex)
    if index is None or isinstance(index, _Fenced) or index.personal_access_token != lease.credentials()[1]:
        return None  # an agent may share an index among its users, with credentials of its own
    return cast("AISearchIndex", index)


patch(sys.modules[AISearchClient.__module__])
