"""Make a shape of an answer: what it was an answer to, and its form and words without what is the workspace's own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, get_args

from obo_kit._upstream.answers import Answer as Words
from obo_kit._upstream.answers import code_of as own_code
from obo_kit._upstream.answers import read_answer
from obo_kit._utils.plain import plain
from obo_kit.context._calls import Refusal
from obo_kit.denials._classify import classify, says_why
from obo_kit.exceptions import DenialReason
from obo_kit.scopes._placeholders import code_of, is_scope, placeholders, scopes_in
from obo_kit.scopes._recording import HEADERS, Answer, Case, ContentType, Detail, DetailType, Form

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from obo_kit.analysis.verify._probe import Probe
    from obo_kit.analysis.verify._transport import Raw

__all__ = ["form_of", "names_in", "refusal_of", "shape_of"]

_R = DenialReason
_NO_API_CODES: Final = frozenset({"ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "NOT_IMPLEMENTED"})
_LEADING: Final = re.compile(r"([A-Z]+(?:_[A-Z]+)+): ")
_NAMED: Final = re.compile(r"(?:^|_)(?:name|id|title|email|username|display|value|path|host|url|uri)$")


def shape_of(
    raw: Raw, probe: Probe, *, claim: str, intent: Case, scopes: Iterable[str] | None, seen: Iterable[str]
) -> Answer:
    """Return the shape of an answer.

    Args:
        raw: The answer.
        probe: What was asked.
        claim: What of the kit's it bears on.
        intent: What the request was to provoke: decides where the answer itself does not say.
        scopes: What the token carries; None where it does not say.
        seen: Names that must not stay, whatever they look like.
    """
    words = _words(raw)
    refused = words is not None
    case = _case(raw, probe, words, intent)
    wording = placeholders(words.text, seen) if words is not None and case != "allowed" else ""
    return Answer(
        claim=claim,
        request=probe.request,
        case=case,
        scopes=None if scopes is None else tuple(sorted({name if is_scope(name) else "<name>" for name in scopes})),
        status=raw.status,
        content_type=_content_type(raw),
        headers=tuple(sorted(HEADERS.intersection(raw.headers))),
        form=form_of(raw),
        code=code_of(words.error_code) if words is not None and refused else None,
        wording=wording,
        details=tuple(_details(raw)) if refused else (),
        required_scopes=scopes_in(wording),
    )


def refusal_of(raw: Raw, probe: Probe) -> Refusal | None:
    """Return an answer as the kit's clients see a refusal; None where it is none."""
    words = _words(raw)
    return _refusal(raw, probe, words) if words is not None else None


def _refusal(raw: Raw, probe: Probe, words: Words) -> Refusal:
    return Refusal(
        status=raw.status,
        error_code=words.error_code,
        text=words.text,
        method=probe.method,
        path=probe.target.partition("?")[0],
        location=raw.headers.get("location"),
        details=words.details,
    )


