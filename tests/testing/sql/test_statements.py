"""Statements as authors and Genie write them give the rows that the platform documents, and none gives other rows."""

from __future__ import annotations

import decimal
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from databricks.sdk.service.sql import StatementParameterListItem, StatementState
from sqlglot.dialects.databricks import Databricks
from support import sql

from obo_kit.testing import LocalWorkspace
from obo_kit.testing.sql import _sharing
from obo_kit.testing.sql._dialect import LAKEHOUSE

sys.path.insert(0, str(Path(__file__).parent))
from statement_rows import ORDERS, STATEMENTS, same, short_types, values_of
from statement_tables import TABLES


@pytest.fixture(scope="module")
def workspace():
    with LocalWorkspace(strict_privileges=True) as workspace:
        workspace.add_user("alice", groups=["admins"])
        workspace.add_warehouse("wh1")
        workspace.add_table("main.shop.orders", ORDERS)
        for privilege, securable in (
            ("CAN USE", "wh1"),
            ("USE CATALOG", "main"),
            ("USE SCHEMA", "main.shop"),
            ("SELECT", "main.shop.orders"),
        ):
            workspace.grant("alice", privilege, securable)
        for name, (_, rows) in TABLES.items():
            workspace.add_table(f"main.shop.{name}", rows)
            workspace.grant("alice", "SELECT", f"main.shop.{name}")
        workspace.add_function("main.shop.secret", "SELECT max(item) FROM main.shop.orders")
        workspace.grant("alice", "EXECUTE", "main.shop.secret")
        yield workspace


def run(workspace, statement, **kwargs):
    return sql(workspace, "alice", statement, catalog="main", schema="shop", wait_timeout="50s", **kwargs)


@pytest.mark.parametrize("case", STATEMENTS, ids=lambda case: case["sql"][:60])
def test_a_statement_gives_its_documented_rows(workspace, case):
    answer = run(workspace, case["sql"])
    too_old = int(duckdb.__version__.split(".")[0]) < case.get("duckdb", 0)
    refused = "UNSUPPORTED_FEATURE" if too_old else case.get("error") or case.get("refused")
    if refused:
        assert answer.status.state is StatementState.FAILED
        assert answer.status.error.message.startswith(f"[{refused}]"), answer.status.error.message
    else:
        assert answer.status.state is StatementState.SUCCEEDED, answer.status.error
        found = values_of(answer)
        assert same(found, case["rows"], any_order=case.get("any_order", False)), found
        types = short_types(column.type_text for column in answer.manifest.schema.columns)
        names = [column.name for column in answer.manifest.schema.columns]
        assert names == case.get("names", names)
        # To DuckDB 1, null is an INT.
        assert types == case.get("types", types) or int(duckdb.__version__.split(".")[0]) < 2


@pytest.mark.parametrize("case", STATEMENTS[::8], ids=lambda case: case["sql"][:60])
def test_sharing_the_arguments_of_a_call_changes_nothing(workspace, case, monkeypatch):
    monkeypatch.setattr(_sharing, "_MOST", 0)
    test_a_statement_gives_its_documented_rows(workspace, case)


def test_there_are_several_hundred():
    assert len(STATEMENTS) >= 1300
    assert sum("refused" in case for case in STATEMENTS) <= 10


