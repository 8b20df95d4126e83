"""What the static checks read: notebooks, magics, newer Python, large trees, the standard input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from obo_kit.analysis.check import _sources
from obo_kit.analysis.check._runner import check
from obo_kit.analysis.check.rules import RULES
from obo_kit.cli import main

TOOL = "@with_user_client\ndef ask(client, question):\n    return client.genie.get_space(question)\n"
MISTAKE = f"from obo_kit import with_user_client\n\n{TOOL}"


def run(*arguments: object, stdin: str = ""):
    return CliRunner().invoke(main, ["check", *map(str, arguments)], input=stdin)


def notebook(path: Path, *cells: str) -> Path:
    written = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ["# A"]}, *written], "nbformat": 4}))
    return path


def test_a_notebook_is_read_cell_by_cell(tmp_path):
    path = notebook(
        tmp_path / "agent.ipynb",
        "%pip install obo-kit\n!ls \\\n  -l\nfiles = !ls\n?print",
        "%%sql\nSELECT * FROM t",
        "%sql\nSELECT 1",
        "%%time\nfrom obo_kit import with_user_client",
        "",
        f"if True:\n    %matplotlib inline\n{TOOL}",
    )
    done = run(path)
    assert done.exit_code == 1, done.output
    assert done.stdout.splitlines()[0].startswith(f"{path}:cell 7:5:12: OBO301 `genie.get_space`")
    (found,) = json.loads(run(path, "--format", "json").stdout)["findings"]
    assert (found["cell"], found["line"], found["end_line"], found["fixable"]) == (7, 5, 5, False)


def test_magics_are_read_in_modules(tmp_path):
    (tmp_path / "helpers.py").write_text("from obo_kit import with_user_client\n")
    lines = ["%pip install obo-kit", "%run ./helpers", 'text = """', "of all", '"""', TOOL]
    (tmp_path / "agent.py").write_text("\n".join(lines))
    (found,) = check([tmp_path / "agent.py"]).findings
    assert (found.code, found.line, found.edits) == ("OBO301", 8, ())


def test_an_exported_notebook_is_read_with_what_it_runs(tmp_path):
    (tmp_path / "helpers.py").write_text("from obo_kit import with_user_client\n")
    lines = ["# Databricks notebook source", "# MAGIC %pip install obo-kit", "# MAGIC %run ./helpers", TOOL]
    (tmp_path / "agent.py").write_text("\n".join(lines))
    (found,) = check([tmp_path]).findings
    assert (found.code, found.line) == ("OBO301", 6)


WRITTEN = """\
import mlflow
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials
from mlflow.pyfunc import ResponsesAgent

class Agent(ResponsesAgent):
    def predict(self, request):
        self.client = make()

mlflow.models.set_model(Agent())
"""
MAKES = """\
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials

def make():
    return WorkspaceClient(credentials_strategy=ModelServingUserCredentials())
