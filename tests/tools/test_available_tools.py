"""`available_tools`: the tools of one request, at the same time, within a time limit. Rules 11, 15 and 17."""

from __future__ import annotations

import asyncio
import functools
import gc
import re
import threading
import time
from pathlib import Path
from typing import Any

import official
import pytest
from databricks.sdk import WorkspaceClient
from support import INDEX, SPACE, as_user, callers, calls, extra, me, of_mcp_1

from obo_kit import (
    DenialReason,
    SessionClosedError,
    available_tools,
    available_tools_async,
    capture_events,
    current_session,
    optional_tool,
    requires_scopes,
    rewrite_denials,
    user_session,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own
    pytest.mark.usefixtures("no_traces"),
]
R = DenialReason
MCP = "/api/2.0/mcp/"
QUERY = f"query_space_{SPACE}"


def space(client: WorkspaceClient):
    return client.genie.get_space(SPACE).title


def warehouse(client: WorkspaceClient):
    return client.warehouses.get("wh1").name


def whoami(client: WorkspaceClient):
    return me(client)


async def space_later(client: WorkspaceClient):
    return await asyncio.to_thread(space, client)


def both(*factories, **settings):
    """The same by either function."""
    return (
        lambda: available_tools(*factories, **settings),
        lambda: asyncio.run(available_tools_async(*factories, **settings)),
    )


# --- at the same time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [0, 1], ids=["sync", "async"])
def test_factories_run_at_the_same_time_and_carry_the_session(workspace, way):
    """Rule 4: in threads, each of them; the order is that of the factories."""
    meeting = threading.Barrier(3)

    def build(name, client):
        meeting.wait(60)
        return [name, current_session(), me(client), threading.get_ident()]

    factories = [functools.partial(build, name) for name in "abc"]
    with as_user(workspace, "alice") as session:
        made = both(*factories)[way]()
    assert made[0::4] == ["a", "b", "c"]
    assert made[1::4] == [session] * 3
    assert made[2::4] == ["alice"] * 3
    assert len(set(made[3::4])) == 3


def test_what_a_factory_runs_in_is_the_request_s(workspace):
    """Rule 25: whatever else the request's context holds is there too, and nothing set there comes back."""
    import contextvars

    variable = contextvars.ContextVar("variable", default="none")

    def build(client):
        found = variable.get()
        variable.set("changed")
        return found

    variable.set("the request's")
    with as_user(workspace, "alice"):
        assert available_tools(build) == ["the request's"]
    assert variable.get() == "the request's"


