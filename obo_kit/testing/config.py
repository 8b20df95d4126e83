"""Read a local workspace from a configuration: a YAML file, or the same as a mapping.

There is no list of sections here. The sections are the workspace's ``add_*`` methods, in the order in which the class defines
them: ``add_genie_space`` reads ``genie_spaces:``, and the keys of an entry are the parameters of the method. A property that
can be set on a workspace (``latency``) can be set at the top of the file.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from obo_kit.testing._kit import ConfigError, Document, Place, read, said
from obo_kit.testing.services._genie_records import normal
from obo_kit.testing.services._oauth import IdentityMixin
from obo_kit.testing.sql._rows import records

__all__ = ["ConfigError", "fill", "scripted", "users_of"]

Source: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any]"

_BIND = {"address", "bind", "host", "interface", "listen"}
_ANY = "*"


def fill(workspace: IdentityMixin, source: Source) -> None:
    """Fill a workspace from a configuration.

    Raises:
        ConfigError: The configuration cannot be read, or an entry does not fit.
    """
    document = _read(source)
    top = document.mapping((), document.data)
    sections = _sections(type(workspace))
    settings = [name for name, member in inspect.getmembers(type(workspace)) if _settable(member)]
    for key in top:
        if key in _BIND:
            raise document.error((key,), "the local workspace listens on 127.0.0.1 and nowhere else; omit this key")
        if key not in {*sections, *settings, "grants"}:
            raise document.unknown((key,), [*sections, "grants", *settings])
    for key, method in sections.items():
        for path, name, options in _entries(document, key, top.get(key), method):
            _call(document, path, getattr(workspace, method.__name__), name, options)
    for path, arguments in _grants(document, top.get("grants")):
        _call(document, path, workspace.grant, None, arguments)
    for key in settings:
        if key in top:
            with document.explained((key,)):
                setattr(workspace, key, _setting(document, getattr(type(workspace), key), top[key]))


def users_of(source: Source) -> list[str]:
    """Return the names of the users in a configuration. Raises ConfigError if it cannot be read."""
    document = _read(source)
    users = document.mapping((), document.data).get("users")
    entries = _entries(document, "users", users, IdentityMixin.add_user)
    return [
        str(name if name is not None else document.texts.get(path, options.get("name", "")))
        for path, name, options in entries
    ]


def _sections(workspace_type: type) -> dict[str, Callable[..., Any]]:
    methods = {
        name: method
        for mixin in workspace_type.__mro__
        for name, method in vars(mixin).items()
        if name.startswith("add_")
    }
    return {_plural(name.removeprefix("add_")): method for name, method in methods.items()}


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("x", "s")) else "s")


def _settable(member: object) -> bool:
    return isinstance(member, property) and member.fset is not None


def _setting(document: Document, setting: property, value: Any) -> Any:
    """Return the value in the form that the setting takes: a path is relative to the file's folder."""
    assert setting.fset is not None
    (annotation,) = list(inspect.signature(setting.fset).parameters.values())[1:]
    is_path = "os.PathLike[str]" in str(annotation.annotation)
    return document.folder / value if is_path and isinstance(value, str) else value


def _entries(
    document: Document, section: str, value: Any, method: Callable[..., Any]
) -> Iterator[tuple[Place, str | None, Mapping[str, Any]]]:
    """Yield the calls of a section: the place, the first argument if it is the entry's name, and the other arguments."""
    first, *others = list(inspect.signature(method).parameters.values())[1:]
    needed = [parameter.name for parameter in others if parameter.default is parameter.empty]
    if isinstance(value, list):
        for number, entry in enumerate(value):
            path: Place = (section, number)
            plain = isinstance(entry, (str, int, float))
            options = {first.name: document.texts.get(path, entry)} if plain else document.mapping(path, entry)
            yield path, None, options
        return
    for name, entry in document.mapping((section,), value).items():
        path = (section, name)
        if entry is not None and not isinstance(entry, Mapping) and len(needed) == 1:
            yield path, name, {needed[0]: entry}
        else:
            yield path, name, document.mapping(path, entry)


def _grants(document: Document, value: Any) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for principal, privileges in document.mapping(("grants",), value).items():
        for privilege, securables in document.mapping(("grants", principal), privileges).items():
            path: Place = ("grants", principal, privilege)
            for number, securable in enumerate(securables if isinstance(securables, list) else [securables]):
                place = (*path, number) if isinstance(securables, list) else path
                options = (
                    dict(securable)
                    if isinstance(securable, Mapping)
                    else {"securable": document.texts.get(place, securable)}
                )
                yield place, {"principal": principal, "privilege": privilege, **options}


