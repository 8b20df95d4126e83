"""Mistakes for the static checks to find, each written in ten ways or more. The line that is wrong ends in ``# <-``."""

from __future__ import annotations

SEEDS: dict[str, list[str]] = {}

SEEDS["OBO101"] = [
    # a module's global, by the platform's own recipe
    """
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials

CLIENT = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())  # <-
""",
    # aliases, in the constructor of an agent
    """
import databricks.sdk as d
from databricks_ai_bridge import ModelServingUserCredentials as Creds
from mlflow.pyfunc import ResponsesAgent

class Agent(ResponsesAgent):
    def __init__(self):
        strategy = Creds()
        self.w = d.WorkspaceClient(credentials_strategy=strategy)  # <-
""",
    # a class attribute, vector search
    """
from databricks.vector_search.client import VectorSearchClient
from databricks.vector_search.utils import CredentialStrategy
import mlflow.pyfunc

class Agent(mlflow.pyfunc.PythonModel):
    index = VectorSearchClient(  # <-
        credential_strategy=CredentialStrategy.MODEL_SERVING_USER_CREDENTIALS
    ).get_index(index_name="main.a.b")
""",
    # MLflow's hook for loading
    """
from agent_server.utils import get_user_workspace_client
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def load_context(self, context):
        self.client = get_user_workspace_client()  # <-
""",
    # through a function that is called at import
    """
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials

def build():
    client = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())
    return client

client = build()  # <-
""",
    # as a default, which is evaluated once
    """
from obo_kit import current_session

def ask(question, client=current_session().client):  # <-
    return question
""",
    # a block at import
    """
from obo_kit import with_user_client

with with_user_client() as client:  # <-
    spaces = client.genie
""",
    # tools of a user, for everybody
    """
import obo_kit
from databricks_langchain import VectorSearchRetrieverTool

def docs(client):
    return VectorSearchRetrieverTool(index_name="a.b.c", workspace_client=client)

TOOLS = obo_kit.available_tools(docs)  # <-
""",
    # a helper object that is made at import
    """
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials

class Genie:
    def __init__(self, space):
        self.space = space
        self._connect()

    def _connect(self):
        self.w = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())  # <-

GENIE = Genie("01f0")
""",
    # in a comprehension
    """
from databricks_langchain import VectorSearchRetrieverTool
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge.model_serving_obo_credential_strategy import ModelServingUserCredentials

TOOLS = [
    VectorSearchRetrieverTool(
        index_name=name,
        workspace_client=WorkspaceClient(credentials_strategy=ModelServingUserCredentials()),  # <-
    )
    for name in ("a.b.c", "a.b.d")
]
""",
    # only where it is served, but still at import
    """
import os
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials

if os.environ.get("IS_IN_DB_MODEL_SERVING_ENV"):
    client = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())  # <-
else:
    client = WorkspaceClient()
""",
    # what a tool returned, kept from import
    """
from databricks.sdk import WorkspaceClient
from obo_kit import with_user_client

@with_user_client
def name(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name

NAME = name()  # <-
""",
]

