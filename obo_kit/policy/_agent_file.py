"""Collect an agent file in a fresh process, loaded the way MLflow loads it (rule 22).

Results are kept as long as this process lives. A result is used again only if nothing that the file was made of has changed:
see `_Kept`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obo_kit._upstream.mlflow_models import resource_from_dict, resources_in_yaml
from obo_kit._utils.user_code import is_stdlib_folder
from obo_kit.exceptions import PolicyError
from obo_kit.policy._client_objects import McpServer, requirement_of
from obo_kit.policy._environment import environment_of, identifies
from obo_kit.policy._layout import STAND_IN, layout_of, locate, target_of
from obo_kit.scopes._lookup import catalogue, kind_of, look_beside
from obo_kit.tools._registry import Declaration
from obo_kit.tools._spec import Requirement

if TYPE_CHECKING:
    from obo_kit.scopes._lookup import Target
    from obo_kit.scopes._model import ResourceKind

__all__: list[str] = []


@dataclass(frozen=True, kw_only=True)
class AgentFile:
    """The result of collecting an agent file.

    Attributes:
        declarations: What the agent declares.
        model: The class name of the model that it passes to ``set_model()``; `None` if it never calls it.
        loads: Whether MLflow's pyfunc can log and load such a model.
        helpers: The author's own modules that it imports: name and file.
        target: Where it is meant to run, and the reason; `None` if nothing in the file tells.
        uncounted: What could not be counted, and what to do about it.
    """

    declarations: list[Declaration]
    model: str | None
    loads: bool
    helpers: dict[str, str]
    target: tuple[Target, str] | None = None
    uncounted: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class NamedResource:
    """A resource by its name, where MLflow's own object is not needed: loading MLflow takes seconds."""

    kind: ResourceKind
    name: str


def collect(
    path: str | os.PathLike[str], *, code_paths: Iterable[Any] = (), model_config: Any = None, by_name: bool = False
) -> AgentFile:
    """Load an agent file in a process of its own, and collect what it declares.

    Args:
        path: A Python file, a notebook exported as source, an ``.ipynb``, or the dotted name of a module.
        code_paths: As for MLflow's ``log_model``.
        model_config: As for MLflow's ``log_model``.
        by_name: Whether its resources are only named (`NamedResource`).

    Raises:
        PolicyError: The file does not exist, loading it fails, or its declarations cannot be determined.
    """
    layout = layout_of(locate(path))
    look_beside(layout.path)
    folder = os.path.dirname(os.path.abspath(layout.path))
    root = [layout.root] if layout.root else []
    environment = environment_of(Path(place) for place in (folder, *root, *layout.project))
    request = {
        "path": layout.path,
        "name": layout.name,
        "sys_path": _stdlib_first([*root, *sys.path, *_beside(code_paths), folder, *layout.project]),
        "variables": environment.values,
        "model_config": os.fspath(model_config) if isinstance(model_config, os.PathLike) else model_config,
    }
    key = _key(request)
    result = _kept.get(key)
    if result is None:
        begun = time.time_ns()
        result = _in_a_process(request, by_name=by_name)
        if "error" in result:
            raise _error(request["path"], result, environment.missing_in(result["error"]))
        _kept.keep(key, result, begun)
    return AgentFile(
        declarations=[_read(entry, by_name=by_name) for entry in result["declarations"]],
        model=result["model"],
        loads=result["loads"],
        helpers=result["helpers"],
        target=target_of(request["path"], sets_model=result["model"] is not None),
        uncounted=tuple((what, advice) for what, advice in result["uncounted"]),
    )


def _beside(code_paths: Iterable[Any]) -> list[str]:
    return [os.path.dirname(os.path.abspath(os.fspath(code))) for code in code_paths]


def _stdlib_first(folders: Iterable[str]) -> list[str]:
    """Order the folders so that no ``json.py`` or ``queue.py`` of a project replaces Python's own in a fresh process."""
    return sorted(folders, key=lambda folder: not is_stdlib_folder(folder))


