"""A connection that a gateway has forgotten in silence holds no request (rule 11)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from databricks.ai_search.client import VectorSearchClient
from support import INDEX, extra, me

from obo_kit import Limits, user_session
from obo_kit.clients import _connections, _transport

pytestmark = pytest.mark.usefixtures("no_traces", "new_process_state")


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """Wait for a used connection as long as outside of tests."""
    monkeypatch.setattr(_transport, "FIRST_BYTE_SECONDS", _connections.FIRST_BYTE_SECONDS)


class Gateway:
    """Forwards connections; those from before `forget` are swallowed, as NAT gateways and load balancers do."""

    def __init__(self, host: str) -> None:
        name, _, port = host.partition("://")[2].partition(":")
        self._target = (name, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.host = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.connections, self._epoch, self.resets = 0, 0, False
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        self._epoch += 1

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._forward, args=(near, self._epoch), daemon=True).start()

    def _forward(self, near: socket.socket, epoch: int) -> None:
        with near, socket.create_connection(self._target) as far, contextlib.suppress(OSError):
            while True:
                for ready in select.select([near, far], [], [], 0.05)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if epoch == self._epoch:
                        (far if ready is near else near).sendall(data)
                    elif self.resets:
                        return

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def gateway(workspace):
    made = Gateway(workspace.host)
    yield made
    made.close()


def as_alice(gateway, workspace, **settings):
    return user_session(host=gateway.host, token=workspace.token("alice"), **settings)


def search(session):
    index = session.get(VectorSearchClient).get_index(index_name=INDEX)
    return index.similarity_search(query_text="refund", columns=["id"], num_results=1)


@pytest.mark.parametrize("resets", [False, True], ids=["silent", "reset"])
@pytest.mark.parametrize("ask", [lambda session: me(session.client), search], ids=["get", "search"])
def test_a_dead_connection_holds_nothing_that_only_reads(workspace, gateway, ask, resets):
    """It is asked again on a fresh connection, which the catalogue says does no harm."""
    with as_alice(gateway, workspace, limits=Limits(read=20)) as session:
        ask(session)
        gateway.forget()
        gateway.resets = resets
        before, started = gateway.connections, time.monotonic()
        assert ask(session)
    assert time.monotonic() - started < 12
    assert gateway.connections == before + 1


def test_what_may_have_an_effect_is_sent_once(workspace, gateway):
    """Rule 19: and the message says how long it was waited for."""
    with as_alice(gateway, workspace, limits=Limits(read=4.5)) as session:
        me(session.client)
        gateway.forget()
        with pytest.raises(TimeoutError, match=r"waited [45] s"):
            session.client.statement_execution.execute_statement("SELECT 1", "wh1")
    assert not workspace.log.filter(path="/api/2.0/sql/statements")


def test_a_connection_that_was_idle_for_long_is_not_used_again(workspace, gateway, monkeypatch):
    """Whatever is asked then has a connection of its own."""
    with as_alice(gateway, workspace, limits=Limits(read=15)) as session:
        me(session.client)
        before = gateway.connections
        monkeypatch.setattr(_connections, "IDLE_SECONDS", 0.0)
        gateway.forget()
        answer = session.client.statement_execution.execute_statement("SELECT 1", "wh1")
    assert answer.status.state.value == "SUCCEEDED"
    assert gateway.connections > before


def test_a_slow_answer_is_asked_for_twice_only_once(workspace, monkeypatch):
    """A route whose fresh connection was as slow is slow by nature."""
    monkeypatch.setattr("obo_kit.clients._transport.FIRST_BYTE_SECONDS", 0.2)
    with user_session(host=workspace.host, token=workspace.token("alice")) as session:
        me(session.client)
        workspace.log.clear()
        workspace.latency = 0.5
        for _ in range(3):
            me(session.client)
    assert len(workspace.log) <= 4


def test_the_system_asks_whether_the_other_end_is_there(workspace):
    """TCP keepalive, on every connection of the pool."""
    with user_session(host=workspace.host, token=workspace.token("alice")) as session:
        me(session.client)
    pools = _connections.pool().poolmanager.pools
    idle = [pools[key].pool.get() for key in pools.keys()]  # noqa: SIM118 - no mapping
    assert idle
    for connection in idle:
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        connection.close()


def test_many_idle_connections_are_not_kept():
    """The one that is idle for longest goes."""

    class Connection:
        sock: object | None = object()

        def close(self) -> None:
            self.sock = None

    idle, made = _connections.IdleConnections(2), [Connection() for _ in range(3)]
    for connection in (*made, None):
        idle.put(connection)
    assert [connection.sock is None for connection in made] == [True, False, False]
    assert idle.qsize() == 2


if os.name == "posix":

    @pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
    def test_the_certificates_of_the_environment_count(tmp_path, monkeypatch, name):
        """As in the official clients: `requests` reads the last, `httpx` the others."""
        ssl = pytest.importorskip("ssl")
        trustme = pytest.importorskip("trustme", reason="certificates for the test")
        from obo_kit.testing import LocalWorkspace

        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        served = tmp_path / "served.pem"
        chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        served.write_bytes(certificate.private_key_pem.bytes() + chain)
        trusted = tmp_path / "trusted"
        trusted.mkdir()
        bundle = trusted / "ca.pem"
        authority.cert_pem.write_to_path(str(bundle))
        with LocalWorkspace(ssl_certfile=str(served)) as secure:
            secure.add_user("alice")
            for other in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                monkeypatch.delenv(other, raising=False)
            if name == "SSL_CERT_DIR":
                # OpenSSL finds a certificate in a directory by the hash of its subject.
                context = ssl.create_default_context(cafile=str(bundle))
                assert context.get_ca_certs()
                import subprocess

                digest = subprocess.run(
                    ["openssl", "x509", "-hash", "-noout", "-in", str(bundle)],
                    capture_output=True,
                    check=True,
                    text=True,
                ).stdout.strip()
                (trusted / f"{digest}.0").write_bytes(bundle.read_bytes())
            monkeypatch.setenv(name, str(trusted if name == "SSL_CERT_DIR" else bundle))
            with user_session(host=secure.host, token=secure.token("alice")) as session:
                assert me(session.client) == "alice"


UNSHARE = ["unshare", "--map-root-user", "--net"]


def may_have_a_network() -> bool:
    """Check whether this user and kernel may have a network of their own."""
    try:
        return subprocess.run([*UNSHARE, "ip", "link"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.long
@pytest.mark.skipif(not may_have_a_network(), reason="needs a network of its own: Linux, unshare and ip")
def test_a_flow_that_a_gateway_forgets_holds_nothing_for_long():
    """The system ends what nobody acknowledges. What may have had an effect is sent once by the kit; OpenAI's repeats."""
    extra("databricks_openai", "DatabricksOpenAI")
    done = subprocess.run(
        [*UNSHARE, sys.executable, Path(__file__).parents[1] / "helpers" / "forgotten_flow.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["statement"]["gave"].startswith("TimeoutError: No answer in time: waited 10 s")
    assert [told[call]["seen"] for call in ("statement", "chat", "me")] == [0, 1, 1]
    assert (told["chat"]["gave"], told["me"]["gave"]) == ("hi", "alice@example.com")
    assert all(each["seconds"] < 15 for each in told.values()), told
