"""What the kit knows of other packages, looked up in what is installed: the newest versions, or the lowest that it takes."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
import types
import warnings
from pathlib import Path

import pytest

import obo_kit
from obo_kit._upstream import attributes, classes
from obo_kit._upstream.attributes import ATTRIBUTES, Attribute
from obo_kit._upstream.classes import Class

PACKAGE = Path(obo_kit.__file__).parent
KNOWN = {name: value for name, value in vars(classes).items() if isinstance(value, Class)} | {
    f"{name}[{number}]": each
    for name, value in vars(classes).items()
    if isinstance(value, tuple)
    for number, each in enumerate(value)
    if isinstance(each, Class)
}
# Python documents these in spite of their names; the others are the kit's own modules, or settings of other programs.
NOT_PRIVATE = {
    "_exit",
    "_getframe",
    "_examples",
    "_vendor",
    "_PROXY",
    "_proxy",
    "_MLFLOW_TELEMETRY",
    "_current_frames",
    "_obo_kit_patched",
    "_pytest",
}


def _installed(module: str) -> bool:
    parts = module.split(".")
    return _exists(".".join(parts[: 2 if parts[0] == "databricks" else 1]))  # several distributions share that one


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


@functools.cache
def _module(name: str) -> types.ModuleType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:  # another version has it elsewhere
        return None


@pytest.mark.parametrize("name", KNOWN)
def test_a_class_is_where_it_is_known_to_be(name):
    known = KNOWN[name]
    if not any(map(_installed, known.modules)):
        pytest.skip(f"{known.modules[0]} is not installed")
    if any(_exists(module) and _module(module) is None for module in known.modules):
        pytest.skip(f"{known.modules[0]} needs what is not installed")
    found = [
        getattr(module, each) for module in map(_module, known.modules) for each in known.names if hasattr(module, each)
    ]
    assert found, f"{known.names[0]} was read in {known.versions}, and is not in {known.modules} any more"
    # An object tells its class's own module and name, not those it is exported by.
    pairs = {(each.__module__.partition(".")[0], each.__name__) for each in found}
    aliases = known.by_package
    assert pairs & (aliases | {("concurrent", "CancelledError"), ("asyncio", "CancelledError")})


def _has(owner: object, name: str) -> bool:
    if hasattr(owner, name):
        return True
    if not isinstance(owner, type):
        return name in inspect.getsource(owner)
    set_on_self = re.compile(rf"self\.{name}\b\s*(:[^=\n]+)?=(?!=)")
    for base in owner.__mro__:
        if name in vars(base).get("__annotations__", {}) or name in (
            getattr(base, "__private_attributes__", None) or {}
        ):
            return True
        if name in (vars(base).get("model_fields") or vars(base).get("__pydantic_fields__") or {}):
            return True
        made_in = getattr(
            vars(base).get("__init__"), "__module__", base.__module__
        )  # `httpx` renames its classes' modules
        if _foreign(base) and set_on_self.search(inspect.getsource(sys.modules[made_in])):
            return True
    return False


@pytest.mark.parametrize("known", ATTRIBUTES, ids=lambda known: f"{known.owner.partition('|')[0]}.{known.name}")
def test_an_attribute_is_where_it_is_known_to_be(known):
    owners = [each.partition(":")[::2] for each in known.owner.split("|")]
    if not any(_installed(module) for module, _ in owners):
        pytest.skip(f"{owners[0][0]} is not installed")
    loaded = [
        getattr(module, kind) if kind else module
        for module, kind in ((_module(name), kind) for name, kind in owners)
        if module is not None and (not kind or hasattr(module, kind))
    ]
    if not loaded and any(_exists(module) and _module(module) is None for module, _ in owners):
        pytest.skip(f"{owners[0][0]} needs what is not installed")
    assert loaded, f"{known.owner} was read in {known.read_in}, and is not there any more"
    enough = all if any(kind for _, kind in owners) else any  # a word is in one of the modules
    assert enough(_has(owner, known.name) for owner in loaded), f"{known.name} was read in {known.read_in}: {known.why}"


# --- the tables are whole -------------------------------------------------------------------------------------------------


def _modules():
    for info in pkgutil.walk_packages(obo_kit.__path__, "obo_kit."):
        parts = info.name.split(".")
        if not {"testing", "analysis", "__main__", "_examples", "cli"} & set(parts) and _module(info.name) is not None:
            yield _module(info.name)


def _kit_s(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "obo_kit"


def _foreign(kind: type) -> bool:
    roots = {re.split(r"[.:]", owner)[0] for known in ATTRIBUTES for owner in known.owner.split("|")}
    return kind.__module__.partition(".")[0] in roots


def test_every_method_that_the_kit_overrides_in_another_package_s_class_is_in_the_table():
    names = {each.name for each in ATTRIBUTES}
    missing = {
        f"{kind.__module__}.{kind.__qualname__}.{name}"
        for module in _modules()
        for kind in vars(module).values()
        if isinstance(kind, type) and _kit_s(kind)
        for ours in kind.__mro__
        if _kit_s(ours)
        for name in vars(ours)
        if not name.startswith("__") and name != "_abc_impl" and name not in names
        for base in kind.__mro__
        if _foreign(base) and name in vars(base)
    }
    assert not missing


@functools.cache
def _trees() -> dict[Path, ast.AST]:
    return {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def _own_names() -> set[str]:
    own: set[str] = {path.stem for path in _trees()}
    for tree in _trees().values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                own.add(node.name)
            elif isinstance(node, (ast.Name, ast.arg)):
                own.add(node.id if isinstance(node, ast.Name) else node.arg)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _of_self(node):
                own.add(node.attr)
    return own


def test_every_private_name_of_another_package_is_in_the_table():
    known = {each.name for each in ATTRIBUTES} | {name for each in KNOWN.values() for name in each.names}
    known |= _own_names() | NOT_PRIVATE
    missing = {}
    for path, tree in _trees().items():
        if {"testing", "analysis"} & set(path.parts) or path.parent.name == "_upstream":
            continue
        for node in ast.walk(tree):
            name = getattr(node, "attr", None) or getattr(node, "value", None)
            if isinstance(name, str) and re.fullmatch(r"_[a-zA-Z]\w*", name) and name not in known:
                missing[name] = f"{path.relative_to(PACKAGE)}:{node.lineno}"
    assert not missing


def test_classes_are_told_by_the_table_alone():
    for path, tree in _trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "is_a":
                assert not any(isinstance(each, ast.Constant) for each in node.args), f"{path}:{node.lineno}"


def test_the_lookup_notices_a_rename(monkeypatch):
    """Played, so that the tests above are known to fail."""
    from requests.adapters import HTTPAdapter

    known = Attribute("requests.adapters:HTTPAdapter", "build_connection_pool_key_attributes", "", "")
    test_an_attribute_is_where_it_is_known_to_be(known)
    monkeypatch.delattr(HTTPAdapter, known.name)
    with pytest.raises(AssertionError):
        test_an_attribute_is_where_it_is_known_to_be(known)
    assert attributes.ATTRIBUTES
