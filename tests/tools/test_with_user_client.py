"""`with_user_client`: rules 12 and 13 of the design, with real clients and real frameworks."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from support import as_user, callers, me

from obo_kit import (
    NoUserIdentityError,
    NoUserSessionError,
    SessionClosedError,
    UserSession,
    current_session,
    user_session,
    with_user_client,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from databricks.ai_search.client import AISearchClient, VectorSearchClient

Alias = WorkspaceClient


def extra(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing a framework is not what is tested
        return pytest.importorskip(module, reason=f"{module} is an extra")


@pytest.fixture
def alice(workspace):
    with as_user(workspace, "alice") as session:
        yield session


# --- where the client stands ---------------------------------------------------------------------------------------------


def first(client: WorkspaceClient, a, b=2):
    return client, a, b


def middle(a, client: WorkspaceClient, b=2):
    return client, a, b


def last(a, b=2, client: WorkspaceClient = None):  # type: ignore[assignment]
    return client, a, b


def keyword_only(a, b=2, *, client: WorkspaceClient):
    return client, a, b


def positional_only(a, client: WorkspaceClient, /, b=2):
    return client, a, b


def positional_only_first(client: WorkspaceClient, /, a, b=2):
    return client, a, b


def positional_only_last(a, b=2, client: WorkspaceClient = None, /):  # type: ignore[assignment]
    return client, a, b


PLACES = [first, middle, last, keyword_only, positional_only, positional_only_first, positional_only_last]


@pytest.mark.parametrize("fn", PLACES, ids=lambda fn: fn.__name__)
def test_the_client_arrives_wherever_it_stands(alice, fn):
    """Rule 12: the other arguments arrive as they were passed, by position and by name."""
    tool = with_user_client(fn)
    client = alice.client
    assert tool(1) == (client, 1, 2)
    assert tool(1, 3) == (client, 1, 3)
    if fn is not positional_only_last:
        assert tool(1, b=3) == (client, 1, 3)
    if "positional_only" not in fn.__name__ or fn is positional_only_first:
        assert tool(a=1) == tool(b=2, a=1) == (client, 1, 2)


@pytest.mark.parametrize("fn", PLACES, ids=lambda fn: fn.__name__)
def test_the_signature_has_everything_but_the_client(fn):
    """Rule 12."""
    tool = with_user_client(fn)
    before = inspect.signature(fn).parameters
    assert dict(inspect.signature(tool).parameters) == {name: one for name, one in before.items() if name != "client"}
    assert "client" not in tool.__annotations__


@pytest.mark.parametrize("fn", PLACES, ids=lambda fn: fn.__name__)
def test_a_value_for_the_client_is_refused(alice, fn):
    """Rule 13: the caller may be a model."""
    with pytest.raises(TypeError, match="takes no argument 'client'"):
        with_user_client(fn)(1, client="mine")


def test_a_value_is_refused_where_the_function_takes_any_keyword(alice):
    """Rule 13: a raw `exec_fn(**json.loads(arguments))` hands on whatever the model wrote."""

    @with_user_client
    def tool(client: WorkspaceClient, **rest):
        return client, rest

    assert tool(a=1) == (alice.client, {"a": 1})
    with pytest.raises(TypeError, match="takes no argument 'client'"):
        tool(**{"a": 1, "client": "mine"})


def test_a_superfluous_positional_argument_is_not_taken_for_the_client(alice):
    """Rule 13."""
    with pytest.raises(TypeError, match="positional"):
        with_user_client(first)("mine", 1, 2)


def test_every_client_parameter_is_filled(alice):
    """Every parameter annotated with a type the kit knows."""

    @with_user_client
    def tool(a, one: WorkspaceClient, b, two: VectorSearchClient, *more, three: UserSession, four: AISearchClient):
        return a, b, more, one, two, three, four

    search = alice.get(VectorSearchClient)
    expected = (1, 2, (), alice.client, search, alice, alice.get(AISearchClient))
    assert tool(1, 2) == expected
    assert tool(a=1, b=2) == expected
    assert tool(1, 2, 3)[2] == (3,)
    assert list(inspect.signature(tool).parameters) == ["a", "b", "more"]


@pytest.mark.parametrize("package", ["DatabricksOpenAI", "AsyncDatabricksOpenAI"])
def test_openai_clients_are_known(alice, package):
    known = getattr(extra("databricks_openai"), package)

    def tool(client, a):
        return client, a

    tool.__annotations__["client"] = known
    client, _ = with_user_client(tool)(1)
    assert isinstance(client, known)


def test_the_client_acts_as_the_user_of_the_session(workspace):
    """On what the server saw."""
    tool = with_user_client(me)
    for user in ("alice", "bob", "carol"):
        with as_user(workspace, user):
            assert tool() == user
    assert callers(workspace) == ["alice", "bob", "carol"]


def test_all_tools_of_a_session_share_one_client(alice):
    """One client per session."""
    seen = [with_user_client(fn)(1)[0] for fn in (first, middle, keyword_only)]
    with with_user_client() as client:
        seen.append(client)
    assert {id(one) for one in seen} == {id(alice.client)}


# --- what is kept --------------------------------------------------------------------------------------------------------


def test_the_kind_is_kept():
    """Rule 12."""

    async def coroutine(client): ...

    def generator(client):
        yield

    async def async_generator(client):
        yield

    assert inspect.isfunction(with_user_client(first))
    assert inspect.iscoroutinefunction(with_user_client(coroutine))
    assert inspect.isgeneratorfunction(with_user_client(generator))
    assert inspect.isasyncgenfunction(with_user_client(async_generator))
    assert inspect.iscoroutinefunction(with_user_client(functools.partial(coroutine)))


def test_name_docstring_module_and_attributes_are_kept():
    """Rule 12."""

    def tool(client):
        """What it does."""

    tool.mark = "kept"  # type: ignore[attr-defined]
    wrapped = with_user_client(tool)
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__", "mark"):
        assert getattr(wrapped, attribute) == getattr(tool, attribute)
    assert inspect.unwrap(wrapped) is tool


def test_a_name_given_between_two_decorators_counts():
    """Rule 12: templates set `__name__` and `__doc__` of a closure before they make a tool of it."""
    from obo_kit import requires_scopes

    tool = with_user_client(lambda client: None)
    tool.__name__, tool.__doc__ = "ask_sales", "Ask about sales."
    tool = requires_scopes("genie")(tool)
    assert (tool.__name__, tool.__doc__) == ("ask_sales", "Ask about sales.")


class Shop:
    def __init__(self, name):
        self.name = name

    @with_user_client
    def method(self, client: WorkspaceClient, a):
        return self.name, client, a

    @staticmethod
    @with_user_client
    def static_above(client: WorkspaceClient, a):
        return client, a

    @with_user_client
    @staticmethod
    def static_below(client: WorkspaceClient, a):
        return client, a

    @classmethod
    @with_user_client
    def class_above(cls, client: WorkspaceClient, a):
        return cls, client, a

    @with_user_client
    @classmethod
    def class_below(cls, client: WorkspaceClient, a):
        return cls, client, a

    @with_user_client
    async def coroutine(self, client: WorkspaceClient, a):
        return self.name, client, a

    @with_user_client
    def stream(self, client: WorkspaceClient, a):
        yield self.name
        yield client
        yield a

    @with_user_client
    async def async_stream(self, client: WorkspaceClient, a):
        yield client


async def test_methods_of_every_kind(alice):
    """Rule 12."""
    shop, client = Shop("x"), alice.client
    assert shop.method(1) == shop.method(a=1) == Shop.method(shop, 1) == ("x", client, 1)
    assert shop.static_above(1) == Shop.static_above(a=1) == (client, 1)
    assert shop.static_below(1) == Shop.static_below(a=1) == (client, 1)
    assert shop.class_above(1) == Shop.class_above(a=1) == (Shop, client, 1)
    assert shop.class_below(1) == Shop.class_below(a=1) == (Shop, client, 1)
    assert await shop.coroutine(1) == ("x", client, 1)
    assert list(shop.stream(1)) == ["x", client, 1]
    assert [item async for item in shop.async_stream(1)] == [client]
    for name in ("method", "static_above", "static_below", "class_above", "class_below", "coroutine", "stream"):
        assert list(inspect.signature(getattr(shop, name)).parameters) == ["a"]


def test_a_partial_below_and_above(alice):
    """Rule 12."""
    below = with_user_client(functools.partial(first, b=5))
    assert below(1) == (alice.client, 1, 5)
    assert (below.__name__, below.__doc__) == ("first", None)
    above = functools.partial(with_user_client(first), 1)
    assert above() == (alice.client, 1, 2)
    with pytest.raises(TypeError, match="takes no argument 'client'"):
        functools.partial(with_user_client(first), client="mine")(1)


def test_a_generator_s_protocol_is_kept(alice):
    """Rule 12: send, throw, close and the return value."""
    seen = []

    @with_user_client
    def tool(client: WorkspaceClient):
        try:
            got = yield client
            try:
                yield got
            except KeyError:
                yield "caught"
            return "done"
        finally:
            seen.append("closed")

    stream = tool()
    assert next(stream) is alice.client
    assert stream.send(5) == 5
    assert stream.throw(KeyError()) == "caught"
    with pytest.raises(StopIteration, match="done"):
        next(stream)
    other = tool()
    next(other)
    other.close()
    assert seen == ["closed", "closed"]


async def test_an_async_generator_s_protocol_is_kept(alice):
    """Rule 12."""
    seen = []

    @with_user_client
    async def tool(client: WorkspaceClient):
        try:
            got = yield client
            try:
                yield got
            except KeyError:
                yield "caught"
        finally:
            seen.append("closed")

    stream = tool()
    assert await anext(stream) is alice.client
    assert await stream.asend(5) == 5
    assert await stream.athrow(KeyError()) == "caught"
    await stream.aclose()
    assert seen == ["closed"]


def test_errors_come_as_they_are(alice):
    """Rule 15."""
    boom = ValueError("boom")

    @with_user_client
    def tool(client: WorkspaceClient):
        raise boom

    with pytest.raises(ValueError, match="boom") as caught:
        tool()
    assert caught.value is boom


# --- how it is used ------------------------------------------------------------------------------------------------------


def test_bare_and_called_are_the_same(alice):
    assert with_user_client(first)(1) == with_user_client()(first)(1) == (alice.client, 1, 2)


def test_param_names_the_parameter(alice):

    @with_user_client(param="handle")
    def tool(handle, client):
        return handle, client

    assert tool("theirs") == (alice.client, "theirs")
    assert list(inspect.signature(tool).parameters) == ["client"]


def test_an_unannotated_client_is_filled_by_its_name(alice):
    assert with_user_client(lambda client, a: (client, a))(1) == (alice.client, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_user_client(lambda question: None), r"found no client parameter.*param="),
        (lambda: with_user_client(param="x")(lambda client: None), "no such parameter"),
        (lambda: with_user_client(lambda *client: None), "cannot fill"),
        (lambda: with_user_client(param="rest")(lambda **rest: None), "cannot fill"),
        (lambda: with_user_client(with_user_client(lambda client: None)), "is applied twice"),
        (lambda: with_user_client(Shop), "not on the class Shop"),
        (lambda: with_user_client(object()), "put it below the decorator"),
        (lambda: with_user_client(3), "not on a int"),
        (lambda: with_user_client(param="client").__enter__(), "takes no param"),
    ],
)
def test_misuse_is_refused_with_the_way_out(make, message):
    """At decoration, not in production."""
    with pytest.raises(TypeError, match=message):
        make()


def test_a_parameter_named_client_of_another_type_is_not_filled():
    """`client: httpx.Client` is not the user's."""

    def tool(client: str): ...

    with pytest.raises(TypeError, match="does not know the type"):
        with_user_client(tool)


