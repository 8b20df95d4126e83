"""Refusals, explained: which of them an exception or a value is, and who can mend it (rules 15 to 18).

All matching on message texts is in one table, `TEXTS`, in a module of its own.
"""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from obo_kit import exceptions as errors
from obo_kit._upstream.errors import MAX_DEPTH, is_a, kept_of, leaves_of, package_of, status_of, tells_nothing
from obo_kit._upstream.texts import AGENTS_STATUS, GENIE_FAILED, TEXTS, DenialReason, is_login
from obo_kit.context._calls import Refusal
from obo_kit.context._frame import FRAME
from obo_kit.denials._remedies import USER_MESSAGES, Found, route_of, scope_remedy, user_remedy
from obo_kit.scopes._lookup import catalogue, route_verdict

if TYPE_CHECKING:
    from obo_kit.context._calls import ToolCall
    from obo_kit.scopes._lookup import ResourceKind
    from obo_kit.session._entry import UserSession

__all__ = ["Denial", "DenialReason", "explain", "rewrite_denials"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Denial:
    """A refusal, explained to three readers. Safe to print; holds no token.

    Attributes:
        reason: Why.
        tool: The tool that was refused, where one was running.
        resource: The name of what was refused, where it is known.
        scopes: The missing scopes, all of them, sorted.
        principal: The user who was refused, where it is known.
        status: The HTTP status, where there was one; 200 for a refusal that came as an ordinary value.
        error_code: The platform's code.
        user_message: For the model and the user: no host, no client id, no resource name.
        detail: For logs: the platform's own words.
        remedy: For the person who can mend it.
    """

    reason: DenialReason
    tool: str | None = None
    resource: str | None = None
    scopes: tuple[str, ...] = ()
    principal: str | None = None
    status: int | None = None
    error_code: str | None = None
    user_message: str
    detail: str
    remedy: str

    def error(self) -> errors.OboError:
        """The refusal as an exception, for a tool that found it in a value: ``raise denial.error()``."""
        if self.reason is DenialReason.NO_IDENTITY:
            return errors.NoUserIdentityError(self.detail, remedy=self.remedy)
        if self.reason is DenialReason.TOKEN_EXPIRED:
            return errors.TokenExpiredError(self.detail, remedy=self.remedy)
        if self.reason is DenialReason.MISSING_SCOPE:
            return errors.MissingScopeError(self.detail, remedy=self.remedy, scopes=self.scopes)
        if self.reason is DenialReason.SCOPE_VIOLATION:
            return errors.ScopeViolationError(self.detail, remedy=self.remedy, scopes=self.scopes)
        return errors.AccessDeniedError(self.detail, remedy=self.remedy, denial=self)


_R = DenialReason
# The code alone decides where no text does.
_CODES: dict[str, DenialReason] = {
    "PERMISSION_DENIED": _R.ACCESS_DENIED,
    "UNAUTHENTICATED": _R.TOKEN_EXPIRED,
}
_HIDDEN_CODE = re.compile(r"(?:\A|_)(?:DOES_NOT_EXIST|NOT_FOUND)\Z")
_NO_DENIAL_CODES = frozenset({"ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "NOT_IMPLEMENTED"})
# The SDK's errors carry no status, and their class is chosen by the code before the status.
_SDK_STATUS = {"Unauthenticated": 401, "PermissionDenied": 403, "NotFound": 404, "BadRequest": 400}
# What the SDK appends to a refusal; it names the host and the client id.
_CONFIG_TAIL = re.compile(r"\.? ?(?:Config: \w+=|Env: [A-Z_]+).*\Z", re.DOTALL)


def explain(refused: object) -> Denial | None:
    """Explain an exception, or a value that is a refusal in disguise.

    Inside a tool call, what the kit's clients saw on the wire is used where a client lost the status or the reason on
    the way. ``__cause__`` and known wrappers are followed, an accidental ``__context__`` is not; a group of exceptions is
    a denial only if all of its leaves are. Values count only in their exact forms: a failed SQL statement
    (``StatementResponse``), a failed Genie message (``GenieMessage``, or what ``databricks_ai_bridge.genie`` makes of it),
    the result of an MCP tool that says it is an error, a ``FunctionExecutionResult`` with an error, and a sign-in page in
    place of an answer, where the kit's clients saw the redirect.

    Returns:
        The `Denial`; `None` for anything that is not one.
    """
    frame = FRAME.get()
    call = frame.call if frame is not None else None
    return explain_in(refused, call, cast("UserSession | None", frame.session) if frame is not None else None)


def explain_in(refused: object, call: ToolCall | None, session: UserSession | None) -> Denial | None:
    """`explain`, for the tool call and the session it came from."""
    evidence = call.seen if call is not None else ()
    if not isinstance(refused, BaseException):
        found = _of_value(refused, evidence)
    elif call is not None and tells_nothing(refused):
        found = _classify(call.evidence.last) if call.evidence.last is not None else None
    else:
        found = _of_exception(refused, evidence, 0)
    return _rewritten(_described(found, call, session)) if found is not None else None


Rewrite = Callable[["Denial"], "Denial"]
_rewrite: Rewrite | None = None


def rewrite_denials(rewrite: Rewrite | None, /) -> None:
    """Say it in your own words: a function sees each denial of this process and returns it with other texts.

    To translate, to name the resource to the user, or to point at the right help desk::

        def in_german(denial: Denial) -> Denial:
            return dataclasses.replace(denial, user_message=GERMAN[denial.reason])

        obo_kit.rewrite_denials(in_german)

    What it raises is logged, and the denial stays as it was. Its reason cannot be changed.

    Args:
        rewrite: Takes and returns a `Denial`; `None` for the kit's own words.

    Raises:
        TypeError: It cannot be called.
    """
    global _rewrite
    if rewrite is not None and not callable(rewrite):
        raise TypeError(f"rewrite_denials takes a function or None, not a {type(rewrite).__name__}")
    _rewrite = rewrite


def _rewritten(denial: Denial) -> Denial:
    if _rewrite is None:
        return denial
    try:
        told = _rewrite(denial)
        if not isinstance(told, Denial):
            raise TypeError(f"it returned a {type(told).__name__}, not a Denial")
        return replace(told, reason=denial.reason)
    except Exception:
        logger.exception("The function given to rewrite_denials failed")
        return denial


def _of_exception(error: BaseException, evidence: Sequence[Refusal], depth: int) -> Found | None:
    if depth > MAX_DEPTH:
        return None
    if isinstance(error, errors.OboError):
        return _of_own(error)
    for read in (_from_login, _from_sdk, _from_waiter, _from_reader, _from_mcp, _from_http):
        refusal = read(error, evidence)
        if refusal is not None:
            return _classify(refusal)
    leaves = leaves_of(error)
    if not leaves:
        return _of_exception(error.__cause__, evidence, depth + 1) if error.__cause__ is not None else None
    found = [_of_exception(leaf, evidence, depth + 1) if leaf is not None else None for leaf in leaves]
    return found[0] if all(found) else None


def _of_own(error: errors.OboError) -> Found | None:
    if isinstance(error, errors.AccessDeniedError):
        denial = error.denial
        return Found(
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
            return Found(
                reason=reason, refusal=Refusal(status=None, text=error.message), scopes=scopes, remedy=error.remedy
            )
    return None  # a mistake in the program, not a refusal


def _from_sdk(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    if not is_a(error, "databricks", "DatabricksError"):
        return None
    text, code = _CONFIG_TAIL.sub("", str(error)), _code(getattr(error, "error_code", None))
    # The class was chosen by the code before the status, so that it does not prove the status: the wire does.
    status = next((_SDK_STATUS[base.__name__] for base in type(error).__mro__ if base.__name__ in _SDK_STATUS), None)
    return _seen(evidence, code=code, text=text) or Refusal(status=status, error_code=code, text=text)


def _from_waiter(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    """A failed Genie message: the SDK's waiter, and the bridge to LangChain, drop the reason; only the wire knows it."""
    failed = is_a(error, "databricks", "OperationFailed") and GENIE_FAILED.pattern.search(str(error))
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
    if not is_a(error, "requests", "JSONDecodeError") and status_of(error) not in _REDIRECTS:
        return None
    if evidence and evidence[-1].status in _REDIRECTS:
        return evidence[-1]
    location = getattr(getattr(error, "response", None), "headers", {}).get("location", "")
    path = urlsplit(str(getattr(getattr(error, "request", None), "url", ""))).path
    if status_of(error) in _REDIRECTS and is_login(location) and path.startswith(_MCP):
        return Refusal(status=302, path=path, location=location)
    return None


def _from_mcp(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    """What the MCP clients leave of a refusal."""
    if is_a(error, "httpx", "UnsupportedProtocol") or is_a(error, "httpx2", "UnsupportedProtocol"):
        # After a 401 the client looks for an authorization server, at an address without a host.
        path = str(getattr(getattr(error, "_request", None), "url", ""))
        return Refusal(status=401) if path.endswith("/.well-known/oauth-protected-resource") else None
    if is_a(error, "agents", "UserError"):
        status = AGENTS_STATUS.pattern.search(str(error))
        return _last_of(evidence, int(status[1])) if status is not None else None
    if is_a(error, "langchain_mcp_adapters", "_MCPToolExecutionError"):  # a result that says it is an error
        return Refusal(status=200, text=str(error))
    if not is_a(error, "mcp", "McpError", "MCPError"):
        return None
    kept = kept_of(error)
    if kept is not None:
        return replace(_parsed(kept["body"]), status=kept["status"], method="POST", path=kept["path"])
    told = getattr(error, "error", None)
    code, text = getattr(told, "code", None), getattr(told, "message", "")
    if code == -32600 and str(text).startswith("Redirect to "):
        return _last_of(evidence, *_REDIRECTS)
    # A 404 (32600 in `mcp` 1, -32601 or -32600 in `mcp` 2).
    if (code, text) in ((32600, "Session terminated"), (-32600, "Session terminated"), (-32601, "Not Found")):
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
        code, text = _code(getattr(error, "error_code", None)), str(error)
        if code is None:  # an older vector-search client leaves it in the body
            body = getattr(error, "response_content", None)
            code = _parsed(body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)).error_code
        return _seen(evidence, code=code, text=text, status=status) or Refusal(
            status=status, error_code=code, text=text
        )
    text = _body_of(response)
    answer = _parsed(text)
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


def _parsed(body: str) -> Refusal:
    """The code and the text of a refusal's body, where it is shaped as the platform's are; else all of it as text."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return Refusal(status=None, text=body)
    return Refusal(status=None, error_code=_code(found.get("error_code")), text=str(found.get("message") or body))


def _seen(
    evidence: Sequence[Refusal], *, code: str | None, text: str, status: int | None = None, path: str | None = None
) -> Refusal | None:
    """The latest refusal on the wire that an exception tells of.

    Either text may hold the other: a client may add words of its own, or pick the message out of the body.
    """
    for seen in reversed(evidence):
        if seen.status in (200, *_REDIRECTS) or (status is not None and seen.status != status):
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


_GENIE = "/api/2.0/genie/"


def _code(code: object) -> str | None:
    return str(code) if code not in (None, "") else None


_REDIRECTS = (301, 302, 303, 307, 308)
_MCP = "/api/2.0/mcp/"
_OURS = (_MCP, "/serving-endpoints/", "/ai-gateway/")
_GENIE_FAILED = "Genie query failed with error: "
_FORMS = ("databricks", "databricks_ai_bridge", "mcp", "requests", "unitycatalog", "builtins")


def _of_value(value: object, evidence: Sequence[Refusal]) -> Found | None:
    """Values count only in these exact forms, so that a tool's prose about errors is never taken for a refusal."""
    package, name, known = package_of(value), type(value).__name__, cast("Any", value)
    if package not in _FORMS or (package == "builtins" and not isinstance(value, (str, list))):
        return None
    if evidence and evidence[-1].status in _REDIRECTS and _is_page(value):
        return _classify(evidence[-1])
    if isinstance(value, str):
        return _of_genie_text(value)
    if (package, name) == ("databricks_ai_bridge", "GenieResponse"):
        return _of_genie_text(known.result) if isinstance(known.result, str) else None
    if (package, name) == ("mcp", "CallToolResult"):
        if not (getattr(known, "isError", False) or getattr(known, "is_error", False)):
            return None
        text = "\n".join(str(getattr(one, "text", "")) for one in known.content)
        return _classify(Refusal(status=200, text=text))
    if (package, name) == ("unitycatalog", "FunctionExecutionResult"):
        return _classify(Refusal(status=200, text=str(known.error))) if known.error else None
    return _of_sdk_value(known, name) if type(value).__module__.startswith("databricks.sdk.service.") else None


def _is_page(value: object) -> bool:
    if isinstance(value, str):
        return value.lstrip()[:14].lower().startswith(("<!doctype html", "<html"))
    # A stream that is read from a page is empty.
    return value == [] or type(value).__name__ in ("HttpRequestResponse", "Response", "DownloadResponse")


def _of_genie_text(text: str) -> Found | None:
    """`databricks_ai_bridge` makes a text of a failed message: its own words, then the error as Python writes it."""
    if not text.startswith(_GENIE_FAILED):
        return None
    try:
        error = ast.literal_eval(text[len(_GENIE_FAILED) :])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(error, dict):
        return None
    return _classify(Refusal(status=200, error_code=_code(error.get("type")), text=str(error.get("error") or "")))


def _of_sdk_value(known: Any, name: str) -> Found | None:
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
    return _classify(Refusal(status=200, error_code=getattr(code, "value", None), text=text or "", sql_state=sql_state))


def _classify(refusal: Refusal) -> Found | None:
    status = refusal.status or 0
    if status in _REDIRECTS:
        return Found(reason=_R.TOKEN_EXPIRED, refusal=refusal) if is_login(refusal.location) else None
    no_denial = refusal.error_code in _NO_DENIAL_CODES
    for text in TEXTS:
        if status not in text.statuses or (no_denial and not text.any_code):
            continue
        if text.path and not (refusal.path or "").startswith(text.path):
            continue
        match = text.pattern.search(refusal.text)
        if match is None:
            continue
        if text.reason is None:
            return None
        groups = match.groupdict()
        scopes = tuple(sorted({s for s in re.split(r"[,\s]+", groups.get("scopes") or "") if s}))
        if text.reason is _R.MISSING_SCOPE and not scopes:
            scopes = _scopes_of_route(refusal)
        return Found(
            reason=text.reason,
            refusal=refusal,
            kind=text.kind or None,
            what=groups.get("what"),
            name=(groups.get("name") or "").replace("`", "") or None,
            privilege=groups.get("privilege") or text.privilege or None,
            url=groups.get("url"),
            scopes=scopes,
        )
    return None if no_denial else _by_code(refusal)


def _by_code(refusal: Refusal) -> Found | None:
    """What a refusal is where no text tells."""
    status = refusal.status or 0
    if refusal.sql_state == "42501":
        return Found(reason=_R.ACCESS_DENIED, refusal=refusal)
    if status in (400, 401, 403) and refusal.error_code in _CODES:
        return Found(reason=_CODES[refusal.error_code], refusal=refusal)
    if status == 401:
        return Found(reason=_R.TOKEN_EXPIRED, refusal=refusal)
    if status == 403:
        return Found(reason=_R.ACCESS_DENIED, refusal=refusal)
    if status == 404 and _HIDDEN_CODE.search(refusal.error_code or ""):
        return Found(reason=_R.NOT_FOUND_OR_DENIED, refusal=refusal)
    return None


def _scopes_of_route(refusal: Refusal) -> tuple[str, ...]:
    route = route_of(refusal)
    return tuple(sorted(route.all_of or route.any_of[:1])) if route is not None else ()


def _described(found: Found, call: ToolCall | None, session: UserSession | None) -> Denial:
    identity = session._identity if session is not None else None
    if (
        found.reason is _R.ACCESS_DENIED
        and not found.refusal.text
        and identity is not None
        and identity.scopes is not None
    ):
        # The client lost the platform's words, and the token says what it carries.
        route = route_of(found.refusal)
        missing = route_verdict(route, identity.scopes)[1] if route is not None else ()
        if missing:
            found = replace(found, reason=_R.MISSING_SCOPE, scopes=tuple(sorted(missing)))
    declared = call.declared if call is not None else None
    kind, name = _resource_of(found, declared.resources if declared is not None else ())
    tool = call.tool if call is not None else None
    principal = identity.principal if identity is not None else None
    remedy = found.remedy
    if remedy is None and found.reason is _R.MISSING_SCOPE:
        held = declared.held if declared is not None else frozenset[str]()
        remedy = scope_remedy(found, tool=tool, source=identity.source if identity is not None else "", held=held)
    return Denial(
        reason=found.reason,
        tool=tool,
        resource=name,
        scopes=found.scopes,
        principal=principal,
        status=found.refusal.status,
        error_code=found.refusal.error_code,
        user_message=USER_MESSAGES[found.reason],
        detail=_detail(found),
        remedy=remedy or user_remedy(found, kind=kind, name=name, principal=principal),
    )


def _detail(found: Found) -> str:
    refusal = found.refusal
    words = " ".join(_CONFIG_TAIL.sub("", refusal.text).split())[:500]
    where = f"{refusal.method} {refusal.path}: " if refusal.method and refusal.path else ""
    return f"{where}{words}" if words else f"{where}{found.reason.value.replace('_', ' ')}"


def _resource_of(found: Found, declared: Sequence[tuple[ResourceKind, str]]) -> tuple[ResourceKind | None, str | None]:
    """What was refused: as the platform names it, else as its path does, else the only thing declared that it can be."""
    route = route_of(found.refusal)
    kind = catalogue().kinds.get(found.kind or (route.kind if route is not None else None) or "")
    if found.name:
        for known in declared:
            if known[1] == found.name:
                return known
        return (None if found.what else kind), found.name
    parts = unquote(found.refusal.path or "").split("/") if not found.kind else ()
    candidates = [known for known in declared if known[1] in parts] or [
        known for known in declared if kind is None or known[0].name == kind.name
    ]
    return candidates[0] if len(candidates) == 1 else (kind, None)