SEEDS["OBO102"] = [
    """
from databricks.sdk import WorkspaceClient
from obo_kit import requires_scopes, with_user_client

@requires_scopes("genie")
@with_user_client
def ask(client: WorkspaceClient, question: str) -> str:
    return WorkspaceClient().genie.start_conversation_and_wait("01f0", question).content  # <-
""",
    """
import databricks.sdk as d
import obo_kit as ok

@ok.optional_tool
@ok.with_user_client
def ask(client, question):
    w = d.WorkspaceClient(host="https://example.com")  # <-
    return w.current_user.me()
""",
    """
from databricks.vector_search.client import VectorSearchClient
from obo_kit import requires_scopes

@requires_scopes("vector-search")
def search(question):
    index = VectorSearchClient(disable_notice=True).get_index(index_name="a.b.c")  # <-
    return index.similarity_search(query_text=question)
""",
    """
from databricks_langchain import VectorSearchRetrieverTool
from obo_kit import optional_tool, with_user_client

@optional_tool(fallback="no")
@with_user_client
def search(client, question):
    tool = VectorSearchRetrieverTool(index_name="a.b.c")  # <-
    return tool.invoke(question)
""",
    # a nested function of a tool
    """
from databricks.sdk import WorkspaceClient as WC
from obo_kit import with_user_client

@with_user_client
def tool(client):
    def inner():
        return WC()  # <-
    return inner().current_user.me()
""",
    # async, and a lambda
    """
from databricks.sdk import WorkspaceClient
from obo_kit import with_user_client

@with_user_client
async def tool(client, question):
    make = lambda: WorkspaceClient()  # <-
    return make().current_user.me()
""",
    # the language model is declared for the user, and asked as the agent
    """
from databricks_openai import AsyncDatabricksOpenAI
from mlflow.models.resources import DatabricksServingEndpoint
from obo_kit import requires_scopes

@requires_scopes(DatabricksServingEndpoint("llm"))
async def triage(question):
    client = AsyncDatabricksOpenAI()  # <-
    return await client.chat.completions.create(model="llm", messages=[])
""",
    # a factory
    """
from databricks_langchain import DatabricksVectorSearch
from obo_kit import available_tools

def docs(client):
    return DatabricksVectorSearch(index_name="a.b.c")  # <-

def predict(request):
    return available_tools(docs)
""",
    # a client that drops the user it is given
    """
from databricks_langchain import UCFunctionToolkit
from obo_kit import with_user_client

class Tools:
    @with_user_client
    def functions(self, client):
        return len(UCFunctionToolkit(function_names=["a.b.c"]).tools)  # <-
""",
    # a global of the agent's, for what is declared for the user
    """
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksGenieSpace
from obo_kit import requires_scopes

agent = WorkspaceClient()

@requires_scopes(DatabricksGenieSpace("01f0"))
def ask(question: str) -> str:
    return agent.genie.start_conversation_and_wait("01f0", question).content  # <-
""",
    # a managed MCP server
    """
from databricks_mcp import DatabricksMCPClient
from obo_kit import with_user_client

@with_user_client
def list_tools(client):
    return DatabricksMCPClient("https://example.com/api/2.0/mcp/genie/01f0").list_tools()  # <-
""",
    # the decorator is called
    """
from databricks.ai_search.client import AISearchClient
from obo_kit import requires_scopes

def _search(question):
    return AISearchClient().get_index(index_name="a.b.c").similarity_search(query_text=question)  # <-

search = requires_scopes("vector-search")(_search)
""",
]

