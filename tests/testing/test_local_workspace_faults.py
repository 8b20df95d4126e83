"""What goes wrong on purpose, and the log that says so (design, section 6)."""

from __future__ import annotations

import re
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.service.sql import ExecuteStatementRequestOnWaitTimeout, StatementState
from support import PROBE, as_user, me

from obo_kit import explain, with_user_client
from obo_kit.testing import LocalWorkspace

ME = "/api/2.0/preview/scim/v2/Me"


@pytest.fixture
def workspace():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_user("bob")
        workspace.add_endpoint("llm", lambda _body: "one two three four")
        workspace.grant("alice", "CAN QUERY", "llm")
        yield workspace


def get(workspace, token, path=ME, **kwargs):
    return requests.get(workspace.host + path, headers={"Authorization": f"Bearer {token}"}, timeout=60, **kwargs)


def client(workspace, user="alice", **settings):
    return WorkspaceClient(config=Config(host=workspace.host, token=workspace.token(user), auth_type="pat", **settings))


# ---------------------------------------------------------------------------------------------- each kind


def test_the_workspaces_latency_is_the_time_to_an_answer_its_own_work_included(workspace):
    workspace.add_endpoint("slow", lambda _: time.sleep(0.75) or "hello")
    workspace.grant("alice", "CAN QUERY", "slow")
    workspace.latency = 0.8
    ask = {"messages": [{"role": "user", "content": "x"}]}
    headers = {"Authorization": f"Bearer {workspace.token('alice')}"}
    for path, body in ((ME, None), ("/serving-endpoints/slow/invocations", ask)):
        method = "POST" if body else "GET"
        assert requests.request(method, workspace.host + path, json=body, headers=headers, timeout=60).ok
    assert all(0.8 <= record.seconds < 0.8 + 0.75 for record in workspace.log), [
        record.seconds for record in workspace.log
    ]


def test_latency_is_added_for_whom_it_is_meant(workspace):
    workspace.add_fault("latency", seconds=1.0, user="alice", times=None)
    for user, slow in (("alice", True), ("bob", False)):
        started = time.perf_counter()
        assert get(workspace, workspace.token(user)).ok
        assert (time.perf_counter() - started >= 1.0) is slow
    assert [(record.fault, record.decision) for record in workspace.log] == [("latency", "allowed"), (None, "allowed")]


def test_a_rate_limit_is_waited_out_by_the_sdk(workspace):
    workspace.add_fault(status=429, headers={"Retry-After": "0"}, path_prefix=ME, times=2)
    assert me(client(workspace, retry_timeout_seconds=5)) == "alice"
    assert [record.status for record in workspace.log.filter(path=ME)] == [429, 429, 200]


@pytest.mark.parametrize(
    ("status", "code"), [(429, "REQUEST_LIMIT_EXCEEDED"), (503, "TEMPORARILY_UNAVAILABLE"), (418, "INJECTED_FAULT")]
)
def test_a_status_comes_in_the_platforms_shape(workspace, status, code):
    workspace.add_fault(status=status)
    answer = get(workspace, workspace.token("alice"))
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)


def test_a_reset_is_a_reset(workspace, caplog):
    workspace.add_fault("reset")
    with pytest.raises(requests.ConnectionError) as caught:
        get(workspace, workspace.token("alice"))
    assert "Connection reset by peer" in str(caught.value)
    assert [(record.status, record.decision, record.fault) for record in workspace.log] == [(0, "fault", "reset")]
    assert get(workspace, workspace.token("alice")).ok
    assert not caplog.records


def test_a_truncated_body_ends_too_early(workspace, caplog):
    workspace.add_fault("truncated_body")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        get(workspace, workspace.token("alice"))
    assert workspace.log.entries[-1].status == 200
    assert get(workspace, workspace.token("alice")).ok
    assert not caplog.records


def test_a_truncated_stream_breaks_off(workspace):
    workspace.add_fault("truncated_body", path_prefix="/serving-endpoints")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.post(
            workspace.host + "/serving-endpoints/llm/invocations",
            json={"messages": [{"role": "user", "content": "x"}], "stream": True},
            headers={"Authorization": f"Bearer {workspace.token('alice')}"},
            timeout=60,
        )