def test_three_users_at_the_same_time_get_their_own(workspace):
    """Rule 4."""

    def request(name):
        with as_user(workspace, name):
            found[name] = available_tools(space, whoami)

    found: dict[str, list[str]] = {}
    threads = [threading.Thread(target=request, args=(name,)) for name in ("alice", "bob", "carol")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {"alice": [SPACE, "alice"], "bob": [SPACE, "bob"], "carol": ["carol"]}


async def test_the_async_twin_takes_functions_of_either_kind(workspace):
    """One that is no coroutine function blocks nobody; one that returns a coroutine is awaited."""
    with as_user(workspace, "alice"):
        assert await available_tools_async(space_later, whoami, lambda client, later=space_later: later(client)) == [
            SPACE,
            "alice",
            SPACE,
        ]
        assert await available_tools_async() == available_tools() == []


# --- what is left out --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [0, 1], ids=["sync", "async"])
def test_the_model_is_told_in_one_line_what_is_left_out(workspace, way):
    """Rule 17: names and reasons; no host, no resource."""

    @requires_scopes("vectorsearch.vector-search-indexes")
    def docs(client: WorkspaceClient): ...

    with user_session(host=workspace.host, token=workspace.token("carol", scopes=["genie", "sql"])) as session:
        tools = both(space, warehouse, docs, lambda client: str(space(client)), lambda: "tool")[way]()
        assert tools == ["tool"]
        assert {one.tool for one in tools.denials} == {one.tool for one in session.denials}
        assert [one.tool for one in tools.denials] == ["space", "warehouse", "docs", "<lambda>"]
    note = tools.note
    assert "\n" not in note
    assert note.startswith(
        "Some tools are not available to this user. space, 1 without a name: What this tool uses does"
    )
    assert "warehouse: You do not have access" in note
    assert "docs: This agent has not been set up" in note
    assert workspace.host not in note
    assert SPACE not in note


def test_nothing_is_said_where_nothing_is_left_out(workspace):
    """Rule 17."""
    with as_user(workspace, "alice"):
        tools = available_tools(space)
    assert (tools, tools.note, tools.denials, tools.outages) == ([SPACE], "", (), ())


def test_the_note_is_one_line_in_the_author_s_words_too(workspace):
    """Rule 17: `rewrite_denials`."""
    import dataclasses

    rewrite_denials(lambda denial: dataclasses.replace(denial, user_message="Nicht\nfür Sie."))
    try:
        with as_user(workspace, "carol"):
            assert available_tools(space).note.endswith("space: Nicht für Sie.")
    finally:
        rewrite_denials(None)


def test_without_a_user_all_that_acts_for_one_is_left_out(workspace):
    """Rule 2."""
    with user_session(required=False):
        tools = available_tools(space, lambda: "tool")
    assert tools == ["tool"]
    assert [one.reason for one in tools.denials] == [R.NO_IDENTITY]
    assert callers(workspace) == []


# --- in time ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [0, 1], ids=["sync", "async"])
def test_a_factory_that_takes_too_long_is_an_outage(workspace, way):
    """Rules 11 and 15: raised, naming it; its client ends with the session."""
    go_on, ended = threading.Event(), threading.Event()
    later: list[object] = []

    def slow(client: WorkspaceClient):
        go_on.wait(60)
        try:
            later.append(me(client))
        except SessionClosedError as error:
            later.append(error)
        ended.set()

    began = time.monotonic()
    with as_user(workspace, "alice"), pytest.raises(TimeoutError, match=r"slow took longer than the 0\.2 s"):
        both(slow, whoami, timeout=0.2)[way]()
    assert time.monotonic() - began < 5
    workspace.log.clear()
    go_on.set()
    assert ended.wait(60)
    assert isinstance(later[0], SessionClosedError)
    assert calls(workspace) == []


def test_a_coroutine_that_takes_too_long_is_cancelled(workspace):
    """Rule 5: nothing goes on after the call."""
    ended = []

    async def slow(client):
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    async def at_once(client):
        return "made"

    with as_user(workspace, "alice"):
        tools = asyncio.run(available_tools_async(slow, at_once, timeout=0.5, on_outage="leave_out"))
    assert (tools, tools.outages, ended) == (["made"], ("slow",), ["cancelled"])


@pytest.mark.parametrize("way", [0, 1], ids=["sync", "async"])
def test_an_outage_is_no_denial_and_may_be_left_out(workspace, way, caplog):
    """Rule 15: raised as it came; left out where the author says so, and told."""
    workspace.add_fault(status=503, body="", times=None, path_prefix="/api/2.0/genie/", headers={"Retry-After": "30"})
    with as_user(workspace, "alice") as session:
        with pytest.raises(Exception, match=r"503|Unavailable|unavailable|Timed out|Service") as raised:
            both(space, whoami)[way]()
        assert type(raised.value).__name__ in ("TemporarilyUnavailable", "TimeoutError")
        tools = both(space, whoami, on_outage="leave_out")[way]()
        assert session.denials == ()
    assert (tools, tools.outages, tools.denials) == (["alice"], ("space",), ())
    assert tools.note == "Some tools are not available to this user. space: This tool is not answering at the moment."
    assert "space was left out, because it did not answer" in caplog.text


@pytest.mark.parametrize("way", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize("on_outage", ["raise", "leave_out"])
def test_a_bug_is_raised_whatever_becomes_of_the_others(workspace, way, on_outage):
    """Rule 15: the first, in the order of the factories."""

    def bug(client):
        raise ZeroDivisionError

    def another(client):
        time.sleep(0.05)
        raise KeyError

    with as_user(workspace, "carol"), capture_events() as events:
        with pytest.raises(ZeroDivisionError):
            both(space, bug, another, on_outage=on_outage)[way]()
        assert {("bug", "failed")} <= {(event.tool, event.outcome) for event in events}


def test_without_a_limit_it_waits(workspace):

    def slow(client):
        time.sleep(0.3)
        return "made"

    with as_user(workspace, "alice"):
        assert available_tools(slow, timeout=None) == ["made"]
        assert asyncio.run(available_tools_async(slow, timeout=None)) == ["made"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: available_tools("docs"), TypeError, "not a str"),
        (lambda: available_tools(space, timeout=0), ValueError, "above 0"),
        (lambda: available_tools(space, timeout=float("nan")), ValueError, "above 0"),
        (lambda: available_tools(space, on_outage="ignore"), ValueError, "'raise' or 'leave_out'"),  # type: ignore[arg-type]
        (lambda: asyncio.run(available_tools_async(3)), TypeError, "not a int"),  # type: ignore[arg-type]
        (lambda: available_tools(space_later), TypeError, "available_tools_async"),
    ],
)
def test_misuse_is_refused(workspace, make, error, message):
    """House rule 4."""
    with as_user(workspace, "alice"), pytest.raises(error, match=message):
        make()


