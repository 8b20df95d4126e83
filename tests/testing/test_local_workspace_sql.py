"""SQL in the local workspace: row filters and column masks, result shapes, sessions, as alice, bob and carol."""

from __future__ import annotations

import datetime
import decimal
import json
import time

import pyarrow.ipc
import pytest
import requests
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied
from databricks.sdk.service.sql import (
    Disposition,
    ExecuteStatementRequestOnWaitTimeout,
    Format,
    StatementState,
)
from support import client, last, rows, sql

from obo_kit.testing import LocalWorkspace
from obo_kit.testing.sql._engine import Engine

PEOPLE = [
    {"id": 1, "name": "Ann", "manager": "alice@example.com", "region": "EU", "salary": 100, "email": "ann@x.org"},
    {"id": 2, "name": "Ben", "manager": "alice@example.com", "region": "US", "salary": 200, "email": "ben@x.org"},
    {"id": 3, "name": "Cy", "manager": "bob@example.com", "region": "EU", "salary": 300, "email": "cy@x.org"},
    {"id": 4, "name": "Di", "manager": None, "region": None, "salary": 400, "email": None},
]
REGIONS = [{"who": "alice@example.com", "region": "EU"}, {"who": "bob@example.com", "region": "US"}]


@pytest.fixture(scope="module")
def shared():
    with LocalWorkspace() as workspace:
        for user, groups in (("alice", []), ("bob", []), ("carol", ["hr"])):
            workspace.add_user(user, groups=groups)
        workspace.add_warehouse("wh1")
        workspace.grant("users", "CAN USE", "wh1")
        workspace.add_table(
            "main.hr.people",
            PEOPLE,
            row_filter="manager = current_user() OR is_account_group_member('hr')",
            column_masks={
                "salary": "CASE WHEN is_account_group_member('hr') THEN salary END",
                "email": "CASE WHEN manager = current_user() THEN email ELSE '*@' || split_part(email, '@', 2) END",
            },
        )
        workspace.add_table("main.hr.regions", REGIONS)
        workspace.add_function(
            "main.hr.mine",
            "EXISTS (SELECT 1 FROM regions WHERE who = current_user() AND regions.region = mine.region)",
            parameters={"region": "STRING"},
            returns="BOOLEAN",
        )
        workspace.add_table("main.hr.sites", [{"region": "EU"}, {"region": "US"}], row_filter="main.hr.mine(region)")
        workspace.add_table(
            "main.hr.offices",
            [{"id": 1, "region": "EU"}, {"id": 2, "region": "US"}],
            row_filter="region IN (SELECT region FROM main.hr.regions WHERE who = current_user())",
        )
        workspace.add_function("main.hr.headcount", "(SELECT count(*) FROM people)", returns="BIGINT")
        workspace.add_table("main.hr.plain", [{"id": 1}])
        for table in ("people", "sites", "offices", "plain"):
            workspace.grant("users", "SELECT", f"main.hr.{table}")
        workspace.grant("users", "EXECUTE", "main.hr.headcount")
        workspace.add_genie_space(
            "space1",
            warehouse_id="wh1",
            tables=["main.hr.people"],
            answers={"who": "SELECT name FROM main.hr.people ORDER BY id"},
        )
        workspace.grant("users", "CAN RUN", "space1")
        yield workspace


@pytest.fixture
def workspace(shared):
    shared.log.clear()
    return shared


# ---------------------------------------------------------------------------------------------- filters and masks


def test_each_user_sees_their_rows_and_nothing_else(workspace):
    read = "SELECT name FROM main.hr.people ORDER BY id"
    assert rows(sql(workspace, "alice", read)) == [["Ann"], ["Ben"]]
    assert rows(sql(workspace, "bob", read)) == [["Cy"]]
    assert rows(sql(workspace, "carol", read)) == [["Ann"], ["Ben"], ["Cy"], ["Di"]]
    assert [record.user for record in workspace.log if record.user] == ["alice", "bob", "carol"]


