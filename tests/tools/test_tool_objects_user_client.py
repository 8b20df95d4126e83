"""Tool objects that hold a client, built with the agent's own credentials, act as the user who asks. Rule 14."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksVectorSearchIndex
from support import INDEX, SPACE, as_user, calls, extra, of_mcp_1

from obo_kit import (
    DenialReason,
    NoUserIdentityError,
    NoUserSessionError,
    ScopeViolationError,
    SessionClosedError,
    auth_policy,
    current_session,
    optional_tool,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.tools._adapters import tool_object

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own
    pytest.mark.usefixtures("no_traces"),
]
R = DenialReason
NOT_YOURS = "These are not yours to see."
QUERY = f"query_space_{SPACE}"
QUESTION = "How many tickets are there?"
AGENT = "app-agent"


@pytest.fixture(scope="module")
def agent(furnished_workspace):
    """The client that the agent builds its tools with: a service principal's, which may use everything."""
    workspace = furnished_workspace
    principal = workspace.add_service_principal(AGENT)
    for privilege, securable in (
        ("SELECT", "main.support.tickets"),
        ("SELECT", INDEX),
        ("CAN USE", "wh1"),
        ("CAN RUN", SPACE),
    ):
        workspace.grant(AGENT, privilege, securable)
    return WorkspaceClient(
        host=workspace.host, client_id=principal.client_id, client_secret=principal.client_secret, auth_type="oauth-m2m"
    )


def asked_by(workspace):
    """Who the server saw since the log was cleared."""
    return {record.user for record in calls(workspace)}


def in_threads(*works):
    """Run at the same time: each is at its start before any goes on."""
    ready = threading.Barrier(len(works))

    def run(work):
        ready.wait(60)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


# --- retriever tools ----------------------------------------------------------------------------------------------------------

RETRIEVERS = pytest.mark.parametrize("module", ["databricks_langchain", "databricks_openai"])


def retriever(module, client, **settings):
    build = extra(module, "VectorSearchRetrieverTool")
    return build(index_name=INDEX, tool_name="search", workspace_client=client, **settings)


def use_of(tool):
    return tool.execute if hasattr(tool, "execute") else tool.invoke


def is_query(record):
    return record.path.endswith("/query")


def shown_by(tool):
    """What the model sees of it."""
    return tool.tool if hasattr(tool, "execute") else (tool.name, tool.description, tool.args)


@RETRIEVERS
def test_a_retriever_tool_of_the_agent_s_asks_as_the_user(workspace, agent, module):
    """Rules 5 and 14: the same object, the same schema; the agent's own client is asked for nothing any more."""
    tool = retriever(module, agent, num_results=1)
    assert asked_by(workspace) == {AGENT, None}  # None asks for the agent's own token
    shown, own = shown_by(tool), tool.workspace_client
    assert with_user_client(tool) is tool
    assert (shown_by(tool), tool.workspace_client) == (shown, own)
    workspace.log.clear()
    with as_user(workspace, "alice"):
        for _ in range(3):
            assert "refund" in str(use_of(tool)("refund")).lower()
        if module == "databricks_langchain":
            assert "refund" in asyncio.run(tool.ainvoke("refund")).lower()
    sent = calls(workspace)
    assert {record.user for record in sent} == {"alice"}
    assert [is_query(record) for record in sent] == [False, *[True] * (len(sent) - 1)]  # the index is looked up once
    assert len(sent) == (5 if module == "databricks_langchain" else 4)


@RETRIEVERS
def test_a_retriever_tool_answers_each_user_s_refusal(workspace, agent, module):
    """Rules 13 and 14: whatever the order of the decorators, and also where they are put on later."""
    index = DatabricksVectorSearchIndex(INDEX)
    orders = [
        lambda tool: optional_tool(fallback=NOT_YOURS)(requires_scopes(index)(with_user_client(tool))),
        lambda tool: with_user_client(requires_scopes(index)(optional_tool(fallback=NOT_YOURS)(tool))),
    ]
    for order in orders:
        tool = order(retriever(module, agent))
        workspace.log.clear()
        with as_user(workspace, "carol") as session:
            assert use_of(tool)("refund") == NOT_YOURS
            assert [(one.tool, one.reason) for one in session.denials] == [("search", R.ACCESS_DENIED)]
        with as_user(workspace, "bob"):
            assert use_of(tool)("refund") != NOT_YOURS
        assert asked_by(workspace) == {"carol", "bob"}


