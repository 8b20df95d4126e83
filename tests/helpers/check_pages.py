"""Write docs/rules-of-check/index.md, the list of the pages that the rules of `obo-kit check` have.

``python tests/helpers/check_pages.py`` brings it up to date; a test compares.
"""

from __future__ import annotations

from pathlib import Path

from obo_kit.analysis.check.rules import RULES

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "rules-of-check"
INDEX = FOLDER / "index.md"
PUBLIC = FOLDER / "public-code.md"
_SERIES = {"1": "Whose client acts", "2": "Refusals", "3": "Declarations", "4": "The policy"}


def page_of(code: str) -> Path:
    """Return the page of a rule."""
    return FOLDER / f"{code.lower()}.md"


def index() -> str:
    """Return the page that lists all others, a table for each series."""
    lines = [
        "# The rules of check",
        "",
        "[`obo-kit check`](../check.md) finds these mistakes in an agent's source. What it found in",
    ]
    lines += ["public code, and how each finding was judged, is in [a table](public-code.md)."]
    for digit, title in _SERIES.items():
        lines += ["", f"## {title}", "", "| code | what is wrong |", "| --- | --- |"]
        lines += [
            f"| [{code}]({page_of(code).name}) | {rule.title} |"
            for code, rule in RULES.items()
            if code.startswith(f"OBO{digit}")
        ]
    return "\n".join(
        [*lines, "", "```{toctree}", ":hidden:", "", *(page_of(code).stem for code in RULES), PUBLIC.stem, "```", ""]
    )


if __name__ == "__main__":
    INDEX.write_text(index(), encoding="utf-8")
