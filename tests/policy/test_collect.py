"""Collection: what an agent file declares, wherever it declares it (rule 22).

Most of these load the file in this process, with the same code as the process of its own does: that takes milliseconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow
    import mlflow.pyfunc

from support import as_user, extra

import obo_kit
from obo_kit import PolicyError, app_config, auth_policy
from obo_kit.policy import _agent_file
from obo_kit.policy import _agent_process as _collect
from obo_kit.policy import _policy as policy
from obo_kit.policy._client_objects import found_in
from obo_kit.tools._registry import REGISTRY, declarations

HEAD = """
import mlflow
from mlflow.models.resources import *
from mlflow.pyfunc import PythonModel
from obo_kit import *
"""
MODEL = """
class Agent(PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return model_input
"""
SET = "\nmlflow.models.set_model(Agent())\n"
TAIL = MODEL + SET


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Empty for each test."""
    for name, empty in (("_tools", {}), ("_system", []), ("places", set())):
        monkeypatch.setattr(REGISTRY, name, empty)
    monkeypatch.setattr(mlflow.models.model, "__mlflow_model__", None)
    monkeypatch.setattr(_agent_file, "_kept", _agent_file._Kept())
    return REGISTRY


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write files; collect one of them here, as the process of its own would."""
    from requests.adapters import HTTPAdapter

    monkeypatch.setattr(HTTPAdapter, "send", HTTPAdapter.send)  # the collection replaces it: put back afterwards
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    watch = types.SimpleNamespace(read={}, listed={}, asked_outside=False, asked_workspace="")

    class Project:
        path = tmp_path

        def write(self, folder: str = "", **files: str) -> None:
            for name, source in files.items():
                file = tmp_path / folder / f"{name}.py"
                file.parent.mkdir(exist_ok=True)
                file.write_text(textwrap.dedent(source))
                monkeypatch.delitem(sys.modules, name, raising=False)  # another test's of that name

        def collect(self, name: str = "agent") -> tuple[list[str], dict[str, list[str]]]:
            """The scopes for Model Serving, and the resources of the system."""
            self.forget()
            path = str(tmp_path / f"{name}.py")
            try:
                found = _collect._collected(path, None, watch)
            except Exception as error:
                found = _collect._failed(error, path, None, watch)
            if "error" in found:
                raise _agent_file._error(path, found)
            found = json.loads(json.dumps(found))
            requirements, system = declarations(_agent_file._read(one, by_name=False) for one in found["declarations"])
            scopes = policy._user_scopes(requirements, "model-serving", "current")
            return list(scopes), by_kind(policy._policy(scopes, system).to_dict())

        def forget(self) -> None:
            for module in set(sys.modules) - before:
                file = getattr(sys.modules[module], "__file__", None)
                if file is None or file.startswith(str(tmp_path)):
                    del sys.modules[module]
            REGISTRY._tools.clear()
            REGISTRY._system.clear()
            REGISTRY.places.clear()

    made = Project()
    yield made
    made.forget()


def by_kind(policy: dict) -> dict[str, list[str]]:
    kinds = policy["system_auth_policy"].get("resources", {}).get("databricks", {})
    return {kind: [one["name"] for one in ones] for kind, ones in kinds.items()}


# --- where tools are --------------------------------------------------------------------------------------------------

PLACES = {
    "a function": "@requires_scopes('genie')\ndef ask(): ...",
    "a method": "class Tools:\n    @requires_scopes('genie')\n    def ask(self): ...",
    "a static method": "class Tools:\n    @staticmethod\n    @requires_scopes('genie')\n    def ask(): ...",
    "a class attribute": "class Tools:\n    ask = requires_scopes('genie')(lambda self: 1)",
    "a loop": "for name in ('a', 'b'):\n    @requires_scopes('genie')\n    def ask(name=name): ...",
    "a function that is called": "def make():\n    @requires_scopes('genie')\n    def ask(): ...\n    return ask\nA = [make()]",
    "a function called and forgotten": "def make():\n    @requires_scopes('genie')\n    def ask(): ...\nmake()",
    "a function only a request calls": "def make():\n    @requires_scopes('genie')\n    def ask(): ...\n    return ask",
    "deep inside one": "def make():\n    if True:\n        def more():\n            return [requires_scopes('genie')(len)]",
    "by a name of the module": "S = 'genie'\nasync def make(client):\n    @requires_scopes(S)\n    async def ask(): ...",
    "by another name": "import obo_kit as k\ndef make():\n    @k.requires_scopes('genie')\n    def ask(): ...",
    "a resource": "def make():\n    @requires_scopes(DatabricksGenieSpace('s'))\n    def ask(): ...",
    "imported in there": "def make():\n    from mlflow.models.resources import DatabricksGenieSpace as G\n"
    "    from obo_kit import requires_scopes as r\n    @r(G('s'))\n    def ask(): ...",
    "several lines": "def make():\n    @requires_scopes(\n        'genie',\n    )\n    def ask(): ...\nmake()",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_tool_counts_wherever_it_is_declared(project, place):
    """Rule 22: also inside a function that no one has called yet."""
    project.write(agent=f"{HEAD}{PLACES[place]}\n{TAIL}")
    assert project.collect() == (["genie"], {})


def test_what_the_model_holds_counts(project):
    """Rule 22: attributes of instances, slots, partials."""
    project.write(
        tools="from obo_kit import requires_scopes\ndef make(scope):\n    return requires_scopes(scope)(lambda: 1)\n",
        agent=f"""{HEAD}
import functools
from tools import make
class Slotted:
    __slots__ = ("tool", "empty")
class Agent(PythonModel):
    def __init__(self):
        self.held = make("genie")
        self.partial = functools.partial(print, make("sql"), key=make("catalog.connections"))
        self.slotted = Slotted()
        self.slotted.tool = make("model-serving")
        self.property = self
        self.me = self.predict
    def predict(self, context, model_input: list[str]) -> list[str]: ...
{SET}""",
    )
    assert project.collect()[0] == ["catalog.connections", "genie", "model-serving", "sql"]


@pytest.mark.parametrize(
    "inside",
    [
        "@requires_scopes(scope)\n    def ask(): ...",
        "@requires_scopes(DatabricksGenieSpace(space))\n    def ask(): ...",
        "space = 's'\n    system_resources(DatabricksGenieSpace(space))",
    ],
)
def test_a_declaration_that_cannot_be_read_is_refused(project, inside):
    """Rule 22: nothing is left out in silence."""
    project.write(agent=f"{HEAD}\ndef make(scope, space=None):\n    {inside}\n{TAIL}")
    with pytest.raises(
        PolicyError, match=r"agent.py:\d declares .* inside 'make', which loading the file does not call"
    ) as caught:
        project.collect()
    assert "Put requires_scopes(…) on 'make' itself" in caught.value.remedy


READ = {
    "names in a module": ("import names", "DatabricksGenieSpace(names.SPACE)", "genie"),
    "an attribute of a class": ("from names import Settings", "Settings.scope", "sql"),
    "an attribute of an object": ("from names import settings", "settings.scope", "sql"),
    "an entry of a table": ("from names import TABLE", "TABLE['orders']", "sql"),
    "an item of a list": ("from names import SCOPES", "SCOPES[0]", "sql"),
    "several": ("from names import SCOPES", "*SCOPES", "sql"),
    "a text with names in it": ("from names import KIND", "f'{KIND}l'", "sql"),
    "a keyword": ("", "DatabricksSQLWarehouse(warehouse_id='w')", "sql"),
}
NAMES = """
import types
SPACE, KIND = "s", "sq"
SCOPES = ["sql"]
TABLE = {"orders": "sql"}
class Settings:
    scope = "sql"
settings = types.SimpleNamespace(scope="sql")
"""


@pytest.mark.parametrize("case", READ)
def test_literals_and_names_of_the_module_are_read(project, case):
    """Rule 22: what stands in the source needs nobody to run it."""
    line, inside, scope = READ[case]
    project.write(
        names=NAMES, agent=f"{HEAD}{line}\ndef make():\n    @requires_scopes({inside})\n    def ask(): ...\n{TAIL}"
    )
    assert project.collect()[0] == [scope]


RUNS = {
    "a call": "launch('sql')",
    "a property": "THING.scope",
    "an attribute that is computed": "THING.computed",
    "an item that is computed": "THING['sql']",
    "a text that is computed": "f'{THING}'",
    "a call in a resource": "DatabricksGenieSpace(launch('s'))",
    "a call among several": "*launch(['sql'])",
    "an import": "SCOPE",
    "what is added": "THING + 'l'",
    "keywords that are unpacked": "DatabricksGenieSpace(**launch({}))",
}
TRAPS = """
import sys
LAUNCHED = []
def launch(what):
    LAUNCHED.append(what)
    return what
class Thing:
    @property
    def scope(self):
        return launch("sql")
    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return launch("sql")
    def __getitem__(self, name):
        return launch(name)
    def __format__(self, spec):
        return launch("sql")
    def __add__(self, other):
        return launch("sql")
THING = Thing()
"""


@pytest.mark.parametrize("case", RUNS)
@pytest.mark.parametrize("here", [False, True], ids=["a file", "a tool in this process"])
def test_nothing_runs_that_nobody_called(project, case, here):
    """Rule 22: whoever asks for a policy starts nothing, in whatever process; the refusal names the line."""
    project.write(
        traps=TRAPS,
        elsewhere="import traps\ntraps.launch('import')\nSCOPE = 'sql'\n",
        agent=f"{HEAD}from traps import THING, launch\n"
        f"def make():\n    from elsewhere import SCOPE\n    @requires_scopes({RUNS[case]})\n    def ask(): ...\n{TAIL}",
    )
    project.forget()
    ask = (lambda: auth_policy([__import__("agent").make])) if here else project.collect
    with pytest.raises(PolicyError, match=r"agent.py:9 declares .* loading the file does not call") as caught:
        ask()
    assert "assign the scopes and resources to names at the top of the module" in str(caught.value)
    assert sys.modules["traps"].LAUNCHED == []
    assert "elsewhere" not in sys.modules


UNLOADED = {
    "a name": ("from tools import ask", "tools"),
    "a module": ("import tools as t", "tools"),
    "by another module": ("import through", "through"),
    "a module of a package": ("from shop import desk", "shop.desk"),
    "a package": ("import shop.desk", "shop.desk"),
}


LAZY_TOOL = "from obo_kit import requires_scopes\n@requires_scopes('sql')\ndef ask(): ...\n"


@pytest.mark.parametrize("case", UNLOADED)
def test_a_module_that_only_a_request_imports_is_loaded_where_it_declares(project, case):
    """Rule 22: the agent's process would load it too, and it is not left out in silence."""
    line, _ = UNLOADED[case]
    project.write(tools=LAZY_TOOL, through="from tools import ask\n", agent=f"{HEAD}def later():\n    {line}\n{TAIL}")
    project.write("shop", __init__="", desk="from . import counter\n", counter=LAZY_TOOL)
    assert project.collect()[0] == ["sql"]


@pytest.mark.parametrize("case", UNLOADED)
def test_a_module_that_only_a_request_imports_and_that_does_not_load_is_refused(project, case):
    """Rule 22."""
    line, module = UNLOADED[case]
    tool = f"{LAZY_TOOL}raise SystemExit('no user')\n"
    project.write(tools=tool, through="from tools import ask\n", agent=f"{HEAD}def later():\n    {line}\n{TAIL}")
    project.write("shop", __init__="", desk="from . import counter\n", counter=tool)
    with pytest.raises(
        PolicyError, match=rf"agent.py:7 names the module '{module}', and loading it raised SystemExit: no user"
    ):
        project.collect()


@pytest.mark.parametrize("case", UNLOADED)
def test_in_a_process_of_its_author_s_nothing_is_loaded_to_find_out(project, case):
    """Rule 22: a module that only a request imports is refused there, where it declares something."""
    line, module = UNLOADED[case]
    project.write(tools=LAZY_TOOL, through="from tools import ask\n", agent=f"{HEAD}def later():\n    {line}\n{TAIL}")
    project.write("shop", __init__="", desk="from . import counter\n", counter=LAZY_TOOL)
    project.forget()
    later = __import__("agent").later
    with pytest.raises(PolicyError, match=rf"agent.py:7 imports '{module}' inside a function") as caught:
        auth_policy([later])
    assert f"Import '{module}' at the top of the module" in caught.value.remedy
    assert module not in sys.modules


def test_a_module_that_only_a_request_imports_and_that_declares_nothing_is_left_alone(project):
    """Rule 22: it is not loaded either."""
    project.write(
        agent=f"{HEAD}def later():\n    import plain, json.tool, broken\n    from .up import x\n"
        f"    from shop import none\n{TAIL}",
        plain="import agent, other\nraise SystemExit\n",
        other="import plain\nfrom ... import nothing\n",
        broken="def (",
    )
    project.write("shop", __init__="")
    assert project.collect() == ([], {})


def test_a_declaration_that_is_wrong_is_refused_with_its_place(project):
    """Rule 20."""
    project.write(agent=f"{HEAD}\ndef make():\n    @requires_scopes('geenie')\n    def ask(): ...\n{TAIL}")
    with pytest.raises(PolicyError, match=r"agent.py:8: .*geenie") as caught:
        project.collect()
    assert "genie" in caught.value.remedy


def test_what_a_function_was_called_with_is_what_counts(project):
    """Rule 22: a factory that ran while the file was loaded is not read as well."""
    project.write(
        agent=f"{HEAD}\ndef make(scope):\n    @requires_scopes(scope)\n    def ask(): ...\n    return ask\n"
        f"TOOLS = [make('genie'), make('sql')]\ndef more(scope):\n    other.requires_scopes(scope)\n{TAIL}"
    )
    assert project.collect()[0] == ["genie", "sql"]


# --- which agent's ----------------------------------------------------------------------------------------------------

TOOLS = """
from mlflow.models.resources import *
from obo_kit import requires_scopes, system_resources

@requires_scopes("genie")
def sales(): ...

@requires_scopes("sql")
def orders(): ...

@requires_scopes("catalog.connections")
def people(): ...

def both():
    return sales(), orders()

def by_name(name):
    return globals()[name]

TABLE = {"orders": orders}

def looked_up(name):
    return TABLE[name]

class Desk:
    tool = people
    def ask(self):
        return sales
"""

IMPORTS = {
    "a name": ("from tools import sales", ["genie"]),
    "two": ("from tools import sales, people", ["catalog.connections", "genie"]),
    "a module": ("import tools", ["catalog.connections", "genie", "sql"]),
    "what a function calls": ("from tools import both", ["genie", "sql"]),
    "what a table holds": ("from tools import looked_up", ["sql"]),
    "what may be any": ("from tools import by_name", ["catalog.connections", "genie", "sql"]),
    "a class": ("from tools import Desk", ["catalog.connections", "genie"]),
    "an instance": ("from tools import Desk as D\ndesk = D()\ndel D", ["catalog.connections", "genie"]),
    "in a function": (
        "from tools import sales\ndef later():\n    from tools import orders\n    return orders",
        ["genie", "sql"],
    ),
    "a module, in a function": (
        "from tools import DatabricksTable\ndef later():\n    import tools as t\n    t.sales()",
        ["catalog.connections", "genie", "sql"],
    ),
    "nothing of it": ("from tools import DatabricksTable", []),
    "what is not there": ("def later():\n    import not_there_at_all", []),
}


@pytest.mark.parametrize("case", IMPORTS)
def test_each_agent_of_a_code_base_gets_its_own_tools(project, case):
    """Rule 22: no more and no less, though all are in one module."""
    line, expected = IMPORTS[case]
    project.write(tools=TOOLS, agent=f"{HEAD}{line}\n{TAIL}")
    assert project.collect()[0] == expected


def test_two_agents_of_a_package(project):
    """Rule 22: a package with tools for both, in any order, twice."""
    tool = "from .llm import NAME\nfrom obo_kit import requires_scopes\n@requires_scopes('{}')\ndef ask(): ...\n"
    llm = "from mlflow.models.resources import *\nfrom obo_kit import system_resources\n"
    llm += "system_resources(DatabricksServingEndpoint('llm'))\nNAME = 'llm'\n"
    project.write("shop", __init__="", llm=llm, sales=tool.format("genie"), people=tool.format("sql"))
    project.write(
        sales=f"{HEAD}from shop.sales import ask\n{TAIL}",
        people=f"{HEAD}from shop import people\ndef tools():\n    from shop.people import ask\n{TAIL}",
    )
    system = {"serving_endpoint": ["llm"]}
    for _ in range(2):
        assert project.collect("sales") == (["genie"], system)
        assert project.collect("people") == (["sql"], system)


def test_an_installed_package_of_tools_counts_as_the_author_s(project, monkeypatch):
    """Rule 22: what declares is followed, wherever it is installed."""
    site = project.path / "site-packages"
    (site / "company").mkdir(parents=True)
    (site / "company" / "__init__.py").write_text("")
    (site / "company" / "kit.py").write_text("from .tools import ask\ndef build():\n    return [ask]\n")
    (site / "company" / "tools.py").write_text(
        "from obo_kit import requires_scopes\n@requires_scopes('sql')\ndef ask(): ...\n"
    )
    monkeypatch.syspath_prepend(str(site))
    project.write(agent=f"{HEAD}from company.kit import build\n{TAIL}")
    assert project.collect()[0] == ["sql"]


def test_a_module_and_tools_are_followed_in_the_same_way(project):
    """A module, or tools, as the source."""
    project.write(tools=TOOLS, agent="from tools import both, people\n")
    import importlib

    agent = importlib.import_module("agent")
    whole = auth_policy(agent).to_dict()["user_auth_policy"]["api_scopes"]
    assert whole == ["catalog.connections", "genie", "sql"]
    assert auth_policy([agent.both]).to_dict()["user_auth_policy"]["api_scopes"] == ["genie", "sql"]


# --- notebooks --------------------------------------------------------------------------------------------------------

NOTEBOOK = f"""# Databricks notebook source
# MAGIC %md
# MAGIC # An agent

# COMMAND ----------

# MAGIC %pip install -U obo-kit
dbutils.library.restartPython()

# COMMAND ----------
{HEAD}
space = dbutils.widgets.get("space") or "s"

# COMMAND ----------

@requires_scopes(DatabricksGenieSpace(space))
def ask(): ...
{TAIL}
"""


def test_a_notebook_exported_as_source(project):
    """Rule 22: loaded as MLflow loads it."""
    project.write(agent=NOTEBOOK)
    assert project.collect() == (["genie"], {})


def test_what_only_a_notebook_has_is_said_so(project):
    """The remedy for what MLflow will not find either."""
    project.write(agent=NOTEBOOK + "\ndisplay(ask)\n")
    with pytest.raises(PolicyError, match="NameError: name 'display' is not defined") as caught:
        project.collect()
    assert "without a notebook" in caught.value.remedy


def test_an_ipynb_is_read_cell_by_cell(tmp_path, processes):
    """The policy of a notebook that is not exported yet; magics are left out, and places are cells."""
    cells = ["%pip install obo-kit\n!ls", "%%writefile other.py\n)", HEAD + PLACES["a function"], TAIL, "\n1 / 0"]
    path = tmp_path / "agent.ipynb"
    written: list[Any] = [{"cell_type": "code", "source": one.splitlines(keepends=True)} for one in cells]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ["# It"]}, *written]}))
    notebook = _collect._Notebook(str(path))
    source = notebook.write(str(tmp_path))
    watch = types.SimpleNamespace(asked_workspace="")
    try:
        _collect._load(source, None, "", watch, [])
    except Exception as error:
        failed = _collect._failed(error, source, notebook, watch)
    assert failed["error"] == "ZeroDivisionError: division by zero"
    assert failed["at"] == f"{path}, cell 6, line 2"
    written.pop()
    path.write_text(json.dumps({"cells": written}))
    age(tmp_path)
    for _ in range(2):
        assert auth_policy(path).to_dict()["user_auth_policy"] == {"api_scopes": ["genie"]}
    assert len(processes) == 1
    with pytest.raises(PolicyError, match="cannot load a notebook"):
        obo_kit.log_model(python_model=str(path))


