"""What a workspace calls its own, wherever and however an answer may say it: names, ids, hosts, addresses and tokens."""

from __future__ import annotations

import base64
import codecs
import html
import json
import re
from urllib.parse import quote, quote_plus

from hypothesis import strategies as st

from obo_kit.analysis.verify._transport import Raw

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


def untold(written, canaries):
    """Check that a text holds no part of a canary. A hash is of everything: which letters are in it is chance."""
    written = re.sub(r"sha256:[0-9a-f]{64}", "", written.lower())
    for canary in canaries:
        for part in told(canary):
            assert part not in written, (part, written)
