"""What the documentation of user authorization says, client by client: built by hand in each request.

Each function takes the user's client (on Model Serving or on Apps, below) and asks one kind of resource.
"""

from __future__ import annotations

from databricks.sdk import WorkspaceClient
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole, ExternalFunctionRequestHttpMethod
from databricks.vector_search.client import VectorSearchClient
from databricks.vector_search.utils import CredentialStrategy
from databricks_ai_bridge import ModelServingUserCredentials
from databricks_ai_bridge.genie import Genie
from databricks_langchain import VectorSearchRetrieverTool
from databricks_langchain.genie import GenieAgent
from databricks_mcp import DatabricksMCPClient
from databricks_openai import VectorSearchRetrieverTool as OpenAIRetrieverTool
from mlflow.models.auth_policy import AuthPolicy, SystemAuthPolicy, UserAuthPolicy

INDEX, LLM, WAREHOUSE, CONNECTION, SPACE = "main.support.articles", "llm", "wh1", "status", "space1"
QUESTION = "How many tickets are there?"


def on_model_serving() -> WorkspaceClient:
    return WorkspaceClient(credentials_strategy=ModelServingUserCredentials())


def on_apps(token: str) -> WorkspaceClient:
    return WorkspaceClient(token=token, auth_type="pat")


def search_on_model_serving() -> VectorSearchClient:
    strategy = CredentialStrategy.MODEL_SERVING_USER_CREDENTIALS
    return VectorSearchClient(credential_strategy=strategy, disable_notice=True)


def search_on_apps(host: str, token: str) -> VectorSearchClient:
    return VectorSearchClient(workspace_url=host, personal_access_token=token, disable_notice=True)


def retriever_of_langchain(client: WorkspaceClient) -> str:
    tool = VectorSearchRetrieverTool(index_name=INDEX, tool_description="Search.", workspace_client=client)
    return str(tool.invoke("refund"))


def retriever_of_openai(client: WorkspaceClient) -> str:
    tool = OpenAIRetrieverTool(index_name=INDEX, tool_description="Search.", workspace_client=client)
    return str(tool.execute("refund"))


def search(client: VectorSearchClient) -> str:
    index = client.get_index(index_name=INDEX)
    return str(index.similarity_search(query_text="refund", columns=["text"], num_results=1)["result"]["data_array"])


def model(client: WorkspaceClient) -> str:
    message = ChatMessage(role=ChatMessageRole.USER, content="hello")
    return str(client.serving_endpoints.query(LLM, messages=[message]).choices[0].message.content)


def warehouse(client: WorkspaceClient) -> str:
    response = client.statement_execution.execute_statement("SELECT count(*) FROM main.support.tickets", WAREHOUSE)
    return str(response.result.data_array)


def connection(client: WorkspaceClient) -> str:
    get = ExternalFunctionRequestHttpMethod.GET
    return str(client.serving_endpoints.http_request(conn=CONNECTION, method=get, path="/").text)


def genie_agent(client: WorkspaceClient) -> str:
    asked = {"messages": [{"role": "user", "content": QUESTION}]}
    return str(GenieAgent(SPACE, client=client).invoke(asked)["messages"][-1].content)


def genie(client: WorkspaceClient) -> str:
    return str(Genie(SPACE, client=client).ask_question(QUESTION).result)


def genie_of_the_sdk(client: WorkspaceClient) -> str:
    return str(client.genie.start_conversation_and_wait(SPACE, QUESTION).attachments)


def mcp(client: WorkspaceClient) -> str:
    server = DatabricksMCPClient(f"{client.config.host}/api/2.0/mcp/genie/{SPACE}", client)
    return str(server.call_tool(f"query_space_{SPACE}", {"query": QUESTION}).content)


# Declared by hand, beside the code that it is about.
POLICY = AuthPolicy(
    system_auth_policy=SystemAuthPolicy(resources=[]),
    user_auth_policy=UserAuthPolicy(
        api_scopes=["catalog.connections", "genie", "mcp.genie", "model-serving", "sql", "vector-search"]
    ),
)