@RETRIEVERS
def test_two_users_ask_one_retriever_tool_at_the_same_time(workspace, agent, module):
    """Rule 4: each gets their own, whoever comes first; what is built for one session is built once for it."""
    tool = optional_tool(fallback=NOT_YOURS)(with_user_client(retriever(module, agent)))
    workspace.log.clear()

    def as_(name):
        def work():
            with as_user(workspace, name) as session:
                copies = [contextvars.copy_context() for _ in range(3)]
                answers = in_threads(*[lambda one=one: one.run(use_of(tool), "refund") for one in copies])
                return {answer == NOT_YOURS for answer in answers}, len(session.denials)

        return work

    answers = in_threads(*[as_(name) for name in ("alice", "carol", "bob", "carol", "alice")])
    assert answers == [({False}, 0), ({True}, 3), ({False}, 0), ({True}, 3), ({False}, 0)]
    sent = calls(workspace)
    assert {record.user for record in sent} == {"alice", "bob", "carol"}
    looked_up = [record.user for record in sent if not is_query(record)]
    assert (looked_up.count("alice"), looked_up.count("bob")) == (2, 1)  # once for each session
    asked = [record.user for record in sent if is_query(record)]
    assert (asked.count("alice"), asked.count("bob")) == (6, 3)


@RETRIEVERS
def test_without_a_session_the_rules_are_those_of_every_tool(workspace, agent, module, monkeypatch):
    """Rules 2 and 7: each call captures for itself, or is refused; never with the agent's own client."""
    tool = with_user_client(retriever(module, agent))
    workspace.log.clear()
    monkeypatch.setenv("IS_IN_DB_MODEL_SERVING_ENV", "true")
    with pytest.raises(NoUserIdentityError):
        use_of(tool)("refund")
    monkeypatch.delenv("IS_IN_DB_MODEL_SERVING_ENV")
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("alice"))
    assert use_of(tool)("refund")
    assert asked_by(workspace) == {"alice"}
    workspace.log.clear()

    @user_session
    def predict():
        """Declares an entry point."""

    with pytest.raises(NoUserSessionError, match="search"):
        use_of(tool)("refund")
    with user_session(required=False, host=workspace.host, token=workspace.token("bob")):
        assert use_of(tool)("refund")
    assert asked_by(workspace) == {"bob"}


@RETRIEVERS
def test_the_client_in_a_retriever_tool_is_narrowed(workspace, agent, module):
    """Rule 23."""
    tool = requires_scopes("genie")(with_user_client(retriever(module, agent)))
    workspace.log.clear()
    with as_user(workspace, "alice"), pytest.raises(ScopeViolationError, match="search"):
        use_of(tool)("refund")
    assert calls(workspace) == []


@RETRIEVERS
def test_what_stands_for_a_retriever_tool_ends_with_its_session(workspace, agent, module):
    """Rule 5: whoever got hold of it."""
    build = extra(module, "VectorSearchRetrieverTool")
    method = "execute" if module == "databricks_openai" else "_run"
    kept: list[Any] = []

    def run(self, *args, **kwargs):
        kept.append(self)
        return getattr(build, method)(self, *args, **kwargs)

    mine = type("Mine", (build,), {method: run, "__module__": __name__})
    tool = with_user_client(mine(index_name=INDEX, tool_name="search", workspace_client=agent))
    with as_user(workspace, "alice") as session:
        use_of(tool)("refund")
        assert kept[0] is not tool
        assert kept[0].workspace_client is session.client
    workspace.log.clear()
    with pytest.raises(SessionClosedError):
        run(kept[0], "refund")
    assert calls(workspace) == []


# --- toolkits -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def half_allowed(workspace):
    """bob may use the space, and not the warehouse that it asks."""
    workspace.revoke("bob", "CAN USE", "wh1")
    yield workspace
    workspace.grant("bob", "CAN USE", "wh1")


def mcp_url(workspace):
    return f"{workspace.host}/api/2.0/mcp/genie/{SPACE}"


def openai_toolkit(workspace, client):
    return of_mcp_1("databricks_openai", "McpServerToolkit")(mcp_url(workspace), workspace_client=client)


def langchain_client(workspace, client):
    server = of_mcp_1("databricks_langchain", "DatabricksMCPServer")
    build = extra("databricks_langchain", "DatabricksMultiServerMCPClient")
    return build([server(name="genie", url=mcp_url(workspace), workspace_client=client)])


