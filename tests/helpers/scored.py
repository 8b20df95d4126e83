"""A model that says who it is, for MLflow's scoring server."""

import os
import time
from pathlib import Path

import mlflow
from databricks.sdk import WorkspaceClient

from obo_kit import user_session, with_user_client


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


class Who(mlflow.pyfunc.PythonModel):
    @user_session
    def predict(self, model_input: list[str]):
        first = whoami()
        deadline = time.monotonic() + 60
        while "wait" in model_input and not Path(os.environ["WAIT_FOR"]).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return {"worker": os.getpid(), "who": [first, whoami()]}


mlflow.models.set_model(Who())
