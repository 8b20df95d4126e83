"""The policy of an agent, collected from what its tools declare (rules 20 to 22).

An agent file is collected in a fresh process, with MLflow's own way of loading it: helper modules count, other agents do
not, and collecting twice gives the same.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from obo_kit._errors import PolicyError
from obo_kit._tool import inner_spec_of
from obo_kit.requirements import REGISTRY, Declaration, Requirement, declaration_of, declarations
from obo_kit.scopes import FILE, TARGETS, catalogue, implied, kind_of, minimise, scopes_of, translate

if TYPE_CHECKING:
    from mlflow.models.auth_policy import AuthPolicy
    from mlflow.models.model import ModelInfo

    from obo_kit.scopes import Naming, Target

__all__ = ["app_config", "auth_policy", "log_model"]

Source: TypeAlias = "str | os.PathLike[str] | types.ModuleType | Iterable[Any] | None"


def auth_policy(source: Source = None, *, target: Target = "model-serving", naming: Naming = "current") -> AuthPolicy:
    """The MLflow ``AuthPolicy`` of an agent: exactly what its tools declare.

    Args:
        source: An agent file (collected in a fresh process), a module (the tools it defines or imports), tools and
            resources in an iterable, or nothing: everything that this process has registered.
        target: Whose names for the scopes to use.
        naming: ``"granular"`` gives resources their older, dotted scopes. A scope that the author wrote stays as written
            where the target takes it.

    Raises:
        PolicyError: The source cannot be collected, or the target cannot grant what a tool declares.
    """
    _check_options(target, naming)
    requirements, system = declarations(_collected(source))
    return _policy(_user_scopes(requirements, target, naming), system)


def scopes_for(source: Source, target: Target) -> tuple[tuple[str, ...], PolicyError | None]:
    """The scopes that a target must be told, or what it cannot grant.

    Raises:
        PolicyError: The source cannot be collected.
    """
    requirements, _ = declarations(_collected(source))
    try:
        return _user_scopes(requirements, target, "current"), None
    except PolicyError as error:
        return (), error


def app_config(source: Source = None, *, naming: Naming = "current") -> dict[str, Any]:
    """The same declarations for Databricks Apps.

    Args:
        source: As for `auth_policy`.
        naming: As for `auth_policy`.

    Returns:
        ``{"user_api_scopes": […], "resources": […]}``, shaped as under ``resources.apps.<name>`` in ``databricks.yml``.

    Raises:
        PolicyError: The source cannot be collected, or Apps cannot grant what a tool declares.
    """
    _check_options("apps", naming)
    requirements, system = declarations(_collected(source))
    return {
        "user_api_scopes": list(_user_scopes(requirements, "apps", naming)),
        "resources": [_app_resource(resource) for resource in _in_order(system)],
    }


def log_model(**kwargs: Any) -> ModelInfo:
    """`mlflow.pyfunc.log_model`, with the policy collected.

    Every argument is MLflow's and is passed on. ``resources=`` joins the system policy and ``auth_policy=`` is merged: MLflow
    alone refuses the two together. Where ``python_model`` is an object and not a file, what this process has registered
    counts. MLflow runs ``predict`` while it logs; that needs no user.

    Returns:
        MLflow's ``ModelInfo``.

    Raises:
        PolicyError: The agent file cannot be collected, or Model Serving cannot grant what a tool declares.
    """
    import mlflow

    model = kwargs.get("python_model")
    collected = (
        _of_file(model, code_paths=kwargs.get("code_paths"), model_config=kwargs.get("model_config"))
        if isinstance(model, (str, os.PathLike))
        else list(REGISTRY)
    )
    requirements, system = declarations(collected)
    scopes = set(_user_scopes(requirements, "model-serving", "current"))
    given_scopes, given_resources = _given(kwargs.pop("auth_policy", None))
    resources = [*system, *given_resources, *_resources_in(kwargs.pop("resources", None))]
    _pack_catalogue(kwargs)
    info: ModelInfo = mlflow.pyfunc.log_model(**kwargs, auth_policy=_policy(minimise(scopes | given_scopes), resources))
    return info


def _pack_catalogue(kwargs: dict[str, Any]) -> None:
    """The project's catalogue file goes with the model: where the agent is loaded, it declares its scopes again."""
    file, packed = catalogue().file, [*(kwargs.get("code_paths") or ())]
    if file is None or os.path.basename(file) != FILE or kwargs.get("infer_code_paths"):
        return
    if os.path.realpath(file) not in {os.path.realpath(path) for path in packed}:
        kwargs["code_paths"] = [*packed, file]


def _check_options(target: object, naming: object) -> None:
    if target not in TARGETS:
        raise ValueError(f"target is one of {', '.join(TARGETS)}, not {target!r}")
    if naming not in ("current", "granular"):
        raise ValueError(f"naming is 'current' or 'granular', not {naming!r}")


