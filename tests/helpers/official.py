"""Every official client of the OBO documentation: how it is built from a session, and one use of it.

Each function takes a session and returns the use, so that tests can let time pass, or users change, between the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings

import requests
from databricks.ai_search.client import VectorSearchClient
from support import ASK, INDEX, LLM, SPACE, extra

from obo_kit import available_tools

QUESTION = "How many tickets are there?"


@contextlib.contextmanager
def quiet():
    """Without the warnings of the store in which MLflow looks for a trace, and of frameworks about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- which the kit builds ------------------------------------------------------------------------------------------------


def workspace_client(session):
    return session.client.current_user.me


def vector_search_client(session):
    client = session.get(VectorSearchClient)
    return lambda: client.get_index(index_name=INDEX)


def vector_search_index(session):
    index = session.get(VectorSearchClient).get_index(index_name=INDEX)
    return lambda: index.similarity_search(query_text="refund", columns=["id"], num_results=1)


def async_vector_search_index(session):
    index = session.get(VectorSearchClient).get_async_index(index_name=INDEX)
    return lambda: asyncio.run(index.similarity_search(query_text="refund", columns=["id"], num_results=1))


def openai_client(session):
    client = session.get(extra("databricks_openai", "DatabricksOpenAI"))
    return lambda: client.chat.completions.create(model=LLM, messages=ASK)


def async_openai_client(session):
    client = session.get(extra("databricks_openai", "AsyncDatabricksOpenAI"))
    return lambda: asyncio.run(client.chat.completions.create(model=LLM, messages=ASK))


# --- which are given the session's client ----------------------------------------------------------------------------------


def retriever(module, client):
    build = extra(module, "VectorSearchRetrieverTool")
    return build(index_name=INDEX, tool_name="search", workspace_client=client, client_args={"disable_notice": True})


def langchain_tool(session):
    (tool,) = available_tools(lambda client: retriever("databricks_langchain", client), timeout=60)
    return lambda: tool.invoke("refund")


def openai_tool(session):
    (tool,) = available_tools(lambda client: retriever("databricks_openai", client), timeout=60)
    return lambda: tool.execute("refund")


def genie(session):
    from databricks_ai_bridge.genie import Genie

    client = Genie(SPACE, client=session.client)

    def ask():
        with quiet():
            return client.ask_question(QUESTION)

    return ask


def genie_agent(session):
    build = extra("databricks_langchain", "GenieAgent")
    with quiet():
        agent = build(SPACE, client=session.client)

    def ask():
        with quiet():
            return agent.invoke({"messages": [{"role": "user", "content": QUESTION}]})

    return ask


def upstream_openai_client(session):
    client = extra("databricks_openai", "DatabricksOpenAI")(workspace_client=session.client)
    return lambda: client.chat.completions.create(model=LLM, messages=ASK)


def chat_databricks(session):
    chat = extra("databricks_langchain", "ChatDatabricks")(model=LLM, workspace_client=session.client)
    return lambda: chat.invoke("hello")


def mcp_client(session):
    with quiet():
        client = extra("databricks_mcp", "DatabricksMCPClient")(
            f"{session.identity.host}/api/2.0/mcp/genie/{SPACE}", workspace_client=session.client
        )

    def ask():
        with quiet():
            return client.list_tools()

    return ask


def oauth_token(session):
    """What an MCP server on Databricks Apps is sent."""
    config, host = session.client.config, session.identity.host

    def ask():
        token = config.oauth_token().access_token
        with requests.Session() as plain:
            plain.trust_env = False
            url = f"{host}/api/2.0/preview/scim/v2/Me"
            return plain.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60).json()

    return ask


OWN = (
    workspace_client,
    vector_search_client,
    vector_search_index,
    async_vector_search_index,
    openai_client,
    async_openai_client,
)
SYNC = (workspace_client, vector_search_client, openai_client)
GIVEN = (
    langchain_tool,
    openai_tool,
    genie,
    genie_agent,
    upstream_openai_client,
    chat_databricks,
    oauth_token,
    mcp_client,
)
OFFICIAL = OWN + GIVEN
WRAPPING = (upstream_openai_client, chat_databricks, mcp_client)
"""Those whose libraries wrap what is raised on the way out in an error of their own."""
