"""Others' words: no control character of theirs reaches a terminal, a log line, a SARIF or a picture."""

from __future__ import annotations

import json
import logging
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models.resources import DatabricksGenieSpace

from obo_kit import explain, optional_tool, requires_scopes
from obo_kit._utils.plain import plain, visible
from obo_kit.analysis.check._output import FORMATS, statistics_of
from obo_kit.analysis.check._runner import check
from obo_kit.cli import main
from obo_kit.exceptions import Denial, DenialReason, OboError, PolicyError
from obo_kit.policy._report import as_mermaid, as_table, as_text, picture_of

# An escape sequence that clears the screen, one that turns the direction, lines of one's own, tags that nobody sees.
HOSTILE = st.text(
    st.sampled_from("ab \x00\x07\x08\x0d\x1b[2J\x7f\x85\x9b\xad\u200b\u2028\u202e\u2066\ufeff\U000e0041\ud800\n\t\v"),
    min_size=1,
    max_size=12,
)
SEED = "from obo_kit import with_user_client\n@with_user_client\ndef ask(client): return client.genie.get_space({})\n"
few = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def controls(text: str) -> set[str]:
    """Return the characters that a terminal obeys or hides, but for ends of lines and tabs."""
    return {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n", "\t"}


@few
@given(HOSTILE)
def test_a_text_loses_them(text):
    assert controls(plain(text) + visible(text)) == set()
    assert len(visible(text)) == len(text)
    assert "\n" not in plain(text) + visible(text)


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
@few
@given(HOSTILE)
def test_no_form_of_a_report_has_them(tmp_path, text):
    name = "".join(char for char in text if char not in "\x00/")
    named = tmp_path / os.fsdecode(
        f"x{name}.py".encode("utf-8", "surrogateescape" if "\ud800" not in name else "replace")
    )
    written = text.encode("utf-8", "replace").decode().replace("\x00", "\x01")
    named.write_text(SEED.format("'x'") + "# " + written.replace("\n", "").replace("\r", ""), encoding="utf-8")
    with named.open("a", encoding="utf-8", newline="") as file:
        file.write("\n" + SEED.format(f"'x')  # {written.splitlines()[0] if written.splitlines() else ''}\n(0"))
    (tmp_path / "broken.py").write_text(f"import obo_kit\n({written}", encoding="utf-8")
    report = check([tmp_path])
    named.unlink()
    assert report.findings
    for form in FORMATS.values():
        assert controls(form(report)) == set()
    assert controls(statistics_of(report)) == set()
    json.loads(FORMATS["json"](report))
    json.loads(FORMATS["sarif"](report))


@few
@given(HOSTILE)
def test_no_picture_has_them(text):
    @requires_scopes(DatabricksGenieSpace(text))
    def ask(client): ...

    ask.__name__ = text
    picture = picture_of([ask], target="model-serving")
    for drawn in (as_table(picture), as_text(picture), as_mermaid(picture)):
        assert controls(drawn) == set()


@few
@given(HOSTILE)
def test_no_log_line_has_them(caplog, text):
    """Rule 17: the words of others stay words."""
    denial = Denial(
        reason=DenialReason.ACCESS_DENIED,
        tool=text,
        resource=text,
        principal=text,
        error_code=text,
        user_message=text,
        detail=text,
        remedy=text,
    )
    assert controls(f"{denial.tool}{denial.detail}{denial.remedy}{denial.user_message}") == set()
    assert "\n" not in denial.detail + denial.remedy
    caplog.clear()

    @optional_tool(fallback="no")
    def ask():
        raise denial.error()

    with caplog.at_level(logging.INFO):
        assert ask() == "no"
    assert caplog.records
    for record in caplog.records:
        assert controls(record.getMessage()) == set()
        assert len(record.getMessage().splitlines()) == 1


@few
@given(HOSTILE)
def test_no_error_has_them(text):
    for error in (OboError(text, remedy=text), PolicyError(text, remedy=text)):
        assert controls(str(error)) == set()
    refused = explain(PermissionError(f"PERMISSION_DENIED: {text}"))
    assert refused is None or controls(str(refused)) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_no_message_of_the_command_has_them(tmp_path):
    path = tmp_path / "a\x1b[2Jb\n.py"
    path.write_text("def (")
    done = CliRunner().invoke(main, ["check", str(path)])
    assert done.exit_code == 2
    assert controls(done.output) == set()
    assert "a?[2Jb?.py: line 1: invalid syntax" in done.stderr


def test_an_annotation_of_github_names_the_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a,b:c%.py").write_text(SEED.format("'x'"))
    done = CliRunner().invoke(main, ["check", "a,b:c%.py", "--format", "github"])
    assert done.stdout.startswith(
        "::warning file=a%2Cb%3Ac%25.py,line=3,endLine=3,col=25,title=OBO301::`genie.get_space`"
    )
