"""The shapes of the official data templates that use databricks-sql-connector, unmodified, and SQLAlchemy over it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from databricks.sdk.core import Config
from support import last

from obo_kit.testing import LocalWorkspace

pytestmark = pytest.mark.long

sql = pytest.importorskip("databricks.sql", reason="needs databricks-sql-connector")
PATH = "/sql/1.0/warehouses/wh1"


@pytest.fixture
def workspace():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob"):
            workspace.add_user(user)
        workspace.add_warehouse("wh1")
        rows = [{"id": number, "owner": f"{'alice' if number % 2 else 'bob'}@example.com"} for number in range(2500)]
        workspace.add_table("main.shop.orders", rows, row_filter="owner = current_user()")
        for user in ("alice", "bob"):
            workspace.grant(user, "CAN USE", "wh1")
            workspace.grant(user, "SELECT", "main.shop.orders")
        yield workspace


QUERY = "SELECT * FROM main.shop.orders LIMIT 5000"


def streamlit_and_gradio(query, headers):
    """A function that opens a connection per query with the forwarded token."""
    cfg = Config()
    with (
        sql.connect(
            server_hostname=cfg.host,
            http_path=f"/sql/1.0/warehouses/{os.environ['DATABRICKS_WAREHOUSE_ID']}",
            access_token=headers["X-Forwarded-Access-Token"],
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        return cursor.fetchall_arrow().to_pandas()


def dash(query, headers):
    """The same with the host of the environment, and rows fetched one by one."""
    connection = sql.connect(
        server_hostname=os.environ["DATABRICKS_HOST"],
        http_path=PATH,
        access_token=headers["X-Forwarded-Access-Token"],
    )
    cursor = connection.cursor()
    cursor.execute(query)
    frame = __import__("pandas").DataFrame(cursor.fetchall(), columns=[each[0] for each in cursor.description])
    cursor.close()
    connection.close()
    return frame


def shiny(query, headers):
    """The same with a provider of credentials, and without a scheme before the host."""
    user = Config(host=os.environ["DATABRICKS_HOST"], token=headers["X-Forwarded-Access-Token"], auth_type="pat")
    with (
        sql.connect(
            server_hostname=user.host.removeprefix("https://").removeprefix("http://"),
            http_path=PATH.lstrip("/"),
            credentials_provider=lambda: user.authenticate,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        return cursor.fetchall_arrow().to_pandas()


@pytest.mark.parametrize("template", [streamlit_and_gradio, dash, shiny])
def test_a_template_runs_as_each_user(workspace, template, monkeypatch):
    with workspace.as_app() as app:
        monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", "wh1")
        for user in ("alice", "bob"):
            workspace.log.clear()
            frame = template(QUERY, app.headers(user, scopes=["sql"]))
            assert (len(frame), set(frame.owner)) == (1250, {f"{user}@example.com"})
            assert {(record.user, record.path) for record in workspace.log.filter(path="/sql")} == {(user, PATH)}
        with pytest.raises(sql.Error, match="required scopes: sql"):
            template(QUERY, app.headers("alice", scopes=["genie"]))
        assert last(workspace).decision == "missing scope"


def test_the_statement_execution_mode_finds_the_workspace_too(workspace, caplog):
    with (
        workspace.as_app() as app,
        sql.connect(
            server_hostname=os.environ["DATABRICKS_HOST"],
            http_path=PATH,
            access_token=app.headers("bob", scopes=["sql"])["X-Forwarded-Access-Token"],
            use_sea=True,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(QUERY)
        assert len(cursor.fetchall()) == 1250
    assert "Token exchange" not in caplog.text  # it waits half a minute for a host that does not exist


def test_the_statement_execution_mode_lists_what_its_user_sees(workspace):
    workspace.add_table("main.shop.secrets", [{"id": 1}])
    with (
        workspace.as_app() as app,
        sql.connect(
            server_hostname=os.environ["DATABRICKS_HOST"],
            http_path=PATH,
            access_token=app.headers("bob", scopes=["sql"])["X-Forwarded-Access-Token"],
            use_sea=True,
        ) as connection,
        connection.cursor() as cursor,
    ):
        for catalog in ("main", None):
            found = cursor.tables(catalog_name=catalog, schema_name="shop", table_types=["TABLE"]).fetchall()
            assert [(row.catalogName, row.namespace, row.tableName) for row in found] == [("main", "shop", "orders")]
        assert cursor.tables(catalog_name="main", schema_name="other").fetchall() == []
        found = cursor.columns(catalog_name="main", schema_name="shop", table_name="o*").fetchall()
        assert [(row.tableName, row.col_name, row.columnType) for row in found] == [
            ("orders", "id", "BIGINT"),
            ("orders", "owner", "STRING"),
        ]


def test_a_notebook_s_connector_speaks_as_the_developer(workspace):
    with (
        workspace.as_notebook("alice", scopes=["sql"]),
        sql.connect(
            server_hostname=os.environ["DATABRICKS_HOST"], http_path=PATH, access_token=os.environ["DATABRICKS_TOKEN"]
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT current_user() AS me")
        assert cursor.fetchone().me == "alice@example.com"


def test_other_hosts_are_left_alone(workspace):
    from obo_kit.testing._sql_addresses import _settings

    with LocalWorkspace() as other:
        host = other.host
        assert _settings("dbc-1.cloud.databricks.com", PATH) == {}
        assert _settings("127.0.0.1:1", PATH) == {}
        for running in (host, workspace.host):
            assert _settings(running, PATH)["_connection_uri"] == running + PATH
    assert _settings(host, PATH) == {}


def test_sqlalchemy_reads_tables_and_runs_statements_as_the_user(workspace):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip("databricks.sqlalchemy", reason="needs databricks-sqlalchemy")
    with workspace.as_app() as app:
        token = app.headers("alice", scopes=["sql"])["X-Forwarded-Access-Token"]
        url = f"databricks://token:{token}@127.0.0.1?http_path={PATH}&catalog=main&schema=shop"
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("SELECT count(*) FROM orders")).scalar() == 1250
            few = sqlalchemy.text("SELECT id FROM orders WHERE id < :top ORDER BY id")
            assert [row.id for row in connection.execute(few, {"top": 4})] == [1, 3]
        inspector = sqlalchemy.inspect(engine)
        assert inspector.get_table_names() == ["orders"]
        assert [str(each["type"]) for each in inspector.get_columns("orders")] == ["BIGINT", "VARCHAR"]
        # The dialect reads keys from DESCRIBE TABLE EXTENDED, in which no value is null.
        assert sqlalchemy.Table("orders", sqlalchemy.MetaData(), autoload_with=engine).columns.keys() == ["id", "owner"]
        workspace.grant("alice", "CREATE TABLE", "main.shop")
        made = sqlalchemy.Table(
            "made",
            sqlalchemy.MetaData(),
            sqlalchemy.Column("id", sqlalchemy.BigInteger, primary_key=True, autoincrement=False),
            sqlalchemy.Column("price", sqlalchemy.Numeric(10, 2)),
        )
        made.create(engine)
        with engine.begin() as connection:
            connection.execute(made.insert(), [{"id": 1, "price": 1.5}, {"id": 2, "price": None}])
            assert [str(row.price) for row in connection.execute(made.select().order_by("id"))] == ["1.50", "None"]
        made.drop(engine)
        workspace.revoke("alice", "CREATE TABLE", "main.shop")
        engine.dispose()


SERVER = """
from databricks import sql
from databricks.sdk.core import Config

cfg = Config()
path = "/sql/1.0/warehouses/wh1"
with (
    sql.connect(server_hostname=cfg.host, http_path=path, credentials_provider=lambda: cfg.authenticate) as connection,
    connection.cursor() as cursor,
):
    cursor.execute("SELECT 1 AS number")
    print(cursor.fetchone().number)
"""


def test_a_server_in_a_process_of_its_own_finds_the_workspace_too(workspace, tmp_path, monkeypatch):
    """As `streamlit run` or a worker is; what the environment's own sitecustomize does is done before."""
    (tmp_path / "sitecustomize.py").write_text("print('the other')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with workspace.as_app(name="shop") as app:
        workspace.grant(app.service_principal.name, "CAN USE", "wh1")
        server = subprocess.run([sys.executable, "-c", SERVER], capture_output=True, text=True, check=False)
    assert server.stdout.split("\n") == ["the other", "1", ""], server.stderr
    assert {record.user for record in workspace.log.filter(path="/sql")} == {"shop"}
    assert os.environ["PYTHONPATH"] == str(tmp_path)
