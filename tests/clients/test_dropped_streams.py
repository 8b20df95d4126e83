"""Nobody waits for a lock that the same thread holds: streams that are dropped, wherever the garbage collector runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import ASK, LLM, as_user, callers, extra, me

from obo_kit import Limits, user_session
from obo_kit.clients import _connections

pytestmark = [pytest.mark.usefixtures("no_traces", "new_process_state"), pytest.mark.filterwarnings("ignore")]
STREAMS = int(os.environ.get("OBO_KIT_SOAK_STREAMS", "200"))
THREADS = 64
LOCKED = {
    "httpcore": {"_assign_requests_to_connections", "has_expired", "is_idle"},
    "httpcore2": {"_assign_requests_to_connections", "has_expired", "is_idle"},
    "obo_kit": {"get", "put", "qsize"},
    "queue": {"_get", "_put", "_qsize"},
    "urllib3": {"__getitem__", "__setitem__", "connection_from_pool_key"},
}
"""Where the pools hold a lock, by package, and the kit's own, which must not."""


@contextlib.contextmanager
def collected_inside(package):
    """Run the collector inside the locked parts of one package's pools, and nowhere else: elsewhere it would find before
    what is to be found there."""

    def collect(frame, event, _):
        package_name = frame.f_globals["__name__"].partition(".")[0]
        if event == "call" and package_name == package and frame.f_code.co_name in LOCKED[package]:
            gc.collect()

    gc.collect()
    gc.freeze()  # what is there already is not looked at again
    gc.disable()
    sys.setprofile(collect)
    try:
        yield
    finally:
        sys.setprofile(None)
        gc.enable()
        gc.unfreeze()


def within(work, package):
    """Do something in a thread of its own, which a deadlock would hold for ever."""
    done: list[object] = []

    def run():
        with collected_inside(package):
            done.append(work())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(40)  # a mutant has more time than that
    assert done, "a request hangs"


def in_a_cycle(stream):
    """Leave a stream to the collector alone."""
    cycle: list[object] = [stream]
    cycle.append(cycle)


def asked(session):
    return session.get(extra("databricks_openai", "DatabricksOpenAI")).chat.completions.create(
        model=LLM, messages=ASK, stream=True
    )


def dropped(session):
    in_a_cycle(asked(session))


def half_read(session):
    stream = asked(session)
    next(iter(stream))
    in_a_cycle(stream)


def closed_elsewhere(session):
    stream = asked(session)
    next(iter(stream))
    closing = threading.Thread(target=stream.close)
    closing.start()
    closing.join()
    in_a_cycle(stream)


def download(session):
    answer = session.client.api_client.do("GET", "/api/2.0/preview/scim/v2/Me", raw=True)
    answer["contents"].read(1)
    in_a_cycle(answer)


@pytest.mark.parametrize("package", LOCKED)
@pytest.mark.parametrize("leave", [dropped, half_read, closed_elsewhere, download], ids=lambda leave: leave.__name__)
def test_the_collector_may_run_inside_a_pool(workspace, leave, package):
    """A stream that it finds there is finished there, by the thread that is inside."""

    def work():
        for name in ("alice", "bob") * 2:
            with as_user(workspace, name) as session:
                leave(session)
                assert me(session.client) == name
        return True

    with as_user(workspace, "alice") as session:
        leave(session)  # with what that imports
    within(work, package)
    assert set(callers(workspace)) == {"alice", "bob"}


@pytest.mark.parametrize("package", [name for name in LOCKED if name.startswith("httpcore")])
def test_async_streams_that_are_dropped_or_cancelled_hold_nobody(workspace, package):
    """The loop finishes what is dropped; a task that is cancelled while it connects or reads leaves nothing locked."""
    client_type = extra("databricks_openai", "AsyncDatabricksOpenAI")

    async def one(number):
        async with as_user(workspace, "alice") as session:
            client = session.get(client_type)
            task = asyncio.create_task(client.chat.completions.create(model=LLM, messages=ASK, stream=True))
            if number % 3 == 0:
                await asyncio.sleep(0.001 * number)
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                stream = await task
                async for _part in stream:
                    break
                in_a_cycle(stream)

    async def main():
        for number in range(12):
            await asyncio.wait_for(one(number), 60)
        await asyncio.wait_for(asyncio.gather(*map(one, range(12))), 60)
        return True

    asyncio.run(one(1))  # with what that imports
    within(lambda: asyncio.run(main()), package)


@pytest.mark.parametrize("package", [name for name in LOCKED if name.startswith("httpcore")])
def test_a_stream_that_is_open_when_its_loop_is_closed_holds_nobody(workspace, package):
    """The next loop has connections of its own."""
    client_type = extra("databricks_openai", "AsyncDatabricksOpenAI")
    kept = []

    async def begin():
        async with as_user(workspace, "alice") as session:
            stream = await session.get(client_type).chat.completions.create(model=LLM, messages=ASK, stream=True)
            kept.append(stream)

    def work():
        for _ in range(3):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(begin())
            loop.close()  # without shutdown_asyncgens
            kept.clear()
        return True

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work()  # with what that imports
        within(work, package)
        _connections.renew()
        gc.collect()


def test_a_stream_that_another_thread_closes_lets_its_reader_go(workspace):
    """The reader need not wait for the time-out of a server that says nothing."""
    workspace.latency = 0.0
    with as_user(workspace, "alice") as session:
        stream = asked(session)
        raw = stream.response.stream
        next(iter(stream))
        started = time.monotonic()
        threading.Timer(0.2, stream.response.close).start()
        with contextlib.suppress(Exception):
            for _part in stream:
                pass
        assert time.monotonic() - started < 10
        del raw


def test_no_request_of_a_crowd_waits_for_a_stream_that_somebody_dropped(workspace):
    """64 threads, 200 users; ``make soak`` has 20,000 streams."""
    users = [f"user{number:03}" for number in range(200)]
    for user in users:
        workspace.add_user(user)
        workspace.grant(user, "CAN QUERY", LLM)
    tokens = {user: workspace.token(user) for user in users}
    limits = Limits(connect=20.0)

    def one(number):
        chance = random.Random(number)
        user = users[number % len(users)]
        with user_session(host=workspace.host, token=tokens[user], limits=limits) as session:
            started = time.monotonic()
            stream = asked(session)
            for _part in stream:
                if chance.random() < 0.5:
                    break
            waited = time.monotonic() - started
            if chance.random() < 0.5:
                in_a_cycle(stream)
            assert me(session.client) == user
        return waited

    with ThreadPoolExecutor(THREADS) as pool:
        slowest = max(pool.map(one, range(STREAMS)))
    assert slowest < limits.read