"""
LOGS = 'import mlflow\nmlflow.pyfunc.log_model(name="agent", python_model="agent.py")\n'


def test_modules_that_a_notebook_writes_are_read_each_by_itself(tmp_path):
    path = notebook(
        tmp_path / "driver.ipynb",
        "%pip install mlflow",
        f"%%writefile clients.py\n{MAKES}",
        f"%%writefile ./agent.py\nfrom clients import make\n{WRITTEN}",
        LOGS,
        "client = None  # as no module does",
    )
    places = [(found.path, found.code, found.cell, found.line) for found in check([path]).findings]
    assert sorted(places) == [(path, "OBO103", 4, 10), (path, "OBO403", 5, 2)]


def test_modules_that_an_exported_notebook_writes_are_read_each_by_itself(tmp_path):
    cells = [f"%%writefile agent.py\n{WRITTEN}", f"%%writefile -a agent.py\n{MAKES}"]
    shown = ["\n".join(f"# MAGIC {line}".rstrip() for line in cell.splitlines()) for cell in cells]
    lines = ["# Databricks notebook source", *"\n\n# COMMAND ----------\n\n".join([*shown, LOGS]).splitlines()]
    path = tmp_path / "driver.py"
    path.write_text("\n".join(lines))
    found = {(item.code, item.line, item.column) for item in check([path]).findings}
    kept = next(number for number, line in enumerate(lines, 1) if "self.client" in line)
    assert found == {("OBO403", len(lines), 1), ("OBO103", kept, len("# MAGIC ") + 9)}
    (tmp_path / "agent.py").write_text("import mlflow\n")  # it is there, and so is checked itself
    assert not check([path]).findings


LATER = {
    "def first[T](items: list[T]) -> T:\n    return (\n": "Python 3.12 would read it (type parameters)",
    "type Pair = (int, int\n": "Python 3.12 would read it (the type statement)",
    "x = t'{y}' (\n": "Python 3.14 would read it (a template string)",
    "try: pass\nexcept A, B: pass\n(\n": "Python 3.14 would read it (except without parentheses)",
}


@pytest.mark.parametrize("text", LATER)
def test_source_of_a_newer_python_says_which_would_read_it(tmp_path, monkeypatch, text):
    monkeypatch.setattr("obo_kit.analysis.check._sources._RUNNING", (3, 10))
    (tmp_path / "agent.py").write_text(text)
    ((_, why),) = check([tmp_path / "agent.py"]).unreadable
    assert LATER[text] in why
    assert "this is 3.10. Fix: run the check with" in why


def test_one_unreadable_file_does_not_spoil_the_folder(tmp_path):
    (tmp_path / "agent.py").write_text(MISTAKE)
    (tmp_path / "old.py").write_text("print 'no word of users'\n")
    assert (run(tmp_path).exit_code, run(tmp_path).stderr) == (1, "")
    (tmp_path / "broken.py").write_text("import obo_kit\ndef (\n")
    (tmp_path / "broken.ipynb").write_text("import obo_kit")
    done = run(tmp_path)
    assert (done.exit_code, "OBO301" in done.stdout) == (1, True)
    assert "broken.py: line 2: invalid syntax" in done.stderr
    assert "broken.ipynb: is not a notebook" in done.stderr
    (tmp_path / "agent.py").unlink()
    assert run(tmp_path).exit_code == 2


def test_other_files_and_nothing_at_all_are_errors(tmp_path):
    (tmp_path / "agent.txt").write_text(MISTAKE)
    done = run(tmp_path / "agent.txt")
    assert (done.exit_code, "files to check end in .py or .ipynb" in done.stderr) == (2, True)
    done = run(tmp_path)
    assert (done.exit_code, "There are no .py or .ipynb files to check" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("patterns", "left"),
    [([], 3), (["old"], 2), (["*/old/*"], 2), (["generated_*", "old/"], 1), (["[ag]*.py"], 0)],
)
def test_what_is_excluded_is_not_read(tmp_path, patterns, left):
    for name in ("agent.py", "old/agent.py", "generated_x.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(MISTAKE)
    done = run(tmp_path, *(part for pattern in patterns for part in ("--exclude", pattern)))
    assert done.stdout.count("OBO301 [*]") == left, done.output


def test_the_standard_input_is_read_under_a_name(tmp_path):
    (tmp_path / "helpers.py").write_text("from obo_kit import *\n")
    named = ("-", "--stdin-filename", tmp_path / "agent.py")
    done = run(*named, stdin=f"from helpers import *\n{TOOL}")
    assert (done.exit_code, done.stdout.startswith(f"{tmp_path}/agent.py:4:12: OBO301")) == (1, True), done.output
    assert run(*named, "--fix").exit_code == 2


def test_statistics_count_by_rule(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(MISTAKE)
    done = run(tmp_path, "--statistics")
    assert (done.exit_code, done.stdout) == (1, f"2\tOBO301\t{RULES['OBO301'].title}\n")


def test_a_large_tree_is_read_fast(tmp_path, monkeypatch):
    """By not parsing what cannot matter; a file matters by what it imports, too."""
    parse, parsed = _sources.ast.parse, []
    monkeypatch.setattr(_sources.ast, "parse", lambda code, name: parsed.append(Path(name).name) or parse(code, name))
    body = "\n".join(f"def f{n}(x):\n    return [y + {n} for y in x if y]\n" for n in range(330)) + "\n"
    for number in range(100):
        (tmp_path / f"m{number}.py").write_text(f"import os\nimport m{(number + 1) % 100}\n{body}")
    (tmp_path / "agent.py").write_text("from tools import *\nCLIENT = mine()\n")
    (tmp_path / "tools.py").write_text("from deep import mine\n")
    (tmp_path / "deep.py").write_text(
        "from obo_kit import current_session\ndef mine(): return current_session().client\n"
    )
    report = check([tmp_path])
    assert sorted(parsed) == ["agent.py", "deep.py", "tools.py"]
    assert (report.files, [(one.path.name, one.code) for one in report.findings]) == (103, [("agent.py", "OBO101")])


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("except Exception:\n        return None", "are swallowed here, with bugs"),
        ("except Exception:\n        print('failed')", "are swallowed here, with bugs"),
        ("except Exception as error:\n        return str(error)", "are answered here in the same way as bugs"),
        ("except:\n        logger.exception('failed')", "are answered here in the same way as bugs"),
        (
            "except Exception:\n        logger.error('failed', exc_info=True)",
            "are answered here in the same way as bugs",
        ),
    ],
)
def test_swallowed_is_said_only_where_it_is(tmp_path, handler, said):
    tool = f"@with_user_client\ndef ask(client):\n    try:\n        return client.genie.get_space('x')\n    {handler}\n"
    (tmp_path / "agent.py").write_text(f"from obo_kit import with_user_client\n{tool}")
    (found,) = check([tmp_path / "agent.py"], select=["OBO201"]).findings
    assert found.message == f"Refusals of `client.genie.get_space` {said}."


def test_who_calls_a_function_counts_wherever_in_the_folder_it_is(tmp_path):
    """Whatever the order of the files; and a helper that is handed the user's client is checked with it."""
    (tmp_path / "a_clients.py").write_text(
        "from databricks.sdk import WorkspaceClient\n"
        "def client(token):\n"
        "    if token:\n"
        "        return WorkspaceClient(token=token, auth_type='pat')\n"
        "    return WorkspaceClient()\n"
    )
    (tmp_path / "a_rows.py").write_text(
        "import streamlit as st\n"
        "@st.cache_data\n"
        "def rows(_w, query):\n"
        "    return _w.statement_execution.execute_statement(query, 'wh').result.data_array\n"
    )
    (tmp_path / "z_app.py").write_text(
        "import streamlit as st\n"
        "from a_clients import client\n"
        "from a_rows import rows\n"
        "st.write(rows(client(st.context.headers.get('X-Forwarded-Access-Token')), 'SELECT 1'))\n"
    )
    findings = [(one.path.name, one.line, one.code) for one in check([tmp_path]).findings]
    assert findings == [("a_clients.py", 5, "OBO105"), ("a_rows.py", 2, "OBO107")]
    assert check([tmp_path / "a_clients.py"]).findings == ()  # alone, nobody knows whose token it is