@pytest.mark.parametrize("stream", [True, False])
def test_a_slow_stream_arrives_whole_and_slowly(workspace, stream):
    workspace.add_fault("slow_stream", seconds=0.05)
    started = time.perf_counter()
    with requests.post(
        workspace.host + "/serving-endpoints/llm/invocations",
        json={"messages": [{"role": "user", "content": "x"}], "stream": stream},
        headers={"Authorization": f"Bearer {workspace.token('alice')}"},
        timeout=60,
        stream=True,
    ) as answer:
        first = time.perf_counter() - started
        text = "".join(piece.decode() for piece in answer.iter_content(None))
    assert time.perf_counter() - started >= 0.15
    assert first < time.perf_counter() - started
    assert ("[DONE]" in text) if stream else "one two three four" in text


def test_a_login_redirect_ends_at_a_page(workspace):
    workspace.add_fault("login_redirect", times=None)
    token = workspace.token("alice")
    answer = get(workspace, token, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, "/login.html")
    answer = get(workspace, token)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "Sign in" in answer.text
    with pytest.raises(requests.JSONDecodeError):
        client(workspace).current_user.me()


def test_a_login_page_is_no_answer(workspace):
    workspace.add_fault("login_page")
    answer = get(workspace, workspace.token("alice"))
    assert (answer.status_code, answer.text.startswith("<!doctype html>")) == (200, True)


def test_a_token_expires_in_the_middle_and_stays_so(workspace):
    old = workspace.token("alice")
    workspace.add_fault("expired_token", user="alice", after=2)
    assert [get(workspace, old).status_code for _ in range(4)] == [200, 200, 403, 403]
    assert get(workspace, workspace.token("alice")).ok
    assert get(workspace, workspace.token("bob")).ok
    assert [record.decision for record in workspace.log.filter(user="alice")][2:] == ["expired token"] * 2 + ["allowed"]


def test_a_token_that_expires_in_a_session_is_explained(workspace):
    """Rule 15: an expired token is a denial of its own."""
    workspace.add_fault("expired_token", after=1, path_prefix=ME)
    with as_user(workspace, "alice") as session:
        assert me(session.client) == "alice"
        with pytest.raises(PermissionDenied) as caught:
            me(session.client)
        denial = explain(caught.value)
    assert denial is not None
    assert denial.reason.value == "token_expired"


def test_a_request_without_a_token_has_none_that_expires(workspace):
    workspace.add_fault("expired_token")
    assert requests.get(workspace.host + PROBE, timeout=60).ok


# ---------------------------------------------------------------------------------------------- how often


def test_faults_that_delay_or_damage_add_up_and_one_that_answers_decides(workspace):
    workspace.add_fault("latency", seconds=0.05)
    workspace.add_fault("latency", seconds=0.05)
    workspace.add_fault(status=503)
    workspace.add_fault(status=500)
    started = time.perf_counter()
    assert [get(workspace, workspace.token("alice")).status_code for _ in range(3)] == [503, 500, 200]
    assert time.perf_counter() - started >= 0.1
    assert workspace.log.entries[0].fault == "latency, latency, status"


def test_a_probability_with_a_seed_hits_the_same_requests_again(workspace):
    token, runs = workspace.token("alice"), []
    for seed in (7, 7, 8):
        workspace.add_fault(status=503, probability=0.5, seed=seed)
        runs.append([get(workspace, token).status_code for _ in range(20)])
        workspace.clear_faults()
    assert runs[0] == runs[1] != runs[2]
    assert 3 < runs[0].count(503) < 17


