"""SQL by way of databricks-sql-connector as authors write it: its default protocol, over HTTP on loopback."""

from __future__ import annotations

import datetime
import decimal
import threading
import time

import pytest
import requests
from databricks.sdk.core import Config
from support import last, sql

from obo_kit import DenialReason, explain
from obo_kit.testing import LocalWorkspace
from obo_kit.testing.services import _thrift
from obo_kit.testing.sql import _engine

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
connector = pytest.importorskip("databricks.sql", reason="needs databricks-sql-connector")

PATH = "/sql/1.0/warehouses/wh1"
SLOW = "SELECT count(*) FROM range(3000000000) t(i) WHERE i % 7 = 3"
SOME = "SELECT id, owner, price FROM orders ORDER BY id"


@pytest.fixture(scope="module")
def workspace():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_warehouse("wh1")
        rows = [
            {"id": number, "owner": f"{'alice' if number % 2 else 'bob'}@example.com", "price": number / 4}
            for number in range(3000)
        ]
        workspace.add_table("main.shop.orders", rows, row_filter="owner = current_user()")
        for user in ("alice", "bob"):
            workspace.grant(user, "CAN USE", "wh1")
            workspace.grant(user, "SELECT", "main.shop.orders")
        yield workspace


def connect(workspace, user, *, scopes=("sql",), **settings):
    """Connect to the address of a workspace without TLS, which the connector takes as a whole."""
    if "credentials_provider" not in settings:
        settings["access_token"] = workspace.token(user, scopes=scopes)
    return connector.connect(
        server_hostname="127.0.0.1",
        http_path=PATH,
        _connection_uri=workspace.host + PATH,
        enable_telemetry=False,
        _retry_stop_after_attempts_count=1,
        **{"catalog": "main", "schema": "shop", **settings},
    )


@pytest.fixture(params=["arrow", "columns"])
def form(request, monkeypatch):
    """How rows travel: as Arrow, and column by column to a client without pyarrow."""
    if request.param == "columns":
        monkeypatch.setattr(_thrift, "has_arrow", lambda: False)
    return request.param


def test_each_user_sees_their_own_rows_all_of_them(workspace, monkeypatch, form):
    monkeypatch.setattr(workspace._connector, "batch", 400)
    for user in ("alice", "bob"):
        workspace.log.clear()
        with connect(workspace, user) as connection, connection.cursor() as cursor:
            cursor.execute(SOME)
            rows = cursor.fetchall()
        assert len(rows) == 1500
        assert {row.owner for row in rows} == {f"{user}@example.com"}
        assert [row.id for row in rows] == list(range(user == "alice", 3000, 2))
        assert {(record.user, record.path, record.status) for record in workspace.log} == {(user, PATH, 200)}


def test_values_have_their_types(workspace, form):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT true AS b, 7 AS i, CAST(3000000000 AS BIGINT) AS l, CAST(1.5 AS DOUBLE) AS d, "
            "CAST(12.5 AS DECIMAL(10, 2)) AS n, 'text' AS s, DATE '2026-11-28' AS day, "
            "TIMESTAMP '2026-11-28 10:11:12' AS at, CAST(NULL AS STRING) AS nothing"
        )
        assert [each[:2] for each in cursor.description] == [
            ("b", "boolean"),
            ("i", "int"),
            ("l", "bigint"),
            ("d", "double"),
            ("n", "decimal"),
            ("s", "string"),
            ("day", "date"),
            ("at", "timestamp"),
            ("nothing", "string"),
        ]
        row = cursor.fetchone()
    assert tuple(row)[:6] == (True, 7, 3000000000, 1.5, decimal.Decimal("12.50"), "text")
    assert row.nothing is None
    if form == "arrow":
        moment = datetime.datetime(2026, 11, 28, 10, 11, 12, tzinfo=datetime.timezone.utc)
        assert (row.day, row["at"]) == (datetime.date(2026, 11, 28), moment)


