"""`optional_tool` and `available_tools`: denials are forgiven and nothing else. Rules 15 to 18 of the design."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import requests
from databricks.ai_search import utils as search_utils
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, DatabricksError, NotFound, PermissionDenied, Unauthenticated
from databricks.sdk.errors.parser import _Parser
from hypothesis import given
from hypothesis import strategies as st
from support import SPACE, as_user, black_hole, callers, extra, me

from obo_kit import (
    AccessDeniedError,
    Denial,
    DenialReason,
    IdentityMismatchError,
    Limits,
    NoUserSessionError,
    ScopeViolationError,
    SessionClosedError,
    available_tools,
    available_tools_async,
    explain,
    optional_tool,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.denials._remedies import USER_MESSAGES as _USER_MESSAGES
from obo_kit.tools import _fallback as fallback

R = DenialReason


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch):
    """Rule 18 speaks of the process; a test is one of its own."""
    monkeypatch.setattr(fallback, "_reported", Counter())


def denial(reason=R.ACCESS_DENIED, **fields):
    return Denial(reason=reason, user_message="u", detail="d", remedy="m", **fields)


def refuse(reason=R.ACCESS_DENIED):
    raise denial(reason).error()


@with_user_client
def space(client: WorkspaceClient):
    return client.genie.get_space(SPACE).title


# --- what is given instead ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fallback", ["text", None, 0, (), ("text", None), b"x", Denial])
def test_a_value_is_given_as_it_is(fallback):
    if fallback is Denial:
        fallback = denial()
    assert optional_tool(fallback=fallback)(refuse)() == fallback


def test_a_function_makes_it_of_the_denial(workspace):
    with as_user(workspace, "carol") as session:
        got = optional_tool(fallback=lambda it: it)(space)()
    assert isinstance(got, Denial)
    assert (got.reason, got.tool, got.principal) == (R.NOT_FOUND_OR_DENIED, "space", "carol@example.com")
    assert session.denials == (got,)


@pytest.mark.parametrize("reason", sorted(set(R) - {R.POLICY}, key=str), ids=str)
def test_without_a_fallback_the_user_s_message_is_given(reason):
    assert optional_tool(refuse)(reason) == optional_tool()(refuse)(reason) == _USER_MESSAGES[reason]


@dataclass
class Answer:
    rows: list[str]


@pytest.mark.parametrize(
    ("fallback", "rows"),
    [
        ([{"rows": []}], lambda given: given[0]["rows"]),
        (({"rows": []}, None), lambda given: given[0]["rows"]),
        (Answer(rows=[]), lambda given: given.rows),
        (SimpleNamespace(rows=[]), lambda given: given.rows),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_user_gets_a_fallback_of_their_own(workspace, fallback, rows):
    """Rule 4: one that all share would carry things from one user to the next."""
    tool = optional_tool(fallback=fallback)(refuse)
    with as_user(workspace, "alice"):
        rows(tool()).append("alice's")
    with as_user(workspace, "bob"):
        assert rows(tool()) == []
    assert rows(fallback) == []


def test_each_user_gets_a_message_of_their_own(workspace):
    """Rule 4."""
    message = extra("langchain_core.messages", "AIMessage")(content="", additional_kwargs={"rows": []})
    test_each_user_gets_a_fallback_of_their_own(workspace, message, lambda given: given.additional_kwargs["rows"])


def test_a_fallback_that_cannot_be_copied_is_refused_with_the_way_out():
    """Rule 4."""
    with pytest.raises(TypeError, match=r"lock cannot be copied .* Fix: pass a function that makes it"):
        optional_tool(fallback=threading.Lock())


def test_what_is_allowed_comes_as_it_is(workspace):
    """Rule 15."""
    with as_user(workspace, "alice") as session:
        assert optional_tool(fallback="no")(space)() == SPACE
    assert session.denials == ()


async def test_coroutines(workspace):
    """Rule 12."""

    @optional_tool(fallback="no")
    @with_user_client
    async def tool(client: WorkspaceClient):
        return await asyncio.to_thread(lambda: client.genie.get_space(SPACE).title)

    assert inspect.iscoroutinefunction(tool)
    with as_user(workspace, "carol"):
        assert await tool() == "no"
    with as_user(workspace, "alice"):
        assert await tool() == SPACE


def streams():
    @with_user_client
    def generator(client: WorkspaceClient, after: int):
        yield from range(after)
        yield client.genie.get_space(SPACE).title

    @with_user_client
    async def async_generator(client: WorkspaceClient, after: int):
        for number in range(after):
            yield number
        yield client.genie.get_space(SPACE).title

    return [generator, async_generator]


@pytest.mark.parametrize("stream", streams(), ids=lambda stream: stream.__name__)
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_denied_stream_ends_with_the_fallback(workspace, stream, after):
    """Rule 16: what was sent stays, and a last item follows."""
    made = optional_tool(fallback="no")(stream)(after)
    with as_user(workspace, "carol") as session:
        items = [item async for item in made] if inspect.isasyncgen(made) else list(made)
        assert len(session.denials) == 1
    assert items == [*range(after), "no"]


@pytest.mark.parametrize("stream", streams(), ids=lambda stream: stream.__name__)
async def test_a_stream_that_is_closed_early_is_not_denied(workspace, stream):
    """Rule 6: the consumer's leaving is no refusal."""
    made = optional_tool(fallback="no")(stream)(3)
    with as_user(workspace, "carol") as session:
        if inspect.isasyncgen(made):
            assert await anext(made) == 0
            await made.aclose()
        else:
            assert next(made) == 0
            made.close()
        assert session.denials == ()


