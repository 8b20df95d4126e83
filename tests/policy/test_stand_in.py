"""Objects that describe themselves when they are built, in a file that is collected without a workspace (rule 22)."""

from __future__ import annotations

import socket

import pytest
from click.testing import CliRunner
from databricks.sdk import WorkspaceClient
from support import extra, nobody

from obo_kit import PolicyError, app_config, auth_policy, user_tool
from obo_kit.cli import main
from obo_kit.policy import _agent_file
from obo_kit.policy._layout import STAND_IN
from obo_kit.policy._stand_in import describe

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own
    pytest.mark.usefixtures("no_traces"),
]
INDEX = "main.support.articles"


@pytest.fixture
def client(monkeypatch):
    """A client of the workspace that is none, which answers what objects ask when they are built."""
    from requests.adapters import HTTPAdapter

    def nowhere(*_args, **_settings):
        raise PolicyError("A workspace is asked, and there is none here.", remedy="None.")

    monkeypatch.setattr(HTTPAdapter, "send", HTTPAdapter.send)  # put back afterwards
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)  # as in the process of the collection
    client = WorkspaceClient(host=f"https://{STAND_IN}", token="stand-in", auth_type="pat")
    client.uncounted = []
    describe(client.uncounted)
    return client


def declared(*tools):
    policy = auth_policy(list(tools)).to_dict()
    system = policy["system_auth_policy"].get("resources", {}).get("databricks", {})
    own = {kind: [one["name"] for one in named] for kind, named in system.items()}
    return policy["user_auth_policy"].get("api_scopes", []), own


@pytest.mark.parametrize("module", ["databricks_langchain", "databricks_openai"])
def test_a_retriever_tool_is_built_and_declares_its_index(client, module):
    """The user's where it acts as the user, and else the agent's own. What only a workspace tells is said."""
    build = extra(module, "VectorSearchRetrieverTool")
    assert declared(user_tool(build(index_name=INDEX, workspace_client=client))) == (["vector-search"], {})
    assert declared(build(index_name=INDEX, workspace_client=client)) == ([], {"vector_search_index": [INDEX]})
    assert [what for what, _ in client.uncounted] == [
        f"the index '{INDEX}' may embed questions with an endpoint of its own, which only a workspace tells"
    ]


def test_an_index_of_one_s_own_vectors_is_asked_by_the_user_and_its_model_by_the_agent(client):
    embeddings = extra("databricks_langchain", "DatabricksEmbeddings")(endpoint="embedder")
    tool = extra("databricks_langchain", "VectorSearchRetrieverTool")(
        index_name=INDEX, text_column="text", embedding=embeddings, workspace_client=client
    )
    assert declared(user_tool(tool)) == (["vector-search"], {"serving_endpoint": ["embedder"]})


def test_a_genie_agent_is_built_and_declares_its_space(client):
    agent = extra("databricks_langchain.genie", "GenieAgent")("01f0", client=client)
    assert declared(agent) == ([], {"genie_space": ["01f0"]})


def test_anything_else_is_asked_of_nobody(client):
    with pytest.raises(PolicyError):
        client.api_client.do("GET", "/api/2.0/preview/scim/v2/Me")


@pytest.mark.slow
def test_a_file_that_builds_its_tools_at_the_top_is_collected(tmp_path, monkeypatch):
    extra("databricks_langchain", "VectorSearchRetrieverTool")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABRICKS_CONFIG_FILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(_agent_file, "_kept", _agent_file._Kept())
    (tmp_path / "agent.py").write_text(
        "from databricks_langchain import VectorSearchRetrieverTool\nfrom fastapi import FastAPI\n"
        f"from obo_kit import user_tool\nsearch = user_tool(VectorSearchRetrieverTool(index_name='{INDEX}'))\n"
    )
    assert app_config("agent.py") == {"user_api_scopes": ["vector-search"], "resources": []}
    done = CliRunner().invoke(main, ["policy", "agent.py", "--format", "bundle"])
    assert (done.exit_code, f"the index '{INDEX}' may embed" in done.stderr) == (0, True)


@pytest.mark.slow
def test_a_workspace_that_does_not_answer_is_given_up_and_named(tmp_path, monkeypatch):
    """The SDK would try for five minutes."""
    monkeypatch.setenv("DATABRICKS_TOKEN", "of a developer")
    monkeypatch.setenv("OBO_KIT_COLLECT_SECONDS", "50")
    (tmp_path / "agent.py").write_text(
        "from databricks.sdk import WorkspaceClient\nSPACE = WorkspaceClient().genie.get_space('01f0')\n"
    )
    with nobody() as host:
        monkeypatch.setenv("DATABRICKS_HOST", host)
        asked = rf"request to {host.removeprefix('http://')} while it is loaded"
        with pytest.raises(PolicyError, match=rf"{asked}.* does not answer\.\nFix: .*agent\.py:2"):
            auth_policy(tmp_path / "agent.py")
