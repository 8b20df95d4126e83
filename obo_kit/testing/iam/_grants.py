"""The securables of a local workspace, and who holds which privilege on them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obo_kit.testing.iam._directory import Directory, Principal

__all__ = ["PRIVILEGES", "Grants", "Lack", "lack_text", "parents"]

_OWN = ("MANAGE", "ALL PRIVILEGES")
# Privileges per kind of securable. The first one lets a user use it; these are the grants of the catalogue.
PRIVILEGES: dict[str, tuple[str, ...]] = {
    "table": ("SELECT", "MODIFY", *_OWN),
    "function": ("EXECUTE", *_OWN),
    "vector_search_index": ("SELECT", "MODIFY", *_OWN),
    "volume": ("READ VOLUME", "WRITE VOLUME", *_OWN),
    "schema": (
        "USE SCHEMA",
        "SELECT",
        "MODIFY",
        "EXECUTE",
        "READ VOLUME",
        "WRITE VOLUME",
        "CREATE TABLE",
        "CREATE FUNCTION",
        *_OWN,
    ),
    "catalog": (
        "USE CATALOG",
        "USE SCHEMA",
        "SELECT",
        "MODIFY",
        "EXECUTE",
        "READ VOLUME",
        "WRITE VOLUME",
        "CREATE SCHEMA",
        "CREATE TABLE",
        "CREATE FUNCTION",
        "BROWSE",
        *_OWN,
    ),
    "vector_search_endpoint": ("CAN USE",),
    "serving_endpoint": ("CAN QUERY", "CAN VIEW"),
    "sql_warehouse": ("CAN USE",),
    "genie_space": ("CAN RUN", "CAN EDIT", "CAN MANAGE"),
    "uc_connection": ("USE CONNECTION", *_OWN),
    "app": ("CAN USE",),
}
# Tables and indexes share the namespace of Unity Catalog.
_TABLES = ("table", "vector_search_index")
_IN_SCHEMAS = frozenset({*_TABLES, "function", "volume"})

Lack = tuple[str, str, str]
"""A privilege, and the kind and name of the securable that it is missing on."""


def lack_text(lack: Lack) -> str:
    """Return the missing privilege, worded as in the platform's refusals."""
    privilege, kind, name = lack
    securable = {"function": "Routine", "vector_search_index": "Table", "uc_connection": "Connection"}.get(
        kind, kind.title()
    )
    return f"{privilege} on {securable} '{name}'"


