"""Tool objects that already exist are decorated in their place. Rule 14."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import sys
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from support import INDEX, SPACE, as_user, calls, extra, of_mcp_1

from obo_kit import (
    INJECTED,
    DenialReason,
    NoUserSessionError,
    auth_policy,
    capture_events,
    optional_tool,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit._utils.plugins import PLUGINS

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own
    pytest.mark.usefixtures("no_traces"),
]
R = DenialReason
NOT_YOURS = "These are not yours to see."
QUERY = f"query_space_{SPACE}"
TEXT = "Trying again will not help"


def called(name, **arguments):
    """What a model asks a LangChain tool for."""
    return {"name": name, "args": arguments, "id": "call1", "type": "tool_call"}


def space_of(client: WorkspaceClient) -> str:
    return str(client.genie.get_space(SPACE).title)


def function_tool_of(fn, **settings):
    return extra("agents", "function_tool")(**settings)(fn)


def invoked(tool, **arguments):
    """As the runner of the Agents SDK does."""
    run = extra("agents.tool", "invoke_function_tool")
    context = extra("agents.tool_context", "ToolContext")(
        context=None, tool_name=tool.name, tool_call_id="1", tool_arguments="{}"
    )
    return asyncio.run(run(function_tool=tool, context=context, arguments=json.dumps(arguments)))


def mcp_path():
    return f"/api/2.0/mcp/genie/{SPACE}"


def mcp_url(workspace):
    return f"{workspace.host}{mcp_path()}"


# --- LangChain ------------------------------------------------------------------------------------------------------------


def structured(kind):
    """A tool made of a function that asks the workspace, sync, async or both."""
    structured_tool = extra("langchain_core.tools", "StructuredTool")

    def ask(question: str) -> str:
        """Ask about sales."""
        return space_of(user_client())

    async def ask_later(question: str) -> str:
        """Ask about sales."""
        return await asyncio.to_thread(space_of, user_client())

    return structured_tool.from_function(
        func=ask if kind != "async" else None, coroutine=ask_later if kind != "sync" else None, name="ask"
    )


def user_client():
    from obo_kit import current_session

    return current_session().client


@pytest.mark.parametrize("kind", ["sync", "async", "both"])
def test_a_structured_tool_answers_a_denial_as_langchain_has_a_failed_tool_answer(workspace, kind):
    """Rules 14 and 19: an error-status message to a tool call, a text without one; the same object, the same schema."""
    tool = structured(kind)
    shown = (tool.name, tool.description, tool.args)
    assert optional_tool(fallback=NOT_YOURS)(tool) is tool
    assert (tool.name, tool.description, tool.args) == shown
    uses = [lambda it: asyncio.run(tool.ainvoke(it))] + [tool.invoke] * (kind != "async")
    for use in uses:
        with as_user(workspace, "alice"):
            assert use({"question": "x"}) == SPACE
            assert use(called("ask", question="x")).status == "success"
        with as_user(workspace, "carol") as session:
            assert use({"question": "x"}) == NOT_YOURS
            message = use(called("ask", question="x"))
            assert (message.content, message.status, message.tool_call_id) == (NOT_YOURS, "error", "call1")
            assert [one.tool for one in session.denials] == ["ask", "ask"]
    assert {record.user for record in calls(workspace)} == {"alice", "carol"}


def test_a_graph_goes_on_after_a_denial(workspace):
    """Rule 14: without it the whole run fails."""
    node = extra("langgraph.prebuilt", "ToolNode")
    state_graph, messages = extra("langgraph.graph", "StateGraph"), extra("langgraph.graph", "MessagesState")
    asked = extra("langchain_core.messages", "AIMessage")(content="", tool_calls=[called("ask", question="x")])
    graph = state_graph(messages)
    graph.add_node("tools", node([optional_tool(structured("sync"))]))
    graph.set_entry_point("tools")
    run = graph.compile()
    with as_user(workspace, "carol"):
        answer = run.invoke({"messages": [asked]})["messages"][-1]
    assert (answer.status, answer.tool_call_id) == ("error", "call1")
    assert TEXT in answer.content


@pytest.mark.parametrize(
    "own",
    [False, True, "own words", lambda error: f"handled {error}"],
    ids=["no", "yes", "words", "function"],
)
def test_a_tools_own_errors_stay_as_they_were(own):
    """Rule 15: its author's `ToolException` is no denial; callbacks are told of it as before."""
    exception = extra("langchain_core.tools", "ToolException")
    handler = extra("langchain_core.callbacks", "BaseCallbackHandler")
    ended: list[str] = []

    class Recorder(handler):
        def on_tool_error(self, error, **_):
            ended.append(repr(error))

        def on_tool_end(self, output, **_):
            ended.append(output)

    def fail(question: str) -> str:
        """Fail."""
        raise exception("broken")

    def outcome(tool):
        ended.clear()
        try:
            return tool.invoke({"question": "x"}, config={"callbacks": [Recorder()]}), list(ended)
        except exception as error:
            return repr(error), list(ended)

    build = extra("langchain_core.tools", "StructuredTool").from_function
    plain = build(fail, handle_tool_error=own)
    decorated = optional_tool(build(fail, handle_tool_error=own))
    assert outcome(decorated) == outcome(plain)
    assert ended


