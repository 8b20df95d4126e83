"""docs/rules.md: each numbered rule has modules that keep it and tests that hold it, and the page says which."""

from __future__ import annotations

import pytest
from rules import HEADING, PAGE, cited, files_of_rules, modules_of_rules, mutants_of_rules, page

RULES = {int(number) for number in HEADING.findall(PAGE.read_text("utf-8"))}
SECURITY = {2, 4, 5, 6, 7, 8, 10, 23}


def test_the_page_is_up_to_date():
    text = PAGE.read_text("utf-8")
    assert page(text) == text, "run: python tests/helpers/rules.py"


def test_the_rules_are_numbered_without_a_gap():
    assert set(range(1, len(RULES) + 1)) == RULES


@pytest.mark.parametrize("number", sorted(RULES))
def test_a_rule_has_a_place_in_the_code_and_tests(number):
    assert modules_of_rules().get(number)
    assert files_of_rules().get(number)


@pytest.mark.parametrize("number", sorted(SECURITY))
def test_a_rule_that_keeps_users_apart_has_a_mutant(number):
    assert mutants_of_rules().get(number)


def test_no_text_cites_a_rule_that_is_not_there():
    assert {*modules_of_rules(), *files_of_rules(), *mutants_of_rules()} <= RULES


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Rule 4.", {4}),
        ("rules 1 to 3 and 8", {1, 2, 3, 8}),
        ("(rules 2, 9 and 10)", {2, 9, 10}),
        ("no ruler 5", set()),
    ],
)
def test_a_citation_is_read(text, numbers):
    assert cited(text) == numbers
