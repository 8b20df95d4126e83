"""What the servers under test serve. Their workers import it, each in a process of its own."""

from __future__ import annotations

import os
import sys
import types
from contextvars import ContextVar
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from obo_kit import user_session, with_user_client
from obo_kit.integrations.asgi import UserHeadersMiddleware


@with_user_client
def whoami(client) -> str:
    return client.current_user.me().user_name


@user_session
def answer(request: Request) -> JSONResponse:
    return JSONResponse({"worker": os.getpid(), "who": [whoami(), whoami()]})


app = Starlette(routes=[Route("/", answer)], middleware=[Middleware(UserHeadersMiddleware)])


def wsgi() -> Any:
    from flask import Flask, request

    server = Flask(__name__)

    @server.get("/")
    @user_session(headers=lambda: request.headers)
    def ask() -> dict[str, Any]:
        return {"worker": os.getpid(), "who": [whoami(), whoami()]}

    return server


async def scoring(scope: Any, receive: Any, send: Any) -> None:
    """MLflow's scoring server, behind a stand-in for the layer of Model Serving that knows the invoker's token."""
    from mlflow.pyfunc.scoring_server.app import app as server

    if scope["type"] == "http":
        tokens = [value.decode() for name, value in scope["headers"] if name == b"x-invoker"]
        INVOKER.set(tokens[0] if tokens else None)
    await server(scope, receive, send)


INVOKER: ContextVar[str | None] = ContextVar("invoker", default=None)
for part in ("mlflowserving", "mlflowserving.scoring_server", "mlflowserving.scoring_server.agent_utils"):
    sys.modules[part] = types.ModuleType(part)
sys.modules[part].fetch_obo_token = INVOKER.get  # type: ignore[attr-defined]
