"""Compare what a workspace answered with what the kit says: claim by claim, from a recording alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from obo_kit.analysis.verify._login import how_to_narrow
from obo_kit.analysis.verify._obo import LOOK_UP
from obo_kit.analysis.verify._plan import routes_by_claim
from obo_kit.analysis.verify._refusals import REFUSAL_PROBES, UNSAFE_REFUSALS, Provoked
from obo_kit.analysis.verify._routes import ROUTE_PROBES, UNSAFE_ROUTES, claim_of
from obo_kit.scopes._lookup import Target, Verdict, catalogue, covers, route_verdict
from obo_kit.scopes._model import Route
from obo_kit.scopes._placeholders import placeholders
from obo_kit.scopes._recording import HEADERS, Answer, Recording

__all__ = ["Difference", "Expected", "Kit", "Result", "compare"]

Status = Literal["agrees", "differs", "not_tried"]
Aspect = Literal["api", "scopes", "status", "code", "content type", "headers", "wording", "answer", "obo"]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A refusal as the kit describes it.

    Attributes:
        status: HTTP status.
        code: ``error_code``.
        text: The words, with a field in braces for whatever stands there.
        content_type: Media type.
        headers: Names of headers that come with it, in lower case.
        standing: How sure the kit is.
    """

    status: int
    code: str | None
    text: str
    content_type: str
    headers: frozenset[str] = frozenset()
    standing: str = "inferred"


@dataclass(frozen=True, kw_only=True)
class Kit:
    """The refusals that the kit knows.

    Attributes:
        refusals: By their names.
        missing_scope: Returns the name of the refusal of a token without scopes, for method, path and the missing scopes.
    """

    refusals: Mapping[str, Expected]
    missing_scope: Callable[[str, str, tuple[str, ...]], str]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One way in which a workspace differs from what the kit says."""

    aspect: Aspect
    kit: str
    workspace: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of comparing one claim.

    Attributes:
        claim: The claim.
        status: Whether the workspace agrees.
        differences: How it differs.
        why: Why it was not tried, or what is not proved, with the way to try it.
    """

    claim: str
    status: Status
    differences: tuple[Difference, ...] = ()
    why: str = ""


def compare(recording: Recording, kit: Kit | None, failed: Mapping[str, str] | None = None) -> list[Result]:
    """Return the result of each claim, in a fixed order.

    Args:
        recording: What the workspace answered.
        kit: What the kit says of refusals; None where it is not installed with its local workspace.
        failed: Why claims have no answer that was asked for.
    """
    answers: dict[str, list[Answer]] = {}
    for answer in recording.answers:
        answers.setdefault(answer.claim, []).append(answer)
    failed = failed or {}
    results = [
        _Claim(claim, answers.get(claim, []), failed.get(claim, ""), kit).of_route(route)
        for claim, route in _all_routes().items()
    ]
    for key in (*REFUSAL_PROBES, *UNSAFE_REFUSALS):
        claim = f"refusal:{key}"
        results.append(_Claim(claim, answers.get(claim, []), failed.get(claim, ""), kit).of_refusal(key))
    return [*results, *_obo(recording)]


def _all_routes() -> dict[str, Route]:
    return {claim_of(route.methods, route.path): route for route in catalogue().routes}


def _obo(recording: Recording) -> Iterator[Result]:
    states: tuple[tuple[Target, str], ...] = (("apps", recording.obo), ("model-serving", recording.obo_model_serving))
    for target, state in states:
        claim = f"obo:{target}"
        if state == "unknown":
            yield Result(claim=claim, status="not_tried", why=LOOK_UP[target])
        elif state == "on":
            yield Result(claim=claim, status="agrees")
        else:
            off = Difference(
                aspect="obo", kit="users' tokens reach agents", workspace="they do not: it is switched off"
            )
            yield Result(claim=claim, status="differs", differences=(off,))


