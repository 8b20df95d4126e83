"""Agent files as the official templates lay them out: loaded as modules of their packages, for the target they are made for.

Streamlit and the other page frameworks are played by modules of a few lines: they are not in this environment, and only their
names count here.
"""

from __future__ import annotations

import textwrap
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from obo_kit import PolicyError, app_config, auth_policy
from obo_kit.cli import main
from obo_kit.policy import _agent_file
from obo_kit.policy._bundle import as_yaml
from obo_kit.policy._layout import layout_of, locate, target_of

pytestmark = pytest.mark.long

TOOL = """
from databricks.sdk import WorkspaceClient
from obo_kit import requires_scopes, with_user_client

@requires_scopes("genie")
@with_user_client
def ask(client: WorkspaceClient): return client.genie.get_space("x").title
"""
SERVER = """
from databricks.sdk import WorkspaceClient
from databricks_langchain import ChatDatabricks
from mlflow.genai.agent_server import invoke, stream
from obo_kit import user_session
{imports}
SHARED = WorkspaceClient()
MODEL = "databricks-gpt-5-2"

def llm():
    return ChatDatabricks(endpoint=MODEL)

@invoke()
@user_session
async def handler(request): return llm().invoke(ask())
"""
PROXY = """
class Proxy:
    def refuse(self, *args):
        raise RuntimeError("outside of a request")
    __getattribute__ = __eq__ = __hash__ = __bool__ = __iter__ = __len__ = __call__ = __repr__ = __str__ = refuse
    __class__ = property(refuse)

request = Proxy()
"""
# The shape of each official template, with the file that is asked about, the target, and the endpoints that it names.
TEMPLATES = {
    "langgraph": (
        {
            "agent_server/__init__.py": "",
            "agent_server/utils.py": TOOL,
            "agent_server/agent.py": SERVER.format(imports="from agent_server.utils import ask"),
            "app.yaml": "command: [uv, run, start-app]\n",
        },
        "agent_server/agent.py",
        "apps",
        ["databricks-gpt-5-2"],
    ),
    "openai-agents": (
        {
            "agent_server/utils.py": TOOL,
            "agent_server/agent.py": (
                "from databricks_openai import AsyncDatabricksOpenAI\n"
                "from mlflow.genai.agent_server import invoke\n"
                "from agent_server.utils import ask\nclient = AsyncDatabricksOpenAI()\n"
                "async def step(messages):\n"
                "    return await client.chat.completions.create(model='databricks-claude', messages=messages)\n"
                "@invoke()\nasync def handler(request): return ask(), await step([])\n"
            ),
        },
        "agent_server/agent.py",
        "apps",
        ["databricks-claude"],
    ),
    "openai-client-of-the-sdk": (
        {
            "agent_server/utils.py": TOOL,
            "agent_server/agent.py": (
                "from databricks.sdk import WorkspaceClient\nfrom mlflow.genai.agent_server import invoke\n"
                "from agent_server.utils import ask\n"
                "w = WorkspaceClient()\nclient = w.serving_endpoints.get_open_ai_client()\n"
                "def step(messages):\n"
                "    return client.chat.completions.create(model='databricks-claude', messages=messages)\n"
                "@invoke()\nasync def handler(request): return ask(), step([])\n"
            ),
        },
        "agent_server/agent.py",
        "apps",
        ["databricks-claude"],
    ),
    "multi-agent": (
        {
            "databricks.yml": "bundle: {name: agents}\n",
            "src/agents/__init__.py": "",
            "src/agents/tools/__init__.py": "from .genie import ask\n",
            "src/agents/tools/genie.py": TOOL,
            "src/agents/app.py": "from fastapi import FastAPI\nfrom .tools import ask\napp = FastAPI()\n",
        },
        "src/agents/app.py",
        "apps",
        [],
    ),
    "non-conversational": (
        {
            "agent.py": "import mlflow\nfrom mlflow.pyfunc import PythonModel\nfrom tools import ask\n"
            "class Agent(PythonModel):\n    def predict(self, context, model_input: list[str]) -> list[str]: return [ask()]\n"
            "mlflow.models.set_model(Agent())\n",
            "tools.py": TOOL,
        },
        "agent.py",
        "model-serving",
        [],
    ),
    "mcp-server": (
        {
            "server/tools.py": TOOL,
            "server/app.py": "from mcp.server import fastmcp\nfrom .tools import ask\n",
            "server/main.py": "",
            "pyproject.toml": "",
        },
        "server/app.py",
        "apps",
        [],
    ),
    **{
        framework: (
            {
                f"{framework}.py": "",
                "app.yaml": "",
                "tools.py": TOOL,
                "app.py": f"import {framework}\nfrom tools import ask\n",
            },
            "app.py",
            "apps",
            [],
        )
        for framework in ("gradio", "dash", "shiny")
    },
    "streamlit": (
        {
            "streamlit.py": "class context:\n    headers = {}\n",
            "app.yaml": "",
            "tools.py": TOOL,
            "app.py": "import streamlit as st\nfrom obo_kit import user_session\nfrom tools import ask\n"
            "with user_session(headers=st.context.headers):\n    ask()\n",
        },
        "app.py",
        "apps",
        [],
    ),
    "namespaces-of-src": (
        {
            "pyproject.toml": "",
            ".env": "ACME_ENDPOINT=databricks-claude\n",
            # `agents` is also the name of an installed package, `acme.agents` is not.
            "src/acme/agents/shared/tools.py": TOOL,
            "src/acme/agents/support/settings.py": (
                "from pydantic_settings import BaseSettings, SettingsConfigDict\n"
                "class Settings(BaseSettings):\n"
                "    model_config = SettingsConfigDict(env_file='.env', env_prefix='ACME_')\n    endpoint: str\n"
                "settings = Settings()\n"
            ),
            "src/acme/agents/support/agent.py": SERVER.format(
                imports="from ..shared.tools import ask\nfrom .settings import settings"
            ).replace('"databricks-gpt-5-2"', "settings.endpoint"),
        },
        "src/acme/agents/support/agent.py",
        "apps",
        ["databricks-claude"],
    ),
    "app-that-starts-its-server": (
        {
            "pyproject.toml": "",
            "apps/agent/app.yaml": "",
            "apps/agent/app/routers/chat.py": TOOL
            + "\nfrom fastapi import APIRouter\nrouter = APIRouter()\n@router.get('/')\ndef chat(): return ask()\n",
            "apps/agent/app/main.py": (
                "import uvicorn\nfrom fastapi import FastAPI\nfrom app.routers.chat import router\n"
                "def create_app():\n    app = FastAPI()\n    app.include_router(router)\n    return app\n"
                "uvicorn.run('app.main:create_app', factory=True, port=18321)\n"
            ),
        },
        "apps/agent/app/main.py",
        "apps",
        [],
    ),
    "app-that-reads-the-framework-s-request": (
        {
            "app.yaml": "",
            "tools.py": TOOL,
            "proxies.py": PROXY,
            "app.py": "from flask import Flask\nfrom proxies import request\nfrom tools import ask\n"
            "class Page:\n    inside = request\n"
            "page = Page()\n"
            "def route():\n    request.get.chat.completions.create(model='x')\n"
            "    return ask(request.args), request(model='x'), page.inside.args.get('x')\n",
            "flask.py": "class Flask: ...\n",
        },
        "app.py",
        "apps",
        [],
    ),
    "server-that-imports-its-agent": (
        {
            "agent_server/__init__.py": "",
            "agent_server/utils.py": TOOL,
            "agent_server/agent.py": SERVER.format(imports="from agent_server.utils import ask"),
            "agent_server/start_server.py": (
                "from mlflow.genai.agent_server import AgentServer\n"
                "import agent_server.agent\n"
                "agent_server = AgentServer('ResponsesAgent')\napp = agent_server.app\n"
                "def main():\n    agent_server.run(app_import_string='agent_server.start_server:app')\n"
            ),
        },
        "agent_server/start_server.py",
        "apps",
        ["databricks-gpt-5-2"],
    ),
    "server-that-names-its-app": (
        {
            "app.yaml": "command: [uv, run, custom-mcp-server]\n",
            "server/tools.py": TOOL,
            "server/app.py": "from mcp.server import fastmcp\nfrom .tools import ask\n",
            "server/main.py": (
                "import uvicorn\n"
                "def main():\n    uvicorn.run('server.app:combined_app', host='0.0.0.0')\n"
                "if __name__ == '__main__':\n    uvicorn.run('server.main:app')\n"
            ),
        },
        "server/main.py",
        "apps",
        [],
    ),
    "factory-that-imports-its-routes": (
        {
            "pyproject.toml": "",
            "src/shop/__init__.py": "",
            "src/shop/chat.py": TOOL,
            "src/shop/routes/__init__.py": "from fastapi import APIRouter\nrouter = APIRouter()\n"
            "@router.get('/')\ndef chat():\n    from ..chat import ask\n    return ask()\n",
            "src/shop/main.py": (
                "import os\nfrom fastapi import FastAPI\n"
                "def create_app():\n"
                "    from databricks_langchain import ChatDatabricks\n    from .routes import router\n"
                "    app = FastAPI()\n    app.include_router(router)\n"
                "    app.state.llm = ChatDatabricks(endpoint=os.environ.get('SHOP_MODEL', 'databricks-claude'))\n"
                "    return app\n"
            ),
        },
        "src/shop/main.py",
        "apps",
        ["databricks-claude"],
    ),
    "notebook": (
        {
            "agent.py": "# Databricks notebook source\n# MAGIC %pip install obo-kit\n# COMMAND ----------\n"
            "import mlflow\nfrom mlflow.pyfunc import PythonModel\nfrom helpers.genie import ask\n"
            "class Agent(PythonModel):\n    def predict(self, context, model_input: list[str]) -> list[str]: return [ask()]\n"
            "mlflow.models.set_model(Agent())\n",
            "helpers/genie.py": TOOL,
        },
        "agent.py",
        "model-serving",
        [],
    ),
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABRICKS_CONFIG_FILE")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setattr(_agent_file, "_kept", _agent_file._Kept())

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), "utf-8")
        time.sleep(0.1)  # so that what is collected is kept: it has not changed meanwhile
        return tmp_path

    return write


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_official_layout_is_loaded_as_it_runs(write, template):
    """Rule 22: without a workspace; the bundle is what somebody who knows would write."""
    files, agent, target, endpoints = TEMPLATES[template]
    write(files)
    done = CliRunner().invoke(main, ["policy", agent])
    assert (done.exit_code, f"Target: {target}, as it" in done.stderr) == (0, True), done.output
    by_hand = {
        "user_api_scopes": ["genie"],
        "resources": [
            {
                "name": f"serving-endpoint-{name}",
                "serving_endpoint": {"name": name, "permission": "CAN_QUERY"},
            }
            for name in endpoints
        ],
    }
    assert app_config(agent) == by_hand
    bundle = CliRunner().invoke(main, ["policy", agent, "--format", "bundle", "--app", "mine"])
    assert bundle.stdout.strip() == as_yaml(by_hand, "mine").strip()


