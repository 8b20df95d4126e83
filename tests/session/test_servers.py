"""Real servers with several workers, and clients that go away: rules 4 to 6, on what the workspace saw."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from support import callers, calls, me, running

from obo_kit import current_session, user_session

HERE = Path(__file__).parents[1] / "helpers"
NAMES = ("alice", "bob", "carol")
UVICORN = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "--port", "{port}", "--log-level", "warning"]


def ask_from_many_users_at_once(ask, workers: int) -> None:
    """Until every worker has answered, each user gets their own answer."""
    seen = set()
    deadline = time.monotonic() + 60
    with ThreadPoolExecutor(8) as pool:
        while len(seen) < workers:
            assert time.monotonic() < deadline, "not all workers answered"
            asked = NAMES * 8
            for name, answer in zip(asked, pool.map(ask, asked), strict=True):
                assert set(answer["who"]) == {f"{name}@example.com"}
                seen.add(answer["worker"])


def check_users_apart(workspace, proxy, port):
    """Each user is answered as themselves; a request without a user is refused, and asks the workspace nothing."""

    def ask(name):
        return requests.get(f"http://127.0.0.1:{port}/", headers=proxy.headers(name), timeout=60).json()

    ask_from_many_users_at_once(ask, workers=2)
    before = len(workspace.log)
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=60).status_code == 500
    assert len(workspace.log) == before
    assert set(callers(workspace)) == set(NAMES)


def test_workers_of_uvicorn_keep_their_users_apart(workspace):
    """Rule 4."""
    with workspace.as_app() as proxy, running([*UVICORN, "--workers", "2", "served:app"]) as port:
        check_users_apart(workspace, proxy, port)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_workers_of_mlflow_s_scoring_server_keep_their_users_apart(workspace, monkeypatch, tmp_path):
    """Rule 4: the server itself knows no user; a stand-in hands the invoker's token over."""
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    model = tmp_path / "model"
    mlflow.pyfunc.save_model(model, python_model=HERE / "scored.py", pip_requirements=[])
    monkeypatch.setenv(scoring_server._SERVER_MODEL_PATH, str(model))
    workspace.log.clear()
    with workspace.as_model_serving(), running([*UVICORN, "--workers", "2", "served:scoring"]) as port:

        def post(headers):
            return requests.post(
                f"http://127.0.0.1:{port}/invocations", json={"inputs": ["who?"]}, headers=headers, timeout=60
            )

        ask_from_many_users_at_once(lambda name: post({"X-Invoker": workspace.token(name)}).json()["predictions"], 2)
        before = len(workspace.log)
        refused = post({})
        assert refused.status_code in (400, 500)
        assert "NoUserIdentityError" in refused.text
        assert len(workspace.log) == before
    assert set(callers(workspace)) == set(NAMES)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("setting", ["", "refuse"])
def test_requests_that_overlap_on_a_process_s_one_token(workspace, monkeypatch, tmp_path, setting):
    """Rule 4, in MLflow's scoring server: the slot already holds bob's token while alice's request goes on as alice's.
    The kit warns, once; or refuses the second request, which then sends nothing."""
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    model, done, output = tmp_path / "model", tmp_path / "done", []
    mlflow.pyfunc.save_model(model, python_model=HERE / "scored.py", pip_requirements=[])
    monkeypatch.setenv(scoring_server._SERVER_MODEL_PATH, str(model))
    monkeypatch.setenv("WAIT_FOR", str(done))
    monkeypatch.setenv("OBO_KIT_PROCESS_TOKEN", setting)
    command = [*UVICORN, "served_process_token:scoring"]
    with (
        workspace.as_model_serving(token_source="process"),
        running(command, output) as port,
        ThreadPoolExecutor(1) as pool,
    ):

        def post(name, what):
            return requests.post(
                f"http://127.0.0.1:{port}/invocations",
                json={"inputs": [what]},
                headers={"X-Invoker": workspace.token(name)},
                timeout=60,
            )

        def who(answer):
            return [email.partition("@")[0] for email in answer.json()["predictions"]["who"]]

        for _ in range(2):
            done.unlink(missing_ok=True)
            workspace.log.clear()
            held = pool.submit(post, "alice", "wait")
            deadline = time.monotonic() + 60
            while callers(workspace) != ["alice"]:
                assert time.monotonic() < deadline, "alice's request did not begin"
                time.sleep(0.01)
            second = post("bob", "go on")
            done.touch()
            assert who(held.result()) == ["alice", "alice"]
            if setting == "refuse":
                assert second.status_code in (400, 500)
                assert "NoUserIdentityError" in second.text
                assert "overlap" in second.text
                assert callers(workspace) == ["alice", "alice"]
            else:
                assert who(second) == ["bob", "bob"]
                assert callers(workspace) == ["alice", "bob", "bob", "alice"]
            assert who(post("bob", "go on")) == ["bob", "bob"]  # one after the other they are served
    warnings = "".join(output).count("Requests overlap, and this runtime keeps the user's token in one place")
    assert warnings == (setting != "refuse")
    assert "eyJ" not in "".join(output)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gunicorn does not run on Windows")
