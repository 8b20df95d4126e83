"""The local workspace, driven by the real clients as alice (may do everything), bob (something) and carol (nothing)."""

from __future__ import annotations

import time
import warnings

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import (
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
    ResourceDoesNotExist,
    Unauthenticated,
)
from databricks.sdk.service.sql import StatementParameterListItem, StatementState

from obo_kit.testing import LocalWorkspace, RequestRecord

TICKETS = [
    {"id": 1, "subject": "Refund not received", "priority": "high", "hours": 1.5},
    {"id": 2, "subject": "Parcel is late", "priority": "low", "hours": 0.25},
    {"id": 3, "subject": "Wrong colour", "priority": "low", "hours": None},
]
ARTICLES = [
    {"id": "a1", "text": "How to ask for a refund and how long refunds take", "topic": "money", "year": 2024},
    {"id": "a2", "text": "Shipping times and carriers by country", "topic": "delivery", "year": 2025},
    {"id": "a3", "text": "Changing the password of an account", "topic": "account", "year": 2026},
]


@pytest.fixture(scope="module", autouse=True)
def _traces(empty_store):
    """The retriever tools trace themselves: not into the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", empty_store)
        yield


@pytest.fixture(scope="module")
def shared():
    with LocalWorkspace() as workspace:
        for user, groups in (("alice", ["support"]), ("bob", ["support"]), ("carol", [])):
            workspace.add_user(user, groups=groups)
        workspace.add_warehouse("wh1", name="Support")
        workspace.add_table("main.support.tickets", TICKETS)
        workspace.add_table("hr.pay.salaries", [{"name": "alice", "amount": 1}])
        workspace.add_index("main.support.articles", ARTICLES, primary_key="id", text_column="text")
        workspace.add_genie_space("space1", warehouse_id="wh1", tables=["main.support.tickets"], answers={})
        workspace.add_endpoint("llm", lambda _body: "Hello")
        for privilege, securable in (
            ("SELECT", "main.support.tickets"),
            ("SELECT", "main.support.articles"),
            ("CAN USE", "wh1"),
            ("CAN RUN", "space1"),
            ("CAN QUERY", "llm"),
        ):
            workspace.grant("alice", privilege, securable)
        # bob may use the warehouse, but not read the table.
        workspace.grant("bob", "CAN USE", "wh1")
        yield workspace


@pytest.fixture
def workspace(shared):
    shared.log.clear()
    return shared


@pytest.fixture
def fresh():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_user("bob")
        yield workspace


def client(workspace, user, *, scopes=("all-apis",), expires_in=3600.0):
    token = workspace.token(user, scopes=scopes, expires_in=expires_in)
    config = Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2, http_timeout_seconds=10)
    return WorkspaceClient(config=config)


def sql_state_of(answer):
    """The SQLSTATE, which older SDKs leave to the text."""
    in_text = answer.status.error.message.rpartition("SQLSTATE: ")[2]
    assert getattr(answer.status, "sql_state", in_text) == in_text
    return in_text


def last(workspace) -> RequestRecord:
    return workspace.log.entries[-1]


def sql(workspace, user, statement, *, scopes=("all-apis",), **kwargs):
    return client(workspace, user, scopes=scopes).statement_execution.execute_statement(statement, "wh1", **kwargs)


# ---------------------------------------------------------------------------------------------- who is who


def test_each_user_is_themselves(workspace):
    for user in ("alice", "bob", "carol"):
        assert client(workspace, user).current_user.me().user_name == f"{user}@example.com"
        assert (last(workspace).user, last(workspace).kind, last(workspace).decision) == (user, "user", "allowed")


def test_the_client_learns_the_workspace_id_without_a_token(workspace):
    assert client(workspace, "alice").config.workspace_id == workspace.workspace_id
    assert (last(workspace).path, last(workspace).user) == ("/.well-known/databricks-config", None)


def test_a_service_principal_logs_in_with_oauth(fresh):
    principal = fresh.add_service_principal("robot")
    me = WorkspaceClient(host=fresh.host, client_id=principal.client_id, client_secret=principal.client_secret)
    assert me.current_user.me().user_name == principal.client_id
    assert (last(fresh).user, last(fresh).kind) == ("robot", "service_principal")
    assert last(fresh).scopes_held == {"all-apis"}


def test_a_wrong_secret_gets_no_token(fresh):
    principal = fresh.add_service_principal("robot")
    wrong = WorkspaceClient(host=fresh.host, client_id=principal.client_id, client_secret="wrong")
    with pytest.raises(ValueError, match="invalid_client: Client authentication failed"):
        wrong.current_user.me()


def test_the_vector_search_client_logs_in_with_oauth(fresh):
    search = pytest.importorskip("databricks.vector_search.client")
    principal = fresh.add_service_principal("robot")
    fresh.add_index("main.s.i", ARTICLES, primary_key="id", text_column="text")
    fresh.grant("robot", "SELECT", "main.s.i")
    index = search.VectorSearchClient(
        workspace_url=fresh.host,
        service_principal_client_id=principal.client_id,
        service_principal_client_secret=principal.client_secret,
        disable_notice=True,
    ).get_index(index_name="main.s.i")
    found = index.similarity_search(query_text="refund", columns=["id"], num_results=1)
    assert found["result"]["data_array"][0][0] == "a1"


def test_a_token_says_what_the_platform_says(workspace):
    import jwt

    token = workspace.token("alice", scopes=["genie", "sql"], expires_in=60)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == "alice@example.com"
    assert claims["scope"] == "genie sql"
    assert claims["iss"] == f"{workspace.host}/oidc"
    assert claims["aud"] == workspace.workspace_id
    assert 59 <= claims["exp"] - claims["iat"] <= 62
    assert claims["jti"] != jwt.decode(workspace.token("alice"), options={"verify_signature": False})["jti"]
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"


def test_tokens_of_another_workspace_are_invalid(workspace, fresh):
    stranger = Config(host=workspace.host, token=fresh.token("alice"), auth_type="pat")
    with pytest.raises(PermissionDenied, match="Invalid access token") as caught:
        WorkspaceClient(config=stranger).current_user.me()
    assert caught.value.error_code == 403
    assert (last(workspace).user, last(workspace).decision) == (None, "invalid token")


def test_a_token_without_a_signature_is_invalid(workspace):
    import jwt

    forged = jwt.encode(
        {"sub": "alice@example.com", "exp": time.time() + 60, "scope": "all-apis"}, "", algorithm="none"
    )
    answer = requests.get(f"{workspace.host}/api/2.0/preview/scim/v2/Me", headers={"Authorization": f"Bearer {forged}"})
    assert answer.status_code == 403
    assert answer.headers["X-Databricks-Reason-Phrase"] == "Invalid access token."


def test_an_expired_token_is_refused_and_the_log_says_whose_it_was(workspace):
    with pytest.raises(PermissionDenied, match=r"Invalid access token\. \[ReqId: ") as caught:
        client(workspace, "alice", expires_in=-1).current_user.me()
    assert caught.value.error_code == 403
    assert (last(workspace).user, last(workspace).status, last(workspace).decision) == ("alice", 403, "expired token")


def test_a_token_expires_while_it_is_used(workspace, later):
    alice = client(workspace, "alice", expires_in=60)
    assert alice.current_user.me().user_name
    later(62)
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        alice.current_user.me()


def test_no_token_is_unauthenticated(workspace):
    answer = requests.get(f"{workspace.host}/api/2.0/preview/scim/v2/Me")
    assert answer.status_code == 401
    assert answer.json()["error_code"] == 401
    assert answer.json()["message"].startswith("Credential was not sent or was of an unsupported type for this API.")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="DatabricksRealm"'
    assert last(workspace).decision == "no credential"


def test_basic_credentials_are_unauthenticated(workspace):
    basic = Config(host=workspace.host, username="alice", password="x", auth_type="basic")
    with pytest.raises(Unauthenticated, match="Credential was not sent"):
        WorkspaceClient(config=basic).current_user.me()


# ---------------------------------------------------------------------------------------------- scopes


@pytest.mark.parametrize(
    ("act", "needed", "enough"),
    [
        (lambda w: w.statement_execution.execute_statement("SELECT 1", "wh1"), "sql", "sql.statement-execution"),
        (lambda w: w.warehouses.get("wh1"), "sql", "sql.warehouses"),
        (lambda w: w.vector_search_indexes.get_index("main.support.articles"), "vector-search", "ai-search"),
        (lambda w: w.genie.get_space("space1"), "genie", "dashboards.genie"),
        (lambda w: w.serving_endpoints.get("llm"), "model-serving", "serving.serving-endpoints"),
        (lambda w: w.tables.get("main.support.tickets"), "unity-catalog", "catalog.tables:read"),
    ],
)
def test_a_token_reaches_what_its_scopes_reach(workspace, act, needed, enough):
    with pytest.raises(PermissionDenied, match="Provided OAuth token does not have required scopes: ") as caught:
        act(client(workspace, "alice", scopes=["jobs"]))
    assert caught.value.error_code == 403
    assert needed in str(caught.value)
    record = last(workspace)
    assert (record.user, record.status, record.decision) == ("alice", 403, "missing scope")
    assert needed in record.scopes_missing
    assert record.scopes_held == {"jobs"}

    act(client(workspace, "alice", scopes=[needed]))
    act(client(workspace, "alice", scopes=[enough]))
    assert (last(workspace).decision, last(workspace).scopes_missing) == ("allowed", ())


def test_a_scope_comes_before_a_grant(workspace):
    with pytest.raises(PermissionDenied, match="required scopes"):
        client(workspace, "carol", scopes=["genie"]).vector_search_indexes.get_index("main.support.articles")
    assert last(workspace).decision == "missing scope"


def test_a_scope_nobody_knows_opens_nothing(workspace):
    token = workspace.token("alice", scopes=["vector-search-v9"], allow_unknown=True)
    asking = WorkspaceClient(host=workspace.host, token=token, auth_type="pat")
    with pytest.raises(PermissionDenied, match="required scopes"):
        asking.vector_search_indexes.get_index("main.support.articles")


# ---------------------------------------------------------------------------------------------- SQL


def test_a_statement_returns_rows_as_text(workspace):
    answer = sql(workspace, "alice", "SELECT id, subject, hours, id > 1 AS later FROM main.support.tickets ORDER BY id")
    assert answer.status.state is StatementState.SUCCEEDED
    assert [column.type_name.value for column in answer.manifest.schema.columns] == [
        "LONG",
        "STRING",
        "DOUBLE",
        "BOOLEAN",
    ]
    assert answer.result.data_array[0] == ["1", "Refund not received", "1.5", "false"]
    assert answer.result.data_array[2] == ["3", "Wrong colour", None, "true"]
    assert answer.manifest.total_row_count == 3


def test_current_user_is_the_caller(workspace):
    statement = "SELECT current_user() AS me, current_user, session_user"
    for user in ("alice", "bob"):
        assert sql(workspace, user, statement).result.data_array == [[f"{user}@example.com"] * 3]


def test_backticks_parameters_and_comments_are_read_as_databricks_writes_them(workspace):
    statement = """SELECT `subject`, ':not a parameter', '1'::INT -- :nor this
        FROM `main`.`support`.`tickets` WHERE `id` = :id AND priority = :priority"""
    parameters = [
        StatementParameterListItem(name="id", value="2", type="INT"),
        StatementParameterListItem(name="priority", value="low"),
    ]
    answer = sql(workspace, "alice", statement, parameters=parameters)
    assert answer.result.data_array == [["Parcel is late", ":not a parameter", "1"]]


def test_a_missing_parameter_is_a_failed_statement(workspace):
    answer = sql(workspace, "alice", "SELECT :gone")
    assert (answer.status.state, sql_state_of(answer)) == (StatementState.FAILED, "42P02")


def test_catalog_and_schema_complete_short_names(workspace):
    for name, schema in (("tickets", "support"), ("support.tickets", None), ("MAIN.Support.TICKETS", None)):
        answer = sql(workspace, "alice", f"SELECT count(*) FROM {name}", catalog="main", schema=schema)
        assert answer.result.data_array == [["3"]], name


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM main.support.tickets",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM main.support.tickets)",
        "WITH t AS (SELECT * FROM main.support.tickets) SELECT * FROM t",
        "WITH tickets AS (SELECT 1) SELECT * FROM main.support.tickets, tickets",
        "SELECT (SELECT max(id) FROM `main`.`support`.`tickets`)",
        "SELECT 1 UNION ALL SELECT id FROM main.support.tickets",
        "SELECT * FROM (VALUES (1)) v JOIN main.support.tickets t ON true",
        "DESCRIBE main.support.tickets",
        "TABLE main.support.tickets",
    ],
)
def test_a_statement_without_select_fails_as_the_platform_says_it(workspace, statement):
    answer = sql(workspace, "bob", statement)
    assert answer.status.state is StatementState.FAILED
    assert sql_state_of(answer) == "42501"
    assert answer.status.error.error_code.value == "BAD_REQUEST"
    assert answer.status.error.message == (
        "[INSUFFICIENT_PERMISSIONS] Insufficient privileges:\n"
        "User does not have SELECT on Table 'main.support.tickets'. SQLSTATE: 42501"
    )
    assert (last(workspace).user, last(workspace).status, last(workspace).decision) == ("bob", 200, "missing grant")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM query('SELECT * FROM main.support.tickets')",
        """SELECT * FROM query('SELECT * FROM "uc main".support.tickets')""",
        "FROM query_table('main.support.tickets')",
        "SELECT * FROM query_table(['\"uc main\".support.tickets'])",
        "SELECT * FROM duckdb_tables() WHERE table_name = 'tickets'",
        "SELECT * FROM information_schema.tables",
        "SELECT table_name FROM duckdb_columns() WHERE table_name = 'tickets'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/*')",
        "SELECT getenv('HOME')",
    ],
)
def test_no_trick_of_sql_reaches_what_is_not_granted(workspace, statement):
    answer = sql(workspace, "bob", statement)
    rows = answer.result.data_array if answer.result else None
    assert not rows, rows


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMP TABLE mine AS SELECT 1",
        "COPY main.support.tickets TO '/tmp/x.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "CALL pragma_version()",
    ],
)
def test_statements_of_the_engine_do_not_run(workspace, statement):
    answer = sql(workspace, "alice", statement)
    assert (answer.status.state, sql_state_of(answer)) == (StatementState.FAILED, "0A000")
    assert sql(workspace, "alice", "SELECT count(*) FROM main.support.tickets").result.data_array == [["3"]]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE main.support.mine AS SELECT 1",
        "INSERT INTO main.support.tickets VALUES (9, 'x', 'y', 1)",
        "DELETE FROM main.support.tickets",
        "DROP TABLE main.support.tickets",
    ],
)
def test_who_may_only_read_writes_nothing(workspace, statement):
    answer = sql(workspace, "alice", statement)
    assert (answer.status.state, sql_state_of(answer)) == (StatementState.FAILED, "42501")
    assert sql(workspace, "alice", "SELECT count(*) FROM main.support.tickets").result.data_array == [["3"]]
    assert last(workspace).user == "alice"


@pytest.mark.parametrize(
    ("statement", "sql_state"),
    [
        ("SELECT * FROM main.support.absent", "42P01"),
        ("SELECT * FROM nowhere.at.all", "42P01"),
        ("SELEC 1", "42601"),
        ("SELECT 1; SELECT 2", "42601"),
        ("SELECT no_such_column FROM main.support.tickets", "42703"),
        ("SELECT 1 / 'x'", "22018"),
        ("'", "42601"),
        ("SELECT " + "(" * 3000 + "1" + ")" * 3000, None),
        ("SELECT '\x00'", None),
        ("☃", None),
    ],
)
def test_bad_sql_is_a_failed_statement_and_nothing_worse(workspace, statement, sql_state):
    answer = sql(workspace, "alice", statement)
    if answer.status.state is not StatementState.SUCCEEDED or sql_state is not None:
        assert answer.status.state is StatementState.FAILED
        assert answer.status.error.message
        assert sql_state in {None, sql_state_of(answer)}
    assert sql(workspace, "alice", "SELECT 1").result.data_array == [["1"]]


def test_an_absent_table_and_its_text(workspace):
    answer = sql(workspace, "bob", "SELECT * FROM main.support.absent")
    assert answer.status.error.message.startswith(
        "[TABLE_OR_VIEW_NOT_FOUND] The table or view `main`.`support`.`absent` cannot be found."
    )
    assert last(workspace).decision == "not found"


def test_the_warehouse_needs_can_use(workspace):
    with pytest.raises(PermissionDenied, match="is not authorized to use or monitor this SQL Endpoint") as caught:
        sql(workspace, "carol", "SELECT 1")
    assert caught.value.error_code == "PERMISSION_DENIED"
    assert last(workspace).decision == "missing grant"
    with pytest.raises(PermissionDenied, match="is not authorized to use or monitor this SQL Endpoint"):
        client(workspace, "carol").warehouses.get("wh1")
    assert [entry.id for entry in client(workspace, "alice").warehouses.list()] == ["wh1"]
    assert list(client(workspace, "carol").warehouses.list()) == []


def test_an_absent_warehouse_is_not_found(workspace):
    with pytest.raises(ResourceDoesNotExist):
        client(workspace, "alice").statement_execution.execute_statement("SELECT 1", "wh9")


def test_a_grant_takes_effect_at_once_and_so_does_its_end(fresh):
    fresh.add_warehouse("wh1")
    fresh.add_table("main.s.t", [{"a": 1}])
    fresh.grant("bob", "CAN USE", "wh1")
    read = "SELECT * FROM main.s.t"
    assert sql_state_of(sql(fresh, "bob", read)) == "42501"
    fresh.grant("bob", "SELECT", "main.s.t")
    assert sql(fresh, "bob", read).result.data_array == [["1"]]
    fresh.revoke("bob", "SELECT", "main.s.t")
    assert sql_state_of(sql(fresh, "bob", read)) == "42501"


def test_a_grant_to_a_group_reaches_its_members(fresh):
    fresh.add_user("carol", groups=["support"])
    fresh.add_warehouse("wh1")
    fresh.grant("support", "CAN USE", "wh1")
    assert sql(fresh, "carol", "SELECT 1").result.data_array == [["1"]]
    with pytest.raises(PermissionDenied):
        sql(fresh, "bob", "SELECT 1")
    fresh.grant("users", "CAN USE", "wh1")
    assert sql(fresh, "bob", "SELECT 1").result.data_array == [["1"]]


def test_a_long_result_comes_in_chunks(workspace):
    alice = client(workspace, "alice")
    answer = alice.statement_execution.execute_statement("SELECT i FROM range(2500) t(i) ORDER BY i", "wh1")
    rows = [row[0] for row in answer.result.data_array]
    following = answer.result.next_chunk_index
    while following is not None:
        chunk = alice.statement_execution.get_statement_result_chunk_n(answer.statement_id, following)
        rows += [row[0] for row in chunk.data_array]
        following = chunk.next_chunk_index
    assert rows == [str(number) for number in range(2500)]
    assert (answer.manifest.total_chunk_count, answer.manifest.total_row_count) == (3, 2500)
    with pytest.raises(NotFound):
        client(workspace, "bob").statement_execution.get_statement(answer.statement_id)


def test_row_limit_truncates(workspace):
    answer = sql(workspace, "alice", "SELECT * FROM range(10)", row_limit=4)
    assert (answer.manifest.truncated, len(answer.result.data_array)) == (True, 4)


def test_a_statement_can_be_polled(workspace):
    alice = client(workspace, "alice").statement_execution
    slow = "SELECT count(*) FROM range(30000000) t(i) WHERE i % 7 = 3"
    answer = alice.execute_statement(slow, "wh1", wait_timeout="0s")
    assert answer.status.state is StatementState.PENDING
    deadline = time.monotonic() + 20
    while answer.status.state in {StatementState.PENDING, StatementState.RUNNING} and time.monotonic() < deadline:
        time.sleep(0.01)
        answer = alice.get_statement(answer.statement_id)
    assert answer.result.data_array == [["4285714"]]


def test_a_statement_can_be_canceled(workspace):
    alice = client(workspace, "alice").statement_execution
    slow = "SELECT count(*) FROM range(300000000) t(i) WHERE i % 7 = 3"
    answer = alice.execute_statement(slow, "wh1", wait_timeout="0s")
    alice.cancel_execution(answer.statement_id)
    assert alice.get_statement(answer.statement_id).status.state is StatementState.CANCELED
    with pytest.raises(InvalidParameterValue, match="There is no chunk 0"):
        alice.get_statement_result_chunk_n(answer.statement_id, 0)
    done = alice.execute_statement("SELECT 1", "wh1")
    alice.cancel_execution(done.statement_id)
    assert alice.get_statement(done.statement_id).status.state is StatementState.SUCCEEDED


def test_values_of_all_kinds_are_written_as_text(workspace):
    answer = sql(
        workspace,
        "alice",
        "SELECT DATE '2026-01-02', TIMESTAMP '2026-01-02 03:04:05', 1.50::DECIMAL(5,2), array(1, 2), struct(1 AS a), NULL, "
        "'x'::BINARY",
    )
    names = [column.type_name.value for column in answer.manifest.schema.columns]
    assert names[:5] == ["DATE", "TIMESTAMP", "DECIMAL", "ARRAY", "STRUCT"]
    assert answer.result.data_array[0][:6] == [
        "2026-01-02",
        "2026-01-02T03:04:05.000Z",
        "1.50",
        "[1,2]",
        '{"a":1}',
        None,
    ]


def test_table_metadata_needs_select(workspace):
    table = client(workspace, "alice").tables.get("main.support.tickets")
    assert [(column.name, column.type_name.value) for column in table.columns][:2] == [
        ("id", "LONG"),
        ("subject", "STRING"),
    ]
    with pytest.raises(PermissionDenied, match=r"User does not have SELECT on Table 'main\.support\.tickets'\."):
        client(workspace, "bob").tables.get("main.support.tickets")
    with pytest.raises(NotFound, match=r"Table 'main\.support\.absent' does not exist\.") as caught:
        client(workspace, "bob").tables.get("main.support.absent")
    assert caught.value.error_code == "TABLE_DOES_NOT_EXIST"


# ---------------------------------------------------------------------------------------------- vector search


def vector_search(workspace, user, **kwargs):
    from databricks.vector_search.client import VectorSearchClient

    return VectorSearchClient(
        workspace_url=workspace.host, personal_access_token=workspace.token(user, **kwargs), disable_notice=True
    )


@pytest.mark.parametrize(
    ("question", "expected"),
    [("Where is my refund?", "a1"), ("which carrier ships it", "a2"), ("I forgot my passwords", "a3")],
)
def test_the_best_row_comes_first(workspace, question, expected):
    index = vector_search(workspace, "alice").get_index(index_name="main.support.articles")
    found = index.similarity_search(query_text=question, columns=["id", "text"], num_results=2)
    rows = found["result"]["data_array"]
    assert rows[0][0] == expected
    assert 0 < rows[1][-1] < rows[0][-1] <= 1
    assert [column["name"] for column in found["manifest"]["columns"]] == ["id", "text", "score"]
    same = client(workspace, "alice").vector_search_indexes.query_index(
        "main.support.articles", ["id", "text"], query_text=question, num_results=2
    )
    assert [row[0] for row in same.result.data_array] == [row[0] for row in rows]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"topic": "money"}, {"a1"}),
        ({"topic": ["money", "account"]}, {"a1", "a3"}),
        ({"topic NOT": "money"}, {"a2", "a3"}),
        ({"year >=": 2025}, {"a2", "a3"}),
        ({"year <": 2025}, {"a1"}),
        ({"text LIKE": "password"}, {"a3"}),
        ({"topic OR year": ["money", 2026]}, {"a1", "a3"}),
        ({"topic": "money", "year >": 2024}, set()),
    ],
)
def test_filters_hold(workspace, filters, expected):
    index = vector_search(workspace, "alice").get_index(index_name="main.support.articles")
    found = index.similarity_search(query_text="anything", columns=["id"], filters=filters, num_results=9)
    assert {row[0] for row in found["result"]["data_array"]} == expected


def test_an_index_needs_select(workspace):
    from databricks.ai_search.exceptions import NotFound as IndexNotFound
    from databricks.ai_search.exceptions import PermissionDenied as IndexDenied

    with pytest.raises(IndexDenied, match=r"Insufficient permissions for UC entity main\.support\.articles") as caught:
        vector_search(workspace, "bob").get_index(index_name="main.support.articles")
    assert caught.value.status_code == 403
    assert (last(workspace).user, last(workspace).decision) == ("bob", "missing grant")
    with pytest.raises(PermissionDenied, match="Insufficient permissions for UC entity"):
        client(workspace, "carol").vector_search_indexes.query_index("main.support.articles", ["id"], query_text="x")
    with pytest.raises(IndexNotFound):
        vector_search(workspace, "alice").get_index(index_name="main.support.nothing")


def test_a_search_with_bad_arguments_is_refused(workspace):
    index = client(workspace, "alice").vector_search_indexes
    for arguments in (
        {"columns": ["nope"], "query_text": "x"},
        {"columns": ["id"], "query_vector": [1.0]},
        {"columns": ["id"], "query_text": ""},
        {"columns": ["id"], "query_text": "x", "num_results": -1},
        {"columns": ["id"], "query_text": "x", "filters_json": "{"},
        {"columns": ["id"], "query_text": "x", "filters_json": '{"nope": 1}'},
        {"columns": ["id"], "query_text": "x", "query_type": "MAGIC"},
    ):
        with pytest.raises(InvalidParameterValue):
            index.query_index("main.support.articles", **arguments)


def test_an_embedding_endpoint_is_looked_up_with_the_users_own_token(fresh):
    from databricks.ai_search.exceptions import PermissionDenied as IndexDenied

    fresh.add_index("main.s.i", ARTICLES, primary_key="id", text_column="text", embedding_endpoint="gte")
    fresh.grant("alice", "SELECT", "main.s.i")
    with pytest.raises(IndexDenied, match="permission 'View' on Endpoint gte"):
        vector_search(fresh, "alice").get_index(index_name="main.s.i")
    fresh.grant("alice", "CAN QUERY", "gte")
    found = vector_search(fresh, "alice").get_index(index_name="main.s.i")
    assert found.similarity_search(query_text="refund", columns=["id"], num_results=1)["result"]["row_count"] == 1
    vectors = client(fresh, "alice").serving_endpoints.query("gte", input=["one", "two"])
    assert len(vectors.data) == 2


def test_the_search_endpoint_is_seen_by_those_who_may_search(workspace):
    assert client(workspace, "alice").vector_search_endpoints.get_endpoint("local-vs").num_indexes == 1
    with pytest.raises(PermissionDenied):
        client(workspace, "carol").vector_search_endpoints.get_endpoint("local-vs")
    assert [index.name for index in client(workspace, "alice").vector_search_indexes.list_indexes("local-vs")] == [
        "main.support.articles"
    ]
    assert list(client(workspace, "carol").vector_search_indexes.list_indexes("local-vs")) == []


@pytest.mark.parametrize("package", ["databricks_langchain", "databricks_openai"])
def test_the_retriever_tools_work(workspace, package):
    module = pytest.importorskip(package, reason=f"{package} is an optional extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tools' own dependencies warn
        tool = module.VectorSearchRetrieverTool(
            index_name="main.support.articles", num_results=1, workspace_client=client(workspace, "alice")
        )
        found = tool.invoke("refund") if hasattr(tool, "invoke") else tool.execute("refund")
    assert "How to ask for a refund" in str(found)
    assert {record.user for record in workspace.log if "vector-search" in record.path} == {"alice"}
