"""Serve the page: only to this machine's browser, only to the page itself, and only with the token in its address."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

__all__ = ["page_of"]

_FILES: Final = {"": "page.html", "page.css": "page.css", "page.js": "page.js", "icon.svg": "icon.svg"}
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MOST: Final = 200_000  # the maximum size of a request, in bytes
# The page loads nothing from elsewhere, cannot be framed, is not stored, and does not reveal its address.
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Shown(Protocol):
    """The source of the page's contents: a `Playground`, whose methods say more."""

    def state(self) -> dict[str, Any]:
        """Return what the page shows before the first question."""
        ...

    def drawing(self) -> str:
        """Return the policy as SVG."""
        ...

    def ask(self, user: str, scopes: Iterable[str], question: str, route: str = "") -> Iterator[dict[str, Any]]:
        """Ask the agent."""
        ...

    def change_grant(self, principal: str, privilege: str, kind: str, name: str, *, held: bool) -> dict[str, Any]:
        """Grant or revoke a privilege."""
        ...


def page_of(playground: Shown, token: str) -> Any:
    """Return the ASGI application of a playground.

    Args:
        playground: The source of the page's contents.
        token: The first part of every path. Requests without it get a 404.
    """
    actions = _Actions(playground)
    return _Guard(
        Starlette(
            routes=[
                Mount(
                    "/{token}",  # which the guard has compared
                    routes=[
                        *(Route(f"/{path}", _file(name)) for path, name in _FILES.items()),
                        Route("/policy.svg", actions.drawing),
                        Route("/api/state", actions.state),
                        Route("/api/ask", actions.ask, methods=["POST"]),
                        Route("/api/grant", actions.grant, methods=["POST"]),
                    ],
                )
            ]
        ),
        token,
    )


class _Guard:
    """Refuses requests that do not come from the page: another host name, another page's origin, or no token."""

    def __init__(self, app: Starlette, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {name.encode(): value.encode() for name, value in _HEADERS.items()}
                message["headers"] = [*((k, v) for k, v in message["headers"] if k not in own), *own.items()]
            await send(message)

        refused = self._refused(Request(scope))
        await (self._app if refused is None else refused)(scope, receive, with_headers)

    def _refused(self, request: Request) -> Response | None:
        port = request.scope["server"][1]
        hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        host = request.headers.get("host", "")
        if host not in hosts:  # a page of another name for this machine would share our origin
            return PlainTextResponse("This page answers to 127.0.0.1 and localhost only.", 421)
        first = request.url.path.split("/")[1]
        if not secrets.compare_digest(first.encode(), self._token.encode()):
            return PlainTextResponse("Not found. Open the address that obo-kit playground printed.", 404)
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return PlainTextResponse("Requests from another page are not answered.", 403)
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return PlainTextResponse("Requests from another page are not answered.", 403)
        if request.method == "POST":
            if request.headers.get("content-type") != "application/json":  # a form on another page cannot send this
                return PlainTextResponse("Send JSON.", 415)
            if not 0 < int(request.headers.get("content-length") or 0) <= _MOST:
                return PlainTextResponse(f"Send at most {_MOST} bytes.", 413)
        return None


def _file(name: str) -> Any:
    path = Path(__file__).with_name(name)
    kind = _TYPES[path.suffix]

    async def served(_: Request) -> Response:
        return Response(path.read_bytes(), media_type=kind)

    return served


class _Actions:
    def __init__(self, playground: Shown) -> None:
        self._playground = playground

    async def state(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._playground.state))

    async def drawing(self, _: Request) -> Response:
        return Response(self._playground.drawing(), media_type="image/svg+xml")

    async def ask(self, request: Request) -> Response:
        body = await request.json()
        try:
            lines = self._playground.ask(
                str(body["user"]), list(map(str, body["scopes"])), str(body["question"]), str(body.get("route") or "")
            )
            return StreamingResponse(_json_lines(lines), media_type="application/x-ndjson")
        except (KeyError, TypeError, ValueError) as error:
            return _mistake(error)

    async def grant(self, request: Request) -> Response:
        body = await request.json()
        try:
            words = [str(body[name]) for name in ("principal", "privilege", "kind", "name")]
            return JSONResponse(self._playground.change_grant(*words, held=bool(body["held"])))
        except (KeyError, TypeError, ValueError) as error:
            return _mistake(error)


def _json_lines(lines: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for line in lines:
        yield json.dumps(line, default=str).encode() + b"\n"


def _mistake(error: Exception) -> Response:
    return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)
