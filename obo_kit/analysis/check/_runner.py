"""`check`: read agents' source without running it, and find mistakes with users' identities and scopes."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._fixes import Edit, apply
from obo_kit.analysis.check._holding import Reader
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._project import Project
from obo_kit.analysis.check._sources import MARGIN, SUFFIXES, SourceError
from obo_kit.analysis.check._vocabulary import arguments
from obo_kit.analysis.check.rules import RULES, Hit, Rule

__all__ = ["Finding", "Report", "check", "fix", "python_files"]

_NOQA: Final = re.compile(r"#\s*noqa(?P<codes>:\s*[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*)?", re.IGNORECASE)
# Folders that contain no agent of the author's. Test files break the rules on purpose, so they are checked only if named.
_LEFT_OUT: Final = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages", "venv"})
# The series of rules about logging. A file without a word about users may break them.
_ABOUT_LOGGING: Final = "OBO4"
_TESTS: Final = re.compile(r"test_.*|.*_test|conftest")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A rule is broken, and where.

    Attributes:
        code: The rule's code.
        path: The file, as it was named.
        line: From 1.
        column: From 1, in characters.
        end_line: From 1.
        end_column: From 1, in characters: the first one after the place.
        message: What is wrong there.
        edits: The edits that `fix` makes; empty if only the author can fix it.
        cell: The cell of a notebook, from 1. Lines are counted within it.
        excerpt: The line, as it is written.
    """

    code: str
    path: Path
    line: int
    column: int
    end_line: int
    end_column: int
    message: str
    edits: tuple[Edit, ...] = ()
    cell: int | None = None
    excerpt: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The result of a check.

    Attributes:
        findings: In the order of the files and their lines.
        unreadable: The files that could not be read as Python, and why.
        files: The number of files that were read. Files of a folder that cannot matter are counted but not parsed.
        named_unreadable: Whether one of the unreadable files was named by the caller.
    """

    findings: tuple[Finding, ...]
    unreadable: tuple[tuple[Path, str], ...]
    files: int
    named_unreadable: bool = False


def python_files(paths: Iterable[Path], exclude: Sequence[str] = ()) -> dict[Path, Path | None]:
    """Return the files to check, each with the folder that it was found in; None for a named file. Tests are left out.

    Args:
        paths: Files and folders.
        exclude: Patterns for names or paths of files and folders to leave out, as for ``fnmatch``.
    """
    files: dict[Path, Path | None] = {}
    for path in paths:
        if path.is_dir():
            files |= {inside: path for inside in _in_folder(path, exclude) if inside not in files}
        elif not _excluded(path, path.name, exclude):
            files[path] = None
    return files


def _in_folder(folder: Path, exclude: Sequence[str]) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        inside = Path(here)
        folders[:] = sorted(
            name
            for name in folders
            if name not in _LEFT_OUT and not name.startswith(".") and not _excluded(inside / name, name, exclude)
        )
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if suffix in SUFFIXES and not _TESTS.fullmatch(stem) and not _excluded(inside / name, name, exclude):
                yield inside / name


def _excluded(path: Path, name: str, exclude: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(text, pattern.rstrip("/")) for pattern in exclude for text in (name, path.as_posix()))


def check(
    paths: Sequence[Path],
    *,
    select: Collection[str] = (),
    ignore: Collection[str] = (),
    exclude: Sequence[str] = (),
    stdin: tuple[Path, bytes] | None = None,
) -> Report:
    """Check files and folders. Nothing in them is imported or run.

    Args:
        paths: Python files, notebooks, and folders to search for them.
        select: The first characters of the codes to look for; all codes by default.
        ignore: The first characters of the codes to leave out. They win over ``select``.
        exclude: Patterns for files and folders to leave out.
        stdin: One more file: the path that it stands for, and its content.
    """
    project = Project()
    reader = Reader()
    files = python_files(paths, exclude)
    if stdin is not None:
        project.add(*stdin)
        files[stdin[0]] = None
    rules = [rule for rule in RULES.values() if _wanted(rule.code, select, ignore)]
    agents, unreadable = _read(project, reader, files)
    about_users = _about_users(project, reader, files, agents)
    about_logging = [rule for rule in rules if rule.code.startswith(_ABOUT_LOGGING)]
    # Only now, because all callers are known.
    findings = [
        finding
        for shown in files
        for path in (shown, *project.written(shown))
        if path in agents or path in about_users
        for finding in _findings(
            shown, about_users.get(path) or agents[path], rules if path in about_users else about_logging
        )
    ]
    return Report(
        findings=tuple(findings),
        unreadable=tuple(unreadable),
        files=len(files) - len(unreadable),
        named_unreadable=any(files[path] is None for path, _ in unreadable),
    )


def _read(
    project: Project, reader: Reader, files: Mapping[Path, Path | None]
) -> tuple[dict[Path, Agent], list[tuple[Path, str]]]:
    """Read the files that are worth it. Return the agents, and the files that could not be read."""
    agents: dict[Path, Agent] = {}
    unreadable: list[tuple[Path, str]] = []
    for path, folder in files.items():
        try:
            if folder is None or project.matters(path, folder) or project.logs(path):
                agents[path] = Agent(project.module(path), reader)
                agents |= {written: Agent(project.module(written), reader) for written in project.written(path)}
        except SourceError as error:
            unreadable.append((path, str(error)))
    return agents, unreadable


def _about_users(
    project: Project, reader: Reader, files: Iterable[Path], agents: Mapping[Path, Agent]
) -> dict[Path, Agent]:
    """Return the files that are about users, and the files that they pass a client to."""
    about = {path: agent for path, agent in agents.items() if project.matters(path)}
    by_path = {project.resolved(path): path for path in files}
    for agent in list(about.values()):
        for helper in (*_handed_to(project, agent), *(item for item in agent.helpers if ".headers" in item.text)):
            path = by_path.get(helper.path)
            if path is not None and path not in about:
                about[path] = Agent(helper, reader)
    return about


def _handed_to(project: Project, agent: Agent) -> Iterable[Module]:
    """Return the helper modules that a file passes the user's client or token to; all of them, if that is unclear."""
    module = agent.module
    helpers: dict[Module, None] = {}
    for call in module.calls:
        if not any(_gives_user(agent, passed) for passed in arguments(call)):
            continue
        called = agent.reader.called(module, call.func)
        origin = called or module.origin(call.func)
        if origin is None and isinstance(call.func, ast.Attribute):
            origin = module.origin(call.func.value)
            if isinstance(origin, tuple) and isinstance(origin[1], ast.Call):
                origin = origin[0].origin(origin[1].func)
        if origin is None:
            return project.directly_imported(module)
        if isinstance(origin, tuple) and origin[0] is not module:
            helpers[origin[0]] = None
    return helpers


