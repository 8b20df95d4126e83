"""The command line, as a person calls it."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest
import requests
import yaml
from click.testing import CliRunner
from support import free_port

from obo_kit.cli import main

AGENT = """
import mlflow
from mlflow.models.resources import DatabricksGenieSpace, DatabricksServingEndpoint
from obo_kit import requires_scopes, system_resources

system_resources(DatabricksServingEndpoint("llm"))

@requires_scopes(DatabricksGenieSpace("01f0"))
def ask(client): ...

mlflow.models.set_model(lambda model_input: model_input)
"""


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(scope="module")
def agent(tmp_path_factory) -> str:
    """One file for all: collected once."""
    path = tmp_path_factory.mktemp("agent") / "agent.py"
    path.write_text(AGENT)
    return str(path)


@pytest.mark.long
def test_policy_prints_the_mlflow_policy_of_an_agent_file(agent):
    result = run("policy", agent, "--format", "mlflow")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)
    assert printed["user_auth_policy"] == {"api_scopes": ["genie"]}
    assert printed["system_auth_policy"]["resources"]["databricks"] == {"serving_endpoint": [{"name": "llm"}]}


@pytest.mark.long
def test_policy_for_apps_prints_what_a_bundle_takes(agent):
    printed = yaml.safe_load(run("policy", agent, "--format", "bundle", "--app", "support").output)
    app = printed["resources"]["apps"]["support"]
    assert app["user_api_scopes"] == ["genie"]
    assert app["resources"][0]["serving_endpoint"] == {"name": "llm", "permission": "CAN_QUERY"}


@pytest.mark.long
def test_policy_shows_what_runs_as_the_user_and_what_as_the_system(agent):
    for style in ((), ("--format", "text"), ("--format", "mermaid"), ("--format", "json")):
        printed = run("policy", agent, *style, "--target", "apps").output
        for name in ("ask", "genie", "Genie space 01f0", "Serving endpoint llm", "system", "CAN_QUERY"):
            assert name in printed
        assert "Every Genie space that the user may run." in printed
    assert json.loads(printed)["scopes"] == ["genie"]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--format", "bundle", "--target", "model-serving"), "--format mlflow"),
        (("--update", __file__, "--target", "model-serving"), "--format mlflow"),
        (("--check",), "--update"),
        (("--check", "--format", "bundle"), "--update databricks.yml"),
        (("--app", "x"), "--format bundle"),
    ],
)
def test_options_of_policy_that_do_not_fit_one_another_are_refused(agent, options, hint):
    refused = run("policy", agent, *options)
    assert (refused.exit_code, hint in refused.output) == (2, True)


@pytest.mark.long
def test_policy_of_an_agent_that_cannot_be_loaded_says_why_and_fails(tmp_path):
    path = tmp_path / "agent.py"
    path.write_text("raise RuntimeError('no model today')")
    result = run("policy", str(path))
    assert result.exit_code == 1
    assert "no model today" in result.output
    assert "\nFix: See " in result.output


def test_scopes_says_what_a_resource_needs_and_what_must_be_granted():
    printed = run("scopes", "genie space").output
    assert re.search(r"Model Serving +genie", printed)
    assert re.search(r"Databricks Apps +genie", printed)
    assert re.search(r"REST API +/api/2.0/genie/: genie or dashboards.genie", printed)
    assert re.search(r"the user needs +CAN RUN on the Genie space", printed)


def test_scopes_says_where_sources_disagree_and_what_the_kit_makes_of_it():
    printed = run("scopes", "connection").output
    about = r"about +catalog\.connections, mcp\.external, uc_connection,\s+mcp_external$"
    assert re.search(rf"^Sources disagree\n +{about}", printed, re.MULTILINE)
    assert re.search(r"some say .*the docs' table.*others say .*proxy.*the kit .*http_request", printed, re.DOTALL)


@pytest.mark.parametrize(
    ("term", "kinds", "scopes"),
    [
        ("DatabricksGenieSpace", ["genie_space"], ["genie"]),
        ("genie_space", ["genie_space"], ["genie"]),
        ("files", ["volume"], ["files"]),
        ("clusters", [], ["clusters"]),
        ("llm", ["serving_endpoint", "uc_connection", "supervisor_agent", "knowledge_assistant"], ["model-serving"]),
        ("POST /api/2.0/sql/statements", ["sql_warehouse"], []),
        ("/api/2.0/external-function", ["uc_connection"], []),
        ("/external-function", ["uc_connection"], []),
        ("GET /api/9/unheard-of", [], []),
        ("/genie", ["genie_space", "mcp_genie"], []),
        ("restricted", [], ["sql:restricted-query"]),
        ("measured", [], ["apps", "sql.statement-execution"]),
    ],
)
def test_scopes_for_scripts_finds_what_a_term_stands_for(term, kinds, scopes):
    result = run("scopes", term, "--json")
    if not (kinds or scopes):
        assert (result.exit_code, "shorter word" in result.output) == (1, True)
        return
    found = json.loads(result.output)
    assert [kind["name"] for kind in found["kinds"]] == kinds
    assert [scope["name"] for scope in found["scopes"]] == scopes
    assert bool(found["routes"]) == ("/" in term)
    for entry in (*found["kinds"], *found["scopes"], *found["routes"]):
        assert entry["first_seen"] <= entry["last_seen"]
        assert entry["sources"]


def test_a_resource_that_a_target_cannot_grant_is_shown_with_the_way_out():
    (kind,) = json.loads(run("scopes", "volume", "--json").output)["kinds"]
    assert kind["targets"]["model-serving"]["declare"] == []
    assert "system_resources" in kind["targets"]["model-serving"]["way_out"]
    assert re.search(r"Model Serving +cannot be granted\. Reach it", run("scopes", "volume").output)


def test_scopes_without_a_term_lists_the_whole_catalogue():
    from obo_kit.scopes import KINDS, SCOPES

    printed = run("scopes").output
    assert all(name in printed for name in SCOPES)
    assert all(kind.title in printed for kind in KINDS.values())


def test_a_scope_that_no_target_takes_is_said_to_be_so():
    assert "no target takes it" in run("scopes", "clusters").output


def test_an_unknown_term_fails_with_a_hint():
    result = run("scopes", "qqqq")
    assert result.exit_code == 1
    assert "shorter word" in result.output


# ---------------------------------------------------------------------------------------------- the local workspace

WORKSPACE = """
users: [alice, bob]
service_principals: [agent]
warehouses: [wh1]
grants:
  alice: {CAN USE: wh1}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
    path = tmp_path / "workspace.yaml"
    path.write_text(WORKSPACE)
    return str(path)


