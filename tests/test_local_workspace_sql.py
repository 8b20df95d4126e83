"""SQL in the local workspace: row filters and column masks, result shapes, sessions, as alice, bob and carol."""

from __future__ import annotations

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.sql import StatementState

from obo_kit.testing import LocalWorkspace

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


def client(workspace, user, *, scopes=("all-apis",)):
    token = workspace.token(user, scopes=scopes)
    return WorkspaceClient(config=Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2))


def last(workspace):
    return workspace.log.entries[-1]


def sql(workspace, user, statement, **kwargs):
    return client(workspace, user).statement_execution.execute_statement(statement, "wh1", **kwargs)


def rows(answer):
    assert answer.status.state is StatementState.SUCCEEDED, answer.status.error.message
    return answer.result.data_array


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
        "EXPORT DATABASE '/tmp/people'",
        "CREATE VIEW main.hr.mine AS SELECT * FROM main.hr.people",
        "CREATE TABLE main.hr.copy AS SELECT * FROM main.hr.people",
        "CREATE MACRO f() AS TABLE SELECT * FROM main.hr.people",
        "PREPARE p AS SELECT * FROM main.hr.people",
        "EXPLAIN ANALYZE SELECT * FROM main.hr.people",
    ],
)
def test_nothing_is_written_defined_or_exported(workspace, statement):
    answer = sql(workspace, "carol", statement)
    assert (answer.status.state, answer.status.error.message[-5:]) == (StatementState.FAILED, "0A000")


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
        ({"row_filter": "id ="}, "does not read"),
        ({"row_filter": "nothing(id)"}, "does not fit"),
        ({"row_filter": "id IN (SELECT id FROM main.hr.absent)"}, "names 'main.hr.absent', which is not there yet"),
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
