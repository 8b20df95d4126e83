"""A project's own file, which corrects the catalogue.

The file has a section for each table of the `Catalogue`, and the keys of an entry are the fields of its type. What is
written replaces the field of the kit's entry; the rest of the entry stays. An entry that the kit does not have is new.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, fields, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from obo_kit._utils.yaml import ConfigError, read, said
from obo_kit.exceptions import PolicyError
from obo_kit.scopes._data.sources import source_of
from obo_kit.scopes._model import (
    TARGETS,
    Catalogue,
    Confidence,
    Family,
    Grant,
    ResourceKind,
    Route,
    Scope,
    Source,
    Target,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from obo_kit._utils.yaml import Document, Place

__all__ = ["overridden"]

_SECTIONS: Final = ("scopes", "families", "kinds", "routes")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_Entry = TypeVar("_Entry", Scope, Family, ResourceKind, Route)


def overridden(catalogue: Catalogue, file: str, *, inside: str | None = None) -> Catalogue:
    """The catalogue with the entries of a file in place of its own.

    Args:
        catalogue: What is known without it.
        file: A YAML file with ``as_of`` (the day it speaks of) and sections ``scopes``, ``families``, ``kinds``, ``routes``.
        inside: The folder that it was found in, which a symbolic link must not lead out of; ``None`` for one that is named.

    Raises:
        PolicyError: The file cannot be read, or an entry does not fit; the message holds file, line and key.
    """
    try:
        return _Reading(catalogue, read(file, inside=inside), Path(file).name).result()
    except (ConfigError, ImportError) as error:
        raise PolicyError(
            f"The catalogue file cannot be used. {error}",
            remedy="Correct that entry, or run without the file: OBO_KIT_CATALOGUE='' (docs/policy.md describes its keys).",
        ) from None


class _Reading:
    """One file, read over a catalogue."""

    def __init__(self, catalogue: Catalogue, document: Document, name: str) -> None:
        self.base = catalogue
        self.document = document
        self.top = document.mapping((), document.data)
        for key in self.top:
            if key not in {"as_of", *_SECTIONS}:
                raise document.unknown((key,), ["as_of", *_SECTIONS])
        if "as_of" not in self.top:
            raise document.error((), "needs 'as_of', the day on which this was seen, such as 2026-11-23")
        self.as_of = self.day(("as_of",), self.top["as_of"])
        own = Source(key=name, url="", what="The project's own catalogue file", as_of=self.as_of)
        self.own = name
        self.sources = dict(catalogue.sources) | {name: own}
        self.scopes = dict(catalogue.scopes)
        self.families = dict(catalogue.families)
        self.kinds = dict(catalogue.kinds)
        self.readers: Mapping[str, Callable[[Place, Any], Any]] = {
            "accepted_by": self.targets,
            "all_of": self.known_scopes,
            "also": self.per_target,
            "always_granted_by": self.targets,
            "any_of": self.known_scopes,
            "as_of": self.day,
            "confidence": self.confidence,
            "current": self.per_target,
            "doubtful": lambda place, value: frozenset(self.known_scopes(place, value)),  # of a family, or a route
            "granular": self.per_target,
            "grants": self.grants,
            "exact": self.truth,
            "heads": self.known_scopes,
            "instead": self.ways,
            "kind": self.known_kind,
            "mlflow_classes": self.texts,
            "note": self.text,
            "parts": lambda place, value: frozenset(self.known_scopes(place, value)),
            "reach": self.text,
            "reads": self.truth,
            "refused_by": self.targets,
            "sources": self.cited,
            "title": self.text,
        }

    def result(self) -> Catalogue:
        # Names first, so that what refers to them finds them.
        for name, place, given in self.section("scopes"):
            self.scopes[name] = self.scope(name, place, given)
        for name, place, given in self.section("families"):
            self.families[name] = self.family(name, place, given)
        for name, place, given in self.section("kinds"):
            self.kinds[name] = self.kind(name, place, given)
        self.check_kinds()
        routes = [self.route(key, place, given) for key, place, given in self.section("routes")]
        replaced = {(route.methods, route.path) for route in routes}
        added = tuple(name for name in self.scopes if name not in self.base.scopes)
        kept = [route for route in self.base.routes if (route.methods, route.path) not in replaced]
        return Catalogue(
            scopes=MappingProxyType(dict(sorted(self.scopes.items()))),
            families=MappingProxyType(self.families),
            kinds=MappingProxyType(self.kinds),
            # The file's first: of two that are equally specific, the first one counts.
            routes=(*routes, *(_open_to(route, added) for route in kept)),
            sources=MappingProxyType(self.sources),
            disputes=self.base.disputes,
            file=os.path.abspath(str(self.document.file)),
        )

    def section(self, name: str) -> Iterable[tuple[str, Place, Mapping[str, Any]]]:
        for key, value in self.document.mapping((name,), self.top.get(name)).items():
            place = (name, key)
            if not key.strip() or key != key.strip():
                raise self.document.error(place, "a name is text without white space around it")
            yield key, place, self.document.mapping(place, value)

    # ---------------------------------------------------------------- entries

    def changes(self, place: Place, given: Mapping[str, Any], of: type, *, but: Iterable[str] = ()) -> dict[str, Any]:
        known = [field.name for field in fields(of) if field.name not in but]
        for key in given:
            if key not in known:
                raise self.document.unknown((*place, key), known)
        found = {key: self.readers[key]((*place, key), value) for key, value in given.items()}
        return {**found, "sources": tuple(dict.fromkeys((self.own, *found.get("sources", ()))))}

    def made(self, known: Any, of: type[_Entry], found: dict[str, Any], *, place: Place, **unless: Any) -> _Entry:
        if "as_of" in {field.name for field in fields(of)}:
            found = {"as_of": self.as_of, "confidence": "reported", **found}
        if known is not None:
            # The older sources still say when the entry was first seen.
            sources: dict[str, Any] = dict.fromkeys((*known.sources, *found["sources"]))
            changed: _Entry = replace(known, **{**found, "sources": tuple(sources)})
            return changed
        found = {**unless, **found}
        for field in fields(of):
            if field.name not in found and field.default is MISSING:
                raise self.document.error(place, f"is new here, and needs {field.name!r}")
        return of(**found)

    def scope(self, name: str, place: Place, given: Mapping[str, Any]) -> Scope:
        found = self.changes(place, given, Scope, but=("name", "family"))
        nobody: frozenset[Target] = frozenset()
        scope = self.made(
            self.scopes.get(name), Scope, found, place=place, name=name, accepted_by=nobody, refused_by=nobody,
            always_granted_by=nobody, family=None,
        )  # fmt: skip
        accepted = found.get("accepted_by", nobody)
        both = accepted & (found.get("refused_by", nobody) | found.get("always_granted_by", nobody))
        if both:
            raise self.document.error(
                place, f"{', '.join(sorted(both))} cannot accept it and refuse it, or grant it unasked"
            )
        # What is said here settles the matter for the targets that it names.
        for one, others in (
            ("accepted_by", ("refused_by", "always_granted_by")),
            ("refused_by", ("accepted_by",)),
            ("always_granted_by", ("accepted_by",)),
        ):
            for other in others:
                if one in found and other not in found:
                    scope = replace(scope, **{other: getattr(scope, other) - found[one]})
        return scope

    def family(self, name: str, place: Place, given: Mapping[str, Any]) -> Family:
        known = self.families.get(name)
        family = self.made(known, Family, self.changes(place, given, Family), place=place)
        members = [*family.heads, *family.doubtful, *family.parts]
        for member in members:
            if members.count(member) > 1:
                raise self.document.error(place, f"{member!r} stands in it twice")
            other = self.scopes[member].family
            if other not in {None, name}:
                raise self.document.error(place, f"{member!r} is of the family {other!r} already")
            self.scopes[member] = replace(self.scopes[member], family=name)
        for scope in list(self.scopes.values()):
            if scope.family == name and scope.name not in members:
                self.scopes[scope.name] = replace(scope, family=None)
        return family

    def kind(self, name: str, place: Place, given: Mapping[str, Any]) -> ResourceKind:
        found = self.changes(place, given, ResourceKind, but=("name",))
        known = self.kinds.get(name)
        current = found.get("current", {})
        for key in ("current", "granular", "also"):
            before: Mapping[Target, tuple[str, ...]] = getattr(known, key) if known else dict.fromkeys(TARGETS, ())
            # A target whose current names changed has no older ones any more, unless they are given.
            found[key] = {**before, **(current if key == "granular" else {}), **found.get(key, {})}
        kind = self.made(
            known, ResourceKind, found, place=place, name=name, mlflow_classes=(), grants=(),
            also=dict.fromkeys(TARGETS, ()),
        )  # fmt: skip
        if not any(kind.current.values()):
            raise self.document.error(place, "is new here, and needs 'current': its scopes, by target")
        for cls in kind.mlflow_classes:
            for other in self.kinds.values():
                if other.name != name and cls in other.mlflow_classes:
                    raise self.document.error(
                        (*place, "mlflow_classes"), f"{cls} stands for the kind {other.name!r} already"
                    )
        return kind

    def check_kinds(self) -> None:
        """No kind may ask a target for what it does not accept, whichever of the two the file changes.

        Of a kind that nobody declares as a resource, such as an MCP server, the target has no scope then.
        """
        for name, entry in self.kinds.items():
            if not entry.mlflow_classes and self.base.kinds.get(name) == entry:
                self.kinds[name] = replace(entry, current={t: self.accepted(entry, t) for t in TARGETS})
        asked = [
            (kind.name, target, scope)
            for kind in self.kinds.values()
            for target in TARGETS
            for scope in kind.current[target]
        ]
        for kind, target, scope in asked:
            if target not in self.scopes[scope].accepted_by:
                place = (
                    ("scopes", scope) if self.base.kinds.get(kind) == self.kinds[kind] else ("kinds", kind, "current")
                )
                raise self.document.error(
                    place, f"{target} is not known to accept {scope!r}, and kinds.{kind}.current.{target} asks for it"
                )

    def accepted(self, kind: ResourceKind, target: Target) -> tuple[str, ...]:
        scopes = kind.current[target]
        return scopes if all(target in self.scopes[scope].accepted_by for scope in scopes) else ()

    def route(self, key: str, place: Place, given: Mapping[str, Any]) -> Route:
        *methods, path = key.split()
        for method in methods:
            if method not in _METHODS:
                raise self.document.unknown((*place[:-1], method), _METHODS, "method")
        if not path.startswith("/"):
            raise self.document.error(
                place, "a route is a path from '/', with its methods before it: 'POST /api/2.0/…'"
            )
        found = self.changes(place, given, Route, but=("methods", "path"))
        known = next((one for one in self.base.routes if (one.methods, one.path) == (frozenset(methods), path)), None)
        for one, other in (("any_of", "all_of"), ("all_of", "any_of")):
            if found.get(one) and other not in found:
                found[other] = ()
        route = self.made(
            known, Route, found, place=place, methods=frozenset(methods), path=path, any_of=(), all_of=(), kind=None,
            reads=False, doubtful=(), exact=False, instead={},
        )  # fmt: skip
        if bool(route.any_of) == bool(route.all_of):
            raise self.document.error(place, "needs either 'any_of' or 'all_of'")
        return route

    # ---------------------------------------------------------------- values

    def text(self, place: Place, value: Any) -> str:
        if not isinstance(value, str):
            raise self.document.error(place, f"expected text, not {said(value)}")
        return value

    def truth(self, place: Place, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self.document.error(place, f"expected true or false, not {said(value)}")
        return value

    def day(self, place: Place, value: Any) -> date:
        if type(value) is not date:
            raise self.document.error(place, f"expected a day such as 2026-11-23, not {said(value)}")
        return value

    def texts(self, place: Place, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            return (self.text(place, value),)
        return tuple(self.text((*place, number), one) for number, one in enumerate(value))

    def one_of(self, place: Place, value: Any, known: Iterable[str], what: str) -> str:
        name = self.text(place, value)
        if name not in known:
            raise self.document.unknown((*place, name), known, what)
        return name

    def known_scopes(self, place: Place, value: Any) -> tuple[str, ...]:
        return tuple(self.one_of(place, name, self.scopes, "scope") for name in self.texts(place, value))

    def known_kind(self, place: Place, value: Any) -> str | None:
        return None if value is None else self.one_of(place, value, self.kinds, "kind of resource")

    def ways(self, place: Place, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self.document.error(place, f"expected texts by kinds of resources, not {said(value)}")
        return {
            kind and self.one_of((*place, kind), kind, self.kinds, "kind of resource"): self.text((*place, kind), words)
            for kind, words in value.items()
        }

    def confidence(self, place: Place, value: Any) -> str:
        return self.one_of(place, value, get_args(Confidence), "confidence")

    def targets(self, place: Place, value: Any) -> frozenset[str]:
        return frozenset(self.one_of(place, name, TARGETS, "target") for name in self.texts(place, value))

    def per_target(self, place: Place, value: Any) -> dict[str, tuple[str, ...]]:
        given = self.document.mapping(place, value)
        for target in given:
            if target not in TARGETS:
                raise self.document.unknown((*place, target), TARGETS, "target")
        return {target: self.known_scopes((*place, target), names) for target, names in given.items()}

    def grants(self, place: Place, value: Any) -> tuple[Grant, ...]:
        if not isinstance(value, list):
            raise self.document.error(place, f"expected a list of grants, not {said(value)}")
        found: list[Grant] = []
        for number, one in enumerate(value):
            entry: dict[str, Any] = {"confidence": "reported"}
            here = (*place, number)
            for key, text in self.document.mapping(here, one).items():
                if key not in {"privilege", "on", "confidence", "note"}:
                    raise self.document.unknown((*here, key), ["privilege", "on", "confidence", "note"])
                entry[key] = (self.confidence if key == "confidence" else self.text)((*here, key), text)
            if not entry.get("privilege") or not entry.get("on"):
                raise self.document.error(here, "needs 'privilege' and 'on'")
            found.append(Grant(sources=(self.own,), **entry))
        return tuple(found)

    def cited(self, place: Place, value: Any) -> tuple[str, ...]:
        keys = self.texts(place, value)
        for key in keys:
            if key not in self.sources:
                try:
                    self.sources[key] = source_of(key)
                except KeyError:
                    url = key if key.startswith("https://") and " " not in key else ""
                    self.sources[key] = Source(key=key, url=url, what=f"Named in {self.own}", as_of=self.as_of)
        return keys


def _open_to(route: Route, added: tuple[str, ...]) -> Route:
    """Nearly every scope lets the user be asked for: so do those that a file adds."""
    return replace(route, any_of=(*route.any_of, *added)) if added and route.path.endswith("/scim/v2/Me") else route
