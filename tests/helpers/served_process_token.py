"""MLflow's scoring server where the invoker's token is in one slot of the process, as `databricks-ai-bridge` reads it there."""

from __future__ import annotations

import threading
from typing import Any


async def scoring(scope: Any, receive: Any, send: Any) -> None:
    """A stand-in for the layer of Model Serving that fills the slot: the last request's token is everybody's."""
    from mlflow.pyfunc.scoring_server.app import app as server

    if scope["type"] == "http":
        tokens = [value.decode() for name, value in scope["headers"] if name == b"x-invoker"]
        threading.main_thread().__dict__["invokers_token"] = tokens[0] if tokens else None
    await server(scope, receive, send)
