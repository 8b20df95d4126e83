"""What was found, for people, for programs (JSON), and for code scanning (SARIF 2.1.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from obo_kit._version import __version__
from obo_kit.analysis.check._rules import RULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from obo_kit.analysis.check._runner import Finding, Report

__all__ = ["FORMATS"]

_SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def _text(report: Report) -> str:
    lines = [
        f"{one.path}:{one.line}:{one.column}: {one.code} {'[*] ' if one.edits else ''}{one.message}"
        for one in report.findings
    ]
    codes = sorted({one.code for one in report.findings})
    lines += ["", "To mend it:", *(f"  {code}: {RULES[code].fix}" for code in codes), ""]
    count, mendable = len(report.findings), sum(bool(one.edits) for one in report.findings)
    files = f"{report.files} file{'' if report.files == 1 else 's'}"
    if not count:
        return f"Nothing was found in {files}."
    lines.append(f"{count} found in {files}.")
    if mendable:
        lines.append(f"[*] `obo-kit check --fix` mends {mendable} of them.")
    return "\n".join(lines)


def _json(report: Report) -> str:
    found = [
        {
            "code": one.code,
            "title": RULES[one.code].title,
            "message": one.message,
            "fix": RULES[one.code].fix,
            "fixable": bool(one.edits),
            "path": str(one.path),
            "line": one.line,
            "column": one.column,
            "end_line": one.end_line,
            "end_column": one.end_column,
        }
        for one in report.findings
    ]
    unreadable = [{"path": str(path), "message": why} for path, why in report.unreadable]
    return json.dumps({"findings": found, "unreadable": unreadable, "files": report.files}, indent=2)


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
        {"level": "error", "message": {"text": f"{path}: {why}"}, "locations": [{"physicalLocation": _artifact(path)}]}
        for path, why in report.unreadable
    ]
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "obo-kit check", "version": __version__, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": not notes, "toolExecutionNotifications": notes}],
        "results": [
            {
                "ruleId": one.code,
                "ruleIndex": codes.index(one.code),
                "level": "warning",
                "message": {"text": one.message},
                "locations": [{"physicalLocation": {**_artifact(one.path), "region": _region(one)}}],
            }
            for one in report.findings
        ],
    }
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}, indent=2)


def _artifact(path: Path) -> dict[str, Any]:
    # Code scanning wants addresses from the root of the repository, where it is run.
    try:
        uri = path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        uri = path.resolve().as_uri()
    return {"artifactLocation": {"uri": _quoted(uri)}}


def _quoted(uri: str) -> str:
    from urllib.parse import quote

    return uri if uri.startswith("file:") else quote(uri)


def _region(one: Finding) -> dict[str, int]:
    return {
        "startLine": one.line,
        "startColumn": one.column,
        "endLine": one.end_line,
        "endColumn": one.end_column,
    }


FORMATS: Final[Mapping[str, Callable[[Report], str]]] = {"text": _text, "json": _json, "sarif": _sarif}
"""How a report can be written, by name."""