def test_without_a_session_each_call_has_its_own(workspace):
    """Rule 7: where no entry point is declared."""
    tool = with_user_client(lambda client: client)
    with workspace.as_model_serving() as runtime:
        with runtime.user("alice"):
            kept = tool()
            assert with_user_client(me)() == "alice"
        with runtime.user("bob"):
            assert with_user_client(me)() == "bob"
    with pytest.raises(SessionClosedError):
        kept.current_user.me()


def test_with_an_entry_point_a_tool_outside_is_refused(workspace):
    """Rule 7."""

    @user_session
    def entry(): ...

    with workspace.as_model_serving() as runtime, runtime.user("alice"):
        with pytest.raises(NoUserSessionError, match="propagate"):
            with_user_client(lambda client: client)()


def test_in_serving_without_a_user_nothing_is_sent(workspace):
    """Rule 2."""
    with workspace.as_model_serving():
        with pytest.raises(NoUserIdentityError):
            with_user_client(me)()
    assert callers(workspace) == []


# --- as context manager --------------------------------------------------------------------------------------------------


async def test_as_context_manager_it_gives_the_session_s_client(alice):
    with with_user_client() as client:
        assert client is alice.client
    async with with_user_client() as client:
        assert client is alice.client
    assert not alice.closed


def test_as_context_manager_outside_a_session_the_client_ends_with_the_block(workspace):
    """Rule 7."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"):
        with with_user_client() as client:
            assert me(client) == "alice"
        with pytest.raises(SessionClosedError):
            client.current_user.me()


def test_one_block_is_not_shared_by_two_requests(workspace):
    """Rule 4: they would end each other's session."""
    block = with_user_client()
    inside, leave = threading.Event(), threading.Event()

    def request():
        with as_user(workspace, "alice"):
            with block:
                inside.set()
                leave.wait(60)

    thread = threading.Thread(target=request)
    thread.start()
    assert inside.wait(60)
    try:
        with as_user(workspace, "bob"), pytest.raises(RuntimeError, match="in use"):
            block.__enter__()
    finally:
        leave.set()
        thread.join()
    with as_user(workspace, "bob"), block as client:
        assert me(client) == "bob"


