"""Find the requests that calls of a client's methods send, and the scopes that open them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._vocabulary import BUILT_ON, SESSION, TOKEN, Value, argument, last
from obo_kit.analysis.sdk._methods import scopes_for
from obo_kit.scopes._lookup import Verdict, route_for, route_verdict

if TYPE_CHECKING:
    from obo_kit.scopes._lookup import Route

__all__ = ["Requests", "Use", "opened_by_any", "requests_of", "use_of"]

_INDEX: Final = "/api/2.0/vector-search/indexes/{}"
_ENDPOINTS: Final = "/api/2.0/vector-search/endpoints"
_MODELS: Final = "/serving-endpoints"
_GENIE: Final = (("POST", "/api/2.0/genie/spaces/{}/start-conversation"),)
_SEARCH: Final = (("GET", _INDEX), ("POST", f"{_INDEX}/query"))
# The requests of clients other than the SDK's, by class and attribute path; an empty path means building or using it.
_REQUESTS: Final[Mapping[tuple[str, str], tuple[tuple[str, str], ...]]] = {
    ("VectorSearchClient", "get_index"): (("GET", _INDEX),),
    ("VectorSearchClient", "get_async_index"): (("GET", _INDEX),),
    ("VectorSearchClient", "index_exists"): (("GET", _INDEX),),
    ("VectorSearchClient", "delete_index"): (("DELETE", _INDEX),),
    ("VectorSearchClient", "get_endpoint"): (("GET", f"{_ENDPOINTS}/{{}}"),),
    ("VectorSearchClient", "list_endpoints"): (("GET", _ENDPOINTS),),
    ("VectorSearchIndex", "describe"): (("GET", _INDEX),),
    ("VectorSearchIndex", "similarity_search"): (("POST", f"{_INDEX}/query"),),
    ("VectorSearchIndex", "scan"): (("POST", f"{_INDEX}/scan"),),
    ("VectorSearchIndex", "upsert"): (("POST", f"{_INDEX}/upsert-data"),),
    ("VectorSearchIndex", "delete"): (("DELETE", f"{_INDEX}/delete-data"),),
    ("DatabricksOpenAI", "chat.completions.create"): (("POST", f"{_MODELS}/chat/completions"),),
    ("DatabricksOpenAI", "completions.create"): (("POST", f"{_MODELS}/completions"),),
    ("DatabricksOpenAI", "embeddings.create"): (("POST", f"{_MODELS}/embeddings"),),
    ("DatabricksOpenAI", "responses.create"): (("POST", f"{_MODELS}/responses"),),
    ("VectorSearchRetrieverTool", ""): _SEARCH,
    ("DatabricksVectorSearch", ""): _SEARCH,
    ("ChatDatabricks", ""): (("POST", f"{_MODELS}/chat/completions"),),
    ("Genie", ""): _GENIE,
    ("GenieAgent", ""): _GENIE,
}
_SAME: Final = {"AISearchClient": "VectorSearchClient", "AsyncDatabricksOpenAI": "DatabricksOpenAI"}
# The argument that holds an MCP client's address.
_ADDRESS: Final = {"DatabricksMCPClient": "server_url", "DatabricksMCPServer": "url", "McpServer": "url"} | {
    "McpServerToolkit": "url"
}
# Class methods that build an MCP server's address, and the arguments that they build it from.
_ADDRESS_OF: Final = {
    "from_uc_function": "/api/2.0/mcp/functions/{}/{}",
    "from_vector_search": "/api/2.0/mcp/vector-search/{}/{}",
}
Requests: TypeAlias = "tuple[tuple[str, str], ...] | None"


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """One use of the user's client.

    Attributes:
        place: The call, in the tool's own file.
        title: What is called, for people.
        routes: What it reaches; ``None`` if that is not known in full.
    """

    place: ast.Call
    title: str
    routes: tuple[Route, ...] | None

    def missing(self, held: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what certainly lacks: scopes that are all needed, and scopes of which any one is enough."""
        needed: dict[str, None] = {}
        choice: dict[str, None] = {}
        for route in self.routes or ():
            if opened_by_any(route):
                continue
            answer, lacking = route_verdict(route, held)
            if answer is Verdict.MISSING:
                needed |= dict.fromkeys(lacking if route.all_of else lacking[:1])
                choice |= dict.fromkeys(lacking)
        return tuple(needed), tuple(choice)


def opened_by_any(route: Route) -> bool:
    """Return whether nearly any scope opens a route, as with the user's own entry: every user's token holds one."""
    return len(route.any_of) + len(route.doubtful) > 20


def use_of(place: ast.Call, requests: Requests, title: str) -> Use:
    """Return what requests reach, limited to routes that the catalogue knows."""
    routes = None if requests is None else [route_for(*request) for request in requests]
    known = tuple(route for route in routes or () if route is not None)
    return Use(place=place, title=title, routes=None if routes is None or len(known) < len(routes) else known)


def requests_of(module: Module, value: Value, call: ast.Call) -> Requests:
    """Return the requests of a call; ``None`` if they are not known."""
    if value.what == "WorkspaceClient":
        return _of_workspace(module, value, call)
    if value.what in (SESSION, TOKEN):
        return ()
    if value.what in _ADDRESS and not value.path:
        return _of_address(module, value, call)
    built = value.what in BUILT_ON
    if built and not value.path and value.what.endswith(("OpenAI", "Provider")):
        return ()
    if built and value.path and not value.what.endswith("OpenAI"):
        return ()  # its requests were recorded when it was built
    return _REQUESTS.get((_SAME.get(value.what, value.what), ".".join(value.path).removesuffix(".stream")))


def _of_workspace(module: Module, value: Value, call: ast.Call) -> Requests:
    name = ".".join(value.path)
    if name == "api_client.do":
        method, path = (module.text_of(argument(call, at, key)) for at, key in enumerate(("method", "path")))
        return ((method, path),) if method and path and path.startswith("/") else None
    sent = scopes_for(name)
    return None if sent is None else tuple((item.request.method, item.request.path) for item in sent)


def _of_address(module: Module, value: Value, call: ast.Call) -> Requests:
    composed = _ADDRESS_OF.get(last(module.dotted(call.func)))
    address = composed or module.text_of(argument(call, 0, _ADDRESS[value.what]))
    path = re.search(r"/api/2\.0/mcp/.*", address) if address else None
    return (("POST", path[0]),) if path else None