# --- clients at hand --------------------------------------------------------------------------------------------------


@pytest.fixture
def system_client(workspace):
    from support import client

    return client(workspace, "alice")


URLS = {
    "genie/s": ({"genie_space": ["s"]}, ["mcp.genie"]),
    "functions/a/b/f": ({"function": ["a.b.f"]}, ["mcp.functions"]),
    "vector-search/a/b/i": ({"vector_search_index": ["a.b.i"]}, ["mcp.vectorsearch"]),
    "ai-search/a/b/i": ({"vector_search_index": ["a.b.i"]}, ["ai-search"]),
    "external/conn": ({"uc_connection": ["conn"]}, ["mcp.external"]),
    "functions/a/b": (None, ["mcp.functions"]),
    "vector-search/a/b": (None, ["mcp.vectorsearch"]),
    "sql": (None, ["mcp.sql", "sql"]),
}
MCP_CLASSES = [
    ("databricks_mcp", "DatabricksMCPClient"),
    ("databricks_openai", "McpServerToolkit"),
    ("databricks_openai.agents", "McpServer"),
    ("databricks_langchain", "DatabricksMCPServer"),
]


def mcp(module: str, name: str, url: str, client: Any) -> Any:
    cls = extra(module, name)
    return cls(url, client) if "Client" in name else cls(name="it", url=url, workspace_client=client)


