"""The managed MCP servers of the local workspace, through the real clients: alice may all, bob some, carol nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from databricks.sdk import WorkspaceClient

from obo_kit.testing import LocalWorkspace

databricks_mcp = pytest.importorskip("databricks_mcp")

# What databricks-mcp calls in mcp 1.x is deprecated there.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use `streamable_http_client` instead:DeprecationWarning"),
    pytest.mark.usefixtures("no_traces"),
]

TICKETS = [{"id": 1, "subject": "Refund not received"}, {"id": 2, "subject": None}]
ARTICLES = [
    {"id": "a1", "text": "How to ask for a refund and how long refunds take", "topic": "money"},
    {"id": "a2", "text": "Shipping times and carriers by country", "topic": "delivery"},
    {"id": "a3", "text": "Refunds of shipping costs", "topic": "delivery"},
    *({"id": f"b{number}", "text": f"Opening hours of shop {number}", "topic": "shops"} for number in range(4)),
]
GENIE, SCHEMA, SQL = "/genie/space1", "/vector-search/main/support", "/sql"
INDEX, OLD_INDEX = "/ai-search/main/support/articles", "/vector-search/main/support/articles"
FUNCTIONS, FUNCTION, EXTERNAL = "/functions/main/support", "/functions/main/support/price", "/external/notes"
ASK, POLL, SEARCH = "query_space_space1", "poll_response_space1", "main__support__articles"
TOOLS = {
    GENIE: [ASK, POLL],
    SCHEMA: [SEARCH, "main__support__faq"],
    INDEX: [SEARCH],
    OLD_INDEX: [SEARCH],
    SQL: ["execute_sql", "execute_sql_read_only", "poll_sql_result"],
    FUNCTIONS: ["main__support__count_tickets", "main__support__price", "main__support__tickets_of"],
    FUNCTION: ["main__support__price"],
}
has_async_client = pytest.mark.skipif(
    not hasattr(databricks_mcp.DatabricksMCPClient, "acall_tool"), reason="databricks-mcp is too old for it"
)
HOW_MANY = "How many tickets are there?"
ALL_TICKETS = {"query": "SELECT * FROM main.support.tickets ORDER BY id"}


@pytest.fixture(scope="module")
def shared():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_warehouse("wh1")
        workspace.add_warehouse("wh2")
        workspace.add_table("main.support.tickets", TICKETS)
        workspace.add_index("main.support.articles", ARTICLES, primary_key="id", text_column="text")
        workspace.add_index("main.support.faq", ARTICLES, primary_key="id", text_column="text")
        # A column that the index keeps for itself is not shown.
        inner = [{**row, "__version": 1} for row in ARTICLES]
        workspace.add_index("main.other.articles", inner, primary_key="id", text_column="text")
        workspace.add_genie_space(
            "space1",
            warehouse_id="wh1",
            tables=["main.support.tickets"],
            answers={HOW_MANY: "SELECT count(*) AS n FROM main.support.tickets"},
            title="Tickets",
        )
        workspace.add_function(
            "main.support.count_tickets", "SELECT count(*) FROM main.support.tickets", returns="BIGINT"
        )
        workspace.add_function(
            "main.support.price",
            "round(amount * (1 - discount), 2)",
            parameters={"amount": "DOUBLE COMMENT 'in euros'", "discount": "DOUBLE DEFAULT 0.0"},
            returns="DOUBLE",
            comment="The price after discount",
        )
        workspace.add_function(
            "main.support.tickets_of",
            "SELECT id, subject FROM main.support.tickets WHERE id < up_to ORDER BY id",
            parameters={"up_to": "INT"},
            returns="TABLE(id INT, subject STRING)",
        )
        workspace.add_function("main.support.hidden", "current_user()")
        for privilege, securable in (
            ("SELECT", "main.support.tickets"),
            ("EXECUTE", "main.support.count_tickets"),
            ("EXECUTE", "main.support.price"),
            ("EXECUTE", "main.support.tickets_of"),
            ("SELECT", "main.support.articles"),
            ("SELECT", "main.support.faq"),
            ("SELECT", "main.other.articles"),
            ("CAN USE", "wh1"),
            ("CAN USE", "wh2"),
            ("CAN RUN", "space1"),
        ):
            workspace.grant("alice", privilege, securable)
        # bob gets into Genie and onto a warehouse, but not to the table; and he may use one of two indexes.
        for privilege, securable in (("SELECT", "main.support.faq"), ("CAN USE", "wh2"), ("CAN RUN", "space1")):
            workspace.grant("bob", privilege, securable)
        workspace.grant("bob", "CAN USE", "wh1")
        workspace.grant("bob", "EXECUTE", "main.support.price")
        yield workspace


@pytest.fixture
def workspace(shared):
    shared.log.clear()
    yield shared
    shared.clear_faults()
    shared.genie_polls = 0


# What the MCP server of AI search asks for is not a part of all-apis.
EVERYTHING = ("all-apis", "ai-search")


def client(workspace, user, scopes=EVERYTHING, **settings) -> WorkspaceClient:
    return WorkspaceClient(host=workspace.host, token=workspace.token(user, scopes=scopes, **settings), auth_type="pat")


def url(workspace, server) -> str:
    return f"{workspace.host}/api/2.0/mcp{server}"


def mcp_client(workspace, user, server, **settings):
    return databricks_mcp.DatabricksMCPClient(url(workspace, server), client(workspace, user, **settings))


def post(workspace, user, server, method="tools/call", params=None, *, headers=None, scopes=EVERYTHING, **settings):
    """A request as any other MCP client may send it: no client of Databricks passes ``_meta`` on."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    return requests.post(
        url(workspace, server),
        json=message,
        headers={
            "Authorization": f"Bearer {workspace.token(user, scopes=scopes, **settings)}",
            "Accept": "application/json, text/event-stream",
            **(headers or {}),
        },
        timeout=60,
    )


