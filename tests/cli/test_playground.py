"""The playground without a browser: what it asks, what it shows of it, and whom it answers."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import requests

from obo_kit import PolicyError
from obo_kit.testing import LocalWorkspace

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

from obo_kit.cli.playground import Playground, _playground
from obo_kit.cli.playground._answers import redacted, request_of, text_lines, text_of
from obo_kit.policy._agent_file import AgentFile
from obo_kit.policy._reachable import reached_declarations

STARTER = Path(__file__).parents[2] / "examples" / "starter"
RUNTIME = ("DATABRICKS_", "IS_IN_DB_MODEL")
QUESTION = "How many orders are there?"


def loaded(path: Path):
    spec = importlib.util.spec_from_file_location(f"starter_{path.parent.name.replace('-', '_')}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def forget_agent_server() -> None:
    """MLflow's agent server takes its two functions once for each process."""
    server = sys.modules.get("mlflow.genai.agent_server.server")
    if server is not None:
        server._invoke_function = server._stream_function = None


@pytest.fixture(scope="module", params=["model-serving", "apps"])
def running(request):
    """The agents that `obo-kit init` writes, collected in this process: the fresh one has tests of its own."""
    pytest.importorskip("fastapi", reason="MLflow's agent server")
    path = STARTER / request.param / "agent.py"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, when it saves a model
        patch.setenv("DATABRICKS_CONFIG_FILE", "/dev/null")
        forget_agent_server()
        module = loaded(path)
        forget_agent_server()
        patch.setattr(
            _playground,
            "collect",
            lambda _: AgentFile(
                declarations=reached_declarations([module]),
                model="Agent",
                loads=True,
                helpers={},
                target=(request.param, "the test says so"),
            ),
        )
        picture, policy = _playground.picture_of, sys.modules["obo_kit.cli.playground._agents"].auth_policy
        patch.setattr(_playground, "picture_of", lambda _, target: picture(module, target=target))
        patch.setattr("obo_kit.cli.playground._agents.auth_policy", lambda _: policy(module))
        with Playground(str(path)) as served:
            yield served, {name: value for name, value in os.environ.items() if name.startswith(RUNTIME)}
        forget_agent_server()


@pytest.fixture
def playground(running, _clean_surroundings, monkeypatch):
    """The runtime's environment, which each test begins without."""
    served, environment = running
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return served


def lines_of(playground, **body):
    answer = requests.post(
        playground.url + "api/ask", json={"question": QUESTION, "scopes": ["sql"], **body}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def text(lines) -> str:
    return "".join(line["text"] for line in lines if line["type"] in ("delta", "answer")).strip()


# ---------------------------------------------------------------------------------------------- asking


def test_each_user_is_answered_with_what_they_may_see(playground):
    alice, bob = (lines_of(playground, user=user) for user in ("alice", "bob"))
    assert text(alice) == "There are 2 orders."
    assert text(bob) == "Order data is not available to you."
    assert {line["user"] for line in bob if line["type"] == "request" and line["user"]} == {"bob"}
    assert alice[-1] == bob[-1] == {"type": "done"}


def test_the_timeline_says_what_went_out_and_how_to_get_what_was_refused(playground):
    lines = lines_of(playground, user="bob")
    (sent,) = (line for line in lines if line["type"] == "request" and line["tool"] == "count_orders")
    assert (sent["decision"], sent["scopes_needed"]) == ("missing grant", ["sql"])
    assert "sql" in sent["scopes_held"]
    assert sent["grants"] == ["CAN USE on the warehouse"]
    (tool,) = (line for line in lines if line["type"] == "tool")
    assert (tool["outcome"], tool["reason"], tool["resource"]) == ("denied", "access_denied", "main.shop.orders")
    assert "GRANT SELECT ON TABLE main.shop.orders" in tool["remedy"]
    assert lines.index(sent) < lines.index(tool)


def test_a_scope_that_is_taken_away_is_missed(playground):
    lines = lines_of(playground, user="alice", scopes=[])
    (tool,) = (line for line in lines if line["type"] == "tool")
    assert (tool["reason"], tool["missing"]) == ("missing_scope", ["sql"])
    assert text(lines) == "Order data is not available to you."


def test_a_grant_is_given_and_taken_away(playground):
    body = {"principal": "bob", "privilege": "SELECT", "kind": "table", "name": "main.shop.orders"}
    for held, answer in ((True, "There are 2 orders."), (False, "Order data is not available to you.")):
        grants = requests.post(playground.url + "api/grant", json={**body, "held": held}, timeout=60).json()
        (row,) = (row for row in grants["rows"] if row["name"] == "main.shop.orders")
        assert ("bob" in row["holders"]) is held
        assert text(lines_of(playground, user="bob")) == answer


def test_both_users_at_once_keep_their_own_timelines(playground):
    from concurrent.futures import ThreadPoolExecutor

    users = ["alice", "bob"] * 4
    with ThreadPoolExecutor(len(users)) as pool:
        for user, lines in zip(users, pool.map(lambda user: lines_of(playground, user=user), users), strict=True):
            assert {line["user"] for line in lines if line["type"] == "request"} == {user}
            assert sum(line["type"] == "tool" for line in lines) == 1


def test_no_token_is_in_what_the_page_gets(playground):
    """Rule 8."""
    lines = json.dumps([lines_of(playground, user=user) for user in playground.workspace.users])
    state = requests.get(playground.url + "api/state", timeout=60).text
    assert "eyJ" not in lines + state
    token = playground.workspace.token("alice")
    assert redacted(f"My token is {token}.") == "My token is [token]."


def test_the_state_says_who_and_what_there_is(playground):
    state = requests.get(playground.url + "api/state", timeout=60).json()
    assert (state["users"], [scope["name"] for scope in state["scopes"]]) == (["alice", "bob"], ["sql"])
    assert state["grants"]["columns"] == ["alice", "bob", "users"]
    assert state["policy"]["tools"][0]["name"] == "count_orders"
    assert state["routes"][:1] == (["POST /invocations"] if state["target"] == "apps" else [])
    drawing = requests.get(playground.url + "policy.svg", timeout=60)
    assert drawing.headers["content-type"] == "image/svg+xml"
    assert ET.fromstring(drawing.content).attrib["role"] == "img"


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("ask", {"user": "carol", "scopes": [], "question": "?"}, "no user 'carol'"),
        ("ask", {"user": "alice"}, "scopes"),
        (
            "grant",
            {"principal": "bob", "privilege": "FLY", "kind": "table", "name": "main.shop.orders", "held": True},
            "FLY",
        ),
        ("grant", {"principal": "bob"}, "privilege"),
    ],
)
def test_what_cannot_be_asked_is_said(playground, path, body, word):
    answer = requests.post(f"{playground.url}api/{path}", json=body, timeout=60)
    assert (answer.status_code, word in answer.json()["error"]) == (400, True)


