"""The types of the catalogue's entries: immutable, hashable and picklable. None of them holds anything about a user."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from obo_kit._utils.default import NONE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

__all__ = [
    "TARGETS",
    "Catalogue",
    "Confidence",
    "Dispute",
    "Family",
    "Grant",
    "Naming",
    "ResourceKind",
    "Route",
    "Scope",
    "Source",
    "Target",
    "Verdict",
]

Target = Literal["model-serving", "apps"]
"""Where the agent runs."""

Naming = Literal["current", "granular"]
"""The vocabulary of a resource's scopes: the short names of 2026, or the older dotted ones."""

Confidence = Literal["observed", "documented", "reported", "inferred"]
"""Recorded on a workspace; stated by Databricks (docs, schema, shipped code); reported by somebody; or inferred from those."""

TARGETS: tuple[Target, ...] = ("model-serving", "apps")


class Verdict(enum.Enum):
    """The judgment of a token's scopes. There are three values, because a spelling that nobody has seen proves nothing."""

    GRANTED = "granted"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The source of a fact.

    Attributes:
        key: The name by which entries cite it.
        url: The page, or ``""`` if the source has no public address.
        what: What it is, in a few words.
        as_of: The day that it describes, or ``None`` if it has no date.
    """

    key: str
    url: str
    what: str
    as_of: date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """One spelling of an API scope.

    Attributes:
        name: The spelling, e.g. ``"vector-search"``.
        accepted_by: The targets that accept it in an agent's configuration.
        refused_by: The targets that were seen to refuse it. A target in neither set was never seen to accept it.
        always_granted_by: The targets whose user tokens carry it without being asked.
        family: The name that all spellings of a permission, and its parts, share; ``None`` if it stands alone.
        confidence: How well the entry is known.
        as_of: The day of the latest observation behind it.
        sources: Keys into ``SOURCES``.
        note: Anything else to know.
        reach: What a token with this scope opens, beyond what the agent means to use.
    """

    name: str
    accepted_by: frozenset[Target]
    refused_by: frozenset[Target]
    always_granted_by: frozenset[Target]
    family: str | None
    confidence: Confidence
    as_of: date
    sources: tuple[str, ...]
    note: str = ""
    reach: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A grant that the user needs on the resource, besides the token's scope.

    Attributes:
        privilege: E.g. ``"CAN RUN"`` or ``"SELECT"``.
        on: The object that it is granted on, in words, e.g. ``"its warehouse"``.
        confidence: How well it is known.
        sources: Keys into ``SOURCES``.
        note: Anything else to know.
    """

    privilege: str
    on: str
    confidence: Confidence
    sources: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceKind:
    """A kind of resource, and how each target spells the scopes that reach it.

    The three mappings have an entry for every target. An empty tuple under ``current`` means that the target has no scope
    for this kind.

    Attributes:
        name: E.g. ``"genie_space"``.
        title: E.g. ``"Genie space"``.
        mlflow_classes: Names of the ``mlflow.models.resources`` classes that stand for it.
        current: The scopes to declare. All of them are needed.
        granular: The same in the older dotted names, if the target still accepts them.
        also: Further spellings that are enough for all or some uses of the kind.
        grants: The grants that the user needs.
        confidence: How well the entry is known: the weaker value, if targets differ.
        as_of: The day of the latest observation behind it.
        sources: Keys into ``SOURCES``.
        note: Anything else to know.
    """

    name: str
    title: str
    mlflow_classes: tuple[str, ...]
    current: Mapping[Target, tuple[str, ...]] = field(hash=False)
    granular: Mapping[Target, tuple[str, ...]] = field(hash=False)
    also: Mapping[Target, tuple[str, ...]] = field(hash=False)
    grants: tuple[Grant, ...]
    confidence: Confidence
    as_of: date
    sources: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A part of the REST API, and the scopes that open it.

    Attributes:
        methods: Upper-case HTTP methods; empty means any.
        path: A template that matches its own segments and everything below them: ``"{x}"`` stands for one segment,
            ``"{x}:verb"`` for one that ends in ``:verb``.
        any_of: One of these is enough. Declare the first.
        all_of: All of these are needed.
        kind: The ``ResourceKind`` it belongs to, or ``None``.
        reads: True if a call other than GET or HEAD has no effect, so that it may be repeated.
        doubtful: Spellings of which sources disagree whether they are enough.
        exact: True if only ``any_of`` as spelled opens it: no other name of the same permission does, nor ``all-apis``.
        instead: A way to do without the scopes, by the kind of resource that a tool declares; under ``""`` for any tool.
        confidence: How well the entry is known.
        as_of: The day of the latest observation behind it.
        sources: Keys into ``SOURCES``.
        note: Anything else to know.
    """

    methods: frozenset[str]
    path: str
    any_of: tuple[str, ...]
    all_of: tuple[str, ...]
    kind: str | None
    reads: bool
    confidence: Confidence
    as_of: date
    sources: tuple[str, ...]
    note: str = ""
    doubtful: tuple[str, ...] = ()
    exact: bool = False
    instead: Mapping[str, str] = field(hash=False, default=NONE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Spellings that belong together, beyond what their dots already say.

    Attributes:
        heads: Equivalent names. Each covers every part.
        doubtful: Parts of which it is disputed whether they are enough for a head: older names that some APIs stopped
            accepting, or names that the REST reference distinguishes and other reports do not.
        parts: Parts that are certainly not enough for a head.
        sources: Keys into ``SOURCES``.
    """

    heads: tuple[str, ...]
    doubtful: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispute:
    """A point on which sources disagree.

    Attributes:
        about: The names of the scopes and kinds that it concerns.
        one: The statement of some sources.
        other: The statement of the others.
        stance: The catalogue's decision.
        sources: Keys into ``SOURCES``, for both sides.
    """

    about: tuple[str, ...]
    one: str
    other: str
    stance: str
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Everything that is known, in one table.

    Attributes:
        scopes: Every spelling that is known to be a scope, by name.
        families: The spellings that belong together.
        kinds: Every kind of resource, by name.
        routes: The parts of the REST API whose scopes are known. If several match a call, the most specific one counts.
        sources: Every source that an entry cites, by key.
        disputes: The points on which sources disagree.
        file: The file whose entries replace the kit's own, or ``None``.
    """

    scopes: Mapping[str, Scope] = field(hash=False)
    families: Mapping[str, Family] = field(hash=False)
    kinds: Mapping[str, ResourceKind] = field(hash=False)
    routes: tuple[Route, ...]
    sources: Mapping[str, Source] = field(hash=False)
    disputes: tuple[Dispute, ...]
    file: str | None = None

    @cached_property
    def kinds_by_class(self) -> Mapping[str, ResourceKind]:
        """Return the kinds, by the names of the MLflow classes that stand for them."""
        return {name: kind for kind in self.kinds.values() for name in kind.mlflow_classes}

    def seen(self, entry: Scope | ResourceKind | Route) -> tuple[date, date]:
        """Return the days of the oldest and of the latest dated observation behind an entry."""
        days = [self.sources[key].as_of for key in entry.sources]
        return min([day for day in days if day is not None and day <= entry.as_of], default=entry.as_of), entry.as_of
