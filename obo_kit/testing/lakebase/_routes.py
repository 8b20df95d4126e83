"""Lakebase: instances and projects as the API shows them, the credentials that it mints, and who may sign in with one."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

from obo_kit.testing._kit import MissingExtraError
from obo_kit.testing._refusals import Refusal, RefusedError, declare
from obo_kit.testing.iam._directory import Caller, ExpiredTokenError
from obo_kit.testing.lakebase._cluster import Cluster, check_postgres
from obo_kit.testing.lakebase._front import Front, SignIn
from obo_kit.testing.lakebase._instances import (
    BRANCH,
    Instance,
    branch_body,
    database_body,
    endpoint_body,
    instance_body,
    project_body,
    role_body,
)
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._log import RequestRecord
from obo_kit.testing.server._pages import page
from obo_kit.testing.server._service import Core, Mixin, Part, Service

__all__ = ["Lakebase", "LakebaseMixin"]

declare(
    {
        "lakebase_undecodable": Refusal(
            status=401,
            code="",
            sql_state="28P01",
            text='Failed to decode token for role "{role}"',
            decision="invalid token",
            standing="reported",
            source="fid:14310743170",
        ),
        "lakebase_password": Refusal(
            status=401,
            code="",
            sql_state="28P01",
            text='password authentication failed for user "{role}"',
            decision="invalid token",
            standing="reported",
            source="fid:39757605195; that an expired token and another user's are worded so is inferred",
        ),
        "lakebase_unencrypted": Refusal(
            status=401,
            code="",
            sql_state="28000",
            text='no pg_hba.conf entry for host "127.0.0.1", user "{role}", database "{database}", no encryption',
            decision="no credential",
            standing="inferred",
            source="Lakebase takes SSL connections only, as its documentation says; the words are Postgres's",
        ),
        "lakebase_broken": Refusal(
            status=500,
            code="",
            sql_state="XX000",
            text="The local workspace's Postgres does not run: {error}",
            decision="bad request",
            standing="inferred",
            source="a mistake in the workspace, not in the client; the wording is ours",
        ),
        "lakebase_missing": Refusal(
            status=404,
            code="NOT_FOUND",
            text="{what} '{name}' not found.",
            decision="not found",
            standing="inferred",
            source="other NOT_FOUND of the REST API",
        ),
    }
)

_HOUR = 3600.0


class Lakebase(Service):
    """The Lakebase instances of one workspace. Lives as long as the workspace; thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._instances: dict[str, Instance] = {}

    def add(self, name: str, *, roles: Iterable[str], setup: str, database: str) -> None:
        """Add an instance; see ``LocalWorkspace.add_database_instance``."""
        check_postgres()
        tls = _tls()
        if isinstance(roles, str):
            msg = f"roles= takes names in a list, not the single string {roles!r}"
            raise ValueError(msg)
        known = {self._role(role): kind for role in roles for kind in [self._kind(role)]}
        with self._lock:
            if not name or name in self._instances:
                msg = f"A database instance needs a name of its own, not {name!r}"
                raise ValueError(msg)
            cluster = Cluster(database=database, setup=setup, roles=list(known))
            front = Front(
                check=lambda asked: self._check(name, asked),
                signed_in=lambda asked, state: self._signed_in(name, asked, state),
                backend=lambda: cluster.socket,
                tls=tls,
            )
            self._instances[name] = Instance(
                name=name, uid=str(uuid.uuid4()), database=database, roles=known, cluster=cluster, front=front
            )

    def add_role(self, principal: str, name: str) -> None:
        """Give a principal or group a role; see ``LocalWorkspace.add_database_role``."""
        instance = self.find(name)
        role = self._role(principal)
        instance.cluster.add_role(role)
        instance.roles[role] = self._kind(principal)

    def find(self, name: str) -> Instance:
        """Return an instance. Raises ValueError if there is none of the name."""
        with self._lock:
            instance = self._instances.get(name)
            there = ", ".join(sorted(self._instances))
        if instance is None:
            msg = f"No database instance {name!r} in this workspace; there are: {there or 'none yet'}"
            raise ValueError(msg)
        return instance

    def close(self) -> None:
        for instance in self._instances.values():
            instance.front.stop()
            instance.cluster.stop()

    def apis(self) -> list[Api]:
        """Return the routes."""
        instances, postgres = "/api/2.0/database/instances", "/api/2.0/postgres"
        project, branch = postgres + "/projects/{project}", postgres + "/projects/{project}/branches/{branch}"
        lists = {"endpoints": endpoint_body, "databases": database_body}
        return [
            Api(method="POST", path="/api/2.0/database/credentials", handler=self._credential),
            Api(method="GET", path=instances, handler=self._list_instances),
            Api(method="GET", path=instances + "/{name}", handler=self._get_instance),
            Api(method="GET", path=instances + "/{name}/roles", handler=self._list_instance_roles),
            Api(method="POST", path=postgres + "/credentials", handler=self._endpoint_credential),
            Api(method="GET", path=postgres + "/projects", handler=self._list_projects),
            Api(method="GET", path=project, handler=lambda call: Answer(content=project_body(self._project(call)))),
            Api(method="GET", path=project + "/branches", handler=self._list_branches),
            Api(method="GET", path=branch, handler=lambda call: Answer(content=branch_body(self._branch(call)))),
            Api(method="GET", path=branch + "/roles", handler=self._list_roles),
            *(
                Api(method="GET", path=f"{branch}/{plural}", handler=functools.partial(self._one_listed, plural, body))
                for plural, body in lists.items()
            ),
            *(
                Api(method="GET", path=f"{branch}/{plural}/{{entry}}", handler=functools.partial(self._one, body))
                for plural, body in lists.items()
            ),
        ]

    # ------------------------------------------------------------------ signing in

    def _check(self, name: str, asked: SignIn) -> str:
        """Return where Postgres listens, if the password is a token that lets its owner sign in under the role."""
        instance = self.find(name)
        try:
            self._caller(instance, asked)
            return instance.cluster.socket
        except RefusedError as error:
            self._log(instance, asked, error.caller if isinstance(error, _Turned) else None, error.refusal.decision)
            raise

    def _caller(self, instance: Instance, asked: SignIn) -> Caller:
        try:
            caller = self._core.directory.authenticate(f"Bearer {asked.password}")
        except ExpiredTokenError as error:
            raise _Turned("lakebase_password", asked.role, error.caller) from None
        except RefusedError:
            raise RefusedError("lakebase_undecodable", role=asked.role) from None
        # A token of the workspace is also a password, at least a service principal's: templates use it. The scope is inferred.
        if not caller.scopes & {instance.login, "postgres", "all-apis"}:
            raise _Turned("lakebase_password", asked.role, caller)
        if asked.role not in {caller.principal.user_name, *caller.principal.groups}:
            raise _Turned("lakebase_password", asked.role, caller)
        return caller

    def _signed_in(self, name: str, asked: SignIn, state: str) -> None:
        instance = self.find(name)
        decision = {"": "allowed", "3D000": "not found"}.get(state, "missing grant")
        with contextlib.suppress(RefusedError):  # a token that expired this moment
            self._log(instance, asked, self._caller(instance, asked), decision)

    def _log(self, instance: Instance, asked: SignIn, caller: Caller | None, decision: str) -> None:
        self._core.log._add(
            RequestRecord(
                user=caller.principal.name if caller else None,
                kind=caller.principal.kind if caller else None,
                method="CONNECT",
                path=f"/postgres/{instance.name}/{asked.database}",
                status=200 if decision == "allowed" else 401,
                scopes_held=None,
                scopes_needed=(),
                scopes_missing=(),
                decision=decision,
                fault=None,
                tool=None,
                connection=asked.connection,
                seconds=time.time() - asked.at,
                user_agent="",
                cookies={},
                at=asked.at,
            )
        )

    # ------------------------------------------------------------------ handlers

    def _credential(self, call: Call) -> Answer:
        body = call.json()
        names = body.get("instance_names") or []
        if not isinstance(names, list) or not names or body.get("claims"):
            detail = "instance_names is a list of instances; the local workspace serves no claims"
            raise RefusedError("invalid_parameter", detail=detail)
        logins = [self._instance(str(name)).login for name in names]
        expires = int(time.time() + _HOUR)
        token = self._core.directory.mint(call.user.principal, logins, _HOUR)
        return Answer(content={"token": token, "expiration_time": _timestamp(expires)})

    def _endpoint_credential(self, call: Call) -> Answer:
        body = call.json()
        endpoint = call.text(body, "endpoint")
        instance = next((each for each in self._all() if each.endpoint == endpoint), None)
        if instance is None:
            raise RefusedError("lakebase_missing", what="Endpoint", name=endpoint)
        if body.get("claims"):
            raise RefusedError("invalid_parameter", detail="The local workspace serves no claims")
        seconds = _lifetime(body)
        token = self._core.directory.mint(call.user.principal, [instance.login], seconds)
        return Answer(content={"token": token, "expire_time": _timestamp(int(time.time() + seconds))})

    def _list_instances(self, call: Call) -> Answer:
        return page(call, "database_instances", [instance_body(each) for each in self._all()], size="page_size")

    def _get_instance(self, call: Call) -> Answer:
        return Answer(content=instance_body(self._instance(call.params["name"])))

    def _list_instance_roles(self, call: Call) -> Answer:
        instance = self._instance(call.params["name"])
        roles = [
            {"name": role, "identity_type": kind, "instance_name": instance.name}
            for role, kind in instance.roles.items()
        ]
        return page(call, "database_instance_roles", roles, size="page_size")

    def _list_projects(self, call: Call) -> Answer:
        return page(call, "projects", [project_body(each) for each in self._all()], size="page_size")

    def _list_branches(self, call: Call) -> Answer:
        return page(call, "branches", [branch_body(self._project(call))], size="page_size")

    def _list_roles(self, call: Call) -> Answer:
        instance = self._branch(call)
        roles = [role_body(instance, role) for role in instance.roles]
        return page(call, "roles", roles, size="page_size")

    def _one_listed(self, plural: str, body: Any, call: Call) -> Answer:
        return page(call, plural, [body(self._branch(call))], size="page_size")

    def _one(self, body: Any, call: Call) -> Answer:
        shown = body(self._branch(call))
        if not shown["name"].endswith(f"/{call.params['entry']}"):
            raise RefusedError("lakebase_missing", what="Resource", name=call.path.removeprefix("/api/2.0/postgres/"))
        return Answer(content=shown)

    # ------------------------------------------------------------------ looking things up

    def _all(self) -> list[Instance]:
        with self._lock:
            return [self._instances[name] for name in sorted(self._instances)]

    def _instance(self, name: str) -> Instance:
        try:
            return self.find(name)
        except ValueError:
            raise RefusedError("lakebase_missing", what="Database instance", name=name) from None

    def _project(self, call: Call) -> Instance:
        name = call.params["project"]
        instance = self._instances.get(name)
        if instance is None:
            raise RefusedError("lakebase_missing", what="Project", name=f"projects/{name}")
        return instance

    def _branch(self, call: Call) -> Instance:
        instance = self._project(call)
        if call.params["branch"] != BRANCH:
            raise RefusedError("lakebase_missing", what="Branch", name=call.params["branch"])
        return instance

    def _role(self, principal: str) -> str:
        return self._core.directory.grantee(principal).removeprefix("group:")

    def _kind(self, principal: str) -> str:
        grantee = self._core.directory.grantee(principal)
        if grantee.startswith("group:"):
            return "GROUP"
        return self._core.directory.find(principal).kind.upper()


