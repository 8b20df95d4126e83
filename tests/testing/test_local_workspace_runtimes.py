"""The process as a runtime has it: for many users at once, undone in any case, and misuse refused (design, section 6)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.sdk import WorkspaceClient
from support import me

from obo_kit import NoUserIdentityError, user_session, with_user_client


@pytest.fixture(autouse=True)
def _nothing_is_left():
    def state():
        modules = {name: id(module) for name, module in sys.modules.items() if name.startswith("mlflowserving")}
        return {name: os.environ[name] for name in os.environ if not name.startswith(("PYTEST_", "_MLFLOW_"))}, modules

    before = state()
    yield
    assert state() == before


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return me(client)


def test_an_app_has_the_documented_environment(workspace):
    with workspace.as_app(name="helper") as app:
        found = {name: value for name, value in os.environ.items() if name.startswith("DATABRICKS_")}
        assert found == {
            "DATABRICKS_APP_NAME": "helper",
            "DATABRICKS_APP_PORT": "8000",
            "DATABRICKS_CLIENT_ID": app.service_principal.client_id,
            "DATABRICKS_CLIENT_SECRET": app.service_principal.client_secret,
            "DATABRICKS_CONFIG_FILE": os.devnull,
            "DATABRICKS_HOST": workspace.host,
            "DATABRICKS_WORKSPACE_ID": workspace.workspace_id,
        }


def test_an_app_serves_many_users_at_once(workspace):
    """Rule 1: in Apps the user is whom the request's headers name."""
    with workspace.as_app() as app:

        def serve(user):
            with app.user(user):
                return {whoami() for _ in range(5)}

        async def serve_async(user):
            with app.user(user):
                await asyncio.sleep(0.01)
                return await asyncio.to_thread(whoami)

        async def both():
            return await asyncio.gather(serve_async("alice"), serve_async("bob"))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(serve, ["alice", "bob"] * 4)) == [{"alice"}, {"bob"}] * 4
        assert asyncio.run(both()) == ["alice", "bob"]
        with pytest.raises(NoUserIdentityError):
            whoami()


def test_an_app_tells_mlflows_agent_server_too(workspace):
    server = pytest.importorskip("mlflow.genai.agent_server.utils", reason="this MLflow has no agent server")
    with workspace.as_app() as app, app.user("bob", scopes=["sql"]) as headers:
        assert server.get_request_headers()["x-forwarded-access-token"] == headers["X-Forwarded-Access-Token"]
        with user_session(headers=server.get_request_headers()) as session:
            assert me(session.client) == "bob"
    assert server.get_request_headers() == {}


def test_model_serving_serves_many_users_at_once(workspace):
    with workspace.as_model_serving() as serving:

        def serve(user):
            with serving.user(user):
                return {whoami() for _ in range(5)}

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(serve, ["alice", "bob"] * 4)) == [{"alice"}, {"bob"}] * 4


def test_a_notebook_has_the_scopes_it_is_given(workspace):
    with workspace.as_notebook("alice", scopes=["iam.current-user:read"]):
        assert me(WorkspaceClient()) == "alice"
    assert workspace.log.entries[-1].scopes_held == {"iam.current-user:read"}


@pytest.mark.parametrize("open_one", ["as_model_serving", "as_app"])
def test_an_exception_undoes_everything(workspace, open_one):
    with pytest.raises(KeyboardInterrupt), getattr(workspace, open_one)() as runtime, runtime.user("alice"):
        raise KeyboardInterrupt


def test_a_user_of_a_runtime_that_has_ended_is_refused(workspace):
    with workspace.as_app() as app, workspace.as_model_serving() as serving:
        pass
    for runtime in (app, serving):
        with pytest.raises(RuntimeError, match="inside its with block"), runtime.user("alice"):
            pass


def test_a_runtime_in_another_thread_is_refused(workspace):
    with workspace.as_model_serving(), ThreadPoolExecutor(1) as pool:
        with pytest.raises(RuntimeError, match=r"belongs to the whole process.*runtime\.user"):
            pool.submit(workspace.as_app().__enter__).result()
        assert "DATABRICKS_APP_NAME" not in os.environ
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_in_and_out, workspace).result()


def _in_and_out(workspace):
    with workspace.as_app():
        assert threading.current_thread() is not threading.main_thread()


def test_runtimes_that_end_in_the_wrong_order_are_undone_and_refused(workspace):
    outer, inner = contextlib.ExitStack(), contextlib.ExitStack()
    outer.enter_context(workspace.as_model_serving())
    inner.enter_context(workspace.as_app())
    with pytest.raises(RuntimeError, match="Nest their with blocks"):
        outer.close()
    assert "DATABRICKS_HOST" not in os.environ
    inner.close()
    assert "DATABRICKS_HOST" not in os.environ
    with workspace.as_notebook("alice"):
        assert me(WorkspaceClient()) == "alice"


def test_a_user_nobody_knows_is_refused(workspace):
    with (
        workspace.as_app() as app,
        pytest.raises(ValueError, match="No principal 'nobody'"),
        app.user("nobody"),
    ):
        pass
