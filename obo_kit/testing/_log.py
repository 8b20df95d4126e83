"""The request log: who asked for what, with which scopes, and what the workspace decided."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["RequestLog", "RequestRecord"]

# Generated ids are cut in the text table: their start is enough to tell them apart.
_ID = re.compile(r"\b([0-9a-f]{6})[0-9a-f]{26}\b")


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """One request as the workspace saw it. Holds no token and no body.

    Attributes:
        user: Name of the principal the token belongs to, as it was added to the workspace; None where the token
            names nobody.
        kind: What that principal is.
        method: HTTP method.
        path: Path without the query.
        status: HTTP status of the answer.
        scopes_held: Scopes of the token; None without a readable token.
        scopes_missing: Scopes the token lacks; filled where the decision is ``"missing scope"``.
        decision: ``"allowed"``, ``"missing scope"``, ``"missing grant"``, ``"invalid token"``, ``"expired token"``,
            ``"no credential"``, ``"not found"``, ``"bad request"``, ``"login required"``, ``"model error"``,
            ``"upstream error"`` or ``"fault"``. A refusal that the platform reports as data (SQL, Genie) is recorded as
            a refusal, with status 200.
        connection: Client address and port: one value per TCP connection.
        seconds: From the arrival of the request to the start of its answer.
        user_agent: The User-Agent header, or an empty string.
        cookies: Cookies the client sent.
        at: Arrival, seconds since the epoch.
        mcp_tool: Name of the MCP tool that was called; None on every other request.
    """

    user: str | None
    kind: Literal["user", "service_principal"] | None
    method: str
    path: str
    status: int
    scopes_held: frozenset[str] | None
    scopes_missing: tuple[str, ...]
    decision: str
    connection: str
    seconds: float
    user_agent: str
    cookies: Mapping[str, str] = field(hash=False)
    at: float
    mcp_tool: str | None = None


class RequestLog:
    """The requests a workspace has answered, in order of arrival. Lives as long as its workspace; thread-safe.

    A request is in the log before its answer reaches the client, so a test may look right after a call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: list[RequestRecord] = []

    def _add(self, record: RequestRecord) -> None:
        with self._lock:
            self._records.append(record)

    @property
    def entries(self) -> tuple[RequestRecord, ...]:
        """A snapshot, in order of arrival."""
        with self._lock:
            records = list(self._records)
        # Records are added when the answer starts; an agent's own calls would otherwise come before the request
        # that caused them.
        return tuple(sorted(records, key=lambda record: record.at))

    def clear(self) -> None:
        """Forget everything recorded so far."""
        with self._lock:
            self._records.clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self._records)

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(self.entries)

    def filter(
        self,
        *,
        user: str | None = None,
        kind: str | None = None,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        decision: str | None = None,
        mcp_tool: str | None = None,
    ) -> tuple[RequestRecord, ...]:
        """Return the records that match everything given, in order of arrival.

        Args:
            user: Name of the principal as it was added.
            kind: ``"user"`` or ``"service_principal"``.
            method: HTTP method.
            path: The start of the path.
            status: HTTP status.
            decision: What was decided.
            mcp_tool: Name of the MCP tool that was called.
        """
        wanted = {
            "user": user,
            "kind": kind,
            "method": method,
            "status": status,
            "decision": decision,
            "mcp_tool": mcp_tool,
        }
        return tuple(
            record
            for record in self.entries
            if all(value is None or getattr(record, name) == value for name, value in wanted.items())
            and (path is None or record.path.startswith(path))
        )

    def table(self, records: Sequence[RequestRecord] | None = None) -> str:
        """Return the records (all of them by default) as an aligned text table, one line each."""
        rows = [("who", "method", "path", "status", "decision", "missing scopes", "ms")]
        rows += [
            (
                record.user or "-",
                record.method,
                _ID.sub(r"\1…", record.path if record.mcp_tool is None else f"{record.path} {record.mcp_tool}"),
                str(record.status),
                record.decision,
                ", ".join(record.scopes_missing) or "-",
                f"{record.seconds * 1000:.1f}",
            )
            for record in (self.entries if records is None else records)
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def __repr__(self) -> str:
        return f"<RequestLog of {len(self)} requests>"
