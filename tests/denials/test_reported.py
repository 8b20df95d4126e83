"""The answers that people reported, word for word, through the real clients: inside a tool, and outside any. Rules 15 to 17.

`reported.jsonl` has one answer a line: by which client, with which status, code and text; what it is; what the remedy says and
never says; and where it was reported. Ids, hosts and names are replaced. `null` among the reasons: no denial is right, too.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from answering import Server
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.dashboards import GenieMessage
from databricks.sdk.service.serving import ExternalFunctionRequestHttpMethod
from databricks.sdk.service.sql import StatementResponse
from mlflow.exceptions import RestException
from mlflow.models.resources import (
    DatabricksFunction,
    DatabricksGenieSpace,
    DatabricksServingEndpoint,
    DatabricksSQLWarehouse,
    DatabricksTable,
    DatabricksUCConnection,
)
from support import unsigned

import obo_kit
from obo_kit import Denial, DenialReason, explain, optional_tool, requires_scopes, user_session, with_user_client

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("no_traces")]
Report = dict[str, Any]
Call = Callable[[WorkspaceClient], object]
REPORTS: list[Report] = [
    json.loads(line) for line in Path(__file__).with_name("reported.jsonl").read_text("utf-8").splitlines()
]
ALICE = "alice@example.com"


def _openai(method: str) -> Call:
    def call(client: WorkspaceClient) -> object:
        from databricks_openai import DatabricksOpenAI

        openai = DatabricksOpenAI(workspace_client=client, max_retries=0)
        if method == "responses":
            return openai.responses.create(model="helper", input="x")
        return openai.chat.completions.create(model="helper", messages=[{"role": "user", "content": "x"}])

    return call


def _index(client: WorkspaceClient) -> object:
    from databricks.ai_search.client import AISearchClient

    token = client.config.authenticate()["Authorization"].removeprefix("Bearer ")
    search = AISearchClient(workspace_url=client.config.host, personal_access_token=token, disable_notice=True)
    return search.get_index(index_name="main.docs.idx").similarity_search(columns=["id"], query_text="x")


def _mcp(path: str) -> Call:
    def call(client: WorkspaceClient) -> object:
        from databricks_mcp import DatabricksMCPClient

        return DatabricksMCPClient(f"{client.config.host}{path}", client).list_tools()

    return call


def _requests(request: str) -> Call:
    method, _, path = request.partition(":")

    def call(client: WorkspaceClient) -> object:
        answer = requests.request(method, f"{client.config.host}{path}", allow_redirects=False, timeout=60)
        answer.raise_for_status()
        return answer

    return call


def _value(kind: str, report: Report) -> object:
    text = report["text"]
    if kind == "statement":
        error = {"error_code": report["code"], "message": text}
        status = {"state": "FAILED", "error": error, "sql_state": report.get("state")}
        return StatementResponse.from_dict({"statement_id": "1", "status": status})
    if kind == "genie":
        return GenieMessage.from_dict({"id": "1", "status": "FAILED", "error": {"type": report["code"], "error": text}})
    if kind == "mcp":
        from mcp.types import CallToolResult, TextContent

        return CallToolResult(content=[TextContent(type="text", text=text)], isError=True)
    return text


def _sql_error(name: str, report: Report) -> Exception:
    exc = pytest.importorskip("databricks.sql.exc")
    request = {"http-code": report["status"], "error-message": report["text"]} if name == "RequestError" else {}
    error = getattr(exc, name)(report["text"] or "Error during request to server. ", request)
    assert isinstance(error, Exception)
    return error


def _postgres_error(state: str, report: Report) -> Exception:
    """Return an error in the shape of psycopg's; there is no Postgres here."""
    error = type("OperationalError", (Exception,), {"__module__": "psycopg.errors"})(report["text"])
    error.sqlstate = state or None
    return error


def _spark_error(name: str, text: str) -> Exception:
    """Return an error in the shape of Spark Connect's; there is no Spark here."""
    base = type("SparkConnectException", (Exception,), {"__module__": "pyspark.errors.exceptions.connect"})
    error: Exception = type(name, (base,), {"__module__": base.__module__})(text)
    return error


def _raising(error: Exception) -> Call:
    def call(client: WorkspaceClient) -> object:
        raise error

    return call


