"""`auth_policy`, `app_config`, `log_model`: rules 20 to 22 of the design, with real MLflow and a store of its own."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import itertools
import logging
import os
import re
import sys
import textwrap
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.apps import AppResource
from mlflow.models import Model
from mlflow.models.auth_policy import AuthPolicy, SystemAuthPolicy, UserAuthPolicy
from mlflow.models.resources import (
    DatabricksApp,
    DatabricksFunction,
    DatabricksGenieSpace,
    DatabricksLakebase,
    DatabricksServingEndpoint,
    DatabricksSQLWarehouse,
    DatabricksTable,
    DatabricksUCConnection,
    DatabricksVectorSearchIndex,
)

import obo_kit
from obo_kit import (
    DenialReason,
    NoUserIdentityError,
    PolicyError,
    app_config,
    auth_policy,
    optional_tool,
    requires_scopes,
    system_resources,
    user_session,
    with_user_client,
)
from obo_kit.scopes import SCOPES, translate
from obo_kit.tools._registry import REGISTRY

# The fixtures start a process for each agent.
pytestmark = pytest.mark.usefixtures("registry")


def declaring(*what: Any, name: str = "tool") -> Any:
    def tool(): ...

    tool.__qualname__ = tool.__name__ = name
    return requires_scopes(*what)(tool)


def user_scopes(policy: AuthPolicy) -> list[str]:
    return policy.to_dict()["user_auth_policy"].get("api_scopes", [])


def system_names(policy: AuthPolicy | dict) -> dict[str, list[str]]:
    as_dict = policy if isinstance(policy, dict) else policy.to_dict()
    kinds = as_dict["system_auth_policy"].get("resources", {}).get("databricks", {})
    return {kind: [one["name"] for one in ones] for kind, ones in kinds.items()}


# --- scopes ---------------------------------------------------------------------------------------------------------------

SPACE, INDEX, WAREHOUSE = DatabricksGenieSpace("s"), DatabricksVectorSearchIndex("a.b.i"), DatabricksSQLWarehouse("w")
ENDPOINT, CONNECTION = DatabricksServingEndpoint("e"), DatabricksUCConnection("c")
FUNCTION, TABLE, APP = DatabricksFunction("a.b.f"), DatabricksTable("a.b.t"), DatabricksApp("app")

CASES = [
    # declared; Model Serving; Apps; granular Model Serving
    ([SPACE], ["genie"], ["genie"], ["dashboards.genie"]),
    ([INDEX], ["vector-search"], ["vector-search"], ["vectorsearch.vector-search-indexes"]),
    ([WAREHOUSE], ["sql"], ["sql"], ["sql.statement-execution", "sql.warehouses"]),
    ([ENDPOINT], ["model-serving"], ["model-serving"], ["serving.serving-endpoints"]),
    ([CONNECTION], ["catalog.connections", "model-serving"], ["catalog.connections", "model-serving"],
     ["catalog.connections", "serving.serving-endpoints"]),
    ([FUNCTION], ["sql"], ["sql"], ["sql.statement-execution", "sql.warehouses"]),
    ([APP], ["apps"], ["apps"], ["apps.apps"]),
    ([SPACE, WAREHOUSE, SPACE], ["genie", "sql"], ["genie", "sql"],
     ["dashboards.genie", "sql.statement-execution", "sql.warehouses"]),
    # written: kept as written where the target takes it, and in place of what would be inferred
    (["dashboards.genie"], ["dashboards.genie"], ["dashboards.genie"], ["dashboards.genie"]),
    (["genie"], ["genie"], ["genie"], ["genie"]),
    (["dashboards.genie", SPACE], ["dashboards.genie"], ["dashboards.genie"], ["dashboards.genie"]),
    (["genie", SPACE], ["genie"], ["genie"], ["genie"]),
    (["ai-search", INDEX], ["ai-search"], ["ai-search"], ["ai-search"]),
    # another spelling that opens a part of it leaves the rest to be inferred
    (["mcp.functions", FUNCTION], ["mcp.functions", "sql"], ["mcp.functions", "sql"],
     ["mcp.functions", "sql.statement-execution", "sql.warehouses"]),
    (["vectorsearch.vector-search-endpoints", INDEX], ["vector-search", "vectorsearch.vector-search-endpoints"],
     ["vector-search", "vectorsearch.vector-search-endpoints"],
     ["vectorsearch.vector-search-endpoints", "vectorsearch.vector-search-indexes"]),
    # implied by another
    (["sql", "sql.warehouses"], ["sql"], ["sql"], ["sql"]),
    (["sql", "sql.statement-execution", WAREHOUSE], ["sql"], ["sql"], ["sql"]),
]  # fmt: skip


def named(values):
    return "+".join(one if isinstance(one, str) else type(one).__name__ for one in values) or "none"


@pytest.mark.parametrize(("declared", "serving", "apps", "granular"), CASES, ids=named)
def test_what_is_declared_is_what_is_in_the_policy(declared, serving, apps, granular):
    """Rules 21 and 22: by hand, one would write the same."""
    tool = declaring(*declared)
    assert user_scopes(auth_policy([tool])) == serving
    assert app_config([tool])["user_api_scopes"] == apps
    assert user_scopes(auth_policy([tool], naming="granular")) == granular
    assert user_scopes(auth_policy([tool], target="apps")) == apps


@pytest.mark.parametrize("target", ["model-serving", "apps"])
@pytest.mark.parametrize("naming", ["current", "granular"])
def test_every_order_gives_the_same_sorted_policy(target, naming):
    """Rule 21: without duplicates, and nothing implied by another."""
    declared = [
        "sql.warehouses" if target == "model-serving" else "sql.warehouses:read",
        SPACE,
        "sql",
        INDEX,
        CONNECTION,
    ]
    found = set()
    for order in itertools.permutations(declared):
        tools = [declaring(one, name=f"tool{number}") for number, one in enumerate(order)]
        found.add(tuple(user_scopes(auth_policy(tools, target=target, naming=naming))))
    (scopes,) = found
    assert list(scopes) == sorted(set(scopes))
    assert "sql" in scopes
    assert not any(scope.startswith("sql.") for scope in scopes)


@pytest.mark.parametrize("target", ["model-serving", "apps"])
@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_every_scope_is_translated_or_refused_with_the_tool_s_name(scope, target):
    """Rule 21: what a target cannot grant is refused before it is deployed."""
    tool = declaring(scope, name="offender")
    try:
        expected = list(translate(scope, target))
    except PolicyError as error:
        expected, remedy = None, error.remedy
    if expected is None:
        with pytest.raises(PolicyError, match="The tool 'offender' cannot be deployed") as caught:
            auth_policy([tool], target=target)
        assert caught.value.remedy == remedy
        return
    assert user_scopes(auth_policy([tool], target=target)) == expected
    for name in expected:
        assert target in SCOPES[name].accepted_by


def test_a_resource_that_the_target_has_no_scope_for_names_the_tool():
    """Rule 21."""
    tool = declaring(DatabricksLakebase("db"), name="offender")
    with pytest.raises(PolicyError, match=r"'offender'.*Model Serving has no scope for a Lakebase instance") as caught:
        auth_policy([tool])
    assert "system_resources" in caught.value.remedy
    assert app_config([tool])["user_api_scopes"] == ["postgres"]


def test_what_apps_always_grants_is_left_out():
    """Rule 21: it refuses to be told."""
    assert app_config([declaring("iam.current-user:read", "sql")])["user_api_scopes"] == ["sql"]


def test_an_unknown_scope_is_declared_as_written():
    """Rule 20."""

    @requires_scopes("quite-new", allow_unknown=True)
    def tool(): ...

    assert user_scopes(auth_policy([tool])) == ["quite-new"]


@pytest.mark.parametrize("options", [{"target": "moon"}, {"naming": "old"}, {"target": "Apps"}, {"target": None}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match="not"):
        auth_policy([], **options)


# --- what holds a tool ----------------------------------------------------------------------------------------------------


@dataclass
class Info:
    name: str
    exec_fn: Any


def test_tools_are_found_in_what_frameworks_make_of_them():
    """Rule 22: raw specs, partials, methods, closures, containers, foreign wrappers."""
    tool = declaring(SPACE)

    class Held:
        def __init__(self):
            self.run = tool

        @requires_scopes(SPACE)
        def method(self): ...

    def closure():
        return tool()

    foreign = functools.wraps(tool)(lambda: tool())  # noqa: PLW0108 - a function of its own
    outer = optional_tool(foreign)
    for holder in (
        tool,
        [tool],
        {"a": (tool,)},
        Info("x", tool),
        {"x": Info("x", [tool])},
        functools.partial(tool, 1),
        Held(),
        Held().method,
        Held.method,
        closure,
        foreign,
        outer,
        optional_tool(tool),
    ):
        assert user_scopes(auth_policy([holder])) == ["genie"], holder


def test_tools_made_in_loops_all_count():
    """Rule 22."""

    def make(scope):
        @requires_scopes(scope)
        @with_user_client
        def tool(client: WorkspaceClient): ...

        return tool

    tools = {scope: Info(scope, make(scope)) for scope in ("sql", "genie", "files")}
    assert user_scopes(auth_policy([tools["sql"], tools["genie"]])) == ["genie", "sql"]


@pytest.mark.parametrize("package", ["langchain_core.tools", "agents"])
def test_tool_objects_of_frameworks(package):
    """Rule 22."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip(package, reason="an extra")

    @requires_scopes(SPACE)
    @with_user_client
    def tool(client: WorkspaceClient, question: str) -> str:
        """Ask."""
        return question

    made = module.tool(tool) if package != "agents" else module.function_tool(tool)
    assert user_scopes(auth_policy([made])) == ["genie"]


