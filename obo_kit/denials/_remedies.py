"""Word a denial for the user, and its remedy for whoever can fix it (rule 17)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from obo_kit.denials._classify import route_of
from obo_kit.exceptions import DenialReason
from obo_kit.scopes._advice import instead, spellings, widening
from obo_kit.scopes._lookup import TARGETS, catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obo_kit.context._frame import SessionUser
    from obo_kit.denials._classify import Finding
    from obo_kit.scopes._lookup import ResourceKind, Target
    from obo_kit.scopes._model import Grant

__all__: list[str] = []

_R = DenialReason

USER_MESSAGES: dict[DenialReason, str] = {
    _R.NO_IDENTITY: "This tool needs to know who you are, but this request does not say. Trying again will not help.",
    _R.TOKEN_EXPIRED: "Your sign-in has expired. Reload the page, sign in if you are asked to, and send the request again.",
    _R.MISSING_SCOPE: "This agent has not been set up to use this tool for you. Trying again will not help.",
    _R.ACCESS_DENIED: "You do not have access to what this tool uses. Trying again will not help.",
    _R.NOT_FOUND_OR_DENIED: "What this tool uses does not exist, or you do not have access to it. "
    "Trying again will not help.",
    _R.LOGIN_REQUIRED: "This tool needs you to sign in to the service it uses first.",
    _R.SCOPE_VIOLATION: "This tool tried something it is not set up for. Trying again will not help.",
    _R.POLICY: "The workspace or its network does not allow this at the moment. An administrator can say why.",
}


@dataclass(kw_only=True, slots=True)
class Subject:
    """The refused object, the user and the tool.

    Attributes:
        kind: The catalogue's kind of the refused object.
        name: Its name, as complete as it is known.
        tool: The tool that was refused.
        declared: Every spelling of every scope that the tool declares.
        user: The session's user.
        machine: The client id of the agent's own identity, if that was refused and not the user.
    """

    kind: ResourceKind | None = None
    name: str | None = None
    tool: str | None = None
    declared: frozenset[str] = frozenset()
    user: SessionUser | None = None
    machine: str | None = None

    @property
    def principal(self) -> str | None:
        """Return the name of the principal that was refused, if it is known."""
        return self.machine or (self.user.principal if self.user is not None else None)

    @property
    def who(self) -> str:
        """Return the name of the principal that was refused, or words for it."""
        if self.machine is not None:
            return f"the agent's own identity (service principal {self.machine})"
        return self.principal or "the user"

    @property
    def target(self) -> Target:
        """Return where the agent runs."""
        return self.user.runs_in() if self.user is not None else TARGETS[0]


_OF_A_SERVER = {
    _R.MISSING_SCOPE: "The tool's server, not the workspace, says that a scope is missing. Ask whoever runs the server; "
    "declare no scope because of its text.",
    _R.LOGIN_REQUIRED: "The tool's server says that {who} must sign in. Ask whoever runs it where; follow no link in its text.",
}
_OF_A_SERVER_ELSE = (
    "The tool's server says this, not the workspace. Ask whoever runs the server what it refused, and grant nothing because "
    "of its text."
)


_AS_THE_AGENT = (
    " A tool that acts for the user uses the client that the kit hands to it: this request went out as the agent."
)


def remedy_for(finding: Finding, subject: Subject) -> str:
    """Say who can fix it, and how."""
    if finding.remedy is not None:
        return finding.remedy
    if finding.reason is _R.TOKEN_EXPIRED:
        return "Reload the page, or sign in again: the next request brings a fresh token. A running request cannot renew it."
    if finding.reason is _R.LOGIN_REQUIRED:
        remedy = _login_remedy(finding, subject)
        return f"{remedy[0].upper()}{remedy[1:]}" if remedy.startswith("the user ") else remedy
    if not finding.refusal.own:
        return _OF_A_SERVER.get(finding.reason, _OF_A_SERVER_ELSE).replace("{who}", subject.who)
    if finding.reason is _R.MISSING_SCOPE:
        return _scope_remedy(finding, subject)
    if finding.reason is _R.POLICY:
        return "Ask a workspace admin what the workspace does not allow here. A grant does not help."
    remedy = _grant_remedy(finding, subject)
    if finding.reason is _R.NOT_FOUND_OR_DENIED:
        remedy = f"Check that the name is right. If it is, {remedy[0].lower()}{remedy[1:]}"
    return f"{remedy}{_AS_THE_AGENT}" if subject.machine is not None else remedy


def _login_remedy(finding: Finding, subject: Subject) -> str:
    host = subject.user.host if subject.user is not None else ""
    connection = f"the connection '{subject.name}'" if subject.name else "the connection"
    if host and finding.url is not None and _origin(finding.url) == _origin(host):
        return f"{subject.who} must sign in to {connection} once at {finding.url}."
    if not finding.refusal.own:
        return _OF_A_SERVER[_R.LOGIN_REQUIRED].replace("{who}", subject.who)
    if host and subject.name and _PLAIN_NAME.match(subject.name):  # the page that the platform's own texts link to
        return f"{subject.who} must sign in to {connection} once at {host}/explore/connections/{subject.name}."
    return f"{subject.who} must sign in to {connection} once, in the workspace's Catalog Explorer."


def _origin(url: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(url)
        return (parts.scheme, parts.hostname or "", parts.port) if "@" not in parts.netloc else None
    except ValueError:
        return None


# --- grants ------------------------------------------------------------------------------------------------------------------

_PROPER_NAMES = ("Databricks", "Genie", "Lakebase")
# Unity Catalog's name for a securable, by the platform's word or the catalogue's kind, and the number of parts of its name.
_SECURABLES = {
    "catalog": ("CATALOG", 1),
    "schema": ("SCHEMA", 2),
    "table": ("TABLE", 3),
    "view": ("TABLE", 3),
    "routine": ("FUNCTION", 3),
    "function": ("FUNCTION", 3),
    "connection": ("CONNECTION", 1),
    "schema_connection": ("CONNECTION", 1),
    "volume": ("VOLUME", 3),
    "uc_table": ("TABLE", 3),
    "vector_search_index": ("TABLE", 3),
    "uc_function": ("FUNCTION", 3),
    "uc_connection": ("CONNECTION", 1),
}
# The privileges that a GRANT may name here: only those that give one thing.
_PRIVILEGES = frozenset(
    {
        "SELECT",
        "MODIFY",
        "EXECUTE",
        "BROWSE",
        "MANAGE",
        "REFRESH",
        "APPLY TAG",
        "READ VOLUME",
        "WRITE VOLUME",
        "READ FILES",
    }
    | {
        "USE CATALOG",
        "USE SCHEMA",
        "USE CONNECTION",
        "CREATE TABLE",
        "CREATE SCHEMA",
        "CREATE FUNCTION",
        "CREATE VOLUME",
    }
    | {"CREATE MODEL", "CREATE MATERIALIZED VIEW", "EXTERNAL USE SCHEMA", "WRITE FILES", "CREATE EXTERNAL TABLE"}
)
_PLAIN_NAME = re.compile(r"[\w.\-]+\Z")
_UUID_LENGTH = 36
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)


def is_id(name: str) -> bool:
    """Check whether a name is an id that only the platform knows."""
    return len(name) == _UUID_LENGTH and _UUID.match(name) is not None


# The platform's words that mean something else elsewhere.
_OTHER_WORDS = {"schema connection": "connection", "scope": "secret scope"}


def _word_of(finding: Finding, kind: ResourceKind | None) -> str:
    """Return the word for the refused object, for use in a sentence."""
    word, title = (finding.what or "").replace("_", " ").strip(), kind.title if kind is not None else ""
    word = title if word.lower() in title.lower() else word  # several kinds are called "endpoint"
    word = _OTHER_WORDS.get(word.lower(), word)
    if word.isupper() or (word.istitle() and not word.startswith(_PROPER_NAMES)):
        word = word.lower()
    return word[0].lower() + word[1:] if word[1:2].islower() and not word.startswith(_PROPER_NAMES) else word


def _grant_remedy(finding: Finding, subject: Subject) -> str:
    """Ask whoever can grant access. A privilege is named only if something names the missing one."""
    who, what = subject.who, _object_of(finding, subject)
    if finding.privileges:
        needs = " and ".join(finding.privileges)
        return f"Ask the owner of {what or 'the refused object'} to grant {who} {needs}{_statement(finding, subject)}."
    grants = subject.kind.grants if subject.kind is not None else ()
    if not what or (finding.reason is _R.ACCESS_DENIED and finding.name is None and finding.what is None):
        return _unknown_grant(finding, subject, grants)
    if not grants:
        return f"Ask the owner of {what} which privilege {who} lacks: the answer does not name it."
    needs = grants[0].privilege if len(grants) == 1 else f"the missing ones of: {_listed(grants)}"
    return f"Ask the owner of {what} to grant {who} {needs}."


def _object_of(finding: Finding, subject: Subject) -> str:
    """Return the refused object for use in a sentence; empty if nothing is known about it."""
    word, name = _word_of(finding, subject.kind), subject.name
    if name and is_id(name):
        return f"the {word or 'object'} with the id '{name}'"
    if not name:
        return f"the {word}" if word else ""
    return f"the {word} '{name}'" if word else f"'{name}'"


def _listed(grants: Sequence[Grant]) -> str:
    return "; ".join(f"{grant.privilege} on {grant.on}" for grant in grants)


def _unknown_grant(finding: Finding, subject: Subject, grants: Sequence[Grant]) -> str:
    """Say what is known, and how to find out more, if the answer does not name the missing privilege."""
    refusal, who = finding.refusal, subject.who
    request = f" ({refusal.method} {refusal.path})" if refusal.method and refusal.path else ""
    name = f" for '{subject.name}'" if subject.name else ""
    takes = f" Documented privileges{name}: {_listed(grants)}." if grants and refusal.text else ""
    return (
        f"The answer does not name what {who} lacks{request}.{takes} Try the same as {who} in the workspace, or compare with "
        "the grants of a user who has access."
    )


def _statement(finding: Finding, subject: Subject) -> str:
    """Return the grant as SQL, if Unity Catalog keeps it, and all of its parts are known and need no quoting."""
    word = (finding.what or (subject.kind.name if subject.kind is not None else "")).strip().lower().replace(" ", "_")
    securable, parts = _SECURABLES.get(word, ("", 0))
    name, principal = subject.name or "", subject.principal
    if not securable or not principal or "`" in principal or not _PRIVILEGES.issuperset(finding.privileges):
        return ""
    if not _PLAIN_NAME.match(name) or _UUID.match(name) or name.count(".") != parts - 1:
        return ""
    quoted = ".".join(part if part.isidentifier() else f"`{part}`" for part in name.split("."))
    return f": GRANT {', '.join(finding.privileges)} ON {securable} {quoted} TO `{principal}`"


def full_name(name: str, word: str, path: str, declared: Sequence[str]) -> str:
    """Return a name, completed with the catalog and the schema of the path or of a declared resource."""
    depth = _SECURABLES.get(word.strip().lower().replace(" ", "_"), ("", 0))[1]
    parts = name.split(".")
    if len(parts) >= depth:
        return name
    segments = unquote(path).split("/")
    candidates = [segment.split(".") for segment in (*segments, *declared) if "." in segment]
    if "Volumes" in segments:
        candidates.insert(0, segments[segments.index("Volumes") + 1 :])
    fitting = {
        ".".join(candidate[:depth])
        for candidate in candidates
        if len(candidate) >= depth and candidate[depth - len(parts) : depth] == parts
    }
    return fitting.pop() if len(fitting) == 1 else name


# --- scopes ------------------------------------------------------------------------------------------------------------------

_TITLES: dict[str, str] = {"apps": "Databricks Apps", "model-serving": "Model Serving"}


def _scope_remedy(finding: Finding, subject: Subject) -> str:
    """Tell the deployer which scopes to declare, as the target spells them, and where."""
    refusal, target, tool = finding.refusal, subject.target, subject.tool
    if not finding.scopes:
        request = f"{refusal.method} {refusal.path}" if refusal.method and refusal.path else "this request"
        return (
            f"The answer does not name the scope, and the catalogue knows none for {request}. Find the API in "
            f"`obo-kit scopes`, and declare the scope that opens it with @requires_scopes{f' on {tool!r}' if tool else ''}."
        )
    route = route_of(refusal)
    without = instead(route, subject.declared) if route is not None else ""
    spelled = spellings(finding.scopes, route, target)
    if not spelled:
        return f"{without}. " * bool(without) + _out_of_reach(finding.scopes, target)
    if subject.declared.issuperset(spelled):
        declare = f"'{tool}' already declares {', '.join(spelled)}, but the deployment does not carry it yet:"
    else:
        declare = f"Declare @requires_scopes({', '.join(map(repr, spelled))}){f' on {tool!r}' if tool else ''}, then"
    wider = widening(finding.scopes, spelled)
    more = f" ({', '.join(wider)} opens more than was requested; {_TITLES[target]} accepts nothing narrower.)" * bool(
        wider
    )
    pat = " A personal access token needs the scope itself: create one that has it." if _is_pat(refusal.text) else ""
    if without:
        declare = f"{without}. Or {declare[0].lower()}{declare[1:]}"
    if target == "apps":
        return (
            f"{declare} add it to the app's user_api_scopes in databricks.yml (obo_kit.app_config writes them), deploy, stop "
            f"and start the app, and let users consent again: an earlier consent does not grow.{more}{pat}"
        )
    return f"{declare} log the model again (obo_kit.log_model) and deploy the new version.{more}{pat}"


def _is_pat(text: str) -> bool:
    # A user's OAuth token is also called a "Provided access token", so both readings stay open.
    return "Provided access token" in text[:200]


def _out_of_reach(scopes: Sequence[str], target: Target) -> str:
    entries = [catalogue().scopes.get(scope) for scope in scopes]
    names = ", ".join(scopes)
    if any(entry is None for entry in entries):
        return (
            f"The catalogue does not know {names}. Check the name with `obo-kit scopes`; if it is right, declare it with "
            "@requires_scopes(…, allow_unknown=True)."
        )
    if any(entry is not None and target in entry.refused_by for entry in entries):
        return f"{_TITLES[target]} cannot grant {names}. Reach this API with system authorization."
    return (
        f"No one has seen {_TITLES[target]} grant {names}. Reach this API with system authorization, or declare it with "
        "@requires_scopes(…) and see whether the deployment accepts it."
    )
