"""The shapes of the catalogue's entries: immutable, hashable, picklable, and nothing in them is about a user."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

__all__ = ["TARGETS", "Confidence", "Grant", "Naming", "ResourceKind", "Route", "Scope", "Source", "Target", "Verdict"]

Target = Literal["model-serving", "apps"]
"""Where the agent runs."""

Naming = Literal["current", "granular"]
"""Which vocabulary a resource is spelled in: the short names of 2026, or the older dotted ones."""

Confidence = Literal["documented", "reported", "inferred"]
"""Stated by Databricks (docs, schema, shipped code); observed and written down by somebody; or concluded from those."""

TARGETS: tuple[Target, ...] = ("model-serving", "apps")


class Verdict(enum.Enum):
    """Whether a token holds what is needed. Three-valued, because a spelling nobody has seen proves nothing."""

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
    """

    key: str
    url: str
    what: str


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What the user must be granted on the resource, besides the token's scope.

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