def test_a_value_that_holds_itself_ends():
    """Rule 22."""
    endless: list[Any] = [declaring(SPACE)]
    endless.append(endless)
    assert user_scopes(auth_policy(endless)) == ["genie"]


def test_a_tool_without_a_declaration_adds_nothing():
    """Rule 22."""
    assert auth_policy([with_user_client(lambda client: None), lambda: None]).to_dict() == {
        "system_auth_policy": {},
        "user_auth_policy": {},
    }


def test_what_is_no_tool_is_refused():
    with pytest.raises(PolicyError, match="is not a tool"):
        auth_policy([3])


def test_resources_among_the_tools_are_the_system_s():
    policy = auth_policy([declaring(SPACE), ENDPOINT, ENDPOINT, WAREHOUSE])
    assert user_scopes(policy) == ["genie"]
    assert system_names(policy) == {"serving_endpoint": ["e"], "sql_warehouse": ["w"]}


def module_of(name: str, source: str, **given: Any) -> Any:
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    vars(module).update(given)
    exec(compile(textwrap.dedent(source), f"{name}.py", "exec"), vars(module))
    return module


def test_a_module_counts_with_what_it_imports_and_nothing_else():
    """The tools that a module defines or imports."""
    common = "from obo_kit import requires_scopes, system_resources\nfrom mlflow.models.resources import *\n"
    helper = module_of("helper", common + "@requires_scopes('genie')\ndef ask(): ...\n")
    imported = module_of("imported", common + "@requires_scopes('files')\ndef read(): ...\nunused = None\n")
    module_of("stranger", common + "@requires_scopes('apps')\ndef call(): ...\nsystem_resources(DatabricksApp('x'))\n")
    agent = module_of(
        "agent",
        common
        + "@requires_scopes('sql')\ndef select(): ...\nTOOLS = {'a': [read]}\nsystem_resources(DatabricksApp('mine'))\n",
        helper=helper,
        read=imported.read,
    )
    policy = auth_policy(agent, target="apps")
    assert user_scopes(policy) == ["files", "genie", "sql"]
    assert system_names(policy) == {"app": ["mine"]}