def test_masked_columns_show_what_the_mask_says_and_keep_their_type(workspace):
    read = "SELECT salary, email FROM main.hr.people ORDER BY id"
    assert rows(sql(workspace, "alice", read)) == [[None, "ann@x.org"], [None, "ben@x.org"]]
    assert rows(sql(workspace, "carol", read)) == [
        ["100", "*@x.org"],
        ["200", "*@x.org"],
        ["300", "*@x.org"],
        ["400", None],
    ]
    columns = sql(workspace, "alice", read).manifest.schema.columns
    assert [each.type_text for each in columns] == ["BIGINT", "STRING"]


def test_what_a_mask_says_is_cast_to_the_type_of_its_column():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_warehouse("wh1")
        workspace.grant("alice", "CAN USE", "wh1")
        masks = {"salary": "salary / 3", "since": "'2026-01-01'", "name": "NULL"}
        row = {"salary": 100, "since": datetime.date(2020, 5, 6), "name": "Ann"}
        workspace.add_table("main.hr.staff", [row], column_masks=masks)
        workspace.grant("alice", "SELECT", "main.hr.staff")
        answer = sql(workspace, "alice", "SELECT * FROM main.hr.staff")
        assert [each.type_text for each in answer.manifest.schema.columns] == ["BIGINT", "DATE", "STRING"]
        assert rows(answer) == [["33", "2026-01-01", None]]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM main.hr.people",
        "SELECT p.* FROM main.hr.people AS p",
        "SELECT * FROM (SELECT * FROM (SELECT * FROM main.hr.people))",
        "WITH t AS (SELECT * FROM main.hr.people) SELECT * FROM t",
        "WITH RECURSIVE t AS (SELECT * FROM main.hr.people UNION SELECT t.* FROM t JOIN main.hr.people p USING (id)) FROM t",
        "SELECT b.* FROM main.hr.plain a RIGHT JOIN main.hr.people b ON true",
        "SELECT b.* FROM main.hr.people a FULL JOIN main.hr.people b USING (id)",
        "SELECT * FROM main.hr.people WHERE true OR manager IS NULL",
        "SELECT * FROM main.hr.people EXCEPT SELECT * FROM main.hr.people WHERE false",
        "SELECT * FROM main.hr.people UNION ALL SELECT * FROM main.hr.people",
        "FROM main.hr.people",
        "TABLE main.hr.people",
        "SELECT * FROM main.hr.people TABLESAMPLE 100%",
        "SELECT (SELECT list(people) FROM main.hr.people)",
        "SELECT * FROM main.hr.people, LATERAL (SELECT * FROM main.hr.people)",
        "SELECT COLUMNS(*) FROM main.hr.people",
        "SELECT to_json(collect_list(struct(*))) FROM main.hr.people",
        "SELECT struct(p.*) FROM main.hr.people AS p",
        "SELECT main.hr.people.name, max(salary) OVER () FROM main.hr.people",
        "SELECT json_group_array(to_json(people)) FROM main.hr.people",
        "SELECT min(salary), max(salary), sum(salary), list(name), max(email) FROM main.hr.people",
        "SELECT name FROM main.hr.people WHERE salary > 250",
        "SELECT name FROM main.hr.people ORDER BY salary DESC LIMIT 1",
        "SUMMARIZE main.hr.people",
        "SELECT * FROM main.hr.people WHERE email = 'cy@x.org'",
    ],
)
def test_no_statement_gets_round_a_filter_or_a_mask(workspace, statement):
    answer = sql(workspace, "alice", statement)
    text = str(answer.result.data_array) if answer.result else answer.status.error.message
    assert not any(secret in text for secret in ("Cy", "Di", "cy@x.org", "300", "400", "200", "bob@example.com"))


