"""Load an agent file with MLflow's own loader, in a fresh process, and write down what it declared."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import json
import os
import re
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from obo_kit._upstream.mlflow_models import development_config, load_model_code, module_of_model_code
from obo_kit._utils.user_code import is_author_s, is_library
from obo_kit.exceptions import OboError, PolicyError
from obo_kit.policy._layout import STAND_IN
from obo_kit.policy._pages import MOVE, stopped, wants_user
from obo_kit.policy._stand_in import describe

__all__: list[str] = []


_KIT = f"{Path(__file__).parents[1]}{os.sep}"


def _place(error: BaseException) -> tuple[str, int | None] | None:
    """Return where the author's own code failed, however deep in a library the error was raised."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    return _last_own(traceback.extract_tb(error.__traceback__))


def _last_own(frames: traceback.StackSummary) -> tuple[str, int | None] | None:
    for frame in reversed(frames):
        if not is_library(frame.filename) and not frame.filename.startswith((_KIT, "<")):
            return frame.filename, frame.lineno
    return None


# --- notebooks ------------------------------------------------------------------------------------------------------------

_EXPORTED = "# Databricks notebook"
_BY_NOTEBOOK_ONLY = (
    "MLflow loads the file without a notebook, so 'spark', 'display' and the names from %run are missing. Import what the file "
    "needs, and move the rest to other cells or files."
)


class _Notebook:
    """An ``.ipynb`` as Python source: its code cells, with the magics turned into comments."""

    def __init__(self, path: str) -> None:
        self._path = path
        cells = json.loads(Path(path).read_text("utf-8"))["cells"]
        self._lines = [
            (number, line, text)
            for number, cell in enumerate(cells, 1)
            if cell["cell_type"] == "code"
            for line, text in enumerate(_plain("".join(cell["source"]).splitlines()), 1)
        ]

    def write(self, folder: str) -> str:
        path = os.path.join(folder, f"{Path(self._path).stem}.py")
        Path(path).write_text("\n".join(text for *_, text in self._lines) + "\n", "utf-8")
        return path

    def place(self, line: int) -> str:
        cell, within, _ = self._lines[min(line, len(self._lines)) - 1]
        return f"{self._path}, cell {cell}, line {within}"


def _plain(lines: list[str]) -> list[str]:
    whole = bool(lines) and lines[0].startswith("%%")
    return [f"# {text}" if whole or text.lstrip().startswith(("%", "!", "?")) else text for text in lines]


_RUN = re.compile(r"# (?:MAGIC )?%run[ \t]+(.+?)[ \t]*$", re.MULTILINE)


def _run_by_notebook(path: str, notebook: _Notebook | None) -> Iterator[tuple[str, str]]:
    """Yield what a notebook runs with ``%run``, with an advice. MLflow, which loads the file, does not run it."""
    text = Path(path).read_text("utf-8")
    if notebook is None and not text.startswith(_EXPORTED):
        return
    for run in _RUN.finditer(text):
        line = text.count("\n", 0, run.start()) + 1
        place = notebook.place(line) if notebook is not None else f"{path}:{line}"
        yield (
            f"{place} takes names from '{run[1]}' with %run, which MLflow does not do when it loads the file",
            "Import what the agent needs from a module instead.",
        )


# --- what loading depends on ----------------------------------------------------------------------------------------------

_OUTSIDE = {
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.fork",
    "os.posix_spawn",
    "os.exec",
}


def _loading_a_library(frame: types.FrameType | None) -> bool:
    """Return whether an installed module is being loaded: some ask `uname` or `lscpu` about the machine."""
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame is not None and is_library(frame.f_code.co_filename)


class _ServingError(BaseException):
    """The last statement of an agent file starts a server and would not return. Nothing after it was to be run."""


def _would_serve(path: str, address: Any) -> bool:
    """Return whether an address is bound by the last statement of an agent file, in the thread that loads it."""
    if not isinstance(address, tuple) or not address[1] or threading.current_thread() is not threading.main_thread():
        return False  # a socket of this machine only; or any free port, as event loops take for themselves on Windows
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None and (frame.f_code.co_filename, frame.f_code.co_name) != (os.path.abspath(path), "<module>"):
        frame = frame.f_back
    return frame is not None and frame.f_lineno >= ast.parse(Path(path).read_text("utf-8")).body[-1].lineno


