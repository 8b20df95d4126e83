"""Read the environment that ``app.yaml`` or ``databricks.yml`` gives an app, so that its file loads as it does there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from obo_kit._utils.yaml import ConfigError, read

__all__: list[str] = []

_APP_FILES: Final = ("app.yaml", "app.yml")
_BUNDLE_FILES: Final = ("databricks.yml", "databricks.yaml")
# What an app's variable holds that takes its value from a resource of this kind (Databricks Apps, app.yaml reference).
_HOLDS: Final = {"serving_endpoint": "name", "sql_warehouse": "id", "genie_space": "space_id"}
_MOST_BYTES: Final = 2**20
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# Databricks variables that do not identify anybody.
_NO_IDENTITY: Final = frozenset({"DATABRICKS_CONFIG_FILE", "DATABRICKS_APP_NAME", "DATABRICKS_WAREHOUSE_ID"})
# Those of Python, of the loader of programs, and of the kit.
_OF_THE_MACHINE: Final = ("PYTHON", "LD_", "DYLD_", "OBO_KIT_")


def identifies(variable: str) -> bool:
    """Return whether a variable says who acts, or in which workspace."""
    return variable.startswith(("DATABRICKS_", "ARM_")) and variable not in _NO_IDENTITY


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The variables of an app.

    Attributes:
        values: Those whose value the project's files tell.
        resources: Those that the platform fills in, with the resource of the app that they take their value from.
        blank: Those that its files name without a value of their own: it is empty, or a place to fill in.
    """

    values: dict[str, str] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    blank: tuple[str, ...] = ()

    def missing_in(self, error: str) -> str:
        """Return how to set the variables that an error names; empty if it names none whose value is missing."""
        sources = [f"{name} from the resource '{self.resources[name]}'" for name in self.resources if name in error]
        blank = [name for name in self.blank if name in error]
        advice = [
            f"The app takes {', '.join(sources)}. Set it for the collection as well, to the value that it has there."
        ]
        filled = (
            f"The app's files leave {', '.join(blank)} without a value. Fill it in there, or set it for the collection."
        )
        return " ".join([*advice[: len(sources)], *([filled] if blank else [])])


def environment_of(folders: Iterable[Path]) -> Environment:
    """Return the variables that the first of these folders with an app gives it.

    Args:
        folders: The file's own folder, and those that its project is started from.
    """
    for folder in dict.fromkeys(folders):
        bundled = list(_apps(_first(folder, _BUNDLE_FILES)))
        written = [_first(folder, _APP_FILES), *(_mapping(app, "config") for app in bundled)]
        variables = [entry for file in written for entry in _entries(file, "env")]
        if variables:
            return _read(variables, [entry for app in bundled for entry in _entries(app, "resources")])
    return Environment()


def _read(variables: Iterable[Mapping[str, Any]], resources: Iterable[Mapping[str, Any]]) -> Environment:
    known = {str(resource.get("name")): value for resource in resources for value in _value_of(resource)}
    values: dict[str, str] = {}
    taken: dict[str, str] = {}
    blank: dict[str, None] = {}
    for variable in variables:
        name, source = str(variable.get("name")), variable.get("valueFrom", variable.get("value_from"))
        if not _is_the_app_s(name):
            continue
        if _is_plain(variable.get("value")):
            values[name] = str(variable["value"])
        elif source in known:
            values[name] = known[str(source)]
        elif source is not None:
            taken[name] = str(source)
        else:
            blank[name] = None
    return Environment(
        values=values,
        resources={name: taken[name] for name in taken if name not in values},
        blank=tuple(name for name in blank if name not in values and name not in taken),
    )


def _is_the_app_s(name: str) -> bool:
    """Return whether a project's file may set a variable. Who acts, where, and how Python starts is this machine's choice."""
    return _NAME.fullmatch(name) is not None and not identifies(name) and not name.startswith(_OF_THE_MACHINE)


def _value_of(resource: Mapping[str, Any]) -> Iterator[str]:
    for kind, key in _HOLDS.items():
        value = _mapping(resource, kind).get(key)
        if _is_plain(value):
            yield str(value)


def _is_plain(value: object) -> bool:
    """Return whether a value is written out, and is no reference of a bundle and no place to fill in."""
    text = str(value) if isinstance(value, (str, int)) else ""
    return bool(text) and "${" not in text and "\0" not in text and not text.startswith("<")


def _apps(bundle: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the apps of a bundle that are made of its own folder."""
    for app in _mapping(_mapping(bundle, "resources"), "apps").values():
        if isinstance(app, Mapping) and str(app.get("source_code_path", ".")).rstrip("/") in (".", ""):
            yield app


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inside = value.get(key)
    return inside if isinstance(inside, Mapping) else {}


def _entries(value: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    inside = value.get(key)
    return [entry for entry in inside if isinstance(entry, Mapping)] if isinstance(inside, list) else []


def _first(folder: Path, names: Iterable[str]) -> Mapping[str, Any]:
    """Return the first of these files as plain values; nothing if there is none, or if it cannot be used."""
    for name in names:
        if not os.path.isfile(folder / name):
            continue
        try:
            data = read(folder / name, inside=folder, limit=_MOST_BYTES).data
        except (ConfigError, ImportError):
            continue
        return data if isinstance(data, Mapping) else {}
    return {}