@pytest.mark.parametrize(
    "statement",
    [
        "COPY main.hr.people TO '/tmp/people.csv'",
        "COPY (SELECT * FROM main.hr.people) TO '/tmp/people.csv'",
        "CREATE VIEW main.hr.mine AS SELECT * FROM main.hr.people",
        "CREATE MACRO f() AS TABLE SELECT * FROM main.hr.people",
        "PREPARE p AS SELECT * FROM main.hr.people",
        "PRAGMA database_list",
        "SET memory_limit = '8GB'",
    ],
)
def test_nothing_is_copied_defined_or_set(workspace, statement):
    answer = sql(workspace, "carol", statement)
    assert (answer.status.state, answer.status.error.message[-5:]) == (StatementState.FAILED, "0A000")


@pytest.mark.parametrize(
    "statement",
    [
        "EXPORT DATABASE '/tmp/people'",
        "EXPLAIN ANALYZE SELECT * FROM main.hr.people",
        "ATTACH '/tmp/people.db' AS x",
        "SELECT * FROM main.hr.people; DROP TABLE main.hr.people",
    ],
)
def test_what_is_no_statement_of_the_platform_is_a_syntax_error(workspace, statement):
    answer = sql(workspace, "carol", statement)
    assert (answer.status.state, answer.status.error.message[-5:]) == (StatementState.FAILED, "42601")


@pytest.mark.parametrize(
    "statement", ["SELECT " + "abs(" * 400 + "1" + ")" * 400, " UNION ALL ".join(["SELECT 1.5"] * 400)]
)
def test_a_statement_that_is_nested_too_deeply_is_refused_in_these_words(workspace, statement):
    answer = sql(workspace, "alice", statement)
    assert "nested too deeply" in answer.status.error.message


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE main.hr.copy AS SELECT * FROM main.hr.people",
        "INSERT INTO main.hr.plain VALUES (2)",
        "UPDATE main.hr.plain SET id = 2",
        "DELETE FROM main.hr.plain",
        "MERGE INTO main.hr.plain p USING (SELECT 1 AS id) s ON p.id = s.id WHEN MATCHED THEN DELETE",
        "TRUNCATE TABLE main.hr.plain",
        "DROP TABLE main.hr.plain",
        "INSERT OVERWRITE main.hr.plain SELECT 3",
        "INSERT INTO main.hr.plain REPLACE WHERE id = 1 SELECT 1",
    ],
)
def test_nobody_writes_without_a_grant(workspace, statement):
    answer = sql(workspace, "carol", statement)
    assert (answer.status.state, answer.status.error.message[-5:]) == (StatementState.FAILED, "42501")
    assert rows(sql(workspace, "carol", "SELECT * FROM main.hr.plain")) == [["1"]]


def test_a_filter_may_read_a_table_that_its_users_may_not(workspace):
    for table in ("sites", "offices"):
        assert rows(sql(workspace, "alice", f"SELECT region FROM main.hr.{table}")) == [["EU"]]
        assert rows(sql(workspace, "bob", f"SELECT region FROM main.hr.{table}")) == [["US"]]
        assert rows(sql(workspace, "carol", f"SELECT region FROM main.hr.{table}")) == []
    denied = sql(workspace, "alice", "SELECT * FROM main.hr.regions")
    assert denied.status.error.message.endswith("SQLSTATE: 42501")
    assert sql(workspace, "alice", "SELECT main.hr.mine('EU')").status.error.message.endswith("SQLSTATE: 42501")


def test_a_filter_holds_inside_functions_and_genie(workspace):
    for user, count in (("alice", "2"), ("bob", "1"), ("carol", "4")):
        assert rows(sql(workspace, user, "SELECT main.hr.headcount()")) == [[count]]
    message = client(workspace, "bob").genie.start_conversation_and_wait("space1", "who")
    found = client(workspace, "bob").genie.get_message_query_result_by_attachment(
        "space1", message.conversation_id, message.id, message.attachments[0].attachment_id
    )
    assert found.statement_response.result.data_array == [["Cy"]]


