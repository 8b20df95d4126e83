"""Take each request in: apply faults, identify the caller, check the token's scopes, and log it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route

from obo_kit.testing._kit import TOOL_HEADER, corrected_route
from obo_kit.testing._refusals import SPEAKER, RefusedError
from obo_kit.testing.iam._directory import ExpiredTokenError
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._faults import Fault, Faults, fault_answer, send_faultily
from obo_kit.testing.server._log import RequestLog, RequestRecord
from obo_kit.testing.server._recorded import Recorded, RecordedSpeaker
from obo_kit.testing.server._scopes import Ask, ScopeWords, Words, asked_by

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from obo_kit.testing.iam._directory import Caller, Directory

__all__ = ["Gate", "missing_scope_key"]

_logger = logging.getLogger("obo_kit.testing")


@dataclass(kw_only=True)
class _Seen:
    """The gate's findings about a request so far."""

    caller: Caller | None = None
    decision: str = "allowed"
    needed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mcp_tool: str | None = None
    reason_header: str | None = None
    speaker: RecordedSpeaker | None = None
    faults: list[Fault] = field(default_factory=list)

    @property
    def fault_kinds(self) -> frozenset[str]:
        """Return the kinds of the faults that hit it."""
        return frozenset(fault.kind for fault in self.faults)

    def is_from(self, caller: Caller) -> None:
        """Record the caller."""
        self.caller = caller
        if self.speaker is not None:
            self.speaker.caller = caller

    def refuse(self, error: RefusedError) -> Response:
        self.decision, self.missing = error.refusal.decision, error.missing
        headers = dict(error.refusal.headers)
        if self.reason_header is not None:
            headers[self.reason_header] = _header_text(error.message)
        refusal = error.refusal
        return _shaped(
            error.body,
            error.message,
            refusal.form,
            status=refusal.status,
            content_type=refusal.content_type,
            headers=headers,
        )


class _Json(JSONResponse):
    """JSON in ASCII. It can carry any text that a request brought, lone surrogates included."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


_FORMS: Mapping[str, type[Response]] = {
    "json": _Json,
    "text": PlainTextResponse,
    "html": HTMLResponse,
}


def _shaped(
    body: Mapping[str, Any],
    text: str,
    form: str,
    *,
    status: int,
    content_type: str | None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an answer of a form: an object of JSON, a text or a page, or nothing."""
    if form == "empty":
        response = Response(status_code=status, headers=headers)
    else:
        kind = _FORMS.get(form, PlainTextResponse)
        response = kind(body if kind is _Json else text, status_code=status, headers=headers)
    if content_type not in (None, "<other>"):
        response.headers["content-type"] = str(content_type)
    return response


@functools.lru_cache(maxsize=1024)
def _route(method: str, path: str) -> Route:
    """Return what matches a path: nothing of a workspace is in it, so that each one need not compile it anew.

    Starlette only matches the path. The handler is called by the gate, with a Call instead of a Request.
    """
    return Route(path, _not_called, methods=[method])


