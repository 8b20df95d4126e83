"""`check`: reads agents' source without running it, and finds what goes wrong with users' identities and scopes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._fixes import Edit, apply
from obo_kit.analysis.check._names import Module, Project, SourceError
from obo_kit.analysis.check._ownership import Reader
from obo_kit.analysis.check._rules import RULES, Hit

__all__ = ["Finding", "Report", "check", "fix", "python_files"]

_NOQA: Final = re.compile(r"#\s*noqa(?P<codes>:\s*[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*)?", re.IGNORECASE)
# Folders that hold no agent of the author's. Files of tests break the rules on purpose; named, they are checked.
_LEFT_OUT: Final = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages", "venv"})
_TESTS: Final = re.compile(r"test_.*|.*_test|conftest")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A rule is broken, and where.

    Attributes:
        code: The rule's.
        path: The file, as it was named.
        line: From 1.
        column: From 1, in characters.
        end_line: From 1.
        end_column: From 1, in characters; the first one behind.
        message: What is wrong there.
        edits: What `fix` does about it; empty where the author must.
    """

    code: str
    path: Path
    line: int
    column: int
    end_line: int
    end_column: int
    message: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was found.

    Attributes:
        findings: In the order of the files and their lines.
        unreadable: The files that could not be read as Python, and why.
        files: How many were read.
    """

    findings: tuple[Finding, ...]
    unreadable: tuple[tuple[Path, str], ...]
    files: int


def python_files(paths: Iterable[Path]) -> list[Path]:
    """The files to check: those that are named, and the Python files in folders that are named, tests left out."""
    found: dict[Path, None] = {}
    for path in paths:
        inside = _in_folder(path) if path.is_dir() else (path,)
        found |= dict.fromkeys(inside)
    return list(found)


def _in_folder(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts[:-1]
        hidden = any(part in _LEFT_OUT or part.startswith(".") for part in parts)
        if not hidden and not _TESTS.fullmatch(path.stem):
            yield path


def check(paths: Sequence[Path], *, select: Collection[str] = (), ignore: Collection[str] = ()) -> Report:
    """Check files and folders. Nothing of them is imported or run.

    Args:
        paths: Python files, and folders to look for them in.
        select: The beginnings of the codes to look for; all by default.
        ignore: The beginnings of the codes to leave out. They win over ``select``.
    """
    project = Project()
    reader = Reader(project)
    findings: list[Finding] = []
    unreadable: list[tuple[Path, str]] = []
    files = python_files(paths)
    for path in files:
        try:
            module = project.module(path)
        except SourceError as error:
            unreadable.append((path, str(error)))
            continue
        agent = Agent(module, reader)
        found = [
            _finding(rule.code, path, module, hit)
            for rule in (RULES.values() if agent.concerns_users else ())
            if _wanted(rule.code, select, ignore)
            for hit in rule.find(agent)
        ]
        lines = module.text.splitlines()
        findings += sorted({one for one in found if not _suppressed(one, lines)}, key=_order)
    return Report(findings=tuple(findings), unreadable=tuple(unreadable), files=len(files) - len(unreadable))


def fix(report: Report) -> list[Path]:
    """Write what can be mended into the files, and return those that changed. Check again afterwards."""
    changed: list[Path] = []
    for path in dict.fromkeys(one.path for one in report.findings if one.edits):
        module = Project().module(path)
        edits = [edit for one in report.findings if one.path == path for edit in one.edits]
        path.write_bytes(apply(module.text, edits).encode(module.encoding))
        changed.append(path)
    return changed


def _wanted(code: str, select: Collection[str], ignore: Collection[str]) -> bool:
    chosen = not select or code.startswith(tuple(select))
    return chosen and not (ignore and code.startswith(tuple(ignore)))


def _finding(code: str, path: Path, module: Module, hit: Hit) -> Finding:
    node = hit.node
    lines = module.text.splitlines()

    def column(line: int, offset: int) -> int:
        return len(lines[line - 1].encode()[:offset].decode()) + 1

    end_line, end_offset = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return Finding(
        code=code,
        path=path,
        line=node.lineno,
        column=column(node.lineno, node.col_offset),
        end_line=end_line,
        end_column=column(end_line, end_offset),
        message=hit.message,
        edits=hit.edits,
    )


def _order(finding: Finding) -> tuple[int, int, str, str]:
    return finding.line, finding.column, finding.code, finding.message


def _suppressed(finding: Finding, lines: Sequence[str]) -> bool:
    """Whether the first or the last line says `# noqa`, of everything or of this code."""
    for number in {finding.line, finding.end_line}:
        comment = _NOQA.search(lines[number - 1])
        if comment is not None:
            codes = re.findall(r"[A-Z]+[0-9]+", (comment["codes"] or "").upper())
            if not codes or finding.code in codes:
                return True
    return False
