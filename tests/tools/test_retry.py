"""`optional_tool(retry=…)`: what passes is tried again, and nothing else. Rule 19 of the design."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import sys
import time

import pytest
import requests
import tenacity
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError, TooManyRequests
from databricks.sdk.errors.parser import _Parser
from databricks_openai import DatabricksOpenAI
from hypothesis import given
from hypothesis import strategies as st
from support import INDEX, LLM, SPACE, as_user, black_hole, calls

from obo_kit import Limits, capture_events, explain, optional_tool, user_session, with_user_client
from obo_kit.tools import _retry
from obo_kit.tools._retry import is_passing

LOOK = f"/api/2.0/genie/spaces/{SPACE}"
# The SDK's own retries are short here, so that each attempt of the tool is a request or two.
QUICK = Limits(retry=0.2)


def space(client: WorkspaceClient) -> str:
    return client.genie.get_space(SPACE).title


def chat(client: DatabricksOpenAI) -> object:
    return client.chat.completions.create(model=LLM, messages=[{"role": "user", "content": "hello"}])


def tool_of(fn, **settings):
    return optional_tool(fallback="no", **settings)(with_user_client(fn))


def out_of_service(workspace, times, status=503, headers=None, path=LOOK):
    body = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}
    workspace.add_fault(status=status, body=body, headers=headers, times=times, path_prefix=path)


def sent(workspace, path=LOOK):
    return [record for record in calls(workspace) if record.path.startswith(path)]


def once(attempts=3):
    """A policy of the author's, without waiting."""
    return tenacity.Retrying(stop=tenacity.stop_after_attempt(attempts))


@pytest.mark.parametrize("status", [429, 503])
def test_what_passes_is_tried_again(workspace, caplog, status):
    """Rule 19: and said so."""
    out_of_service(workspace, 1, status)
    with as_user(workspace, "alice", limits=Limits(retry=0.01)), capture_events() as events:
        assert tool_of(space, retry=True)() == SPACE
    assert [record.status for record in sent(workspace)] == [status, 200]
    assert [(event.outcome, event.attempts) for event in events] == [("retried", 1), ("allowed", 2)]
    (said,) = [record for record in caplog.records if record.name == "obo_kit.tools._retry"]
    assert said.levelname == "WARNING"
    assert f"space: attempt 1 failed (GET {LOOK}: {status}); again in" in said.message


def test_it_is_off_unless_asked(workspace):
    """Rule 19: the SDK's own retries are those of the session's limits."""
    out_of_service(workspace, None)
    started = time.monotonic()
    with as_user(workspace, "alice", limits=QUICK), pytest.raises((DatabricksError, TimeoutError)) as caught:
        tool_of(space)()
    assert time.monotonic() - started < 5
    assert all(record.status == 503 for record in sent(workspace))
    if hasattr(caught.value, "__notes__"):
        assert f"the last was GET {LOOK}: 503" in caught.value.__notes__[0]


def test_an_outage_is_logged_with_what_was_tried(workspace, caplog):
    """Rule 19: without retry too, and once."""
    out_of_service(workspace, None)
    inner = tool_of(space)

    @optional_tool
    def outer():
        return inner()

    with as_user(workspace, "alice", limits=QUICK), pytest.raises(TimeoutError):
        outer()
    (said,) = [record.message for record in caplog.records if record.name == "obo_kit.tools._retry"]
    assert said.startswith(f"{outer.__name__}: 1 attempt, ")
    assert said.endswith(f"the last was GET {LOOK}: 503")


def test_it_gives_up_and_raises_what_came(workspace):
    """Rule 19: after as many attempts as were asked for."""
    out_of_service(workspace, None)
    with as_user(workspace, "alice", limits=QUICK), capture_events() as events, pytest.raises(TimeoutError):
        tool_of(space, retry=once(2))()
    assert [(event.outcome, event.attempts) for event in events] == [("retried", 1), ("failed", 2)]


