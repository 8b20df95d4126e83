"""Refuse arguments of `log_model` early, before anything runs. MLflow would fail late, or only after deployment."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from obo_kit.exceptions import PolicyError
from obo_kit.policy._agent_file import resources_in

if TYPE_CHECKING:
    from obo_kit.policy._agent_file import AgentFile

__all__: list[str] = []

_PYFUNC = "Write the agent as a file that ends with mlflow.models.set_model(…), and pass python_model='agent.py'."


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that MLflow's pyfunc does not accept, or not together.

    Raises:
        PolicyError: The model cannot be logged with these arguments.
    """
    import mlflow

    known = inspect.signature(mlflow.pyfunc.log_model).parameters
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        flavor = next((name for name in unknown if name.endswith("_model")), None)
        if flavor is not None:
            raise PolicyError(
                f"'{flavor}' belongs to an MLflow flavor that takes no auth_policy, so such an agent has no user.",
                remedy=_PYFUNC,
            )
        raise PolicyError(
            f"mlflow.pyfunc.log_model takes no {', '.join(unknown)}.", remedy="Correct the name, or leave it out."
        )
    model = arguments.get("python_model")
    if model is None and arguments.get("loader_module") is None:
        raise PolicyError("There is nothing to log: python_model is missing.", remedy=_PYFUNC)
    if isinstance(model, (str, os.PathLike)):
        if os.fspath(model).endswith(".ipynb"):
            raise PolicyError(
                "MLflow cannot load a notebook in the form of .ipynb.",
                remedy="Export it as source (.py), or write the agent's cell to a file with %%writefile agent.py.",
            )
    elif model is not None and not is_pyfunc(model):
        raise PolicyError(f"MLflow's pyfunc cannot log a {type(model).__name__}.", remedy=_PYFUNC)


def is_pyfunc(model: object) -> bool:
    """Return whether MLflow's pyfunc can log and load a model."""
    return callable(model) or any(cls.__name__ == "PythonModel" for cls in type(model).__mro__)


def check_model(agent: AgentFile, path: str | os.PathLike[str]) -> None:
    """Refuse an agent file that Model Serving could not load.

    Raises:
        PolicyError: The file sets no model, or one that MLflow's pyfunc does not accept.
    """
    if agent.model is None:
        raise PolicyError(
            f"'{os.fspath(path)}' sets no model: it never calls set_model().",
            remedy="End the file with mlflow.models.set_model(…). A Databricks App needs none: use app_config or "
            "target='apps'.",
        )
    if not agent.loads:
        raise PolicyError(
            f"'{os.fspath(path)}' sets a {agent.model}, which MLflow's pyfunc cannot log. The flavor that can takes no "
            "auth_policy, so such an agent would have no user.",
            remedy="Set a ResponsesAgent (or another PythonModel) that calls it.",
        )


def check_helpers(agent: AgentFile, path: str | os.PathLike[str], arguments: Mapping[str, Any]) -> None:
    """Refuse helper modules that would be missing after deployment.

    Raises:
        PolicyError: The agent file imports modules that are neither in ``code_paths`` nor installed.
    """
    if arguments.get("infer_code_paths"):
        return
    packed = [os.path.realpath(os.fspath(code)) for code in arguments.get("code_paths") or ()]
    left = {
        name: file
        for name, file in agent.helpers.items()
        if not any(_within(os.path.realpath(file), place) for place in packed)
    }
    if not left:
        return
    required = _required(
        [arguments.get("pip_requirements"), arguments.get("extra_pip_requirements"), arguments.get("conda_env")]
    )
    installed = list(_editable())
    missing = {
        name: _code_path(name, file)
        for name, file in left.items()
        if name.partition(".")[0].lower() not in required
        and not any(_within(os.path.realpath(file), place) for place in installed)
    }
    if missing:
        names = sorted({name.partition(".")[0] for name in missing})
        raise PolicyError(
            f"'{os.fspath(path)}' imports {', '.join(names)}, which would be missing after deployment.",
            remedy=f"Pass code_paths={sorted(set(missing.values()))}, or install it as a package and list that in "
            "pip_requirements.",
        )


def _code_path(name: str, file: str) -> str:
    """Return what to pack for a module: its file, or the folder of its package."""
    for _ in range(name.count(".") + (os.path.basename(file) == "__init__.py")):
        file = os.path.dirname(file)
    try:
        return os.path.relpath(file)
    except ValueError:  # on another drive
        return file


def _within(file: str, place: str) -> bool:
    return file == place or file.startswith(place.rstrip(os.sep) + os.sep)


def _required(requirements: Iterable[Any]) -> set[str]:
    """Return the names of required packages in the spelling of modules; also for wheels."""
    names = set()
    for entry in requirements:
        for text in [entry] if isinstance(entry, str) else entry if isinstance(entry, (list, tuple)) else ():
            name = re.match(r"[A-Za-z0-9_.-]*[A-Za-z0-9]", os.path.basename(str(text)))
            names.add(re.sub(r"[-.]+", "_", re.split(r"-\d", name[0])[0]).lower() if name else "")
    return names


def _editable() -> Iterable[str]:
    """Return the folders of packages that are installed in editable mode."""
    for distribution in importlib.metadata.distributions():
        written = distribution.read_text("direct_url.json")
        if written and json.loads(written).get("dir_info", {}).get("editable"):
            yield os.path.realpath(url2pathname(urlsplit(json.loads(written)["url"]).path))


def given_policy(policy: Any) -> tuple[list[str], list[Any]]:
    """Return the scopes and resources of a policy that the author passes in addition to the collected one.

    Raises:
        PolicyError: It is neither an `AuthPolicy` nor its dictionary form, or its user policy names no scope.
    """
    if policy is None:
        return [], []
    from mlflow.models.auth_policy import AuthPolicy

    if isinstance(policy, AuthPolicy):
        policy = cast("Any", policy).to_dict()
    if not isinstance(policy, Mapping):
        raise PolicyError(
            f"auth_policy= takes an mlflow.models.auth_policy.AuthPolicy, not a {type(policy).__name__}.",
            remedy=_LIKE_THIS,
        )
    user, system = policy.get("user_auth_policy") or {}, policy.get("system_auth_policy") or {}
    if not isinstance(user, Mapping) or not isinstance(system, Mapping) or set(policy) - _PARTS:
        raise PolicyError("auth_policy= has fields that MLflow does not know.", remedy=_LIKE_THIS)
    scopes = user.get("api_scopes")
    if user and (
        not isinstance(scopes, (list, tuple)) or not scopes or not all(isinstance(scope, str) for scope in scopes)
    ):
        raise PolicyError(
            "The user policy in auth_policy= names no scopes.",
            remedy="Pass a list of scopes as api_scopes, or omit user_auth_policy if the tools declare what is needed.",
        )
    return list(scopes or ()), resources_in(system.get("resources"))


_PARTS = {"user_auth_policy", "system_auth_policy"}
_LIKE_THIS = (
    "Pass AuthPolicy(user_auth_policy=UserAuthPolicy(api_scopes=[…]), system_auth_policy=SystemAuthPolicy(resources=[…])), "
    "or omit it: the policy is collected."
)
