"""What is said about a denial, and to whom (rule 17): the user, and whoever can mend it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from obo_kit import exceptions as errors
from obo_kit.denials._classify import Finding, route_of
from obo_kit.exceptions import DenialReason
from obo_kit.scopes._lookup import same_family, translate

if TYPE_CHECKING:
    from obo_kit.scopes._lookup import ResourceKind, Target

__all__: list[str] = []

_R = DenialReason


USER_MESSAGES: dict[DenialReason, str] = {
    _R.NO_IDENTITY: "This tool needs to know who you are, and this request does not say. Trying again will not help.",
    _R.TOKEN_EXPIRED: "Your sign-in has expired. Send the request again after signing in.",
    _R.MISSING_SCOPE: "This agent has not been set up to use this tool for you. Trying again will not help.",
    _R.ACCESS_DENIED: "You do not have access to what this tool uses. Trying again will not help.",
    _R.NOT_FOUND_OR_DENIED: "What this tool uses does not exist, or you do not have access to it. "
    "Trying again will not help.",
    _R.LOGIN_REQUIRED: "This tool needs you to sign in to the service it uses first.",
    _R.SCOPE_VIOLATION: "This tool tried something it is not set up for. Trying again will not help.",
}


_PROPER_NAMES = ("Databricks", "Genie", "Lakebase")


def user_remedy(found: Finding, *, kind: ResourceKind | None, name: str | None, principal: str | None) -> str:
    """For whoever can grant what was refused, or for the user."""
    who = principal or "the user"
    if found.reason is _R.TOKEN_EXPIRED:
        return "Send the request again with a fresh token; a running request cannot renew it."
    called = kind.title if kind is not None else (found.what or "").replace("_", " ")
    if called[1:2].islower() and not called.startswith(_PROPER_NAMES):
        called = called[0].lower() + called[1:]
    what = " ".join(part for part in ("the", called, f"'{name}'" if name else "") if part)
    if not called:
        what = f"'{name}'" if name else "what was refused"
    if found.reason is _R.LOGIN_REQUIRED:
        return f"{who} must sign in to the connection '{name}' once{f' at {found.url}' if found.url else ''}."
    if found.privilege:
        needs = [found.privilege.replace("_", " ")]
    else:
        needs = [f"{grant.privilege} on {grant.on}" for grant in kind.grants] if kind is not None else []
    missing = f"what is missing of: {'; '.join(needs)}" if len(needs) > 1 else needs[0] if needs else "access"
    statement = _statement(found, kind=kind, name=name, principal=principal)
    remedy = f"sk the owner of {what} to grant {who} {missing}{statement}."
    if found.reason is _R.NOT_FOUND_OR_DENIED:
        return f"Check that the name is right. If it is, a{remedy}"
    return f"A{remedy}"


def scope_remedy(found: Finding, *, tool: str | None, target: Target, held: frozenset[str]) -> str:
    """For the deployer: the scopes, as the target spells them, and where they are written."""
    scopes: Sequence[str] = found.scopes
    route = route_of(found.refusal)
    if route is not None and route.any_of and set(scopes) <= set(route.any_of):
        # The platform lists what would do; the route says which of them to ask for.
        scopes = sorted(scopes, key=route.any_of.index)
        scopes = [scope for scope in scopes if _spelled(scope, target)][:1] or scopes
    spelled: list[str] = []
    for scope in scopes:
        spelled.extend(n for n in _spelled(scope, target) if not any(same_family(n, known) for known in spelled))
    if not spelled:
        return f"{target} cannot grant {', '.join(scopes) or 'the scope'}: reach this API with system authorization."
    if held.issuperset(spelled):
        declare = f"'{tool}' declares {', '.join(spelled)} already, and what is deployed does not carry it yet:"
    else:
        declare = f"Declare @requires_scopes({', '.join(map(repr, spelled))}){f' on {tool!r}' if tool else ''}, then"
    if target == "apps":
        return (
            f"{declare} add it to the app's user_api_scopes in databricks.yml (obo_kit.app_config writes them), deploy, stop "
            "and start the app, and let users consent anew: a consent given before does not grow."
        )
    return f"{declare} log the model again (obo_kit.log_model) and deploy the new version."


# What Unity Catalog calls a securable, by the platform's word for it or the catalogue's kind.
_SECURABLES = {
    "catalog": "CATALOG",
    "schema": "SCHEMA",
    "table": "TABLE",
    "view": "TABLE",
    "routine": "FUNCTION",
    "function": "FUNCTION",
    "connection": "CONNECTION",
    "volume": "VOLUME",
    "uc_table": "TABLE",
    "vector_search_index": "TABLE",
    "uc_function": "FUNCTION",
    "uc_connection": "CONNECTION",
}
_PLAIN_NAME = re.compile(r"[\w.]+\Z")


def _statement(found: Finding, *, kind: ResourceKind | None, name: str | None, principal: str | None) -> str:
    """The grant as SQL, where Unity Catalog keeps it and everything in it is known and needs no quoting."""
    securable = _SECURABLES.get((found.what or (kind.name if kind is not None else "")).strip().lower())
    privilege = found.privilege or (kind.grants[0].privilege if kind is not None else "")
    if securable is None or not name or not _PLAIN_NAME.match(name) or not principal or "`" in principal:
        return ""
    return f": GRANT {privilege.replace('_', ' ')} ON {securable} {name} TO `{principal}`"


def _spelled(scope: str, target: Target) -> tuple[str, ...]:
    """How the target is told a scope; empty where it is not to be had there."""
    try:
        return translate(scope, target)
    except errors.OboError:
        return ()
