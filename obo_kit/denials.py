"""Refusals, explained: which of them an exception or a value is, and who can mend it (rules 15 to 18).

All matching on message texts is in one table, `TEXTS`, each pattern beside the sample it was written for and its source.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from obo_kit import _errors as errors
from obo_kit._context import FRAME, Refusal
from obo_kit.scopes import KINDS, TARGETS, route_for, same_family, translate

if TYPE_CHECKING:
    from obo_kit._context import ToolCall
    from obo_kit.scopes import ResourceKind, Target
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
    """A text that tells a refusal from another. ``reason=None``: known, and not a denial."""

    name: str
    reason: DenialReason | None
    pattern: re.Pattern[str]
    statuses: frozenset[int]
    sample: str
    source: str
    path: str = ""


def _text(  # noqa: PLR0917
    name: str,
    reason: DenialReason | None,
    pattern: str,
    statuses: Sequence[int],
    sample: str,
    source: str,
    path: str = "",
) -> Text:
    return Text(
        name=name,
        reason=reason,
        pattern=re.compile(pattern),
        statuses=frozenset(statuses),
        sample=sample,
        source=source,
        path=path,
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
        (400, 401, 403),
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
        r"User does not have (?P<privilege>[A-Z][A-Z_ ]+?) on (?P<kind>[A-Za-z_ ]+?) '?(?P<name>[^'\s]+?)'?(?:\.(?:\s|$)|\s|$)",
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
        r"(?:for|on|warehouse|endpoint)? ?(?P<name>\S*)? ?is not authorized to use or monitor this SQL Endpoint",
        (200, 400, 403),
        "PERMISSION_DENIED: 123 is not authorized to use or monitor this SQL Endpoint",
        "reported: fid:70164141621, fid:58231455167",
    ),
    _text(
        "index_denied",
        _R.ACCESS_DENIED,
        r"Insufficient permissions for UC entity (?P<name>[^\s,;]+?)\.?(?:\s|$)",
        (200, 400, 403),
        "Insufficient permissions for UC entity main.s.idx",
        "reported: fid:56828970741",
    ),
    _text(
        "hidden_or_absent_table",
        _R.NOT_FOUND_OR_DENIED,
        r"\[TABLE_OR_VIEW_NOT_FOUND\](?: The table or view (?P<name>\S+) cannot be found)?",
        (200, 400, 403, 404),
        "[TABLE_OR_VIEW_NOT_FOUND] The table or view `a`.`b`.`c` cannot be found. SQLSTATE: 42P01",
        "reported: fid:70164141621, fid:69073153765",
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
        r"(?:'(?P<name>[^']+)' |\b)(?:does not exist|DOES_NOT_EXIST|not found|cannot be found)\b",
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
_NO_DENIAL_CODES = frozenset({"ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "NOT_IMPLEMENTED"})
# The SDK's errors carry no status, and their class is chosen by the code before the status.
_SDK_STATUS = {"Unauthenticated": 401, "PermissionDenied": 403, "NotFound": 404, "BadRequest": 400}
# What the SDK appends to a refusal; it names the host and the client id.
_CONFIG_TAIL = re.compile(r"\.? ?(?:Config: \w+=|Env: [A-Z_]+).*\Z", re.DOTALL)
_MAX_DEPTH = 16


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
    evidence = call.refusals if call is not None else ()
    found = _of_exception(refused, evidence, 0) if isinstance(refused, BaseException) else _of_value(refused)
    return _described(found, call, session) if found is not None else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    reason: DenialReason
    refusal: Refusal
    name: str | None = None
    privilege: str | None = None
    url: str | None = None
    scopes: tuple[str, ...] = ()
    remedy: str | None = None


def _of_exception(error: BaseException, evidence: Sequence[Refusal], depth: int) -> _Found | None:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(error, errors.OboError):
        return _of_own(error)
    leaves = getattr(error, "exceptions", None)
    if isinstance(leaves, tuple) and leaves:
        found = [_of_exception(leaf, evidence, depth + 1) for leaf in leaves if isinstance(leaf, BaseException)]
        return found[0] if len(found) == len(leaves) and all(found) else None
    refusal = _refusal_of(error, evidence)
    if refusal is not None:
        return _classify(refusal)
    for inner in (error.__cause__, *_wrapped_by(error)):
        if inner is not None and (found_inner := _of_exception(inner, evidence, depth + 1)) is not None:
            return found_inner
    return None


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


def _wrapped_by(error: BaseException) -> Iterator[BaseException]:
    """What known wrappers hold without saying so in ``__cause__``."""
    if type(error).__name__ == "ValidationError" and callable(getattr(error, "errors", None)):  # pydantic
        for entry in cast("Any", error).errors():
            held = entry.get("ctx", {}).get("error") if isinstance(entry, dict) else None
            if isinstance(held, BaseException):
                yield held
    attempt = getattr(error, "last_attempt", None)  # tenacity's RetryError
    if attempt is not None and callable(getattr(attempt, "exception", None)):
        held = attempt.exception()
        if isinstance(held, BaseException):
            yield held


def _module_of(thing: object) -> str:
    return type(thing).__module__ or ""


def _named(thing: object, *names: str) -> bool:
    return any(base.__name__ in names for base in type(thing).__mro__)


def _refusal_of(error: BaseException, evidence: Sequence[Refusal]) -> Refusal | None:
    """What a client's exception says, completed by what was seen on the wire."""
    if _named(error, "DatabricksError") and _module_of(error).startswith("databricks.sdk"):
        text = _CONFIG_TAIL.sub("", str(error))
        for seen in reversed(evidence):
            if seen.text and seen.status != 200 and (seen.text in text or seen.text.strip('"{} ') in text):
                return seen
        status = next(
            (_SDK_STATUS[base.__name__] for base in type(error).__mro__ if base.__name__ in _SDK_STATUS), None
        )
        return Refusal(status=status or 500, error_code=_code(getattr(error, "error_code", None)), text=text)
    if _named(error, "OperationFailed") and _module_of(error).startswith("databricks.sdk"):
        # The waiters drop the reason: only the wire knows it.
        return evidence[-1] if evidence else None
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int) and _module_of(error).split(".")[0] in _CLIENTS:
        body = getattr(error, "body", None)
        code = getattr(error, "error_code", None) or (body.get("error_code") if isinstance(body, dict) else None)
        text = str(body.get("message", "")) if isinstance(body, dict) else ""
        for seen in reversed(evidence):
            if seen.status == status and (seen.text in str(error) or not text):
                return seen
        return Refusal(status=status, error_code=_code(code), text=text or str(error))
    return None