_ROOT = str(Path(__file__).parents[2])
# Run as a command, not by `-m` or as a file: `__main__` is then no module of anybody, and the working directory is on no path.
_START = (
    "import sys; sys.path[:] = sys.argv[1:]; del sys.argv[1:]; from obo_kit.policy._agent_process import main; main()"
)


def _in_a_process(request: Mapping[str, Any], *, by_name: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="obo-kit-") as folder:
        answer, log = Path(folder) / "declarations.json", Path(folder) / "stderr"
        # Into a file, not a pipe: programs that the agent file starts and leaves running would keep a pipe open.
        with log.open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603 - this Python, and paths of its own
                [sys.executable, "-c", _START, *_stdlib_first([_ROOT, *request["sys_path"]])],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                # The catalogue that this process uses, wherever its file is and whatever has changed since.
                env={**request["variables"], **os.environ, **_stand_in(), "OBO_KIT_CATALOGUE": catalogue().file or ""},
            )
            with process:
                assert process.stdin is not None
                with process.stdin as stdin:
                    stdin.write(json.dumps({**request, "answer": str(answer)}).encode())
                if not by_name:
                    # Needed afterwards. Loading it takes as long here as it does there.
                    import mlflow.models.resources  # noqa: F401
                _await(process, answer, request["path"])
        if not answer.exists():
            raise PolicyError(
                f"'{request['path']}' ended the process that collected it (exit code {process.returncode}). "
                f"{_last_line(log.read_text('utf-8', 'replace'))}",
                remedy="Load the file on its own with mlflow.pyfunc.load_model or python, and fix the error that it reports.",
            )
        result: dict[str, Any] = json.loads(answer.read_text("utf-8"))
        return result


def _await(process: subprocess.Popen[bytes], answer: Path, path: str) -> None:
    """Wait for the answer, but not forever: an agent file may start a server, or wait for input."""
    seconds = float(os.environ.get("OBO_KIT_COLLECT_SECONDS") or 300)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        if answer.exists():
            return
        raise PolicyError(
            f"'{path}' was not loaded within {seconds:g} seconds. It may start a server or wait for something.",
            remedy='Put the code that runs the app below `if __name__ == "__main__":`, or set OBO_KIT_COLLECT_SECONDS higher.',
        ) from None