async def tools_of(holder):
    listed = await (holder.aget_tools() if hasattr(holder, "aget_tools") else holder.get_tools())
    return [tool for tool in listed if tool.name == QUERY]


async def answer_of(tool):
    if hasattr(tool, "execute"):
        return str(await asyncio.to_thread(tool.execute, query=QUESTION))
    return str(await tool.ainvoke({"query": QUESTION}))


async def answers_of(holder):
    return [await answer_of(tool) for tool in await tools_of(holder)]


TOOLKITS = pytest.mark.parametrize("make", [openai_toolkit, langchain_client])


@TOOLKITS
def test_the_tools_of_a_toolkit_of_the_agent_s_act_as_the_user(half_allowed, agent, make):
    """Rule 14: each user is listed their own, and refused what is not theirs, wherever it is declared that they may be."""
    orders = [
        lambda holder: optional_tool(fallback=NOT_YOURS)(with_user_client(holder)),
        lambda holder: with_user_client(optional_tool(fallback=NOT_YOURS)(holder)),
    ]
    for order in orders:
        made = make(half_allowed, agent)
        assert order(made) is made
        half_allowed.log.clear()
        with as_user(half_allowed, "alice"):
            (answer,) = asyncio.run(answers_of(made))
            assert NOT_YOURS not in answer
        with as_user(half_allowed, "bob") as session:
            assert asyncio.run(answers_of(made)) == [NOT_YOURS]
            assert [one.reason for one in session.denials] == [R.ACCESS_DENIED]
        with as_user(half_allowed, "carol") as session:
            assert asyncio.run(answers_of(made)) == []
            assert [one.reason for one in session.denials] == [R.NOT_FOUND_OR_DENIED]
        assert asked_by(half_allowed) == {"alice", "bob", "carol"}


@TOOLKITS
def test_two_users_use_one_toolkit_at_the_same_time(half_allowed, agent, make):
    """Rule 4."""
    made = optional_tool(fallback=NOT_YOURS)(with_user_client(make(half_allowed, agent)))
    half_allowed.log.clear()

    async def as_(name):
        with as_user(half_allowed, name):
            return [answer == NOT_YOURS for answer in await answers_of(made)]

    async def everybody():
        return await asyncio.gather(*[as_(name) for name in ("alice", "bob", "carol", "alice")])

    assert asyncio.run(everybody()) == [[False], [True], [], [False]]
    assert asked_by(half_allowed) == {"alice", "bob", "carol"}


@TOOLKITS
def test_what_is_declared_later_holds_for_what_a_toolkit_lists(workspace, agent, make):
    """Rules 13 and 23: also in the middle of a session, and for the client that stands in."""
    made = with_user_client(make(workspace, agent))
    workspace.log.clear()
    with as_user(workspace, "alice"):
        assert len(asyncio.run(tools_of(made))) == 1
        workspace.log.clear()
        requires_scopes("vector-search")(made)
        with pytest.raises(Exception) as raised:
            asyncio.run(tools_of(made))
        assert "ScopeViolation" in repr(unwrapped(raised.value))
    assert calls(workspace) == []


def unwrapped(error: BaseException) -> list[BaseException]:
    """An error, and all that it holds."""
    found, pending = [], [error]
    while pending:
        one = pending.pop()
        found.append(one)
        pending += [*getattr(one, "exceptions", ()), *([one.__cause__] if one.__cause__ else [])]
    return found


@TOOLKITS
def test_the_tools_of_one_session_end_with_it(workspace, agent, make):
    """Rule 5: a list that was kept is nobody's any more."""
    made = with_user_client(make(workspace, agent))
    with as_user(workspace, "alice"):
        (tool,) = asyncio.run(tools_of(made))
    workspace.log.clear()
    with pytest.raises(Exception) as raised:
        asyncio.run(answer_of(tool))
    assert SessionClosedError in {type(one) for one in unwrapped(raised.value)}
    assert calls(workspace) == []