def test_users_in_parallel_each_see_their_own(workspace):
    from concurrent.futures import ThreadPoolExecutor

    expected = {"alice": [["Ann"], ["Ben"]], "bob": [["Cy"]], "carol": [["Ann"], ["Ben"], ["Cy"], ["Di"]]}
    clients = {user: client(workspace, user).statement_execution for user in expected}

    def ask(user):
        answer = clients[user].execute_statement("SELECT name FROM main.hr.people ORDER BY id", "wh1")
        return user, rows(answer)

    with ThreadPoolExecutor(8) as pool:
        for user, found in pool.map(ask, ["alice", "bob", "carol"] * 12):
            assert found == expected[user]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"row_filter": "nothing = 1"}, "does not fit"),
        ({"row_filter": "id ="}, "cannot be read"),
        ({"row_filter": "nothing(id)"}, "does not fit"),
        ({"row_filter": "id IN (SELECT id FROM main.hr.absent)"}, "names 'main.hr.absent', which does not exist yet"),
        ({"column_masks": {"nothing": "NULL"}}, "has no column 'nothing' to mask"),
        ({"column_masks": {"id": "nothing"}}, "does not fit"),
        ({"column_masks": {"id": "main.hr.absent(id)"}}, "names 'main.hr.absent'"),
    ],
)
def test_a_filter_or_mask_that_cannot_work_is_refused_when_it_is_added(workspace, arguments, text):
    with pytest.raises(ValueError, match=text):
        workspace.add_table("main.hr.wrong", [{"id": 1}], **arguments)
    assert sql(workspace, "carol", "SELECT * FROM main.hr.wrong").status.error.message.endswith("SQLSTATE: 42P01")


def test_tables_come_from_csv_too(tmp_path):
    file = tmp_path / "orders.csv"
    file.write_text('id,item,price,sold\n1,"tea, green",2.5,2026-01-02\n2,coffee,,2026-01-03\n')
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_warehouse("wh1")
        workspace.grant("alice", "CAN USE", "wh1")
        workspace.add_table("main.shop.orders", file, row_filter="id < 3")
        workspace.grant("alice", "SELECT", "main.shop.orders")
        answer = sql(workspace, "alice", "SELECT * FROM main.shop.orders ORDER BY id")
        assert rows(answer) == [["1", "tea, green", "2.5", "2026-01-02"], ["2", "coffee", None, "2026-01-03"]]
        assert [each.type_text for each in answer.manifest.schema.columns] == ["BIGINT", "STRING", "DOUBLE", "DATE"]
        with pytest.raises(ValueError, match="cannot be read"):
            workspace.add_table("main.shop.absent", tmp_path / "absent.csv")


# ---------------------------------------------------------------------------------------------- results

MANY = "SELECT i, 'row ' || i AS name FROM range(2500) t(i) ORDER BY i"


def follow(workspace, user, answer):
    """All rows of a linked result, by the links, without a token."""
    statements = client(workspace, user).statement_execution
    result, bodies = answer.result, []
    while True:
        (link,) = result.external_links
        download = requests.get(link.external_link, timeout=60)
        assert download.status_code == 200, download.text
        bodies.append(download.content)
        if link.next_chunk_index is None:
            return bodies
        result = statements.get_statement_result_chunk_n(answer.statement_id, link.next_chunk_index)


def test_a_linked_result_is_downloaded_chunk_by_chunk_without_a_token(workspace):
    answer = sql(workspace, "alice", MANY, disposition=Disposition.EXTERNAL_LINKS)
    assert (answer.manifest.total_chunk_count, answer.result.data_array) == (3, None)
    found = [row for body in follow(workspace, "alice", answer) for row in json.loads(body)]
    assert (len(found), found[0], found[-1]) == (2500, ["0", "row 0"], ["2499", "row 2499"])
    downloads = workspace.log.filter(path="/local-storage/")
    assert [(record.user, record.decision) for record in downloads] == [(None, "allowed")] * 3
    assert "signature" not in workspace.log.table()