@pytest.mark.parametrize("fallback", [NOT_YOURS, [], ("nothing", ["kept"])], ids=str)
def test_a_fallback_fits_content_and_artifact(fallback):
    """Rule 19."""

    def ask(question: str) -> tuple[str, list[str]]:
        """Ask."""
        raise refused()

    tool = extra("langchain_core.tools", "StructuredTool").from_function(ask, response_format="content_and_artifact")
    answer = optional_tool(fallback=fallback)(tool).invoke(called("ask", question="x"))
    if fallback == NOT_YOURS:
        assert (answer.content, answer.artifact, answer.status) == (NOT_YOURS, None, "error")
    else:
        assert answer.status == "success"
        assert answer.artifact == (["kept"] if fallback else None)


def refused():
    from databricks.sdk.errors import PermissionDenied

    return PermissionDenied("You may not.", error_code="PERMISSION_DENIED")


def own_tool():
    base = extra("langchain_core.tools", "BaseTool")

    class Own(base):
        name: str = "own"
        description: str = "Says how many."
        limit: int = 1

        def _run(self, client: WorkspaceClient, question: str) -> str:
            return f"{space_of(client)} {question} {self.limit}"

        async def _arun(self, client: WorkspaceClient, question: str) -> str:
            return await asyncio.to_thread(self._run, question)

    return Own()


def test_a_tool_with_methods_of_its_own_is_decorated_whole(workspace):
    """Rules 13 and 14: the client is in no schema; an async method that calls the sync one is one call of one tool."""
    tool = own_tool()
    kind = type(tool)
    decorated = optional_tool(requires_scopes("genie")(with_user_client(tool)))
    assert decorated is tool
    assert isinstance(tool, kind)
    assert list(tool.args) == ["question"]
    assert "client" not in tool.get_input_schema().model_json_schema()["properties"]
    with as_user(workspace, "alice"):
        assert tool.invoke({"question": "x"}) == f"{SPACE} x 1"
        assert asyncio.run(tool.ainvoke({"question": "x"})) == f"{SPACE} x 1"
        with pytest.raises(TypeError, match="takes no argument 'client'"):
            tool.invoke({"question": "x", "client": "mine"})
    with as_user(workspace, "carol") as session, capture_events() as events:
        assert asyncio.run(tool.ainvoke(called("own", question="x"))).status == "error"
        assert len(session.denials) == 1
    assert [(event.tool, event.outcome) for event in events] == [("own", "denied")]
    with user_session(host=workspace.host, token=workspace.token("alice", scopes=["sql"])) as session:
        tool.invoke({"question": "x"})
        assert [one.reason for one in session.denials] == [R.MISSING_SCOPE]


