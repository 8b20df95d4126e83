"""A `databricks.yml` kept up to date: `obo-kit policy --update`, and what it must not touch."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from databricks.sdk.service.apps import AppResource
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.models.resources import (
    DatabricksApp,
    DatabricksFunction,
    DatabricksGenieSpace,
    DatabricksServingEndpoint,
    DatabricksSQLWarehouse,
    DatabricksTable,
    DatabricksUCConnection,
)

from obo_kit import PolicyError, app_config
from obo_kit.cli import main
from obo_kit.policy._bundle import as_yaml, updated

pytest.importorskip("ruamel.yaml", reason="the extra bundle")

BUNDLE = """\
# The bundle of the support team.
bundle:
    name: support   # four spaces here

variables:
    warehouse_id:
        default: a1b2c3

resources:
    apps:
        support_app:
            name: "support-app"
            source_code_path: ./   # the whole folder
            # what users consent to
            user_api_scopes:
                - sql       # tickets
                - "genie"   # sales
                - jobs      # no more

            # what the app itself may use
            resources:
                - name: my-warehouse
                  description: Shared.
                  sql_warehouse: { id: "${var.warehouse_id}", permission: CAN_USE }
                - name: api-key
                  secret:
                      scope: s
                      key: k
                      permission: READ

        # another app of ours
        other:
            name: other
            source_code_path: ./other
targets:
    dev:
        mode: development
"""
ENDPOINT, WAREHOUSE = DatabricksServingEndpoint("llm"), DatabricksSQLWarehouse("a1b2c3")
WANTED = {"user_api_scopes": ["genie", "model-serving", "sql"], **app_config([ENDPOINT, WAREHOUSE])} | {
    "user_api_scopes": ["genie", "model-serving", "sql"]
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "databricks.yml"
    path.write_text(BUNDLE)
    return path


def app_of(text: str, name: str = "support_app"):
    return yaml.safe_load(text)["resources"]["apps"][name]


def change_of(update) -> list[str]:
    """The lines that come and go, without their indentation."""
    lines = [line for line in update.diff().splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    return [f"{line[0]} {line[1:].strip()}" for line in lines]


# --- what is changed, and what is not -------------------------------------------------------------------------------------


def test_only_the_lines_that_differ_are_touched(bundle):
    """Rule 22: exactly the declared scopes; comments, quotes, indentation and the author's resources stay."""
    update = updated(bundle, WANTED, app="support_app")
    assert change_of(update) == [
        "- - jobs      # no more",
        "+ - model-serving",
        "+ - name: serving-endpoint-llm",
        "+ serving_endpoint:",
        "+ name: llm",
        "+ permission: CAN_QUERY",
    ]
    assert set(app_of(update.after)["user_api_scopes"]) == set(WANTED["user_api_scopes"])
    assert update.undeclared == ("api-key",)
    assert bundle.read_text() == BUNDLE


def test_scopes_that_replace_an_empty_list_are_indented_as_the_rest(bundle):
    bundle.write_text("resources:\n  apps:\n    one:\n      name: one\n      user_api_scopes: []\n")
    after = updated(bundle, {"user_api_scopes": ["sql"], "resources": []}, app="one").after
    assert after.endswith("      user_api_scopes:\n        - sql\n")


def test_what_is_new_to_an_app_is_put_in_and_the_rest_of_the_file_is_the_same(bundle):
    update = updated(bundle, WANTED, app="other")
    assert all(line.startswith("+ ") for line in change_of(update))
    before, after = yaml.safe_load(BUNDLE), yaml.safe_load(update.after)
    found = after["resources"]["apps"].pop("other")
    kept = before["resources"]["apps"].pop("other")
    assert before == after
    assert found == {**kept, **WANTED}


def test_the_second_time_there_is_nothing_to_do(bundle):
    updated(bundle, WANTED, app="support_app").write()
    again = updated(bundle, WANTED, app="support_app")
    assert not again.changed
    assert again.diff() == ""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_keeps_its_line_ends_its_mode_and_its_link(tmp_path, newline):
    real = tmp_path / "real.yml"
    real.write_bytes(BUNDLE.replace("\n", newline).encode())
    real.chmod(0o640)
    link = tmp_path / "databricks.yml"
    link.symlink_to(real)
    updated(link, WANTED, app="support_app").write()
    written = real.read_bytes().decode()
    assert set(re.findall(r"\r?\n", written)) == {newline}
    assert (link.is_symlink(), stat.S_IMODE(real.stat().st_mode)) == (True, 0o640)
    assert len(os.listdir(tmp_path)) == 2