def call(workspace, user, server, tool, arguments=None, **meta):
    """The result of a tool call as the wire has it."""
    params = {"name": tool, "arguments": arguments or {}, **({"_meta": meta} if meta else {})}
    return post(workspace, user, server, params=params).json()["result"]


def failed(result) -> bool:
    """mcp 1.x says isError, 2.x says is_error."""
    return result.is_error if hasattr(result, "is_error") else result.isError


def data(result):
    return json.loads(result.content[0].text)


def leaf(error: BaseException) -> BaseException:
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    return error


def seen(workspace, user, tool):
    """Status and decision of the calls of a tool by a user."""
    return [(record.status, record.decision) for record in workspace.log.filter(user=user, mcp_tool=tool)]


# ---------------------------------------------------------------------------------------------- DatabricksMCPClient


@pytest.mark.parametrize("server", TOOLS)
def test_a_user_who_may_use_everything_is_offered_the_platforms_tools(workspace, server):
    assert [tool.name for tool in mcp_client(workspace, "alice", server).list_tools()] == TOOLS[server]
    assert {(record.user, record.decision) for record in workspace.log.filter(method="POST")} == {("alice", "allowed")}


@has_async_client
async def test_the_async_client_lists_and_calls(workspace):
    alice = mcp_client(workspace, "alice", SQL)
    assert [tool.name for tool in await alice.alist_tools()] == TOOLS[SQL]
    result = await alice.acall_tool("execute_sql", {"query": "SELECT current_user() AS me"})
    assert data(result)["result"]["data_array"] == [{"values": [{"string_value": "alice@example.com"}]}]
    assert seen(workspace, "alice", "execute_sql") == [(200, "allowed")]


def test_genie_answers_with_sql_and_rows(workspace):
    result = mcp_client(workspace, "alice", GENIE).call_tool(ASK, {"query": HOW_MANY})
    answer = data(result)
    assert not failed(result)
    assert answer["status"] == "COMPLETED"
    [query] = answer["content"]["queryAttachments"]
    assert query["query"] == "SELECT count(*) AS n FROM main.support.tickets"
    assert query["statement_response"]["result"]["data_array"] == [{"values": [{"string_value": "2"}]}]
    assert seen(workspace, "alice", ASK) == [(200, "allowed")]


def test_genie_says_in_words_that_it_has_no_answer(workspace):
    answer = data(mcp_client(workspace, "alice", GENIE).call_tool(ASK, {"query": "Why?"}))
    assert answer["content"] == {
        "queryAttachments": [],
        "textAttachments": ["This space has no answer to that question."],
    }


def test_genie_is_polled_until_it_has_answered_and_goes_on_with_a_conversation(workspace):
    workspace.genie_polls = 1
    alice = mcp_client(workspace, "alice", GENIE)
    asked = data(alice.call_tool(ASK, {"query": HOW_MANY}))
    assert asked["status"] == "EXECUTING_QUERY"
    ids = {"conversation_id": asked["conversationId"], "message_id": asked["messageId"]}
    assert data(alice.call_tool(POLL, ids))["status"] == "COMPLETED"

    again = data(alice.call_tool(ASK, {"query": HOW_MANY, "conversation_id": ids["conversation_id"]}))
    assert again["conversationId"] == ids["conversation_id"]
    assert again["messageId"] != ids["message_id"]

    # A conversation is its user's own.
    assert failed(mcp_client(workspace, "bob", GENIE).call_tool(POLL, ids))
    assert seen(workspace, "bob", POLL) == [(200, "not found")]


def test_genie_without_select_fails_as_a_message_and_as_an_error(workspace):
    result = mcp_client(workspace, "bob", GENIE).call_tool(ASK, {"query": HOW_MANY})
    assert failed(result)
    assert data(result)["status"] == "FAILED"
    assert "No access to 'main.support.tickets'. User must have SELECT" in data(result)["error"]["message"]
    assert seen(workspace, "bob", ASK) == [(200, "missing grant")]


@pytest.mark.parametrize(("server", "status"), [(GENIE, 404), (INDEX, 403), (OLD_INDEX, 403), (FUNCTION, 403)])
def test_the_server_of_one_securable_is_closed_to_who_may_not_use_it(workspace, server, status):
    carol = mcp_client(workspace, "carol", server)
    for attempt in (carol.list_tools, lambda: carol.call_tool(TOOLS[server][0], {"query": "refund"})):
        with pytest.raises(BaseException) as caught:
            attempt()
        assert leaf(caught.value) is not caught.value
    posts = workspace.log.filter(user="carol", method="POST")
    assert {(record.status, record.decision, record.mcp_tool) for record in posts} == {(status, "missing grant", None)}


def test_the_door_refuses_with_the_body_of_the_rest_api(workspace):
    assert post(workspace, "carol", INDEX).json() == {
        "error_code": "PERMISSION_DENIED",
        "message": "Insufficient permissions for UC entity main.support.articles",
    }
    assert post(workspace, "carol", GENIE).json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert post(workspace, "alice", "/genie/nowhere").status_code == 404


@pytest.mark.parametrize(
    ("user", "server", "tools"),
    [
        ("bob", SCHEMA, ["main__support__faq"]),
        ("bob", FUNCTIONS, ["main__support__price"]),
        ("carol", SCHEMA, []),
        ("carol", FUNCTIONS, []),
    ],
)
def test_the_server_of_a_schema_offers_what_the_user_may_use(workspace, user, server, tools):
    assert [tool.name for tool in mcp_client(workspace, user, server).list_tools()] == tools