def test_an_agent_that_fails_says_so_without_a_token(playground, monkeypatch):
    token = playground.workspace.token("alice")

    def ask(*_):
        yield {"type": "response.output_text.delta", "delta": "Well, "}
        raise RuntimeError(f"cannot use {token}")

    monkeypatch.setattr(playground.agent, "ask", ask)
    lines = lines_of(playground, user="alice")
    assert lines[-2] == {"type": "error", "text": "RuntimeError: cannot use [token]"}


# ---------------------------------------------------------------------------------------------- whom it answers


def request(playground, path="api/state", method="GET", **headers):
    return requests.request(
        method, playground.url + path, headers=headers, timeout=60, data="{}" if method == "POST" else None
    )


def test_another_name_for_this_machine_is_refused(playground):
    """A page of a name that resolves to 127.0.0.1 would share the page's origin."""
    port = playground.url.split("/")[2].rpartition(":")[2]
    for host in (f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{int(port) - 1}", f"127.0.0.1.evil.example:{port}"):
        assert request(playground, Host=host).status_code == 421
    assert request(playground, Host=f"localhost:{port}").status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
def test_another_page_is_refused(playground, origin):
    for method in ("GET", "POST"):
        answer = request(playground, method=method, Origin=origin, **{"Content-Type": "application/json"})
        assert answer.status_code == 403
    assert request(playground, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert request(playground, **{"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_a_form_of_another_page_is_refused(playground):
    """Forms send no JSON, and what sends JSON has to ask the browser's leave first, which nobody gives."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert request(playground, "api/ask", "POST", **{"Content-Type": kind}).status_code == 415
    asked = request(playground, "api/ask", "OPTIONS", Origin="https://evil.example")
    assert "access-control-allow-origin" not in asked.headers


def test_too_much_is_refused(playground):
    answer = requests.post(playground.url + "api/ask", json={"question": "x" * 300_000}, timeout=60)
    assert answer.status_code == 413


def test_nothing_is_answered_without_the_token_of_the_address(playground):
    root, token = playground.url.rstrip("/").rsplit("/", 1)
    assert len(token) >= 32
    for path in ("/", "/api/state", "/page.js", f"/{token[:-1]}/", f"/{token}x/api/state", "//", f"/x/{token}/"):
        answer = requests.get(root + path, timeout=60)
        assert answer.status_code == 404
        assert token not in answer.text


def test_the_page_is_framed_cached_and_told_of_nowhere(playground):
    for path in ("", "page.js", "page.css", "icon.svg", "api/state", "api/nothing"):
        headers = requests.get(playground.url + path, timeout=60).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_for_nothing_from_elsewhere():
    folder = Path(_playground.__file__).parent
    for name in ("page.html", "page.css", "page.js"):
        source = (folder / name).read_text("utf-8")
        assert "://" not in source
        assert "innerHTML" not in source


# ---------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("plain", "plain"),
        ({"output": [{"type": "message", "content": [{"text": "a"}, {"text": "b"}]}]}, "ab"),
        ({"messages": [{"content": "first"}, {"content": "last"}]}, "last"),
        ({"choices": [{"message": {"content": "chosen"}}]}, "chosen"),
        ({"answer": "given"}, "given"),
        ({"predictions": "text"}, "text"),
        ({"rows": 3}, '{\n  "rows": 3\n}'),
        ([1, 2], "[1, 2]"),
        ({"output": [{"type": "function_call_output", "output": "x"}]}, ""),
        ({"type": "response.completed"}, ""),
    ],
)
def test_the_text_of_an_answer_is_found_in_whatever_form(answer, expected):
    assert text_of(answer) == expected


def test_steps_are_shown_once_and_whole_items_where_there_were_no_steps():
    done = {"type": "response.output_item.done", "item": {"type": "message", "content": "Hello you"}}
    step = {"type": "response.output_text.delta", "delta": "Hello "}
    assert [line["text"] for line in text_lines([step, step, done])] == ["Hello ", "Hello "]
    assert [line["text"] for line in text_lines([done, step, done, done])] == ["Hello you", "Hello ", "Hello you"]
    chunk = {"choices": [{"delta": {"content": "x"}}]}
    assert list(text_lines([chunk, {"choices": [{"delta": {}}]}])) == [
        {"type": "delta", "text": "x"},
        {"type": "delta", "text": ""},
    ]
    assert [line["text"] for line in text_lines([{"delta": {"content": "y"}}, 7])] == ["y"]


def test_a_question_is_a_message_or_the_object_it_is_written_as():
    assert request_of("Hi") == {"input": [{"role": "user", "content": "Hi"}]}
    assert request_of("Hi", chat=True) == {"messages": [{"role": "user", "content": "Hi"}]}
    assert request_of(' {"query": 1}') == {"query": 1}
    assert request_of("{curly}") == {"input": [{"role": "user", "content": "{curly}"}]}


# ---------------------------------------------------------------------------------------------- other applications

FLASK = """
from databricks.sdk import WorkspaceClient
from flask import Flask, request

from obo_kit import user_session, with_user_client

app = Flask(__name__)


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name


@app.get("/")
@user_session(headers=lambda: request.headers)
def answer():
    return whoami()


@app.post("/ask")
@user_session(headers=lambda: request.headers)
def ask():
    return {"answer": f"{request.json['question']} {whoami()}"}


@app.get("/items/<name>")
def item(name): ...
"""


def test_a_flask_app_is_asked_as_its_users(tmp_path):
    from obo_kit.cli.playground._agents import app_agent

    (tmp_path / "flask_agent.py").write_text(FLASK)
    with LocalWorkspace.from_config({"users": ["alice", "bob"]}) as workspace:
        with app_agent(str(tmp_path / "flask_agent.py"), workspace) as agent:
            assert agent.routes == ("POST /ask", "GET /")
            for user in ("alice", "bob"):
                assert list(agent.ask(user, ["sql"], "Who?", "POST /ask")) == [{"answer": f"Who? {user}@example.com"}]
                (line,) = text_lines(agent.ask(user, ["sql"], "Who?", "GET /"))
                assert line["text"] == f"{user}@example.com"
        assert {record.user for record in workspace.log.filter(kind="user")} == {"alice", "bob"}


@pytest.mark.parametrize(
    ("imports", "page"),
    [
        ("import streamlit as st", "Streamlit"),
        ("import gradio as gr\nimport mlflow", "Gradio"),
        ("from dash import Dash\nfrom flask import request", "Dash"),
        ("from shiny import App", "Shiny"),
        ("import gradio\nfrom fastapi import FastAPI", None),
        ("import gradio\nfrom mlflow.genai.agent_server import AgentServer", None),
    ],
)
def test_a_page_is_refused_before_it_runs(tmp_path, imports, page):
    from obo_kit.cli.playground._apps import refuse_pages

    (tmp_path / "page.py").write_text(f"{imports}\nraise SystemExit('it ran')\n")
    if page is None:
        refuse_pages(str(tmp_path / "page.py"))
        return
    with pytest.raises(PolicyError, match=f"is a {page} page") as caught:
        refuse_pages(str(tmp_path / "page.py"))
    assert "pytest" in caught.value.remedy


# ---------------------------------------------------------------------------------------------- the workspace


def test_without_a_file_there_are_alice_and_bob_and_what_the_agent_declares():
    config = _playground._default_config([("sql_warehouse", "w1"), ("serving_endpoint", "llm"), ("uc_table", "a.b.c")])
    with LocalWorkspace.from_config(config) as workspace:
        assert workspace.users == ("alice", "bob")
        assert _playground._declared_grants([("sql_warehouse", "w1"), ("uc_table", "a.b.c")], workspace) == [
            ("CAN USE", "sql_warehouse", "w1")
        ]
        assert ("alice@example.com", "CAN QUERY", "serving_endpoint", "llm") in workspace._grants.entries()
    assert LocalWorkspace.from_config(_playground._default_config([])).users == ("alice", "bob")


def test_the_file_of_the_workspace_is_looked_for_beside_the_agent_and_here(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path)
    assert _playground._beside("src/agent.py") is None
    (tmp_path / "workspace.yaml").write_text("users: [alice]\n")
    assert _playground._beside("src/agent.py") == str(tmp_path / "workspace.yaml")
    (tmp_path / "src" / "workspace.yaml").write_text("users: [bob]\n")
    assert _playground._beside("src/agent.py") == str(tmp_path / "src" / "workspace.yaml")


def test_a_workspace_without_users_is_refused(monkeypatch):
    monkeypatch.setattr(
        _playground, "collect", lambda _: AgentFile(declarations=[], model=None, loads=False, helpers={})
    )
    with pytest.raises(PolicyError, match="no users to ask as"):
        Playground("agent.py", config={"warehouses": ["w"]}).start()


def test_a_file_without_an_application_is_refused(tmp_path):
    from obo_kit.cli.playground._agents import app_agent

    path = tmp_path / "no_app_in_here.py"
    path.write_text("x = 1\n")
    with (
        LocalWorkspace.from_config({"users": ["alice"]}) as workspace,
        pytest.raises(PolicyError, match="holds no application"),
        app_agent(str(path), workspace),
    ):
        pass
    sys.modules.pop("no_app_in_here")


PAGES = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

async def greet(request):
    return PlainTextResponse("Hello " + request.query_params["question"])

async def count(request):
    return Response(b'data: {"answer": "one"}\\n\\ndata: two\\n\\ndata: [DONE]\\n\\n', media_type="text/event-stream")

async def whole(request):
    return Response(b'{"answer": "' + (await request.json())["question"].encode() + b'"}', media_type="application/json")

async def broken(request):
    return PlainTextResponse("out of order", 500)

routes = [Route("/greet", greet), Route("/count", count), Route("/whole", whole, methods=["POST"]), Route("/broken", broken)]
app = Starlette(routes=routes)
"""


def test_an_app_of_any_routes_is_asked_by_them(tmp_path):
    from obo_kit.cli.playground._agents import app_agent

    path = tmp_path / "pages_of_a_test.py"
    path.write_text(PAGES)
    with LocalWorkspace.from_config({"users": ["alice"]}) as workspace, app_agent(str(path), workspace) as app:
        assert app.routes == ("POST /whole", "GET /greet", "GET /count", "GET /broken")

        def answered(route):
            return [line["text"] for line in text_lines(app.ask("alice", [], "you", route))]

        assert answered("GET /greet") == ["Hello you"]
        assert answered("GET /count") == ["one", "two"]
        assert answered("POST /whole") == answered("") == ["you"]
        with pytest.raises(RuntimeError, match="The app answered 500: out of order"):
            answered("GET /broken")
    sys.modules.pop("pages_of_a_test")


# ---------------------------------------------------------------------------------------------- the picture


def test_a_drawing_is_xml_whatever_a_resource_is_called():
    from obo_kit.policy._drawing import as_svg
    from obo_kit.policy._report import Need, Picture, System, Tool

    needs = (
        Need(resource='Genie space "<b>&', scopes=("genie",), grants=()),
        Need(resource=None, scopes=(), grants=()),
        Need(resource="A table with a name that is much longer than a box is wide", scopes=("sql",), grants=()),
    )
    picture = Picture(
        target="apps",
        scopes=("genie", "sql"),
        tools=(Tool(name="ask", needs=needs),),
        system=(System(resource="Serving endpoint llm", permission="CAN_QUERY"),),
        reach={},
    )
    svg = ET.fromstring(as_svg(picture))
    space = "{http://www.w3.org/2000/svg}"
    words = [element.text for element in svg.iter(f"{space}text")]
    assert {"ask", "(unasked)", 'Genie space "<b>&', "the user", "(the agent)", "the agent itself"} <= set(words)
    assert 'Genie space "<b>&' in svg.find(f"{space}desc").text
    assert len(list(svg.iter(f"{space}path"))) == 10
