"""The shapes of the catalogue's entries: immutable, hashable, picklable, and nothing in them is about a user."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

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
"""Which vocabulary a resource is spelled in: the short names of 2026, or the older dotted ones."""

Confidence = Literal["documented", "reported", "inferred"]
"""Stated by Databricks (docs, schema, shipped code); observed and written down by somebody; or concluded from those."""

TARGETS: tuple[Target, ...] = ("model-serving", "apps")


class Verdict(enum.Enum):
    """Say whether a token holds what is needed. Three-valued, because a spelling nobody has seen proves nothing."""

    GRANTED = "granted"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a fact comes from.

    Attributes:
        key: The name by which entries cite it.
        url: The page, or ``""`` where the source has no public address.
        what: What it is, in a few words.
        as_of: The day it speaks of, or ``None`` where it bears no date.
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
        refused_by: The targets that were seen to refuse it. A target in neither set has never been seen to accept it.
        always_granted_by: The targets whose user tokens carry it unasked.
        family: The name that all spellings of a permission, and its parts, share; ``None`` where it stands alone.
        confidence: How well the entry is known.
        as_of: The day of the youngest observation behind it.
        sources: Keys into ``SOURCES``.
        note: What else one should know.
        reach: What a token that carries it opens, besides what the agent means to use.
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
    """Name what the user must be granted on the resource, besides the token's scope.

    Attributes:
        privilege: E.g. ``"CAN RUN"`` or ``"SELECT"``.
        on: The object it is granted on, in words, e.g. ``"its warehouse"``.
        confidence: How well it is known.
        sources: Keys into ``SOURCES``.
        note: What else one should know.
    """

    privilege: str
    on: str
    confidence: Confidence
    sources: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceKind:
    """A kind of resource, and how each target spells the scopes that reach it.

    The three mappings hold an entry for every target; an empty tuple under ``current`` means that the target has no
    scope for this kind.

    Attributes:
        name: E.g. ``"genie_space"``.
        title: E.g. ``"Genie space"``.
        mlflow_classes: Names of the ``mlflow.models.resources`` classes that stand for it.
        current: The scopes to ask for, all of them needed.
        granular: The same in the older dotted names, where the target still takes them.
        also: Further spellings that do, for all or part of what the kind is used for.
        grants: What the user must be granted.
        confidence: How well the entry is known: the weaker one, where targets differ.
        as_of: The day of the youngest observation behind it.
        sources: Keys into ``SOURCES``.
        note: What else one should know.
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
        path: A template that matches its segments and everything below: ``"{x}"`` stands for one segment,
            ``"{x}:verb"`` for one that ends in ``:verb``.
        any_of: One of these suffices; the first is the one to ask for.
        all_of: All of these are needed.
        kind: The ``ResourceKind`` it belongs to, or ``None``.
        reads: Whether a call that is not a GET or HEAD still has no effect, so that it may be repeated.
        doubtful: Spellings of which sources disagree whether they suffice.
        exact: Only ``any_of`` as it is spelled opens it: no other name of the same permission does, nor ``all-apis``.
        instead: What does without the scopes, by the kind of resource that a tool declares; under ``""`` for any tool.
        confidence: How well the entry is known.
        as_of: The day of the youngest observation behind it.
        sources: Keys into ``SOURCES``.
        note: What else one should know.
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
    instead: Mapping[str, str] = field(hash=False, default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Spellings that belong together, beyond what their dots already say.

    Attributes:
        heads: Full equals of one another; each covers every part.
        doubtful: Parts of which it is disputed whether they do for a head: older names that some APIs stopped taking,
            or that the REST reference tells apart where other reports do not.
        parts: Parts that certainly do not do for a head.
        sources: Keys into ``SOURCES``.
    """

    heads: tuple[str, ...]
    doubtful: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispute:
    """A matter on which sources disagree.

    Attributes:
        about: The names of the scopes and kinds it concerns.
        one: What some sources say.
        other: What others say.
        stance: What this catalogue makes of it.
        sources: Keys into ``SOURCES``, for both sides.
    """

    about: tuple[str, ...]
    one: str
    other: str
    stance: str
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All that is known, in one table.

    Attributes:
        scopes: Every spelling that is known to be a scope, by name.
        families: Which of them belong together.
        kinds: Every kind of resource, by name.
        routes: The parts of the REST API whose scopes are known. Where several fit a call, the most specific one counts.
        sources: Every source that an entry cites, by key.
        disputes: Where sources disagree.
        file: The file whose entries stand in place of the kit's own, or ``None``.
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
        """The kinds, by the names of the MLflow classes that stand for them."""
        return {name: kind for kind in self.kinds.values() for name in kind.mlflow_classes}

    def seen(self, entry: Scope | ResourceKind | Route) -> tuple[date, date]:
        """The days of the oldest and of the youngest dated observation behind an entry."""
        days = [self.sources[key].as_of for key in entry.sources]
        return min([day for day in days if day is not None and day <= entry.as_of], default=entry.as_of), entry.as_of
