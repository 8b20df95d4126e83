"""Write the policy of an agent, collected from what its tools declare (rules 20 to 22).

An agent file is collected in a fresh process that loads it as MLflow does. So helper modules count, other agents do not, and
collecting twice gives the same result.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from typing_extensions import TypedDict, Unpack

from obo_kit.exceptions import PolicyError
from obo_kit.policy._agent_file import collect, resources_in
from obo_kit.policy._dry_run import silent_dry_run
from obo_kit.policy._log_checks import check_arguments, check_helpers, check_model, given_policy
from obo_kit.policy._reachable import once, reached_declarations
from obo_kit.scopes._advice import widening
from obo_kit.scopes._lookup import FILE, TARGETS, catalogue, implied, kind_of, minimise, scopes_of, translate
from obo_kit.tools._registry import REGISTRY, Declaration, declarations
from obo_kit.tools._spec import Requirement

if TYPE_CHECKING:
    from mlflow.models.auth_policy import AuthPolicy
    from mlflow.models.model import ModelInfo

    from obo_kit.scopes._lookup import Naming, Target

__all__ = ["app_config", "auth_policy", "log_model"]

logger = logging.getLogger(__name__)
Source: TypeAlias = "str | os.PathLike[str] | types.ModuleType | Iterable[Any] | None"


def auth_policy(source: Source = None, *, target: Target = "model-serving", naming: Naming = "current") -> AuthPolicy:
    """Return the MLflow ``AuthPolicy`` of an agent: exactly what its tools declare.

    Args:
        source: An agent file (collected in a fresh process), a module (the tools that it defines or imports), an iterable of
            tools and resources, or nothing: everything that this process has registered.
        target: The target whose names for the scopes to use.
        naming: ``"granular"`` gives resources their older, dotted scopes. A scope that the author wrote stays as written
            if the target accepts it.

    Raises:
        PolicyError: The source cannot be collected, or the target cannot grant what a tool declares.
    """
    uncounted: list[tuple[str, str]] = []
    policy = policy_of(source, target, naming, uncounted)
    _say_uncounted(uncounted)
    return policy


def policy_of(
    source: Source, target: Target, naming: Naming, uncounted: list[tuple[str, str]] | None = None
) -> AuthPolicy:
    """Return the result of `auth_policy`, and leave it to the caller to say what could not be counted.

    Raises:
        PolicyError: As for `auth_policy`.
    """
    _check_options(target, naming)
    requirements, system = declarations(_collected(source, target, uncounted))
    return _policy(_user_scopes(requirements, target, naming), system)


def scopes_for(source: Source, target: Target) -> tuple[tuple[str, ...], PolicyError | None]:
    """Return the scopes to declare for a target, or the error that says what it cannot grant.

    Raises:
        PolicyError: The source cannot be collected.
    """
    requirements, _ = declarations(_collected(source, target))
    try:
        return _user_scopes(requirements, target, "current"), None
    except PolicyError as error:
        return (), error


def app_config(source: Source = None, *, naming: Naming = "current") -> dict[str, Any]:
    """Return the same declarations for Databricks Apps.

    Args:
        source: As for `auth_policy`.
        naming: As for `auth_policy`.

    Returns:
        ``{"user_api_scopes": […], "resources": […]}``, in the form of ``resources.apps.<name>`` in ``databricks.yml``.

    Raises:
        PolicyError: The source cannot be collected, or Apps cannot grant what a tool declares.
    """
    uncounted: list[tuple[str, str]] = []
    config = config_of(source, naming, uncounted)
    _say_uncounted(uncounted)
    return config


def config_of(source: Source, naming: Naming, uncounted: list[tuple[str, str]] | None = None) -> dict[str, Any]:
    """Return the result of `app_config`, and leave it to the caller to say what could not be counted.

    Raises:
        PolicyError: As for `app_config`.
    """
    _check_options("apps", naming)
    requirements, system = declarations(_collected(source, "apps", uncounted))
    return {
        "user_api_scopes": list(_user_scopes(requirements, "apps", naming)),
        "resources": [_app_resource(resource) for resource in _in_order(system)],
    }


class LogModelArguments(TypedDict, total=False):
    """Every argument of `mlflow.pyfunc.log_model`, so that editors and type checkers notice a misspelt name."""

    name: str | None
    python_model: Any
    artifact_path: str | None
    artifacts: Mapping[str, str] | None
    auth_policy: AuthPolicy | Mapping[str, Any] | None
    await_registration_for: int | None
    code_paths: Sequence[str | os.PathLike[str]] | None
    conda_env: Any
    data_path: str | None
    extra_pip_requirements: Sequence[str] | str | None
    infer_code_paths: bool
    input_example: Any
    loader_module: str | None
    metadata: Mapping[str, Any] | None
    model_config: Any
    model_id: str | None
    model_type: str | None
    params: Mapping[str, Any] | None
    pip_requirements: Sequence[str] | str | None
    prompts: Sequence[Any] | None
    registered_model_name: str | None
    resources: Any
    signature: Any
    step: int
    streamable: bool | None
    tags: Mapping[str, Any] | None
    uv_extras: Sequence[str] | None
    uv_groups: Sequence[str] | None
    uv_project_path: str | os.PathLike[str] | None


def log_model(**arguments: Unpack[LogModelArguments]) -> ModelInfo:
    """Log a model as `mlflow.pyfunc.log_model` does, with the collected policy, and print on standard error what is in it.

    Every argument is MLflow's and is passed on. ``resources=`` joins the system policy and ``auth_policy=`` is merged; MLflow
    alone refuses the two together. If ``python_model`` is an object and not a file, everything that this process has
    registered counts. MLflow runs ``predict`` while it logs; that needs no user.

    Returns:
        MLflow's ``ModelInfo``.
    Raises:
        PolicyError: The agent file cannot be collected, or Model Serving cannot grant what a tool declares.
    """
    import mlflow

    kwargs: dict[str, Any] = dict(arguments)
    check_arguments(kwargs)
    model = kwargs.get("python_model")
    if isinstance(model, (str, os.PathLike)):
        # MLflow refuses a file that needs a configuration and is logged without: "", and not None, is how it says that.
        agent = collect(model, code_paths=kwargs.get("code_paths") or (), model_config=kwargs.get("model_config") or "")
        check_model(agent, model)
        check_helpers(agent, model, kwargs)
        collected, uncounted = agent.declarations, [*agent.uncounted]
    else:
        uncounted = []
        collected = once([*REGISTRY, *reached_declarations([model], uncounted=uncounted)])
    requirements, system = declarations(collected)
    given_scopes, given_resources = given_policy(kwargs.pop("auth_policy", None))
    requirements += [("auth_policy=", Requirement(scope=scope)) for scope in given_scopes]
    resources = [*system, *given_resources, *resources_in(kwargs.pop("resources", None))]
    scopes = _user_scopes(requirements, "model-serving", "current")
    _pack_catalogue(kwargs)
    with silent_dry_run():
        info: ModelInfo = mlflow.pyfunc.log_model(**kwargs, auth_policy=_policy(scopes, resources))
    _say(scopes, resources)
    _say_uncounted(uncounted)
    return info


def _say_uncounted(uncounted: Iterable[tuple[str, str]]) -> None:
    """Report what the policy lacks because it could not be counted, as the command line does."""
    for what, advice in dict.fromkeys(uncounted):
        logger.warning("Not counted: %s. %s", what, advice)


def _say(scopes: Iterable[str], resources: Iterable[Any]) -> None:
    """Report which policy was written: in the log if it is configured, else on standard error."""
    import click

    system = ", ".join(f"{kind_of(resource).title} {resource.name}" for resource in _in_order(resources)) or "nothing"
    text = f"obo_kit wrote this policy: as the user: {', '.join(scopes) or 'no scope'}; as the agent itself: {system}."
    if logger.isEnabledFor(logging.INFO):
        logger.info(text)
    else:
        click.echo(text, err=True)


def _pack_catalogue(kwargs: dict[str, Any]) -> None:
    """Pack the project's catalogue file with the model: the agent declares its scopes again wherever it is loaded."""
    file, packed = catalogue().file, [*(kwargs.get("code_paths") or ())]
    if file is None or os.path.basename(file) != FILE or kwargs.get("infer_code_paths"):
        return
    if os.path.realpath(file) not in {os.path.realpath(path) for path in packed}:
        kwargs["code_paths"] = [*packed, file]


