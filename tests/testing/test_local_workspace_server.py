"""The local workspace as a server: its life, its log, its faults, and what bad input does to it."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx
import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import PermissionDenied
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obo_kit.testing import LocalWorkspace
from obo_kit.testing._refusals import REFUSALS

ME = "/api/2.0/preview/scim/v2/Me"
ROWS = [{"id": 1, "text": "one"}]


@pytest.fixture
def workspace():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_user("bob")
        yield workspace


@pytest.mark.parametrize(
    ("excepted", "then"),
    [
        (None, "127.0.0.1"),
        ("intranet, .example.com", "intranet,.example.com,127.0.0.1"),
        ("*", "*"),
        ("127.0.0.1",) * 2,
    ],
)
def test_no_client_asks_a_proxy_of_the_environment(monkeypatch, excepted, then):
    for name in ("HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, excepted) if excepted else monkeypatch.delenv(name, raising=False)
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        bearer = {"Authorization": f"Bearer {workspace.token('alice')}"}
        for get in (requests.get, httpx.get):
            assert get(workspace.host + ME, headers=bearer, timeout=60).json()["userName"] == "alice@example.com"
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == then


def test_without_a_proxy_the_environment_stays_as_it_is():
    before = dict(os.environ)
    with LocalWorkspace():
        assert dict(os.environ) == before


@pytest.fixture(scope="module")
def full():
    """A workspace that has one of everything, all of it granted to alice."""
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_warehouse("wh1")
        workspace.add_table("main.s.t", ROWS)
        workspace.add_index("main.s.i", ROWS, primary_key="id", text_column="text", embedding_endpoint="gte")
        workspace.add_search_endpoint("large", storage_optimized=True)
        workspace.add_index("main.s.l", ROWS, primary_key="id", text_column="text", endpoint="large")
        workspace.add_index(
            "main.s.d", ROWS, primary_key="id", text_column="text", vector_column="vector", kind="direct-access"
        )
        workspace.add_genie_space("g1", warehouse_id="wh1", tables=["main.s.t"], answers={"q": "SELECT 1"})
        workspace.add_endpoint("llm", lambda _body: "Hello")
        for privilege, securable in (
            ("CAN USE", "wh1"),
            ("SELECT", "main.s.t"),
            ("SELECT", "main.s.i"),
            ("SELECT", "main.s.l"),
            ("SELECT", "main.s.d"),
            ("MODIFY", "main.s.d"),
            ("CAN USE", "local-vs"),
            ("CAN RUN", "g1"),
            ("CAN QUERY", "llm"),
            ("CAN QUERY", "gte"),
        ):
            workspace.grant("alice", privilege, securable)
        yield workspace


def get(workspace, path, token=None, session=requests, **kwargs):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return session.get(workspace.host + path, headers=headers, timeout=60, **kwargs)


# ---------------------------------------------------------------------------------------------- life


def test_importing_the_package_loads_no_server_and_no_engine():
    code = (
        "import sys, obo_kit.testing;"
        "print(sorted({'duckdb','jwt','sklearn','starlette','uvicorn','mlflow','databricks.sdk'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "duckdb" else find(name))
    with pytest.raises(ImportError, match=re.escape('needs duckdb: pip install "obo-kit[testing]"')):
        LocalWorkspace()


def test_it_listens_on_loopback_only(workspace):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", workspace.host)
    port = int(workspace.host.rpartition(":")[2])
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((own, port)) != 0


def test_fifty_workspaces_leave_nothing_behind(tmp_path, monkeypatch):
    """Threads, ports, file descriptors and temporary files; in five threads at once, ten after one another in each."""
    with LocalWorkspace():
        pass
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads, files = set(threading.enumerate()), _descriptors()
    starts, stops = [], []

    def ten(_number):
        for _ in range(10):
            started = time.perf_counter()
            workspace = LocalWorkspace().start()
            starts.append(time.perf_counter() - started)
            workspace.add_user("alice")
            with requests.Session() as session:
                # A connection is left open and idle, as clients leave theirs.
                assert get(workspace, ME, workspace.token("alice"), session).ok
                port = int(workspace.host.rpartition(":")[2])
                stopped = time.perf_counter()
                workspace.stop()
                stops.append(time.perf_counter() - stopped)
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(ten, range(5)))
    deadline = time.monotonic() + 20
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) - threads == set()
    gc.collect()
    assert _descriptors() <= files
    assert not list(tmp_path.iterdir())
    assert statistics.median(starts) < 0.3
    assert statistics.median(stops) < 0.5


def _descriptors():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def test_it_starts_once_and_stops_as_often_as_asked():
    workspace = LocalWorkspace()
    with pytest.raises(RuntimeError, match="not running"):
        workspace.host  # noqa: B018
    assert "not running" in repr(workspace)
    workspace.start()
    with pytest.raises(RuntimeError, match="starts only once"):
        workspace.start()
    workspace.stop()
    workspace.stop()
    with pytest.raises(RuntimeError, match="starts only once"):
        workspace.start()


def test_it_can_be_filled_before_it_starts():
    workspace = LocalWorkspace()
    workspace.add_user("alice")
    workspace.add_table("main.s.t", ROWS)
    workspace.grant("alice", "SELECT", "main.s.t")
    with workspace:
        assert get(workspace, ME, workspace.token("alice")).json()["userName"] == "alice@example.com"


def test_a_request_in_flight_does_not_hold_up_the_end():
    workspace = LocalWorkspace(latency=30).start()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(get, workspace, ME)
        while not workspace._server or not workspace._server._server.server_state.connections:
            time.sleep(0.01)
        started = time.perf_counter()
        workspace.stop()
        assert time.perf_counter() - started < 15
        with pytest.raises(requests.RequestException):
            waiting.result()


def test_a_statement_that_runs_for_ever_does_not_hold_up_the_end():
    before = set(threading.enumerate())
    workspace = LocalWorkspace().start()
    workspace.add_user("alice")
    workspace.add_warehouse("wh1")
    workspace.grant("alice", "CAN USE", "wh1")
    requests.post(
        workspace.host + "/api/2.0/sql/statements",
        json={
            "statement": f"SELECT count(*) FROM range({10**14}) t(i) WHERE i % 7 = 3",
            "warehouse_id": "wh1",
            "wait_timeout": "0s",
        },
        headers={"Authorization": f"Bearer {workspace.token('alice')}"},
    ).raise_for_status()
    started = time.perf_counter()
    workspace.stop()
    assert time.perf_counter() - started < 15
    deadline = time.monotonic() + 20
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()


def test_it_serves_https_with_a_certificate(tmp_path):
    trustme = pytest.importorskip("trustme", reason="trustme is needed only to make a certificate")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with LocalWorkspace(ssl_certfile=str(tmp_path / "cert.pem")) as workspace:
        assert workspace.host.startswith("https://127.0.0.1:")
        answer = requests.get(workspace.host + "/.well-known/databricks-config", verify=str(tmp_path / "ca.pem"))
        assert answer.json()["workspace_id"] == workspace.workspace_id


def test_a_certificate_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        LocalWorkspace(ssl_certfile=str(tmp_path / "none.pem")).start()


# ---------------------------------------------------------------------------------------------- misuse


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda w: w.add_user("alice"), "already a principal named 'alice'"),
        (lambda w: w.add_user("alice@example.com"), "already a principal"),
        (lambda w: w.add_user(""), "printable name"),
        (lambda w: w.add_user("a\nb"), "printable name"),
        (lambda w: w.add_user("dan", groups="support"), "groups= takes names in a list"),
        (lambda w: w.token("nobody"), "No principal 'nobody' in this workspace; there are: alice, bob"),
        (lambda w: w.token("alice", scopes="sql"), "scopes= takes names in a list"),
        (lambda w: w.add_table("tickets", ROWS), "three parts"),
        (lambda w: w.add_table('main.s.t"; DROP', ROWS), "three parts"),
        (lambda w: w.add_table("main.s.t", []), "at least one row"),
        (lambda w: w.add_table("main.s.t", [{"a": 1}, {"a": "x"}]), "do not form columns"),
        (lambda w: w.add_index("main.s.i", ROWS, primary_key="no", text_column="text"), "needs a value in column 'no'"),
        (lambda w: w.add_index("main.s.i", ROWS * 2, primary_key="id", text_column="text"), "has a repeated value"),
        (lambda w: w.add_genie_space("g", warehouse_id="no", tables=[], answers={}), "no warehouse 'no'"),
        (lambda w: w.add_endpoint("llm", "not callable"), "must be callable"),
        (lambda w: w.add_endpoint("a/b", lambda _: ""), "letters, digits"),
        (lambda w: w.add_warehouse("a/b"), "letters, digits"),
        (lambda w: w.grant("alice", "SELECT", "main.s.none"), "No securable named 'main.s.none'"),
        (lambda w: w.grant("alice", "SELECT", "x", kind="planet"), "No kind of securable is called 'planet'"),
        (lambda w: w.add_fault(status=99), "status from 200 to 599"),
        (lambda w: setattr(w, "latency", -1), "latency must be a number of seconds"),
        (lambda w: setattr(w, "genie_polls", -1), "genie_polls is a number of polls"),
    ],
)
def test_misuse_says_how_to_mend_it(workspace, act, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        act(workspace)


def test_a_grant_must_fit_what_it_is_on(workspace):
    workspace.add_warehouse("same")
    workspace.add_endpoint("same", lambda _: "")
    workspace.add_table("main.s.t", ROWS)
    with pytest.raises(ValueError, match=r"'CAN RUN' cannot be granted on 'main.s.t' \(table: SELECT, "):
        workspace.grant("alice", "CAN RUN", "main.s.t")
    with pytest.raises(ValueError, match="No principal 'nobody'"):
        workspace.grant("nobody", "SELECT", "main.s.t")
    workspace.grant("alice", "can_use", "same")
    workspace.grant("alice", "CAN QUERY", "same")
    assert get(workspace, "/api/2.0/sql/warehouses/same", workspace.token("alice")).ok
    workspace.revoke("alice", "CAN USE", "same", kind="sql_warehouse")
    assert get(workspace, "/api/2.0/sql/warehouses/same", workspace.token("alice")).status_code == 403
    workspace.revoke("alice", "CAN USE", "same")
    workspace.add_index("main.s.i", ROWS, primary_key="id", text_column="text", endpoint="same")
    with pytest.raises(
        ValueError, match="'same' is ambiguous: pass kind= as one of sql_warehouse, vector_search_endpoint"
    ):
        workspace.grant("alice", "CAN USE", "same")
    with pytest.raises(ValueError, match="already a table or index"):
        workspace.add_index("main.s.t", ROWS, primary_key="id", text_column="text")


# ---------------------------------------------------------------------------------------------- log


def test_the_log_says_who_asked_for_what_over_which_connection(workspace):
    with requests.Session() as session:
        for _ in range(3):
            get(workspace, ME, workspace.token("alice", scopes=["iam.current-user:read"]), session)
        kept = [record.connection for record in workspace.log]
        assert len(set(kept)) == 1
    get(workspace, ME, workspace.token("bob"))
    assert len({record.connection for record in workspace.log}) == 2
    first = workspace.log.entries[0]
    assert (first.method, first.path, first.status, first.decision) == ("GET", ME, 200, "allowed")
    assert first.scopes_held == {"iam.current-user:read"}
    assert 0 <= first.seconds < 5
    assert abs(first.at - time.time()) < 60
    assert first.user_agent.startswith("python-requests/")
    assert hash(first) == hash(first)


def test_the_log_can_be_asked(workspace):
    get(workspace, ME, workspace.token("alice"))
    get(workspace, ME, workspace.token("bob"))
    get(workspace, "/nothing")
    log = workspace.log
    assert [record.user for record in log] == ["alice", "bob", None]
    assert len(log) == 3
    assert [record.path for record in log.filter(user="bob")] == [ME]
    assert len(log.filter(path="/api/2.0/", status=200)) == 2
    assert log.filter(decision="no credential", method="GET", kind=None)[0].path == "/nothing"
    assert log.filter(kind="service_principal") == ()
    lines = log.table().splitlines()
    assert lines[0].split() == ["who", "method", "path", "status", "decision", "missing", "scopes", "ms"]
    assert len(lines) == 4
    assert len(log.table(log.filter(user="bob")).splitlines()) == 2
    assert repr(log) == "<RequestLog of 3 requests>"
    log.clear()
    assert len(log) == 0
    assert log.entries == ()


def test_a_cookie_of_one_user_that_another_sends_is_seen(workspace):
    with requests.Session() as session:
        get(workspace, ME, workspace.token("alice"), session)
        get(workspace, ME, workspace.token("bob"), session)
    assert [dict(record.cookies) for record in workspace.log] == [{}, {"local_user": "alice"}]


def test_no_token_is_kept_or_shown(workspace, caplog):
    caplog.set_level(logging.DEBUG)
    principal = workspace.add_service_principal("robot")
    token = workspace.token("alice")
    get(workspace, ME, token)
    get(workspace, ME, token + "x")
    robot = WorkspaceClient(host=workspace.host, client_id=principal.client_id, client_secret=principal.client_secret)
    robot.current_user.me()
    with workspace.as_app() as app:
        headers = app.headers("alice")
        shown = [repr(app)]
    shown += [
        repr(workspace),
        repr(workspace.log.entries),
        workspace.log.table(),
        repr(principal),
        str(vars(workspace.log)),
        caplog.text,
    ]
    for secret in (token, token.rpartition(".")[2], principal.client_secret, headers["X-Forwarded-Access-Token"]):
        assert all(secret not in text for text in shown)


def test_twenty_users_at_once_are_told_apart(workspace):
    names = [f"user{number}" for number in range(20)]
    for name in names:
        workspace.add_user(name)
    tokens = {name: workspace.token(name) for name in names}

    def ask(name):
        with requests.Session() as session:
            return {get(workspace, ME, tokens[name], session).json()["userName"] for _ in range(10)}

    with ThreadPoolExecutor(20) as pool:
        for name, seen in zip(names, pool.map(ask, names), strict=True):
            assert seen == {f"{name}@example.com"}
    assert {name: len(workspace.log.filter(user=name)) for name in names} == dict.fromkeys(names, 10)


# ---------------------------------------------------------------------------------------------- faults


def test_a_fault_takes_the_place_of_an_answer_as_often_as_asked(workspace):
    token = workspace.token("alice")
    workspace.add_fault(status=429, path_prefix="/api/2.0/preview", headers={"Retry-After": "1"}, times=2)
    statuses = [get(workspace, ME, token).status_code for _ in range(3)]
    assert statuses == [429, 429, 200]
    assert [record.decision for record in workspace.log] == ["fault", "fault", "allowed"]
    workspace.add_fault(status=503, body="<html>Sorry</html>", times=None, user="bob")
    assert get(workspace, ME, token).status_code == 200
    assert get(workspace, ME, workspace.token("bob")).text == "<html>Sorry</html>"
    workspace.clear_faults()
    assert get(workspace, ME, workspace.token("bob")).status_code == 200


def test_the_sdk_waits_out_a_fault(workspace):
    workspace.add_fault(status=429, path_prefix=ME, headers={"Retry-After": "0"})
    config = Config(host=workspace.host, token=workspace.token("alice"), auth_type="pat", retry_timeout_seconds=5)
    assert WorkspaceClient(config=config).current_user.me().user_name == "alice@example.com"
    assert [record.status for record in workspace.log.filter(path=ME)] == [429, 200]


def test_latency_is_waited_for(workspace):
    workspace.latency = 0.1
    started = time.perf_counter()
    get(workspace, ME, workspace.token("alice"))
    assert time.perf_counter() - started >= 0.1
    assert workspace.log.entries[-1].seconds >= 0.1


# ---------------------------------------------------------------------------------------------- bad input


PATHS = [
    ("GET", "/api/2.0/nothing"),
    ("PUT", ME),
    ("POST", "/"),
    ("DELETE", "/serving-endpoints/llm/invocations"),
    ("GET", "/api/2.0/vector-search/indexes/main.s.i/nothing"),
    ("OPTIONS", "*"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_what_is_not_served_is_not_found(full, method, path):
    answer = requests.request(
        method,
        f"{full.host}{path if path.startswith('/') else '/' + path}",
        headers={"Authorization": f"Bearer {full.token('alice')}"},
    )
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"
    assert re.fullmatch(r"No API found for '\w+ /.*'", answer.json()["message"])


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"statement": 7}', b"{}", b'{"statement": ""}'],
)
def test_a_malformed_body_is_a_bad_request(full, body, no_finalizers):
    for path in (
        "/api/2.0/sql/statements",
        "/api/2.0/genie/spaces/g1/start-conversation",
        "/serving-endpoints/llm/invocations",
    ):
        answer = requests.post(
            full.host + path, data=body, headers={"Authorization": f"Bearer {full.token('alice')}"}, timeout=60
        )
        assert answer.status_code == 400
        assert answer.json()["error_code"] in {"MALFORMED_REQUEST", "INVALID_PARAMETER_VALUE"}


def test_a_huge_body_is_refused(full):
    answer = requests.post(
        full.host + "/api/2.0/sql/statements",
        data=b" " * (17 * 1024 * 1024),
        headers={"Authorization": f"Bearer {full.token('alice')}"},
    )
    assert (answer.status_code, answer.json()["error_code"]) == (413, "MAX_REQUEST_SIZE_EXCEEDED")


@pytest.mark.parametrize(
    "raw", [b"garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01", b"GET /" + b"x" * 200_000]
)
def test_what_is_no_http_does_not_hurt(full, raw):
    port = int(full.host.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        # The server may have hung up before it has read everything.
        answer = b""
        with contextlib.suppress(OSError):
            wire.sendall(raw)
            wire.shutdown(socket.SHUT_WR)
            answer = wire.recv(1000)
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert get(full, ME, full.token("alice")).ok


def test_the_token_endpoint_refuses_what_it_does_not_know(full):
    url = full.host + "/oidc/v1/token"
    assert requests.post(url, data={"grant_type": "password"}).json()["error"] == "unsupported_grant_type"
    for arguments in (
        {"data": {"grant_type": "client_credentials"}},
        {"data": {"grant_type": "client_credentials"}, "auth": ("x", "y")},
        {"data": {"grant_type": "client_credentials"}, "headers": {"Authorization": "Basic !!!"}},
        {"data": {"grant_type": "client_credentials", "client_id": "alice@example.com", "client_secret": ""}},
    ):
        answer = requests.post(url, **arguments)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert requests.post(url, data=b"\xff").status_code == 400


_TEXT = st.text(max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=8,
)
_FIELDS = st.sampled_from(
    [
        "statement", "warehouse_id", "parameters", "row_limit", "wait_timeout", "catalog", "schema", "disposition",
        "query_text", "columns", "num_results", "filters_json", "score_threshold", "query_type", "query_vector",
        "content", "messages", "model", "input", "stream", "tools", "prompt", "n", "instructions",
        "filter_string", "query_columns", "columns_to_rerank", "reranker", "page_token", "last_primary_key",
        "inputs_json", "primary_keys", "debug_level", "page_size", "include_all",
    ]
)  # fmt: skip
_VALUES = (
    _JSON
    | st.sampled_from(
        [
            "wh1",
            ["id"],
            "SELECT * FROM main.s.t",
            [{"role": "user", "content": "x"}],
            '{"id": 1}',
            "llm",
            "gte",
            "0s",
            "5s",
        ]
    )
    | st.sampled_from(
        [[0.5] * 256, '[{"id": 7, "text": "x"}]', '[{"id": "y", "text": 7}]', ["7", 1], "id = 1", "HYBRID", 3]
    )
)
_SEGMENTS = (
    st.sampled_from(["wh1", "main.s.t", "main.s.i", "main.s.none", "g1", "llm", "gte", "local-vs", "0", "-1"]) | _TEXT
)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
_TOKENS = ["good", "good", "good", "good", "scoped", "expired", "unknown", "none"]
_HEADERS = st.dictionaries(
    st.sampled_from(["Accept", "Content-Type", "Cookie", "X-Obo-Kit-Tool", "X-Forwarded-Access-Token", "Range"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
    max_size=2,
)


@pytest.fixture(scope="module")
def fuzzed(full):
    """What to send, and how: every route of the workspace, whoever added it."""
    tokens = {
        "good": full.token("alice"),
        "scoped": full.token("alice", scopes=["jobs", "x"], allow_unknown=True),
        "expired": full.token("alice", expires_in=0),
        "unknown": full.token("alice") + "x",
        "none": None,
    }
    with requests.Session() as session:
        yield [(api.method, api.path) for _, api in full._gate._routes], tokens, session


@settings(max_examples=int(os.environ.get("OBO_KIT_FUZZ", "300")), suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_request_brings_the_server_down(full, fuzzed, data):
    """No 5xx that nobody injected, and every refusal in a shape that clients know. `make fuzz` sends thousands."""
    routes, tokens, session = fuzzed
    method, template = data.draw(st.sampled_from(routes) | st.just(("GET", "/{a}/{b}")), label="route")
    if data.draw(st.integers(0, 9)) == 0:
        method = data.draw(st.sampled_from(_METHODS), label="method")
    path = re.sub(r"\{[^}]*\}", lambda _: _quoted(data.draw(_SEGMENTS)), template)
    authorization = tokens[data.draw(st.sampled_from(_TOKENS), label="token")]
    body = data.draw(
        st.dictionaries(_FIELDS | _TEXT, _VALUES, max_size=6).map(lambda body: json.dumps(body).encode())
        | st.binary(max_size=200),
        label="body",
    )
    query = data.draw(st.dictionaries(_TEXT, _TEXT, max_size=2), label="query")
    headers = {name: value.strip().encode("latin-1") for name, value in data.draw(_HEADERS, label="headers").items()}
    if authorization:
        headers["Authorization"] = f"Bearer {authorization}".encode()
    before = len(full.log)
    answer = session.request(
        method, full.host + path, data=body, headers=headers, params=query, timeout=60, allow_redirects=False
    )
    assert answer.status_code < 500, answer.text
    # A cloud's storage, which signed addresses lead to, refuses in XML.
    if answer.status_code >= 400 and method != "HEAD" and answer.headers["content-type"] != "application/xml":
        refusal = answer.json()
        assert refusal.keys() - {"details"} in ({"error_code", "message"}, {"error", "error_description"})
    records = full.log.entries[before:]
    assert [record.fault for record in records] == [None]
    if authorization == tokens["good"]:
        assert records[0].user in {"alice", None}
        assert records[0].user == "alice" or records[0].decision in {"allowed", "bad request", "invalid token"}


def _quoted(text):
    return quote(text.encode("utf-8", "replace"), safe="") or "x"


@pytest.mark.parametrize(
    "statement",
    [
        "SELEC 1",
        "'; DROP TABLE main.s.t; --",
        "SELECT * FROM main.s.t WHERE",
        "(" * 3000,
        "SELECT " + "1+" * 20_000 + "1",
        "\x00",
        "💥",
        "COPY main.s.t TO '/tmp/out.csv'",
        "ATTACH '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
    ],
)
def test_sql_that_is_not_sql_is_a_failed_statement(full, statement):
    answer = requests.post(
        full.host + "/api/2.0/sql/statements",
        json={"statement": statement, "warehouse_id": "wh1"},
        headers={"Authorization": f"Bearer {full.token('alice')}"},
        timeout=60,
    )
    assert answer.status_code in {200, 400}
    if answer.status_code == 200 and "1+" not in statement:
        assert answer.json()["status"]["state"] == "FAILED"
    assert get(full, ME, full.token("alice")).ok


def test_a_client_that_gives_up_leaves_no_trace_of_an_error(full, caplog):
    port = int(full.host.rpartition(":")[2])
    for sent in (
        b"POST /api/2.0/sql/statements HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n",
        b"GET / HTTP/1.1\r\nHo",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(sent + b"Authorization: Bearer " + full.token("alice").encode() + b"\r\n\r\n{")
    assert get(full, ME, full.token("alice")).ok
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_garbled_token_is_refused_in_any_form(full):
    for token in ("a.b.c", "....", "eyJhbGciOiJub25lIn0.e30.", "ÿ".encode("latin-1").decode("latin-1"), "x" * 5000):
        answer = requests.get(full.host + ME, headers={"Authorization": f"Bearer {token}".encode("latin-1")})
        assert (answer.status_code, answer.json()["error_code"]) == (403, 403)
    for header in ("Bearer", "Bearer  ", "Digest x", "Basic eDp5"):
        assert requests.get(full.host + ME, headers={"Authorization": header.strip()}).status_code == 401


# ---------------------------------------------------------------------------------------------- the refusals themselves


def test_every_refusal_says_how_well_it_is_known():
    for key, refusal in REFUSALS.items():
        assert refusal.standing in {"documented", "reported", "inferred"}, key
        assert refusal.source, key
        if refusal.standing == "reported":
            assert re.match(r"errors\.|fid:|ENDPOINT_NOT_FOUND|[\w-]+#\d+", refusal.source), key


def test_a_refusal_is_not_repeated_by_the_sdk(workspace):
    config = Config(host=workspace.host, token=workspace.token("alice"), auth_type="pat")
    workspace.add_warehouse("wh1")
    with pytest.raises(PermissionDenied):
        WorkspaceClient(config=config).warehouses.get("wh1")
    assert len(workspace.log.filter(path="/api/2.0/sql")) == 1


def test_the_notice_is_one_plain_line():
    assert "stand-in" in LocalWorkspace.NOTICE
    assert "\n" not in LocalWorkspace.NOTICE
