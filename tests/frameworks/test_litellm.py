"""LiteLLM, which DSPy, CrewAI and others ask models with: who acts. `make test-frameworks`."""

from __future__ import annotations

import pytest
from databricks.sdk import WorkspaceClient
from support import calls

from obo_kit import user_session, with_user_client

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
