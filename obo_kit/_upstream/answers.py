"""Read the platform's answers: the code, the words and the details of a refusal's body. Nothing here raises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from obo_kit._upstream.lost_texts import QUOTED_ANSWER
from obo_kit._utils.plain import plain

__all__: list[str] = []

_MAX_JSON = 64_000
_MAX_WORDS = 2000
_CODE = re.compile(r'"error_code"\s{0,4}:\s{0,4}"?([A-Z_]{1,80}|\d{3})\b')
_MESSAGE = re.compile(r'"message"\s{0,4}:\s{0,4}"((?:[^"\\]|\\.){0,1000})')
_SEPARATORS = re.compile(r"[^a-z]")


Form: TypeAlias = Literal["platform", "provider", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Details:
    """The contents of a refusal's ``details``: the platform's structured words for the reason and the object.

    Attributes:
        reason: ErrorInfo's reason, such as ``"MISSING_PRIVILEGE"``.
        privilege: The missing privilege.
        kind: The type of the resource, such as ``"Table"``.
        resource: The resource's name.
        scopes: The scopes that were asked for.
    """

    reason: str | None = None
    privilege: str | None = None
    kind: str | None = None
    resource: str | None = None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The body of a refusal.

    Attributes:
        form: Whose form it has. The platform's JSON has a code; ``"provider"`` is the form of the providers of models.
    """

    error_code: str | None = None
    text: str = ""
    details: Details | None = None
    form: Form = "platform"


def code_of(code: object) -> str | None:
    """Return an error code as text; `None` for an empty one."""
    return plain(str(code), 100) if code not in (None, "") else None


def parsed(content: str | bytes) -> Mapping[str, Any] | None:
    """Return a body that is a JSON object; `None` for any other body, and for one that is too deep or too long to read."""
    if len(content) > _MAX_JSON:
        return None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, Any]", body) if isinstance(body, dict) else None


def read_answer(content: str | bytes) -> Answer:
    """Read a refusal's body: in the platform's form, else all of it as text, cut to a limit."""
    body = parsed(content)
    text = content if isinstance(content, str) else content[: 4 * _MAX_WORDS].decode("utf-8", "replace")
    if body is None:
        match = _CODE.search(text[:_MAX_JSON])
        return Answer(error_code=match[1] if match is not None else None, text=text[:_MAX_WORDS])
    inner = body.get("error")
    messages = (body.get("message"), body.get("error_description"), body.get("detail"), inner)
    message = next((words for words in messages if words and isinstance(words, str)), None)
    if isinstance(inner, dict) and not message:  # the OpenAI-compatible routes nest it
        message = inner.get("message")
    code = code_of(body.get("error_code"))
    return Answer(
        error_code=code,
        text=str(message or text)[:_MAX_WORDS],
        details=details_of(body.get("details")),
        form="platform" if code is not None else "provider" if _is_of_a_provider(body, inner) else "other",
    )


def _is_of_a_provider(body: Mapping[str, Any], inner: object) -> bool:
    typed = inner if isinstance(inner, dict) else {}
    return body.get("type") == "error" or (isinstance(typed.get("type"), str) and "message" in typed)


def quoted_answer(text: str) -> Answer | None:
    """Read the answer that a statement's error quotes, which may be cut; return `None` if it quotes none."""
    quoted = QUOTED_ANSWER.pattern.search(text)
    if quoted is None:
        return None
    code, message = _CODE.search(quoted["body"]), _MESSAGE.search(quoted["body"])
    if code is None or message is None:
        return None
    return Answer(error_code=code[1], text=message[1].replace("\\", ""))


_PRIVILEGES = (
    "privilege",
    "privileges",
    "missingprivilege",
    "missingprivileges",
    "requiredprivilege",
    "requiredprivileges",
    "msg",
)
_KINDS = ("resourcetype", "securabletype", "securablekind")
_NAMES = ("resourceidentifier", "resourcename", "resource", "securablefullname", "fullname", "securable")
_SCOPES = ("requiredscopes", "requiredscope", "missingscopes", "missingscope", "scopes", "scope")


def details_of(entries: object) -> Details | None:
    """Read ``details``: the google.rpc entries for the reason (ErrorInfo) and the object (ResourceInfo)."""
    if not isinstance(entries, list) or not entries:
        return None
    words: dict[str, str] = {}
    reason: str | None = None
    for entry in entries[:20]:
        if not isinstance(entry, dict):
            continue
        kind = str(entry.get("@type", "")).rpartition(".")[2]
        if kind not in ("ErrorInfo", "ResourceInfo"):
            continue
        reason = reason or code_of(entry.get("reason"))
        metadata = entry.get("metadata")
        for source in (entry, metadata if isinstance(metadata, dict) else {}):
            for name, value in list(source.items())[:40]:
                if isinstance(value, str) and value:
                    words.setdefault(_SEPARATORS.sub("", str(name).lower()), plain(value, 256))
    return _details(reason, words)


def _details(reason: str | None, words: Mapping[str, str]) -> Details | None:
    def first(names: tuple[str, ...]) -> str | None:
        return next((words[name] for name in names if name in words), None)

    if reason is None and not words:
        return None
    scopes = tuple(sorted({scope for scope in re.split(r"[,\s]+", first(_SCOPES) or "") if scope}))
    details = Details(
        reason=reason,
        privilege=(first(_PRIVILEGES) or "").replace("_", " ").upper() or None,
        kind=first(_KINDS),
        resource=first(_NAMES),
        scopes=scopes,
    )
    return details if details != Details() else None