def test_a_file_is_written_whole_or_not_at_all(bundle, monkeypatch):
    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space left"):
        updated(bundle, WANTED, app="support_app").write()
    assert bundle.read_text() == BUNDLE
    assert os.listdir(bundle.parent) == ["databricks.yml"]


SCOPES = ["sql", "genie", "files", "apps", "model-serving"]


@st.composite
def lists(draw):
    """A list of scopes as people write it: a step of indentation, comments behind, between and below, or one line."""
    scopes = draw(st.lists(st.sampled_from(SCOPES), max_size=4, unique=True))
    step, dash = draw(st.sampled_from([2, 3, 4])), draw(st.sampled_from([0, 2, 4]))
    pad = " " * (3 * step)
    lines = ["resources:", f"{' ' * step}apps:", f"{' ' * 2 * step}app:", f"{pad}source_code_path: ./  # here"]
    if not scopes or draw(st.booleans()):
        lines += [f"{pad}user_api_scopes: [{', '.join(scopes)}]  # in one line"]
    else:
        lines += [f"{pad}user_api_scopes:  # by hand"]
        for number, scope in enumerate(scopes):
            lines += [f"{pad}{' ' * dash}# above {number}"] * draw(st.integers(0, 1))
            lines += [f"{pad}{' ' * dash}- {scope}" + f"  # behind {scope}" * draw(st.integers(0, 1))]
    lines += draw(st.sampled_from([[], [""], ["", f"{pad}# below"], [f"{pad}# below", ""]]))
    lines += draw(st.sampled_from([[], [f"{pad}description: |", f"{pad}{' ' * step}# no comment", f"{pad}name:  'x'"]]))
    lines += ["", "# the end", "targets: {dev:  {mode: development}}", ""]
    return "\n".join(lines)


@settings(max_examples=50)
@given(lists(), st.lists(st.sampled_from(SCOPES), max_size=5, unique=True).map(sorted))
def test_however_a_list_is_written_it_holds_what_is_declared_and_no_remark_is_lost(text, wanted):
    config = {"user_api_scopes": wanted, "resources": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "databricks.yml"
        path.write_text(text)
        update = updated(path, config)
        path.write_text(update.after)
        assert not updated(path, config).changed
    before, after = yaml.safe_load(text), yaml.safe_load(update.after)
    listed = after["resources"]["apps"]["app"].pop("user_api_scopes", [])
    gone = set(before["resources"]["apps"]["app"].pop("user_api_scopes", [])) - set(wanted)
    assert sorted(listed) == wanted
    assert before == after
    remarks = set(re.findall(r"# (.+)", text)) - {f"behind {scope}" for scope in gone}
    assert {remark for remark in remarks if f"# {remark}" not in update.after} == set()


# --- resources that are there already -------------------------------------------------------------------------------------

RESOURCES = [
    DatabricksServingEndpoint("llm"), DatabricksSQLWarehouse("a1b2c3"), DatabricksGenieSpace("01f0"),
    DatabricksApp("helper"), DatabricksTable("a.b.t"), DatabricksFunction("a.b.f"), DatabricksUCConnection("c"),
]  # fmt: skip


def with_resources(path: Path, *entries: object, variables: object = None) -> Path:
    app = {"source_code_path": "./", "resources": list(entries)}
    path.write_text(yaml.safe_dump({"variables": variables, "resources": {"apps": {"app": app}}}, sort_keys=False))
    return path


def resources_after(path: Path, *declared: object) -> list[dict]:
    return app_of(updated(path, app_config(list(declared))).after, "app")["resources"]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda one: type(one).__name__)
def test_a_resource_under_another_name_is_the_same_one(bundle, resource):
    (entry,) = app_config([resource])["resources"]
    path = with_resources(bundle, {**entry, "name": "mine"})
    assert not updated(path, app_config([resource])).changed
    (entry,) = resources_after(path, resource)
    assert AppResource.from_dict(entry).as_dict() == entry


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda one: type(one).__name__)
def test_another_resource_of_its_kind_is_another_one(bundle, resource):
    (entry,) = app_config([type(resource)("else")])["resources"]
    assert len(resources_after(with_resources(bundle, entry), resource)) == 2


