"""Tell the author's own modules from installed ones."""

from __future__ import annotations

import functools
import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Iterable

__all__: list[str] = []

_KIT = __name__.partition(".")[0]
_KIT_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "")
_LIBRARIES = tuple(
    {f"{os.path.realpath(path)}{os.sep}" for name, path in sysconfig.get_paths().items() if "lib" in name}
)
_STDLIB = {
    os.path.realpath(path)
    for home in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    for path in (
        home,
        os.path.join(home, "lib-dynload"),
        os.path.join(sys.base_prefix, "DLLs"),  # Windows
        os.path.join(os.path.dirname(home), f"python{sys.version_info[0]}{sys.version_info[1]}.zip"),
        os.path.join(sys.base_prefix, f"python{sys.version_info[0]}{sys.version_info[1]}.zip"),
    )
}


def is_library(file: str | None) -> bool:
    """Return whether a file belongs to an installed package, and not to the author's own code."""
    if not file or file.startswith("<"):
        return False
    path = os.path.realpath(file)
    return path.startswith(_LIBRARIES) or "site-packages" in path.split(os.sep) or "dist-packages" in path.split(os.sep)


@functools.lru_cache(maxsize=1024)
def is_stdlib_folder(folder: str) -> bool:
    """Return whether a folder, or an archive, is where Python keeps its standard library."""
    return os.path.realpath(folder) in _STDLIB if folder else False


def is_author_s(module: str) -> bool:
    """Return whether a module is the author's own: not installed, not Python's and not the kit's."""
    root = module.partition(".")[0]
    # Read the dictionary: MLflow's lazy modules load themselves when an attribute is read.
    loaded = vars(sys.modules[module]) if module in sys.modules else {}
    if root == "__main__":  # a notebook, a script, or a profiler that runs one
        return not os.path.realpath(loaded.get("__file__") or "").startswith(_KIT_FOLDER)
    return not (
        root in (_KIT, "builtins")
        or root in sys.stdlib_module_names
        or getattr(loaded.get("__spec__"), "origin", None) in ("built-in", "frozen")
        or is_library(loaded.get("__file__"))
    )


def would_be_author_s(name: str) -> bool:
    """Return whether a module that is not loaded would be the author's own."""
    spec = importlib.machinery.PathFinder.find_spec(name.partition(".")[0])
    if spec is None:
        return False
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    return bool(places) and not any(is_library(place and os.path.join(place, "")) for place in places)


def file_of(name: str, folders: Iterable[str]) -> str | None:
    """Return the source of a module in the first of these folders that has it; its packages need no ``__init__.py``."""
    for folder in folders:
        path = os.path.join(folder, *name.split("."))
        for file in (os.path.join(path, "__init__.py"), f"{path}.py"):
            if os.path.isfile(file):
                return file
    return None