def test_linked_results_come_as_arrow_and_csv(workspace):
    everything = """SELECT 1::TINYINT AS a, 2::SMALLINT AS b, 3 AS c, 4::BIGINT AS d, 1.5::FLOAT AS e, 2.5::DOUBLE AS f,
        1.25::DECIMAL(10, 2) AS g, true AS h, 'x,y' AS i, DATE '2026-01-02' AS j, TIMESTAMP '2026-01-02 03:04:05' AS k,
        'ab'::BINARY AS l, array(1, 2) AS m, NULL AS n"""
    arrow = sql(workspace, "alice", everything, disposition=Disposition.EXTERNAL_LINKS, format=Format.ARROW_STREAM)
    (body,) = follow(workspace, "alice", arrow)
    (row,) = pyarrow.ipc.open_stream(body).read_all().to_pylist()
    assert row == {
        "a": 1,
        "b": 2,
        "c": 3,
        "d": 4,
        "e": 1.5,
        "f": 2.5,
        "g": decimal.Decimal("1.25"),
        "h": True,
        "i": "x,y",
        "j": datetime.date(2026, 1, 2),
        "k": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "l": b"ab",
        "m": "[1,2]",
        "n": None,
    }
    text = sql(
        workspace,
        "alice",
        "SELECT 1 AS a, 'x,y' AS b, NULL AS c",
        disposition=Disposition.EXTERNAL_LINKS,
        format=Format.CSV,
    )
    assert follow(workspace, "alice", text) == [b'a,b,c\n1,"x,y",null\n']


def test_a_csv_in_parts_has_its_header_once(workspace):
    answer = sql(workspace, "alice", MANY, disposition=Disposition.EXTERNAL_LINKS, format=Format.CSV)
    lines = b"".join(follow(workspace, "alice", answer)).decode().splitlines()
    assert (len(lines), lines[:2], lines[1001]) == (2501, ["i,name", "0,row 0"], "1000,row 1000")


def test_a_byte_limit_truncates_and_a_large_inline_result_is_aborted(workspace):
    wide = "SELECT repeat('x', 1000) AS x FROM range(30000)"
    limited = sql(workspace, "alice", wide, byte_limit=2500)
    assert (limited.manifest.truncated, limited.manifest.total_row_count) == (True, 2)
    assert sql(workspace, "alice", "SELECT 1", byte_limit=1).manifest.truncated is False
    aborted = sql(workspace, "alice", wide)
    assert (aborted.status.state, aborted.result) == (StatementState.FAILED, None)
    assert aborted.status.error.message.startswith("Inline byte limit exceeded")
    linked = sql(workspace, "alice", wide, disposition=Disposition.EXTERNAL_LINKS)
    assert linked.manifest.total_row_count == 30000


def test_numbers_and_times_are_written_as_the_platform_writes_them(workspace):
    answer = sql(
        workspace,
        "alice",
        "SELECT CAST(0.1 AS FLOAT), 1e20, 123456789D, CAST('NaN' AS DOUBLE), CAST('-inf' AS DOUBLE), 2.0D, "
        "TIMESTAMP'2026-01-02 03:04:05.678901'",
    )
    expected = ["0.1", "1.0E20", "1.23456789E8", "NaN", "-Infinity", "2.0", "2026-01-02T03:04:05.678Z"]
    assert answer.result.data_array == [expected]
    arrow = sql(
        workspace,
        "alice",
        "SELECT TIMESTAMP'2026-01-02 03:04:05.678901' AS at",
        disposition=Disposition.EXTERNAL_LINKS,
        format=Format.ARROW_STREAM,
    )
    (body,) = follow(workspace, "alice", arrow)
    assert pyarrow.ipc.open_stream(body).read_all().to_pylist()[0]["at"].microsecond == 678901


@pytest.mark.parametrize("place", [{"catalog": "nowhere"}, {"catalog": "main", "schema": "nowhere"}])
def test_a_statement_runs_where_its_user_may_be(workspace, place):
    assert "NOT_FOUND" in sql(workspace, "alice", "SELECT 1", **place).status.error.message