def test_two_grants_on_one_table_are_two_resources(bundle):
    (entry,) = app_config([DatabricksTable("a.b.t")])["resources"]
    writes = {"name": "writes", "uc_securable": {**entry["uc_securable"], "permission": "MODIFY"}}
    assert len(resources_after(with_resources(bundle, writes), DatabricksTable("a.b.t"))) == 2


@pytest.mark.parametrize(
    ("there", "after"), [("CAN_VIEW", "CAN_QUERY"), ("CAN_MANAGE", "CAN_MANAGE"), (None, "CAN_QUERY")]
)
def test_a_permission_is_raised_and_never_lowered(bundle, there, after):
    endpoint = {"name": "llm", **({"permission": there} if there else {})}
    (entry,) = resources_after(with_resources(bundle, {"name": "mine", "serving_endpoint": endpoint}), ENDPOINT)
    assert entry == {"name": "mine", "serving_endpoint": {"name": "llm", "permission": after}}


def test_a_variable_stands_for_its_default_and_a_reference_for_what_bears_its_name(bundle):
    byname = {"name": "sql-warehouse-a1b2c3", "sql_warehouse": {"id": "${resources.x.id}", "permission": "CAN_USE"}}
    assert resources_after(with_resources(bundle, byname), WAREHOUSE) == [byname]
    byvalue = {"name": "mine", "sql_warehouse": {"id": "${var.w}", "permission": "CAN_USE"}}
    path = with_resources(bundle, byvalue, variables={"w": {"default": "a1b2c3"}, "x": None})
    assert resources_after(path, WAREHOUSE) == [byvalue]
    path = with_resources(bundle, byvalue, variables={"w": {"description": "no default"}})
    assert len(resources_after(path, WAREHOUSE)) == 2


# --- what cannot be updated -----------------------------------------------------------------------------------------------

