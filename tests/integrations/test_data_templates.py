"""Pages in the shapes of the four official data templates with the SQL connector, each in its own framework, as users.

Nothing in them knows of the kit or of the local workspace: they find the host and the app's identity in the environment, and
the user in the headers. `make test-apps` installs the frameworks.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_apps import needs, streamlit

from obo_kit.testing import LocalWorkspace

pytest.importorskip("databricks.sql", reason="needs databricks-sql-connector")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.slow,
    pytest.mark.usefixtures("no_analytics"),
]

PAGES = Path(__file__).parent / "data_templates"
PATH = "/sql/1.0/warehouses/wh1"
Ask = Callable[[dict[str, str]], str]


def page(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"template_{name}", PAGES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def gradio() -> Iterator[Ask]:
    needs("gradio")
    import fastapi
    import gradio
    from fastapi.testclient import TestClient

    with TestClient(
        gradio.mount_gradio_app(fastapi.FastAPI(), page("gradio_page").demo, "/", show_error=True)
    ) as client:

        def call(name: str, data: list[str], headers: dict[str, str]) -> list[str]:
            event = client.post(f"/gradio_api/call/{name}", json={"data": data}, headers=headers).json()["event_id"]
            said = client.get(f"/gradio_api/call/{name}/{event}", headers=headers).text
            return json.loads(said.rpartition("data: ")[2])

        def ask(headers: dict[str, str]) -> str:
            answer = call("summary", call("token", [], headers), headers)
            return json.dumps(answer)

        yield ask


@contextmanager
def dash() -> Iterator[Ask]:
    needs("dash")
    app = page("dash_page").app
    client = app.server.test_client()
    loaded = {
        "output": "..fares.figure...said.children..",
        "outputs": [{"id": "fares", "property": "figure"}, {"id": "said", "property": "children"}],
        "inputs": [{"id": "loaded", "property": "data", "value": 0}],
        "changedPropIds": ["loaded.data"],
    }
    yield lambda headers: client.post("/_dash-update-component", json=loaded, headers=headers).text


@contextmanager
def shiny() -> Iterator[Ask]:
    needs("shiny")
    from shiny.reactive import _core

    _core._reactive_environment._lock = None  # one for each process: it may be of the loop that another test had
    from starlette.testclient import TestClient

    client = TestClient(page("shiny_page").app)
    begin = {".clientdata_output_answer_hidden": False, ".clientdata_url_search": ""}

    def ask(headers: dict[str, str]) -> str:
        with client.websocket_connect("/websocket/", headers=headers) as socket:
            socket.send_text(json.dumps({"method": "init", "data": begin}))
            while True:
                said = json.loads(socket.receive_text())
                if said.get("values", {}).get("answer") or said.get("errors", {}).get("answer"):
                    return json.dumps(said)

    yield ask


FRAMEWORKS = {
    "Streamlit": lambda: streamlit(PAGES / "streamlit_page.py"),
    "Gradio": gradio,
    "Dash": dash,
    "Shiny": shiny,
}


@pytest.fixture
def no_analytics(monkeypatch):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def workspace():
    """More rows than a chunk of the API has; each driver sees their own trips, and the app itself none."""
    with LocalWorkspace(strict_privileges=True) as workspace:
        for user in ("alice", "bob"):
            workspace.add_user(user)
        workspace.add_warehouse("wh1")
        trips = [
            {
                "driver": f"{'alice' if number % 3 else 'bob'}@example.com",
                "trip_distance": number / 10,
                "fare_amount": 0.25 * (number % 3),
            }
            for number in range(4500)
        ]
        workspace.add_table("samples.nyctaxi.trips", trips, row_filter="driver = current_user()")
        workspace.grant("users", "CAN USE", "wh1")
        for privilege, securable in (("USE CATALOG", "samples"), ("USE SCHEMA", "samples.nyctaxi")):
            workspace.grant("users", privilege, securable)
        for user in ("alice", "bob"):
            workspace.grant(user, "SELECT", "samples.nyctaxi.trips")
        yield workspace


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_page_shows_each_user_what_is_theirs(workspace, no_traces, framework, monkeypatch):
    monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", "wh1")
    with workspace.as_app(name="trips") as app, FRAMEWORKS[framework]() as ask:
        for user, count, total in (("alice", 3000, "1125.00"), ("bob", 1500, "0.00")):
            workspace.log.clear()
            said = ask(app.headers(user, scopes=["sql"]))
            assert f"{count} trips of {user}@example.com, {total} in all" in said
            asked = {record.user for record in workspace.log.filter(path="/sql")}
            assert asked - {"trips"} == {user}  # Shiny's template opens a connection of the app's, too

        workspace.log.clear()
        assert "trips of" not in ask(app.headers("alice", scopes=["genie"]))
        assert "missing scope" in {record.decision for record in workspace.log.filter(user="alice", path="/sql")}

        workspace.revoke("bob", "SELECT", "samples.nyctaxi.trips")
        workspace.log.clear()
        assert "trips of" not in ask(app.headers("bob", scopes=["sql"]))
        assert "missing grant" in {record.decision for record in workspace.log.filter(user="bob", path="/sql")}