# --- two users


def test_concurrent_tools_of_two_users_do_not_mix(workspace):
    """Rule 4."""
    tool = with_user_client(me)

    async def ask(user):
        async with as_user(workspace, user):
            return await asyncio.gather(*(asyncio.to_thread(tool) for _ in range(5)))

    async def both():
        return await asyncio.gather(ask("alice"), ask("bob"))

    assert asyncio.run(both()) == [["alice"] * 5, ["bob"] * 5]


def test_a_stream_dropped_before_its_end_closes_its_session(workspace):
    """Rule 6."""
    kept = []

    @with_user_client
    def tool(client: WorkspaceClient) -> Iterator[str]:
        kept.append(client)
        yield me(client)

    with workspace.as_model_serving() as runtime, runtime.user("alice"):
        stream = tool()
        assert next(stream) == "alice"
        with contextlib.closing(stream):
            pass
    with pytest.raises(SessionClosedError):
        kept[0].current_user.me()


async def test_an_async_stream_holds_its_session_to_the_end(workspace):
    """Rule 6."""

    @with_user_client
    async def tool(client: WorkspaceClient) -> AsyncIterator[str]:
        yield me(client)
        yield me(client)

    with workspace.as_model_serving() as runtime, runtime.user("alice"):
        assert [item async for item in tool()] == ["alice", "alice"]


def test_the_session_is_in_force_inside_a_tool(workspace):
    """Rule 7: also where the call opened its own."""

    @with_user_client
    def tool(session: UserSession):
        return current_session() is session

    with workspace.as_model_serving() as runtime, runtime.user("alice"):
        assert tool()