def test_arrays_maps_and_structs_are_values_and_text_to_whoever_asks_for_text(workspace):
    statement = (
        "SELECT array(1, 2) AS a, map('k', DATE'2026-01-02') AS m, named_struct('n', 1.50, 't', array('x')) AS s, "
        "array(true, null) AS b, TIMESTAMP'2026-11-28 10:11:12.123456' AS at, 1.50 AS d"
    )
    moment = datetime.datetime(2026, 11, 28, 10, 11, 12, 123456, tzinfo=datetime.timezone.utc)
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
        assert (list(row.a), row.m, row["at"]) == ([1, 2], [("k", datetime.date(2026, 1, 2))], moment)
        assert (row.s["n"], list(row.s["t"]), list(row.b)) == (decimal.Decimal("1.50"), ["x"], [True, None])
        cursor.execute(f"SELECT a, m FROM ({statement}) WHERE a IS NULL")
        kinds = [str(kind) for kind in cursor.fetchall_arrow().schema.types]
        assert kinds == ["list<item: int32>", "map<string, date32[day]>"]
    plain = {f"_use_arrow_native_{kind}": False for kind in ("complex_types", "decimals", "timestamps")}
    with connect(workspace, "alice", **plain) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        assert tuple(cursor.fetchone()) == (
            "[1,2]",
            '{"k":"2026-01-02"}',
            '{"n":1.5,"t":["x"]}',
            "[true,null]",
            "2026-11-28T10:11:12.123Z",
            decimal.Decimal("1.50"),
        )


def test_a_timestamp_without_a_zone_has_none(workspace):
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
    at = "TIMESTAMP_NTZ'2026-01-02 03:04:05.678901'"
    statement = f"SELECT {at} AS a, CAST({at} AS TIMESTAMP) AS b, array({at}) AS c, max({at}) AS d, typeof({at}) AS e"
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        row = cursor.execute(statement).fetchone()
        assert (row.a, row.d, row.e) == (moment, moment, "timestamp_ntz")
        assert row.b == moment.replace(tzinfo=datetime.timezone.utc)
        assert cursor.execute(statement).fetchall_arrow().schema.field("c").type.value_type.tz is None
    told = sql(workspace, "alice", statement)
    assert [column.type_text for column in told.manifest.schema.columns][:2] == ["TIMESTAMP_NTZ", "TIMESTAMP"]
    assert told.result.data_array[0][:2] == ["2026-01-02T03:04:05.678", "2026-01-02T03:04:05.678Z"]


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ("INTERVAL '1-2' YEAR TO MONTH", "1-2"),
        ("INTERVAL '-3' MONTH", "-0-3"),
        ("INTERVAL '1 02:03:04' DAY TO SECOND", "1 02:03:04.000000000"),
        ("TIMESTAMP'2026-01-01' - TIMESTAMP'2026-03-02 01:00:00'", "-60 01:00:00.000000000"),
        ("make_interval(0, NULL)", None),
    ],
)
def test_an_interval_has_its_months(workspace, interval, text):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        assert tuple(cursor.execute(f"SELECT {interval}, 7").fetchone()) == (text, 7)
        for unserved in ("make_interval(1, 0, 0, 3)", f"array({interval})"):
            with pytest.raises(connector.ServerOperationError, match=r"interval .* is not served"):
                cursor.execute(f"SELECT {unserved}")


def test_a_long_result_is_whole_or_refused(workspace, monkeypatch):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM range(120000)")
        assert len(cursor.fetchall()) == 120_000
        monkeypatch.setattr(_engine, "ROW_LIMIT", 100)
        cursor.execute("SELECT id FROM range(100)")
        assert len(cursor.fetchall()) == 100
        with pytest.raises(connector.ServerOperationError, match="more than 100 rows is not served"):
            cursor.execute("SELECT id FROM range(101)")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"timezone": "America/New_York"}, "setting timezone = America/New_York"),
        ({"ANSI_MODE": False}, "setting ansi_mode = False"),
        ({"bogus": 1}, "CONFIG_NOT_AVAILABLE"),
    ],
)
def test_a_setting_that_would_change_results_is_refused(workspace, settings, text):
    with pytest.raises(connector.DatabaseError, match=text):
        connect(workspace, "alice", session_configuration=settings)
    assert last(workspace).decision in {"bad request", "not found"}
    harmless = {"TIMEZONE": "UTC", "ansi_mode": True, "statement_timeout": 9, "use_cached_result": "false"}
    with connect(workspace, "alice", session_configuration=harmless) as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1").fetchone()[0] == 1


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ({"catalog": "nowhere"}, "CATALOG_NOT_FOUND"),
        ({"catalog": "Main", "schema": "nowhere"}, "SCHEMA_NOT_FOUND"),
    ],
)
def test_a_session_begins_where_its_user_may_be(workspace, place, error):
    def select(**place):
        with connect(workspace, "alice", **place) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    with pytest.raises(connector.ServerOperationError, match=error):
        select(**place)
    workspace.strict_privileges = True
    try:
        with pytest.raises(connector.ServerOperationError, match="USE CATALOG on Catalog 'main'"):
            select()
    finally:
        workspace.strict_privileges = False