def test_a_copy_of_a_decorated_tool_is_decorated_and_is_itself(workspace):
    """Rule 14: and the other tools of the class are not."""
    tool = optional_tool(with_user_client(own_tool()))
    more = tool.model_copy(update={"limit": 7})
    with as_user(workspace, "alice"):
        assert more.invoke({"question": "x"}) == f"{SPACE} x 7"
        assert tool.invoke({"question": "x"}) == f"{SPACE} x 1"
    with as_user(workspace, "carol"):
        assert more.invoke(called("own", question="x")).status == "error"
    other = type(tool)()
    assert list(inspect_parameters(other._run)) == ["client", "question"]
    with pytest.raises(TypeError):
        other.invoke({"question": "x"})


def inspect_parameters(fn):
    import inspect

    return inspect.signature(fn).parameters


@pytest.mark.parametrize("given", ["inferred", "parsed", "json"])
def test_a_client_that_langchain_took_for_the_models_is_taken_out_again(workspace, given):
    """Rule 13: the kit's decorator above LangChain's; every other field keeps its default and description."""
    make = extra("langchain_core.tools", "tool")

    def ask(client: WorkspaceClient, question: str, limit: int = 3) -> str:
        """Ask about sales.

        Args:
            client: The client.
            question: What to ask.
            limit: How many.
        """
        return f"{space_of(client)} {question} {limit}"

    if given == "json":
        schema: dict[str, Any] = {
            "title": "ask",
            "type": "object",
            "properties": {"client": {}, "question": {"type": "string"}, "limit": {"type": "integer", "default": 3}},
            "required": ["client", "question"],
        }
        tool = make(args_schema=schema)(ask)
    else:
        tool = make(parse_docstring=given == "parsed")(ask)
    with_user_client(tool)
    spec = extra("langchain_core.utils.function_calling", "convert_to_openai_tool")(tool)["function"]
    assert "client" not in json.dumps(spec)
    assert set(spec["parameters"]["properties"]) == {"question", "limit"}
    assert spec["parameters"]["required"] == ["question"]
    assert spec["parameters"]["properties"]["limit"]["default"] == 3
    if given == "parsed":
        assert spec["parameters"]["properties"]["question"]["description"] == "What to ask."
    with as_user(workspace, "alice"):
        arguments = {"question": "x"} if given != "json" else {"question": "x", "limit": 3}
        assert tool.invoke(arguments) == f"{SPACE} x 3"


def test_the_policy_holds_what_a_tool_object_declares():
    """Rule 22."""
    tools = [requires_scopes("genie")(own_tool()), requires_scopes("sql")(structured("sync"))]
    policy = auth_policy(tools).to_dict()
    assert policy["user_auth_policy"]["api_scopes"] == ["genie", "sql"]


# --- OpenAI Agents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_function_tool_does_not_ask_the_model_to_try_again(workspace, kind):
    """Rules 14 and 19: what `function_tool` makes of a denial itself does; a bug stays what it was."""

    def ask(question: str) -> str:
        """Ask."""
        return f"{1 / len(question)}" if not question else space_of(user_client())

    async def ask_later(question: str) -> str:
        """Ask."""
        return await asyncio.to_thread(ask, question)

    tool = function_tool_of(ask if kind == "sync" else ask_later, name_override="ask")
    schema = copy.deepcopy(tool.params_json_schema)
    assert optional_tool(fallback=NOT_YOURS)(requires_scopes("genie")(tool)) is tool
    assert (tool.name, tool.params_json_schema) == ("ask", schema)
    with as_user(workspace, "carol") as session:
        assert invoked(tool, question="x") == NOT_YOURS
        assert [one.tool for one in session.denials] == ["ask"]
        assert "try again" in invoked(tool, question="")
        assert len(session.denials) == 1
    with as_user(workspace, "alice"):
        assert invoked(tool, question="x") == SPACE
    with user_session(host=workspace.host, token=workspace.token("alice", scopes=["sql"])) as session:
        workspace.log.clear()
        assert invoked(tool, question="x") == NOT_YOURS
        assert [one.reason for one in session.denials] == [R.MISSING_SCOPE]
        assert calls(workspace) == []


class Invoker:
    """What is called as a function is, and is none."""

    async def __call__(self, context, arguments):
        raise refused()