@dataclass
class _Claim:
    claim: str
    answers: Sequence[Answer]
    failed: str
    kit: Kit | None
    differences: list[Difference] = field(default_factory=list)
    inconclusive: list[str] = field(default_factory=list)

    def differ(self, aspect: Aspect, kit: str, workspace: str) -> None:
        difference = Difference(aspect=aspect, kit=kit, workspace=workspace)
        if difference not in self.differences:
            self.differences.append(difference)

    def result(self, why: str, *, proved: bool) -> Result:
        status: Status = "differs" if self.differences else "agrees" if proved else "not_tried"
        return Result(claim=self.claim, status=status, differences=tuple(self.differences), why="" if proved else why)

    # ------------------------------------------------------------ routes

    def of_route(self, route: Route) -> Result:
        if self.claim in UNSAFE_ROUTES:
            return self.result(UNSAFE_ROUTES[self.claim], proved=False)
        if self.claim not in ROUTE_PROBES:
            return self.result(
                "The project's own catalogue file adds this route: the list has no request for it.", proved=False
            )
        proved = [self._of_route(route, answer) for answer in self.answers]
        why = self.failed or next(iter(self.inconclusive), "") or _no_narrow_token(route)
        return self.result(why, proved=any(proved))

    def _of_route(self, route: Route, answer: Answer) -> bool:
        """Compare one answer, and return whether it proves what the route asks for."""
        if answer.case == "no_api":
            self.differ("api", "this API is there", answer.wording or f"{answer.status} {answer.code or ''}".strip())
            return False
        if answer.form == "html":
            self.inconclusive.append(_PAGE)
            return False
        verdict, missing = route_verdict(route, answer.scopes)
        if answer.case in _OTHER:
            self.inconclusive.append(f"The workspace refused it for another reason: {answer.wording or answer.status}")
            return False
        if answer.case == "missing_scope":
            self._refused_scopes(route, answer, verdict)
            self._words_of(answer, missing or route.all_of or route.any_of[:1])
            return True
        if verdict is not Verdict.MISSING:
            return answer.scopes not in (None, ("all-apis",))
        if answer.case == "no_permission":
            self.inconclusive.append("You lack a grant here, and that was looked at before the scopes.")
            return False
        held = ", ".join(answer.scopes or ())
        self.differ("scopes", f"it asks for {_asked(route)}", f"a token with {held} alone gets through")
        return True

    def _refused_scopes(self, route: Route, answer: Answer, verdict: Verdict) -> None:
        if verdict is Verdict.GRANTED:
            asks = ", ".join(answer.required_scopes) or "another one"
            held = ", ".join(answer.scopes or ())
            self.differ("scopes", f"a token with {held} suffices", f"it does not: the workspace asks for {asks}")
        elif wrong := [name for name in answer.required_scopes if not _accepts(route, name)]:
            self.differ("scopes", f"it asks for {_asked(route)}", f"it asks for {', '.join(wrong)}")

    def _words_of(self, answer: Answer, missing: tuple[str, ...]) -> None:
        if self.kit is not None:
            probe = ROUTE_PROBES[self.claim]
            key = self.kit.missing_scope(probe.method, probe.target.partition("?")[0], missing)
            self._compare(answer, self.kit.refusals[key])

    # ------------------------------------------------------------ refusals

    def of_refusal(self, key: str) -> Result:
        if key in UNSAFE_REFUSALS:
            return self.result(UNSAFE_REFUSALS[key], proved=False)
        provoked = REFUSAL_PROBES[key]
        if not self.answers:
            return self.result(self.failed or _needs(provoked), proved=False)
        if self.kit is None or key not in self.kit.refusals:
            return self.result(
                'The kit\'s own words come with its local workspace: pip install "obo-kit[testing]".', proved=False
            )
        answer = self.answers[0]
        if why := _about_something_else(answer, provoked):
            return self.result(why, proved=False)
        expected = self.kit.refusals[key]
        if answer.case == "allowed":
            self.differ("answer", f"{expected.status} {expected.code}", f"{answer.status}: no refusal")
        else:
            self._compare(answer, expected)
        other = self.kit.refusals.get(provoked.instead)
        if self.differences and other is not None and not _Claim("", (), "", self.kit)._differs(answer, other):
            self.differences.clear()
            return self.result(
                f"The workspace answers as {provoked.instead} says, which stands for the same.", proved=False
            )
        return self.result("", proved=True)

    def _differs(self, answer: Answer, expected: Expected) -> bool:
        self._compare(answer, expected)
        return bool(self.differences)

    def _compare(self, answer: Answer, expected: Expected) -> None:
        pairs: tuple[tuple[Aspect, str, str], ...] = (
            ("status", str(expected.status), str(answer.status)),
            ("code", "" if _is_text(expected.content_type) else expected.code or "", answer.code or ""),
            ("content type", expected.content_type, answer.content_type or ""),
        )
        for aspect, kit, workspace in pairs:
            if kit != workspace:
                self.differ(aspect, kit or "none", workspace or "none")
        if missing := sorted(expected.headers & HEADERS - {*answer.headers}):
            self.differ("headers", ", ".join(missing), "none")
        if expected.text != "{detail}" and not _pattern(expected.text).fullmatch(_normal(answer.wording)):
            self.differ("wording", placeholders(_filled(expected.text)), answer.wording or "nothing")