class Gate:
    """The ASGI application. Lives as long as the workspace."""

    def __init__(self, directory: Directory, log: RequestLog, faults: Faults, threads: Callable[[], Executor]) -> None:
        self.latency = 0.0
        self.scope_words: ScopeWords = "json"
        self.recorded: Recorded | None = None
        self._directory = directory
        self._log = log
        self._threads = threads
        self._routes: list[tuple[Route, Api]] = []
        self._candidates = functools.lru_cache(maxsize=1024)(self._beginning)
        self._faults = faults

    def add(self, apis: Iterable[Api]) -> None:
        """Add routes."""
        for api in apis:
            asks = api.asks or asked_by(api.method, api.path)
            self._routes.append((_route(api.method, api.path), replace(api, asks=asks)))
        self._candidates.cache_clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        at, started = time.time(), time.perf_counter()
        request = Request(scope, receive)
        seen = _Seen()
        if self.recorded is not None:
            host = request.headers.get("host", "")
            seen.speaker = self.recorded.speaker(request.method, request.url.path, host)
        SPEAKER.set(seen.speaker)
        response: Response | None
        try:
            response = await self._answer(request, seen)
        except RefusedError as error:
            if isinstance(error, ExpiredTokenError):
                seen.caller = error.caller
            response = seen.refuse(error)
        except ClientDisconnect:
            return
        except Exception as error:
            _logger.exception("The local workspace failed to answer %s %s", request.method, request.url.path)
            response = seen.refuse(RefusedError("internal", error=type(error).__name__))
        if seen.caller is not None and response is not None:
            response.set_cookie("local_user", quote(seen.caller.principal.name, safe=""))
        status = response.status_code if response is not None else 0
        await _until(started + self.latency)
        self._log._add(_record(request, seen, status, at, time.perf_counter() - started))
        if response is None or seen.faults:
            await send_faultily(response, seen.faults, scope, receive, send)
        else:
            await response(scope, receive, send)

    async def _answer(self, request: Request, seen: _Seen) -> Response | None:
        path = request.url.path
        api, params = self._match(request.scope)
        seen.reason_header = api.reason_header if api is not None else None
        if api is None or not api.open:
            seen.is_from(self._directory.authenticate(request.headers.get("authorization")))
        seen.faults = self._faults.take(path, seen.caller.principal.name if seen.caller else None)
        replacing = await self._suffer(seen)
        if replacing is not None:
            seen.decision = "fault"
            return None if replacing.kind == "reset" else fault_answer(replacing, path, self._directory.workspace_id)
        asks = api.asks if api is not None else asked_by(request.method, path)
        _check_scopes(asks, request, seen, self.scope_words)
        if seen.speaker is not None:
            seen.speaker.check_served(request.method)
        if api is None:
            shape = seen.speaker.shape() if seen.speaker is not None else None
            if shape is None:
                raise RefusedError("no_such_api", method=request.method, path=path)
            # The workspace has this API, and its content was not recorded.
            return _shaped({}, "", shape.form, status=shape.status, content_type=shape.content_type)
        call = Call(
            caller=seen.caller,
            method=request.method,
            path=path,
            params=params,
            query=request.query_params,
            headers={name.lower(): value for name, value in request.headers.items()},
            raw=await _read(request, api.limit),
            faults=seen.fault_kinds,
        )
        if api.mcp_tool is not None:
            seen.mcp_tool = api.mcp_tool(call)
        answer = await self._run(api, call)
        seen.decision = answer.decision
        response = answer.content if isinstance(answer.content, Response) else _Json(answer.content)
        response.headers.update(answer.headers)
        return response

    async def _suffer(self, seen: _Seen) -> Fault | None:
        """Apply the faults in order. Return the one that is the answer, if any."""
        for fault in seen.faults:
            if fault.kind == "latency":
                await asyncio.sleep(fault.seconds or 0)
            elif fault.kind == "expired_token":
                if seen.caller is not None:
                    self._directory.expire(seen.caller)
                    raise ExpiredTokenError(seen.caller)
            elif fault.replaces:
                return fault
        return None

    async def inner(self, call: Call, method: str, path: str, raw: bytes) -> Answer:
        """Answer another request as part of one, for the same caller. It needs no token or scopes, and is not logged."""
        api, params = self._match({"type": "http", "method": method, "path": path, "root_path": ""})
        if api is None:
            raise RefusedError("no_such_api", method=method, path=path)
        return await self._run(api, replace(call, method=method, path=path, params=params, query={}, raw=raw))

    def _match(self, scope: Scope) -> tuple[Api | None, Mapping[str, str]]:
        for route, api in self._candidates(scope["method"], *scope["path"].split("/")[1:4]):
            match, child = route.matches(scope)
            if match is Match.FULL:
                return api, cast("Mapping[str, str]", child.get("path_params", {}))
        return None, {}

    def _beginning(self, method: str, *start: str) -> tuple[tuple[Route, Api], ...]:
        """Return the routes that a path with these first segments may have, in order."""
        return tuple(
            (route, api)
            for route, api in self._routes
            if method in (route.methods or ())
            and all(
                part == segment or "{" in part for part, segment in zip(api.path.split("/")[1:4], start, strict=False)
            )
        )

    async def _run(self, api: Api, call: Call) -> Answer:
        if inspect.iscoroutinefunction(api.handler):
            return cast("Answer", await api.handler(call))
        handler = cast("Callable[[Call], Answer]", api.handler)
        if api.quick:
            return handler(call)
        loop = asyncio.get_running_loop()
        if SPEAKER.get() is None:
            return await loop.run_in_executor(self._threads(), handler, call)
        # The thread refuses in the words of the request, too.
        context = contextvars.copy_context()
        return await loop.run_in_executor(self._threads(), lambda: context.run(handler, call))


