from concurrent.futures import ThreadPoolExecutor

from databricks.sdk import WorkspaceClient
from databricks.vector_search.client import VectorSearchClient
from langchain_core.tools import tool
from mlflow.models.resources import DatabricksVectorSearchIndex

from obo_kit import INJECTED, optional_tool, requires_scopes, with_user_client

INDEX = "main.shop.faq"
stack.callback(setattr, ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)  # one block opts every pool in