FOREIGN = {
    "partial": "import functools\ntool = requires_scopes({0!r})(functools.partial(len))\n",
    "builtin": "tool = requires_scopes({0!r})(len)\n",
    "library's function": "import yaml\ntool = requires_scopes({0!r})(yaml.safe_load)\n",
    "langchain_core": "from langchain_core.tools import StructuredTool\ndef ask(what: str) -> str:\n    'Ask.'\n"
    "tool = requires_scopes({0!r})(StructuredTool.from_function(ask))\n",
    "agents": "from agents import Agent, function_tool\ndef ask(what: str) -> str:\n    'Ask.'\n"
    "tool = requires_scopes({0!r})(function_tool(ask))\n",
    "databricks_openai.agents": "from databricks_openai.agents import McpServer\n"
    "tool = requires_scopes({0!r})(McpServer(\n"
    "    url=f'{{client.config.host}}/api/2.0/mcp/genie/space1', workspace_client=client))\n",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_another_agent_declares_of_a_library_s_is_not_this_agent_s(kind, workspace):
    """Rule 22: the module that declares it counts, and not the package that the tool is from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "." in kind or "_" in kind or kind == "agents":
            pytest.importorskip(kind, reason="an extra")
    given = {"client": WorkspaceClient(host=workspace.host, token=workspace.token("alice"))}
    common = "from obo_kit import requires_scopes\n" + FOREIGN[kind]
    mine = module_of("mine", common.format("sql"), **given)
    module_of("somebody_else_s", common.format("files"), **given)
    named = [declaration for declaration in REGISTRY if declaration.module == "mine"]
    assert [one.scope for declaration in named for one in declaration.requirements] == ["sql"]
    assert "files" not in user_scopes(auth_policy(mine))
    assert user_scopes(auth_policy([mine.tool])) == user_scopes(auth_policy(mine))


def test_a_helper_that_declares_leaves_the_tool_to_its_module():
    """Rule 22."""
    helper = module_of(
        "helper", "from obo_kit import requires_scopes\ndef reads(f): return requires_scopes('files')(f)\n"
    )
    for name in ("mine", "somebody_else_s"):
        module_of(name, f"@reads\ndef {name}_reads(): ...\n", reads=helper.reads)
    assert [declaration.module for declaration in REGISTRY] == ["mine", "somebody_else_s"]


def test_without_a_source_everything_in_the_process_counts():
    declaring("sql")
    system_resources(ENDPOINT)
    policy = auth_policy()
    assert (user_scopes(policy), system_names(policy)) == (["sql"], {"serving_endpoint": ["e"]})


# --- Databricks Apps ------------------------------------------------------------------------------------------------------


def test_the_app_s_resources_are_shaped_as_the_sdk_reads_them():
    """As under `resources.apps.<name>`."""
    config = app_config([declaring(SPACE), ENDPOINT, WAREHOUSE, SPACE, INDEX, FUNCTION, TABLE, CONNECTION, APP])
    assert set(config) == {"user_api_scopes", "resources"}
    names = [one["name"] for one in config["resources"]]
    assert len(set(names)) == len(names) == 8
    for entry in config["resources"]:
        assert AppResource.from_dict(entry).as_dict() == entry
        assert 2 <= len(entry["name"]) <= 64
        assert set(entry["name"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_resource_that_an_app_cannot_have_is_refused():
    with pytest.raises(PolicyError, match="cannot be a resource of an app"):
        app_config([DatabricksLakebase("db")])


# --- agent files, collected in a process of their own ---------------------------------------------------------------------

HEAD = """
import mlflow
from mlflow.models.resources import *
from mlflow.pyfunc import PythonModel, ResponsesAgent
from obo_kit import *
"""
TAIL = """
class Agent(PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return model_input
mlflow.models.set_model(Agent())
"""
TOOL = "@requires_scopes('genie')\ndef ask(): ...\n"
AGENTS = {
    "plain": f"{HEAD}{TOOL}{TAIL}",
    "helper": f"{HEAD}import obo_kit_test_helper\n{TOOL}{TAIL}",
    "chatty": f"{HEAD}import sys\nprint('out' * 100000)\nsys.stderr.write('err' * 100000)\nassert sys.stdin.read() == ''\n"
    f"{TOOL}{TAIL}",
    "busy": f"{HEAD}import subprocess, threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    f"subprocess.Popen(['sleep', '20'])\n{TOOL}{TAIL}",
    "objects": f"{HEAD}{TOOL}system_resources(DatabricksServingEndpoint('llm'), DatabricksUCConnection('c'))\n"
    f"requires_scopes(DatabricksTable('a.b.t'), DatabricksVectorSearchIndex('a.b.i'))(len)\n{TAIL}",
    "raises": f"{HEAD}{TOOL}\nraise ZeroDivisionError('a bug of the author')\n{TAIL}",
    "library": f"{HEAD}import json\njson.loads('{{')\n{TAIL}",
    "syntax": f"{HEAD}def (\n{TAIL}",
    "import": f"{HEAD}import not_installed_at_all\n{TAIL}",
    "no model": f"{HEAD}{TOOL}",
    "exits": f"{HEAD}import sys\nsys.exit('no configuration')\n{TAIL}",
    "dies": f"{HEAD}import os, sys\nsys.stderr.write('killed by itself\\n')\nsys.stderr.flush()\nos._exit(7)\n{TAIL}",
    "undeclarable": f"{HEAD}@requires_scopes('geenie')\ndef ask(): ...\n{TAIL}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    for name, source in AGENTS.items():
        (folder / f"{name}.py").write_text(source)
    (folder / "obo_kit_test_helper.py").write_text(
        "from obo_kit import requires_scopes\n@requires_scopes('sql')\ndef select(): ...\n"
    )
    return folder


@pytest.fixture(scope="module")
def collected(folder):
    """What became of each agent file, and how long it took; at the same time, because each takes a process."""

    def collect(name: str) -> Any:
        started = time.monotonic()
        try:
            result: Any = auth_policy(folder / f"{name}.py")
        except PolicyError as error:
            result = error
        assert time.monotonic() - started < 300
        return result

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(4) as pool:
        patch.syspath_prepend(str(folder))
        return dict(zip(AGENTS, pool.map(collect, AGENTS), strict=True))


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("plain", ["genie"]),
        ("helper", ["genie", "sql"]),
        ("chatty", ["genie"]),
        ("busy", ["genie"]),
        ("objects", ["genie", "sql", "vector-search"]),
    ],
)
def test_an_agent_file_is_collected_whatever_it_does_besides(collected, name, scopes):
    """Rule 22: helper modules count, other agents do not; output, threads and children of the file harm nothing."""
    assert user_scopes(collected[name]) == scopes


def test_resources_survive_the_way_from_the_other_process(collected):
    """Rule 22."""
    assert system_names(collected["objects"]) == {"serving_endpoint": ["llm"], "uc_connection": ["c"]}


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        ("raises", "ZeroDivisionError: a bug of the author", "raises.py:9"),
        ("syntax", "SyntaxError", "syntax.py:"),
        ("import", "not_installed_at_all", "import.py:"),
        ("no model", "set_model", ""),
        ("exits", "SystemExit: no configuration", "exits.py:"),
        ("library", "JSONDecodeError", "library.py:7"),
        ("dies", r"exit code 7.*killed by itself", "fix the error"),
        ("undeclarable", "UnknownScopeError.*geenie", r"undeclarable.py:6. Write 'genie'"),
    ],
)
def test_an_agent_file_that_cannot_be_loaded_says_why(collected, name, message, remedy):
    """A `PolicyError` with the cause and the place."""
    error = collected[name]
    assert isinstance(error, PolicyError)
    assert re.search(message, error.message)
    assert re.search(remedy, error.remedy)


@pytest.mark.parametrize("path", ["nothing.py", "."])
def test_an_agent_file_that_is_not_there(folder, path):
    with pytest.raises(PolicyError, match="no agent file"):
        auth_policy(folder / path)


def test_collecting_does_not_touch_this_process(collected, registry):
    """Rule 22: two agents do not mix."""
    assert list(registry) == []
    assert "obo_kit_test_helper" not in sys.modules


# --- log_model ------------------------------------------------------------------------------------------------------------

AGENT = """
import mlflow
from databricks.sdk import WorkspaceClient
from helper import ask
from mlflow.models.resources import DatabricksServingEndpoint
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentResponse
from obo_kit import optional_tool, requires_scopes, system_resources, user_session, with_user_client

system_resources(DatabricksServingEndpoint("llm"))

@optional_tool
@requires_scopes("dashboards.genie")
@with_user_client
def me(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name

class Agent(ResponsesAgent):
    @user_session
    def predict(self, request):
        text = f"{me()} {ask()}"
        return ResponsesAgentResponse(output=[self.create_text_output_item(text=text, id="1")])

mlflow.models.set_model(Agent())
"""
HELPER = """
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksSQLWarehouse
from obo_kit import optional_tool, requires_scopes, with_user_client

@optional_tool
@requires_scopes(DatabricksSQLWarehouse("w"))
@with_user_client
def ask(client: WorkspaceClient) -> str:
    return str(client.warehouses.get("w"))
"""


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mlflow.pyfunc import PythonModel


class Echo(PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return model_input


@contextlib.contextmanager
def logged_by_the_kit():
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("obo_kit")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


@pytest.fixture(scope="module")
def logged(tmp_path_factory, new_store):
    """The agent logged in three ways, and an object, with no Databricks configuration and no user at all."""
    folder = tmp_path_factory.mktemp("logged")
    (folder / "agent.py").write_text(AGENT)
    (folder / "lib").mkdir()
    (folder / "lib" / "helper.py").write_text(HELPER)
    common = {"python_model": str(folder / "agent.py"), "code_paths": [str(folder / "lib" / "helper.py")]}
    scoped = AuthPolicy(
        user_auth_policy=UserAuthPolicy(api_scopes=["model-serving", "sql"]),
        system_auth_policy=SystemAuthPolicy(resources=[DatabricksApp("app")]),
    )
    runs: dict[str, dict[str, Any]] = {
        "plain": common,
        "again": common,
        "given": {
            **common,
            "auth_policy": scoped,
            "resources": [DatabricksServingEndpoint("llm"), DatabricksSQLWarehouse("w2")],
        },
        "object": {
            "python_model": Echo(),
            "auth_policy": scoped.to_dict(),
            "resources": {"databricks": {"app": [{"name": "b"}]}},
        },
        "mlflow": {**common, "auth_policy": None},
    }
    policies: dict[str, Any] = {}
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        for name in list(os.environ):
            if name.startswith(("DATABRICKS_", "IS_IN_")):
                patch.delenv(name)
        patch.setenv("DATABRICKS_CONFIG_FILE", os.devnull)
        patch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        patch.syspath_prepend(str(folder / "lib"))
        patch.setattr(REGISTRY, "_tools", {})
        patch.setattr(REGISTRY, "_system", [])
        mlflow.set_tracking_uri(new_store(folder))
        try:
            experiment = mlflow.create_experiment("test", artifact_location=(folder / "artifacts").as_uri())
            with mlflow.start_run(experiment_id=experiment):
                for name, arguments in runs.items():
                    if name == "mlflow":
                        arguments["auth_policy"] = auth_policy(common["python_model"])
                    if name == "object":
                        patch.setattr(REGISTRY, "_tools", {})
                        patch.setattr(REGISTRY, "_system", [])
                        declaring("genie")
                    log = mlflow.pyfunc.log_model if name == "mlflow" else obo_kit.log_model
                    with contextlib.redirect_stderr(io.StringIO()) as said, logged_by_the_kit() as records:
                        info = log(name=name, pip_requirements=["mlflow"], **arguments)
                    policies[f"{name} said"] = (said.getvalue(), [record.getMessage() for record in records])
                    policies[name] = Model.load(info.model_uri).auth_policy
                    written = yaml.safe_load(
                        Path(mlflow.artifacts.download_artifacts(info.model_uri), "MLmodel").read_text()
                    )
                    assert written["auth_policy"] == policies[name]
                    assert "resources" not in written
                version = mlflow.register_model(info.model_uri, "agent")
                policies["registered"] = Model.load(f"models:/agent/{version.version}").auth_policy
                policies["loaded"] = mlflow.pyfunc.load_model(f"models:/agent/{version.version}").metadata.auth_policy
        finally:
            mlflow.set_tracking_uri(before)
            sys.modules.pop("helper", None)
    return policies


@pytest.mark.long
def test_the_policy_is_in_the_logged_model(logged):
    """Rule 22: helper modules count; logging runs `predict` without any user and succeeds (rule 1)."""
    assert logged["plain"]["user_auth_policy"] == {"api_scopes": ["dashboards.genie", "sql"]}
    assert system_names(logged["plain"]) == {"serving_endpoint": ["llm"]}


@pytest.mark.long
def test_log_model_says_which_policy_it_wrote_and_nothing_of_the_dry_run(logged):
    """Rule 25: MLflow runs `predict` without a user, which no log needs to hear of."""
    said, records = logged["plain said"]
    (line,) = (line for line in said.splitlines() if line.startswith("obo_kit"))
    assert "as the user: dashboards.genie, sql; as the agent itself: Serving endpoint llm." in line
    assert records == []
    assert "Predicting on input example" not in said
    assert "obo_kit wrote" not in logged["mlflow said"][0]


def test_what_log_model_says_goes_to_the_log_where_somebody_listens(caplog):
    """Rule 25."""
    from obo_kit.policy._policy import _say

    with caplog.at_level(logging.INFO, "obo_kit"):
        _say((), ())
    (record,) = caplog.records
    assert record.name == "obo_kit.policy._policy"
    assert record.getMessage().endswith("as the user: no scope; as the agent itself: nothing.")


def test_the_log_is_as_it_was_after_a_dry_run():
    from obo_kit.identity._process import PROCESS
    from obo_kit.policy._dry_run import silent_dry_run

    logger = logging.getLogger("obo_kit")
    before = logger.level
    with contextlib.suppress(ValueError), silent_dry_run():
        assert not logging.getLogger("obo_kit.identity._sources").isEnabledFor(logging.CRITICAL)
        PROCESS.developer_said = True
        raise ValueError
    assert (logger.level, PROCESS.developer_said) == (before, False)


def test_a_dry_run_needs_no_user_where_one_was_named_before():
    """Rule 1: as in a notebook that tried a tool as somebody. Nobody stands in, and afterwards all is as strict as before."""
    from obo_kit.policy._dry_run import silent_dry_run

    @optional_tool(fallback=lambda denial: denial.reason)
    @with_user_client
    def whoami(client: WorkspaceClient) -> str:
        return client.current_user.me().user_name

    predict = user_session(whoami)
    with user_session(host="https://a.cloud.databricks.com", token="a-token"):
        pass
    with silent_dry_run():
        assert predict() is DenialReason.NO_IDENTITY
    with pytest.raises(NoUserIdentityError):
        predict()


@pytest.mark.long
def test_logging_twice_gives_the_same(logged):
    """Rule 22: though the helper module is in `sys.modules` by then."""
    assert logged["again"] == logged["plain"]


@pytest.mark.parametrize("way", ["mlflow", "registered", "loaded"])
@pytest.mark.long
def test_plain_mlflow_takes_it_and_keeps_it(logged, way):
    """`mlflow.pyfunc.log_model(auth_policy=…)`, a registry, and a model that is loaded."""
    assert logged[way] == logged["plain"]


@pytest.mark.long
def test_resources_join_and_a_given_policy_is_merged(logged):
    """MLflow refuses the two together."""
    assert logged["given"]["user_auth_policy"] == {"api_scopes": ["dashboards.genie", "model-serving", "sql"]}
    assert system_names(logged["given"]) == {"app": ["app"], "serving_endpoint": ["llm"], "sql_warehouse": ["w2"]}


@pytest.mark.long
def test_an_object_counts_with_what_the_process_has_registered(logged):
    """Also with a policy and resources in the form of dictionaries."""
    assert logged["object"]["user_auth_policy"] == {"api_scopes": ["genie", "model-serving", "sql"]}
    assert system_names(logged["object"]) == {"app": ["app", "b"]}


def test_an_agent_file_that_is_broken_is_not_logged(folder):
    """Known before MLflow begins."""
    with pytest.raises(PolicyError, match="no agent file"):
        obo_kit.log_model(name="x", python_model=str(folder / "nothing.py"))


@pytest.mark.parametrize("how", ["named after", "named before", "name=", "by its framework"])
def test_tools_of_a_loop_are_named_by_their_own_names(how):
    """Rule 21: in the policy, as in the log and in denials."""

    def make(name, scope):
        def _call(question: str) -> str:
            """Answer."""
            return question

        if how == "named before":
            _call.__name__ = name
        tool = optional_tool(**({"name": name} if how == "name=" else {}))(requires_scopes(scope)(_call))
        if how == "named after":
            tool.__name__ = name
        if how == "by its framework":
            tool = pytest.importorskip("langchain_core.tools").StructuredTool.from_function(tool, name=name)
        return tool

    tools = [make("ask_genie", "genie"), make("ask_files", "files")]
    with pytest.raises(PolicyError, match="The tool 'ask_files' cannot be deployed"):
        auth_policy(tools)
