"""The local workspace by service: a new one is a new file, and the rest of the kit is touched in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import requests

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

import obo_kit.testing
from obo_kit.testing import LocalWorkspace
from obo_kit.testing._refusals import REFUSALS, Refusal, RefusedError, declare
from obo_kit.testing.config import fill
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._service import Core, Mixin, Part, Service

PACKAGE = Path(obo_kit.testing.__file__).parent


class Notes(Service):
    """A service of a test's own, as another file would have it."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.notes: dict[str, str] = {}
        self.closed = False

    def apis(self) -> list[Api]:
        return [Api(method="GET", path="/api/2.0/notes/{note}", handler=self._get)]

    def close(self) -> None:
        self.closed = True

    def _get(self, call: Call) -> Answer:
        return Answer(content={"text": self.notes[call.params["note"]], "for": call.user.principal.name})


class NotesMixin(Mixin):
    _notes = Part(Notes)

    def add_note(self, name: str, text: str) -> None:
        self._notes.notes[name] = text


class Extended(LocalWorkspace, NotesMixin):
    pass


def test_a_service_brings_its_method_its_routes_and_its_section_of_the_file():
    with Extended() as workspace:
        fill(workspace, {"users": ["alice"], "notes": {"first": "hello"}})
        workspace.add_note("second", "again")
        headers = {"Authorization": f"Bearer {workspace.token('alice')}"}
        answers = [
            requests.get(f"{workspace.host}/api/2.0/notes/{name}", headers=headers) for name in ("first", "second")
        ]
        assert [answer.json() for answer in answers] == [
            {"text": "hello", "for": "alice"},
            {"text": "again", "for": "alice"},
        ]
        notes = workspace._notes
        assert notes is workspace._core.service(Notes)
        assert not notes.closed
    assert notes.closed


def test_each_workspace_has_services_of_its_own():
    first, second = LocalWorkspace(), LocalWorkspace()
    assert first._genie is first._genie
    assert first._genie is not second._genie


def test_a_refusal_is_declared_once():
    with pytest.raises(ValueError, match="declared once: invalid_token"):
        declare({"invalid_token": REFUSALS["invalid_token"]})


def test_a_refusal_fills_in_its_text():
    refusal = RefusedError("no_such_api", method="GET", path="/x")
    assert isinstance(refusal.refusal, Refusal)
    assert refusal.message == "No API found for 'GET /x'"


def test_one_module_imports_the_rest_of_the_kit():
    outside: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.partition(".")[0] == "obo_kit" and not name.startswith("obo_kit.testing"):
                    outside.setdefault(file.name, set()).add(name)
    assert outside.keys() == {"_kit.py"}, outside


def test_no_file_of_the_workspace_imports_its_facade():
    """But for the package's face, and the facade's users above it."""
    importers = {
        file.name
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "obo_kit.testing.workspace"
    }
    assert importers == {"__init__.py"}
