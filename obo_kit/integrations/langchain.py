"""LangChain's tool objects, as the kit's decorators see them.

A denied tool answers as a failed tool of LangChain does: with a `ToolMessage` with ``status="error"``, or with its text if it
was called without a tool call. A fallback that is not text is the tool's result.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a
from obo_kit._utils.extras import MissingExtraError
from obo_kit.integrations._retriever import retriever_of
from obo_kit.integrations._schema import without
from obo_kit.session._session import RUN_FUNCTIONS
from obo_kit.tools._adapters import attribute, listing, method
from obo_kit.tools._spec import ToolObject

try:
    from langchain_core.tools import BaseTool, ToolException
except ImportError as missing:
    raise MissingExtraError("Tools of LangChain need langchain-core", extra="langchain") from missing

if TYPE_CHECKING:
    from obo_kit.session._session import UserSession
    from obo_kit.tools._spec import ToolSpec

__all__: list[str] = []


def tool_object(target: Any) -> ToolObject:
    """Return the decorators' view of a tool, or of an object that makes or holds tools."""
    tool_name = str(getattr(target, "name", None) or type(target).__name__)
    if not isinstance(target, BaseTool):
        return _of_client(target, tool_name)
    shape = functools.partial(_answer_of, target)
    if hasattr(target, "func"):
        entries = [
            attribute(target, name, shape) for name in ("func", "coroutine") if getattr(target, name) is not None
        ]
    else:
        own = [name for name in ("_run", "_arun") if getattr(type(target), name) is not getattr(BaseTool, name)]
        entries = [method(target, name, shape) for name in own]
    return ToolObject(
        target=target,
        name=tool_name,
        entries=entries,
        takes_clients=not is_a(target, classes.UC_LANGCHAIN_TOOL),
        copy_for=retriever_of if is_a(target, classes.RETRIEVER) else None,
        instead=RUN_FUNCTIONS,
        finish=functools.partial(_finish, target),
    )


def _of_client(client: Any, name: str) -> ToolObject:
    ours = any(_has_provider(connection) for connection in client.connections.values())
    return ToolObject(
        target=client,
        name=name,
        entries=(listing(client, "get_tools"),),
        makes_tools=True,
        copy_for=_client_of if ours else None,
        instead="none of its servers has a WorkspaceClient; make them with DatabricksMCPServer",
    )


def _has_provider(connection: Any) -> bool:
    return is_a(connection.get("auth"), classes.DATABRICKS_MCP_PROVIDER)


def _client_of(client: Any, session: UserSession) -> Any:
    """Return a client of the same servers. A server without a client for the workspace keeps its settings."""
    copied = copy.copy(client)
    copied.connections = {
        name: {**connection, "auth": type(connection["auth"])(session.client)}
        if _has_provider(connection)
        else connection
        for name, connection in client.connections.items()
    }
    return copied


def _finish(tool: Any, spec: ToolSpec) -> None:
    if spec.fallback is not None:
        _answer_denials(tool)
    if spec.injection is None:
        return
    vars(tool).pop("_injected_args_keys", None)  # LangChain caches what it found in the signature
    tool.description = spec.injection.without_entries(tool.description)
    tool.args_schema = without(tool.args_schema, spec.injection.names)


# --- denials --------------------------------------------------------------------------------------------------------------


class _Denied(ToolException):
    """Carries a denial to the tool's own handler."""


class _Handler:
    """A tool's ``handle_tool_error``. A denial's text passes before it unchanged; LangChain marks both as errors."""

    def __init__(self, previous: Any) -> None:
        self._previous = previous

    def __bool__(self) -> bool:
        # LangChain asks this while it handles an exception: a tool that raises its own errors must keep raising them.
        return bool(self._previous) or isinstance(sys.exc_info()[1], _Denied)

    def __call__(self, error: Exception) -> Any:
        if isinstance(error, _Denied):
            return error.args[0]
        if callable(self._previous):
            return self._previous(error)
        if isinstance(self._previous, str):
            return self._previous
        return error.args[0] if error.args else "Tool execution error"


def _answer_denials(tool: Any) -> None:
    """Make a tool, and copies of it, answer with a denial's text."""
    if not isinstance(tool.handle_tool_error, _Handler):
        tool.handle_tool_error = _Handler(tool.handle_tool_error)


def _answer_of(tool: Any, value: Any) -> Any:
    """Return a denied tool's answer to LangChain. Any value other than text is its result.

    Raises:
        ToolException: The text. Only the tool knows the id of the call that its message answers, and only an exception marks
            that message as an error.
    """
    if isinstance(value, str):
        _answer_denials(tool)
        raise _Denied(value) from None
    pair = tool.response_format == "content_and_artifact" and not isinstance(value, tuple)
    return (value, None) if pair else value


def answer(package: str, holder: Any, value: Any, error: Callable[[], Exception]) -> Any:
    """Answer LangChain, which calls a denied function through a tool of its own."""
    del package, error
    return _answer_of(holder, value) if isinstance(holder, BaseTool) else value