def _call(
    document: Document, path: Place, method: Callable[..., Any], name: str | None, options: Mapping[str, Any]
) -> None:
    parameters = dict(inspect.signature(method).parameters)
    first = next(iter(parameters))
    arguments: dict[str, Any] = {}
    for key, value in options.items():
        if key not in parameters or (key == first and name is not None):
            raise document.unknown((*path, key), [known for known in parameters if known != first or name is None])
        arguments[key] = _fitting(document, (*path, key), parameters[key], value)
    if name is not None:
        arguments[first] = name
    for parameter in parameters.values():
        if parameter.default is parameter.empty and parameter.name not in arguments:
            raise document.error(path, f"needs {parameter.name!r}")
    with document.explained(path):
        method(**arguments)


def _fitting(document: Document, path: Place, parameter: inspect.Parameter, value: Any) -> Any:
    """Return the value in the form that the parameter takes: text as it was written, rows of a file, a scripted model."""
    annotation = str(parameter.annotation)
    wanted = set(annotation.split(" | "))
    if parameter.name == "rows" and isinstance(value, str):
        with document.explained(path):
            return records(document.folder / value)
    if parameter.name == "model" and value is not None and not callable(value):
        with document.explained(path):
            return scripted(value)
    if annotation == "Iterable[str]" and isinstance(value, list):
        return [document.texts.get((*path, number), item) for number, item in enumerate(value)]
    if "str" in wanted and value is not None and not isinstance(value, (Mapping, list)):
        value = document.texts.get(path, value)
    _check_type(document, path, wanted, value)
    return value


def _check_type(document: Document, path: Place, wanted: set[str], value: Any) -> None:
    if wanted <= _PLAIN.keys() and not any(_PLAIN[name](value) for name in wanted):
        raise document.error(path, f"expected {' or '.join(_SAID[name] for name in sorted(wanted))}, not {said(value)}")


_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "None": lambda value: value is None,
}
_SAID = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "None": "nothing"}


# ---------------------------------------------------------------------------------------------- models


def scripted(script: Any) -> Callable[[dict[str, Any]], Any]:
    """Return a chat model that gives the scripted answers.

    Args:
        script: One answer for everything; a list with an answer for each turn of a conversation, the last one for all
            further turns; or answers by question (case and closing punctuation do not matter), ``"*"`` for any other.
            An answer is text, or an assistant message with ``content`` and ``tool_calls``.

    Raises:
        ValueError: The script has none of these forms.
    """
    if _is_answer(script):
        return lambda _body: script
    if isinstance(script, list) and script and all(map(_is_answer, script)):
        return lambda body: script[min(_turn(body), len(script) - 1)]
    if isinstance(script, Mapping) and script and all(map(_is_answer, script.values())):
        answers = {normal(question): answer for question, answer in script.items()}
        return lambda body: _look_up(answers, _question(body))
    msg = "a model is an answer, a list of answers (one per turn), answers by question, or !python module:function"
    raise ValueError(msg)


def _is_answer(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, Mapping) and bool(value) and value.keys() <= {"role", "content", "tool_calls"}
    )


def _turn(body: Mapping[str, Any]) -> int:
    return sum(message.get("role") == "assistant" for message in body["messages"])


def _question(body: Mapping[str, Any]) -> str:
    asked = [message.get("content") for message in body["messages"] if message.get("role") == "user"]
    return str(asked[-1]) if asked else ""


def _look_up(answers: Mapping[str, Any], question: str) -> Any:
    answer = answers.get(normal(question), answers.get(_ANY))
    if answer is None:
        msg = f"the script has no answer for {question!r}, and none for '*'"
        raise LookupError(msg)
    return answer


# ---------------------------------------------------------------------------------------------- the file


def _read(source: Source) -> Document:
    if isinstance(source, Mapping):
        return Document(file=None, folder=Path.cwd(), data=source)
    return read(source, tags={"!python": _import})


def _import(name: str, folder: Path) -> Any:
    """Return the object that ``module:name`` stands for. Modules beside the file are found too."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        msg = f"write !python module:name, not {name!r}"
        raise ValueError(msg)
    sys.path.insert(0, str(folder))
    try:
        target: Any = importlib.import_module(module)
        for part in attribute.split("."):
            target = getattr(target, part)
    finally:
        sys.path.remove(str(folder))
    return target
