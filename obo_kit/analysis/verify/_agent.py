"""Would this agent work for whoever is logged in, today? Ask for each resource that it declares."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from obo_kit._utils.plain import plain, visible
from obo_kit.analysis.verify._login import whose
from obo_kit.analysis.verify._obo import OBO_PROBES, on_or_off
from obo_kit.analysis.verify._probe import Probe, get
from obo_kit.analysis.verify._routes import ROUTE_PROBES
from obo_kit.analysis.verify._shapes import refusal_of
from obo_kit.analysis.verify._transport import Sender
from obo_kit.denials._classify import classify
from obo_kit.denials._remedies import Subject, remedy_for
from obo_kit.exceptions import DenialReason
from obo_kit.policy._agent_file import collect
from obo_kit.policy._policy import _user_scopes
from obo_kit.scopes._lookup import Verdict, verdict
from obo_kit.tools._registry import declarations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from obo_kit.analysis.verify._login import Login
    from obo_kit.analysis.verify._obo import State
    from obo_kit.analysis.verify._transport import Raw
    from obo_kit.scopes._lookup import Target
    from obo_kit.scopes._model import ResourceKind

__all__ = ["Need", "Report", "ScopeState", "verify_agent"]

_R = DenialReason
_UC: Final = "/api/2.1/unity-catalog"
_READS: Final[Mapping[str, Probe]] = {
    "databricks_app": get("/api/2.0/apps/{name}"),
    "genie_space": get("/api/2.0/genie/spaces/{name}"),
    "lakebase": get("/api/2.0/database/instances/{name}"),
    "serving_endpoint": get("/api/2.0/serving-endpoints/{name}"),
    "sql_warehouse": get("/api/2.0/sql/warehouses/{name}"),
    "uc_connection": get(f"{_UC}/connections/{{name}}"),
    "uc_function": get(f"{_UC}/functions/{{name}}"),
    "uc_table": get(f"{_UC}/tables/{{name}}"),
    "vector_search_index": get("/api/2.0/vector-search/indexes/{name}"),
}
# Metadata is shown to more people than may use the thing: where the privileges are told, they count.
_PRIVILEGES: Final[Mapping[str, tuple[str, Probe]]] = {
    "uc_connection": ("USE CONNECTION", get(f"{_UC}/effective-permissions/connection/{{name}}")),
    "uc_function": ("EXECUTE", get(f"{_UC}/effective-permissions/function/{{name}}")),
    "uc_table": ("SELECT", get(f"{_UC}/effective-permissions/table/{{name}}")),
    "vector_search_index": ("SELECT", get(f"{_UC}/effective-permissions/table/{{name}}")),
}
_ENOUGH: Final = ("ALL PRIVILEGES", "ALL_PRIVILEGES", "MANAGE")
_ME: Final = ROUTE_PROBES["route:GET /api/2.0/preview/scim/v2/Me"]


@dataclass(frozen=True, kw_only=True)
class Need:
    """One resource of an agent.

    Attributes:
        tool: The tool that reaches it as the user; ``"(the agent)"`` for what the agent reaches as itself.
        resource: Its kind and name.
        state: ``"ready"``; ``"lacks"``: you lack a grant; ``"absent"``: it does not exist, or you may not know of it;
            ``"unclear"``: it exists, and the workspace does not say whether you may use it; ``"not_tried"``.
        remedy: Who can fix it, and how.
    """

    tool: str
    resource: str
    state: Literal["ready", "lacks", "absent", "unclear", "not_tried"]
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class ScopeState:
    """A scope that users' tokens have to carry, and whether yours does."""

    name: str
    state: Literal["granted", "missing", "unknown"]
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The state of an agent's declarations.

    Attributes:
        target: Where it runs.
        asked_as: Whether a user asked, or a machine.
        needs: Its resources, by tool.
        scopes: Its scopes.
        obo: Whether users' tokens reach it at all.
        obo_why: What says so.
        requests: How many requests were sent.
    """

    target: Target
    asked_as: Literal["user", "service_principal", "unknown"]
    needs: tuple[Need, ...]
    scopes: tuple[ScopeState, ...]
    obo: State
    obo_why: str
    requests: int

    @property
    def ok(self) -> bool:
        """Return whether the agent would work for this user."""
        states = {need.state for need in self.needs}
        scopes = {scope.state for scope in self.scopes}
        return not states & {"lacks", "absent"} and "missing" not in scopes and self.obo != "off"


def verify_agent(
    agent: str, sign_in: Callable[[], Login], *, target: Target | None = None, rate: float = 10.0
) -> Report:
    """Ask the workspace for everything that an agent declares. It only reads.

    Args:
        agent: The agent file.
        sign_in: Signs in, while the file is collected in a process of its own: each takes seconds.
        target: Where the agent runs; by default, what the file is made for.
        rate: Requests a second, at most.

    Raises:
        NoUserIdentityError: Nobody is signed in.
        PolicyError: The agent cannot be collected, or its target cannot grant what it declares.
        OutageError: The workspace does not answer.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="obo-kit-collect") as threads:
        collecting = threads.submit(collect, agent, by_name=True)
        login = sign_in()
        collected = collecting.result()
    place = target or (collected.target[0] if collected.target is not None else "model-serving")
    requirements, system = declarations(collected.declarations)
    resources = [(visible(tool, ""), item.kind, item.resource) for tool, item in requirements if item.kind is not None]
    resources += [("(the agent)", resource.kind, resource) for resource in system]
    scopes = _user_scopes(requirements, place, "current")
    named = [(tool, kind, str(resource.name)) for tool, kind, resource in resources]
    sender = Sender(login.host, _list_of(place, named), rate=rate, budget=50 + 4 * len(named))
    asking = _Asking(sender, login)
    try:
        me = asking.body(_ME)
        asking.principal = str(me.get("userName", ""))
        needs = tuple(dict.fromkeys(need for each in named for need in asking.needs(*each)))
        obo, why = _obo(asking, place)
    finally:
        sender.close()
    return Report(
        target=place,
        asked_as=whose(me, login),
        needs=needs,
        scopes=tuple(_scope(name, login) for name in scopes),
        obo=obo,
        obo_why=why,
        requests=sender.sent,
    )


