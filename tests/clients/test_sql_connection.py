"""The connection of databricks-sql-connector that a session hands out: pinned, fenced, narrowed, closed with the session."""

from __future__ import annotations

import contextvars
import gc
import json
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from mlflow.models.resources import DatabricksSQLWarehouse
from support import as_user, frames_of

import obo_kit
from obo_kit import (
    INJECTED,
    DenialReason,
    IdentityMismatchError,
    PolicyError,
    ScopeViolationError,
    SessionClosedError,
    current_session,
    explain,
    optional_tool,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.testing import LocalWorkspace

connector = pytest.importorskip("databricks.sql", reason="needs databricks-sql-connector")
Connection = pytest.importorskip("databricks.sql.client").Connection
PATH = "/sql/1.0/warehouses/"


@pytest.fixture(scope="module")
def workspace():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_table(
            "main.shop.orders",
            [{"id": number, "owner": f"{'alice' if number % 2 else 'bob'}@example.com"} for number in range(5)],
            row_filter="owner = current_user()",
        )
        for warehouse in ("wh1", "wh2"):
            workspace.add_warehouse(warehouse)
            for user in ("alice", "bob"):
                workspace.grant(user, "CAN USE", warehouse)
                workspace.grant(user, "SELECT", "main.shop.orders")
        yield workspace


@pytest.fixture(autouse=True)
def fresh_log(workspace, monkeypatch):
    monkeypatch.delenv("DATABRICKS_WAREHOUSE_ID", raising=False)
    workspace.log.clear()


@requires_scopes(DatabricksSQLWarehouse("wh1"))
@with_user_client
def orders(connection: Connection, *, limit: int = 100) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM main.shop.orders ORDER BY id LIMIT :limit", {"limit": limit})
        return [row.id for row in cursor.fetchall()]


def test_the_tool_asks_as_the_user_and_the_session_closes_the_connection(workspace):
    for user, ids in (("alice", [1, 3]), ("bob", [0, 2, 4])):
        workspace.log.clear()
        with as_user(workspace, user):
            assert orders() == ids
            assert orders(limit=1) == ids[:1]
            opened = len(workspace._connector._sessions)
        assert len(workspace._connector._sessions) == opened - 1
        seen = workspace.log.filter(path=PATH)
        assert {(record.user, record.path, record.decision) for record in seen} == {(user, PATH + "wh1", "allowed")}
        assert {record.tool for record in seen} == {"orders", None}  # None: the end of the session


def test_the_parameter_is_hidden_wherever_it_stands(workspace):
    @requires_scopes(DatabricksSQLWarehouse("wh2"))
    @with_user_client
    def count(question: str, *, sql: Connection = INJECTED) -> int:
        with sql.cursor() as cursor:
            cursor.execute("SELECT count(*) AS n FROM main.shop.orders")
            return cursor.fetchone().n

    assert "sql" not in count.__signature__.parameters
    with as_user(workspace, "alice"):
        assert count("how many?") == 2
    assert {record.path for record in workspace.log.filter(path=PATH)} == {PATH + "wh2"}


def test_a_connection_kept_after_its_session_sends_nothing(workspace):
    with pytest.MonkeyPatch.context() as patch, as_user(workspace, "alice"):
        patch.setenv("DATABRICKS_WAREHOUSE_ID", "wh1")
        kept = current_session().get(Connection)
        cursor = kept.cursor()
        cursor.execute("SELECT 1 AS n")
        patch.setattr(type(kept), "obo_end", lambda self: None)  # as one that is in use while the session ends
    before = len(workspace.log)
    with pytest.raises(SessionClosedError):
        kept.cursor().execute("SELECT 1")
    with pytest.raises(SessionClosedError):
        cursor.execute("SELECT 1")
    assert len(workspace.log) == before


def test_a_connection_that_has_ended_holds_no_token(workspace, monkeypatch):
    monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", "wh1")
    token = workspace.token("alice")
    with user_session(host=workspace.host, token=token) as session:
        kept = session.get(Connection)
        kept.cursor().execute("SELECT 1")
    assert token not in repr(vars(kept.session.backend._transport))
    with pytest.raises(SessionClosedError):
        kept.cursor()


def test_a_tool_is_narrowed_to_what_it_declares(workspace, monkeypatch):
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "raise")
    monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", "wh1")

    @requires_scopes("genie")
    @with_user_client
    def narrow(connection: Connection) -> None:
        raise AssertionError

    with as_user(workspace, "alice"), pytest.raises(ScopeViolationError, match="outside the scopes that it declares"):
        narrow()
    assert len(workspace.log) == 0

    @requires_scopes("genie")
    def later() -> None:
        with shared[0].cursor() as cursor:
            cursor.execute("SELECT 1")

    with as_user(workspace, "alice"):
        shared = [current_session().get(Connection)]
        before = len(workspace.log)
        with pytest.raises(ScopeViolationError):
            later()
        assert len(workspace.log) == before