@pytest.mark.parametrize("mode", [{}, {"use_sea": True}, {"use_kernel": True}])
def test_a_workspace_that_runs_is_found_by_its_host_in_every_mode(workspace, mode):
    if "use_kernel" in mode:
        pytest.importorskip("databricks_sql_kernel", reason="needs databricks-sql-kernel")
    token = workspace.token("alice", scopes=["sql"])
    with connector.connect(workspace.host, PATH, token, **mode) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user() AS me, 1.50 AS price, array(1) AS a WHERE 1 = :one", {"one": 1})
        (row,) = cursor.fetchall()
        assert (row.me, str(row.price)) == ("alice@example.com", "1.50")
        cursor.execute("SELECT id FROM main.shop.orders WHERE id < 0")
        assert cursor.fetchall() == []
        assert [each[0] for each in cursor.description] == ["id"]
        with pytest.raises(connector.Error, match="TABLE_OR_VIEW_NOT_FOUND"):
            cursor.execute("SELECT * FROM main.shop.nothing")


def test_a_connection_to_a_workspace_that_has_stopped_is_closed():
    with LocalWorkspace() as gone:
        gone.add_user("alice")
        gone.add_warehouse("wh1")
        gone.grant("alice", "CAN USE", "wh1")
        connection = connector.connect(gone.host, PATH, gone.token("alice", scopes=["sql"]))
        cursor = connection.cursor()
        cursor.execute("SELECT id FROM range(20000)")
    assert not connection.open
    cursor.close()
    connection.close()


def test_a_connection_that_is_dropped_open_is_not_closed_by_the_thread_that_drops_it(workspace):
    with pytest.raises(TypeError):
        connector.connect(workspace.host, PATH, "token", http_headers=1)  # dropped before it has a session
    box = [connect(workspace, "alice")]
    workspace.log.clear()
    # The server's own thread could not answer a request that it waits for.
    workspace._server._loop.call_soon_threadsafe(box.clear)
    headers = {"Authorization": f"Bearer {workspace.token('alice')}"}
    assert requests.get(f"{workspace.host}/api/2.0/sql/warehouses", headers=headers, timeout=60).status_code == 200
    deadline = time.monotonic() + 10
    while not workspace.log.filter(path=PATH) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {record.user for record in workspace.log.filter(path=PATH)} == {"alice"}


def test_quotients_and_averages_of_decimals_are_decimals(workspace, form):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT CAST(1 AS DECIMAL(10, 2)) / 3 AS q, avg(x) AS a, sum(x) AS s FROM VALUES (1.10), (2.25) AS t(x)"
        )
        assert [each[:2] + each[4:6] for each in cursor.description] == [
            ("q", "decimal", 14, 6),
            ("a", "decimal", 7, 6),
            ("s", "decimal", 13, 2),
        ]
        assert [str(each) for each in cursor.fetchone()] == ["0.333333", "1.675000", "3.35"]


def test_results_come_as_arrow_and_in_pieces(workspace, monkeypatch):
    monkeypatch.setattr(workspace._connector, "batch", 400)
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        cursor.execute(SOME)
        table = cursor.fetchall_arrow()
        assert (table.num_rows, table.schema.names) == (1500, ["id", "owner", "price"])
        assert table.to_pandas().price.sum() == sum(number / 4 for number in range(1, 3000, 2))
        cursor.execute(SOME)
        assert [len(cursor.fetchmany(700)) for _ in range(3)] == [700, 700, 100]
        cursor.execute("SELECT id FROM orders WHERE id < 0")
        assert cursor.fetchall() == []