@pytest.mark.parametrize(
    ("statement", "parameters", "rows"),
    [
        ("SELECT :x + 1, :y", [("x", "41", "INT"), ("y", "a'b", None)], [[42, "a'b"]]),
        ("SELECT :x", [("x", None, "INT")], [[None]]),
        ("SELECT id FROM orders WHERE ts >= :day ORDER BY id", [("day", "2026-02-01", "DATE")], [[2], [3]]),
        ("SELECT id FROM orders ORDER BY id LIMIT :n", [("n", "1", "INT")], [[1]]),
        ("SELECT ?, ?", [("", "1", "INT"), ("", "b", "STRING")], [[1, "b"]]),
        ("SELECT ? + ?, ?", [("", "1", "INT"), ("", "2", "INT"), ("", "z", "STRING")], [[3, "z"]]),
        (
            "WITH t AS (SELECT id, item FROM orders WHERE item = ?) SELECT concat(item, ?) FROM t WHERE id > ? LIMIT ?",
            [("", "tea", "STRING"), ("", "!", "STRING"), ("", "0", "INT"), ("", "1", "INT")],
            [["tea!"]],
        ),
        ("SELECT (SELECT count(*) FROM orders WHERE id > ?), ?", [("", "1", "INT"), ("", "x", "STRING")], [[2, "x"]]),
        ("SELECT id FROM IDENTIFIER(:t) ORDER BY id", [("t", "main.shop.orders", "STRING")], [[1], [2], [3]]),
        ("SELECT :x / 2", [("x", "-3", "INT")], [[-1.5]]),
        (
            "SELECT IDENTIFIER(:c), upper(IDENTIFIER('orders.' || :c)) FROM IDENTIFIER('main.shop.' || :t) WHERE id = ?",
            [("c", "item", "STRING"), ("t", "orders", "STRING"), ("", "2", "INT")],
            [["cups", "CUPS"]],
        ),
        ("SELECT date_format(:d, :f)", [("d", "2026-01-02", "DATE"), ("f", "yyyy", "STRING")], [["2026"]]),
        ("SELECT :x", [("x", "'; DROP TABLE orders --", "STRING")], [["'; DROP TABLE orders --"]]),
    ],
)
def test_parameters_stand_for_their_values(workspace, statement, parameters, rows):
    items = [StatementParameterListItem(name=name, value=value, type=kind) for name, value, kind in parameters]
    answer = run(workspace, statement, parameters=items)
    assert answer.status.state is StatementState.SUCCEEDED, answer.status.error
    assert values_of(answer) == rows


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("SELECT count(*), sum(amount) FROM orders", ["count(1)", "sum(amount)"]),
        ("SELECT /* one */ 1 -- the end", ["1"]),
        ("SELECT id, item AS `an item`, upper(item) FROM orders", ["id", "an item", "upper(item)"]),
        ("SELECT js:a, js:b.c::STRING FROM orders", ["a", "c"]),
        ("SELECT posexplode(array(1))", ["pos", "col"]),
        ("SELECT explode(map('a', 1))", ["key", "value"]),
        ("SELECT * FROM VALUES (1, 2)", ["col1", "col2"]),
        ("SELECT * FROM range(1)", ["id"]),
    ],
)
def test_columns_have_the_names_of_the_platform(workspace, statement, names):
    assert [column.name for column in run(workspace, statement).manifest.schema.columns] == names


def test_types_are_written_as_the_platform_writes_them(workspace):
    values = "map('a', 1) AS m, struct(1 AS x, array('y') AS y) AS s, sum(id) AS n, CAST(1 AS DECIMAL(5, 2)) AS d"
    columns = run(workspace, f"SELECT {values} FROM orders").manifest.schema.columns
    assert [column.type_text for column in columns] == [
        "MAP<STRING, INT>",
        "STRUCT<x: INT, y: ARRAY<STRING>>",
        "BIGINT",
        "DECIMAL(5,2)",
    ]


_D = "CAST({} AS DECIMAL({}, {}))".format


