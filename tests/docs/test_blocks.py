"""Every block of code in the documentation runs: page by page, in the order in which a reader meets the blocks.

A block with a name is written to that file. A block of Python without one runs in the page's own namespace. The commands of a
console block run in the page's folder, and a block of text below shows what they print; ``…`` stands for anything. The reader's
own project is ``project/`` with the agent that ``obo-kit init`` writes; what else a page takes for granted is in ``preludes/``.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from obo_kit.cli._examples import example

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

pytestmark = [
    pytest.mark.slow,  # they run against the wheel: `make test-wheel`
    pytest.mark.timeout(900),  # a page is many commands, some of which load MLflow, and CI machines are busy
    pytest.mark.filterwarnings("ignore"),  # the packages' own
]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PRELUDES = Path(__file__).parent / "preludes"
PROJECT = Path(__file__).parent / "project"
STUBS = Path(__file__).parent / "stubs"  # in place of what needs the platform
BLOCK = re.compile(r"^```(\S*) *([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# Pages whose blocks run in another test, which asks more of them.
ELSEWHERE = {
    "quickstart.md": "tests/test_docs.py",
    "local-workspace.md": "tests/test_docs.py",
    "howto/recordings.md": "tests/testing/test_local_workspace_recording.py",
    **{
        f"rules-of-check/{path.name}": "tests/analysis/test_check.py"
        for path in (DOCS / "rules-of-check").glob("obo*.md")
    },
}
# Pages that need packages which narrow others' versions: `make test-apps` has an environment for them.
NEEDS = {"howto/streamlit.md": ("streamlit", "gradio", "dash", "shiny")}
# Files that no block of the page runs: they are those of an example, which has a test of its own.
EXAMPLES = {("howto/streamlit.md", "page.py"): "examples/apps/streamlit_app.py"}
# Commands that no test here can run, and why.
NOT_RUN = {
    "pip install": "the tests of the wheel install it",
    "databricks": "needs a workspace of the platform",
    "obo-kit verify": "needs a workspace of the platform, or what it answered",
    "make": "the gate runs it",
    "obo-kit demo": "the tests of the wheel run it, and the gate",
    "git": "needs a repository",
}
# Commands that run until they are stopped, and what they print first.
SERVERS = {"obo-kit playground": "http://127.0.0.1", "obo-kit workspace": "http://127.0.0.1"}
# Languages that describe something else than code: rendered by the site's build, or shown as what a command prints.
SHOWN = {"text", "mermaid", "{toctree}", "{image}", "{eval-rst}", "{note}", "{warning}"}


@dataclass(frozen=True)
class Block:
    language: str
    name: str
    text: str
    line: int


def pages() -> list[str]:
    found = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))]
    return ["../README.md", *found]


def blocks(page: str) -> list[Block]:
    text = (DOCS / page).read_text("utf-8")
    return [Block(*match.groups(), text.count("\n", 0, match.start()) + 1) for match in BLOCK.finditer(text)]


def prelude(page: str) -> Path:
    return PRELUDES / (page.removeprefix("../").removesuffix(".md").replace("/", "_").replace("-", "_").lower() + ".py")


RUN = [page for page in pages() if page not in ELSEWHERE and any(block.language not in SHOWN for block in blocks(page))]


def test_each_page_runs_here_or_elsewhere():
    assert len(RUN) > 15
    for page, test in ELSEWHERE.items():
        assert (DOCS / page).exists()
        assert (ROOT / test).exists() or not (ROOT / "obo_kit").exists()  # the tests of the wheel copy this one alone
    assert {prelude(page).name for page in RUN} >= {path.name for path in PRELUDES.glob("*.py")}


def test_no_block_has_a_language_that_nothing_runs():
    known = {"python", "console", "yaml", "ini", "json", "toml", "csv", "sql", *SHOWN}
    strange = {(page, block.line, block.language) for page in pages() for block in blocks(page)} - {
        (page, block.line, block.language) for page in pages() for block in blocks(page) if block.language in known
    }
    assert strange == set()


def test_each_file_of_a_page_is_used_there():
    """By a command, by another block, or as one of the tests that ``pytest`` collects."""
    for page in RUN:
        files = {block.name: block for block in blocks(page) if block.language == "python" and block.name}
        for name in files:
            others = [block for block in blocks(page) if block.name != name]
            stem = name.removesuffix(".py")
            used = any(
                re.search(rf"\b{stem}\b", block.text) for block in others if block.language in ("console", "python")
            )
            tested = stem.startswith("test_") and any("pytest" in block.text for block in others)
            assert used or tested or (page, name) in EXAMPLES, (page, name)


@pytest.mark.parametrize(("page", "name"), EXAMPLES)
def test_a_file_that_is_an_example_s_is_the_same(page, name):
    if not (ROOT / EXAMPLES[page, name]).exists():
        pytest.skip("the tests of the wheel have no examples beside them")
    (block,) = (block for block in blocks(page) if block.name == name)
    tree = ast.parse((ROOT / EXAMPLES[page, name]).read_text("utf-8"))
    del tree.body[0]  # its docstring
    assert ast.unparse(ast.parse(block.text)) == ast.unparse(tree)


class Reader:
    """Follows one page in a folder of its own."""

    def __init__(self, page: str, folder: Path, environment: dict[str, str]) -> None:
        self.page, self.folder, self.environment = page, folder, environment
        self.names: dict[str, object] = {"__name__": "page"}
        self.printed: str | None = None
        self.ran = 0

    def read(self) -> None:
        with contextlib.ExitStack() as stack:
            self.names.update(stack=stack, open_workspace=lambda: stack.enter_context(workspace_of(self.folder)))
            if prelude(self.page).exists():
                self._execute(prelude(self.page).read_text("utf-8"), str(prelude(self.page)), 1)
            for block in blocks(self.page):
                try:
                    self.follow(block)
                except BaseException as error:
                    error.args = (f"{self.page}:{block.line}: {error}", *error.args[1:])
                    raise
                self.ran += 1

    def follow(self, block: Block) -> None:
        if block.name and block.language not in SHOWN:
            (self.folder / block.name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / block.name).write_text(block.text, "utf-8")
        if block.language == "python":
            ast.parse(block.text)
            if not block.name:
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    self._execute(block.text, str(DOCS / self.page), block.line + 1)
                self.printed = output.getvalue() or None
        elif block.language == "console":
            self.printed = "".join(self.command(line) for line in block.text.splitlines() if line.startswith("$ "))
        elif block.language == "text" and self.printed:
            assert_shown(block.text, self.printed)
            self.printed = None
        elif block.language == "yaml":
            import yaml

            self.workflow(yaml.safe_load(block.text.replace("…", "x")))
        elif block.language == "json":
            json.loads(block.text)

    def workflow(self, value: object) -> None:
        """Run what a workflow runs."""
        for step in value.get("steps", ()) if isinstance(value, dict) else ():
            if "run" in step:
                self.command(f"$ {step['run']}")

    def _execute(self, text: str, file: str, line: int) -> None:
        exec(compile("\n" * (line - 1) + text, file, "exec"), self.names)

    def command(self, line: str) -> str:
        words = shlex.split(line.removeprefix("$ "), comments=True)
        start = " ".join(words[:2])
        if words[0] == "cd":
            self.folder /= words[1]
            return ""
        if words[0] in NOT_RUN or start in NOT_RUN:
            return ""
        if start in SERVERS and not set(words) & {"--help", "-h"}:
            return self.server(words, SERVERS[start])
        fails = "# 1" in line  # the page says how it ends
        done = subprocess.run(
            executable(words), cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == int(fails), f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def server(self, words: list[str], first: str) -> str:
        with subprocess.Popen(
            executable(words), cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as process:
            printed = ""
            while first not in printed:
                line = process.stdout.readline()
                assert line, printed
                printed += line
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        return ""


def workspace_of(folder: Path):
    from obo_kit.testing import LocalWorkspace

    return LocalWorkspace.from_config(folder / "workspace.yaml")


def executable(words: list[str]) -> list[str]:
    """The command of this environment, whatever else is on the path."""
    modules = {"obo-kit": "obo_kit", "pytest": "pytest"}
    if words[0] in modules:
        return [sys.executable, "-m", modules[words[0]], *words[1:]]
    return [sys.executable, *words[1:]] if words[0] in ("python", "python3") else words


def assert_shown(shown: str, printed: str) -> None:
    """The page shows what was printed, line by line; ``…`` stands for anything, a line of it for any number of lines."""
    expected = re.escape("\n".join(line.rstrip() for line in shown.strip().splitlines())).replace("…", ".*")
    actual = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    assert re.search(expected, actual, re.DOTALL), f"shown:\n{shown}\nprinted:\n{printed}"


@pytest.fixture
def environment(tmp_path, new_store) -> dict[str, str]:
    unwanted = ("cacheprovider", "hypothesispytest", "langsmith_plugin", "asyncio", "anyio", "cov", "randomly", "xdist")
    return {
        **os.environ,
        "COLUMNS": "80",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTEST_ADDOPTS": " ".join(f"-p no:{name}" for name in unwanted) + " -W ignore",
        "MLFLOW_TRACKING_URI": new_store(tmp_path),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(STUBS),
        "PYTHONWARNINGS": "ignore",
    }


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run(page, tmp_path, environment, monkeypatch):
    for package in NEEDS.get(page, ()):
        pytest.importorskip(package, reason="make test-apps")
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project)
    shutil.copy(example("starter") / "model-serving" / "agent.py", project)
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(STUBS))
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"])
    import databricks
    import mlflow

    monkeypatch.setattr(databricks, "__path__", [*databricks.__path__, str(STUBS / "databricks")])
    # Not with tracing switched off: then `log_model` waits for itself for ever, in MLflow's own lock (seen in 3.17).
    uri = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
    before = set(sys.modules)
    try:
        reader = Reader(page, project, environment)
        reader.read()
    finally:
        mlflow.set_tracking_uri(uri)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(project)):
                del sys.modules[name]
    assert reader.ran == len(blocks(page))
