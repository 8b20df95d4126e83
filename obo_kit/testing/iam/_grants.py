"""What there is to be granted in a local workspace, and who holds which privilege on it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obo_kit.testing.iam._directory import Directory, Principal

__all__ = ["PRIVILEGES", "Grants"]

# Privileges per kind of securable, the one that lets a user use it first; the grants of the catalogue.
PRIVILEGES: dict[str, tuple[str, ...]] = {
    "table": ("SELECT",),
    "function": ("EXECUTE",),
    "vector_search_index": ("SELECT", "MODIFY"),
    "vector_search_endpoint": ("CAN USE",),
    "serving_endpoint": ("CAN QUERY", "CAN VIEW"),
    "sql_warehouse": ("CAN USE",),
    "genie_space": ("CAN RUN", "CAN EDIT", "CAN MANAGE"),
    "uc_connection": ("USE CONNECTION",),
    "app": ("CAN USE",),
}


class Grants:
    """The securables of one workspace and the grants on them. Lives as long as it; thread-safe.

    USE CATALOG and USE SCHEMA are not modelled: whoever holds SELECT is taken to hold them.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._lock = threading.RLock()
        self._held: dict[tuple[str, str], set[tuple[str, str]]] = {}

    def register(self, kind: str, name: str) -> None:
        """Make a securable known. ValueError where one of its kind has the name already."""
        with self._lock:
            # Tables and indexes share the names of Unity Catalog.
            kinds = ("table", "vector_search_index") if kind in {"table", "vector_search_index"} else (kind,)
            if any((other, name) in self._held for other in kinds):
                msg = f"There is another {kind.replace('_', ' ')} named {name!r} already"
                raise ValueError(msg)
            self._held[kind, name] = set()

    def unregister(self, kind: str, name: str) -> None:
        """Forget a securable and the grants on it."""
        with self._lock:
            self._held.pop((kind, name), None)

    def exists(self, kind: str, name: str) -> bool:
        """Whether there is such a securable."""
        with self._lock:
            return (kind, name) in self._held

    def names(self, kind: str) -> list[str]:
        """Names of all securables of a kind, sorted."""
        with self._lock:
            return sorted(name for known, name in self._held if known == kind)

    def grant(self, principal: str, privilege: str, securable: str, *, kind: str | None) -> None:
        """Grant; see ``LocalWorkspace.grant``."""
        entry, privilege = self._resolve(privilege, securable, kind)
        grantee = self._directory.grantee(principal)
        with self._lock:
            self._held[entry].add((grantee, privilege))

    def revoke(self, principal: str, privilege: str, securable: str, *, kind: str | None) -> None:
        """Revoke; see ``LocalWorkspace.revoke``."""
        entry, privilege = self._resolve(privilege, securable, kind)
        grantee = self._directory.grantee(principal)
        with self._lock:
            self._held[entry].discard((grantee, privilege))

    def holds(self, principal: Principal, privilege: str, kind: str, name: str) -> bool:
        """Whether the principal, or a group of theirs, holds the privilege."""
        with self._lock:
            held = self._held.get((kind, name), ())
            return (principal.user_name, privilege) in held or any(
                (f"group:{group}", privilege) in held for group in principal.groups
            )

    def _resolve(self, privilege: str, securable: str, kind: str | None) -> tuple[tuple[str, str], str]:
        privilege = " ".join(privilege.upper().replace("_", " ").split())
        if kind is not None and kind not in PRIVILEGES:
            msg = f"No kind of securable is called {kind!r}; there are: {', '.join(PRIVILEGES)}"
            raise ValueError(msg)
        with self._lock:
            kinds = [known for known, name in self._held if name == securable and kind in {None, known}]
            names = sorted(name for _, name in self._held)
        if not kinds:
            what = f"{kind.replace('_', ' ')} " if kind else "securable "
            msg = f"No {what}named {securable!r} in this workspace; there are: {', '.join(names) or 'none yet'}"
            raise ValueError(msg)
        fitting = [known for known in kinds if privilege in PRIVILEGES[known]]
        if not fitting:
            wanted = "; ".join(f"{known.replace('_', ' ')}: {', '.join(PRIVILEGES[known])}" for known in kinds)
            msg = f"{privilege!r} cannot be granted on {securable!r} ({wanted})"
            raise ValueError(msg)
        if len(fitting) > 1:
            msg = f"{securable!r} is ambiguous: pass kind= as one of {', '.join(sorted(fitting))}"
            raise ValueError(msg)
        return (fitting[0], securable), privilege
