"""Answer `obo-kit scopes`: which scope a term needs, where, and which grants the user needs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from obo_kit.cli._terminal import text_width
from obo_kit.exceptions import PolicyError
from obo_kit.scopes._lookup import _BUILT_IN, TARGETS, catalogue, nearest, route_for, same_family, scopes_of, search
from obo_kit.scopes._model import ResourceKind, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from obo_kit.scopes._model import Route, Target

__all__ = ["answer", "as_text"]

_WHERE = {"model-serving": "Model Serving", "apps": "Databricks Apps"}


def answer(term: str) -> dict[str, Any]:
    """Return what the catalogue knows about a term, as plain values.

    Args:
        term: A scope, a kind of resource, an MLflow class, a word of either, or a path of the REST API with or without
            its method (``"POST /api/2.0/sql/statements"``). Empty for everything.

    Returns:
        ``kinds``, ``scopes`` and ``routes``, each entry with its sources and dates; ``disputes``; ``taken_for``, the name that
        was looked up instead of an unknown term, or None; and ``file``, the project's catalogue file, or None. All three lists
        are empty if nothing is known.
    """
    term = term.strip()
    routes = _routes_of(term) if "/" in term else []
    entries, taken_for = (_kinds_of(routes), None) if "/" in term else _entries_of(term)
    return {
        "kinds": [_kind(entry) for entry in entries if isinstance(entry, ResourceKind)],
        "scopes": [_scope(entry) for entry in entries if isinstance(entry, Scope)],
        "routes": [_route(route) for route in routes],
        "disputes": _disputes_about({entry.name for entry in entries}),
        "taken_for": taken_for,
        "file": catalogue().file,
    }


def _kinds_of(routes: list[Route]) -> list[Scope | ResourceKind]:
    names = dict.fromkeys(route.kind for route in routes if route.kind is not None)
    return [catalogue().kinds[name] for name in names]


def _entries_of(term: str) -> tuple[list[Scope | ResourceKind], str | None]:
    """Return the scopes and kinds that a term stands for, and the name that was looked up in its place, if any."""
    entries = _exact(term) or _named_like(term)
    if entries:
        return entries, None
    taken_for = nearest(term)
    return (_exact(taken_for), taken_for) if taken_for else (search(term), taken_for)


def _disputes_about(names: set[str]) -> list[dict[str, Any]]:
    return [
        {
            "about": list(dispute.about),
            "one": dispute.one,
            "other": dispute.other,
            "stance": dispute.stance,
            **_cited(dispute.sources),
        }
        for dispute in catalogue().disputes
        if names.intersection(dispute.about)
    ]


def _exact(term: str) -> list[Scope | ResourceKind]:
    """Return the entry of exactly that name; for a scope, also the kinds of resources that it reaches."""
    known = catalogue()
    for kind in known.kinds.values():
        if term.lower() in {kind.name, kind.title.lower(), *(name.lower() for name in kind.mlflow_classes)}:
            return [kind, *(known.scopes[name] for name in _asked_for(kind) if name in known.scopes)]
    scope = known.scopes.get(term.lower())
    if scope is None:
        return []
    return [*(kind for kind in known.kinds.values() if scope.name in _asked_for(kind)), scope]


def _named_like(term: str) -> list[Scope | ResourceKind]:
    """Return the entries whose name contains the term, not those that only mention it."""
    wanted = term.lower()
    return [
        hit
        for hit in search(term)
        if wanted in hit.name
        or (isinstance(hit, ResourceKind) and wanted in "\n".join((hit.title, *hit.mlflow_classes)).lower())
    ]


def _asked_for(kind: ResourceKind) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for target in TARGETS for name in kind.current[target]))


def _routes_of(term: str) -> list[Route]:
    first, _, rest = term.partition(" ")
    method, path = (first, rest.strip()) if rest else ("", first)
    if method:
        route = route_for(method, path)
        return [route] if route is not None else []
    fits = [route_for(method, path) for method in ("GET", "POST", "PUT", "PATCH", "DELETE")]
    by_path = {id(route): route for route in fits if route is not None}
    return list(by_path.values()) or [route for route in catalogue().routes if path.lower() in route.path]


# ---------------------------------------------------------------- entries as plain values


def _known(entry: Scope | ResourceKind | Route) -> dict[str, Any]:
    first, last = catalogue().seen(entry)
    return {
        "note": entry.note,
        "confidence": entry.confidence,
        "first_seen": first.isoformat(),
        "last_seen": last.isoformat(),
        **_cited(entry.sources),
    }


def _cited(keys: Iterable[str]) -> dict[str, Any]:
    sources = catalogue().sources
    return {"sources": [{"key": key, "url": sources[key].url, "what": sources[key].what} for key in keys]}


def _kind(kind: ResourceKind) -> dict[str, Any]:
    return {
        "name": kind.name,
        "title": kind.title,
        "mlflow_classes": list(kind.mlflow_classes),
        "targets": {target: _spellings(kind, target) for target in TARGETS},
        "routes": [_route(route) for route in catalogue().routes if route.kind == kind.name],
        "grants": [
            {"privilege": grant.privilege, "on": grant.on, "confidence": grant.confidence, "note": grant.note}
            for grant in kind.grants
        ],
        **_known(kind),
    }


def _spellings(kind: ResourceKind, target: Target) -> dict[str, Any]:
    older = [name for name in kind.granular[target] if name not in kind.current[target]]
    spelling: dict[str, Any] = {
        "declare": list(kind.current[target]),
        "older": older and list(kind.granular[target]),
        "also": list(kind.also[target]),
    }
    try:
        scopes_of(kind, target)
    except PolicyError as error:
        spelling["way_out"] = error.remedy
    return spelling


def _scope(scope: Scope) -> dict[str, Any]:
    known = catalogue()
    return {
        "name": scope.name,
        "targets": {target: _standing(scope, target) for target in TARGETS},
        "same_family": sorted(name for name in known.scopes if name != scope.name and same_family(name, scope.name)),
        "reach": scope.reach,
        # Nearly every scope opens the user's own name, so that says nothing about any of them.
        "routes": [
            _route(route)
            for route in known.routes
            if scope.name in {*route.any_of, *route.all_of} and len(route.any_of) < 10
        ],
        **_known(scope),
    }


def _standing(scope: Scope, target: Target) -> str:
    if target in scope.accepted_by:
        return "accepted"
    if target in scope.always_granted_by:
        return "always granted"
    return "refused" if target in scope.refused_by else "never seen"


def _route(route: Route) -> dict[str, Any]:
    return {
        "methods": sorted(route.methods),
        "path": route.path,
        "any_of": list(route.any_of),
        "all_of": list(route.all_of),
        "kind": route.kind,
        "observed": _observed(route),
        **_known(route),
    }


def _observed(route: Route) -> dict[str, Any] | None:
    """Return when a route was observed, and what the kit itself knows about it; None if it was not observed."""
    if route.confidence != "observed":
        return None
    known = catalogue()
    own = next((own for own in _BUILT_IN.routes if (own.methods, own.path) == (route.methods, route.path)), None)
    return {
        "on": route.as_of.isoformat(),
        "by_your_file": route not in _BUILT_IN.routes,
        "kit": None
        if own is None or known is _BUILT_IN
        else {"any_of": list(own.any_of), "all_of": list(own.all_of), "confidence": own.confidence},
        "differs": own is not None and (set(own.any_of), set(own.all_of)) != (set(route.any_of), set(route.all_of)),
    }


# ---------------------------------------------------------------- for people


def as_text(entries: dict[str, Any]) -> str:
    """Return an `answer` as text for a terminal."""
    blocks: list[Iterable[str]] = []
    if entries["taken_for"]:
        blocks.append([f"Taken for '{entries['taken_for']}'."])
    blocks += [_route_lines(route) for route in entries["routes"]]
    blocks += [_kind_lines(kind) for kind in entries["kinds"]]
    blocks += [_scope_lines(scope) for scope in entries["scopes"]]
    blocks += [_dispute_lines(dispute) for dispute in entries["disputes"]]
    if entries["file"]:
        blocks.append([f"With the entries of {entries['file']}."])
    return "\n\n".join("\n".join(block) for block in blocks)


def _lines(label: str, texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield textwrap.fill(
            text,
            text_width(),
            initial_indent=f"  {'' if number else label:<16} ",
            subsequent_indent=" " * 19,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _kind_lines(kind: dict[str, Any]) -> Iterator[str]:
    yield f"{kind['title']} ({', '.join([*kind['mlflow_classes'], kind['name']])})"
    for target, spelling in kind["targets"].items():
        older = f"  (older: {' + '.join(spelling['older'])})" if spelling["older"] else ""
        also = f"  (also does, in part: {', '.join(spelling['also'])})" if spelling["also"] else ""
        cannot = f"cannot be granted. {spelling.get('way_out')}"
        declared = f"{' + '.join(spelling['declare'])}{older}{also}"
        yield from _lines(_WHERE[target], [declared if spelling["declare"] else cannot])
    yield from _lines("REST API", (f"{_call(route)}: {_needed(route)}{_bracketed(route)}" for route in kind["routes"]))
    yield from _lines("the user needs", map(_grant, kind["grants"]))
    yield from _standing_lines(kind)


def _scope_lines(scope: dict[str, Any]) -> Iterator[str]:
    yield f"{scope['name']} (scope)"
    for target, standing in scope["targets"].items():
        yield from _lines(_WHERE[target], [standing])
    if not set(scope["targets"].values()) & {"accepted", "always granted"}:
        yield from _lines("", ["no target takes it"])
    if scope["same_family"]:
        yield from _lines("same family", [", ".join(scope["same_family"])])
    yield from _lines("opens", (f"{_call(route)}{_bracketed(route)}" for route in scope["routes"]))
    if scope["reach"]:
        yield from _lines("reaches", [scope["reach"]])
    yield from _standing_lines(scope)


def _route_lines(route: dict[str, Any]) -> Iterator[str]:
    yield _call(route)
    yield from _lines("REST API", [_needed(route)])
    if route["observed"] is not None:
        yield from _lines("observed", [_seen_where(route["observed"])])
        yield from _lines("the kit", [_of_the_kit(route["observed"])])
    yield from _standing_lines(route)


def _dispute_lines(dispute: dict[str, Any]) -> Iterator[str]:
    yield "Sources disagree"
    yield from _lines("about", [", ".join(dispute["about"])])
    yield from _lines("some say", [dispute["one"]])
    yield from _lines("others say", [dispute["other"]])
    yield from _lines("the kit", [dispute["stance"]])
    yield from _lines("sources", [", ".join(source["key"] for source in dispute["sources"])])


def _standing_lines(entry: dict[str, Any]) -> Iterator[str]:
    if entry["note"]:
        yield from _lines("note", [entry["note"]])
    first, last = entry["first_seen"], entry["last_seen"]
    if entry["confidence"] == "observed":
        first = last  # the older days belong to what is otherwise known
    yield from _lines("known", [f"{entry['confidence']}, seen {last if first == last else f'{first} to {last}'}"])
    yield from _lines("sources", [", ".join(source["key"] for source in entry["sources"])])


def _call(route: dict[str, Any]) -> str:
    return " ".join([*route["methods"], route["path"]])


def _needed(route: dict[str, Any]) -> str:
    return " + ".join(route["all_of"]) if route["all_of"] else " or ".join(route["any_of"])


def _bracketed(route: dict[str, Any]) -> str:
    observed = route["observed"]
    if observed is None:
        return ""
    differs = f"; the kit {_of_the_kit(observed)}" if observed["differs"] else ""
    return f" [observed {_seen_where(observed)}{differs}]"


def _seen_where(observed: dict[str, Any]) -> str:
    return f"on your workspace, {observed['on']}" if observed["by_your_file"] else observed["on"]


def _of_the_kit(observed: dict[str, Any]) -> str:
    """Say what the kit itself knows about a route, beside what was observed."""
    own = observed["kit"]
    if own is None:
        return "knows nothing of it"
    return (
        f"differs: {_needed(own)} ({own['confidence']})" if observed["differs"] else f"the same ({own['confidence']})"
    )


def _grant(grant: dict[str, Any]) -> str:
    doubt = "" if grant["confidence"] == "documented" else f" [{grant['confidence']}]"
    note = f". {grant['note']}" if grant["note"] else ""
    return f"{grant['privilege']} on {grant['on']}{doubt}{note}"