@pytest.mark.parametrize(
    ("expression", "kind", "value"),
    [
        # Operators: precision and scale by the documentation of DECIMAL, values by Spark.
        (f"{_D(1.1, 10, 2)} + {_D(2.25, 5, 1)}", "DECIMAL(11,2)", "3.40"),
        (f"{_D(10.5, 10, 2)} + 1", "DECIMAL(11,2)", "11.50"),
        (f"{_D(10.5, 10, 2)} + CAST(1 AS INT)", "DECIMAL(13,2)", "11.50"),
        (f"{_D(10.5, 10, 2)} - CAST(1 AS BIGINT)", "DECIMAL(23,2)", "9.50"),
        (f"{_D(10.5, 10, 2)} * 100", "DECIMAL(14,2)", "1050.00"),
        (f"{_D(1.5, 38, 10)} * {_D(2.5, 38, 10)}", "DECIMAL(38,6)", "3.750000"),
        (f"{_D(1.5, 38, 18)} + {_D(2.5, 38, 2)}", "DECIMAL(38,6)", "4.000000"),
        (f"{_D(1, 10, 2)} / {_D(3, 10, 2)}", "DECIMAL(23,13)", "0.3333333333333"),
        (f"{_D(1, 38, 10)} / {_D(3, 38, 10)}", "DECIMAL(38,6)", "0.333333"),
        (f"{_D(10, 18, 2)} / 3", "DECIMAL(22,6)", "3.333333"),
        (f"{_D(10, 18, 2)} / CAST(3 AS BIGINT)", "DECIMAL(38,22)", "3.3333333333333333333333"),
        (f"1 / {_D(8, 4, 1)}", "DECIMAL(8,6)", "0.125000"),
        (f"{_D(10.5, 10, 2)} % {_D(4.25, 5, 3)}", "DECIMAL(5,3)", "2.000"),
        (f"{_D(7.5, 10, 2)} DIV {_D(0.4, 3, 1)}", "BIGINT", "18"),
        ("0.05 * 2", "DECIMAL(4,2)", "0.10"),
        ("19.99 / 1.19", "DECIMAL(10,6)", "16.798319"),
        ("1.5 * -5", "DECIMAL(4,1)", "-7.5"),
        # Beside an approximate number, it is one too.
        (f"{_D(1.5, 10, 2)} * 2.0D", "DOUBLE", "3.0"),
        (f"{_D(1.1, 10, 2)} * CAST(2 AS FLOAT)", "DOUBLE", "2.2"),
        ("7 / 2", "DOUBLE", "3.5"),
        (f"{_D(1.5, 10, 2)} + NULL", "DECIMAL(11,2)", None),
        # A literal is an INT also beside a SMALLINT, and a FLOAT beside an exact number becomes a DOUBLE.
        ("coalesce(CAST(1 AS SMALLINT), 100)", "INT", "1"),
        ("CASE WHEN true THEN CAST(1 AS TINYINT) ELSE 2 END", "INT", "1"),
        ("CAST(1 AS SMALLINT) + 1", "INT", "2"),
        ("CAST(1 AS TINYINT) + CAST(1 AS SMALLINT)", "SMALLINT", "2"),
        ("5S % 2S", "SMALLINT", "1"),
        ("coalesce(CAST(1.5 AS FLOAT), 2)", "DOUBLE", "1.5"),
        ("CAST(1.5 AS FLOAT) + 1", "DOUBLE", "2.5"),
        ("CAST(1.5 AS FLOAT) * CAST(2 AS FLOAT)", "FLOAT", "3.0"),
        ("array(CAST(1 AS TINYINT), 2)", "ARRAY<INT>", "[1,2]"),
        ("123456789012345678901234567890", "DECIMAL(30,0)", "123456789012345678901234567890"),
        # Functions.
        (f"round({_D(2.345, 10, 3)}, 2)", "DECIMAL(10,2)", "2.35"),
        (f"round({_D(99, 2, 0)}, -2)", "DECIMAL(3,0)", "100"),
        (f"bround({_D(2.345, 10, 3)}, 2)", "DECIMAL(10,2)", "2.34"),
        (f"ceil({_D(2.1, 5, 2)})", "DECIMAL(4,0)", "3"),
        (f"floor({_D(2.149, 5, 3)}, 2)", "DECIMAL(5,2)", "2.14"),
        ("ceil(12345, -2)", "DECIMAL(11,0)", "12400"),
        ("floor(3.1415D, 2)", "DECIMAL(18,2)", "3.14"),
        ("ceil(2.7D)", "BIGINT", "3"),
        (f"pmod({_D(-7.5, 5, 2)}, 2)", "DECIMAL(3,2)", "0.50"),
        (f"coalesce({_D(1.5, 10, 2)}, 0)", "DECIMAL(12,2)", "1.50"),
        (f"zeroifnull({_D(1.5, 5, 2)})", "DECIMAL(12,2)", "1.50"),
        (f"CASE WHEN true THEN {_D(1.5, 10, 2)} ELSE CAST(2 AS BIGINT) END", "DECIMAL(22,2)", "1.50"),
        (f"try_divide({_D(1, 10, 2)}, 0)", "DECIMAL(14,6)", None),
        (f"try_multiply({_D('9' * 38, 38, 0)}, 10)", "DECIMAL(38,0)", None),
        ("extract(SECOND FROM TIMESTAMP'2026-01-01 00:00:01.5') / 2", "DECIMAL(10,8)", "0.75000000"),
        ("round(1.1 + 2.22 + 3.333 + 4 + 5 + 6 + 7 + 8 + 9 + 10, 1)", "DECIMAL(12,1)", "55.7"),
        ("transform(array(1.5), v -> v / 2)[0]", "DECIMAL(7,6)", "0.750000"),
        # Aggregates of x: 1.10, 2.25, 2.25, and y: 3, 4, 5.
        ("avg(x)", "DECIMAL(14,6)", "1.866667"),
        ("sum(x)", "DECIMAL(20,2)", "5.60"),
        ("avg(DISTINCT x)", "DECIMAL(14,6)", "1.675000"),
        ("avg(x) FILTER (WHERE y > 3)", "DECIMAL(14,6)", "2.250000"),
        ("avg(x) FILTER (WHERE y > 9)", "DECIMAL(14,6)", None),
        ("sum(x) / count(*)", "DECIMAL(38,20)", "1.86666666666666666667"),
        ("avg(x * y)", "DECIMAL(25,6)", "7.850000"),
        ("sum(CASE WHEN y > 3 THEN x ELSE 0 END)", "DECIMAL(22,2)", "4.50"),
        ("avg(CAST(y AS DECIMAL(38, 18)))", "DECIMAL(38,22)", "4.0000000000000000000000"),
        ("avg(y)", "DOUBLE", "4.0"),
        ("percentile(x, 0.25)", "DOUBLE", "1.675"),
        ("median(x)", "DOUBLE", "2.25"),
        ("max(x) OVER () - avg(x) OVER (ORDER BY y)", "DECIMAL(15,6)", "1.150000"),
    ],
)
def test_decimals_have_the_documented_precision_and_scale(workspace, expression, kind, value):
    rows = (
        "VALUES (CAST(1.10 AS DECIMAL(10, 2)), 3), (CAST(2.25 AS DECIMAL(10, 2)), 4), (CAST(2.25 AS DECIMAL(10, 2)), 5)"
    )
    answer = run(workspace, f"SELECT {expression} AS z FROM {rows} AS t(x, y) LIMIT 1")
    assert answer.status.state is StatementState.SUCCEEDED, answer.status.error
    (column,) = answer.manifest.schema.columns
    assert (column.type_text, answer.result.data_array[0][0]) == (kind, value)
    if kind.startswith("DECIMAL"):
        assert f"DECIMAL({column.type_precision},{column.type_scale})" == kind


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        (f"SELECT {_D('9' * 38, 38, 0)} * 10", "NUMERIC_VALUE_OUT_OF_RANGE"),
        (f"SELECT {_D('9' * 38, 38, 0)} + 1", "NUMERIC_VALUE_OUT_OF_RANGE"),
        (f"SELECT {_D(1, 10, 2)} / 0", "DIVIDE_BY_ZERO"),
        (f"SELECT {_D(1, 10, 2)} % 0", "REMAINDER_BY_ZERO"),
        (f"SELECT {_D('1' * 20, 22, 2)} DIV 1", "ARITHMETIC_OVERFLOW"),
        ("SELECT missing / 3, 1.5 FROM orders", "UNRESOLVED_COLUMN"),
    ],
)
def test_decimals_that_cannot_be_had_are_refused(workspace, statement, error):
    answer = run(workspace, statement)
    assert answer.status.state is StatementState.FAILED, answer.result
    assert re.match(rf"\[{error}", answer.status.error.message), answer.status.error.message


