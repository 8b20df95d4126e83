"""Servers of MCP that call a tool: `mcp`'s own, and those of `fastmcp`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from obo_kit._upstream.servers import TOOL_ERRORS

__all__: list[str] = []


def answer(package: str, holder: Any, value: Any, error: Callable[[], Exception]) -> Any:
    """Raise the server's own error with a denial's text; return any other value, which is the tool's result.

    Raises:
        Exception: The server's ``ToolError``. The text is shown even where the server masks the details of errors.
    """
    del holder, error
    module = next((sys.modules[name] for name in TOOL_ERRORS[package] if name in sys.modules), None)
    if module is None or not isinstance(value, str):
        return value
    raise module.ToolError(value) from None
