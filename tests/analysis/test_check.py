"""The static checks: what they find, what they leave alone, what they write, and how they say it (issue: inference)."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path

import pytest
from check_pages import FOLDER, INDEX, PUBLIC, index, page_of
from click.testing import CliRunner

from obo_kit.analysis.check._runner import check
from obo_kit.analysis.check.rules import RULES
from obo_kit.cli import main
from obo_kit.tools._spec import spec_of

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).parent / "fixtures"
# One folder per rule, each file with one mistake, in the line that ends in `# <-`; and agents without any.
SEEDS = {
    folder.name: [path.read_text(encoding="utf-8") for path in sorted(folder.glob("mistake_*.py"))]
    for folder in sorted(FIXTURES.glob("OBO*"))
}
CORRECT = {
    path.relative_to(FIXTURES).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*FIXTURES.glob("correct/*.py"), *FIXTURES.glob("OBO*/correct_*.py")])
}


def checked(folder: Path, text: str, **settings):
    path = folder / "agent.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    report = check([path], **settings)
    assert not report.unreadable
    return report.findings


def marked(text: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# <-")]


def test_every_rule_has_seeded_mistakes():
    assert SEEDS.keys() == RULES.keys()
    assert all(len(seeds) >= 10 and len(set(seeds)) == len(seeds) for seeds in SEEDS.values())


@pytest.mark.parametrize(("code", "text"), [(code, text) for code in SEEDS for text in SEEDS[code]])
def test_a_seeded_mistake_is_found_where_it_is_and_nothing_else_is(tmp_path, code, text):
    (line,) = marked(text)
    found = {(one.code, one.line) for one in checked(tmp_path, text, ignore=UNRELATED.get(code, ()))}
    assert found == {(code, line)}


# A seed of one mistake may be short of the declarations that another rule asks for.
UNRELATED = {code: ("OBO3",) for code in SEEDS if not code.startswith("OBO3")} | {"OBO301": ("OBO302",)}


@pytest.mark.parametrize("agent", CORRECT)
def test_a_correct_agent_is_left_alone(tmp_path, agent):
    assert [(one.code, one.line, one.message) for one in checked(tmp_path, CORRECT[agent])] == []


PROJECTS = sorted((FIXTURES / "projects").iterdir())


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_a_mistake_in_a_project_of_several_files_is_found_and_its_correct_twin_is_left_alone(project):
    """The line ends in ``# <-`` and the rule's code, in whichever file it is."""
    marks = {
        (path.relative_to(project).as_posix(), number, line.rpartition("# <- ")[2])
        for path in project.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "# <- " in line
    }
    found = {
        (one.path.relative_to(project).as_posix(), one.line, one.code)
        for folder in ("mistake", "correct")
        for one in check([project / folder]).findings
    }
    assert found == marks
    assert len(marks) == 1


EXAMPLES = [path for path in sorted((ROOT / "examples").rglob("*.py")) if path.parent.name != "before"]


def test_the_examples_are_left_alone():
    report = check(EXAMPLES)
    assert report.files == len(EXAMPLES) > 5
    assert [(one.path.name, one.line, one.code, one.message) for one in report.findings] == []


