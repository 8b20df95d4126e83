"""Write down what is public: tests/api.txt, which a test compares, so that nothing becomes public or changes by accident.

``python tests/helpers/api.py`` brings the file up to date. A change of it is a change for users: say it in CHANGELOG.md.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

PAGE = Path(__file__).resolve().parents[1] / "api.txt"
MODULES = (
    "obo_kit",
    "obo_kit.analysis",
    "obo_kit.cli.playground",
    "obo_kit.integrations.asgi",
    "obo_kit.integrations.errors",
    "obo_kit.integrations.fastapi",
    "obo_kit.integrations.mcp",
    "obo_kit.integrations.sql",
    "obo_kit.scopes",
    "obo_kit.testing",
    "obo_kit.testing.pytest_plugin",
)


def page() -> str:
    """Return the file: a line for each name, its members below it."""
    return "\n".join([*(line for module in MODULES for line in _module(module)), *_commands(), ""])


def _module(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    yield f"# {name}"
    for public in sorted(module.__all__):
        yield from _entry(public, getattr(module, public))
    yield ""


def _entry(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        yield from (f"    {line}" for line in _members(value))
    elif inspect.isroutine(value):
        yield f"{name}{_signature(value)}"
    elif name == "__version__":
        yield name
    else:
        yield f"{name}: {type(value).__name__}"


def _members(kind: type) -> Iterator[str]:
    if issubclass(kind, enum.Enum):
        yield from (f"{member.name} = {member.value!r}" for member in kind)
        return
    own = "__init__" in vars(kind) and not getattr(kind, "_is_protocol", False)
    if own or dataclasses.is_dataclass(kind):
        yield f"__init__{_signature(kind.__init__)}"
    for name in sorted({name for base in kind.__mro__ if base.__module__.startswith("obo_kit") for name in vars(base)}):
        value = inspect.getattr_static(kind, name)
        if name.startswith("_"):
            continue
        if isinstance(value, (property, functools.cached_property)):
            yield f"{name}: property{' (may be set)' if getattr(value, 'fset', None) else ''}"
        elif isinstance(value, (classmethod, staticmethod)):
            yield f"{type(value).__name__} {name}{_signature(value.__func__)}"
        elif inspect.isfunction(value):
            yield f"{name}{_signature(value)}"


def _signature(value: Any) -> str:
    """Return names, kinds and defaults; annotations are the type checkers' (tests/typing_api.py)."""
    signature = inspect.signature(value)
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _commands() -> Iterator[str]:
    from obo_kit.cli import main

    yield "# obo-kit"
    for name, command in sorted(main.commands.items()):
        yield name
        for parameter in sorted(command.params, key=lambda one: str(one.name)):
            words = " ".join(parameter.opts) if isinstance(parameter, click.Option) else str(parameter.name).upper()
            choices = f" {'|'.join(parameter.type.choices)}" if isinstance(parameter.type, click.Choice) else ""
            yield f"    {words}{choices}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
