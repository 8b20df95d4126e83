"""Whatever a workspace answers, wherever it says a name, an id, a host, an address or a token: no recording holds it."""

from __future__ import annotations

import base64
import codecs
import html
import json
import re
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obo_kit.analysis.verify._probe import get
from obo_kit.analysis.verify._shapes import names_in, shape_of
from obo_kit.analysis.verify._transport import Raw
from obo_kit.scopes._recording import CASES, Recording, dump, load

PROBE = get("/api/2.0/serving-endpoints/{absent}")
LETTERS = string.ascii_lowercase + string.digits

# What is a workspace's own, with a part that no ordinary text has. Long enough that it is nowhere by chance.
cores = st.text("qxzjkvw", min_size=6, max_size=10)
canaries = st.one_of(
    cores,
    cores.map(str.upper),
    cores.map(str.title),
    st.tuples(cores, cores, cores).map(".".join),
    st.tuples(cores, st.sampled_from(["sales", "user", "sql", "endpoint", "2026"])).map("_".join),
    st.tuples(st.sampled_from(["customer", "data", "genie"]), cores).map("-".join),
    st.tuples(cores, cores).map(" ".join),
    cores.map("{}@example.com".format),
    cores.map("https://{}.cloud.databricks.com/?o=1".format),
    cores.map("adb-{}.7.azuredatabricks.net".format),
    cores.map("/Workspace/Users/{}/notebook".format),
    cores.map("s3://{}/path".format),
    cores.map("dapi{}".format),
    cores.map("eyJhbGciOi.{}.c2ln".format),
    cores.map("arn:aws:iam::1:role/{}".format),
    cores.map("Bearer {}".format),
    cores.map("\uff46{}\u00e9\u6f22".format),
    cores.map("{}'s".format),
    cores.map("o'{}".format),
    cores.map("a\u200b{}\u202e".format),
)
encodings = st.sampled_from(
    [
        str,
        lambda text: quote(text, safe=""),
        quote_plus,
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
        lambda text: text.encode().hex(),
        lambda text: json.dumps({"name": text}),
        lambda text: json.dumps(json.dumps([text])),
        html.escape,
        lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
        lambda text: "".join(f"&#{ord(char)};" for char in text),
        lambda text: codecs.encode(text, "rot13"),
        str.swapcase,
        lambda text: text[::-1],
        lambda text: f"`{text}`",
        lambda text: f"'{text}'",
        lambda text: f'"{text}"',
        lambda text: f"[{text}]",
        lambda text: f"[{text.upper()}] x",
        lambda text: f"SQLSTATE: {text}",
        lambda text: f"scopes: {text}",
        lambda text: f"required scopes: sql, {text}",
        lambda text: f"scope {text}",
        lambda text: f"<{text}>",
        lambda text: f"<scope:{text}>",
        lambda text: f"<name>{text}<name>",
        lambda text: f"{text} [ReqId: {text}]",
    ]
)
CARRIERS = (
    "{}",
    "User {} does not have SELECT on Table '{}'.",
    "Endpoint with name {} does not exist.",
    "Provided OAuth token does not have required scopes: {} [ReqId: 0]",
    "Invalid scope, required scopes: {}",
    "Unable to get space [{}]. Caused by Node with resource name Some(datarooms/{}) does not exist.",
    "[TABLE_OR_VIEW_NOT_FOUND] The table or view `{}` cannot be found. SQLSTATE: 42P01",
    "a\nb {}\tc",
    "x" * 1990 + "{}",
)
texts = st.tuples(st.sampled_from(CARRIERS), encodings, canaries).map(
    lambda parts: (parts[0].replace("{}", parts[1](parts[2])), parts[2])
)

codes = st.sampled_from([403, "PERMISSION_DENIED", None])

KEYS = (
    "error_code",
    "message",
    "error",
    "error_description",
    "details",
    "status",
    "result",
    "data",
    "detail",
    "request_id",
)
HEADERS = (
    "content-type",
    "x-request-id",
    "location",
    "www-authenticate",
    "retry-after",
    "x-databricks-reason-phrase",
    "server",
)


