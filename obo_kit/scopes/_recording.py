"""A recording: the form of a workspace's answers, without anything that is the workspace's own.

``obo-kit verify`` writes it. The local workspace and the catalogue read it. It is JSON with a versioned schema and a hash of
its content. A text in it that `placeholders` would change is refused, both when it is written and when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from obo_kit._utils.files import read_regular
from obo_kit._utils.plain import plain
from obo_kit.exceptions import OboError
from obo_kit.scopes._placeholders import code_of, is_placed, is_scope, placeholders

__all__ = [
    "CASES",
    "HEADERS",
    "SCHEMA",
    "Answer",
    "Case",
    "Detail",
    "Recording",
    "RecordingError",
    "Release",
    "digest_of",
    "dump",
    "load",
    "placeholders",
]

SCHEMA: Final = 1
"""The version of the schema that is written, and the only one that is read."""

CASES: Final = {
    "allowed": "the token carries the scopes, and the answer is not a refusal",
    "missing_scope": "the token lacks the scopes",
    "absent": "the token carries the scopes, but the requested object does not exist",
    "no_permission": "the token carries the scopes, but its user lacks a grant",
    "login_required": "only the user can give what is missing, by a login",
    "no_credential": "no token was sent",
    "invalid_token": "what was sent is not a token of the workspace",
    "expired": "the token has expired",
    "no_obo": "on-behalf-of-user authorization is off",
    "policy": "the workspace, its network or its plan refuses whoever asks",
    "bad_request": "the request is refused because of its content",
    "no_api": "the workspace has no such API, or has switched it off",
    "rate_limited": "there were too many requests",
    "unavailable": "the workspace failed, or did not answer",
}
"""The situations that an answer belongs to, by name."""

Case = Literal[
    "allowed", "missing_scope", "absent", "no_permission", "login_required", "no_credential", "invalid_token", "expired",
    "no_obo", "policy", "bad_request", "no_api", "rate_limited", "unavailable",
]  # fmt: skip

HEADERS: Final = frozenset(
    "content-type www-authenticate retry-after x-databricks-reason-phrase x-databricks-error-code x-databricks-org-id "  # noqa: SIM905
    "x-request-id x-databricks-request-id location server strict-transport-security x-content-type-options "
    "x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset".split()
)
"""The headers that a recording lists if an answer had them. It does not keep their values."""

_LIMIT: Final = 4 * 2**20

ContentType = Literal["application/json", "application/scim+json", "application/octet-stream", "text/plain", "text/html",
                      "text/event-stream", "application/x-thrift", "<other>"]  # fmt: skip
DetailType = Literal["ErrorInfo", "RequestInfo", "ResourceInfo", "BadRequest", "Help", "LocalizedMessage", "QuotaFailure",
                     "PreconditionFailure", "RetryInfo", "DebugInfo", "<other>"]  # fmt: skip
Form = Literal["json", "text", "html", "empty", "other"]


class RecordingError(OboError):
    """A recording cannot be read or written, or contains what it must not."""


def _placed(text: str) -> str:
    if not is_placed(text):
        raise ValueError("contains text that is not replaced by placeholders")
    return text


def _code(text: str) -> str:
    if text != "<name>" and code_of(text) != text:
        raise ValueError("is not an error code")
    return text


def _scope(name: str) -> str:
    if name != "<name>" and not is_scope(name):
        raise ValueError("is not a scope")
    return name


def _template(text: str) -> str:
    if not re.fullmatch(r"(?:route|refusal|obo):[A-Za-z0-9 /{}_.:*\-]{1,160}", text):
        raise ValueError("is not a claim")
    return text


def _request(text: str) -> str:
    if not re.fullmatch(r"(?:GET|POST) /[A-Za-z0-9/{}_.:\-]{1,160}", text):
        raise ValueError("is not a request, as method and template of a path")
    return text


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


Placed = Annotated[str, AfterValidator(_placed)]
Code = Annotated[str, AfterValidator(_code)]
ScopeName = Annotated[str, AfterValidator(_scope)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Detail(_Model):
    """One entry of an error's ``details``.

    Attributes:
        type: The last part of its ``@type``, such as ``"ErrorInfo"``.
        reason: Its ``reason``.
        domain: Its ``domain``; ``<host>``, or None if it has none.
        keys: The keys of its ``metadata``, sorted, each with a placeholder unless it is an ordinary word.
    """

    type: DetailType
    reason: Code | None = None
    domain: Placed | None = None
    keys: tuple[Code, ...] = ()


class Answer(_Model):
    """The form of a workspace's answer to one request.

    Attributes:
        claim: The kit's claim that the answer is about: ``"route:GET /api/2.0/serving-endpoints"`` (methods and path as in the
            catalogue), or ``"refusal:warehouse_missing"`` (the local workspace's name of it).
        request: The request: method and template of the path.
        case: The situation of the request; see `CASES`.
        scopes: The scopes that the token carried, sorted; None if it does not say.
        status: HTTP status.
        content_type: Media type, without parameters; None if the answer names none.
        headers: The headers of `HEADERS` that it had, in lower case, sorted.
        form: The form of the body.
        code: ``error_code`` of the body.
        wording: The message, with placeholders; empty for an answer that is not a refusal.
        details: The error's ``details``.
        required_scopes: The scopes that the wording names, in its order.
    """

    claim: Annotated[str, AfterValidator(_template)]
    request: Annotated[str, AfterValidator(_request)]
    case: Case
    scopes: tuple[ScopeName, ...] | None = None
    status: Annotated[int, Field(ge=100, le=599)]
    content_type: ContentType | None = None
    headers: tuple[str, ...] = ()
    form: Form
    code: Code | None = None
    wording: Placed = ""
    details: tuple[Detail, ...] = ()
    required_scopes: tuple[ScopeName, ...] = ()

    @model_validator(mode="after")
    def _known_headers(self) -> Answer:
        if not HEADERS.issuperset(self.headers):
            raise ValueError("headers: names one that is not recorded")
        return self


class Release(_Model):
    """The release of a workspace, as far as it says. No API tells a number of the platform's own.

    Attributes:
        runtime: The newest Databricks Runtime that it offers, as ``"17.3"``.
        sql: The version of Databricks SQL on a warehouse that the developer named, as ``"2026.30"``.
        why: Why there is no ``runtime``: the request was not sent, was refused, failed, or had an answer of another form.
    """

    runtime: Annotated[str, Field(pattern=r"^\d{1,2}\.\d{1,2}$")] | None = None
    sql: Annotated[str, Field(pattern=r"^\d{4}\.\d{1,2}$")] | None = None
    why: Literal["not_asked", "refused", "failed", "unreadable"] | None = None

    def __str__(self) -> str:
        why = (self.why or "not_asked").replace("_", " ")
        runtime = f"offers Databricks Runtime {self.runtime}" if self.runtime else f"tells no release ({why})"
        return f"{runtime}, and runs Databricks SQL {self.sql}" if self.sql else runtime


class Recording(_Model):
    """The answers of one workspace on one day.

    Attributes:
        schema_version: The version of the schema; ``schema`` in the file.
        recorded: The day, as ``"2026-12-01"``.
        cloud: Where the workspace runs; ``"local"`` for one on this machine.
        release: Its release; None in a recording of a version of the kit that did not ask.
        kit: The version of ``obo-kit``.
        obo: Whether on-behalf-of-user authorization is on for Databricks Apps.
        obo_model_serving: The same for Model Serving.
        asked_as: The kind of token that was used: a user's, or a service principal's.
        complete: Whether all requests were sent.
        answers: By claim, then case, then request.
        digest: ``"sha256:…"`` of all the rest; see `digest_of`.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = SCHEMA
    recorded: Annotated[str, AfterValidator(_day)]
    cloud: Literal["aws", "azure", "gcp", "local", "unknown"] = "unknown"
    release: Release | None = None
    kit: Annotated[str, Field(pattern=r"^\d+(\.\d+){0,5}((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?$")]
    obo: Literal["on", "off", "unknown"] = "unknown"
    obo_model_serving: Literal["on", "off", "unknown"] = "unknown"
    asked_as: Literal["user", "service_principal", "unknown"] = "unknown"
    complete: bool = True
    answers: tuple[Answer, ...] = ()
    digest: str = ""

    model_config = ConfigDict(populate_by_name=True)

    def for_claim(self, claim: str) -> tuple[Answer, ...]:
        """Return the answers that are about a claim."""
        return tuple(answer for answer in self.answers if answer.claim == claim)

    def signed(self) -> Recording:
        """Return the recording with its answers in order, and with its digest."""
        answers = sorted(
            self.answers, key=lambda answer: (answer.claim, answer.case, answer.request, answer.scopes or ())
        )
        ordered = self.model_copy(update={"answers": tuple(answers)})
        return ordered.model_copy(update={"digest": digest_of(ordered)})


def digest_of(recording: Recording) -> str:
    """Return the hash of a recording's content: SHA-256 of its JSON without ``digest``, sorted, without white space."""
    return _digest(recording.model_dump(mode="json", by_alias=True))


def _digest(data: Mapping[str, Any]) -> str:
    """Return the hash of what is in a file: a later version of the kit may know fields that it lacks."""
    content = {key: value for key, value in data.items() if key != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def load(path: str | os.PathLike[str]) -> Recording:
    """Read a recording.

    Raises:
        RecordingError: It is not a readable file, is not JSON, has another version of the schema, is larger than 4 MB, was
            changed after it was written (its digest differs), or contains what no recording may contain.
    """
    name = plain(os.fspath(path))
    try:
        data = json.loads(read_regular(path, limit=_LIMIT))
    except OSError as error:
        raise RecordingError(
            f"'{name}' cannot be read: {error.strerror or 'it is not a file'}.",
            remedy="Pass a file that `obo-kit verify --output` wrote.",
        ) from None
    except (ValueError, RecursionError):
        raise RecordingError(
            f"'{name}' is not JSON.", remedy="Pass a file that `obo-kit verify --output` wrote."
        ) from None
    version = data.get("schema") if isinstance(data, dict) else None
    if version != SCHEMA or isinstance(version, bool):
        kind = f"of schema {version}" if isinstance(version, int) else "not a recording: it has no 'schema'"
        raise RecordingError(
            f"'{name}' is {kind}; this kit reads schema {SCHEMA}.",
            remedy="Record it again with `obo-kit verify --output`, or use the version of the kit that wrote it.",
        )
    recording = _checked(data, name)
    if recording.digest != _digest(data):
        raise RecordingError(
            f"'{name}' was changed after it was written: its digest differs.",
            remedy="Record it again: a recording must not be edited by hand.",
        )
    return recording


def _checked(data: dict[str, Any], name: str) -> Recording:
    try:
        return Recording.model_validate_json(json.dumps(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RecordingError(
            f"'{name}' is not a recording of schema {SCHEMA}: {plain(place, 100) or 'it'}: {plain(first['msg'], 200)}.",
            remedy="Record it again: a recording must not be edited by hand.",
        ) from None


def dump(recording: Recording, path: str | os.PathLike[str]) -> Recording:
    """Write a recording, in order and with its digest: completely or not at all.

    Returns:
        The recording as it was written.

    Raises:
        RecordingError: It cannot be written, or contains what no recording may contain.
    """
    signed = recording.signed()
    _checked(signed.model_dump(mode="json", by_alias=True), plain(os.fspath(path)))
    text = json.dumps(signed.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=True) + "\n"
    target = Path(path)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise RecordingError(
            f"'{plain(os.fspath(path))}' cannot be written: {error.strerror}.",
            remedy="Pass a file in a folder that is writable.",
        ) from None
    return signed
