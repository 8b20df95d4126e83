"""The texts that tell refusals apart: all matching on message texts is here.

Each pattern stands beside the sample it was written for and its source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from obo_kit.exceptions import DenialReason

__all__ = [
    "AGENTS_STATUS",
    "CANCELLED",
    "GENIE_FAILED",
    "LOST_TEXTS",
    "TEXTS",
    "LostText",
    "Text",
    "is_login",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text that tells a refusal from another. ``reason=None``: known, and not a denial.

    ``kind`` and ``privilege`` are what the text is about, where it does not say so itself; ``path`` is the start of the only
    paths on which it means this. ``any_code``: it counts also beside a code that by itself says that this is no denial.
    """

    name: str
    reason: DenialReason | None
    pattern: re.Pattern[str]
    statuses: frozenset[int]
    sample: str
    source: str
    path: str = ""
    kind: str = ""
    privilege: str = ""
    any_code: bool = False


def _text(  # noqa: PLR0917
    name: str,
    reason: DenialReason | None,
    pattern: str,
    statuses: Sequence[int],
    sample: str,
    source: str,
    path: str = "",
    kind: str = "",
    privilege: str = "",
    any_code: bool = False,
) -> Text:
    return Text(
        name=name,
        reason=reason,
        pattern=re.compile(pattern),
        statuses=frozenset(statuses),
        sample=sample,
        source=source,
        path=path,
        kind=kind,
        privilege=privilege,
        any_code=any_code,
    )