@pytest.mark.parametrize("reason", R, ids=str)
def test_only_the_chosen_reasons_are_forgiven(reason):
    """On=."""
    tool = optional_tool(fallback="no", on={reason})(refuse)
    assert tool(reason) == "no"
    other = next(one for one in R if one is not reason)
    with pytest.raises(type(denial(other).error())):
        tool(other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optional_tool(on=set()), "forgive nothing"),
        (lambda: optional_tool(on={"access_denied"}), "set of DenialReason"),
        (lambda: optional_tool(on=R.ACCESS_DENIED), "set of DenialReason"),
        (lambda: optional_tool(optional_tool(refuse)), "is applied twice"),
        (lambda: optional_tool("name")(refuse), "context manager"),
        (lambda: optional_tool(fallback="x").__enter__(), "decorator"),
        (lambda: optional_tool(object()), "put it below"),
        (lambda: optional_tool(fallback=asyncio.sleep), "coroutine function"),
    ],
)
def test_misuse_is_refused(make, message):
    """At decoration."""
    with pytest.raises(TypeError, match=message):
        make()


# --- what is not forgiven -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("PERMISSION_DENIED"),
        TypeError("403"),
        OSError("Permission denied"),
        PermissionError("Permission denied"),
        TimeoutError("x"),
        requests.ConnectionError("403"),
        NoUserSessionError("x", remedy="y"),
        SessionClosedError("x", remedy="y"),
        IdentityMismatchError("x", remedy="y"),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_everything_else_is_raised_as_it_came(error):
    """Rule 15."""

    @optional_tool(fallback="no")
    def tool():
        raise error

    with pytest.raises(type(error)) as caught:
        tool()
    assert caught.value is error


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "BAD_REQUEST"), (409, "CONFLICT"), (429, "REQUEST_LIMIT_EXCEEDED"), (500, "INTERNAL_ERROR"), (503, "X")],
)
def test_mistakes_and_outages_are_raised(workspace, status, code):
    """Rule 15: through the real client."""
    workspace.add_fault(
        status=status, body={"error_code": code, "message": "no"}, times=None, path_prefix="/api/2.0/genie"
    )
    with as_user(workspace, "alice", limits=Limits(retry=0.5)) as session:
        with pytest.raises((DatabricksError, TimeoutError)):
            optional_tool(fallback="no")(space)()
    assert session.denials == ()