@st.composite
def answers(draw):
    """Draw an answer of a workspace, and the canaries in it."""
    found: list[str] = []

    def said():
        text, canary = draw(texts)
        found.append(canary)
        return text

    def value(depth):
        kind = draw(st.sampled_from(["text", "text", "list", "object"] if depth else ["text"]))
        if kind == "text":
            return said()
        if kind == "list":
            return [value(depth - 1)]
        return {draw(st.sampled_from(KEYS)) if draw(st.booleans()) else said(): value(depth - 1)}

    detail = {
        "@type": draw(st.sampled_from(["type.googleapis.com/google.rpc.ErrorInfo", "x/{}"])).replace("{}", said()),
        "reason": said(),
        "domain": said(),
        "metadata": {said(): said(), "resource": said()},
    }
    shapes = {
        "json": lambda: json.dumps({"error_code": draw(codes) or said(), "message": said(), "details": [detail]}),
        "oauth": lambda: json.dumps({"error": said(), "error_description": said()}),
        "openai": lambda: json.dumps({"error": {"message": said(), "type": said(), "code": said()}}),
        "scim": lambda: json.dumps({"schemas": [said()], "detail": said(), "status": "403"}),
        "any": lambda: json.dumps(value(3)),
        "statement": lambda: json.dumps({"status": {"state": "FAILED", "error": {"error_code": said(), "message": said()}}}),
        "mcp": lambda: json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": said(), "data": value(2)}}),
        "tool": lambda: json.dumps({"result": {"isError": True, "content": [{"type": "text", "text": said()}]}}),
        "sse": lambda: f"event: {said()}\ndata: {json.dumps({'error_code': said(), 'message': said()})}\n\n",
        "html": lambda: f"<html><title>{said()}</title><body>{said()}</body></html>",
        "text": said,
        "cut": lambda: json.dumps({"error_code": said(), "message": said()})[:-3],
        "bytes": lambda: said() + "\x00\ufffd",
    }  # fmt: skip
    body = draw(st.sampled_from(sorted(shapes)))
    headers = {name: said() for name in draw(st.sets(st.sampled_from(HEADERS), max_size=3))}
    headers[said()] = said()
    status = draw(st.sampled_from([200, 302, 400, 401, 403, 404, 429, 500, 503]))
    return Raw(status=status, headers=headers, body=shapes[body]().encode()), found


def told(canary):
    """The parts of a canary that would tell, as they are and as they may be written."""
    cores = re.findall(r"[qxzjkvw]{6,}", canary.lower())
    assert cores
    written = set()
    for core in cores:
        coded = base64.b64encode(core.encode()).decode().rstrip("=")[:6].lower()
        written |= {
            core,
            core[::-1],
            codecs.encode(core, "rot13"),
            core.encode().hex(),
            coded,
            f"{ord(core[0]):04x}"[2:] * 0 or core,
        }
    return written


def _holds(tmp_path, answer, intent, held, is_seen):
    raw, found = answer
    scopes = None if held is None else [text for text, _ in held]
    found += [canary for _, canary in held or ()]
    seen = list(names_in(raw.body)) if is_seen else []
    shape = shape_of(raw, PROBE, claim="refusal:serving_missing", intent=intent, scopes=scopes, seen=seen)
    file = tmp_path / "recording.json"
    dump(Recording(recorded="2026-12-01", kit="0.1.0", answers=(shape,)), file)
    # The hash is of everything: which letters are in it is chance.
    written = re.sub(r'"digest": "sha256:[0-9a-f]{64}"', "", file.read_text().lower())
    for canary in found:
        for part in told(canary):
            assert part not in written, (raw, part)
    assert load(file).answers == (shape,)


asked = given(answers(), st.sampled_from(sorted(CASES)), st.none() | st.lists(texts, max_size=3), st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@asked
def test_no_recording_holds_what_a_workspace_calls_its_own(tmp_path, answer, intent, held, is_seen):
    _holds(tmp_path, answer, intent, held, is_seen)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@asked
def test_not_one_of_thousands_of_recordings_holds_it(tmp_path, answer, intent, held, is_seen):
    _holds(tmp_path, answer, intent, held, is_seen)