def _stand_in() -> dict[str, str]:
    """Return an identity for modules that build clients while they load, if this machine has none of its own.

    It opens nothing: its host does not exist, and requests to it are refused before anything is sent.
    """
    config = os.path.expanduser(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg")
    if any(map(identifies, os.environ)) or os.path.isfile(config):
        return {}
    return {"DATABRICKS_HOST": f"https://{STAND_IN}", "DATABRICKS_TOKEN": "stand-in", "DATABRICKS_AUTH_TYPE": "pat"}


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _error(path: str, failure: Mapping[str, Any], advice: str = "") -> PolicyError:
    if failure["refused"]:  # by the kit, after the file was loaded
        return PolicyError(failure["error"], remedy=failure["remedy"])
    place = f"See {failure['at']}" if failure["at"] else "See the agent file: MLflow loads it the same way"
    return PolicyError(
        f"Loading '{path}' raised {failure['error'].rstrip('. ')}.",
        remedy=f"{place}. {advice or failure['remedy'] or ''}".rstrip(),
    )

    # --- declarations, on their way between the processes ---------------------------------------------------------------------


def as_json(declaration: Declaration) -> dict[str, Any]:
    """Return a declaration as plain values, to send it from the collecting process."""
    named = [item.resource for item in declaration.requirements if item.scope is None]
    return {
        "tool": declaration.called,
        "module": declaration.module,
        "scopes": [item.scope for item in declaration.requirements if item.scope is not None],
        "servers": [resource.name for resource in named if isinstance(resource, McpServer)],
        "resources": [resource.to_dict() for resource in named if not isinstance(resource, McpServer)],
        "system": [resource.to_dict() for resource in declaration.system],
        "names": [_named(resource) for resource in named if not isinstance(resource, McpServer)],
        "system_names": [_named(resource) for resource in declaration.system],
    }


def _named(resource: Any) -> tuple[str, str]:
    return kind_of(resource).name, str(resource.name)


def _read(entry: Mapping[str, Any], *, by_name: bool) -> Declaration:
    if by_name:
        resources, system = (
            [NamedResource(kind=catalogue().kinds[kind], name=name) for kind, name in entry[key]]
            for key in ("names", "system_names")
        )
    else:
        resources, system = (
            [resource for written in entry[key] for resource in resources_in({"databricks": written})]
            for key in ("resources", "system")
        )
    return Declaration(
        tool=entry["tool"],
        module=entry["module"],
        requirements=(
            *(Requirement(scope=scope) for scope in entry["scopes"]),
            *(requirement_of(McpServer(name=name)) for name in entry["servers"]),
            *(
                Requirement(resource=resource, kind=resource.kind if by_name else kind_of(resource))
                for resource in resources
            ),
        ),
        system=tuple(system),
    )


def resources_in(resources: Any) -> list[Any]:
    """Return resources from any form that MLflow accepts: objects, its dictionary form, or a YAML file."""
    if not resources:
        return []
    if isinstance(resources, (str, os.PathLike)):
        resources = resources_in_yaml(str(resources))
    if not isinstance(resources, Mapping):
        return list(resources)
    return [
        resource_from_dict(uri, kind, value)
        for uri, kinds in resources.items()
        if uri != "api_version"
        for kind, values in kinds.items()
        for value in values
    ]


# --- what was collected before --------------------------------------------------------------------------------------------


def _key(request: Mapping[str, Any]) -> str:
    # Leave out paths that loading MLflow adds to a process, so that the key is the same before and after.
    paths = [path for path in request["sys_path"] if not path.endswith(os.path.join("setuptools", "_vendor"))]
    surroundings = [item for item in sorted(os.environ.items()) if not item[0].startswith("_MLFLOW_TELEMETRY")]
    question = json.dumps([{**request, "sys_path": paths}, os.getcwd(), surroundings, catalogue().file])
    return hashlib.sha256(question.encode()).hexdigest()  # an environment may hold secrets


class _Kept:
    """The results that were collected in this process, each with the state of everything that it was made of.

    That is: the contents of the agent file, of the author's modules and of every file that they read; the names in the
    folders of these files and in the folders that modules are looked up in (a new module may shadow another, a package may
    be upgraded); and, in the key, arguments, environment and working directory. A file that asked the network or another
    process while it was loaded is collected anew each time. So is one that changed while it was loaded.
    """

    _MOST = 32

    def __init__(self) -> None:
        self._entries: dict[str, tuple[str, dict[str, Any]]] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        state, result = self._entries.get(key, ("", None))
        return result if result is not None and _state_of(result["files"], result["folders"]) == state else None

    def keep(self, key: str, result: dict[str, Any], begun: int) -> None:
        """Keep a result if it may be used again.

        Args:
            key: The key of the request.
            result: The result.
            begun: When the request was made, in nanoseconds of the wall clock.
        """
        tick = 50_000_000  # nanoseconds by which a file's time may lag behind the clock
        if result["asked_outside"] or any(_changed_at(file) >= begun - tick for file in result["files"]):
            return
        while len(self._entries) >= self._MOST:
            self._entries.pop(next(iter(self._entries)))
        self._entries[key] = _state_of(result["files"], result["folders"]), result


_kept = _Kept()

# Files that logging a model, or Python itself, leaves behind.
_LEFT_BEHIND = ("__pycache__", "mlruns", "mlartifacts", "mlflow.db")


def _changed_at(file: str) -> int:
    try:
        status = os.stat(file)
    except OSError:
        return 0
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _state_of(files: Iterable[str], folders: Iterable[str]) -> str:
    state = hashlib.sha256()
    for file in files:
        try:
            content = hashlib.sha256(Path(file).read_bytes()).digest()
        except OSError:
            content = b""
        # As the system has it: a name need not be text, as where Python takes the system for an ASCII one.
        state.update(b"\0".join((os.fsencode(file), content, b"")))
    for folder in folders:
        try:
            names = [name for name in os.listdir(folder) if not name.startswith(_LEFT_BEHIND)]
        except OSError:
            names = []
        state.update(json.dumps([folder, sorted(names)]).encode())
    return state.hexdigest()