@pytest.mark.parametrize("user", ["bob", "carol"])
def test_a_tool_that_is_not_granted_answers_with_an_error_result(workspace, user):
    result = mcp_client(workspace, user, SCHEMA).call_tool(SEARCH, {"query": "refund"})
    assert failed(result)
    assert result.content[0].text == "PERMISSION_DENIED: Insufficient permissions for UC entity main.support.articles"
    assert seen(workspace, user, SEARCH) == [(200, "missing grant")]


def test_a_grant_and_its_revocation_hold_from_the_next_request_on(workspace):
    carol = mcp_client(workspace, "carol", SCHEMA)
    workspace.grant("carol", "SELECT", "main.support.faq")
    try:
        assert [tool.name for tool in carol.list_tools()] == ["main__support__faq"]
        assert not failed(carol.call_tool("main__support__faq", {"query": "refund"}))
    finally:
        workspace.revoke("carol", "SELECT", "main.support.faq")
    assert failed(carol.call_tool("main__support__faq", {"query": "refund"}))
    assert seen(workspace, "carol", "main__support__faq") == [(200, "allowed"), (200, "missing grant")]


@pytest.mark.parametrize("server", [SCHEMA, INDEX, OLD_INDEX])
def test_a_search_ranks_and_returns_all_columns(workspace, server):
    found = data(mcp_client(workspace, "alice", server).call_tool(SEARCH, {"query": "how to ask for a refund"}))
    assert found[0] == ARTICLES[0]
    assert len(found) == 5  # the default; there are more


def test_a_search_leaves_out_what_the_index_keeps_for_itself(workspace):
    found = data(
        mcp_client(workspace, "alice", "/ai-search/main/other").call_tool("main__other__articles", {"query": "x"})
    )
    assert sorted(found[0]) == ["id", "text", "topic"]


def test_a_function_is_a_tool_with_its_parameters(workspace):
    [tool] = mcp_client(workspace, "alice", FUNCTION).list_tools()
    wire = tool.model_dump(by_alias=True)
    assert wire["description"] == "The price after discount"
    assert wire["inputSchema"] == {
        "type": "object",
        "properties": {"amount": {"type": "number", "description": "in euros"}, "discount": {"type": "number"}},
        "required": ["amount"],
    }


@pytest.mark.parametrize(
    ("tool", "arguments", "columns", "rows"),
    [
        ("count_tickets", {}, ["output"], [[2]]),
        ("price", {"amount": 20}, ["output"], [[20.0]]),
        ("price", {"amount": 20, "discount": 0.25}, ["output"], [[15.0]]),
        ("tickets_of", {"up_to": 5}, ["id", "subject"], [[1, "Refund not received"], [2, None]]),
    ],
)
def test_a_function_answers_with_columns_and_rows(workspace, tool, arguments, columns, rows):
    result = mcp_client(workspace, "alice", FUNCTIONS).call_tool(f"main__support__{tool}", arguments)
    assert not failed(result)
    assert data(result) == {"is_truncated": False, "columns": columns, "rows": rows}
    assert seen(workspace, "alice", f"main__support__{tool}") == [(200, "allowed")]


def test_a_function_that_is_not_granted_answers_with_an_error_result(workspace):
    result = mcp_client(workspace, "bob", FUNCTIONS).call_tool("main__support__count_tickets", {})
    assert failed(result)
    assert "User does not have EXECUTE on Routine 'main.support.count_tickets'" in result.content[0].text
    assert seen(workspace, "bob", "main__support__count_tickets") == [(200, "missing grant")]


@pytest.mark.parametrize("arguments", [{}, {"amount": 1, "currency": "EUR"}, {"amount": "much"}])
def test_a_function_called_wrongly_answers_with_an_error_result(workspace, arguments):
    result = call(workspace, "alice", FUNCTION, "main__support__price", arguments)
    assert result["isError"]
    assert seen(workspace, "alice", "main__support__price") == [(200, "bad request")]


def test_sql_returns_typed_values_and_null(workspace):
    result = mcp_client(workspace, "alice", SQL).call_tool("execute_sql_read_only", ALL_TICKETS)
    body = data(result)
    assert not failed(result)
    assert body["status"] == {"state": "SUCCEEDED"}
    assert [column["name"] for column in body["manifest"]["schema"]["columns"]] == ["id", "subject"]
    assert body["result"]["data_array"] == [
        {"values": [{"string_value": "1"}, {"string_value": "Refund not received"}]},
        {"values": [{"string_value": "2"}, {}]},
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO main.support.tickets SELECT * FROM main.support.tickets",
        "WITH t AS (SELECT 1) DELETE FROM main.support.tickets",
        "DELETE FROM main.support.tickets",
        "GRANT SELECT ON main.support.tickets TO bob",
        "CREATE TABLE main.support.copy AS SELECT 1 AS a",
        "DROP TABLE main.support.tickets",
    ],
)
def test_the_tool_that_only_reads_writes_nothing(workspace, statement):
    workspace.grant("alice", "ALL PRIVILEGES", "main.support")
    workspace.grant("alice", "MANAGE", "main.support")
    try:
        before = data(mcp_client(workspace, "alice", SQL).call_tool("execute_sql", ALL_TICKETS))["result"]
        result = mcp_client(workspace, "alice", SQL).call_tool("execute_sql_read_only", {"query": statement})
        assert failed(result)
        assert "only statements that read" in result.content[0].text
        assert data(mcp_client(workspace, "alice", SQL).call_tool("execute_sql", ALL_TICKETS))["result"] == before
    finally:
        workspace.revoke("alice", "ALL PRIVILEGES", "main.support")
        workspace.revoke("alice", "MANAGE", "main.support")