def test_a_file_that_only_logs_models_is_read_for_that(tmp_path):
    (tmp_path / "train.py").write_text(
        "import mlflow\n"
        "policy, resources = object(), []\n"
        "mlflow.pyfunc.log_model(name='a', python_model='a.py', auth_policy=policy, resources=resources)\n"
    )
    report = check([tmp_path])
    assert (report.files, [(one.code, one.line) for one in report.findings]) == (1, [("OBO402", 3)])


@pytest.mark.parametrize(
    "handed",
    [
        "from rows import Rows\nst.write(Rows(w).read())\n",
        "from rows import Rows\nreader = Rows()\nst.write(reader.load(w))\n",
        "import rows\ndef page(reader: rows.Rows):\n    st.write(reader.load(w))\n",
        "from rows import load as read\nst.write(read(w))\n",
    ],
)
def test_a_helper_that_is_handed_the_client_is_read_however_it_is_handed(tmp_path, handed):
    (tmp_path / "rows.py").write_text(
        "class Rows:\n"
        "    def __init__(self, w=None):\n"
        "        self.w = w\n"
        "    def read(self):\n"
        "        return load(self.w)\n"
        "    def load(self, w):\n"
        "        return load(w)\n"
        "def load(w):\n"
        "    try:\n"
        "        return w.genie.get_space('x')\n"
        "    except Exception:\n"
        "        return None\n"
        "from databricks.sdk import WorkspaceClient\n"
        "def typed(w: WorkspaceClient):\n"
        "    return w\n"
    )
    (tmp_path / "other.py").write_text("def unread(:\n")
    (tmp_path / "app.py").write_text(
        "import streamlit as st\n"
        "import other\n"
        "from databricks.sdk import WorkspaceClient\n"
        "w = WorkspaceClient(token=st.context.headers['X-Forwarded-Access-Token'], auth_type='pat')\n" + handed
    )
    report = check([tmp_path])
    assert report.unreadable == ()  # nobody hands it anything
    assert [(one.path.name, one.code) for one in report.findings] == [("rows.py", "OBO201")]