def test_the_time_is_bounded(workspace, monkeypatch):
    """Rule 19: no attempt begins that would end after the time in all, should it last as long as the one before."""
    assert _retry._SECONDS == 10
    monkeypatch.setattr(_retry, "_SECONDS", 1.9)
    out_of_service(workspace, None, 503, {"Retry-After": "1"})
    with as_user(workspace, "alice", limits=QUICK), pytest.raises(TimeoutError):
        tool_of(space, retry=99)()
    assert len(sent(workspace)) < 4


def test_retry_after_is_honoured(workspace):
    """Rule 19: the wait is no shorter than the platform asks for."""
    out_of_service(workspace, 1, 429, {"Retry-After": "1"})
    with as_user(workspace, "alice", limits=QUICK):
        assert tool_of(space, retry=once())() == SPACE
    first, second = sent(workspace)
    assert second.at - first.at >= 0.95


def test_retry_after_for_long_is_not_waited_for(workspace):
    """Rule 19."""
    out_of_service(workspace, None, 429, {"Retry-After": "61"})
    started = time.monotonic()
    with as_user(workspace, "alice", limits=QUICK), pytest.raises(TimeoutError):
        tool_of(space, retry=once())()
    assert len(sent(workspace)) == 1
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"error_code": "PERMISSION_DENIED", "message": "no"}),
        (403, "Invalid scope"),
        (401, {"error_code": "UNAUTHENTICATED", "message": "no"}),
        (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}),
    ],
)
def test_a_denial_is_never_repeated(workspace, status, body):
    """Rule 19."""
    workspace.add_fault(status=status, body=body, path_prefix=LOOK)
    with as_user(workspace, "alice") as session:
        assert tool_of(space, retry=True, idempotent=True)() == "no"
        assert len(session.denials) == 1
    assert len(sent(workspace)) == 1


@pytest.mark.parametrize(
    ("status", "code"), [(400, "BAD_REQUEST"), (409, "CONFLICT"), (500, "INTERNAL_ERROR"), (502, "BAD_GATEWAY")]
)
def test_other_failures_are_never_repeated(workspace, status, code):
    """Rule 19."""
    workspace.add_fault(status=status, body={"error_code": code, "message": "no"}, times=None, path_prefix=LOOK)
    with as_user(workspace, "alice"), pytest.raises(DatabricksError):
        tool_of(space, retry=True, idempotent=True)()
    assert len(sent(workspace)) == 1


@pytest.mark.parametrize(("idempotent", "requests_sent"), [(False, 2), (True, 3)])
def test_what_may_have_had_an_effect_is_repeated_only_if_the_author_says_so(workspace, idempotent, requests_sent):
    """Rule 19: a question to a model costs, and 503 does not say that nothing was done. `openai` itself asks twice."""
    out_of_service(workspace, 2, path="/serving-endpoints/")
    tool = tool_of(chat, retry=once(), idempotent=idempotent)
    with as_user(workspace, "alice") as session:
        session.get(DatabricksOpenAI)
        if idempotent:
            assert tool().choices
        else:
            with pytest.raises(Exception, match="later"):
                tool()
    assert len([record for record in calls(workspace) if record.method == "POST"]) == requests_sent


def test_an_effect_before_the_failure_counts(workspace):
    """Rule 19: a conversation was begun, and reading its answer failed."""

    def tool(client: WorkspaceClient) -> str:
        client.statement_execution.execute_statement(statement="SELECT 1", warehouse_id="wh1")
        return space(client)

    out_of_service(workspace, 1)
    with as_user(workspace, "alice", limits=Limits(retry=0.01)), pytest.raises(TimeoutError):
        tool_of(tool, retry=once())()
    assert len(sent(workspace)) == 1


def test_too_many_requests_has_no_effect(workspace):
    """Rule 19: a request that was turned away was not done; inferred from RFC 6585, which does not say so in so many words."""
    out_of_service(workspace, 2, 429, path="/serving-endpoints/")
    with as_user(workspace, "alice"):
        assert tool_of(chat, retry=once())().choices


