"""``obo-kit playground``: what it prints, and what it refuses. The page itself is tested in test_playground.py."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from obo_kit import PolicyError
from obo_kit.cli import _playground as cli
from obo_kit.cli import main

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

from obo_kit.cli import playground


@pytest.fixture
def served(monkeypatch):
    """A playground that does nothing, and a command that ends as soon as it has begun."""
    over = threading.Event()
    over.set()
    monkeypatch.setattr(cli, "asked_to_end", lambda: _Block(over))
    made = []

    class Served:
        url = "http://127.0.0.1:1/token/"
        workspace = type("Workspace", (), {"notice": "A stand-in.", "users": ("alice", "bob")})
        error: Exception | None = None

        def __init__(self, agent, **options):
            made.append((agent, options))

        def start(self):
            if self.error is not None:
                raise self.error
            return self

        def stop(self):
            made.append("stopped")

    monkeypatch.setattr(playground, "Playground", Served)
    return Served, made


class _Block:
    def __init__(self, value):
        self.value = value

    def __enter__(self):
        return self.value

    def __exit__(self, *_):
        return None


def test_the_address_is_printed_for_people_and_for_scripts(served):
    seen = str(Path(__file__).parents[2] / "recordings" / "local.json")
    done = CliRunner().invoke(
        main, ["playground", "agent.py", "--target", "apps", "--port", "8123", "--recording", seen]
    )
    assert "Open http://127.0.0.1:1/token/" in done.stdout
    assert done.stdout.endswith("The playground has stopped.\n")
    assert served[1] == [("agent.py", {"config": None, "recording": seen, "target": "apps", "port": 8123}), "stopped"]
    done = CliRunner().invoke(main, ["playground", "agent.py", "--json"])
    assert json.loads(done.stdout) == {"url": "http://127.0.0.1:1/token/", "users": ["alice", "bob"]}


def test_the_browser_is_opened_on_request(served, monkeypatch):
    opened = []
    monkeypatch.setattr(cli.click, "launch", opened.append)
    for options, expected in (((), []), (("--open",), ["http://127.0.0.1:1/token/"])):
        CliRunner().invoke(main, ["playground", "agent.py", *options])
        assert opened == expected


def test_what_cannot_be_served_is_said_without_a_traceback(served):
    from obo_kit.testing import ConfigError

    for error, word in (
        (PolicyError("no agent", remedy="pass one"), "Fix: pass one"),
        (ConfigError("unknown key", file="workspace.yaml", line=2, key="tabels"), "workspace.yaml:2"),
        (OSError(98, "Address already in use"), "Port 0 cannot be used: Address already in use"),
    ):
        served[0].error = error
        done = CliRunner().invoke(main, ["playground", "agent.py"])
        assert (done.exit_code, word in done.stderr) == (1, True)
        assert "stopped" not in served[1]


def test_without_its_packages_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("obo_kit.testing._packages._PACKAGES", {"no_such_module": "duckdb"})
    done = CliRunner().invoke(main, ["playground", "agent.py"])
    assert (done.exit_code, 'pip install "obo-kit[testing]"' in done.stderr) == (1, True)