_PAGE: Final = "It was answered with a page of HTML: a proxy on the way may have sent it."
# What says nothing of scopes.
_OTHER: Final = frozenset({"invalid_token", "policy", "rate_limited", "unavailable"})

# ---------------------------------------------------------------- words

_ANY: Final = "\ue001"
_PLACE: Final = re.compile(r"<(?:name|id|host|mail|number)>")


def _is_text(content_type: str) -> bool:
    return content_type.startswith("text/")


def _filled(text: str) -> str:
    """Return a text of the kit's with something in its fields that becomes a placeholder."""
    return re.sub(r"\{scopes\}", "sql", re.sub(r"\{(?!scopes)\w*\}", "x_1", text))


def _normal(words: str) -> str:
    """Return words in which it does not matter what stands in a place, nor how many scopes are listed."""
    words = re.sub(r"<scope:[^>]*>(?:(?:, ?| and )<scope:[^>]*>)*", "<scopes>", words)
    return re.sub(rf"{_ANY}(?:[ ,.]*{_ANY})*", _ANY, _PLACE.sub(_ANY, words))


def _pattern(text: str) -> re.Pattern[str]:
    words = re.escape(_normal(placeholders(_filled(text)))).replace(re.escape(_ANY), ".+?")
    return re.compile(words.replace("<scopes>", f"(?:<scopes>|{_ANY})"), re.DOTALL)


def _asked(route: Route) -> str:
    return " and ".join(route.all_of) if route.all_of else " or ".join(route.any_of[:4])


def _accepts(route: Route, scope: str) -> bool:
    return scope in {*route.any_of, *route.doubtful} or any(covers(scope, needed) for needed in route.all_of)


# ---------------------------------------------------------------- what was not tried


def _about_something_else(answer: Answer, provoked: Provoked) -> str:
    """Return why an answer says nothing about the refusal that was to be provoked; empty if it does."""
    if answer.form == "html":
        return _PAGE
    if answer.case == "missing_scope" and not provoked.lacks:
        asks = ", ".join(answer.required_scopes) or "another scope"
        return f"Your token does not get that far: it lacks {asks}."
    if answer.case == "policy":
        return f"The workspace refused it for another reason: {answer.wording or answer.status}"
    return ""


def _no_narrow_token(route: Route) -> str:
    other = "genie" if route_verdict(route, ("genie",))[0] is Verdict.MISSING else "sql"
    return f"It takes a token without {_asked(route)}. {how_to_narrow(other)}"


def _needs(provoked: Provoked) -> str:
    if provoked.probe is not None and provoked.probe.token == "expired":  # noqa: S105
        return "It takes a token that has expired: keep one of yours for an hour, and pass --expired env:VARIABLE."
    if provoked.denied:
        title = catalogue().kinds[provoked.denied].title
        return f"Name a {title} that exists and that you may not use: --denied {provoked.denied}=NAME."
    if provoked.use:
        title = catalogue().kinds[provoked.use].title
        return f"Name a {title} that you may use: --use {provoked.use}=NAME."
    route = routes_by_claim().get(f"route:{provoked.route}")
    if provoked.lacks == "lacks_last" and route is not None:
        return f"It takes a token with {', '.join(route.all_of[:-1])} and without {route.all_of[-1]}. " + how_to_narrow(
            ",".join(route.all_of[:-1])
        )
    return _no_narrow_token(route) if route is not None and provoked.lacks else "It was not asked."
