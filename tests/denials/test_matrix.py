"""Clients and refusals: what `explain` finds, with the real packages against the local workspace. Rules 11, 15 and 16.

The table in docs/refusal-table.md is written by these tests: run them with OBO_KIT_WRITE_TABLE=1, in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
from collections import Counter
from pathlib import Path

import official
import pytest
from databricks.ai_search.client import AISearchClient
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole, ExternalFunctionRequestHttpMethod
from support import ASK, INDEX, LLM, SPACE, as_user, extra, of_mcp_1

from obo_kit import DenialReason, Limits, optional_tool

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own; what is tested here is what they raise
    pytest.mark.usefixtures("no_traces"),
]
R = DenialReason


@pytest.fixture(autouse=True)
def _no_connection_is_left():
    """Those that a client of the packages' own leaves open are closed here, where their warnings are expected."""
    yield
    gc.collect()


WRITE = bool(os.environ.get("OBO_KIT_WRITE_TABLE"))
DOCS = Path(__file__).parents[2] / "docs" / "refusal-table.md"
LATER = {"Retry-After": "2"}  # longer than the session's clients wait here


def told(code, message):
    return {"error_code": code, "message": message}


# Name: status, body, headers, and what it is. The wordings and their sources: obo_kit/_upstream/texts.py.
REFUSALS = {
    "scope": (403, told(403, "Provided OAuth token does not have required scopes: x [ReqId: 0]"), None, R.MISSING_SCOPE),
    "scope, plain": (403, "Invalid scope, required scopes: x", None, R.MISSING_SCOPE),
    "scope, header": (403, "insufficient_scope", {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}, R.MISSING_SCOPE),
    "token": (403, told(403, "Invalid access token. [ReqId: 0]"), None, R.TOKEN_EXPIRED),
    "token, plain": (403, "Token is expiring within 30 seconds. (token expired)", None, R.TOKEN_EXPIRED),
    "401": (401, told(401, "Credential was not sent or was of an unsupported type for this API."), None, R.TOKEN_EXPIRED),
    "401, empty": (401, "", None, R.TOKEN_EXPIRED),
    "sign-in page": (302, "", {"Location": "/login.html"}, R.TOKEN_EXPIRED),
    "grant": (403, told("PERMISSION_DENIED", "You may not."), None, R.ACCESS_DENIED),
    "grant, UC": (403, told("PERMISSION_DENIED", "User does not have SELECT on Table 'a.b.c'."), None, R.ACCESS_DENIED),
    "grant, warehouse": (403, told("PERMISSION_DENIED", "PERMISSION_DENIED: 1 is not authorized to use or monitor this SQL "
                                   "Endpoint"), None, R.ACCESS_DENIED),
    "grant, index": (403, told("PERMISSION_DENIED", "Insufficient permissions for UC entity a.b.c"), None, R.ACCESS_DENIED),
    "grant as 400": (400, told("PERMISSION_DENIED", "You may not."), None, R.ACCESS_DENIED),
    "grant, odd code": (403, told("INVALID_PARAMETER_VALUE", "You may not."), None, R.ACCESS_DENIED),
    "hidden": (404, told("RESOURCE_DOES_NOT_EXIST", "It does not exist."), None, R.NOT_FOUND_OR_DENIED),
    "hidden, table": (404, told("TABLE_DOES_NOT_EXIST", "Table 'a.b.c' does not exist."), None, R.NOT_FOUND_OR_DENIED),
    "login": (403, told("PERMISSION_DENIED", "Credential for user identity('1') is not found for the connection 'gh'. Please "
                        "login first to the connection by visiting https://x.example/c"), None, R.LOGIN_REQUIRED),
    "policy": (403, told(403, "Source IP address: 203.0.113.7 is blocked by Databricks IP ACL."), None, R.POLICY),
    "bad argument": (400, told("INVALID_PARAMETER_VALUE", "No such column."), None, None),
    "no such API": (404, told("ENDPOINT_NOT_FOUND", "No API found for 'GET /api/2.0/x'"), None, None),
    "disabled": (403, told("FEATURE_DISABLED", "x is disabled for this workspace."), None, None),
    "conflict": (409, told("RESOURCE_CONFLICT", "It is in use."), LATER, None),
    "429": (429, told("REQUEST_LIMIT_EXCEEDED", "Too many requests."), LATER, None),
    "500": (500, told("INTERNAL_ERROR", "Oops."), LATER, None),
    "503": (503, told("TEMPORARILY_UNAVAILABLE", "Later."), LATER, None),
}  # fmt: skip
SHORT = {
    R.MISSING_SCOPE: "scope",
    R.TOKEN_EXPIRED: "token",
    R.ACCESS_DENIED: "grant",
    R.NOT_FOUND_OR_DENIED: "hidden",
    R.LOGIN_REQUIRED: "login",
    R.POLICY: "policy",
    None: "no denial",
}