def _gives_user(agent: Agent, node: ast.expr) -> bool:
    """Return whether a value keeps the user's client or token, or is a function that returns one."""
    provided = agent.reader.provided(agent.module, node) if isinstance(node, (ast.Name, ast.Attribute)) else ()
    return agent.reader.held(agent.module, node) is not None or any(
        value.who == "user" and not value.path for value in provided
    )


def _findings(path: Path, agent: Agent, rules: Sequence[Rule]) -> list[Finding]:
    hits = [(rule.code, hit) for rule in rules for hit in rule.find(agent)]
    if not hits:
        return []
    lines = re.split(r"\r\n|\r|\n", agent.module.text)
    return sorted(
        {_finding(code, path, agent.module, lines, hit) for code, hit in hits if not _suppressed(code, hit, lines)},
        key=_order,
    )


def fix(report: Report) -> list[Path]:
    """Write the possible fixes into the files, and return the files that changed. Check again afterwards."""
    changed: list[Path] = []
    for path in dict.fromkeys(finding.path for finding in report.findings if finding.edits):
        module = Project().module(path)
        edits = [edit for item in report.findings if item.path == path for edit in item.edits]
        path.write_bytes(apply(module.text, edits).encode(module.source.encoding))
        changed.append(path)
    return changed


def _wanted(code: str, select: Collection[str], ignore: Collection[str]) -> bool:
    chosen = not select or code.startswith(tuple(select))
    return chosen and not (ignore and code.startswith(tuple(ignore)))


def _finding(code: str, path: Path, module: Module, lines: Sequence[str], hit: Hit) -> Finding:
    node = hit.node

    def column(line: int, offset: int) -> int:
        text = lines[line - 1]
        offset += len(MARGIN) if text.startswith(MARGIN) else 0
        return len(text.encode()[:offset].decode(errors="replace")) + 1

    end_line, end_offset = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    cell, line = module.source.place(node.lineno)
    return Finding(
        code=code,
        path=path,
        line=line,
        column=column(node.lineno, node.col_offset),
        end_line=line + end_line - node.lineno,
        end_column=column(end_line, end_offset),
        message=hit.message,
        edits=hit.edits if cell is None and module.text == module.source.code else (),
        cell=cell,
        excerpt=lines[node.lineno - 1],
    )


def _order(finding: Finding) -> tuple[int, int, int, str, str]:
    return finding.cell or 0, finding.line, finding.column, finding.code, finding.message


def _suppressed(code: str, hit: Hit, lines: Sequence[str]) -> bool:
    """Return whether the first or the last line has a `# noqa` for everything or for this code."""
    for number in {hit.node.lineno, hit.node.end_lineno or hit.node.lineno}:
        comment = _NOQA.search(lines[number - 1])
        if comment is not None:
            codes = re.findall(r"[A-Z]+[0-9]+", (comment["codes"] or "").upper())
            if not codes or code in codes:
                return True
    return False
