"""Write an agent's declarations into a `databricks.yml`, in place. Everything else in the file stays as it is."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obo_kit._utils.extras import MissingExtraError
from obo_kit._utils.files import read_regular, write_whole
from obo_kit._utils.yaml_text import dumped, parser, patched
from obo_kit.exceptions import PolicyError

__all__ = ["Update", "as_yaml", "updated"]

_SCOPES, _RESOURCES = "user_api_scopes", "resources"
# Higher permissions that an author may have given an app on purpose, and that are enough for the agent too.
_MORE = {"CAN_MANAGE", "CAN_EDIT", "IS_OWNER"}


def as_yaml(config: Mapping[str, Any], app: str) -> str:
    """Return the result of `app_config` as YAML, for ``resources.apps`` of a bundle."""
    import yaml

    return str(yaml.safe_dump({"resources": {"apps": {app: dict(config)}}}, sort_keys=False)).rstrip()


@dataclass(frozen=True, kw_only=True)
class Update:
    """The change to a file.

    Attributes:
        path: The file.
        before: Its current text.
        after: Its new text.
        undeclared: Names of the app's resources that the agent does not declare. They stay.
        removed: Scopes of the app that the agent does not declare. They are removed.
    """

    path: Path
    before: str
    after: str
    undeclared: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Return whether the text changes."""
        return self.before != self.after

    def diff(self) -> str:
        """Return the change as a unified diff; empty if there is none."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        return "".join(difflib.unified_diff(before, after, f"{self.path} (now)", f"{self.path} (as declared)"))

    def write(self) -> None:
        """Replace the old text with the new one, completely or not at all."""
        write_whole(self.path, self.after)


def updated(file: str | os.PathLike[str], config: Mapping[str, Any], *, app: str | None = None) -> Update:
    """Compute a bundle file's text for an agent. Nothing is written.

    The app's scopes become exactly the declared ones, so that users are asked to consent only to what the tools need.
    Missing resources are added. A resource that is there under another name counts, also if it uses a variable with a
    default. A resource that the agent does not declare stays.

    Args:
        file: A ``databricks.yml``, or a file that it includes.
        config: The result of `app_config`.
        app: The app's key under ``resources.apps``. You may omit it if there is only one app.

    Raises:
        PolicyError: ruamel.yaml is not installed, the file cannot be read, or the app is not in it.
    """
    path = Path(file)
    try:
        text = read_regular(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise PolicyError(f"'{path}' cannot be read: {reason}.", remedy="Pass the path of the bundle's file.") from None
    unix = text.replace("\r\n", "\n")
    data = _loaded(unix, path)
    node = _app(data, app, path)
    style = _style(data, node)
    plain = dumped(data, **style)
    removed = [str(scope) for scope in node.get(_SCOPES) or () if scope not in config[_SCOPES]]
    _set_scopes(node, list(config[_SCOPES]), path)
    undeclared = _add_resources(data, node, config[_RESOURCES], path)
    after = patched(unix, plain, dumped(data, **style))
    return Update(
        path=path,
        before=text,
        after=after.replace("\n", "\r\n") if text != unix else after,
        undeclared=tuple(undeclared),
        removed=tuple(dict.fromkeys(removed)),
    )


# ---------------------------------------------------------------- the file


def _loaded(text: str, path: Path) -> Any:
    try:
        reader = parser()
    except MissingExtraError:
        raise PolicyError(
            "ruamel.yaml is not installed, and it is needed to update a file and keep its comments.",
            remedy='pip install "obo-kit[bundle]", or copy the output of `obo-kit policy --format bundle` by hand.',
        ) from None
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return reader.load(text)
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        problem = error.problem if isinstance(error, MarkedYAMLError) else str(error).splitlines()[0]
        raise PolicyError(f"{place} is not YAML: {problem}.", remedy="Correct the file.") from None


def _app(data: Any, app: str | None, path: Path) -> Any:
    resources = data.get("resources") if isinstance(data, Mapping) else None
    apps = resources.get("apps") if isinstance(resources, Mapping) else None
    if not isinstance(apps, Mapping) or not apps:
        raise PolicyError(
            f"'{path}' has no app under resources.apps.",
            remedy="Add the app first, with its name and source_code_path; or pass the file that the bundle includes.",
        )
    if app is None and len(apps) > 1:
        raise PolicyError(f"'{path}' has the apps {', '.join(apps)}.", remedy="Choose one: --app NAME.")
    name = next(iter(apps)) if app is None else app
    if name not in apps:
        raise PolicyError(
            f"'{path}' has no app {name!r} under resources.apps.", remedy=f"Name one of {', '.join(apps)}."
        )
    node = apps[name]
    if not isinstance(node, Mapping) or not node:
        raise PolicyError(f"'{path}': resources.apps.{name} is empty.", remedy="Add its source_code_path first.")
    return node


def _style(data: Any, node: Any) -> dict[str, int]:
    """Return the indentation of the app, so that new lines look like the rest."""
    step = node.lc.col - data["resources"]["apps"].lc.col
    mapping = step if 1 < step <= 8 and not node.fa.flow_style() else 2
    lists = [value for value in node.values() if _is_list(value) and value and not value.fa.flow_style()]
    offset = max(lists[0].lc.col - node.lc.col, 0) if lists else mapping
    return {"mapping": mapping, "sequence": offset + 2, "offset": offset}


# ---------------------------------------------------------------- the app


def _own(node: Any, key: str, path: Path) -> Any:
    """Return the app's own list under a key; None if it has none, or only one that is merged in from elsewhere."""
    if key not in node.lc.data:
        return None
    value = node[key]
    if not _is_list(value) or value.anchor.value is not None:
        what = "is shared by an anchor" if _is_list(value) else "is not a list"
        raise PolicyError(
            f"'{path}:{node.lc.key(key)[0] + 1}': {key} {what}, and cannot be updated here.",
            remedy="Write the list out for this app, or edit it by hand.",
        )
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _set_scopes(node: Any, wanted: list[str], path: Path) -> None:
    listed = _own(node, _SCOPES, path)
    if listed is None:
        if wanted or _SCOPES in node:
            node.insert(1, _SCOPES, wanted)
        return
    # Before the last entry: a comment below a list belongs to its last entry.
    for name in [name for name in wanted if name not in listed]:
        listed.insert(max(len(listed) - 1, 0), name)
    for number in reversed(range(len(listed))):
        if listed[number] not in wanted or listed[number] in listed[:number]:
            _remove(node, listed, number)


