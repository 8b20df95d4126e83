"""An agent file, collected in a fresh process with MLflow's own way of loading it (rule 22).

What was collected is kept for as long as this process lives, and used again only where nothing that the file was made of
has changed: see `_Kept`.
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

from obo_kit._utils.user_code import is_stdlib_folder
from obo_kit.exceptions import PolicyError
from obo_kit.policy._client_objects import McpServer, requirement_of
from obo_kit.policy._layout import STAND_IN, layout_of, locate, target_of
from obo_kit.scopes._lookup import catalogue, kind_of, look_beside
from obo_kit.tools._registry import Declaration
from obo_kit.tools._spec import Requirement

if TYPE_CHECKING:
    from obo_kit.scopes._lookup import Target

__all__: list[str] = []


@dataclass(frozen=True, kw_only=True)
class AgentFile:
    """What became known of an agent file.

    Attributes:
        declarations: What the agent declares.
        model: What it gives to ``set_model()``: the name of its class; `None` where it calls no such thing.
        loads: MLflow's pyfunc can log and load such a model.
        helpers: The author's own modules that it imports: name and file.
        target: Where it is made to run, and what says so; `None` where nothing does.
        uncounted: What could not be counted, in words.
    """

    declarations: list[Declaration]
    model: str | None
    loads: bool
    helpers: dict[str, str]
    target: tuple[Target, str] | None = None
    uncounted: tuple[str, ...] = ()


def collect(path: str | os.PathLike[str], *, code_paths: Iterable[Any] = (), model_config: Any = None) -> AgentFile:
    """Load an agent file in a process of its own, and see what it declares.

    Args:
        path: A Python file, also a notebook exported as source, or an ``.ipynb``; or the dotted name of a module.
        code_paths: As for MLflow's ``log_model``.
        model_config: As for MLflow's ``log_model``.

    Raises:
        PolicyError: The file is not there, or loading it fails, or what it declares cannot be told.
    """
    layout = layout_of(locate(path))
    look_beside(layout.path)
    folder = os.path.dirname(os.path.abspath(layout.path))
    root = [layout.root] if layout.root else []
    asked = {
        "path": layout.path,
        "name": layout.name,
        "sys_path": _stdlib_first([*root, *sys.path, *_beside(code_paths), folder, *layout.project]),
        "model_config": os.fspath(model_config) if isinstance(model_config, os.PathLike) else model_config,
    }
    key = _key(asked)
    found = _kept.get(key)
    if found is None:
        begun = time.time_ns()
        found = _in_a_process(asked)
        if "error" in found:
            raise _error(asked["path"], found)
        _kept.keep(key, found, begun)
    return AgentFile(
        declarations=[_read(entry) for entry in found["declarations"]],
        model=found["model"],
        loads=found["loads"],
        helpers=found["helpers"],
        target=target_of(asked["path"], sets_model=found["model"] is not None),
        uncounted=tuple(found["uncounted"]),
    )


def _beside(code_paths: Iterable[Any]) -> list[str]:
    return [os.path.dirname(os.path.abspath(os.fspath(code))) for code in code_paths]


def _stdlib_first(folders: Iterable[str]) -> list[str]:
    """Let no ``json.py`` or ``queue.py`` of a project take the place of Python's own, in a process that starts afresh."""
    return sorted(folders, key=lambda folder: not is_stdlib_folder(folder))


_ROOT = str(Path(__file__).parents[2])
# As a command, and neither by `-m` nor as a file: so `__main__` is nobody's module, and the working directory is on no path.
_START = (
    "import sys; sys.path[:] = sys.argv[1:]; del sys.argv[1:]; from obo_kit.policy._agent_process import main; main()"
)


def _in_a_process(asked: Mapping[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="obo-kit-") as folder:
        answer, said = Path(folder) / "declarations.json", Path(folder) / "stderr"
        # Into a file and not a pipe: what the agent file starts and leaves running would keep a pipe open.
        with said.open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603 - this Python, and paths of its own
                [sys.executable, "-c", _START, *_stdlib_first([_ROOT, *asked["sys_path"]])],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                # The catalogue that this process goes by, wherever its file is and whatever was changed since.
                env={**os.environ, **_stand_in(), "OBO_KIT_CATALOGUE": catalogue().file or ""},
            )
            with process:
                assert process.stdin is not None
                with process.stdin as stdin:
                    stdin.write(json.dumps({**asked, "answer": str(answer)}).encode())
                # Needed for the answer; loading it takes as long here as it does there.
                import mlflow.models.resources  # noqa: F401

                _await(process, answer, asked["path"])
        if not answer.exists():
            raise PolicyError(
                f"'{asked['path']}' ended the process that collected it (exit code {process.returncode}). "
                f"{_last_line(said.read_text('utf-8', 'replace'))}",
                remedy="Load the file on its own with mlflow.pyfunc.load_model or python, and mend what it reports.",
            )
        found: dict[str, Any] = json.loads(answer.read_text("utf-8"))
        return found


