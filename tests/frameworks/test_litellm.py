"""LiteLLM, which DSPy, CrewAI and others ask models with: who acts. `make test-frameworks`."""

from __future__ import annotations

import pytest
from databricks.sdk import WorkspaceClient
from support import calls

from obo_kit import app_config, user_session, with_user_client

pytest.importorskip("litellm")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
MODEL = "asked-by-litellm"
ASKED = [{"role": "user", "content": "Who asks?"}]


@with_user_client
def headers(client: WorkspaceClient) -> None:
    """Ask as `databricks_dspy.DatabricksLM(workspace_client=client)` does."""
    import litellm

    base = f"{client.config.host}/serving-endpoints"
    litellm.completion(f"databricks/{MODEL}", ASKED, api_base=base, headers=client.config.authenticate())


@with_user_client
def key(client: WorkspaceClient) -> None:
    import litellm

    base = f"{client.config.host}/serving-endpoints"
    litellm.completion(f"openai/{MODEL}", ASKED, api_base=base, api_key=client.config.token)


def test_a_model_acts_as_the_page_says(furnished_workspace):
    """In an app, LiteLLM prefers the app's own credentials to a token that it is given for a `databricks/` model."""
    workspace = furnished_workspace
    workspace.add_endpoint(MODEL, lambda body: "I do not know.")
    workspace.grant("users", "CAN QUERY", MODEL)
    with workspace.as_app() as app, app.user("alice", scopes=["model-serving"]), user_session():
        headers()
        key()
        who = [app.service_principal.name, "alice"]
    assert [record.user for record in calls(workspace) if "serving-endpoints" in record.path] == who


AGENT = """
import litellm
{imports}
from fastapi import FastAPI
app = FastAPI()
ROUTER = litellm.Router(model_list=[{{"model_name": "fast", "litellm_params": {{"model": "databricks/routed"}}}}])
MODEL = {model}

async def ask(name):
    await litellm.acompletion(model="databricks/asked", messages=[])
    await litellm.acompletion(model="openai/another", messages=[])
"""
MODELS = {
    "dspy": ("import dspy", 'dspy.LM("databricks/made")'),
    "crewai": ("from crewai import LLM", 'LLM(model="databricks/made")'),
    "smolagents": ("from smolagents import LiteLLMModel", 'LiteLLMModel(model_id="databricks/made")'),
    "google.adk": ("from google.adk.models.lite_llm import LiteLlm", 'LiteLlm(model="databricks/made")'),
    "agents": ("from agents.extensions.models.litellm_model import LitellmModel", 'LitellmModel("databricks/made")'),
}


@pytest.mark.parametrize("package", MODELS)
def test_a_policy_counts_the_endpoints_that_litellm_asks(package, tmp_path, monkeypatch):
    pytest.importorskip(package)
    imports, model = MODELS[package]
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    (tmp_path / "agent.py").write_text(AGENT.format(imports=imports, model=model))
    resources = app_config(tmp_path / "agent.py")["resources"]
    assert [each["serving_endpoint"]["name"] for each in resources] == ["asked", "made", "routed"]