SDK: dict[str, Call] = {
    "apps": lambda w: w.apps.get("a"),
    "catalogs": lambda w: list(w.catalogs.list()),
    "clusters": lambda w: list(w.clusters.list()),
    "functions": lambda w: w.functions.get("main.shop.f"),
    "genie_space": lambda w: w.genie.get_space("space1"),
    "genie_start": lambda w: w.genie.start_conversation("space1", "q"),
    "http_request": lambda w: w.serving_endpoints.http_request("crm", ExternalFunctionRequestHttpMethod.GET, "/x"),
    "jobs": lambda w: w.jobs.run_now(7),
    "me": lambda w: w.current_user.me(),
    "secrets": lambda w: w.secrets.get_secret("vault", "k"),
    "serving_create": lambda w: w.api_client.do("POST", "/api/2.0/serving-endpoints", body={}),
    "serving_permissions": lambda w: w.serving_endpoints.get_permissions("x"),
    "statement": lambda w: w.statement_execution.execute_statement("SELECT 1", "w1"),
    "table": lambda w: w.tables.get("main.shop.orders"),
    "workspace": lambda w: list(w.workspace.list("/")),
}
RESOURCES: dict[str, Any] = {
    "openai:chat": DatabricksServingEndpoint("helper"),
    "sdk:functions": DatabricksFunction("main.shop.f"),
    "sdk:genie_space": DatabricksGenieSpace("space1"),
    "sdk:genie_start": DatabricksGenieSpace("space1"),
    "sdk:http_request": DatabricksUCConnection("crm"),
    "sdk:statement": DatabricksSQLWarehouse("w1"),
    "sdk:table": DatabricksTable("main.shop.orders"),
    "value:genie": DatabricksGenieSpace("space1"),
    "value:statement": DatabricksSQLWarehouse("w1"),
}


def _call(report: Report) -> Call:
    kind, _, what = report["client"].partition(":")
    if kind == "sdk" and " " in what:
        method, _, path = what.partition(" ")
        return lambda client: client.api_client.do(method, path)
    calls: dict[str, Callable[[], Call]] = {
        "sdk": lambda: SDK[what],
        "openai": lambda: _openai(what),
        "vs": lambda: _index,
        "mcp": lambda: _mcp(what),
        "requests": lambda: _requests(what),
        "value": lambda: lambda _: _value(what, report),
        "sqlconn": lambda: _raising(_sql_error(what, report)),
        "mlflow": lambda: _raising(RestException({"error_code": report["code"], "message": report["text"]})),
        "spark": lambda: _raising(_spark_error(what, report["text"])),
        "pg": lambda: _raising(_postgres_error(what, report)),
    }
    return calls[kind]()


def _answer(server: Server, report: Report) -> None:
    text, kind = report["text"], report.get("type")
    if report["client"].startswith(("value", "sqlconn", "spark", "mlflow", "pg")):
        return
    if kind is not None:
        server.say(report["status"], text, **{"Content-Type": kind})
    elif isinstance(text, dict):
        server.say(report["status"], json.dumps(text), **{"Content-Type": "application/json"})
    else:
        server.refuse(report["status"], text, report["code"], report.get("details"))
    server.headers |= report.get("headers", {})


def inside(server: Server, report: Report) -> Denial | None:
    """Explain what a tool meets with."""
    denials: list[Denial] = []
    call = _call(report)

    def tool(client: WorkspaceClient) -> object:
        return call(client)

    made = with_user_client(tool)
    if report["client"] in RESOURCES:
        made = requires_scopes(RESOURCES[report["client"]])(made)
    forgiving = optional_tool(fallback=denials.append, on=frozenset(DenialReason))(made)
    session = user_session(host=server.host, token=unsigned({"sub": ALICE}), limits=obo_kit.Limits(retry=1))
    with session, contextlib.suppress(Exception):
        forgiving()
    return denials[0] if denials else None


def outside(server: Server, report: Report) -> Denial | None:
    """Explain what a client of one's own meets with, where no session is open."""
    client = WorkspaceClient(
        config=Config(host=server.host, token="t", auth_type="pat", retry_timeout_seconds=1, http_timeout_seconds=5)
    )
    try:
        return explain(_call(report)(client))
    except Exception as error:
        return explain(error)


@pytest.mark.parametrize("where", [inside, outside], ids=lambda where: where.__name__)
@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report["id"])
def test_what_was_reported_is_what_it_was(server, where, report):
    _answer(server, report)
    denial = where(server, report)
    expected = report.get(where.__name__, report["reason"])
    assert (denial.reason.value if denial is not None else None) in expected, denial
    if denial is None:
        return
    if where is inside:
        for words in report.get("says", ()):
            assert words in denial.remedy
    for words in (*report.get("never", ()), *(("GRANT", "to grant") if denial.reason is DenialReason.POLICY else ())):
        assert words not in denial.remedy


def test_the_corpus_is_broad_and_says_where_it_is_from():
    assert len({report["id"] for report in REPORTS}) == len(REPORTS) >= 100
    assert all(report["source"].startswith(("http", "fid:", "a ")) for report in REPORTS)
    reasons = [reason for report in REPORTS for reason in report["reason"]]
    assert {reason for reason in reasons if reasons.count(reason) >= 4} >= {
        None, "missing_scope", "token_expired", "access_denied", "not_found_or_denied", "login_required", "policy"
    }  # fmt: skip