@pytest.mark.parametrize(
    ("statement", "kinds", "rows"),
    [
        (
            "SELECT x / 2 AS h, count(*) FROM prices GROUP BY x / 2 HAVING sum(x) / 2 > 0.6 ORDER BY h",
            ["DECIMAL(8,6)", "BIGINT"],
            [["11.125000", "1"]],
        ),
        (
            "WITH a AS (SELECT x / 3 AS q FROM prices WHERE id = 1) SELECT q * 2, (SELECT max(q) / 7 FROM a) FROM a",
            ["DECIMAL(10,6)", "DECIMAL(10,8)"],
            [["0.733334", "0.05238100"]],
        ),
        ("SELECT third(x) * 2 FROM prices WHERE id = 2", ["DECIMAL(14,4)"], [["14.8334"]]),
        ("SELECT x / 3 FROM mine", ["DECIMAL(8,6)"], [["0.366667"]]),
        (
            "SELECT * FROM (SELECT 'a' AS k, x FROM prices) PIVOT (sum(x * 2) FOR k IN ('a'))",
            ["DECIMAL(16,2)"],
            [["46.70"]],
        ),
    ],
)
def test_decimals_of_tables_keep_their_rules_through_a_statement(prices, statement, kinds, rows):
    answer = run(prices, statement)
    assert answer.status.state is StatementState.SUCCEEDED, answer.status.error
    assert [column.type_text for column in answer.manifest.schema.columns] == kinds
    assert answer.result.data_array == rows


