"""Every row of a statement, with its types, as whoever asks."""

from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.sql import Disposition
from mlflow.models.resources import DatabricksSQLWarehouse

from obo_kit import AccessDeniedError, requires_scopes, user_session, with_user_client
from obo_kit.integrations.sql import statement_rows
from obo_kit.testing import LocalWorkspace


@requires_scopes(DatabricksSQLWarehouse("wh1"))
@with_user_client
def query(client: WorkspaceClient, statement: str, **kwargs):
    return statement_rows(client, client.statement_execution.execute_statement(statement, "wh1", **kwargs))


@pytest.fixture(scope="module")
def workspace():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob"):
            workspace.add_user(user)
            workspace.add_warehouse("wh1") if user == "alice" else None
            workspace.grant(user, "CAN USE", "wh1")
        workspace.add_table("samples.nyctaxi.trips", [{"zip": number, "fare": 1.5} for number in range(2500)])
        workspace.grant("alice", "SELECT", "samples.nyctaxi.trips")
        yield workspace


@pytest.fixture
def app(workspace):
    workspace.log.clear()
    with workspace.as_app() as app:
        yield app


def test_all_chunks_are_read_as_the_user(workspace, app):
    with app.user("alice", scopes=["sql"]):
        rows = query("SELECT * FROM samples.nyctaxi.trips ORDER BY zip")
    assert (len(rows), rows[0], rows[-1]) == (2500, {"zip": 0, "fare": 1.5}, {"zip": 2499, "fare": 1.5})
    assert [record.user for record in workspace.log if "/result/chunks/" in record.path] == ["alice", "alice"]


def test_values_have_pythons_types(app):
    statement = """SELECT 1 AS i, 2L AS l, true AS b, 1.50 AS d, CAST(2.5 AS DOUBLE) AS f, DATE'2026-01-02' AS day,
        TIMESTAMP'2026-01-02 03:04:05' AS ts, 'x' AS s, array(1, 2) AS a, map('k', 1) AS m, struct(1 AS x) AS st,
        CAST('ab' AS BINARY) AS raw, NULL AS nothing"""
    with app.user("alice", scopes=["sql"]):
        (row,) = query(statement)
    assert row == {
        "i": 1,
        "l": 2,
        "b": True,
        "d": Decimal("1.50"),
        "f": 2.5,
        "day": datetime.date(2026, 1, 2),
        "ts": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "s": "x",
        "a": [1, 2],
        "m": {"k": 1},
        "st": {"x": 1},
        "raw": b"ab",
        "nothing": None,
    }


def test_a_refusal_is_raised_as_its_denial(app):
    with app.user("bob", scopes=["sql"]), pytest.raises(AccessDeniedError):
        query("SELECT * FROM samples.nyctaxi.trips")


@pytest.mark.parametrize(
    ("statement", "kwargs", "text"),
    [
        ("SELECT 1 AS a, 2 AS a", {}, "Two columns have the same name"),
        ("SELECT CAST('x' AS INT)", {}, "The statement is FAILED"),
        ("SELECT 1", {"disposition": Disposition.EXTERNAL_LINKS}, "behind links"),
    ],
)
def test_what_has_no_rows_says_so(app, statement, kwargs, text):
    with app.user("alice", scopes=["sql"]), pytest.raises(ValueError, match=text):
        query(statement, **kwargs)


SLOW = "SELECT count(*) AS n FROM range(3000000000) t(i) WHERE i % 7 = 3"


def test_a_statement_that_is_still_running_is_waited_for_as_the_user(workspace, app):
    """A warehouse that has to start first answers nothing in the time of `execute_statement`."""
    with app.user("alice", scopes=["sql"]):
        assert query("SELECT max(zip) AS zip FROM samples.nyctaxi.trips", wait_timeout="0s") == [{"zip": 2499}]
    asked = [record for record in workspace.log if record.method == "GET" and "/sql/statements/" in record.path]
    assert {record.user for record in asked} == {"alice"}


def test_a_refusal_of_a_statement_that_was_waited_for_is_its_denial(app):
    with app.user("bob", scopes=["sql"]), pytest.raises(AccessDeniedError):
        query("SELECT * FROM samples.nyctaxi.trips", wait_timeout="0s")


def test_waiting_ends(app):
    with app.user("alice", scopes=["sql"]), user_session() as session:
        execution = session.client.statement_execution
        response = execution.execute_statement(SLOW, "wh1", wait_timeout="0s")
        with pytest.raises(TimeoutError, match=f"{response.statement_id} is still running after 0.3 s"):
            statement_rows(session.client, response, timeout=datetime.timedelta(milliseconds=300))
        execution.cancel_execution(response.statement_id)
        with pytest.raises(ValueError, match="The statement is CANCELED"):
            statement_rows(session.client, response)


def test_importing_it_loads_no_sdk():
    code = "import sys; import obo_kit.integrations.sql; sys.exit('databricks.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
