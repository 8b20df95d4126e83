"""Privileges of Unity Catalog: the permissions API, on the same grants as SQL and ``LocalWorkspace.grant``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.iam._directory import Principal
from obo_kit.testing.iam._grants import Grants, lack_text
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._service import Core, Mixin, Part, Service

__all__ = ["Permissions", "PermissionsMixin", "check_granted"]

_KINDS = {
    "catalog": ("catalog",),
    "schema": ("schema",),
    "table": ("table", "vector_search_index"),
    "function": ("function",),
    "volume": ("volume",),
    "connection": ("uc_connection",),
}


def check_granted(grants: Grants, principal: Principal, privilege: str, kind: str, name: str) -> None:
    """Check that the principal may use a privilege. The RefusedError names the first one that they lack."""
    lack = grants.missing(principal, privilege, kind, name)
    if lack is not None:
        raise RefusedError("uc_lacks", detail=lack_text(lack))


class Permissions(Service):
    """Shows and changes privileges. Lives as long as its workspace."""

    def __init__(self, core: Core) -> None:
        self._grants = core.grants

    def apis(self) -> list[Api]:
        """Return the routes."""
        root = "/api/2.1/unity-catalog"
        place = "/{securable}/{name}"
        return [
            Api(method="GET", path=f"{root}/permissions{place}", handler=self._get),
            Api(method="PATCH", path=f"{root}/permissions{place}", handler=self._update),
            Api(method="GET", path=f"{root}/effective-permissions{place}", handler=self._effective),
        ]

    def _place(self, call: Call) -> tuple[str, str]:
        securable, name = call.params["securable"].lower(), call.params["name"].lower()
        for kind in _KINDS.get(securable, ()):
            if self._grants.exists(kind, name):
                return kind, name
        raise RefusedError("uc_missing", kind=securable.title(), name=name)

    def _listed(self, call: Call, *, inherited: bool) -> dict[str, list[tuple[str, str, str]]]:
        """Return privileges and where they were granted, per principal: all to its managers, only their own to others.

        The call may ask for those of one principal.
        """
        kind, name = self._place(call)
        principal = call.user.principal
        mine = {principal.user_name, *principal.groups}
        every = self._grants.manages(principal, kind, name)
        only = call.query.get("principal", "")
        result: dict[str, list[tuple[str, str, str]]] = {}
        for grantee, privilege, place, where in self._grants.listed(kind, name, inherited=inherited):
            if (every or grantee in mine) and only in {"", grantee}:
                result.setdefault(grantee, []).append((privilege.replace(" ", "_"), place, where))
        return result

    def _get(self, call: Call) -> Answer:
        grants = self._listed(call, inherited=False)
        assignments = [{"principal": who, "privileges": [each[0] for each in grants[who]]} for who in grants]
        return Answer(content={"privilege_assignments": assignments})

    def _effective(self, call: Call) -> Answer:
        kind, name = self._place(call)

        def described(privilege: str, place: str, where: str) -> dict[str, str]:
            own = (place, where) == (kind, name)
            return {"privilege": privilege} | (
                {} if own else {"inherited_from_type": place.upper(), "inherited_from_name": where}
            )

        grants = self._listed(call, inherited=True)
        assignments = [{"principal": who, "privileges": [described(*each) for each in grants[who]]} for who in grants]
        return Answer(content={"privilege_assignments": assignments})

    def _update(self, call: Call) -> Answer:
        kind, name = self._place(call)
        if not self._grants.manages(call.user.principal, kind, name):
            raise RefusedError("uc_lacks", detail=lack_text(("MANAGE", kind, name)))
        changes = call.json().get("changes") or []
        try:
            wanted = list(_changes(changes))
            for principal in (each[0] for each in wanted):
                if not self._grants.knows(principal):
                    raise RefusedError("uc_no_principal", name=principal)
            for principal, privilege, change in wanted:
                act = self._grants.grant if change == "add" else self._grants.revoke
                act(principal, privilege, name, kind=kind)
        except (ValueError, TypeError, AttributeError) as error:
            raise RefusedError("invalid_parameter", detail=str(error)) from None
        return self._get(call)


def _changes(changes: Iterable[Any]) -> Iterable[tuple[str, str, str]]:
    for entry in changes:
        for change in ("add", "remove"):
            for privilege in entry.get(change) or ():
                yield str(entry.get("principal") or ""), str(privilege), change


class PermissionsMixin(Mixin):
    """Groups of groups, owners, and strictness about privileges."""

    _permissions = Part(Permissions)

    @property
    def strict_privileges(self) -> bool:
        """Return whether USE CATALOG and USE SCHEMA are needed, as on the platform. False by default.

        Otherwise, a user with a privilege on something in a schema is taken to hold them.
        """
        return self._core.grants.strict

    @strict_privileges.setter
    def strict_privileges(self, strict: bool) -> None:
        if not isinstance(strict, bool):
            msg = f"strict_privileges must be True or False, not {strict!r}"
            raise ValueError(msg)
        self._core.grants.strict = strict

    def add_group(self, name: str, *, groups: Iterable[str] = ()) -> None:
        """Add a group that is a member of other groups. Its members are members of them too.

        A group that is not a member of others need not be added: the groups of users exist.

        Args:
            name: The group.
            groups: The groups that it is a member of.

        Raises:
            ValueError: The name is unusable or taken, or the groups form a circle.
        """
        self._core.directory.add_group(name, groups)

    def set_owner(self, principal: str, securable: str, *, kind: str | None = None) -> None:
        """Make a user, service principal or group the owner of something in Unity Catalog.

        An owner holds every privilege on it, and may grant, revoke and drop it and everything in it. Arguments and errors
        as for ``grant``.
        """
        self._core.grants.own(principal, securable, kind=kind)