APP = "resources:\n  apps:\n    app:\n      source_code_path: ./\n"
REFUSED = {
    "no YAML": ("a: [\n", "databricks.yml:2 is not YAML", "Correct the file"),
    "a key twice": ("a: 1\na: 2\n", "databricks.yml:2 is not YAML", "Correct the file"),
    "no tab": ("a:\n\t- b\n", "is not YAML", "Correct the file"),
    "a character": ("a: \x00\n", "is not YAML", "Correct the file"),
    "nothing": ("", "no app under resources.apps", "source_code_path"),
    "a list": ("- a\n", "no app under resources.apps", "includes"),
    "no apps": ("resources:\n  jobs: {}\n", "no app under resources.apps", "includes"),
    "an empty app": ("resources:\n  apps:\n    app:\n", "resources.apps.app is empty", "source_code_path"),
    "several": (f"{APP}    two: {{name: two}}\n", "the apps app, two", "--app NAME"),
    "a variable": (f"{APP}      user_api_scopes: ${{var.scopes}}\n", r":5.*user_api_scopes is not a list", "by hand"),
    "an anchor": (
        f"x: &s [sql]\n{APP}      user_api_scopes: *s\n", r"user_api_scopes is shared by an anchor", "Write the list out"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_updated_says_where_and_what_to_do(bundle, case):
    text, message, remedy = REFUSED[case]
    bundle.write_text(text)
    with pytest.raises(PolicyError) as caught:
        updated(bundle, WANTED)
    assert re.search(message, caught.value.message)
    assert remedy in caught.value.remedy
    assert bundle.read_text() == text


def test_an_app_that_is_not_there_is_named_with_those_that_are(bundle):
    with pytest.raises(PolicyError, match="no app 'suport_app'") as caught:
        updated(bundle, WANTED, app="suport_app")
    assert "support_app, other" in caught.value.remedy
    with pytest.raises(PolicyError, match="cannot be read"):
        updated(bundle.with_name("x.yml"), WANTED)
    bundle.write_bytes(b"\xff")
    with pytest.raises(PolicyError, match="not UTF-8"):
        updated(bundle, WANTED)


def test_a_list_that_is_merged_in_is_not_changed_for_the_others(bundle):
    bundle.write_text(
        "base: &base\n  user_api_scopes: [sql]\nresources:\n  apps:\n    app:\n      <<: *base\n      name: a\n"
    )
    after = yaml.safe_load(updated(bundle, {"user_api_scopes": ["genie"], "resources": []}).after)
    assert after["base"] == {"user_api_scopes": ["sql"]}
    assert after["resources"]["apps"]["app"] == {"user_api_scopes": ["genie"], "name": "a"}


def test_a_file_of_mixed_indentation_is_still_right(bundle):
    bundle.write_text(
        f"{APP}      user_api_scopes:\n      - sql\n      resources:\n          - name: a\n            job: {{id: 1}}\n"
    )
    after = app_of(updated(bundle, WANTED).after, "app")
    assert sorted(after["user_api_scopes"]) == WANTED["user_api_scopes"]
    assert len(after["resources"]) == 3


def test_without_ruamel_yaml_the_extra_is_named(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    with pytest.raises(PolicyError) as caught:
        updated(bundle, WANTED)
    assert 'pip install "obo-kit[bundle]"' in caught.value.remedy


# --- the command ----------------------------------------------------------------------------------------------------------

AGENT = """
import mlflow
from mlflow.models.resources import DatabricksGenieSpace, DatabricksServingEndpoint
from obo_kit import requires_scopes, system_resources
system_resources(DatabricksServingEndpoint("llm"))
@requires_scopes(DatabricksGenieSpace("01f0"))
def ask(client): ...
mlflow.models.set_model(lambda model_input: model_input)
"""


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left")


def test_the_command_checks_updates_and_is_then_content(bundle, tmp_path, monkeypatch):
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)

    def run(*more: str):
        command = ["policy", str(agent), "--update", str(bundle), "--app", "support_app", *more]
        return CliRunner().invoke(main, command)

    drifted = run("--check")
    assert drifted.exit_code == 1
    assert "-                - sql       # tickets" in drifted.output
    assert "without --check" in drifted.output
    assert bundle.read_text() == BUNDLE
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", no_space)
        full = run()
    assert (full.exit_code, "cannot be written: No space left. It is as it was." in full.output) == (1, True)
    assert bundle.read_text() == BUNDLE
    done = run()
    assert done.exit_code == 0, done.output
    assert "consent again" in done.output
    assert "'my-warehouse' stays" in done.stderr
    assert app_of(bundle.read_text())["user_api_scopes"] == ["genie"]
    assert (run("--check").exit_code, run().exit_code) == (0, 0)


@pytest.mark.parametrize(
    ("declared", "refused"),
    [
        ("import mlflow\n", "declares no scope and no resource"),
        (
            "from obo_kit import system_resources\nfrom mlflow.models.resources import DatabricksServingEndpoint\n"
            "system_resources(DatabricksServingEndpoint('llm'))\n",
            "declares no scope. ",
        ),
    ],
)
def test_a_file_that_is_not_the_agent_takes_no_scope_away(bundle, tmp_path, declared, refused):
    """An app without its scopes is denied everything, after a deployment that looked right."""
    agent = tmp_path / "main.py"
    agent.write_text(declared, "utf-8")

    def run(*more: str):
        command = ["policy", str(agent), "--update", str(bundle), "--app", "support_app", *more]
        return CliRunner().invoke(main, command)

    for more in ((), ("--check",)):
        wrong = run(*more)
        assert (wrong.exit_code, refused in wrong.output, "--allow-empty" in wrong.output) == (1, True, True)
        assert "would lose sql" in wrong.output
    assert bundle.read_text("utf-8") == BUNDLE
    drifted = run("--check", "--allow-empty")
    assert (drifted.exit_code, "scope 'sql' is removed" in drifted.stderr) == (1, True)
    done = run("--allow-empty")
    assert (done.exit_code, "scope 'sql' is removed" in done.stderr) == (0, True)
    assert app_of(bundle.read_text("utf-8")).get("user_api_scopes") == []


def test_a_bundle_to_start_from_is_printed(tmp_path):
    config = app_config([ENDPOINT])
    assert yaml.safe_load(as_yaml(config, "my_app")) == {"resources": {"apps": {"my_app": config}}}