_R = DenialReason
_SCOPES = r"(?P<scopes>[\w.:\-]+(?:, *[\w.:\-]+)*)"
# The first that matches decides, so the order is the one that resolves overlaps. The samples are the wordings the facts
# report or document; no answer of a live workspace was recorded here. A status of 200 is a refusal that came as a value.
TEXTS: tuple[Text, ...] = (
    _text(
        "connection_login",
        _R.LOGIN_REQUIRED,
        r"Credential for user identity\('[^']*'\) is not found for the connection '(?P<name>[^']+)'"
        r"(?:.*?by visiting (?P<url>https?://\S+))?",
        (200, 400, 401, 403),
        "Credential for user identity('1') is not found for the connection 'gh'. Please login first to the connection "
        "by visiting https://host.example/explore/connections/gh",
        "reported: fid:68349805652",
    ),
    _text(
        "gateway_enforced",
        None,
        r"is disabled for this workspace\. Please use Unity Gateway",
        (403,),
        "x is disabled for this workspace. Please use Unity Gateway.",
        "documented: G-SKILLS-NEW",
    ),
    _text(
        "missing_scope_json",
        _R.MISSING_SCOPE,
        rf"does not have required scopes?: *{_SCOPES}",
        (200, 400, 401, 403),
        "Provided OAuth token does not have required scopes: model-serving, model-serving-inference [ReqId: 0]",
        "reported: G-APPKIT-265, G-ONTOS-288",
    ),
    _text(
        "missing_scope_plain",
        _R.MISSING_SCOPE,
        rf"\b[Ii]nvalid scope(?!s)(?:, required scopes?: *{_SCOPES})?|\binsufficient_scope\b",
        (401, 403),
        "Invalid scope, required scopes: postgres",
        "reported: fid:69389892685",
    ),
    _text(
        "missing_scope_as_invalid_token",
        _R.MISSING_SCOPE,
        r"Invalid Token",
        (403,),
        "Invalid Token",
        "reported: fid:59262808423",
        path="/serving-endpoints/responses",
    ),
    _text(
        "oauth_token_endpoint_scope",
        _R.MISSING_SCOPE,
        r"Scopes '?(?P<scopes>[^']+?)'? are not assigned to the client",
        (400, 401, 403),
        "Scopes 'sql' are not assigned to the client 00000000",
        "reported: G-SQLGO-476",
    ),
    _text(
        "credential_missing",
        _R.TOKEN_EXPIRED,
        r"Credential was not sent or was of an unsupported type",
        (401,),
        "Credential was not sent or was of an unsupported type for this API. [ReqId: 0]",
        "reported: fid:57907425948",
    ),
    _text(
        "invalid_token",
        _R.TOKEN_EXPIRED,
        r"Invalid access token|Invalid Token|Token is expiring within \d+ seconds|token expired",
        (401, 403),
        "Invalid access token. [ReqId: 00000000-0000-0000-0000-000000000000]",
        "reported: fid:70164141621, G-SDKGO-873, G-CLI-4768, G-VSC-583",
    ),
    _text(
        "uc_privilege_missing",
        _R.ACCESS_DENIED,
        r"User does not have (?P<privilege>[A-Z][A-Z_ ]+?) on (?P<what>[A-Za-z_ ]+) "
        r"'?(?P<name>(?<=')[^']+|[^'\s]+?)'?(?=\.?(?:\s|\Z))",
        (200, 400, 403),
        "User does not have USE CATALOG on Catalog 'x'.",
        "reported: fid:59223030272, fid:68862795987, fid:70164141621",
    ),
    _text(
        "genie_no_access",
        _R.ACCESS_DENIED,
        r"No access to '(?P<name>[^']+)'.*must have (?P<privilege>SELECT)",
        (200, 400, 403),
        "PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT",
        "reported: fid:58231455167",
        kind="uc_table",
    ),
    _text(
        "sql_engine_denied",
        _R.ACCESS_DENIED,
        r"\[INSUFFICIENT_PERMISSIONS\]|\bSQLSTATE: 42501|is not accessible in current workspace",
        (200, 400, 403),
        "Catalog 'main' is not accessible in current workspace",
        "reported: fid:69073153765, fid:62830121274",
    ),
    _text(
        "warehouse_denied",
        _R.ACCESS_DENIED,
        r"is not authorized to use or monitor this SQL Endpoint",
        (200, 400, 403),
        "PERMISSION_DENIED: 123 is not authorized to use or monitor this SQL Endpoint",
        "reported: fid:70164141621, fid:58231455167",
        kind="sql_warehouse",
        privilege="CAN USE",
    ),
    _text(
        "index_denied",
        _R.ACCESS_DENIED,
        r"Insufficient permissions for UC entity (?P<name>[^\s,;]+?)\.?(?:\s|$)",
        (200, 400, 403),
        "Insufficient permissions for UC entity main.s.idx",
        "reported: fid:56828970741",
        kind="vector_search_index",
    ),
    _text(
        "sql_denied_plainly",
        _R.ACCESS_DENIED,
        r"\APERMISSION_DENIED:",
        (200,),
        "PERMISSION_DENIED: Cannot use the catalog",
        "reported: fid:70164141621, fid:69073153765",
    ),
    _text(
        "hidden_or_absent_table",
        _R.NOT_FOUND_OR_DENIED,
        r"\[TABLE_OR_VIEW_NOT_FOUND\](?: The table or view (?P<name>\S+) cannot be found)?",
        (200, 400, 403, 404),
        "[TABLE_OR_VIEW_NOT_FOUND] The table or view `a`.`b`.`c` cannot be found. SQLSTATE: 42P01",
        "reported: fid:70164141621, fid:69073153765",
        kind="uc_table",
    ),
    _text(
        "hidden_or_absent_endpoint",
        _R.NOT_FOUND_OR_DENIED,
        r"The given endpoint does not exist",
        (404,),
        "The given endpoint does not exist, please retry after checking the specified model and version deployment exists.",
        "reported: fid:8610548622; with the code of a path that no API serves",
        any_code=True,
    ),
    _text(
        "unknown_route",
        None,
        r"No API found for '",
        (404,),
        "No API found for 'GET /api/2.0/nothing'",
        "documented: the workspace's answer to a path that no API serves, as databricks-sdk quotes it",
    ),
    _text(
        "hidden_or_absent",
        _R.NOT_FOUND_OR_DENIED,
        r"(?:'(?P<name>[^']+)' |\b)(?:does not exist|not found|cannot be found)\b",
        (404,),
        "Table 'a.b.c' does not exist.",
        "reported: fid:68862795987, G-APPKIT-168",
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LostText:
    """What a client says where it has lost the refusal that it met with: only the wire knows that then (rule 16)."""

    name: str
    pattern: re.Pattern[str]
    sample: str
    source: str


CANCELLED = LostText(
    name="a failed MCP client cancels itself",
    pattern=re.compile(r"\ACancelled (?:by|via) cancel scope "),
    sample="Cancelled via cancel scope 7f31c85d1a90",
    source="anyio's backend for asyncio; 'by' in older ones",
)
AGENTS_STATUS = LostText(
    name="a server of the Agents SDK keeps the status alone",
    pattern=re.compile(r"MCP server .*: HTTP error (\d{3})\b", re.DOTALL),
    sample="Failed to connect to MCP server 'genie': HTTP error 403 (Forbidden)",
    source="agents/mcp/server.py of openai-agents",
)
GENIE_FAILED = LostText(
    name="the SDK's waiter for Genie drops the reason",
    pattern=re.compile(r"\bMessageStatus\b"),
    sample="failed to reach COMPLETED, got MessageStatus.FAILED",
    source="databricks-sdk, wait_get_message_genie_completed",
)
LOST_TEXTS = (CANCELLED, AGENTS_STATUS, GENIE_FAILED)


def is_login(location: str | None) -> bool:
    """Whether a redirect leads to the workspace's sign-in page."""
    return urlsplit(location or "").path.startswith("/login")
