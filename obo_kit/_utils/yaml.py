"""Read a YAML file as plain values, and remember each value's position for error messages."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from obo_kit._utils.extras import MissingExtraError
from obo_kit._utils.files import read_regular

__all__ = ["ConfigError", "Document", "Place", "read", "said"]

_MOST_BYTES = 8 * 2**20
_MOST_VALUES = 200_000

Place: TypeAlias = "tuple[str | int, ...]"
"""The keys and list positions that lead to a value."""


class ConfigError(ValueError):
    """A workspace's configuration, or a catalogue file, cannot be used. The message names the place and the accepted values.

    Attributes:
        file: The file; None if the configuration is a mapping.
        line: The line in the file, counted from 1; None if it is not known.
        key: The path of the entry, such as ``tables.main.shop.orders.rows``.
    """

    def __init__(self, message: str, *, file: str | None, line: int | None, key: str) -> None:
        place = f"{file or 'workspace config'}{f':{line}' if line else ''}"
        super().__init__(f"{place}: {f'{key}: ' if key else ''}{message}")
        self.file = file
        self.line = line
        self.key = key


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file's content.

    Attributes:
        file: Its path as the caller passed it; None if there is no file.
        folder: The folder that it is in.
        data: The values.
        lines: The line of each value, counted from 1.
        texts: Each scalar as it was written.
    """

    file: str | None
    folder: Path
    data: Any
    lines: Mapping[Place, int] = field(default_factory=dict)
    texts: Mapping[Place, str] = field(default_factory=dict)

    def error(self, place: Place, message: str) -> ConfigError:
        """Return the error to raise about the value at a place."""
        line = next((self.lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in self.lines), None)
        return ConfigError(message, file=self.file, line=line, key=".".join(map(str, place)))

    def unknown(self, place: Place, known: Iterable[str], what: str = "key") -> ConfigError:
        """Return the error to raise about an unknown name, which is the last part of its place."""
        names = list(known)
        near = difflib.get_close_matches(str(place[-1]), names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names) or 'nothing'}"
        return self.error(place, f"unknown {what}; {hint}")

    def mapping(self, place: Place, value: Any) -> Mapping[str, Any]:
        """Return the value as a mapping; an empty one if nothing is written.

        Raises:
            ConfigError: The value is not a mapping, or one of its keys is not text.
        """
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.error(place, f"expected keys and values, not {said(value)}")
        for key in value:
            if not isinstance(key, str):
                raise self.error((*place, key), f"a key must be text, not {said(key)}")
        return value

    @contextlib.contextmanager
    def explained(self, place: Place) -> Iterator[None]:
        """Add the value's place to any error that is raised about it.

        Raises:
            ConfigError: In place of any other error.
        """
        try:
            yield
        except ValueError as error:
            raise self.error(place, str(error)) from error
        except Exception as error:
            raise self.error(place, f"does not fit ({type(error).__name__}: {error})") from error


def said(value: Any) -> str:
    """Describe a value, for a message."""
    if isinstance(value, Mapping):
        return "keys and values"
    return "a list" if isinstance(value, list) else repr(value)


def read(
    file: str | os.PathLike[str],
    *,
    tags: Mapping[str, Callable[[str, Path], Any]] | None = None,
    inside: str | os.PathLike[str] | None = None,
    limit: int = _MOST_BYTES,
) -> Document:
    """Read a file.

    Args:
        file: Its path.
        inside: The folder that the file was found in. A symbolic link must not lead out of it. Pass ``None`` for a file
            that the caller named.
        limit: The maximum size in bytes.
        tags: A function for each custom tag: it takes the scalar's text and the file's folder, and returns the value.

    Raises:
        ConfigError: The file cannot be read, is not a regular file, is very large, is not YAML, or repeats a key.
        ImportError: PyYAML is not installed.
    """
    file = os.fspath(file)
    empty = Document(file=file, folder=Path(file).absolute().parent, data=None)
    try:
        folder = None if inside is None else Path(inside)
        text = read_regular(file, inside=folder, limit=limit).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8"
        raise empty.error((), f"cannot be read: {reason}") from None
    return _parse(text, empty, tags or {})


def _too_much(node: Any) -> Any:
    """Return where a document expands to too many values, as a few lines of nested aliases can."""
    sizes: dict[int, int] = {}
    pending = [(node, False)]
    while pending:
        here, is_left = pending.pop()
        entries = here.value if isinstance(here.value, list) else []  # a scalar's value is its text
        inside = [part for entry in entries for part in (entry if isinstance(entry, tuple) else (entry,))]
        if is_left:
            sizes[id(here)] = 1 + sum(sizes[id(part)] for part in inside)
            if sizes[id(here)] > _MOST_VALUES:
                return here.start_mark
        elif id(here) not in sizes:
            sizes[id(here)] = 1  # counts a node that contains itself once; `_parse` refuses it
            pending += [(here, True), *((part, False) for part in inside)]
    return None


def _parse(text: str, empty: Document, tags: Mapping[str, Callable[[str, Path], Any]]) -> Document:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("A YAML file needs pyyaml", extra="testing") from None

    lines: dict[Place, int] = {}
    texts: dict[Place, str] = {}
    document = Document(file=empty.file, folder=empty.folder, data=None, lines=lines, texts=texts)

    def value_of(node: Any, path: Place, inside: tuple[Any, ...]) -> Any:
        lines.setdefault(path, node.start_mark.line + 1)
        if node in inside:
            raise document.error(path, "contains itself")
        if isinstance(node, yaml.MappingNode):
            written: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    lines[path] = key.start_mark.line + 1
                    raise document.error(path, "a key must be text")
                if key.value in written:
                    place = (*path, key.value)
                    lines[place] = key.start_mark.line + 1
                    raise document.error(place, "is repeated")
                written.add(key.value)
            loader.flatten_mapping(node)
            values: dict[str, Any] = {}
            for key, value in node.value:
                # Names stay as they are written: an id such as 01e5 is not a number.
                place = (*path, key.value)
                lines[place] = key.start_mark.line + 1
                values[key.value] = value_of(value, place, (*inside, node))
            return values
        if isinstance(node, yaml.SequenceNode):
            return [value_of(item, (*path, number), (*inside, node)) for number, item in enumerate(node.value)]
        if node.tag in tags:
            with document.explained(path):
                return tags[node.tag](node.value, document.folder)
        texts[path] = node.value
        return loader.construct_object(node)

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None and (mark := _too_much(node)) is not None:
            raise ConfigError(
                f"stands for more than {_MOST_VALUES:,} values, because aliases repeat each other",
                file=empty.file,
                line=mark.line + 1,
                key="",
            )
        data = None if node is None else value_of(node, (), ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            f"is not YAML: {error.problem or error.context}",
            file=empty.file,
            line=mark.line + 1 if mark else None,
            key="",
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise empty.error((), f"is not YAML: {str(error).splitlines()[0]}") from None
    return Document(file=empty.file, folder=empty.folder, data=data, lines=lines, texts=texts)
