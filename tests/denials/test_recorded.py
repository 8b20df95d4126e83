"""`explain` checked against a recording."""

from __future__ import annotations

import pytest

from obo_kit._upstream.texts import TEXTS
from obo_kit.denials._recorded import as_issue, misread
from obo_kit.exceptions import DenialReason
from obo_kit.scopes._placeholders import is_placed, placeholders, scopes_in
from obo_kit.scopes._recording import CASES, Answer, Detail, Recording


def answer(case="missing_scope", claim="route:GET /api/2.0/serving-endpoints", **fields):
    return Answer(
        **{
            "claim": claim,
            "request": "GET /api/2.0/serving-endpoints/{name}",
            "case": case,
            "status": 403,
            "form": "json",
            **fields,
        }
    )


def shape(**fields):
    return fields


def recording(*answers):
    return Recording(recorded="2026-12-01", kit="0.1.0", cloud="azure", answers=answers)


@pytest.mark.parametrize(
    "fields",
    [
        shape(case="missing_scope", wording="Required scopes: <scope:sql>", required_scopes=("sql",)),
        shape(case="missing_scope", wording="Invalid scope", form="text"),
        shape(case="absent", status=404, code="RESOURCE_DOES_NOT_EXIST",
              wording="Endpoint with name '<name>' does not exist."),
        shape(case="no_permission", code="PERMISSION_DENIED",
              wording="User does not have permission 'View' on Endpoint <name>"),
        shape(case="no_permission", status=404, code="NOT_FOUND", wording="Not found"),
        shape(case="expired", status=401, wording="Invalid access token. [ReqId: <id>]"),
        shape(case="absent", status=200, code="BAD_REQUEST",
              wording="[TABLE_OR_VIEW_NOT_FOUND] The table or view <name> cannot be found. SQLSTATE: 42P01"),
        shape(case="no_permission", status=200, code="BAD_REQUEST", wording="You may not. SQLSTATE: 42501"),
        shape(case="no_permission", details=(Detail(type="ErrorInfo", reason="MISSING_PRIVILEGE"),), wording="No"),
        shape(case="rate_limited", status=429, code="REQUEST_LIMIT_EXCEEDED", wording="Too many requests"),
        shape(case="no_api", status=404, code="ENDPOINT_NOT_FOUND", wording="No API found for <name>"),
        shape(case="allowed", status=200),
        shape(case="expired", status=302),
    ],
)  # fmt: skip
def test_what_explain_reads_as_it_was_meant_is_no_finding(fields):
    assert misread(recording(answer(**fields))) == ()


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        (shape(wording="No, and no"), DenialReason.ACCESS_DENIED, "it is missing_scope, and explain says access_denied"),
        (shape(status=418, wording="No"), None, "it is missing_scope, and explain says no denial"),
        (shape(case="absent", wording="Invalid scope"), DenialReason.MISSING_SCOPE,
         "it is absent, and explain says missing_scope"),
        (shape(case="unavailable", status=401, wording="No"), DenialReason.TOKEN_EXPIRED,
         "unavailable, and explain says token"),
        (
            shape(wording="Invalid scope <scope:sql>", required_scopes=("sql",)),
            DenialReason.MISSING_SCOPE,
            "the scopes are sql, and explain reads model-serving",
        ),
    ],
)  # fmt: skip
def test_what_explain_takes_for_something_else_is_named(fields, reason, words):
    (wrong,) = misread(recording(answer(**fields)))
    assert wrong.reason is reason
    assert words in str(wrong)


def test_an_issue_holds_the_shape_and_nothing_else():
    shown = recording(
        answer(wording="No `<name>` for <mail> on <host>", code="403", content_type="application/json",
               details=(Detail(type="ErrorInfo", reason="POLICY"),)),
        answer(status=418),
    )  # fmt: skip
    assert as_issue(shown, misread(shown)).splitlines() == [
        "`explain` misreads these answers (obo-kit 0.1.0, azure, 2026-12-01):",
        "",
        "- `route:GET /api/2.0/serving-endpoints`: it is missing_scope, and explain says policy",
        "  - asked: `GET /api/2.0/serving-endpoints/{name}`",
        "  - answered: 403, code `403`, application/json, json",
        "  - details: `ErrorInfo POLICY`",
        "  - words: `No '<name>' for <mail> on <host>`",
        "",
        "- `route:GET /api/2.0/serving-endpoints`: it is missing_scope, and explain says no denial",
        "  - asked: `GET /api/2.0/serving-endpoints/{name}`",
        "  - answered: 418, no content type, json",
        "  - no words",
    ]


def test_every_case_has_its_reasons():
    for case in CASES:
        misread(recording(answer(case=case, wording="Not found")))


@pytest.mark.parametrize("text", [text for text in TEXTS if text.reason], ids=lambda text: text.name)
def test_the_texts_that_explain_knows_are_known_after_their_names_became_placeholders(text):
    """A recording of a workspace that speaks as reported has no finding: placeholders hide no reason."""
    case = {
        DenialReason.MISSING_SCOPE: "missing_scope",
        DenialReason.ACCESS_DENIED: "no_permission",
        DenialReason.NOT_FOUND_OR_DENIED: "absent",
        DenialReason.LOGIN_REQUIRED: "login_required",
        DenialReason.TOKEN_EXPIRED: "expired",
        DenialReason.POLICY: "no_obo",
    }[text.reason]
    words = placeholders(text.sample)
    assert is_placed(words)
    request = f"POST {text.path}" if text.path else "GET /api/2.0/serving-endpoints"
    status = next(status for status in (403, 401, 404, 400, 200) if status in text.statuses)
    code = "BAD_REQUEST" if status == 200 else None
    shown = answer(
        case=case, wording=words, required_scopes=scopes_in(words), request=request, status=status, code=code
    )
    assert misread(recording(shown)) == ()
