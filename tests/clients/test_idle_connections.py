"""What stays open after a crowd has gone: rule 10 of the design, counted by the server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.server
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from official import openai_client, workspace_client
from support import ASK, LLM, as_user, extra

from obo_kit import user_session
from obo_kit.clients import _connections as clients

pytestmark = pytest.mark.usefixtures("new_process_state")
BOUND = 64
CROWD = 72


class Crowd(http.server.ThreadingHTTPServer):
    """Answers nobody before everybody has asked, and counts its connections."""

    daemon_threads = True
    request_queue_size = 2 * CROWD

    def __init__(self, size: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.size, self.waiting, self.open, self.most = size, 0, 0, 0
        self.counting, self.complete = threading.Lock(), threading.Event()

    def settled(self, most: int) -> int:
        """The connections that are open, as soon as they are no more than that."""
        deadline = time.monotonic() + 10
        while self.open > most and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.open


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Crowd

    counted = False  # the SDK's own question, who the host is, has a connection of its own

    def finish(self) -> None:
        with self.server.counting:
            self.server.open -= self.counted
        super().finish()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.startswith("/.well-known"):
            with self.server.counting:
                self.server.open += not self.counted
                self.server.most = max(self.server.most, self.server.open)
                self.counted = True
                self.server.waiting += 1
                if self.server.waiting == self.server.size:
                    self.server.complete.set()
            assert self.server.complete.wait(60)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def crowd():
    server = Crowd(CROWD)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.socket.close()


def user(server, number):
    return user_session(host=f"http://127.0.0.1:{server.server_port}", token=f"dapi{number}")


@pytest.mark.parametrize("build", [workspace_client, openai_client], ids=lambda build: build.__name__)
def test_a_crowd_leaves_a_bounded_number_of_connections(crowd, build):
    """Rule 10: as many as asked at once while they ask, and afterwards no more than the pool keeps."""

    def one(number):
        with user(crowd, number) as session, contextlib.suppress(Exception):  # `{}` is no answer to some of them
            build(session)()

    with ThreadPoolExecutor(CROWD) as pool:
        list(pool.map(one, range(CROWD)))
    assert crowd.most >= CROWD
    assert 0 < crowd.settled(BOUND) <= BOUND


def test_a_crowd_in_one_event_loop_leaves_a_bounded_number_and_its_end_none(crowd):
    """Rule 10."""
    client_type = extra("databricks_openai", "AsyncDatabricksOpenAI")

    async def one(number):
        async with user(crowd, number) as session:
            await session.get(client_type).chat.completions.create(model=LLM, messages=ASK)

    async def main():
        await asyncio.gather(*map(one, range(CROWD)))
        return await asyncio.to_thread(crowd.settled, BOUND)

    assert 0 < asyncio.run(main()) <= BOUND
    assert crowd.most >= CROWD
    assert crowd.settled(0) == 0


def test_streams_that_are_dropped_leave_no_connection(workspace):
    """Rule 10: the transport is the process's, so nobody closes it with the client."""
    client_type = extra("databricks_openai", "DatabricksOpenAI")
    for _ in range(5):
        with as_user(workspace, "alice") as session:
            for _part in session.get(client_type).chat.completions.create(model=LLM, messages=ASK, stream=True):
                break
    gc.collect()  # `openai` keeps a stream in a reference cycle
    pools = clients.pool().poolmanager.pools
    assert sum(pools[key].pool.qsize() for key in pools.keys()) <= 1  # noqa: SIM118 - no mapping


def test_a_crowd_that_comes_first_reads_the_certificates_once(crowd, monkeypatch):
    """Rule 10: a CA bundle takes longer than a request, and everybody would wait for everybody's."""
    read = []
    context = clients.tls_context
    monkeypatch.setattr(clients, "tls_context", lambda *given: read.append(given) or context(*given))

    def one(number):
        with user(crowd, number) as session, contextlib.suppress(Exception):
            workspace_client(session)()

    with ThreadPoolExecutor(CROWD) as pool:
        list(pool.map(one, range(CROWD)))
    assert len(read) == 1