def test_a_dotted_name_is_a_file_too(write):
    write(TEMPLATES["multi-agent"][0])
    write(TEMPLATES["namespaces-of-src"][0])
    assert locate("acme.agents.support.agent") == "src/acme/agents/support/agent.py"
    assert locate("agents.app") == locate("agents.app:app") == "src/agents/app.py"
    assert app_config("agents.app")["user_api_scopes"] == ["genie"]
    with pytest.raises(PolicyError, match=r"There is no agent file 'agents.nothing'"):
        auth_policy("agents.nothing")


@pytest.mark.parametrize(
    ("name", "text", "dotted"),
    [
        ("agent.py", "import os", ""),
        ("databricks/agent.py", "import databricks.sdk\nfrom databricks.sdk import x", ""),
        ("a/b/c.py", "from ..d import x", "a.b.c"),
        ("a/b/c.py", "from a.b import e", "a.b.c"),
        ("a/b/e.py", "from a.b import e", "a.b.e"),
        ("my-app/agent.py", "from . import x", ""),
        ("src/a/b/c.py", "from . import x", "a.b.c"),
        ("src/agent.py", "import os", ""),
    ],
)
def test_a_file_is_a_module_of_the_package_that_its_imports_name(write, name, text, dotted):
    write({name: text, "pyproject.toml": ""})
    assert layout_of(name).name == dotted