def test_a_result_says_its_size_and_an_empty_one_has_no_links(workspace):
    for disposition in (Disposition.INLINE, Disposition.EXTERNAL_LINKS):
        manifest = sql(workspace, "alice", "SELECT 'abc' AS a FROM range(1001)", disposition=disposition).manifest
        assert [(each.row_count, each.byte_count) for each in manifest.chunks] == [(1000, 3000), (1, 3)]
        assert manifest.total_byte_count == 3003
    empty = sql(workspace, "alice", "SELECT 1 AS a WHERE false", disposition=Disposition.EXTERNAL_LINKS)
    assert (empty.manifest.total_chunk_count, empty.result.external_links or []) == (0, [])
    assert [column.name for column in empty.manifest.schema.columns] == ["a"]


def test_a_link_is_of_no_use_when_it_is_changed_late_or_sent_with_a_token(workspace, monkeypatch):
    answer = sql(workspace, "alice", MANY, disposition=Disposition.EXTERNAL_LINKS)
    link = answer.result.external_links[0].external_link
    changed = link[:-1] + ("0" if link[-1] != "0" else "1")
    other = sql(workspace, "bob", MANY, disposition=Disposition.EXTERNAL_LINKS).result.external_links[0].external_link
    mixed = link.partition("?")[0] + "?" + other.partition("?")[2]
    for address in (changed, mixed, link.partition("?")[0], link.replace("/0?", "/9?"), link.replace("/0?", "/x?")):
        assert requests.get(address, timeout=60).status_code == 403
    with_token = requests.get(link, headers={"Authorization": f"Bearer {workspace.token('alice')}"}, timeout=60)
    assert with_token.status_code == 403
    assert {record.decision for record in workspace.log.filter(path="/local-storage/")} == {"invalid token"}
    expired = link.replace("expires=", "expires=1&was=")
    assert requests.get(expired, timeout=60).status_code == 403
    assert requests.get(link, timeout=60).status_code == 200


def test_failed_statements_have_no_links(workspace):
    answer = sql(workspace, "alice", "SELECT * FROM main.hr.regions", disposition=Disposition.EXTERNAL_LINKS)
    assert (answer.status.state, answer.result) == (StatementState.FAILED, None)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"disposition": "INLINE", "format": "CSV"}, "only with EXTERNAL_LINKS"),
        ({"format": "ARROW_STREAM"}, "only with EXTERNAL_LINKS"),
        ({"disposition": "BY_POST"}, "disposition must be one of"),
        ({"format": "XML", "disposition": "EXTERNAL_LINKS"}, "format must be one of"),
        ({"on_wait_timeout": "GIVE_UP"}, "on_wait_timeout must be one of"),
        ({"wait_timeout": "3s"}, "wait_timeout must be"),
        ({"row_limit": 0}, "row_limit must be"),
        ({"row_limit": True}, "row_limit must be"),
        ({"byte_limit": -1}, "byte_limit must be"),
        ({"parameters": {"a": 1}}, "parameters must be a list"),
    ],
)
def test_a_statement_request_that_is_none_is_refused(workspace, body, text):
    with pytest.raises(InvalidParameterValue, match=text):
        client(workspace, "alice").api_client.do(
            "POST", "/api/2.0/sql/statements", body={"statement": "SELECT 1", "warehouse_id": "wh1", **body}
        )


SLOW = "SELECT count(*) FROM range(3000000000) t(i) WHERE i % 7 = 3"


def test_a_statement_that_takes_too_long_goes_on_or_is_canceled(workspace):
    alice = client(workspace, "alice").statement_execution
    begun = alice.execute_statement(
        SLOW, "wh1", wait_timeout="0s", on_wait_timeout=ExecuteStatementRequestOnWaitTimeout.CANCEL
    )
    # The SDK: on_wait_timeout is ignored where nothing is waited for.
    assert begun.status.state is StatementState.PENDING
    assert alice.get_statement(begun.statement_id).status.state is StatementState.RUNNING
    with pytest.raises(NotFound):
        client(workspace, "bob").statement_execution.cancel_execution(begun.statement_id)
    alice.cancel_execution(begun.statement_id)
    assert alice.get_statement(begun.statement_id).status.state is StatementState.CANCELED
    # The engine stops too, well before its own limit.
    deadline = time.monotonic() + 10
    while workspace._engine._running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not workspace._engine._running
    client(workspace, "alice").api_client.do("DELETE", f"/api/2.0/sql/statements/{begun.statement_id}")
    with pytest.raises(NotFound):
        alice.get_statement(begun.statement_id)


