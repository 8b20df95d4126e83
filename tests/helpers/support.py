"""What several test modules need: who asked, on what the server saw."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import secrets
import socket
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.sql import StatementResponse, StatementState

from obo_kit import user_session
from obo_kit.testing import LocalWorkspace

INDEX = "main.support.articles"
LLM = "llm"
SPACE = "space1"
PROBE = "/.well-known/databricks-config"
ASK = [{"role": "user", "content": "hello"}]


def extra(module: str, name: str) -> Any:
    """A class of a framework that is an extra; the test is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing a framework is not what is tested
        return getattr(pytest.importorskip(module, reason=f"{module} is an extra"), name)


def mcp_server(*tools):
    """Return a FastMCP server with some tools."""
    try:
        from mcp.server import MCPServer as FastMCP
    except ImportError:  # its name before mcp 2
        FastMCP = extra("mcp.server.fastmcp", "FastMCP")
    made = FastMCP("test")
    for tool in tools:
        made.tool()(tool)
    return made


def of_mcp_1(module: str, name: str) -> Any:
    """The same for what does not work with `mcp` 2 yet, though it may be installed beside it."""
    try:
        return extra(module, name)
    except ImportError:
        pytest.skip(f"{name} needs mcp 1")


def unsigned(claims: object) -> str:
    """A JWT that no workspace would take."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{body}.c2ln"


def as_user(workspace: LocalWorkspace, name: str, **settings: Any) -> Any:
    """A session scope of a user, named explicitly, with a fresh token."""
    return user_session(host=workspace.host, token=workspace.token(name), **settings)


def me(client: WorkspaceClient) -> str:
    """Who the server says the client is."""
    return (client.current_user.me().user_name or "").removesuffix("@example.com")


def calls(workspace: LocalWorkspace) -> list[Any]:
    """The requests so far, without the host's own description of itself, which nobody is asked for."""
    return [record for record in workspace.log if record.path != PROBE]


def callers(workspace: LocalWorkspace) -> list[str | None]:
    return [record.user for record in calls(workspace)]


def on_the_way(workspace: LocalWorkspace) -> bool:
    """Whether the workspace has read a request and not yet answered it, nor written it down."""
    assert workspace._server is not None
    return bool(workspace._server._server.server_state.tasks)


def frames_of(error: BaseException) -> str:
    """The error as a crash reporter prints it, with locals; without the frames of the test, which knows the secret."""
    import traceback

    parts: list[str] = []
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        pending += [one.__cause__, one.__context__]
        trace = one.__traceback__
        while trace is not None and "/tests/" in trace.tb_frame.f_code.co_filename.replace("\\", "/"):
            trace = trace.tb_next
        parts += traceback.TracebackException(type(one), one, trace, capture_locals=True).format()
    return "".join(parts)


def whole_request(connection: socket.socket) -> bytes:
    """A request to the end of its body. A server that closes before it read all has its answer reset on the way."""
    with connection.makefile("rb") as stream:
        head = [stream.readline()]
        while head[-1].strip():
            head.append(stream.readline())
        lengths = [int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:")]
        return b"".join(head) + stream.read(sum(lengths))


@contextlib.contextmanager
def recording_proxy() -> Iterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that writes down what it is asked, and answers with an empty JSON object."""
    server = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                asked.append(whole_request(connection))
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
                )

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """A host that takes no connection and says nothing: its queue is full, so further handshakes go unanswered."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    waiting = []
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(server.getsockname())
        waiting.append(client)
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        for client in waiting:
            client.close()
        server.close()


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """A host that refuses connections: nobody listens at its port, which is taken all the same."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def free_port() -> int:
    """A port to listen at later: below those that systems give to every connection, and so to others meanwhile."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def running(command: Sequence[str], output: list[str] | None = None) -> Iterator[int]:
    """A server in processes of its own, from when it takes connections. ``{port}`` in the command is where; what it prints
    is added to ``output``."""
    port = free_port()
    with subprocess.Popen(
        [part.format(port=port) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        output = [] if output is None else output
        assert server.stdout is not None
        reader = threading.Thread(target=output.extend, args=(server.stdout,), daemon=True)
        reader.start()
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                if server.poll() is not None or time.monotonic() > deadline:
                    server.kill()
                    reader.join(5)
                    pytest.fail("the server did not start:\n" + "".join(output))
                time.sleep(0.05)
            yield port
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
            reader.join(5)


def client(workspace: LocalWorkspace, user: str, *, scopes: Sequence[str] = ("all-apis",)) -> WorkspaceClient:
    """The plain client of a user, without the kit; the same for the same workspace, user and scopes."""
    return _client(workspace, user, tuple(scopes))


@functools.cache
def _client(workspace: LocalWorkspace, user: str, scopes: tuple[str, ...]) -> WorkspaceClient:
    token = workspace.token(user, scopes=scopes)
    return WorkspaceClient(config=Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2))


def last(workspace: LocalWorkspace) -> Any:
    return workspace.log.entries[-1]


def sql(workspace: LocalWorkspace, user: str, statement: str, **kwargs: Any) -> StatementResponse:
    return client(workspace, user).statement_execution.execute_statement(statement, "wh1", **kwargs)


def rows(answer: StatementResponse) -> Any:
    assert answer.status.state is StatementState.SUCCEEDED, answer.status.error.message
    return answer.result.data_array