def test_the_target_is_what_the_file_uses(write):
    write({"agent.py": "import os\n"})
    assert target_of("agent.py", sets_model=False) is None
    assert target_of("agent.py", sets_model=True) == ("model-serving", "it calls set_model()")
    done = CliRunner().invoke(main, ["policy", "agent.py"])
    assert done.exit_code == 1
    assert "pass --target apps" in done.stderr


def test_what_could_not_be_counted_is_said(write):
    write(
        {
            "agent.py": "from databricks_langchain import ChatDatabricks\nfrom fastapi import FastAPI\n"
            "def llm(name, client):\n"
            "    return ChatDatabricks(endpoint=name), ChatDatabricks(endpoint='users', workspace_client=client)\n"
            "def own():\n"
            "    return ChatDatabricks(endpoint='shared', workspace_client=OWN)\n"
            "from databricks.sdk import WorkspaceClient\n"
            "OWN = WorkspaceClient()\n"
        }
    )
    done = CliRunner().invoke(main, ["policy", "agent.py", "--format", "bundle"])
    assert done.exit_code == 0, done.output
    assert "Not counted: " in done.stderr
    assert "agent.py:4 asks a model, and only running it tells which endpoint" in done.stderr
    assert "users" not in done.stdout
    assert "shared" in done.stdout  # a client of the module is the agent's own


