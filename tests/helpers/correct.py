"""Agents in which nothing is wrong, each close to one of the mistakes: the static checks leave them alone."""

from __future__ import annotations

CORRECT = {
    "the agent's own client at import": """
        from databricks.sdk import WorkspaceClient
        from databricks_langchain import ChatDatabricks, UCFunctionToolkit
        from mlflow.pyfunc import ResponsesAgent
        from obo_kit import user_session

        w = WorkspaceClient()
        llm = ChatDatabricks(endpoint="llm")
        tools = UCFunctionToolkit(function_names=["a.b.c"]).tools

        class Agent(ResponsesAgent):
            def __init__(self):
                self.client = WorkspaceClient()
                self.llm = ChatDatabricks(endpoint="llm", workspace_client=self.client)

            @user_session
            def predict(self, request):
                return self.llm.invoke("x"), w.current_user.me()
    """,
    "a script's own part": """
        from databricks.sdk import WorkspaceClient
        from databricks_ai_bridge import ModelServingUserCredentials
        from obo_kit import current_session, user_session, with_user_client

        @with_user_client
        def whoami(client: WorkspaceClient) -> str:
            return client.current_user.me().user_name

        if __name__ == "__main__":
            client = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())
            print(client, whoami())

        with user_session(host="https://example.com", token="x") as session:
            mine = session.client
            yours = current_session().client
    """,
    "a page that is run for each request": """
        import streamlit as st
        from agent_server.utils import get_user_workspace_client
        from obo_kit import user_session

        client = get_user_workspace_client()
        with user_session(headers=st.context.headers) as session:
            st.write(session.client.current_user.me().user_name)
    """,
    "a function that builds, called in the request": """
        from databricks.sdk import WorkspaceClient
        from databricks_ai_bridge import ModelServingUserCredentials
        from mlflow.pyfunc import ResponsesAgent

        def build():
            return WorkspaceClient(credentials_strategy=ModelServingUserCredentials())

        class Agent(ResponsesAgent):
            make = staticmethod(build)
            strategy = ModelServingUserCredentials()

            def predict(self, request):
                client = build()
                return client.current_user.me().user_name
    """,
    "a decorator with arguments": """
        from obo_kit import optional_tool, user_session, with_user_client

        @optional_tool(fallback="no")
        @with_user_client(param="w")
        def name(w): return w.current_user.me().user_name

        @user_session(required=False)
        def predict(request): return name()
    """,
    "an object that lives as long as the request": """
        from databricks.sdk import WorkspaceClient
        from obo_kit import current_session, user_session

        class Run:
            def __init__(self, client: WorkspaceClient):
                self.client = client
                self.name = None

            def go(self):
                self.session = current_session()
                self.name = self.client.current_user.me().user_name
                return self.name

        @user_session
        def predict(request):
            run = Run(current_session().client)
            return run.go()
    """,
    "a helper of the recipe that is made in each request": """
        from databricks.sdk import WorkspaceClient
        from databricks_ai_bridge import ModelServingUserCredentials
        from mlflow.pyfunc import ResponsesAgent

        class Who:
            def __init__(self):
                self.w = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())

            def name(self):
                return self.w.current_user.me().user_name

        class Agent(ResponsesAgent):
            def predict(self, request):
                return Who().name()
    """,
    "the agent's client in a cache": """
        import functools
        from databricks.sdk import WorkspaceClient
        from obo_kit import requires_scopes

        @functools.cache
        def agent_client() -> WorkspaceClient:
            return WorkspaceClient()

        @functools.lru_cache
        def length(token: str) -> int:
            return len(token)

        def model(messages):
            return agent_client().serving_endpoints.query("llm", messages=messages)
    """,
    "answers that are kept, and not the client": """
        import os
        from mlflow.pyfunc import ResponsesAgent
        from obo_kit import current_session, user_session, with_user_client

        HOSTS, ROWS = {}, []

        class Agent(ResponsesAgent):
            @user_session
            def predict(self, request):
                client = current_session().client
                self.last = client.current_user.me().user_name
                self.principal = current_session().identity.principal
                self.host = client.config.host
                HOSTS[self.last] = client.config.host
                ROWS.append(len(request))
                self.token = os.environ["DATABRICKS_TOKEN"]
                found = {"client": client}
                found["again"] = client
                return [found]
    """,
    "a context of the request": """
        from contextvars import ContextVar
        from obo_kit import current_session

        CURRENT = ContextVar("current")

        async def middleware(request, call_next):
            CURRENT.set(current_session().client)
            request.state.client = current_session().client
            return await call_next(request)
    """,
    "one name, several things": """
        from databricks.sdk import WorkspaceClient
        from mlflow.pyfunc import ResponsesAgent
        from obo_kit import with_user_client

        class Agent(ResponsesAgent):
            def load(self):
                with with_user_client() as client:
                    name = client.current_user.me().user_name
                client = WorkspaceClient()
                self.client = client
                return name
    """,
    "threads that know their user": """
        import asyncio
        import contextvars
        import threading
        from concurrent.futures import ThreadPoolExecutor
        from obo_kit import current_session, propagate, user_session, with_user_client

        @with_user_client
        def whoami(client):
            return client.current_user.me().user_name

        @user_session(headers=lambda: {})
        def in_its_own(): return whoami()

        def named():
            with user_session(host="https://example.com", token="x"):
                return whoami()

        def other(items): return sum(items)

        @user_session
        async def predict(request, frame):
            with ThreadPoolExecutor() as pool:
                pool.submit(propagate(whoami))
                pool.submit(contextvars.copy_context().run, whoami)
                pool.submit(in_its_own)
                pool.submit(named)
                pool.submit(other, [1])
                pool.map(propagate(lambda _: whoami()), [1])
            frame.map(whoami)
            list(map(whoami, []))
            threading.Thread(target=propagate(whoami)).start()
            await asyncio.to_thread(whoami)
            client = current_session().client
            with ThreadPoolExecutor() as pool:
                pool.submit(lambda: client.current_user.me())
    """,
    "errors that are looked at": """
        from databricks.sdk.errors import PermissionDenied
        from databricks.sdk import WorkspaceClient
        from obo_kit import explain, optional_tool, with_user_client

        w = WorkspaceClient()

        @optional_tool
        @with_user_client
        def whoami(client):
            try:
                return client.current_user.me().user_name
            except PermissionDenied:
                return "no"

        @with_user_client
        def careful(client):
            try:
                return client.current_user.me().user_name
            except Exception as error:
                denial = explain(error)
                return denial.user_message if denial else None

        @with_user_client
        def honest(client):
            try:
                return client.current_user.me().user_name
            except Exception:
                print("that went wrong")
                raise

        def answer(request):
            try:
                return whoami()
            except Exception:
                return "a bug"

        def model():
            try:
                return w.serving_endpoints.query("llm")
            except Exception:
                return None

        @with_user_client
        def parse(client, text):
            name = client.current_user.me().user_name
            try:
                return int(text)
            except Exception:
                return name
    """,
    "declared in another spelling": """
        from mlflow.models.resources import (
            DatabricksFunction, DatabricksGenieSpace, DatabricksServingEndpoint, DatabricksSQLWarehouse, DatabricksTable,
            DatabricksUCConnection, DatabricksVectorSearchIndex,
        )
        from databricks.vector_search.client import VectorSearchClient
        from databricks_openai import DatabricksOpenAI
        from obo_kit import requires_scopes, with_user_client

        @requires_scopes("dashboards.genie")
        @with_user_client
        def ask(client, question): return client.genie.start_conversation_and_wait("01f0", question).content

        @requires_scopes(DatabricksTable("a.b.c"), DatabricksSQLWarehouse("wh"))
        @with_user_client
        def rows(client):
            w = client
            w.warehouses.get("wh")
            return w.statement_execution.execute_statement("SELECT 1", "wh")

        @requires_scopes(DatabricksVectorSearchIndex("a.b.c"))
        @with_user_client
        def search(client: VectorSearchClient, question):
            return client.get_index(index_name="a.b.c").similarity_search(query_text=question)

        @requires_scopes(DatabricksServingEndpoint("llm"))
        @with_user_client
        def chat(llm: DatabricksOpenAI):
            return llm.chat.completions.create(model="llm", messages=[])

        @requires_scopes(DatabricksGenieSpace("01f0"), DatabricksTable("a.b.c"), DatabricksSQLWarehouse("wh"))
        @with_user_client
        def with_its_tables(client): return client.genie.get_space("01f0")

        @requires_scopes("all-apis")
        @with_user_client
        def everything(client): return [client.jobs.list(), client.genie.get_space("x")]
    """,
    "what cannot be followed": """
        import some_library
        from databricks.sdk import WorkspaceClient
        from obo_kit import requires_scopes, with_user_client

        SCOPES = some_library.scopes()

        @requires_scopes(*SCOPES)
        @with_user_client
        def dynamic(client): return client.genie.get_space("x")

        @requires_scopes("genie", "sql")
        @with_user_client
        def handed_over(client):
            client.genie.get_space("x")
            return some_library.run(client)

        @requires_scopes("genie", "sql")
        @with_user_client
        def by_name(client, service):
            client.genie.get_space("x")
            return getattr(client, service).list()

        @requires_scopes("genie", "sql")
        @with_user_client
        def returned(client):
            client.genie.get_space("x")
            return client

        @requires_scopes("genie", "a.new.scope", allow_unknown=True)
        @with_user_client
        def newer(client):
            client.genie.get_space("x")
            return client.something_new.list()

        @requires_scopes("genie")
        @with_user_client
        def of_another_package(client): return client.not_a_service.run()

        @requires_scopes("sql")
        def nothing_yet(client): ...
    """,
    "tools in tools": """
        from obo_kit import requires_scopes, with_user_client

        @requires_scopes("sql")
        @with_user_client
        def rows(client): return list(client.warehouses.list())

        @requires_scopes("genie", "sql")
        @with_user_client
        def both(client):
            client.genie.get_space("x")
            return rows()

        @requires_scopes("genie")
        def outer(question):
            @with_user_client
            def inner(client): return client.genie.get_space(question)
            return inner()
    """,
    "who the user is": """
        from databricks.sdk import WorkspaceClient
        from obo_kit import with_user_client

        @with_user_client
        def whoami(client: WorkspaceClient) -> str:
            return f"{client.current_user.me().user_name} at {client.config.host}"
    """,
    "the agent's model beside the user's data": """
        from databricks.sdk import WorkspaceClient
        from databricks_langchain import ChatDatabricks
        from databricks_openai.agents import McpServer
        from mlflow.models.resources import DatabricksServingEndpoint
        from obo_kit import requires_scopes, system_resources, with_user_client

        system_resources(DatabricksServingEndpoint("llm"))
        agent = WorkspaceClient()

        @requires_scopes("genie", "model-serving")
        @with_user_client
        def ask(client, question):
            found = client.genie.start_conversation_and_wait("01f0", question).content
            client.serving_endpoints.query("scorer", prompt=found)
            name = agent.current_user.me().user_name
            return agent.serving_endpoints.query("llm", prompt=found), name

        @requires_scopes("genie")
        @with_user_client
        def summary(client, question):
            found = client.genie.start_conversation_and_wait("01f0", question).content
            return ChatDatabricks(endpoint="llm").invoke(found)

        @with_user_client
        def elsewhere(client):
            return McpServer(url="https://mcp.example.com/mcp"), client.current_user.me().user_name
    """,
    "a resource for each": """
        from mlflow.models.resources import DatabricksGenieSpace, DatabricksServingEndpoint, DatabricksSQLWarehouse
        from obo_kit import requires_scopes, system_resources

        system_resources(DatabricksServingEndpoint("llm"), DatabricksSQLWarehouse("01f0"))

        @requires_scopes(DatabricksGenieSpace("01f0"), DatabricksServingEndpoint("scorer"))
        def ask(client): ...
    """,
    "one of the two": """
        import mlflow
        import obo_kit
        import other

        mlflow.pyfunc.log_model(name="a", resources=[1])
        mlflow.pyfunc.log_model(name="a", auth_policy=1, resources=None)
        mlflow.pyfunc.log_model(name="a", **{"auth_policy": 1})
        obo_kit.log_model(name="a", auth_policy=1, resources=[1])
        other.log_model(name="a", auth_policy=1, resources=[1])
    """,
    "things of the same name": """
        class WorkspaceClient:
            pass

        def requires_scopes(*names): return lambda fn: fn

        def with_user_client(fn): return fn

        def cache(fn): return fn

        @cache
        @requires_scopes("sql")
        @with_user_client
        def ask(client):
            return WorkspaceClient()

        def get_user_workspace_client():
            return WorkspaceClient()

        CLIENT = get_user_workspace_client()
    """,
    "a template whose user is the agent": """
        from databricks.sdk import WorkspaceClient

        def get_user_workspace_client() -> WorkspaceClient:
            return WorkspaceClient()

        CLIENT = get_user_workspace_client()
    """,
    "either of two packages": """
        try:
            from databricks.ai_search.client import AISearchClient as Client
        except ImportError:
            from databricks.vector_search.client import VectorSearchClient as Client
        from obo_kit import requires_scopes, with_user_client

        @requires_scopes("vector-search")
        @with_user_client
        def search(client: Client, question):
            return client.get_index(index_name="a.b.c").similarity_search(query_text=question)
    """,
    "itself": """
        from obo_kit import requires_scopes, with_user_client

        def one(client, depth): return other(client, depth) if depth else client.genie.get_space("x")

        def other(client, depth): return one(client, depth - 1)

        @requires_scopes("genie")
        @with_user_client
        def ask(client, depth):
            client = client or client
            again = again if depth else client
            return one(again, depth)
    """,
}