def test_counted_faults_hit_as_often_as_asked_under_concurrency(workspace):
    workspace.add_fault(status=503, times=10)
    token = workspace.token("alice")
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: get(workspace, token).status_code, range(40)))
    assert statuses.count(503) == 10


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kind": "gremlin"}, "A fault is one of status, latency, reset,"),
        ({}, "A status fault needs status="),
        ({"status": 99}, "status from 200 to 599, not 99"),
        ({"status": "503"}, "status from 200 to 599, not '503'"),
        ({"kind": "latency"}, "A latency fault needs seconds="),
        ({"kind": "latency", "seconds": -1}, "seconds is a number from 0 to 3600, not -1"),
        ({"kind": "reset", "status": 503}, "A reset fault takes no status="),
        ({"kind": "reset", "path_prefix": "api"}, "start of a path"),
        ({"kind": "reset", "times": 0}, "at least 1 (None for no limit), not 0"),
        ({"kind": "reset", "times": True}, "at least 1 (None for no limit), not True"),
        ({"kind": "reset", "after": -1}, "after is a number of requests"),
        ({"kind": "reset", "probability": 1.5}, "more than 0 and at most 1, not 1.5"),
        ({"kind": "reset", "user": "nobody"}, "No principal 'nobody'"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(workspace, arguments, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        workspace.add_fault(**arguments)
    assert get(workspace, workspace.token("alice")).ok


# ---------------------------------------------------------------------------------------------- the log


def test_the_log_says_which_tool_of_the_kit_asked(workspace):
    @with_user_client
    def whoami(client: WorkspaceClient) -> str:
        return me(client)

    @with_user_client
    def größe(client: WorkspaceClient) -> object:  # noqa: PLC2401 - a name that no header takes as it is
        return client.serving_endpoints.get("llm")

    for user in ("alice", "bob"):
        with as_user(workspace, user) as session:
            assert whoami() == user
            me(session.client)
    with as_user(workspace, "bob"), pytest.raises(PermissionDenied):
        größe()
    assert [record.user for record in workspace.log.filter(tool="whoami")] == ["alice", "bob"]
    assert workspace.log.filter(tool="größe")[0].decision == "missing grant"
    table = workspace.log.by_tool().splitlines()
    assert table[0].split() == ["tool", "who", "requests", "allowed", "refused", "scopes", "ms"]
    cells = [tuple(re.split(r"\s{2,}", line)[:6]) for line in table[1:]]
    assert [row for row in cells if not row[0].startswith("[")] == [
        ("größe", "bob", "1", "0", "missing grant", "model-serving"),
        ("whoami", "alice", "1", "1", "-", "iam.current-user:read"),
        ("whoami", "bob", "1", "1", "-", "iam.current-user:read"),
    ]
    assert {row[1] for row in cells if row[0] == "[other]"} == {"-", "alice", "bob"}


def test_the_tool_is_named_to_loopback_alone():
    """Rule 8 and the manners of a guest: the platform is told nothing that the official clients do not tell it."""
    from obo_kit import UserIdentity
    from obo_kit.clients._pipeline import headers_for
    from obo_kit.context._calls import TOOL_HEADER, ToolCall
    from obo_kit.context._frame import FRAME, Frame
    from obo_kit.identity._credentials import DEFAULT_LIMITS, Lease

    reset = FRAME.set(Frame(None, ToolCall("whoami", None)))
    try:
        for host, told in (("http://127.0.0.1:80", True), ("https://example.cloud.databricks.com", False)):
            lease = Lease(UserIdentity.from_token(host=host, token="a-token", source="explicit"), DEFAULT_LIMITS)
            assert (TOOL_HEADER in headers_for(lease, f"{host}/api/2.0/x")) is told
    finally:
        FRAME.reset(reset)


def test_the_log_says_what_was_needed_and_held(workspace):
    workspace.add_warehouse("wh1")
    token = workspace.token("bob", scopes=["genie"])
    assert get(workspace, token, "/api/2.0/sql/warehouses/wh1").status_code == 403
    record = workspace.log.entries[-1]
    assert record.scopes_held == {"genie"}
    assert record.scopes_needed
    assert set(record.scopes_needed) <= set(record.scopes_missing)


def test_a_listener_hears_every_request(workspace):
    heard = []
    workspace.log.listen(heard.append)
    get(workspace, workspace.token("alice"))
    assert [record.user for record in heard] == ["alice"]
    assert str(workspace.log) == workspace.log.table()


def test_twenty_users_through_five_clients_each_are_told_apart(workspace):
    pytest.importorskip("databricks_openai", reason="one of the five clients needs the extra obo-kit[openai]")
    from databricks.ai_search.client import AISearchClient
    from databricks_openai import DatabricksOpenAI

    names = [f"user{number:02}" for number in range(20)]
    workspace.add_warehouse("wh1")
    workspace.add_genie_space("g1", warehouse_id="wh1", tables=[], answers={"Who am I?": "SELECT current_user()"})
    workspace.add_endpoint("echo", lambda body: body["messages"][-1]["content"])
    workspace.add_index("main.s.i", [{"id": 1, "text": "x"}], primary_key="id", text_column="text")
    for name in names:
        workspace.add_user(name, groups=["team"])
    for privilege, securable in (
        ("CAN USE", "wh1"),
        ("CAN RUN", "g1"),
        ("CAN QUERY", "echo"),
        ("SELECT", "main.s.i"),
    ):
        workspace.grant("team", privilege, securable)

    def work(name):
        with as_user(workspace, name) as session:
            client = session.client
            said = [
                client.current_user.me().user_name,
                client.statement_execution.execute_statement("SELECT current_user()", "wh1").result.data_array[0][0],
                session.get(DatabricksOpenAI)
                .chat.completions.create(model="echo", messages=[{"role": "user", "content": name}])
                .choices[0]
                .message.content,
            ]
            message = client.genie.start_conversation_and_wait("g1", "Who am I?")
            rows = client.genie.get_message_attachment_query_result(
                "g1", message.conversation_id, message.message_id, message.attachments[0].attachment_id
            )
            said.append(rows.statement_response.result.data_array[0][0])
            index = session.get(AISearchClient).get_index(index_name="main.s.i")
            index.similarity_search(query_text="x", columns=["id"], num_results=1)
            return {text.removesuffix("@example.com") for text in said}

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(work, names)) == [{name} for name in names]
    seen = [record for record in workspace.log if record.path != PROBE]
    assert {record.decision for record in seen} == {"allowed"}
    calls = {
        name: {(r.method, re.sub(r"[0-9a-f-]{32,}", "*", r.path)) for r in seen if r.user == name} for name in names
    }
    assert {record.user for record in seen} == set(names)
    assert len({frozenset(of_one) for of_one in calls.values()}) == 1
    assert len(calls["user00"]) >= 7


# ---------------------------------------------------------------------------------------------- a warehouse that starts


class _AtOnce(Executor):
    """Runs what is submitted before it returns: the statement has ended when the answer is made."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.parametrize("quick", [False, True])
def test_a_cold_warehouse_answers_pending_and_runs_the_statement_once(workspace, monkeypatch, quick):
    if quick:
        monkeypatch.setattr(workspace._warehouses, "_pool", _AtOnce())
    workspace.add_warehouse("wh1")
    workspace.add_table("main.shop.orders", [{"id": 1}])
    workspace.grant("alice", "CAN USE", "wh1")
    workspace.grant("alice", "SELECT", "main.shop.orders")
    workspace.grant("alice", "MODIFY", "main.shop.orders")
    execution = client(workspace).statement_execution

    workspace.add_fault("cold_warehouse")
    client(workspace).current_user.me()  # only a statement is hit
    response = execution.execute_statement("INSERT INTO main.shop.orders VALUES (2)", "wh1", wait_timeout="50s")
    assert (response.status.state, response.result) == (StatementState.PENDING, None)
    while (response := execution.get_statement(response.statement_id)).status.state is StatementState.RUNNING:
        pass
    assert response.status.state is StatementState.SUCCEEDED

    workspace.add_fault("cold_warehouse", user="alice")
    canceled = ExecuteStatementRequestOnWaitTimeout.CANCEL
    response = execution.execute_statement("INSERT INTO main.shop.orders VALUES (3)", "wh1", on_wait_timeout=canceled)
    assert response.status.state is StatementState.CANCELED
    assert execution.get_statement(response.statement_id).status.state is StatementState.CANCELED

    response = execution.execute_statement("SELECT id FROM main.shop.orders ORDER BY id", "wh1", wait_timeout="50s")
    assert response.result.data_array == [["1"], ["2"]]


def test_the_fault_of_a_cold_warehouse_takes_no_seconds(workspace):
    with pytest.raises(ValueError, match="A cold_warehouse fault takes no seconds="):
        workspace.add_fault("cold_warehouse", seconds=3)
