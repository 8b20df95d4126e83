"""Read a refusal from an ordinary value (rule 16)."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, cast

from obo_kit._upstream import classes
from obo_kit._upstream.answers import code_of
from obo_kit._upstream.classes import is_a, package_of
from obo_kit.context._calls import Refusal
from obo_kit.denials._classify import REDIRECTS, Finding, classify
from obo_kit.denials._from_exceptions import GENIE, STATEMENTS

if TYPE_CHECKING:
    from obo_kit.denials._from_exceptions import Scene

__all__: list[str] = []

GENIE_FAILED = "Genie query failed with error: "
_FORMS = ("databricks", "databricks_ai_bridge", "mcp", "requests", "unitycatalog", "builtins")
_MAX_TEXT = 8000
_MAX_PARTS = 50


def of_value(value: object, scene: Scene) -> Finding | None:
    """Return the refusal that a value stands for. Only exact forms count, so a tool's prose is never taken for a refusal."""
    package, name, item = package_of(value), type(value).__name__, cast("Any", value)
    if package not in _FORMS or (package == "builtins" and not isinstance(value, (str, list))):
        return None
    if scene.seen and scene.seen[-1].status in REDIRECTS and _is_page(value):
        return classify(scene.seen[-1])
    if isinstance(value, str):
        return _of_genie_text(value, own=any(map(_of_genie, scene.seen)))
    if is_a(value, classes.GENIE_RESPONSE):
        return _of_genie_text(item.result, own=True) if isinstance(item.result, str) else None
    if is_a(value, classes.MCP_RESULT):
        return _of_mcp_result(item, scene)
    if is_a(value, classes.UC_RESULT):
        return _of_function(item.error)
    return _of_sdk_value(item, name) if type(value).__module__.startswith("databricks.sdk.service.") else None


def _of_genie(seen: Refusal) -> bool:
    return seen.status == 200 and (seen.path or "").startswith(GENIE)


def _of_function(error: object) -> Finding | None:
    return classify(Refusal(status=200, text=str(error)[:_MAX_TEXT], own=False)) if error else None


def _is_page(value: object) -> bool:
    if isinstance(value, str):
        return value[:100].lstrip()[:14].lower().startswith(("<!doctype html", "<html"))
    # A stream that is read from a page is empty.
    return value == [] or type(value).__name__ in ("HttpRequestResponse", "Response", "DownloadResponse")


def _of_mcp_result(result: Any, scene: Scene) -> Finding | None:
    if not (getattr(result, "isError", False) or getattr(result, "is_error", False)):
        return None
    parts = [str(getattr(part, "text", ""))[:_MAX_TEXT] for part in result.content[:_MAX_PARTS]]
    return classify(Refusal(status=200, text="\n".join(parts)[:_MAX_TEXT], own=scene.speaks_for_itself()))


def _of_genie_text(text: str, *, own: bool) -> Finding | None:
    """Read the text that `databricks_ai_bridge` makes of a failed message: its own words, then the error as Python code."""
    if not text.startswith(GENIE_FAILED) or len(text) > _MAX_TEXT:
        return None
    try:
        error = ast.literal_eval(text[len(GENIE_FAILED) :])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(error, dict):
        return None
    code, words = code_of(error.get("type")), str(error.get("error") or "")
    return classify(Refusal(status=200, error_code=code, text=words, path=GENIE, own=own))


def _of_sdk_value(item: Any, name: str) -> Finding | None:
    if name == "GenieGetMessageQueryResultResponse":
        item, name = item.statement_response, "StatementResponse"
    if name == "StatementResponse":
        status, path = getattr(item, "status", None), STATEMENTS
        error, state = getattr(status, "error", None), getattr(status, "state", None)
        code, text = getattr(error, "error_code", None), getattr(error, "message", "")
    elif name == "GenieMessage":
        status, state, error, path = None, item.status, item.error, GENIE
        code, text = getattr(error, "type", None), getattr(error, "error", "")
    else:
        return None
    if getattr(state, "value", None) != "FAILED" or error is None:
        return None
    return classify(
        Refusal(
            status=200,
            error_code=getattr(code, "value", None),
            text=str(text or "")[:_MAX_TEXT],
            sql_state=getattr(status, "sql_state", None),
            path=path,
        )
    )