def _remove(node: Any, listed: Any, number: int) -> None:
    """Remove a scope. Move the comment below it to the entry before, or to the list's key."""
    comment = listed.ca.items.get(number)
    below = comment[0].value.partition("\n")[2] if comment and comment[0] is not None else ""
    del listed[number]
    if not listed:
        listed.fa.set_flow_style()
    items, place, slot = (listed.ca.items, number - 1, 0) if number else (node.ca.items, _SCOPES, 2)
    if not below.strip():
        return
    comments = items.setdefault(place, [None, None, None, None])
    if comments[slot] is not None:
        comments[slot].value = comments[slot].value.rstrip("\n") + "\n" + below
    else:
        comment[0].value = "\n" + below
        comments[slot] = comment[0]


def _add_resources(data: Any, node: Any, wanted: list[dict[str, Any]], path: Path) -> list[str]:
    variables = data.get("variables") if isinstance(data.get("variables"), Mapping) else {}
    listed = _own(node, _RESOURCES, path)
    there = [resource for resource in listed or () if isinstance(resource, Mapping)]
    missing: list[dict[str, Any]] = []
    matched: list[int] = []
    for entry in wanted:
        same = _updated(there, entry, variables)
        matched += map(id, same)
        if not same:
            missing.append(entry)
    if listed is not None:
        # Before the other entries: a comment below a list belongs to its last entry.
        for number, entry in enumerate(missing):
            listed.insert(number, entry)
    elif missing:
        node.insert(1, _RESOURCES, missing)
    return [str(resource.get("name")) for resource in there if id(resource) not in matched]


def _updated(there: list[Any], entry: Mapping[str, Any], variables: Mapping[str, Any]) -> list[Any]:
    """Return the file's resources that match an entry. They get its permission, or keep a higher one."""
    ((kind, described),) = ((key, value) for key, value in entry.items() if isinstance(value, dict))
    same = [
        resource
        for resource in there
        if isinstance(resource.get(kind), Mapping)
        and (resource.get("name") == entry["name"] or _identity(resource[kind], variables) == _identity(described, {}))
    ]
    for resource in same:
        if resource[kind].get("permission") not in {*_MORE, described["permission"]}:
            resource[kind]["permission"] = described["permission"]
    return same


_VARIABLE = re.compile(r"\$\{var\.(\w+)\}\Z")


def _identity(described: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, str]:
    """Return what identifies a resource of its kind. A Genie space's name is a label; a table may have several grants."""
    ignored = {"name"} if "space_id" in described else set()
    if "securable_type" not in described:
        ignored.add("permission")
    return {key: _resolved(str(value), variables) for key, value in described.items() if key not in ignored}


def _resolved(value: str, variables: Mapping[str, Any]) -> str:
    reference = _VARIABLE.match(value)
    variable = variables.get(reference[1]) if reference else None
    return str(variable["default"]) if isinstance(variable, Mapping) and "default" in variable else value
