"""The order of the packages: imports point down only, and no files import each other in a circle.

Every import counts: those for type checkers, those inside functions, and those by name (``import_module``).
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "obo_kit"
GROUND = frozenset({"exceptions", "_utils"})
# Errors and denials keep others' control characters out, with the helper for it.
ON_THE_GROUND: dict[str, frozenset[str]] = {"exceptions": frozenset({"_utils"})}

# From the ground up. A room uses the rooms that it names, what these use, and the ground.
ROOMS: dict[str, frozenset[str]] = {
    "scopes": frozenset(),
    "identity": frozenset(),
    "_upstream": frozenset(),
    "context": frozenset({"scopes", "_upstream"}),
    "denials": frozenset({"context"}),
    "instrumentation": frozenset({"denials"}),
    "clients": frozenset({"instrumentation", "identity"}),
    "session": frozenset({"clients"}),
    "tools": frozenset({"session"}),
    "policy": frozenset({"tools"}),
    "integrations": frozenset({"tools"}),
    "testing": frozenset({"policy", "integrations"}),
    "analysis": frozenset({"policy", "integrations"}),
    "cli": frozenset({"testing", "analysis"}),
}
# The first two are Python's own names.
FLAT = frozenset({"__init__", "__main__", "exceptions"})

# What still points up: whoever turns an arrow takes it off the list. It only ever gets shorter.
STILL_UP: frozenset[tuple[str, str]] = frozenset()
# The files that still stand in a circle.
STILL_CIRCULAR: frozenset[str] = frozenset()


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _by_name(call: ast.Call) -> str | None:
    """Return the start of the module name that a call of ``import_module`` is given, as far as it is written there."""
    if ast.unparse(call.func).rpartition(".")[2] not in ("import_module", "__import__") or not call.args:
        return None
    start = next(iter(call.args[0].values), None) if isinstance(call.args[0], ast.JoinedStr) else call.args[0]
    return start.value.rstrip(".") if isinstance(start, ast.Constant) and isinstance(start.value, str) else None


def _imports(tree: ast.AST, modules: frozenset[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in modules else str(node.module)
        elif isinstance(node, ast.Call) and (name := _by_name(node)) is not None:
            yield name


@functools.cache
def _graph() -> dict[str, frozenset[str]]:
    """Return the modules of the package, and what each imports of it."""
    files = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
    modules = frozenset(files)
    return {
        module: frozenset(
            target
            for target in _imports(ast.parse(path.read_text(encoding="utf-8")), modules)
            if target.partition(".")[0] == PACKAGE.name and target != module
        )
        for module, path in files.items()
    }


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@functools.cache
def _allowed(room: str) -> frozenset[str]:
    below = ROOMS.get(room, ON_THE_GROUND.get(room, frozenset[str]()))
    return below.union(GROUND if room not in GROUND else (), *(_allowed(other) for other in below))


def _arrows_up() -> frozenset[tuple[str, str]]:
    return frozenset(
        (module, target)
        for module, targets in _graph().items()
        if _room(module) not in ("", "__main__")  # the package's face stands above all
        for target in targets
        if _room(target) not in (_room(module), *_allowed(_room(module)))
    )


def _reachable(module: str) -> frozenset[str]:
    graph, reached, pending = _graph(), set[str](), [module]
    while pending:
        new = graph.get(pending.pop(), frozenset()) - reached
        reached |= new
        pending += new
    return frozenset(reached)


def _circular() -> frozenset[str]:
    return frozenset(module for module in _graph() if module in _reachable(module))


def test_every_file_is_in_a_room() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == FLAT
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == {*ROOMS, "_utils"}


def test_no_import_points_up() -> None:
    up = _arrows_up()
    assert not (new := sorted(up - STILL_UP)), f"these imports point up: {new}"
    assert not (turned := sorted(STILL_UP - up)), f"these point down now: take them off STILL_UP: {turned}"


def test_no_files_import_each_other_in_a_circle() -> None:
    circular = _circular()
    assert not (new := sorted(circular - STILL_CIRCULAR)), f"these stand in a circle: {new}"
    assert not (opened := sorted(STILL_CIRCULAR - circular)), (
        f"these stand in none now: take them off STILL_CIRCULAR: {opened}"
    )