def test_parameters_are_values_and_never_sql(workspace):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM orders WHERE id < :top AND owner <> :text ORDER BY id", {"top": 6, "text": "' OR '1'='1"}
        )
        assert [row.id for row in cursor.fetchall()] == [1, 3, 5]
        parts = {"ids": [5, 3], "names": {"a": ["x"], "b": []}}
        cursor.execute("SELECT id, :names['a'][0] AS a FROM orders WHERE array_contains(:ids, id) ORDER BY id", parts)
        assert [(row.id, row.a) for row in cursor.fetchall()] == [(3, "x"), (5, "x")]
        cursor.execute(
            "SELECT :n * 2147483647, typeof(:n) LIMIT :n", [connector.parameters.BigIntegerParameter(9, "n")]
        )
        assert tuple(cursor.fetchone()) == (19327352823, "bigint")
        cursor.execute("SELECT size(?), ?", [[1, 2, 3], "z"])
        assert tuple(cursor.fetchone()) == (3, "z")


def test_a_session_has_its_catalog_and_schema(workspace):
    with connect(workspace, "alice", catalog=None, schema=None) as connection, connection.cursor() as cursor:
        cursor.execute("USE CATALOG main")
        cursor.execute("USE SCHEMA shop")
        cursor.execute("SELECT count(*) AS n FROM orders")
        assert cursor.fetchone().n == 1500


def test_metadata_holds_what_the_user_may_read(workspace):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        assert [row.TABLE_CAT for row in cursor.catalogs().fetchall()] == ["main"]
        assert [row.TABLE_SCHEM for row in cursor.schemas(catalog_name="main").fetchall()] == ["shop"]
        assert [row.TABLE_NAME for row in cursor.tables(schema_name="SH%", table_name="order_").fetchall()] == [
            "orders"
        ]
        columns = cursor.columns(table_name="orders", column_name="%").fetchall()
        assert (columns[0].COLUMN_NAME, columns[0].TYPE_NAME) == ("id", "BIGINT")
        # What SQLAlchemy's dialect reads, too.
        told = (columns[0].DATA_TYPE, columns[0].NULLABLE, columns[0].COLUMN_DEF, columns[0].ORDINAL_POSITION)
        assert told == (-5, 1, None, 0)
        assert len(cursor.description) == 23
    workspace.grant("carol", "CAN USE", "wh1")
    try:
        with connect(workspace, "carol", catalog=None, schema=None) as connection, connection.cursor() as cursor:
            assert cursor.catalogs().fetchall() == cursor.tables().fetchall() == []
            workspace.grant("carol", "USE SCHEMA", "main.shop")
            assert [tuple(row) for row in cursor.schemas().fetchall()] == [("shop", "main")]
            assert cursor.tables().fetchall() == []
            workspace.grant("carol", "BROWSE", "main")
            assert [row.TABLE_NAME for row in cursor.tables().fetchall()] == ["orders"]
    finally:
        workspace.revoke("carol", "CAN USE", "wh1")
        workspace.revoke("carol", "USE SCHEMA", "main.shop")
        workspace.revoke("carol", "BROWSE", "main")


def test_what_a_statement_may_not_is_raised_with_the_platform_s_words(workspace):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        with pytest.raises(connector.ServerOperationError, match=r"TABLE_OR_VIEW_NOT_FOUND"):
            cursor.execute("SELECT * FROM nothing")
        assert (last(workspace).status, last(workspace).decision) == (200, "not found")
        cursor.execute("SELECT 1 AS n")
        assert cursor.fetchone().n == 1


def test_whoever_may_not_is_refused_when_connecting(workspace):
    for user, scopes, decision, text in (
        ("carol", ["sql"], "missing grant", "is not authorized to use or monitor this SQL Endpoint"),
        ("alice", ["genie"], "missing scope", "required scopes: sql"),
        ("alice", ["vector-search"], "missing scope", "required scopes: sql"),
    ):
        with pytest.raises(connector.RequestError, match=text) as refused:
            connect(workspace, user, scopes=scopes)
        assert refused.value.context["http-code"] == 403
        assert (last(workspace).user, last(workspace).decision) == (user, decision)
    with pytest.raises(connector.RequestError, match="Invalid access token"):
        connect(workspace, "alice", credentials_provider=lambda: lambda: {"authorization": "Bearer nobody"})


def test_a_connector_outside_the_kit_keeps_the_words_of_an_ip_access_list(workspace):
    workspace.add_fault("ip_access_list", path_prefix=PATH)
    with pytest.raises(connector.RequestError, match="blocked by Databricks IP ACL") as refused:
        connect(workspace, "alice")
    assert (last(workspace).status, last(workspace).fault) == (403, "ip_access_list")
    assert explain(refused.value).reason is DenialReason.POLICY