@pytest.mark.parametrize("collect", [app_config, lambda path: auth_policy(path, target="apps")])
def test_python_says_what_is_not_counted_as_the_command_line_does(write, caplog, collect):
    """Rule 22: what could not be counted is said."""
    write(
        {
            "agent.py": "from databricks_langchain import ChatDatabricks\nfrom fastapi import FastAPI\n"
            "def llm(name):\n    return ChatDatabricks(endpoint=name)\n"
        }
    )
    collect("agent.py")
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("obo_kit")]
    assert said.startswith("Not counted: ")
    assert "agent.py:4 asks a model, and only running it tells which endpoint" in said
    assert CliRunner().invoke(main, ["policy", "agent.py", "--format", "bundle"]).stderr.count("Not counted: ") == 1
    assert len([record for record in caplog.records if record.name.startswith("obo_kit")]) == 1


def test_what_a_function_builds_without_a_client_is_said_unless_it_is_declared(write):
    """Rule 22: it may become the user's, which is not read; so it is not counted as the agent's."""
    write(
        {
            "agent.py": "from databricks_langchain import DatabricksMCPServer, VectorSearchRetrieverTool\n"
            "from fastapi import FastAPI\nfrom mlflow.models.resources import DatabricksGenieSpace\n"
            "from obo_kit import system_resources\nHOST = 'https://x'\nINDEX = 'main.docs.pages'\n"
            "system_resources(DatabricksGenieSpace('01f0'))\n"
            "def servers(space, client):\n"
            "    known = DatabricksMCPServer(name='a', url=f'{HOST}/api/2.0/mcp/genie/01f0')\n"
            "    given = DatabricksMCPServer(name='b', url=f'{HOST}/api/2.0/mcp/sql', workspace_client=client)\n"
            "    return known, given, [DatabricksMCPServer(name='c', url=f'{HOST}/api/2.0/mcp/genie/{s}') for s in space]\n"
            "def search():\n    return VectorSearchRetrieverTool(index_name=INDEX)\n"
        }
    )
    done = CliRunner().invoke(main, ["policy", "agent.py"])
    said = [line.partition(", inside")[0] for line in done.stderr.splitlines() if line.startswith("Not counted: ")]
    place = f"{Path.cwd() / 'agent.py'}:"
    assert said == [f"Not counted: {place}{line} builds what acts as the agent" for line in (11, 13)], done.stderr


def test_a_file_that_asks_a_workspace_where_there_is_none_is_refused(write):
    write({"agent.py": "from databricks.sdk import WorkspaceClient\nWorkspaceClient().current_user.me()\n"})
    with pytest.raises(PolicyError, match="The file sends a request to a workspace while it is loaded") as caught:
        app_config("agent.py")
    assert "agent.py:2" in caught.value.remedy


def test_what_a_notebook_takes_from_another_by_run_is_said(write):
    """MLflow loads the file without it, so its tools are no tools of the agent."""
    write({**TEMPLATES["notebook"][0], "tools.py": TOOL})
    agent = Path("agent.py")
    agent.write_text(agent.read_text("utf-8").replace("# COMMAND", "# MAGIC %run ./tools\n# COMMAND"), "utf-8")
    done = CliRunner().invoke(main, ["policy", "agent.py"])
    assert "Not counted: agent.py:3 takes names from './tools' with %run, which MLflow does not do" in done.stderr
    assert "Import what the agent needs from a module instead" in done.stderr


