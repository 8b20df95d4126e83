"""The page over a warehouse that was ported to the kit (examples/ported/data_app), behind Streamlit: `make test-apps`."""

from __future__ import annotations

import pytest
from ported import REVENUE, SALARIES, USERS, by_hand, collected, furnish, load, source, what_it_saw
from test_apps import needs, streamlit

from obo_kit.testing import LocalWorkspace

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Streamlit's own
SQL, TOTALS = "/sql/statements", {f"sales.revenue: {REVENUE}", f"staff.salaries: {SALARIES}"}
EXPECTED = {
    "alice": (TOTALS, {"allowed"}),
    "bob": ({f"sales.revenue: {REVENUE}", "staff.salaries: not available to you"}, {"allowed", "missing grant"}),
    "carol": ({f"{name}: not available to you" for name in ("sales.revenue", "staff.salaries")}, {"missing grant"}),
}


@pytest.fixture(scope="module")
def shared():
    needs("streamlit")
    with LocalWorkspace() as workspace:
        furnish(workspace)
        workspace.grant("bob", "CAN USE", "a1b2c3d4e5f6")
        yield workspace


def test_the_ported_page_shows_three_users_what_is_theirs(shared):
    """Rules 2, 15 and 22."""
    with shared.as_app() as app:
        scopes = collected(load("data_app"))["app_config"]["user_api_scopes"]
        with streamlit(source("data_app")) as ask:
            for user in USERS:
                shared.log.clear()
                page = ask(app.headers(user, scopes=scopes))
                says, decisions = EXPECTED[user]
                assert {line for line in says | TOTALS if line in page} == says
                assert what_it_saw(shared, user, {SQL}) == {SQL: decisions}
                assert {record.user for record in shared.log} <= {user, None}
            shared.log.clear()
            assert "X-Forwarded-Access-Token" in ask({"X-Forwarded-Email": "alice@example.com"})
            assert len(shared.log) == 0


def test_the_page_by_the_templates_recipe_showed_alice_the_same(shared):
    with shared.as_app() as app, streamlit(source("data_app", "before")) as ask:
        shared.log.clear()
        page = ask(app.headers("alice", scopes=["sql"]))
        assert {line for line in TOTALS if line in page} == TOTALS
        assert what_it_saw(shared, "alice", {SQL}) == {SQL: {"allowed"}}


def test_the_collected_policy_is_the_one_written_by_hand():
    needs("streamlit")
    assert collected(load("data_app")) == by_hand("data_app")