class _Turned(RefusedError):
    """A sign-in is refused although its token names somebody: they may not sign in this way."""

    def __init__(self, key: str, role: str, caller: Caller) -> None:
        super().__init__(key, role=role)
        self.caller = caller


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _lifetime(body: dict[str, Any]) -> float:
    """Return the requested life of a credential, in seconds: 300 to 3600, as documented."""
    ttl, expire_time = body.get("ttl"), body.get("expire_time")
    try:
        if ttl is not None:
            seconds = float(str(ttl).removesuffix("s"))
        elif expire_time is not None:
            seconds = datetime.fromisoformat(str(expire_time).replace("Z", "+00:00")).timestamp() - time.time()
        else:
            return _HOUR
    except ValueError:
        seconds = 0.0
    if not 299 <= seconds <= _HOUR + 1:
        raise RefusedError("invalid_parameter", detail="A credential lives from 300 to 3600 seconds")
    return seconds


def _tls() -> Callable[[str], ssl.SSLContext]:
    """Return a function that makes the server's side of TLS for an address, with a certificate of its own."""
    if importlib.util.find_spec("trustme") is None:
        msg = "Lakebase in the local workspace needs trustme"
        raise MissingExtraError(msg, extra="lakebase")

    def context(host: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _authority().issue_cert(host).configure_cert(made)
        return made

    return context


@functools.cache
def _authority() -> Any:
    import trustme

    return trustme.CA()


class LakebaseMixin(Mixin):
    """Lakebase: Postgres as the user."""

    _lakebase = Part(Lakebase)

    def add_database_instance(
        self, name: str, *, roles: Iterable[str] = (), setup: str = "", database: str = "databricks_postgres"
    ) -> None:
        """Add a Lakebase instance: a real Postgres that accepts a user's credential as the password.

        The API shows it as an instance (``client.database``) and as a project (``client.postgres``) whose branch is
        ``production`` and whose endpoint is ``primary``. Clients connect with TLS to the host that it names. On Linux, the
        port is 5432, as on the platform; elsewhere, call ``database_port``. Grants are those of Postgres, on roles named by
        e-mail address or client id::

            workspace.add_database_instance(
                "shop",
                roles=["alice", "bob"],
                setup='CREATE TABLE orders (item text); GRANT SELECT ON orders TO "alice@example.com"',
            )

        Postgres starts at the first connection, which takes about a second, and ends with the workspace. It needs the extra
        ``lakebase``. To cancel a statement from the workspace's own process, use psycopg's ``cancel_safe``: its ``cancel``
        blocks every other thread, including the workspace's.

        Args:
            name: Its name.
            roles: Users, service principals and groups that have a Postgres role.
            setup: SQL that its owner runs when it starts.
            database: The name of its database.

        Raises:
            ImportError: There is no Postgres: neither the extra's nor an ``initdb`` on the path.
            OSError: On Windows.
            ValueError: The name is taken, or a role belongs to nobody.
        """
        self._lakebase.add(name, roles=roles, setup=setup, database=database)

    def add_database_role(self, principal: str, instance: str) -> None:
        """Give a user, service principal or group a Postgres role, as ``databricks_create_role`` does.

        Args:
            principal: The user, service principal or group.
            instance: The name of the instance.

        Raises:
            ValueError: There is no such principal or instance, or they already have a role.
        """
        self._lakebase.add_role(principal, instance)

    def run_in_database(self, instance: str, sql: str) -> str:
        """Run SQL as the owner of an instance's database, for example a GRANT, or a query of what was written.

        Args:
            instance: The name of the instance.
            sql: Statements. If one fails, all of them are undone.

        Returns:
            The rows: a line each, with ``|`` between columns.

        Raises:
            ValueError: There is no such instance, or Postgres refuses. The message says why.
        """
        return self._lakebase.find(instance).cluster.run(sql)

    def database_port(self, instance: str) -> int:
        """Return the port of an instance's host: 5432 on Linux. Raises ValueError if there is no such instance."""
        return self._lakebase.find(instance).front.port
