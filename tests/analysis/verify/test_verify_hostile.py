"""Whatever a server answers: the run ends, and writes down nothing but shapes."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socketserver
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import whole_request

from obo_kit.analysis.verify import _transport
from obo_kit.analysis.verify._probe import get, post
from obo_kit.analysis.verify._shapes import names_in, refusal_of, shape_of
from obo_kit.analysis.verify._transport import OutageError, Raw, Sender
from obo_kit.scopes._placeholders import is_placed
from obo_kit.scopes._recording import Recording, dump, load

PROBE = get("/api/2.0/apps")
LIST = post("/api/2.0/mcp/sql", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, "reads")


@contextlib.contextmanager
def server(answer: bytes, *, drip: float = 0.0):
    """Answer every request with these bytes: all at once, or one every ``drip`` seconds for ever."""
    stopped = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            whole_request(self.request)
            with contextlib.suppress(OSError):
                self.request.sendall(answer)
                while drip and not stopped.wait(drip):
                    self.request.sendall(b"x")

    class Threads(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Threads(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        sender = Sender(f"http://127.0.0.1:{running.server_address[1]}", [PROBE, LIST], rate=1000, sleep=lambda _: None)
        yield sender
        sender.close()
        stopped.set()
        running.shutdown()


def _http(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(head).encode() + body


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 0),
        (b"\x00\xff" * 100, 0),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500, 0),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 0),
        (_http("200 OK", b"no gzip", "Content-Encoding: gzip"), 0),
        (_http("999 Odd", b"{}"), 999),
        (_http("302 Found", b"", "Location: http://127.0.0.1:1/"), 302),
        (_http("200 OK", b"x" * 10**6), 200),
        (_http("200 OK", gzip.compress(b"0" * 10**8), "Content-Encoding: gzip"), 200),
    ],
    ids=["nothing", "noise", "headers", "chunks", "gzip", "999", "redirect", "large", "bomb"],
)
def test_any_answer_has_a_bounded_end(answer, status):
    with server(answer) as sender:
        raw = sender.send(PROBE, None)
    assert raw.status == status
    assert raw.failed == (status in (0, 999))
    assert len(raw.body) <= 64 * 1024


def test_an_answer_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(_transport, "_LONGEST_ANSWER", 0.3)
    started = time.monotonic()
    with server(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", drip=0.05) as sender:
        sender.send(PROBE, None)
    assert time.monotonic() - started < 10


def test_the_first_event_of_a_stream_is_enough():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    event = b'event: message\ndata: {"jsonrpc": "2.0", "id": 1, "error": {"message": "No access"}}\n\n'
    started = time.monotonic()
    with server(head + event, drip=0.05) as sender:
        opened = sender.send(PROBE, None)
        raw = sender.send(LIST, None)
    assert time.monotonic() - started < 20
    assert opened.body == b""
    refusal = refusal_of(raw, LIST)
    assert refusal is not None
    assert refusal.text == "No access"


def test_a_long_wait_is_not_waited_for():
    waits = []
    answer = _http("429 Too Many Requests", b"{}", "Retry-After: 86400")
    with server(answer) as sender:
        sender._sleep = waits.append
        assert sender.send(PROBE, None).status == 429
    assert max(waits) <= 30


def test_an_outage_is_of_several_paths():
    probes = [get(f"/api/2.0/apps/{number}") for number in range(5)]
    now = [0.0]
    sender = Sender("http://127.0.0.1:1", probes, rate=1000, patience=10, sleep=lambda _: None, clock=lambda: now[0])
    for probe in probes[:2]:
        assert sender.send(probe, None).status == 0
        now[0] += 6
    with pytest.raises(OutageError):
        sender.send(probes[2], None)


# ---------------------------------------------------------------- shapes of anything

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_detail = st.fixed_dictionaries(
    {"@type": st.text(max_size=30)}, optional={"metadata": _values, "reason": _values, "domain": _values}
)
_bodies = st.one_of(
    st.binary(max_size=200),
    _values.map(json.dumps).map(str.encode),
    st.fixed_dictionaries(
        {},
        optional={
            "error_code": _values,
            "message": _values,
            "details": _values | st.lists(_detail, max_size=3),
            "error": _values,
            "status": st.fixed_dictionaries({}, optional={"error": _values, "state": _values}) | _values,
            "result": st.fixed_dictionaries({}, optional={"isError": st.booleans(), "content": _values}),
            "jsonrpc": st.just("2.0"),
        },
    )
    .map(json.dumps)
    .map(str.encode),
)


@given(
    status=st.integers(100, 599),
    body=_bodies,
    kind=st.sampled_from(["application/json", "text/plain", "text/html; charset=x", "secret/type", ""]),
    intent=st.sampled_from(
        ["absent", "allowed", "missing_scope", "no_permission", "bad_request", "invalid_token", "expired"]
    ),
    scopes=st.none() | st.lists(st.sampled_from(["sql", "genie", "all-apis", "zzz.secret"]), max_size=3),
)
@settings(max_examples=500)
def test_a_shape_can_be_made_of_any_answer_and_kept(status, body, kind, intent, scopes):
    raw = Raw(status=status, headers={"content-type": kind, "x-secret": "1", "location": "/login.html"}, body=body)
    seen = list(names_in(body))
    answer = shape_of(raw, PROBE, claim="obo:apps", intent=intent, scopes=scopes, seen=seen)
    Recording(recorded="2026-12-01", kit="0.1.0", answers=(answer,)).signed()
    assert is_placed(answer.wording)
    assert "secret" not in re.sub(r"<[^>]*>", "", answer.model_dump_json())


def test_a_recording_of_the_oddest_answers_is_read_as_it_was_written(tmp_path):
    bodies = [b"", b"<html>Sign in", b"\x00\x01", b'{"error": "invalid_scope"}', b'"text"', b"Zyx wvu"]
    answers = tuple(
        shape_of(
            Raw(status=403, headers={}, body=body),
            get(f"/api/{number}"),
            claim="obo:apps",
            intent="absent",
            scopes=None,
            seen=(),
        )
        for number, body in enumerate(bodies)
    )
    written = dump(Recording(recorded="2026-12-01", kit="0.1.0", answers=answers), tmp_path / "recording.json")
    assert load(tmp_path / "recording.json") == written
    assert {answer.form for answer in answers} == {"empty", "html", "other", "json", "text"}