@pytest.mark.parametrize(("module", "name"), MCP_CLASSES)
def test_mcp_servers_say_what_they_reach(workspace, system_client, module, name):
    """Rule 22: from the server's address; as the user where the client is theirs, else as the system."""
    for path, (resources, scopes) in URLS.items():
        url = f"{workspace.host}/api/2.0/mcp/{path}"
        server = mcp(module, name, url, system_client)
        if resources is None:
            with pytest.raises(PolicyError, match="does not name the resources") as caught:
                auth_policy([server])
            assert "system_resources(Databricks" in caught.value.remedy
        else:
            assert by_kind(auth_policy([server]).to_dict()) == resources
        with as_user(workspace, "alice") as session:
            found = auth_policy([mcp(module, name, url, session.client)]).to_dict()
        assert found == {"system_auth_policy": {}, "user_auth_policy": {"api_scopes": scopes}}
    other = mcp(module, name, "https://example.com/mcp", system_client)
    assert auth_policy([other]).to_dict() == {"system_auth_policy": {}, "user_auth_policy": {}}


def test_an_mcp_server_of_a_schema_is_covered_by_what_is_declared(project, workspace):
    """Rule 22: the remedy of the error above is one; and the user's requirement comes home from the other process."""
    extra("databricks_langchain", "DatabricksMCPServer")
    project.write(
        agent=f"""{HEAD}
from databricks.sdk import WorkspaceClient
from databricks_langchain import DatabricksMCPServer
from databricks_ai_bridge import ModelServingUserCredentials
HOST = "{workspace.host}"
system = WorkspaceClient(host=HOST, token="t", auth_type="pat")
FUNCTIONS = DatabricksMCPServer(name="f", url=HOST + "/api/2.0/mcp/functions/a/b", workspace_client=system)
APP = DatabricksMCPServer(name="a", url="https://my-app-123.aws.databricksapps.com/mcp", workspace_client=system)
system_resources(DatabricksFunction("a.b.f"))
from obo_kit import user_session
with user_session(host=HOST, token="t") as session:
    MINE = [DatabricksMCPServer(name="s", url=HOST + "/api/2.0/mcp/sql", workspace_client=session.client)]
{TAIL}"""
    )
    assert project.collect() == (["mcp.sql", "sql"], {"app": ["my-app"], "function": ["a.b.f"]})


