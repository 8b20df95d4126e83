"""MLflow traces each request. The traces of tests go nowhere, instead of into a database in this folder."""

import mlflow

mlflow.tracing.disable()