def test_a_server_that_is_not_the_workspace_s_keeps_what_it_was_given(workspace, agent):
    """Rule 14: the user's client goes where the agent's went, and nowhere else."""
    server = of_mcp_1("databricks_langchain", "DatabricksMCPServer")
    other = of_mcp_1("databricks_langchain", "MCPServer")
    build = extra("databricks_langchain", "DatabricksMultiServerMCPClient")
    elsewhere = other(name="other", url="http://127.0.0.1:9/mcp", headers={"X-API-Key": "k"})
    client = build([server(name="genie", url=mcp_url(workspace), workspace_client=agent), elsewhere])
    before = dict(client.connections)
    with_user_client(client)
    with as_user(workspace, "alice") as session:
        twin = client_of(client, session)
        assert twin.connections["other"] is before["other"]
        assert twin.connections["genie"]["auth"].workspace_client is session.client
    assert client.connections == before
    with pytest.raises(TypeError, match="DatabricksMCPServer"):
        with_user_client(build([elsewhere]))


def client_of(client, session):
    adapter = tool_object(client)
    assert adapter is not None
    assert adapter.copy_for is not None
    return adapter.copy_for(client, session)


# --- a server of the Agents SDK -----------------------------------------------------------------------------------------------


def agents_server(url, client, **settings):
    return of_mcp_1("databricks_openai.agents", "McpServer")(url, workspace_client=client, **settings)


async def results_of(server):
    """In the shape of a run: connect, list, call, clean up. A refused call is an error for the model."""
    async with server:
        names = [tool.name for tool in await server.list_tools() if tool.name == QUERY]
        return [(await server.call_tool(name, {"query": QUESTION})).isError for name in names]


ORDERS = [
    lambda server: optional_tool(requires_scopes("genie")(with_user_client(server))),
    lambda server: with_user_client(requires_scopes("genie")(optional_tool(server))),
]


@pytest.mark.parametrize("decorated", ORDERS)
def test_one_server_of_the_agents_sdk_serves_every_user(half_allowed, agent, decorated):
    """Rules 4 and 14: it stands in a module, beside the agent that uses it; each request's connection is its user's own."""
    server = agents_server(mcp_url(half_allowed), agent, cache_tools_list=True)
    assert decorated(server) is server
    half_allowed.log.clear()

    async def as_(name):
        with as_user(half_allowed, name) as session:
            return await results_of(server), [one.reason for one in session.denials]

    async def everybody():
        names = ("alice", "bob", "carol", "alice", "bob", "carol")
        return [await as_(name) for name in names], await asyncio.gather(*[as_(name) for name in names])

    one_by_one, at_once = asyncio.run(everybody())
    assert one_by_one[:3] == [([False], []), ([True], [R.ACCESS_DENIED]), ([], [R.NOT_FOUND_OR_DENIED])]
    assert one_by_one[3:] == one_by_one[:3]
    assert at_once == one_by_one
    assert asked_by(half_allowed) == {"alice", "bob", "carol"}
    assert server.session is None  # nobody's connection was ever its own


def test_what_the_agent_was_offered_before_is_not_offered_to_users(workspace, agent):
    """Rule 14: a server that keeps the list of its tools, and has asked for it as the agent."""
    for name, users in (("first", ("alice", AGENT)), ("second", (AGENT,))):
        workspace.add_function(f"main.tools.{name}", "current_user()")
        for user in users:
            workspace.grant(user, "EXECUTE", f"main.tools.{name}")
    server = agents_server(f"{workspace.host}/api/2.0/mcp/functions/main/tools", agent, cache_tools_list=True)

    async def names():
        async with server:
            return [tool.name for tool in await server.list_tools()]

    assert asyncio.run(names()) == ["main__tools__first", "main__tools__second"]
    with_user_client(server)
    with as_user(workspace, "alice"):
        assert asyncio.run(names()) == ["main__tools__first"]


def test_the_agent_that_uses_a_server_may_stand_in_a_module_too(workspace, agent):
    """Rule 14: the real runner, with a model that calls the server's tool."""
    build = extra("agents", "Agent")
    from agents import OpenAIChatCompletionsModel, RunConfig, Runner
    from databricks_openai import AsyncDatabricksOpenAI

    server = optional_tool(with_user_client(agents_server(mcp_url(workspace), agent)))
    helper = build(name="helper", mcp_servers=[server])
    workspace.add_endpoint("calls-a-tool", _calls_once)
    for name in ("alice", "bob"):
        workspace.grant(name, "CAN QUERY", "calls-a-tool")

    async def ask():
        async with server:
            with with_user_client() as client:
                model = OpenAIChatCompletionsModel("calls-a-tool", AsyncDatabricksOpenAI(workspace_client=client))
                run = await Runner.run(
                    helper, QUESTION, run_config=RunConfig(model=model, tracing_disabled=True), max_turns=3
                )
        return run.final_output

    workspace.log.clear()
    for name in ("alice", "bob"):
        with as_user(workspace, name):
            assert "queryAttachments" in asyncio.run(ask())
    assert asked_by(workspace) == {"alice", "bob"}
    asked = [one.user for one in calls(workspace) if one.mcp_tool == QUERY]
    assert asked == ["alice", "bob"]