def test_models_and_retrievers_say_what_they_reach(workspace, system_client):
    """Rule 22: endpoints of LLMs, a retriever tool's own `resources`, a Genie space; the user's are the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chat = extra("databricks_langchain", "ChatDatabricks")
        retriever = extra("databricks_langchain", "VectorSearchRetrieverTool")
        genie = extra("databricks_ai_bridge.genie", "Genie")

    def of(client: Any) -> list[Any]:
        return [
            chat(endpoint="llm", workspace_client=client),
            retriever(index_name="main.support.articles", workspace_client=client),
            genie("space1", client=client),
        ]

    policy = auth_policy(of(system_client)).to_dict()
    assert by_kind(policy) == {
        "genie_space": ["space1"],
        "serving_endpoint": ["llm", *embedding(policy)],
        "vector_search_index": ["main.support.articles"],
    }
    assert policy["user_auth_policy"] == {}
    with as_user(workspace, "alice") as session:
        policy = auth_policy(of(session.client)).to_dict()
    assert policy["user_auth_policy"]["api_scopes"] == ["genie", "model-serving", "vector-search"]
    assert policy["system_auth_policy"] == {}


def embedding(policy: dict) -> list[str]:
    """The endpoint that the local workspace gives its indexes, where it gives one."""
    return [name for name in by_kind(policy)["serving_endpoint"] if name != "llm"]


def test_agents_of_the_agents_sdk_say_which_endpoint_they_ask(system_client, monkeypatch):
    """Rule 22: only where it is a Databricks client that is asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agents = pytest.importorskip("agents", reason="an extra")
        client = extra("databricks_openai", "AsyncDatabricksOpenAI")(workspace_client=system_client)
    import openai
    from agents.models import _openai_shared

    @obo_kit.requires_scopes("sql")
    @obo_kit.with_user_client
    def ask(client: Any) -> str: ...

    agent = agents.Agent(name="it", model="llm", tools=[agents.function_tool(ask)])
    monkeypatch.setattr(_openai_shared, "_default_openai_client", openai.AsyncOpenAI(api_key="x", base_url="http://x"))
    assert by_kind(auth_policy([agent]).to_dict()) == {}
    monkeypatch.setattr(_openai_shared, "_default_openai_client", client)
    policy = auth_policy([agent, agents.OpenAIChatCompletionsModel("llm2", client)]).to_dict()
    assert by_kind(policy) == {"serving_endpoint": ["llm", "llm2"]}
    assert policy["user_auth_policy"] == {"api_scopes": ["sql"]}
    assert by_kind(auth_policy([agents.OpenAIChatCompletionsModel("system.ai.m", client)]).to_dict()) == {}


