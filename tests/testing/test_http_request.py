"""``http_request`` in SQL, and MCP servers behind connections, as alice (USE CONNECTION) and bob (none)."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.service.serving import ExternalFunctionRequestHttpMethod as Method
from databricks.sdk.service.sql import StatementState
from support import client

from obo_kit import explain
from obo_kit.testing import LocalWorkspace

# What databricks-mcp calls in mcp 1.x is deprecated there.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use `streamable_http_client` instead:DeprecationWarning"),
    pytest.mark.usefixtures("no_traces"),
]

SAID = (
    "SELECT http_request(conn => 'crm', method => 'POST', path => '/tickets', "
    "headers => map('X-Team', 'tea'), params => map('page', '2'), json => to_json(named_struct('text', item)))"
    " AS answer FROM main.shop.orders"
)


class Crm(BaseHTTPRequestHandler):
    """Says what it was sent."""

    asked: ClassVar[list[dict]] = []

    def do_POST(self):
        self._answer(self.rfile.read(int(self.headers["Content-Length"] or 0)).decode())

    def do_GET(self):
        self._answer("")

    def _answer(self, body):
        asked = {
            "path": self.path,
            "body": body,
            "token": self.headers["Authorization"],
            "team": self.headers["X-Team"],
        }
        self.asked.append(asked)
        self.send_response(404 if self.path.startswith("/absent") else 200)
        self.end_headers()
        self.wfile.write(json.dumps(asked).encode())

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def shared():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Crm)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob"):
            workspace.add_user(user)
        workspace.add_warehouse("wh1")
        workspace.add_table("main.shop.orders", [{"item": "tea"}])
        url = f"http://127.0.0.1:{server.server_port}"
        workspace.add_connection("crm", url, headers={"Authorization": "Bearer of-the-crm"})
        workspace.add_connection("diary", url, login=True)
        workspace.add_connection("gone", "http://127.0.0.1:1")
        workspace.grant("users", "CAN USE", "wh1")
        workspace.grant("users", "SELECT", "main.shop.orders")
        for name in ("crm", "diary", "gone"):
            workspace.grant("alice", "USE CONNECTION", name)
        workspace.add_function(
            "main.shop.ticket",
            "SELECT http_request(conn => 'crm', method => 'GET', path => concat('/tickets/', ticket.id)).text",
            parameters={"id": "STRING"},
            returns="STRING",
        )
        workspace.grant("users", "EXECUTE", "main.shop.ticket")
        yield workspace
    server.shutdown()
    server.server_close()


@pytest.fixture
def workspace(shared):
    Crm.asked.clear()
    shared.log.clear()
    return shared


def run(workspace, user, statement):
    return client(workspace, user, scopes=["sql"]).statement_execution.execute_statement(statement, "wh1")


def test_a_statement_calls_the_service_with_the_connections_credentials(workspace):
    answer = run(workspace, "alice", SAID)
    assert answer.status.state is StatementState.SUCCEEDED, answer.status
    assert answer.manifest.schema.columns[0].type_text == "STRUCT<status_code: INT, text: STRING>"
    said = json.loads(answer.result.data_array[0][0])
    assert said["status_code"] in {200, "200"}
    (asked,) = Crm.asked
    assert asked == {
        "path": "/tickets?page=2",
        "body": '{"text":"tea"}',
        "token": "Bearer of-the-crm",
        "team": "tea",
    }
    assert json.loads(said["text"]) == asked


def test_its_fields_and_its_status(workspace):
    answer = run(workspace, "alice", "SELECT r.status_code FROM (SELECT http_request('crm', 'GET', '/absent') AS r)")
    assert answer.result.data_array == [["404"]], answer.status


def test_use_connection_is_needed_before_anything_is_sent(workspace):
    answer = run(workspace, "bob", SAID)
    assert answer.status.state is StatementState.FAILED
    assert "does not have USE CONNECTION on Connection 'crm'" in answer.status.error.message
    assert explain(answer).reason.value == "access_denied"
    assert Crm.asked == []
    (record,) = [entry for entry in workspace.log.entries if "/sql/statements" in entry.path]
    assert (record.user, record.decision) == ("bob", "missing grant")


def test_a_function_has_its_owners_connection(workspace):
    answer = run(workspace, "bob", "SELECT main.shop.ticket('7')")
    assert json.loads(answer.result.data_array[0][0])["path"] == "/tickets/7"


def test_users_log_in(workspace):
    statement = "SELECT http_request(conn => 'diary', method => 'GET', path => '/me').status_code"
    answer = run(workspace, "alice", statement)
    denial = explain(answer)
    assert denial.reason.value == "login_required"
    assert f"{workspace.host}/explore/connections/diary" in answer.status.error.message
    assert Crm.asked == []
    workspace.log_in("alice", "diary", headers={"Authorization": "Bearer alice-at-crm"})
    try:
        assert run(workspace, "alice", statement).result.data_array == [["200"]]
    finally:
        workspace.log_out("alice", "diary")
    assert Crm.asked[0]["token"] == "Bearer alice-at-crm"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("conn => 'absent', method => 'GET'", "[CONNECTION_NOT_FOUND]"),
        ("conn => 'gone', method => 'GET'", "did not answer"),
        ("conn => 'crm', method => 'SING'", "method must be one of"),
        ("conn => 'crm', method => 'GET', path => '/../x'", "must not contain .."),
        ("conn => 'crm'", "requires conn and method"),
        ("conn => 'crm', conn => 'crm', method => 'GET'", "takes: conn, method"),
        ("conn => 'crm', method => 'GET', body => 'x'", "takes: conn, method"),
        ("conn => lower('crm'), method => 'GET'", "a connection must be a constant"),
    ],
)
def test_what_cannot_be_called(workspace, call, text):
    answer = run(workspace, "alice", f"SELECT http_request({call})")
    assert answer.status.state is StatementState.FAILED
    assert text in answer.status.error.message
    assert Crm.asked == []
    assert explain(answer) is None or text.startswith("[CONNECTION")


def test_nothing_is_sent_to_explain_a_statement(workspace):
    assert run(workspace, "alice", f"EXPLAIN {SAID}").status.state is StatementState.SUCCEEDED
    assert Crm.asked == []


def test_an_mcp_server_of_a_workspace_behind_a_connection(workspace):
    """The connection's server is the workspace's own, which the connection asks as carol."""
    databricks_mcp = pytest.importorskip("databricks_mcp")
    try:
        workspace.add_user("carol")
    except ValueError:
        pytest.skip("added before")
    token = workspace.token("carol", scopes=["sql"])
    workspace.add_connection("inner", f"{workspace.host}/api/2.0/mcp/sql", headers={"Authorization": f"Bearer {token}"})
    workspace.grant("alice", "USE CONNECTION", "inner")
    api = client(workspace, "alice", scopes=["mcp.external"])
    outer = databricks_mcp.DatabricksMCPClient(f"{workspace.host}/api/2.0/mcp/external/inner", api)
    assert "execute_sql" in {tool.name for tool in outer.list_tools()}
    inside = {record.user for record in workspace.log.entries if record.path == "/api/2.0/mcp/sql"}
    outside = {record.user for record in workspace.log.entries if record.path == "/api/2.0/mcp/external/inner"}
    assert (inside, outside) == ({"carol"}, {"alice"})

    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    both = {"Accept": "application/json, text/event-stream"}
    api = client(workspace, "alice", scopes=["catalog.connections", "model-serving"])
    answer = api.serving_endpoints.http_request("inner", Method.POST, "", json=body, headers=both)
    assert "execute_sql" in answer.text
    with pytest.raises(PermissionDenied, match="USE CONNECTION on Connection 'inner'"):
        client(workspace, "bob", scopes=["catalog.connections", "model-serving"]).serving_endpoints.http_request(
            "inner", Method.POST, "", json=body, headers=both
        )
    statement = (
        "SELECT http_request(conn => 'inner', method => 'POST', path => '', "
        f"headers => map('Accept', '{both['Accept']}'), json => '{json.dumps(body)}').text"
    )
    assert "execute_sql" in run(workspace, "alice", statement).result.data_array[0][0]