class _Watch:
    """Records the files that are read from now on, and whether the network or another process is asked.

    Attributes:
        asked_workspace: Where a workspace was asked first, although there is none; empty if nowhere.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.read: dict[str, None] = {}
        self.listed: dict[str, None] = {}
        self.asked_outside = False
        self.asked_workspace = ""
        sys.addaudithook(self._see)

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo" and args[0] in (STAND_IN, STAND_IN.encode()):
            file, line = _last_own(traceback.extract_stack()) or (self.path, None)
            self.asked_workspace = self.asked_workspace or f"{file}:{line}"
            raise PolicyError(
                "The file sends a request to a workspace while it is loaded, and no workspace is configured here.",
                remedy="Build what sends the request inside the user's request, or set DATABRICKS_HOST and credentials for the "
                "collection.",
            )
        if event == "socket.bind" and _would_serve(self.path, args[1]):
            raise _ServingError
        if event == "open":
            path, mode, flags = args
            writes = flags & (os.O_WRONLY | os.O_RDWR) if mode is None else mode.startswith(("w", "a", "x"))
            if isinstance(path, (str, os.PathLike)) and not writes:
                self.read.setdefault(os.path.abspath(path))
        elif event in ("os.listdir", "os.scandir") and isinstance(args[0], (str, os.PathLike)):
            self.listed.setdefault(os.path.abspath(args[0]))
        elif event in _OUTSIDE and not self.asked_outside:
            self.asked_outside = not _loading_a_library(sys._getframe(1))


def _dependencies(watch: _Watch, helpers: dict[str, str]) -> dict[str, Any]:
    files = {os.path.abspath(file) for file in helpers.values()}
    files |= {
        path
        for path in watch.read
        if not is_library(path) and not path.endswith(".pyc") and not path.startswith(("/proc/", "/dev/", "/sys/"))
    }
    folders = (
        {os.path.dirname(file) for file in files} | {os.getcwd()} | {path for path in sys.path if os.path.isdir(path)}
    )
    folders |= {path for path in watch.listed if not is_library(os.path.join(path, ""))}
    return {"files": sorted(files), "folders": sorted(folders), "asked_outside": watch.asked_outside}


def _helpers(agent: Any, before: set[str]) -> dict[str, str]:
    """Return the author's own modules that the agent loaded: not installed, not Python's, and not loaded before it."""
    return {
        name: file
        for name, module in list(sys.modules.items())
        if name not in before
        and module is not agent
        and isinstance(file := vars(module).get("__file__"), str)
        and is_author_s(name)
    }


# --- the process ----------------------------------------------------------------------------------------------------------


def _load(
    path: str, model_config: Any, dotted: str, watch: _Watch, uncounted: list[tuple[str, str]]
) -> tuple[Any, Any, set[str]]:
    """Return an agent file's module, the model that it sets, if any, and the modules that were loaded before."""
    from mlflow.exceptions import MlflowException

    before, model = set(sys.modules), None
    try:
        with development_config(model_config):
            model = _load_as(dotted, path, model_config) if dotted else load_model_code(path, model_config)
    except _ServingError:
        pass
    except Exception as error:
        of_mlflow_s_loader = not dotted and isinstance(error, MlflowException)
        cause = error.__cause__ or error.__context__ if of_mlflow_s_loader else error
        # Without a cause of the loader's error, the file was loaded, but sets no model: an app's file.
        if cause is not None:
            rest = stopped(cause, path, watch.asked_workspace)
            if rest is None:
                raise
            uncounted.append(rest)
    return (
        sys.modules[dotted or module_of_model_code([name for name in sys.modules if name not in before])],
        model,
        before,
    )