@pytest.mark.long
def test_what_the_first_statement_imports_is_no_part_of_its_time(monkeypatch):
    """A machine under load takes more than the 10 seconds that are waited by default."""
    run, begun = Engine.run, []

    def slow(self, *args, **kwargs):
        if not begun:
            begun.append(time.sleep(5.5))
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Engine, "run", slow)
    with LocalWorkspace() as fresh:
        fresh.add_user("alice")
        fresh.add_warehouse("wh1")
        fresh.grant("alice", "CAN USE", "wh1")
        assert rows(sql(fresh, "alice", "SELECT 1", wait_timeout="5s")) == [["1"]]


# ---------------------------------------------------------------------------------------------- names and sessions


def test_use_counts_in_a_session_and_nowhere_else(workspace):
    api = client(workspace, "alice").api_client

    def run(statement, session=None):
        body = {"statement": statement, "warehouse_id": "wh1", "session_id": session}
        answer = api.do("POST", "/api/2.0/sql/statements", body=body)
        return (
            answer["result"]["data_array"]
            if answer["status"]["state"] == "SUCCEEDED"
            else answer["status"]["sql_state"]
        )

    session = api.do("POST", "/api/2.0/sql/sessions", body={"warehouse_id": "wh1"})["session_id"]
    for use in ("USE CATALOG main", "USE SCHEMA hr", "USE `main`.hr;", "use database HR", "USE hr"):
        assert run("USE CATALOG system", session) == []
        assert run("SELECT * FROM plain", session) == "42P01"
        assert run("USE main.default", session) == []
        assert run(use, session) == []
        assert run("SELECT * FROM " + ("hr.plain" if "CATALOG" in use else "plain"), session) == [["1"]]
        assert run("SELECT * FROM plain") == "42P01"

    with pytest.raises(NotFound, match="session"):
        client(workspace, "bob").api_client.do(
            "POST",
            "/api/2.0/sql/statements",
            body={"statement": "SELECT 1", "warehouse_id": "wh1", "session_id": session},
        )
    api.do("DELETE", f"/api/2.0/sql/sessions/{session}")
    with pytest.raises(NotFound, match="session"):
        run("SELECT 1", session)


def test_sessions_need_the_scope_and_the_warehouse(workspace):
    for scopes, text in ((["genie"], "required scopes"), (["sql"], None)):
        api = client(workspace, "alice", scopes=scopes).api_client
        if text is None:
            assert api.do("POST", "/api/2.0/sql/sessions", body={"warehouse_id": "wh1"})["session_id"]
        else:
            with pytest.raises(PermissionDenied, match=text):
                api.do("POST", "/api/2.0/sql/sessions", body={"warehouse_id": "wh1"})
    with pytest.raises(NotFound):
        client(workspace, "alice").api_client.do("POST", "/api/2.0/sql/sessions", body={"warehouse_id": "wh9"})


@pytest.mark.parametrize(
    ("statement", "sql_state"),
    [
        ("SELECT * FROM main.hr.regions", "42501"),
        ("SELECT * FROM main.hr.absent", "42P01"),
        ("SELECT absent FROM main.hr.plain", "42703"),
        ("SELECT * FORM main.hr.plain", "42601"),
        ("SELECT absent(1)", "42883"),
        ("SELECT CAST('x' AS INT)", "22018"),
        ("SELECT :absent", "42P02"),
        ("DELETE FROM main.hr.plain", "42501"),
    ],
)
def test_a_failed_statement_says_its_sql_state_and_is_never_an_exception(workspace, statement, sql_state):
    answer = sql(workspace, "alice", statement)
    assert (answer.status.state, answer.status.error.error_code.value) == (StatementState.FAILED, "BAD_REQUEST")
    assert answer.status.error.message.endswith(f"SQLSTATE: {sql_state}")
    assert last(workspace).status == 200
