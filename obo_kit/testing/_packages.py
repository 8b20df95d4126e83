"""The packages that the local workspace needs. The extra ``testing`` installs them."""

from __future__ import annotations

import importlib.util

from obo_kit.testing._kit import MissingExtraError

__all__ = ["check_packages"]

_PACKAGES = {
    "duckdb": "duckdb",
    "jwt": "pyjwt",
    "mcp": "mcp",
    "sklearn": "scikit-learn",
    "sqlglot": "sqlglot",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
}


def check_packages() -> None:
    """Check that all packages are installed. The ImportError names the missing ones."""
    missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        msg = f"The local workspace needs {', '.join(missing)}"
        raise MissingExtraError(msg, extra="testing")
