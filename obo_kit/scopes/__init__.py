"""The catalogue of API scopes, and its look-ups.

The catalogue knows how each target spells a scope, which scopes open a resource or a REST path, and which grants the user
needs as well. Nobody publishes these lists, so every entry carries its sources and the days it was seen. The platform stays
the only judge. A project can correct the catalogue with a file of its own (see `catalogue`). Importing this package reads no
file and needs only the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from obo_kit.scopes import _lookup
from obo_kit.scopes._lookup import (
    FILE,
    catalogue,
    check_known,
    covers,
    implied,
    is_read,
    kind_of,
    minimise,
    nearest,
    route_for,
    route_verdict,
    same_family,
    scopes_of,
    search,
    translate,
    verdict,
)
from obo_kit.scopes._model import (
    TARGETS,
    Catalogue,
    Confidence,
    Dispute,
    Family,
    Grant,
    Naming,
    ResourceKind,
    Route,
    Scope,
    Source,
    Target,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    SCOPES: Mapping[str, Scope]
    KINDS: Mapping[str, ResourceKind]
    ROUTES: tuple[Route, ...]
    SOURCES: Mapping[str, Source]

__all__ = [
    "Catalogue",
    "Confidence",
    "Dispute",
    "FILE",
    "Family",
    "Grant",
    "KINDS",
    "Naming",
    "ROUTES",
    "ResourceKind",
    "Route",
    "SCOPES",
    "SOURCES",
    "Scope",
    "Source",
    "TARGETS",
    "Target",
    "Verdict",
    "catalogue",
    "check_known",
    "covers",
    "implied",
    "is_read",
    "kind_of",
    "minimise",
    "nearest",
    "route_for",
    "route_verdict",
    "same_family",
    "scopes_of",
    "search",
    "translate",
    "verdict",
]


def __getattr__(name: str) -> Any:
    if name in {"SCOPES", "KINDS", "ROUTES", "SOURCES"}:
        return getattr(_lookup.catalogue(), name.lower())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
