"""The pytest plugin, in suites of an author's own (design, section 6)."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

WORKSPACE = """
users: [alice, bob]
warehouses: [wh1]
tables:
  main.shop.orders:
    rows: [{id: 1}, {id: 2}]
grants:
  users: {CAN USE: wh1}
  alice: {SELECT: main.shop.orders}
"""

AGENT = """
from databricks.sdk import WorkspaceClient
from obo_kit import explain, optional_tool, requires_scopes, user_session, with_user_client

@optional_tool(fallback="not available")
@requires_scopes("sql")
@with_user_client
def count_orders(client: WorkspaceClient) -> str:
    response = client.statement_execution.execute_statement("SELECT count(*) FROM main.shop.orders", "wh1")
    if denial := explain(response):
        raise denial.error()
    return response.result.data_array[0][0]

def agent_itself() -> str:
    return WorkspaceClient().current_user.me().user_name

class Agent:
    @user_session
    def predict(self) -> str:
        return count_orders()
"""


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    """All that a suite uses, once. pytester takes back what an inner run imports, and half of it cannot come twice."""
    import duckdb  # noqa: F401
    import numpy as np  # noqa: F401
    import pyarrow.csv  # noqa: F401
    import sklearn.feature_extraction.text  # noqa: F401
    import yaml  # noqa: F401

    import obo_kit.testing.pytest_plugin  # noqa: F401
    from obo_kit import explain, optional_tool, requires_scopes, user_session, with_user_client  # noqa: F401
    from obo_kit.testing import LocalWorkspace

    with LocalWorkspace.from_config({"users": ["alice"], "tables": {"main.s.t": {"rows": [{"id": 1}]}}}) as workspace:
        for runtime in (workspace.as_app(), workspace.as_model_serving()):
            with runtime as serving, serving.user("alice"), user_session() as session:
                assert session.client.current_user.me().user_name == "alice@example.com"


@pytest.fixture
def alone(pytester, monkeypatch):
    """A suite with this plugin and no other: quick, and nobody else's imports count. One test below uses the entry point."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p obo_kit.testing.pytest_plugin -p no:cacheprovider")
    return pytester


@pytest.fixture
def suite(alone):
    """An author's suite: an agent, a workspace file, and the ini option that names it."""
    pytester = alone
    pytester.makepyfile(shop_agent=AGENT)
    pytester.makefile(".yaml", workspace=WORKSPACE)
    pytester.makeini("[pytest]\nobo_workspace = workspace.yaml\naddopts = --strict-markers\n")
    pytester.syspathinsert()
    yield pytester
    sys.modules.pop("shop_agent", None)


def test_a_test_runs_as_one_user_and_as_another(suite):
    suite.makepyfile(
        """
        from shop_agent import Agent, agent_itself, count_orders

        def test_alice_counts(as_user, local_workspace):
            with as_user("alice") as session:
                assert Agent().predict() == "2"
                assert not session.denials
            assert local_workspace.log.filter(tool="count_orders")[0].user == "alice"

        def test_bob_is_told(as_user):
            with as_user("bob", scopes=["sql"]) as session:
                assert count_orders() == "not available"
                assert [denial.reason.value for denial in session.denials] == ["access_denied"]

        def test_a_scope_is_missing(as_user):
            with as_user("alice", scopes=["genie"]) as session:
                assert count_orders() == "not available"
                assert [denial.reason.value for denial in session.denials] == ["missing_scope"]

        def test_the_agent_itself_is_a_service_principal(as_user, local_workspace):
            with as_user("alice"):
                assert agent_itself() == local_workspace.service_principal("agent").client_id
        """
    )
    suite.runpytest_inprocess().assert_outcomes(passed=4)


def test_obo_user_is_each_user_in_turn(suite):
    suite.makepyfile(
        """
        import pytest
        from shop_agent import Agent

        ANSWERS = {"alice": "2", "bob": "not available"}

        def test_everybody(as_user, obo_user):
            with as_user(obo_user):
                assert Agent().predict() == ANSWERS[obo_user]

        @pytest.mark.obo_users("bob")
        def test_bob_alone(as_user, obo_user):
            assert obo_user == "bob"

        @pytest.mark.parametrize("obo_user, answer", ANSWERS.items())
        def test_the_authors_own_table(as_user, obo_user, answer):
            with as_user(obo_user):
                assert Agent().predict() == answer
        """
    )
    result = suite.runpytest_inprocess("-v")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*test_everybody[[]alice[]] PASSED*", "*test_everybody[[]bob[]] PASSED*"])


def test_users_at_once_in_every_runtime(suite):
    suite.makepyfile(
        """
        from concurrent.futures import ThreadPoolExecutor
        import os
        import pytest
        from shop_agent import Agent

        @pytest.mark.parametrize("obo_runtime", ["model-serving", "apps"])
        def test_at_once(as_user, obo_runtime):
            assert ("DATABRICKS_APP_NAME" in os.environ) is (obo_runtime == "apps")

            def ask(user):
                with as_user(user):
                    return Agent().predict()

            with ThreadPoolExecutor(4) as pool:
                assert list(pool.map(ask, ["alice", "bob"] * 4)) == ["2", "not available"] * 4

        @pytest.mark.parametrize("obo_runtime", ["notebook"])
        def test_notebook(as_user):
            with as_user("alice"):
                assert Agent().predict() == "2"
            assert "DATABRICKS_HOST" not in os.environ

        @pytest.mark.parametrize("obo_runtime", ["spaceship"])
        def test_spaceship(as_user): ...
        """
    )
    result = suite.runpytest_inprocess()
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*obo_runtime must be 'model-serving', 'apps' or 'notebook', not 'spaceship'*"])


