"""Workspaces that differ from what the kit says, each in its own way: recordings for a local workspace, and faults.

None of them was observed. `as_the_kit_says` is a workspace that has all that the kit knows of, as the kit says it is: what the
local workspace does not serve answers from a recording.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from obo_kit.analysis.verify._plan import routes_by_claim
from obo_kit.analysis.verify._routes import ROUTE_PROBES
from obo_kit.scopes._placeholders import placeholders
from obo_kit.scopes._recording import Answer, Recording
from obo_kit.testing import LocalWorkspace
from obo_kit.testing._refusals import REFUSALS
from obo_kit.testing.server._app import missing_scope_key
from obo_kit.testing.server._scopes import asked_by
from obo_kit.testing.services._genie import Genie


def filled(key: str, *scopes: str) -> str:
    """Return the words of one of the local workspace's refusals, as a recording has them."""

    class Placed(dict[str, str]):
        def __missing__(self, name: str) -> str:
            return "x_1"

    text = REFUSALS[key].text.format_map(
        Placed(scopes=", ".join(scopes), request="3f2504e0-4f89-11d3-9a0c-0305e82c3301")
    )
    return placeholders(text)


def refusal(key: str, claim: str = "", case: str = "absent", named: tuple[str, ...] = (), **changes: object) -> Answer:
    """Return one of the local workspace's refusals as a recorded answer, with changes."""
    own = REFUSALS[key]
    fields: dict[str, object] = {
        "claim": claim or f"refusal:{key}",
        "request": "GET /api/2.0/preview/scim/v2/Me",
        "case": case,
        "status": own.status,
        "content_type": "application/json" if own.form == "json" else "text/plain",
        "headers": tuple(sorted(["content-type", *map(str.lower, own.headers)])),
        "form": own.form,
        "code": str(own.code) if own.form == "json" else None,
        "wording": filled(key, *named),
        "required_scopes": named if "{scopes}" in own.text else (),
    }
    return Answer(**{**fields, **changes})


def missing_scope(claim: str, *scopes: str, **changes: object) -> Answer:
    """Return the refusal of a token without scopes, as the kit says that the route words it."""
    probe = ROUTE_PROBES[claim]
    path = probe.target.partition("?")[0]
    asks = asked_by(probe.method, path)
    key = missing_scope_key(path, asks.words if asks is not None else "json", scopes, "reported")
    return refusal(key, claim, "missing_scope", scopes, request=probe.request, **changes)


def opened(claim: str, scope: str) -> Answer:
    """Return what a token with another scope alone was answered that got through."""
    probe = ROUTE_PROBES[claim]
    return Answer(claim=claim, request=probe.request, case="allowed", scopes=(scope,), status=200, form="json")


def as_the_kit_says() -> list[Answer]:
    """Return the answers of the APIs that the local workspace does not serve, or of which it asks other scopes."""
    gate, answers = LocalWorkspace()._gate, []
    for claim, route in routes_by_claim().items():
        probe = ROUTE_PROBES[claim]
        path = probe.target.partition("?")[0]
        scope = {"type": "http", "method": probe.method, "path": path, "root_path": ""}
        asks = asked_by(probe.method, path)
        known = asks.groups if asks is not None else ()
        says_same = bool(known) and set(known[0]) >= {*(route.all_of or route.any_of)[:1]}
        if gate._match(scope)[0] is not None and says_same:
            continue
        answers.append(missing_scope(claim, *(route.all_of or route.any_of[:1])))
        if gate._match(scope)[0] is None:
            shape = {"claim": claim, "request": probe.request, "form": "json", "content_type": "application/json"}
            absent = {"case": "absent", "status": 404, "code": "RESOURCE_DOES_NOT_EXIST", "wording": "Not found"}
            answers.append(
                Answer(**shape, **(absent if probe.case == "absent" else {"case": "allowed", "status": 200}))
            )
    return answers


def recording(*answers: Answer, obo: str = "on", obo_model_serving: str = "on") -> Recording:
    """Return a recording of a workspace as the kit says, but for these answers."""
    own = {(answer.claim, answer.case) for answer in answers}
    changed = {answer.claim for answer in answers if answer.claim.startswith("route:")}
    rest = [
        answer
        for answer in as_the_kit_says()
        if (answer.claim, answer.case) not in own and not (answer.claim in changed and answer.case == "missing_scope")
    ]
    shared = {"recorded": "2026-12-01", "kit": "0.1.0", "cloud": "local"}
    return Recording(**shared, obo=obo, obo_model_serving=obo_model_serving, answers=(*rest, *answers)).signed()


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """A workspace that differs.

    Attributes:
        answers: What it answers otherwise than the kit says.
        obo: Whether on-behalf-of-user authorization is on for apps.
        obo_model_serving: The same for Model Serving.
        differs: What `verify` must find, and nothing else: the aspects, by claim.
        untried: What it cannot find out here, but could on a workspace as the kit says; a part of the reason, by claim.
        spoil: Changes a running workspace in another way than a recording can.
        alone: Whether it cannot be one with the others.
    """

    answers: tuple[Answer, ...] = ()
    obo: str = "on"
    obo_model_serving: str = "on"
    differs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    untried: Mapping[str, str] = field(default_factory=dict)
    spoil: Callable[[LocalWorkspace, pytest.MonkeyPatch], object] = lambda _workspace, _patch: None
    alone: bool = False

    @property
    def recording(self) -> Recording:
        """All that it answers, as a recording."""
        return recording(*self.answers, obo=self.obo, obo_model_serving=self.obo_model_serving)