# --- further calls, as official.py has them ------------------------------------------------------------------------------


def sdk_query_endpoint(session):
    message = ChatMessage(role=ChatMessageRole.USER, content="hello")
    return lambda: session.client.serving_endpoints.query(LLM, messages=[message])


def sdk_vector_search(session):
    search = session.client.vector_search_indexes.query_index
    return lambda: search(INDEX, columns=["id"], query_text="refund", num_results=1)


def sdk_genie_ask(session):
    return lambda: session.client.genie.start_conversation_and_wait(SPACE, official.QUESTION)


def sdk_genie_space(session):
    return lambda: session.client.genie.get_space(SPACE)


def sdk_statement(session):
    run = session.client.statement_execution.execute_statement
    return lambda: run(statement="SELECT 1", warehouse_id="wh1", wait_timeout="30s")


def sdk_warehouses(session):
    return lambda: session.client.warehouses.get("wh1")


def sdk_table(session):
    return lambda: session.client.tables.get("main.support.tickets")


def sdk_function(session):
    return lambda: session.client.functions.get("main.support.count")


def sdk_connection(session):
    return lambda: session.client.connections.get("gh")


def sdk_http_request(session):
    get = ExternalFunctionRequestHttpMethod.GET
    return lambda: session.client.serving_endpoints.http_request(conn="gh", method=get, path="/x")


def sdk_download(session):
    return lambda: session.client.files.download("/Volumes/main/support/files/x")


def sdk_upload(session):
    return lambda: session.client.files.upload("/Volumes/main/support/files/x", io.BytesIO(b"x"))


def sdk_list_tables(session):
    return lambda: list(session.client.tables.list("main", "support"))


def vector_search_by_name(session):
    client = session.get(AISearchClient)
    return lambda: client.get_index(index_name=INDEX).similarity_search(query_text="x", columns=["id"], num_results=1)


def openai_stream(session):
    client = session.get(extra("databricks_openai", "DatabricksOpenAI"))
    return lambda: list(client.chat.completions.create(model=LLM, messages=ASK, stream=True))


def openai_responses(session):
    client = session.get(extra("databricks_openai", "DatabricksOpenAI"))
    return lambda: client.responses.create(model=LLM, input="hello")


def async_openai_stream(session):
    client = session.get(extra("databricks_openai", "AsyncDatabricksOpenAI"))

    async def ask():
        return [chunk async for chunk in await client.chat.completions.create(model=LLM, messages=ASK, stream=True)]

    return lambda: asyncio.run(ask())


def chat_databricks_stream(session):
    chat = extra("databricks_langchain", "ChatDatabricks")(model=LLM, workspace_client=session.client, max_retries=0)
    return lambda: list(chat.stream("hello"))


def chat_databricks(session):
    chat = extra("databricks_langchain", "ChatDatabricks")(model=LLM, workspace_client=session.client, max_retries=0)
    return lambda: chat.invoke("hello")


