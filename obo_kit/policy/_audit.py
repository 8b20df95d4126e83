"""Compare what tools really use with what they declare (rules 22 and 23): `audit`, and ``pytest --obo-audit``.

Nothing else depends on this module. It listens to the requests that the kit's clients, and the local workspaces of this
process, report, and judges them by the catalogue. It sees only methods, paths and names of tools, so it can repeat no token.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from obo_kit.exceptions import PolicyError
from obo_kit.instrumentation._events import on_call, on_request
from obo_kit.scopes._lookup import SCOPES, Verdict, covers, route_for, route_verdict, same_family
from obo_kit.tools._registry import REGISTRY
from obo_kit.tools._spec import Requirement, Requirements

if TYPE_CHECKING:
    from obo_kit.context._calls import ToolCall
    from obo_kit.instrumentation._events import ToolEvent
    from obo_kit.scopes._lookup import Route

__all__ = ["AuditFinding", "AuditReport", "ToolAudit", "audit"]

_OUTSIDE = "(outside any tool)"
_SHOWN_SEGMENTS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFinding:
    """One difference between the declarations and the use.

    Attributes:
        kind: ``"unused"``: declared, never used. ``"undeclared"``: used but not declared, so it would fail.
        tool: The tool's name; `None` for code outside any tool.
        what: The declaration, as the author wrote it; or the request, as the catalogue's template of it.
        scopes: The scopes in question, sorted.
        remedy: How to fix it, in one line.
    """

    kind: Literal["unused", "undeclared"]
    tool: str | None
    what: str
    scopes: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        scopes = f" ({', '.join(self.scopes)})" if self.scopes != (self.what,) else ""
        return f"{self.tool or _OUTSIDE}: {self.what}{scopes}. {self.remedy}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolAudit:
    """The declarations and the actions of one tool.

    Attributes:
        tool: The tool's name; `None` for code outside any tool.
        calls: The number of calls for each outcome (`ToolEvent.outcome`).
        declared: What it declares, as the author wrote it.
        used: The part of it that its requests needed.
        requests: Its requests: method, and the catalogue's template of the path.
        unknown: Requests that the catalogue does not know, so that their scopes are unknown; paths shortened.
    """

    tool: str | None
    calls: Mapping[str, int]
    declared: tuple[str, ...]
    used: tuple[str, ...]
    requests: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass
class _Seen:
    """The record of one tool. ``declared`` maps each requirement to every scope that is enough, and the scopes to name."""

    declared: dict[str, tuple[frozenset[str], tuple[str, ...]]] = field(default_factory=dict)
    requests: set[tuple[str, str]] = field(default_factory=set)
    unknown: set[tuple[str, str]] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def spellings(self) -> frozenset[str]:
        return frozenset(scope for spelled, _ in self.declared.values() for scope in spelled)

    @property
    def routes(self) -> dict[str, Route]:
        routes = {f"{method} {path}": route_for(method, path) for method, path in sorted(self.requests)}
        return {request: route for request, route in routes.items() if route is not None}

    @property
    def conclusive(self) -> bool:
        """Return whether what was not used may be taken as not needed."""
        return self.calls["allowed"] > 0 and not self.unknown


class AuditReport:
    """The comparison of use and declarations. It grows while its block runs; ``str()`` of it is a report to read.

    It is true if nothing is wrong. It holds no token and nothing that users wrote. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tools: dict[str | None, _Seen] = {}
        self._registered: dict[str, _Seen] = {}
        self._blocks: dict[str | None, str] = {}  # from an `optional_tool` block inside a tool to that tool

    # --- what is seen

    def _request(self, method: str, path: str, tool: ToolCall | str | None) -> None:
        route = route_for(method, path)
        with self._lock:
            seen = self._of(tool)
            if route is not None:
                seen.requests.add((method, route.path))
            else:
                seen.unknown.add((method, _shortened(path)))

    def _call(self, event: ToolEvent, call: ToolCall) -> None:
        with self._lock:
            if not _is_block(call):
                self._of(call).calls[event.outcome] += 1

    def _of(self, tool: ToolCall | str | None) -> _Seen:
        if tool is None or isinstance(tool, str):
            return self._tools.setdefault(self._blocks.get(tool, tool), _Seen())
        call = tool
        while call.outer is not None and _is_block(call):
            call = call.outer
        if call is not tool:
            self._blocks[tool.tool] = call.tool
        seen = self._tools.setdefault(call.tool, _Seen())
        if isinstance(call.declared, Requirements):
            seen.declared.update(map(_entry, call.declared.items))
        return seen

    # --- what it amounts to

    @property
    def tools(self) -> tuple[ToolAudit, ...]:
        """Return every tool that was called or sent a request, by name; last, the code outside any tool."""
        with self._lock:
            return tuple(
                ToolAudit(
                    tool=tool,
                    calls=dict(seen.calls),
                    declared=tuple(seen.declared),
                    used=tuple(item for item in seen.declared if self._uses(seen, item)),
                    requests=tuple(seen.routes),
                    unknown=tuple(f"{method} {path}" for method, path in sorted(seen.unknown)),
                )
                for tool, seen in self._sorted()
            )

    @property
    def least_privilege(self) -> tuple[AuditFinding, ...]:
        """Return what is declared but never used. It covers only tools with a successful call: see `unproven`."""
        with self._lock:
            return tuple(
                AuditFinding(
                    kind="unused",
                    tool=tool,
                    what=item,
                    scopes=scopes,
                    remedy=f"Remove it from @requires_scopes on '{tool}'.",
                )
                for tool, seen in self._sorted()
                if seen.conclusive
                for item, (_, scopes) in seen.declared.items()
                if not self._uses(seen, item)
            )

    @property
    def would_fail(self) -> tuple[AuditFinding, ...]:
        """Return what is used but not declared. It fails once the token, or the tool's client, has only declared scopes.

        A tool that declares nothing is not narrowed (rule 23). Its requests, and those outside any tool, are compared with
        everything that the tools of this process declare together, as in the policy.
        """
        with self._lock:
            everything = frozenset(
                scope for seen in (*self._tools.values(), *self._known().values()) for scope in seen.spellings
            )
            findings = []
            for tool, seen in self._sorted():
                for request, route in seen.routes.items():
                    verdict, missing = route_verdict(route, seen.spellings or everything)
                    if verdict is Verdict.MISSING:
                        findings.append(_undeclared(tool, request, missing if route.all_of else missing[:1]))
            return tuple(findings)

    @property
    def unproven(self) -> tuple[str, ...]:
        """Return the tools with unused declarations that were not observed well enough to say that they are not needed.

        None of their calls succeeded, or they sent a request that the catalogue does not know.
        """
        with self._lock:
            return tuple(
                tool
                for tool, seen in self._sorted()
                if tool is not None
                and not seen.conclusive
                and not all(self._uses(seen, item) for item in seen.declared)
            )

    @property
    def not_called(self) -> tuple[str, ...]:
        """Return the tools of this process that declare something and were not called, by their qualified names."""
        with self._lock:
            return tuple(sorted(name for name in self._known() if name.rpartition(".")[2] not in self._tools))

    def __bool__(self) -> bool:
        return not self.least_privilege and not self.would_fail

    def check(self) -> None:
        """Do nothing if all is well. This is the one line that fails a build.

        Raises:
            PolicyError: Something is declared but not used, or used but not declared. The message names each difference and
                its remedy. Or the audit saw nothing at all, which proves nothing.
        """
        if not self._tools:
            raise PolicyError(
                "The audit saw no tool and no request, so it proves nothing.",
                remedy="Run the agent inside the block, in this process or against a local workspace of this process.",
            )
        findings = (*self.would_fail, *self.least_privilege)
        if findings:
            raise PolicyError(
                f"The audit found {len(findings)} {'difference' if len(findings) == 1 else 'differences'} between what is "
                f"declared and what was used:\n" + "\n".join(f"  {finding}" for finding in findings),
                remedy="Change the declarations as each line says, and log the model again.",
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report as plain values, ready for JSON."""
        return {
            "ok": bool(self),
            "tools": [
                {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(tool).items()}
                for tool in self.tools
            ],
            "least_privilege": [_plain(finding) for finding in self.least_privilege],
            "would_fail": [_plain(finding) for finding in self.would_fail],
            "unproven": list(self.unproven),
            "not_called": list(self.not_called),
        }

    def __str__(self) -> str:
        lines = [f"obo_kit audit: {'ok' if self else 'not ok'}"]
        for tool in self.tools:
            lines.append(f"  {tool.tool or _OUTSIDE}")
            calls = [f"{count} {outcome}" for outcome, count in sorted(tool.calls.items())]
            for head, values in (
                ("calls", calls),
                ("declared", tool.declared),
                ("used", tool.used),
                ("requests", tool.requests),
                ("unknown", tool.unknown),
            ):
                if values:
                    lines.append(f"    {head:<9} {', '.join(values)}")
        for title, findings in (
            ("Would fail (used, not declared):", self.would_fail),
            ("Least privilege (declared, never used):", self.least_privilege),
        ):
            lines += [title, *(f"  {finding}" for finding in findings)] if findings else []
        for title, names in (("Unproven", self.unproven), ("Not called", self.not_called)):
            lines += [f"{title}: {', '.join(names)}"] if names else []
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<AuditReport of {len(self._tools)} tools>"

    def _sorted(self) -> list[tuple[str | None, _Seen]]:
        return sorted(self._tools.items(), key=lambda entry: (entry[0] is None, entry[0] or ""))

    def _uses(self, seen: _Seen, item: str) -> bool:
        """Return whether a request of the tool needed the item, or may have needed it: a client that the kit does not know
        names no tool. A request that the catalogue does not know counts as use."""
        spelled, _ = seen.declared[item]
        return spelled.isdisjoint(SCOPES) or any(
            _opens(spelled, route) for source in (seen, self._tools.get(None, seen)) for route in source.routes.values()
        )

    def _known(self) -> dict[str, _Seen]:
        """Return what is registered here, and in the processes whose reports were added."""
        known = dict(self._registered)
        for declaration in REGISTRY:
            if declaration.requirements:
                name = f"{declaration.module}.{declaration.tool}"
                known.setdefault(name, _Seen()).declared.update(map(_entry, declaration.requirements))
        return known

    # --- from process to process

    def to_state(self) -> dict[str, Any]:
        """Return the record as plain values, for `add_state` in another process."""

        def plain(seen: _Seen) -> dict[str, Any]:
            return {
                "declared": [[item, sorted(spelled), scopes] for item, (spelled, scopes) in seen.declared.items()],
                "requests": sorted(seen.requests),
                "unknown": sorted(seen.unknown),
                "calls": dict(seen.calls),
            }

        with self._lock:
            return {
                "tools": [[tool, plain(seen)] for tool, seen in self._tools.items()],
                "registered": [[name, plain(seen)] for name, seen in self._known().items()],
            }

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Add the record of another process."""
        with self._lock:
            targets: tuple[tuple[str, dict[Any, _Seen]], ...] = (
                ("tools", self._tools),
                ("registered", self._registered),
            )
            for part, into in targets:
                for name, plain in state[part]:
                    seen = into.setdefault(name, _Seen())
                    seen.declared.update(
                        {item: (frozenset(spelled), tuple(scopes)) for item, spelled, scopes in plain["declared"]}
                    )
                    seen.requests.update(map(tuple, plain["requests"]))
                    seen.unknown.update(map(tuple, plain["unknown"]))
                    seen.calls.update(plain["calls"])


def _is_block(call: ToolCall) -> bool:
    """Return whether this is a block inside a tool's call, which declares nothing itself and is as narrow as the tool."""
    return call.outer is not None and call.declared is not None and call.declared is call.outer.declared


def _entry(item: Requirement) -> tuple[str, tuple[frozenset[str], tuple[str, ...]]]:
    label = item.scope if item.scope is not None else f"{type(item.resource).__name__}({item.resource.name!r})"
    spelled = frozenset(scope for group in item.spellings for scope in group)
    return label, (spelled, tuple(sorted(item.spellings[0])))


def _opens(spelled: Iterable[str], route: Route) -> bool:
    if route.all_of:
        return any(covers(scope, needed) or same_family(scope, needed) for scope in spelled for needed in route.all_of)
    # Nearly every scope opens what a target grants unasked, so it is no reason to declare anything else.
    unasked = SCOPES[route.any_of[0]].always_granted_by
    return any(covers(scope, needed) for scope in spelled for needed in (route.any_of[:1] if unasked else route.any_of))


def _undeclared(tool: str | None, request: str, scopes: tuple[str, ...]) -> AuditFinding:
    where = f"on '{tool}'" if tool is not None else "on the tool that sends it"
    return AuditFinding(
        kind="undeclared",
        tool=tool,
        what=request,
        scopes=scopes,
        remedy=f"Declare @requires_scopes({', '.join(map(repr, scopes))}) {where}, or leave the request out.",
    )


def _shortened(path: str) -> str:
    """Return the beginning of a path, which names an API. The rest may contain what users keep to themselves."""
    segments = path.partition("?")[0].strip("/").split("/")
    return "/" + "/".join(segments[:_SHOWN_SEGMENTS] + ["…"] * (len(segments) > _SHOWN_SEGMENTS))


def _plain(finding: AuditFinding) -> dict[str, Any]:
    return {**asdict(finding), "scopes": list(finding.scopes)}


@contextlib.contextmanager
def audit() -> Iterator[AuditReport]:
    """Observe which scopes tools really use, and compare them with what they declare::

        with obo_kit.audit() as report:
            agent.predict(request)
        print(report)
        report.check()          # fails the build

    It covers the whole process, threads included: every request of the clients that a session hands out, by tool; and every
    user's request that reaches a local workspace (`obo_kit.testing`) of this process, from whatever client. A request that
    the guard stops counts as use. It judges by the catalogue, and changes nothing that it observes.
    """
    report = AuditReport()
    with watching(report):
        yield report


@contextlib.contextmanager
def watching(report: AuditReport) -> Iterator[None]:
    """Add what happens in a block to a report."""
    removers: list[Callable[[], None]] = [on_call(report._call), on_request(report._request)]
    try:
        yield
    finally:
        for remove in removers:
            remove()
