"""Refusals, explained: which of them an exception or a value is, and who can mend it (rules 15 to 18).

All matching on message texts is in one table, `TEXTS`, each pattern beside the sample it was written for and its source.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from obo_kit import _errors as errors
from obo_kit._context import FRAME, Refusal
from obo_kit._unwrap import MAX_DEPTH, is_a, leaves_of, package_of, status_of
from obo_kit.scopes import KINDS, TARGETS, route_for, same_family, translate

if TYPE_CHECKING:
    from obo_kit._context import ToolCall
    from obo_kit.scopes import ResourceKind, Route, Target
    from obo_kit.session import UserSession

__all__ = ["Denial", "DenialReason", "explain"]


class DenialReason(enum.Enum):
    """Why a user may not. Everything else (bugs, bad arguments, rate limits, outages) is not a denial."""

    NO_IDENTITY = "no_identity"
    """There is no user to act for."""
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a name, not a token
    """The workspace does not take the user's token, or does not take it any more."""
    MISSING_SCOPE = "missing_scope"
    """The user's token is not allowed to use this API: the deployer's to mend."""
    ACCESS_DENIED = "access_denied"
    """The user lacks a grant."""
    NOT_FOUND_OR_DENIED = "not_found_or_denied"
    """The platform hides what the user may not see: absent or refused, it does not say which."""
    LOGIN_REQUIRED = "login_required"
    """Only the user can give this: a login to a connection, or consent."""
    SCOPE_VIOLATION = "scope_violation"
    """The tool called an API outside the scopes it declares."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text that tells a refusal from another. ``reason=None``: known, and not a denial.

    ``kind`` and ``privilege`` are what the text is about, where it does not say so itself; ``path`` is the start of the only
    paths on which it means this.
    """

    name: str
    reason: DenialReason | None
    pattern: re.Pattern[str]
    statuses: frozenset[int]
    sample: str
    source: str
    path: str = ""
    kind: str = ""
    privilege: str = ""


def _text(  # noqa: PLR0917
    name: str,
    reason: DenialReason | None,
    pattern: str,
    statuses: Sequence[int],
    sample: str,
    source: str,
    path: str = "",
    kind: str = "",
    privilege: str = "",
) -> Text:
    return Text(
        name=name,
        reason=reason,
        pattern=re.compile(pattern),
        statuses=frozenset(statuses),
        sample=sample,
        source=source,
        path=path,
        kind=kind,
        privilege=privilege,
    )