def test_a_host_that_does_not_answer_is_raised():
    """Rule 15."""
    with black_hole() as host, user_session(host=host, token="t", limits=Limits(connect=0.2, retry=0.2)):
        with pytest.raises(TimeoutError):
            optional_tool(fallback="no")(space)()


def test_a_mistake_in_the_arguments_is_raised(workspace):
    """Rule 15."""
    with as_user(workspace, "alice"), pytest.raises(TypeError):
        optional_tool(fallback="no")(space)(1, 2, 3)


def test_a_fallback_that_fails_is_the_author_s_mistake():
    """Rule 15."""
    with pytest.raises(ZeroDivisionError):
        optional_tool(fallback=lambda _: 1 / 0)(refuse)()


_STATUSES = st.integers(300, 599)
_CODES = st.sampled_from(
    ["PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "NOT_FOUND", "RESOURCE_DOES_NOT_EXIST",
     "ENDPOINT_NOT_FOUND", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR", "ABORTED", None]
) | st.text("ABC_", max_size=8)  # fmt: skip
_TEXTS = st.text(max_size=40) | st.sampled_from(
    [
        "does not exist",
        "Invalid scope",
        "Invalid access token",
        "User does not have SELECT on Table 'a'",
        "x not found",
        "403 Forbidden",
    ]
)
# The errors of an older databricks-ai-search hold no code.
_CLIENTS = ["sdk", "requests"] + ["vector search"] * hasattr(search_utils, "exception_for_status")
_DENYING_TEXTS = ("does not have", "Invalid scope", "Invalid access token")


@given(status=_STATUSES, code=_CODES, text=_TEXTS, client=st.sampled_from(_CLIENTS))
def test_no_answer_outside_the_contract_is_ever_a_denial(status, code, text, client):
    """Rule 15: whatever status, code and text come together, and whichever client tells of them."""
    body = {"message": text} | ({} if code is None else {"error_code": code})
    response = requests.Response()
    response.status_code, response._content, response.reason = (
        status,
        str.encode(__import__("json").dumps(body)),
        "Reason",
    )
    response.url = "https://example.com/api/2.0/x"
    response.request = requests.Request("GET", response.url).prepare()
    if client == "sdk":
        error = _Parser().get_api_error(response)
        if error is None:
            return
    elif client == "requests":
        error = requests.HTTPError("no", response=response)
    else:
        error = search_utils.exception_for_status(status)(text, status_code=status, error_code=code)
    found = explain(error)
    # The SDK tells the status by its class, and picks that by the code first.
    told = {Unauthenticated: 401, PermissionDenied: 403, NotFound: 404, BadRequest: 400}
    seen = status if client != "sdk" else next((number for kind, number in told.items() if isinstance(error, kind)), 0)
    if found is not None:
        assert seen in (400, 401, 403, 404)
        assert (
            seen != 400
            or code in ("PERMISSION_DENIED", "UNAUTHENTICATED")
            or any(one in text for one in _DENYING_TEXTS)
        )
        assert seen != 404 or "exist" in text or "not found" in text or str(code).endswith(("NOT_EXIST", "NOT_FOUND"))
        assert code != "ENDPOINT_NOT_FOUND"
    elif client != "requests" and code not in ("ENDPOINT_NOT_FOUND", "REQUEST_LIMIT_EXCEEDED"):
        assert seen not in (401, 403)


# --- what is said, and to whom --------------------------------------------------------------------------------------------


def levels(caplog):
    return [record.levelname for record in caplog.records if record.name == "obo_kit.tools._fallback"]


@pytest.mark.parametrize("reason", R, ids=str)
def test_the_log_s_level_says_whose_mistake_it_is(caplog, reason):
    """Rule 18: ERROR once per tool for the deployer's, INFO each time for normal life."""
    caplog.set_level(logging.DEBUG, "obo_kit")
    tool = optional_tool(refuse)
    for _ in range(3):
        with pytest.raises(AccessDeniedError) if reason is R.POLICY else contextlib.nullcontext():
            tool(reason)
    deployer_s = reason in (R.MISSING_SCOPE, R.NO_IDENTITY, R.POLICY)
    assert levels(caplog) == (["ERROR"] if deployer_s else ["INFO"] * 3)
    if deployer_s:
        assert "Fix: m" in caplog.text


def test_tools_of_a_loop_have_their_own_names_and_are_reported_of_their_own(workspace, caplog):
    """Rule 18: named after they were decorated, as templates do, or by name=."""

    def make(name, scope, label=None):
        @optional_tool(name=label)
        @requires_scopes(scope)
        @with_user_client
        def _call(client: WorkspaceClient):
            return client.current_user.me()

        if label is None:
            _call.__name__ = name
        return _call

    tools = [make("ask_genie", "genie"), make("ask_sql", "sql"), make("", "sql", label="ask_named")]
    with user_session(host=workspace.host, token=workspace.token("carol", scopes=["apps"])) as session:
        for tool in (*tools, *tools):
            tool()
    names = ["ask_genie", "ask_sql", "ask_named"]
    assert [tool.__name__ for tool in tools] == names
    assert [denial.tool for denial in session.denials] == [*names, *names]
    assert levels(caplog) == ["ERROR"] * 3


def test_tools_that_each_request_makes_anew_do_not_fill_the_log(caplog):
    """Rule 18."""
    for _ in range(50):
        optional_tool(lambda: refuse(R.MISSING_SCOPE))()
    assert len(levels(caplog)) <= 10


@pytest.mark.parametrize("name", ["", " ", 1])
def test_a_name_is_a_name(name):
    with pytest.raises(TypeError, match="the tool's name"):
        optional_tool(name=name)


def test_a_block_takes_its_name_first():
    with pytest.raises(TypeError, match=r"optional_tool\('name'\)"), optional_tool(name="x"):
        pass


def test_another_tool_is_reported_of_its_own(caplog):
    """Rule 18."""
    for name in ("one", "two"):
        with optional_tool(name):
            refuse(R.MISSING_SCOPE)
    assert levels(caplog) == ["ERROR", "ERROR"]
    assert all(f"{name}: missing_scope" in caplog.text for name in ("one", "two"))


def test_a_denial_that_is_not_forgiven_is_not_reported(caplog):
    """Rule 18: it is raised."""
    caplog.set_level(logging.DEBUG, "obo_kit")
    with user_session(host="https://example.com", token="t") as session:
        with pytest.raises(ScopeViolationError):
            optional_tool(on={R.ACCESS_DENIED})(refuse)(R.SCOPE_VIOLATION)
        assert session.denials == ()
    assert levels(caplog) == []


def test_the_session_lists_what_was_denied_in_order():
    reasons = [R.ACCESS_DENIED, R.TOKEN_EXPIRED, R.ACCESS_DENIED]
    with user_session(host="https://example.com", token="t") as session:
        for reason in reasons:
            optional_tool(refuse)(reason)
        assert [one.reason for one in session.denials] == reasons
        assert isinstance(session.denials, tuple)


def test_a_denial_is_listed_once_where_one_tool_calls_another():
    """Who forgave it lists it."""
    inner = optional_tool(fallback="no")(refuse)
    with user_session(host="https://example.com", token="t") as session:
        assert optional_tool(lambda: inner())() == "no"  # noqa: PLW0108 - a tool of its own
        assert [one.tool for one in session.denials] == ["refuse"]
    strict = optional_tool(on={R.TOKEN_EXPIRED})(refuse)

    @optional_tool
    def outer():
        return strict()

    with user_session(host="https://example.com", token="t") as session:
        outer()
        assert [one.tool for one in session.denials] == ["outer"]


def test_a_denial_in_a_session_without_a_user(workspace):
    """Rule 2: `required=False`: tools that act for the user are denied, the rest runs."""
    with workspace.as_model_serving(), user_session(required=False) as session:
        assert optional_tool(fallback="no")(space)() == "no"
        assert optional_tool(fallback="no")(lambda: 3)() == 3
        assert [one.reason for one in session.denials] == [R.NO_IDENTITY]


# --- as context manager ---------------------------------------------------------------------------------------------------


def test_a_block_is_forgiven_and_says_why(workspace):
    tools = []
    with as_user(workspace, "carol") as session:
        with optional_tool("docs") as attempt:
            assert attempt
            tools.append(session.client.genie.get_space(SPACE))
    assert not attempt
    assert attempt.denial is session.denials[0]
    assert (attempt.denial.reason, attempt.denial.tool) == (R.NOT_FOUND_OR_DENIED, "docs")
    assert repr(attempt) == "<Attempt 'docs': not_found_or_denied>"
    assert tools == []


def test_a_block_that_succeeds(workspace):
    with as_user(workspace, "alice") as session:
        with optional_tool("docs") as attempt:
            assert session.client.genie.get_space(SPACE).title == SPACE
    assert attempt
    assert attempt.denial is None


def test_a_block_forgives_nothing_else():
    """Rule 15."""
    with pytest.raises(ValueError, match="bug"):
        with optional_tool("docs"):
            raise ValueError("bug")
    with pytest.raises(KeyboardInterrupt):
        with optional_tool("docs"):
            raise KeyboardInterrupt
    with pytest.raises(ScopeViolationError):
        with optional_tool("docs", on={R.ACCESS_DENIED}):
            refuse(R.SCOPE_VIOLATION)


async def test_an_async_block(workspace):
    async with as_user(workspace, "carol") as session:
        async with optional_tool("docs") as attempt:
            await asyncio.to_thread(session.client.genie.get_space, SPACE)
    assert not attempt


def test_a_block_uses_what_only_the_wire_knows(workspace):
    """Rule 16."""
    workspace.grant("carol", "CAN RUN", SPACE)
    try:
        with as_user(workspace, "carol") as session:
            with optional_tool("ask") as attempt:
                session.client.genie.start_conversation_and_wait(SPACE, "How many tickets are there?")
    finally:
        workspace.revoke("carol", "CAN RUN", SPACE)
    assert attempt.denial.reason is R.ACCESS_DENIED


def test_a_block_inside_a_tool_is_as_narrow_as_the_tool(workspace):
    """Rule 23."""

    @requires_scopes("genie")
    @with_user_client
    def tool(client: WorkspaceClient):
        with optional_tool("inside") as attempt:
            me(client)
            list(client.warehouses.list())
        return attempt.denial.reason

    with as_user(workspace, "alice"):
        assert tool() is R.SCOPE_VIOLATION
    assert callers(workspace) == ["alice"]


def test_one_block_is_not_shared_by_two_requests():
    """Rule 4: they would take each other's denials."""
    block = optional_tool("docs")
    inside, leave = threading.Event(), threading.Event()

    def request():
        with block:
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=request)
    thread.start()
    assert inside.wait(60)
    try:
        with pytest.raises(RuntimeError, match="in use"):
            block.__enter__()
    finally:
        leave.set()
        thread.join()
    with block as attempt:
        refuse()
    assert not attempt