SEEDS["OBO103"] = [
    """
from mlflow.pyfunc import ResponsesAgent
from obo_kit import current_session, user_session

class Agent(ResponsesAgent):
    @user_session
    def predict(self, request):
        self.client = current_session().client  # <-
""",
    """
from databricks.sdk import WorkspaceClient
from obo_kit import with_user_client

CLIENT = None

@with_user_client
def ask(client: WorkspaceClient, question):
    global CLIENT
    CLIENT = client  # <-
""",
    """
import functools
from agent_server.utils import get_user_workspace_client

@functools.lru_cache(maxsize=None)  # <-
def client():
    return get_user_workspace_client()
""",
    # a dictionary at module level
    """
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials

CLIENTS: dict = {}

def client_of(user):
    if user not in CLIENTS:
        CLIENTS[user] = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())  # <-
    return CLIENTS[user]
""",
    # tools whose closures hold the client, by the platform's recipe
    """
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials
from mlflow.pyfunc import ResponsesAgent

def create_tool(client):
    def whoami():
        return client.current_user.me().user_name
    return whoami

class Agent(ResponsesAgent):
    def predict_stream(self, request, user_client=None):
        if user_client is None:
            user_client = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())
        tool = create_tool(user_client)
        self._tools = {"whoami": tool}  # <-
        yield from ()
""",
    # a token on the object
    """
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input, headers):
        self.token = headers.get("X-Forwarded-Access-Token")  # <-
""",
    # a token for the process
    """
import os
from flask import request

HEADER = "x-forwarded-access-token"

def view():
    os.environ["DATABRICKS_TOKEN"] = request.headers[HEADER]  # <-
""",
    # the answer to one user, for everybody
    """
from functools import cache
from obo_kit import requires_scopes, with_user_client

@cache  # <-
@requires_scopes("genie")
@with_user_client
def ask(client, question):
    return client.genie.start_conversation_and_wait("01f0", question).content
""",
    # tokens as keys of a cache
    """
from functools import lru_cache
from databricks.sdk import WorkspaceClient

@lru_cache  # <-
def client_for(token: str) -> WorkspaceClient:
    return WorkspaceClient(host="https://example.com", token=token, auth_type="pat")
""",
    # a default that all calls share, in an async function
    """
from obo_kit import current_session

async def client_of(user, known={}):
    known[user] = current_session().client  # <-
    return known[user]
""",
    # a list at module level, and a tool built on the client
    """
import obo_kit
from databricks_langchain import VectorSearchRetrieverTool

TOOLS = []

@obo_kit.user_session
def predict(request):
    with obo_kit.with_user_client() as client:
        TOOLS.append(VectorSearchRetrieverTool(index_name="a.b.c", workspace_client=client))  # <-
""",
    # a class attribute, from a method
    """
from obo_kit import with_user_client

class Tools:
    client = None

    @classmethod
    @with_user_client
    def start(cls, client):
        cls.client = client  # <-
""",
    # a cached property of an agent
    """
from functools import cached_property
from mlflow.pyfunc import ResponsesAgent
from obo_kit import current_session

class Agent(ResponsesAgent):
    @cached_property  # <-
    def client(self):
        return current_session().client
""",
    # by call
    """
import functools
from obo_kit import current_session

client = functools.cache(lambda: current_session().client)  # <-
""",
    # setattr
    """
from mlflow.pyfunc import ResponsesAgent
from obo_kit import user_session

@user_session
class Agent(ResponsesAgent):
    def predict(self, request):
        with user_session() as session:
            setattr(self, "session", session)  # <-
""",
]