def names_in(body: bytes, limit: int = 2000) -> Iterator[str]:
    """Yield what an answer names: the values of all fields that are called name, id and the like."""
    data = _json(body)
    pending: list[tuple[str, Any]] = [("", data)]
    while pending and limit > 0:
        key, value = pending.pop()
        if isinstance(value, dict):
            pending += [(str(name).lower(), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            pending += [(key, inner) for inner in value]
        elif isinstance(value, str) and value and _NAMED.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()):
            limit -= 1
            yield value


# ---------------------------------------------------------------- what it says


def _json(body: bytes) -> Any:
    text = body.decode("utf-8", "replace")
    if "data:" in text[:2000] and not text.lstrip().startswith(("{", "[")):  # an event of a stream
        text = "".join(line.partition(":")[2] for line in text.splitlines() if line.startswith("data:"))
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _words(raw: Raw) -> Words | None:
    """Return the words of a refusal, also of one that came as data; None where the answer is none."""
    data = _json(raw.body)
    if raw.status >= 300 or raw.status == 0:
        if (
            isinstance(data, dict) and isinstance(data.get("error"), str) and "error_code" not in data
        ):  # as OAuth words it
            return Words(
                error_code=own_code(data["error"]), text=str(data.get("error_description") or data["error"])[:2000]
            )
        return read_answer(raw.body)
    if not isinstance(data, dict):
        return None
    return _as_data(data)


def _as_data(data: Mapping[str, Any]) -> Words | None:
    """Return the refusal that an answer with status 200 holds: of a statement, or of an MCP server."""
    status, error, result = data.get("status"), data.get("error"), data.get("result")
    if isinstance(status, dict) and isinstance(status.get("error"), dict):
        failure = status["error"]
        return Words(error_code=own_code(failure.get("error_code")), text=str(failure.get("message", ""))[:2000])
    if isinstance(error, dict) and "jsonrpc" in data:
        return _led(Words(text=str(error.get("message", ""))[:2000]))
    if isinstance(result, dict) and result.get("isError"):
        content = result.get("content")
        texts = (
            [part.get("text", "") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        )
        return _led(read_answer("\n".join(map(str, texts))))
    return None


def _led(words: Words) -> Words:
    """Return words with the code that they begin with, as MCP servers have no other place for it."""
    leading = _LEADING.match(words.text) if words.error_code is None else None
    return words if leading is None else Words(error_code=leading[1], text=words.text[leading.end() :])


# What an answer is, whatever it was to be.
_BY_REASON: Final[Mapping[DenialReason, Case]] = {
    _R.MISSING_SCOPE: "missing_scope",
    _R.POLICY: "policy",
    _R.LOGIN_REQUIRED: "login_required",
}
# What was to be provoked, where the answer does not say that it is something else.
_OF_THE_TOKEN: Final[tuple[Case, ...]] = ("no_credential", "invalid_token", "expired")


def _case(raw: Raw, probe: Probe, words: Words | None, intent: Case) -> Case:
    if words is None:
        return "allowed" if form_of(raw) != "html" else "invalid_token"  # a page, to sign in
    by_itself = _by_itself(raw, words)
    if by_itself is not None:
        return by_itself
    refusal = _refusal(raw, probe, words)
    finding = classify(refusal)
    reason = finding.reason if finding is not None else None
    if reason is not None and reason in _BY_REASON:
        return _BY_REASON[reason]
    if intent in _OF_THE_TOKEN:
        return intent
    explicit = raw.status < 400 or says_why(refusal)
    if reason is _R.TOKEN_EXPIRED and explicit:
        return "invalid_token"
    return _provoked(raw, words, intent, reason, explicit=explicit)


def _by_itself(raw: Raw, words: Words) -> Case | None:
    if raw.status == 429:
        return "rate_limited"
    if words.error_code in _NO_API_CODES or raw.status == 501:
        return "no_api"
    return "unavailable" if raw.status == 0 or raw.status >= 500 else None


def _provoked(raw: Raw, words: Words, intent: Case, reason: DenialReason | None, *, explicit: bool) -> Case:
    if (
        intent == "missing_scope"
        and raw.status in (401, 403)
        and words.error_code in (None, "401", "403")
        and not explicit
    ):
        return intent  # nobody knows these words; that the token was to be refused tells
    if intent == "no_permission" and raw.status in (401, 403, 404):
        return intent
    if intent == "bad_request" and raw.status < 401:
        return intent
    if reason is _R.ACCESS_DENIED or raw.status in (401, 403):
        return "no_permission"
    return "absent" if reason is _R.NOT_FOUND_OR_DENIED or raw.status == 404 else "bad_request"


# ---------------------------------------------------------------- what it looks like


def _content_type(raw: Raw) -> ContentType | None:
    named = raw.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not named:
        return None
    known: dict[str, ContentType] = {name: name for name in get_args(ContentType)}
    return known.get(named, "<other>")


def form_of(raw: Raw) -> Form:
    """Return the form of a body."""
    text = raw.body.strip()
    if not text:
        return "empty"
    if _json(raw.body) is not None:
        return "json"
    if text[:1] == b"<":
        return "html"
    return "other" if b"\x00" in text else "text"


def _details(raw: Raw) -> Iterator[Detail]:
    data = _json(raw.body)
    entries = data.get("details") if isinstance(data, dict) else None
    known: dict[str, DetailType] = {name: name for name in get_args(DetailType)}
    for entry in entries[:20] if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        kind = str(entry.get("@type", "")).rpartition(".")[2]
        metadata = entry.get("metadata")
        domain = entry.get("domain")
        yield Detail(
            type=known.get(kind, "<other>"),
            reason=code_of(entry.get("reason")),
            domain=placeholders(plain(str(domain))) if domain else None,
            keys=tuple(sorted({code_of(key) or "<name>" for key in metadata})) if isinstance(metadata, dict) else (),
        )