def test_a_session_s_openai_client_is_the_user_s_even_after_the_session(workspace):
    agents = pytest.importorskip("agents", reason="an extra")
    with as_user(workspace, "alice") as session:
        client = session.get(extra("databricks_openai", "AsyncDatabricksOpenAI"))
    policy = auth_policy([agents.OpenAIChatCompletionsModel("llm", client)]).to_dict()
    assert policy == {"system_auth_policy": {}, "user_auth_policy": {"api_scopes": ["model-serving"]}}


def test_functions_and_databases_say_what_they_reach():
    """Rule 22: by the names of the classes; nothing is imported for it."""

    def made(package: str, name: str, **attributes: Any) -> Any:
        cls = type(name, (), {"__module__": f"{package}.it"})
        value = cls()
        vars(value).update(attributes)
        return value

    found = found_in(
        made("unitycatalog", "UCFunctionToolkit", tools_dict={"a.b.f": 1}, client=made("x", "Y", warehouse_id="w"))
    )
    assert [one.to_dict() for one in found.resources] == [
        {"function": [{"name": "a.b.f"}]},
        {"sql_warehouse": [{"name": "w"}]},
    ]
    found = found_in(made("unitycatalog", "UnityCatalogTool", uc_function_name="a.b.f", client_config={}))
    assert [one.to_dict() for one in found.resources] == [{"function": [{"name": "a.b.f"}]}]
    database = made("databricks_ai_bridge", "_LakebaseBase", instance_name="db", workspace_client=None)
    assert [one.name for one in found_in(database).resources] == ["db"]
    autoscaling = made("databricks_ai_bridge", "_LakebaseBase", instance_name=None, workspace_client=None)
    assert found_in(autoscaling).resources == ()
    assert found_in(made("elsewhere", "Genie", space_id="s")) is None
    assert found_in(3) is None


