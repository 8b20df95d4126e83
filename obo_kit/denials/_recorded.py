"""Check `explain` against a recording: whether it classifies each recorded answer correctly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from obo_kit._upstream.answers import details_of
from obo_kit.context._calls import Refusal
from obo_kit.denials._classify import REDIRECTS, classify
from obo_kit.exceptions import DenialReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from obo_kit.scopes._recording import Answer, Recording

__all__ = ["Misread", "as_issue", "misread"]

_R = DenialReason
# The reasons that fit a case; None stands for an answer that is not a denial. A workspace hides what a user may not see, and
# its answers to a token that it cannot read differ.
_REASONS: Final[Mapping[str, frozenset[DenialReason | None]]] = {
    "allowed": frozenset({None}),
    "missing_scope": frozenset({_R.MISSING_SCOPE}),
    "absent": frozenset({_R.NOT_FOUND_OR_DENIED}),
    "no_permission": frozenset({_R.ACCESS_DENIED, _R.NOT_FOUND_OR_DENIED}),
    "login_required": frozenset({_R.LOGIN_REQUIRED}),
    "no_credential": frozenset({_R.TOKEN_EXPIRED, _R.NO_IDENTITY}),
    "invalid_token": frozenset({_R.TOKEN_EXPIRED}),
    "expired": frozenset({_R.TOKEN_EXPIRED}),
    "no_obo": frozenset({_R.POLICY, _R.NO_IDENTITY}),
    "policy": frozenset({_R.POLICY}),
    "bad_request": frozenset({None}),
    "no_api": frozenset({None, _R.POLICY}),
    "rate_limited": frozenset({None}),
    "unavailable": frozenset({None}),
}
# The values that replace placeholders: a text is matched as it comes over the wire.
_SAMPLES: Final = {
    "host": "workspace.example.com",
    "id": "01f0a1b2c3d4e5f60718293a4b5c6d7e",
    "mail": "alice@example.com",
    "name": "a_name",
    "number": "1234567890",
}
_PLACEHOLDER: Final = re.compile(rf"<(?:(?P<kind>{'|'.join(_SAMPLES)})|scope:(?P<scope>[^<>]+))>")
_SQLSTATE: Final = re.compile(r"\bSQLSTATE:? ([0-9A-Z]{5})\b")


@dataclass(frozen=True, kw_only=True)
class Misread:
    """An answer that `explain` classifies wrongly.

    Attributes:
        answer: The answer.
        reason: The reason that `explain` gives; None if it sees no denial.
        scopes: The scopes that it reads, if these are wrong.
    """

    answer: Answer
    reason: DenialReason | None
    scopes: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.scopes is not None:
            read = ", ".join(self.scopes) or "none"
            return f"the scopes are {', '.join(self.answer.required_scopes)}, and explain reads {read}"
        said = self.reason.value if self.reason is not None else "no denial"
        return f"it is {self.answer.case}, and explain says {said}"


def misread(recording: Recording) -> tuple[Misread, ...]:
    """Return the answers of a recording that `explain` classifies wrongly."""
    return tuple(wrong for answer in recording.answers if (wrong := _misread(answer)) is not None)


def _misread(answer: Answer) -> Misread | None:
    if answer.status in REDIRECTS or (answer.status < 300 and not answer.wording and answer.code is None):
        return None  # redirect targets are not recorded, and an answer that is not a refusal has no wording
    finding = classify(_refusal(answer))
    reason = finding.reason if finding is not None else None
    if reason not in _REASONS[answer.case]:
        return Misread(answer=answer, reason=reason)
    named = tuple(sorted({scope for scope in answer.required_scopes if scope != "<name>"}))
    if finding is not None and reason is _R.MISSING_SCOPE and named and named != finding.scopes:
        return Misread(answer=answer, reason=reason, scopes=finding.scopes)
    return None


def _refusal(answer: Answer) -> Refusal:
    """Return an answer as a client of the kit would have recorded it."""
    method, _, template = answer.request.partition(" ")
    text = _filled(answer.wording)
    state = _SQLSTATE.search(text)
    details = [
        {"@type": f"type.googleapis.com/google.rpc.{detail.type}", "reason": _filled(detail.reason or "")}
        for detail in answer.details
    ]
    return Refusal(
        status=answer.status,
        error_code=_filled(answer.code) if answer.code is not None else None,
        text=text,
        method=method,
        path=re.sub(r"\{[^}]*\}", "x", template),
        sql_state=state[1] if state is not None and answer.status == 200 else None,
        details=details_of(details),
    )


def _filled(text: str) -> str:
    return _PLACEHOLDER.sub(lambda match: match["scope"] or _SAMPLES[match["kind"]], text)


def as_issue(recording: Recording, wrong: Iterable[Misread]) -> str:
    """Return the wrongly classified answers as the text of an issue, in Markdown: forms with placeholders, and nothing else."""
    release = f", which {recording.release}" if recording.release is not None else ""
    lines = [
        f"`explain` misreads these answers (obo-kit {recording.kit}, {recording.cloud}{release}, {recording.recorded}):"
    ]
    for each in wrong:
        answer = each.answer
        code = f", code `{answer.code}`" if answer.code is not None else ""
        lines += [
            "",
            f"- `{answer.claim}`: {each}",
            f"  - asked: `{answer.request}`",
            f"  - answered: {answer.status}{code}, {answer.content_type or 'no content type'}, {answer.form}",
            *([f"  - details: {', '.join(_said(answer))}"] if answer.details else []),
            f"  - words: `{answer.wording.replace('`', chr(39))}`" if answer.wording else "  - no words",
        ]
    return "\n".join(lines)


def _said(answer: Answer) -> Iterable[str]:
    for detail in answer.details:
        yield f"`{detail.type} {detail.reason or ''}".rstrip() + "`"
