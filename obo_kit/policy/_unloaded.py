"""Find modules that an agent names and that loading its file does not load: a request imports them, or a server does."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from obo_kit._utils.user_code import file_of, would_be_author_s
from obo_kit.exceptions import PolicyError
from obo_kit.policy._uncalled import DECLARING

__all__: list[str] = []

# An application by its name, as in `uvicorn.run("shop.app:app")`.
_APPLICATION: Final = re.compile(r"(?P<module>[A-Za-z_][\w.]*):[A-Za-z_][\w.]*(\(\))?")
_SERVES: Final = frozenset({"Config", "run", "serve"})


def declaring_module(name: str, words: Iterable[str] = DECLARING) -> str | None:
    """Return the module that declares something: this one, its packages, or one that it imports. Nothing is loaded for it.

    Args:
        name: The absolute name of a module that is not loaded.
        words: The words that tell, in its source.
    """
    return _declaring(name, tuple(words), set())


def unloaded(name: str, declaring: str, place: str) -> PolicyError:
    """Return the error for an import, inside a function, of a module that is not to be loaded here."""
    return PolicyError(
        f"{place} imports '{name}' inside a function that loading the file does not call. The declarations of "
        f"'{declaring}' are not counted, because nothing loads it before.",
        remedy=f"Import '{name}' at the top of the module, or of the agent file; or collect the agent by its file.",
    )


def load(name: str, place: str) -> None:
    """Load a module, as the agent does before its first request or in it.

    Args:
        name: Its absolute name.
        place: Where the agent names it.

    Raises:
        PolicyError: It cannot be loaded.
    """
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        text = str(error).partition("\n")[0].rstrip(".")
        raise PolicyError(
            f"{place} names the module '{name}', and loading it raised {type(error).__name__}{text and ': '}{text}.",
            remedy=f"Fix the error, so that '{name}' loads without a request.",
        ) from None


@functools.lru_cache(maxsize=256)
def modules_named_in(file: str) -> tuple[tuple[str, str], ...]:
    """Return the modules that a file's source names and its globals may not hold.

    Returns:
        Each module's absolute name; and where it is named, if only a server loads it.
    """
    try:
        tree = ast.parse(Path(file).read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ()
    imported = [(alias.name, "") for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    return (*imported, *_served(tree, file))


def _served(tree: ast.Module, file: str) -> Iterator[tuple[str, str]]:
    """Yield the author's other modules that a file hands to a server by name."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func).rpartition(".")[2] not in _SERVES:
            continue
        for argument in (*call.args[:1], *(keyword.value for keyword in call.keywords)):
            text = argument.value if isinstance(argument, ast.Constant) else None
            named = _APPLICATION.fullmatch(text) if isinstance(text, str) else None
            source = _own_file(named["module"]) if named is not None else None
            if named is not None and source is not None and not os.path.samefile(source, file):
                yield named["module"], f"{file}:{call.lineno}"


def _own_file(name: str) -> str | None:
    return file_of(name, sys.path) if would_be_author_s(name) else None


def _declaring(name: str, words: tuple[str, ...], seen: set[str]) -> str | None:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = ".".join(parts[:end])
        if module in seen or module in sys.modules:
            continue
        seen.add(module)
        source, package = _source_of(module)
        if any(word in source for word in words):
            return module
        for imported in _imports_of(source, package):
            if (declaring := _declaring(imported, words, seen)) is not None:
                return declaring
    return None


def _source_of(name: str) -> tuple[str, str]:
    """Return the source of an own module that is not loaded, and the package that its relative imports start from."""
    file = _own_file(name)
    if file is None:
        return "", ""
    package = name if os.path.basename(file) == "__init__.py" else name.rpartition(".")[0]
    return Path(file).read_text("utf-8", "replace"), package


def _imports_of(source: str, package: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # it would not be loaded in a request either
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:
                continue
            yield from (f"{name}.{alias.name}" for alias in node.names)
