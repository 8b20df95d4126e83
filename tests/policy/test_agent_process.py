"""The process that loads an agent file: whose modules it finds, and whose it never takes for the author's."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from obo_kit._utils.user_code import is_author_s, is_stdlib_folder
from obo_kit.policy import _agent_file

pytestmark = pytest.mark.long

AGENT = """
import queue, json, sys
import __main__
from obo_kit import requires_scopes
from mine import SCOPE

assert queue.Queue and json.dumps
assert "__file__" not in vars(__main__) and __main__.__spec__ is None, vars(__main__)
assert sys.argv == ["-c"], sys.argv

@requires_scopes(SCOPE)
def ask(client): ...
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory whose files are called like modules of Python's own."""
    for name in ("json", "queue", "types", "tempfile", "logging", "concurrent"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('not the one that comes with Python')\n", "utf-8")
    (tmp_path / "mine.py").write_text("SCOPE = 'genie'\n", "utf-8")
    (tmp_path / "agent.py").write_text(AGENT, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_agent_file, "_kept", _agent_file._Kept())
    return tmp_path


@pytest.mark.parametrize("first", ["", ".", "absolute"])
def test_files_of_the_working_directory_take_no_library_s_place(project, monkeypatch, first):
    """As in a notebook, in ``python -m`` and in ``python -c``, whose first folder is the working directory."""
    monkeypatch.syspath_prepend(str(project) if first == "absolute" else first)
    collected = _agent_file.collect("agent.py")
    assert [declaration.tool for declaration in collected.declarations] == ["ask"]
    assert {name: Path(file).name for name, file in collected.helpers.items()} == {"mine": "mine.py"}


def test_what_was_loaded_before_the_agent_is_not_the_agent_s(project, monkeypatch):
    """A ``sitecustomize`` of the machine's is loaded by Python itself: no agent needs it after deployment."""
    (project / "site").mkdir()
    (project / "site" / "sitecustomize.py").write_text("", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(project / "site"))
    assert set(_agent_file.collect("agent.py").helpers) == {"mine"}


_POSIX = """
import os, sys
for name in ("O_ACCMODE", "fork", "register_at_fork", "geteuid", "getppid", "killpg", "getpgid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
"""


def test_an_agent_is_collected_where_only_windows_names_are(project, monkeypatch):
    """A simulation: Python without the names that only POSIX has. The other system itself is a job in CI."""
    (project / "site").mkdir()
    (project / "site" / "sitecustomize.py").write_text(_POSIX, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(project / "site"))
    assert set(_agent_file.collect("agent.py").helpers) == {"mine"}


def test_the_package_is_imported_where_only_windows_names_are(tmp_path):
    """The command line, a session and the tools, the local workspace."""
    code = f"""{_POSIX}
import obo_kit.cli
obo_kit.user_session, obo_kit.with_user_client, obo_kit.optional_tool
from obo_kit.testing import LocalWorkspace
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_module_on_another_drive_is_named_whole(monkeypatch):
    """Windows knows no relative path from one drive to another."""
    from obo_kit.policy import _log_checks

    def relpath(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(_log_checks.os.path, "relpath", relpath)
    assert _log_checks._code_path("mine", "D:/agents/mine.py") == "D:/agents/mine.py"


def test_the_kit_s_own_main_is_not_the_author_s(monkeypatch):
    """``python -m obo_kit``, installed or not; a notebook's, a script's and a profiler's ``__main__`` is the author's."""
    import obo_kit

    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert is_author_s("__main__")
    main.__file__ = str(Path(obo_kit.__file__).parent / "__main__.py")
    assert not is_author_s("__main__")
    main.__file__ = "/home/alice/agent.py"
    assert is_author_s("__main__")


def test_the_folders_of_the_library_are_told_from_all_others():
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; print(*sys.path, sep='\\n')"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.splitlines()
    assert all(map(is_stdlib_folder, done.stdout.splitlines()))
    assert not any(map(is_stdlib_folder, ["", ".", str(Path(__file__).parent), str(Path(pytest.__file__).parents[1])]))


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_a_file_whose_name_is_no_text_is_collected(project):
    """Where Python takes the system for an ASCII one (``LC_ALL=C``), each letter beyond is such a name."""
    name = os.fsdecode(b"agent_\xff.py")
    (project / "agent.py").rename(project / name)
    for _ in range(2):  # the second time, from what was kept
        assert [declaration.tool for declaration in _agent_file.collect(name).declarations] == ["ask"]