SEEDS["OBO103"] += [
    # an app's state, and a header by its name
    """
from fastapi import FastAPI, Header
from typing import Annotated

app = FastAPI()

@app.get("/")
def view(x_forwarded_access_token: Annotated[str, Header()]):
    app.state.token = f"Bearer {x_forwarded_access_token.strip()}"  # <-
""",
    """
from fastapi import Header

TOKENS = []

async def view(token: str = Header(alias="X-Forwarded-Access-Token")):
    TOKENS.append(("Bearer " + token, 1))  # <-
""",
    # through a property
    """
from obo_kit import current_session

KNOWN = {}

class Tools:
    @property
    def client(self):
        return current_session().client

    def remember(self, user):
        KNOWN.setdefault(user, self.client)  # <-
""",
    # the platform's own clients of other libraries
    """
from mlflow.pyfunc import ChatAgent
from obo_kit import current_session

class Agent(ChatAgent):
    def predict(self, messages):
        self.llm = current_session().client.serving_endpoints.get_open_ai_client()  # <-
""",
    """
from databricks_openai import DatabricksOpenAI
from mlflow.pyfunc import ChatModel
from obo_kit import UserSession, with_user_client

class Agent(ChatModel):
    @with_user_client
    def connect(self, session: "UserSession | None"):
        self.llm = session.get(DatabricksOpenAI).with_options(timeout=5)  # <-
""",
    """
from mlflow.pyfunc import ChatAgent
from agent_server.utils import get_user_workspace_client

class Agent(ChatAgent):
    def predict(self, messages):
        w = get_user_workspace_client()
        if not messages:
            self.llm = w.serving_endpoints.get_langchain_chat_open_ai_client("llm") if w else None  # <-
""",
    # what a stack has entered
    """
from contextlib import ExitStack
from obo_kit import with_user_client

STACK = ExitStack()
KEPT = {}

def start():
    KEPT.update(client=STACK.enter_context(with_user_client()))  # <-
""",
    # tools of one user
    """
from mlflow.pyfunc import ResponsesAgent
from obo_kit import available_tools, user_session

def docs(client): return client

class Agent(ResponsesAgent):
    @user_session
    async def predict(self, request):
        self.all = available_tools(docs) + []  # <-
""",
    # in parts
    """
import functools
from databricks.vector_search.client import VectorSearchClient
from obo_kit import with_user_client

PARTS = []

def call(client, question): ...

@with_user_client
def search(client: VectorSearchClient):
    index = client.get_index(index_name="a.b.c")
    global PARTS
    PARTS += [{"index": index, **{name: functools.partial(call, client) for name in "ab"}}]  # <-
""",
    # names for names
    """
from copy import copy
from obo_kit import current_session

class Store:
    items = {}

def keep(user):
    items = Store.items
    twin = copy((again := current_session().client))
    items[user] = twin  # <-
    return again
""",
    # the class of the object
    """
from mlflow.pyfunc import PythonModel
from obo_kit import with_user_client

class Model(PythonModel):
    @with_user_client
    def first(self, client: "databricks.sdk.WorkspaceClient"):
        type(self).client = client  # <-
""",
    """
from mlflowserving.scoring_server import fetch_obo_token

def predict(request):
    globals()["token"] = fetch_obo_token()  # <-
""",
    # an object that a request makes, and a global keeps
    """
from obo_kit import with_user_client

LAST = []

class Run:
    def __init__(self, client):
        self.client = client

@with_user_client
def start(client):
    LAST.insert(0, Run(client))  # <-
""",
    # a vector-search client with the user's token
    """
from databricks.vector_search.client import VectorSearchClient
from flask import request

INDEXES = {}

def index(name, headers=None):
    token = (headers or request.headers).get("x-forwarded-access-token", "")
    client = VectorSearchClient("https://example.com", token, disable_notice=True)
    INDEXES[name] = client.get_index(index_name=name)  # <-
""",
    # a configuration
    """
import functools
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks_ai_bridge import ModelServingUserCredentials

def connect():
    return WorkspaceClient(config=Config(credentials_strategy=ModelServingUserCredentials()))

shared = functools.lru_cache(maxsize=1)(connect)  # <-
""",
    # from an enclosing function, into what outlives both
    """
from obo_kit import current_session

def make():
    client = None

    def refresh():
        nonlocal client
        client = current_session().client
        make.client = client  # <-
    return refresh
""",
]

SEEDS["OBO104"] = [
    """
from concurrent.futures import ThreadPoolExecutor
from obo_kit import user_session, with_user_client

@with_user_client
def whoami(client):
    return client.current_user.me().user_name

@user_session
def predict(request):
    with ThreadPoolExecutor() as pool:
        return pool.submit(whoami).result()  # <-
""",
    """
import concurrent.futures as futures
import obo_kit

@obo_kit.requires_scopes("genie")
@obo_kit.with_user_client
def ask(client, question):
    return client.genie.start_conversation_and_wait("01f0", question).content

def all_of(questions):
    pool = futures.ThreadPoolExecutor(4)
    return list(pool.map(ask, questions))  # <-
""",
    """
import threading
from obo_kit import current_session

def work():
    print(current_session().identity)

def start():
    thread = threading.Thread(target=work, daemon=True)  # <-
    thread.start()
""",
    """
from threading import Timer
from obo_kit import with_user_client

@with_user_client
def remind(client): return client.current_user.me()

def later():
    Timer(5.0, remind).start()  # <-
""",
    """
import asyncio
from obo_kit import with_user_client

@with_user_client
def whoami(client):
    return client.current_user.me().user_name

async def answer():
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, whoami)  # <-
""",
    # a lambda
    """
from concurrent.futures import ThreadPoolExecutor
from obo_kit import with_user_client

POOL = ThreadPoolExecutor()

@with_user_client
def ask(client, question):
    return client.current_user.me().user_name

def answer(question):
    return POOL.submit(lambda: ask(question)).result()  # <-
""",
    # partial, and a pool on the object
    """
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from obo_kit import with_user_client

@with_user_client
def ask(client, question):
    return client.current_user.me().user_name

class Agent:
    def __init__(self):
        self.pool = ThreadPoolExecutor()

    def predict(self, question):
        return self.pool.submit(partial(ask, question)).result()  # <-
""",
    # through a nested function that calls a helper
    """
from multiprocessing.pool import ThreadPool
from obo_kit import with_user_client

def helper():
    with with_user_client() as client:
        return client.current_user.me()

def predict(questions):
    def one(question):
        return question, helper()
    with ThreadPool(4) as pool:
        return pool.map(one, questions)  # <-
""",
    # a method
    """
from threading import Thread
from obo_kit import available_tools

class Agent:
    def _work(self):
        self.count = len(available_tools())

    def predict(self, request):
        Thread(target=self._work).start()  # <-
""",
    """
import gevent
from obo_kit import optional_tool, with_user_client

@optional_tool
@with_user_client
def whoami(client): return client.current_user.me().user_name

def answer():
    return gevent.spawn(whoami).get()  # <-
""",
    # the decorator is called, and the tool wrapped by a framework
    """
from concurrent.futures import ThreadPoolExecutor as Pool
from obo_kit import with_user_client

def _ask(client, question):
    return client.current_user.me().user_name

ask = with_user_client(_ask)

def answer(questions):
    with Pool() as pool:
        return [pool.submit(ask, one) for one in questions]  # <-
""",
]