_R = DenialReason
_SCOPES = r"(?P<scopes>[\w.:\-]+(?:, *[\w.:\-]+)*)"
# The first that matches decides, so the order is the one that resolves overlaps. The samples are the wordings the facts
# report or document; no answer of a live workspace was recorded here. A status of 200 is a refusal that came as a value.
TEXTS: tuple[Text, ...] = (
    _text(
        "connection_login",
        _R.LOGIN_REQUIRED,
        r"Credential for user identity\('[^']*'\) is not found for the connection '(?P<name>[^']+)'"
        r"(?:.*?by visiting (?P<url>https?://\S+))?",
        (200, 400, 401, 403),
        "Credential for user identity('1') is not found for the connection 'gh'. Please login first to the connection "
        "by visiting https://host.example/explore/connections/gh",
        "reported: fid:68349805652",
    ),
    _text(
        "gateway_enforced",
        None,
        r"is disabled for this workspace\. Please use Unity Gateway",
        (403,),
        "x is disabled for this workspace. Please use Unity Gateway.",
        "documented: G-SKILLS-NEW",
    ),
    _text(
        "missing_scope_json",
        _R.MISSING_SCOPE,
        rf"does not have required scopes?: *{_SCOPES}",
        (200, 400, 401, 403),
        "Provided OAuth token does not have required scopes: model-serving, model-serving-inference [ReqId: 0]",
        "reported: G-APPKIT-265, G-ONTOS-288",
    ),
    _text(
        "missing_scope_plain",
        _R.MISSING_SCOPE,
        rf"\b[Ii]nvalid scope(?!s)(?:, required scopes?: *{_SCOPES})?|\binsufficient_scope\b",
        (401, 403),
        "Invalid scope, required scopes: postgres",
        "reported: fid:69389892685",
    ),
    _text(
        "missing_scope_as_invalid_token",
        _R.MISSING_SCOPE,
        r"Invalid Token",
        (403,),
        "Invalid Token",
        "reported: fid:59262808423",
        path="/serving-endpoints/responses",
    ),
    _text(
        "oauth_token_endpoint_scope",
        _R.MISSING_SCOPE,
        r"Scopes '?(?P<scopes>[^']+?)'? are not assigned to the client",
        (400, 401, 403),
        "Scopes 'sql' are not assigned to the client 00000000",
        "reported: G-SQLGO-476",
    ),
    _text(
        "credential_missing",
        _R.TOKEN_EXPIRED,
        r"Credential was not sent or was of an unsupported type",
        (401,),
        "Credential was not sent or was of an unsupported type for this API. [ReqId: 0]",
        "reported: fid:57907425948",
    ),
    _text(
        "invalid_token",
        _R.TOKEN_EXPIRED,
        r"Invalid access token|Invalid Token|Token is expiring within \d+ seconds|token expired",
        (401, 403),
        "Invalid access token. [ReqId: 00000000-0000-0000-0000-000000000000]",
        "reported: fid:70164141621, G-SDKGO-873, G-CLI-4768, G-VSC-583",
    ),
    _text(
        "uc_privilege_missing",
        _R.ACCESS_DENIED,
        r"User does not have (?P<privilege>[A-Z][A-Z_ ]+?) on (?P<what>[A-Za-z_ ]+) "
        r"'?(?P<name>(?<=')[^']+|[^'\s]+?)'?(?=\.?(?:\s|\Z))",
        (200, 400, 403),
        "User does not have USE CATALOG on Catalog 'x'.",
        "reported: fid:59223030272, fid:68862795987, fid:70164141621",
    ),
    _text(
        "genie_no_access",
        _R.ACCESS_DENIED,
        r"No access to '(?P<name>[^']+)'.*must have (?P<privilege>SELECT)",
        (200, 400, 403),
        "PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT",
        "reported: fid:58231455167",
        kind="uc_table",
    ),
    _text(
        "sql_engine_denied",
        _R.ACCESS_DENIED,
        r"\[INSUFFICIENT_PERMISSIONS\]|\bSQLSTATE: 42501|is not accessible in current workspace",
        (200, 400, 403),
        "Catalog 'main' is not accessible in current workspace",
        "reported: fid:69073153765, fid:62830121274",
    ),
    _text(
        "warehouse_denied",
        _R.ACCESS_DENIED,
        r"is not authorized to use or monitor this SQL Endpoint",
        (200, 400, 403),
        "PERMISSION_DENIED: 123 is not authorized to use or monitor this SQL Endpoint",
        "reported: fid:70164141621, fid:58231455167",
        kind="sql_warehouse",
        privilege="CAN USE",
    ),
    _text(
        "index_denied",
        _R.ACCESS_DENIED,
        r"Insufficient permissions for UC entity (?P<name>[^\s,;]+?)\.?(?:\s|$)",
        (200, 400, 403),
        "Insufficient permissions for UC entity main.s.idx",
        "reported: fid:56828970741",
        kind="vector_search_index",
    ),
    _text(
        "sql_denied_plainly",
        _R.ACCESS_DENIED,
        r"\APERMISSION_DENIED:",
        (200,),
        "PERMISSION_DENIED: Cannot use the catalog",
        "reported: fid:70164141621, fid:69073153765",
    ),
    _text(
        "hidden_or_absent_table",
        _R.NOT_FOUND_OR_DENIED,
        r"\[TABLE_OR_VIEW_NOT_FOUND\](?: The table or view (?P<name>\S+) cannot be found)?",
        (200, 400, 403, 404),
        "[TABLE_OR_VIEW_NOT_FOUND] The table or view `a`.`b`.`c` cannot be found. SQLSTATE: 42P01",
        "reported: fid:70164141621, fid:69073153765",
        kind="uc_table",
    ),
    _text(
        "unknown_route",
        None,
        r"No API found for '",
        (404,),
        "No API found for 'GET /api/2.0/nothing'",
        "documented: the workspace's answer to a path that no API serves, as databricks-sdk quotes it",
    ),
    _text(
        "hidden_or_absent",
        _R.NOT_FOUND_OR_DENIED,
        r"(?:'(?P<name>[^']+)' |\b)(?:does not exist|not found|cannot be found)\b",
        (404,),
        "Table 'a.b.c' does not exist.",
        "reported: fid:68862795987, G-APPKIT-168",
    ),
)
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
    (``StatementResponse``) and a failed Genie message (``GenieMessage``).

    Returns:
        The `Denial`; `None` for anything that is not one.
    """
    frame = FRAME.get()
    call = frame.call if frame is not None else None
    return explain_in(refused, call, frame.session if frame is not None else None)


def explain_in(refused: object, call: ToolCall | None, session: UserSession | None) -> Denial | None:
    """`explain`, for the tool call and the session it came from."""
    if isinstance(refused, BaseException):
        found = _of_exception(refused, call.evidence.refusals if call is not None else (), 0)
    else:
        found = _of_value(refused)
    return _described(found, call, session) if found is not None else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    reason: DenialReason
    refusal: Refusal
    kind: str | None = None
    what: str | None = None
    name: str | None = None
    privilege: str | None = None
    url: str | None = None
    scopes: tuple[str, ...] = ()
    remedy: str | None = None


def _of_exception(error: BaseException, evidence: Sequence[Refusal], depth: int) -> _Found | None:
    if depth > MAX_DEPTH:
        return None
    if isinstance(error, errors.OboError):
        return _of_own(error)
    for read in (_from_sdk, _from_waiter, _from_http):
        refusal = read(error, evidence)
        if refusal is not None:
            return _classify(refusal)
    leaves = leaves_of(error)
    if not leaves:
        return _of_exception(error.__cause__, evidence, depth + 1) if error.__cause__ is not None else None
    found = [_of_exception(leaf, evidence, depth + 1) if leaf is not None else None for leaf in leaves]
    return found[0] if all(found) else None


def _of_own(error: errors.OboError) -> _Found | None:
    if isinstance(error, errors.AccessDeniedError):
        denial = error.denial
        return _Found(
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
            return _Found(
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
    """A failed Genie message: the SDK's waiter drops the reason, and only the wire knows it."""
    if not (is_a(error, "databricks", "OperationFailed") and "MessageStatus" in str(error)):
        return None
    return next(
        (seen for seen in reversed(evidence) if seen.status == 200 and (seen.path or "").startswith(_GENIE)), None
    )


