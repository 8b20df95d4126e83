"""Write findings for people, for programs (JSON), for code scanning (SARIF 2.1.0), and for GitHub's pages.

File names and pieces of source come from others, so no control character in them gets through.
"""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from obo_kit._utils.plain import visible
from obo_kit._utils.version import __version__
from obo_kit.analysis.check.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from obo_kit.analysis.check._runner import Finding, Report

__all__ = ["FORMATS", "statistics_of"]

_SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def _text(report: Report) -> str:
    lines: list[str] = []
    for finding in report.findings:
        fixable_mark = "[*] " if finding.edits else ""
        lines += [f"{_where(finding)}: {finding.code} {fixable_mark}{visible(finding.message, '')}", *_excerpt(finding)]
    codes = sorted({finding.code for finding in report.findings})
    lines += ["", "Fix:", *(f"  {code}: {RULES[code].fix}" for code in codes), ""]
    count, fixable = len(report.findings), sum(bool(finding.edits) for finding in report.findings)
    files = f"{report.files} file{'' if report.files == 1 else 's'}"
    if not count:
        return f"No mistakes found in {files}."
    lines.append(f"{count} found in {files}.")
    if fixable:
        lines.append(f"[*] `obo-kit check --fix` fixes {fixable} of them.")
    return "\n".join(lines)


def _where(finding: Finding) -> str:
    cell = f"cell {finding.cell}:" if finding.cell is not None else ""
    return f"{visible(str(finding.path), '')}:{cell}{finding.line}:{finding.column}"


def _excerpt(finding: Finding) -> list[str]:
    """Return the line, with the place underlined."""
    number = str(finding.line)
    margin = " " * len(number)
    end = finding.end_column if finding.end_line == finding.line else len(finding.excerpt) + 1
    # Tabs stay, so that the mark is below its place.
    excerpt = visible(finding.excerpt)
    before = re.sub(r"[^\t]", " ", excerpt[: finding.column - 1])
    mark = "^" * max(1, end - finding.column)
    return [
        f"{margin} |",
        f"{number} | {excerpt}",
        f"{margin} | {before}{mark} {finding.code}",
        f"{margin} |",
        "",
    ]


def statistics_of(report: Report) -> str:
    """Return how often each rule is broken."""
    counts = collections.Counter(finding.code for finding in report.findings)
    return "\n".join(f"{count}\t{code}\t{RULES[code].title}" for code, count in counts.most_common())


def _json(report: Report) -> str:
    findings = [
        {
            "code": finding.code,
            "title": RULES[finding.code].title,
            "message": visible(finding.message, ""),
            "fix": RULES[finding.code].fix,
            "fixable": bool(finding.edits),
            "path": str(finding.path),
            "line": finding.line,
            "column": finding.column,
            "end_line": finding.end_line,
            "end_column": finding.end_column,
            "cell": finding.cell,
        }
        for finding in report.findings
    ]
    unreadable = [{"path": str(path), "message": visible(why, "")} for path, why in report.unreadable]
    return _dumped({"findings": findings, "unreadable": unreadable, "files": report.files})


def _dumped(value: Any) -> str:
    """Return JSON in ASCII, with the one control character escaped that JSON leaves as it is."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")


def _sarif(report: Report) -> str:
    codes = list(RULES)
    rules = [
        {
            "id": rule.code,
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": rule.why},
            "help": {"text": rule.fix},
            "defaultConfiguration": {"level": "warning"},
        }
        for rule in RULES.values()
    ]
    notes = [
        {
            "level": "error",
            "message": {"text": visible(f"{path}: {why}", "")},
            "locations": [{"physicalLocation": _artifact(path)}],
        }
        for path, why in report.unreadable
    ]
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "obo-kit check", "version": __version__, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": not notes, "toolExecutionNotifications": notes}],
        "results": [
            {
                "ruleId": finding.code,
                "ruleIndex": codes.index(finding.code),
                "level": "warning",
                "message": {"text": visible(finding.message, "")},
                "locations": [{"physicalLocation": {**_artifact(finding.path), "region": _region(finding)}}],
            }
            for finding in report.findings
        ],
    }
    return _dumped({"$schema": _SARIF, "version": "2.1.0", "runs": [run]})


def _artifact(path: Path) -> dict[str, Any]:
    # Code scanning expects paths from the root of the repository, where it runs.
    try:
        uri = path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        uri = path.resolve().as_uri()
    return {"artifactLocation": {"uri": _quoted(uri)}}


def _quoted(uri: str) -> str:
    from urllib.parse import quote

    return uri if uri.startswith("file:") else quote(uri, errors="surrogateescape")


def _region(finding: Finding) -> dict[str, int]:
    return {
        "startLine": finding.line,
        "startColumn": finding.column,
        "endLine": finding.end_line,
        "endColumn": finding.end_column,
    }


def _github(report: Report) -> str:
    """Return workflow commands, which GitHub shows beside the lines that they name."""
    lines: list[str] = []
    for finding in report.findings:
        # In a notebook, a cell's lines are not the file's lines.
        place = {"file": str(finding.path)} | (
            {}
            if finding.cell is not None
            else {"line": str(finding.line), "endLine": str(finding.end_line), "col": str(finding.column)}
        )
        options = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in {**place, "title": finding.code}.items())
        lines.append(f"::warning {options}::{_escaped(finding.message)}")
    lines += [f"::error file={_escaped(str(path), ':,')}::{_escaped(why)}" for path, why in report.unreadable]
    return "\n".join(lines)


def _escaped(text: str, more: str = "") -> str:
    """Return text with the escapes of a workflow command."""
    text = visible(text, "").replace("%", "%25")
    for char in more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text


FORMATS: Final[Mapping[str, Callable[[Report], str]]] = {
    "text": _text,
    "json": _json,
    "sarif": _sarif,
    "github": _github,
}
"""The writers of a report, by the name of their format."""
