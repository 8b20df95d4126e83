"""Show a policy: tools, their scopes, the resources behind them, and whose credentials reach those."""

from __future__ import annotations

import dataclasses
import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from obo_kit._utils.plain import visible
from obo_kit.policy._policy import _app_resource, _collected, _in_order, _user_scopes
from obo_kit.scopes._lookup import catalogue, covers, kind_of, same_family
from obo_kit.tools._registry import declarations

if TYPE_CHECKING:
    from obo_kit.policy._policy import Source
    from obo_kit.scopes._lookup import Naming, Target
    from obo_kit.tools._spec import Requirement

__all__ = ["Need", "Picture", "System", "Tool", "as_json", "as_mermaid", "as_table", "as_text", "picture_of"]

Aligned: TypeAlias = "Callable[[Sequence[tuple[str, ...]]], list[str]]"
_WHERE = {"model-serving": "Model Serving", "apps": "Databricks Apps"}
_AGENT = "(the agent)"
_NOTE = "A scope names an API, not a resource. The user's token also opens:"


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that a tool declares.

    Attributes:
        resource: Its kind and name; None if the tool declares the scope itself.
        scopes: The policy's scopes that reach it; empty if the target grants them unasked.
        grants: The grants that the user needs.
    """

    resource: str | None
    scopes: tuple[str, ...]
    grants: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool that acts as the user."""

    name: str
    needs: tuple[Need, ...]


