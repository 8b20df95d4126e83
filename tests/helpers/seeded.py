"""Workspaces that differ from what the kit says, each in its own way: recordings for a local workspace, and faults.

None of them was observed. `as_the_kit_says` is a workspace that has all that the kit knows of, as the kit says it is: what the
local workspace does not serve answers from a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from obo_kit.analysis.verify._plan import routes_by_claim
from obo_kit.analysis.verify._routes import ROUTE_PROBES
from obo_kit.scopes._placeholders import placeholders
from obo_kit.scopes._recording import Answer, Recording
from obo_kit.testing import LocalWorkspace
from obo_kit.testing._refusals import REFUSALS
from obo_kit.testing.server._app import missing_scope_key
from obo_kit.testing.server._scopes import asked_by

USER = "alice"
DENIED = {
    "sql_warehouse": "denied1",
    "uc_table": "main.hr.salaries",
    "genie_space": "01f0denied",
    "vector_search_index": "main.hr.notes",
    "vector_search_endpoint": "denied-search",
    "serving_endpoint": "denied-llm",
    "databricks_app": "denied-app",
    "uc_connection": "denied_crm",
}
USE = {"sql_warehouse": "a1b2c3", "vector_search_index": "main.shop.faq"}


def furnished(recording: Recording | None = None) -> LocalWorkspace:
    """Return a workspace, not started yet, with something of each kind that alice may use or may not."""
    workspace = LocalWorkspace(recording=recording)
    workspace.missing_scope_words = "reported"
    workspace.add_user(USER)
    workspace.add_warehouse(USE["sql_warehouse"])
    workspace.grant(USER, "CAN USE", USE["sql_warehouse"])
    workspace.add_warehouse(DENIED["sql_warehouse"])
    workspace.add_table(DENIED["uc_table"], [{"id": 1}])
    workspace.add_table("main.shop.orders", [{"id": 1}])
    rows = [{"id": 1, "text": "x"}]
    workspace.add_index(USE["vector_search_index"], rows, primary_key="id", text_column="text")
    endpoint = DENIED["vector_search_endpoint"]
    workspace.add_index(DENIED["vector_search_index"], rows, primary_key="id", text_column="text", endpoint=endpoint)
    workspace.grant(USER, "SELECT", USE["vector_search_index"])
    workspace.add_genie_space(
        DENIED["genie_space"], warehouse_id=USE["sql_warehouse"], tables=["main.shop.orders"], answers={}
    )
    workspace.add_endpoint(DENIED["serving_endpoint"], lambda _body: "Hello.")
    workspace.add_app(DENIED["databricks_app"])
    workspace.add_app("shop", user_api_scopes=["sql"])
    workspace.grant(USER, "CAN USE", "shop")
    workspace.add_connection(DENIED["uc_connection"], "http://127.0.0.1:9")
    return workspace


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


def recording(*answers: Answer, obo: str = "on") -> Recording:
    """Return a recording of a workspace as the kit says, but for these answers."""
    own = {(answer.claim, answer.case) for answer in answers}
    changed = {answer.claim for answer in answers if answer.claim.startswith("route:")}
    rest = [
        answer
        for answer in as_the_kit_says()
        if (answer.claim, answer.case) not in own and not (answer.claim in changed and answer.case == "missing_scope")
    ]
    return Recording(recorded="2026-12-01", kit="0.1.0", cloud="local", obo=obo, answers=(*rest, *answers)).signed()


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """A workspace that differs.

    Attributes:
        answers: What it answers otherwise than the kit says.
        obo: Whether on-behalf-of-user authorization is on.
        differs: What `verify` must find, and nothing else: the aspects, by claim.
        spoil: Arms the faults of a workspace.
        alone: Whether it cannot be one with the others.
    """

    answers: tuple[Answer, ...] = ()
    obo: str = "on"
    differs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    spoil: Callable[[LocalWorkspace], object] = lambda _workspace: None
    alone: bool = False

    @property
    def recording(self) -> Recording:
        """All that it answers, as a recording."""
        return recording(*self.answers, obo=self.obo)


def _routes(aspects: str, *routes: str) -> dict[str, frozenset[str]]:
    return {f"route:{route}": frozenset(aspects.split("+")) for route in routes}


def _refusals(aspects: str, *keys: str) -> dict[str, frozenset[str]]:
    return {f"refusal:{key}": frozenset(aspects.split("+")) for key in keys}


def _no_api(route: str) -> Answer:
    return refusal("no_such_api", f"route:{route}", "no_api", request=ROUTE_PROBES[f"route:{route}"].request)


def _outage(workspace: LocalWorkspace) -> None:
    workspace.add_fault("status", status=503, path_prefix="/api/2.0/permissions", times=None)
    workspace.add_fault("reset", path_prefix="/api/2.0/genie", times=None)
    workspace.add_fault("status", status=500, path_prefix="/api/2.1/jobs", times=None)


def _limits(workspace: LocalWorkspace) -> None:
    for prefix in ("/api/2.0/sql", "/api/2.0/mcp", "/api/2.1/unity-catalog"):
        workspace.add_fault("status", status=429, headers={"Retry-After": "0"}, path_prefix=prefix, after=1, times=2)


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
        ),
        differs=_routes(
            "scopes", "/api/2.0/lakeview", "GET /api/2.1/unity-catalog/schemas",
            "POST /api/2.0/vector-search/indexes/{name}/scan", "POST /api/2.0/external-function",
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
    "without OBO": Seeded(obo="off", differs={"obo:apps": frozenset({"obo"})}),
    "rate limits": Seeded(spoil=_limits, alone=True),
    "an outage": Seeded(spoil=_outage, alone=True),
    "other headers": Seeded(
        answers=(
            _changed("search_endpoint_missing", headers=("content-type", "retry-after", "x-databricks-org-id", "x-request-id")),
            _changed("invalid_token", headers=("content-type",)),
        ),
        differs=_refusals("headers", "invalid_token"),
    ),
}  # fmt: skip
"""The ten, by what is other about them."""