def test_what_answers_anything_harms_nothing():
    """Rule 22: proxies that load themselves, or fail, when they are asked."""

    class Awkward:
        def __getattr__(self, name):
            raise RuntimeError(name)

    class Lazy(types.ModuleType):
        def __getattr__(self, name):
            raise AssertionError(name)

    proxy, module = Awkward(), Lazy("lazy")

    def tool():
        return proxy, module

    assert auth_policy([tool, obo_kit.requires_scopes("genie")(tool)]).to_dict()["user_auth_policy"] == {
        "api_scopes": ["genie"]
    }


# --- the file, in a process of its own --------------------------------------------------------------------------------


@pytest.fixture
def processes(monkeypatch):
    """How many processes were started to collect."""
    asked: list[str] = []
    real = _agent_file._in_a_process
    monkeypatch.setattr(_agent_file, "_in_a_process", lambda it, **how: asked.append(it["path"]) or real(it, **how))
    return asked


@pytest.fixture
def here(project, monkeypatch):
    """The same, with the files loaded in this process."""
    asked: list[str] = []

    def collected(it: dict[str, Any], **_: Any) -> dict[str, Any]:
        project.forget()
        asked.append(it["path"])
        read = dict.fromkeys(map(str, project.path.glob("*.txt")))
        return _collect._collected(
            it["path"], None, types.SimpleNamespace(read=read, listed={}, asked_outside=False, asked_workspace="")
        )

    monkeypatch.setattr(_agent_file, "_in_a_process", collected)
    return asked


