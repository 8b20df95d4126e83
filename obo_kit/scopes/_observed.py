"""Read from a recording which scopes opened a route, and which did not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from obo_kit.scopes._paths import fits, segments_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from obo_kit.scopes._model import Route
    from obo_kit.scopes._recording import Answer, Recording

__all__ = ["Groups", "ObservedRoute", "ObservedRoutes", "corrected", "groups_of", "observed_routes"]

Groups = tuple[tuple[str, ...], ...]
"""What a route asks for: one spelling of each group."""

ALL = "all-apis"
ROUTE = "route:"
MISSING_SCOPE = "missing_scope"
# Scopes that every login also asks for. They open no API.
_LOGIN = frozenset({"email", "offline_access", "openid", "profile"})
# Cases in which the workspace let the token through to the resource.
_PASSED = frozenset({"allowed", "absent", "no_permission"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedRoute:
    """The evidence of a recording about one route.

    Attributes:
        methods: HTTP methods; empty for any.
        path: The catalogue's template.
        answers: Its answers, in the order of the recording.
        opened_by: The scopes of each token that passed.
        refused: The scopes of each token that was refused because of its scopes.
        named: The scopes that those refusals name.
    """

    methods: frozenset[str]
    path: str
    answers: tuple[Answer, ...] = field(hash=False)
    opened_by: tuple[frozenset[str], ...]
    refused: tuple[frozenset[str], ...]
    named: tuple[str, ...]

    @property
    def key(self) -> str:
        """Return the route as a catalogue file writes it: ``GET /api/2.0/genie/``."""
        return " ".join([*sorted(self.methods), self.path])

    def of_case(self, case: str) -> tuple[Answer, ...]:
        """Return the answers of a case."""
        return tuple(answer for answer in self.answers if answer.case == case)

    @property
    def openers(self) -> tuple[str, ...]:
        """Return the scopes that passed alone."""
        return _unique(
            scope for scopes in self.opened_by if len(scopes) == 1 for scope in sorted(scopes) if scope != ALL
        )

    @property
    def shut(self) -> frozenset[str]:
        """Return the scopes that were refused, and did not pass alone."""
        return frozenset[str]().union(*self.refused).difference(self.openers)

    def names_none_of(self, known: Groups) -> bool:
        """Return whether the refusals name scopes, but none of the known ones."""
        return bool(self.named) and set(self.named).isdisjoint(scope for group in known for scope in group)

    @property
    def says_scopes(self) -> bool:
        """Return whether the recording shows anything about the route's scopes."""
        return bool(self.refused or self.named or any(ALL not in scopes for scopes in self.opened_by))


def split_claim(claim: str) -> tuple[frozenset[str], str]:
    """Return methods and path of ``route:GET /api/…``, with or without ``route:``. No method means any."""
    *methods, path = claim.removeprefix(ROUTE).split()
    return frozenset(methods), path


def observed_routes(recording: Recording) -> tuple[ObservedRoute, ...]:
    """Return the routes of a recording, in its order."""
    by_claim: dict[str, list[Answer]] = {}
    for answer in recording.answers:
        if answer.claim.startswith(ROUTE):
            by_claim.setdefault(answer.claim, []).append(answer)
    return tuple(_observed(claim, answers) for claim, answers in by_claim.items())


def _observed(claim: str, answers: Sequence[Answer]) -> ObservedRoute:
    methods, path = split_claim(claim)
    refused = [answer for answer in answers if answer.case == MISSING_SCOPE]
    passed = [answer for answer in answers if answer.case in _PASSED]
    return ObservedRoute(
        methods=methods,
        path=path,
        answers=tuple(answers),
        opened_by=tuple(frozenset(answer.scopes or ()) - _LOGIN for answer in passed),
        refused=tuple(frozenset(answer.scopes or ()) - _LOGIN for answer in refused),
        named=_unique(scope for answer in refused for scope in answer.required_scopes if scope != "<name>"),
    )


class ObservedRoutes:
    """The routes of a recording among those of the catalogue, ready for look-ups. Immutable.

    Args:
        recording: The recording.
        known: The routes of the catalogue. If one of them matches a call better, the recording shows nothing about the call.
    """

    def __init__(self, recording: Recording, known: Iterable[Route]) -> None:
        self.routes = observed_routes(recording)
        known = tuple(known)
        self._known = {(route.methods, route.path): groups_of(route) for route in known}
        templates: list[tuple[tuple[str, ...], frozenset[str], ObservedRoute | None]] = [
            *((segments_of(route.path), route.methods, route) for route in self.routes),
            *((segments_of(route.path), route.methods, None) for route in known),
        ]
        # The sort is stable: of two that are equally specific, the observed one counts.
        self._templates = sorted(templates, key=lambda entry: (len(entry[0]), bool(entry[1])), reverse=True)

    def find(self, method: str, path: str) -> ObservedRoute | None:
        """Return what was observed of a call; None if nothing was.

        Args:
            method: The HTTP method. HEAD counts as GET.
            path: The path of the call.
        """
        verb, segments = ("GET" if method == "HEAD" else method), segments_of(path)
        for template, methods, route in self._templates:
            if (
                len(template) <= len(segments)
                and (not methods or verb in methods)
                and all(map(fits, template, segments))
            ):
                return route
        return None

    def known_groups(self, route: ObservedRoute) -> Groups:
        """Return the scopes that the catalogue has for an observed route; empty if it has none."""
        return self._known.get((route.methods, route.path), ())


def groups_of(route: Route) -> Groups:
    """Return the scopes that an entry of the catalogue asks for."""
    return tuple((name,) for name in route.all_of) if route.all_of else (route.any_of,)


def corrected(known: Groups, seen: ObservedRoute) -> Groups:
    """Return the scopes that a route asks for: as observed where possible, else as known.

    A token with one scope that passed shows that this scope is enough. A token that was refused shows that none of its scopes
    is. A refusal names what it asks for. If it names a known spelling, the others stay, because the platform names one of
    several. If it names none of them, they go. If it names several scopes, all of them are needed unless one was seen to be
    enough.
    """
    if not seen.says_scopes:
        return known
    is_new = seen.names_none_of(known)
    if not seen.openers:
        if len(known) > 1 and not is_new:
            return known  # a refusal may name only those of several scopes that the token lacked
        if len(seen.named) > 1 and (is_new or seen.shut.intersection(seen.named)):
            return tuple((scope,) for scope in seen.named)
    suffice = _sufficient(known[0] if len(known) == 1 and not is_new else (), seen)
    return (suffice,) if known or suffice else known


def _sufficient(alternatives: tuple[str, ...], seen: ObservedRoute) -> tuple[str, ...]:
    """Return the scopes that are each enough: a named one, known ones that were not refused, and those that passed.

    If all of these were refused, only ``all-apis`` is left.
    """
    named = seen.named if len(seen.named) == 1 else ()
    suffice = _unique(scope for scope in (*named, *alternatives, *seen.openers) if scope not in seen.shut)
    return suffice or ((ALL,) if alternatives or named else ())


def _unique(scopes: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(scopes))
