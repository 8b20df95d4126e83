"""Files of a repository that nobody vouches for: pipes, devices, links out of the tree and alias bombs are refused at once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from obo_kit import PolicyError, auth_policy
from obo_kit._utils.files import read_regular
from obo_kit._utils.yaml import ConfigError
from obo_kit.analysis.check._runner import check
from obo_kit.cli import main
from obo_kit.policy import _agent_file
from obo_kit.policy._environment import Environment, environment_of
from obo_kit.policy._layout import layout_of
from obo_kit.scopes import _lookup, catalogue

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here"),
]
MISTAKE = (
    "from obo_kit import with_user_client\n@with_user_client\ndef ask(client): return client.genie.get_space('x')\n"
)


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


def forget() -> None:
    for cached in (_lookup.catalogue, _lookup._words, _lookup._templates, _lookup.match_route):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def _own_catalogue():
    yield
    _lookup._agent_folder = None
    forget()


# --- check ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("special", [pipe, device])
def test_check_does_not_open_what_is_no_file(tmp_path, special):
    special(tmp_path / "pipe.py")
    (tmp_path / "agent.py").write_text(f"import pipe\n{MISTAKE}")
    report = check([tmp_path])
    ((path, why),) = report.unreadable
    assert (path.name, why) in (
        ("pipe.py", "is not a regular file"),
        ("pipe.py", "is a symbolic link out of its folder"),
    )
    assert [one.path.name for one in report.findings] == ["agent.py"]
    done = CliRunner().invoke(main, ["check", str(tmp_path / "pipe.py")])
    assert done.exit_code == 2
    assert "is not a regular file" in done.stderr or "is not Python" in done.stderr


def test_check_leaves_the_folder_by_no_link(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "secret.py").write_text(
        "from obo_kit import current_session\ndef mine(): return current_session().client\n"
    )
    (tree / "linked.py").symlink_to(tmp_path / "secret.py")
    (tree / "helper").symlink_to(tmp_path)
    (tree / "agent.py").write_text("import obo_kit\nfrom linked import mine\nCLIENT = mine()\n")
    report = check([tree])
    assert [(path.name, why) for path, why in report.unreadable] == [
        ("linked.py", "is a symbolic link out of its folder")
    ]
    assert report.findings == ()
    # Whoever names a link means what it leads to.
    assert check([tree / "linked.py"]).unreadable == ()


def test_check_reads_a_link_within_the_folder(tmp_path):
    (tmp_path / "agent.py").write_text(MISTAKE)
    (tmp_path / "again.py").symlink_to("agent.py")
    assert {one.path.name for one in check([tmp_path]).findings} == {"again.py", "agent.py"}


def test_a_file_has_a_limit(tmp_path):
    (tmp_path / "x").write_bytes(b"x" * 2**20)
    assert len(read_regular(tmp_path / "x")) == 2**20
    with pytest.raises(OSError, match="larger than 0 MB"):
        read_regular(tmp_path / "x", limit=2**19)


# --- YAML: the catalogue and the workspace's configuration ------------------------------------------------------------------

BOMBS = {
    "lists": "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{after}: &{after} [{','.join([f'*{before}'] * 10)}]\n" for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "merged": "a: &a {x: 1}\n" + "".join(
        f"{after}: &{after} {{<<: [{','.join([f'*{before}'] * 10)}]}}\n"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "itself": "a: &a [*a]\n",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_aliases_of_aliases_are_refused(tmp_path, monkeypatch, bomb):
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[bomb])
    said = "contains itself" if bomb == "itself" else "more than 200,000 values"
    with pytest.raises(ConfigError, match=said):
        read_workspace(path)
    monkeypatch.setenv("OBO_KIT_CATALOGUE", str(path))
    forget()
    with pytest.raises(PolicyError, match=said):
        catalogue()


def test_a_catalogue_of_megabytes_is_refused(tmp_path, monkeypatch):
    """Reading it takes half a minute, and each process would."""
    path = tmp_path / "obo_kit_catalogue.yaml"
    path.write_text("as_of: 2026-11-28\n" + "#" * 2**20)
    monkeypatch.setenv("OBO_KIT_CATALOGUE", str(path))
    forget()
    with pytest.raises(PolicyError, match="is larger than 1 MB"):
        catalogue()


def test_aliases_of_a_person_s_are_read(tmp_path):
    path = tmp_path / "workspace.yaml"
    path.write_text("x: &x [1, 2]\ny: {<<: {a: *x}}\n")
    assert read_workspace(path).data == {"x": [1, 2], "y": {"a": [1, 2]}}


@pytest.mark.parametrize("special", [pipe, device])
def test_a_configuration_is_a_file(tmp_path, monkeypatch, special):
    path = special(tmp_path / "workspace.yaml")
    with pytest.raises(ConfigError, match="cannot be read: is not a regular file"):
        read_workspace(path)
    monkeypatch.setenv("OBO_KIT_CATALOGUE", str(path))
    forget()
    with pytest.raises(PolicyError, match="cannot be read: is not a regular file"):
        catalogue()


@pytest.mark.parametrize("special", [pipe, device, lambda path: path.write_text(BOMBS["lists"])])
@pytest.mark.parametrize("name", ["app.yaml", "databricks.yml"])
def test_an_app_s_file_is_a_file(tmp_path, special, name):
    """Collecting a policy reads it from whatever folder the agent is in."""
    special(tmp_path / name)
    assert environment_of([tmp_path]) == Environment()


def test_an_app_s_file_does_not_say_who_acts_nor_how_python_starts(tmp_path):
    """Its host would get this machine's token."""
    refused = (
        "DATABRICKS_HOST",
        "DATABRICKS_TOKEN",
        "ARM_TENANT_ID",
        "LD_PRELOAD",
        "PYTHONPATH",
        "OBO_KIT_DEVELOPER",
        "A=B",
    )
    entries = ", ".join(f'{{name: "{name}", value: x}}' for name in (*refused, "COLOUR", "DATABRICKS_WAREHOUSE_ID"))
    (tmp_path / "app.yaml").write_text(f'env: [{entries}, {{name: C, value: "a\\0b"}}, {{name: D, value: "${{x}}"}}]\n')
    assert environment_of([tmp_path]).values == {"COLOUR": "x", "DATABRICKS_WAREHOUSE_ID": "x"}