def test_the_warehouse_is_named_by_the_tool_or_the_environment(workspace, monkeypatch):
    with as_user(workspace, "alice") as session:
        with pytest.raises(PolicyError, match=r"(?s)No SQL warehouse is named.*DATABRICKS_WAREHOUSE_ID"):
            session.get(Connection)

        @requires_scopes(DatabricksSQLWarehouse("wh1"), DatabricksSQLWarehouse("wh2"))
        @with_user_client
        def both(connection: Connection) -> None: ...

        with pytest.raises(PolicyError, match="'both' declares several SQL warehouses: wh1, wh2"):
            both()
        monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", "wh2")
        assert session.get(Connection) is session.get(Connection)
    assert {record.path for record in workspace.log.filter(path=PATH)} == {PATH + "wh2"}


def test_a_refusal_whose_body_the_connector_throws_away_is_explained(workspace):
    """The connector looks for a text in two headers only; the answer to an address that is not allowed has it in its body."""
    workspace.add_fault("ip_access_list", path_prefix=PATH)
    try:
        with as_user(workspace, "alice"), pytest.raises(connector.exc.RequestError) as caught:
            optional_tool(fallback="no figures")(orders)()
        denial = explain(caught.value)
        assert denial is not None
        assert (denial.reason, denial.status) == (DenialReason.POLICY, 403)
        assert "is blocked by Databricks IP ACL" in denial.detail
    finally:
        workspace.clear_faults()
    with as_user(workspace, "alice"):
        assert orders() == [1, 3]


def test_a_refusal_that_quotes_the_request_s_headers_loses_the_token(workspace):
    """Rule 8."""
    token = workspace.token("alice")
    workspace.add_fault(status=403, body=json.dumps({"message": f"You sent: Bearer {token}."}), path_prefix=PATH)
    try:
        with user_session(host=workspace.host, token=token), pytest.raises(connector.exc.RequestError) as caught:
            orders()
        assert "You sent: Bearer ***." in str(caught.value.context)
        assert token not in f"{caught.value} {caught.value.context} {frames_of(caught.value)}"
    finally:
        workspace.clear_faults()


def test_threads_have_connections_of_their_own(workspace, monkeypatch):
    monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", "wh1")
    with as_user(workspace, "alice") as session:
        found = [session.get(Connection)]
        thread = threading.Thread(target=lambda: found.append(session.get(Connection)))
        thread.start()
        thread.join()
        assert found[0] is not found[1]


def test_a_connection_cannot_be_pickled_and_an_error_holds_no_token(workspace, monkeypatch):
    monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", "wh1")
    token = workspace.token("alice")
    with user_session(host=workspace.host, token=token) as session:
        connection = session.get(Connection)
        with pytest.raises(TypeError, match="a user's credential"):
            pickle.dumps(connection)
        workspace.revoke("alice", "CAN USE", "wh1")
        try:
            with pytest.raises(connector.Error) as refused, connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        finally:
            workspace.grant("alice", "CAN USE", "wh1")
        trace = refused.value.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__", "").startswith("databricks.sql.backend"):
                assert token not in repr(trace.tb_frame.f_locals)
            trace = trace.tb_next


