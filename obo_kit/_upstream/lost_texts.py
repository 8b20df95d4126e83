"""Recognize the messages of clients that have lost the refusal that they met."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__: list[str] = []


@dataclass(frozen=True, kw_only=True, slots=True)
class LostText:
    """The message of a client that has lost the refusal that it met: then only the wire knows it (rule 16)."""

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
    pattern=re.compile(r"MCP server .{0,300}?: HTTP error (\d{3})\b", re.DOTALL),
    sample="Failed to connect to MCP server 'genie': HTTP error 403 (Forbidden)",
    source="agents/mcp/server.py of openai-agents",
)
GENIE_FAILED = LostText(
    name="the SDK's waiter for Genie drops the reason",
    pattern=re.compile(r"\bMessageStatus\b"),
    sample="failed to reach COMPLETED, got MessageStatus.FAILED",
    source="databricks-sdk, wait_get_message_genie_completed",
)
BRIDGE_NO_USER = LostText(
    name="the bridge has no user's token in Model Serving",
    pattern=re.compile(
        r"Unable to read end user token|Unable to detect credentials for user authorization|"
        r"\(empty token\) when fetching auth|Unable to get Databricks host and token"
    ),
    sample="Unable to read end user token in Databricks Model Serving.",
    source="model_serving_obo_credential_strategy.py of databricks-ai-bridge 0.22",
)
MLFLOW_STATUS = LostText(
    name="MLflow quotes an answer that is not JSON",
    pattern=re.compile(r"failed with error code (\d{3}) != 200\. Response body: '(.{0,2000})", re.DOTALL),
    sample="API request to endpoint /api/2.0/x failed with error code 403 != 200. Response body: 'Invalid scope'",
    source="mlflow/utils/rest_utils.py",
)
HTTP_STATUS = LostText(
    name="the SQL connector keeps the status in its text",
    pattern=re.compile(r"HTTP request failed with status (?:code )?(\d{3})\b"),
    sample="SEA HTTP request failed with status 403",
    source="databricks/sql/backend/sea of databricks-sql-connector 4.9",
)
QUOTED_ANSWER = LostText(
    name="a statement quotes the answer that a function of it met with",
    pattern=re.compile(r"HTTP request failed with status: {0,2}(?P<body>\{.{0,4000})", re.DOTALL),
    sample="The remote HTTP request failed with code 403, and error message 'HTTP request failed with status: "
    '{"error_code":"PERMISSION_DENIED","message":"No."}\'',
    source="reported: dbdemos#220, dbdemos#241, fid:58214030020",
)
SDK_NO_MESSAGE = LostText(
    name="the SDK reads an answer that has no message",
    pattern=re.compile(r"\A(?:request failed|None)\Z"),
    sample="request failed",
    source="databricks/sdk/errors/deserializer.py",
)
LOST_TEXTS = (
    CANCELLED,
    AGENTS_STATUS,
    GENIE_FAILED,
    BRIDGE_NO_USER,
    MLFLOW_STATUS,
    HTTP_STATUS,
    QUOTED_ANSWER,
    SDK_NO_MESSAGE,
)
