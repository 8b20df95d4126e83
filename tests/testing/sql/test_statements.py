"""Statements as authors and Genie write them give the rows that the platform documents, and none gives other rows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from databricks.sdk.service.sql import StatementParameterListItem, StatementState
from support import sql

from obo_kit.testing import LocalWorkspace

sys.path.insert(0, str(Path(__file__).parent))
from statement_rows import ORDERS, STATEMENTS, same, values_of


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
        yield workspace


def run(workspace, statement, **kwargs):
    return sql(workspace, "alice", statement, catalog="main", schema="shop", wait_timeout="50s", **kwargs)


@pytest.mark.parametrize("case", STATEMENTS, ids=lambda case: case["sql"][:60])
def test_a_statement_gives_its_documented_rows(workspace, case):
    answer = run(workspace, case["sql"])
    refused = case.get("error") or case.get("refused")
    if refused:
        assert answer.status.state is StatementState.FAILED
        assert answer.status.error.message.startswith(f"[{refused}]"), answer.status.error.message
    else:
        assert answer.status.state is StatementState.SUCCEEDED, answer.status.error
        found = values_of(answer)
        assert same(found, case["rows"], any_order=case.get("any_order", False)), found


def test_there_are_several_hundred():
    assert len(STATEMENTS) >= 360
    assert sum("refused" in case for case in STATEMENTS) <= 10


@pytest.mark.parametrize(
    ("statement", "parameters", "rows"),
    [
        ("SELECT :x + 1, :y", [("x", "41", "INT"), ("y", "a'b", None)], [[42, "a'b"]]),
        ("SELECT :x", [("x", None, "INT")], [[None]]),
        ("SELECT id FROM orders WHERE ts >= :day ORDER BY id", [("day", "2026-02-01", "DATE")], [[2], [3]]),
        ("SELECT id FROM orders ORDER BY id LIMIT :n", [("n", "1", "INT")], [[1]]),
        ("SELECT ?, ?", [("", "1", "INT"), ("", "b", "STRING")], [[1, "b"]]),
        ("SELECT id FROM IDENTIFIER(:t) ORDER BY id", [("t", "main.shop.orders", "STRING")], [[1], [2], [3]]),
        ("SELECT :x / 2", [("x", "-3", "INT")], [[-1.5]]),
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
        ("SELECT js:a[*] FROM orders", "WILDCARD"),
        ("SELECT date_format(ts, 'yyyy-ww') FROM orders", "'ww'"),
        ("SELECT date_format(ts, item) FROM orders", "pattern"),
        ("SELECT explode(array(1)) + 1", "explode"),
        ("OPTIMIZE orders", "OPTIMIZE"),
        ("ALTER TABLE orders ADD COLUMN x INT", "ALTER"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
        ("SELECT percentile(amount, 0.5, 2) FROM orders", "frequency"),
        ("SELECT from_json('{}', 'a TEXTUAL')", "TEXTUAL"),
        ("SELECT interval '1 x'", "INTERVAL|interval"),
        ("SELECT ai_query('model', 'hi')", "ai_query"),
        ("SELECT version()", "version"),
        ("SELECT histogram_numeric(id, 5) FROM orders", "histogram_numeric"),
        ("SELECT * FROM read_files('/Volumes/main/shop/v/x.csv')", "read_files"),
        ("LIST '/Volumes/main/shop/v'", "LIST"),
        ("DESCRIBE DETAIL orders", "DETAIL"),
        ("DESCRIBE TABLE EXTENDED orders AS JSON", "AS JSON"),
        ("SELECT window(ts, '1 month') FROM orders", "windows"),
        ("SELECT to_char(454, '999')", "to_char"),
    ],
)
def test_what_is_not_served_is_refused_by_its_name(workspace, statement, construct):
    import re

    answer = run(workspace, statement)
    assert answer.status.state is StatementState.FAILED, answer.result
    text = answer.status.error.message
    assert re.search(construct, text), text
    assert re.match(r"\[[A-Z_]+\] .*SQLSTATE: \w{5}$", text), text