@pytest.mark.parametrize("statement", ["SHOW TABLES IN main.support", "DESCRIBE main.support.tickets", "VALUES (1)"])
def test_the_tool_that_only_reads_lists_and_describes(workspace, statement):
    assert not failed(mcp_client(workspace, "alice", SQL).call_tool("execute_sql_read_only", {"query": statement}))


def test_sql_on_a_table_that_is_not_granted_fails_as_a_statement_and_as_an_error(workspace):
    result = mcp_client(workspace, "bob", SQL).call_tool("execute_sql", ALL_TICKETS)
    assert failed(result)
    assert data(result)["status"]["state"] == "FAILED"
    assert "[INSUFFICIENT_PERMISSIONS]" in data(result)["status"]["error"]["message"]
    assert seen(workspace, "bob", "execute_sql") == [(200, "missing grant")]


def test_sql_without_a_warehouse_is_an_error(workspace):
    result = mcp_client(workspace, "carol", SQL).call_tool("execute_sql", ALL_TICKETS)
    assert failed(result)
    assert "is not authorized to use any SQL warehouse" in result.content[0].text
    assert seen(workspace, "carol", "execute_sql") == [(200, "missing grant")]


def test_the_resources_of_an_address_are_those_the_client_derives(workspace):
    genie = mcp_client(workspace, "alice", GENIE).get_databricks_resources()
    indexes = mcp_client(workspace, "alice", SCHEMA).get_databricks_resources()
    assert [resource.name for resource in genie] == ["space1"]
    assert [resource.name for resource in indexes] == ["main.support.articles", "main.support.faq"]
    functions = mcp_client(workspace, "bob", FUNCTIONS).get_databricks_resources()
    assert [resource.name for resource in functions] == ["main.support.price"]


# ---------------------------------------------------------------------------------------------- external servers


class Notes:
    """An MCP server of somebody's own, with sessions: it wants a token, and says who it takes the caller for."""

    def __init__(self) -> None:
        import uvicorn
        from starlette.routing import Mount

        try:
            from mcp.server.fastmcp import FastMCP as Server
        except ImportError:  # mcp 2.x
            from mcp.server import MCPServer as Server

        server = Server("notes")
        self.asked: list[tuple[str, str]] = []

        def add(note):
            """Add a note."""
            if not note:
                raise ValueError("empty note")
            return f"added: {note}"

        add.__annotations__ = {"note": str, "return": str}  # as types: mcp 1.10 does not read them as text
        server.add_tool(add)
        inner = server.streamable_http_app()
        # mcp 1.10 answers /mcp with a redirect.
        redirects = isinstance(inner.routes[0], Mount)

        async def app(scope, receive, send):
            if scope["type"] == "http":
                token = dict(scope["headers"]).get(b"authorization", b"").decode()
                self.asked.append((scope["method"], token))
                if token not in {"Bearer notes-shared", "Bearer notes-alice"}:
                    await send({"type": "http.response.start", "status": 403, "headers": []})
                    await send({"type": "http.response.body", "body": b"who are you?"})
                    return
            await inner({**scope, "path": "/mcp/"} if redirects else scope, receive, send)

        config = uvicorn.Config(app, log_config=None, lifespan="on", ws="none")
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/mcp"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        self._socket.close()


@pytest.fixture(scope="module")
def notes(shared):
    service = Notes()
    shared.add_connection("notes", service.url, headers={"Authorization": "Bearer notes-shared"})
    shared.add_connection("diary", service.url, login=True)
    shared.add_connection("wrong", service.url, headers={"Authorization": "Bearer of nothing"})
    shared.add_connection("gone", "http://127.0.0.1:1/mcp")
    for name in ("notes", "diary", "wrong", "gone"):
        shared.grant("alice", "USE CONNECTION", name)
    shared.grant("bob", "USE CONNECTION", "diary")
    yield service
    service.stop()


def test_an_external_server_is_used_with_the_connections_credentials(workspace, notes):
    notes.asked.clear()
    alice = mcp_client(workspace, "alice", EXTERNAL)
    assert [tool.name for tool in alice.list_tools()] == ["add"]
    result = alice.call_tool("add", {"note": "tea"})
    assert result.content[0].text == "added: tea"
    assert failed(alice.call_tool("add", {"note": ""}))
    assert {token for _, token in notes.asked} == {"Bearer notes-shared"}
    assert seen(workspace, "alice", "add") == [(200, "allowed"), (200, "allowed")]
    assert {record.path for record in workspace.log.filter(user="alice", method="POST")} == {
        "/api/2.0/mcp/external/notes"
    }


def test_an_external_server_is_closed_to_who_may_not_use_its_connection(workspace, notes):
    notes.asked.clear()
    for user, server in (("carol", EXTERNAL), ("bob", EXTERNAL)):
        with pytest.raises(BaseException) as caught:
            mcp_client(workspace, user, server).list_tools()
        assert leaf(caught.value) is not caught.value
    refused = post(workspace, "bob", EXTERNAL)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert post(workspace, "alice", "/external/nothing").status_code == 404
    assert notes.asked == []
    assert {record.decision for record in workspace.log.filter(user="bob", method="POST")} == {"missing grant"}