def test_what_is_written_is_computed_as_what_is_read(prices):
    run(prices, "CREATE TABLE thirds AS SELECT id, x / 3 AS y, sum(x) AS z, avg(x) AS a FROM prices GROUP BY ALL")
    columns = run(prices, "DESCRIBE thirds").result.data_array
    assert [column[1] for column in columns] == ["bigint", "decimal(8,6)", "decimal(14,2)", "decimal(8,6)"]
    run(prices, "WITH x AS (SELECT 3 AS id) INSERT INTO thirds SELECT id, 2.0 / id, 0, 0 FROM x")
    run(prices, "UPDATE thirds SET y = y / 7 WHERE z / 2 > 1")
    merge = "WHEN MATCHED THEN UPDATE SET a = p.x / 7"
    run(prices, f"MERGE INTO thirds USING prices AS p ON thirds.id = p.id AND p.x / 2 > 1 {merge}")
    found = run(prices, "SELECT y, a FROM thirds ORDER BY id").result.data_array
    assert found == [["0.366667", "1.100000"], ["1.059524", "3.178571"], ["0.666667", "0.000000"]]


def test_replace_where_replaces_the_rows_that_fit_and_takes_no_others(prices):
    run(prices, "CREATE TABLE days AS SELECT * FROM VALUES (DATE'2026-01-01', 1), (DATE'2026-02-01', 2) AS t(day, n)")
    insert = "INSERT INTO days REPLACE WHERE day >= '2026-02-01' SELECT day + 1, n * 10 FROM days WHERE n = 2"
    assert run(prices, insert).status.state is StatementState.SUCCEEDED
    kept = [["2026-01-01", "1"], ["2026-02-02", "20"]]
    assert run(prices, "SELECT * FROM days ORDER BY day").result.data_array == kept
    refused = run(prices, "INSERT INTO days REPLACE WHERE n > 5 SELECT day, 3 FROM days")
    assert refused.status.error.message.startswith("[DELTA_REPLACE_WHERE_MISMATCH]"), refused.status
    assert run(prices, "SELECT * FROM days ORDER BY day").result.data_array == kept
    run(prices, "INSERT OVERWRITE days SELECT day, n + 1 FROM days")
    assert run(prices, "SELECT n FROM days ORDER BY day").result.data_array == [["2"], ["21"]]


def test_a_merge_changes_no_row_twice(prices):
    run(prices, "CREATE TABLE stock AS SELECT * FROM VALUES (1, 10), (2, 20) AS t(id, n)")
    twice = "MERGE INTO stock t USING (SELECT * FROM VALUES (1, 5), (1, 6) AS s(id, n)) s ON t.id = s.id"
    for change in ("WHEN MATCHED THEN UPDATE SET n = s.n", "WHEN MATCHED AND s.n > 4 THEN DELETE"):
        error = run(prices, f"{twice} {change}").status.error
        assert error.message.startswith("[DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE]"), error
    assert run(prices, f"{twice} WHEN MATCHED AND s.n > 5 THEN UPDATE SET n = t.n + s.n").result.data_array[0][0] == "1"
    assert run(prices, "SELECT * FROM stock ORDER BY id").result.data_array == [["1", "16"], ["2", "20"]]
    assert run(prices, f"{twice} WHEN MATCHED THEN DELETE").status.state is StatementState.SUCCEEDED
    assert run(prices, "SELECT * FROM stock").result.data_array == [["2", "20"]]


