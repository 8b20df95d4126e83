"""Read a refusal from an exception: what each client leaves of one (rule 16)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from obo_kit import exceptions as errors
from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a, package_of
from obo_kit._upstream.errors import MAX_DEPTH, kept_of, leaves_of, status_of
from obo_kit._upstream.texts import AGENTS_STATUS, GENIE_FAILED, is_login
from obo_kit.context._calls import Refusal
from obo_kit.denials._classify import REDIRECTS, Finding, classify, code_of, parsed
from obo_kit.exceptions import DenialReason

__all__: list[str] = []

_R = DenialReason
# The SDK's errors carry no status, and their class is chosen by the code before the status.
_SDK_STATUS = {"Unauthenticated": 401, "PermissionDenied": 403, "NotFound": 404, "BadRequest": 400}
# What the SDK appends to a refusal; it names the host and the client id.
CONFIG_TAIL = re.compile(r"\.? ?(?:Config: \w+=|Env: [A-Z_]+).*\Z", re.DOTALL)
_GENIE = "/api/2.0/genie/"
_MCP = "/api/2.0/mcp/"
_OURS = (_MCP, "/serving-endpoints/", "/ai-gateway/")


def of_exception(error: BaseException, evidence: Sequence[Refusal], depth: int) -> Finding | None:
    if depth > MAX_DEPTH:
        return None
    if isinstance(error, errors.OboError):
        return _of_own(error)
    for read in (_from_login, _from_sdk, _from_waiter, _from_reader, _from_mcp, _from_http):
        refusal = read(error, evidence)
        if refusal is not None:
            return classify(refusal)
    leaves = leaves_of(error)
    if not leaves:
        return of_exception(error.__cause__, evidence, depth + 1) if error.__cause__ is not None else None
    found = [of_exception(leaf, evidence, depth + 1) if leaf is not None else None for leaf in leaves]
    return found[0] if all(found) else None


def _of_own(error: errors.OboError) -> Finding | None:
    if isinstance(error, errors.AccessDeniedError):
        denial = error.denial
        return Finding(
            reason=denial.reason,
            refusal=Refusal(status=denial.status, error_code=denial.error_code, text=denial.detail),
            name=denial.resource,
            remedy=denial.remedy,
        )
    for kind, reason in (
        (errors.NoUserIdentityError, _R.NO_IDENTITY),
        (errors.TokenExpiredError, _R.TOKEN_EXPIRED),
        (errors.MissingScopeError, _R.MISSING_SCOPE),
        (errors.ScopeViolationError, _R.SCOPE_VIOLATION),
    ):
        if isinstance(error, kind):
            scopes = tuple(getattr(error, "scopes", ()))
            return Finding(
                reason=reason, refusal=Refusal(status=None, text=error.message), scopes=scopes, remedy=error.remedy
            )
    return None  # a mistake in the program, not a refusal


def _from_sdk(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    if not is_a(error, classes.SDK_ERROR):
        return None
    text, code = CONFIG_TAIL.sub("", str(error)), code_of(getattr(error, "error_code", None))
    # The class was chosen by the code before the status, so that it does not prove the status: the wire does.
    status = next((_SDK_STATUS[base.__name__] for base in type(error).__mro__ if base.__name__ in _SDK_STATUS), None)
    return _seen(evidence, code=code, text=text) or Refusal(status=status, error_code=code, text=text)


def _from_waiter(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    """A failed Genie message: the SDK's waiter, and the bridge to LangChain, drop the reason; only the wire knows it."""
    failed = is_a(error, classes.OPERATION_FAILED) and GENIE_FAILED.pattern.search(str(error))
    if not failed and not (isinstance(error, KeyError) and _raised_in(error) == "databricks_ai_bridge.genie"):
        return None
    return next(
        (seen for seen in reversed(evidence) if seen.status == 200 and (seen.path or "").startswith(_GENIE)), None
    )