# --- the frameworks' tools ------------------------------------------------------------------------------------------------


def test_retriever_tools_are_built_for_each_user(workspace):
    """Who may not read the index has no tool of it."""
    makers = [functools.partial(official.retriever, module) for module in ("databricks_langchain", "databricks_openai")]
    extra("databricks_langchain", "VectorSearchRetrieverTool")
    for name in ("alice", "carol"):
        with as_user(workspace, name):
            tools = available_tools(*makers)
            assert len(tools) == (2 if name == "alice" else 0)
            if tools:
                assert "refund" in str(tools[0].invoke("refund"))
                assert "refund" in str(tools[1].execute("refund"))
    assert set(callers(workspace)) == {"alice", "carol"}


def mcp_factories(workspace):
    """The lists of tools of every MCP client of the Databricks packages."""
    url = f"{workspace.host}{MCP}genie/{SPACE}"
    server = of_mcp_1("databricks_langchain", "DatabricksMCPServer")
    servers = extra("databricks_langchain", "DatabricksMultiServerMCPClient")
    toolkit = extra("databricks_openai", "McpServerToolkit")
    plain = extra("databricks_mcp", "DatabricksMCPClient")

    async def langchain(client: WorkspaceClient):
        return await servers([server(name="genie", url=url, workspace_client=client)]).get_tools()

    async def openai(client: WorkspaceClient):
        return await toolkit(url, workspace_client=client).aget_tools()

    def databricks(client: WorkspaceClient):  # it runs a loop of its own
        return plain(url, client).list_tools()

    return langchain, openai, databricks


def test_the_lists_of_mcp_servers_are_built_for_each_user(workspace):
    """At the same time, with every client; the server saw each user, and nobody else."""
    factories = mcp_factories(workspace)
    for name in ("alice", "bob", "carol"):
        workspace.log.clear()
        with as_user(workspace, name) as session:
            tools = asyncio.run(available_tools_async(*factories))
            assert [tool.name for tool in tools].count(QUERY) == (0 if name == "carol" else 3)
            assert [one.tool for one in tools.denials] == (
                ["langchain", "openai", "databricks"] if name == "carol" else []
            )
            assert len(session.denials) == len(tools.denials)
        assert set(callers(workspace)) == {name}
    gc.collect()


def test_an_mcp_server_that_does_not_answer_is_an_outage(workspace):
    """Rules 15 and 19: as every client wraps it."""
    build = of_mcp_1("databricks_openai.agents", "McpServer")

    async def agents(client: WorkspaceClient):
        async with build(f"{workspace.host}{MCP}genie/{SPACE}", workspace_client=client) as server:
            return await server.list_tools()

    factories = (*mcp_factories(workspace), agents)
    workspace.add_fault(status=503, body="", times=None, path_prefix=MCP)
    with as_user(workspace, "alice") as session:
        tools = asyncio.run(available_tools_async(*factories, on_outage="leave_out"))
        assert session.denials == ()
        for factory in factories:
            with pytest.raises(Exception):  # noqa: B017 - each its own
                asyncio.run(available_tools_async(factory))
    assert (tools, tools.outages) == ([], ("langchain", "openai", "databricks", "agents"))
    gc.collect()


