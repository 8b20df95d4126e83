"""The refusals of the local workspace, each with its standing and its source.

Each service declares its own refusals beside its code (``declare``). Those about the token and the request are here.

``standing`` says how sure we are that the platform answers this way:

``documented``
    Databricks' documentation, or code that Databricks ships, says so.
``reported``
    Somebody saw it on a workspace and wrote it down.
``inferred``
    Nobody wrote it down. This answer fits the rest best.
``observed``
    A recording of a workspace contains it (``LocalWorkspace(recording=…)``). No refusal in the tables has this standing.

``source`` names a recorded refusal (``errors.``), a kind of resource in the catalogue (``kinds.``), or a public file by its
number in a search index (``fid:``); or it says what the answer was inferred from.
"""

from __future__ import annotations

import contextvars
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["REFUSALS", "SPEAKER", "Form", "Refusal", "RefusedError", "Speaker", "declare", "filled", "refusal_text"]

Standing = Literal["documented", "reported", "inferred", "observed"]
Form = Literal["json", "text", "html", "empty"]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One refusal.

    Attributes:
        status: HTTP status; 200 if the platform reports the refusal as data (SQL, Genie).
        code: ``error_code`` of the body; a number if the platform sends a number.
        text: The message. The fields in braces are filled in, ``{request}`` with a request id.
        decision: The decision in the request log.
        standing: See the module.
        source: See the module.
        headers: Response headers that come with it.
        sql_state: SQLSTATE of a failed statement.
        form: The form of the body: a JSON object, only the text, a page, or nothing.
        content_type: Content type of the answer, if it is not the usual one of its form.
        details: The platform's ``details``: the last part of their type, or as they were recorded.
    """

    status: int
    code: str | int
    text: str
    decision: str
    standing: Standing
    source: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sql_state: str | None = None
    form: Form = "json"
    content_type: str | None = None
    details: tuple[str | Mapping[str, Any], ...] = ()


_OAUTH_CODES = frozenset({"invalid_client", "invalid_grant", "invalid_scope", "unsupported_grant_type"})
_TOKEN_HEADERS = {"X-Databricks-Reason-Phrase": "Invalid access token."}

# The details that the platform adds to an error, as reported of model serving.
_DETAILS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "RequestInfo": lambda: {
        "@type": "type.googleapis.com/google.rpc.RequestInfo",
        "request_id": str(uuid.uuid4()),
        "serving_data": "",
    }
}

REFUSALS: dict[str, Refusal] = {}
"""All declared refusals, by key."""


def declare(refusals: Mapping[str, Refusal]) -> None:
    """Add the refusals of a service. Raises ValueError if another service has declared one of the same key."""
    if taken := REFUSALS.keys() & refusals.keys():
        msg = f"Refusals are declared once: {', '.join(sorted(taken))}"
        raise ValueError(msg)
    REFUSALS.update(refusals)


class Speaker(Protocol):
    """Words the refusals of one request in its own way."""

    def refusal(
        self, key: str, declared: Refusal, fields: Mapping[str, str], missing: tuple[str, ...]
    ) -> tuple[Refusal, str] | None:
        """Return a refusal and its message; None for the declared one."""


SPEAKER: contextvars.ContextVar[Speaker | None] = contextvars.ContextVar("obo_kit.testing.speaker", default=None)
"""Words the refusals of the request that is being answered, in place of the table."""


def filled(key: str, fields: Mapping[str, str], missing: tuple[str, ...] = ()) -> tuple[Refusal, str]:
    """Return a refusal as this workspace gives it, and its message with the fields filled in.

    Args:
        key: The key in the table.
        fields: The values for the braces.
        missing: The scopes that the token lacks.
    """
    declared, speaker = REFUSALS[key], SPEAKER.get()
    spoken = speaker.refusal(key, declared, fields, missing) if speaker is not None else None
    return spoken or (declared, declared.text.format(request=uuid.uuid4(), **fields))


def refusal_text(key: str, **fields: str) -> str:
    """Return the message of a refusal with its fields filled in."""
    return filled(key, fields)[1]


class RefusedError(Exception):
    """A request is refused. Handlers raise it, and the gate turns it into an answer. It never leaves the server.

    Attributes:
        key: The key in the table.
        refusal: Its entry, as this workspace gives it.
        message: Its text, filled in.
        fields: The values that fill the text.
        missing: The scopes that the token lacks.
    """

    def __init__(self, key: str, /, *, missing: tuple[str, ...] = (), **fields: str) -> None:
        self.key = key
        self.refusal, self.message = filled(key, fields, missing)
        self.fields = fields
        self.missing = missing
        super().__init__(self.message)

    @property
    def body(self) -> dict[str, Any]:
        """Return the JSON body in the form of the REST API (or, under ``/oidc``, of OAuth)."""
        if self.refusal.code in _OAUTH_CODES:
            return {"error": self.refusal.code, "error_description": self.message}
        body: dict[str, Any] = {"error_code": self.refusal.code, "message": self.message}
        if self.refusal.details:
            body["details"] = [
                _DETAILS[detail]() if isinstance(detail, str) else detail for detail in self.refusal.details
            ]
        return body


declare(
    {
        "credential_missing": Refusal(
            status=401,
            code=401,
            text="Credential was not sent or was of an unsupported type for this API. [ReqId: {request}]",
            decision="no credential",
            standing="reported",
            source="errors.credential_missing",
            headers={"WWW-Authenticate": 'Bearer realm="DatabricksRealm"'},
        ),
        "invalid_token": Refusal(
            status=403,
            code=403,
            text="Invalid access token. [ReqId: {request}]",
            decision="invalid token",
            standing="reported",
            source="errors.invalid_token",
            headers=_TOKEN_HEADERS,
        ),
        "expired_token": Refusal(
            status=403,
            code=403,
            text="Invalid access token. [ReqId: {request}]",
            decision="expired token",
            standing="reported",
            source="errors.invalid_token",
            headers=_TOKEN_HEADERS,
        ),
        "missing_scope": Refusal(
            status=403,
            code=403,
            text="Provided OAuth token does not have required scopes: {scopes} [ReqId: {request}]",
            decision="missing scope",
            standing="reported",
            source="errors.missing_scope_json",
        ),
        "missing_scope_text": Refusal(
            status=403,
            code=403,
            text="Invalid scope, required scopes: {scopes}",
            decision="missing scope",
            standing="reported",
            source="fid:56119916037, fid:60236663101, fid:70151736575, fid:54074394470",
            form="text",
        ),
        "missing_scope_bare": Refusal(
            status=403,
            code=403,
            text="Invalid scope",
            decision="missing scope",
            standing="reported",
            source="errors.missing_scope_text; ai-bridge#264 and a report of invocations name no scope",
            form="text",
        ),
        "missing_scope_token": Refusal(
            status=403,
            code=403,
            text="Provided access token does not have required scopes: {scopes} [ReqId: {request}]",
            decision="missing scope",
            standing="reported",
            source="fid:60789081083; solana-mcp-official#116",
        ),
        "missing_scope_uc": Refusal(
            status=403,
            code=403,
            text="Provided OAuth token does not have required scopes: {scopes} [ReqId: {request}] Tables and functions of "
            "Unity Catalog are not directly supported with on-behalf-of-user authorization: reach them through a Genie "
            "space (scope genie) or a SQL warehouse (scope sql).",
            decision="missing scope",
            standing="inferred",
            source="errors.missing_scope_json; the second sentence is the OBO documentation's advice in our words, "
            "which the platform does not send",
        ),
        "no_such_api": Refusal(
            status=404,
            code="ENDPOINT_NOT_FOUND",
            text="No API found for '{method} {path}'",
            decision="not found",
            standing="reported",
            source="ENDPOINT_NOT_FOUND in the code map of databricks-sdk errors/platform.py",
        ),
        "malformed": Refusal(
            status=400,
            code="MALFORMED_REQUEST",
            text="{detail}",
            decision="bad request",
            standing="inferred",
            source="MALFORMED_REQUEST in databricks-sdk errors",
        ),
        "invalid_parameter": Refusal(
            status=400,
            code="INVALID_PARAMETER_VALUE",
            text="{detail}",
            decision="bad request",
            standing="inferred",
            source="INVALID_PARAMETER_VALUE in databricks-sdk errors; the wording is ours",
        ),
        "too_large": Refusal(
            status=413,
            code="MAX_REQUEST_SIZE_EXCEEDED",
            text="Request body is larger than {limit} bytes",
            decision="bad request",
            standing="inferred",
            source="HTTP semantics; the wording is ours",
        ),
        "internal": Refusal(
            status=500,
            code="INTERNAL_ERROR",
            text="The local workspace has a bug: {error}. Its traceback is in the log of obo_kit.testing.",
            decision="fault",
            standing="inferred",
            source="never sent on purpose",
        ),
    }
)
