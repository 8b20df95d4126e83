"""``pytest --obo-audit``: compare the scopes that the suite's tools use with those they declare, and set the exit status."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from obo_kit.testing._kit import PolicyError, audit

__all__ = ["Audit"]


class Audit:
    """Lives as long as pytest's session. With ``pytest-xdist``, each worker has its own, and the controller adds them up."""

    def __init__(self, config: pytest.Config, file: str | None) -> None:
        self._config = config
        self._file = file
        self._report, self._watch = audit()
        self._watching = contextlib.ExitStack()
        self._wrong = ""

    def pytest_sessionstart(self) -> None:
        """Begin to observe before the agent is imported."""
        self._watching.enter_context(self._watch)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add a worker's report. A worker that crashed left none."""
        state = getattr(node, "workeroutput", {}).get("obo_audit")
        if state is not None:
            self._report.add_state(state)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge the report, and fail a run that would have passed."""
        self._watching.close()
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["obo_audit"] = self._report.to_state()
            return
        if self._config.option.collectonly:
            return
        if self._file is not None:
            Path(self._file).write_text(json.dumps(self._report.as_dict(), indent=2), encoding="utf-8")
        try:
            self._report.check()
        except PolicyError as error:
            self._wrong = str(error)
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the report."""
        if self._config.option.collectonly:
            return
        terminalreporter.section("obo_kit audit")
        terminalreporter.write_line(str(self._report))
        if self._wrong:
            terminalreporter.write_line(self._wrong, red=True)
