"""A workspace on loopback, to run your own agent as several users before you deploy it.

It is a stand-in. The clients that talk to it over HTTP are the real ones, and so are its engines (DuckDB, scikit-learn,
MLflow). Its answers are documented by Databricks, reported by somebody, or inferred. Each refusal is marked with which of the
three it is.

Needs the extra ``testing``: ``pip install "obo-kit[testing]"``. Importing this package loads none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obo_kit.testing._kit import reset_process_state
    from obo_kit.testing.config import ConfigError
    from obo_kit.testing.iam._directory import ServicePrincipal
    from obo_kit.testing.runtimes import AppRuntime, ModelServingRuntime
    from obo_kit.testing.server._log import RequestLog, RequestRecord
    from obo_kit.testing.services._genie_records import GenieAnswer
    from obo_kit.testing.serving._deployments import Deployment, InvocationError
    from obo_kit.testing.workspace import LocalWorkspace

__all__ = [
    "AppRuntime",
    "ConfigError",
    "Deployment",
    "GenieAnswer",
    "InvocationError",
    "LocalWorkspace",
    "ModelServingRuntime",
    "RequestLog",
    "RequestRecord",
    "ServicePrincipal",
    "reset_process_state",
]

_HOMES = {
    "AppRuntime": "runtimes",
    "ConfigError": "config",
    "Deployment": "serving._deployments",
    "GenieAnswer": "services._genie_records",
    "InvocationError": "serving._deployments",
    "LocalWorkspace": "workspace",
    "ModelServingRuntime": "runtimes",
    "RequestLog": "server._log",
    "RequestRecord": "server._log",
    "ServicePrincipal": "iam._directory",
    "reset_process_state": "_kit",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import importlib

    if name == "LocalWorkspace":
        from obo_kit.testing._packages import check_packages

        check_packages()

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
