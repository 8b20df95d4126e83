"""Report a failed tool to Strands, Google ADK, CrewAI, AutoGen and LlamaIndex, in each one's own form."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

__all__: list[str] = []


class ToolDeniedError(Exception):
    """Carries a denial's text to frameworks that read the text of a tool's exception."""


def answer(package: str, holder: Any, value: Any, error: Callable[[], Exception]) -> Any:
    """Return a denial's text in the framework's own form of an error. Return any other value: it is the tool's result.

    Raises:
        ToolDeniedError: The framework's form is an exception, whose text its model reads as it is.
    """
    del holder, error
    return _FORMS[package](value) if isinstance(value, str) else value


def _strands(text: str) -> Any:
    return {"status": "error", "content": [{"text": text}]}


def _adk(text: str) -> Any:
    return {"error": text}


def _crewai(text: str) -> Any:
    failure: Any = getattr(sys.modules.get("crewai.tools"), "ToolFailure", None)
    return text if failure is None else failure(message=text, retryable=False)


def _raised(text: str) -> Any:
    raise ToolDeniedError(text) from None


_FORMS: Final[dict[str, Callable[[str], Any]]] = {
    "strands": _strands,
    "google.adk": _adk,
    "crewai": _crewai,
    "autogen_core": _raised,
    "llama_index": _raised,
}