def test_a_session_that_nobody_closed_asks_no_server(workspace, monkeypatch):
    monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", "wh1")
    scope = as_user(workspace, "alice")
    session = scope.__enter__()
    session.get(Connection)
    scope.__exit__(None, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del session, scope
        gc.collect()


def test_another_package_s_connection_is_no_client_of_ours(workspace):
    import sqlite3

    with pytest.raises(TypeError, match="name it 'client', or pass its name"):

        @with_user_client
        def read(connection: sqlite3.Connection) -> None: ...


# --- built by hand: the ways of the documentation -----------------------------------------------------------------------------


def by_hand(workspace, **credentials):
    path = f"{PATH}wh1"
    return connector.connect(
        server_hostname="127.0.0.1",
        http_path=path,
        _connection_uri=f"{workspace.host}{path}",
        enable_telemetry=False,
        **credentials,
    )


def asked(connection):
    with connection.cursor() as cursor:
        return cursor.execute("SELECT current_user() AS who").fetchone().who


WAYS = {
    "configuration": lambda client: {
        "credentials_provider": lambda: (
            Config(host=client.config.host, token=client.config.token, auth_type="pat").authenticate
        )
    },
    "token": lambda client: {"access_token": client.config.token},
    "provider": lambda client: {"credentials_provider": lambda: client.config.authenticate},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_built_by_hand_is_adopted_and_ends_with_its_session(workspace, way):
    """Rule 5: the connector reads the credentials once, and keeps the token."""
    with as_user(workspace, "alice") as session:
        kept = by_hand(workspace, **WAYS[way](session.client))
        assert asked(kept) == "alice@example.com"
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(kept)
    before = len(workspace.log)
    with pytest.raises(SessionClosedError):
        asked(kept)
    with as_user(workspace, "bob"), pytest.raises(SessionClosedError):
        asked(kept)
    assert len(workspace.log) == before


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_built_by_hand_is_no_other_request_s(workspace, way):
    """Rule 5: alice's request still runs, and bob's has got hold of her connection."""
    with as_user(workspace, "alice") as session:
        kept = by_hand(workspace, **WAYS[way](session.client))
        asked(kept)

        def in_bob_s():
            with as_user(workspace, "bob"):
                asked(kept)

        before = len(workspace.log)
        with pytest.raises(IdentityMismatchError):
            contextvars.Context().run(in_bob_s)
        assert len(workspace.log) == before
        assert asked(kept) == "alice@example.com"


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_built_by_hand_in_a_tool_is_narrowed_and_explained(workspace, way):
    """Rules 16 and 23."""

    @with_user_client
    def ask(client: WorkspaceClient) -> str:
        with by_hand(workspace, **WAYS[way](client)) as connection:
            return asked(connection)

    with as_user(workspace, "alice"), pytest.raises(ScopeViolationError):
        requires_scopes("genie")(ask)()
    assert not workspace.log.filter(path=PATH)
    denials = []
    with as_user(workspace, "carol"):
        optional_tool(fallback=denials.append)(ask)()
    assert [denial.reason for denial in denials] == [DenialReason.ACCESS_DENIED]


def test_a_connection_of_the_agent_itself_stays_as_it_is(workspace):
    token = workspace.token("bob")
    with as_user(workspace, "alice") as session:
        assert session.client.config.token  # the connector is patched
        by_token = by_hand(workspace, access_token=token)
        by_provider = by_hand(workspace, credentials_provider=lambda: lambda: {"Authorization": f"Bearer {token}"})
        assert {asked(by_token), asked(by_provider)} == {"bob@example.com"}
    assert {type(by_token), type(by_provider)} == {Connection}
    for connection in (by_token, by_provider):
        assert asked(connection) == "bob@example.com"
        connection.close()


FIRST = """
import sys
host, token, package = sys.argv[1:]
sys.path.insert(0, package)
from databricks import sql
from obo_kit import SessionClosedError, user_session
path = "/sql/1.0/warehouses/wh1"
with user_session(host=host, token=token) as session:
    kept = sql.connect(
        "127.0.0.1",
        path,
        credentials_provider=lambda: session.client.config.authenticate,
        _connection_uri=host + path,
        enable_telemetry=False,
    )
    print(kept.cursor().execute("SELECT current_user()").fetchone()[0])
try:
    kept.cursor().execute("SELECT 1")
except SessionClosedError:
    print("nothing sent")
"""


def test_the_first_connection_of_a_process_is_adopted_too(workspace):
    """Rule 5: it asks for the session's first client while it is built."""
    package = str(Path(obo_kit.__file__).parents[1])
    arguments = [sys.executable, "-c", FIRST, workspace.host, workspace.token("alice"), package]
    said = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=120)
    assert said.stdout.split("\n")[:2] == ["alice@example.com", "nothing sent"], said.stderr