def _list_of(target: Target, named: Iterable[tuple[str, ResourceKind, str]]) -> Iterator[Probe]:
    """Yield the list: what the agent names, and nothing else."""
    yield from (_ME, *OBO_PROBES[target].values())
    for _, kind, name in named:
        for probe in (_READS.get(kind.name), _PRIVILEGES[kind.name][1] if kind.name in _PRIVILEGES else None):
            if probe is not None:
                yield probe.of(name)


def _scope(name: str, login: Login) -> ScopeState:
    held = login.token.scopes
    states: dict[Verdict, Literal["granted", "missing", "unknown"]] = {
        Verdict.GRANTED: "granted",
        Verdict.MISSING: "missing",
        Verdict.UNKNOWN: "unknown",
    }
    why = "Your token does not say what it carries." if held is None else ""
    return ScopeState(name=name, state=states[verdict(held, name)], why=why)


def _obo(asking: _Asking, target: Target) -> tuple[State, str]:
    answers = {name: asking.raw(probe) for name, probe in OBO_PROBES[target].items()}
    return on_or_off({name: raw.body for name, raw in answers.items() if raw.status == 200}, target)


class _Asking:
    """Asks for one thing after another. Lives as long as one report."""

    def __init__(self, sender: Sender, login: Login) -> None:
        self._sender = sender
        self._login = login
        self._raw: dict[tuple[Any, ...], Raw] = {}
        self.principal = ""

    def raw(self, probe: Probe) -> Raw:
        """Return the answer to a request, which is sent once."""
        if probe.key not in self._raw:
            self._raw[probe.key] = self._sender.send(probe, self._login.token.header())
        return self._raw[probe.key]

    def body(self, probe: Probe) -> dict[str, Any]:
        """Return the JSON object that a request is answered with; empty where it is refused."""
        raw = self.raw(probe)
        try:
            data = json.loads(raw.body) if raw.status == 200 else None
        except (ValueError, RecursionError):
            data = None
        return data if isinstance(data, dict) else {}

    def needs(self, tool: str, kind: ResourceKind, name: str) -> Iterator[Need]:
        """Yield what becomes of a resource, and of what stands behind it."""
        need = Need(tool=tool, resource=f"{kind.title} {visible(name, '')}", state="not_tried")
        probe = _READS.get(kind.name)
        if probe is None:
            yield replace(need, remedy="No request that only reads tells; call the tool to see.")
            return
        raw = self.raw(probe.of(name))
        if raw.failed:
            yield replace(need, remedy="The workspace failed to answer. Try again later.")
            return
        refused = self._refused(raw, probe.of(name), kind, name)
        if refused is not None:
            # What the agent reaches as itself is not yours to be granted.
            state: Any = refused[0] if tool != "(the agent)" or refused[0] == "absent" else "unclear"
            yield replace(need, state=state, remedy=refused[1])
            return
        yield replace(need, **self._usable(kind, name))

    def _refused(self, raw: Raw, probe: Probe, kind: ResourceKind, name: str) -> tuple[str, str] | None:
        refusal = refusal_of(raw, probe)
        if refusal is None:
            return None
        finding = classify(refusal)
        if finding is None:
            return "not_tried", f"The workspace answers {raw.status}: {plain(refusal.text, 200)}"
        remedy = remedy_for(finding, Subject(kind=kind, name=name))
        return ("absent" if finding.reason is _R.NOT_FOUND_OR_DENIED else "lacks"), remedy

    def _usable(self, kind: ResourceKind, name: str) -> dict[str, Any]:
        """Return the state of a resource that exists and that one may see."""
        body = self.body(_READS[kind.name].of(name))
        level = str(body.get("permission_level") or "")
        if kind.name == "serving_endpoint" and level == "CAN_VIEW":
            return {"state": "lacks", "remedy": f"Grant CAN QUERY on the serving endpoint '{plain(name, 100)}'."}
        if kind.name not in _PRIVILEGES or self.principal in (body.get("owner"), body.get("creator")):
            return {"state": "ready"}
        privilege, probe = _PRIVILEGES[kind.name]
        held = _privileges(self.body(probe.of(name)))
        if held & {privilege, *_ENOUGH}:
            return {"state": "ready"}
        note = f"It exists, and {privilege} on it is not among the privileges that the workspace shows you."
        return {"state": "unclear", "remedy": note}


def _privileges(body: Mapping[str, Any]) -> set[str]:
    held: set[str] = set()
    assignments = body.get("privilege_assignments")
    for assignment in assignments if isinstance(assignments, list) else ():
        for entry in assignment.get("privileges") or () if isinstance(assignment, dict) else ():
            held.add(str(entry.get("privilege") if isinstance(entry, dict) else entry).replace("_", " "))
    return held