def test_a_statement_is_canceled(workspace):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        failures = []

        def run():
            try:
                cursor.execute(SLOW)
            except connector.Error as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while cursor.active_command_id is None:
            time.sleep(0.01)
        begun = time.monotonic()
        cursor.cancel()
        thread.join(timeout=60)
        assert not thread.is_alive()
        assert time.monotonic() - begun < 15


def test_asynchronous_execution_is_polled(workspace):
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        cursor.execute_async("SELECT count(*) AS n FROM orders")
        cursor.get_async_execution_result()
        assert cursor.fetchone().n == 1500


def test_credentials_of_the_sdk_authenticate(workspace):
    config = Config(host=workspace.host, token=workspace.token("bob", scopes=["sql"]), auth_type="pat")
    with (
        connect(workspace, "bob", credentials_provider=lambda: config.authenticate) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT current_user() AS me")
        assert cursor.fetchone().me == "bob@example.com"


def test_one_user_s_sessions_and_statements_are_nobody_else_s(workspace):
    types = _thrift._types()
    with connect(workspace, "alice") as connection, connection.cursor() as cursor:
        cursor.execute(SOME)
        session = next(iter(workspace._connector._sessions))
        operation = next(reversed(workspace._connector._operations))
        for method, owned in (
            ("ExecuteStatement", {"sessionHandle": _handle(types.TSessionHandle, "sessionId", session)}),
            ("FetchResults", {"operationHandle": _handle(types.TOperationHandle, "operationId", operation)}),
            ("GetOperationStatus", {"operationHandle": _handle(types.TOperationHandle, "operationId", operation)}),
            ("GetResultSetMetadata", {"operationHandle": _handle(types.TOperationHandle, "operationId", operation)}),
            ("CancelOperation", {"operationHandle": _handle(types.TOperationHandle, "operationId", operation)}),
        ):
            answer = ask(workspace, "bob", method, **owned)
            assert answer.status.statusCode == types.TStatusCode.INVALID_HANDLE_STATUS, method
        ask(
            workspace,
            "bob",
            "CloseOperation",
            operationHandle=_handle(types.TOperationHandle, "operationId", operation),
        )
        assert operation in workspace._connector._operations
        assert len(cursor.fetchall()) == 1500


def test_what_is_not_served_says_so(workspace):
    answer = ask(
        workspace,
        "alice",
        "GetTypeInfo",
        sessionHandle=_handle(_thrift._types().TSessionHandle, "sessionId", b"x" * 16),
    )
    assert answer.status.errorMessage == "The local workspace does not serve GetTypeInfo"
    assert ask(workspace, "alice", "GetInfo", infoType=17).infoValue.stringValue == "Databricks"


def test_a_body_that_is_no_call_is_refused(workspace):
    headers = {"Authorization": f"Bearer {workspace.token('alice')}"}
    answer = requests.post(workspace.host + PATH, data=b"\x00nothing", headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "MALFORMED_REQUEST")


def test_without_the_connector_s_package_the_workspace_says_what_is_missing(workspace, monkeypatch):
    monkeypatch.setattr(_thrift, "available", lambda: False)
    with pytest.raises(connector.RequestError, match="pip install databricks-sql-connector"):
        connect(workspace, "alice")


def _handle(kind, field, name):
    identifier = _thrift._types().THandleIdentifier(guid=name, secret=name)
    extra = {"operationType": 0, "hasResultSet": True} if field == "operationId" else {}
    return kind(**{field: identifier}, **extra)


def ask(workspace, user, method, **fields):
    """Call one method of the service with a user's token."""
    from databricks.sql.thrift_api.TCLIService import TCLIService
    from thrift.protocol.TBinaryProtocol import TBinaryProtocol
    from thrift.transport.TTransport import TMemoryBuffer

    sent = TMemoryBuffer()
    request = getattr(_thrift._types(), f"T{method}Req")(**fields)
    if method == "ExecuteStatement":
        request.statement = "SELECT 1"
    if method == "FetchResults":
        request.maxRows = 10
    client = TCLIService.Client(TBinaryProtocol(sent))
    getattr(client, f"send_{method}")(request)
    headers = {"Authorization": f"Bearer {workspace.token(user)}"}
    answer = requests.post(workspace.host + PATH, data=sent.getvalue(), headers=headers, timeout=60)
    return getattr(TCLIService.Client(TBinaryProtocol(TMemoryBuffer(answer.content))), f"recv_{method}")()