def test_collecting_twice_is_quick_and_never_stale(project, here, monkeypatch):
    """Rule 22: one process, until anything that it read has changed."""
    project.write("lib", helper="from obo_kit import requires_scopes\n@requires_scopes('genie')\ndef ask(): ...\n")
    (project.path / "names.txt").write_text("sql")
    monkeypatch.chdir(project.path)
    reads = "from pathlib import Path\nrequires_scopes(Path('names.txt').read_text())(len)\n"
    project.write(agent=f"{HEAD}from lib.helper import ask\n{reads}{TAIL}")
    agent = project.path / "agent.py"

    def scopes() -> tuple[list[str], int]:
        before = len(here)
        found = auth_policy(agent).to_dict()["user_auth_policy"]["api_scopes"]
        return found, len(here) - before

    age(project.path)
    assert scopes() == (["genie", "sql"], 1)
    (project.path / "mlruns").mkdir()
    assert scopes() == (["genie", "sql"], 0)
    assert app_config(agent)["user_api_scopes"] == ["genie", "sql"]
    assert len(here) == 1
    (project.path / "names.txt").write_text("apps")
    age(project.path)
    assert scopes() == (["apps", "genie"], 1)
    assert scopes() == (["apps", "genie"], 0)
    kept = _agent_file._kept
    key, (_, found) = next(iter(kept._entries.items()))
    assert kept.get(key) is not None
    for change in (
        lambda: (project.path / "lib" / "helper.py").write_text("ask = 1\n"),
        lambda: (project.path / "lib" / "os.py").write_text(""),  # a module that shadows another
        lambda: (project.path / ".env").write_text(""),
        (project.path / "names.txt").unlink,
    ):
        key, (_, found) = next(reversed(kept._entries.items()))
        kept.keep(key, found, begun=2**63)
        assert kept.get(key) is not None
        change()
        assert kept.get(key) is None
    key = _agent_file._key({"sys_path": []})
    monkeypatch.setenv("SOMETHING", "else")
    assert _agent_file._key({"sys_path": []}) != key


def age(folder: Path) -> None:
    """Until the files in there were written a while ago."""
    while max(path.stat().st_ctime_ns for path in folder.rglob("*")) + 60_000_000 > time.time_ns():
        time.sleep(0.01)


def test_what_may_change_meanwhile_is_not_kept(tmp_path):
    """Rule 22: a file that was written while it was read, and one that asked the network."""
    file = tmp_path / "agent.py"
    file.write_text("")
    found = {"files": [str(file)], "folders": [], "asked_outside": False}
    kept = _agent_file._Kept()
    kept.keep("a", found, begun=file.stat().st_mtime_ns)
    assert kept.get("a") is None
    kept.keep("a", found, begun=2**63)
    assert kept.get("a") == found
    kept.keep("b", {**found, "asked_outside": True}, begun=2**63)
    assert kept.get("b") is None
    for number in range(kept._MOST):
        kept.keep(str(number), found, begun=2**63)
    assert kept.get("a") is None
    assert len(kept._entries) == kept._MOST