def _await(process: subprocess.Popen[bytes], answer: Path, path: str) -> None:
    """Wait for the answer, not forever: an agent file may start a server, or wait for somebody."""
    seconds = float(os.environ.get("OBO_KIT_COLLECT_SECONDS") or 300)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        if answer.exists():
            return
        raise PolicyError(
            f"'{path}' was not loaded within {seconds:g} seconds. It may start a server or wait for something.",
            remedy='Put what runs the app below `if __name__ == "__main__":`, or allow more with OBO_KIT_COLLECT_SECONDS.',
        ) from None


def _stand_in() -> dict[str, str]:
    """Return an identity for modules that build clients when they are loaded, where this machine has none of its own.

    It opens nothing: its host is no host, and whoever asks it is refused before anything is sent.
    """
    config = os.path.expanduser(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg")
    named = any(name.startswith(("DATABRICKS_", "ARM_")) and name not in _NO_IDENTITY for name in os.environ)
    if named or os.path.isfile(config):
        return {}
    return {"DATABRICKS_HOST": f"https://{STAND_IN}", "DATABRICKS_TOKEN": "stand-in", "DATABRICKS_AUTH_TYPE": "pat"}


# Variables that say nothing of who one is.
_NO_IDENTITY = frozenset({"DATABRICKS_CONFIG_FILE", "DATABRICKS_APP_NAME", "DATABRICKS_WAREHOUSE_ID"})


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _error(path: str, found: Mapping[str, Any]) -> PolicyError:
    if found["refused"]:  # by the kit, after the file was loaded
        return PolicyError(found["error"], remedy=found["remedy"])
    place = f"See {found['at']}" if found["at"] else "See the agent file: MLflow loads it the same way"
    return PolicyError(
        f"'{path}' raised {found['error'].rstrip('.')} when it was loaded.",
        remedy=f"{place}. {found['remedy'] or ''}".rstrip(),
    )


# --- declarations, on their way between the processes ---------------------------------------------------------------------


def as_json(declaration: Declaration) -> dict[str, Any]:
    """A declaration, for the way from the collecting process."""
    named = [item.resource for item in declaration.requirements if item.scope is None]
    return {
        "tool": declaration.called,
        "module": declaration.module,
        "scopes": [item.scope for item in declaration.requirements if item.scope is not None],
        "servers": [one.name for one in named if isinstance(one, McpServer)],
        "resources": [one.to_dict() for one in named if not isinstance(one, McpServer)],
        "system": [resource.to_dict() for resource in declaration.system],
    }


def _read(entry: Mapping[str, Any]) -> Declaration:
    return Declaration(
        tool=entry["tool"],
        module=entry["module"],
        requirements=(
            *(Requirement(scope=scope) for scope in entry["scopes"]),
            *(requirement_of(McpServer(name=name)) for name in entry["servers"]),
            *(
                Requirement(resource=resource, kind=kind_of(resource))
                for written in entry["resources"]
                for resource in resources_in({"databricks": written})
            ),
        ),
        system=tuple(one for written in entry["system"] for one in resources_in({"databricks": written})),
    )


def resources_in(resources: Any) -> list[Any]:
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


# --- what was collected before --------------------------------------------------------------------------------------------


def _key(asked: Mapping[str, Any]) -> str:
    # Without what loading MLflow changes in a process: the same question, before and after.
    paths = [path for path in asked["sys_path"] if not path.endswith(os.path.join("setuptools", "_vendor"))]
    surroundings = [item for item in sorted(os.environ.items()) if not item[0].startswith("_MLFLOW_TELEMETRY")]
    question = json.dumps([{**asked, "sys_path": paths}, os.getcwd(), surroundings, catalogue().file])
    return hashlib.sha256(question.encode()).hexdigest()  # an environment may hold secrets


class _Kept:
    """What was collected in this process, with the state of all that it was made of.

    That is: the contents of the agent file, of the author's modules and of every file that they read; the names in the
    folders that these are in and that modules are looked for in (a new module that shadows another, an upgraded
    package); and, in the key, arguments, environment and working directory. A file that asked the network or another
    process while it was loaded is collected anew each time, and so is one that changed meanwhile.
    """

    _MOST = 32

    def __init__(self) -> None:
        self._entries: dict[str, tuple[str, dict[str, Any]]] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        state, found = self._entries.get(key, ("", None))
        return found if found is not None and _state_of(found["files"], found["folders"]) == state else None

    def keep(self, key: str, found: dict[str, Any], begun: int) -> None:
        """Keep it, where it may be used again.

        Args:
            key: What was asked.
            found: The answer.
            begun: When it was asked for, in nanoseconds of the wall clock.
        """
        tick = 50_000_000  # a file's time may be that much behind the clock, in nanoseconds
        if found["asked_outside"] or any(_changed_at(file) >= begun - tick for file in found["files"]):
            return
        while len(self._entries) >= self._MOST:
            self._entries.pop(next(iter(self._entries)))
        self._entries[key] = _state_of(found["files"], found["folders"]), found


_kept = _Kept()

# What logging a model leaves behind, and what Python does.
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
            state.update(f"{file}\0{hashlib.sha256(Path(file).read_bytes()).hexdigest()}\0".encode())
        except OSError:
            state.update(f"{file}\0-\0".encode())
    for folder in folders:
        try:
            names = [name for name in os.listdir(folder) if not name.startswith(_LEFT_BEHIND)]
        except OSError:
            names = []
        state.update(json.dumps([folder, sorted(names)]).encode())
    return state.hexdigest()