# What stops a page while it is loaded, for want of a user or a workspace.
STOPS = {
    "a statement": "WorkspaceClient().statement_execution.execute_statement('SELECT 1', 'wh1')",
    "a statement whose refusal is swallowed": (
        "try:\n    data = WorkspaceClient().statement_execution.execute_statement('SELECT 1', 'wh1').result\n"
        "except Exception:\n    data = None\nrows = data.data_array"
    ),
    "a tool": "rows = rows_of('trips')",
    "a user's header": "token = {}['X-Forwarded-Access-Token']",
    "the host that stands in": "raise NotImplementedError(f'no login for {WorkspaceClient().config.host}')",
}
PAGE = """
import {framework}
from databricks.sdk import WorkspaceClient
from obo_kit import user_tool
from tools import ask

@user_tool("sql")
def rows_of(client: WorkspaceClient, table: str):
    return client.statement_execution.execute_statement(table, "wh1").result.data_array

{stop}
{below}
"""


@pytest.mark.parametrize(
    ("framework", "stop"),
    [*(("streamlit", stop) for stop in STOPS), *((name, "a statement") for name in ("gradio", "dash", "shiny"))],
)
def test_a_page_that_needs_its_user_while_it_is_loaded_is_counted_up_to_there(write, framework, stop):
    """Rule 22: nothing is sent, and what is not counted is said."""
    page = PAGE.format(framework=framework, stop=STOPS[stop], below="draw = len")
    write({f"{framework}.py": "", "tools.py": TOOL, "app.py": page})
    line = 11 + STOPS[stop].count("\n")
    done = CliRunner().invoke(main, ["policy", "app.py", "--format", "bundle"])
    assert done.exit_code == 0, done.stderr
    assert f"Not counted: what app.py builds after line {line}, where it needs a user and a workspace" in done.stderr
    assert yaml.safe_load(done.stdout)["resources"]["apps"]["app"]["user_api_scopes"] == ["genie", "sql"]


@pytest.mark.parametrize(
    "below",
    [
        "@user_tool('files')\ndef read(client: WorkspaceClient): ...",
        "from obo_kit import requires_scopes as needs\nneeds('files')(ask)",
        "from more import ask",
        "import tools",
        "from .more import ask",
    ],
)
def test_a_page_that_declares_more_where_it_is_not_counted_is_refused(write, below):
    """Rule 22: a policy that lacks a tool's scopes would be found out by the users."""
    page = PAGE.format(framework="streamlit", stop=STOPS["a statement"], below=below)
    write({"streamlit.py": "", "tools.py": TOOL, "app.py": page, "more.py": TOOL})
    with pytest.raises(PolicyError) as caught:
        app_config("app.py")
    assert "put what draws the page into functions" in caught.value.remedy
    assert str(caught.value).count("Fix: ") == 1


def test_a_mistake_in_a_page_stays_an_error(write):
    page = PAGE.format(framework="streamlit", stop="rows = [][0]", below="")
    write({"streamlit.py": "", "tools.py": TOOL, "app.py": page})
    with pytest.raises(PolicyError, match="raised IndexError") as caught:
        app_config("app.py")
    assert "app.py:11" in caught.value.remedy
    assert "user" not in caught.value.remedy


def test_what_fails_after_a_refused_request_names_the_request(write):
    """The refusal itself may be swallowed, and what fails then says nothing of it."""
    write(
        {
            "agent.py": f"from databricks.sdk import WorkspaceClient\n{STOPS['a statement whose refusal is swallowed']}\n",
        }
    )
    with pytest.raises(PolicyError, match="raised AttributeError") as caught:
        app_config("agent.py")
    assert "agent.py:6. Before that, " in caught.value.remedy
    assert "agent.py:3 asked a workspace, and none is configured here." in caught.value.remedy


