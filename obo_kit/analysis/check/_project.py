"""Find the files that are checked together: those that may matter, and the modules that they import."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from obo_kit._utils.files import read_regular
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._sources import Source, SourceError, read

__all__ = ["Project"]

# A file without any of these words neither has a user's client nor declares anything. They may be part of other words.
_WORDS = (
    *(b"obo_kit", b"user_credentials", b"usercredentials", b"fetch_obo_token", b"get_user_workspace_client"),
    b"get_request_headers",
)
# A file with one of these may log an agent that does: with a policy, or from a file that it names.
_LOGS = (b"log_model", b"save_model")
_POLICY = b"auth_policy"
_FILE = re.compile(rb"[\"']([\w./-]+\.py)[\"']")
# Slow patterns, searched for only if a file has one of their words.
_PATTERNS = (
    (b"forwarded", re.compile(rb"x.forwarded.access.token")),
    (b"client(", re.compile(rb"(?:workspace|search)client\([^)]{0,300}token")),
)
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.MULTILINE
)
_RUN = re.compile(rb"%run[ \t]+[\"']?\./(\w+)")


def _about_users(content: bytes) -> bool:
    """Return whether the text of a file may be about users."""
    lowered = content.lower()
    return any(word in lowered for word in _WORDS) or any(
        word in lowered and pattern.search(lowered) is not None for word, pattern in _PATTERNS
    )


class Project:
    """The files that are read together: those to check, and the helper modules in their folders."""

    def __init__(self) -> None:
        self._modules: dict[Path, Module] = {}
        self._files: dict[Path, Path | None] = {}
        self._meant: dict[tuple[Path, str], tuple[Path, ...]] = {}
        self._folders: dict[Path, frozenset[str]] = {}
        self._resolved: dict[Path, Path] = {}
        self._followed: dict[tuple[Path, str], Module | None] = {}
        self._contents: dict[Path, bytes] = {}
        self._matters: dict[Path, bool] = {}
        self._written: dict[Path, Source] = {}  # modules that exist only in the cells of a notebook

    def module(self, path: Path) -> Module:
        """Read a file, once.

        Raises:
            SourceError: The file cannot be read, or is not Python.
        """
        path = self.resolved(path)
        if path not in self._modules:
            source = self._written.get(path) or read(path, self._contents.get(path))
            self._modules[path] = Module(path, source, self)
            for name, code in source.written.items():
                self._write(path.parent / name, replace(source, code=code, written={}))
        return self._modules[path]

    def _write(self, path: Path, source: Source) -> None:
        """Add a module that a notebook writes, unless it is there and so is checked itself."""
        if path.is_file() or path in self._written:
            return
        self._written[path] = source
        self._contents[path] = source.code.encode()
        self._files[path.with_suffix("")] = path
        self._folders[path.parent] = self._names(path.parent) | {path.stem}
        self._meant.clear()

    def written(self, path: Path) -> list[Path]:
        """Return the modules that a notebook writes."""
        module = self._modules.get(self.resolved(path))
        names = module.source.written if module is not None else ()
        return [file for name in names if (file := self.resolved(path).parent / name) in self._written]

    def add(self, path: Path, content: bytes) -> None:
        """Add a file whose content does not come from the disk."""
        self._contents[self.resolved(path)] = content

    def matters(self, path: Path, inside: Path | None = None) -> bool:
        """Return whether a file, or one that it imports, may be about users. Only then it is worth parsing.

        Args:
            path: The file.
            inside: The folder that it was found in. A symbolic link must not lead out of it.

        Raises:
            SourceError: The file cannot be read.
        """
        self._read(path, inside)
        path, seen = self.resolved(path), set[Path]()
        pending = [path]
        while pending:
            file = pending.pop()
            if file in seen:
                continue
            seen.add(file)
            known = self._matters.get(file)
            if known is None:
                content = self._content(file)
                known = _about_users(content)
                if not known:
                    pending += self._imports(file, content)
            if known:
                self._matters[path] = True
                return True
        # None of the files that were visited matters, so remember that for all of them.
        self._matters |= dict.fromkeys(seen, False)
        return False

    def logs(self, path: Path) -> bool:
        """Return whether a file may log an agent. Then only the rules about logging apply to it."""
        path = self.resolved(path)
        content = self._content(path)
        if not any(word in content for word in _LOGS):
            return False
        named = (path.parent / name.decode() for name in _FILE.findall(content))
        return _POLICY in content or any(self.matters(item) for item in named if item.is_file())

    def _read(self, path: Path, inside: Path | None) -> None:
        known = self.resolved(path)
        if known not in self._contents:
            try:
                if inside is not None and not known.is_relative_to(self.resolved(inside)):
                    raise OSError(errno.EPERM, "is a symbolic link out of its folder")
                self._contents[known] = read_regular(known)
            except OSError as error:
                raise SourceError(error.strerror or str(error)) from None

    def _content(self, path: Path) -> bytes:
        """Return the content of a file that another file imports; empty if it cannot be read."""
        try:
            self._read(path, None)
        except SourceError:
            return b""
        return self._contents[path]

    def _imports(self, path: Path, content: bytes) -> Iterator[Path]:
        """Yield the files that a file may import, by the text of its ``import`` statements."""
        folder = path.parent
        for base, names, whole in _IMPORT.findall(content):
            dotted = base.decode("ascii", "replace")
            if dotted and not self._begins_here(folder, dotted):
                continue
            wanted = [dotted] if dotted else []
            for name in re.findall(r"[\w.]+", re.sub(rb"#[^\n]*", b"", names or whole).decode("utf-8", "replace")):
                wanted.append(f"{dotted}{'' if dotted.endswith('.') or not dotted else '.'}{name}")
            for name in wanted:
                yield from self._paths(folder, name)
        for run in _RUN.findall(content):
            yield from self._paths(folder, f".{run.decode('ascii', 'replace')}")

    def _begins_here(self, folder: Path, dotted: str) -> bool:
        """Return whether the first part of an import is in a folder, or is the package that the folder is."""
        first = dotted.partition(".")[0]
        return not first or first == folder.name or first in self._names(folder)

    def followed(self, importer: Module, dotted: str) -> Module | None:
        """Return the helper module that an import names, if it is in the importer's folder (or its package's)."""
        key = importer.path, dotted
        if key not in self._followed:
            self._followed[key] = None  # modules may import each other
            self._followed[key] = self._find(importer, dotted)
        return self._followed[key]

    def named(self, beside: Module, path: str) -> Module | None:
        """Return the module of a file whose path is relative to another."""
        file = beside.path.parent / path
        try:
            return self.module(file) if file in self._written or file.is_file() else None
        except SourceError:
            return None

    def _find(self, importer: Module, dotted: str) -> Module | None:
        for path in self._paths(importer.path.parent, dotted):
            if path != importer.path:
                try:
                    return self.module(path)
                except SourceError:
                    return None
        return None

    def _paths(self, folder: Path, dotted: str) -> tuple[Path, ...]:
        """Yield the files that an import may mean, in the importer's folder or its package's."""
        key = folder, dotted
        if key not in self._meant:
            self._meant[key] = tuple(self._meanings(folder, dotted)) if self._begins_here(folder, dotted) else ()
        return self._meant[key]

    def _meanings(self, folder: Path, dotted: str) -> Iterator[Path]:
        level = len(dotted) - len(dotted.lstrip("."))
        parts = [part for part in dotted.lstrip(".").split(".") if part]
        for _ in range(level - 1):
            folder = folder.parent
        roots = [folder, *([folder.parent] if not level and parts and parts[0] == folder.name else [])]
        for root in roots:
            file = self._file(root.joinpath(*parts))
            if file is not None:
                yield file

    def _file(self, base: Path) -> Path | None:
        if base not in self._files:
            self._files[base] = self._look_for(base) if base.name in self._names(base.parent) else None
        return self._files[base]

    def _look_for(self, base: Path) -> Path | None:
        inside = self.resolved(base.parent)
        candidates = (base / "__init__.py", base.with_name(f"{base.name}.py"))
        files = (self.resolved(candidate) for candidate in candidates if candidate.is_file())
        return next((file for file in files if file.is_relative_to(inside)), None)

    def _names(self, folder: Path) -> frozenset[str]:
        """Return the names that can be imported from a folder."""
        if folder not in self._folders:
            try:
                self._folders[folder] = frozenset(name.removesuffix(".py") for name in os.listdir(folder))
            except OSError:
                self._folders[folder] = frozenset()
        return self._folders[folder]

    def resolved(self, path: Path) -> Path:
        """Return a path without symbolic links, looked up once, and that of its folder once for all files there."""
        if path not in self._resolved:
            plain = path.name not in ("", "..") and path.parent != path and not path.is_symlink()
            self._resolved[path] = self.resolved(path.parent) / path.name if plain else path.resolve()
        return self._resolved[path]

    def directly_imported(self, module: Module) -> list[Module]:
        """Return the helper modules that a module imports itself."""
        imported = (self.followed(module, dotted) for dotted in module.imports)
        return [item for item in dict.fromkeys(imported) if item is not None]
