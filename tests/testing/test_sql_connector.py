"""SQL by way of databricks-sql-connector, in its SEA mode. `make test-apps` runs it: where a framework's tools bring Spark's
client along, the connector's numpy and Spark's do not go together.
"""

from __future__ import annotations

import pytest
import trustme
from support import last

from obo_kit.testing import LocalWorkspace

connector = pytest.importorskip("databricks.sql", reason="comes with the dependency group apps")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """Over HTTPS, which is what the connector speaks."""
    authority = trustme.CA()
    folder = tmp_path_factory.mktemp("tls")
    certificate, root = folder / "server.pem", folder / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(root))
    with LocalWorkspace(ssl_certfile=str(certificate)) as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_warehouse("wh1")
        rows = [{"id": number, "owner": f"{'alice' if number % 2 else 'bob'}@example.com"} for number in range(3000)]
        workspace.add_table("main.shop.orders", rows, row_filter="owner = current_user()")
        for user in ("alice", "bob"):
            workspace.grant(user, "CAN USE", "wh1")
            workspace.grant(user, "SELECT", "main.shop.orders")
        yield workspace, str(root)


def connect(secure, user, *, scopes=("sql",), **settings):
    workspace, root = secure
    return connector.connect(
        server_hostname="127.0.0.1",
        _port=int(workspace.host.rpartition(":")[2]),
        _tls_trusted_ca_file=root,
        http_path="/sql/1.0/warehouses/wh1",
        access_token=workspace.token(user, scopes=scopes),
        use_sea=True,
        enable_telemetry=False,
        _retry_stop_after_attempts_count=1,
        catalog="main",
        schema="shop",
        **settings,
    )


@pytest.mark.parametrize("linked", [True, False])
def test_the_sql_connector_sees_what_its_user_may(secure, linked):
    for user in ("alice", "bob"):
        secure[0].log.clear()
        with connect(secure, user, use_cloud_fetch=linked) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) AS n, min(owner) AS owner, current_user() AS me FROM orders")
            assert [tuple(row) for row in cursor.fetchall()] == [(1500, f"{user}@example.com", f"{user}@example.com")]
            assert [each[:2] for each in cursor.description] == [("n", "bigint"), ("owner", "string"), ("me", "string")]
            # Inline, this connector reads the first chunk of a result and no more.
            cursor.execute("SELECT id FROM orders ORDER BY id")
            assert len(cursor.fetchall()) == (1500 if linked else 1000)
            cursor.execute("SELECT id FROM orders WHERE id < :top", {"top": 3})
            assert len(cursor.fetchall()) == (1 if user == "alice" else 2)
        assert {record.user for record in secure[0].log if not record.path.startswith("/local-storage/")} == {user}


def test_the_sql_connector_raises_what_is_refused(secure):
    with connect(secure, "alice") as connection, connection.cursor() as cursor:
        with pytest.raises(connector.ServerOperationError, match="SCHEMA_NOT_FOUND"):
            cursor.execute("USE SCHEMA elsewhere")
        cursor.execute("USE SCHEMA information_schema")
        with pytest.raises(connector.ServerOperationError, match="TABLE_OR_VIEW_NOT_FOUND"):
            cursor.execute("SELECT * FROM orders")
    for user, scopes, decision in (("carol", ["sql"], "missing grant"), ("alice", ["genie"], "missing scope")):
        with pytest.raises(connector.RequestError, match="403"):
            connect(secure, user, scopes=scopes)
        assert (last(secure[0]).user, last(secure[0]).decision) == (user, decision)
