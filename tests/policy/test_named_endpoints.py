"""Endpoints that functions name in the ways authors do: by locals, parameters, attributes, settings and choices (rule 22)."""

from __future__ import annotations

import ast

import pytest
from click.testing import CliRunner

import obo_kit
from obo_kit import PolicyError, app_config
from obo_kit.cli import main
from obo_kit.policy._several import Several
from obo_kit.policy._uncalled import UnreadableError

pytestmark = pytest.mark.long

HEAD = """
import enum
import functools
from dataclasses import dataclass
from databricks.sdk import WorkspaceClient
from databricks_langchain import ChatDatabricks, UCFunctionToolkit
from databricks_langchain.genie import GenieAgent
from databricks_openai import DatabricksOpenAI
from fastapi import FastAPI
from openai import OpenAI
app = FastAPI()
HOST = "https://h"
"""
# One file for all: each case names endpoints of its own, and loading a file takes seconds.
NAMED = """
PREFIX = "llm"
MODELS = {"fast": "llm-fast", "smart": "llm-smart"}
OPTIONS = {"endpoint": "llm-options", "temperature": 0}
make = functools.partial(ChatDatabricks, temperature=0)
class Kind(str, enum.Enum):
    JUDGE = "llm-judge"
@dataclass
class Settings:
    critic: str = "llm-critic"
SETTINGS = Settings()

def by_a_local():
    name = "llm-local"
    return ChatDatabricks(endpoint=name)
def by_a_choice(fast): return ChatDatabricks(endpoint="llm-yes" if fast else "llm-no")
def by_a_loop(): return [ChatDatabricks(endpoint=n) for n in ("llm-loop-1", "llm-loop-2")]
def by_a_key(kind): return ChatDatabricks(endpoint=MODELS[kind])
def by_a_default(name="llm-default"): return ChatDatabricks(endpoint=name)
def helper(name): return ChatDatabricks(endpoint=name)
def by_a_helper(): return helper("llm-passed"), helper(name="llm-passed-2")
def again(name): return again(name) or ChatDatabricks(endpoint=name)
def by_itself(): return again("llm-again")
def by_texts(): return [ChatDatabricks(endpoint=each) for each in (PREFIX + "-sum", "%s-mod" % PREFIX)]
def by_format(): return ChatDatabricks(endpoint="{}-format".format(PREFIX))
def by_options(): return ChatDatabricks(**OPTIONS), make(endpoint="llm-partial")
def by_members(): return ChatDatabricks(endpoint=Kind.JUDGE.value), ChatDatabricks(endpoint=SETTINGS.critic)
def by_an_or(name=None):
    name = name or "llm-or"
    return ChatDatabricks(endpoint=name)
def by_get(): return ChatDatabricks(endpoint=MODELS.get("x", "llm-get"))

class Base:
    endpoint = "llm-class"
    def llm(self): return ChatDatabricks(endpoint=self.endpoint)
    def of(self, name): return ChatDatabricks(endpoint=name)
class Agent(Base):
    def __init__(self, name):
        self.name = name
        self.client = WorkspaceClient().serving_endpoints.get_open_ai_client()
    def held(self): return self.client.chat.completions.create(model=self.name, messages=[]), self.of("llm-method")
AGENT = Agent("llm-held")
class Given:
    def __init__(self, name="llm-not-this"): self.llm = ChatDatabricks(endpoint=name)
GIVEN = Given("llm-given")

class Other:
    def of(self, name): return name
OTHER = Other()
def elsewhere(): return OTHER.of("no-endpoint")

def at_an_address(): return OpenAI(base_url=f"{HOST}/serving-endpoints").chat.completions.create(model="llm-address")
def as_the_user(client):
    openai = OpenAI(base_url=f"{HOST}/serving-endpoints", api_key=client.config.token)
    return openai.chat.completions.create(model="llm-of-the-user")
def an_app(): return DatabricksOpenAI().responses.create(model="apps/helper-app", input=[])
"""
SUFFIXES = (
    "address again class critic default fast format get given held judge local loop-1 loop-2 method mod no options or partial "
    "passed passed-2 smart sum yes"
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write an agent file; return the endpoints and apps that its policy names, and what is not counted."""
    monkeypatch.chdir(tmp_path)

    def written(agent: str) -> tuple[list[str], list[str]]:
        (tmp_path / "agent.py").write_text(HEAD + agent)
        done = CliRunner().invoke(main, ["policy", "agent.py", "--format", "bundle"])
        assert done.exit_code == 0, done.output
        said = [line for line in done.stderr.splitlines() if line.startswith("Not counted: ")]
        entries = app_config("agent.py").get("resources", [])
        return [each[kind]["name"] for each in entries for kind in ("serving_endpoint", "app") if kind in each], said

    return written


def test_endpoints_count_in_whatever_way_they_are_named(write):
    names, said = write(NAMED)
    assert said == []
    assert sorted(names) == sorted(["helper-app", *(f"llm-{each}" for each in SUFFIXES.split())])


UNREADABLE = """
def by_a_parameter(name): return ChatDatabricks(endpoint=name)
def by_a_call(client): return ChatDatabricks(endpoint=client.current_user.me().user_name)
def by_a_property(it): return ChatDatabricks(endpoint=it.name)
def of_genie(space): return GenieAgent(genie_space_id=space)
def of_functions(): return UCFunctionToolkit(function_names=["a.b.c"])
"""


def test_what_only_running_it_tells_is_said(write):
    names, said = write(UNREADABLE)
    assert names == []
    assert len(said) == 5
    for line, note in zip(range(14, 19), said, strict=True):
        assert f"agent.py:{line} " in note


CONFIGURED = """
import mlflow
from mlflow.pyfunc import PythonModel
from obo_kit import requires_scopes
CONFIG = mlflow.models.ModelConfig(development_config={"llm": "llm-configured"})
@requires_scopes("genie")
def tool(): ...
def llm(): return ChatDatabricks(endpoint=CONFIG.get("llm"))
class Model(PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]: return [str(llm()), tool()]
mlflow.models.set_model(Model())
"""


@pytest.mark.filterwarnings("ignore")  # MLflow's own, while it is imported
def test_a_configuration_for_development_counts_and_is_missing_in_a_model_that_is_logged_without(write):
    assert write(CONFIGURED) == (["llm-configured"], [])
    with pytest.raises(PolicyError, match="Config file is not provided"):
        obo_kit.log_model(name="agent", python_model="agent.py", pip_requirements=["mlflow"])


def test_names_that_multiply_are_given_up():
    """Eight names, each assigned twenty times by the next, would be 20⁸ values."""
    lines = [f"    x{at} = x{at + 1}" for at in range(7) for _ in range(20)]
    (function,) = ast.parse("\n".join(["def f():", *lines, "    x7 = 'llm'"])).body
    with pytest.raises(UnreadableError):
        Several({}, (function,)).values(ast.parse("x0", mode="eval").body)
    assert Several({}, (function,)).values(ast.parse("x7", mode="eval").body) == ["llm"]
