"""A Lakebase instance, and how the two APIs show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from obo_kit.testing.lakebase._cluster import Cluster
from obo_kit.testing.lakebase._front import Front

__all__ = [
    "BRANCH",
    "Instance",
    "branch_body",
    "database_body",
    "endpoint_body",
    "instance_body",
    "project_body",
    "role_body",
]

BRANCH = "production"
"""The branch of each project. It has one endpoint."""

_ENDPOINT = "primary"


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance of a workspace. Lives as long as the workspace.

    Attributes:
        name: Its name; also its project's name.
        uid: Its id.
        database: Its database.
        roles: The roles that may sign in, with the kind of identity behind each.
        cluster: Its Postgres.
        front: The server that its clients connect to.
    """

    name: str
    uid: str
    database: str
    roles: dict[str, str]
    cluster: Cluster
    front: Front

    @property
    def endpoint(self) -> str:
        """Return the full name of its endpoint."""
        return f"projects/{self.name}/branches/{BRANCH}/endpoints/{_ENDPOINT}"

    @property
    def login(self) -> str:
        """Return the scope of a credential for this instance. It opens nothing else."""
        return f"lakebase-login:{self.uid}"


def instance_body(instance: Instance) -> dict[str, Any]:
    """Return an instance."""
    return {
        "name": instance.name,
        "uid": instance.uid,
        "state": "AVAILABLE",
        "read_write_dns": instance.front.host,
        "read_only_dns": instance.front.host,
        "pg_version": "PG_VERSION_16",
        "capacity": "CU_1",
    }


def project_body(instance: Instance) -> dict[str, Any]:
    """Return its project."""
    return {
        "name": f"projects/{instance.name}",
        "project_id": instance.name,
        "uid": instance.uid,
        "status": {"display_name": instance.name, "default_branch": f"projects/{instance.name}/branches/{BRANCH}"},
    }


def branch_body(instance: Instance) -> dict[str, Any]:
    """Return its branch."""
    return {
        "name": f"projects/{instance.name}/branches/{BRANCH}",
        "parent": f"projects/{instance.name}",
        "branch_id": BRANCH,
        "status": {"branch_id": BRANCH, "current_state": "READY", "default": True},
    }


def endpoint_body(instance: Instance) -> dict[str, Any]:
    """Return its endpoint."""
    parent = f"projects/{instance.name}/branches/{BRANCH}"
    return {
        "name": instance.endpoint,
        "endpoint_id": _ENDPOINT,
        "parent": parent,
        "uid": instance.uid,
        "status": {
            "current_state": "ACTIVE",
            "endpoint_type": "ENDPOINT_TYPE_READ_WRITE",
            "endpoint_id": _ENDPOINT,
            "hosts": {"host": instance.front.host},
        },
    }


def database_body(instance: Instance) -> dict[str, Any]:
    """Return its database."""
    parent = f"projects/{instance.name}/branches/{BRANCH}"
    return {
        "name": f"{parent}/databases/{instance.database}",
        "parent": parent,
        "status": {"postgres_database": instance.database},
    }


def role_body(instance: Instance, role: str) -> dict[str, Any]:
    """Return one of its roles."""
    parent = f"projects/{instance.name}/branches/{BRANCH}"
    return {
        "name": f"{parent}/roles/{role}",
        "parent": parent,
        "role_id": role,
        "status": {"postgres_role": role, "identity_type": instance.roles[role], "auth_method": "LAKEBASE_OAUTH_V1"},
    }