def _routes(aspects: str, *routes: str) -> dict[str, frozenset[str]]:
    return {f"route:{route}": frozenset(aspects.split("+")) for route in routes}


def _refusals(aspects: str, *keys: str) -> dict[str, frozenset[str]]:
    return {f"refusal:{key}": frozenset(aspects.split("+")) for key in keys}


def _no_api(route: str) -> Answer:
    return refusal("no_such_api", f"route:{route}", "no_api", request=ROUTE_PROBES[f"route:{route}"].request)


def _outage(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    workspace.add_fault("status", status=503, path_prefix="/api/2.0/permissions", times=None)
    workspace.add_fault("reset", path_prefix="/api/2.0/genie", times=None)
    workspace.add_fault("status", status=500, path_prefix="/api/2.1/jobs", times=None)


def _resets(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    for after in (5, 50, 100):
        workspace.add_fault("reset", after=after, times=1)
    workspace.add_fault("status", status=503, after=150, times=2)


def _limits(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    for prefix in ("/api/2.0/sql", "/api/2.0/mcp", "/api/2.1/unity-catalog"):
        workspace.add_fault("status", status=429, headers={"Retry-After": "0"}, path_prefix=prefix, after=1, times=2)


def _unheard_of(_workspace: LocalWorkspace, patch: pytest.MonkeyPatch) -> None:
    """Refuse tokens in words that `explain` does not know: that they were to be refused is all that tells."""
    other = dataclasses.replace(REFUSALS["missing_scope_text"], text="Computer says no")
    patch.setitem(REFUSALS, "missing_scope_text", other)


def _shown_spaces(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    spaces = workspace._core.service(Genie)._spaces
    spaces["01hidden"] = dataclasses.replace(spaces["01hidden"], hidden=False)


_GONE = (
    "/api/2.0/genie/spaces/{space}",
    "/api/2.0/sql/statements/{statement}",
    "/api/2.0/vector-search/indexes/{index}",
)


def _unserved(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    workspace._gate._routes = [(route, api) for route, api in workspace._gate._routes if api.path not in _GONE]


def _pages(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    """Let a proxy answer for some paths: with a page, and with another one that says no."""
    workspace.add_fault("login_page", path_prefix="/api/2.1/unity-catalog/functions", times=None)
    page = "<html><title>Blocked</title>Your organization does not allow this.</html>"
    html = {"Content-Type": "text/html"}
    workspace.add_fault("status", status=403, body=page, headers=html, path_prefix="/api/2.1/jobs", times=None)


def _blocked(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    workspace.add_fault("ip_access_list", after=120, times=None)


def _behind_a_proxy(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    workspace.add_fault("login_page", after=120, times=None)


def _expired(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    """Let the developer's own token expire where it is used for the first time after the routes."""
    workspace.add_fault("expired_token", path_prefix="/api/2.0/genie/spaces/01hidden", times=1)


def _narrow_expired(workspace: LocalWorkspace, _patch: pytest.MonkeyPatch) -> None:
    workspace.add_fault("expired_token", path_prefix="/api/2.0/lakeview", times=1)


WORDS = {
    "serving_missing": "There is no endpoint of the name '<name>'",
    "genie_missing": "The space <name> cannot be found",
    "table_missing": "Table '<name>' is not available",
    "credential_missing": "Authentication is required [ReqId: <id>]",
    "app_denied": "You may not use app <name>",
    "sql_missing": "[TABLE_OR_VIEW_NOT_FOUND] No table or view `<name>`. SQLSTATE: 42P01",
}
_CASES = {
    "credential_missing": "no_credential", "invalid_token": "invalid_token", "oauth_subject": "invalid_token",
    "expired_token": "expired",
    "app_denied": "no_permission", "serving_denied": "no_permission", "warehouse_denied": "no_permission",
    "connection_denied": "no_permission", "sql_syntax": "bad_request",
}  # fmt: skip
_TEXT: Mapping[str, object] = {
    "form": "text", "content_type": "text/plain", "code": None, "wording": "Invalid scope", "required_scopes": ()
}  # fmt: skip


def _changed(key: str, **changes: object) -> Answer:
    return refusal(key, case=_CASES.get(key, "absent"), **changes)


SEEDED: Mapping[str, Seeded] = {
    "other wordings": Seeded(
        answers=tuple(_changed(key, wording=words) for key, words in WORDS.items()),
        differs=_refusals("wording", *WORDS),
    ),
    "other scopes": Seeded(
        answers=(
            missing_scope("route:/api/2.0/lakeview", "genie"),
            missing_scope("route:GET /api/2.1/unity-catalog/schemas", "sql"),
            missing_scope("route:POST /api/2.0/vector-search/indexes/{name}/scan", "vectorsearch.vector-search-indexes",
                          scopes=("vector-search",)),
            missing_scope("route:POST /api/2.0/external-function", "catalog.connections", "sql"),
            opened("route:/api/2.1/unity-catalog/connections", "genie"),
        ),
        differs=_routes(
            "scopes", "/api/2.0/lakeview", "GET /api/2.1/unity-catalog/schemas",
            "POST /api/2.0/vector-search/indexes/{name}/scan", "POST /api/2.0/external-function",
            "/api/2.1/unity-catalog/connections",
        ),
    ),
    "plain text": Seeded(
        answers=(
            *(missing_scope(f"route:{route}", **_TEXT) for route in ("/api/2.0/apps", "/api/2.0/git-credentials")),
            _changed("connection_missing", form="text", content_type="text/plain", code=None),
        ),
        differs=_routes("content type+code+wording", "/api/2.0/apps", "/api/2.0/git-credentials")
        | _refusals("content type+code", "connection_missing"),
    ),
    "missing routes": Seeded(
        answers=tuple(map(_no_api, ("/api/2.0/dbfs", "GET /api/2.1/unity-catalog/model-services", "/api/2.0/mlflow"))),
        differs=_routes("api", "/api/2.0/dbfs", "GET /api/2.1/unity-catalog/model-services", "/api/2.0/mlflow"),
    ),
    "other statuses": Seeded(
        answers=(
            _changed("warehouse_missing", status=400),
            _changed("oauth_subject", status=401),
            _changed("serving_denied", status=404),
            missing_scope("route:/api/2.0/repos", "workspace.workspace", status=401),
        ),
        differs=_refusals("status", "warehouse_missing", "oauth_subject", "serving_denied")
        | _routes("status", "/api/2.0/repos"),
    ),
    "another error code": Seeded(
        answers=(
            _changed("index_missing", code="INDEX_NOT_FOUND"),
            _changed("connection_denied", code="FORBIDDEN"),
            _changed("sql_syntax", code="INVALID_PARAMETER_VALUE"),
            _changed("expired_token", code="TOKEN_EXPIRED"),
        ),
        differs=_refusals("code", "index_missing", "connection_denied", "sql_syntax", "expired_token"),
    ),
    "another content type": Seeded(
        answers=(
            _changed("uc_missing", content_type="application/scim+json"),
            _changed("app_missing", content_type="application/octet-stream"),
        ),
        differs=_refusals("content type", "uc_missing", "app_missing"),
    ),
    "without OBO on Apps": Seeded(obo="off", differs={"obo:apps": frozenset({"obo"})}),
    "without OBO on Model Serving": Seeded(
        obo_model_serving="off", differs={"obo:model-serving": frozenset({"obo"})}
    ),
    "other headers": Seeded(
        answers=(
            _changed("search_endpoint_missing", headers=("content-type", "retry-after", "x-databricks-org-id", "x-request-id")),
            _changed("invalid_token", headers=("content-type",)),
        ),
        differs=_refusals("headers", "invalid_token"),
    ),
    "words that nobody knows": Seeded(
        spoil=_unheard_of, alone=True,
        differs=_refusals("wording", "missing_scope_text")
        | _routes(
            "wording", "/ai-gateway/", "/api/2.0/database", "/api/2.0/postgres/", "/api/2.0/sql/statements",
            "/sql/1.0/warehouses", "GET /api/2.1/unity-catalog/catalogs", "POST /serving-endpoints/chat/completions",
            "POST /serving-endpoints/completions", "POST /serving-endpoints/embeddings",
        ),
    ),
    "routes that are not served": Seeded(
        spoil=_unserved, alone=True,
        differs=_refusals("code+wording", "genie_denied", "genie_missing", "index_missing", "statement_missing")
        | _refusals("status+code+wording", "genie_forbidden", "index_denied")
        | _routes(
            "api", "/api/2.0/genie/", "/api/2.0/mcp/genie", "/api/2.0/sql/statements",
            "GET /api/2.0/vector-search/indexes",
        ),
    ),
    "spaces that are not hidden": Seeded(
        spoil=_shown_spaces, alone=True, untried={"refusal:genie_denied": "as genie_forbidden says"},
    ),
    "rate limits": Seeded(spoil=_limits, alone=True),
    "resets": Seeded(spoil=_resets, alone=True),
    "an outage": Seeded(spoil=_outage, alone=True),
    "pages of a proxy": Seeded(
        spoil=_pages, alone=True,
        untried={
            "refusal:function_missing": "a page of HTML", "route:/api/2.1/unity-catalog/functions": "a page of HTML",
            "route:/api/2.1/jobs/": "a page of HTML",
        },
    ),
    "an IP access list": Seeded(spoil=_blocked, alone=True),
    "a proxy in the middle": Seeded(spoil=_behind_a_proxy, alone=True),
    "an expired developer": Seeded(spoil=_expired, alone=True),
    "an expired narrow token": Seeded(spoil=_narrow_expired, alone=True),
}  # fmt: skip
"""All of them, by what is other about them."""
