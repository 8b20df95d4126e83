from databricks.vector_search.client import VectorSearchClient
from databricks.vector_search.utils import CredentialStrategy
from mlflow.models.auth_policy import AuthPolicy, SystemAuthPolicy, UserAuthPolicy
from mlflow.models.resources import DatabricksVectorSearchIndex

INDEX = "main.shop.faq"
