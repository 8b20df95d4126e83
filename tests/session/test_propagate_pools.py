"""`propagate` on a thread pool, or on the class of them: whose session each piece of work runs in. Rules 4, 6 and 7."""

from __future__ import annotations

import asyncio
import functools
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from databricks.sdk import WorkspaceClient
from support import SPACE, as_user, callers, calls, me

from obo_kit import (
    DenialReason,
    IdentityMismatchError,
    NoUserSessionError,
    current_session,
    optional_tool,
    propagate,
    requires_scopes,
    user_session,
    with_user_client,
)


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return me(client)


@pytest.fixture
def every_pool(monkeypatch):
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)  # put back afterwards
    assert propagate(ThreadPoolExecutor) is ThreadPoolExecutor


@pytest.fixture(params=["a pool", "every pool"])
def pool(request):
    """One worker, which serves whoever comes."""
    if request.param == "every pool":
        request.getfixturevalue("every_pool")
    with ThreadPoolExecutor(1) as made:
        yield made if request.param == "every pool" else propagate(made)


def test_work_runs_in_the_session_that_it_was_submitted_in(workspace, pool):
    """Rule 4: one worker, whose thread alice's request started, works for bob, for nobody, and for alice again."""
    for user in ("alice", "bob", "alice"):
        with as_user(workspace, user):
            assert pool.submit(whoami).result(10) == user
            assert list(pool.map(lambda _: whoami(), range(2))) == [user, user]
        with pytest.raises(NoUserSessionError):
            pool.submit(whoami).result(10)
    assert callers(workspace) == [user for user in ("alice", "bob", "alice") for _ in range(3)]


def test_a_worker_that_waits_in_one_request_works_for_the_others_as_themselves(workspace, every_pool):
    """Rule 4: alice's session is open all the while, and her request started both workers."""
    release = threading.Event()
    with ThreadPoolExecutor(2) as pool, as_user(workspace, "alice"):
        waiting = pool.submit(lambda: (release.wait(60), whoami()))

        def as_bob():
            with as_user(workspace, "bob"):
                return pool.submit(whoami).result(10)

        def as_nobody():
            with pytest.raises(NoUserSessionError):
                pool.submit(whoami).result(10)

        for request, user in ((as_bob, "bob"), (as_nobody, None)):  # in a thread of the server's own
            seen: list[str | None] = []
            thread = threading.Thread(target=lambda request=request, seen=seen: seen.append(request()))
            thread.start()
            thread.join(60)
            assert seen == [user]
        release.set()
        assert waiting.result(10)[1] == "alice"


def test_work_that_outlives_its_request_goes_on_without_a_user(workspace, pool):
    """Rules 5 and 6: what a framework flushes later is done, and no tool in it acts as anybody."""
    release = threading.Event()
    with as_user(workspace, "alice"):
        first = pool.submit(release.wait, 10)
        flushed, asked = pool.submit(lambda: "flushed"), pool.submit(whoami)
    release.set()
    assert (first.result(10), flushed.result(10)) == (True, "flushed")
    with pytest.raises(NoUserSessionError, match="has ended"):
        asked.result(10)
    assert calls(workspace) == []


def test_the_tool_goes_with_its_work(workspace, pool):
    """Rule 23: a tool's own threads are as narrow as the tool, and its refusals are the tool's."""

    @optional_tool
    @requires_scopes("sql")
    @with_user_client
    def outside(client: WorkspaceClient) -> str:
        return pool.submit(lambda: client.genie.get_space(SPACE).title).result(10)

    with as_user(workspace, "alice") as session:
        outside()
        assert [denial.reason for denial in session.denials] == [DenialReason.SCOPE_VIOLATION]
    assert calls(workspace) == []


def test_an_event_loop_s_pool_serves_requests_at_the_same_time(workspace, every_pool):
    """Rule 4: `run_in_executor` carries no context of its own; `to_thread` does, and keeps it."""

    @user_session(host=workspace.host, token=lambda user: workspace.token(user))  # noqa: PLW0108 - asked by its argument
    async def request(user: str) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, whoami), await asyncio.to_thread(whoami)

    async def both():
        return await asyncio.gather(*map(request, ("alice", "bob") * 4))

    assert asyncio.run(both()) == [("alice", "alice"), ("bob", "bob")] * 4


def test_a_pool_is_opted_in_once(workspace, every_pool):
    with ThreadPoolExecutor(1) as pool:
        own = pool.submit
        assert propagate(propagate(pool)) is pool
        assert pool.submit == own
        submit = ThreadPoolExecutor.submit
        propagate(ThreadPoolExecutor)
        assert ThreadPoolExecutor.submit is submit


def test_nobody_s_pool_is_changed(workspace):
    """What was not opted in goes on refusing."""
    with ThreadPoolExecutor(1) as pool, as_user(workspace, "alice"):
        with pytest.raises(NoUserSessionError):
            pool.submit(whoami).result(10)
        assert propagate(functools.partial(whoami))() == "alice"


def test_a_stream_that_is_stepped_in_another_s_session_carries_nobody(workspace, pool):
    """Rule 4: whose it is cannot be told."""

    def stream():
        with as_user(workspace, "alice"):
            yield
            with pytest.raises(IdentityMismatchError):
                current_session()
            yield pool.submit(whoami).exception(10)

    steps = stream()
    next(steps)
    with as_user(workspace, "bob"):
        assert isinstance(next(steps), NoUserSessionError)
    steps.close()


@pytest.mark.parametrize("pool", [ProcessPoolExecutor, Executor])
def test_no_session_leaves_its_process(pool):
    with pytest.raises(TypeError, match="a session cannot leave its process"):
        propagate(pool)