def _from_reader(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    """The SDK stumbles over a refusal in plain text where it had sent a stream."""
    if isinstance(error, TypeError) and evidence and _raised_in(error).startswith("databricks.sdk.logger"):
        return evidence[-1]
    return None


def _raised_in(error: BaseException) -> str:
    """The module that raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""


def _from_login(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    """A sign-in page in place of an answer, which is no JSON."""
    if not is_a(error, classes.JSON_DECODE_ERROR) and status_of(error) not in REDIRECTS:
        return None
    if evidence and evidence[-1].status in REDIRECTS:
        return evidence[-1]
    location = getattr(getattr(error, "response", None), "headers", {}).get("location", "")
    path = urlsplit(str(getattr(getattr(error, "request", None), "url", ""))).path
    if status_of(error) in REDIRECTS and is_login(location) and path.startswith(_MCP):
        return Refusal(status=302, path=path, location=location)
    return None


def _from_mcp(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    """What the MCP clients leave of a refusal."""
    if is_a(error, classes.UNSUPPORTED_PROTOCOL):
        # After a 401 the client looks for an authorization server, at an address without a host.
        path = str(getattr(getattr(error, "_request", None), "url", ""))
        return Refusal(status=401) if path.endswith("/.well-known/oauth-protected-resource") else None
    if is_a(error, classes.AGENTS_ERROR):
        status = AGENTS_STATUS.pattern.search(str(error))
        return _last_of(evidence, int(status[1])) if status is not None else None
    if is_a(error, classes.LANGCHAIN_MCP_ERROR):  # a result that says it is an error
        return Refusal(status=200, text=str(error))
    if not is_a(error, classes.MCP_ERROR):
        return None
    kept = kept_of(error)
    if kept is not None:
        return replace(parsed(kept["body"]), status=kept["status"], method="POST", path=kept["path"])
    told = getattr(error, "error", None)
    code, text = getattr(told, "code", None), getattr(told, "message", "")
    if code == -32600 and str(text).startswith("Redirect to "):
        return _last_of(evidence, *REDIRECTS)
    # A 404 (32600 in `mcp` 1, -32601 or -32600 in `mcp` 2).
    if (code, text) in ((32600, "Session terminated"), (-32600, "Session terminated"), (-32601, "Not Finding")):
        seen = _last_of(evidence, 404)
        if seen is not None:
            return seen
        if _in_handshake(error):  # nothing was begun yet that could have been terminated
            return Refusal(status=404, error_code="NOT_FOUND", text="", path=_MCP)
    return None


def _last_of(evidence: Sequence[Refusal], *statuses: int) -> Refusal | None:
    """The latest refusal of an MCP server: for errors that tell its status and no more."""
    return next((seen for seen in reversed(evidence) if seen.status in statuses and _of_mcp(seen.path)), None)


def _of_mcp(path: str | None) -> bool:
    return (path or "").startswith(_MCP)


def _in_handshake(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name == "initialize" and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("mcp."):
            return True
        trace = trace.tb_next
    return False


def _from_http(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    """An HTTP client's error. It may come from any host: it counts where it is shaped as the platform's answers are, or
    where the kit's own clients saw it."""
    status, response = status_of(error), getattr(error, "response", None)
    if status is None:
        return None
    if package_of(error) == "databricks":
        code, text = code_of(getattr(error, "error_code", None)), str(error)
        if code is None:  # an older vector-search client leaves it in the body
            body = getattr(error, "response_content", None)
            code = parsed(body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)).error_code
        return _seen(evidence, code=code, text=text, status=status) or Refusal(
            status=status, error_code=code, text=text
        )
    text = _body_of(response)
    answer = parsed(text)
    path = urlsplit(str(getattr(getattr(error, "request", None), "url", ""))).path
    seen = _seen(evidence, code=answer.error_code, text=text, status=status, path=path)
    if seen is not None:
        return seen
    if answer.error_code is None and not path.startswith(_OURS):
        return None
    # The MCP clients read no body of a refusal, and some bodies are no JSON: those paths are Databricks' own.
    return replace(answer, status=status, method=getattr(getattr(error, "request", None), "method", None), path=path)


def _body_of(response: Any) -> str:
    try:
        return str(response.text)
    except Exception:  # a stream that nobody read
        return ""


def _seen(
    evidence: Sequence[Refusal], *, code: str | None, text: str, status: int | None = None, path: str | None = None
) -> Refusal | None:
    """The latest refusal on the wire that an exception tells of.

    Either text may hold the other: a client may add words of its own, or pick the message out of the body.
    """
    for seen in reversed(evidence):
        if seen.status in (200, *REDIRECTS) or (status is not None and seen.status != status):
            continue
        if (path is not None and seen.path != path) or (seen.error_code is not None and seen.error_code != code):
            continue
        words, told = _words(seen.text) or _phrase(seen.status), _words(text)
        if words == told or not (seen.text or told) or (words and words[:200] in told) or (told and told in words):
            return seen
    return None


def _words(text: str) -> str:
    return " ".join(text.replace("\n< ", " ").split())


def _phrase(status: int | None) -> str:
    """What clients say of an answer without a body."""
    try:
        return HTTPStatus(status or 0).phrase
    except ValueError:
        return ""
