"""Every client that the documentation of user authorization names, by hand and with the kit, on both targets.

examples/documentation: alice is answered the same, carol is refused, and the server saw nobody else.
"""

from __future__ import annotations

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
ROWS = (
    "retriever_of_langchain", "retriever_of_openai", "search", "model", "warehouse", "connection", "genie_agent", "genie",
    "genie_of_the_sdk", "mcp",
)  # fmt: skip
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


def test_the_policy_is_collected_for_both_targets(before, after):
    """Rules 21 and 22: what the recipe declares by hand, without what another scope covers."""
    policy = obo_kit.auth_policy(after).to_dict()
    assert policy["user_auth_policy"] == before.POLICY.to_dict()["user_auth_policy"]
    assert obo_kit.app_config(after)["user_api_scopes"] == before.POLICY.to_dict()["user_auth_policy"]["api_scopes"]