# --- from declarations to a policy ---------------------------------------------------------------------------------------


def _user_scopes(requirements: Iterable[tuple[str, Requirement]], target: Target, naming: Naming) -> tuple[str, ...]:
    written: set[str] = set()
    inferred: list[tuple[str, Requirement]] = []
    for tool, item in requirements:
        if item.scope is None:
            inferred.append((tool, item))
        elif item.scope not in catalogue().scopes:  # allow_unknown
            written.add(item.scope)
        else:
            with _naming_the_tool(tool):
                written.update(translate(item.scope, target))
    scopes = set(written)
    for tool, item in inferred:
        # What the author wrote for the same thing takes the place of what would be inferred.
        if item.kind is not None and not any(
            all(_holds(written, scope) for scope in group) for group in item.sufficient
        ):
            with _naming_the_tool(tool):
                scopes.update(scopes_of(item.kind, target, naming))
    return minimise(scopes)


def _holds(written: set[str], scope: str) -> bool:
    return scope in written or scope in implied({*written, scope})


@contextlib.contextmanager
def _naming_the_tool(tool: str) -> Iterator[None]:
    try:
        yield
    except PolicyError as error:
        raise PolicyError(f"The tool '{tool}' cannot be deployed so: {error.message}", remedy=error.remedy) from None


def _in_order(resources: Iterable[Any]) -> list[Any]:
    kept: list[Any] = []
    for resource in sorted(resources, key=lambda one: json.dumps(one.to_dict(), sort_keys=True)):
        if not any(resource.to_dict() == other.to_dict() for other in kept):
            kept.append(resource)
    return kept


def _policy(scopes: tuple[str, ...], resources: Iterable[Any]) -> AuthPolicy:
    from mlflow.models.auth_policy import AuthPolicy, SystemAuthPolicy, UserAuthPolicy

    kept = _in_order(resources)
    return AuthPolicy(
        system_auth_policy=SystemAuthPolicy(resources=kept) if kept else None,
        user_auth_policy=UserAuthPolicy(api_scopes=list(scopes)) if scopes else None,
    )


def _given(policy: Any) -> tuple[set[str], list[Any]]:
    """The scopes and resources of a policy that the author passes beside the collected one."""
    if policy is None:
        return set(), []
    as_dict = policy if isinstance(policy, Mapping) else policy.to_dict()
    user = as_dict.get("user_auth_policy") or {}
    system = as_dict.get("system_auth_policy") or {}
    return set(user.get("api_scopes") or ()), _resources_in(system.get("resources"))


def _resources_in(resources: Any) -> list[Any]:
    """Resources as MLflow takes them: objects, its dictionary form, or a YAML file."""
    if not resources:
        return []
    import mlflow.models.resources

    known: Any = mlflow.models.resources

    if isinstance(resources, (str, os.PathLike)):
        resources = known._ResourceBuilder.from_yaml_file(str(resources))
    if not isinstance(resources, Mapping):
        return list(resources)
    return [
        known._get_resource_class_by_type(uri, kind).from_dict(value)
        for uri, kinds in resources.items()
        if uri != "api_version"
        for kind, values in kinds.items()
        for value in values
    ]


_SECURABLES = {
    "vector_search_index": ("TABLE", "SELECT"),
    "uc_table": ("TABLE", "SELECT"),
    "uc_function": ("FUNCTION", "EXECUTE"),
    "uc_connection": ("CONNECTION", "USE_CONNECTION"),
}


def _app_resource(resource: Any) -> dict[str, Any]:
    """A resource of the app itself, with the permission its service principal needs (databricks-sdk: AppResource)."""
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
            remedy="Leave it out of system_resources() for Apps, and grant it to the app's service principal yourself.",
        )
    return entry


# --- from a source to declarations ---------------------------------------------------------------------------------------


def _collected(source: Source) -> list[Declaration]:
    if source is None:
        return list(REGISTRY)
    if isinstance(source, types.ModuleType):
        return _of_module(source)
    if isinstance(source, (str, os.PathLike)):
        return _of_file(source)
    return _of_items(source)