def test_an_external_server_asks_for_a_login_until_the_user_has_logged_in(workspace, notes):
    notes.asked.clear()
    alice, bob = (mcp_client(workspace, user, "/external/diary") for user in ("alice", "bob"))
    with pytest.raises(BaseException) as caught:
        alice.list_tools()
    wanted = leaf(caught.value).error
    assert wanted.code == -32042
    assert "Please login first to the connection" in wanted.message
    [login] = wanted.data["elicitations"]
    assert login["url"] == f"{workspace.host}/explore/connections/diary"
    assert notes.asked == []
    assert {record.decision for record in workspace.log.filter(user="alice", method="POST")} == {"login required"}

    workspace.log_in("alice", "diary", headers={"Authorization": "Bearer notes-alice"})
    try:
        assert alice.call_tool("add", {"note": "tea"}).content[0].text == "added: tea"
        assert {token for _, token in notes.asked} == {"Bearer notes-alice"}
        with pytest.raises(BaseException) as caught:
            bob.list_tools()
        assert leaf(caught.value).error.code == -32042
    finally:
        workspace.log_out("alice", "diary")


def test_a_message_without_an_id_is_told_of_the_login_by_http(workspace, notes):
    told = requests.post(
        url(workspace, "/external/diary"),
        json={"jsonrpc": "2.0", "method": "notifications/initialized"},
        headers={"Authorization": f"Bearer {workspace.token('alice', scopes=EVERYTHING)}"},
        timeout=60,
    )
    assert (told.status_code, told.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_what_the_service_behind_a_connection_refuses_comes_through(workspace, notes):
    refused = post(workspace, "alice", "/external/wrong", "tools/list")
    assert (refused.status_code, refused.text) == (403, "who are you?")
    assert post(workspace, "alice", "/external/gone", "tools/list").status_code == 502


def test_the_session_of_an_external_server_is_the_clients(workspace, notes):
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    opened = post(workspace, "alice", EXTERNAL, "initialize", hello)
    session = {"Mcp-Session-Id": opened.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-06-18"}
    session["Authorization"] = f"Bearer {workspace.token('alice', scopes=EVERYTHING)}"
    session["Accept"] = "application/json, text/event-stream"
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert requests.post(url(workspace, EXTERNAL), json=ready, headers=session, timeout=60).status_code == 202
    assert "add" in post(workspace, "alice", EXTERNAL, "tools/list", headers=session).text
    assert requests.get(url(workspace, EXTERNAL), headers=session, timeout=60).status_code == 405
    assert requests.delete(url(workspace, EXTERNAL), headers=session, timeout=60).status_code == 200
    assert post(workspace, "alice", EXTERNAL, "tools/list", headers=session).status_code == 404


@pytest.mark.parametrize(
    ("scope", "status"), [("mcp.external", 200), ("unity-catalog", 200), ("catalog.connections", 403)]
)
def test_an_external_server_asks_for_its_own_scope(workspace, notes, scope, status):
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    assert post(workspace, "alice", EXTERNAL, "initialize", hello, scopes=[scope]).status_code == status


# ---------------------------------------------------------------------------------------------- the other clients


def test_the_openai_toolkit_runs_tools_and_loses_the_error_flag(workspace):
    openai = pytest.importorskip("databricks_openai")
    if not hasattr(mcp_types().Tool, "inputSchema") and "inputSchema" not in mcp_types().Tool.model_fields:
        pytest.skip("McpServerToolkit reads Tool.inputSchema, which mcp 2.x has renamed")

    def tools(user):
        toolkit = openai.McpServerToolkit.from_vector_search(
            "main", "support", name="docs", workspace_client=client(workspace, user)
        )
        return {tool.name: tool for tool in toolkit.get_tools()}

    alice = tools("alice")
    assert list(alice) == [f"docs__{name}" for name in TOOLS[SCHEMA]]
    assert alice[f"docs__{SEARCH}"].spec["function"]["parameters"]["required"] == ["query"]
    assert "How to ask for a refund" in alice[f"docs__{SEARCH}"].execute(query="refund")
    assert list(tools("bob")) == ["docs__main__support__faq"]
    assert tools("carol") == {}

    price = openai.McpServerToolkit.from_uc_function(
        "main", "support", "price", workspace_client=client(workspace, "bob")
    )
    assert json.loads(price.get_tools()[0].execute(amount=8))["rows"] == [[8.0]]

    genie = openai.McpServerToolkit(url(workspace, GENIE), workspace_client=client(workspace, "bob"))
    assert "User must have SELECT" in genie.get_tools()[0].execute(query=HOW_MANY)
    with pytest.raises(ValueError, match="Error listing tools"):
        openai.McpServerToolkit(url(workspace, GENIE), workspace_client=client(workspace, "carol")).get_tools()
    assert seen(workspace, "bob", ASK) == [(200, "missing grant")]
    assert {record.status for record in workspace.log.filter(user="carol", path="/api/2.0/mcp/genie")} == {404}


def mcp_types():
    from mcp import types

    return types


async def test_the_server_of_the_agents_sdk_lists_and_calls(workspace, notes):
    agents = pytest.importorskip("databricks_openai.agents", exc_type=ImportError, reason="needs mcp 1.x")
    from agents.exceptions import UserError

    def server(user, path=GENIE):
        return agents.McpServer(url=url(workspace, path), workspace_client=client(workspace, user))

    async with server("alice") as alice:
        assert [tool.name for tool in await alice.list_tools()] == TOOLS[GENIE]
        assert data(await alice.call_tool(ASK, {"query": HOW_MANY}))["status"] == "COMPLETED"
    async with server("alice", INDEX) as alice:
        found = data(await alice.call_tool(SEARCH, {"query": "refund"}, meta={"num_results": 1, "columns": "topic"}))
        assert len(found) == 1
        assert list(found[0]) == ["topic"]
    async with server("alice", EXTERNAL) as alice:
        assert [tool.name for tool in await alice.list_tools()] == ["add"]
        assert (await alice.call_tool("add", {"note": "tea"})).content[0].text == "added: tea"
    async with server("bob") as bob:
        assert failed(await bob.call_tool(ASK, {"query": HOW_MANY}))
    with pytest.raises(Exception, match="Session terminated"):
        await server("carol").connect()
    with pytest.raises(UserError, match="HTTP error 403"):
        await server("carol", INDEX).connect()
    assert seen(workspace, "alice", ASK) == [(200, "allowed")]
    assert seen(workspace, "bob", ASK) == [(200, "missing grant")]
    assert {record.decision for record in workspace.log.filter(user="carol", method="POST")} == {"missing grant"}


async def test_the_langchain_client_makes_tools_of_several_servers(workspace, notes):
    langchain = pytest.importorskip("databricks_langchain", exc_type=ImportError, reason="needs mcp 1.x")

    def several(user, *paths):
        return langchain.DatabricksMultiServerMCPClient(
            [
                langchain.DatabricksMCPServer(
                    name=path.replace("/", "-"), url=url(workspace, path), workspace_client=client(workspace, user)
                )
                for path in paths
            ]
        )

    tools = {tool.name: tool for tool in await several("alice", *TOOLS, EXTERNAL).get_tools()}
    assert sorted(tools) == sorted({"add"}.union(*TOOLS.values()))
    assert "COMPLETED" in str(await tools[ASK].ainvoke({"query": HOW_MANY}))
    assert "15.0" in str(await tools["main__support__price"].ainvoke({"amount": 20, "discount": 0.25}))
    assert "added: tea" in str(await tools["add"].ainvoke({"note": "tea"}))

    tools = {tool.name: tool for tool in await several("bob", GENIE, SQL, SCHEMA).get_tools()}
    assert SEARCH not in tools
    request = {"name": ASK, "args": {"query": HOW_MANY}, "id": "1", "type": "tool_call"}
    message = await tools[ASK].ainvoke(request)
    assert message.status == "error"
    assert "User must have SELECT" in str(message.content)

    with pytest.raises(BaseException) as caught:
        await several("carol", GENIE).get_tools()
    assert "Session terminated" in str(leaf(caught.value))
    assert seen(workspace, "alice", ASK) == [(200, "allowed")]
    assert seen(workspace, "bob", ASK) == [(200, "missing grant")]
    assert {record.status for record in workspace.log.filter(user="carol", method="POST")} == {404}


def test_the_client_of_a_session_asks_as_its_user(workspace):
    from obo_kit import user_session

    with workspace.as_app() as app, user_session(headers=app.headers("bob", scopes=["genie"])) as session:
        genie = databricks_mcp.DatabricksMCPClient(url(workspace, GENIE), session.client)
        assert failed(genie.call_tool(ASK, {"query": HOW_MANY}))
    assert seen(workspace, "bob", ASK) == [(200, "missing grant")]
    assert workspace.log.filter(user="bob", mcp_tool=ASK)[0].scopes_held >= {"genie"}


# ---------------------------------------------------------------------------------------------- tokens and scopes


@pytest.mark.parametrize(
    ("server", "scope", "other"),
    [
        (GENIE, "genie", "sql"),
        (GENIE, "mcp.genie", "mcp.sql"),
        (SCHEMA, "vector-search", "genie"),
        (INDEX, "ai-search", "mcp.functions"),
        (SQL, "sql", "ai-search"),
        (SQL, "mcp.sql", "mcp.genie"),
        (FUNCTIONS, "mcp.functions", "sql"),
        (FUNCTIONS, "unity-catalog", "mcp.external"),
    ],
)
def test_each_address_asks_for_its_own_scope(workspace, server, scope, other):
    assert len(mcp_client(workspace, "alice", server, scopes=[scope]).list_tools()) == len(TOOLS[server])
    workspace.log.clear()
    refused = post(workspace, "alice", server, "tools/list", scopes=[other])
    assert refused.status_code == 403
    assert "does not have required scopes" in refused.json()["message"]
    assert [record.decision for record in workspace.log] == ["missing scope"]


def test_no_token_and_an_expired_one_get_the_answers_of_the_platform(workspace):
    anonymous = requests.post(url(workspace, SQL), json={}, timeout=60)
    assert (anonymous.status_code, anonymous.headers["WWW-Authenticate"]) == (401, 'Bearer realm="DatabricksRealm"')
    with pytest.raises(BaseException) as caught:
        mcp_client(workspace, "alice", SCHEMA, expires_in=-1).list_tools()
    assert leaf(caught.value) is not caught.value
    decisions = {(record.user, record.decision) for record in workspace.log.filter(method="POST")}
    assert decisions == {(None, "no credential"), ("alice", "expired token")}


def test_the_server_is_not_told_the_token(workspace, monkeypatch):
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    told = []
    serve = StreamableHTTPSessionManager.handle_request

    async def spy(manager, scope, receive, send):
        told.append(scope["headers"])
        await serve(manager, scope, receive, send)

    monkeypatch.setattr(StreamableHTTPSessionManager, "handle_request", spy)
    assert post(workspace, "alice", SQL, "tools/list", headers={"Cookie": "local_user=alice"}).status_code == 200
    names = {name for name, _ in told[0]}
    assert b"accept" in names
    assert not names & {b"authorization", b"cookie"}


# ---------------------------------------------------------------------------------------------- _meta


def test_a_search_obeys_its_meta_parameters(workspace):
    result = call(
        workspace,
        "alice",
        INDEX,
        SEARCH,
        {"query": "refund"},
        columns="id, topic",
        num_results=1,
        filters='{"topic": "delivery"}',
        query_type="HYBRID",
        include_score=True,
        score_threshold="0.0",
    )
    [row] = json.loads(result["content"][0]["text"])
    assert (row["id"], row["topic"], sorted(row)) == ("a3", "delivery", ["id", "score", "topic"])


@pytest.mark.parametrize(
    "meta",
    [
        {"num_results": "many"},
        {"num_results": 0},
        {"num_results": []},
        {"score_threshold": "high"},
        {"query_type": "GUESS"},
        {"filters": "{"},
        {"columns": "id,nothing"},
        {"columns_to_rerank": "text"},
    ],
)
def test_a_meta_parameter_that_makes_no_sense_is_an_error_result(workspace, meta):
    result = call(workspace, "alice", INDEX, SEARCH, {"query": "refund"}, **meta)
    assert result["isError"]
    assert result["structuredContent"]["error"]["code"] == "INVALID_PARAMETER_VALUE"
    assert seen(workspace, "alice", SEARCH) == [(200, "bad request")]


def test_sql_runs_on_the_warehouse_that_meta_names(workspace):
    query = {"query": "SELECT 1 AS one"}
    assert not call(workspace, "alice", SQL, "execute_sql", query, warehouse_id="wh2")["isError"]
    missing = call(workspace, "alice", SQL, "execute_sql", query, warehouse_id="nowhere")
    refused = call(workspace, "carol", SQL, "execute_sql", query, warehouse_id="wh2")
    assert missing["structuredContent"]["error"]["code"] == "RESOURCE_DOES_NOT_EXIST"
    assert refused["structuredContent"]["error"]["code"] == "PERMISSION_DENIED"
    assert refused["content"][0]["text"].count("PERMISSION_DENIED") == 1


def test_a_statement_is_polled_by_who_ran_it(workspace):
    ran = call(workspace, "alice", SQL, "execute_sql", ALL_TICKETS)["structuredContent"]
    polled = call(workspace, "alice", SQL, "poll_sql_result", {"statement_id": ran["statement_id"]})
    assert polled["structuredContent"] == ran
    assert call(workspace, "bob", SQL, "poll_sql_result", {"statement_id": ran["statement_id"]})["isError"]
    assert seen(workspace, "bob", "poll_sql_result") == [(200, "not found")]


def test_a_long_result_says_that_it_is_cut(workspace):
    ran = call(workspace, "alice", SQL, "execute_sql", {"query": "SELECT * FROM range(1500)"})["structuredContent"]
    assert ran["manifest"]["truncated"]
    assert ran["result"]["row_count"] == len(ran["result"]["data_array"]) == 1000


# ---------------------------------------------------------------------------------------------- bad requests


@pytest.mark.parametrize(
    ("server", "tool"),
    [
        (SQL, "drop_everything"),
        (GENIE, "genie_ask"),
        (GENIE, "query_space_space2"),
        (SCHEMA, "main__support__nothing"),
        (SCHEMA, "main__other__articles"),
        (SCHEMA, "main__support__"),
        (SCHEMA, "main__support__a/b"),
        (INDEX, "main__support__faq"),
        (FUNCTIONS, "main__support__nothing"),
        (FUNCTION, "main__support__count_tickets"),
    ],
)
def test_a_tool_that_does_not_exist_is_an_error_of_the_protocol(workspace, server, tool):
    answer = post(workspace, "alice", server, params={"name": tool, "arguments": {"query": "x"}}).json()
    assert answer["error"] == {"code": -32602, "message": f"BAD_REQUEST: Tool {tool} does not exist"}
    assert seen(workspace, "alice", tool) == [(200, "not found")]


@pytest.mark.parametrize(
    ("server", "tool", "arguments"),
    [
        (SQL, "execute_sql", {}),
        (SQL, "execute_sql", {"query": 1}),
        (SQL, "poll_sql_result", {"statement_id": ""}),
        (GENIE, ASK, {"question": HOW_MANY}),
        (GENIE, ASK, {"query": HOW_MANY, "conversation_id": 7}),
        (GENIE, POLL, {"conversation_id": "c"}),
        (INDEX, SEARCH, {"query_text": "refund"}),
    ],
)
def test_wrong_arguments_are_an_error_result(workspace, server, tool, arguments):
    result = call(workspace, "alice", server, tool, arguments)
    assert result["isError"]
    assert "must be a non-empty string" in result["content"][0]["text"]
    assert seen(workspace, "alice", tool) == [(200, "bad request")]


def test_what_is_no_mcp_is_refused_without_harm(workspace, no_finalizers):
    headers = {
        "Authorization": f"Bearer {workspace.token('alice', scopes=EVERYTHING)}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
    }
    address = url(workspace, SQL)
    hello = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answers = {
        "not json": requests.post(address, data=b"{", headers=headers, timeout=60),
        "too deep": requests.post(address, data=b"[" * 100_000, headers=headers, timeout=60),
        "a list": requests.post(address, json=[hello], headers=headers, timeout=60),
        "no message": requests.post(address, json={"hello": "there"}, headers=headers, timeout=60),
        "no params": requests.post(address, json={**hello, "method": "tools/call"}, headers=headers, timeout=60),
        "odd params": requests.post(
            address, json={**hello, "method": "tools/call", "params": [1]}, headers=headers, timeout=60
        ),
        "odd name": requests.post(
            address, json={**hello, "method": "tools/call", "params": {"name": 3}}, headers=headers, timeout=60
        ),
        "no such method": requests.post(address, json={**hello, "method": "tools/burn"}, headers=headers, timeout=60),
        "wants html": requests.post(address, json=hello, headers={**headers, "Accept": "text/html"}, timeout=60),
        "get": requests.get(address, headers=headers, timeout=60),
        "delete": requests.delete(address, headers=headers, timeout=60),
        "no such server": requests.post(
            f"{workspace.host}/api/2.0/mcp/nothing", json=hello, headers=headers, timeout=60
        ),
    }
    assert {name: answer.status_code for name, answer in answers.items() if answer.status_code >= 500} == {}
    assert all(answer.status_code >= 400 or "error" in answer.json() for answer in answers.values()), answers
    refused = {name: set(answer.json()) for name, answer in answers.items() if answer.status_code >= 400}
    # A message of the protocol is answered in it, anything else as the platform's other APIs do.
    spoken = {name for name, shape in refused.items() if shape == {"jsonrpc", "id", "error"}}
    assert {"wants html"} <= spoken <= {"wants html", "no params", "odd params", "odd name", "no such method"}
    assert all(shape == {"error_code", "message"} for name, shape in refused.items() if name not in spoken)
    assert (answers["get"].status_code, answers["get"].headers["Allow"]) == (405, "POST")
    assert {record.decision for record in workspace.log} == {"bad request", "not found"}
    assert post(workspace, "alice", SQL, "tools/list").status_code == 200


def test_faults_come_before_the_server(workspace):
    workspace.add_fault(status=503, path_prefix="/api/2.0/mcp/sql", user="alice")
    assert post(workspace, "alice", SQL, "tools/list").status_code == 503
    assert post(workspace, "alice", SQL, "tools/list").status_code == 200


def test_a_bug_in_a_tool_is_logged_and_leaves_the_server_running(workspace, monkeypatch, caplog):
    from obo_kit.testing.mcp._tools import SqlTools

    async def broken(*_arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(SqlTools, "run", broken)  # a bug of our own cannot be had otherwise
    answer = post(workspace, "alice", SQL, params={"name": "execute_sql"})
    assert "error" in answer.json()
    assert seen(workspace, "alice", "execute_sql") == [(answer.status_code, "fault")]
    assert "failed to run the tool execute_sql" in caplog.text
    monkeypatch.undo()
    assert post(workspace, "alice", SQL, "tools/list").status_code == 200


# ---------------------------------------------------------------------------------------------- life


def test_many_users_at_once_are_each_themselves(workspace):
    def whoami(number: int) -> tuple[str, str]:
        user = ("alice", "bob")[number % 2]
        ran = call(workspace, user, SQL, "execute_sql", {"query": "SELECT current_user()"})["structuredContent"]
        return user, ran["result"]["data_array"][0]["values"][0]["string_value"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(whoami, range(64)))
    assert all(name == f"{user}@example.com" for user, name in answers)
    assert len(seen(workspace, "alice", "execute_sql")) == len(seen(workspace, "bob", "execute_sql")) == 32


def test_the_log_prints_the_tool(workspace):
    call(workspace, "alice", SQL, "execute_sql", ALL_TICKETS)
    assert "/api/2.0/mcp/sql execute_sql " in workspace.log.table()


def test_a_stopped_workspace_leaves_nothing_of_mcp_behind(caplog):
    before = set(threading.enumerate())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            with LocalWorkspace() as workspace:
                workspace.add_user("alice")
                workspace.add_warehouse("wh1")
                workspace.grant("alice", "CAN USE", "wh1")
                slow = {"query": "SELECT count(*) FROM range(100000000) a, range(1000000) b"}
                with ThreadPoolExecutor(1) as pool:
                    cut = pool.submit(post, workspace, "alice", SQL, params={"name": "execute_sql", "arguments": slow})
                    assert not call(workspace, "alice", SQL, "execute_sql", {"query": "SELECT 1"})["isError"]
                    while not workspace._warehouses._statements:  # until the slow one runs as well
                        time.sleep(0.01)
                    time.sleep(0.1)
                    started = time.perf_counter()
                    workspace.stop()
                    assert time.perf_counter() - started < 15  # the statement would take hours
                    assert isinstance(cut.exception(), requests.ConnectionError)
        gc.collect()
    deadline = time.monotonic() + 20
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert set(threading.enumerate()) <= before
    ours = [warning for warning in caught if "socket" not in str(warning.message)]
    assert [str(warning.message) for warning in ours] == []
    assert "Task was destroyed" not in caplog.text
    assert "failed to answer" not in caplog.text


_LAZY = """
import sys, time
import obo_kit.testing
from obo_kit.testing import LocalWorkspace
with LocalWorkspace() as workspace:
    workspace.add_user("alice")
    assert "mcp" not in sys.modules, "loaded by the start"
    import requests
    token = workspace.token("alice", scopes=["all-apis"])
    requests.get(workspace.host + "/api/2.0/sql/warehouses", headers={"Authorization": "Bearer " + token})
    assert "mcp" not in sys.modules, "loaded by another request"
    answer = requests.post(
        workspace.host + "/api/2.0/mcp/sql",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        headers={"Authorization": "Bearer " + token, "Accept": "application/json, text/event-stream"},
    )
    assert len(answer.json()["result"]["tools"]) == 3
    assert "mcp" in sys.modules
"""


def test_mcp_is_loaded_by_the_first_request_for_it():
    subprocess.run([sys.executable, "-c", _LAZY], check=True)


@has_async_client
async def test_the_event_loop_of_a_client_is_free_while_others_ask(workspace):
    alice = mcp_client(workspace, "alice", SQL)
    results = await asyncio.gather(*(alice.acall_tool("execute_sql", {"query": f"SELECT {n}"}) for n in range(8)))
    values = [data(result)["result"]["data_array"][0]["values"][0]["string_value"] for result in results]
    assert values == [str(number) for number in range(8)]