def upstream_openai_client(session):
    client = extra("databricks_openai", "DatabricksOpenAI")(workspace_client=session.client)
    client.max_retries = 0
    return lambda: client.chat.completions.create(model=LLM, messages=ASK)


def langchain_tool_built(session):
    return lambda: official.retriever("databricks_langchain", session.client)


def openai_tool_built(session):
    return lambda: official.retriever("databricks_openai", session.client)


def mcp_call(session):
    with official.quiet():
        client = extra("databricks_mcp", "DatabricksMCPClient")(
            f"{session.identity.host}/api/2.0/mcp/genie/{SPACE}", workspace_client=session.client
        )
    return lambda: client.call_tool(f"query_space_{SPACE}", {"query": "x"})


def mcp_toolkit(session):
    build = extra("databricks_openai", "McpServerToolkit")
    return lambda: build(
        f"{session.identity.host}/api/2.0/mcp/genie/{SPACE}", workspace_client=session.client
    ).get_tools()


def mcp_agents_server(session):
    build = of_mcp_1("databricks_openai.agents", "McpServer")

    async def connect():
        async with build(
            f"{session.identity.host}/api/2.0/mcp/genie/{SPACE}", workspace_client=session.client
        ) as server:
            return await server.list_tools()

    return lambda: asyncio.run(connect())


def mcp_langchain(session):
    build = of_mcp_1("databricks_langchain", "DatabricksMultiServerMCPClient")
    url = f"{session.identity.host}/api/2.0/mcp/genie/{SPACE}"
    server = extra("databricks_langchain", "DatabricksMCPServer")(name="x", url=url, workspace_client=session.client)
    client = build([server])
    return lambda: asyncio.run(client.get_tools())


CALLS = (
    official.workspace_client,
    sdk_query_endpoint,
    sdk_vector_search,
    sdk_genie_space,
    sdk_genie_ask,
    sdk_statement,
    sdk_warehouses,
    sdk_table,
    sdk_list_tables,
    sdk_function,
    sdk_connection,
    sdk_http_request,
    sdk_download,
    sdk_upload,
    official.vector_search_client,
    vector_search_by_name,
    official.vector_search_index,
    official.async_vector_search_index,
    official.langchain_tool,
    langchain_tool_built,
    official.openai_tool,
    openai_tool_built,
    official.genie,
    official.genie_agent,
    official.openai_client,
    openai_stream,
    openai_responses,
    official.async_openai_client,
    async_openai_stream,
    upstream_openai_client,
    chat_databricks,
    chat_databricks_stream,
    official.mcp_client,
    mcp_call,
    mcp_toolkit,
    mcp_agents_server,
    mcp_langchain,
)
# What a client loses and nothing can give back.
_NO_PAGE: dict[str, DenialReason | None] = {"sign-in page": None}
LOST: dict[str, dict[str, DenialReason | None]] = {
    **dict.fromkeys(
        (
            "chat_databricks",
            "chat_databricks_stream",
        ),
        _NO_PAGE,  # they send by connections of their own, and the page is all that is left
    ),
}


def arm(workspace, status, body, headers):
    workspace.clear_faults()
    workspace.add_fault(status=200, body="<!doctype html><html></html>", headers={"Content-Type": "text/html"},
                        times=None, path_prefix="/login")  # fmt: skip
    for path in ("/api", "/serving-endpoints", "/ai-gateway"):
        workspace.add_fault(status=status, body=body, headers=headers, times=None, path_prefix=path)


def found_by(workspace, session, call, refusal):
    """The reason found, or None where the tool raised what came or gave what it got; and how often it asked the same.

    Twice is a redirect that was followed.
    """
    arm(workspace, *refusal)
    denials = []
    tool = optional_tool(fallback=denials.append, on=frozenset(R))(call)
    workspace.log.clear()
    with contextlib.suppress(Exception):
        tool()
    asked = Counter((record.method, record.path) for record in workspace.log)
    workspace.clear_faults()
    return (denials[0].reason if denials else None), max(asked.values(), default=0)