SEEDS["OBO201"] = [
    """
from databricks.sdk import WorkspaceClient
from obo_kit import with_user_client

@with_user_client
def whoami(client: WorkspaceClient):
    try:
        return client.current_user.me().user_name
    except Exception as error:  # <-
        return f"not available: {error}"
""",
    # the platform's recipe
    """
from databricks.vector_search.client import VectorSearchClient
from databricks.vector_search.utils import CredentialStrategy

def search(question):
    client = VectorSearchClient(credential_strategy=CredentialStrategy.MODEL_SERVING_USER_CREDENTIALS)
    try:
        index = client.get_index(index_name="a.b.c")
        return index.similarity_search(query_text=question)
    except Exception:  # <-
        return "not available"
""",
    # no class at all
    """
import obo_kit

@obo_kit.with_user_client
async def whoami(client):
    try:
        name = client.current_user.me().user_name  # <-
    except:
        name = None
    return name
""",
    """
from databricks_ai_bridge import ModelServingUserCredentials
from databricks.sdk import WorkspaceClient

def tables():
    w = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())
    try:
        return list(w.tables.list("main", "default"))
    except (ValueError, Exception):  # <-
        return []
""",
    """
from contextlib import suppress
from obo_kit import current_session, user_session

@user_session
def predict(request):
    with suppress(Exception):  # <-
        return current_session().client.current_user.me().user_name
""",
    # building a tool
    """
from databricks_langchain import VectorSearchRetrieverTool
from agent_server.utils import get_user_workspace_client

def tools():
    found = []
    try:
        found.append(VectorSearchRetrieverTool(index_name="a.b.c", workspace_client=get_user_workspace_client()))
    except BaseException as error:  # <-
        print(error)
    return found
""",
    # in a closure over the client
    """
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials

def create_tool(client):
    def whoami():
        try:
            return client.current_user.me().user_name
        except Exception:  # <-
            return "unknown"
    return whoami

def predict(request):
    return create_tool(WorkspaceClient(credentials_strategy=ModelServingUserCredentials()))()
""",
    # a helper that is handed the client
    """
from obo_kit import requires_scopes, with_user_client

def _ask(w, question):
    try:
        return w.genie.start_conversation_and_wait("01f0", question).content
    except Exception:  # <-
        pass

@requires_scopes("genie")
@with_user_client
def ask(client, question):
    return _ask(client, question)
""",
    # around a tool that forgives nothing itself
    """
from obo_kit import with_user_client

@with_user_client
def whoami(client):
    return client.current_user.me().user_name

def answer():
    try:
        return whoami()
    except Exception:  # <-
        return "no"
""",
    # under another name
    """
import builtins
from obo_kit import with_user_client

Anything = builtins.Exception

class Tools:
    @with_user_client
    def whoami(self, client):
        try:
            return client.current_user.me().user_name
        except Anything:  # <-
            return None
""",
    # in a loop, for several clients of the session
    """
from databricks_openai import DatabricksOpenAI
from obo_kit import requires_scopes, with_user_client

@requires_scopes("model-serving")
@with_user_client
def ask(llm: DatabricksOpenAI, questions):
    for question in questions:
        try:
            yield llm.chat.completions.create(model="llm", messages=[question])
        except Exception:  # <-
            continue
""",
]

