"""A model that says who it is, for MLflow's scoring server."""

import os

import mlflow
from databricks.sdk import WorkspaceClient

from obo_kit import user_session, with_user_client


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


class Who(mlflow.pyfunc.PythonModel):
    @user_session
    def predict(self, model_input: list[str]):
        return {"worker": os.getpid(), "who": [whoami(), whoami()]}


mlflow.models.set_model(Who())
