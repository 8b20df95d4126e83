"""Read files as Python: modules, notebooks, and lines that only a notebook runs."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from obo_kit._utils.files import read_regular

__all__ = ["SUFFIXES", "Source", "SourceError", "read"]

SUFFIXES: Final = (".py", ".ipynb")
_RUNNING: Final = sys.version_info[:2]
# Magics that run the rest of their cell as Python.
_PYTHON_CELLS: Final = frozenset({"capture", "prun", "python", "time", "timeit"})
_MAGIC: Final = re.compile(r"(?P<indent>[ \t]*)(?:[%!?]|# MAGIC %run)(?P<rest>.*)")
_ASSIGNED: Final = re.compile(r"(?P<target>[ \t]*[\w, \t]+=[ \t]*)[%!].*")
_RUN: Final = re.compile(
    r"[ \t]*(?:# MAGIC )?%run[ \t]+[\"']?\./(?P<module>[A-Za-z_]\w*)(?:\.py|\.ipynb)?[\"']?[ \t]*$"
)
_EXPORTED: Final = "# Databricks notebook source"
_NEXT_CELL: Final = "# COMMAND ----------"
# In front of the lines of a cell that is no plain Python, in a notebook that was exported as source.
MARGIN: Final = "# MAGIC "
_WRITES: Final = re.compile(
    r"%%(?:write)?file[ \t]+(?P<more>-a[ \t]+)?[\"']?(?:\./)?(?P<file>\w[\w./-]*\.py)[\"']?[ \t]*"
)
# Grammar of later Python versions, and a pattern that recognizes it.
_LATER: Final = (
    ((3, 14), "except without parentheses", re.compile(r"^[ \t]*except[ \t]+\w[\w.]*[ \t]*,[^:()]*:", re.MULTILINE)),
    ((3, 14), "a template string", re.compile(r"(?<![\w])[rR]?t[rR]?[\"']")),
    ((3, 12), "the type statement", re.compile(r"^[ \t]*type[ \t]+\w+[ \t]*(?:\[[^\n]*\])?[ \t]*=", re.MULTILINE)),
    ((3, 12), "type parameters", re.compile(r"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+\w+[ \t]*\[", re.MULTILINE)),
    ((3, 12), "quotes inside an f-string", re.compile(r"[fF]([\"'])[^\n]*\{[^}\n]*\1[^\n]*\}[^\n]*\1")),
    ((3, 11), "except*", re.compile(r"^[ \t]*except[ \t]*\*", re.MULTILINE)),
)


class SourceError(Exception):
    """A file cannot be read as Python."""


@dataclass(kw_only=True, slots=True)
class Source:
    """The text of one file.

    Attributes:
        path: The file.
        text: The text as people see it. A notebook's code cells follow one another.
        encoding: The file's encoding.
        cells: The first line of each code cell of a notebook, counted in ``text``, with the number of the cell.
        code: The text as Python reads it, with the same number of lines.
        written: The modules that a notebook writes with ``%%writefile``: path and code, which keeps the notebook's lines.
    """

    path: Path
    text: str
    encoding: str
    cells: tuple[tuple[int, int], ...] = ()
    code: str = ""
    written: dict[str, str] = field(default_factory=dict)

    def place(self, line: int) -> tuple[int | None, int]:
        """Return the cell of a line and the line within it; no cell in a module."""
        for first, number in reversed(self.cells):
            if line >= first:
                return number, line - first + 1
        return None, line

    def parsed(self) -> ast.Module:
        """Return the syntax tree.

        Raises:
            SourceError: The text is not Python, or is of a later version of Python.
        """
        try:
            return self._parsed(self.code)
        except SyntaxError as error:
            plain = "\n".join(_plain(self.text.split("\n")))
            if plain == self.code:
                raise self._error(error) from None
        self.code = plain
        try:
            return self._parsed(plain)
        except SyntaxError as error:
            raise self._error(error) from None

    def _parsed(self, code: str) -> ast.Module:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the agent's own invalid escapes
                return ast.parse(code, str(self.path))
        except (ValueError, RecursionError, MemoryError) as error:
            raise SourceError(f"cannot be parsed: {str(error) or 'it is nested too deeply'}") from None

    def _error(self, error: SyntaxError) -> SourceError:
        cell, line = self.place(error.lineno or 0)
        where = f"line {line}" if cell is None else f"cell {cell}, line {line}"
        for version, feature, pattern in _LATER:
            if version > _RUNNING and pattern.search(self.code):
                running = ".".join(map(str, _RUNNING))
                return SourceError(
                    f"{where}: {error.msg}. Python {version[0]}.{version[1]} would read it ({feature}); this is {running}. "
                    f"Fix: run the check with Python {version[0]}.{version[1]}."
                )
        return SourceError(f"{where}: {error.msg}")


def read(path: Path, content: bytes | None = None) -> Source:
    """Read a file, or its content if it was read already.

    Raises:
        SourceError: It cannot be read, or is not text.
    """
    try:
        if path.suffix not in SUFFIXES:
            raise SourceError(f"is not Python: files to check end in {' or '.join(SUFFIXES)}.")
        content = read_regular(path) if content is None else content
        if path.suffix == ".ipynb":
            return _notebook(path, content)
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
    except OSError as error:
        raise SourceError(error.strerror or str(error)) from None
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise SourceError(f"is not text in its encoding: {error}") from None
    exported = text.startswith(_EXPORTED)
    code = "\n".join(_brought(line) for line in text.split("\n")) if exported and "%run" in text else text
    written = _written(_exported_cells(text)) if exported and "file" in text else {}
    return Source(path=path, text=text, encoding=encoding, code=code, written=written)


def _exported_cells(text: str) -> Iterator[list[str]]:
    """Yield the cells of a notebook that was exported as source, without what stands in front of a magic's lines."""
    cell: list[str] = []
    for line in text.splitlines():
        if line.startswith(_NEXT_CELL):
            yield cell
            cell = [""]
        else:
            cell.append("" if line == MARGIN.rstrip() else line.removeprefix(MARGIN))
    yield cell