_CLIENTS = frozenset({"databricks", "databricks_ai_bridge", "openai", "requests", "httpx"})


def _code(code: object) -> str | None:
    return str(code) if code not in (None, "") else None


def _of_value(value: object) -> _Found | None:
    if not _module_of(value).startswith("databricks.sdk.service."):
        return None
    name = type(value).__name__
    if name == "StatementResponse":
        status = cast("Any", value).status
        state = getattr(getattr(status, "state", None), "value", None)
        error = getattr(status, "error", None)
        if state == "FAILED" and error is not None:
            code = getattr(getattr(error, "error_code", None), "value", None)
            return _classify(Refusal(status=200, error_code=code, text=error.message or ""))
    if name == "GenieMessage":
        message = cast("Any", value)
        if getattr(message.status, "value", None) == "FAILED" and message.error is not None:
            code = getattr(getattr(message.error, "type", None), "value", None)
            return _classify(Refusal(status=200, error_code=code, text=message.error.error or ""))
    return None


def _classify(refusal: Refusal) -> _Found | None:
    status = refusal.status or 0
    if refusal.error_code in _NO_DENIAL_CODES:
        return None
    for text in TEXTS:
        if status not in text.statuses or (text.path and not (refusal.path or "").startswith(text.path)):
            continue
        match = text.pattern.search(refusal.text)
        if match is None and not (text.name == "hidden_or_absent" and "DOES_NOT_EXIST" in (refusal.error_code or "")):
            continue
        if text.reason is None:
            return None
        groups = match.groupdict() if match is not None else {}
        scopes = tuple(sorted({s for s in re.split(r"[,\s]+", groups.get("scopes") or "") if s}))
        if text.reason is _R.MISSING_SCOPE and not scopes:
            scopes = _scopes_of_route(refusal)
        return _Found(
            reason=text.reason,
            refusal=refusal,
            name=(groups.get("name") or "").replace("`", "") or None,
            privilege=groups.get("privilege"),
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
    return None


def _scopes_of_route(refusal: Refusal) -> tuple[str, ...]:
    route = route_for(refusal.method, refusal.path) if refusal.method and refusal.path else None
    if route is None:
        return ()
    return tuple(sorted(route.all_of or route.any_of[:1]))


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
    declared = call.declared.resources if call is not None and call.declared is not None else ()
    kind, name = _resource_of(found, declared)
    principal = identity.principal if identity is not None else None
    tool = call.tool if call is not None else None
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
        remedy=found.remedy
        or _remedy(
            found, kind=kind, name=name, principal=principal, tool=tool, source=identity.source if identity else ""
        ),
    )


