"""Lakebase as alice (may read), bob (has a role and no grant) and carol (has no role), with the real Postgres clients."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied
from support import client, last

from obo_kit import explain, optional_tool, requires_scopes, with_user_client
from obo_kit.testing import LocalWorkspace
from obo_kit.testing.lakebase import _cluster

psycopg = pytest.importorskip("psycopg", reason="needs the extra obo-kit[lakebase] and psycopg")
pytest.importorskip("trustme")

SETUP = """
CREATE TABLE orders (id int, item text);
INSERT INTO orders VALUES (1, 'tea'), (2, 'cups');
GRANT SELECT ON orders TO "alice@example.com";
GRANT SELECT ON orders TO support;
"""
ENDPOINT = "projects/shop/branches/production/endpoints/primary"


@pytest.fixture(scope="module")
def shared():
    with LocalWorkspace() as workspace:
        for user, groups in (("alice", []), ("bob", []), ("carol", ["support"])):
            workspace.add_user(user, groups=groups)
        workspace.add_service_principal("agent")
        workspace.add_database_instance("shop", roles=["alice", "bob", "agent", "support"], setup=SETUP)
        workspace.add_database_instance("other")
        yield workspace


@pytest.fixture
def workspace(shared):
    shared.log.clear()
    return shared


def credential(workspace, user, **options):
    api = client(workspace, user, scopes=["postgres"])
    return api.database.generate_database_credential(instance_names=["shop"], request_id="1", **options).token


def connect(workspace, user, /, **options):
    """As the documentation of Lakebase has it."""
    api = client(workspace, user, scopes=["postgres"])
    instance = api.database.get_database_instance("shop")
    known = {"host": instance.read_write_dns, "port": workspace.database_port("shop"), "dbname": "databricks_postgres"}
    signing = {"user": f"{user}@example.com", "sslmode": "require"}
    if "password" not in options:
        signing["password"] = credential(workspace, user)
    return psycopg.connect(**{**known, **signing, "connect_timeout": 20, **options})


def refused(error):
    """The reason that the kit gives, and the words."""
    denial = explain(error)
    return (denial.reason.value if denial else None), str(error)


def connects(workspace):
    return [
        (record.user, record.path, record.decision) for record in workspace.log.entries if record.method == "CONNECT"
    ]


def test_each_user_is_who_they_are(workspace):
    for user in ("alice", "bob"):
        with connect(workspace, user) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (f"{user}@example.com",)
    assert connects(workspace) == [(user, "/postgres/shop/databricks_postgres", "allowed") for user in ("alice", "bob")]


def test_grants_are_those_of_postgres(workspace):
    with connect(workspace, "alice") as connection:
        assert connection.execute("SELECT item FROM orders ORDER BY id").fetchall() == [("tea",), ("cups",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            connection.execute("DELETE FROM orders")
    assert refused(caught.value)[0] == "access_denied"
    with connect(workspace, "bob") as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT * FROM orders")
    assert refused(caught.value) == ("access_denied", "permission denied for table orders")
    assert "'orders'" in explain(caught.value).remedy

    workspace.run_in_database("shop", 'GRANT SELECT ON orders TO "bob@example.com"')
    try:
        with connect(workspace, "bob") as connection:
            assert connection.execute("SELECT count(*) FROM orders").fetchone() == (2,)
    finally:
        workspace.run_in_database("shop", 'REVOKE SELECT ON orders FROM "bob@example.com"')


def test_somebody_without_a_role_is_told_so(workspace):
    with pytest.raises(psycopg.OperationalError) as caught:
        connect(workspace, "carol")
    reason, text = refused(caught.value)
    assert reason == "access_denied"
    assert 'role "carol@example.com" does not exist' in text
    assert connects(workspace) == [("carol", "/postgres/shop/databricks_postgres", "missing grant")]


def test_a_member_signs_in_under_the_groups_role(workspace):
    with connect(workspace, "carol", user="support") as connection:
        assert connection.execute("SELECT current_user, count(*) FROM orders").fetchone() == ("support", 2)
    with pytest.raises(psycopg.OperationalError, match='authentication failed for user "support"'):
        connect(workspace, "bob", user="support")


def test_nobody_signs_in_under_another_users_role(workspace):
    with pytest.raises(psycopg.OperationalError) as caught:
        connect(workspace, "bob", user="alice@example.com")
    assert 'password authentication failed for user "alice@example.com"' in refused(caught.value)[1]
    assert connects(workspace) == [("bob", "/postgres/shop/databricks_postgres", "invalid token")]
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        connect(workspace, "bob", user=_cluster.OWNER)


@pytest.mark.parametrize(
    ("password", "text"),
    [
        (lambda w: w.token("alice", scopes=["sql"]), "password authentication failed"),
        (lambda w: w.token("alice", scopes=["postgres"], expires_in=-1), "password authentication failed"),
        (lambda w: "dapi0123", "Failed to decode token for role"),
        (lambda w: "", "Failed to decode token|no password supplied"),
        (lambda w: LocalWorkspaceOfAnother.token(), "Failed to decode token for role"),
    ],
    ids=["without the scope", "expired", "no token of an identity", "none", "of another workspace"],
)
def test_what_is_no_credential_opens_nothing(workspace, password, text):
    with pytest.raises(psycopg.OperationalError, match=text) as caught:
        connect(workspace, "alice", password=password(workspace))
    if "supplied" not in str(caught.value):  # what libpq says itself is no refusal
        assert refused(caught.value)[0] == "token_expired"
        assert connects(workspace)[-1][2] == "invalid token"


class LocalWorkspaceOfAnother:
    @staticmethod
    def token():
        workspace = LocalWorkspace()
        workspace.add_user("alice")
        return workspace.token("alice", scopes=["postgres"])


def test_a_credential_opens_its_own_instance_and_no_api(workspace):
    token = credential(workspace, "alice")
    host = client(workspace, "alice").database.get_database_instance("other").read_write_dns
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        connect(workspace, "alice", host=host, port=workspace.database_port("other"), password=token)
    from databricks.sdk import WorkspaceClient

    with pytest.raises(PermissionDenied, match="required scopes: postgres"):
        WorkspaceClient(host=workspace.host, token=token, auth_type="pat").database.get_database_instance("shop")


def test_the_password_goes_over_tls_only(workspace):
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        connect(workspace, "alice", sslmode="disable")
    with connect(workspace, "alice", sslmode="prefer") as connection:
        assert connection.pgconn.ssl_in_use


def test_projects_mint_credentials_too(workspace):
    api = client(workspace, "alice", scopes=["postgres"])
    assert [project.name for project in api.postgres.list_projects()] == ["projects/other", "projects/shop"]
    (branch,) = api.postgres.list_branches("projects/shop")
    (endpoint,) = api.postgres.list_endpoints(branch.name)
    assert endpoint.name == ENDPOINT
    minted = api.postgres.generate_database_credential(ENDPOINT)
    assert 3500 < minted.expire_time.ToSeconds() - time.time() < 3700
    with connect(workspace, "alice", host=endpoint.status.hosts.host, password=minted.token) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    roles = [role.status.postgres_role for role in api.postgres.list_roles(branch.name)]
    assert roles[:2] == ["alice@example.com", "bob@example.com"]
    assert api.postgres.get_database(f"{branch.name}/databases/databricks_postgres").status.postgres_database
    kinds = {role.name: role.identity_type.value for role in api.database.list_database_instance_roles("shop")}
    assert (kinds["alice@example.com"], kinds["support"]) == ("USER", "GROUP")


def test_a_credential_lives_as_long_as_it_was_asked_to(workspace):
    from google.protobuf.duration_pb2 import Duration

    api = client(workspace, "alice", scopes=["postgres"]).postgres
    minted = api.generate_database_credential(ENDPOINT, ttl=Duration(seconds=600))
    assert 590 < minted.expire_time.ToSeconds() - time.time() < 610
    for seconds in (10, 7200):
        with pytest.raises(InvalidParameterValue, match="from 300 to 3600"):
            api.generate_database_credential(ENDPOINT, ttl=Duration(seconds=seconds))


def test_the_api_refuses_without_the_scope_and_what_is_not_there(workspace):
    with pytest.raises(PermissionDenied, match="required scopes: postgres"):
        client(workspace, "alice", scopes=["sql"]).database.generate_database_credential(instance_names=["shop"])
    assert last(workspace).scopes_missing == ("postgres",)
    api = client(workspace, "alice", scopes=["postgres"])
    for ask in (
        lambda: api.database.get_database_instance("absent"),
        lambda: api.database.generate_database_credential(instance_names=["absent"]),
        lambda: api.postgres.get_project("projects/absent"),
        lambda: api.postgres.get_branch("projects/shop/branches/absent"),
        lambda: api.postgres.get_endpoint("projects/shop/branches/production/endpoints/absent"),
        lambda: api.postgres.generate_database_credential("projects/shop/branches/absent/endpoints/primary"),
    ):
        with pytest.raises(NotFound, match="not found"):
            ask()
    with pytest.raises(InvalidParameterValue, match="no claims"):
        api.database.generate_database_credential(instance_names=[])


def test_a_tool_as_the_user_in_an_app(workspace, monkeypatch):
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "raise")
    resources = pytest.importorskip("mlflow.models.resources")

    @optional_tool(fallback="Orders are not available to you.")
    @requires_scopes(resources.DatabricksLakebase("shop"))
    @with_user_client
    def orders(client, name) -> str:
        instance = client.database.get_database_instance("shop")
        token = client.database.generate_database_credential(instance_names=["shop"]).token
        port = workspace.database_port("shop")
        address = {"host": instance.read_write_dns, "port": port, "dbname": "databricks_postgres"}
        with psycopg.connect(**address, user=name, password=token, sslmode="require") as connection:
            return f"{connection.execute('SELECT count(*) FROM orders').fetchone()[0]} orders"

    answers, reasons = {}, {}
    for user in ("alice", "bob", "carol"):
        with workspace.as_user(user, runtime="apps", scopes=["postgres"]) as session:
            answers[user], reasons[user] = (
                orders(session.identity.principal),
                [denial.reason.value for denial in session.denials],
            )
    refusal = "Orders are not available to you."
    assert answers == {"alice": "2 orders", "bob": refusal, "carol": refusal}
    assert reasons == {"alice": [], "bob": ["access_denied"], "carol": ["access_denied"]}


def test_the_apps_own_identity_signs_in_with_its_token(workspace):
    from databricks.sdk import WorkspaceClient

    with workspace.as_app(service_principal="agent") as app:
        name, token = app.service_principal.client_id, WorkspaceClient().config.oauth_token().access_token
    with connect(workspace, "alice", user=name, password=token) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (name,)


def test_much_goes_both_ways(workspace):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE lines (line text)")
        with cursor.copy("COPY lines FROM STDIN") as copy:
            for number in range(20_000):
                copy.write_row((f"{number:0500}",))
        rows = cursor.execute("SELECT line FROM lines").fetchall()
    assert (len(rows), rows[-1][0][-5:]) == (20_000, "19999")


def test_a_statement_is_cancelled(workspace):
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    with connect(workspace, "alice") as connection, connect(workspace, "alice") as other, ThreadPoolExecutor(1) as pool:
        other.autocommit = True
        asleep = pool.submit(connection.execute, "SELECT pg_sleep(60)")
        while other.execute(running).fetchone() == (0,):
            assert not asleep.done()
        connection.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            asleep.result()


# asyncpg leaves the transport of a refused connection to the collector, which comes whenever it likes.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_asyncpg_is_served_and_its_refusals_are_understood(workspace):
    asyncpg = pytest.importorskip("asyncpg")

    async def ask(user, statement, password=None):
        host = client(workspace, user).database.get_database_instance("shop").read_write_dns
        address = {"host": host, "port": workspace.database_port("shop"), "database": "databricks_postgres"}
        token = password or credential(workspace, user)
        connection = await asyncpg.connect(**address, user=f"{user}@example.com", password=token, ssl="require")
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    assert asyncio.run(ask("alice", "SELECT id FROM orders ORDER BY id"))[0]["id"] == 1
    for user, statement, password, reason in (
        ("bob", "SELECT * FROM orders", None, "access_denied"),
        ("carol", "SELECT 1", None, "access_denied"),
        ("alice", "SELECT 1", "dapi0123", "token_expired"),
    ):
        with pytest.raises(asyncpg.PostgresError) as caught:
            asyncio.run(ask(user, statement, password))
        assert refused(caught.value)[0] == reason
        del caught
    gc.collect()  # now, where the warning is expected


def test_mistakes_of_the_author_are_said(workspace):
    for name in ("", "shop"):
        with pytest.raises(ValueError, match="a name of its own"):
            workspace.add_database_instance(name)
    with pytest.raises(ValueError, match="No principal 'dora'"):
        workspace.add_database_instance("x", roles=["dora"])
    with pytest.raises(ValueError, match="names in a list"):
        workspace.add_database_instance("x", roles="alice")
    with pytest.raises(ValueError, match='relation "absent" does not exist'):
        workspace.run_in_database("shop", "SELECT * FROM absent")
    with pytest.raises(ValueError, match="No database instance 'absent'"):
        workspace.run_in_database("absent", "SELECT 1")
    workspace.add_database_role("carol", "other")
    with pytest.raises(ValueError, match="already exists"):
        workspace.run_in_database("other", 'CREATE ROLE "carol@example.com"')


def test_broken_sql_of_the_author_reaches_whoever_connects_first():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_database_instance("shop", roles=["alice"], setup="CREATE TABEL orders (id int)")
        with pytest.raises(psycopg.OperationalError, match='syntax error at or near "TABEL"'):
            connect(workspace, "alice")
        assert workspace._lakebase.find("shop").cluster._folder is None


def test_there_may_be_no_postgres(monkeypatch):
    workspace = LocalWorkspace()
    _cluster._binaries.cache_clear()
    monkeypatch.setattr(_cluster.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")
    try:
        with pytest.raises(ImportError, match=r"obo-kit\[lakebase\]"):
            workspace.add_database_instance("shop")
    finally:
        _cluster._binaries.cache_clear()


def test_a_file_has_instances_too():
    workspace = LocalWorkspace.from_config(
        {"users": ["alice"], "database_instances": {"shop": {"roles": ["alice"], "setup": "CREATE TABLE t (id int)"}}}
    )
    with workspace:
        assert workspace.run_in_database("shop", "SELECT rolname FROM pg_roles WHERE rolname LIKE 'alice%'") == (
            "alice@example.com"
        )


SCRIPT = """
import sys
from obo_kit.testing import LocalWorkspace
with LocalWorkspace() as workspace:
    workspace.add_database_instance("shop")
    workspace.run_in_database("shop", "SELECT 1")
    print(workspace._lakebase.find("shop").cluster._folder, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_nothing_runs_on(how):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder = Path(process.stdout.readline().strip())
    pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, 0)
    if how == "killed":
        process.kill()
    process.communicate("\n")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