def _calls_once(request):
    """A model that calls the tool, and then repeats what it was told."""
    told = [one for one in request["messages"] if one["role"] == "tool"]
    if told:
        return str(told[-1]["content"])
    call = {"id": "1", "type": "function", "function": {"name": QUERY, "arguments": json.dumps({"query": QUESTION})}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def test_a_server_s_other_questions_are_asked_by_the_user_too(workspace, agent):
    """Rule 14: whatever it can be asked, from its prompts to the end of the connection."""
    server = with_user_client(agents_server(mcp_url(workspace), agent))
    workspace.log.clear()

    async def ask():
        async with server:
            with contextlib.suppress(Exception):  # the workspace's servers have no prompts
                await server.list_prompts()
            connected = stand_in(server)
            assert connected.session is not None
        assert connected.session is None
        await server.cleanup()  # twice does no harm

    with as_user(workspace, "alice"):
        asyncio.run(ask())
    assert asked_by(workspace) == {"alice"}


def stand_in(server):
    """What stands for it in the session in force."""
    return current_session().once(server, lambda: pytest.fail("nothing stood for it"))


def test_a_server_needs_a_session_that_lasts(workspace, agent):
    """Rules 5 and 7: a connection of one call's session would be nobody's in the next."""
    server = with_user_client(agents_server(mcp_url(workspace), agent))
    workspace.log.clear()
    with pytest.raises(NoUserSessionError, match="streamable_http"):
        asyncio.run(server.connect())
    assert calls(workspace) == []


def test_a_connection_ends_with_its_session(workspace, agent):
    """Rule 5: also where it was not cleaned up before. The client then cancels the task that connected."""
    server = with_user_client(agents_server(mcp_url(workspace), agent))

    async def ask():
        with as_user(workspace, "alice"):
            await server.connect()
            kept = stand_in(server)
            assert await kept.list_tools()
        workspace.log.clear()
        with pytest.raises(NoUserSessionError):
            await server.list_tools()
        await kept.list_tools()
        pytest.fail("the connection was still open")

    with pytest.raises((Exception, asyncio.CancelledError)):
        asyncio.run(ask())
    assert calls(workspace) == []


def test_what_stands_for_a_server_shares_nothing_that_changes(workspace, agent):
    """Rule 4: with each version of the SDK that the tests run with, whatever it keeps."""
    server = with_user_client(agents_server(mcp_url(workspace), agent, cache_tools_list=True))
    adapter = tool_object(server)
    assert adapter is not None
    assert adapter.copy_for is not None
    with as_user(workspace, "alice") as session:
        twin = adapter.copy_for(server, session)
        assert twin.workspace_client is session.client
    shared = {name: value for name, value in vars(twin).items() if vars(server).get(name) is value}
    plain = (str, bytes, int, float, bool, type(None), types.FunctionType)
    held_besides = {name for name, value in shared.items() if not isinstance(value, plain)}
    assert held_besides <= {"params", "_failure_error_function"}  # settings


# --- what carries no user -----------------------------------------------------------------------------------------------------


def function_tool(_):
    """Made by hand: what it runs takes what the framework hands it, and nothing else."""
    build = extra("agents", "FunctionTool")
    return build(name="it", description="", params_json_schema={"properties": {}}, on_invoke_tool=lambda *_: None)


def other_server(_):
    return extra("agents.mcp", "MCPServerStreamableHttp")({"url": "http://127.0.0.1:9/mcp"}, name="it")


def connected_server(client):
    server = agents_server("http://127.0.0.1:9/mcp", client)
    server.session = object()
    return server


def uc_tool(_):
    def run(question: str) -> str:
        """Run."""
        return ""

    build = extra("unitycatalog.ai.langchain.toolkit", "UnityCatalogTool")
    return build.from_function(run, name="it", uc_function_name="main.s.f", client_config={})


def uc_toolkit(_):
    base = extra("unitycatalog.ai.core.base", "BaseFunctionClient")
    build = extra("unitycatalog.ai.langchain.toolkit", "UCFunctionToolkit")
    return build.model_construct(tools_dict={}, client=base)


def tool_info(_):
    build = of_mcp_1("databricks_openai", "ToolInfo")
    return build.model_construct(name="it", spec={}, execute=lambda: None)


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (function_tool, "function that it calls"),
        (other_server, "McpServer"),
        (connected_server, "before it connects"),
        (uc_tool, "MCP server for functions"),
        (uc_toolkit, "MCP server for functions"),
        (tool_info, "McpServerToolkit"),
    ],
)
def test_what_cannot_be_given_a_client_says_what_to_do(agent, make, remedy):
    """House rule 4: at decoration."""
    with pytest.raises(TypeError, match=remedy):
        with_user_client(make(agent))


