"""What becomes of tools, told to hooks and to MLflow's spans: rule 25 of the design."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

import mlflow
import pytest
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksGenieSpace
from support import SPACE, as_user

from obo_kit import (
    DenialReason,
    ToolEvent,
    available_tools,
    capture_events,
    on_event,
    optional_tool,
    requires_scopes,
    with_user_client,
)

R = DenialReason


@optional_tool(fallback="no")
@requires_scopes(DatabricksGenieSpace(SPACE))
@with_user_client
def look(client: WorkspaceClient, space: str = SPACE) -> str:
    if space == "bug":
        raise ValueError("secret of the user's")
    return client.genie.get_space(space).title or ""


def outcomes(events):
    return [(event.outcome, event.tool) for event in events]


# --- events ---------------------------------------------------------------------------------------------------------------


def test_a_tool_that_runs_is_allowed(workspace):
    """Rule 25."""
    with as_user(workspace, "alice"), capture_events() as events:
        look()
    (event,) = events
    assert (event.outcome, event.tool, event.reason, event.error) == ("allowed", "look", None, None)
    assert event.scopes == ("genie",)
    assert (event.attempts, event.missing) == (1, ())
    assert 0 < event.seconds < 60


def test_a_tool_that_is_refused_is_denied(workspace):
    """Rule 25."""
    with as_user(workspace, "carol"), capture_events() as events:
        assert look() == "no"
    (event,) = events
    assert (event.outcome, event.reason, event.status) == ("denied", R.NOT_FOUND_OR_DENIED, 404)
    assert event.error == "ResourceDoesNotExist"


def test_a_refusal_that_is_not_forgiven_is_denied_too(workspace):
    """Rule 25."""
    tool = optional_tool(on={R.NO_IDENTITY})(with_user_client(lambda client: client.genie.get_space(SPACE)))
    with as_user(workspace, "carol"), capture_events() as events, pytest.raises(Exception, match="does not exist"):
        tool()
    assert [event.outcome for event in events] == ["denied"]


def test_a_refusal_that_comes_as_a_value_is_denied(workspace):
    """Rules 16 and 25."""

    @optional_tool
    @with_user_client
    def select(client: WorkspaceClient):
        return client.statement_execution.execute_statement("SELECT * FROM main.support.nothing", "wh1")

    with as_user(workspace, "alice"), capture_events() as events:
        select()
    assert [(event.outcome, event.error) for event in events] == [("denied", None)]


def test_missing_scopes_are_told(workspace):
    """Rule 25: those that are missing beside those declared."""
    with as_user(workspace, "alice") as session:
        del session
    from obo_kit import user_session

    with user_session(host=workspace.host, token=workspace.token("alice", scopes=["sql"])), capture_events() as events:
        look()
    (event,) = events
    assert (event.reason, event.scopes, event.missing) == (R.MISSING_SCOPE, ("genie",), ("genie",))


def test_a_bug_is_a_failure_and_its_words_stay_with_it(workspace):
    """Rules 8 and 25: no content of the user's in an event."""
    with as_user(workspace, "alice"), capture_events() as events, pytest.raises(ValueError):
        look("bug")
    assert [(event.outcome, event.error) for event in events] == [("failed", "ValueError")]
    assert "secret" not in repr(events)


