"""How commands look: on a terminal, in a pipe, for a script, and in the help."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from obo_kit.cli import main

COMMANDS = sorted(main.commands)
ESCAPE = "\x1b["


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_help_is_whole_and_fits_80_columns(command):
    printed = CliRunner().invoke(main, [*command, "--help"], terminal_width=80).output
    assert "..." not in re.sub(r"\[?[A-Z]+\]?\.\.\.", "", printed)  # but for arguments that may be several
    assert max(map(len, printed.splitlines())) <= 80


def test_each_command_is_listed_on_a_line_of_its_own():
    printed = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    listed = re.findall(r"^  ([a-z]+) +([A-Z].+)\.$", printed.partition("Commands:")[2], re.MULTILINE)
    assert [name for name, _ in listed] == COMMANDS


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])
def test_every_command_prints_json_by_the_same_option(name):
    """The demo is a program of its own."""
    (option,) = (one for one in main.commands[name].params if one.name == "in_json")
    assert (option.opts, option.is_flag, option.help) == (["--json"], True, "Print JSON, for scripts.")


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "obo_kit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("obo-kit, version ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(shell):
    environment = {**os.environ, "_OBO_KIT_COMPLETE": f"{shell}_source"}
    command = [sys.executable, "-m", "obo_kit"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "_OBO_KIT_COMPLETE" in done.stdout, done.stderr
    words = {"COMP_WORDS": "obo-kit wo", "COMP_CWORD": "1", "_OBO_KIT_COMPLETE": "bash_complete"}
    done = subprocess.run(command, env={**os.environ, **words}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["plain,workspace"]


# ---------------------------------------------------------------------------------------------- color


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command prints on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    command = [sys.executable, "-m", "obo_kit", *arguments]
    settings = {**plain, "TERM": "xterm", "COLUMNS": "80", **environment}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=settings) as process:
        os.close(theirs)
        printed = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            printed += chunk
        process.wait(60)
    os.close(ours)
    return printed.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_gets_colors_and_no_color_and_pipes_none():
    assert ESCAPE in on_a_terminal("scopes", "genie")
    assert ESCAPE in on_a_terminal("scopes", "qqqq")
    assert ESCAPE not in on_a_terminal("scopes", "genie", NO_COLOR="1")
    assert ESCAPE not in on_a_terminal("scopes", "qqqq", NO_COLOR="1")
    piped = [sys.executable, "-m", "obo_kit", "scopes", "genie"]
    assert ESCAPE not in subprocess.run(piped, capture_output=True, text=True, check=True).stdout
    forced = {**os.environ, "FORCE_COLOR": "1"}
    assert ESCAPE in subprocess.run(piped, capture_output=True, text=True, check=True, env=forced).stdout


@pytest.mark.long
def test_a_table_fits_80_columns_and_keeps_every_word(tmp_path):
    path = tmp_path / "agent.py"
    path.write_text(
        "import mlflow\n"
        "from mlflow.models.resources import DatabricksUCConnection, DatabricksVectorSearchIndex\n"
        "from obo_kit import requires_scopes\n"
        "@requires_scopes(DatabricksVectorSearchIndex('production.customer_support.frequently_asked_questions_index'))\n"
        "@requires_scopes(DatabricksUCConnection('jira'))\n"
        "def search_the_frequently_asked_questions(client): ...\n"
        "mlflow.models.set_model(lambda model_input: model_input)\n"
    )
    printed = CliRunner().invoke(main, ["policy", str(path)], env={"COLUMNS": "80"}).output
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    letters = re.sub(r"\s", "", printed)
    assert "frequently_asked" in letters
    assert "…" not in printed
    assert "…" not in CliRunner().invoke(main, ["scopes"], env={"COLUMNS": "80"}).output


@pytest.mark.parametrize("words", [(), ("genie",), ("sql",), ("connection",), ("/api/2.0/sql/statements",)])
def test_answers_of_scopes_fit_80_columns(words):
    printed = CliRunner().invoke(main, ["scopes", *words], env={"COLUMNS": "80"}).output
    assert max(map(len, printed.splitlines())) <= 80


def test_answers_of_scopes_fit_a_narrow_terminal():
    for words in ((), ("genie",)):
        printed = CliRunner().invoke(main, ["scopes", *words], env={"COLUMNS": "60"}).output
        assert max(map(len, printed.splitlines())) <= 60


def test_scopes_without_a_term_is_a_short_list():
    from obo_kit.scopes import KINDS, SCOPES

    printed = CliRunner().invoke(main, ["scopes"]).output
    assert len(printed.splitlines()) < len(KINDS) + len(SCOPES)
    assert "obo-kit scopes TERM" in printed


def test_a_refusal_says_what_to_do_in_green_on_the_standard_error(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = CliRunner().invoke(main, ["scopes", "qqqq"], color=True)
    assert click.style("Fix: ", fg="green", bold=True) in done.stderr
    assert (done.exit_code, done.stdout) == (1, "")


# ---------------------------------------------------------------------------------------------- for scripts

AGENT = """
from obo_kit import requires_scopes
@requires_scopes('genie')
def ask(client): ...
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory) -> str:
    """One file for all: collected once."""
    path: Path = tmp_path_factory.mktemp("agent") / "agent.py"
    path.write_text(AGENT)
    return str(path)


