"""Tell what a refusal is: by its status, code and text together (rules 15 and 16)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obo_kit._upstream.texts import TEXTS, is_login
from obo_kit.context._calls import Refusal
from obo_kit.exceptions import DenialReason
from obo_kit.scopes._lookup import route_for

if TYPE_CHECKING:
    from obo_kit.scopes._lookup import Route

__all__: list[str] = []

_R = DenialReason
# The code alone decides where no text does.
_CODES: dict[str, DenialReason] = {
    "PERMISSION_DENIED": _R.ACCESS_DENIED,
    "UNAUTHENTICATED": _R.TOKEN_EXPIRED,
}
_HIDDEN_CODE = re.compile(r"(?:\A|_)(?:DOES_NOT_EXIST|NOT_FOUND)\Z")
_NO_DENIAL_CODES = frozenset({"ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "NOT_IMPLEMENTED"})
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was found out about a refusal."""

    reason: DenialReason
    refusal: Refusal
    kind: str | None = None
    what: str | None = None
    name: str | None = None
    privilege: str | None = None
    url: str | None = None
    scopes: tuple[str, ...] = ()
    remedy: str | None = None


def route_of(refusal: Refusal) -> Route | None:
    """The catalogue's entry for what was asked."""
    return route_for(refusal.method, refusal.path) if refusal.method and refusal.path else None


def parsed(body: str) -> Refusal:
    """The code and the text of a refusal's body, where it is shaped as the platform's are; else all of it as text."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return Refusal(status=None, text=body)
    return Refusal(status=None, error_code=code_of(found.get("error_code")), text=str(found.get("message") or body))


def code_of(code: object) -> str | None:
    return str(code) if code not in (None, "") else None


def classify(refusal: Refusal) -> Finding | None:
    status = refusal.status or 0
    if status in REDIRECTS:
        return Finding(reason=_R.TOKEN_EXPIRED, refusal=refusal) if is_login(refusal.location) else None
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
        return Finding(
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


def _by_code(refusal: Refusal) -> Finding | None:
    """What a refusal is where no text tells."""
    status = refusal.status or 0
    if refusal.sql_state == "42501":
        return Finding(reason=_R.ACCESS_DENIED, refusal=refusal)
    if status in (400, 401, 403) and refusal.error_code in _CODES:
        return Finding(reason=_CODES[refusal.error_code], refusal=refusal)
    if status == 401:
        return Finding(reason=_R.TOKEN_EXPIRED, refusal=refusal)
    if status == 403:
        return Finding(reason=_R.ACCESS_DENIED, refusal=refusal)
    if status == 404 and _HIDDEN_CODE.search(refusal.error_code or ""):
        return Finding(reason=_R.NOT_FOUND_OR_DENIED, refusal=refusal)
    return None


def _scopes_of_route(refusal: Refusal) -> tuple[str, ...]:
    route = route_of(refusal)
    return tuple(sorted(route.all_of or route.any_of[:1])) if route is not None else ()
