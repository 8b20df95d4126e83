"""Read a project's own file, which corrects the catalogue.

The file has a section for each table of the `Catalogue`. The keys of an entry are the fields of its type. A field in the
file replaces the field of the kit's entry, and the rest of the entry stays. An entry that the kit does not have is added.
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

_MOST_BYTES = 2**20  # twenty times what the kit itself knows, and read within seconds

_SECTIONS: Final = ("scopes", "families", "kinds", "routes")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_Entry = TypeVar("_Entry", Scope, Family, ResourceKind, Route)


def overridden(catalogue: Catalogue, file: str, *, inside: str | None = None) -> Catalogue:
    """Return the catalogue, with entries replaced by those of a file.

    Args:
        catalogue: The catalogue without the file.
        file: A YAML file with ``as_of`` (the day it describes) and sections ``scopes``, ``families``, ``kinds``, ``routes``.
        inside: The folder that the file was found in. A symbolic link must not lead out of it. Pass ``None`` for a file
            that the caller named.

    Raises:
        PolicyError: The file cannot be read, or an entry does not fit. The message names the file, the line and the key.
    """
    try:
        return _Reading(catalogue, read(file, inside=inside, limit=_MOST_BYTES), Path(file).name).result()
    except (ConfigError, ImportError) as error:
        raise PolicyError(
            f"The catalogue file cannot be used. {error}",
            remedy="Correct that entry, or run without the file: OBO_KIT_CATALOGUE='' (docs/policy.md describes its keys).",
        ) from None


class _Reading:
    """The entries of one file, read over a catalogue."""

    def __init__(self, catalogue: Catalogue, document: Document, name: str) -> None:
        self.base = catalogue
        self.document = document
        self.top = document.mapping((), document.data)
        for key in self.top:
            if key not in {"as_of", *_SECTIONS}:
                raise document.unknown((key,), ["as_of", *_SECTIONS])
        if "as_of" not in self.top:
            raise document.error((), "needs 'as_of', the day on which the entries were seen, such as 2026-11-23")
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
        # Names first: later sections refer to them.
        for name, place, values in self.section("scopes"):
            self.scopes[name] = self.scope(name, place, values)
        for name, place, values in self.section("families"):
            self.families[name] = self.family(name, place, values)
        for name, place, values in self.section("kinds"):
            self.kinds[name] = self.kind(name, place, values)
        self.check_kinds()
        routes = [self.route(key, place, values) for key, place, values in self.section("routes")]
        replaced = {(route.methods, route.path) for route in routes}
        added = tuple(name for name in self.scopes if name not in self.base.scopes)
        unchanged = [route for route in self.base.routes if (route.methods, route.path) not in replaced]
        return Catalogue(
            scopes=MappingProxyType(dict(sorted(self.scopes.items()))),
            families=MappingProxyType(self.families),
            kinds=MappingProxyType(self.kinds),
            # The file's routes come first: of two that are equally specific, the first counts.
            routes=(*routes, *(_open_to(route, added) for route in unchanged)),
            sources=MappingProxyType(self.sources),
            disputes=self.base.disputes,
            file=os.path.abspath(str(self.document.file)),
        )

    def section(self, name: str) -> Iterable[tuple[str, Place, Mapping[str, Any]]]:
        for key, value in self.document.mapping((name,), self.top.get(name)).items():
            place = (name, key)
            if not key.strip() or key != key.strip():
                raise self.document.error(place, "a name must be text without white space around it")
            yield key, place, self.document.mapping(place, value)

    # ---------------------------------------------------------------- entries

    def changes(self, place: Place, values: Mapping[str, Any], of: type, *, but: Iterable[str] = ()) -> dict[str, Any]:
        keys = [field.name for field in fields(of) if field.name not in but]
        for key in values:
            if key not in keys:
                raise self.document.unknown((*place, key), keys)
        fields_read = {key: self.readers[key]((*place, key), value) for key, value in values.items()}
        return {**fields_read, "sources": tuple(dict.fromkeys((self.own, *fields_read.get("sources", ()))))}

    def made(self, original: Any, of: type[_Entry], values: dict[str, Any], *, place: Place, **unless: Any) -> _Entry:
        if "as_of" in {field.name for field in fields(of)}:
            values = {"as_of": self.as_of, "confidence": "reported", **values}
        if original is not None:
            # Keep the older sources: they say when the entry was first seen.
            sources: dict[str, Any] = dict.fromkeys((*original.sources, *values["sources"]))
            changed: _Entry = replace(original, **{**values, "sources": tuple(sources)})
            return changed
        values = {**unless, **values}
        for field in fields(of):
            if field.name not in values and field.default is MISSING:
                raise self.document.error(place, f"is new here, and needs {field.name!r}")
        return of(**values)

    def scope(self, name: str, place: Place, values: Mapping[str, Any]) -> Scope:
        changes = self.changes(place, values, Scope, but=("name", "family"))
        nobody: frozenset[Target] = frozenset()
        scope = self.made(
            self.scopes.get(name), Scope, changes, place=place, name=name, accepted_by=nobody, refused_by=nobody,
            always_granted_by=nobody, family=None,
        )  # fmt: skip
        accepted = changes.get("accepted_by", nobody)
        both = accepted & (changes.get("refused_by", nobody) | changes.get("always_granted_by", nobody))
        if both:
            raise self.document.error(
                place, f"{', '.join(sorted(both))} cannot both accept it and refuse it, or grant it unasked"
            )
        # The file settles the matter for the targets that it names.
        for field, others in (
            ("accepted_by", ("refused_by", "always_granted_by")),
            ("refused_by", ("accepted_by",)),
            ("always_granted_by", ("accepted_by",)),
        ):
            for other in others:
                if field in changes and other not in changes:
                    scope = replace(scope, **{other: getattr(scope, other) - changes[field]})
        return scope

    def family(self, name: str, place: Place, values: Mapping[str, Any]) -> Family:
        family = self.made(self.families.get(name), Family, self.changes(place, values, Family), place=place)
        members = [*family.heads, *family.doubtful, *family.parts]
        for member in members:
            if members.count(member) > 1:
                raise self.document.error(place, f"{member!r} is in it twice")
            other = self.scopes[member].family
            if other not in {None, name}:
                raise self.document.error(place, f"{member!r} is already in the family {other!r}")
            self.scopes[member] = replace(self.scopes[member], family=name)
        for scope in list(self.scopes.values()):
            if scope.family == name and scope.name not in members:
                self.scopes[scope.name] = replace(scope, family=None)
        return family

    def kind(self, name: str, place: Place, values: Mapping[str, Any]) -> ResourceKind:
        changes = self.changes(place, values, ResourceKind, but=("name",))
        original = self.kinds.get(name)
        current = changes.get("current", {})
        for key in ("current", "granular", "also"):
            before: Mapping[Target, tuple[str, ...]] = (
                getattr(original, key) if original else dict.fromkeys(TARGETS, ())
            )
            # If the file changes a target's current names, the older ones go, unless the file gives them too.
            changes[key] = {**before, **(current if key == "granular" else {}), **changes.get(key, {})}
        kind = self.made(
            original, ResourceKind, changes, place=place, name=name, mlflow_classes=(), grants=(),
            also=dict.fromkeys(TARGETS, ()),
        )  # fmt: skip
        if not any(kind.current.values()):
            raise self.document.error(place, "is new here, and needs 'current': its scopes, by target")
        for cls in kind.mlflow_classes:
            for other in self.kinds.values():
                if other.name != name and cls in other.mlflow_classes:
                    raise self.document.error(
                        (*place, "mlflow_classes"), f"{cls} already stands for the kind {other.name!r}"
                    )
        return kind

    def check_kinds(self) -> None:
        """Refuse a kind that asks a target for a scope that it does not accept, whichever of the two the file changes.

        A kind that nobody declares as a resource, such as an MCP server, is not refused: the target has no scope for it then.
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

    def route(self, key: str, place: Place, values: Mapping[str, Any]) -> Route:
        *methods, path = key.split()
        for method in methods:
            if method not in _METHODS:
                raise self.document.unknown((*place[:-1], method), _METHODS, "method")
        if not path.startswith("/"):
            raise self.document.error(
                place, "a route is a path from '/', with its methods before it: 'POST /api/2.0/…'"
            )
        changes = self.changes(place, values, Route, but=("methods", "path"))
        original = next(
            (route for route in self.base.routes if (route.methods, route.path) == (frozenset(methods), path)), None
        )
        for field, other in (("any_of", "all_of"), ("all_of", "any_of")):
            if changes.get(field) and other not in changes:
                changes[other] = ()
        route = self.made(
            original, Route, changes, place=place, methods=frozenset(methods), path=path, any_of=(), all_of=(), kind=None,
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
        return tuple(self.text((*place, number), item) for number, item in enumerate(value))

    def one_of(self, place: Place, value: Any, names: Iterable[str], what: str) -> str:
        name = self.text(place, value)
        if name not in names:
            raise self.document.unknown((*place, name), names, what)
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
        scopes = self.document.mapping(place, value)
        for target in scopes:
            if target not in TARGETS:
                raise self.document.unknown((*place, target), TARGETS, "target")
        return {target: self.known_scopes((*place, target), names) for target, names in scopes.items()}

    def grants(self, place: Place, value: Any) -> tuple[Grant, ...]:
        if not isinstance(value, list):
            raise self.document.error(place, f"expected a list of grants, not {said(value)}")
        entries: list[Grant] = []
        for number, item in enumerate(value):
            entry: dict[str, Any] = {"confidence": "reported"}
            here = (*place, number)
            for key, text in self.document.mapping(here, item).items():
                if key not in {"privilege", "on", "confidence", "note"}:
                    raise self.document.unknown((*here, key), ["privilege", "on", "confidence", "note"])
                entry[key] = (self.confidence if key == "confidence" else self.text)((*here, key), text)
            if not entry.get("privilege") or not entry.get("on"):
                raise self.document.error(here, "needs 'privilege' and 'on'")
            entries.append(Grant(sources=(self.own,), **entry))
        return tuple(entries)

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
    """Return the route with a file's new scopes: nearly every scope opens the user's own entry, so those do too."""
    return replace(route, any_of=(*route.any_of, *added)) if added and route.path.endswith("/scim/v2/Me") else route
