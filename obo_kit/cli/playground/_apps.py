"""Find the application in an app's file, serve it on loopback, and list the routes that answer questions."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

from obo_kit.exceptions import PolicyError
from obo_kit.policy._layout import page_framework
from obo_kit.testing.server._uvicorn import Server

__all__ = ["application_of", "refuse_pages", "routes_of", "served"]

_NAMES: Final = ("app", "server", "application", "asgi_app")
_PREFERRED: Final = ("POST /invocations", "POST /responses")
_WITHOUT_ANSWERS: Final = ("/docs", "/redoc", "/openapi")


def refuse_pages(path: str) -> None:
    """Refuse a file that draws a page, before it is loaded: some pages run while they are imported.

    Raises:
        PolicyError: The file uses Streamlit, Gradio, Dash, Shiny or Chainlit, and serves no routes of its own.
    """
    framework = page_framework(path)
    if framework is not None:
        raise PolicyError(
            f"'{path}' is a {framework} page. The playground asks agents and routes, and shows no pages.",
            remedy="Put the tools into a module of their own, and test them with the pytest plugin (as_user). To see the page "
            "as a user, run it against `obo-kit workspace --tokens`, with that user's token in X-Forwarded-Access-Token.",
        )


def application_of(module: Any, path: str) -> Any:
    """Return the application of a loaded file: ASGI (FastAPI, Starlette, MLflow's agent server) or Flask's WSGI.

    Raises:
        PolicyError: The file has none.
    """
    values = [getattr(module, name, None) for name in _NAMES] + list(vars(module).values())
    for value in values:
        for candidate in (value, getattr(value, "app", None)):
            if _is_asgi(candidate) or _is_flask(candidate):
                return candidate
    raise PolicyError(
        f"'{path}' holds no application that the playground can ask.",
        remedy="Name it 'app'. The playground runs logged models, FastAPI, Starlette, Flask, and MLflow's agent server.",
    )


def _is_asgi(app: object) -> bool:
    from starlette.applications import Starlette

    return isinstance(app, Starlette)


def _is_flask(app: object) -> bool:
    flask: Any = sys.modules.get("flask")
    return flask is not None and isinstance(app, flask.Flask)


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application on loopback for the block, and yield its address."""
    if _is_asgi(app):
        server = Server(app, lifespan="auto")
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.stop()
        return
    from werkzeug.serving import WSGIRequestHandler, make_server  # Flask brings it

    class Silent(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            """Print nothing: the page shows each request."""

    wsgi = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=wsgi.serve_forever, name="playground-wsgi", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{wsgi.server_port}"
    finally:
        wsgi.shutdown()
        wsgi.server_close()
        thread.join(5)


def routes_of(app: Any) -> tuple[str, ...]:
    """Return the routes of an application that answer questions: ``POST /invocations`` first, then the others."""
    routes = [
        f"{method} {path}"
        for path, methods in _paths(app)
        for method in sorted(methods)
        if method in ("GET", "POST") and not path.startswith(_WITHOUT_ANSWERS)
    ]
    return tuple(sorted(routes, key=lambda route: (route not in _PREFERRED, not route.startswith("POST"))))


def _paths(app: Any) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each path without a parameter, and its methods."""
    if _is_flask(app):
        for rule in app.url_map.iter_rules():
            if not rule.arguments and rule.endpoint != "static":
                yield rule.rule, frozenset(rule.methods or ())
        return
    for route in app.routes:
        if "{" not in route.path:
            yield route.path, frozenset(getattr(route, "methods", None) or ())
