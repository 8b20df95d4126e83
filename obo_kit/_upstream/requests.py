"""Which framework serves the request that runs here, by what it keeps for the request or the thread.

Read in streamlit 1.40 to 1.52, gradio 5, flask 3, anyio 4 with fastapi 0.115 to 0.121, mcp 1 and 2.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any

__all__: list[str] = []


def serving_framework() -> str | None:
    """Return the framework whose request, callback or worker thread this is; `None` where none can be told."""
    for name, serves in (("streamlit", _streamlit), ("gradio", _gradio), ("flask", _flask), ("mcp", _mcp)):
        with contextlib.suppress(Exception):  # another version keeps it elsewhere
            if serves():
                return name
    if "fastapi" in sys.modules and "AnyIO worker thread" in threading.current_thread().name:
        return "fastapi"
    return None


def _streamlit() -> bool:
    runner: Any = sys.modules.get("streamlit.runtime.scriptrunner_utils.script_run_context")
    return runner is not None and runner.get_script_run_ctx(suppress_warning=True) is not None


def _gradio() -> bool:
    context: Any = sys.modules.get("gradio.context")
    return context is not None and context.LocalContext.blocks.get(None) is not None


def _flask() -> bool:
    flask: Any = sys.modules.get("flask")
    return flask is not None and bool(flask.has_request_context() or flask.has_app_context())


def _mcp() -> bool:
    server: Any = sys.modules.get("mcp.server.lowlevel.server")
    return server is not None and server.request_ctx.get(None) is not None