def _written(cells: Iterable[list[str]]) -> dict[str, str]:
    """Return the modules that cells write, each with an empty line for every line of the other cells."""
    written: dict[str, str] = {}
    above = 0
    for cell in cells:
        begins = next((number for number, line in enumerate(cell) if line.strip() and not line.startswith("#")), 0)
        magic = _WRITES.fullmatch(cell[begins].rstrip()) if cell else None
        if magic is not None:
            before = written.get(magic["file"], "") if magic["more"] else ""
            lines = before.split("\n")[:-1]
            lines += [""] * (above + begins + 1 - len(lines)) + cell[begins + 1 :]
            written[magic["file"]] = "\n".join(lines) + "\n"
        above += len(cell)
    return written


def _notebook(path: Path, content: bytes) -> Source:
    try:
        written = json.loads(content)
        cells = [
            (number, "".join(cell["source"]).splitlines())
            for number, cell in enumerate(written["cells"], 1)
            if cell["cell_type"] == "code"
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"is not a notebook of format 4: {type(error).__name__}: {error}") from None
    text: list[str] = []
    code: list[str] = []
    starts: list[tuple[int, int]] = []
    for number, lines in cells:
        starts.append((len(text) + 1, number))
        text += lines or [""]
        code += _cell(lines) or [""]
    return Source(
        path=path,
        text="\n".join(text) + "\n",
        encoding="utf-8",
        cells=tuple(starts),
        code="\n".join(code) + "\n",
        written=_written(lines or [""] for _, lines in cells),
    )


def _cell(lines: list[str]) -> list[str]:
    """Return a cell's code; for a cell in another language, only its empty lines."""
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("%%") or re.match(r"%(sql|md|scala|r|sh|fs)\b", first):
        word = re.match(r"%+(\w*)", first)
        if word is None or word[1] not in _PYTHON_CELLS:
            return [""] * len(lines)
    return _plain(lines)


def _plain(lines: list[str]) -> list[str]:
    """Return the lines, with Python in place of syntax that only a notebook runs."""
    plain: list[str] = []
    goes_on = False
    for line in lines:
        if goes_on:
            goes_on = line.endswith("\\")
            plain.append("")
            continue
        magic = _MAGIC.fullmatch(line.rstrip("\r"))
        assigned = _ASSIGNED.fullmatch(line.rstrip("\r"))
        if magic is not None:
            goes_on = line.endswith("\\")
            brought = _brought(line)
            plain.append(brought if brought != line else f"{magic['indent']}pass")
        else:
            plain.append(f"{assigned['target']}None" if assigned is not None else line)
    return plain


def _brought(line: str) -> str:
    """Return ``%run ./helpers`` as the import that it amounts to."""
    run = _RUN.fullmatch(line.rstrip("\r"))
    return f"from .{run['module']} import *" if run is not None else line
