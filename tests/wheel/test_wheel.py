"""The wheel, alone: installed in an environment of its own and used from a folder far from the sources (`make test-wheel`).

The interpreters are those of OBO_KIT_PYTHONS, or the one that runs this. The environment grows: the wheel by itself, with
the local workspace, with all extras.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = ("langchain", "openai", "mcp", "bundle", "testing")
COMMANDS = ("demo", "policy", "check", "scopes", "workspace", "playground", "init", "doctor", "verify")
BLOCK = re.compile(r"^```(\w*) *(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def clean() -> dict[str, str]:
    """The environment, without an identity and without other sources."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS_", "PYTHON"))}


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**clean(), "PYTHONUTF8": "1", "MLFLOW_DISABLE_TELEMETRY": "true", **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The wheel that is made of the source distribution, as an index would get both."""
    folder = tmp_path_factory.mktemp("dist")
    uv = Path(sys.executable).with_name("uv")
    done = run(uv, "build", "--quiet", "--build-constraint", "locks/test.txt", "--out-dir", folder, ".", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


class Environment:
    """An environment with the wheel, and a folder to work in."""

    def __init__(self, folder: Path, python: str, wheel: Path) -> None:
        self.work, self.bin, self._wheel = folder / "work", folder / "venv" / "bin", wheel
        self.work.mkdir()
        self._uv = Path(sys.executable).with_name("uv")
        assert run(self._uv, "venv", "--quiet", "--python", python, folder / "venv", cwd=folder).returncode == 0

    def install(self, *extras: str) -> None:
        """Install the wheel, with extras."""
        self.add(f"{self._wheel}[{','.join(extras)}]" if extras else str(self._wheel))

    def add(self, *packages: str) -> None:
        """Install packages in the versions of the lock."""
        options = ("--quiet", "--compile-bytecode", "--python", self.bin / "python")
        done = run(
            self._uv, "pip", "install", *options, "--constraint", ROOT / "locks" / "test.txt", *packages, cwd=self.work
        )
        assert done.returncode == 0, done.stderr
        checked = run(self._uv, "pip", "check", "--python", self.bin / "python", cwd=self.work)
        assert checked.returncode == 0, checked.stderr

    def run(self, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        return run(self.bin / words[0], *words[1:], cwd=cwd or self.work, PATH=path, **environment)

    @contextlib.contextmanager
    def started(self, *words: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
        """A command that runs until it is interrupted."""
        command = [str(self.bin / words[0]), *words[1:]]
        with subprocess.Popen(command, cwd=cwd, env=clean(), stdout=subprocess.PIPE, encoding="utf-8") as process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=60)
        assert process.returncode == 0

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-c", code)


@pytest.fixture(scope="module", params=os.environ.get("OBO_KIT_PYTHONS", sys.executable).split())
def bare(request, built, tmp_path_factory):
    """The wheel by itself."""
    environment = Environment(tmp_path_factory.mktemp("bare"), request.param, next(built.glob("*.whl")))
    environment.install()
    (environment.work / "agent.py").write_text(
        "from obo_kit import requires_scopes\n@requires_scopes('genie')\ndef ask(client): ...\n", "utf-8"
    )
    (environment.work / "databricks.yml").write_text("resources: {apps: {a: {source_code_path: .}}}\n", "utf-8")
    return environment


@pytest.fixture(scope="module")
def with_workspace(bare):
    """The wheel with the local workspace, in the folder of someone who copied the quickstart."""
    bare.install("testing")
    for _, name, text in BLOCK.findall((ROOT / "docs" / "quickstart.md").read_text("utf-8")):
        if name:
            (bare.work / name).write_text(text, "utf-8")
    return bare


@pytest.fixture(scope="module")
def with_all(with_workspace):
    """The wheel with all extras."""
    with_workspace.install(*EXTRAS)
    return with_workspace


def test_both_files_are_what_an_index_takes(built):
    done = run(sys.executable, "-m", "twine", "check", "--strict", *built.glob("obo_kit-*"), cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "obo_kit/py.typed" in names
    assert {f"obo_kit/cli/playground/page.{kind}" for kind in ("html", "css", "js")} <= set(names)
    assert "obo_kit/_examples/starter/apps/agent.py" in names
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"obo_kit"}


# --- without any extra


def test_the_wheel_is_what_is_imported(bare):
    assert str(bare.work.parent) in bare.python("import obo_kit; print(obo_kit.__file__)").stdout
    bare.python("import obo_kit, importlib.metadata as m; assert m.version('obo-kit') == obo_kit.__version__")


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=" ".join)
@pytest.mark.parametrize("start", [("obo-kit",), ("python", "-m", "obo_kit")], ids=" ".join)
def test_every_command_has_help(bare, start, command):
    done = bare.run(*start, *command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: obo-kit {' '.join(command)}")


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("obo-kit demo", "testing"),
        ("obo-kit workspace --config databricks.yml", "testing"),
        ("obo-kit playground agent.py", "testing"),
        ("obo-kit policy agent.py --update databricks.yml", "bundle"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(bare, words, extra):
    done = bare.run(*shlex.split(words))
    assert done.returncode == 1
    assert f'pip install "obo-kit[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from obo_kit.testing import LocalWorkspace", "testing"),
        ("import obo_kit.integrations.langchain", "langchain"),
        ("from obo_kit.integrations.mcp import bearer; bearer(None)", "mcp"),
        (
            "from obo_kit import user_session\n"
            "with user_session(host='https://a.cloud.databricks.com', token='t') as session:\n"
            "    import obo_kit.clients._openai",
            "openai",
        ),
    ],
)
def test_an_import_names_the_extra_that_it_needs(bare, code, extra):
    done = bare.python(code)
    if done.returncode:
        assert f'pip install "obo-kit[{extra}]"' in done.stderr.splitlines()[-1]
    else:
        pytest.fail("it is there without the extra")


@pytest.mark.parametrize("name", ["asgi", "mcp", "openai"])
def test_integrations_that_need_nothing_are_imported(bare, name):
    assert bare.python(f"import obo_kit.integrations.{name}").returncode == 0


def test_the_policy_of_a_file_and_its_findings(bare):
    for words in ("obo-kit policy agent.py --target apps", "obo-kit check agent.py", "obo-kit scopes genie"):
        done = bare.run(*shlex.split(words))
        assert done.returncode == 0, done.stderr


# --- with the local workspace


def test_the_demo_runs(with_workspace):
    done = with_workspace.run("obo-kit", "demo")
    assert done.returncode == 0, done.stderr
    for user in ("alice", "bob", "carol"):
        assert re.search(rf"the workspace saw \d+ calls by {user}", done.stdout)


def test_the_quickstart_to_the_letter(with_workspace):
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{with_workspace.work}/mlflow.db"}
    assert (done := with_workspace.run("pytest", "-q", **store)).returncode == 0, done.stdout
    done = with_workspace.run("python", "log_agent.py", **store)
    assert done.returncode == 0, done.stderr
    done = with_workspace.run("obo-kit", "policy", "agent.py")
    assert (done.returncode, "SQL warehouse a1b2c3" in done.stdout) == (0, True), done.stderr


# --- with all extras


def test_each_integration_is_imported(with_all):
    names = sorted(path.stem for path in (ROOT / "obo_kit" / "integrations").glob("[!_]*.py"))
    done = with_all.python("\n".join(f"import obo_kit.integrations.{name}" for name in names))
    assert done.returncode == 0, done.stderr


def test_the_blocks_of_the_docs_run(with_all, tmp_path):
    """The suite's own test of them, far from the package's sources; on the newest Python, because it takes minutes."""
    if with_all.python("import sys; print(sys.version_info >= (3, 11))").stdout.strip() != "True":
        pytest.skip("the newest Python runs them")
    with_all.add("hypothesis", "pytest-xdist", "pytest-timeout")
    names = ("preludes", "project", "stubs", "test_blocks.py")
    for name in (
        "tests/conftest.py",
        "tests/test_docs.py",
        *(f"tests/docs/{name}" for name in names),
        "docs",
        "README.md",
    ):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True, parents=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    options = (
        "-q",
        "-n",
        "auto",
        "--dist",
        "load",
        "-p",
        "no:obo_kit",
        "-W",
        "ignore",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
    )
    done = with_all.run("python", "-m", "pytest", *options, str(tmp_path / "tests"))
    assert done.returncode == 0, done.stdout[-4000:]


# --- the path of a new reader: at most six commands and two minutes


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An environment of somebody who has typed the first command, and the time that it took."""
    environment = Environment(tmp_path_factory.mktemp("reader"), sys.executable, next(built.glob("*.whl")))
    started = clocks()
    environment.install("testing")
    return environment, since(started)