@pytest.fixture(scope="module")
def prices():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_warehouse("wh1")
        rows = [{"id": 1, "x": decimal.Decimal("1.10")}, {"id": 2, "x": decimal.Decimal("22.25")}]
        workspace.add_table("main.shop.prices", rows)
        workspace.add_table("main.shop.mine", rows, row_filter="x / 3 < 5 AND current_user() LIKE 'alice%'")
        types = {"parameters": {"v": "DECIMAL(10, 2)"}, "returns": "DECIMAL(12, 4)"}
        workspace.add_function("main.shop.third", "v / 3", **types)
        for privilege, securable in (
            ("CAN USE", "wh1"),
            ("SELECT", "main.shop.prices"),
            ("SELECT", "main.shop.mine"),
            ("EXECUTE", "main.shop.third"),
            ("CREATE TABLE", "main.shop"),
        ):
            workspace.grant("alice", privilege, securable)
        yield workspace


def test_every_value_of_values_counts_for_its_type(workspace):
    (column,) = run(workspace, "SELECT x FROM VALUES (CAST(1 AS SMALLINT)), (100) AS t(x)").manifest.schema.columns
    assert column.type_text == "INT"


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT item AS product FROM orders WHERE product = 'tea'", "UNRESOLVED_COLUMN"),
        ("SELECT id,, item FROM orders", "PARSE_SYNTAX_ERROR"),
        ("SELECT id, item, FROM orders", "PARSE_SYNTAX_ERROR"),
        ("SELECT date_diff('DAY', ts, ts) FROM orders", "INVALID_PARAMETER_VALUE.DATETIME_UNIT"),
        ("SELECT substring('a')", "WRONG_NUM_ARGS"),
        ("SELECT named_struct('a')", "WRONG_NUM_ARGS"),
        ("SELECT date_add(DATE'2026-01-01')", "WRONG_NUM_ARGS"),
        ("SELECT sum(x) OVER (ORDER BY x ROWS PRECEDING) FROM VALUES (1) AS t(x)", "PARSE_SYNTAX_ERROR"),
        ("SELECT to_date('2026-01-02', 'dd/MM/yyyy')", "CANNOT_PARSE_TIMESTAMP"),
        ("SELECT struct(1 AS a).b", "FIELD_NOT_FOUND"),
    ],
)
def test_what_the_platform_refuses_is_refused_in_its_error_class(workspace, statement, error):
    answer = run(workspace, statement)
    assert answer.status.state is StatementState.FAILED, answer.result
    assert answer.status.error.message.startswith(f"[{error}] "), answer.status.error.message


@pytest.mark.parametrize(
    "statement",
    [
        "SET TIME ZONE 'UTC'",
        "set timezone = Etc/UTC;",
        "SET ansi_mode = true",
        "SET use_cached_result = false",
        "SET statement_timeout = 172800",
        "RESET ansi_mode",
        "RESET",
    ],
)
def test_a_session_is_set_to_what_the_local_workspace_does(workspace, statement):
    answer = run(workspace, statement)
    assert answer.status.state is StatementState.SUCCEEDED, answer.status.error


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SET TIME ZONE 'Europe/Berlin'", "UNSUPPORTED_FEATURE"),
        ("SET ANSI_MODE = false", "UNSUPPORTED_FEATURE"),
        ("SET statement_timeout = 5", "UNSUPPORTED_FEATURE"),
        ("SET VARIABLE x = 1", "UNSUPPORTED_FEATURE"),
        ("SET", "UNSUPPORTED_FEATURE"),
        ("RESET tide", "UNSUPPORTED_FEATURE"),
        ("SET spark.sql.shuffle.partitions = 10", "CONFIG_NOT_AVAILABLE"),
        ("UNDROP TABLE orders", "UNSUPPORTED_FEATURE"),
        ("RESTORE TABLE orders TO VERSION AS OF 1", "UNSUPPORTED_FEATURE"),
        ("BEGIN SELECT 1; END", "UNSUPPORTED_FEATURE"),
    ],
)
def test_a_session_is_set_to_nothing_else(workspace, statement, error):
    answer = run(workspace, statement)
    assert answer.status.state is StatementState.FAILED, answer.result
    assert answer.status.error.message.startswith(f"[{error}] "), answer.status.error.message


