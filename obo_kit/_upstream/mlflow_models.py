"""Load agent files and read resources as MLflow does, by its own private functions. Read in mlflow 3.10 and 3.17."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

__all__: list[str] = []


@contextlib.contextmanager
def development_config(model_config: Any) -> Iterator[None]:
    """Let ``ModelConfig(development_config=…)`` count while a file is loaded without a configuration of the model's."""
    from mlflow.models import utils

    known: Any = utils
    setter = known._set_model_config
    if model_config is None:
        known._set_model_config = lambda _: None
    try:
        yield
    finally:
        known._set_model_config = setter


def load_model_code(path: str, model_config: Any) -> Any:
    """Return the model that an agent file sets.

    Raises:
        MlflowException: It sets none, or fails.
    """
    from mlflow.models.utils import _load_model_code_path

    return _load_model_code_path(path, model_config)


def module_of_model_code(names: Collection[str]) -> str:
    """Return which of these modules MLflow made for an agent file."""
    return next(name for name in names if name.startswith("code_model_"))


def resources_in_yaml(path: str) -> Mapping[str, Any]:
    """Return the resources in a YAML file, in their dictionary form."""
    import mlflow.models.resources

    known: Any = mlflow.models.resources
    read: Mapping[str, Any] = known._ResourceBuilder.from_yaml_file(path)
    return read


def resource_from_dict(uri: str, kind: str, value: Mapping[str, Any]) -> Any:
    """Return a resource that is written as a dictionary."""
    import mlflow.models.resources

    known: Any = mlflow.models.resources
    return known._get_resource_class_by_type(uri, kind).from_dict(value)