def clocks() -> tuple[float, float]:
    """The time of day, and the processor's time of the commands that have ended."""
    return time.monotonic(), sum(os.times()[2:4])


def since(started: tuple[float, float]) -> tuple[float, float]:
    return tuple(now - then for now, then in zip(clocks(), started, strict=True))


def counting() -> float:
    """The processor's time, in seconds, to count to ten million: 0.3 where the two minutes were set."""
    started = time.process_time()
    for _ in range(10_000_000):
        pass
    return time.process_time() - started


@pytest.mark.parametrize("target", ["model-serving", "apps"])
def test_a_new_reader_gets_from_pip_install_to_an_agent_that_two_users_ask(installed, target):
    environment, to_install = installed
    started = clocks()
    commands = 1  # pip install

    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        nonlocal commands
        commands += 1
        done = environment.run(*words, cwd=folder, MLFLOW_TRACKING_URI=f"sqlite:///{environment.work}/{target}.db")
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    folder = environment.work
    typed("obo-kit", "init", f"my-{target}", "--for", target)
    folder /= f"my-{target}"
    assert re.search(r"\d+ passed", typed("pytest", "-q", "-p", "no:cacheprovider").stdout)
    with environment.started("obo-kit", "playground", "agent.py", "--json", cwd=folder) as process:
        commands += 1
        url = json.loads(process.stdout.readline())["url"]
        answers = {user: asked(url, user) for user in ("alice", "bob")}
    assert "There are 2 orders." in answers["alice"]
    assert "Order data is not available to you." in answers["bob"]
    policy = typed("obo-kit", "policy", "agent.py")
    assert "SQL warehouse" in policy.stdout
    assert commands <= 6
    # Two minutes on the clock; or of the processor, where the machine has other work as well. Longer where it is a slow one.
    assert min(map(sum, zip(to_install, since(started), strict=True))) < 120 * max(1, 2 * counting())


def asked(url: str, user: str) -> str:
    body = json.dumps({"user": user, "scopes": ["sql"], "question": "How many orders are there?"}).encode()
    request = urllib.request.Request(f"{url}api/ask", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return "".join(line.get("text", "") for line in map(json.loads, answer))