def test_one_decorator_may_serve_many_functions():
    shared = optional_tool(fallback="no")
    assert shared(refuse)() == "no"
    assert shared(lambda: 1)() == 1


# --- available_tools ------------------------------------------------------------------------------------------------------


def build_space(client: WorkspaceClient):
    return client.genie.get_space(SPACE).title


def test_the_denied_are_left_out_and_reported(workspace):
    factories = [build_space, lambda client: ["a", me(client)], lambda client: ("b",)]
    with as_user(workspace, "carol") as session:
        assert available_tools(*factories) == ["a", "carol", "b"]
        assert [one.tool for one in session.denials] == ["build_space"]
    with as_user(workspace, "alice") as session:
        assert available_tools(*factories) == [SPACE, "a", "alice", "b"]
        assert session.denials == ()


def test_a_factory_is_given_the_client_it_asks_for(workspace):
    from databricks.ai_search.client import AISearchClient

    def annotated(handle: AISearchClient):
        return type(handle).__mro__[2].__name__

    def keyword(*, client: WorkspaceClient):
        return client

    def none():
        return "none"

    def defaults(limit=3):
        return limit

    def yields(client):
        yield 1
        yield 2

    def nothing(client):
        return None

    with as_user(workspace, "alice") as session:
        made = available_tools(
            annotated, keyword, none, defaults, with_user_client(lambda client: client), yields, nothing
        )
        assert made == ["AISearchClient", session.client, "none", 3, session.client, 1, 2]


