"""Find the framework that serves the current request, by the state that it keeps for the request or the thread.

Read in streamlit 1.65 and 1.67, gradio 6.31, flask 3.1, fastapi 0.162 and 0.165, anyio 4.14 and 4.16, mcp 1.10, 1.24 and 1.30.
The second major version of `mcp` keeps nothing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any

__all__: list[str] = []


def serving_framework() -> str | None:
    """Return the framework whose request, callback or worker thread this is; `None` if it cannot be told."""
    for name, serves in (("streamlit", _streamlit), ("gradio", _gradio), ("flask", _flask), ("mcp", _mcp)):
        with contextlib.suppress(Exception):  # another version keeps the state elsewhere
            if serves():
                return name
    if "fastapi" in sys.modules and "AnyIO worker thread" in threading.current_thread().name:
        return "fastapi"
    return None


def graph_step() -> tuple[str, ...] | None:
    """Return a name of the current step of a LangGraph run, which is the same when the run is resumed; `None` if there is
    none. Read in langgraph 1.2."""
    config: Any = sys.modules.get("langchain_core.runnables.config")
    run = config.var_child_runnable_config.get() if config is not None else None
    settings = (run or {}).get("configurable") or {}
    step = tuple(settings.get(name) for name in ("thread_id", "checkpoint_ns", "__pregel_task_id"))
    return tuple(str(part) for part in step) if None not in step else None


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