def test_a_search_that_is_posted_only_reads(workspace):
    """Rule 19: the catalogue says so."""

    def search(client: WorkspaceClient) -> object:
        return client.vector_search_indexes.query_index(INDEX, columns=["id"], query_text="refund", num_results=1)

    out_of_service(workspace, 1, path="/api/2.0/vector-search/indexes")
    with as_user(workspace, "alice", limits=Limits(retry=0.01)):
        assert tool_of(search, retry=once())().result.data_array
    assert [record.method for record in calls(workspace)] == ["POST", "POST"]


def test_what_the_kit_s_clients_did_not_see_is_repeated_only_if_the_author_says_so():
    """Rule 19."""
    failures = []

    def tool():
        failures.append(1)
        raise requests.ConnectionError("somebody else's server")

    with pytest.raises(requests.ConnectionError):
        optional_tool(retry=once())(tool)()
    assert len(failures) == 1
    with pytest.raises(requests.ConnectionError):
        optional_tool(retry=once(), idempotent=True)(tool)()
    assert len(failures) == 4


def test_no_connection_is_tried_again():
    """Rule 19: nothing was sent, so that nothing can have had an effect."""
    with black_hole() as host, user_session(host=host, token="t", limits=Limits(connect=0.1, retry=0.1)) as session:
        session.get(WorkspaceClient)

        @optional_tool(retry=once(2))
        @with_user_client
        def start(client: WorkspaceClient):
            return client.genie.start_conversation(SPACE, "x")

        with capture_events() as events, pytest.raises(TimeoutError):
            start()
    assert [event.outcome for event in events] == ["retried", "failed"]


def test_an_author_s_policy_narrows_what_is_repeated(workspace):
    """Rule 19."""
    policy = once().copy(retry=tenacity.retry_if_not_exception_type(TimeoutError))
    out_of_service(workspace, None)
    with as_user(workspace, "alice", limits=QUICK), capture_events() as events, pytest.raises(TimeoutError):
        tool_of(space, retry=policy)()
    assert [event.outcome for event in events] == ["failed"]


@pytest.mark.parametrize("kind", ["function", "coroutine", "stream", "async stream"])
async def test_tenacity_s_own_request_for_another_attempt_does_not_overrule_the_rule(kind):
    """Rule 19: what a tool did before it raised `TryAgain` may have had any effect."""
    attempts = []

    def tool():
        attempts.append(1)
        raise tenacity.TryAgain

    async def coroutine():
        tool()

    def stream():
        yield tool()

    async def async_stream():
        yield tool()

    fn = {"function": tool, "coroutine": coroutine, "stream": stream, "async stream": async_stream}[kind]
    made = optional_tool(retry=once(), idempotent=True)(fn)

    async def call():
        if kind == "coroutine":
            await made()
        elif kind == "async stream":
            [_ async for _ in made()]
        else:
            list(made())

    with pytest.raises(tenacity.TryAgain):
        await call()
    assert attempts == [1]


