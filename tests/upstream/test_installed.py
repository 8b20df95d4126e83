"""What the kit knows of other packages, looked up in what is installed: the newest versions, or the lowest that it takes."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
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
from obo_kit._upstream import classes
from obo_kit._upstream.attributes import ATTRIBUTES, Attribute
from obo_kit._upstream.callers import CALLERS
from obo_kit._upstream.classes import Class
from obo_kit.clients._patches import PATCHES

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
    "_get_running_loop",
    "_examples",
    "_vendor",
    "_PROXY",
    "_proxy",
    "_MLFLOW_TELEMETRY",
    "_current_frames",
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
    assert found, f"{known.names[0]} was read in {known.read_in}, and is not in {known.modules} any more"
    # An object tells its class's own module and name, not those it is exported by.
    pairs = {(each.__module__.partition(".")[0], each.__name__) for each in found}
    aliases = known.by_package
    assert pairs & (aliases | {("concurrent", "CancelledError"), ("asyncio", "CancelledError")})


def _bases(kind: type) -> list[type]:
    """Its own and its bases, of whichever packages; not the kit's, nor Python's."""
    return [
        base for base in kind.__mro__ if base.__module__.partition(".")[0] not in {"obo_kit", *sys.stdlib_module_names}
    ]


def _source_of(kind: type) -> str:
    made_in = getattr(vars(kind).get("__init__"), "__module__", kind.__module__)  # `httpx` renames its classes' modules
    return inspect.getsource(sys.modules[made_in])


FIELDS = ("__annotations__", "__private_attributes__", "__pydantic_fields__")


def _has(owner: object, name: str) -> bool:
    if not isinstance(owner, type):
        return hasattr(owner, name) or _word(name).search(inspect.getsource(owner)) is not None
    set_on_self = re.compile(rf"self\.{name}\b\s*(:[^=\n]+)?=(?!=)")
    return any(
        name in vars(base)
        or any(name in (vars(base).get(fields) or ()) for fields in FIELDS)
        or set_on_self.search(_source_of(base))
        for base in _bases(owner)
    )


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")


def _owners(known: Attribute) -> list[object]:
    """The modules or classes that have the name in what is installed."""
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
    return loaded


def _look_up(known: Attribute, loaded: list[object]) -> None:
    assert loaded, f"{known.owner} was read in {known.read_in}, and is not there any more"
    enough = all if ":" in known.owner else any  # a word is in one of the modules
    assert enough(_has(owner, known.name) for owner in loaded), f"{known.name} was read in {known.read_in}: {known.why}"


VERSION = re.compile(r"([a-zA-Z][\w-]*) (\d[\d.]*(?:(?:, | and )\d[\d.]*)*)")


def _versions(text: str) -> dict[str, list[str]]:
    """The versions of each distribution that a text names."""
    return {name: re.split(", | and ", versions) for name, versions in VERSION.findall(text)}


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _is_read_in_another(known: Attribute) -> bool:
    """An older version than those it was read in, or one that has dropped it."""
    for name, read in _versions(known.read_in).items():
        try:
            installed = _number(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed < min(map(_number, read)) or (known.until and installed >= _number(known.until)):
            return True
    return False


attributes_ = pytest.mark.parametrize(
    "known", ATTRIBUTES, ids=lambda known: f"{known.owner.partition('|')[0]}.{known.name}"
)


@attributes_
def test_an_attribute_is_where_it_is_known_to_be(known):
    loaded = _owners(known)
    if _is_read_in_another(known):
        pytest.skip(f"it was read in {known.read_in}")
    _look_up(known, loaded)


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.module)
def test_a_framework_calls_tools_where_it_is_known_to(caller):
    """`tests/tools/test_above.py` sees what becomes of a denial there."""
    package = caller.module.rstrip(".")
    if not _installed(package) or not _exists(package):
        pytest.skip(f"{package} is not installed")
    if (module := _module(package)) is None:
        pytest.skip(f"{package} needs what is not installed")
    paths = [Path(module.__file__)]
    if hasattr(module, "__path__"):
        paths = sorted(Path(module.__file__).parent.rglob("*.py"))
    source = "\n".join(path.read_text("utf-8") for path in paths)
    assert [name for name in caller.attributes if not re.search(rf"\bself\.{name}\b", source)] == []


# --- renames, played ------------------------------------------------------------------------------------------------------


def _rename(known: Attribute, loaded: list[object], patch: pytest.MonkeyPatch) -> None:
    """Have another package call it otherwise, where it defines it and where it uses it."""
    source = inspect.getsource
    patch.setattr(inspect, "getsource", lambda thing: _word(known.name).sub("renamed", source(thing)))
    for owner in loaded:
        for base in _bases(owner) if isinstance(owner, type) else [owner]:
            spaces = (vars(base).get(fields) for fields in FIELDS)
            for space in spaces:
                if space and known.name in space:
                    patch.delitem(space, known.name)
            if known.name in vars(base):
                patch.delattr(base, known.name)


@attributes_
def test_a_rename_of_an_attribute_is_noticed(known, monkeypatch):
    loaded = _owners(known)
    if _is_read_in_another(known):
        pytest.skip(f"it was read in {known.read_in}")
    with monkeypatch.context() as patch:
        _rename(known, loaded, patch)
        with pytest.raises(AssertionError, match="was read in"):
            _look_up(known, loaded)
    _look_up(known, loaded)


@pytest.mark.parametrize("name", KNOWN)
def test_a_rename_of_a_class_is_noticed(name):
    """Also where the old name stays, as an alias: objects tell the new one."""
    known = KNOWN[name]
    classes_of = [
        kind
        for module in map(_module, filter(_installed, known.modules))
        for each in known.names
        if isinstance(kind := getattr(module, each, None), type)
    ]
    if not classes_of or any(not kind.__flags__ & HEAP for kind in classes_of):
        pytest.skip("not installed, or not to be renamed")
    names = [kind.__name__ for kind in classes_of]
    try:
        for kind in classes_of:
            kind.__name__ = "Renamed"
        with pytest.raises(AssertionError):
            test_a_class_is_where_it_is_known_to_be(name)
    finally:
        for kind, before in zip(classes_of, names, strict=True):
            kind.__name__ = before
    test_a_class_is_where_it_is_known_to_be(name)


HEAP = 1 << 9  # a class that Python code made


# --- the versions ---------------------------------------------------------------------------------------------------------

LOCKS = Path(__file__).parents[2] / "locks"


def test_the_versions_are_those_that_these_tests_run_on():
    """Those of `locks/`, and of the table in docs/frameworks.md: of nothing else can it be said that it was read."""
    locked: dict[str, set[tuple[int, ...]]] = {}
    for path in LOCKS.glob("*.txt"):
        for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text("utf-8"), re.MULTILINE):
            locked.setdefault(name, set()).add(_number(version))
    page = (LOCKS.parent / "docs" / "frameworks.md").read_text("utf-8")
    for name, version in re.findall(r"^\| ([\w -]+) (\d[\d.]*) \|", page, re.MULTILINE):
        locked.setdefault(name.lower().replace(" ", "-"), set()).add(_number(version))
    texts = {known.read_in for known in ATTRIBUTES} | {known.read_in for known in KNOWN.values()}
    texts |= {caller.read_in for caller in CALLERS}
    for path in (PACKAGE / "_upstream").rglob("*.py"):
        texts |= set(re.findall(r"Read in ([^\"]*)", path.read_text("utf-8").replace("\n", " ")))
    wrong = {
        f"{name} {version}"
        for text in texts
        for name, versions in _versions(text).items()
        for version in versions
        if name != "Python" and _number(version) not in locked.get(name, set())
    }
    assert not wrong
    assert not [text for text in texts if not _versions(text) or re.search(r"\d to \d", text)]


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
        if not name.startswith("__") and name not in {"_abc_impl", "model_config", *names}
        for base in kind.__mro__
        if _foreign(base) and name in vars(base)
    }
    assert not missing


def test_every_module_that_is_patched_is_in_the_table():
    owners = {owner.partition(":")[0] for each in ATTRIBUTES for owner in each.owner.split("|")}
    patched = {module for modules in PATCHES.values() for module in modules}
    assert patched
    assert patched <= owners


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