@dataclass(frozen=True, kw_only=True)
class System:
    """A resource that the agent reaches with its own credentials.

    Attributes:
        resource: Its kind and name.
        permission: The permission of the app's service principal; None on Model Serving, which decides by itself.
    """

    resource: str
    permission: str | None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An agent's policy.

    Attributes:
        target: Where it runs.
        scopes: The scopes that users' tokens carry.
        tools: The tools that run as the user, by name.
        system: The resources that are reached as the system.
        reach: What each scope opens besides.
    """

    target: Target
    scopes: tuple[str, ...]
    tools: tuple[Tool, ...]
    system: tuple[System, ...]
    reach: dict[str, str]


def picture_of(source: Source, *, target: Target, naming: Naming = "current") -> Picture:
    """Return the policy of an agent, as `auth_policy` and `app_config` write it, and where each part comes from.

    Raises:
        PolicyError: As for `auth_policy`.
    """
    requirements, system = declarations(_collected(source, target))
    scopes = _user_scopes(requirements, target, naming)
    tools: dict[str, dict[Need, None]] = {}
    for tool, item in requirements:
        tools.setdefault(visible(tool, "").replace("<locals>.", ""), {})[_need(tool, item, scopes, target, naming)] = (
            None
        )
    return Picture(
        target=target,
        scopes=scopes,
        tools=tuple(
            Tool(name=name, needs=tuple(sorted(tools[name], key=lambda need: (need.resource or "", need.scopes))))
            for name in sorted(tools)
        ),
        system=tuple(
            System(
                resource=_resource(kind_of(resource).title, resource),
                permission=_permission(_app_resource(resource)) if target == "apps" else None,
            )
            for resource in _in_order(system)
        ),
        reach={name: entry.reach for name in scopes if (entry := catalogue().scopes.get(name)) and entry.reach},
    )


def _need(tool: str, item: Requirement, scopes: tuple[str, ...], target: Target, naming: Naming) -> Need:
    alone = _user_scopes([(tool, item)], target, naming)
    # Another tool's declaration may stand for it: a wider scope, or another spelling that an author chose.
    reached_with = {
        name
        for wanted in alone
        for name in (
            [wanted]
            if wanted in scopes
            else [name for name in scopes if covers(name, wanted)]
            or [name for name in scopes if same_family(name, wanted)]
        )
    }
    grants = item.kind.grants if item.kind is not None else ()
    return Need(
        resource=_resource(item.kind.title, item.resource) if item.kind is not None else None,
        scopes=tuple(sorted(reached_with)),
        grants=tuple(f"{grant.privilege} on {grant.on}" for grant in grants),
    )


def _resource(title: str, resource: Any) -> str:
    return f"{title} {visible(str(resource.name), '')}"


def _permission(entry: dict[str, Any]) -> str:
    (described,) = (value for value in entry.values() if isinstance(value, dict))
    return str(described["permission"])


# ---------------------------------------------------------------- for scripts


def as_json(picture: Picture) -> dict[str, Any]:
    """Return the picture as plain values."""
    return dataclasses.asdict(picture)


# ---------------------------------------------------------------- for people


def as_table(picture: Picture, aligned: Aligned | None = None) -> str:
    """Return one row for each need of a tool, with the user's grants below one another.

    Args:
        picture: The policy.
        aligned: Turns rows, the head first, into lines; by default, columns as wide as their cells.
    """
    rows = [("TOOL", "RUNS AS", "SCOPE", "RESOURCE", "THE USER NEEDS")]
    for tool in picture.tools:
        for need in tool.needs:
            scopes = ", ".join(need.scopes) or "(unasked)"
            rows.append((tool.name, "the user", scopes, need.resource or "-", next(iter(need.grants), "-")))
            rows += [("", "", "", "", grant) for grant in need.grants[1:]]
    for system in picture.system:
        rows.append((_AGENT, "the system", "-", _system(system), "-"))
    return _page(picture, (aligned or _aligned)(rows) if len(rows) > 1 else ["Nothing is declared."])


def as_text(picture: Picture) -> str:
    """Return arrows from tools to resources, one tree for each identity; plain ASCII around the names."""
    lines: list[str] = []
    if picture.tools:
        lines += [f"as the user, whose token carries {', '.join(picture.scopes) or 'no scope of its own'}", " |"]
        arrows = [
            (f" +-- {tool.name}", ", ".join(need.scopes) or "(unasked)", need.resource or "(whatever it opens)")
            for tool in picture.tools
            for need in tool.needs
        ]
        lines += _aligned(arrows, between=" --> ")
    if picture.system:
        lines += ["", "as the system, with the agent's own credentials: the same for every user", " |"]
        lines += [f" +-- {_AGENT} --> {_system(system)}" for system in picture.system]
    return _page(picture, lines or ["Nothing is declared."])


def _system(system: System) -> str:
    return f"{system.resource} ({system.permission})" if system.permission else system.resource


def _aligned(rows: Sequence[tuple[str, ...]], between: str = "  ") -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [between.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _page(picture: Picture, body: Iterable[str]) -> str:
    lines = [f"On {_WHERE[picture.target]}", "", *body]
    if picture.reach:
        lines += ["", _NOTE]
        width = max(map(len, picture.reach)) + 2
        for scope, text in picture.reach.items():
            lines += textwrap.wrap(text, 80, initial_indent=f"  {scope:<{width}}", subsequent_indent=" " * (width + 2))
    return "\n".join(lines)


def as_mermaid(picture: Picture) -> str:
    """Return a flow chart for docs: tools, scopes, resources, identities, and what a scope opens besides."""
    return "\n".join(["flowchart LR", *(f"    {line}" for line in _chart(picture))])


def _chart(picture: Picture) -> Iterator[str]:
    ids: dict[tuple[str, str], str] = {}
    edges: dict[str, None] = {}

    def node(sort: str, label: str) -> str:
        return ids.setdefault((sort, label), f"{sort}{sum(known == sort for known, _ in ids)}")

    def joined(*way: str) -> None:
        edges.update(dict.fromkeys(f"{start} --> {end}" for start, end in itertools.pairwise(way)))

    for tool in picture.tools:
        for need in tool.needs:
            resources = [node("resource", need.resource)] if need.resource else []
            for scope in need.scopes or ("(unasked)",):
                joined(node("tool", tool.name), node("scope", scope), *resources, "user")
    for system in picture.system:
        joined("agent", node("owned", _system(system)), "system")
    shapes = {"tool": '["{}"]', "scope": '(["{}"])', "resource": '[("{}")]', "owned": '[("{}")]'}
    for (sort, label), name in ids.items():
        yield name + shapes[sort].format(_quoted(label))
    if picture.tools:
        yield 'user{{"the user"}}'
    if picture.system:
        yield f'agent["{_quoted(_AGENT)}"]'
        yield 'system{{"the system"}}'
    yield from edges
    for number, (scope, text) in enumerate(picture.reach.items()):
        yield f'reach{number}["{_quoted(text)}"]'
        yield f"{ids['scope', scope]} -.- reach{number}"


def _quoted(label: str) -> str:
    """Return text that stays text inside a chart's quotes, in lines of a readable length."""
    for char in '#&<>"`':  # the first one is what the others become
        label = label.replace(char, f"#{ord(char)};")
    return "<br/>".join(textwrap.wrap(label, 44, break_long_words=False, break_on_hyphens=False))