def test_servers_of_the_agents_sdk_are_connected_in_the_caller_s_task(workspace):
    """As its documentation has it; who may not connect has a server without tools."""
    build = of_mcp_1("databricks_openai.agents", "McpServer")
    agent = extra("agents", "Agent")
    context = extra("agents", "RunContextWrapper")(None)

    async def names(session):
        url = f"{workspace.host}{MCP}genie/{SPACE}"
        async with optional_tool(build(url, workspace_client=session.client)) as server:
            return [tool.name for tool in await agent(name="a", mcp_servers=[server]).get_all_tools(context)]

    for name in ("alice", "carol"):
        with as_user(workspace, name) as session:
            assert (QUERY in asyncio.run(names(session))) is (name == "alice")
            assert len(session.denials) == (name == "carol")
    gc.collect()


@pytest.mark.parametrize("runtime", ["as_model_serving", "as_app"])
def test_tools_at_the_top_of_a_module_are_built_as_the_agent_and_run_as_the_user(workspace, runtime):
    """House rule 3: docs/tools.md, where a runtime has a service principal and no token."""
    extra("databricks_langchain", "VectorSearchRetrieverTool")
    page = (Path(__file__).parents[2] / "docs" / "tools.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    with getattr(workspace, runtime)() as opened:
        workspace.grant(opened.service_principal.name, "SELECT", INDEX)
        for block in (blocks[0], blocks[2]):
            exec(compile(block, "tools.md", "exec"), names)
        assert set(callers(workspace)) - {None} == {opened.service_principal.name}
        workspace.log.clear()
        for user in ("alice", "carol"):
            with opened.user(user, scopes=["vector-search"]):
                for tool in (names["search"], names["articles"]):
                    assert ("refund" in str(tool.invoke({"query": "refund"})).lower()) is (user == "alice")
        assert set(callers(workspace)) == {"alice", "carol"}


@pytest.mark.parametrize("name", ["alice", "carol"])
def test_the_examples_of_the_page_run(workspace, monkeypatch, name):
    """House rule 3: docs/tools.md, as a user who may use everything and as one who may use nothing."""
    of_mcp_1("databricks_openai.agents", "McpServer")
    extra("databricks_langchain", "VectorSearchRetrieverTool")
    page = (Path(__file__).parents[2] / "docs" / "tools.md").read_text("utf-8")
    in_one, *blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    with as_user(workspace, name) as session:
        names: dict[str, Any] = {"session": session}
        exec(compile(blocks[0], "tools.md", "exec"), names)
        assert names["tool"].invoke({"question": "x"}) == (
            SPACE if name == "alice" else "Sales are not available to you."
        )
        with monkeypatch.context() as agent:
            agent.setenv("DATABRICKS_HOST", workspace.host)
            agent.setenv("DATABRICKS_TOKEN", workspace.token("bob"))  # the agent's own credentials
            exec(compile(in_one, "tools.md", "exec"), names)
            exec(compile(blocks[1], "tools.md", "exec"), names)
        workspace.log.clear()
        assert names["sales"]() == (SPACE if name == "alice" else "Sales are not available to you.")
        assert ("refund" in names["search"].invoke({"query": "refund"}).lower()) is (name == "alice")
        answer = names["articles"].invoke({"query": "refund"})
        assert ("refund" in answer.lower()) is (name == "alice")
        assert {record.user for record in calls(workspace)} == {name}
        exec(compile(blocks[2], "tools.md", "exec"), names)
        assert [tool.name for tool in names["tools"]] == (["docs", "lookup"] if name == "alice" else [])
        (note,) = re.findall(r"^```text\n(.*)\n```$", page, re.MULTILINE)
        assert names["tools"].note == ("" if name == "alice" else note)
        for block in blocks[3:]:
            exec(compile(block, "tools.md", "exec"), names)
        assert (QUERY in [tool.name for tool in names["tools"]]) is (name == "alice")
    assert len(blocks) == 5
    gc.collect()
