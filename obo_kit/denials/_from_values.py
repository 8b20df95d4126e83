"""Read a refusal from an ordinary value (rule 16)."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, cast

from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a, package_of
from obo_kit.context._calls import Refusal
from obo_kit.denials._classify import REDIRECTS, Finding, classify, code_of

__all__: list[str] = []

_GENIE_FAILED = "Genie query failed with error: "
_FORMS = ("databricks", "databricks_ai_bridge", "mcp", "requests", "unitycatalog", "builtins")


def of_value(value: object, evidence: Sequence[Refusal]) -> Finding | None:
    """Values count only in these exact forms, so that a tool's prose about errors is never taken for a refusal."""
    package, name, known = package_of(value), type(value).__name__, cast("Any", value)
    if package not in _FORMS or (package == "builtins" and not isinstance(value, (str, list))):
        return None
    if evidence and evidence[-1].status in REDIRECTS and _is_page(value):
        return classify(evidence[-1])
    if isinstance(value, str):
        return _of_genie_text(value)
    if is_a(value, classes.GENIE_RESPONSE):
        return _of_genie_text(known.result) if isinstance(known.result, str) else None
    if is_a(value, classes.MCP_RESULT):
        if not (getattr(known, "isError", False) or getattr(known, "is_error", False)):
            return None
        text = "\n".join(str(getattr(one, "text", "")) for one in known.content)
        return classify(Refusal(status=200, text=text))
    if is_a(value, classes.UC_RESULT):
        return classify(Refusal(status=200, text=str(known.error))) if known.error else None
    return _of_sdk_value(known, name) if type(value).__module__.startswith("databricks.sdk.service.") else None


def _is_page(value: object) -> bool:
    if isinstance(value, str):
        return value.lstrip()[:14].lower().startswith(("<!doctype html", "<html"))
    # A stream that is read from a page is empty.
    return value == [] or type(value).__name__ in ("HttpRequestResponse", "Response", "DownloadResponse")


def _of_genie_text(text: str) -> Finding | None:
    """`databricks_ai_bridge` makes a text of a failed message: its own words, then the error as Python writes it."""
    if not text.startswith(_GENIE_FAILED):
        return None
    try:
        error = ast.literal_eval(text[len(_GENIE_FAILED) :])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(error, dict):
        return None
    return classify(Refusal(status=200, error_code=code_of(error.get("type")), text=str(error.get("error") or "")))


def _of_sdk_value(known: Any, name: str) -> Finding | None:
    if name == "GenieGetMessageQueryResultResponse":
        known, name = known.statement_response, "StatementResponse"
    if name == "StatementResponse":
        status = getattr(known, "status", None)
        error, state = getattr(status, "error", None), getattr(status, "state", None)
        code, text = getattr(error, "error_code", None), getattr(error, "message", "")
    elif name == "GenieMessage":
        status, state, error = None, known.status, known.error
        code, text = getattr(error, "type", None), getattr(error, "error", "")
    else:
        return None
    if getattr(state, "value", None) != "FAILED" or error is None:
        return None
    sql_state = getattr(status, "sql_state", None)
    return classify(Refusal(status=200, error_code=getattr(code, "value", None), text=text or "", sql_state=sql_state))
