"""Classify a refusal by its status, code, text and details together (rules 15 and 16)."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from obo_kit._upstream.answers import quoted_answer
from obo_kit._upstream.foreign_texts import CONNECTIONS, MODELS
from obo_kit._upstream.texts import NETWORK_REMEDY, TEXTS, is_login, is_private_link, matchable
from obo_kit.exceptions import DenialReason
from obo_kit.scopes._lookup import match_route

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from obo_kit._upstream.texts import Text
    from obo_kit.context._calls import Refusal
    from obo_kit.scopes._lookup import Route

__all__: list[str] = []

_R = DenialReason
# The reason of each error code. It decides only if no text does.
_CODES: dict[str, DenialReason] = {
    "PERMISSION_DENIED": _R.ACCESS_DENIED,
    "UNAUTHENTICATED": _R.TOKEN_EXPIRED,
    "invalid_grant": _R.TOKEN_EXPIRED,  # OAuth (RFC 6749): what was given for a token is invalid, expired or revoked
}
_HIDDEN_CODE = re.compile(r"(?:\A|_)(?:DOES_NOT_EXIST|NOT_FOUND)\Z")
_NO_DENIAL_CODES = frozenset(
    {
        "ENDPOINT_NOT_FOUND",
        "FEATURE_DISABLED",
        "INVALID_STATE",
        "METASTORE_DOES_NOT_EXIST",  # none is assigned to the workspace
        "NOT_IMPLEMENTED",
        "PRINCIPAL_DOES_NOT_EXIST",  # the grantee that a call names
        "QUOTA_EXCEEDED",
        "REQUEST_LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "RESOURCE_LIMIT_EXCEEDED",
    }
)
# The reasons in ErrorInfo. They decide only if no text does. The platform publishes no list of them: inferred.
_DETAIL_REASONS: tuple[tuple[re.Pattern[str], DenialReason], ...] = (
    (re.compile(r"SCOPE"), _R.MISSING_SCOPE),
    (re.compile(r"IP_ACCESS|IP_ACL|NETWORK|PRIVATE_LINK|POLICY|ENTITLEMENT|DISABLED|NOT_ENABLED"), _R.POLICY),
    (re.compile(r"TOKEN|CREDENTIAL|UNAUTHENTICATED"), _R.TOKEN_EXPIRED),
    (re.compile(r"PRIVILEGE|PERMISSION|ACCESS_DENIED"), _R.ACCESS_DENIED),
)
REDIRECTS = (301, 302, 303, 307, 308)
STATEMENT_TAKEN = 200


@dataclass(kw_only=True, slots=True)
class Finding:
    """The classification of a refusal.

    Attributes:
        reason: The reason for the refusal.
        refusal: The refusal itself.
        kind: The catalogue's kind of the refused object, if the text implies it.
        what: The platform's word for the refused object.
        name: The object's name.
        privileges: The missing privileges, if text or details name them.
        url: The sign-in link, as the text gives it.
        scopes: The missing scopes, sorted.
        remedy: Who can fix it and how, if that is already known.
    """

    reason: DenialReason
    refusal: Refusal
    kind: str | None = None
    what: str | None = None
    name: str | None = None
    privileges: tuple[str, ...] = ()
    url: str | None = None
    scopes: tuple[str, ...] = ()
    remedy: str | None = None


def route_of(refusal: Refusal) -> Route | None:
    """Return the catalogue's route for the refused request."""
    return match_route(refusal.method, refusal.path).route if refusal.method and refusal.path else None


def classify(refusal: Refusal) -> Finding | None:
    """Classify a refusal; return `None` for an answer that is not a denial."""
    if refusal.status in REDIRECTS:
        return _redirected(refusal)
    refusal = _quoted(refusal)
    text, match = _text_of(refusal)
    if _is_about_the_call(refusal, match) or _is_another_s(refusal, text):
        return None
    if text is not None and match is not None:
        finding = _by_text(refusal, text, match) if text.reason is not None else None
    elif refusal.error_code in _NO_DENIAL_CODES:
        return None
    else:
        reason = _by_details(refusal) or _by_code(refusal)
        finding = Finding(reason=reason, refusal=refusal) if reason is not None else None
    return _completed(finding) if finding is not None else None