async def _until(moment: float) -> None:
    """Wait for a time of `time.perf_counter`. The event loop's clock ticks in milliseconds, so the last one is polled."""
    while (left := moment - time.perf_counter()) > 0:
        await asyncio.sleep(max(0.0, left - 0.0015))


def _header_text(text: str) -> str:
    return text.partition("\n")[0].encode("latin-1", "replace").decode("latin-1")


def _not_called(request: Request) -> Response:
    raise AssertionError(request.url.path)


async def _read(request: Request, limit: int) -> bytes:
    """Read the body. Refuse one that is too large before it fills the memory."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise RefusedError("too_large", limit=str(limit))
        chunks.append(chunk)
    return b"".join(chunks)


# The refusal for a missing scope, by its wording.
_WORDS: Mapping[str, str] = {
    "json": "missing_scope",
    "text": "missing_scope_text",
    "bare": "missing_scope_bare",
    "pat": "missing_scope_token",
    "invalid": "missing_gateway_scope",
}
_METADATA = ("/api/2.1/unity-catalog/tables", "/api/2.1/unity-catalog/functions")


def _check_scopes(asks: Ask | None, request: Request, seen: _Seen, words: ScopeWords) -> None:
    path = request.url.path
    if seen.caller is None:
        return
    known, asks = asks, seen.speaker.asks(asks) if seen.speaker is not None else asks
    # What was seen on a workspace counts before what a project's file says of all of them.
    corrected = corrected_route(request.method, path) if asks is known else None
    if corrected is not None:
        seen.needed, missing = corrected(seen.caller.scopes)
    elif asks is not None:
        seen.needed, missing = asks.needed, asks.missing(seen.caller.scopes)
    else:
        return
    if missing:
        key = missing_scope_key(path, asks.words if asks is not None else "json", missing, words)
        raise RefusedError(key, scopes=", ".join(missing), missing=missing)


def missing_scope_key(path: str, here: Words, missing: tuple[str, ...], words: ScopeWords) -> str:
    """Return the name of the refusal of a token without scopes.

    Args:
        path: What was asked for.
        here: How its surface was reported to word it.
        missing: The scopes that the token lacks.
        words: How the workspace words it; see ``LocalWorkspace.missing_scope_words``.
    """
    spoken = here if words == "reported" or here in {"invalid", "pat"} else words
    key = _WORDS[spoken]
    if here == "invalid" and missing != ("ai-gateway",):
        key = _WORDS["json" if words == "reported" else words]
    return "missing_scope_uc" if key == "missing_scope" and path.startswith(_METADATA) else key


def _record(request: Request, seen: _Seen, status: int, at: float, seconds: float) -> RequestRecord:
    who = seen.caller.principal if seen.caller else None
    return RequestRecord(
        user=who.name if who else None,
        kind=who.kind if who else None,
        method=request.method,
        path=request.url.path,
        status=status,
        scopes_held=seen.caller.scopes if seen.caller else None,
        scopes_needed=seen.needed,
        scopes_missing=seen.missing,
        decision=seen.decision,
        fault=", ".join(fault.kind for fault in seen.faults) or None,
        tool=unquote(request.headers.get(TOOL_HEADER, "")) or None,
        connection=f"{request.client.host}:{request.client.port}" if request.client else "",
        seconds=seconds,
        user_agent=request.headers.get("user-agent", ""),
        cookies=cookie_parser(request.headers.get("cookie", "")),
        at=at,
        mcp_tool=seen.mcp_tool,
        recorded=seen.speaker is not None and seen.speaker.used,
    )
