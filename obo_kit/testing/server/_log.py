"""The request log: who sent which request, with which scopes, and how the workspace decided."""

from __future__ import annotations

import dataclasses
import re
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from obo_kit.testing._kit import html_table, tell_of_request, title_of_route

__all__ = ["RequestLog", "RequestRecord"]

_HEAD = ("who", "method", "path", "status", "decision", "missing scopes", "ms")
# The text table shortens generated ids: their start is enough to tell them apart.
_ID = re.compile(r"\b([0-9a-f]{6})[0-9a-f]{26}\b")


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """One request as the workspace saw it. Holds no token and no body.

    Attributes:
        user: The name that the token's principal was added by; None if the token names nobody.
        kind: The kind of that principal.
        method: HTTP method.
        path: Path without the query.
        status: HTTP status of the answer; 0 if the connection was reset instead.
        scopes_held: The token's scopes; None without a readable token.
        scopes_needed: The scopes that this path asks for. If several spellings are accepted, the preferred one. Empty if
            none are known, or if the request did not get that far.
        scopes_missing: The scopes that the token lacks, if the decision is ``"missing scope"``.
        decision: ``"allowed"``, ``"missing scope"``, ``"missing grant"``, ``"invalid token"``, ``"expired token"``,
            ``"no credential"``, ``"not found"``, ``"bad request"``, ``"login required"``, ``"model error"``,
            ``"upstream error"`` or ``"fault"``. A refusal that the platform reports as data (SQL, Genie) is recorded as
            a refusal, with status 200.
        fault: The injected faults (``add_fault``), or None.
        tool: The name of the calling tool, if a client of the kit named it in a header. None for other clients, for code
            outside any decorated tool, and for requests that a tool makes by other means.
        connection: Client address and port: one value per TCP connection.
        seconds: Latency: from the arrival of the request to the start of its answer.
        user_agent: The User-Agent header, or an empty string.
        cookies: The cookies that the client sent.
        at: Arrival, in seconds since the epoch.
        mcp_tool: The name of the MCP tool that was called; None on every other request.
        recorded: Whether the refusal was in the words of the workspace's recording.
    """

    user: str | None
    kind: Literal["user", "service_principal"] | None
    method: str
    path: str
    status: int
    scopes_held: frozenset[str] | None
    scopes_needed: tuple[str, ...]
    scopes_missing: tuple[str, ...]
    decision: str
    fault: str | None
    tool: str | None
    connection: str
    seconds: float
    user_agent: str
    cookies: Mapping[str, str] = field(hash=False)
    at: float
    mcp_tool: str | None = None
    recorded: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values, ready for JSON; without the client's cookies."""
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "cookies"
        }
        return values | {"scopes_held": sorted(self.scopes_held) if self.scopes_held is not None else None}


class RequestLog:
    """The requests that a workspace has answered, in order of arrival. Lives as long as its workspace; thread-safe.

    A request is in the log before its answer reaches the client, so a test may read the log right after a call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: list[RequestRecord] = []
        self._listeners: list[Callable[[RequestRecord], object]] = []

    def _add(self, record: RequestRecord) -> None:
        with self._lock:
            self._records.append(record)
            listeners = list(self._listeners)
        for listener in listeners:
            listener(record)
        if record.kind == "user":
            tell_of_request(record.method, record.path, record.tool)

    def listen(self, listener: Callable[[RequestRecord], object]) -> None:
        """Call ``listener`` with every record from now on. It runs in the server's thread: it must be quick, and not raise."""
        with self._lock:
            self._listeners.append(listener)

    @property
    def entries(self) -> tuple[RequestRecord, ...]:
        """Return a snapshot, in order of arrival."""
        with self._lock:
            records = list(self._records)
        # Records are added when the answer starts. Unsorted, an agent's own calls would come before the request that
        # caused them.
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
        tool: str | None = None,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        decision: str | None = None,
        mcp_tool: str | None = None,
    ) -> tuple[RequestRecord, ...]:
        """Return the records that match all arguments, in order of arrival.

        Args:
            user: The name that the principal was added by.
            kind: ``"user"`` or ``"service_principal"``.
            tool: The name of the calling tool.
            method: HTTP method.
            path: The start of the path.
            status: HTTP status.
            decision: The decision.
            mcp_tool: The name of the MCP tool that was called.
        """
        wanted = {
            "user": user,
            "kind": kind,
            "tool": tool,
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
        return _aligned(_HEAD, self._rows(records))

    def _rows(self, records: Sequence[RequestRecord] | None) -> list[tuple[str, ...]]:
        return [
            (
                record.user or "-",
                record.method,
                _ID.sub(r"\1…", record.path if record.mcp_tool is None else f"{record.path} {record.mcp_tool}"),
                str(record.status),
                record.decision + (f" ({record.fault})" if record.fault else " (recorded)" if record.recorded else ""),
                ", ".join(record.scopes_missing) or "-",
                f"{record.seconds * 1000:.1f}",
            )
            for record in (self.entries if records is None else records)
        ]

    def by_tool(self, records: Sequence[RequestRecord] | None = None) -> str:
        """Return the records (all of them by default) as an aligned text table, one line per tool and user.

        Requests without a known tool are grouped by their API, in brackets. ``scopes`` are those that the requests needed;
        ``ms`` is the median latency.
        """
        groups: dict[tuple[str, str], list[RequestRecord]] = {}
        for record in self.entries if records is None else records:
            groups.setdefault((record.tool or f"[{_api(record)}]", record.user or "-"), []).append(record)
        rows = [
            (
                tool,
                user,
                str(len(group)),
                str(sum(record.decision == "allowed" for record in group)),
                ", ".join(_counted(record.decision for record in group if record.decision != "allowed")) or "-",
                ", ".join(sorted({scope for record in group for scope in record.scopes_needed})) or "-",
                f"{statistics.median(record.seconds for record in group) * 1000:.1f}",
            )
            for (tool, user), group in sorted(groups.items())
        ]
        return _aligned(("tool", "who", "requests", "allowed", "refused", "scopes", "ms"), rows)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return html_table(_HEAD, self._rows(None), title=f"{len(self)} requests")

    def __repr__(self) -> str:
        return f"<RequestLog of {len(self)} requests>"


def _counted(values: Iterable[str]) -> list[str]:
    return [f"{value} x{count}" if count > 1 else value for value, count in sorted(Counter(values).items())]


def _api(record: RequestRecord) -> str:
    return title_of_route(record.method, record.path)


def _aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
