"""The tests notice when a rule that keeps users apart is broken (see `mutants`). `make mutants` runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from mutants import MUTANTS, TESTS, stale

_forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="each mutant runs in a fork")


def test_every_mutant_still_applies():
    assert stale() == []


def test_the_page_on_security_names_tests_that_are_there():
    """Each guarantee has at least one."""
    page = (TESTS.parent / "docs" / "security.md").read_text("utf-8")
    guaranteed = page[page.index("## Guaranteed") : page.index("## Not guaranteed")]
    rows = [row for row in guaranteed.splitlines() if row.startswith("| **")]
    assert len(rows) > 10
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)`|`(test_\w+)`", row)
        assert any(name for _, name in tests), row
        file = ""
        for path, name in tests:
            file = path or file
            assert not name or f"def {name}(" in (TESTS.parent / file).read_text("utf-8"), f"{file}: {name}"


@pytest.fixture(scope="module")
def statuses():
    pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
    done = subprocess.run(
        [sys.executable, str(TESTS / "helpers" / "mutants.py")],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=TESTS.parent,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])


@_forks
@pytest.mark.slow
@pytest.mark.timeout(900)  # the first waits for all of them
def test_the_unmodified_copy_passes(statuses):
    """So that a failure means the mutant, and nothing else."""
    assert statuses["none"] == 0


@_forks
@pytest.mark.slow
@pytest.mark.timeout(900)  # the first waits for all of them
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(statuses, name):
    """Exit status 1: tests ran, and failed."""
    assert statuses[name] == 1, f"rule {MUTANTS[name].rule}"