def _detail(found: _Found) -> str:
    refusal = found.refusal
    words = " ".join(_CONFIG_TAIL.sub("", refusal.text).split())[:500]
    where = f"{refusal.method} {refusal.path}: " if refusal.method and refusal.path else ""
    return f"{where}{words}" if words else f"{where}{found.reason.value.replace('_', ' ')}"


def _resource_of(found: _Found, declared: Sequence[tuple[ResourceKind, str]]) -> tuple[ResourceKind | None, str | None]:
    """What was refused: as the platform names it, else by its route, else the only thing the tool declares."""
    refusal = found.refusal
    route = route_for(refusal.method, refusal.path) if refusal.method and refusal.path else None
    kind = KINDS.get(route.kind) if route is not None and route.kind else None
    if found.name:
        for declared_kind, declared_name in declared:
            if declared_name == found.name:
                return declared_kind, found.name
        return (None if found.privilege else kind), found.name
    for declared_kind, declared_name in declared:
        if kind is None or declared_kind.name == kind.name:
            return declared_kind, declared_name
    return kind, None


def _remedy(
    found: _Found,
    *,
    kind: ResourceKind | None,
    name: str | None,
    principal: str | None,
    tool: str | None,
    source: str,
) -> str:
    who = principal or "the user"
    if found.reason is _R.MISSING_SCOPE:
        return _scope_remedy(found.scopes, tool=tool, source=source)
    if found.reason is _R.TOKEN_EXPIRED:
        return "Send the request again with a fresh token; a running request cannot renew it."
    if found.reason is _R.LOGIN_REQUIRED:
        link = f" at {found.url}" if found.url else ""
        return f"{who} must sign in to the connection '{found.name}' once{link}."
    what = f"{kind.title} '{name}'" if kind is not None and name else f"'{name}'" if name else "the resource"
    asked = f"Ask the owner of {what} to grant {{}} to {who}."
    if found.privilege:
        remedy = asked.format(found.privilege.replace("_", " "))
    elif kind is not None and kind.grants:
        remedy = asked.format(" and ".join(f"{g.privilege} on {g.on}" for g in kind.grants))
    else:
        remedy = asked.format("access")
    if found.reason is _R.NOT_FOUND_OR_DENIED:
        return f"Check that the name is right. If it is: {remedy}"
    return remedy


def _scope_remedy(scopes: Sequence[str], *, tool: str | None, source: str) -> str:
    target: Target = "apps" if source == "apps" else TARGETS[0]
    spelled: list[str] = []
    for scope in scopes:
        try:
            names = translate(scope, target)
        except errors.OboError:
            continue  # not to be had there: another of the list has to do
        spelled.extend(n for n in names if not any(same_family(n, known) for known in spelled))
    if not spelled:
        return f"{target} cannot grant {', '.join(scopes) or 'the scope'}: reach this API with system authorization."
    declaration = f"@requires_scopes({', '.join(map(repr, spelled))})"
    where = f" on '{tool}'" if tool else ""
    if target == "apps":
        return (
            f"Declare {declaration}{where}, add it to the app's user_api_scopes (obo_kit.app_config), stop and start the "
            "app; users consent anew."
        )
    return f"Declare {declaration}{where}, log the model again (obo_kit.log_model) and deploy the new version."
