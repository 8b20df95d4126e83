"""The pages an author follows: every block is written to the file it names, and run."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from obo_kit.testing import LocalWorkspace

pytestmark = pytest.mark.slow  # run against the wheel: `make test-wheel`

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("quickstart.md", "local-workspace.md")
BLOCK = re.compile(r"^```(\w*) *(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks():
    for page in PAGES:
        for language, name, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
            yield page, language, name, text


def commands():
    for _, language, _, text in blocks():
        if language == "console":
            yield from (shlex.split(line.removeprefix("$ ")) for line in text.splitlines())


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with every file of the pages."""
    folder = tmp_path_factory.mktemp("project")
    for _, _, name, text in blocks():
        if name:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def environment(project, new_store):
    """No plugins but the kit's own: those of other packages cost more than the tests."""
    unwanted = ("cacheprovider", "hypothesispytest", "langsmith_plugin", "asyncio", "anyio", "cov")
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTEST_ADDOPTS": " ".join(f"-p no:{name}" for name in unwanted),
        "MLFLOW_TRACKING_URI": new_store(project),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def test_every_block_is_a_file_a_command_or_an_excerpt():
    named = [name for _, _, name, _ in blocks() if name]
    assert len(named) == len(set(named)) > 10
    assert {language for _, language, name, _ in blocks() if not name} <= {"console", "python", "sql"}
    # What is not run here: installing, which the suite has behind it, and the demo, which has a command of its own in CI.
    known = {"pip", "pytest", "obo-kit policy", "obo-kit workspace", "obo-kit demo"}
    assert {" ".join(words[:2]) if words[0] == "obo-kit" else words[0] for words in commands()} == known


def test_the_tests_of_the_pages_pass_and_the_agent_is_logged(project, environment):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "ignore"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = sum(len(re.findall(r"^def test_", text, re.MULTILINE)) for *_, text in blocks())
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= written > 10


def test_the_commands_of_the_pages_run(project, environment):
    for words in (words for words in commands() if words[:2] == ["obo-kit", "workspace"]):
        # A port of the page's own may be taken on this machine.
        port = words.index("--port") if "--port" in words else len(words)
        command = [sys.executable, "-m", "obo_kit", *words[1:port], *words[port + 2 :]]
        with subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True) as process:
            printed = ""
            while "DATABRICKS_TOKEN" not in printed:
                line = process.stdout.readline()
                assert line, printed
                printed += line
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        assert "http://127.0.0.1:" in printed


def test_the_policy_of_the_page_is_what_it_says(project):
    from click.testing import CliRunner

    from obo_kit.cli import main

    ((_, *words),) = (words for words in commands() if words[:2] == ["obo-kit", "policy"])
    command = [words[0], str(project / words[1]), *words[2:]]
    assert "Every warehouse that the user may use" in CliRunner().invoke(main, command).output
    printed = CliRunner().invoke(main, [*command, "--format", "mlflow"]).output
    assert json.loads(printed)["user_auth_policy"] == {"api_scopes": ["sql"]}


@pytest.mark.filterwarnings("ignore:Use `streamable_http_client`:DeprecationWarning")
def test_the_excerpts_run(tmp_path, monkeypatch, no_traces):
    """Blocks of Python without a name are parts of one session with a workspace."""
    from databricks.sdk import WorkspaceClient

    pytest.importorskip("databricks_mcp", reason="the extra mcp")
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("name,manager,salary\nx,alice@example.com,1\n", "utf-8")
    Path("faq.csv").write_text("id,text\n1,How to return goods\n", "utf-8")
    with LocalWorkspace() as workspace:
        for name in ("alice", "bob"):
            workspace.add_user(name)
        workspace.add_warehouse("a1b2c3")
        workspace.add_table("main.shop.orders", [{"region": "EU", "amount": 1.0}])
        names = {
            "workspace": workspace,
            "workspace_client": WorkspaceClient(host=workspace.host, token=workspace.token("alice"), auth_type="pat"),
            "rows": [{"id": 1, "text": "How to return goods"}],
            "service_url": "http://127.0.0.1:9",
            "count_orders": lambda: "There are 2 orders.",
        }
        grants = [("SELECT", "main.shop.orders"), ("CAN USE", "a1b2c3"), ("CAN RUN", "01f0")]
        excerpts = [text for _, language, name, text in blocks() if language == "python" and not name]
        for text in excerpts:
            if "database" in text:
                pytest.importorskip("psycopg", reason="the extra lakebase, and psycopg")
                pytest.importorskip("trustme", reason="the extra lakebase")
            if "DatabricksMCPClient" in text:
                for privilege, securable in grants:
                    workspace.grant("alice", privilege, securable)
            exec(compile(text, "excerpt", "exec"), names)
            workspace.strict_privileges = False  # which one of the excerpts asks for
        assert len(excerpts) == 12
        assert [record.user for record in workspace.log.filter(mcp_tool="query_space_01f0")] == ["alice"]
