"""Look up scopes, resources and routes in the catalogue, and judge what a token's scopes cover."""

from __future__ import annotations

import functools
import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from obo_kit._utils.plain import visible
from obo_kit.exceptions import PolicyError, UnknownScopeError
from obo_kit.scopes._data.disputes import DISPUTES
from obo_kit.scopes._data.kinds import KINDS as _KINDS
from obo_kit.scopes._data.routes import ROUTES as _ROUTES
from obo_kit.scopes._data.scopes import FAMILIES, INSTEAD, MISNAMED, NOT_A_PARENT, OTHER_NAME
from obo_kit.scopes._data.scopes import SCOPES as _SCOPES
from obo_kit.scopes._data.sources import SOURCES as _SOURCES
from obo_kit.scopes._model import (
    TARGETS,
    Catalogue,
    Family,
    Naming,
    ResourceKind,
    Route,
    Scope,
    Source,
    Target,
    Verdict,
)
from obo_kit.scopes._paths import fits, segments_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    SCOPES: Mapping[str, Scope]
    KINDS: Mapping[str, ResourceKind]
    ROUTES: tuple[Route, ...]
    SOURCES: Mapping[str, Source]

__all__ = ["TARGETS", "Naming", "ResourceKind", "Route", "Target", "Verdict"]

logger = logging.getLogger(__name__)
_TITLES: Final = {"model-serving": "Model Serving", "apps": "Databricks Apps"}
_ALL: Final = "all-apis"
_READ: Final = ":read"


# ---------------------------------------------------------------- the catalogue in force


FILE: Final = "obo_kit_catalogue.yaml"
"""The name of a project's own file."""

_BUILT_IN: Final = Catalogue(
    scopes=_SCOPES, families=FAMILIES, kinds=_KINDS, routes=_ROUTES, sources=_SOURCES, disputes=DISPUTES
)


@functools.cache
def catalogue() -> Catalogue:
    """Return the catalogue that this process uses: the kit's own, corrected by the project's file.

    The project's file is the one that ``OBO_KIT_CATALOGUE`` names. Otherwise it is ``obo_kit_catalogue.yaml`` beside the
    agent (`look_beside`), in the working directory, or in a folder of the project's own modules (``log_model`` packs it with
    the model's code), never in an installed package. It is read once per process, when the catalogue is first needed; a line
    at INFO says so. An empty ``OBO_KIT_CATALOGUE`` means no file.
    ``SCOPES``, ``KINDS``, ``ROUTES`` and ``SOURCES`` of this module are the tables of this catalogue.

    Raises:
        PolicyError: The file cannot be used. The message names the file, the line and the key.
    """
    file, folder = _file_in_force()
    if file is None:
        return _BUILT_IN
    from obo_kit.scopes._overrides import overridden

    corrected = overridden(_BUILT_IN, file, inside=folder)
    logger.info("The scope catalogue is corrected by %s.", visible(file, ""))
    return corrected


def look_beside(agent: str | os.PathLike[str]) -> None:
    """Use the project's file beside an agent, or in a folder of agents, if there is one and no other file is named."""
    global _agent_folder
    if "OBO_KIT_CATALOGUE" in os.environ:
        return
    path = os.path.abspath(agent)
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    beside = folder if os.path.lexists(os.path.join(folder, FILE)) else None
    if beside != _agent_folder:
        _agent_folder = beside
        for cached in (catalogue, _words, _templates, match_route):
            cached.cache_clear()


_agent_folder: str | None = None
_INSTALLED: Final = frozenset({"dist-packages", "site-packages"})


def _file_in_force() -> tuple[str | None, str | None]:
    """Return the file and the folder that it was found in; no folder for a file that was named."""
    named = os.environ.get("OBO_KIT_CATALOGUE")
    if named is not None:
        return (os.path.abspath(named.strip()) if named.strip() else None), None
    beside = [_agent_folder] if _agent_folder is not None else []
    own = (folder for folder in ("", *sys.path) if _INSTALLED.isdisjoint(os.path.normpath(folder).split(os.sep)))
    for folder in map(os.path.abspath, (*beside, *own)):
        if os.path.lexists(os.path.join(folder, FILE)):
            return os.path.join(folder, FILE), folder
    return None, None


def __getattr__(name: str) -> Any:
    if name in {"SCOPES", "KINDS", "ROUTES", "SOURCES"}:
        return getattr(catalogue(), name.lower())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ---------------------------------------------------------------- names


def _plain(words: str) -> str:
    return " ".join("".join(char if char.isalnum() else " " for char in words.lower()).split())