# An error class of SQL at the start of a statement's error.
_ERROR_CLASS = re.compile(
    r"\A\W{0,3}(?:(?:[\w.]{1,80}(?:Exception|Error)|Error running query): {0,2}){0,3}\[(?P<name>[A-Z][A-Z0-9_]{2,80})[.\]]"
)
# The words in the names of those that may be refusals. The others quote data, or the statement.
_OF_REFUSALS = re.compile(
    r"PERMISSION|UNAUTHORI|DENIED|PRIVILEGE|FORBIDDEN|AUTH|CREDENTIAL|ACCESS|LOGIN|SECRET|SCOPE|DISABLED|NOT_FOUND|NO_SUCH|"
    r"NOT_EXIST|ROUTINE|HTTP|REMOTE|CONNECTION|NETWORK|EXTERNAL|SHARE|AI_FUNCTION"
)
_ABOUT_ARGUMENTS = frozenset({"INVALID_PARAMETER_VALUE", "MALFORMED_REQUEST"})
_PAGE = re.compile(r"(?:\A|\n< )\s{0,9}<(?:!doctype|html)", re.IGNORECASE)


def _is_about_the_call(refusal: Refusal, match: re.Match[str] | None) -> bool:
    """Check whether an answer is about what was sent, and quotes it: then words of a refusal in it are somebody's data."""
    if refusal.status == STATEMENT_TAKEN:
        error_class = _ERROR_CLASS.match(refusal.text[:400])
        denied = refusal.sql_state == "42501" or "SQLSTATE: 42501" in refusal.text
        return error_class is not None and not denied and _OF_REFUSALS.search(error_class["name"]) is None
    if refusal.status == 404:
        return refusal.error_code is None and _PAGE.search(refusal.text[:4000]) is not None
    if refusal.status != 400 or refusal.error_code not in _ABOUT_ARGUMENTS:
        return False
    return match is not None and not {":", "'", '"'}.isdisjoint(match.string[: match.start()])


def _is_another_s(refusal: Refusal, text: Text | None) -> bool:
    """Check whether a service behind the platform refused, and not the platform: then its status means something else."""
    reason = text.reason if text is not None else None
    if refusal.form == "provider" and (refusal.path or "").startswith(MODELS):
        return reason in (None, _R.NOT_FOUND_OR_DENIED)
    return refusal.form != "platform" and refusal.path == CONNECTIONS and reason not in (_R.LOGIN_REQUIRED, _R.POLICY)


def _quoted(refusal: Refusal) -> Refusal:
    """Return the refusal of a function inside a statement, if the statement's error quotes it."""
    answer = quoted_answer(refusal.text) if refusal.status == STATEMENT_TAKEN else None
    if answer is None:
        return refusal
    status = 404 if _HIDDEN_CODE.search(answer.error_code or "") else 403
    if answer.error_code not in _CODES and status != 404:
        return refusal
    return replace(refusal, status=status, error_code=answer.error_code, text=answer.text, sql_state=None, path=None)


def says_why(refusal: Refusal) -> bool:
    """Check whether the text alone makes this a refusal."""
    text, _ = _text_of(refusal)
    return text is not None and text.reason is not None


def _redirected(refusal: Refusal) -> Finding | None:
    if not is_login(refusal.location):
        return None
    if is_private_link(refusal.location):
        return Finding(reason=_R.POLICY, refusal=refusal, remedy=NETWORK_REMEDY)
    return Finding(reason=_R.TOKEN_EXPIRED, refusal=refusal)


def _text_of(refusal: Refusal) -> tuple[Text | None, re.Match[str] | None]:
    status, path, no_denial = refusal.status or 0, refusal.path or "", refusal.error_code in _NO_DENIAL_CODES
    words = matchable(refusal.text)
    lowered = words.lower()
    for needle, text in _needles(status):
        if needle not in lowered or (no_denial and not text.any_code) or not path.startswith(text.path):
            continue
        if (match := text.pattern.search(words)) is not None:
            return text, match
    return None, None


