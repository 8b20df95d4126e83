"""Choose what to ask with which token: the fewest requests that tell what a claim says from what it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from obo_kit.analysis.verify._login import Token
from obo_kit.analysis.verify._obo import OBO_PROBES
from obo_kit.analysis.verify._probe import Probe
from obo_kit.analysis.verify._refusals import REFUSAL_PROBES, Provoked
from obo_kit.analysis.verify._release import RUNTIMES, SQL_VERSION
from obo_kit.analysis.verify._routes import ROUTE_PROBES, claim_of
from obo_kit.scopes._lookup import Verdict, catalogue, route_verdict
from obo_kit.scopes._model import Route
from obo_kit.scopes._recording import Case

__all__ = ["Asked", "Attempt", "Named", "narrow_scopes", "plan", "listed", "routes_by_claim", "sql_version"]

_ALL: Final = frozenset({"all-apis"})
Role = Literal["holds", "lacks", "lacks_last", "doubtful", "any"]


@dataclass(frozen=True, kw_only=True)
class Named:
    """Resources that the developer names, by kind. No name of them is kept.

    Attributes:
        denied: What they may not use.
        use: What they may use.
    """

    denied: Mapping[str, str]
    use: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The purpose of a request for one claim.

    Attributes:
        claim: The claim.
        role: Whether its token holds what the claim says is needed, or lacks it.
    """

    claim: str
    role: Role


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One request with one token, and all the claims that its answer bears on.

    Attributes:
        probe: The request.
        token: Its token; None for one that is sent without, or with one that is made up.
        asked: The claims.
        intent: What it is to provoke.
    """

    probe: Probe
    token: Token | None
    asked: tuple[Asked, ...]
    intent: Case

    @property
    def scopes(self) -> tuple[str, ...] | None:
        """Return the scopes of the token, sorted; None if it does not state them."""
        return None if self.token is None or self.token.scopes is None else tuple(sorted(self.token.scopes))


def routes_by_claim() -> dict[str, Route]:
    """Return the routes of the catalogue in force that have a request, by their claims."""
    known = {claim_of(route.methods, route.path): route for route in catalogue().routes}
    return {claim: route for claim, route in known.items() if claim in ROUTE_PROBES}


def narrow_scopes() -> tuple[tuple[str, ...], ...]:
    """Return the sets of scopes that tokens are exchanged for: what each route asks for, and what it does not."""
    wanted = {tuple(sorted(route.all_of or route.any_of[:1])) for route in routes_by_claim().values()}
    wanted |= {tuple(sorted(route.all_of[:-1])) for route in routes_by_claim().values() if len(route.all_of) > 1}
    return (("sql",), ("genie",), *sorted(wanted - {("sql",), ("genie",), ("all-apis",)}))


def plan(tokens: Sequence[Token], named: Named, *, expired: Token | None = None) -> list[Attempt]:
    """Return what to ask, in a fixed order: the developer's own token first, then routes, then refusals.

    Args:
        tokens: The developer's own, then the narrow ones in the order of preference.
        named: What the developer names.
        expired: A token that has expired.
    """
    own, *narrow = tokens
    attempts: dict[tuple[object, str], Attempt] = {}

    def add(probe: Probe, token: Token | None, asked: Asked, intent: Case) -> None:
        key = (probe.key, token.label if token is not None else "")
        known = attempts.get(key)
        attempts[key] = Attempt(
            probe=probe,
            token=token,
            asked=(*(known.asked if known else ()), asked),
            intent=known.intent if known else intent,
        )

    chosen: dict[tuple[str, Role], Token] = {}
    for claim, route in routes_by_claim().items():
        for role, token in _tokens_for(route, own, narrow):
            chosen[claim, role] = token
            intent: Case = ROUTE_PROBES[claim].case if role == "holds" else "missing_scope"
            add(ROUTE_PROBES[claim], token, Asked(claim=claim, role=role), intent)
    for key, provoked in REFUSAL_PROBES.items():
        _plan_refusal(f"refusal:{key}", provoked, chosen, named, own, expired, add)
    return list(attempts.values())


def _tokens_for(route: Route, own: Token, narrow: Sequence[Token]) -> Iterator[tuple[Role, Token]]:
    """Yield the tokens to ask a route with: the narrowest that suffices, as the kit says, and one that does not.

    Where sources disagree whether a scope suffices, a token with it settles that.
    """
    lacks = _judged(route, (*narrow, own), Verdict.MISSING)
    exact = {*route.any_of, *route.all_of}
    suffices = [token for token in _judged(route, narrow, Verdict.GRANTED) if exact.issuperset(token.scopes or ())]
    wanted = frozenset(route.all_of or route.any_of[:1])
    suffices.sort(key=lambda token: token.scopes != wanted)  # the scopes that a policy asks for come first
    roles: tuple[tuple[Role, list[Token]], ...] = (
        ("holds", suffices or ([] if own in lacks else [own])),
        ("lacks", lacks),
        ("lacks_last", [token for token in lacks if token in narrow and _lacks_last(route, token)]),
        ("doubtful", _judged(route, narrow, Verdict.UNKNOWN) if route.doubtful else []),
    )
    yield from ((role, tokens[0]) for role, tokens in roles if tokens)  # pyright: ignore[reportReturnType]


def _judged(route: Route, tokens: Sequence[Token], judgement: Verdict) -> list[Token]:
    """Return the tokens that state their scopes and of which the catalogue says this."""
    return [
        token for token in tokens if token.scopes is not None and route_verdict(route, token.scopes)[0] is judgement
    ]


def _lacks_last(route: Route, token: Token) -> bool:
    return len(route.all_of) > 1 and route_verdict(route, token.scopes)[1] == route.all_of[-1:]


def _plan_refusal(  # noqa: PLR0917
    claim: str,
    provoked: Provoked,
    chosen: Mapping[tuple[str, Role], Token],
    named: Named,
    own: Token,
    expired: Token | None,
    add: Callable[[Probe, Token | None, Asked, Case], None],
) -> None:
    if provoked.route:
        role: Role = provoked.lacks or "holds"
        token = chosen.get((f"route:{provoked.route}", role))
        if token is not None:
            of_route = ROUTE_PROBES[f"route:{provoked.route}"]
            add(of_route, token, Asked(claim=claim, role=role), of_route.case if role == "holds" else "missing_scope")
        return
    if (probe := _named(provoked, named)) is None:
        return
    sent = {"chosen": own, "none": None, "made_up": None, "expired": expired}[probe.token]
    if probe.token == "expired" and sent is None:  # noqa: S105
        return
    add(probe, sent, Asked(claim=claim, role="any"), probe.case)


def _named(provoked: Provoked, named: Named) -> Probe | None:
    """Return the request with what the developer names in it; None where they name nothing."""
    if provoked.probe is None or not provoked.probe.needs_name:
        return provoked.probe
    name = named.denied.get(provoked.denied) or named.use.get(provoked.use)
    return provoked.probe.of(name) if name is not None else None


def sql_version(named: Named) -> Probe | None:
    """Return the statement that asks a warehouse for its version; None where the developer names no warehouse."""
    warehouse = named.use.get("sql_warehouse")
    return SQL_VERSION.of(warehouse) if warehouse is not None else None


def listed(named: Named) -> list[Probe]:
    """Return the whole list, with what the developer names in it: nothing else can be sent."""
    more = (_named(provoked, named) for provoked in REFUSAL_PROBES.values())
    of_obo = (probe for probes in OBO_PROBES.values() for probe in probes.values())
    probes = [RUNTIMES, *of_obo, *ROUTE_PROBES.values(), *(probe for probe in more if probe is not None)]
    if (version := sql_version(named)) is not None:
        probes.append(version)
    return list({probe.key: probe for probe in probes}.values())
