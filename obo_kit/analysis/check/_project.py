"""The files that are checked together: which of them can matter, and the modules that they import."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from obo_kit._utils.files import read_regular
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._sources import SourceError, read

__all__ = ["Project"]

# Without one of these words a file neither has a user's client nor declares or logs anything. They may be part of others.
_MATTERS = re.compile(
    rb"obo_kit|model_?serving_?user_?credentials|fetch_obo_token|get_user_workspace_client|x.forwarded.access.token"
    rb"|(?:log|save)_model|(?:workspace|search)client\([^)]{0,300}token",
    re.IGNORECASE,
)
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.MULTILINE
)
_RUN = re.compile(rb"%run[ \t]+[\"']?\./(\w+)")


class Project:
    """The files that are read together: those to check, and the helper modules in their folders."""

    def __init__(self) -> None:
        self._modules: dict[Path, Module] = {}
        self._files: dict[Path, Path | None] = {}
        self._followed: dict[tuple[Path, str], Module | None] = {}
        self._contents: dict[Path, bytes] = {}
        self._matters: dict[Path, bool] = {}

    def module(self, path: Path) -> Module:
        """Read a file, once.

        Raises:
            SourceError: It cannot be read, or is not Python.
        """
        path = path.resolve()
        if path not in self._modules:
            self._modules[path] = Module(path, read(path, self._contents.get(path)), self)
        return self._modules[path]

    def add(self, path: Path, content: bytes) -> None:
        """Take a file's content from elsewhere than the disk."""
        self._contents[path.resolve()] = content

    def matters(self, path: Path, inside: Path | None = None) -> bool:
        """Whether a file, or one that it imports, may be about users: only then it is worth parsing.

        Args:
            path: The file.
            inside: The folder that it was found in, which a symbolic link must not lead out of.

        Raises:
            SourceError: It cannot be read.
        """
        self._read(path, inside)
        path, seen = path.resolve(), set[Path]()
        pending = [path]
        while pending:
            file = pending.pop()
            if file in seen:
                continue
            seen.add(file)
            known = self._matters.get(file)
            if known is None:
                content = self._content(file)
                known = _MATTERS.search(content) is not None
                if not known:
                    pending += self._imports(file, content)
            if known:
                self._matters[path] = True
                return True
        # None of them matters, whoever asks.
        self._matters |= dict.fromkeys(seen, False)
        return False

    def _read(self, path: Path, inside: Path | None) -> None:
        known = path.resolve()
        if known not in self._contents:
            try:
                self._contents[known] = read_regular(path, inside=inside)
            except OSError as error:
                raise SourceError(error.strerror or str(error)) from None

    def _content(self, path: Path) -> bytes:
        """The content of a file that another one imports; nothing where it cannot be read."""
        try:
            self._read(path, None)
        except SourceError:
            return b""
        return self._contents[path]

    def _imports(self, path: Path, content: bytes) -> Iterator[Path]:
        for base, names, whole in _IMPORT.findall(content):
            dotted = base.decode("ascii", "replace")
            wanted = [dotted] if dotted else []
            for name in re.findall(r"[\w.]+", re.sub(rb"#[^\n]*", b"", names or whole).decode("utf-8", "replace")):
                wanted.append(f"{dotted}{'' if dotted.endswith('.') or not dotted else '.'}{name}")
            for name in wanted:
                yield from self._paths(path, name)
        for run in _RUN.findall(content):
            yield from self._paths(path, f".{run.decode('ascii', 'replace')}")

    def followed(self, importer: Module, dotted: str) -> Module | None:
        """The helper module that an import names, where it lies in the importer's folder (or its package's)."""
        key = importer.path, dotted
        if key not in self._followed:
            self._followed[key] = None  # modules may import each other
            self._followed[key] = self._find(importer, dotted)
        return self._followed[key]

    def named(self, beside: Module, path: str) -> Module | None:
        """The module of a file that is named relative to another."""
        file = beside.path.parent / path
        try:
            return self.module(file) if file.is_file() else None
        except SourceError:
            return None

    def _find(self, importer: Module, dotted: str) -> Module | None:
        for found in self._paths(importer.path, dotted):
            if found != importer.path:
                try:
                    return self.module(found)
                except SourceError:
                    return None
        return None

    def _paths(self, importer: Path, dotted: str) -> Iterator[Path]:
        """The files that an import may mean, in the importer's folder or its package's."""
        level = len(dotted) - len(dotted.lstrip("."))
        parts = [part for part in dotted.lstrip(".").split(".") if part]
        folder = importer.parent
        for _ in range(level - 1):
            folder = folder.parent
        roots = [folder, *([folder.parent] if not level and parts and parts[0] == folder.name else [])]
        for root in roots:
            found = self._file(root.joinpath(*parts))
            if found is not None:
                yield found

    def _file(self, base: Path) -> Path | None:
        if base not in self._files:
            candidates = (base / "__init__.py", base.with_name(f"{base.name}.py")) if base.name else ()
            inside = base.parent.resolve()
            resolved = (one.resolve() for one in candidates if one.is_file())
            self._files[base] = next((one for one in resolved if one.is_relative_to(inside)), None)
        return self._files[base]