def test_an_author_s_policy_is_told_of_each_pause(workspace):
    pauses = []
    policy = once().copy(wait=tenacity.wait_fixed(0.01), before_sleep=lambda state: pauses.append(state.upcoming_sleep))
    out_of_service(workspace, 2)
    with as_user(workspace, "alice", limits=Limits(retry=0.01)):
        assert tool_of(space, retry=policy)() == SPACE
    assert [pause > 0 for pause in pauses] == [True, True]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"retry": 1}, ValueError, "2 or more"),
        ({"retry": 0}, ValueError, "2 or more"),
        ({"retry": "yes"}, TypeError, "not str"),
        ({"retry": None}, TypeError, "not NoneType"),
        ({"retry": tenacity.Retrying()}, ValueError, "never end"),
        ({"retry": tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(2))}, TypeError, "coroutines too"),
        ({"idempotent": True}, TypeError, "needs retry"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_misuse_is_refused(settings, error, message):
    """At decoration."""
    with pytest.raises(error, match=message):
        optional_tool(**settings)


def test_a_block_cannot_be_run_again():
    with pytest.raises(TypeError, match="a block cannot run again"), optional_tool("block", retry=True):
        pass


# --- every kind of function -----------------------------------------------------------------------------------------------


class Busy(TooManyRequests):
    """Raised without a server, where only the kind of function matters."""


def kinds(failing):
    """Tools of every kind that fail as long as ``failing`` has something to pop, once before and once after an item."""

    def fail():
        if failing:
            raise failing.pop()

    def plain():
        fail()
        return ["done"]

    async def coroutine():
        await asyncio.sleep(0)
        fail()
        return ["done"]

    def generator():
        fail()
        got = yield "first"
        yield got
        return "returned"

    async def async_generator():
        fail()
        got = yield "first"
        yield got

    def returns_a_generator():
        return generator()

    def returns_a_coroutine():
        return coroutine()

    def returns_an_async_generator():
        return async_generator()

    return [
        plain,
        coroutine,
        generator,
        async_generator,
        returns_a_generator,
        returns_a_coroutine,
        returns_an_async_generator,
    ]


async def outcome_of(tool):
    made = tool()
    if inspect.isasyncgen(made):
        return [await anext(made), await made.asend("sent")]
    if inspect.isgenerator(made):
        return [next(made), made.send("sent")]
    return await made if inspect.isawaitable(made) else made


@pytest.mark.parametrize("number", range(7))
async def test_every_kind_of_function_is_tried_again(number):
    """Rule 19: and stays of its kind (rule 12)."""
    failing = [Busy("a"), Busy("b")]
    fn = kinds(failing)[number]
    tool = optional_tool(retry=once(), idempotent=True)(fn)
    assert inspect.isgeneratorfunction(tool) == inspect.isgeneratorfunction(fn)
    assert inspect.iscoroutinefunction(tool) == inspect.iscoroutinefunction(fn)
    assert inspect.isasyncgenfunction(tool) == inspect.isasyncgenfunction(fn)
    with capture_events() as events:
        assert await outcome_of(tool) in (["done"], ["first", "sent"])
    assert [event.outcome for event in events][:2] == ["retried", "retried"]
    failing += [Busy("c")] * 3
    with pytest.raises(Busy):
        await outcome_of(tool)


@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_a_stream_that_has_given_an_item_is_not_tried_again(kind):
    """Rule 19."""
    started = []

    def generator():
        started.append(1)
        yield "first"
        raise Busy("x")

    async def async_generator():
        for item in generator():
            yield item

    items = []

    async def consume():
        again = optional_tool(retry=once(), idempotent=True)
        if kind == "generator":
            for item in again(generator)():
                items.append(item)
        else:
            async for item in again(async_generator)():
                items.append(item)

    with pytest.raises(Busy):
        await consume()
    assert (items, started) == (["first"], [1])


async def test_streams_are_closed_thrown_into_and_may_be_empty():
    """Rule 12: as without another attempt."""
    seen = []

    def generator():
        try:
            yield 1
        except KeyError:
            yield 2
        finally:
            seen.append("closed")

    async def async_generator():
        try:
            yield 1
        except KeyError:
            yield 2
        finally:
            seen.append("closed")

    def empty():
        return "returned"
        yield

    async def async_empty():
        return
        yield

    def again(fn):
        return optional_tool(retry=True, idempotent=True)(fn)

    steps = again(generator)()
    assert (next(steps), steps.throw(KeyError())) == (1, 2)
    steps.close()
    stream = again(async_generator)()
    assert (await anext(stream), await stream.athrow(KeyError())) == (1, 2)
    await stream.aclose()
    assert seen == ["closed", "closed"]
    assert [item async for item in again(async_generator)()] == [1]
    assert list(again(empty)()) == []
    with pytest.raises(StopIteration) as stopped:
        next(again(empty)())
    assert stopped.value.value == "returned"
    assert [item async for item in again(async_empty)()] == []


def test_a_denied_stream_ends_with_the_fallback_after_another_attempt(workspace):
    """Rules 16 and 19."""
    out_of_service(workspace, 1)

    def stream(client: WorkspaceClient):
        yield space(client)
        yield client.genie.get_space("nothing").title

    with as_user(workspace, "alice", limits=Limits(retry=0.01)):
        assert list(tool_of(stream, retry=once())()) == [SPACE, "no"]


# --- what passes ----------------------------------------------------------------------------------------------------------


def _caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionResetError(), True),
        (TimeoutError("the waiter's own"), False),
        (_caused(TimeoutError("x"), TooManyRequests("x")), True),
        (requests.Timeout(), True),
        (requests.exceptions.SSLError(), False),
        (requests.exceptions.ProxyError(), False),
        (requests.exceptions.RetryError(), True),
        (ValueError("429"), False),
        (asyncio.CancelledError(), False),
        (OSError("x"), False),
    ],
    ids=repr,
)
def test_which_failures_pass(error, passes):
    """Rule 19."""
    assert is_passing(error) is passes


