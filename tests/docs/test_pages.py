"""The pages of the documentation: complete, current, and in the English that the project writes."""

from __future__ import annotations

import re
from pathlib import Path

import pages
import pytest

from obo_kit import DenialReason
from obo_kit.scopes import SOURCES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_NAME = {"ids": lambda path: path.relative_to(ROOT).as_posix()}
ALL = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")] + sorted(
    DOCS.rglob("*.md")
)
# What a reader stumbles over: remedies say "Fix", and a sentence begins with what it is about.
WORDS_TO_AVOID = (
    r"\bto mend it\b",
    r"\bfurnish",
    r"\bWhat is [^.|?]*, is\b",
    r"\bmends?\b",
    r"\bwhoever\b[^.]{0,60}, is\b",
)


def prose(path: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


@pytest.mark.parametrize("path", pages.pages(), ids=lambda path: path.stem)
def test_a_generated_page_is_current(path):
    text = path.read_text("utf-8")
    assert pages.brought_up_to_date(text, pages.pages()[path]) == text, "run: python tests/helpers/pages.py"


def test_every_reason_has_a_page_and_the_index_lists_them():
    index = (pages.REASONS / "index.md").read_text("utf-8")
    for reason in DenialReason:
        page = pages.page_of(reason)
        text = page.read_text("utf-8")
        assert text.startswith(f"# {reason.name}: ")
        assert "## Why it happens\n" in text
        assert "## Fix\n" in text
        assert f"[`{reason.name}`]({page.name})" in index
    assert len(list(pages.REASONS.glob("*.md"))) == len(DenialReason) + 1


def test_every_fact_of_the_platform_has_a_source_that_the_catalogue_knows():
    text = (DOCS / "platform.md").read_text("utf-8").partition(pages.BEGIN)[0]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    facts = [row for row in rows if row[0].strip() != "fact"]
    assert len(facts) > 12
    for fact, known, source in facts:
        assert known.strip() in {"documented", "reported", "documented, reported"}, fact
        for key in re.findall(r"\b[A-Z]-[\w-]*[A-Z0-9]\b", source):
            assert key in SOURCES, key
        assert re.search(r"[A-Z]-\w|\]\(", source), fact


@pytest.mark.parametrize("path", ALL, **_NAME)
def test_tables_have_at_most_six_columns(path):
    wide = [line for line in path.read_text("utf-8").splitlines() if re.fullmatch(r"\|(?: *:?-+:? *\|){7,}", line)]
    assert wide == []


@pytest.mark.parametrize(
    "path", [path for path in ALL if path.name != "CHANGELOG.md"], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_no_page_says_it_the_long_way_round(path):
    text = prose(path)
    found = [match[0] for pattern in WORDS_TO_AVOID for match in re.finditer(pattern, text, re.IGNORECASE)]
    assert found == []


def test_every_page_can_be_reached_from_the_index():
    """Each page stands in a table of contents, of the index or of a folder's index."""
    listed = set()
    for index in (DOCS / "index.md", *DOCS.glob("*/index.md")):
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", index.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            names = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {(index.parent / f"{name}.md").resolve() for name in names}
    assert {path.resolve() for path in DOCS.rglob("*.md")} - listed == {(DOCS / "index.md").resolve()}
