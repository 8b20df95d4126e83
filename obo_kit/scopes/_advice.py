"""Advise what to declare: the narrowest scope that a target grants, or a way that needs no scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obo_kit.exceptions import OboError
from obo_kit.scopes._lookup import TARGETS, catalogue, covers, same_family, translate

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from obo_kit.scopes._model import Route, Target

__all__: list[str] = []


def narrowest(scopes: Sequence[str]) -> str:
    """Return the scope that opens least: the first that covers none of the others. An older name comes last if sources
    dispute what it covers."""
    families = catalogue().families.values()
    sure = [scope for scope in scopes if not any(scope in family.doubtful for family in families)] or scopes
    return next(
        (scope for scope in sure if not any(other != scope and covers(scope, other) for other in sure)), sure[0]
    )


def translated(scope: str, target: Target) -> tuple[str, ...]:
    """Return the target's spelling of a scope; empty if the target does not grant it."""
    try:
        return translate(scope, target)
    except OboError:
        return ()


def spellings(scopes: Sequence[str], route: Route | None, target: Target) -> list[str]:
    """Return what to declare for the target: one of several sufficient scopes, or all that are needed together.

    If the target takes none of ``scopes`` as written, the route's other scopes come before a translation, which may open
    more (`widening` says so). Empty if the target grants nothing for it.
    """
    if route is not None and set(scopes) & set(route.any_of):
        named = [scope for scope in route.any_of if scope in scopes]
        for options in (named, route.any_of):
            accepted = [scope for scope in options if translated(scope, target) == (scope,)]
            if accepted:
                return [accepted[0] if options is named else narrowest(accepted)]
    spelled: list[str] = []
    for scope in scopes:
        for name in translated(scope, target):
            if not spelled or not any(same_family(name, other) for other in spelled):
                spelled.append(name)
    return spelled


def for_route(route: Route, missing: Sequence[str], target: Target) -> list[str]:
    """Return what to declare for a call of a route: the narrowest scope that the target grants, or all that it needs together.

    Args:
        route: The route that is called.
        missing: The route's scopes that are not declared.
        target: Where the agent runs.
    """
    if route.all_of:
        return list(missing)
    accepted = [scope for scope in route.any_of if translated(scope, target) == (scope,)]
    return [narrowest(accepted or route.any_of)]


def widening(scopes: Sequence[str], spelled: Sequence[str]) -> list[str]:
    """Return the scopes in ``spelled`` that open more than ``scopes``."""
    others = [scope for scope in spelled if scope not in scopes]
    return [scope for scope in others if any(covers(scope, other) and not covers(other, scope) for other in scopes)]


def is_wider(spelled: Sequence[str], route: Route) -> bool:
    """Check whether a scope opens more than the narrowest scope that is enough for a route."""
    return bool(route.any_of) and bool(widening([narrowest(route.any_of)], spelled))


def instead(route: Route, declared: Collection[str]) -> str:
    """Return a way to do without the route's scopes, for a tool that declares ``declared``; empty if none is known."""
    for kind, words in route.instead.items():
        if not kind or any(scope in declared for target in TARGETS for scope in _scopes_of(kind, target)):
            return words
    return ""


def _scopes_of(kind: str, target: Target) -> tuple[str, ...]:
    entry = catalogue().kinds[kind]
    return (*entry.current[target], *entry.granular[target], *entry.also[target])
