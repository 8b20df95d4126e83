"""Each ported agent, collected from its file in a fresh process for both targets (rules 21 and 22): `make examples`.

The same from the loaded module is in test_ported_serving.py, test_ported_apps.py and test_ported_data_app.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ported import PORTED, by_hand, running_workspace, source

import obo_kit

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own
PAGE = Path(__file__).parents[2] / "docs" / "examples.md"
NAMES = sorted(folder.name for folder in PORTED.iterdir() if (folder / "agent.py").exists())
NEEDS = {
    "data_app": "streamlit",
    "retrieval_graph": "databricks_langchain",
    "langgraph_mcp_app": "databricks_langchain",
}


@pytest.fixture(scope="module")
def shared():
    with running_workspace() as workspace:
        yield workspace


@pytest.fixture
def in_an_app(shared):
    """Some of the agents build clients of the app's own when they are imported."""
    with shared.as_app(service_principal="app"):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("in_an_app")
@pytest.mark.parametrize("name", NAMES)
def test_the_policy_collected_from_the_file_is_the_one_written_by_hand(name):
    pytest.importorskip(NEEDS.get(name, "databricks_openai"), reason="an extra, or installed by make test-apps")
    if not name.endswith("_app"):
        assert obo_kit.auth_policy(source(name)).to_dict() == by_hand(name)["auth_policy"]
    assert obo_kit.app_config(source(name)) == by_hand(name)["app_config"]


MOST = 10
# Where ten lines cannot be had: how many come, how many of these are more than moved to the left, and why.
LONGER = {"document_app": (14, 8, "six lines are the bodies of two `try` blocks that went, moved to the left")}


@pytest.mark.parametrize("name", NAMES)
def test_a_port_adds_at_most_ten_lines(name):
    """Besides lines that only go, as `git diff` counts them: a line that changes comes and goes."""
    before, after = texts(name)
    _, come = changed(before, after)
    if name not in LONGER:
        assert come <= MOST
    else:
        _, changed_in_words = changed([line.strip() for line in before], [line.strip() for line in after])
        assert (come, changed_in_words) == LONGER[name][:2]
        assert changed_in_words <= MOST < come


def test_the_page_shows_how_small_the_difference_is():
    """docs/examples.md: one row per agent, with the lines that went and the lines that came."""
    rows = dict(
        re.findall(r"^\| \[(\w+)\]\([^|]+\|[^|]+\|[^|]+\| (-\d+ \+\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    )
    counted = {name: "-{} +{}".format(*changed(*texts(name))) for name in NAMES}
    assert rows == counted


def texts(name: str) -> tuple[list[str], list[str]]:
    before, after = (source(name, form).read_text("utf-8").splitlines() for form in ("before", "agent"))
    return before, after


def changed(before: list[str], after: list[str]) -> tuple[int, int]:
    """The lines that go and that come, at the least: all but the longest series of lines that both have."""
    row = [0] * (len(after) + 1)
    for line in before:
        above, row = row, [0]
        for number, other in enumerate(after):
            row.append(above[number] + 1 if line == other else max(row[number], above[number + 1]))
    return len(before) - row[-1], len(after) - row[-1]