def test_a_module_that_only_a_request_imports_is_counted_for_the_models_that_it_asks(write):
    write(
        {
            "models.py": "from databricks.sdk import WorkspaceClient\nfrom mlflow.deployments import get_deploy_client\n"
            "def ask(name):\n    w = WorkspaceClient()\n    w.serving_endpoints.query('triage', messages=[])\n"
            "    get_deploy_client('databricks').predict(endpoint='answers', inputs={})\n"
            "    return get_deploy_client('databricks').predict_stream(endpoint=name, inputs={})\n",
            "broken.py": "from databricks_langchain import ChatDatabricks\nraise RuntimeError('later')\n",
            "plain.py": "raise RuntimeError('nobody loads it')\n",
            "app.py": "from flask import Flask\ndef route():\n    import plain\n    from models import ask\n"
            "    from broken import llm\n    return ask(input())\n",
            "flask.py": "class Flask: ...\n",
        }
    )
    done = CliRunner().invoke(main, ["policy", "app.py", "--format", "bundle"])
    assert done.exit_code == 0, done.stderr
    app = yaml.safe_load(done.stdout)["resources"]["apps"]["app"]
    assert [each["serving_endpoint"]["name"] for each in app["resources"]] == ["answers", "triage"]
    assert done.stderr.count("Not counted: ") == 2, done.stderr
    assert "models.py:7 asks a model, and only running it tells which endpoint" in done.stderr
    assert "names the module 'broken', and loading it raised RuntimeError: later" in done.stderr


def test_loading_has_a_time_limit(write, monkeypatch):
    write({"agent.py": "import time\ntime.sleep(60)\n"})
    monkeypatch.setenv("OBO_KIT_COLLECT_SECONDS", "0.5")
    with pytest.raises(PolicyError, match=r"was not loaded within 0.5 seconds") as caught:
        app_config("agent.py")
    assert '__name__ == "__main__"' in caught.value.remedy


def test_a_package_that_is_missing_is_to_be_installed(write):
    """Unlike a module of the project's own, which only lies elsewhere."""
    write({"agent.py": "import surely_not_installed\n", "app/agent.py": "import lies.elsewhere\n", "lies/other.py": ""})
    with pytest.raises(PolicyError, match="No module named 'surely_not_installed'") as caught:
        app_config("agent.py")
    assert "Install the package that has 'surely_not_installed'" in caught.value.remedy
    with pytest.raises(PolicyError, match="No module named 'lies") as caught:
        app_config("app/agent.py")
    assert "Install" not in caught.value.remedy


def test_the_variables_of_an_app_are_there_while_it_is_collected(write):
    """Also those that it takes from a resource that the bundle names."""
    bundle = (
        "resources:\n  apps:\n    shop:\n      source_code_path: ./\n      config:\n        env:\n"
        "          - {name: MODEL, value_from: llm}\n          - {name: SPACE, value_from: genie}\n"
        "      resources:\n"
        "        - {name: llm, serving_endpoint: {name: databricks-claude, permission: CAN_QUERY}}\n"
        "        - {name: genie, genie_space: {name: Sales, space_id: '${var.space}', permission: CAN_RUN}}\n"
    )
    agent = (
        "import os\nfrom databricks.sdk import WorkspaceClient\nfrom databricks_langchain import ChatDatabricks\n"
        "from fastapi import FastAPI\nassert os.environ['COLOUR'] == 'blue'\n"
        "assert WorkspaceClient().serving_endpoints.get(os.environ['MODEL']).task == 'llm/v1/chat'\n"
        "def llm():\n    return ChatDatabricks(endpoint=os.environ['MODEL'])\n"
    )
    write({"app.yaml": "env: [{name: COLOUR, value: blue}]\n", "databricks.yml": bundle, "app.py": agent})
    assert [each["serving_endpoint"]["name"] for each in app_config("app.py")["resources"]] == ["databricks-claude"]
    write({"app.py": f"{agent}os.environ['SPACE']\n"})
    with pytest.raises(PolicyError, match="raised KeyError: 'SPACE'") as caught:
        app_config("app.py")
    assert "The app takes SPACE from the resource 'genie'. Set it for the collection" in caught.value.remedy
    assert "without a value" not in caught.value.remedy
    write({"app.yaml": "env: [{name: COLOUR, value: ''}]\n", "app.py": "import os, fastapi\nos.environ['COLOUR']\n"})
    with pytest.raises(PolicyError, match="raised KeyError: 'COLOUR'") as caught:
        app_config("app.py")
    assert "The app's files leave COLOUR without a value. Fill it in there, or set it" in caught.value.remedy