def test_one_call_is_told_once(workspace):
    """Rule 25: whatever stands between the decorators; a tool inside a tool is another call."""
    import functools

    def foreign(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return fn(*args, **kwargs)

        return wrapper

    @optional_tool
    @foreign
    @requires_scopes("genie")
    def outer():
        return look()

    with as_user(workspace, "alice"), capture_events() as events:
        outer()
    assert outcomes(events) == [("allowed", "look"), ("allowed", "outer")]


async def test_streams_and_coroutines_are_told_at_their_end(workspace):
    """Rule 25."""

    @optional_tool(fallback="no")
    @with_user_client
    def stream(client: WorkspaceClient):
        yield 1
        yield client.genie.get_space(SPACE)

    @optional_tool
    async def coroutine():
        return 1

    with as_user(workspace, "carol"), capture_events() as events:
        steps = stream()
        assert next(steps) == 1
        assert events == []
        assert list(steps) == ["no"]
        await coroutine()
    assert outcomes(events) == [("denied", "stream"), ("allowed", "coroutine")]


async def test_what_is_canceled_has_failed_and_what_is_left_early_has_not():
    """Rule 25."""

    @optional_tool
    async def waiting():
        await asyncio.sleep(60)

    @optional_tool
    def stream():
        yield 1
        yield 2

    with capture_events() as events:
        task = asyncio.ensure_future(waiting())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        steps = stream()
        next(steps)
        steps.close()
    assert [(event.outcome, event.tool, event.error) for event in events] == [
        ("failed", "waiting", "CancelledError"),
        ("allowed", "stream", None),
    ]


def test_blocks_and_factories_are_told(workspace):
    """Rule 25."""

    def docs(client):
        return client.genie.get_space(SPACE)

    with as_user(workspace, "carol"), capture_events() as events:
        assert available_tools(docs) == []
        with optional_tool("block"):
            pass
        with pytest.raises(ValueError), optional_tool("broken"):
            raise ValueError
    assert outcomes(events) == [("denied", "docs"), ("allowed", "block"), ("failed", "broken")]


def test_a_hook_is_told_until_it_is_taken_away():
    """Rule 25: each registration of its own."""
    told: list[ToolEvent] = []
    remove, again = on_event(told.append), on_event(told.append)
    try:
        optional_tool(lambda: 1)()
        assert len(told) == 2
        remove()
        remove()
        optional_tool(lambda: 1)()
        assert len(told) == 3
    finally:
        again()
    optional_tool(lambda: 1)()
    assert len(told) == 3


def test_a_hook_that_fails_does_no_harm(caplog):
    """Rule 25: to the tool, or to the other hooks."""
    remove = on_event(lambda event: 1 / 0)
    try:
        with capture_events() as events:
            assert optional_tool(lambda: 1)() == 1
    finally:
        remove()
    assert len(events) == 1
    (said,) = caplog.records
    assert (said.levelno, said.name) == (logging.ERROR, "obo_kit.instrumentation._events")


def test_a_hook_is_a_function():
    """House rule 3."""
    with pytest.raises(TypeError, match="not a str"):
        on_event("x")  # type: ignore[arg-type]


def test_an_event_cannot_be_changed():
    with pytest.raises(AttributeError):
        ToolEvent(outcome="allowed", tool="x").tool = "y"  # type: ignore[misc]


# --- MLflow ---------------------------------------------------------------------------------------------------------------

# MLflow's store is not ready for the newest SQLAlchemy.
stored = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def traces(new_store, monkeypatch):
    """MLflow with a store of its own. Gives the spans of the last trace."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    mlflow.set_tracking_uri(new_store())
    mlflow.tracing.reset()
    mlflow.tracing.enable()

    def spans():
        trace = mlflow.get_trace(mlflow.get_last_active_trace_id())
        return list(trace.data.spans)

    yield spans
    mlflow.tracing.reset()
    mlflow.set_tracking_uri(before)


def obo(span):
    return {name: value for name, value in span.attributes.items() if name.startswith("obo.")}


@stored
def test_the_tool_s_span_says_what_became_of_it(workspace, traces):
    """Rule 25: where MLflow traces the tool, on that span; else on a child of the active one, so that two tools of one
    request do not overwrite each other. Inputs and outputs are the author's to record."""
    traced = mlflow.trace(name="look", span_type="TOOL")(look)

    @optional_tool
    @requires_scopes("sql")
    def other():
        raise ValueError("words of the user's")

    with mlflow.start_span("predict"):
        with as_user(workspace, "carol"):
            traced()
            with pytest.raises(ValueError):
                other()
        with as_user(workspace, "alice"):
            traced()
    spans = traces()
    found = {span.name: span for span in spans}
    assert obo(found["predict"]) == {}
    assert [obo(span) for span in spans if span.name == "look"] == [
        {
            "obo.tool": "look",
            "obo.outcome": "denied",
            "obo.denial_reason": "not_found_or_denied",
            "obo.scopes": ["genie"],
            "obo.attempts": 1,
        },
        {"obo.tool": "look", "obo.outcome": "allowed", "obo.scopes": ["genie"], "obo.attempts": 1},
    ]
    assert obo(found["other"]) == {
        "obo.tool": "other",
        "obo.outcome": "failed",
        "obo.scopes": ["sql"],
        "obo.attempts": 1,
    }
    assert found["other"].parent_id == found["predict"].span_id
    assert (found["other"].inputs, found["other"].outputs) == (None, None)
    assert str(found["other"].status.status_code).endswith("ERROR")


@stored
def test_a_tool_inside_a_tool_has_a_span_of_its_own(traces):
    """Rule 25."""
    inner = optional_tool(lambda: 1)
    inner.__name__ = "inner"

    @mlflow.trace(span_type="TOOL")
    @optional_tool
    def outer():
        return inner()

    outer()
    outer_s, inner_s = traces()
    assert obo(outer_s)["obo.tool"] == "outer"
    assert inner_s.parent_id == outer_s.span_id
    assert obo(inner_s)["obo.outcome"] == "allowed"


def test_without_a_span_mlflow_is_left_alone(monkeypatch):
    """Rule 25: it takes its time to answer."""
    monkeypatch.setattr(mlflow, "get_current_active_span", lambda: 1 / 0)
    assert optional_tool(lambda: 1)() == 1


@stored
def test_tracing_that_fails_does_no_harm(monkeypatch, traces):
    """Rule 25."""
    with mlflow.start_span("predict"):
        monkeypatch.setattr(mlflow, "get_current_active_span", lambda: 1 / 0)
        assert optional_tool(lambda: 1)() == 1


def test_mlflow_is_not_imported_for_it():
    """Rules 24 and 25."""
    code = (
        "import sys, obo_kit\n"
        "with obo_kit.capture_events() as events: obo_kit.optional_tool(lambda: 1)()\n"
        "print([event.outcome for event in events], 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.strip()) == ("", "['allowed'] False")
