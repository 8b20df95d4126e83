"""`user_tool`: client, requirement and fallback in one call. Rules 12 to 14 and 21 to 23."""

from __future__ import annotations

import asyncio
import inspect
import linecache
import sys
import types

import pytest
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksGenieSpace, DatabricksVectorSearchIndex
from support import INDEX, SPACE, as_user, calls, extra, me, of_mcp_1

from obo_kit import DenialReason, PolicyError, UnknownScopeError, auth_policy, user_tool

NO = "Not available to you."
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own
    pytest.mark.usefixtures("no_traces"),
]


@user_tool(DatabricksGenieSpace(SPACE), fallback=NO)
def title(client: WorkspaceClient, prefix: str = "") -> str:
    """Name the space.

    Args:
        client: The handle.
        prefix: What comes before.
    """
    return prefix + (client.genie.get_space(SPACE).title or "")


@user_tool
def whoami(client: WorkspaceClient) -> str:
    return me(client)


def scopes_of(*tools):
    return auth_policy(list(tools)).to_dict()["user_auth_policy"]["api_scopes"]


def test_one_call_is_all_three(workspace):
    """Rules 12, 13 and 21: the client is hidden, the need declared, a denial answered, and each user their own."""
    assert list(inspect.signature(title).parameters) == ["prefix"]
    assert "handle" not in (title.__doc__ or "")
    assert scopes_of(title) == ["genie"]
    with as_user(workspace, "alice"):
        assert title("The ") == f"The {SPACE}"
    with as_user(workspace, "carol") as session:
        assert title() == NO
        assert [denial.tool for denial in session.denials] == ["title"]
    assert {record.user for record in calls(workspace)} == {"alice", "carol"}


def test_a_function_that_declares_nothing_is_not_narrowed_and_one_that_does_is(workspace):
    """Rule 23."""

    @user_tool("sql")
    def outside(client: WorkspaceClient) -> str:
        return client.genie.get_space(SPACE).title or ""

    with as_user(workspace, "alice") as session:
        assert whoami() == "alice"
        assert outside() != SPACE
        assert [denial.reason for denial in session.denials] == [DenialReason.SCOPE_VIOLATION]


def test_a_method_and_a_coroutine_function_are_tools_too(workspace):
    class Agent:
        @user_tool("genie", fallback=NO)
        async def title(self, client: WorkspaceClient) -> str:
            return (await asyncio.to_thread(client.genie.get_space, SPACE)).title or ""

    with as_user(workspace, "bob"):
        assert asyncio.run(Agent().title()) == SPACE
    with as_user(workspace, "carol"):
        assert asyncio.run(Agent().title()) == NO


@pytest.fixture(scope="module")
def agents_own(furnished_workspace):
    """The client of an agent that may see the index."""
    principal = furnished_workspace.add_service_principal("tools-agent")
    furnished_workspace.grant("tools-agent", "SELECT", INDEX)
    return WorkspaceClient(
        host=furnished_workspace.host,
        client_id=principal.client_id,
        client_secret=principal.client_secret,
        auth_type="oauth-m2m",
    )


@pytest.mark.parametrize("module", ["databricks_langchain", "databricks_openai"])
def test_a_retriever_tool_declares_the_index_that_it_names(workspace, agents_own, module):
    """Rules 14, 21 and 22: in a list, in its place, without a word about scopes."""
    retriever = extra(module, "VectorSearchRetrieverTool")(
        index_name=INDEX, tool_name="search", tool_description="Search.", workspace_client=agents_own, num_results=1
    )
    made = user_tool([retriever], fallback=NO)
    assert made[0] is retriever
    assert scopes_of(retriever) == ["vector-search"]
    use = retriever.execute if module == "databricks_openai" else retriever.invoke
    workspace.log.clear()
    with as_user(workspace, "alice"):
        assert "refund" in str(use("refund")).lower()
    with as_user(workspace, "carol") as session:
        assert NO in str(use("refund"))
        assert [denial.reason for denial in session.denials] == [DenialReason.ACCESS_DENIED]
    with as_user(workspace, "bob"):
        assert "refund" in str(use("refund")).lower()
    assert {record.user for record in calls(workspace)} == {"alice", "bob", "carol"}


def test_servers_declare_the_scopes_of_their_addresses(workspace, agents_own):
    """Rules 14 and 21: a toolkit, a client of several servers (one of them somebody else's), a server of the Agents SDK."""
    toolkit = of_mcp_1("databricks_openai", "McpServerToolkit")
    server = of_mcp_1("databricks_openai.agents", "McpServer")
    databricks, plain = (of_mcp_1("databricks_langchain", name) for name in ("DatabricksMCPServer", "MCPServer"))
    several = extra("databricks_langchain", "DatabricksMultiServerMCPClient")
    address = f"{workspace.host}/api/2.0/mcp/"
    made = [
        toolkit(f"{address}genie/{SPACE}", workspace_client=agents_own),
        server(f"{address}functions/main/support", workspace_client=agents_own),
        several(
            [
                databricks(name="search", url=f"{address}ai-search/main/support", workspace_client=agents_own),
                plain(name="other", url="https://mcp.example.com/mcp"),
            ]
        ),
    ]
    assert user_tool(made) == made
    assert [scopes_of(tool) for tool in made] == [["mcp.genie"], ["mcp.functions"], ["ai-search"]]


def test_what_cannot_be_a_user_s_tool_is_refused_where_it_is_decorated():
    with pytest.raises(TypeError, match="client"):
        user_tool("genie")(lambda question: question)
    with pytest.raises(UnknownScopeError):
        user_tool("geni")
    with pytest.raises(PolicyError):
        user_tool("genie", object())
    with pytest.raises(TypeError, match="dict"):
        user_tool({})
    with pytest.raises(ValueError, match="retry"):
        user_tool("genie", retry=1)


NESTED = """
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksGenieSpace
from obo_kit import user_tool
SPACE, NO = "space1", {"text": "no"}

def make(client):
    @user_tool(DatabricksGenieSpace(SPACE), fallback=dict(NO))
    def ask(client: WorkspaceClient): ...

    @user_tool
    def free(client: WorkspaceClient): ...

    def plain(client: WorkspaceClient): ...

    return ask, free, user_tool(plain)
"""


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", ["genie"]),
        ("    user_tool('x', allow_unknown=True)\n", ["genie", "x"]),
        ("    user_tool(client.tool)\n", "without running it: client"),
        ("    user_tool('sql', **client)\n", r"\*\*client"),
    ],
)
def test_what_it_declares_inside_a_function_is_read_and_not_run(line, wanted):
    """Rule 22."""
    module = types.ModuleType("nested_user_tools")
    sys.modules[module.__name__] = module
    source = NESTED.replace("    return ask", f"{line}    return ask")
    linecache.cache[module.__name__] = (len(source), None, source.splitlines(keepends=True), module.__name__)
    exec(compile(source, module.__name__, "exec"), vars(module))
    try:
        if isinstance(wanted, str):
            with pytest.raises(PolicyError, match=wanted):
                auth_policy([module.make])
        else:
            assert auth_policy([module.make]).to_dict()["user_auth_policy"]["api_scopes"] == wanted
    finally:
        del sys.modules[module.__name__]


def test_the_index_may_be_named_by_hand(workspace):
    assert scopes_of(user_tool(DatabricksVectorSearchIndex(INDEX))(lambda client: client)) == ["vector-search"]
