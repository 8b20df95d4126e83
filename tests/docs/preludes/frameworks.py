import types
from concurrent.futures import ThreadPoolExecutor

from databricks.sdk import WorkspaceClient
from databricks.vector_search.client import VectorSearchClient
from langchain_core.tools import tool
from mlflow.models.resources import DatabricksVectorSearchIndex

from obo_kit import INJECTED, optional_tool, requires_scopes, with_user_client

INDEX = "main.shop.faq"
workspace = open_workspace()
client = WorkspaceClient(host=workspace.host, token=workspace.token("alice"), auth_type="pat")
dspy = types.SimpleNamespace(LM=lambda model, **options: options)  # tests/frameworks/test_litellm.py asks such a model
stack.callback(setattr, ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)  # one block opts every pool in