SEEDS["OBO301"] = [
    """
from databricks.sdk import WorkspaceClient
from obo_kit import with_user_client

@with_user_client
def ask(client: WorkspaceClient, question: str) -> str:
    return client.genie.start_conversation_and_wait("01f0", question).content  # <-
""",
    """
import databricks.sdk as d
from obo_kit import requires_scopes, with_user_client

@requires_scopes("genie")
@with_user_client
def ask(w: d.WorkspaceClient, question: str):
    w.genie.start_conversation("01f0", question)
    return w.statement_execution.execute_statement("SELECT 1", "wh")  # <-
""",
    # vector search, and a class for the parameter
    """
from databricks.vector_search.client import VectorSearchClient
from mlflow.models.resources import DatabricksGenieSpace
import obo_kit

@obo_kit.requires_scopes(DatabricksGenieSpace("01f0"))
@obo_kit.with_user_client
async def search(client: VectorSearchClient, question):
    index = client.get_index(index_name="a.b.c")  # <-
    return index.similarity_search(query_text=question)
""",
    # a service under another name
    """
from obo_kit import with_user_client

@with_user_client(param="w")
def tables(w):
    files = w.files
    return files.download("/Volumes/a/b/c/d.txt")  # <-
""",
    # a nested function
    """
from obo_kit import optional_tool, with_user_client

@optional_tool
@with_user_client
def endpoints(client, names):
    def one(name):
        return client.serving_endpoints.query(name, prompt="x")  # <-
    return [one(name) for name in names]
""",
    # a lambda, and the decorator is called
    """
from obo_kit import with_user_client

warehouses = with_user_client(lambda client: list(client.warehouses.list()))  # <-
""",
    # a helper that is handed the client
    """
from obo_kit import with_user_client

def _jobs(w):
    return list(w.jobs.list())

@with_user_client
def jobs(client):
    return len(_jobs(client))  # <-
""",
    # a tool of a framework
    """
from databricks_langchain import VectorSearchRetrieverTool
from obo_kit import requires_scopes, with_user_client

@requires_scopes("sql")
@with_user_client
def docs(client, question):
    return VectorSearchRetrieverTool(index_name="a.b.c", workspace_client=client).invoke(question)  # <-
""",
    # the request itself
    """
from obo_kit import with_user_client

class Tools:
    @with_user_client
    def model(self, client, body):
        return client.api_client.do("POST", f"/serving-endpoints/{self.name}/invocations", body=body)  # <-
""",
    # outside of any tool
    """
from obo_kit import current_session, user_session

@user_session
def predict(request):
    session = current_session()
    return session.client.genie.get_space("01f0")  # <-
""",
    # the session, and a client of it
    """
from databricks_openai import DatabricksOpenAI
from obo_kit import UserSession, requires_scopes, with_user_client

@requires_scopes("genie")
@with_user_client
def ask(session: UserSession, question):
    llm = session.get(DatabricksOpenAI)
    return llm.chat.completions.create(model="llm", messages=[])  # <-
""",
    # a managed MCP server
    """
from databricks_mcp import DatabricksMCPClient
from obo_kit import requires_scopes, with_user_client

@requires_scopes("sql")
@with_user_client
def list_tools(client):
    return DatabricksMCPClient(f"{client.config.host}/api/2.0/mcp/genie/01f0", client).list_tools()  # <-
""",
]

