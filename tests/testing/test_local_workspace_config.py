"""A workspace written down: what a file says, and what is said of a file that cannot be used (design, section 6)."""

from __future__ import annotations

import pytest
import requests

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

from obo_kit.testing import ConfigError, LocalWorkspace
from obo_kit.testing.config import fill, scripted, users_of

WHOLE = """\
latency: 0.001
users:
  alice: {groups: [support]}
  bob:
service_principals: [robot]
warehouses:
  01e5: {name: Main}
tables:
  main.shop.orders:
    rows: [{id: 1, item: tea}, {id: 2, item: cup}]
indexes:
  main.shop.faq: {rows: faq.csv, primary_key: id, text_column: text}
genie_spaces:
  0123:
    warehouse_id: 01e5
    tables: [main.shop.orders]
    answers:
      How many orders?: SELECT count(*) FROM main.shop.orders
endpoints:
  llm: Hello
  turns:
    - tool_calls: [{function: {name: count_orders, arguments: {}}}]
    - There are two.
  asked:
    model:
      What is open?: Everything.
      "*": I do not know.
  coded: !python shop_models:shout
grants:
  support:
    SELECT: [main.shop.orders, main.shop.faq]
    CAN USE: 01e5
    CAN RUN: {securable: "0123", kind: genie_space}
  users:
    CAN QUERY: [llm, turns, asked, coded]
faults:
  - {kind: latency, seconds: 0.01, path_prefix: /serving-endpoints, times: null}
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "workspace.yaml"
        path.write_text(text)
        return path

    (tmp_path / "faq.csv").write_text("id,text\n1,Refunds take two weeks\n2,Sign in again\n")
    (tmp_path / "shop_models.py").write_text("def shout(body):\n    return body['messages'][-1]['content'].upper()\n")
    return write


def post(workspace, user, path, **body):
    headers = {"Authorization": f"Bearer {workspace.token(user)}"}
    answer = requests.post(workspace.host + path, json=body, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.json()


def say(workspace, endpoint, *messages):
    messages = [{"role": role, "content": content} for role, content in messages]
    path = f"/serving-endpoints/{endpoint}/invocations"
    return post(workspace, "bob", path, messages=messages)["choices"][0]["message"]


def test_a_whole_file_becomes_a_workspace(write):
    with LocalWorkspace.from_config(write(WHOLE)) as workspace:
        assert workspace.users == ("alice", "bob")
        assert workspace.latency == 0.001
        assert workspace.service_principal("robot").client_id
        statement = {"statement": "SELECT item FROM main.shop.orders ORDER BY id", "warehouse_id": "01e5"}
        assert post(workspace, "alice", "/api/2.0/sql/statements", **statement)["result"]["data_array"][0] == ["tea"]
        found = post(
            workspace,
            "alice",
            "/api/2.0/vector-search/indexes/main.shop.faq/query",
            query_text="refund",
            columns=["id", "text"],
            num_results=1,
        )
        assert found["result"]["data_array"][0][:2] == [1, "Refunds take two weeks"]
        started = post(workspace, "alice", "/api/2.0/genie/spaces/0123/start-conversation", content="how many orders")
        assert started["message"]["status"] in {"COMPLETED", "EXECUTING_QUERY", "SUBMITTED"}
        assert say(workspace, "llm", ("user", "x"))["content"] == "Hello"
        assert say(workspace, "coded", ("user", "hello"))["content"] == "HELLO"
        assert workspace.log.entries[-1].fault == "latency"


def test_a_scripted_model_answers_by_turn_or_by_question(write):
    with LocalWorkspace.from_config(write(WHOLE)) as workspace:
        call = say(workspace, "turns", ("user", "How many?"))["tool_calls"][0]
        assert call["function"] == {"name": "count_orders", "arguments": "{}"}
        for extra in ([], [("assistant", "There are two."), ("user", "Sure?")]):
            turns = [("user", "How many?"), ("assistant", ""), ("tool", "2"), *extra]
            assert say(workspace, "turns", *turns)["content"] == "There are two."
        assert say(workspace, "asked", ("user", "what is  OPEN"))["content"] == "Everything."
        assert say(workspace, "asked", ("user", "who?"))["content"] == "I do not know."


def test_a_script_without_an_answer_is_an_error_of_the_model():
    model = scripted({"one?": "1"})
    with pytest.raises(LookupError, match="the script has no answer for 'two', and none for"):
        model({"messages": [{"role": "user", "content": "two"}]})
    for nonsense in (7, [], {}, [7], {"a": 7}):
        with pytest.raises(ValueError, match="a model is an answer"):
            scripted(nonsense)


def test_a_mapping_says_the_same_without_a_file():
    config = {"users": ["alice"], "endpoints": {"llm": lambda body: "Hi"}, "grants": {"alice": {"CAN QUERY": "llm"}}}
    workspace = LocalWorkspace.from_config(config)
    assert workspace.users == ("alice",)
    with pytest.raises(ConfigError, match=r"^workspace config: user: unknown key; did you mean 'users'"):
        LocalWorkspace.from_config({"user": []})
    with pytest.raises(ConfigError, match="a key must be text, not 7"):
        LocalWorkspace.from_config({"users": {7: None}})


def test_every_method_that_adds_has_a_section(write):
    """A new ``add_…`` needs no line in the reader of the file."""
    with pytest.raises(ConfigError) as caught:
        LocalWorkspace.from_config(write("zzzzzz: 1"))
    methods = [name.removeprefix("add_") for name in dir(LocalWorkspace) if name.startswith("add_")]
    assert all(f"{name}s" in str(caught.value) or f"{name}es" in str(caught.value) for name in methods)


def test_anchors_and_merges_are_understood(write):
    text = "users: [alice]\nwarehouses:\n  a: &a {name: One}\n  b: {<<: *a, name: Two}\n  c: *a\n"
    LocalWorkspace.from_config(write(text))


def test_users_are_read_without_making_a_workspace(write):
    assert users_of(write(WHOLE)) == ["alice", "bob"]
    assert users_of(write("users: [{name: alice, groups: [x]}, 007]")) == ["alice", "007"]
    assert users_of(write("")) == []


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("user: [alice]", 1, "user", "unknown key; did you mean 'users'?"),
        ("users:\n  alice:\n    group: [a]", 3, "users.alice.group", "unknown key; did you mean 'groups'?"),
        ("users:\n  alice: {name: bob}", 2, "users.alice.name", "unknown key; known here: groups"),
        ("users:\n  alice:\n    groups: support", 2, "users.alice", "groups= takes names in a list"),
        ("users:\n  alice: 7", 2, "users.alice", "expected keys and values, not 7"),
        ("users:\n  alice:\n  alice:", 3, "users.alice", "is repeated"),
        ("users: [alice, alice]", 1, "users.1", "already a principal named 'alice'"),
        ("users: alice", 1, "users", "expected keys and values, not 'alice'"),
        ("users:\n  ? [a]\n  : b", 2, "users", "a key must be text"),
        ("tables:\n  main.s.t: {}", 2, "tables.main.s.t", "needs 'rows'"),
        ("tables:\n  main.s.t:\n    rows: no.csv", 3, "tables.main.s.t.rows", "cannot be read from"),
        ("tables:\n  main.s.t:\n    rows: [7]", 2, "tables.main.s.t", "does not fit"),
        ("warehouses:\n  a:\n    name: [x]", 3, "warehouses.a.name", "expected text, not a list"),
        ("warehouses:\n  a:\n    name: {x: y}", 3, "warehouses.a.name", "expected text, not keys and values"),
        ("genie_spaces:\n  g:\n    warehouse_id: w\n    tables: []\n    answers: {}", 2, "genie_spaces.g", "no warehouse 'w'"),
        ("endpoints:\n  llm: [7]", 2, "endpoints.llm.model", "a model is an answer"),
        ("endpoints:\n  llm: !python nowhere:model", 2, "endpoints.llm", "No module named 'nowhere'"),
        ("endpoints:\n  llm: !python nowhere", 2, "endpoints.llm", "write !python module:name"),
        ("grants:\n  alice:\n    SELECT: x", 3, "grants.alice.SELECT", "No securable named 'x'"),
        ("grants:\n  alice:\n    SELECT:\n      - {securable: x, sort: y}", 4, "grants.alice.SELECT.0.sort", "unknown key"),
        ("grants: [alice]", 1, "grants", "expected keys and values, not a list"),
        ("faults:\n  - kind: gremlin", 2, "faults.0", "A fault is one of"),
        ("faults:\n  - {status: 503}\n  - {status: 503, after: soon}", 3, "faults.1.after", "a whole number, not 'soon'"),
        ("latency: soon", 1, "latency", "does not fit"),
        ("latency: -1", 1, "latency", "latency must be a number of seconds"),
        ("host: 0.0.0.0", 1, "host", "listens on 127.0.0.1 and nowhere else"),
        ("users:\n - [", 2, "", "is not YAML"),
        ("users: &a [*a]", 1, "users.0", "contains itself"),
        ("latency: !wat 1", 1, "", "could not determine a constructor"),
        ("[1, 2]", 1, "", "expected keys and values, not a list"),
        ("users: [a]\x00", None, "", "is not YAML"),
        ("[" * 5000, None, "", "is not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_file_line_and_key(write, text, line, key, said):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        LocalWorkspace.from_config(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert (caught.value.line, caught.value.key) == (line, key)
    assert caught.value.file == str(path)


def test_a_file_that_is_not_there_or_no_text_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        LocalWorkspace.from_config(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="cannot be read: not UTF-8"):
        LocalWorkspace.from_config(tmp_path / "bytes.yaml")


def test_without_pyyaml_a_file_says_what_to_install(write, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match="needs pyyaml"):
        LocalWorkspace.from_config(write("users: []"))
    fill(LocalWorkspace(), {"users": ["alice"]})


def test_a_service_principal_nobody_added_is_an_error():
    with pytest.raises(ValueError, match="There is no service principal 'robot'"):
        LocalWorkspace().service_principal("robot")


@pytest.mark.parametrize("port", [-1, 70000])
def test_a_port_is_a_port(port):
    with pytest.raises(ValueError, match="port must be a number from 0"):
        LocalWorkspace(port=port)