def _check_options(target: object, naming: object) -> None:
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    if naming not in ("current", "granular"):
        raise ValueError(f"naming must be 'current' or 'granular', not {naming!r}")


# --- from declarations to a policy ---------------------------------------------------------------------------------------


def _user_scopes(requirements: Iterable[tuple[str, Requirement]], target: Target, naming: Naming) -> tuple[str, ...]:
    written: set[str] = set()
    inferred: list[tuple[str, Requirement]] = []
    for tool, item in requirements:
        if item.scope is None:
            inferred.append((tool, item))
        elif item.scope not in catalogue().scopes:  # declared with allow_unknown
            written.add(item.scope)
        else:
            with _naming_the_tool(tool):
                spelled = translate(item.scope, target)
            _say_wider(tool, item.scope, spelled, target)
            written.update(spelled)
    scopes = set(written)
    for tool, item in inferred:
        # A scope that the author wrote for the same thing replaces the inferred one.
        if item.kind is not None and not any(
            all(_holds(written, scope) for scope in group) for group in item.sufficient
        ):
            with _naming_the_tool(tool):
                scopes.update(scopes_of(item.kind, target, naming))
    return minimise(scopes)


_TITLES: dict[str, str] = {"model-serving": "Model Serving", "apps": "Databricks Apps"}
_said: set[tuple[str, str, str]] = set()