@functools.cache
def _words() -> dict[str, str]:
    """Map everyday names to scopes. A scope's own name takes precedence over a kind of resource."""
    words = {
        "connection": "catalog.connections",
        "database": "postgres",
        "endpoint": "model-serving",
        "function": "sql",
        "index": "vector-search",
        "llm": "model-serving",
        "table": "sql",
        "warehouse": "sql",
    }
    for kind in catalogue().kinds.values():
        scope = (kind.current["model-serving"] or kind.current["apps"])[0]
        words.update(dict.fromkeys(map(_plain, (kind.name, kind.title, *kind.mlflow_classes)), scope))
    return words | {_plain(name): name for name in catalogue().scopes}


def nearest(name: str) -> str | None:
    """Return the catalogue's name that ``name`` most likely means, or ``None``.

    Understands typing errors, names that were tried and refused, and words for resources: ``"genie space"`` gives
    ``"genie"``. A name that is in the catalogue is its own nearest.
    """
    tidy = name.strip().lower()
    if tidy in catalogue().scopes:
        return tidy
    if tidy in MISNAMED:
        return MISNAMED[tidy]
    plain = _plain(tidy)
    if not plain:
        return None
    # Imported here because only a mistake needs it.
    from difflib import get_close_matches

    if "." in tidy:
        close = get_close_matches(tidy, catalogue().scopes, n=1, cutoff=0.85)
        if close:
            return close[0]
    words = _words()
    close = [plain] if plain in words else get_close_matches(plain, words, n=1, cutoff=0.7)
    return words[close[0]] if close else None


def check_known(name: str) -> None:
    """Do nothing if the catalogue has ``name``, spelled exactly so.

    Raises:
        UnknownScopeError: The catalogue does not have it. The error carries the nearest name, if there is one.
    """
    if not isinstance(name, str):
        type_name = type(name).__name__
        raise UnknownScopeError(
            f"A scope is a string, not a {type_name}.",
            remedy="Pass names such as 'genie', or an MLflow resource such as DatabricksGenieSpace(...).",
            scope=type_name,
            nearest=None,
        )
    if name in catalogue().scopes:
        return
    near = nearest(name)
    what = f"The catalogue has no scope {name!r}." if name.strip() else "A scope's name is empty."
    hint = f"Write {near!r}" if near else "Run `obo-kit scopes` to list the known names"
    raise UnknownScopeError(
        what,
        remedy=f"{hint}; if {name!r} is a newer scope than this catalogue, pass allow_unknown=True."
        if name.strip()
        else f"{hint}.",
        scope=name,
        nearest=near,
    )


def search(term: str) -> list[Scope | ResourceKind]:
    """Return the scopes, then the kinds of resources, whose name, title, class or note contains ``term`` in any case.

    An empty term returns everything.
    """
    wanted = term.strip().lower()
    scopes = [scope for scope in catalogue().scopes.values() if wanted in f"{scope.name}\n{scope.note}".lower()]
    kinds = [
        kind
        for kind in catalogue().kinds.values()
        if wanted in "\n".join((kind.name, kind.title, *kind.mlflow_classes, kind.note)).lower()
    ]
    return [*scopes, *kinds]


# ---------------------------------------------------------------- resources and targets


def kind_of(resource: object) -> ResourceKind:
    """Return the kind of an MLflow resource. It is recognized by its class names; mlflow is not imported.

    Raises:
        PolicyError: No kind in the catalogue fits the type of ``resource``.
    """
    kinds = catalogue().kinds_by_class
    for cls in type(resource).__mro__:
        if cls.__name__ in kinds:
            return kinds[cls.__name__]
    if isinstance(resource, type):
        raise PolicyError(
            f"{resource.__name__} is a class, but a resource is an instance.",
            remedy=f"Name the resource: {resource.__name__}('...').",
        )
    raise PolicyError(
        f"The catalogue has no kind of resource for {type(resource).__name__}.",
        remedy=f"Pass one of {', '.join(sorted(kinds))}, or the scopes by name.",
    )


def scopes_of(kind: ResourceKind, target: Target, naming: Naming = "current") -> tuple[str, ...]:
    """Return the scopes to declare for ``kind`` on ``target``. All of them are needed.

    If the target no longer accepts the older names, ``naming="granular"`` gives the current ones.

    Raises:
        PolicyError: The target has no scope for this kind.
    """
    spelled = kind.current[target] if naming == "current" else kind.granular[target]
    if spelled:
        return spelled
    others = [_TITLES[other] for other in TARGETS if kind.current[other]]
    raise PolicyError(
        f"{_TITLES[target]} has no scope for a {kind.title}: the user's token cannot reach it there.",
        remedy=f"Reach it with system authorization (system_resources), or run the agent on {' or '.join(others)}.",
    )