def _of_file(path: Any, *, code_paths: Iterable[Any] | None = None, model_config: Any = None) -> list[Declaration]:
    path = Path(path)
    if not path.is_file():
        raise PolicyError(
            f"There is no agent file '{path}'.", remedy="Pass the path of the Python file that calls set_model()."
        )
    beside = [os.path.dirname(os.path.abspath(os.fspath(code))) for code in code_paths or ()]
    with tempfile.TemporaryDirectory(prefix="obo-kit-") as folder:
        answer = Path(folder) / "declarations.json"
        asked = {
            "path": str(path),
            "answer": str(answer),
            "sys_path": [*sys.path, *beside],
            "model_config": os.fspath(model_config) if isinstance(model_config, os.PathLike) else model_config,
        }
        # Into a file and not a pipe: what the agent file starts and leaves running would keep a pipe open.
        said = Path(folder) / "stderr"
        with said.open("wb") as stderr:
            done = subprocess.run(
                [sys.executable, "-m", "obo_kit._collect"],
                input=json.dumps(asked).encode(),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                check=False,
                # The catalogue that this process goes by, wherever its file is and whatever was changed since.
                env={
                    **os.environ,
                    "OBO_KIT_CATALOGUE": catalogue().file or "",
                    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *_python_path()]),
                },
            )
        if not answer.exists():
            raise PolicyError(
                f"'{path}' ended the process that collected it (exit code {done.returncode}). "
                f"{_last_line(said.read_text('utf-8', 'replace'))}",
                remedy="Load the file on its own with mlflow.pyfunc.load_model or python, and mend what it reports.",
            )
        found = json.loads(answer.read_text("utf-8"))
    if "error" in found:
        place = f"Mend it at {found['at']}" if found["at"] else "Mend the agent file: MLflow loads it the same way"
        raise PolicyError(
            f"'{path}' raised {found['error'].rstrip('.')} when it was loaded.",
            remedy=f"{place}. {found['remedy'] or ''}".rstrip(),
        )
    return [_read(entry) for entry in found["declarations"]]


def _python_path() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def as_json(declaration: Declaration) -> dict[str, Any]:
    """A declaration, for the way from the collecting process."""
    return {
        "tool": declaration.tool,
        "module": declaration.module,
        "scopes": [item.scope for item in declaration.requirements if item.scope is not None],
        "resources": [item.resource.to_dict() for item in declaration.requirements if item.scope is None],
        "system": [resource.to_dict() for resource in declaration.system],
    }


def _read(entry: Mapping[str, Any]) -> Declaration:
    return Declaration(
        tool=entry["tool"],
        module=entry["module"],
        requirements=(
            *(Requirement(scope=scope) for scope in entry["scopes"]),
            *(
                Requirement(resource=resource, kind=kind_of(resource))
                for written in entry["resources"]
                for resource in _resources_in({"databricks": written})
            ),
        ),
        system=tuple(one for written in entry["system"] for one in _resources_in({"databricks": written})),
    )


def _of_module(module: types.ModuleType) -> list[Declaration]:
    declaring = {declaration.module for declaration in REGISTRY}
    visited: dict[str, types.ModuleType] = {}
    found: list[Declaration] = []

    def visit(one: types.ModuleType) -> None:
        if one.__name__ in visited:
            return
        visited[one.__name__] = one
        for value in list(vars(one).values()):
            if isinstance(value, types.ModuleType):
                if any(name == value.__name__ or name.startswith(f"{value.__name__}.") for name in declaring):
                    visit(value)
            else:
                found.extend(_inside(value))

    visit(module)
    found.extend(declaration for declaration in REGISTRY if declaration.module in visited)
    return _once(found)


def _of_items(items: Iterable[Any]) -> list[Declaration]:
    from mlflow.models.resources import Resource

    found: list[Declaration] = []
    for item in items:
        if isinstance(item, Resource):
            found.append(Declaration(tool="", module="", system=(item,)))
            continue
        inside = list(_inside(item))
        if not inside and not callable(item) and not hasattr(item, "name"):
            raise PolicyError(
                f"A {type(item).__name__} is no tool.",
                remedy="Pass functions, tool objects, or MLflow resources for system authorization.",
            )
        found.extend(inside)
    return _once(found)


def _once(found: Iterable[Declaration]) -> list[Declaration]:
    kept: list[Declaration] = []
    for declaration in found:
        if declaration not in kept:
            kept.append(declaration)
    return kept


_MAX_DEPTH, _MAX_NODES = 5, 2000


def _inside(value: Any) -> Iterator[Declaration]:
    """The declarations of the kit's tools that a value is, or holds: frameworks wrap functions in objects of their own."""
    seen: set[int] = set()

    def walk(one: Any, depth: int) -> Iterator[Declaration]:
        if depth > _MAX_DEPTH or id(one) in seen or len(seen) > _MAX_NODES:
            return
        seen.add(id(one))
        spec = inner_spec_of(one)
        if spec is not None:
            if spec.requirements is not None:
                yield declaration_of(spec)
            return
        for held in _held_by(one):
            yield from walk(held, depth + 1)

    yield from walk(value, 0)


def _held_by(value: Any) -> list[Any]:
    if isinstance(value, (str, bytes, int, float, types.ModuleType)) or value is None:
        return []
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, functools.partial):
        return [value.func, *value.args]
    if isinstance(value, types.FunctionType):
        return [_cell(cell) for cell in value.__closure__ or ()] + [getattr(value, "__wrapped__", None)]
    if isinstance(value, types.MethodType):
        return [value.__func__]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    held = getattr(value, "__dict__", None)
    return list(held.values()) if held else []


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