SEEDS["OBO302"] = [
    """
from databricks.sdk import WorkspaceClient
from obo_kit import requires_scopes, with_user_client

@requires_scopes("genie", "sql")  # <-
@with_user_client
def ask(client: WorkspaceClient, question: str) -> str:
    return client.genie.start_conversation_and_wait("01f0", question).content
""",
    """
import obo_kit as ok

@ok.requires_scopes("sql")
@ok.requires_scopes("catalog.connections")  # <-
@ok.with_user_client
async def rows(client):
    return client.statement_execution.execute_statement("SELECT 1", "wh").result
""",
    """
from mlflow.models.resources import DatabricksGenieSpace, DatabricksVectorSearchIndex
from obo_kit import requires_scopes, with_user_client
from databricks.vector_search.client import VectorSearchClient

@requires_scopes(
    DatabricksVectorSearchIndex("a.b.c"),
    DatabricksGenieSpace("01f0"),  # <-
)
@with_user_client
def search(client: VectorSearchClient, question):
    index = client.get_index(index_name="a.b.c")
    return index.similarity_search(query_text=question)
""",
    # a name for the scope
    """
from obo_kit import requires_scopes, with_user_client

MODEL = "model-serving"

@requires_scopes("sql", MODEL)  # <-
@with_user_client
def warehouses(client):
    return [one.id for one in client.warehouses.list()]
""",
    # through a helper
    """
from obo_kit import requires_scopes, with_user_client

def _jobs(w):
    return [one.job_id for one in w.jobs.list()]

@requires_scopes("jobs", "files")  # <-
@with_user_client
def jobs(client):
    return _jobs(client)
""",
    # several of them at once
    """
from obo_kit import requires_scopes, with_user_client

NEEDS = ["genie", "vector-search"]

@requires_scopes(*NEEDS)  # <-
@with_user_client
def ask(client, question):
    return client.genie.start_conversation_and_wait("01f0", question).content
""",
    # the decorator is called
    """
from obo_kit import requires_scopes, with_user_client

def _tables(client):
    return client.files.download("/Volumes/a/b/c/d.txt").contents

tables = requires_scopes("files", "genie")(with_user_client(_tables))  # <-
""",
    # a factory that is handed its client
    """
from databricks_langchain import VectorSearchRetrieverTool
from obo_kit import requires_scopes, with_user_client

@requires_scopes("vector-search", "sql")  # <-
@with_user_client
def docs(client):
    return VectorSearchRetrieverTool(index_name="a.b.c", workspace_client=client)
""",
    # a method, and the parts of a client under names of their own
    """
from obo_kit import requires_scopes, with_user_client

class Tools:
    @requires_scopes("genie", "apps")  # <-
    @with_user_client
    def ask(self, client, question):
        genie = client.genie
        started = genie.start_conversation("01f0", question)
        return started.result().content
""",
    # asked of the session
    """
from obo_kit import current_session, requires_scopes

@requires_scopes("serving.serving-endpoints", "dashboards.genie")  # <-
def ask(question):
    answer = current_session().client.serving_endpoints.query("llm", prompt=question)
    return answer.choices[0].text
""",
]

