"""Functions, connections and tables of Unity Catalog, as alice (may), bob (may execute only) and carol (may nothing)."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from databricks.sdk.errors import (
    BadRequest,
    DatabricksError,
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from databricks.sdk.service.serving import ExternalFunctionRequestHttpMethod
from databricks.sdk.service.sql import StatementParameterListItem, StatementState
from support import client, last, rows, sql

from obo_kit import DenialReason, explain
from obo_kit.testing import LocalWorkspace

ORDERS = [
    {"id": number, "region": region, "amount": number * 1.5, "buyer": buyer}
    for number, (region, buyer) in enumerate([("EU", "alice"), ("US", "bob"), ("EU", "bob"), ("EU", "carol")], 1)
]


# ---------------------------------------------------------------------------------------------- functions


@pytest.fixture(scope="module")
def shop():
    with LocalWorkspace() as workspace:
        for user, groups in (("alice", ["managers"]), ("bob", []), ("carol", [])):
            workspace.add_user(user, groups=groups)
            workspace.add_warehouse(f"wh-{user}")
        workspace.add_warehouse("wh1")
        workspace.grant("users", "CAN USE", "wh1")
        workspace.add_table("main.shop.orders", ORDERS)
        workspace.add_function(
            "main.shop.total",
            "SELECT sum(amount) FROM orders WHERE region = total.region AND amount > at_least",
            parameters={"region": "STRING COMMENT 'The region''s two letters'", "at_least": "DOUBLE DEFAULT 0"},
            returns="DOUBLE",
            comment="Turnover of a region.",
        )
        workspace.add_function("main.shop.twice", "RETURN 2 * total(of)", parameters={"of": "STRING"}, returns="DOUBLE")
        workspace.add_function("main.shop.me", "concat(current_user(), ' ', is_account_group_member('managers'))")
        workspace.add_function(
            "main.shop.bought",
            "SELECT id, amount FROM orders WHERE orders.buyer = bought.buyer ORDER BY id;",
            parameters={"buyer": "STRING"},
            returns="TABLE(order_id BIGINT COMMENT 'Number of the order', paid DECIMAL(10, 2))",
        )
        workspace.grant("alice", "SELECT", "main.shop.orders")
        for user in ("alice", "bob"):
            for function in ("total", "twice", "me", "bought"):
                workspace.grant(user, "EXECUTE", f"main.shop.{function}")
        yield workspace


@pytest.fixture
def workspace(shop):
    shop.log.clear()
    return shop


def test_a_function_reads_what_its_caller_may_not(workspace):
    assert rows(sql(workspace, "bob", "SELECT main.shop.total('EU') AS total")) == [["12.0"]]
    denied = sql(workspace, "bob", "SELECT sum(amount) FROM main.shop.orders")
    assert denied.status.error.message.endswith("SQLSTATE: 42501")
    assert (last(workspace).user, last(workspace).decision) == ("bob", "missing grant")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT main.shop.total('EU', 2)", [["10.5"]]),
        ("SELECT main.shop.total(at_least => 5, region => 'EU')", [["6.0"]]),
        ("SELECT `main`.`shop`.`total`(:region)", [["3.0"]]),
        ("SELECT main.shop.twice('US')", [["6.0"]]),
        ("SELECT main.shop.total(r) FROM (VALUES ('US'), ('EU')) AS v(r) ORDER BY 1", [["3.0"], ["12.0"]]),
        ("SELECT r FROM (VALUES ('US'), ('EU')) AS v(r) WHERE main.shop.total(r) > 4", [["EU"]]),
        ("SELECT main.shop.total(region) FROM (SELECT 'US' AS region)", [["3.0"]]),
        ("SELECT total('US')", [["3.0"]]),
        ("SELECT main.shop.total(NULL)", [[None]]),
        ("SELECT * FROM main.shop.bought('bob')", [["2", "3.00"], ["3", "4.50"]]),
        ("SELECT b.paid FROM main.shop.bought('bob') AS b WHERE b.order_id = 3", [["4.50"]]),
        ("SELECT paid FROM TABLE(main.shop.bought(buyer => 'bob')) WHERE order_id = 3", [["4.50"]]),
        ("SELECT b.paid FROM TABLE(bought('bob')) b ORDER BY 1", [["3.00"], ["4.50"]]),
        (
            "SELECT v.n, bought.paid FROM VALUES ('bob') AS v(n), LATERAL bought(v.n) ORDER BY 2",
            [["bob", "3.00"], ["bob", "4.50"]],
        ),
        (
            "SELECT v.n, b.paid FROM VALUES ('nobody') AS v(n) LEFT JOIN LATERAL TABLE(main.shop.bought(v.n)) AS b ON true",
            [["nobody", None]],
        ),
    ],
)
def test_a_function_is_called_as_in_databricks(workspace, statement, expected):
    parameters = [StatementParameterListItem(name="region", value="US")]
    answer = sql(workspace, "bob", statement, catalog="main", schema="shop", parameters=parameters)
    assert rows(answer) == expected


def test_results_have_the_declared_types_and_plain_names(workspace):
    answer = sql(workspace, "bob", "SELECT main.shop.total('EU')")
    assert [(each.name, each.type_text) for each in answer.manifest.schema.columns] == [
        ("main.shop.total(EU)", "DOUBLE")
    ]
    answer = sql(workspace, "bob", "SELECT * FROM main.shop.bought('bob')")
    assert [(each.name, each.type_text) for each in answer.manifest.schema.columns] == [
        ("order_id", "BIGINT"),
        ("paid", "DECIMAL(10,2)"),
    ]


def test_a_function_knows_who_calls_it(workspace):
    assert rows(sql(workspace, "alice", "SELECT main.shop.me()")) == [["alice@example.com true"]]
    assert rows(sql(workspace, "bob", "SELECT main.shop.me()")) == [["bob@example.com false"]]


def test_without_execute_a_statement_fails_as_the_platform_says_it(workspace):
    for statement in (
        "SELECT main.shop.total('EU')",
        "SELECT * FROM main.shop.bought('bob')",
        "SELECT * FROM TABLE(main.shop.bought('bob'))",
        "SELECT * FROM VALUES ('bob') AS v(n), LATERAL main.shop.bought(v.n)",
    ):
        answer = sql(workspace, "carol", statement)
        assert answer.status.state is StatementState.FAILED
        assert "[INSUFFICIENT_PERMISSIONS]" in answer.status.error.message
        assert "User does not have EXECUTE on Routine 'main.shop." in answer.status.error.message
        assert (last(workspace).user, last(workspace).decision) == ("carol", "missing grant")


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("SELECT main.shop.nothing('EU')", "[UNRESOLVED_ROUTINE] Cannot resolve routine `main`.`shop`.`nothing`."),
        ("SELECT nothing('EU')", "[UNRESOLVED_ROUTINE] Cannot resolve routine `nothing`."),
        (
            "SELECT * FROM main.shop.nothing('EU')",
            "[UNRESOLVED_ROUTINE] Cannot resolve routine `main`.`shop`.`nothing`.",
        ),
        ("SELECT * FROM nothing('EU')", "[UNRESOLVABLE_TABLE_VALUED_FUNCTION] Could not resolve `nothing`"),
        ("SELECT main.shop.total()", "[WRONG_NUM_ARGS]"),
        ("SELECT main.shop.total('EU', 'much')", "[CAST_INVALID_INPUT]"),
    ],
)
def test_a_call_that_does_not_fit_is_a_failed_statement(workspace, statement, text):
    answer = sql(workspace, "bob", statement)
    assert answer.status.state is StatementState.FAILED
    assert answer.status.error.message.startswith(text)
    assert "uc " not in answer.status.error.message


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM duckdb_tables()",
        "SELECT * FROM duckdb_tables",
        "SELECT * FROM duckdb_functions()",
        "WITH duckdb_tables AS (SELECT * FROM duckdb_tables) SELECT * FROM duckdb_tables",
        "WITH duckdb_tables AS MATERIALIZED (SELECT * FROM duckdb_tables) SELECT * FROM duckdb_tables",
        "WITH a AS (SELECT * FROM duckdb_tables), duckdb_tables AS (SELECT 1) SELECT * FROM a",
        "SELECT * FROM duckdb_tables, (WITH duckdb_tables AS (SELECT 1) SELECT * FROM duckdb_tables)",
        "SELECT (WITH sqlite_master AS (SELECT 1) SELECT 1), name FROM sqlite_master",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('orders')",
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
        "SELECT * FROM pragma_database_list()",
        "SHOW ALL TABLES",
    ],
)
def test_no_statement_lists_or_reads_what_functions_read(workspace, statement):
    answer = sql(workspace, "bob", statement)
    assert answer.status.state is StatementState.FAILED
    assert "own " not in answer.status.error.message


def test_a_with_name_hides_a_table_where_it_counts_and_nowhere_else(workspace):
    assert rows(sql(workspace, "alice", "WITH orders AS (SELECT 7 AS id) SELECT id FROM orders")) == [["7"]]
    nested = "WITH orders AS (SELECT count(*) AS n FROM orders) SELECT n FROM orders"
    assert rows(sql(workspace, "alice", nested, catalog="main", schema="shop")) == [["4"]]
    recursive = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT count(*) FROM t"
    assert rows(sql(workspace, "alice", recursive)) == [["3"]]


def test_the_metadata_of_a_function(workspace):
    found = client(workspace, "bob", scopes=["unity-catalog"]).functions.get("main.shop.total")
    assert (found.full_name, found.comment) == ("main.shop.total", "Turnover of a region.")
    assert (found.data_type.value, found.routine_body.value, found.security_type.value) == ("DOUBLE", "SQL", "DEFINER")
    region, at_least = found.input_params.parameters
    assert (region.name, region.type_name.value, region.comment) == ("region", "STRING", "The region's two letters")
    assert json.loads(at_least.type_json)["type"] == "double"
    assert (at_least.parameter_default, at_least.position) == ("0", 1)

    table = client(workspace, "bob").functions.get("main.shop.bought")
    assert (table.data_type.value, [each.name for each in table.return_params.parameters]) == (
        "TABLE_TYPE",
        ["order_id", "paid"],
    )


def test_functions_are_listed_to_those_who_may_execute_them(workspace):
    names = [each.name for each in client(workspace, "bob").functions.list("main", "shop")]
    assert names == ["bought", "me", "total", "twice"]
    assert list(client(workspace, "carol").functions.list("main", "shop")) == []
    assert list(client(workspace, "bob").functions.list("main", "elsewhere")) == []
    assert [each.name for each in client(workspace, "bob").functions.list("main", "shop", max_results=3)] == names


def test_metadata_of_functions_needs_scope_then_grant(workspace):
    with pytest.raises(PermissionDenied, match="required scopes: unity-catalog"):
        client(workspace, "bob", scopes=["sql"]).functions.get("main.shop.total")
    assert last(workspace).decision == "missing scope"
    with pytest.raises(PermissionDenied, match=r"User does not have EXECUTE on Routine 'main\.shop\.total'\."):
        client(workspace, "carol").functions.get("main.shop.total")
    assert (last(workspace).user, last(workspace).decision) == ("carol", "missing grant")
    with pytest.raises(NotFound, match="does not exist"):
        client(workspace, "bob").functions.get("main.shop.nothing")
    with pytest.raises(InvalidParameterValue):
        client(workspace, "bob").api_client.do(
            "GET", "/api/2.1/unity-catalog/functions", query={"catalog_name": "main"}
        )
    with pytest.raises(InvalidParameterValue, match="page_token"):
        client(workspace, "bob").api_client.do(
            "GET",
            "/api/2.1/unity-catalog/functions",
            query={"catalog_name": "main", "schema_name": "shop", "page_token": "x"},
        )


def test_a_function_is_executed_for_a_caller_without_a_warehouse(workspace):
    functions, bob = workspace._functions, workspace._directory.find("bob")
    outcome = functions.execute(bob, "main.shop.total", {"region": "EU", "at_least": 2})
    assert ([each.name for each in outcome.columns], outcome.rows) == (["output"], (("10.5",),))
    assert functions.execute(bob, "main.shop.bought", {"buyer": "carol"}).rows == (("4", "6.00"),)
    assert [each.name for each in functions.executable(bob, "main", "shop")][:2] == ["main.shop.bought", "main.shop.me"]

    from obo_kit.testing._refusals import RefusedError

    for arguments in ({}, {"region": "EU", "nothing": 1}):
        with pytest.raises(RefusedError, match="parameter"):
            functions.execute(bob, "main.shop.total", arguments)
    with pytest.raises(RefusedError, match="EXECUTE"):
        functions.execute(workspace._directory.find("carol"), "main.shop.total", {"region": "EU"})


def test_the_toolkit_of_unity_catalog_makes_tools_of_functions(workspace):
    core = pytest.importorskip("unitycatalog.ai.core.databricks", reason="unitycatalog-ai is an optional extra")
    toolkit = pytest.importorskip("unitycatalog.ai.langchain.toolkit", reason="its LangChain part is one too")
    # The mode that needs no Spark; SQL functions do not run in it, and Spark needs a cluster.
    functions = core.DatabricksFunctionClient(client(workspace, "bob"), execution_mode="local")
    (tool,) = toolkit.UCFunctionToolkit(function_names=["main.shop.total"], client=functions).tools
    assert (tool.name, tool.description) == ("main__shop__total", "Turnover of a region.")
    assert set(tool.args) == {"region", "at_least"}
    assert {record.user for record in workspace.log if "functions" in record.path} == {"bob"}

    # The statement that the toolkit would run, on a warehouse.
    command = core.get_execute_function_sql_command(functions.get_function("main.shop.total"), {"region": "EU"})
    parameters = [StatementParameterListItem(name=name, value=value) for name, value in command.args.items()]
    assert rows(sql(workspace, "bob", command.sql_query, parameters=parameters)) == [["12.0"]]

    denied = core.DatabricksFunctionClient(client(workspace, "carol"), execution_mode="local")
    with pytest.raises(PermissionError, match="EXECUTE on Routine"):
        toolkit.UCFunctionToolkit(function_names=["main.shop.total"], client=denied)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("main.shop.total", "1"), "already a function"),
        (("total", "1"), "three parts"),
        (("main.shop.new", " ; "), "needs a body"),
        (("main.shop.new", "1 +"), "cannot be read"),
        (("main.shop.new", "(SELECT 1 FROM absent)"), "names 'main.shop.absent', which does not exist yet"),
        (("main.shop.new", "main.shop.new()"), "names 'main.shop.new', which does not exist yet"),
        (("main.shop.new", "nothing(1)"), "does not fit"),
        (("main.shop.new", "(SELECT nothing FROM orders)"), "does not fit"),
        (("main.shop.new", "1", {"a": "TEXTUAL"}), "not a SQL type"),
        (("main.shop.new", "1", {"a b": "INT"}), "plain name"),
        (("main.shop.new", "1", {"a": ""}), "SQL type"),
    ],
)
def test_a_function_that_cannot_work_is_refused_when_it_is_added(workspace, arguments, text):
    name, body, *parameters = arguments
    with pytest.raises(ValueError, match=text):
        workspace.add_function(name, body, parameters=parameters[0] if parameters else None)
    assert rows(sql(workspace, "bob", "SELECT main.shop.total('US')")) == [["3.0"]]


def test_arrays_and_functions_that_refuse_nulls():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_warehouse("wh1")
        workspace.grant("alice", "CAN USE", "wh1")
        with pytest.raises(ValueError, match="does not fit"):
            workspace.add_function("main.s.size", "length_of(items)", parameters={"items": "ARRAY<INT>"}, returns="INT")
        workspace.add_function("main.s.size", "size(items)", parameters={"items": "ARRAY<INT>"}, returns="INT")
        workspace.add_function(
            "main.s.strict", "CASE WHEN a IS NULL THEN raise_error('no') ELSE a END", parameters={"a": "INT"}
        )
        for name in ("size", "strict"):
            workspace.grant("alice", "EXECUTE", f"main.s.{name}")
        assert rows(sql(workspace, "alice", "SELECT main.s.size(array(1, 2)), main.s.strict(5)")) == [["2", "5"]]
        described = client(workspace, "alice").functions.get("main.s.size").input_params.parameters[0]
        assert json.loads(described.type_json)["type"] == {
            "type": "array",
            "elementType": "integer",
            "containsNull": True,
        }
        outcome = workspace._functions.execute(workspace._directory.find("alice"), "main.s.size", {"items": [1, 2, 3]})
        assert outcome.rows == (("3",),)


# ---------------------------------------------------------------------------------------------- connections


class _Echo(BaseHTTPRequestHandler):
    """A service that says what it was asked, and obeys in the status it answers with."""

    def _answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        asked = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": self.rfile.read(length).decode(),
        }
        self.server.asked.append(asked)
        status = int(self.path.partition("/status/")[2] or 200)
        body = json.dumps(asked).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Mcp-Session-Id", "s1")
        self.send_header("Set-Cookie", "secret=of-the-service")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def service():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        server.asked = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.fixture(scope="module")
def connected(service):
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_connection("crm", f"{service.url}/v1/", headers={"Authorization": "Bearer of-the-crm"})
        workspace.add_connection("github", service.url, login=True, comment="Issues")
        workspace.add_connection("nowhere", "http://127.0.0.1:1")
        workspace.add_connection("open", service.url)
        workspace.grant("alice", "USE CONNECTION", "open")
        for user in ("alice", "bob"):
            for name in ("crm", "github", "nowhere"):
                workspace.grant(user, "USE CONNECTION", name)
        workspace.log_in("alice", "github", headers={"Authorization": "Bearer alice-at-github"})
        yield workspace


@pytest.fixture
def links(connected, service):
    connected.log.clear()
    service.asked.clear()
    return connected


PAIR = ("catalog.connections", "model-serving")


def ask(workspace, user, connection="crm", path="/items", method=ExternalFunctionRequestHttpMethod.GET, **kwargs):
    serving = client(workspace, user, scopes=PAIR).serving_endpoints
    return serving.http_request(connection, method, path, **kwargs)


def test_http_request_reaches_the_service_with_the_credentials_of_the_connection(links, service):
    answer = ask(
        links,
        "alice",
        method=ExternalFunctionRequestHttpMethod.POST,
        headers={"X-Trace": "1", "Authorization": "Bearer of-the-model"},
        json={"name": "tea"},
        params={"limit": 3},
    )
    assert answer.json()["path"] == "/v1/items?limit=3"
    assert answer.headers["mcp-session-id"] == "s1"
    (asked,) = service.asked
    assert (asked["method"], json.loads(asked["body"])) == ("POST", {"name": "tea"})
    assert asked["headers"]["authorization"] == "Bearer of-the-crm"
    assert (asked["headers"]["x-trace"], asked["headers"]["content-type"]) == ("1", "application/json")
    assert (last(links).user, last(links).path, last(links).decision) == (
        "alice",
        "/api/2.0/external-function",
        "allowed",
    )


def test_each_user_is_themselves_at_a_service_they_log_in_to(links, service):
    links.log_in("bob", "github", headers={"Authorization": "Bearer bob-at-github"})
    for user in ("alice", "bob"):
        asked = ask(links, user, "github").json()
        assert asked["headers"]["authorization"] == f"Bearer {user}-at-github"
    links.log_out("bob", "github")
    assert len(service.asked) == 2


def test_who_has_not_logged_in_is_told_where_to(links, service):
    with pytest.raises(Unauthenticated) as caught:
        ask(links, "bob", "github")
    assert caught.value.error_code == "UNAUTHENTICATED"
    assert "Credential for user identity('" in str(caught.value)
    link = f"{links.host}/explore/connections/github"
    text = f"is not found for the connection 'github'. Please login first to the connection by visiting {link}"
    assert text in str(caught.value)
    assert (last(links).user, last(links).status, last(links).decision) == ("bob", 401, "login required")
    assert service.asked == []

    denial = explain(caught.value)
    assert (denial.reason, denial.resource) == (DenialReason.LOGIN_REQUIRED, "github")
    assert link not in denial.remedy  # outside of a session nothing says that the host is the workspace's


def test_use_connection_is_needed_and_its_end_counts_at_once(links, service):
    with pytest.raises(PermissionDenied, match="User does not have USE CONNECTION on Connection 'crm'"):
        ask(links, "carol")
    assert (last(links).user, last(links).decision) == ("carol", "missing grant")
    # The grant comes before the login.
    with pytest.raises(PermissionDenied, match="USE CONNECTION"):
        ask(links, "carol", "github")
    links.revoke("alice", "USE CONNECTION", "github")
    with pytest.raises(PermissionDenied, match="USE CONNECTION"):
        ask(links, "alice", "github")
    links.grant("alice", "USE CONNECTION", "github")
    assert service.asked == []
    assert ask(links, "alice", "github").json()["headers"]["authorization"] == "Bearer alice-at-github"
    with pytest.raises(NotFound, match="Connection 'absent' does not exist"):
        ask(links, "alice", "absent")


@pytest.mark.parametrize("scopes", [["catalog.connections"], ["model-serving"], ["mcp.external", "unity-catalog"]])
def test_http_request_needs_both_scopes(links, service, scopes):
    serving = client(links, "alice", scopes=scopes).serving_endpoints
    with pytest.raises(PermissionDenied, match="required scopes"):
        serving.http_request("crm", ExternalFunctionRequestHttpMethod.GET, "/items")
    assert (last(links).decision, service.asked) == ("missing scope", [])


def test_what_the_service_refuses_comes_through(links):
    for status, error in ((404, NotFound), (400, BadRequest)):
        with pytest.raises(error):
            ask(links, "alice", path=f"/status/{status}")
        assert (last(links).status, last(links).decision) == (status, "allowed")


def test_a_service_that_is_not_there_is_a_bad_gateway(links):
    with pytest.raises(DatabricksError, match="The service behind connection 'nowhere' did not answer"):
        ask(links, "alice", "nowhere")
    assert (last(links).status, last(links).decision) == (502, "upstream error")


@pytest.mark.parametrize(
    "body",
    [
        {"connection_name": "crm", "method": "TRACE", "path": "/"},
        {"connection_name": "crm", "method": "GET", "path": "/../secrets"},
        {"connection_name": "crm", "method": "GET", "path": "/%2e%2e/secrets"},
        {"connection_name": "crm", "method": "GET", "path": "/", "headers": "x"},
        {"connection_name": "crm", "method": "GET", "path": "/", "params": "[]"},
        {"connection_name": "crm", "method": "GET", "path": "/", "headers": '{"a": "b\\nc"}'},
        {"connection_name": "crm", "method": "GET", "path": "/", "sub_domain": "eu"},
        {"connection_name": "crm", "method": 7, "path": "/"},
        {"method": "GET", "path": "/"},
    ],
)
def test_a_request_that_is_none_is_refused_and_not_sent(links, service, body):
    with pytest.raises(InvalidParameterValue):
        client(links, "alice").api_client.do("POST", "/api/2.0/external-function", body=body)
    assert service.asked == []


def proxied(workspace, user, method, path, *, scopes=("mcp.external",), **kwargs):
    return requests.request(
        method,
        f"{workspace.host}/api/2.0/unity-catalog/connections{path}",
        headers={"Authorization": f"Bearer {workspace.token(user, scopes=scopes)}", "X-Trace": "1"},
        cookies={"local_user": "alice"},
        timeout=60,
        **kwargs,
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_the_proxy_path_forwards_every_method(links, service, method):
    answer = proxied(links, "alice", method, "/crm/proxy/a/b?q=1", data=b"" if method == "GET" else b"payload")
    assert answer.status_code == 200
    assert (answer.json()["path"], answer.json()["method"]) == ("/v1/a/b?q=1", method)
    (asked,) = service.asked
    assert asked["body"] == ("" if method == "GET" else "payload")
    assert (asked["headers"]["authorization"], asked["headers"]["x-trace"]) == ("Bearer of-the-crm", "1")
    assert "cookie" not in asked["headers"]
    assert "secret" not in answer.headers.get("set-cookie", "")
    assert last(links).user == "alice"


def test_the_callers_token_stays_here(links, service):
    proxied(links, "alice", "GET", "/open/proxy/a")
    ask(links, "alice", "open", headers={"authorization": "Bearer of-the-model"})
    assert len(service.asked) == 2
    assert not any("authorization" in asked["headers"] for asked in service.asked)


def test_the_proxy_path_has_scopes_of_its_own(links, service):
    assert proxied(links, "alice", "GET", "/crm/proxy").json()["path"] == "/v1"
    assert proxied(links, "alice", "GET", "/crm/proxy/status/418").status_code == 418
    service.asked.clear()
    assert "required scopes" in proxied(links, "alice", "GET", "/crm/proxy/a", scopes=PAIR).json()["message"]
    assert "USE CONNECTION" in proxied(links, "carol", "GET", "/crm/proxy/a").json()["message"]
    login = proxied(links, "bob", "GET", "/github/proxy/a")
    assert (login.status_code, login.json()["error_code"]) == (401, "UNAUTHENTICATED")
    assert service.asked == []


def test_the_metadata_of_a_connection_holds_no_credential(links):
    found = client(links, "bob", scopes=["unity-catalog"]).connections.get("crm")
    assert (found.connection_type.value, found.options["base_path"]) == ("HTTP", "/v1")
    assert "of-the-crm" not in json.dumps(found.as_dict())
    assert "of-the-crm" not in repr(links._connections.use(links._directory.find("bob"), "crm"))
    assert [each.name for each in client(links, "bob").connections.list()] == ["crm", "github", "nowhere"]
    assert list(client(links, "carol").connections.list()) == []
    with pytest.raises(PermissionDenied, match="USE CONNECTION"):
        client(links, "carol").connections.get("crm")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "a b", "url": "http://127.0.0.1:1"}, "consists of letters"),
        ({"name": "crm", "url": "http://127.0.0.1:1"}, "another uc connection named"),
        ({"name": "new", "url": "127.0.0.1:1"}, "needs a URL"),
        ({"name": "new", "url": "http://127.0.0.1:1/?q=1"}, "needs a URL"),
        ({"name": "new", "url": "http://127.0.0.1:1", "login": True, "headers": {"a": "b"}}, "pass headers to log_in"),
    ],
)
def test_a_connection_that_cannot_work_is_refused_when_it_is_added(links, arguments, text):
    with pytest.raises(ValueError, match=text):
        links.add_connection(**arguments)


def test_nobody_logs_in_to_a_connection_with_credentials_of_its_own(links):
    with pytest.raises(ValueError, match="they do to: github"):
        links.log_in("alice", "crm")
    with pytest.raises(ValueError, match="No principal"):
        links.log_in("dave", "github")


# ---------------------------------------------------------------------------------------------- tables


def test_tables_are_described_to_those_who_may_select(workspace):
    found = client(workspace, "alice", scopes=["catalog.tables:read"]).tables.get("main.shop.orders")
    assert [(each.name, each.type_text) for each in found.columns] == [
        ("id", "BIGINT"),
        ("region", "STRING"),
        ("amount", "DOUBLE"),
        ("buyer", "STRING"),
    ]
    with pytest.raises(PermissionDenied, match=r"User does not have SELECT on Table 'main\.shop\.orders'\."):
        client(workspace, "bob").tables.get("main.shop.orders")
    assert (last(workspace).user, last(workspace).decision) == ("bob", "missing grant")
    with pytest.raises(NotFound, match=r"Table 'main\.shop\.absent' does not exist"):
        client(workspace, "bob").tables.get("main.shop.absent")


def test_lists_leave_out_what_a_user_may_not_use(workspace):
    seen = {}
    for user in ("alice", "bob", "carol"):
        each = client(workspace, user)
        seen[user] = (
            [table.full_name for table in each.tables.list("main", "shop")],
            [schema.full_name for schema in each.schemas.list("main")],
            [catalog.name for catalog in each.catalogs.list()],
            each.tables.exists("main.shop.orders").table_exists,
        )
    assert seen == {
        "alice": (["main.shop.orders"], ["main.shop"], ["main"], True),
        "bob": ([], ["main.shop"], ["main"], False),
        "carol": ([], [], [], False),
    }
    for path, query in (("tables", {"catalog_name": "main"}), ("schemas", {})):
        with pytest.raises(InvalidParameterValue, match="required"):
            client(workspace, "alice").api_client.do("GET", f"/api/2.1/unity-catalog/{path}", query=query)


@pytest.mark.parametrize(
    "act",
    [
        lambda w: w.tables.get("main.shop.orders"),
        lambda w: list(w.tables.list("main", "shop")),
        lambda w: w.functions.get("main.shop.total"),
    ],
)
def test_the_refusal_of_a_direct_attempt_says_how_the_data_is_reached(workspace, act):
    with pytest.raises(PermissionDenied, match="not directly supported with on-behalf-of-user") as caught:
        act(client(workspace, "alice", scopes=["sql", "genie"]))
    assert "through a Genie space (scope genie) or a SQL warehouse (scope sql)" in str(caught.value)
    denial = explain(caught.value)
    assert denial.reason is DenialReason.MISSING_SCOPE
    assert "unity-catalog" in denial.scopes
    assert all(" " not in scope for scope in denial.scopes)
    assert (last(workspace).decision, "unity-catalog" in last(workspace).scopes_missing) == ("missing scope", True)
    # The way it says.
    statement = client(workspace, "alice", scopes=["sql"]).statement_execution.execute_statement(
        "SELECT count(*) FROM main.shop.orders", "wh1"
    )
    assert rows(statement) == [["4"]]