@pytest.mark.long
def test_json_of_policy_and_check_is_that_of_their_format(agent):
    for command, options in (("policy", ("--target", "apps")), ("check", ())):
        one = CliRunner().invoke(main, [command, agent, *options, "--json"])
        other = CliRunner().invoke(main, [command, agent, *options, "--format", "json"])
        assert json.loads(one.stdout) == json.loads(other.stdout)


@pytest.mark.parametrize(
    "words",
    [
        ("policy", "--json", "--format", "mermaid"),
        ("policy", "--json", "--format", "bundle"),
        ("check", "--json", "--format", "sarif"),
        ("check", "--json", "--statistics"),
    ],
)
def test_two_forms_at_once_are_refused(agent, words):
    done = CliRunner().invoke(main, [words[0], agent, *words[1:]])
    assert (done.exit_code, "--json" in done.output) == (2, True)


@pytest.mark.long
def test_json_of_an_update_says_what_changes(agent, tmp_path):
    pytest.importorskip("ruamel.yaml", reason="comes with the extra bundle")
    bundle = tmp_path / "databricks.yml"
    bundle.write_text("resources: {apps: {a: {source_code_path: ., user_api_scopes: [sql]}}}\n")
    done = CliRunner().invoke(main, ["policy", agent, "--update", str(bundle), "--json"])
    expected = {"file": str(bundle), "changed": True, "removed": ["sql"], "undeclared": []}
    assert json.loads(done.stdout) == expected
    assert "genie" in bundle.read_text()
    again = CliRunner().invoke(main, ["policy", agent, "--update", str(bundle), "--json", "--check"])
    assert json.loads(again.stdout) == {**expected, "changed": False, "removed": []}


def test_json_of_a_workspace_is_an_object_and_one_for_each_request(tmp_path, monkeypatch):
    pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
    import contextlib
    import threading

    import requests

    from obo_kit.cli import _workspace

    path = tmp_path / "workspace.yaml"
    path.write_text("users: [alice]\nservice_principals: [agent]\n")

    @contextlib.contextmanager
    def after_a_request():
        yield Ended()

    class Ended(threading.Event):
        def wait(self, timeout=None):
            host = next(value["host"] for value in map(json.loads, printed()) if "host" in value)
            requests.get(f"{host}/api/2.0/preview/scim/v2/Me", timeout=60)
            return True

    said: list[str] = []
    echo = click.echo
    monkeypatch.setattr(_workspace.click, "echo", lambda text, **how: (said.append(text), echo(text, **how)))
    monkeypatch.setattr(_workspace, "asked_to_end", after_a_request)

    def printed():
        return [text for text in said if text.startswith("{")]

    done = CliRunner().invoke(main, ["workspace", "--config", str(path), "--tokens", "--log", "--json"])
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["users"] == ["alice"]
    assert set(first["credentials"]["alice"]) == {"DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_AUTH_TYPE"}
    agent = {"DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET", "DATABRICKS_AUTH_TYPE"}
    assert set(first["credentials"]["agent"]) == agent
    assert (second["status"], second["decision"], second["scopes_held"]) == (401, "no credential", None)