SEEDS["OBO401"] = [
    """
from mlflow.models.resources import DatabricksGenieSpace
from obo_kit import requires_scopes, system_resources

system_resources(DatabricksGenieSpace("01f0"))  # <-

@requires_scopes(DatabricksGenieSpace("01f0"))
def ask(client, question): ...
""",
    """
import mlflow.models.resources as r
import obo_kit

SPACE = "01f0"
obo_kit.system_resources(r.DatabricksServingEndpoint("llm"), r.DatabricksGenieSpace(genie_space_id=SPACE))  # <-

@obo_kit.requires_scopes(r.DatabricksGenieSpace(SPACE))
async def ask(client, question): ...
""",
    # the same object
    """
from mlflow.models.resources import DatabricksVectorSearchIndex as Index
from obo_kit import requires_scopes, system_resources

DOCS = Index("a.b.c")
system_resources(DOCS)  # <-

class Tools:
    @requires_scopes(DOCS)
    def search(self, client, question): ...
""",
    # a name that is only known later
    """
import os
from mlflow.models.resources import DatabricksSQLWarehouse
from obo_kit import requires_scopes, system_resources

WAREHOUSE = os.environ["WAREHOUSE"]
system_resources(DatabricksSQLWarehouse(WAREHOUSE))  # <-

@requires_scopes(DatabricksSQLWarehouse(WAREHOUSE))
def rows(client): ...
""",
    # several at once
    """
from mlflow.models.resources import DatabricksFunction, DatabricksTable
from obo_kit import requires_scopes, system_resources

SHARED = [DatabricksTable("a.b.c"), DatabricksFunction("a.b.f")]
system_resources(*SHARED)  # <-

@requires_scopes("sql", DatabricksFunction("a.b.f"))
def call(client): ...
""",
    # in a function
    """
from mlflow.models import resources
from obo_kit import requires_scopes, system_resources

def declare():
    return system_resources(
        resources.DatabricksServingEndpoint(endpoint_name="llm"),  # <-
    )

def make():
    @requires_scopes(resources.DatabricksServingEndpoint("llm"))
    def tool(client): ...
    return tool
""",
    # an f-string of constants
    """
from mlflow.models.resources import DatabricksVectorSearchIndex
from obo_kit import requires_scopes, system_resources

CATALOG, SCHEMA = "main", "docs"
system_resources(DatabricksVectorSearchIndex(f"{CATALOG}.{SCHEMA}.faq"))  # <-

@requires_scopes(DatabricksVectorSearchIndex("main.docs.faq"))
def search(client): ...
""",
    # the decorator is called on a lambda
    """
from mlflow.models.resources import DatabricksUCConnection
from obo_kit import requires_scopes, system_resources

system_resources(DatabricksUCConnection("crm"))  # <-
call = requires_scopes(DatabricksUCConnection(connection_name="crm"))(lambda client: None)
""",
    # star import
    """
from mlflow.models.resources import *
from obo_kit import *

RESOURCES = system_resources(DatabricksApp("helper"))  # <-

@requires_scopes(DatabricksApp("helper"))
@with_user_client
def call(client): ...
""",
    # where it is imported inside
    """
def build():
    from mlflow.models.resources import DatabricksGenieSpace
    from obo_kit import requires_scopes, system_resources

    system_resources(DatabricksGenieSpace("a" + "b"))  # <-
    return requires_scopes(DatabricksGenieSpace("ab"))(lambda client: client)
""",
]

SEEDS["OBO402"] = [
    """
import mlflow

mlflow.pyfunc.log_model(name="agent", python_model="agent.py", resources=[], auth_policy=policy)  # <-
""",
    """
from mlflow.pyfunc import log_model as log

def main(policy, resources):
    return log(name="agent", python_model="agent.py", auth_policy=policy, resources=resources)  # <-
""",
    """
import mlflow as m

with m.start_run():
    m.langchain.log_model(lc_model="chain.py", resources=["x"], auth_policy=object())  # <-
""",
    """
from mlflow import pyfunc

pyfunc.save_model("folder", python_model="agent.py", resources=[1], auth_policy=2)  # <-
""",
    """
import mlflow

settings = {"resources": [1], "name": "agent"}
mlflow.pyfunc.log_model(python_model="agent.py", auth_policy=1, **settings)  # <-
""",
    """
import mlflow

settings = dict(resources=[1], auth_policy=2)
mlflow.pyfunc.log_model(python_model="agent.py", **settings)  # <-
""",
    """
import functools
import mlflow

log = functools.partial(mlflow.pyfunc.log_model, resources=[1])
log(python_model="agent.py", auth_policy=2)  # <-
""",
    """
from mlflow.pyfunc import *

log_model(python_model="agent.py", auth_policy=2, resources=[1])  # <-
""",
    """
import mlflow.pyfunc

log = mlflow.pyfunc.log_model

class Job:
    def run(self):
        log(python_model="agent.py", auth_policy=2, resources=[1])  # <-
""",
    """
import mlflow

log = lambda **more: mlflow.pyfunc.log_model(python_model="a.py", auth_policy=2, resources=[1], **more)  # <-
""",
    """
import mlflow.openai

async def log(policy):
    return mlflow.openai.log_model(model="gpt", task="x", **{"auth_policy": policy, "resources": [1]})  # <-
""",
]