# The columns of the table: refusals that are one thing to a reader.
GROUPS = {
    "scope": {R.MISSING_SCOPE},
    "token": {R.TOKEN_EXPIRED},
    "grant": {R.ACCESS_DENIED},
    "hidden, login, policy": {R.NOT_FOUND_OR_DENIED, R.LOGIN_REQUIRED, R.POLICY},
    "no denial": {None},
}


def row_of(name, reasons):
    cells = []
    for group in GROUPS.values():
        keys = [key for key, refusal in REFUSALS.items() if refusal[3] in group]
        lost = [f"{key}: {SHORT[reasons[key]]}" for key in keys if reasons[key] != REFUSALS[key][3]]
        cells.append(
            f"**{len(keys) - len(lost)} of {len(keys)}** ({'; '.join(lost)})" if lost else f"{len(keys)} of {len(keys)}"
        )
    return f"| `{name}` | {' | '.join(cells)} |"


@pytest.mark.parametrize("build", CALLS, ids=lambda build: build.__name__)
def test_each_refusal_is_told_by_each_client(workspace, build, monkeypatch):
    """Rules 11, 15 and 16: known at once, told apart, and nothing else is ever a denial."""
    # What is built with connections of its own waits between its attempts; there is nothing to learn from that here.
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
    with as_user(workspace, "alice", limits=Limits(retry=0.2)) as session:
        call = build(session)
        found, again = {}, {}
        for key, (status, body, headers, reason) in REFUSALS.items():
            found[key], times = found_by(workspace, session, call, (status, body, headers))
            if reason is not None and times > 2:
                again[key] = times
    expected = {key: refusal[3] for key, refusal in REFUSALS.items()}
    for key, lost in LOST.get(build.__name__, {}).items():
        if found[key] == expected[key]:
            found[key] = lost  # older versions of the client follow no redirect, and lose nothing
        expected[key] = lost
    if WRITE:
        write_row(build.__name__, found)
    assert {key: reason for key, reason in found.items() if reason != expected[key]} == {}
    assert again == {}
    assert row_of(build.__name__, found) in DOCS.read_text(encoding="utf-8")


HEAD = f"| call | {' | '.join(GROUPS)} |\n|{' --- |' * (len(GROUPS) + 1)}\n"
ANSWERS = "| refusal | status | answer | is |\n| --- | --- | --- | --- |\n" + "".join(
    f"| {key} | {status} | `{(body if isinstance(body, str) else body['message']) or (headers or {}).get('Location', '')}` "
    f"| {reason.name if reason else 'no denial'} |\n".replace("``", "nothing")
    for key, (status, body, headers, reason) in REFUSALS.items()
)


def write_row(name, found):
    text = DOCS.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- table -->\n")
    table, _, after = rest.partition("<!-- end of table -->\n")
    rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    rows[name] = row_of(name, found)
    order = [build.__name__ for build in CALLS if build.__name__ in rows]
    table = HEAD + "".join(f"{rows[name]}\n" for name in order)
    DOCS.write_text(f"{before}<!-- table -->\n{table}<!-- end of table -->\n{after}", encoding="utf-8")


def test_the_table_in_the_docs_is_whole():
    """At least 25 calls and 20 refusals, and a row of each."""
    text = DOCS.read_text(encoding="utf-8")
    table = text.partition("<!-- table -->\n")[2].partition("<!-- end of table -->")[0]
    assert table.startswith(HEAD)
    assert [line.split("`")[1] for line in table.splitlines()[2:]] == [build.__name__ for build in CALLS]
    assert ANSWERS in text, f"Put this into docs/refusal-table.md:\n{ANSWERS}"
    assert len(CALLS) >= 25
    assert len(REFUSALS) >= 20


def test_what_is_lost_is_little_and_named():
    """An outage is never a denial, with any client; and no refusal is taken for another."""
    for lost in LOST.values():
        assert set(lost) == {"sign-in page"}
        assert set(lost.values()) == {None}
