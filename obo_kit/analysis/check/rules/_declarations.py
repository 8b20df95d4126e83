"""OBO3: the difference between what is declared and what is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from obo_kit.analysis.check._agent import Agent, held_by
from obo_kit.analysis.check._fixes import declare
from obo_kit.analysis.check._requests import Use, opened_by_any
from obo_kit.analysis.check.rules._table import Hit, rule
from obo_kit.scopes._lookup import ROUTES, covers

if TYPE_CHECKING:
    from obo_kit.scopes._lookup import Route
    from obo_kit.tools._spec import Requirement

__all__: list[str] = []

# The parts of a Genie space. Declaring them beside the space is not too much.
_PARTS_OF_GENIE: Final = ("sql_warehouse", "uc_table")
_GENIE: Final = ("genie_space", "mcp_genie")


@rule(
    "OBO301",
    "An API is used without declaring its scope",
    why="The policy is collected from the declarations, so the user's token will lack the scope: the call is refused after "
    "deployment. A tool that declares other scopes is refused at once.",
    fix="Declare it with `@requires_scopes(…)`: the scope, or the resource, which implies its scopes. `--fix` writes it.",
)
def _undeclared(agent: Agent) -> Iterator[Hit]:
    everywhere = held_by(agent.everywhere)
    for facts in agent.acting():
        if facts.is_tool:
            declared = held_by(agent.of_tool(facts))
            lack = f"'{facts.name}' does not declare it"
        else:
            declared, lack = everywhere, "no tool declares it"
        if declared is None:
            continue
        by_scope: dict[tuple[str, ...], list[tuple[Use, tuple[str, ...]]]] = {}
        for use in agent.uses(facts)[0]:
            needed, choice = use.missing(declared)
            if needed:
                by_scope.setdefault(needed, []).append((use, choice))
        edits = declare(facts, sorted({scope for needed in by_scope for scope in needed})) if by_scope else ()
        for needed, uses_of_scopes in by_scope.items():
            use, _ = uses_of_scopes[0]
            names = " and ".join(repr(item) for item in needed)
            yield Hit(
                node=use.place,
                message=f"`{use.title}` needs the scope {names}, and {lack}.",
                edits=edits,
            )


@rule(
    "OBO302",
    "A scope is declared that nothing uses",
    why="The user's token then opens more than the tool needs, and the user is asked to consent to it.",
    fix="Remove it from `@requires_scopes(…)`. It is reported only if every use of the user's client is understood.",
)
def _unused(agent: Agent) -> Iterator[Hit]:
    for facts in agent.reader.tools(agent.module):
        uses, complete = agent.uses(facts)
        routes = [route for use in uses for route in use.routes or () if not opened_by_any(route)]
        declared = [declaration for call in facts.requires for declaration in agent.declared(call)]
        if complete and routes and all(item.requirement is not None for item in declared):
            for entry in declared:
                if entry.requirement is not None and _is_unused(entry.requirement, routes):
                    yield Hit(
                        node=entry.node, message=f"'{facts.name}' declares {entry.title}, but uses nothing of it."
                    )


def _is_unused(requirement: Requirement, routes: list[Route]) -> bool:
    """Return whether no route needs a requirement, of which the catalogue knows what it opens."""
    part = requirement.kind is not None and requirement.kind.name in _PARTS_OF_GENIE
    if part and any(route.kind in _GENIE for route in routes):
        return False
    used = {scope for route in routes for scope in (*route.any_of, *route.all_of, *route.doubtful)}
    spelled = {scope for group in requirement.spellings for scope in group}
    return _in_routes(spelled) and not any(_touches(mine, other) for mine in spelled for other in used)


def _touches(mine: str, other: str) -> bool:
    return covers(mine, other) or covers(other, mine)


def _in_routes(scopes: set[str]) -> bool:
    """Return whether the catalogue knows what a scope opens, apart from what any scope opens."""
    special = [route for route in ROUTES if not opened_by_any(route)]
    return any(
        _touches(scope, other) for scope in scopes for route in special for other in (*route.any_of, *route.all_of)
    )