def translate(scope: str, target: Target) -> tuple[str, ...]:
    """Return the target's spelling of a scope that an author wrote in either vocabulary.

    Returns the scope as written if the target accepts it; nothing if the target always grants it and refuses it in a
    configuration; otherwise the narrowest other spelling that covers it.

    Raises:
        UnknownScopeError: The catalogue does not know the scope.
        PolicyError: The target cannot grant it, nor anything equivalent.
    """
    check_known(scope)
    entry = catalogue().scopes[scope]
    if target in entry.accepted_by:
        return (scope,)
    if target in entry.always_granted_by:
        return ()
    family = _family(scope)
    heads = family.heads if family else ()
    for other in (scope.removesuffix(_READ), *heads, OTHER_NAME.get(scope, "")):
        if _accepts(target, other):
            return (other,)
    raise _ungrantable(entry, target)


def _accepts(target: Target, scope: str) -> bool:
    entry = catalogue().scopes.get(scope)
    return entry is not None and target in entry.accepted_by


def _ungrantable(entry: Scope, target: Target) -> PolicyError:
    instead = [name for name in INSTEAD.get(entry.name, ()) if _accepts(target, name)]
    elsewhere = [_TITLES[other] for other in TARGETS if other in entry.accepted_by]
    unasked = [name for name in INSTEAD.get(entry.name, ()) if target in catalogue().scopes[name].always_granted_by]
    if unasked:
        remedy = f"Leave it out: {_TITLES[target]} grants {', '.join(unasked)} unasked."
    elif instead:
        remedy = f"Choose what the tool really needs of {', '.join(instead)}; none of them means exactly the same."
    elif elsewhere:
        remedy = f"Reach it with system authorization, or run the agent on {' or '.join(elsewhere)}."
    else:
        remedy = "Reach it with system authorization (the agent's own credentials), or leave it out."
    return PolicyError(f"{_TITLES[target]} cannot grant the scope {entry.name!r} to a user's token.", remedy=remedy)


# ---------------------------------------------------------------- what a scope covers


def same_family(a: str, b: str) -> bool:
    """Check whether two spellings name the same permission, or one a part of the other's; a spelling is of its own family."""
    return a == b or (_family(a) is not None and _family(a) is _family(b))


def _family(scope: str) -> Family | None:
    entry = catalogue().scopes.get(scope)
    return None if entry is None or entry.family is None else catalogue().families[entry.family]


def _contains(outer: str, inner: str) -> bool:
    """Check whether the names alone say so: ``X`` holds ``X:read``, and the part before the first dot holds the dotted name.

    No other modifier is a part of its scope (``sql:restricted-query`` is not one of ``sql``).
    """
    base, _, modifier = inner.partition(":")
    if modifier not in {"", "read"} or outer == inner or (outer, inner) in NOT_A_PARENT:
        return False
    parent, dot, _ = base.partition(".")
    return outer == base or (bool(dot) and outer == parent)


def covers(held: str, needed: str) -> bool:
    """Check whether a token that carries ``held`` surely holds what ``needed`` stands for.

    True for equals; for a scope and what its name contains; for a family's heads and all their members; and for
    ``all-apis`` and anything. Not transitive if a family's narrower or older names are in doubt: see ``verdict``.
    """
    if held in {needed, _ALL} or _contains(held, needed):
        return True
    family = _family(held)
    if family is None or held not in family.heads:
        return False
    return needed in family.heads or needed in family.doubtful or needed in family.parts


def _names(held: Iterable[str]) -> frozenset[str]:
    if isinstance(held, str):
        raise TypeError("Pass the scopes as separate strings: split a token's scope claim at its spaces.")
    return frozenset(held)


def _in_doubt(held: frozenset[str], needed: str) -> bool:
    scopes = catalogue().scopes
    if needed not in scopes or any(name not in scopes for name in held):
        return True
    family = _family(needed)
    return family is not None and needed in family.heads and not held.isdisjoint(family.doubtful)


def verdict(held: Iterable[str] | None, needed: str) -> Verdict:
    """Return whether a token with the scopes ``held`` has ``needed``.

    ``UNKNOWN`` if the token does not say what it carries (``held`` is ``None``), if the catalogue does not know one of the
    spellings, or if sources disagree whether an older name still counts for the new one.

    Raises:
        TypeError: ``held`` is one string instead of several.
    """
    if held is None:
        return Verdict.UNKNOWN
    names = _names(held)
    if any(covers(name, needed) for name in names):
        return Verdict.GRANTED
    return Verdict.UNKNOWN if _in_doubt(names, needed) else Verdict.MISSING


