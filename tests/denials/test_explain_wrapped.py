"""`explain` on refusals in other errors, in packages' own words, and in values."""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.dashboards import GenieMessage, MessageError, MessageStatus
from databricks.sdk.service.sql import StatementResponse, StatementState, StatementStatus
from refusals import DENIAL_TEXT, R, call_with, denied, raised, sdk_error, statement
from support import SPACE, as_user

from obo_kit import explain, optional_tool, with_user_client
from obo_kit.context._calls import Refusal
from obo_kit.denials._classify import classify

# --- wrapped --------------------------------------------------------------------------------------------------------------


def groups():
    found = [sys.modules["builtins"].ExceptionGroup] if sys.version_info >= (3, 11) else []
    with contextlib.suppress(ImportError):
        from exceptiongroup import ExceptionGroup as Backport

        found.append(Backport)
    return found


def test_a_cause_is_followed():
    """Rule 16: `raise X from denied`, and the SDK's own TimeoutError."""
    for outer in (ValueError("x"), TimeoutError("timed out"), PermissionError("x"), RuntimeError("x")):
        denial = explain(raised(outer, cause=sdk_error()))
        assert denial is not None
        assert denial.reason is R.ACCESS_DENIED
    assert explain(raised(ValueError(), cause=raised(ValueError(), cause=sdk_error())))


def test_an_accidental_context_is_not_followed():
    """Rule 16: a bug in an `except` block is a bug."""
    assert explain(raised(KeyError("x"), context=sdk_error())) is None
    assert explain(sdk_error()) is not None


def test_a_cause_that_is_no_denial_stays_none():
    """Rule 15: a time-out for too many requests."""
    assert explain(raised(TimeoutError("x"), cause=sdk_error(429, "REQUEST_LIMIT_EXCEEDED"))) is None


def test_a_known_error_is_not_explained_by_its_cause():
    """Rule 16: the outer refusal says what it is itself."""
    assert explain(raised(sdk_error(400, "INVALID_PARAMETER_VALUE"), cause=sdk_error())) is None


@pytest.mark.parametrize("group", groups(), ids=lambda group: group.__module__)
def test_a_group_is_a_denial_only_if_all_of_it_is(group):
    """Rule 16."""
    assert explain(group("x", [sdk_error()]))
    assert explain(group("x", [sdk_error(), group("y", [sdk_error(404, "NOT_FOUND")])]))
    assert explain(group("x", [sdk_error(), ValueError("bug")])) is None
    assert explain(group("x", [sdk_error(), group("y", [sdk_error(), KeyError()])])) is None
    assert explain(raised(group("x", [ValueError()]), cause=sdk_error())) is None


def test_tenacity_s_wrapper_is_opened():
    """Rule 16."""
    import tenacity

    def fails(error):
        @tenacity.retry(stop=tenacity.stop_after_attempt(1))
        def tool():
            raise error

        with pytest.raises(tenacity.RetryError) as caught:
            tool()
        return caught.value

    assert explain(fails(sdk_error()))
    assert explain(fails(ValueError("bug"))) is None


def test_pydantic_s_wrapper_is_opened_if_all_of_it_is_a_denial():
    """Rule 16: a validator that raises `from` a refusal."""
    pydantic = pytest.importorskip("pydantic", reason="comes with an extra")

    def checked(value):
        if value == "denied":
            raise ValueError("refused") from sdk_error()
        raise ValueError("bad")

    class Model(pydantic.BaseModel):
        one: Any = None
        two: Any = None
        _checked = pydantic.field_validator("one", "two")(classmethod(lambda cls, value: checked(value)))

    def fails(**values):
        with pytest.raises(pydantic.ValidationError) as caught:
            Model(**values)
        return caught.value

    assert explain(fails(one="denied"))
    assert explain(fails(one="denied", two="denied"))
    assert explain(fails(one="denied", two="bad")) is None
    assert explain(fails(one="bad")) is None


def test_a_chain_that_loops_ends():
    """Rule 16: nothing hangs."""
    one, two = ValueError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    assert explain(one) is None


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), StopIteration(), MemoryError(), OSError()]
)
def test_other_exceptions_are_no_denials(error):
    """Rule 15."""
    assert explain(error) is None


# --- what the packages make of refusals -----------------------------------------------------------------------------------


def genie_text(error):
    return f"Genie query failed with error: {error!r}"


def mcp_result(text, flag="isError"):
    class CallToolResult(SimpleNamespace):
        pass

    CallToolResult.__module__ = "mcp.types"
    return CallToolResult(content=[SimpleNamespace(text=text)], **{flag: True})


def test_a_failed_genie_message_as_the_bridge_tells_it():
    """Rule 16: `databricks_ai_bridge.genie` makes a text of it."""
    from databricks_ai_bridge.genie import GenieResponse

    denied_text = genie_text({"error": "PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT", "type": "X"})
    for value in (denied_text, GenieResponse(result=denied_text)):
        denial = explain(value)
        assert denial is not None
        assert (denial.reason, denial.resource) == (R.ACCESS_DENIED, "a.b.c")
    for text in (
        genie_text({"error": "The space is busy", "type": "X"}),
        "Genie query failed with error: Unknown error",
        "Genie query cancelled.",
        "Genie query failed with error: {'error': ",
        "Genie query failed with error: ['PERMISSION_DENIED: x']",
        "They say: " + denied_text,
        "PERMISSION_DENIED: no",
    ):
        assert explain(text) is None
        assert explain(GenieResponse(result=text)) is None
    assert explain(GenieResponse(result=SimpleNamespace())) is None