def _from_http(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    """An HTTP client's error. It may come from any host: it counts where it is shaped as the platform's answers are, or
    where the kit's own clients saw it."""
    status, response = status_of(error), getattr(error, "response", None)
    if status is None:
        return None
    if package_of(error) == "databricks":
        code, text = _code(getattr(error, "error_code", None)), str(error)
        return _seen(evidence, code=code, text=text, status=status) or Refusal(
            status=status, error_code=code, text=text
        )
    text = _body_of(response)
    answer = _parsed(text)
    path = urlsplit(str(getattr(getattr(error, "request", None), "url", ""))).path
    seen = _seen(evidence, code=answer.error_code, text=text, status=status, path=path)
    if seen is not None or answer.error_code is None:
        return seen
    return replace(answer, status=status)


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
        if seen.status == 200 or (status is not None and seen.status != status):
            continue
        if (path is not None and seen.path != path) or (seen.error_code is not None and seen.error_code != code):
            continue
        words, told = _words(seen.text) or _phrase(seen.status), _words(text)
        if words == told or (words and words[:200] in told) or (told and told in words):
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


def _of_value(value: object) -> _Found | None:
    """Values count only in these exact forms, so that a tool's prose about errors is never taken for a refusal."""
    if not (type(value).__module__ or "").startswith("databricks.sdk.service."):
        return None
    known, name = cast("Any", value), type(value).__name__
    if name == "GenieGetMessageQueryResultResponse":
        return _of_value(known.statement_response)
    if name == "StatementResponse":
        status, error = known.status, getattr(known.status, "error", None)
        state, code, text = (
            getattr(status, "state", None),
            getattr(error, "error_code", None),
            getattr(error, "message", ""),
        )
    elif name == "GenieMessage":
        status, state, error = None, known.status, known.error
        code, text = getattr(error, "type", None), getattr(error, "error", "")
    else:
        return None
    if getattr(state, "value", None) != "FAILED" or error is None:
        return None
    sql_state = getattr(status, "sql_state", None)
    return _classify(Refusal(status=200, error_code=getattr(code, "value", None), text=text or "", sql_state=sql_state))


def _classify(refusal: Refusal) -> _Found | None:
    status = refusal.status or 0
    # A serving endpoint that is not there comes with the code of a path that is not there (reported: fid:8610548622).
    if refusal.error_code in _NO_DENIAL_CODES and "The given endpoint does not exist" not in refusal.text:
        return None
    for text in TEXTS:
        if status not in text.statuses or (text.path and not (refusal.path or "").startswith(text.path)):
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
        return _Found(
            reason=text.reason,
            refusal=refusal,
            kind=text.kind or None,
            what=groups.get("what"),
            name=(groups.get("name") or "").replace("`", "") or None,
            privilege=groups.get("privilege") or text.privilege or None,
            url=groups.get("url"),
            scopes=scopes,
        )
    if refusal.sql_state == "42501":
        return _Found(reason=_R.ACCESS_DENIED, refusal=refusal)
    if status in (400, 401, 403) and refusal.error_code in _CODES:
        return _Found(reason=_CODES[refusal.error_code], refusal=refusal)
    if status == 401:
        return _Found(reason=_R.TOKEN_EXPIRED, refusal=refusal)
    if status == 403:
        return _Found(reason=_R.ACCESS_DENIED, refusal=refusal)
    if status == 404 and _HIDDEN_CODE.search(refusal.error_code or ""):
        return _Found(reason=_R.NOT_FOUND_OR_DENIED, refusal=refusal)
    return None


def _route_of(refusal: Refusal) -> Route | None:
    return route_for(refusal.method, refusal.path) if refusal.method and refusal.path else None


def _scopes_of_route(refusal: Refusal) -> tuple[str, ...]:
    route = _route_of(refusal)
    return tuple(sorted(route.all_of or route.any_of[:1])) if route is not None else ()


_USER_MESSAGES: dict[DenialReason, str] = {
    _R.NO_IDENTITY: "This tool needs to know who you are, and this request does not say. Trying again will not help.",
    _R.TOKEN_EXPIRED: "Your sign-in has expired. Send the request again after signing in.",
    _R.MISSING_SCOPE: "This agent has not been set up to use this tool for you. Trying again will not help.",
    _R.ACCESS_DENIED: "You do not have access to what this tool uses. Trying again will not help.",
    _R.NOT_FOUND_OR_DENIED: "What this tool uses does not exist, or you do not have access to it. "
    "Trying again will not help.",
    _R.LOGIN_REQUIRED: "This tool needs you to sign in to the service it uses first.",
    _R.SCOPE_VIOLATION: "This tool tried something it is not set up for. Trying again will not help.",
}


def _described(found: _Found, call: ToolCall | None, session: UserSession | None) -> Denial:
    identity = session._identity if session is not None else None
    declared = call.declared if call is not None else None
    kind, name = _resource_of(found, declared.resources if declared is not None else ())
    tool = call.tool if call is not None else None
    principal = identity.principal if identity is not None else None
    remedy = found.remedy
    if remedy is None and found.reason is _R.MISSING_SCOPE:
        held = declared.held if declared is not None else frozenset[str]()
        remedy = _scope_remedy(found, tool=tool, source=identity.source if identity is not None else "", held=held)
    return Denial(
        reason=found.reason,
        tool=tool,
        resource=name,
        scopes=found.scopes,
        principal=principal,
        status=found.refusal.status,
        error_code=found.refusal.error_code,
        user_message=_USER_MESSAGES[found.reason],
        detail=_detail(found),
        remedy=remedy or _user_remedy(found, kind=kind, name=name, who=principal or "the user"),
    )


def _detail(found: _Found) -> str:
    refusal = found.refusal
    words = " ".join(_CONFIG_TAIL.sub("", refusal.text).split())[:500]
    where = f"{refusal.method} {refusal.path}: " if refusal.method and refusal.path else ""
    return f"{where}{words}" if words else f"{where}{found.reason.value.replace('_', ' ')}"


def _resource_of(found: _Found, declared: Sequence[tuple[ResourceKind, str]]) -> tuple[ResourceKind | None, str | None]:
    """What was refused: as the platform names it, else as its path does, else the only thing declared that it can be."""
    route = _route_of(found.refusal)
    kind = KINDS.get(found.kind or (route.kind if route is not None else None) or "")
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


_PROPER_NAMES = ("Databricks", "Genie", "Lakebase")


def _user_remedy(found: _Found, *, kind: ResourceKind | None, name: str | None, who: str) -> str:
    if found.reason is _R.TOKEN_EXPIRED:
        return "Send the request again with a fresh token; a running request cannot renew it."
    called = kind.title if kind is not None else (found.what or "").replace("_", " ")
    if called[1:2].islower() and not called.startswith(_PROPER_NAMES):
        called = called[0].lower() + called[1:]
    what = " ".join(part for part in ("the", called, f"'{name}'" if name else "") if part)
    if not called:
        what = f"'{name}'" if name else "what was refused"
    if found.reason is _R.LOGIN_REQUIRED:
        return f"{who} must sign in to the connection '{name}' once{f' at {found.url}' if found.url else ''}."
    if found.privilege:
        needs = [found.privilege.replace("_", " ")]
    else:
        needs = [f"{grant.privilege} on {grant.on}" for grant in kind.grants] if kind is not None else []
    missing = f"what is missing of: {'; '.join(needs)}" if len(needs) > 1 else needs[0] if needs else "access"
    remedy = f"sk the owner of {what} to grant {who} {missing}."
    if found.reason is _R.NOT_FOUND_OR_DENIED:
        return f"Check that the name is right. If it is, a{remedy}"
    return f"A{remedy}"


def _scope_remedy(found: _Found, *, tool: str | None, source: str, held: frozenset[str]) -> str:
    target: Target = "apps" if source == "apps" else TARGETS[0]
    scopes: Sequence[str] = found.scopes
    route = _route_of(found.refusal)
    if route is not None and route.any_of and set(scopes) <= set(route.any_of):
        # The platform lists what would do; the route says which of them to ask for.
        scopes = sorted(scopes, key=route.any_of.index)
        scopes = [scope for scope in scopes if _spelled(scope, target)][:1] or scopes
    spelled: list[str] = []
    for scope in scopes:
        spelled.extend(n for n in _spelled(scope, target) if not any(same_family(n, known) for known in spelled))
    if not spelled:
        return f"{target} cannot grant {', '.join(scopes) or 'the scope'}: reach this API with system authorization."
    if held.issuperset(spelled):
        declare = f"'{tool}' declares {', '.join(spelled)} already, and what is deployed does not carry it yet:"
    else:
        declare = f"Declare @requires_scopes({', '.join(map(repr, spelled))}){f' on {tool!r}' if tool else ''}, then"
    if target == "apps":
        return (
            f"{declare} add it to the app's user_api_scopes (obo_kit.app_config), stop and start the app, and let users "
            "consent anew."
        )
    return f"{declare} log the model again (obo_kit.log_model) and deploy the new version."


def _spelled(scope: str, target: Target) -> tuple[str, ...]:
    """How the target is told a scope; empty where it is not to be had there."""
    try:
        return translate(scope, target)
    except errors.OboError:
        return ()