@pytest.mark.parametrize("form", ["function", "object"])
def test_a_function_tool_made_by_hand_is_decorated_too(form):
    """Rule 14."""

    async def invoke(context, arguments):
        raise refused()

    invokers = {"function": invoke, "object": Invoker()}
    tool = extra("agents", "FunctionTool")(
        name="ask", description="", params_json_schema={"properties": {}}, on_invoke_tool=invokers[form]
    )
    assert invoked(optional_tool(fallback=NOT_YOURS)(tool)) == NOT_YOURS


FORMS = {
    "first": lambda: lambda client, question="x": space_of(client),
    "last": lambda: lambda question="x", *, client=INJECTED: space_of(client),
    "alone": lambda: lambda client: space_of(client) or "",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strict", [True, False])
def test_a_function_tool_gets_the_user_s_client(workspace, form, strict):
    """Rules 12 to 14: the model is shown no client, and what it says of one never counts."""
    tool = function_tool_of(FORMS[form](), name_override="ask", strict_mode=strict)
    assert "client" in tool.params_json_schema["properties"]
    assert optional_tool(fallback=NOT_YOURS)(with_user_client(tool)) is tool
    assert "client" not in json.dumps(tool.params_json_schema)
    assert set(tool.params_json_schema["properties"]) == (set() if form == "alone" else {"question"})
    assert tool.params_json_schema.get("additionalProperties", False) is False
    workspace.log.clear()
    for name, answer in (("alice", SPACE), ("carol", NOT_YOURS), ("bob", SPACE)):
        with as_user(workspace, name):
            assert invoked(tool) == answer
            assert invoked(tool, client="alice") == answer
    assert {one.user for one in calls(workspace)} == {"alice", "bob", "carol"}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_function_tool_with_the_framework_s_context_gets_the_client_too(workspace, kind):
    """Rule 12: the framework's own first parameter stays first; the text for the model says nothing of a client."""
    context_type = extra("agents", "RunContextWrapper")

    def ask(context, client, question: str = "x") -> str:
        """Ask about sales.

        Args:
            client: Who asks.
            question: What is asked.
        """
        return f"{type(context).__name__} {space_of(client)} {question}"

    async def ask_later(context, client, question: str = "x") -> str:
        """Ask about sales."""
        return await asyncio.to_thread(ask, context, client, question)

    ask.__annotations__["context"] = ask_later.__annotations__["context"] = context_type
    tool = function_tool_of(ask if kind == "sync" else ask_later, name_override="ask")
    with_user_client(tool)
    assert "Who asks" not in f"{tool.description}{json.dumps(tool.params_json_schema)}"
    with as_user(workspace, "alice"):
        assert invoked(tool, question="y") == f"ToolContext {SPACE} y"


def test_a_function_tool_without_a_place_for_a_client_says_so():
    """House rule 4: at decoration, and the tool is left as it was."""
    tool = function_tool_of(lambda question: None, name_override="ask", strict_mode=False)
    shown = copy.deepcopy(tool.params_json_schema)
    with pytest.raises(TypeError, match="no client parameter"):
        with_user_client(tool)
    assert tool.params_json_schema == shown


# --- retriever tools ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["databricks_langchain", "databricks_openai"])
def test_a_retriever_tool_is_decorated_and_fenced(workspace, module):
    """Rules 5 and 14: it had copied the token when it was built."""
    build = extra(module, "VectorSearchRetrieverTool")
    with as_user(workspace, "alice") as session:
        tool = build(index_name=INDEX, tool_name="search", workspace_client=session.client)
        spec = json.dumps(tool.tool) if module == "databricks_openai" else json.dumps(tool.args)
        assert optional_tool(fallback=NOT_YOURS)(requires_scopes("vectorsearch.vector-search-indexes")(tool)) is tool
        assert isinstance(tool, build)
        assert spec == (json.dumps(tool.tool) if module == "databricks_openai" else json.dumps(tool.args))
        use = tool.execute if module == "databricks_openai" else tool.invoke
        assert "refund" in str(use("refund"))
        workspace.add_fault(status=403, body={"error_code": "PERMISSION_DENIED", "message": "You may not."},
                            path_prefix="/api/2.0/vector-search/")  # fmt: skip
        assert use("refund") == NOT_YOURS
        assert [(one.tool, one.status) for one in session.denials] == [("search", 403)]
    workspace.log.clear()
    with pytest.raises(NoUserSessionError):
        use("refund")
    assert calls(workspace) == []


# --- toolkits and servers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def half_allowed(workspace):
    """bob may use the space, and not the warehouse that it asks."""
    workspace.revoke("bob", "CAN USE", "wh1")
    yield workspace
    workspace.grant("bob", "CAN USE", "wh1")
    gc.collect()  # no connection of a server that was refused is left


def langchain_mcp(workspace, session):
    server = of_mcp_1("databricks_langchain", "DatabricksMCPServer")
    client = extra("databricks_langchain", "DatabricksMultiServerMCPClient")
    return client([server(name="genie", url=mcp_url(workspace), workspace_client=session.client)])


def test_the_tools_of_a_langchain_mcp_client_answer_denials(half_allowed):
    """Rule 14: what the server says in a result is a denial too; who may not even list has no tools."""

    async def ask(session):
        client = optional_tool(fallback=NOT_YOURS)(langchain_mcp(half_allowed, session))
        tools = [tool for tool in await client.get_tools() if tool.name == QUERY]
        return [await tool.ainvoke(called(tool.name, query="How many tickets are there?")) for tool in tools]

    with as_user(half_allowed, "alice") as session:
        (answer,) = asyncio.run(ask(session))
        assert answer.status == "success"
        assert session.denials == ()
    with as_user(half_allowed, "bob") as session:
        (answer,) = asyncio.run(ask(session))
        assert (answer.status, answer.content) == ("error", NOT_YOURS)
        assert [one.reason for one in session.denials] == [R.ACCESS_DENIED]
    with as_user(half_allowed, "carol") as session:
        assert asyncio.run(ask(session)) == []
        assert [one.reason for one in session.denials] == [R.NOT_FOUND_OR_DENIED]
    assert {record.user for record in calls(half_allowed)} == {"alice", "bob", "carol"}


def test_the_tools_of_an_openai_toolkit_answer_denials(half_allowed):
    """Rule 14: a call that is refused on the way, or in its result; who may not even list has no tools."""
    workspace = half_allowed
    build = of_mcp_1("databricks_openai", "McpServerToolkit")

    def tools_of(session):
        toolkit = optional_tool(fallback=NOT_YOURS)(build(mcp_url(workspace), workspace_client=session.client))
        return [tool for tool in toolkit.get_tools() if tool.name == QUERY]

    with as_user(workspace, "alice") as session:
        (tool,) = tools_of(session)
        assert tool.spec["function"]["name"] == QUERY
        workspace.add_fault(status=403, body="", times=None, path_prefix="/api/2.0/mcp/")
        assert tool.execute(query="How many?") == NOT_YOURS
        assert [one.tool for one in session.denials] == [tool.name]
        workspace.clear_faults()
        assert "queryAttachments" in tool.execute(query="How many tickets are there?")
    with as_user(workspace, "bob") as session:
        (tool,) = tools_of(session)
        assert tool.execute(query="How many tickets are there?") == NOT_YOURS
        assert [one.reason for one in session.denials] == [R.ACCESS_DENIED]
    with as_user(workspace, "carol") as session:
        assert tools_of(session) == []
        assert [one.tool for one in session.denials] == ["McpServerToolkit"]


def test_an_mcp_server_of_the_agents_sdk_without_the_user_s_access_offers_no_tools(half_allowed):
    """Rule 14: refused when it is connected, or in a call; another error stays one."""
    build = of_mcp_1("databricks_openai.agents", "McpServer")

    async def ask(session):
        server = build(mcp_url(half_allowed), workspace_client=session.client)
        async with optional_tool(requires_scopes("genie")(server)):
            names = [tool.name for tool in await server.list_tools()]
            return [
                await server.call_tool(QUERY, {"query": "How many tickets are there?"})
                for name in names
                if name == QUERY
            ]

    with as_user(half_allowed, "alice") as session:
        (answer,) = asyncio.run(ask(session))
        assert not answer.isError
    with as_user(half_allowed, "bob") as session:
        (answer,) = asyncio.run(ask(session))
        assert answer.isError
        assert TEXT in answer.content[0].text
        assert len(session.denials) == 1
    with as_user(half_allowed, "carol") as session:
        assert asyncio.run(ask(session)) == []
        assert [one.reason for one in session.denials] == [R.NOT_FOUND_OR_DENIED]
    half_allowed.add_fault(status=503, body="", times=None, path_prefix="/api/2.0/mcp/")
    with as_user(half_allowed, "alice") as session, pytest.raises(Exception, match="503"):
        asyncio.run(ask(session))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not say who was cancelled")
def test_a_server_s_refusal_in_a_later_call_is_explained_around_the_run(half_allowed):
    """Rule 16: the client cancels the task that connected, which only what is around its block can take back."""
    build = of_mcp_1("databricks_openai.agents", "McpServer")

    @optional_tool(fallback=lambda denial: denial)
    async def run(session):
        async with optional_tool(build(mcp_url(half_allowed), workspace_client=session.client)) as server:
            await server.list_tools()
            half_allowed.add_fault(status=403, body="", times=None, path_prefix=mcp_path())
            await server.call_tool(QUERY, {"query": "x"})

    with as_user(half_allowed, "alice") as session:
        denial: Any = asyncio.run(run(session))
        assert (denial.tool, denial.reason, session.denials) == ("run", R.ACCESS_DENIED, (denial,))


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_server_that_refuses_the_message_after_the_first_is_explained(half_allowed, status):
    """Rule 16: the SDK then finds its stream closed; who may not even say that it is there has no tools."""
    build = of_mcp_1("databricks_openai.agents", "McpServer")

    async def ask(session):
        half_allowed.add_fault(status=status, body="", after=1, times=None, path_prefix=mcp_path())
        async with optional_tool(build(mcp_url(half_allowed), workspace_client=session.client)) as server:
            return await server.list_tools()

    with as_user(half_allowed, "alice") as session:
        if status == 503:
            with pytest.raises(Exception, match=r"^$") as raised:
                asyncio.run(ask(session))
            assert type(raised.value).__name__ in {"ClosedResourceError", "BrokenResourceError"}
        else:
            assert asyncio.run(ask(session)) == []
        assert [one.status for one in session.denials] == [status] * (status != 503)


def test_every_tool_of_a_unity_catalog_toolkit_is_decorated():
    """Rule 14. The function client is a stand-in: the real one needs a cluster or serverless compute."""
    base = extra("unitycatalog.ai.core.base", "BaseFunctionClient")
    build = extra("unitycatalog.ai.langchain.toolkit", "UCFunctionToolkit")
    tool_of = extra("unitycatalog.ai.langchain.toolkit", "UnityCatalogTool")

    def refuse(question: str) -> str:
        """Refuse."""
        raise refused()

    tool = tool_of.from_function(refuse, name="main__s__f", uc_function_name="main.s.f", client_config={})
    toolkit = build.model_construct(tools_dict={"main.s.f": tool}, client=base)
    assert optional_tool(fallback=NOT_YOURS)(toolkit) is toolkit
    (same,) = toolkit.tools
    assert same.invoke(called("main__s__f", question="x")).status == "error"


def test_the_specs_of_an_openai_unity_catalog_toolkit_hold_no_function(monkeypatch):
    """House rule 4: said without LangChain, which it does not need."""
    monkeypatch.setitem(PLUGINS, "langchain_core", "not.installed")
    build = extra("unitycatalog.ai.openai.toolkit", "UCFunctionToolkit")
    toolkit = build.model_construct(tools_dict={"main.s.f": {"type": "function", "function": {"name": "f"}}})
    with pytest.raises(TypeError, match="not on a dict"):
        optional_tool(toolkit)


# --- misuse -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [own_tool, lambda: structured("both")])
def test_a_tool_object_that_is_refused_is_left_as_it_was(make):
    """House rule 4: at decoration."""
    tool = optional_tool(make())
    before = dict(vars(tool))
    with pytest.raises(TypeError, match="is applied twice"):
        optional_tool(tool)
    assert vars(tool) == before


def test_what_is_no_tool_is_refused_as_before():
    """House rule 4."""
    with pytest.raises(TypeError, match="put it below"):
        optional_tool(object())