def test_a_tool_that_holds_a_client_has_no_parameter_for_one(workspace, agent):
    """House rule 4."""
    tool = retriever("databricks_openai", agent)
    with pytest.raises(TypeError, match=r"param=.*'search'"):
        with_user_client(param="client")(tool)
    with pytest.raises(TypeError, match="is applied twice"):
        with_user_client(with_user_client(tool))


# --- the policy ---------------------------------------------------------------------------------------------------------------


@RETRIEVERS
def test_the_policy_of_a_retriever_tool_is_the_user_s(workspace, agent, module):
    """Rule 22: what was system authorization before is the user's now."""
    tool = retriever(module, agent)
    before = auth_policy([tool]).to_dict()
    assert before["system_auth_policy"]["resources"]["databricks"]["vector_search_index"] == [{"name": INDEX}]
    assert before["user_auth_policy"] == {}
    after = auth_policy([with_user_client(tool)]).to_dict()
    assert after["user_auth_policy"] == {"api_scopes": ["vector-search"]}
    assert after["system_auth_policy"] == {}


def server_of_agents(workspace, client):
    return agents_server(mcp_url(workspace), client)


@pytest.mark.parametrize("make", [openai_toolkit, langchain_client, server_of_agents])
def test_the_policy_of_a_toolkit_is_the_user_s(workspace, agent, make):
    """Rule 22: another one's, of the agent's, is not."""
    made = make(workspace, agent)
    before = auth_policy([made]).to_dict()
    assert before["system_auth_policy"]["resources"]["databricks"]["genie_space"] == [{"name": SPACE}]
    with_user_client(made)
    after = auth_policy([made]).to_dict()
    assert (after["user_auth_policy"], after["system_auth_policy"]) == ({"api_scopes": ["mcp.genie"]}, {})
    both = auth_policy([made, make(workspace, agent)]).to_dict()
    assert both["system_auth_policy"] == before["system_auth_policy"]


@pytest.mark.long
def test_the_policy_of_a_file_is_the_user_s(workspace, tmp_path, monkeypatch):
    """Rule 22: collected in a process of its own, by MLflow's loader; also where the file holds the servers besides."""
    extra("databricks_langchain", "VectorSearchRetrieverTool")
    of_mcp_1("databricks_langchain", "DatabricksMCPServer")
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("alice"))
    file = tmp_path / "agent.py"
    file.write_text(
        f"""
from databricks_langchain import DatabricksMCPServer, DatabricksMultiServerMCPClient, VectorSearchRetrieverTool
from mlflow.models import set_model
from mlflow.models.resources import DatabricksVectorSearchIndex
from mlflow.pyfunc import ResponsesAgent
from obo_kit import optional_tool, requires_scopes, with_user_client

docs = VectorSearchRetrieverTool(index_name="{INDEX}")
optional_tool(requires_scopes(DatabricksVectorSearchIndex("{INDEX}"))(with_user_client(docs)))
servers = [DatabricksMCPServer(name="genie", url="{mcp_url(workspace)}")]
genie = with_user_client(DatabricksMultiServerMCPClient(servers))


class Agent(ResponsesAgent):
    def predict(self, request): ...


set_model(Agent())
""",
        encoding="utf-8",
    )
    policy = auth_policy(str(file)).to_dict()
    assert policy["system_auth_policy"] == {}
    assert policy["user_auth_policy"]["api_scopes"] == ["mcp.genie", "vector-search"]
