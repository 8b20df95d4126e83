"""Explaining is linear and bounded, and the words of others stay theirs."""

# ruff: noqa: E501 - recorded texts keep their lines
from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.service.sql import StatementResponse
from mcp.types import CallToolResult, TextContent
from support import as_user

from obo_kit import DenialReason, explain, optional_tool
from obo_kit._upstream.answers import read_answer
from obo_kit._upstream.errors import SEAL, kept_of
from obo_kit._upstream.texts import TEXTS
from obo_kit._utils.plain import plain
from obo_kit.context._calls import Evidence, Refusal
from obo_kit.denials._classify import classify
from obo_kit.denials._from_exceptions import Scene, of_exception
from obo_kit.denials._from_values import of_value

R = DenialReason
SIZE = 1_000_000
SECONDS = 0.1
"""Ten times what a machine of 2020 takes at most. What grows faster than the text takes seconds."""


def seconds(call: Any) -> float:
    """Return the best of five: other work on the machine is not what is measured."""
    best = float("inf")
    for _ in range(5):
        started = time.thread_time()
        call()
        best = min(best, time.thread_time() - started)
    return best


def prefixes() -> list[Any]:
    """Return the starts of every sample, and every needle: what a pattern begins with, to be repeated."""
    units = [
        pytest.param(sample[:cut], text.statuses, id=f"{text.name}-{cut}")
        for text in TEXTS
        for sample in (text.sample,)
        for cut in (len(sample) // 3, len(sample) // 2, len(sample) - 1)
    ]
    needles = [pytest.param(f"{needle} ", text.statuses, id=needle) for text in TEXTS for needle in text.needles]
    return [*units, *needles]


@pytest.mark.parametrize(("unit", "statuses"), prefixes())
def test_a_megabyte_of_a_pattern_s_own_start_is_classified_at_once(unit, statuses):
    text = unit * (SIZE // len(unit) + 1)
    assert seconds(lambda: [classify(Refusal(status=status, text=text)) for status in sorted(statuses)[:1]]) < SECONDS


UNITS = [
    "[",
    "{",
    "(",
    '{"a":',
    "'",
    "'a",
    "A ",
    "a",
    "\n",
    " ",
    "-",
    "Config: a",
    ". ",
    "Config: aaaa ",
    "Env: A",
    "\x1b[",
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("start", ["", "Genie query failed with error: ", "User does not have "])
def test_a_megabyte_of_anything_is_explained_at_once(unit, start):
    text = start + unit * (SIZE // len(unit))
    result = CallToolResult(content=[TextContent(type="text", text=text)], isError=True)
    statement = StatementResponse.from_dict(
        {"statement_id": "1", "status": {"state": "FAILED", "error": {"message": text}}}
    )
    error = PermissionDenied(text)
    for call in (
        lambda: read_answer(text),
        lambda: read_answer(text.encode()),
        lambda: explain(text),
        lambda: explain(result),
        lambda: explain(statement),
        lambda: explain(error),
        lambda: plain(text),
    ):
        assert seconds(call) < SECONDS


@pytest.mark.parametrize("body", ["[" * 60_000, '{"a":' * 10_000, '{"message": ' + "[" * 50_000])
def test_deep_json_does_not_raise(body):
    assert read_answer(body).error_code is None


def test_the_code_of_a_body_that_is_too_long_is_still_read():
    answer = read_answer('{"error_code": "PERMISSION_DENIED", "message": "' + "x" * SIZE)
    assert answer.error_code == "PERMISSION_DENIED"


def test_a_large_group_of_exceptions_is_given_up():
    group: Any = type("BaseExceptionGroup", (Exception,), {"__module__": "exceptiongroup"})("x")
    group.exceptions = [PermissionDenied("no")] * 100_000
    scene = Scene()
    assert seconds(lambda: of_exception(group, scene)) < SECONDS
    assert of_exception(group, scene) is None


class Unreadable(Exception):
    """As httpx's errors are, which raise where they have no request yet."""

    @property
    def response(self):
        raise RuntimeError("no answer yet")


def test_what_cannot_be_read_is_no_denial():
    error = Unreadable("x")
    assert explain(error) is None

    @optional_tool
    def tool():
        raise error

    with pytest.raises(Unreadable):
        tool()


# --- others' words -----------------------------------------------------------------------------------------------------------


def said(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], isError=True)


CLAIMS = [
    ("Credential for user identity('1') is not found for the connection 'gh'. Please login first to the connection by visiting https://bad.example/x", R.LOGIN_REQUIRED),
    ("Provided OAuth token does not have required scopes: all-apis", R.MISSING_SCOPE),
    ("User does not have ALL PRIVILEGES on Catalog 'main'.", R.ACCESS_DENIED),
    ("User does not have SELECT on Table 'main.a.b'.", R.ACCESS_DENIED),
    ("[TABLE_OR_VIEW_NOT_FOUND] The table or view `a`.`b`.`c` cannot be found.", R.NOT_FOUND_OR_DENIED),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), CLAIMS, ids=lambda value: str(value)[:30])
def test_a_tool_s_text_names_no_grant_no_scope_and_no_link(workspace, text, reason):
    with as_user(workspace, "alice") as session:
        denial = explain(said(text))
        optional_tool(lambda: said(text))()
    assert denial is not None
    assert denial.reason is reason
    assert denial.scopes == ()
    for denied in (denial, *session.denials):
        assert "bad.example" not in denied.remedy
        for word in ("GRANT", "@requires_scopes", "all-apis", "ALL PRIVILEGES", "SELECT"):
            assert word not in denied.remedy
    user_words = denial.user_message
    assert "bad.example" not in user_words


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/api/2.0/mcp/genie/space1", True),
        ("/api/2.0/mcp/sql", True),
        ("/api/2.0/mcp/functions/main/tools", False),
        ("/api/2.0/mcp/external/github", False),
        (None, False),
    ],
)
def test_only_the_workspace_s_own_servers_say_the_platform_s_words(path, own):
    evidence = Evidence()
    evidence.mcp_path = path
    finding = of_value(said("User does not have SELECT on Table 'main.a.b'."), Scene(evidence=evidence))
    assert finding is not None
    assert finding.refusal.own is own