@pytest.mark.parametrize("name", ["scored", "served", "postponed"])
def test_the_agents_of_other_tests_are_left_alone(name):
    report = check([ROOT / "tests" / "helpers" / f"{name}.py"])
    assert (report.files, report.findings) == (1, ())


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_code_of_the_pages_is_left_alone(tmp_path, page):
    blocks = re.findall(
        r"^```python[^\n]*\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    whole = [block for block in blocks if _is_python(block)]
    assert whole
    assert [checked(tmp_path, block) for block in whole] == [()] * len(whole)


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


# --- what is read ---------------------------------------------------------------------------------------------------------

MISTAKE = """
from obo_kit import with_user_client

@with_user_client
def ask(client, question):
    return client.genie.get_space(question)
"""


def run(*arguments: object):
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def test_nothing_is_run(tmp_path):
    assert checked(tmp_path, "raise SystemExit('run')\n" + MISTAKE)[0].code == "OBO301"


@pytest.mark.parametrize(
    ("decorator", "codes"), [("", ["OBO301"]), ("('genie')", []), ("('sql')", ["OBO302", "OBO301"])]
)
def test_user_tool_is_the_three_decorators_in_one(tmp_path, decorator, codes):
    text = MISTAKE.replace("import with_user_client", "import user_tool")
    found = checked(tmp_path, text.replace("@with_user_client", f"@user_tool{decorator}"))
    assert [one.code for one in found] == codes


def test_a_helper_module_in_the_folder_counts(tmp_path):
    """Its names and declarations are known, and its own mistakes are its own."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("from .genie import SPACE, ask\nfrom .deep import names as n\n")
    (tmp_path / "tools" / "genie.py").write_text(
        "from mlflow.models.resources import DatabricksGenieSpace\n"
        "from databricks.sdk import WorkspaceClient\n"
        "from databricks_ai_bridge import ModelServingUserCredentials\n"
        "from obo_kit import requires_scopes\n"
        "from obo_kit import with_user_client as hand_over\n"
        "SPACE = '01f0'\n"
        "@requires_scopes(DatabricksGenieSpace(SPACE))\n"
        "@hand_over\n"
        "def ask(client, question): ...\n"
        "def connect(): return WorkspaceClient(credentials_strategy=ModelServingUserCredentials())\n"
    )
    (tmp_path / "tools" / "deep").mkdir()
    (tmp_path / "tools" / "deep" / "__init__.py").write_text("")
    (tmp_path / "tools" / "deep" / "names.py").write_text("from .. import genie\nspelled = genie.SPACE\n")
    text = """
    import tools
    from mlflow.models.resources import DatabricksGenieSpace
    from obo_kit import system_resources, user_session
    from tools import ask as question
    from tools.genie import connect
    from tools import genie, n

    system_resources(DatabricksGenieSpace(n.spelled))
    CLIENT = connect()

    @user_session
    def predict(request):
        try:
            return genie.ask(request), question(request)
        except Exception:
            return tools.ask(request)
    """
    found = [(one.code, one.line) for one in checked(tmp_path, text)]
    assert found == [("OBO401", 9), ("OBO101", 10), ("OBO201", 16)]
    assert {one.code for one in check([tmp_path / "tools"]).findings} == set()


def test_relative_imports_and_the_package_s_own_name_are_followed(tmp_path):
    package = tmp_path / "agent_server"
    package.mkdir()
    (package / "utils.py").write_text(
        "from obo_kit import current_session\ndef mine(): return current_session().client\n"
    )
    for line in (
        "from .utils import mine",
        "from agent_server.utils import mine",
        "from . import utils; mine = utils.mine",
    ):
        assert [one.code for one in checked(package, f"{line}\nCLIENT = mine()\n")] == ["OBO101"], line
    above = package / "inner"
    above.mkdir()
    assert [one.code for one in checked(above, "from ..utils import mine\nCLIENT = mine()\n")] == ["OBO101"]
    assert checked(above, "from ...nowhere import mine\nfrom .utils import mine as other\nCLIENT = mine()\n") == ()


CACHING = """
import functools

memoize = functools.lru_cache(maxsize=256)

def once(function):
    results = {}

    @functools.wraps(function)
    def wrapper(*args):
        if args not in results:
            results[args] = function(*args)
        return results[args]

    return wrapper

class Kept:
    def __init__(self, seconds):
        self.seconds, self.results = seconds, {}

    def __call__(self, function):
        def wrapper(*args):
            return self.results.get(args) or self.results.setdefault(args, function(*args))
        return wrapper

def timed(function):
    times = {}

    def wrapper(*args):
        result = function(*args)
        times[args] = len(times)
        return result

    return wrapper
"""


@pytest.mark.parametrize(("decorator", "codes"), [("memoize", 2), ("once", 2), ("Kept(60)", 2), ("timed", 0)])
def test_a_memoizer_of_another_module_is_found(tmp_path, decorator, codes):
    (tmp_path / "caching.py").write_text(CACHING)
    text = f"""
    from caching import {decorator.partition("(")[0]}
    from databricks.sdk import WorkspaceClient
    from flask import request

    @{decorator}
    def client():
        return WorkspaceClient(token=request.headers["X-Forwarded-Access-Token"], auth_type="pat")

    @{decorator}
    def ask(question):
        return client().genie.start_conversation_and_wait("01f0", question).attachments[0].text.content
    """
    found = [(one.code, one.line) for one in checked(tmp_path, text)]
    assert found == [("OBO103", 6), ("OBO107", 10)][:codes]


@pytest.mark.parametrize(
    "path",
    [
        'HERE / "bot.py"',
        'os.path.join(os.getcwd(), "bot.py")',
        'str(Path(__file__).parent / "bot.py")',
        'f"{HERE}/bot.py"',
    ],
)
def test_an_agent_that_is_logged_by_a_composed_path_is_found(tmp_path, path):
    (tmp_path / "bot.py").write_text(MISTAKE)
    text = f"""
    import os
    from pathlib import Path
    import mlflow

    HERE = Path(__file__).parent
    mlflow.pyfunc.log_model(name="bot", python_model={path})
    """
    assert [(one.code, one.line) for one in checked(tmp_path, text)] == [("OBO403", 7)]
    assert checked(tmp_path, text.replace("bot.py", "other.py")) == ()


def test_a_helper_that_cannot_be_read_is_unknown(tmp_path):
    (tmp_path / "tools.py").write_text("def broken(:\n")
    assert checked(tmp_path, "from tools import anything\nCLIENT = anything()\n") == ()


def test_modules_that_import_each_other_come_to_an_end(tmp_path):
    (tmp_path / "one.py").write_text("from two import name\n")
    (tmp_path / "two.py").write_text("from one import name\n")
    assert checked(tmp_path, "from one import name\nx = name()\n") == ()


def test_folders_are_searched_and_tests_in_them_left_out(tmp_path):
    for name in (
        "agent.py",
        "sub/tools.py",
        "test_agent.py",
        "agent_test.py",
        "conftest.py",
        ".venv/x.py",
        "build/x.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(MISTAKE)
    assert [one.path.relative_to(tmp_path).as_posix() for one in check([tmp_path]).findings] == [
        "agent.py",
        "sub/tools.py",
    ]
    assert len(check([tmp_path / "test_agent.py", tmp_path, tmp_path / "agent.py"]).findings) == 3


@pytest.mark.parametrize(
    ("comment", "left"),
    [
        ("# noqa", 0),
        ("# noqa: OBO301", 0),
        ("#NOQA:obo301", 0),
        ("# noqa: E501, OBO301", 0),
        ("# noqa: E501 OBO301 - the policy is written by hand", 0),
        ("# why  # noqa: OBO301", 0),
        ("# noqa: OBO302", 1),
        ("# noqa:E501", 1),
        ("# none", 1),
    ],
)
def test_a_comment_silences_a_finding(tmp_path, comment, left):
    assert len(checked(tmp_path, f"{MISTAKE.rstrip()}  {comment}\n")) == left


def test_a_comment_may_stand_at_the_last_line(tmp_path):
    text = MISTAKE.replace("(question)\n", "(\n        question\n    )  # noqa: OBO301\n")
    assert "# noqa" in text
    assert checked(tmp_path, text) == ()


# --- what is written ------------------------------------------------------------------------------------------------------

TOOL = "@with_user_client\ndef ask(client): return client.genie.get_space('x')\n"
FIXES = {
    "an import beside": (
        f"from obo_kit import with_user_client\n\n{TOOL}",
        f'from obo_kit import requires_scopes, with_user_client\n\n@requires_scopes("genie")\n{TOOL}',
    ),
    "an import at the end": (
        f"from obo_kit import with_user_client, optional_tool\n\n@optional_tool\n{TOOL}",
        "from obo_kit import with_user_client, optional_tool, requires_scopes\n\n"
        f'@optional_tool\n@requires_scopes("genie")\n{TOOL}',
    ),
    "an import on lines": (
        f"from obo_kit import (\n    optional_tool,\n    with_user_client,  # the client\n)\n{TOOL}",
        "from obo_kit import (\n    optional_tool,\n    requires_scopes,\n    with_user_client,  # the client\n)\n"
        f'@requires_scopes("genie")\n{TOOL}',
    ),
    "an import on lines, at the end": (
        f"from obo_kit import (\n    with_user_client,\n    current_session as c\n)\n{TOOL}",
        "from obo_kit import (\n    with_user_client,\n    current_session as c,\n    requires_scopes\n)\n"
        f'@requires_scopes("genie")\n{TOOL}',
    ),
    "no import of names": (
        '"""Doc."""\nimport obo_kit as ok\n\nclass A:\n\t@ok.with_user_client\n\tdef ask(self, client):\n'
        "\t\treturn client.genie.get_space('x')\n",
        '"""Doc."""\nimport obo_kit as ok\n\nclass A:\n\t@ok.requires_scopes("genie")\n\t@ok.with_user_client\n'
        "\tdef ask(self, client):\n\t\treturn client.genie.get_space('x')\n",
    ),
    "from its own module": (
        f"import os\nfrom obo_kit.tools._with_client import with_user_client\nX = 1\n{TOOL}",
        "import os\nfrom obo_kit.tools._with_client import with_user_client\nfrom obo_kit import requires_scopes\nX = 1\n"
        f'@requires_scopes("genie")\n{TOOL}',
    ),
    "under another name": (
        f"from obo_kit import requires_scopes as needs, with_user_client\n{TOOL}",
        f'from obo_kit import requires_scopes as needs, with_user_client\n@needs("genie")\n{TOOL}',
    ),
    "everything imported": (
        f"from obo_kit import *\n{TOOL}",
        f'from obo_kit import *\n@requires_scopes("genie")\n{TOOL}',
    ),
    "one more scope": (
        f"from obo_kit import *\n@requires_scopes('sql')  # rows\n{TOOL}",
        f"from obo_kit import *\n@requires_scopes('sql', 'genie')  # rows\n{TOOL}",
    ),
    "one more on lines": (
        f'from obo_kit import *\n@requires_scopes(\n    "files", "sql",\n    allow_unknown=True,\n)\n{TOOL}',
        f'from obo_kit import *\n@requires_scopes(\n    "files", "sql", "genie",\n    allow_unknown=True,\n)\n{TOOL}',
    ),
    "several scopes": (
        "from obo_kit import *\n@with_user_client\nasync def ask(client):\n"
        "    return client.genie.get_space('x'), list(client.warehouses.list())\n",
        'from obo_kit import *\n@requires_scopes("genie", "sql")\n@with_user_client\nasync def ask(client):\n'
        "    return client.genie.get_space('x'), list(client.warehouses.list())\n",
    ),
    "by call": (
        "from obo_kit import *\nö = 'größe'; ask = requires_scopes('sql')"
        "(with_user_client(lambda client: client.genie.get_space('x')))\n",
        "from obo_kit import *\n"
        "ö = 'größe'; ask = requires_scopes('sql', 'genie')"
        "(with_user_client(lambda client: client.genie.get_space('x')))\n",
    ),
    "other ends of lines": (
        f"from obo_kit import with_user_client\n{TOOL}".replace("\n", "\r\n"),
        f'from obo_kit import requires_scopes, with_user_client\n@requires_scopes("genie")\n{TOOL}'.replace(
            "\n", "\r\n"
        ),
    ),
    "another encoding": (
        f"# coding: latin-1\nfrom obo_kit import *; ä = 'ü'\n{TOOL}",
        f"# coding: latin-1\nfrom obo_kit import *; ä = 'ü'\n@requires_scopes(\"genie\")\n{TOOL}",
    ),
}


@pytest.mark.parametrize("case", FIXES)
def test_a_missing_declaration_is_written_and_nothing_else_changes(tmp_path, case):
    before, after = FIXES[case]
    encoding = "latin-1" if "latin-1" in before else "utf-8"
    path = tmp_path / "agent.py"
    path.write_bytes(before.encode(encoding))
    done = run(path, "--fix", "--ignore", "OBO302")
    assert path.read_bytes().decode(encoding) == after
    assert (done.exit_code, f"Fixed {path}" in done.stderr) == (0, True), done.output
    again = run(path, "--fix", "--ignore", "OBO302")
    assert (again.exit_code, again.stderr, path.read_bytes().decode(encoding)) == (0, "", after)


def test_what_is_written_is_what_the_kit_reads(tmp_path):
    """The tool declares it, so that a policy is collected from it."""
    path = tmp_path / "agent.py"
    path.write_text(f"from obo_kit import with_user_client\n{TOOL}")
    assert run(path, "--fix").exit_code == 0
    names: dict[str, object] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    spec = spec_of(names["ask"])
    assert spec is not None
    assert spec.requirements is not None
    assert spec.requirements.scopes == ("genie",)


@pytest.mark.parametrize(
    "text",
    [
        "from obo_kit import with_user_client\nask = with_user_client(lambda client: client.genie.get_space('x'))\n",
        f"from obo_kit import with_user_client\nrequires_scopes = None\n{TOOL}",
        "from obo_kit import *\n@user_session\ndef f(): return current_session().client.genie.get_space('x')\n",
    ],
)
def test_what_cannot_be_written_is_left_to_the_author(tmp_path, text):
    path = tmp_path / "agent.py"
    path.write_text(text)
    done = run(path, "--fix")
    assert (done.exit_code, path.read_text(), "[*]" in done.stdout) == (1, text, False)


# --- how it is said -------------------------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my agent.py"
    path.write_text(
        "größe = 'ä'; " + MISTAKE.strip().replace("    return client", "    'ä'; return client"), encoding="utf-8"
    )
    return path


def test_for_people(agent):
    done = run(agent.name)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert (
        lines[0]
        == "my agent.py:5:17: OBO301 [*] `genie.get_space` needs the scope 'genie', and 'ask' does not declare it."
    )
    assert lines[1:5] == [
        "  |",
        "5 |     'ä'; return client.genie.get_space(question)",
        f"  | {' ' * 16}{'^' * 32} OBO301",
        "  |",
    ]
    assert f"  OBO301: {RULES['OBO301'].fix}" in lines
    assert lines[-2:] == ["1 found in 1 file.", "[*] `obo-kit check --fix` fixes 1 of them."]
    assert run(agent, "--ignore", "OBO3").stdout == "No mistakes found in 1 file.\n"


def test_for_programs(agent):
    done = run(agent.name, "--format", "json")
    (found,) = json.loads(done.stdout)["findings"]
    assert done.exit_code == 1
    assert (found["code"], found["fixable"], found["path"]) == ("OBO301", True, "my agent.py")
    assert found["title"] == RULES["OBO301"].title
    line = agent.read_text(encoding="utf-8").splitlines()[found["line"] - 1]
    assert found["line"] == found["end_line"]
    assert line[found["column"] - 1 : found["end_column"] - 1] == "client.genie.get_space(question)"


def test_for_code_scanning(agent, tmp_path):
    (tmp_path / "broken.py").write_text("def (\n")
    done = run(agent.name, "broken.py", "--format", "sarif")
    log = json.loads(done.stdout)
    assert done.exit_code == 2
    (sarif,) = log["runs"]
    assert (log["version"], "sarif-2.1.0" in log["$schema"]) == ("2.1.0", True)
    rules = sarif["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    (result,) = sarif["results"]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "OBO301"
    (location,) = result["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "my%20agent.py"
    assert location["physicalLocation"]["region"] == {"startLine": 5, "startColumn": 17, "endLine": 5, "endColumn": 49}
    (invocation,) = sarif["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "broken.py" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_a_file_elsewhere_has_its_whole_address(agent, monkeypatch):
    monkeypatch.chdir("/")
    monkeypatch.setattr(Path, "cwd", lambda: Path("/nowhere"))
    (result,) = json.loads(run(agent, "--format", "sarif").stdout)["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == agent.as_uri()


def test_the_exit_says_what_came_of_it(agent, tmp_path):
    assert run(agent).exit_code == 1
    assert run(agent, "--select", "OBO1").exit_code == 0
    assert run(agent, "--select", "obo1, obo301").exit_code == 1
    assert run(agent, "--select", "OBO3", "--ignore", "OBO301").exit_code == 0
    for wrong in ([], ["nowhere.py"], [agent, "--select", "OBO9"], [agent, "--format", "xml"]):
        assert run(*wrong).exit_code == 2
    for text in (b"def (", b"# coding: nothing\n", b"x = '\xff'", b"x = 1 " + b"+ 1" * 100_000, b"\0"):
        (tmp_path / "broken.py").write_bytes(text)
        done = run(tmp_path / "broken.py", agent)
        assert (done.exit_code, "OBO301" in done.stdout, "broken.py: " in done.stderr) == (2, True, True)


def test_every_rule_has_a_page_and_the_index_lists_them():
    assert INDEX.read_text(encoding="utf-8") == index(), "run: python tests/helpers/check_pages.py"
    assert {path.name for path in FOLDER.glob("*.md")} == {
        "index.md",
        PUBLIC.name,
        *(page_of(code).name for code in RULES),
    }


@pytest.mark.parametrize("code", RULES)
def test_the_page_of_a_rule_and_the_table_say_the_same(code):
    page = " ".join(page_of(code).read_text(encoding="utf-8").split())
    rule = RULES[code]
    assert page.startswith(f"# {code}: {rule.title} ## What it finds - ")
    assert f"## Why it matters {rule.why} ## Wrong" in page
    assert f"## Fix {rule.fix} ## Silence it" in page


@pytest.mark.parametrize("code", RULES)
def test_the_examples_of_a_page_are_what_they_say(tmp_path, code):
    blocks = re.findall(r"^```python\n(.*?)^```$", page_of(code).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    wrong, right, silenced = blocks
    assert {one.code for one in checked(tmp_path, wrong)} == {code}
    assert checked(tmp_path, right) == ()
    line, comment = silenced.split("  # noqa")
    assert wrong.count(line) == 1
    assert checked(tmp_path, wrong.replace(line, f"{line}  # noqa{comment.rstrip()}")) == ()


def test_the_hook_calls_the_command_on_agents_and_not_on_tests():
    yaml = pytest.importorskip("yaml")
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"].split() == ["obo-kit", "check"]
    assert hook["types"] == ["python"]
    names = ("agent.py", "a/test_x.py", "a/x_test.py", "conftest.py", "latest_x.py")
    excluded = [name for name in names if re.search(hook["exclude"], name)]
    assert excluded == ["a/test_x.py", "a/x_test.py", "conftest.py"]
