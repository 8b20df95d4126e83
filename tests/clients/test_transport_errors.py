"""A synchronous OpenAI client fails as `httpx` fails: agents and `openai` tell errors apart by their classes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import openai
import pytest
from support import ASK, LLM, extra, nobody, whole_request

from obo_kit import Limits, user_session

pytestmark = pytest.mark.usefixtures("no_traces", "new_process_state")
WAIT = 0.5  # seconds


def closes(connection: socket.socket) -> None:
    whole_request(connection)


def resets(connection: socket.socket) -> None:
    whole_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resets_in_the_middle(connection: socket.socket) -> None:
    stops_in_the_middle(connection)
    time.sleep(0.1)  # else what was sent is lost, too
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stays_silent_in_the_middle(connection: socket.socket) -> None:
    stops_in_the_middle(connection)
    connection.settimeout(10)
    while connection.recv(65_536):  # until the client leaves
        pass


def breaks_a_chunk(connection: socket.socket) -> None:
    whole_request(connection)
    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc")


def stops_in_a_chunk(connection: socket.socket) -> None:
    whole_request(connection)
    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc")


def has_no_tls(connection: socket.socket) -> None:
    connection.recv(65_536)


def talks_nonsense(connection: socket.socket) -> None:
    whole_request(connection)
    connection.sendall(b"nonsense\r\n\r\n")


def stops_in_the_middle(connection: socket.socket) -> None:
    whole_request(connection)
    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nabc")


def stays_silent(connection: socket.socket) -> None:
    connection.settimeout(10)
    while connection.recv(65_536):  # until the client leaves
        pass


@contextlib.contextmanager
def serving(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that answers each connection in its way."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):  # closed: the test is over
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(60)


def class_of_httpx_s_own_error(httpx, url: str) -> str:
    with httpx.Client(timeout=WAIT, trust_env=False) as client:
        with pytest.raises(httpx.TransportError) as failed:
            client.post(f"{url}/serving-endpoints/chat/completions", json={})
        return type(failed.value).__name__


def class_of_the_kit_s(httpx, url: str) -> str:
    with user_session(
        host=url, token="a-token-of-the-test", limits=Limits(connect=WAIT, read=WAIT, retry=WAIT)
    ) as session:
        client = session.get(extra("databricks_openai", "DatabricksOpenAI")).with_options(max_retries=0)
        with pytest.raises(openai.APIConnectionError) as failed:
            client.chat.completions.create(model=LLM, messages=ASK)
        assert isinstance(failed.value.__cause__, httpx.TransportError)
        return type(failed.value.__cause__).__name__


@pytest.fixture
def httpx():
    return pytest.importorskip(openai.DefaultHttpxClient.__base__.__module__.partition(".")[0])


@pytest.mark.parametrize(
    "behave",
    [
        closes,
        resets,
        talks_nonsense,
        stays_silent,
        stops_in_the_middle,
        resets_in_the_middle,
        stays_silent_in_the_middle,
        breaks_a_chunk,
        stops_in_a_chunk,
    ],
    ids=lambda f: f.__name__,
)
def test_a_server_that_fails(httpx, behave):
    with serving(behave) as port:
        url = f"http://127.0.0.1:{port}"
        assert class_of_the_kit_s(httpx, url) == class_of_httpx_s_own_error(httpx, url)


def test_a_server_that_is_not_there(httpx):
    with nobody() as url:
        assert class_of_the_kit_s(httpx, url) == class_of_httpx_s_own_error(httpx, url) == "ConnectError"


def test_a_server_without_tls(httpx):
    with serving(has_no_tls) as port:
        url = f"https://127.0.0.1:{port}"
        assert class_of_the_kit_s(httpx, url) == class_of_httpx_s_own_error(httpx, url) == "ConnectError"


def test_a_proxy_that_is_not_there(httpx, monkeypatch):
    with nobody() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        assert class_of_the_kit_s(httpx, "https://workspace.invalid") == "ProxyError"