def test_a_factory_s_declaration_is_checked_and_narrows_its_client(workspace):
    """Rule 13: `requires_scopes` goes on a function that is handed its client."""

    @requires_scopes("genie")
    def narrow(client: WorkspaceClient):
        return list(client.warehouses.list())

    with as_user(workspace, "alice") as session:
        assert available_tools(narrow) == []
        assert [one.reason for one in session.denials] == [R.SCOPE_VIOLATION]
    with user_session(host=workspace.host, token=workspace.token("alice", scopes=["sql"])) as session:
        assert available_tools(narrow) == []
        assert [(one.reason, one.scopes) for one in session.denials] == [(R.MISSING_SCOPE, ("genie",))]


def test_a_bug_in_a_factory_is_raised(workspace):
    """Rule 15."""
    with as_user(workspace, "alice"), pytest.raises(ZeroDivisionError):
        available_tools(lambda client: 1 / 0)


async def test_the_async_twin_builds_at_the_same_time_and_keeps_the_order(workspace):
    both = asyncio.Barrier(2) if hasattr(asyncio, "Barrier") else None

    async def slow(client: WorkspaceClient):
        if both is not None:
            await both.wait()
        await asyncio.sleep(0.02)
        return "slow"

    async def quick(client: WorkspaceClient):
        if both is not None:
            await both.wait()
        return ["quick", await asyncio.to_thread(me, client)]

    async def refused(client: WorkspaceClient):
        return await asyncio.to_thread(build_space, client)

    with as_user(workspace, "carol") as session:
        assert await asyncio.wait_for(available_tools_async(slow, refused, quick), 10) == ["slow", "quick", "carol"]
        assert [one.tool for one in session.denials] == ["refused"]


async def test_a_bug_ends_the_other_factories_of_the_async_twin(workspace):
    """Rule 5: nothing goes on after the session."""
    ended = asyncio.Event()

    async def endless(client: WorkspaceClient):
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def bug(client: WorkspaceClient):
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with as_user(workspace, "alice"):
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(available_tools_async(endless, bug), 10)
        assert ended.is_set()


def test_available_tools_outside_a_session_has_one_of_its_own(workspace):
    """Rule 7: the tools that it made end with it."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"):
        (client,) = available_tools(lambda client: client)
    with pytest.raises(SessionClosedError):
        client.current_user.me()


def test_errors_of_a_tool_keep_their_traceback():
    """Rule 15."""

    @optional_tool
    def tool():
        raise ValueError("bug")

    with contextlib.suppress(ValueError):
        tool()
    with pytest.raises(ValueError, match="bug") as caught:
        tool()
    assert caught.traceback[-1].name == "tool"
    assert caught.value.__context__ is None