def test_greenlets_of_gunicorn_s_workers_keep_their_users_apart(workspace):
    """Rule 4: gevent patches the process, so a worker serves many users in one thread."""
    pytest.importorskip("gevent", reason="gevent is not installed: make test-apps installs it")
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--workers", "2", "--chdir", str(HERE)]
    with (
        workspace.as_app() as proxy,
        running([*command, "--bind", "127.0.0.1:{port}", "--log-level", "warning", "served:wsgi()"]) as port,
    ):
        check_users_apart(workspace, proxy, port)


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, sys
from obo_kit import NoUserSessionError, current_session, propagate, user_session

def whoami():
    return current_session().client.current_user.me().user_name

def one(token):
    with user_session(host=sys.argv[1], token=token) as session:
        for _ in range(3):
            assert whoami() == session.identity.principal
            gevent.sleep(0)
        assert gevent.spawn(propagate(whoami)).get() == session.identity.principal
        try:
            gevent.spawn(current_session).get()
        except NoUserSessionError:
            return
        raise AssertionError("a greenlet inherits the session")

sys.stderr = None  # gevent prints what a greenlet raised
gevent.joinall([gevent.spawn(one, token) for token in sys.argv[2:] * 4], raise_error=True)
"""


@pytest.mark.slow
def test_greenlets_keep_their_users_apart(workspace):
    """Rules 4 and 7: each has a context of its own, and one that it starts has another."""
    pytest.importorskip("gevent", reason="gevent is not installed: make test-apps installs it")
    tokens = [workspace.token(name) for name in NAMES]
    subprocess.run([sys.executable, "-c", GREENLETS, workspace.host, *tokens], check=True)
    assert sorted(callers(workspace)) == sorted(NAMES * 16)


# --- clients that go away ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(app):
    """An app under uvicorn, in this process."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(60)


def begin_and_go_away(port: int, headers: dict[str, str]) -> None:
    """Ask, read the beginning of the answer, and hang up."""
    body = b'{"stream": true}'
    head = ["POST /invocations HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(20)
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        received = b""
        while b"alice" not in received:
            received += connection.recv(65536)


def starlette_app(stream):
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    from obo_kit.integrations.asgi import UserHeadersMiddleware

    async def answer(request):
        return StreamingResponse(stream({}))

    return Starlette(
        routes=[Route("/invocations", answer, methods=["POST"])], middleware=[Middleware(UserHeadersMiddleware)]
    )


def agent_server(stream):
    from mlflow.genai.agent_server import AgentServer, server

    server._stream_function = None
    server.stream()(stream)
    return AgentServer().app


@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")
@pytest.mark.parametrize("kind", ["generator", "async generator"])
@pytest.mark.parametrize("app", [starlette_app, agent_server])
def test_a_stream_whose_client_goes_away_ends_its_session(workspace, no_traces, app, kind):
    """Rule 6: nobody reads on, so nobody acts on."""
    sessions, asking = [], []

    def ask(client):
        asking.append(client)
        try:
            return me(client)
        finally:
            asking.pop()

    @user_session
    def generator(request):
        sessions.append(current_session())
        while True:
            yield ask(current_session().client)
            time.sleep(0.01)

    @user_session
    async def async_generator(request):
        sessions.append(current_session())
        while True:
            yield await asyncio.to_thread(lambda: ask(current_session().client))
            await asyncio.sleep(0.01)

    stream = generator if kind == "generator" else async_generator
    with workspace.as_app() as proxy, serving(app(stream)) as port:
        begin_and_go_away(port, proxy.headers("alice"))
        (session,) = sessions
        deadline = time.monotonic() + 10
        while not session.closed:
            assert time.monotonic() < deadline, "the session outlives its client"
            time.sleep(0.01)
            if app is starlette_app and kind == "generator":
                gc.collect()  # Starlette drops it in a reference cycle, so its `finally` waits for this
        while asking:  # what was on its way when the client went away is still answered, and written down
            assert time.monotonic() < deadline, "a request does not end"
            time.sleep(0.01)
        after = len(calls(workspace))
        time.sleep(0.1)
        assert len(calls(workspace)) == after
    assert set(callers(workspace)) == {"alice"}
