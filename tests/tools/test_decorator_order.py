"""The three decorators in every order, with and without a stranger between them: rule 13 of the design."""

from __future__ import annotations

import functools
import inspect
import itertools

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest
from support import as_user, callers, me

from obo_kit import DenialReason, ScopeViolationError, optional_tool, requires_scopes, user_session, with_user_client

FALLBACK = "not for you"
DECORATORS = {
    "optional": optional_tool(fallback=FALLBACK),
    "requires": requires_scopes("genie"),
    "client": with_user_client,
}
KINDS = ("function", "coroutine", "generator", "async generator")


def author_s(kind, body):
    """The author's function of a kind: `body` is what it does with its client."""

    def function(client: WorkspaceClient, question: str) -> str:
        """Ask."""
        return body(client)

    async def coroutine(client: WorkspaceClient, question: str) -> str:
        """Ask."""
        return body(client)

    def generator(client: WorkspaceClient, question: str):
        """Ask."""
        yield body(client)

    async def async_generator(client: WorkspaceClient, question: str):
        """Ask."""
        yield body(client)

    return dict(zip(KINDS, (function, coroutine, generator, async_generator), strict=True))[kind]


def stranger(fn):
    """A decorator as anybody writes it."""

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


ORDERS = {" > ".join(order): order for order in itertools.permutations(DECORATORS)}
STACKS = {
    **ORDERS,
    **{
        f"{name}, a stranger at {at}": (*order[:at], "stranger", *order[at:])
        for name, order in ORDERS.items()
        for at in (1, 2)
    },
}


def decorated(kind, stack, body):
    tool = author_s(kind, body)
    for name in reversed(STACKS[stack]):
        tool = {**DECORATORS, "stranger": stranger}[name](tool)
    return tool


async def result_of(tool, *args, **kwargs):
    """What a tool of any kind gives: a value, or its only item."""
    made = tool(*args, **kwargs)
    if inspect.isawaitable(made):
        return await made
    if inspect.isasyncgen(made):
        (item,) = [item async for item in made]
        return item
    if inspect.isgenerator(made):
        (item,) = list(made)
        return item
    return made


every_order = pytest.mark.parametrize("stack", STACKS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_order
@every_kind
async def test_the_client_is_the_user_s_and_in_no_signature(workspace, kind, stack):
    """Rule 13: allowed, every order gives the same."""
    tool = decorated(kind, stack, me)
    with as_user(workspace, "alice") as session:
        assert await result_of(tool, "x") == await result_of(tool, question="x") == "alice"
        assert session.denials == ()
    assert list(inspect.signature(tool).parameters) == ["question"]
    assert (tool.__name__, tool.__doc__) == (kind.replace(" ", "_"), "Ask.")


@pytest.mark.parametrize("stack", ORDERS)
@every_kind
def test_the_kind_is_kept(kind, stack):
    """Rule 12."""
    tool, author = decorated(kind, stack, me), author_s(kind, me)
    for is_kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert is_kind(tool) == is_kind(author)


@every_order
@every_kind
async def test_missing_scopes_give_the_fallback_before_anything_is_sent(workspace, kind, stack):
    """Rule 13: fallback outermost, then the requirement."""
    tool = decorated(kind, stack, me)
    token = workspace.token("alice", scopes=["sql"])
    with user_session(host=workspace.host, token=token) as session:
        assert await result_of(tool, "x") == FALLBACK
        (denial,) = session.denials
    assert (denial.reason, denial.scopes) == (DenialReason.MISSING_SCOPE, ("genie",))
    assert callers(workspace) == []


@every_order
@every_kind
async def test_a_refusal_by_the_platform_gives_the_fallback(workspace, kind, stack):
    """Rule 13."""
    tool = decorated(kind, stack, lambda client: client.genie.get_space("space1").title)
    with as_user(workspace, "carol") as session:
        assert await result_of(tool, "x") == FALLBACK
        (denial,) = session.denials
    assert denial.reason is DenialReason.NOT_FOUND_OR_DENIED


@every_order
@every_kind
async def test_what_only_the_wire_knows_is_known_in_every_order(workspace, kind, stack):
    """Rule 16: a waiter drops the reason of a failed Genie message."""
    tool = decorated(
        kind, stack, lambda client: client.genie.start_conversation_and_wait("space1", "How many tickets are there?")
    )
    workspace.revoke("bob", "SELECT", "main.support.tickets")
    try:
        with as_user(workspace, "bob") as session:
            assert await result_of(tool, "x") == FALLBACK
            (denial,) = session.denials
    finally:
        workspace.grant("bob", "SELECT", "main.support.tickets")
    assert (denial.reason, denial.resource) == (DenialReason.ACCESS_DENIED, "main.support.tickets")


@every_order
@every_kind
async def test_the_client_is_narrowed_in_every_order(workspace, kind, stack):
    """Rule 23: `sql` is not declared."""
    tool = decorated(kind, stack, lambda client: list(client.warehouses.list()))
    with as_user(workspace, "alice") as session:
        assert await result_of(tool, "x") == FALLBACK
        (denial,) = session.denials
    assert denial.reason is DenialReason.SCOPE_VIOLATION
    assert callers(workspace) == []


@every_order
@every_kind
async def test_a_bug_comes_through_every_order(workspace, kind, stack):
    """Rule 15."""
    workspace.add_fault(
        status=400, path_prefix="/api/2.0/preview/scim", body={"error_code": "BAD_REQUEST", "message": "no"}
    )
    with as_user(workspace, "alice"), pytest.raises(BadRequest):
        await result_of(decorated(kind, stack, me), "x")


@every_order
@every_kind
async def test_a_client_of_the_caller_s_is_refused_in_every_order(workspace, kind, stack):
    """Rule 13."""
    with as_user(workspace, "alice"), pytest.raises(TypeError, match="takes no argument 'client'"):
        await result_of(decorated(kind, stack, me), question="x", client="mine")


def test_no_user_gives_the_fallback(workspace):
    """Rule 18: `NO_IDENTITY` is a denial."""
    for stack in STACKS:
        with workspace.as_model_serving():
            assert decorated("function", stack, me)("x") == FALLBACK
    assert callers(workspace) == []


@pytest.mark.parametrize("twice", ["optional", "client"])
@pytest.mark.parametrize("stack", ORDERS)
def test_twice_is_refused(stack, twice):
    """A second fallback, or a second client, would not be used."""
    tool = decorated("function", stack, me)
    with pytest.raises(TypeError, match="is applied twice"):
        DECORATORS[twice](tool)


def test_requirements_add_up(workspace):
    """Also on both sides of a stranger."""

    @requires_scopes("genie")
    @stranger
    @requires_scopes("sql")
    @with_user_client
    def tool(client: WorkspaceClient) -> list[str]:
        return [warehouse.id for warehouse in client.warehouses.list()]

    with as_user(workspace, "alice"):
        assert tool() == ["wh1"]

    @requires_scopes("genie")
    @requires_scopes("model-serving")
    @with_user_client
    def other(client: WorkspaceClient) -> list[str]:
        return [warehouse.id for warehouse in client.warehouses.list()]

    with as_user(workspace, "alice"), pytest.raises(ScopeViolationError):
        other()
