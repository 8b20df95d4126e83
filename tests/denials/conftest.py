"""The server of the tests of what people met."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from answering import Server


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            probe = self.path.startswith("/.well-known/databricks-config")
            page = self.path.startswith("/login")
            body = b"{}" if probe else b"<!doctype html>" if page else server.body
            server.requests.append(f"{self.command} {self.path}")
            self.send_response(200 if probe or page else server.status)
            for name, value in {} if probe or page else server.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server = Server(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield server
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def server(started, monkeypatch) -> Server:
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "off")
    started.status, started.body, started.headers, started.requests = 200, b"{}", {}, []
    return started
