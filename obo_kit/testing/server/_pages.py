"""Lists that come page by page."""

from __future__ import annotations

import re
from typing import Any

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.server._api import Answer, Call

__all__ = ["page"]


def page(call: Call, key: str, entries: list[dict[str, Any]], *, size: str = "max_results") -> Answer:
    """Return a page of a list, by the query parameters ``page_token`` and ``max_results`` (or the name in ``size``)."""
    length, start = call.query.get(size) or "0", call.query.get("page_token") or "0"
    if not re.fullmatch(r"\d{1,6}", length) or not re.fullmatch(r"\d{1,9}", start):
        raise RefusedError("invalid_parameter", detail=f"{size} is a number, page_token comes from the page before")
    end = int(start) + int(length) if int(length) else len(entries)
    content: dict[str, Any] = {key: entries[int(start) : end]}
    if end < len(entries):
        content["next_page_token"] = str(end)
    return Answer(content=content)