def _all_verdict(held: frozenset[str], needed: tuple[str, ...]) -> tuple[Verdict, tuple[str, ...]]:
    verdicts = {name: verdict(held, name) for name in needed}
    missing = tuple(name for name, answer in verdicts.items() if answer is Verdict.MISSING)
    if missing:
        return Verdict.MISSING, missing
    return (Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts.values() else Verdict.GRANTED), ()


def implied(scopes: Iterable[str]) -> frozenset[str]:
    """Return those of ``scopes`` that another of them contains, by name: ``sql`` contains ``sql.warehouses``.

    Two spellings of one permission, such as ``genie`` and ``dashboards.genie``, do not imply each other: targets differ.
    """
    names = _names(scopes)
    return frozenset(inner for inner in names if any(_contains(outer, inner) for outer in names))


def minimise(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return ``scopes`` sorted, without duplicates and without those that another one implies."""
    names = _names(scopes)
    return tuple(sorted(names - implied(names)))


# ---------------------------------------------------------------- routes


@functools.cache
def _templates() -> list[tuple[tuple[str, ...], Route]]:
    templates = [(segments_of(route.path), route) for route in catalogue().routes]
    return sorted(templates, key=lambda entry: (len(entry[0]), bool(entry[1].methods)), reverse=True)


def _match(method: str, path: str) -> tuple[Route, bool] | None:
    """Return the most specific route, and whether the path ends where its template does."""
    return _match_segments(method, segments_of(path))


def _match_segments(method: str, segments: tuple[str, ...]) -> tuple[Route, bool] | None:
    verb = "GET" if method.upper() == "HEAD" else method.upper()
    for template, route in _templates():
        if (
            len(template) <= len(segments)
            and (not route.methods or verb in route.methods)
            and all(map(fits, template, segments))
        ):
            return route, len(template) == len(segments)
    return None


def route_for(method: str, path: str) -> Route | None:
    """Return the most specific route of a call, or ``None`` if the catalogue knows none.

    Args:
        method: The HTTP method, in any case. HEAD counts as GET.
    """
    match = _match(method, path)
    return match[0] if match else None


def route_verdict(route: Route, held: Iterable[str] | None) -> tuple[Verdict, tuple[str, ...]]:
    """Return whether a token with the scopes ``held`` may call ``route``.

    Returns:
        The verdict, and the missing scopes: those of ``all_of``, or the whole of ``any_of``, one of which would be enough.
        They are empty unless the verdict is ``MISSING``.
    """
    if held is None:
        return Verdict.UNKNOWN, ()
    names = _names(held)
    if route.all_of:
        return _all_verdict(names, route.all_of)
    # any_of lists every spelling that is accepted, so an older name that is not in it is not in doubt here.
    if any(name == needed or (not route.exact and covers(name, needed)) for name in names for needed in route.any_of):
        return Verdict.GRANTED, ()
    if any(name not in catalogue().scopes or name in route.doubtful for name in names):
        return Verdict.UNKNOWN, ()
    return Verdict.MISSING, route.any_of


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """The catalogue's answer for one request.

    Attributes:
        route: The most specific route; `None` if the catalogue knows none.
        others: The routes of the path's other readings: servers differ in how they read a percent-encoded slash.
        reads: True if the call has no effect, so that it may be repeated.
    """

    route: Route | None
    others: tuple[Route, ...]
    reads: bool


@functools.lru_cache(maxsize=1024)
def match_route(method: str, path: str) -> RouteMatch:
    """Return what the catalogue knows of a call: `route_for` and `is_read` in one."""
    match = _match(method, path)
    reads = method.upper() in {"GET", "HEAD"} or (match is not None and match[0].reads and match[1])
    decoded = _match_segments(method, segments_of(path, decode=True)) if "%" in path else None
    if match is None:
        match, decoded = decoded, None
    return RouteMatch(match[0] if match else None, (decoded[0],) if decoded else (), reads)


def opens_unknown(held: Iterable[str]) -> bool:
    """Return whether scopes may open a path that the catalogue does not know: `all-apis`, or a scope it does not know."""
    return any(name == _ALL or name not in catalogue().scopes for name in _names(held))


def is_read(method: str, path: str) -> bool:
    """Check whether a call may be repeated because it has no effect.

    GET and HEAD have none. Of other calls, only those count that the catalogue marks, such as a vector search.
    """
    return match_route(method, path).reads
