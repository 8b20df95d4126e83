"""LangChain's tool objects, as the kit's decorators see them.

A denied tool answers as LangChain has a failed tool answer: a `ToolMessage` with ``status="error"``, or its text where the
tool was called without a tool call. A fallback that is no text is the tool's result.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, create_model

from obo_kit._objects import ToolObject, attribute, listing, method

if TYPE_CHECKING:
    from obo_kit._tool import ToolSpec

__all__: list[str] = []


class ToolDeniedError(ToolException):
    """The answer of a tool in place of a denial, on its way through LangChain."""


class _Handler:
    """What a tool does with its own `ToolException`, and with a denial."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __bool__(self) -> bool:
        # Asked while an exception is handled: a tool that raises its own goes on raising them.
        return bool(self._own) or isinstance(sys.exc_info()[1], ToolDeniedError)

    def __call__(self, error: ToolException) -> Any:
        if isinstance(error, ToolDeniedError):
            return error.args[0]
        if callable(self._own):
            return self._own(error)
        return self._own if isinstance(self._own, str) else (error.args[0] if error.args else "Tool execution error")


def hold(target: Any) -> ToolObject:
    """A tool, or what makes or holds tools."""
    name = str(getattr(target, "name", None) or type(target).__name__)
    if not isinstance(target, BaseTool):
        if hasattr(target, "get_tools"):
            return ToolObject(target=target, name=name, entries=(listing(target, "get_tools"),), makes_tools=True)
        return ToolObject(target=target, name=name, items=target.tools)
    says = functools.partial(_says, target)
    if hasattr(target, "func"):
        entries = [attribute(target, one, says) for one in ("func", "coroutine") if getattr(target, one) is not None]
    else:
        own = [one for one in ("_run", "_arun") if getattr(type(target), one) is not getattr(BaseTool, one)]
        entries = [method(target, one, says) for one in own]
    return ToolObject(
        target=target,
        name=name,
        entries=entries,
        takes_clients=True,
        settle=functools.partial(_settle, target),
    )


def _says(tool: BaseTool, value: Any) -> Any:
    if isinstance(value, str):
        raise ToolDeniedError(value) from None
    whole = isinstance(value, tuple) and len(value) == 2
    return (value, None) if tool.response_format == "content_and_artifact" and not whole else value


def _settle(tool: Any, spec: ToolSpec) -> None:
    if spec.fallback is not None and not isinstance(tool.handle_tool_error, _Handler):
        tool.handle_tool_error = _Handler(tool.handle_tool_error)
    if spec.injection is None:
        return
    vars(tool).pop("_injected_args_keys", None)  # LangChain keeps what it found in the signature
    tool.description = spec.injection.without_entries(tool.description)
    tool.args_schema = _without(tool.args_schema, spec.injection.names)


def _without(schema: Any, hidden: frozenset[str]) -> Any:
    """A tool's schema without the injected parameters, which its framework took for the model's."""
    if isinstance(schema, dict):
        shown = {name: one for name, one in schema.get("properties", {}).items() if name not in hidden}
        needed = [name for name in schema.get("required", ()) if name not in hidden]
        return {**schema, "properties": shown, "required": needed}
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)) or hidden.isdisjoint(schema.model_fields):
        return schema
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in schema.model_fields.items() if name not in hidden
    }
    return create_model(schema.__name__, __config__=schema.model_config, __doc__=schema.__doc__, **fields)