def test_what_a_file_asks_while_it_is_loaded_is_seen(tmp_path):
    """Rule 22: files, folders, processes and the network; not what libraries ask of the machine when they are imported."""
    script = tmp_path / "script.py"
    (tmp_path / "read.txt").write_text("")
    library = tmp_path / "site-packages" / "library.py"
    library.parent.mkdir()
    library.write_text("import subprocess\nsubprocess.run(['true'])\n")
    script.write_text(
        "import json, os, sys\n"
        "from obo_kit.policy._agent_process import _Watch\n"
        "watch = _Watch(__file__)\n"
        "import library\n"
        "assert not watch.asked_outside\n"
        "open('read.txt'); open('written.txt', 'w'); os.listdir('.'); os.close(os.open('read.txt', os.O_RDONLY))\n"
        "os.close(os.open('made.txt', os.O_WRONLY | os.O_CREAT))\n"
        "before = watch.asked_outside\n"
        "os.system('true')\n"
        "found = [[os.path.basename(one) for one in all] for all in (watch.read, watch.listed)]\n"
        "print(json.dumps([*found, before, watch.asked_outside]))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(library.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    read, listed, before, after = json.loads(done.stdout)
    assert "read.txt" in read
    assert not {"written.txt", "made.txt"} & set(read)
    assert tmp_path.name in listed
    assert (before, after) == (False, True)


def test_a_file_of_an_app_s_needs_no_model(project, here):
    """MLflow's `set_model` belongs to Model Serving."""
    project.write(tools="from obo_kit import requires_scopes\n@requires_scopes('genie')\ndef ask(): ...\n")
    project.write(agent=f"{HEAD}from tools import ask\n")
    age(project.path)
    agent = project.path / "agent.py"
    assert app_config(agent) == {"user_api_scopes": ["genie"], "resources": []}
    assert auth_policy(agent, target="apps").to_dict()["user_auth_policy"] == {"api_scopes": ["genie"]}
    with pytest.raises(PolicyError, match="never calls set_model") as caught:
        auth_policy(agent)
    assert "target='apps'" in caught.value.remedy
    assert len(here) == 1


# --- log_model: what is refused before anything runs ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message", "remedy"),
    [
        ({}, "python_model is missing", "python_model='agent.py'"),
        ({"python_model": object()}, "cannot log a object", "set_model"),
        (
            {"lc_model": "agent.py"},
            "'lc_model' belongs to an MLflow flavor that takes no auth_policy",
            "python_model=",
        ),
        (
            {"python_model": "agent.py", "regstered_model_name": "x"},
            "takes no regstered_model_name",
            "Correct the name",
        ),
        ({"auth_policy": ["genie"]}, "not a list", "Pass AuthPolicy"),
        ({"auth_policy": {"api_scopes": ["genie"]}}, "fields that MLflow does not know", "Pass AuthPolicy"),
        ({"auth_policy": {"user_auth_policy": ["genie"]}}, "fields that MLflow does not know", "Pass AuthPolicy"),
        ({"auth_policy": {"user_auth_policy": {"api_scopes": []}}}, "names no scopes", "omit user_auth_policy"),
        ({"auth_policy": {"user_auth_policy": {"api_scopes": "genie"}}}, "names no scopes", "a list of scopes"),
        (
            {"auth_policy": {"user_auth_policy": {"api_scopes": ["files"]}}},
            "'auth_policy='.*cannot",
            "Model Serving|Apps",
        ),
    ],
)
def test_wrong_combinations_are_refused_before_anything_runs(given, message, remedy, processes):
    if "auth_policy" in given:
        given = {"python_model": lambda model_input: model_input, **given}
    with pytest.raises(obo_kit.OboError, match=message) as caught:
        obo_kit.log_model(**given)
    import re

    assert re.search(remedy, caught.value.remedy)
    assert processes == []


def helped(helpers: dict[str, str], **given: Any) -> None:
    from obo_kit.policy._log_checks import check_helpers

    agent = _agent_file.AgentFile(declarations=[], model="Agent", loads=True, helpers=helpers)
    check_helpers(agent, "agent.py", given)


def test_helpers_that_would_be_missing_are_named(tmp_path, monkeypatch):
    """MLflow notices it after deployment."""
    monkeypatch.chdir(tmp_path)
    helpers = {
        "tools": str(tmp_path / "tools.py"),
        "shop": str(tmp_path / "lib" / "shop" / "__init__.py"),
        "shop.sales": str(tmp_path / "lib" / "shop" / "sales.py"),
        "name.space": str(tmp_path / "name" / "space.py"),
    }
    with pytest.raises(PolicyError, match="imports name, shop, tools, which would be missing") as caught:
        helped(helpers)
    assert "code_paths=['lib/shop', 'name', 'tools.py']" in caught.value.remedy
    packed = ["lib/shop", "name", "tools.py"]
    helped(helpers, code_paths=packed)
    helped(helpers, code_paths=["."])
    helped(helpers, infer_code_paths=True)
    helped({})
    wheels = ["dist/shop-1.0-py3-none-any.whl", "tools>=2", "name"]
    helped(helpers, pip_requirements=wheels)
    with pytest.raises(PolicyError, match="imports tools, which"):
        helped(helpers, code_paths=packed[:2], pip_requirements="requirements.txt")
    # The kit itself is such a package here: installed as it stands.
    helped({"obo_kit_at_home": str(Path(obo_kit.__file__).parent / "it.py")})


def test_a_model_that_pyfunc_cannot_log_is_refused(project):
    """A flavor that can log it takes no `auth_policy`."""
    from obo_kit.policy._log_checks import check_model

    agent = _agent_file.AgentFile(declarations=[], model="CompiledStateGraph", loads=False, helpers={})
    with pytest.raises(PolicyError, match="sets a CompiledStateGraph, which MLflow's pyfunc cannot log"):
        check_model(agent, "agent.py")
