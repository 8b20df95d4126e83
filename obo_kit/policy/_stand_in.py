"""Answer what objects ask a workspace while they are built, in the process that collects an agent file.

A retriever tool looks up its index, a Genie agent its space and a chat page its endpoint, before anybody calls them. Without a
workspace, they get an answer that is the same for every index, space and endpoint, and nothing is sent. A workspace that does
not answer is given up after seconds: the SDK would try for five minutes.
"""

from __future__ import annotations

import inspect
import io
import json
import re
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from obo_kit.exceptions import PolicyError
from obo_kit.policy._endpoints import DECLARE
from obo_kit.policy._layout import STAND_IN

__all__: list[str] = []

_INDEX: Final = re.compile(r"/api/2\.0/vector-search/(?:endpoints/[^/]+/)?indexes/([^/]+)/?")
_ENDPOINT: Final = re.compile(r"/api/2\.0/serving-endpoints/([^/]+)/?")
_SPACE: Final = re.compile(r"/api/2\.0/genie/spaces/([^/]+)/?")
_PATIENCE: Final = 5.0  # seconds: for a connection, and for new attempts after one that failed
_ANSWER: Final = 15.0  # seconds until a description begins to come


def describe(uncounted: list[tuple[str, str]]) -> None:
    """Answer for the host that stands in for a workspace, and give up hosts that do not answer, from now on.

    Args:
        uncounted: Receives what only a workspace could tell, and what to do about it.
    """
    from requests import RequestException, Response
    from requests.adapters import HTTPAdapter

    # Every session calls it through the class, whoever made the session.
    send: Callable[..., Response] = HTTPAdapter.send
    silent: dict[str, float] = {}

    def sent(self: HTTPAdapter, host: str, request: Any, *args: Any, **kwargs: Any) -> Response:
        begun = time.monotonic()
        if begun - silent.get(host, begun) > _PATIENCE:
            raise PolicyError(
                f"The file sends a request to {host} while it is loaded, and {host} does not answer.",
                remedy="Build what sends the request inside the user's request. Or check the host and the network; to collect "
                "without a workspace, unset DATABRICKS_HOST and its credentials.",
            )
        if isinstance(timeout := kwargs.get("timeout"), (int, float)):
            kwargs["timeout"] = (min(timeout, _PATIENCE), min(timeout, _ANSWER) if request.method == "GET" else timeout)
        try:
            response = send(self, request, *args, **kwargs)
        except RequestException:
            silent.setdefault(host, begun)
            raise
        silent.pop(host, None)
        return response

    def answered(self: HTTPAdapter, request: Any, *args: Any, **kwargs: Any) -> Response:
        url = urlsplit(str(request.url))
        answer = (
            _described(unquote(url.path), uncounted) if url.hostname == STAND_IN and request.method == "GET" else None
        )
        if answer is None:
            return sent(self, url.netloc.rpartition("@")[2], request, *args, **kwargs)
        response = Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response.headers["Content-Type"] = "application/json"
        response.raw = io.BytesIO(json.dumps(answer).encode())
        return response

    HTTPAdapter.send = answered  # type: ignore[method-assign]


def _described(path: str, uncounted: list[tuple[str, str]]) -> dict[str, Any] | None:
    if (space := _SPACE.fullmatch(path)) is not None:
        return {"space_id": space[1], "title": space[1], "description": ""}
    if (endpoint := _ENDPOINT.fullmatch(path)) is not None:
        return {
            "name": endpoint[1],
            "task": "llm/v1/chat",
            "state": {"ready": "READY"},
            "config": {"served_entities": []},
        }
    index = _INDEX.fullmatch(path)
    if index is None:
        return None
    note = (
        f"the index '{index[1]}' may embed questions with an endpoint of its own, which only a workspace tells",
        DECLARE,
    )
    if note not in uncounted:
        uncounted.append(note)
    return _index(index[1], of_its_own_vectors=_names_a_text_column())


def _index(name: str, *, of_its_own_vectors: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": name,
        "endpoint_name": "stand-in",
        "primary_key": "id",
        "status": {"ready": True, "index_url": f"{STAND_IN}/api/2.0/vector-search/indexes/{name}"},
    }
    if of_its_own_vectors:
        return {**described, "index_type": "DIRECT_ACCESS", "direct_access_index_spec": {}}
    source = {"source_table": name, "embedding_source_columns": [{"name": "text"}]}
    return {**described, "index_type": "DELTA_SYNC", "delta_sync_index_spec": source}


def _names_a_text_column() -> bool:
    """Check whether a tool that is being built names the text column, as a tool for an index of your own vectors does."""
    frame = inspect.currentframe()
    while frame is not None:
        if getattr(frame.f_locals.get("self"), "text_column", None) or frame.f_locals.get("text_column"):
            return True
        frame = frame.f_back
    return False
