"""Answer what objects ask a workspace while they are built, in the process that collects an agent file without a workspace.

A retriever tool looks up its index, a Genie agent its space and a chat page its endpoint, before anybody calls them. They get
an answer that is the same for every index, space and endpoint. Nothing is sent.
"""

from __future__ import annotations

import inspect
import io
import json
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from obo_kit.policy._endpoints import DECLARE
from obo_kit.policy._layout import STAND_IN

__all__: list[str] = []

_INDEX: Final = re.compile(r"/api/2\.0/vector-search/(?:endpoints/[^/]+/)?indexes/([^/]+)/?")
_ENDPOINT: Final = re.compile(r"/api/2\.0/serving-endpoints/([^/]+)/?")
_SPACE: Final = re.compile(r"/api/2\.0/genie/spaces/([^/]+)/?")


def describe(uncounted: list[tuple[str, str]]) -> None:
    """Answer for the host that stands in for a workspace, from now on.

    Args:
        uncounted: Receives what only a workspace could tell, and what to do about it.
    """
    from requests import Response
    from requests.adapters import HTTPAdapter

    # Every session calls it through the class, whoever made the session.
    send: Callable[..., Response] = HTTPAdapter.send

    def answered(self: HTTPAdapter, request: Any, *args: Any, **kwargs: Any) -> Response:
        url = urlsplit(str(request.url))
        answer = (
            _described(unquote(url.path), uncounted) if url.hostname == STAND_IN and request.method == "GET" else None
        )
        if answer is None:
            return send(self, request, *args, **kwargs)
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
        return {"name": endpoint[1], "task": "llm/v1/chat", "state": {"ready": "READY"}}
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