def test_keys_that_a_server_sends_of_itself_are_no_evidence():
    kind = type("MCPError", (Exception,), {"__module__": "mcp.shared.exceptions"})
    told = {"status": 403, "path": "/api/2.0/mcp/genie/x", "body": "User does not have SELECT on Table 'a.b.c'."}
    for seal in ({}, {"seal": "0" * len(SEAL)}):
        error: Any = kind("x")
        error.error = SimpleNamespace(code=-32603, message="x", data={"obo_kit": {**told, **seal}})
        assert kept_of(error) is None
        assert explain(error) is None
    error.error.data["obo_kit"]["seal"] = SEAL
    assert kept_of(error) is not None


@pytest.mark.parametrize(
    "evil", ["\x1b[2J\x1b]0;owned\x07", "\nERROR obo_kit forged", "\u202e", "\x9b2J", "\u2028x", "\x00"]
)
def test_no_control_character_reaches_a_log_line(caplog, evil):
    caplog.set_level(logging.INFO, "obo_kit")
    statement = StatementResponse.from_dict(
        {
            "statement_id": "1",
            "status": {"state": "FAILED", "error": {"message": f"User does not have SELECT on Table 'a{evil}b'."}},
        }
    )
    denial = explain(statement)
    assert denial is not None
    optional_tool(lambda: statement)()
    for text in (denial.detail, denial.remedy, denial.resource or "", *(r.getMessage() for r in caplog.records)):
        assert text == plain(text, 10_000)
        assert text.isprintable()