def _load_as(dotted: str, path: str, model_config: Any) -> Any:
    """Load a file as a module of its package, with the environment that MLflow gives an agent file; return its model."""
    import mlflow.models.model
    from mlflow.models.utils import _config_context, _mock_dbutils

    package, _, leaf = dotted.rpartition(".")
    parent = importlib.import_module(package) if package else None
    packages = [os.path.dirname(path)] if os.path.basename(path) == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(dotted, path, submodule_search_locations=packages)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[dotted] = importlib.util.module_from_spec(spec)
    with _config_context(model_config), _mock_dbutils(module.__dict__), contextlib.suppress(_ServingError):
        spec.loader.exec_module(module)
    if parent is not None:
        setattr(parent, leaf, module)
    return mlflow.models.model.__mlflow_model__


def _collected(
    path: str, model_config: Any, watch: _Watch, dotted: str = "", notebook: _Notebook | None = None
) -> dict[str, Any]:
    from obo_kit.policy._agent_file import as_json
    from obo_kit.policy._log_checks import is_pyfunc
    from obo_kit.policy._reachable import reached_declarations

    uncounted: list[tuple[str, str]] = []
    describe(uncounted)
    module, model, before = _load(path, model_config, dotted, watch, uncounted)
    try:
        declarations = reached_declarations([module, model], file=module.__file__, uncounted=uncounted)
    except OboError as error:
        return {"error": error.message, "remedy": error.remedy, "refused": True}
    helpers = _helpers(module, before)
    uncounted += _run_by_notebook(path, notebook)
    return {
        "declarations": [as_json(declaration) for declaration in declarations],
        "model": type(model).__name__ if model is not None else None,
        "loads": is_pyfunc(model),
        "helpers": helpers,
        "uncounted": list(dict.fromkeys(uncounted)),  # a function may be made in a loop, and called from several places
        **_dependencies(watch, helpers),
    }


def _failed(error: BaseException, path: str, notebook: _Notebook | None, watch: _Watch) -> dict[str, Any]:
    cause = error.__cause__ or error
    text, _, remedy = str(cause).partition("\nFix: ")  # as the kit's own errors say it, also inside of a client's
    at = _place(cause)
    message, where = text.partition("\n\n")[0].rstrip(), None
    if at is not None:
        where = notebook.place(at[1] or 1) if notebook and at[0] == path else f"{at[0]}:{at[1]}"
    if not remedy and watch.asked_workspace:
        remedy = (
            f"Before that, {watch.asked_workspace} asked a workspace, and none is configured here. Ask it inside the user's "
            "request, or set DATABRICKS_HOST and credentials for the collection."
        )
    if wants_user(cause, path, watch.asked_workspace):
        remedy = f"A page runs with a user, and here is none: {MOVE}"
    if isinstance(cause, NameError) and (notebook or Path(path).read_text("utf-8").startswith(_EXPORTED)):
        remedy = _BY_NOTEBOOK_ONLY
    if isinstance(cause, ModuleNotFoundError) and cause.name and _is_elsewhere(cause.name, path):
        remedy = f"Install the package that has '{cause.name}' in the environment that this runs in."
    return {
        "error": f"{type(cause).__name__}: {message}",
        "remedy": remedy,
        "at": where,
        "refused": False,
    }


def _is_elsewhere(module: str, path: str) -> bool:
    """Return whether no folder above an agent file has a module, so that it must come from a package."""
    root = module.partition(".")[0]
    above = Path(path).resolve().parents
    return not any((folder / root).exists() or (folder / f"{root}.py").exists() for folder in above)


def main() -> None:
    """Read what to collect from standard input. Write the declarations to the file that is named there."""
    request = json.load(sys.stdin)
    sys.path[:] = request["sys_path"]
    path, notebook = request["path"], None
    watch = _Watch(path)
    answer: dict[str, Any]
    try:
        if path.endswith(".ipynb"):
            notebook = _Notebook(path)
            path = watch.path = notebook.write(os.path.dirname(request["answer"]))
        answer = _collected(path, request["model_config"], watch, request["name"], notebook)
    except BaseException as error:
        answer = _failed(error, path, notebook, watch)
    written = Path(request["answer"]).with_suffix(".part")
    written.write_text(json.dumps(answer), "utf-8")
    written.replace(request["answer"])
    sys.stderr.flush()
    # Threads that the agent file started, such as a scheduler, would keep the process alive.
    os._exit(0)
