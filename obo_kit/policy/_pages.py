"""Take what a page declares, up to where it stops for want of a user and a workspace."""

from __future__ import annotations

import ast
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from obo_kit._utils.user_code import is_author_s
from obo_kit.exceptions import NoUserIdentityError, NoUserSessionError
from obo_kit.policy._layout import STAND_IN, page_framework
from obo_kit.policy._uncalled import DECLARING
from obo_kit.policy._unloaded import declaring_module
from obo_kit.tools._registry import REGISTRY

__all__: list[str] = []

MOVE: Final = 'put what draws the page into functions, or below `if __name__ == "__main__":`.'
_USER_S_HEADERS: Final = "x-forwarded-"


def stopped(error: BaseException, path: str, asked: str) -> tuple[str, str] | None:
    """Return what is not counted of a page that stopped where it needs a user or a workspace, and what to do about it.

    Args:
        error: What loading it raised.
        path: Its file.
        asked: Where it asked the workspace that is not there; empty if it did not.

    Returns:
        `None` if it is no page, if it stopped for another reason, or if it declares more after that line.
    """
    if not wants_user(error, path, asked):
        return None
    file = os.path.abspath(path)
    lines = [
        frame.lineno or 0
        for frame in traceback.extract_tb(error.__traceback__)
        if (os.path.abspath(frame.filename), frame.name) == (file, "<module>")
    ]
    if not lines or _declares(ast.parse(Path(path).read_text("utf-8")), lines[-1]):
        return None
    reason = str(error).partition("\n")[0].rstrip(". ")
    what = (
        f"what {path} builds after line {lines[-1]}, where it needs a user and a workspace, which are not here "
        f"({type(error).__name__}: {reason})"
    )
    return what, f"{MOVE[0].upper()}{MOVE[1:]}"


def wants_user(error: BaseException, path: str, asked: str) -> bool:
    """Check whether a page failed because there is no user, or no workspace, while it is loaded."""
    text = str(error).lower()
    return page_framework(path) is not None and (
        bool(asked)
        or isinstance(error, (NoUserIdentityError, NoUserSessionError))
        or STAND_IN in text
        or _USER_S_HEADERS in text
    )


def _declares(tree: ast.Module, line: int) -> bool:
    """Check whether a file may declare something after a line: by itself, or with a module of its own."""
    names = {*DECLARING, *(alias.asname for alias, _ in _imports(tree) if alias.asname and alias.name in DECLARING)}
    after = [node for node in ast.walk(tree) if getattr(node, "lineno", 0) > line]
    if any(getattr(node, "id", getattr(node, "attr", None)) in names for node in after):
        return True
    return any(_may_declare(alias.name, module) for alias, module in _imports(*after))


def _imports(*nodes: ast.AST) -> Iterator[tuple[ast.alias, str | None]]:
    """Yield what is imported, and from which module; `None` for the module itself. Each import once."""
    seen: dict[int, ast.AST] = {}
    for root in nodes:
        for node in ast.walk(root) if isinstance(root, ast.Module) else (root,):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and seen.setdefault(id(node), node) is node:
                module = "." * node.level + (node.module or "") if isinstance(node, ast.ImportFrom) else None
                yield from ((alias, module) for alias in node.names)


def _may_declare(name: str, module: str | None) -> bool:
    if module is not None and module.startswith("."):
        return True  # of the page's own package
    return any(
        declaring_module(each) is not None
        or (each in sys.modules and is_author_s(each) and any(True for _ in REGISTRY))
        for each in (module or name, f"{module}.{name}")
    )
