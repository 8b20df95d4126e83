"""Every client that the documentation of user authorization names, by hand and with the kit, on both targets.

examples/documentation: alice is answered the same, carol is refused, and the server saw nobody else.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import calls, of_mcp_1

import obo_kit

for package in ("databricks_langchain", "databricks_openai", "databricks_mcp"):
    pytest.importorskip(package, reason=f"{package} is an extra")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the clients' own
    pytest.mark.usefixtures("no_traces"),
]
FOLDER = Path(__file__).parents[2] / "examples" / "documentation"
# Each resource of the page with the clients that it names for it: the function of the example, and what it calls.
DOCUMENTED = {
    "vector search index": {
        "retriever_of_langchain": "databricks_langchain.VectorSearchRetrieverTool",
        "retriever_of_openai": "databricks_openai.VectorSearchRetrieverTool",
        "search": "VectorSearchClient",
    },
    "model serving endpoint": {"model": "client.serving_endpoints.query"},
    "SQL warehouse": {"warehouse": "client.statement_execution.execute_statement"},
    "UC connection": {"connection": "client.serving_endpoints.http_request"},
    "Genie space": {
        "genie_agent": "databricks_langchain.genie.GenieAgent",
        "genie": "databricks_ai_bridge.genie.Genie",
        "genie_of_the_sdk": "client.genie.start_conversation_and_wait",
    },
    "MCP server": {"mcp": "databricks_mcp.DatabricksMCPClient"},
}
ROWS = [row for clients in DOCUMENTED.values() for row in clients]
SCOPES = ["all-apis", "ai-search"]


def load(name):
    of_mcp_1("databricks_langchain", "ChatDatabricks")
    spec = importlib.util.spec_from_file_location(f"documentation_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def before():
    return load("before")


@pytest.fixture(scope="module")
def after():
    return load("after")


@pytest.fixture(scope="module")
def shared(furnished_workspace):
    """The furnished workspace, with a connection to a service of somebody else's."""

    class Service(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"up")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        furnished_workspace.add_connection("status", f"http://127.0.0.1:{service.server_address[1]}")
        for user in ("alice", "bob"):
            furnished_workspace.grant(user, "USE CONNECTION", "status")
        yield furnished_workspace
        service.shutdown()


@pytest.fixture(params=["model-serving", "apps"])
def target(request, shared):
    """What serves a user's request: its name, a block to be in, and what the recipe builds there."""
    shared.log.clear()
    if request.param == "apps":
        with shared.as_app() as app:
            yield "apps", lambda user: app.user(user, scopes=SCOPES), app
    else:
        with shared.as_model_serving() as serving:
            yield "model-serving", lambda user: serving.user(user, scopes=SCOPES), serving


def by_hand(before, row, name, workspace, user):
    """The recipe's client, built in the request."""
    if name == "model-serving":
        return before.search_on_model_serving() if row == "search" else before.on_model_serving()
    token = workspace.token(user, scopes=SCOPES)
    return before.search_on_apps(workspace.host, token) if row == "search" else before.on_apps(token)


def seen(workspace):
    return {record.user for record in calls(workspace)} - {None}


@pytest.mark.parametrize("row", ROWS)
def test_each_client_acts_as_the_user_by_hand_and_with_the_kit(shared, target, before, after, row):
    """Rules 1, 2, 9, 15 and 16."""
    name, request_of, _ = target
    with request_of("alice"):
        answer = getattr(before, row)(by_hand(before, row, name, shared, "alice"))
        assert answer
        with obo_kit.user_session() as session:
            with_kit = getattr(after, row)()
            assert list(session.denials) == []
    if row not in ("genie_of_the_sdk", "mcp"):  # whose answers hold ids
        assert with_kit == answer
    assert seen(shared) == {"alice"}
    shared.log.clear()
    with request_of("carol"), obo_kit.user_session() as session:
        assert getattr(after, row)() == after.NO
        assert len(session.denials) == 1
    assert seen(shared) <= {"carol"}


_BUILT_BY_HAND = {"on_model_serving", "on_apps", "search_on_model_serving", "search_on_apps"}


@pytest.mark.parametrize("form", ["before", "after"])
def test_every_client_of_the_page_has_an_example_and_every_example_one_of_them(form):
    """The list above is the page's; the examples run in the test before this one."""
    tree = ast.parse((FOLDER / f"{form}.py").read_text("utf-8"))
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert functions.keys() - _BUILT_BY_HAND == set(ROWS)
    for clients in DOCUMENTED.values():
        for row, client in clients.items():
            node = functions[row]
            named = {imported.get(part.id, part.id) for part in ast.walk(node) if isinstance(part, ast.Name)} | {
                ast.unparse(part) for part in ast.walk(node) if isinstance(part, ast.Attribute)
            }
            assert any(name == client or name.endswith(f".{client}") for name in named), (row, client)


def test_the_policy_is_collected_for_both_targets(before, after):
    """Rules 21 and 22: what the recipe declares by hand, without what another scope covers."""
    policy = obo_kit.auth_policy(after).to_dict()
    assert policy["user_auth_policy"] == before.POLICY.to_dict()["user_auth_policy"]
    assert obo_kit.app_config(after)["user_api_scopes"] == before.POLICY.to_dict()["user_auth_policy"]["api_scopes"]