def test_each_test_has_a_workspace_of_its_own_and_a_failure_shows_its_requests(suite):
    suite.makepyfile(
        """
        from shop_agent import count_orders

        def test_changes_a_grant(as_user, local_workspace):
            local_workspace.revoke("alice", "SELECT", "main.shop.orders")
            with as_user("alice"):
                assert count_orders() == "2"

        def test_has_the_grant_again(as_user, local_workspace):
            assert len(local_workspace.log) == 0
            with as_user("alice"):
                assert count_orders() == "2"
        """
    )
    result = suite.runpytest_inprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*Requests that the local workspace saw*", "alice * POST * /api/2.0/sql/statements* missing grant*"]
    )


def test_the_config_can_be_overridden(suite):
    suite.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def obo_workspace_config():
            return {"users": ["carol"]}

        def test_carol(local_workspace):
            assert local_workspace.users == ("carol",)
        """
    )
    suite.runpytest_inprocess().assert_outcomes(passed=1)


def test_without_a_file_the_workspace_is_empty_and_obo_user_needs_the_marker(alone):
    pytester = alone
    pytester.makepyfile(test_one="def test_empty(local_workspace):\n    assert local_workspace.users == ()\n")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    pytester.makepyfile(test_two="def test_who(obo_user): ...\n")
    result = pytester.runpytest_inprocess("test_two.py")
    result.stdout.fnmatch_lines(["*obo_user needs users: mark the test with @pytest.mark.obo_users*"])
    assert result.ret != 0


def test_a_mistake_in_the_file_is_said_with_its_line(suite):
    suite.makefile(".yaml", workspace="users: [alice]\nwarehouse: [wh1]\n")
    suite.makepyfile("def test_one(local_workspace): ...")
    result = suite.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*workspace.yaml:2: warehouse: unknown key; did you mean 'warehouses'?*"])


def test_a_suite_that_asks_for_nothing_loads_nothing(pytester):
    """Rule 24: a good guest. Loaded by its entry point, in a process of its own."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing(pytestconfig):
            assert pytestconfig.pluginmanager.get_plugin("obo_kit") is sys.modules["obo_kit.testing.pytest_plugin"]
            heavy = {"duckdb", "jwt", "mlflow", "starlette", "uvicorn", "yaml", "databricks.sdk", "obo_kit.session._entry"}
            assert not heavy & set(sys.modules)
        """
    )
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *_only("cacheprovider", "hypothesispytest", "langsmith_plugin", "asyncio"),
            str(pytester.path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def _only(*others):
    return [argument for name in others for argument in ("-p", f"no:{name}")]


def test_without_the_extra_the_fixture_says_what_to_install(suite):
    suite.makepyfile(
        """
        import importlib.util

        def test_one(monkeypatch, request):
            find = importlib.util.find_spec
            monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "duckdb" else find(name))
            request.getfixturevalue("local_workspace")
        """
    )
    result = suite.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*needs duckdb: pip install "obo-kit[[]testing[]]"*'])


# --- the audit ------------------------------------------------------------------------------------------------------------

STRAYS = """
from shop_agent import count_orders
from databricks.sdk import WorkspaceClient
from obo_kit import requires_scopes, with_user_client

@requires_scopes("sql", "genie")
@with_user_client
def declares_too_much(client: WorkspaceClient):
    return [one.id for one in client.warehouses.list()]

def test_counts(as_user):
    with as_user("alice"):
        assert count_orders() == "2"

def test_uses_half(as_user):
    with as_user("alice"):
        assert declares_too_much() == ["wh1"]
"""


def test_the_audit_passes_where_all_is_declared_and_used(suite):
    suite.makepyfile(STRAYS)
    result = suite.runpytest_inprocess("--obo-audit", "-k", "counts")
    result.assert_outcomes(passed=1, deselected=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*= obo_kit audit =*", "obo_kit audit: ok", "  count_orders", "    used      sql"])
    assert "obo_kit audit" not in suite.runpytest_inprocess("-k", "counts").stdout.str()


def test_the_audit_fails_a_run_that_would_have_passed(suite):
    suite.makepyfile(STRAYS)
    result = suite.runpytest_inprocess("--obo-audit")
    result.assert_outcomes(passed=2)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*The audit found 1 difference*", "  declares_too_much: genie. Remove it from *"])


def test_the_audit_of_workers_is_added_up_and_written_as_json(suite):
    """By pytest-xdist's controller, which sees no tool itself."""
    import json

    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    suite.makepyfile(
        """
        from obo_kit import requires_scopes, user_session

        @requires_scopes("genie")
        def idles(): ...

        def test_idles():
            with user_session(host="https://example.com", token="dapi123"):
                idles()
        """
    )
    result = suite.runpytest_inprocess("-p", "xdist", "-n", "1", "--obo-audit-json", "audit.json")
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    written = json.loads((suite.path / "audit.json").read_text())
    assert [(one["tool"], one["calls"]) for one in written["tools"]] == [("idles", {"allowed": 1})]
    assert [(one["tool"], one["what"]) for one in written["least_privilege"]] == [("idles", "genie")]


def test_an_audit_that_saw_nothing_fails_and_one_of_a_mere_listing_does_not(suite):
    suite.makepyfile("def test_nothing(): ...")
    result = suite.runpytest_inprocess("--obo-audit")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*The audit saw no tool and no request*"])
    listed = suite.runpytest_inprocess("--obo-audit", "--collect-only")
    assert listed.ret == 0
    assert "obo_kit audit" not in listed.stdout.str()


def test_the_audit_leaves_the_status_of_a_run_that_failed(suite):
    suite.makepyfile("import nothing_of_this_name")
    assert suite.runpytest_inprocess("--obo-audit").ret == pytest.ExitCode.INTERRUPTED
