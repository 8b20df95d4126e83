"""Write into docs/rules.md which modules keep each rule, and which tests and mutants hold it.

``python tests/helpers/rules.py`` brings the page up to date; a test compares.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "rules.md"
HEADING = re.compile(r"^### (\d+)\. ", re.MULTILINE)
_CITATION = re.compile(r"\b[Rr]ules? ((?:\d+)(?:(?:, | and | to )\d+)*)")
_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_GENERATED = re.compile(r"\n<!-- kept by -->\n.*?<!-- end -->\n", re.DOTALL)


def cited(text: str) -> set[int]:
    """Return the numbers of the rules that a text cites: "rules 1 to 3 and 8" are four."""
    numbers: set[int] = set()
    for citation in _CITATION.finditer(text):
        last, words = 0, re.findall(r"\d+|to", citation[1])
        for place, word in enumerate(words):
            if word == "to":
                continue
            number = int(word)
            numbers |= set(range(last, number + 1)) if place and words[place - 1] == "to" else {number}
            last = number
    return numbers


@functools.cache
def modules_of_rules() -> dict[int, list[str]]:
    """Return, for each rule, the modules of the package whose comments or docstrings cite it."""
    citations: dict[int, list[str]] = {}
    for path in sorted((ROOT / "obo_kit").rglob("*.py")):
        for number in cited(path.read_text("utf-8")):
            citations.setdefault(number, []).append(path.relative_to(ROOT).as_posix())
    return citations


@functools.cache
def files_of_rules() -> dict[int, set[str]]:
    """Return, for each rule, the test files that cite it, in a test or as a whole."""
    citations: dict[int, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        documented = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)]
        for number in {number for node in documented for number in cited(ast.get_docstring(node) or "")}:
            citations.setdefault(number, set()).add(path.relative_to(ROOT).as_posix())
    return citations


@functools.cache
def mutants_of_rules() -> dict[int, list[str]]:
    """Return, for each rule, the names of the mutants that break it."""
    sys.path.insert(0, str(Path(__file__).parent))
    from mutants import MUTANTS

    names: dict[int, list[str]] = {}
    for name, mutant in MUTANTS.items():
        names.setdefault(mutant.rule, []).append(name)
    return names


def page(text: str) -> str:
    """Return the page with its lists brought up to date."""
    modules, tests, mutants = modules_of_rules(), files_of_rules(), mutants_of_rules()
    head, *rest = re.split(r"(?m)^(?=##)", _GENERATED.sub("", text))
    return head + "".join(
        f"{section.rstrip()}\n{_lists(int(rule[1]), modules, tests, mutants)}\n"
        if (rule := HEADING.match(section))
        else section
        for section in rest
    )


def _lists(
    number: int, modules: dict[int, list[str]], tests: dict[int, set[str]], mutants: dict[int, list[str]]
) -> str:
    lines = ["", "<!-- kept by -->", f"- Kept by: {', '.join(f'`{path}`' for path in modules.get(number, []))}."]
    lines.append(f"- Tests: {', '.join(f'`{path}`' for path in sorted(tests.get(number, ())))}.")
    if number in mutants:
        lines.append(f"- Mutants: {'; '.join(mutants[number])}.")
    return "\n".join([*lines, "<!-- end -->", ""])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
