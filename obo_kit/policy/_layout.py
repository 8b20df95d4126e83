"""Find an agent file, the package that it belongs to, and where its project runs it."""

from __future__ import annotations

import ast
import functools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from obo_kit._utils.user_code import file_of
from obo_kit.exceptions import PolicyError

if TYPE_CHECKING:
    from obo_kit.scopes._lookup import Target

__all__: list[str] = []

STAND_IN: Final = "no-workspace.obo-kit.invalid"
"""The host of the identity that a file is loaded with if there is no other."""
# Files in the folder that an app or a project is started from.
_ROOT_FILES: Final = ("databricks.yml", "databricks.yaml", "app.yaml", "app.yml", "pyproject.toml", "setup.py", ".git")
_APP_FILES: Final = ("app.yaml", "app.yml")
# Packages whose programs are apps.
_APPS: Final = {
    "chainlit": "Chainlit",
    "dash": "Dash",
    "fastapi": "FastAPI",
    "fastmcp": "FastMCP",
    "flask": "Flask",
    "gradio": "Gradio",
    "shiny": "Shiny",
    "starlette": "Starlette",
    "streamlit": "Streamlit",
}
# Those whose programs draw a page, and answer no questions.
_PAGES: Final = ("streamlit", "gradio", "dash", "shiny", "chainlit")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The position of an agent file.

    Attributes:
        path: The file.
        name: Its dotted name if it is a module of a package; else empty.
        root: The folder of that package, which goes before everything on the process's path; empty if there is none.
        project: The folders that the project is started from, which go after it.
    """

    path: str
    name: str
    root: str
    project: tuple[str, ...]


def locate(source: str | os.PathLike[str]) -> str:
    """Return the file of an agent, by its path, or by a dotted name in this folder, in ``src`` or on Python's path.

    Raises:
        PolicyError: There is no such file.
    """
    text = os.fspath(source)
    if os.path.isfile(text):
        return text
    dotted = text.partition(":")[0]
    is_name = os.sep not in dotted and all(part.isidentifier() for part in dotted.split("."))
    if is_name and (file := file_of(dotted, ["", "src", *sys.path])) is not None:
        return file
    raise PolicyError(
        f"There is no agent file '{text}'.",
        remedy="Pass the path of the Python file that calls set_model() or that the app runs, or its dotted name.",
    )


def layout_of(path: str) -> Layout:
    """Return the package that a file belongs to, as ``__init__.py`` and the file's own imports show it."""
    file = Path(os.path.abspath(path))
    above = list(file.parents)
    started = next((folder for folder in above if any((folder / name).exists() for name in _ROOT_FILES)), None)
    project = [started, started / "src"] if started is not None else []
    depth = _depth_of_package(file, above, project)
    names = [folder.name for folder in above[:depth]][::-1]
    leaf = [] if file.stem == "__init__" else [file.stem]
    whole = [*names, *leaf] if names and all(part.isidentifier() for part in [*names, file.stem]) else []
    return Layout(
        path=path,
        name=".".join(whole),
        root=str(above[depth]) if whole else "",
        project=tuple(str(folder) for folder in project if folder.is_dir()),
    )


def _depth_of_package(file: Path, above: list[Path], project: list[Path]) -> int:
    """Return how many of the folders above a file are its packages."""
    imports = _imports(file)
    depth = imports.level
    while depth < len(above) and (above[depth] / "__init__.py").is_file() and above[depth].name.isidentifier():
        depth += 1  # a package, as far as it says so itself
    for number, folder in enumerate(above[:6]):
        inside = [name.split(".")[1] for name in imports.names if name.startswith(f"{folder.name}.")]
        if any((folder / part).is_dir() or (folder / f"{part}.py").is_file() for part in inside):
            depth = max(depth, number + 1)  # `from agent_server.utils import …` in agent_server/agent.py
    begins = next((above.index(folder) for folder in project[1:] if folder in above), 0)  # in src, also a namespace's
    return max(depth, begins) if depth else 0


@dataclass(frozen=True, slots=True)
class _Imports:
    """The imports of a file: names, how many folders the relative ones go up, and the module of each name."""

    names: frozenset[str]
    level: int
    modules: Mapping[str, str]


def _imports(file: Path) -> _Imports:
    try:
        state = file.stat()
    except OSError:
        return _Imports(frozenset(), 0, {})
    return _imports_of(file, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=64)
def _imports_of(file: Path, changed: int, size: int) -> _Imports:
    """Read the imports of a file, once for each time that it changed and each size."""
    del changed, size
    names: set[str] = set()
    level, modules = 0, dict[str, str]()
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            modules |= {alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            level = max(level, node.level)
            if not node.level:
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
                modules |= {alias.name: str(node.module) for alias in node.names}
    return _Imports(frozenset(names), level, modules)


def _is_agent_server(module: str) -> bool:
    return module.startswith("mlflow.genai.agent_server")


def page_framework(path: str) -> str | None:
    """Return the framework that draws a page in a file which serves no routes of its own; `None` if there is none."""
    modules = set(_imports(Path(os.path.abspath(path))).modules.values())
    imported = {module.partition(".")[0] for module in modules}
    serves = imported & {"fastapi", "flask", "starlette"} or any(map(_is_agent_server, modules))
    if serves and not imported & {"dash", "streamlit"}:  # Dash's callbacks are Flask requests, and no questions
        return None
    return next((_APPS[package] for package in _PAGES if package in imported), None)


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text("utf-8")) if file.suffix == ".py" else ast.Module([], [])
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # loading it will say where
        return ast.Module([], [])


def target_of(path: str, *, sets_model: bool) -> tuple[Target, str] | None:
    """Return where an agent file is meant to run, and the reason; `None` if nothing tells.

    Args:
        path: The file.
        sets_model: Whether it called ``set_model()`` when it was loaded.
    """
    if sets_model:
        return "model-serving", "it calls set_model()"
    file = Path(os.path.abspath(path))
    imported = _imports(file).modules
    for name in ("invoke", "stream", "AgentServer"):
        if _is_agent_server(imported.get(name, "")):
            return "apps", f"it uses {'@' if name.islower() else ''}{name} of MLflow's agent server"
    for module in imported.values():
        if module.partition(".")[0] in _APPS:
            return "apps", f"it uses {_APPS[module.partition('.')[0]]}"
        if module.startswith("mcp.server"):
            return "apps", "it is an MCP server"
    for folder in (file.parent, *map(Path, layout_of(path).project)):
        if any((folder / name).is_file() for name in _APP_FILES):
            return "apps", "its project has an app.yaml"
    return None
