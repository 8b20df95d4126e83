"""The project's own file corrects the catalogue: rule 20, without a release of the kit."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from obo_kit import PolicyError, app_config, auth_policy, requires_scopes, scopes
from obo_kit.scopes import Verdict, _lookup, catalogue

FILE = "obo_kit_catalogue.yaml"
RENAMED = """
as_of: 2026-11-23
scopes:
  ai-genie: {accepted_by: [apps, model-serving], sources: [https://example.com/release-notes, G-SKILLS]}
  unity-catalog: {accepted_by: apps}
  sql.queries: {accepted_by: apps}
  ai-search: {refused_by: apps}
  iam.current-user:read: {always_granted_by: [model-serving, apps]}
families:
  genie: {heads: [ai-genie, genie], parts: [dashboards.genie]}
kinds:
  genie_space: {current: {apps: [ai-genie]}}
  agent_brick:
    title: Agent brick
    mlflow_classes: DatabricksAgentBrick
    current: {model-serving: [ai-genie, model-serving]}
    granular: {model-serving: [genie, model-serving]}
    grants: [{privilege: CAN RUN, on: the brick}]
routes:
  POST /api/2.0/bricks/{id}/run: {any_of: ai-genie, kind: agent_brick, reads: true}
  /api/2.0/genie/: {all_of: [ai-genie, sql]}
"""


@pytest.fixture
def corrected(tmp_path, monkeypatch):
    """Lets this process go by a file; afterwards by the kit's own catalogue again."""

    def go_by(text: str, name: str = FILE):
        path = tmp_path / name
        path.write_text(text)
        monkeypatch.setenv("OBO_KIT_CATALOGUE", str(path))
        forget()
        return catalogue()

    yield go_by
    monkeypatch.undo()
    forget()


def forget():
    for cached in (_lookup.catalogue, _lookup._words, _lookup._templates, _lookup.match_route):
        cached.cache_clear()


# --- what a file says, counts ---------------------------------------------------------------------------------------------


def test_a_new_scope_is_known_everywhere(corrected):
    found = corrected(RENAMED)
    scopes.check_known("ai-genie")
    assert scopes.translate("ai-genie", "apps") == ("ai-genie",)
    assert scopes.nearest("ai-genei") == "ai-genie"
    assert scopes.route_for("GET", "/api/2.0/preview/scim/v2/Me").any_of[-1] == "ai-genie"
    assert found.scopes["ai-genie"].confidence == "reported"
    assert found.scopes["ai-genie"].as_of == datetime.date(2026, 11, 23)


def test_a_family_says_what_the_new_name_stands_for(corrected):
    corrected(RENAMED)
    assert scopes.verdict({"ai-genie"}, "genie") is Verdict.GRANTED
    assert scopes.verdict({"dashboards.genie"}, "genie") is Verdict.MISSING  # no head any more
    assert scopes.same_family("ai-genie", "dashboards.genie")


def test_where_a_scope_is_accepted_is_changed_for_the_targets_that_are_named(corrected):
    found = corrected(RENAMED)
    assert (found.scopes["unity-catalog"].accepted_by, found.scopes["unity-catalog"].refused_by) == ({"apps"}, set())
    assert (found.scopes["ai-search"].accepted_by, found.scopes["ai-search"].refused_by) == (
        {"model-serving"},
        {"apps"},
    )
    assert scopes.translate("ai-search", "apps") == ("vector-search",)
    assert scopes.translate("sql.queries", "apps") == ("sql.queries",)
    assert scopes.translate("iam.current-user:read", "model-serving") == ()


def test_a_kind_keeps_what_is_not_said(corrected):
    kind = corrected(RENAMED).kinds["genie_space"]
    assert scopes.scopes_of(kind, "apps") == ("ai-genie",)
    assert scopes.scopes_of(kind, "apps", "granular") == ("ai-genie",)
    assert scopes.scopes_of(kind, "model-serving") == ("genie",)
    assert scopes.scopes_of(kind, "model-serving", "granular") == ("dashboards.genie",)
    assert kind.grants[0].privilege == "CAN RUN"


def test_a_new_kind_is_recognised_by_its_class(corrected):
    corrected(RENAMED)
    brick = scopes.kind_of(type("DatabricksAgentBrick", (), {})())
    assert scopes.scopes_of(brick, "model-serving") == ("ai-genie", "model-serving")
    assert scopes.scopes_of(brick, "model-serving", "granular") == ("genie", "model-serving")
    with pytest.raises(PolicyError, match="no scope for a Agent brick"):
        scopes.scopes_of(brick, "apps")


def test_a_route_is_added_and_one_is_replaced(corrected):
    corrected(RENAMED)
    assert scopes.route_for("POST", "/api/2.0/bricks/7/run").kind == "agent_brick"
    assert scopes.is_read("POST", "/api/2.0/bricks/7/run")
    spaces = scopes.route_for("GET", "/api/2.0/genie/spaces")
    assert (spaces.any_of, spaces.all_of, spaces.kind) == ((), ("ai-genie", "sql"), "genie_space")
    assert sum(route.path == "/api/2.0/genie/" for route in scopes.ROUTES) == 1


def test_an_entry_says_that_it_is_the_project_s(corrected):
    found = corrected(RENAMED)
    assert found.scopes["ai-genie"].sources == (FILE, "https://example.com/release-notes", "G-SKILLS")
    assert found.sources["https://example.com/release-notes"].url == "https://example.com/release-notes"
    assert found.scopes["ai-search"].sources[-1] == FILE
    assert found.seen(found.scopes["ai-search"])[0] < datetime.date(2026, 11, 23)
    from obo_kit.cli._scopes import answer, as_text

    assert f"With the entries of {found.file}." in as_text(answer("ai-genie"))


def test_the_tables_of_the_module_are_those_in_force(corrected):
    before = scopes.SCOPES
    assert "ai-genie" not in before
    assert corrected(RENAMED).scopes is scopes.SCOPES
    with pytest.raises(TypeError):
        scopes.SCOPES["x"] = None
    with pytest.raises(AttributeError):
        _ = scopes.NOTHING


def test_an_empty_file_with_a_day_changes_nothing(corrected):
    built_in = catalogue()
    found = corrected("as_of: 2026-11-23\nscopes:\nkinds: {}\n")
    assert (found.scopes, found.kinds, found.routes) == (built_in.scopes, built_in.kinds, built_in.routes)


# --- mistakes in it -------------------------------------------------------------------------------------------------------

WRONG = {
    # the rest of the file after its first line, where the mistake is, and what is said
    "section": ("scope: {}", "2: scope:", "did you mean 'scopes'"),
    "key": ("scopes:\n  sql: {acepted_by: apps}", "3: scopes.sql.acepted_by:", "did you mean 'accepted_by'"),
    "family of a scope": ("scopes: {sql: {family: genie}}", "2: scopes.sql.family:", "known here"),
    "target": ("scopes: {sql: {accepted_by: [app]}}", "2: scopes.sql.accepted_by.app:", "did you mean 'apps'"),
    "both": ("scopes: {x: {accepted_by: apps, refused_by: [apps]}}", "2: scopes.x:", "apps cannot both accept it and refuse"),
    "confidence": ("scopes: {x: {confidence: sure}}", "2: scopes.x.confidence.sure:", "documented"),
    "day": ("scopes: {x: {as_of: today}}", "2: scopes.x.as_of:", "a day such as 2026-11-23, not 'today'"),
    "time": ("scopes: {x: {as_of: 2026-11-23 10:00:00}}", "2: scopes.x.as_of:", "a day such as"),
    "number": ("scopes: {x: {note: 5}}", "2: scopes.x.note:", "expected text, not 5"),
    "no mapping": ("scopes: [sql]", "2: scopes:", "expected keys and values, not a list"),
    "name": ("scopes: {' ': {}}", "2: scopes. :", "white space"),
    "member": ("families: {genie: {heads: [geni]}}", "2: families.genie.heads.geni:", "did you mean 'genie'"),
    "member twice": ("families: {genie: {heads: [genie], parts: [genie]}}", "2: families.genie:", "is in it twice"),
    "two families": ("families: {genie: {heads: [genie, sql]}}", "2: families.genie:", "already in the family 'sql'"),
    "new family": ("families: {x: {}}", "2: families.x:", "needs 'heads'"),
    "new kind": ("kinds: {brick: {current: {apps: sql}}}", "2: kinds.brick:", "needs 'title'"),
    "no scopes": ("kinds: {brick: {title: Brick}}", "2: kinds.brick:", "needs 'current'"),
    "kind's target": ("kinds: {volume: {also: {aps: sql}}}", "2: kinds.volume.also.aps:", "did you mean 'apps'"),
    "kind's scope": ("kinds: {volume: {current: {apps: filles}}}", "2: kinds.volume.current.apps.filles:", "'files'"),
    "not accepted": (
        "kinds: {volume: {current: {model-serving: files}}}",
        "2: kinds.volume.current:",
        "model-serving is not known to accept 'files', and kinds.volume.current.model-serving asks for it",
    ),
    "not accepted any more": ("scopes: {sql: {refused_by: apps}}", "2: scopes.sql:", "kinds.sql_warehouse.current.apps"),
    "class": ("kinds: {volume: {mlflow_classes: [DatabricksTable]}}", "2: kinds.volume.mlflow_classes:", "'uc_table'"),
    "grants": ("kinds: {volume: {grants: READ}}", "2: kinds.volume.grants:", "a list of grants"),
    "grant": ("kinds: {volume: {grants: [{privilege: X}]}}", "2: kinds.volume.grants.0:", "needs 'privilege' and 'on'"),
    "grant's key": ("kinds: {volume: {grants: [{notes: X}]}}", "2: kinds.volume.grants.0.notes:", "did you mean 'note'"),
    "method": ("routes: {FETCH /x: {any_of: sql}}", "2: routes.FETCH:", "unknown method"),
    "path": ("routes: {POST x: {any_of: sql}}", "2: routes.POST x:", "a path from '/'"),
    "no scopes of a route": ("routes: {/x: {}}", "2: routes./x:", "either 'any_of' or 'all_of'"),
    "both of a route": ("routes: {/x: {any_of: sql, all_of: sql}}", "2: routes./x:", "either 'any_of' or 'all_of'"),
    "route's kind": ("routes: {/x: {any_of: sql, kind: volum}}", "2: routes./x.kind.volum:", "did you mean 'volume'"),
    "reads": ("routes: {/x: {any_of: sql, reads: 'yes'}}", "2: routes./x.reads:", "true or false, not 'yes'"),
    "twice": ("scopes: {}\nscopes: {}", "3: scopes:", "is repeated"),
    "YAML": ("scopes: [", "3: is not YAML", ""),
    "tag": ("scopes: !python os:getcwd", "2: is not YAML", "python"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_said_with_file_line_key_and_what_would_do(corrected, case):
    text, place, hint = WRONG[case]
    with pytest.raises(PolicyError) as caught:
        corrected(f"as_of: 2026-11-23\n{text}\n")
    assert f"{FILE}:{place}" in caught.value.message
    assert hint in caught.value.message
    assert "OBO_KIT_CATALOGUE=''" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "hint"), [("", "needs 'as_of'"), ("as_of: new\n", "a day such as"), ("- a\n", "a list")]
)
def test_a_file_without_a_day_is_refused(corrected, text, hint):
    with pytest.raises(PolicyError, match=hint):
        corrected(text)


def test_a_mistake_stays_one_until_it_is_mended(corrected):
    for _ in range(2):
        with pytest.raises(PolicyError):
            corrected("as_of: 2026-11-23\nscope: {}\n")
    assert corrected(RENAMED).scopes["ai-genie"]


# --- which file -----------------------------------------------------------------------------------------------------------

SAY = "from obo_kit.scopes import catalogue; print(catalogue().file, 'ai-genie' in catalogue().scopes)"


def said(folder: Path, code: str = SAY, **environment: str) -> str:
    surroundings = {**os.environ, "PYTHONPATH": str(Path(scopes.__file__).parents[2]), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() + done.stderr.strip()


def test_the_file_in_the_working_directory_counts_and_a_named_one_before_it(tmp_path):
    (tmp_path / FILE).write_text(RENAMED)
    (tmp_path / "other.yaml").write_text("as_of: 2026-11-23\n")
    (tmp_path / "below").mkdir()
    assert said(tmp_path) == f"{tmp_path / FILE} True"
    assert said(tmp_path, OBO_KIT_CATALOGUE="other.yaml") == f"{tmp_path / 'other.yaml'} False"
    assert said(tmp_path, OBO_KIT_CATALOGUE=" ") == "None False"
    assert said(tmp_path / "below") == "None False"
    path = os.pathsep.join([str(Path(scopes.__file__).parents[2]), str(tmp_path)])
    assert said(tmp_path / "below", PYTHONPATH=path) == f"{tmp_path / FILE} True"
    assert "cannot be read: No such file" in said(tmp_path, OBO_KIT_CATALOGUE="absent.yaml")


def test_importing_reads_no_file_and_a_broken_one_is_said_when_it_is_needed(tmp_path):
    (tmp_path / FILE).write_text("scopes: [")
    heavy = "{'yaml', 'difflib', 'mlflow', 'databricks'} & set(sys.modules)"
    code = f"import sys, obo_kit.scopes; from obo_kit import user_session; print({heavy})"
    assert said(tmp_path, code) == "set()"
    command = "import sys; from obo_kit.cli import main; sys.argv[1:] = ['scopes', 'sql']; main()"
    printed = said(tmp_path, command)
    assert printed.startswith("Error: The catalogue file cannot be used.")
    assert "Traceback" not in printed


AGENT = """
import mlflow
from mlflow.models.resources import DatabricksGenieSpace
from obo_kit import requires_scopes

@requires_scopes(DatabricksGenieSpace("01f0"), "quite-new")
def ask(client): ...

class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return model_input
mlflow.models.set_model(Echo())
"""
NEW = """
as_of: 2026-11-23
scopes: {quite-new: {accepted_by: model-serving}, bad: {}}
kinds: {genie_space: {current: {model-serving: quite-new}}}
"""


def test_the_process_that_collects_and_the_saved_model_go_by_the_same_file(corrected, tmp_path, monkeypatch):
    """Rule 22: wherever the other process works; and where the model is loaded, its file is where modules are looked for."""
    import mlflow

    from obo_kit.policy._policy import _pack_catalogue
    from obo_kit.tools._registry import REGISTRY

    corrected(NEW)
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(REGISTRY, "_tools", {})
    monkeypatch.setattr(REGISTRY, "_system", [])
    monkeypatch.setenv("OBO_KIT_CATALOGUE", "")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert auth_policy(agent).user_auth_policy.to_dict() == {"api_scopes": ["quite-new"]}
    arguments = {"python_model": str(agent), "pip_requirements": ["mlflow"]}
    _pack_catalogue(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        mlflow.pyfunc.save_model(str(tmp_path / "model"), **arguments)
    assert (tmp_path / "model" / "code" / FILE).read_text() == NEW


def test_what_is_packed_with_a_model_is_the_project_s_file_once(corrected):
    from obo_kit.policy._policy import _pack_catalogue

    file = corrected(RENAMED).file
    for given, packed in (
        ({}, [file]),
        ({"code_paths": ["lib"]}, ["lib", file]),
        ({"code_paths": [file]}, [file]),
        ({"infer_code_paths": True}, None),
    ):
        _pack_catalogue(given)
        assert given.get("code_paths") == packed
    corrected(RENAMED, "other.yaml")  # which is found by the variable alone
    given = {}
    _pack_catalogue(given)
    assert given == {}


def test_a_scope_of_the_file_that_a_target_cannot_grant_is_refused_with_the_tool_and_the_way_out(corrected):
    """Rule 21, on both targets."""
    corrected(
        f"{NEW}routes: {{}}\n".replace("{quite-new: {accepted_by: apps}}", "{quite-new: {accepted_by: apps}, bad: {}}")
    )

    @requires_scopes("quite-new")
    def new_tool(): ...

    @requires_scopes("bad")
    def bad_tool(): ...

    with pytest.raises(PolicyError, match=r"new_tool' cannot .* Databricks Apps cannot grant .*'quite-new'") as caught:
        app_config([new_tool])
    assert "run the agent on Model Serving" in caught.value.remedy
    with pytest.raises(PolicyError, match=r"bad_tool' cannot .* Model Serving cannot grant .*'bad'") as caught:
        auth_policy([new_tool, bad_tool])
    assert "system authorization" in caught.value.remedy


def test_the_local_workspace_goes_by_the_same_file(corrected):
    pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import PermissionDenied

    from obo_kit.testing import LocalWorkspace

    corrected(
        "as_of: 2026-11-23\nscopes: {quite-new: {}}\nroutes:\n  /api/2.0/sql/warehouses/{id}: {any_of: quite-new}\n"
    )
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_warehouse("wh1")
        workspace.grant("alice", "CAN USE", "wh1")
        for held in ("sql", "quite-new"):
            token = workspace.token("alice", scopes=[held])
            client = WorkspaceClient(host=workspace.host, token=token, auth_type="pat")
            if held == "sql":
                with pytest.raises(PermissionDenied, match="required scopes: quite-new"):
                    client.warehouses.get("wh1")
            else:
                client.warehouses.get("wh1")
        seen = workspace.log.filter(path="/api/2.0/sql/warehouses/wh1")
        assert [(record.status, record.scopes_needed) for record in seen] == [(n, ("quite-new",)) for n in (403, 200)]