@contextlib.contextmanager
def served(*arguments: str):
    """The command in a process of its own, until its host is known."""
    command = [sys.executable, "-c", "from obo_kit.cli import main; main()", "workspace", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        printed = ""
        while "tokens:" not in printed and "# agent" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        yield process, printed
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_workspace_runs_until_it_is_told_to_end(config, number):
    with served("--config", config, "--tokens", "--log") as (process, printed):
        assert "stand-in for Databricks" in printed
        assert "alice, bob" in printed
        host, token = re.search(r"# alice\nexport DATABRICKS_HOST=(\S+) DATABRICKS_TOKEN=(\S+)", printed).groups()
        path = f"{host}/api/2.0/sql/warehouses/wh1"
        assert requests.get(path, headers={"Authorization": f"Bearer {token}"}, timeout=60).ok
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert re.search(r"^alice +200 +allowed +GET /api/2.0/sql/warehouses/wh1$", rest, re.MULTILINE)
        assert rest.endswith("The local workspace has stopped.\n")
        assert token not in rest


def test_another_shell_reaches_the_workspace_and_its_sql_connector_too(config):
    """The lines are run as they are printed. The script is one for the platform: it knows nothing of a port or of HTTP."""
    pytest.importorskip("databricks.sql", reason="databricks-sql-connector")
    script = """
        import os
        from databricks import sql
        from databricks.sdk import WorkspaceClient
        print(WorkspaceClient().current_user.me().user_name)
        host, path = os.environ["DATABRICKS_SERVER_HOSTNAME"], os.environ["DATABRICKS_HTTP_PATH"]
        with sql.connect(host, path, os.environ["DATABRICKS_TOKEN"]) as connection, connection.cursor() as cursor:
            print(cursor.execute("SELECT current_user()").fetchone()[0])
    """
    with served("--config", config, "--tokens") as (_, printed):
        lines = re.findall(r"# (?:alice|databricks-sql-connector.*)\n(export .*)", printed)
        assert len(lines) == 2
        shell = "\n".join([*lines, shlex.join([sys.executable, "-c", textwrap.dedent(script)])])
        done = subprocess.run(["sh", "-c", shell], check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["alice@example.com"] * 2, done.stderr


@pytest.mark.parametrize("name", ["alice", "agent"])
def test_the_lines_win_over_what_the_shell_has(config, monkeypatch, name):
    """Another workspace's credentials, of both kinds, and a proxy that does not answer."""
    held = {"CLIENT_ID": "id", "CLIENT_SECRET": "secret", "TOKEN": "dapi"}
    for variable, value in held.items():
        monkeypatch.setenv(f"DATABRICKS_{variable}", value)
    for variable in ("HTTP_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intranet")
    script = "from databricks.sdk import WorkspaceClient; print(WorkspaceClient().current_user.me().user_name)"
    with served("--config", config, "--tokens") as (process, printed):
        lines = printed + process.stdout.readline()
        (line,) = re.findall(rf"# {name}\n(export .*)", lines)
        shell = f"{line}\n{shlex.join([sys.executable, '-c', script])}"
        done = subprocess.run(["sh", "-c", shell], check=False, capture_output=True, text=True)
    principal = dict(re.findall(r"(\S+)=(\S+)", line)).get("DATABRICKS_CLIENT_ID", "alice@example.com")
    assert done.stdout.split() == [principal], done.stderr
    assert "no_proxy=intranet,127.0.0.1" in line


@pytest.fixture
def at_once(monkeypatch):
    """The command ends as soon as it has begun: what it does with a signal is seen above, in a process of its own."""
    from obo_kit.cli import _workspace as cli

    told = cli.asked_to_end

    @contextlib.contextmanager
    def told_already():
        with told() as over:
            signal.raise_signal(signal.SIGTERM)
            yield over

    monkeypatch.setattr(cli, "asked_to_end", told_already)


@pytest.mark.usefixtures("at_once")
def test_tokens_are_printed_on_request_alone(config):
    before = signal.getsignal(signal.SIGTERM)
    shown = run("workspace", "--config", config)
    assert shown.exit_code == 0, shown.output
    assert "--tokens" in shown.output
    assert "eyJ" not in shown.output
    assert signal.getsignal(signal.SIGTERM) is before
    asked = run("workspace", "--config", config, "--tokens", "--token-hours", "0.5").output
    assert asked.count("DATABRICKS_TOKEN=eyJ") == 2
    assert (
        len(
            re.findall(
                "DATABRICKS_CLIENT_ID=.* DATABRICKS_CLIENT_SECRET=dose.* DATABRICKS_AUTH_TYPE=oauth-m2m$", asked, re.M
            )
        )
        == 1
    )
    windows = run("workspace", "--config", config, "--tokens", "--shell", "powershell").output
    assert (
        len(
            re.findall(
                r'^\$env:DATABRICKS_HOST = "http.*"; \$env:DATABRICKS_TOKEN = "eyJ.*"; .*"pat"$', windows, re.MULTILINE
            )
        )
        == 2
    )
    assert "export" not in windows


@pytest.mark.usefixtures("at_once")
def test_a_workspace_refuses_in_the_words_of_a_recording(config, tmp_path):
    recording = str(Path(__file__).parents[2] / "recordings" / "local.json")
    assert (
        "Recorded refusals are those of a local workspace"
        in run("workspace", "--config", config, "--recording", recording).output
    )
    (tmp_path / "none.json").write_text("{}")
    none = run("workspace", "--config", config, "--recording", str(tmp_path / "none.json"))
    assert (none.exit_code, "Fix:" in none.output, "Traceback" in none.output) == (1, True, False)


@pytest.mark.usefixtures("at_once")
def test_a_port_of_ones_own_choice_is_used_and_one_that_is_taken_refused(config):
    port = str(free_port())
    with socket.create_server(("127.0.0.1", int(port))):
        taken = run("workspace", "--config", config, "--port", port)
        assert (taken.exit_code, "Fix: choose another." in taken.output) == (1, True)
    for _ in range(2):
        assert f"http://127.0.0.1:{port}" in run("workspace", "--config", config, "--port", port).output


def test_the_workspace_listens_on_loopback_and_nowhere_else(config):
    refused = run("workspace", "--config", config, "--host", "0.0.0.0")
    assert refused.exit_code == 2
    assert "'0.0.0.0' is not '127.0.0.1'" in refused.output


def test_a_mistake_in_the_config_is_said_with_its_line(config, monkeypatch):
    Path(config).write_text("users: [alice]\nwarehouse: []\n")
    wrong = run("workspace", "--config", config)
    assert (wrong.exit_code, "workspace.yaml:2: warehouse: unknown key" in wrong.output) == (1, True)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert 'pip install "obo-kit[testing]"' in run("workspace", "--config", config).output


def test_a_request_is_shown_with_its_tool_and_fault():
    from obo_kit.cli._workspace import _request
    from obo_kit.testing import RequestRecord

    record = RequestRecord(
        user="alice",
        kind="user",
        method="GET",
        path="/x",
        status=503,
        scopes_held=frozenset(),
        scopes_needed=(),
        scopes_missing=(),
        decision="fault",
        fault="status",
        tool="count",
        connection="",
        seconds=0.1,
        user_agent="",
        cookies={},
        at=0.0,
    )
    assert click.unstyle(_request(record)).split() == ["alice", "503", "fault", "(status)", "GET", "/x", "count"]


# ---------------------------------------------------------------------------------------------- the demo


def test_the_demo_is_the_example_of_the_repository(monkeypatch):
    started = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, check: started.append(command) or subprocess.CompletedProcess(command, 3)
    )
    assert run("demo").exit_code == 3
    ((python, script),) = started
    assert python == sys.executable
    assert Path(script) == Path(__file__).parents[2] / "examples" / "support_agent" / "demo.py"


def test_a_demo_that_is_not_there_says_so(monkeypatch, tmp_path):
    from obo_kit.cli import _examples

    monkeypatch.setattr(_examples, "__file__", str(tmp_path / "obo_kit" / "cli" / "_examples.py"))
    assert "not part of this installation" in run("demo").output