def parents(kind: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the securables that contain a securable, the catalog first."""
    if kind in _IN_SCHEMAS or kind == "schema":
        yield "catalog", name.partition(".")[0]
    if kind in _IN_SCHEMAS:
        yield "schema", name.rpartition(".")[0]


class Grants:
    """The securables of one workspace and the grants on them. Lives as long as the workspace; thread-safe.

    Privileges on a catalog or schema count for everything in it. An owner holds every privilege on what they own.

    Attributes:
        strict: Whether USE CATALOG and USE SCHEMA are needed, as on the platform. Otherwise, a user with a privilege on
            something in a schema is taken to hold them.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._lock = threading.RLock()
        self._grants: dict[tuple[str, str], set[tuple[str, str]]] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self.strict = False

    def register(self, kind: str, name: str, *, owner: str | None = None) -> None:
        """Register a securable, and the schema and catalog that contain it.

        Args:
            kind: Kind of securable.
            name: Its name.
            owner: The principal or group that owns it; None for the author of the workspace.

        Raises:
            ValueError: Another securable of its kind has the name, or there is no such principal.
        """
        grantee = self._directory.grantee(owner) if owner is not None else None
        with self._lock:
            kinds = _TABLES if kind in _TABLES else (kind,)
            if any((other, name) in self._grants for other in kinds):
                msg = f"There is already another {kind.replace('_', ' ')} named {name!r}"
                raise ValueError(msg)
            for parent in parents(kind, name):
                self._grants.setdefault(parent, set())
            self._grants[kind, name] = set()
            if grantee is not None:
                self._owners[kind, name] = grantee

    def unregister(self, kind: str, name: str) -> None:
        """Forget a securable and the grants on it."""
        with self._lock:
            self._grants.pop((kind, name), None)
            self._owners.pop((kind, name), None)

    def exists(self, kind: str, name: str) -> bool:
        """Return whether there is such a securable."""
        with self._lock:
            return (kind, name) in self._grants

    def names(self, kind: str) -> list[str]:
        """Return the names of all securables of a kind, sorted."""
        with self._lock:
            return sorted(name for known, name in self._grants if known == kind)

    # ------------------------------------------------------------------ granting

    def knows(self, principal: str) -> bool:
        """Return whether there is a user, service principal or group of the name."""
        try:
            self._directory.grantee(principal)
        except ValueError:
            return False
        return True

    def grant(self, principal: str, privilege: str, securable: str, *, kind: str | None) -> None:
        """Grant a privilege; see ``LocalWorkspace.grant``."""
        entry, privilege = self._resolve(privilege, securable, kind)
        grantee = self._directory.grantee(principal)
        with self._lock:
            self._grants[entry].add((grantee, privilege))

    def revoke(self, principal: str, privilege: str, securable: str, *, kind: str | None) -> None:
        """Revoke a privilege; see ``LocalWorkspace.revoke``."""
        entry, privilege = self._resolve(privilege, securable, kind)
        grantee = self._directory.grantee(principal)
        with self._lock:
            self._grants[entry].discard((grantee, privilege))

    def own(self, principal: str, securable: str, *, kind: str | None = None) -> None:
        """Make a principal or group the owner of a securable of Unity Catalog."""
        entry, _ = self._resolve("MANAGE", securable, kind)
        grantee = self._directory.grantee(principal)
        with self._lock:
            self._owners[entry] = grantee

    def owner(self, kind: str, name: str) -> str | None:
        """Return the owner of a securable: a user name or a group; None for the author of the workspace."""
        with self._lock:
            grantee = self._owners.get((kind, name))
        return grantee.removeprefix("group:") if grantee is not None else None

    def entries(self) -> list[tuple[str, str, str, str]]:
        """Return every grant, sorted: grantee (a user name or a group), privilege, and the securable's kind and name."""
        with self._lock:
            return sorted(
                (grantee.removeprefix("group:"), privilege, kind, name)
                for (kind, name), grants in self._grants.items()
                for grantee, privilege in grants
            )

    def listed(self, kind: str, name: str, *, inherited: bool = False) -> list[tuple[str, str, str, str]]:
        """Return the grants on a securable, sorted: grantee, privilege, and the kind and name that it was granted on."""
        places = [(kind, name), *(parents(kind, name) if inherited else ())]
        with self._lock:
            return sorted(
                (grantee.removeprefix("group:"), privilege, *place)
                for place in places
                for grantee, privilege in self._grants.get(place, ())
                if place == (kind, name) or privilege in PRIVILEGES[kind]
            )

    # ------------------------------------------------------------------ asking

    def holds(self, principal: Principal, privilege: str, kind: str, name: str) -> bool:
        """Return whether the principal, or a group of theirs, may do what the privilege allows."""
        return self.missing(principal, privilege, kind, name) is None

    def missing(self, principal: Principal, privilege: str, kind: str, name: str) -> Lack | None:
        """Return the first privilege that the principal lacks to use a privilege; None if they lack none."""
        if self.strict:
            for parent_kind, parent in parents(kind, name):
                needed = f"USE {parent_kind.upper()}"
                if not self._held(principal, needed, parent_kind, parent):
                    return needed, parent_kind, parent
        implied = not self.strict and privilege == f"USE {kind.upper()}" and self._in_use(principal, kind, name)
        if implied or self._held(principal, privilege, kind, name):
            return None
        return privilege, kind, name

    def manages(self, principal: Principal, kind: str, name: str) -> bool:
        """Return whether the principal may grant, revoke and drop: an owner of it or its parents, or MANAGE on these."""
        mine = self._grantees(principal)
        with self._lock:
            owned = any(self._owners.get(place) in mine for place in ((kind, name), *parents(kind, name)))
        return owned or self._held(principal, "MANAGE", kind, name)

    def sees(self, principal: Principal, kind: str, name: str) -> bool:
        """Return whether lists show a securable of Unity Catalog to the principal."""
        if any(self.holds(principal, privilege, kind, name) for privilege in PRIVILEGES[kind]):
            return True
        return self._held(principal, "BROWSE", "catalog", name.partition(".")[0])

    def _in_use(self, principal: Principal, kind: str, name: str) -> bool:
        """Return whether the principal may do something with a catalog or schema, or with anything in it."""
        with self._lock:
            places = [place for place in self._grants if (kind, name) in (place, *parents(*place))]
        return any(
            self._held(principal, privilege, *place)
            for place in places
            for privilege in PRIVILEGES[place[0]]
            if privilege != "BROWSE"
        )

    def _held(self, principal: Principal, privilege: str, kind: str, name: str) -> bool:
        mine = self._grantees(principal)
        wanted = (privilege,) if privilege == "MANAGE" else (privilege, "ALL PRIVILEGES")
        with self._lock:
            if self._owners.get((kind, name)) in mine:
                return True
            return any(
                (grantee, each) in grants
                for place in ((kind, name), *parents(kind, name))
                for grants in [self._grants.get(place)]
                if grants
                for each in wanted
                for grantee in mine
            )

    @staticmethod
    def _grantees(principal: Principal) -> set[str]:
        return {principal.user_name, *(f"group:{group}" for group in principal.groups)}

    def _resolve(self, privilege: str, securable: str, kind: str | None) -> tuple[tuple[str, str], str]:
        privilege = " ".join(privilege.upper().replace("_", " ").split())
        kinds = self._kinds_of(securable, kind)
        fitting = [known for known in kinds if privilege in PRIVILEGES[known]]
        if not fitting:
            wanted = "; ".join(f"{known.replace('_', ' ')}: {', '.join(PRIVILEGES[known])}" for known in kinds)
            msg = f"{privilege!r} cannot be granted on {securable!r} ({wanted})"
            raise ValueError(msg)
        if len(fitting) > 1:
            msg = f"{securable!r} is ambiguous: pass kind= as one of {', '.join(sorted(fitting))}"
            raise ValueError(msg)
        return (fitting[0], securable), privilege

    def _kinds_of(self, securable: str, kind: str | None) -> list[str]:
        if kind is not None and kind not in PRIVILEGES:
            msg = f"No kind of securable is called {kind!r}; there are: {', '.join(PRIVILEGES)}"
            raise ValueError(msg)
        with self._lock:
            kinds = [known for known, name in self._grants if name == securable and kind in {None, known}]
            names = sorted(name for known, name in self._grants if known not in {"catalog", "schema"})
        if not kinds:
            what = f"{kind.replace('_', ' ')} " if kind else "securable "
            msg = f"No {what}named {securable!r} in this workspace; there are: {', '.join(names) or 'none yet'}"
            raise ValueError(msg)
        return kinds