def test_a_group_passes_where_all_of_it_does():
    """Rule 19."""
    import httpx

    if sys.version_info < (3, 11):
        from exceptiongroup import ExceptionGroup as group
    else:
        from builtins import ExceptionGroup as group
    assert is_passing(group("x", [httpx.ConnectError("x"), requests.Timeout()]))
    assert not is_passing(group("x", [httpx.ConnectError("x"), ValueError()]))
    looping = ValueError()
    looping.__cause__ = looping
    assert not is_passing(looping)


@given(
    status=st.sampled_from([400, 401, 403, 404, 409, 429, 500, 502, 503, 504]),
    code=st.sampled_from(["PERMISSION_DENIED", "NOT_FOUND", "REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE", 403]),
    text=st.text(max_size=30) | st.sampled_from(["Invalid scope", "Invalid access token", "x does not exist", "later"]),
    client=st.sampled_from(["sdk", "requests"]),
)
def test_what_passes_is_no_denial_and_a_denial_does_not_pass(status, code, text, client):
    """Rules 15 and 19: an outage is never forgiven, a refusal never repeated."""
    response = requests.Response()
    response.status_code, response._content = status, json.dumps({"error_code": code, "message": text}).encode()
    response.request = requests.Request("GET", "https://example.com/api/2.0/x").prepare()
    error = _Parser().get_api_error(response) if client == "sdk" else requests.HTTPError("no", response=response)
    assert not (is_passing(error) and explain(error) is not None)


def test_nothing_is_said_of_failures_of_other_kinds(caplog):
    """Rule 19."""
    caplog.set_level(logging.DEBUG, "obo_kit")

    @optional_tool
    def tool():
        raise ValueError

    with pytest.raises(ValueError):
        tool()
    assert caplog.records == []


@pytest.mark.parametrize(("method", "library", "attempts"), [
    ("GET", "requests", 3), ("HEAD", "requests", 3), ("POST", "requests", 1), ("GET", "httpx", 3), ("POST", "httpx", 1),
])  # fmt: skip
def test_a_client_of_one_s_own_is_repeated_where_its_request_only_reads(workspace, method, library, attempts):
    """Rule 19: the exception says which request it was."""
    import httpx

    out_of_service(workspace, times=2, path="/api/2.0/sql/warehouses/wh1")
    client = {"requests": requests, "httpx": httpx}[library]
    headers = {"Authorization": f"Bearer {workspace.token('alice')}"}

    @optional_tool(retry=once())
    def look() -> str:
        answer = client.request(method, f"{workspace.host}/api/2.0/sql/warehouses/wh1", headers=headers)
        answer.raise_for_status()
        return "fine"

    if attempts == 3:
        assert look() == "fine"
    else:
        with pytest.raises((requests.HTTPError, httpx.HTTPStatusError)):
            look()
    assert len(sent(workspace, "/api/2.0/sql/warehouses/wh1")) == attempts


def test_an_effect_that_was_seen_is_not_repeated_because_the_last_request_read(workspace):
    """Rule 19."""
    asked = []

    @optional_tool(retry=once())
    @with_user_client
    def act(client: WorkspaceClient) -> None:
        client.genie.start_conversation(SPACE, "x")
        asked.append(1)
        response = requests.Response()
        response.status_code, response.request = 503, requests.Request("GET", "https://example.com/x").prepare()
        raise requests.HTTPError("later", response=response)

    with as_user(workspace, "alice"), pytest.raises(requests.HTTPError):
        act()
    assert asked == [1]