def _say_wider(tool: str, scope: str, spelled: tuple[str, ...], target: Target) -> None:
    """Report once, per tool and scope, that a target accepts nothing as narrow as what the author wrote."""
    wider = ", ".join(widening([scope], spelled))
    if wider and (tool, scope, target) not in _said:
        _said.add((tool, scope, target))
        logger.warning(
            "%s takes %s for the scope %s of '%s', which opens more: it accepts nothing narrower.",
            _TITLES[target],
            wider,
            scope,
            tool,
        )


def _holds(written: set[str], scope: str) -> bool:
    return scope in written or scope in implied({*written, scope})


@contextlib.contextmanager
def _naming_the_tool(tool: str) -> Iterator[None]:
    try:
        yield
    except PolicyError as error:
        raise PolicyError(f"The tool '{tool}' cannot be deployed: {error.message}", remedy=error.remedy) from None


def _in_order(resources: Iterable[Any]) -> list[Any]:
    distinct: list[Any] = []
    for resource in sorted(resources, key=lambda resource: json.dumps(resource.to_dict(), sort_keys=True)):
        if not any(resource.to_dict() == other.to_dict() for other in distinct):
            distinct.append(resource)
    return distinct


def _policy(scopes: tuple[str, ...], resources: Iterable[Any]) -> AuthPolicy:
    from mlflow.models.auth_policy import SystemAuthPolicy, UserAuthPolicy

    from obo_kit.policy._collected_policy import CollectedPolicy

    distinct = _in_order(resources)
    return CollectedPolicy(
        system_auth_policy=SystemAuthPolicy(resources=distinct) if distinct else None,
        user_auth_policy=UserAuthPolicy(api_scopes=list(scopes)) if scopes else None,
    )


_SECURABLES = {
    "vector_search_index": ("TABLE", "SELECT"),
    "uc_table": ("TABLE", "SELECT"),
    "uc_function": ("FUNCTION", "EXECUTE"),
    "uc_connection": ("CONNECTION", "USE_CONNECTION"),
}


def _app_resource(resource: Any) -> dict[str, Any]:
    """Return a resource of the app, with the permission that its service principal needs (databricks-sdk: AppResource)."""
    kind, name = kind_of(resource), str(resource.name)
    entry: dict[str, Any] = {"name": re.sub(r"[^a-z0-9-]+", "-", f"{kind.name}-{name}".lower()).strip("-")}
    if kind.name == "serving_endpoint":
        entry["serving_endpoint"] = {"name": name, "permission": "CAN_QUERY"}
    elif kind.name == "sql_warehouse":
        entry["sql_warehouse"] = {"id": name, "permission": "CAN_USE"}
    elif kind.name == "genie_space":
        entry["genie_space"] = {"name": name, "space_id": name, "permission": "CAN_RUN"}
    elif kind.name == "databricks_app":
        entry["app"] = {"name": name, "permission": "CAN_USE"}
    elif kind.name in _SECURABLES:
        securable, permission = _SECURABLES[kind.name]
        entry["uc_securable"] = {
            "securable_full_name": name,
            "securable_type": securable,
            "permission": permission,
        }
    else:
        raise PolicyError(
            f"A {kind.title} ('{name}') cannot be a resource of an app.",
            remedy="Omit it from system_resources() for Apps, and grant it to the app's service principal yourself.",
        )
    return entry


# --- from a source to declarations ---------------------------------------------------------------------------------------


def _collected(
    source: Source, target: Target = "apps", uncounted: list[tuple[str, str]] | None = None
) -> list[Declaration]:
    """Return what a source declares.

    Args:
        source: As for `auth_policy`.
        target: Where it is to run.
        uncounted: Receives what could not be counted, and what to do about it.
    """
    uncounted = [] if uncounted is None else uncounted
    if source is None:
        return list(REGISTRY)
    if isinstance(source, types.ModuleType):
        return reached_declarations([source], uncounted=uncounted)
    if isinstance(source, (str, os.PathLike)):
        agent = collect(source)
        if target == "model-serving":
            check_model(agent, source)
        uncounted += agent.uncounted
        return agent.declarations
    return _of_items(source, uncounted)


def _of_items(items: Iterable[Any], uncounted: list[tuple[str, str]]) -> list[Declaration]:
    from mlflow.models.resources import Resource

    declarations_found: list[Declaration] = []
    for item in items:
        if isinstance(item, Resource):
            declarations_found.append(Declaration(tool="", module="", system=(item,)))
            continue
        inside = reached_declarations([item], uncounted=uncounted)
        if not inside and not callable(item) and not hasattr(item, "name"):
            raise PolicyError(
                f"A {type(item).__name__} is not a tool.",
                remedy="Pass functions, tool objects, or MLflow resources for system authorization.",
            )
        declarations_found.extend(inside)
    return once(declarations_found)
