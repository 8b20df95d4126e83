"""Record a tool call: its declarations, and what the kit's clients saw on the wire for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from obo_kit._upstream.answers import Details, Form
    from obo_kit.scopes._lookup import ResourceKind

__all__: list[str] = []

TOOL_HEADER = "X-Obo-Kit-Tool"
"""Header that names the calling tool, for the log of `obo_kit.testing`. Sent to loopback only: the platform has no use for
it."""


@dataclass(kw_only=True, slots=True)
class Refusal:
    """A refusal as it came over the wire, kept for clients that lose parts of it (rule 16)."""

    status: int | None
    error_code: str | None = None
    text: str = ""
    method: str | None = None
    path: str | None = None
    sql_state: str | None = None
    location: str | None = None
    details: Details | None = None
    form: Form = "platform"  # whose form the answer has: what a service behind the platform says is not the platform's
    own: bool = True  # whether these are the workspace's own words, not those of a tool or of another server
    machine: str | None = None  # the client id of the agent's own identity, if the request went out with it


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """A request that failed for a passing reason: too many requests, no service, no connection, no answer in time."""

    method: str
    path: str
    what: str
    retry_after: float | None = None


class Evidence:
    """Everything that the kit's clients saw on the wire. A tool call shares it with the calls inside it. It only grows."""

    __slots__ = ("effects", "last", "mcp_path", "outages", "refusals")

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []
        self.last: Refusal | None = None  # the answer to the last message to an MCP server, if it was a refusal
        self.mcp_path: str | None = None  # the path of that server, if it is the workspace's own
        self.outages: list[Outage] = []
        self.effects = 0  # the number of requests that may have had an effect (rule 19)

    def forget(self, limit: int, *, answered: bool) -> None:
        """Drop the oldest refusals to make room for one more. An answer also drops the sign-in pages before it."""
        if answered and self.refusals:
            self.refusals = [refusal for refusal in self.refusals if refusal.location is None]
        del self.refusals[: max(0, len(self.refusals) - limit + 1)]
        self.outages.clear()


class Declared(Protocol):
    """A tool's declaration, as far as guards and remedies need it."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """Return the declared scopes, each in one spelling, sorted."""
        ...

    @property
    def spellings(self) -> frozenset[str]:
        """Return every spelling of every declared scope."""
        ...

    @property
    def resources(self) -> tuple[tuple[ResourceKind, str], ...]:
        """Return the declared resources: kind and name."""
        ...


class Observer(Protocol):
    """Observes the attempts of a call, for event hooks."""

    def retried(self, error: BaseException) -> None:
        """Report a failed attempt that another attempt follows."""
        ...


class ToolCall:
    """One call of one tool. Lives as long as the call, stream included."""

    __slots__ = ("_evidence", "attempts", "declared", "observer", "outer", "tool")

    def __init__(self, tool: str, declared: Declared | None, outer: ToolCall | None = None) -> None:
        self.tool = tool
        self.declared = declared
        self.outer = outer
        self.attempts = 1
        self.observer: Observer | None = None
        self._evidence: Evidence | None = None

    @property
    def evidence(self) -> Evidence:
        """Return the evidence of the outermost call: the caller of a tool may have to explain what it raises."""
        if self.outer is not None:
            return self.outer.evidence
        if self._evidence is None:
            self._evidence = Evidence()
        return self._evidence

    @property
    def noted(self) -> Evidence | None:
        """Return the evidence so far; `None` if nothing asked for it, so that nothing is in it."""
        return self._evidence if self.outer is None else self.outer.noted

    def share(self, other: ToolCall) -> None:
        """Share another call's evidence, if this is an outermost call: it uses the other call's connection."""
        if self.outer is None:
            self._evidence = other.evidence
