"""Detect where this process runs, and whether a person sits in front of it (rules 1 and 2)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

from obo_kit.exceptions import NoUserIdentityError

__all__: list[str] = []

_FALSE = frozenset({"", "0", "false", "no", "off"})
_SERVING = ("IS_IN_DB_MODEL_SERVING_ENV", "IS_IN_DATABRICKS_MODEL_SERVING_ENV")
# The first two are documented. The platform's own templates read the others (inferred).
_APP = ("DATABRICKS_APP_NAME", "DATABRICKS_APP_PORT", "DATABRICKS_APP_URL", "DATABRICKS_APP_ID")
# Variables that orchestrators and container hosts set.
_HOSTED = (
    "KUBERNETES_SERVICE_HOST",
    "K_SERVICE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "ECS_CONTAINER_METADATA_URI_V4",
    "WEBSITE_INSTANCE_ID",
    "CONTAINER_APP_NAME",
    "DYNO",
    "FLY_APP_NAME",
    "RENDER_SERVICE_ID",
    "RAILWAY_SERVICE_ID",
)

DeveloperKind = Literal["person", "machine"]


def in_model_serving() -> bool:
    """Return whether this is Databricks Model Serving. ``_MLFLOW_IS_IN_SERVING_ENVIRONMENT`` does not show it (rule 1)."""
    return any(os.environ.get(name, "").strip().lower() not in _FALSE for name in _SERVING)


def in_apps() -> bool:
    """Return whether this is a Databricks App."""
    return any(os.environ.get(name) for name in _APP)


def deployed_in() -> str | None:
    """Return where this agent is deployed, as far as the environment shows it; `None` on a laptop."""
    if in_model_serving():
        return "Model Serving"
    if in_apps():
        return "a Databricks App"
    if os.environ.get("DATABRICKS_RUNTIME_VERSION") and _serves():
        return "a cluster that serves requests"
    return "a container" if any(os.environ.get(name) for name in _HOSTED) else None


def serves_on_a_cluster() -> bool:
    """Return whether this is a cluster whose process serves requests. A notebook on a cluster serves none."""
    return bool(os.environ.get("DATABRICKS_RUNTIME_VERSION")) and _serves()


# Servers, by the beginnings of their modules. Read in uvicorn 0.54, aiohttp 3.14, hypercorn 0.18, tornado 6.6, streamlit 1.67
# and gevent 26; the others as documented.
_SERVERS = (
    "aiohttp.web",
    "cheroot.",
    "daphne.",
    "eventlet.wsgi",
    "gevent.baseserver",
    "gevent.pywsgi",
    "granian.",
    "gunicorn.",
    "http.server",
    "hypercorn.",
    "sanic.",
    "streamlit.web.",
    "tornado.http1connection",
    "tornado.httpserver",
    "tornado.web",
    "uvicorn.",
    "waitress.",
    "werkzeug.serving",
    "wsgiref.simple_server",
)
_LOCAL_WORKSPACE = "obo_kit.testing."


def _serves() -> bool:
    """Return whether this process runs a server: on a thread's stack, or in a task of a thread's event loop.

    Asked once per developer's session.
    """
    for top in sys._current_frames().values():
        modules: list[str] = []
        loop = None
        frame: Any = top
        while frame is not None:
            modules.append(str(frame.f_globals.get("__name__")))
            if frame.f_code.co_name == "run_forever":
                loop = frame.f_locals.get("self")
            frame = frame.f_back
        if any(module.startswith(_LOCAL_WORKSPACE) for module in modules):
            continue
        if any(module.startswith(_SERVERS) for module in (*modules, *_modules_of_tasks(loop))):
            return True
    return False


def _modules_of_tasks(loop: Any) -> Iterator[str]:
    """Yield the modules of what a loop's tasks wait in: a server that waits for requests is on no stack."""
    asyncio: Any = sys.modules.get("asyncio")
    if not isinstance(loop, getattr(asyncio, "AbstractEventLoop", ())):
        return
    for task in asyncio.all_tasks(loop):
        waiting = task.get_coro()
        while (frame := getattr(waiting, "cr_frame", None)) is not None:
            yield str(frame.f_globals.get("__name__"))
            waiting = waiting.cr_await


def somebody_is_there() -> bool:
    """Return whether a person sits at a terminal or a notebook of this process."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):  # no standard input, or a closed one
        return False


def developer_asked_for() -> DeveloperKind | None:
    """Return whose default credentials ``OBO_KIT_DEVELOPER`` selects when there is no user.

    Raises:
        NoUserIdentityError: The variable has an unknown value.
    """
    value = os.environ.get("OBO_KIT_DEVELOPER", "").strip().lower()
    if value in ("person", "machine"):
        return value  # type: ignore[return-value]
    if value in _FALSE:
        return None
    raise NoUserIdentityError(
        "OBO_KIT_DEVELOPER is neither 'person' nor 'machine'.",
        remedy="Set OBO_KIT_DEVELOPER=person to run an app on a laptop as yourself, OBO_KIT_DEVELOPER=machine to let a CI "
        "runner act as its service principal, or unset it.",
    )