def read_workspace(path: Path):
    from obo_kit._utils import yaml

    return yaml.read(path)


# --- where the catalogue is found -------------------------------------------------------------------------------------------

RENAMED = "as_of: 2026-11-23\nscopes: {quite-new: {accepted_by: model-serving}}\n"
AGENT = """
from obo_kit import requires_scopes

@requires_scopes("quite-new")
def ask(client): ...
"""


def test_the_catalogue_is_the_one_beside_the_agent_and_said(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("OBO_KIT_CATALOGUE", raising=False)
    # The process that collects is told of it, and another test starts one.
    monkeypatch.setattr(_agent_file, "_in_a_process", lambda asked, **_: pytest.fail(f"goes by {catalogue().file}"))
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "agent.py").write_text(AGENT)
    beside = tmp_path / "a" / "obo_kit_catalogue.yaml"
    beside.write_text(RENAMED)
    forget()
    for name, file in (("a", beside), ("b", None), ("a", beside)):
        with (
            caplog.at_level(logging.INFO, logger="obo_kit"),
            pytest.raises(pytest.fail.Exception, match=f"goes by {file}"),
        ):
            auth_policy(tmp_path / name / "agent.py")
    assert caplog.messages == [f"The scope catalogue is corrected by {beside}."] * 2


def test_an_installed_package_brings_no_catalogue(tmp_path, monkeypatch):
    installed = tmp_path / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "obo_kit_catalogue.yaml").write_text(RENAMED)
    monkeypatch.delenv("OBO_KIT_CATALOGUE", raising=False)
    monkeypatch.setattr(sys, "path", [str(installed)])
    monkeypatch.chdir(tmp_path)
    forget()
    assert catalogue().file is None


def test_a_catalogue_that_is_found_and_links_elsewhere_is_refused(tmp_path, monkeypatch):
    """Rule 20: what corrects the catalogue is the author's."""
    (tmp_path / "elsewhere.yaml").write_text(RENAMED)
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "obo_kit_catalogue.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    monkeypatch.delenv("OBO_KIT_CATALOGUE", raising=False)
    monkeypatch.chdir(folder)
    forget()
    with pytest.raises(PolicyError, match="symbolic link out of its folder"):
        catalogue()
    monkeypatch.setenv("OBO_KIT_CATALOGUE", "obo_kit_catalogue.yaml")  # by name, it is meant
    forget()
    assert "quite-new" in catalogue().scopes


def test_check_goes_by_the_catalogue_beside_the_agents(tmp_path):
    """In a process of its own: the rules read the catalogue once."""
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "agent.py").write_text(MISTAKE)
    (folder / "obo_kit_catalogue.yaml").write_text("as_of: new\n")
    done = subprocess.run(
        [sys.executable, "-m", "obo_kit", "check", str(folder)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr.startswith("Error: The catalogue file cannot be used."), done.stderr


@pytest.mark.parametrize("special", [pipe, device])
def test_an_agent_is_a_file(tmp_path, special):
    with pytest.raises(PolicyError, match="There is no agent file"):
        auth_policy(special(tmp_path / "agent.py"))


@pytest.mark.parametrize("nested", ["-" * 90_000 + "1", "+".join("1" * 60_000), "(" * 5_000 + ")" * 5_000])
def test_what_is_nested_too_deeply_to_be_parsed_is_refused(tmp_path, nested):
    path = tmp_path / "agent.py"
    path.write_text(f"import obo_kit\nx = {nested}\n")
    notebook = tmp_path / "agent.ipynb"
    notebook.write_text('{"cells": ' + "[" * 100_000 + "]" * 100_000 + "}")
    report = check([path, notebook])
    assert [each.name for each, _ in report.unreadable] == ["agent.py", "agent.ipynb"]
    assert all(why for _, why in report.unreadable)
    assert layout_of(str(path)).path == str(path)
