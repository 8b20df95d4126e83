"""Answer denials to MCP servers that call a tool: `mcp`'s own servers, and those of `fastmcp`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from obo_kit._upstream.servers import TOOL_ERRORS

__all__: list[str] = []


def answer(package: str, holder: Any, value: Any, error: Callable[[], Exception]) -> Any:
    """Raise the server's own error with a denial's text. Return any other value: it is the tool's result.

    Raises:
        Exception: The server's ``ToolError``. The server shows its text even if it masks the details of other errors.
    """
    del holder, error
    module = next((sys.modules[name] for name in TOOL_ERRORS[package] if name in sys.modules), None)
    if module is None or not isinstance(value, str):
        return value
    raise module.ToolError(value) from None