@functools.lru_cache(maxsize=64)
def _needles(status: int) -> tuple[tuple[str, Text], ...]:
    """Return the texts for a status in order, each with its search string."""
    return tuple((needle, text) for text in TEXTS if status in text.statuses for needle in text.needles)


def _by_text(refusal: Refusal, text: Text, match: re.Match[str]) -> Finding:
    assert text.reason is not None
    groups = {name: value.strip() for name, value in match.groupdict().items() if value}
    name = _first(groups, _NAMES).replace("`", "")
    privileges = _privileges(groups["privilege"]) if "privilege" in groups else ()
    return Finding(
        reason=text.reason,
        refusal=refusal,
        kind=text.kind or None,
        what=groups.get("what"),
        name=name or None,
        privileges=privileges or _level(text.privilege or _first(groups, _LEVELS).upper()),
        url=groups["url"].rstrip(".,;)") or None if "url" in groups else None,
        scopes=_scopes(groups["scopes"]) if "scopes" in groups else (),
        remedy=text.remedy.replace("{name}", f"'{name}'" if name else "that the answer names") or None,
    )


_NAMES = ("name", "name_2", "name_3", "name_4")
_LEVELS = ("level", "level_2")


def _scopes(words: str) -> tuple[str, ...]:
    """Return the scopes in a list such as ``genie, sql and files``, sorted."""
    return tuple(sorted({scope for scope in words.replace(",", " ").split() if scope != "and"}))


def _first(groups: Mapping[str, str], names: Sequence[str]) -> str:
    for name in names if groups else ():
        if name in groups:
            return groups[name]
    return ""


def _level(words: str) -> tuple[str, ...]:
    """Return an access level as a privilege: ``VIEW`` is ``CAN VIEW``."""
    return (words if words.startswith("CAN ") or words == "SELECT" else f"CAN {words}",) if words else ()


def _privileges(words: str) -> tuple[str, ...]:
    """Return the privileges in a list such as ``SELECT, MODIFY and USE_SCHEMA``."""
    parts = words.replace("_", " ").replace(" and ", ",").split(",")
    return tuple([part.strip() for part in parts if part.strip()])


def _by_details(refusal: Refusal) -> DenialReason | None:
    details = refusal.details
    if details is None or details.reason is None or refusal.status not in (400, 401, 403):
        return None
    return next((reason for pattern, reason in _DETAIL_REASONS if pattern.search(details.reason)), None)


def _by_code(refusal: Refusal) -> DenialReason | None:
    """Return the reason by the error code, if neither text nor details decide."""
    status, code = refusal.status or 0, refusal.error_code or ""
    if refusal.sql_state == "42501":
        return _R.ACCESS_DENIED
    if status in (400, 401, 403) and code in _CODES:
        return _CODES[code]
    if status == 404 and _HIDDEN_CODE.search(code):
        return _R.NOT_FOUND_OR_DENIED
    return {401: _R.TOKEN_EXPIRED, 403: _R.ACCESS_DENIED}.get(status)


def _completed(finding: Finding) -> Finding:
    """Fill in the names from the details, and the route's scopes if nothing else names any."""
    details = finding.refusal.details
    if details is not None and finding.reason in (_R.ACCESS_DENIED, _R.NOT_FOUND_OR_DENIED):
        finding = replace(
            finding,
            what=finding.what or details.kind,
            name=finding.name or details.resource,
            privileges=finding.privileges or _privileges(details.privilege or ""),
        )
    if finding.reason is _R.MISSING_SCOPE and not finding.scopes:
        route = route_of(finding.refusal)
        of_route = tuple(sorted(route.all_of or route.any_of[:1])) if route is not None else ()
        finding = replace(finding, scopes=(details.scopes if details is not None else ()) or of_route)
    return finding