@pytest.mark.parametrize("flag", ["isError", "is_error"])
def test_an_mcp_tool_that_says_it_failed(flag):
    """Rule 16: the flag is spelled so in `mcp` 1, and so in `mcp` 2."""
    assert explain(mcp_result("PERMISSION_DENIED: no", flag)).reason is R.ACCESS_DENIED
    assert explain(mcp_result("division by zero", flag)) is None
    ordinary = mcp_result("PERMISSION_DENIED: no", flag)
    setattr(ordinary, flag, False)
    assert explain(ordinary) is None


def test_a_function_s_result_with_an_error():
    """Rule 16."""
    FunctionExecutionResult = pytest.importorskip(
        "unitycatalog.ai.core.base", reason="comes with the extras langchain and openai"
    ).FunctionExecutionResult

    text = "Failed to execute function: [INSUFFICIENT_PERMISSIONS] User does not have EXECUTE on Routine 'a.b.f'."
    denial = explain(FunctionExecutionResult(error=text))
    assert denial is not None
    assert (denial.reason, denial.resource) == (R.ACCESS_DENIED, "a.b.f")
    assert explain(FunctionExecutionResult(error="division by zero")) is None
    assert explain(FunctionExecutionResult(format="SCALAR", value=text)) is None


def test_a_sign_in_page_in_place_of_an_answer(workspace):
    """Rule 16: only where the redirect was seen; a page that a tool fetched elsewhere is its result."""
    page = "<!doctype html><html><body>Sign in</body></html>"
    assert explain(page) is None
    workspace.add_fault(status=302, headers={"Location": "/login.html"}, body="", times=None, path_prefix="/api")
    workspace.add_fault(status=200, body=page, times=None, path_prefix="/login")

    @with_user_client
    def look(client: WorkspaceClient):
        try:
            return client.genie.get_space(SPACE)
        finally:
            assert explain(page).reason is R.TOKEN_EXPIRED
            assert explain("no page") is None

    with as_user(workspace, "alice"):
        denial = denied(look)
    assert denial.reason is R.TOKEN_EXPIRED


def test_a_redirect_to_elsewhere_is_no_sign_in():
    """Rule 16."""
    assert classify(Refusal(status=302, location="/login.html?next=x")).reason is R.TOKEN_EXPIRED
    assert classify(Refusal(status=302, location="/elsewhere")) is None


def test_a_key_error_of_the_bridge_is_a_failed_statement(workspace):
    """Rule 16: it reads the state where it is not, where the statement of a message failed."""
    from obo_kit.denials._explain import explain_in

    evidence = [Refusal(status=200, text="PERMISSION_DENIED: no", path="/api/2.0/genie/x")]
    space: dict = {"__name__": "databricks_ai_bridge.genie"}
    exec("def poll(): raise KeyError('state')", space)
    with pytest.raises(KeyError) as caught:
        space["poll"]()
    assert explain_in(caught.value, call_with(evidence), None)
    assert explain_in(KeyError("state"), call_with(evidence), None) is None
    assert explain(caught.value) is None


# --- values ---------------------------------------------------------------------------------------------------------------


def test_a_failed_statement():
    """Rule 16."""
    denial = explain(statement(StatementState.FAILED))
    assert denial is not None
    assert (denial.reason, denial.resource) == (R.ACCESS_DENIED, "a.b.c")
    assert explain(statement(StatementState.FAILED, "no", "42501"))


@pytest.mark.parametrize(
    "state", [StatementState.CANCELED, StatementState.CLOSED, StatementState.SUCCEEDED, StatementState.RUNNING]
)
def test_a_statement_in_another_state_is_no_denial(state):
    """Rule 16."""
    assert explain(statement(state)) is None
    assert explain(StatementResponse()) is None
    assert explain(StatementResponse(status=StatementStatus(state=StatementState.FAILED))) is None


def test_a_failed_genie_message_as_a_value():
    """Rule 16."""

    def message(status, text):
        return GenieMessage(
            space_id="s",
            conversation_id="c",
            content="q",
            message_id="m",
            id="m",
            status=status,
            error=MessageError(error=text),
        )

    refused = "PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT"
    denial = explain(message(MessageStatus.FAILED, refused))
    assert denial is not None
    assert denial.resource == "a.b.c"
    assert explain(message(MessageStatus.FAILED, "a bug")) is None
    assert explain(message(MessageStatus.COMPLETED, refused)) is None


PROSE = [
    DENIAL_TEXT,
    "PERMISSION_DENIED: no",
    "Error 403: Invalid access token.",
    {"error_code": "PERMISSION_DENIED", "message": "no"},
    {"status": {"state": "FAILED", "error": {"message": DENIAL_TEXT}}},
    ["403"],
    SimpleNamespace(
        status=SimpleNamespace(state=SimpleNamespace(value="FAILED"), error=SimpleNamespace(message=DENIAL_TEXT))
    ),
    None,
    403,
    b"PERMISSION_DENIED",
    object,
    type("StatementResponse", (), {"status": statement(StatementState.FAILED).status})(),
]


@pytest.mark.parametrize("value", PROSE, ids=lambda value: type(value).__name__)
def test_other_values_are_never_taken_for_refusals(value):
    """Rule 16: a tool that returns prose about errors is not denied."""
    assert explain(value) is None
    assert optional_tool(fallback="no")(lambda: value)() is value


def test_an_exception_that_a_tool_returns_is_a_value():
    """Rule 16: it was not raised."""
    error = sdk_error()
    assert optional_tool(fallback="no")(lambda: error)() is error
