"""The records of a request: the handler's view of it (`Call`), its result (`Answer`), and its route (`Api`)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.responses import Response

from obo_kit.testing._refusals import RefusedError

if TYPE_CHECKING:
    from obo_kit.testing.iam._directory import Caller
    from obo_kit.testing.server._scopes import Ask

__all__ = ["Answer", "Api", "Call", "Handler"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One authorized request, as a handler sees it.

    Attributes:
        caller: The sender; None on routes that need no token.
        method: HTTP method.
        path: Path without the query.
        params: Parts of the path, by name.
        query: Query parameters. If a name is repeated, the last one counts.
        headers: Request headers, by lower-case name.
        raw: The body.
        faults: The kinds of the faults that hit it.
    """

    caller: Caller | None
    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    faults: frozenset[str] = frozenset()

    @property
    def user(self) -> Caller:
        """Return the caller, on a route that needs a token."""
        assert self.caller is not None
        return self.caller

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raises RefusedError if it is not one; an empty body is an empty object."""
        if not self.raw:
            return {}
        try:
            body = json.loads(self.raw)
        except (ValueError, RecursionError):
            raise RefusedError("malformed", detail="Could not parse request object: invalid JSON") from None
        if not isinstance(body, dict):
            raise RefusedError("malformed", detail="Could not parse request object: not a JSON object")
        return body

    def text(self, body: Mapping[str, Any], name: str, default: str | None = None) -> str:
        """Return a text field of the body. Raises RefusedError if it is absent (and has no default) or is not text."""
        value = body.get(name)
        if value is None:
            value = default
        if not isinstance(value, str) or (default is None and not value):
            raise RefusedError("invalid_parameter", detail=f"{name} must be a non-empty string")
        return value


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result of a handler.

    Attributes:
        content: A JSON object, or a response that is ready to send (a stream).
        decision: The decision in the log, if the refusal travels as data.
        headers: Extra response headers.
    """

    content: dict[str, Any] | Response
    decision: str = "allowed"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler: TypeAlias = Callable[[Call], Answer] | Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, kw_only=True)
class Api:
    """One route.

    Attributes:
        method: HTTP method.
        path: Path, with names in braces.
        handler: Plain functions run in a worker thread unless they are ``quick``; coroutine functions on the loop.
        quick: Whether the handler only looks things up.
        open: Whether it needs no token.
        asks: The scopes that it asks for; by default those that the table has for its path.
        reason_header: A header that carries the text of a refusal, for clients that do not read the body.
        limit: How large a body may be, bytes.
        mcp_tool: Reads from a request which MCP tool it calls, for the log.
    """

    method: str
    path: str
    handler: Handler
    quick: bool = True
    open: bool = False
    asks: Ask | None = None
    reason_header: str | None = None
    limit: int = 16 * 1024 * 1024
    mcp_tool: Callable[[Call], str | None] | None = None