def test_a_name_of_the_select_list_counts_in_where_if_it_may_be_a_column(workspace):
    for statement, rows in (
        ("SELECT item AS amount FROM orders WHERE amount > 10", [["cups"]]),
        ("SELECT n AS m FROM (SELECT id AS n, 5 AS m FROM orders) WHERE m = 5 AND n = 2", [[2]]),
        ("SELECT (SELECT max(p.id) AS item FROM orders p WHERE item = o.item) FROM orders o WHERE o.id = 1", [[3]]),
    ):
        answer = run(workspace, statement)
        assert answer.status.state is StatementState.SUCCEEDED, answer.status.error
        assert values_of(answer) == rows


@pytest.mark.parametrize(
    ("statement", "construct"),
    [
        ("SELECT read_csv('/etc/passwd')", "read_csv"),
        ("SELECT getvariable('x')", "getvariable"),
        ("SELECT current_setting('memory_limit')", "current_setting"),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
        ("SELECT * FROM csv.`/etc/passwd`", "csv"),
        ("SELECT * FROM duckdb_tables()", "duckdb_tables"),
        ("SELECT * FROM '/etc/passwd'", "TABLE_OR_VIEW_NOT_FOUND"),
        ("SELECT spark_divide(1, 0, 1)", "spark_divide"),
        ("SELECT DISTINCT ON (item) id FROM orders", "DISTINCT ON"),
        ("SELECT * FROM orders VERSION AS OF 1", "VERSION"),
        ("SELECT js:*.b FROM orders", "path|PARSE"),
        ("SELECT date_format(ts, 'yyyy-ww') FROM orders", "'ww'"),
        ("SELECT date_format(ts, item) FROM orders", "pattern"),
        ("SELECT explode(array(1)) + 1", "explode"),
        ("OPTIMIZE orders", "OPTIMIZE"),
        (
            "MERGE WITH SCHEMA EVOLUTION INTO orders USING orders o ON false WHEN MATCHED THEN DELETE",
            "SCHEMA EVOLUTION",
        ),
        ("CREATE TABLE copy SHALLOW CLONE orders", "SHALLOW CLONE"),
        ("SELECT IDENTIFIER(item) FROM orders", "IDENTIFIER"),
        ("ALTER TABLE orders RENAME COLUMN id TO key", "ALTER"),
        ("ALTER TABLE orders ADD COLUMN x INT FIRST", "ALTER"),
        ("ALTER TABLE orders ADD COLUMN x INT NOT NULL", "ALTER"),
        ("COMMENT ON SCHEMA shop IS 'x'", "COMMENT ON SCHEMA"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
        ("SELECT percentile(amount, 0.5, 2) FROM orders", "frequency"),
        ("SELECT from_json('{}', 'a TEXTUAL')", "TEXTUAL"),
        ("SELECT interval '1 x'", "INTERVAL|interval"),
        ("SELECT ai_query('model', 'hi')", "ai_query"),
        ("SELECT histogram_numeric(id, 5) FROM orders", "histogram_numeric"),
        ("SELECT * FROM read_files('/Volumes/main/shop/v/x.csv')", "read_files"),
        ("LIST '/Volumes/main/shop/v'", "LIST"),
        ("DESCRIBE DETAIL orders", "DETAIL"),
        ("DESCRIBE TABLE EXTENDED orders AS JSON", "AS JSON"),
        ("SELECT window(ts, '1 month') FROM orders", "windows"),
        ("SELECT to_char(454, 'L999')", "number format 'L999'"),
        ("SELECT to_json(struct(1 AS a), map('timestampFormat', 'yyyy'))", "to_json"),
        ("SELECT * FROM orders NATURAL JOIN (SELECT 1 AS id)", "NATURAL JOIN"),
        ("SELECT computed('/ 3 2', '1', '2')", "computed"),
        ("SELECT _fail('x')", "_fail"),
        ("SELECT interval_text(INTERVAL '1' DAY)", "interval_text"),
        ("SELECT explode(m) FROM (SELECT map('a', 1) AS m)", "UNNEST"),
        ("SELECT inline_outer(CAST(NULL AS ARRAY<STRUCT<INT>>))", "form"),
        ("SELECT item, tag FROM LATERAL VIEW explode(split(tags, ',')) t AS tag", "form"),
        ("SELECT CAST(1 AS DECIMAL(5, 1AS))", "form"),
        ("SELECT struct(*, 1 AS x) FROM orders", "struct"),
        # The engine would run these. They are no statements of the platform's.
        ("SELECT id FROM orders WHERE item GLOB 'p*'", "GLOB"),
        ("SELECT id FROM orders ORDER BY id FETCH FIRST 1 ROWS ONLY", "FETCH"),
    ],
)
def test_what_is_not_served_is_refused_by_its_name(workspace, statement, construct):
    answer = run(workspace, statement)
    assert answer.status.state is StatementState.FAILED, answer.result
    text = answer.status.error.message
    assert re.search(construct, text), text
    assert re.match(r"\[[A-Z_]+\] .*SQLSTATE: \w{5}$", text, re.DOTALL), text


def test_only_tables_and_queries_are_read(workspace, monkeypatch):
    """The library's own reading of ``|> AS`` puts an alias in place of a table, which is a table of the engine."""
    statement = "FROM VALUES (1) AS t(x) |> AS duckdb_tables |> SELECT *"
    assert values_of(run(workspace, statement)) == [[1]]
    monkeypatch.setattr(
        LAKEHOUSE.Parser, "PIPE_SYNTAX_TRANSFORM_PARSERS", Databricks.Parser.PIPE_SYNTAX_TRANSFORM_PARSERS
    )
    answer = run(workspace, f"{statement} |> LIMIT 5")
    assert answer.status.state is StatementState.FAILED, answer.result
    assert "TABLE ALIAS in place of a table" in answer.status.error.message


def test_the_session_s_time_zone_is_utc_wherever_the_machine_is():
    """A cursor of DuckDB's has the machine's time zone, unless the connection's is set for all of them."""
    program = (
        "from obo_kit.testing import LocalWorkspace\n"
        "with LocalWorkspace() as workspace:\n"
        "    workspace.add_user('alice')\n"
        "    workspace.add_warehouse('w1')\n"
        "    workspace.grant('alice', 'CAN USE', 'w1')\n"
        "    with workspace.as_user('alice') as session:\n"
        "        asked = \"SELECT to_timestamp('2026-01-02 03:04:05'), hour(TIMESTAMP'2026-01-02 03:04:05')\"\n"
        "        print(session.client.statement_execution.execute_statement(asked, 'w1').result.data_array)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[['2026-01-02T03:04:05.000Z', '3']]", done.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT IDENTIFIER(item) FROM orders",
        "SELECT IDENTIFIER((SELECT max(item) FROM orders)) FROM orders",
        "SELECT IDENTIFIER(main.shop.secret()) FROM orders",
        "SELECT IDENTIFIER(left(repeat('id', 1000000000), 2)) FROM orders",
        "SELECT IDENTIFIER(http_request(conn => 'c', method => 'GET', path => '/')) FROM orders",
        "SELECT IDENTIFIER(concat('i', NULL)) FROM orders",
        "SELECT IDENTIFIER('id', 'item') FROM orders",
        "SELECT * FROM IDENTIFIER(upper(item))",
    ],
)
def test_a_name_is_computed_from_constants_only(workspace, statement):
    """A function may read what its caller may not, and an error names the column that is not there."""
    answer = run(workspace, statement)
    assert answer.status.state is StatementState.FAILED
    assert "IDENTIFIER only takes a name." in answer.status.error.message


def test_a_long_chain_of_with_is_read(workspace):
    """Each name is read once, and none within the reading of another."""
    chain = ", ".join(f"t{at} AS (SELECT * FROM t{at - 1})" for at in range(1, 300))
    answer = run(workspace, f"WITH t0 AS (SELECT 1 AS id), {chain} SELECT id FROM t299")
    assert answer.result.data_array == [["1"]]


def test_a_generator_of_from_is_refused_elsewhere(workspace):
    assert "variant_explode" in run(workspace, "SELECT variant_explode(parse_json('[1]'))").status.error.message
