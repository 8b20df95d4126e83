"""Endpoints that LiteLLM asks: found wherever they are named, and counted for the agent, as which LiteLLM asks them (rule 22).

LiteLLM is played by modules of a few lines here; `tests/frameworks/test_litellm.py` has the real ones.
"""

from __future__ import annotations

import textwrap

import pytest
from click.testing import CliRunner

from obo_kit import app_config
from obo_kit.cli import main

pytestmark = pytest.mark.long

LITELLM = """
def completion(model, messages=(), *, api_key=None): ...
async def acompletion(model, messages=(), *, api_key=None): ...
def token_counter(model="", messages=()): ...
class Router:
    def __init__(self, model_list=None): self.model_list = model_list
"""
LANGUAGE_MODELS = """
class LM:
    def __init__(self, model, **options): self.model = model
def configure(**options): ...
"""
HUB = "def pipeline(task, model=None): ...\n"
HEAD = """
import asyncio
import functools
import hub, lms, litellm
from databricks.sdk import WorkspaceClient
from fastapi import FastAPI
from mlflow.models.resources import DatabricksServingEndpoint
from obo_kit import requires_scopes, with_user_client
MODEL = "databricks/llm"
app = FastAPI()
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write an agent file, beside packages of which one requires LiteLLM; return what the policy says, and does not count."""
    monkeypatch.chdir(tmp_path)
    for package, source, requires in (
        ("litellm", LITELLM, ""),
        ("lms", LANGUAGE_MODELS, "litellm>=1"),
        ("hub", HUB, "x"),
    ):
        (tmp_path / "site-packages" / f"{package}-1.dist-info").mkdir(parents=True)
        (tmp_path / "site-packages" / f"{package}.py").write_text(source)
        information = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n"
        information += f"Requires-Dist: {requires}\n" if requires else ""
        (tmp_path / "site-packages" / f"{package}-1.dist-info" / "METADATA").write_text(information)
        (tmp_path / "site-packages" / f"{package}-1.dist-info" / "top_level.txt").write_text(f"{package}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))

    def written(agent: str) -> tuple[list[str], list[str]]:
        (tmp_path / "agent.py").write_text(HEAD + textwrap.dedent(agent))
        done = CliRunner().invoke(main, ["policy", "agent.py", "--format", "bundle"])
        assert done.exit_code == 0, done.output
        said = [line for line in done.stderr.splitlines() if line.startswith("Not counted: ")]
        resources = app_config("agent.py").get("resources", [])
        return [each["serving_endpoint"]["name"] for each in resources if "serving_endpoint" in each], said

    return written


# One file for all: each case names an endpoint of its own, and loading a file takes seconds.
NAMED = """
def by_a_function(): return litellm.completion(model="databricks/function")
def by_position(): return litellm.completion("databricks/position")
async def by_a_name(): return await litellm.acompletion(MODEL)
def imported_inside():
    from litellm import completion as c
    return c(model="databricks/inside")
def to_a_thread(): return asyncio.to_thread(litellm.completion, model="databricks/thread")
def in_a_partial(): return functools.partial(litellm.completion, model="databricks/partial")
def in_a_list(): return litellm.Router([{"litellm_params": {"model": "databricks/listed"}}])
def to_a_router(router): return router.completion(model="databricks/router")
def by_a_package_that_requires_it(): return lms.LM("databricks/package")
def for_another_framework(agent): return agent(model="litellm/databricks/framework")
EARLY = lms.LM(f"databricks/{'early'}")
ROUTER = litellm.Router([{"litellm_params": {"model": "databricks/early-router"}}])
lms.configure(lm=lms.LM("databricks/handed-over"))
class Agent:
    def __init__(self, name): self.lm = lms.LM(f"databricks/{name}")
AGENT = Agent("own-object")
"""


def test_an_endpoint_counts_wherever_it_is_named_for_litellm(write):
    names = (
        "early early-router framework function handed-over inside listed llm own-object package partial position router"
    )
    assert write(NAMED) == ([*names.split(), "thread"], [])


OTHERS = """
def another_provider(): return litellm.completion("openai/gpt")
def another_provider_by_a_name(name): return litellm.completion(f"openai/{name}")
def a_model_of_unity_catalog(): return litellm.completion("databricks/system.ai.llm")
def a_model_of_a_hub(): return hub.pipeline("generate", model="databricks/dolly")
def a_path(log): return log("databricks/path")
def a_question_about_tokens(name): return litellm.token_counter(name)
"""


def test_what_names_no_endpoint_is_left_alone(write):
    assert write(OTHERS) == ([], [])


UNREADABLE = """
def by_keyword(name): return litellm.completion(model=name)
def by_position(name): return litellm.completion(name)
def by_a_package(name): return lms.LM(f"databricks/{name}")
"""


def test_an_endpoint_that_cannot_be_read_is_said(write):
    counted, said = write(UNREADABLE)
    assert counted == []
    assert len(said) == 3
    for line, note in zip((12, 13, 14), said, strict=True):
        assert f"agent.py:{line} asks a model, and only running it tells which endpoint" in note


TOOLS = """
@requires_scopes(DatabricksServingEndpoint("declared"))
@with_user_client
def declared(client: WorkspaceClient):
    return litellm.completion("databricks/declared")

@requires_scopes("model-serving")
@with_user_client
def with_token(client: WorkspaceClient):
    return litellm.completion("databricks/with-token", api_key=client.config.token)

@requires_scopes("genie")
@with_user_client
def as_agent(client: WorkspaceClient):
    return litellm.completion("databricks/as-agent", api_key=None)
"""


def test_litellm_acts_as_the_agent_also_with_a_user_s_token(write):
    counted, said = write(TOOLS)
    assert counted == ["as-agent", "declared", "with-token"]
    assert ["'databricks/declared'" in said[0], "'databricks/with-token'" in said[1], len(said)] == [True, True, 2]
    assert all(
        "as a question of the user: LiteLLM asks as the agent itself wherever DATABRICKS_CLIENT_ID" in note
        for note in said
    )
