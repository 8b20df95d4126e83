"""Processes that fork while they serve: no user, no connection and no answer goes along."""

from __future__ import annotations

import contextvars
import json
import multiprocessing
import os
import random
import time

import pytest
from databricks.ai_search.client import VectorSearchClient
from support import INDEX, as_user, callers, calls, me

from obo_kit import NoUserIdentityError, OboError, current_session, user_session, with_user_client
from obo_kit.identity._headers import REQUEST_HEADERS, RequestHeaders

NAMES = ("alice", "bob", "carol")


def whoami(*_: object) -> str:
    return me(current_session().client)


forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
# The process has threads (the workspace's); what is tested is what happens when servers fork all the same.
ignore_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def in_a_child(work) -> object:
    """What a forked child says of itself, as JSON."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                json.dump(work(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0
    return json.loads(said)


@forking
@ignore_threads
def test_a_session_counts_as_closed_in_a_forked_child(workspace):
    """Rule 5: a forked worker serves others."""
    with as_user(workspace, "alice") as session:
        client = session.client
        index = session.get(VectorSearchClient).get_index(index_name=INDEX)
        workspace.log.clear()

        def child():
            said = [session.closed]
            for use in (whoami, lambda: me(client), index.describe, lambda: session.client):
                try:
                    use()
                except Exception as error:
                    said.append(type(error).__name__)
            return said

        assert in_a_child(child) == [True, "NoUserSessionError", *["SessionClosedError"] * 3]
        assert len(workspace.log) == 0
        assert me(client) == "alice"


@forking
@ignore_threads
def test_a_forked_child_may_open_sessions_of_its_own(workspace, monkeypatch):
    """Rule 4: those of its parent are no overlap."""
    monkeypatch.setenv("OBO_KIT_PROCESS_TOKEN", "refuse")
    with workspace.as_model_serving(token_source="process") as runtime, runtime.user("alice"), user_session():

        def child():
            with user_session() as session:
                return me(session.client)

        # Forked where no request is served, as servers fork their workers.
        assert contextvars.Context().run(in_a_child, child) == "alice"


@forking
@ignore_threads
def test_a_pool_forked_inside_a_request_does_not_go_on_as_its_user(workspace):
    """Rule 4: the request's variables stay set in the worker, for whomever it works later."""

    @with_user_client
    def tool(client):
        return me(client)

    @user_session
    def work():
        return tool()

    def refusals():
        said = []
        for use in (tool, work):
            try:
                said.append(use())
            except OboError as error:
                said.append(type(error).__name__)
        return said

    with workspace.as_model_serving() as runtime, runtime.user("alice"), user_session():
        assert in_a_child(refusals) == ["NoUserSessionError", "NoUserIdentityError"]

        def named():
            with as_user(workspace, "bob") as session:
                return me(session.client)

        assert in_a_child(named) == "bob"
    assert callers(workspace) == ["bob"]


@forking
@ignore_threads
@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")
@pytest.mark.parametrize("server", ["the kit's middleware", "MLflow's agent server"])
def test_a_pool_forked_while_an_app_serves_does_not_go_on_as_its_user(workspace, server):
    """Rule 4: also where the request has opened no session yet."""
    from mlflow.genai.agent_server import utils

    def refused():
        with pytest.raises(NoUserIdentityError, match="another process serves"), user_session():
            pass

    with workspace.as_app() as proxy:
        headers = proxy.headers("alice")

        def request():
            if server == "the kit's middleware":
                REQUEST_HEADERS.set(RequestHeaders(headers))
            else:
                utils.set_request_headers(headers)
            assert in_a_child(refused) is None
            with user_session() as session:
                return me(session.client)

        assert contextvars.Context().run(request) == "alice"
    assert callers(workspace) == ["alice"]


@forking
@ignore_threads
def test_forked_workers_share_no_connection_and_no_answers(workspace):
    """Rule 10: a pool used on both sides of a fork hands one user another's answer."""
    for name in NAMES:
        with as_user(workspace, name) as session:
            me(session.client)
    parent = {record.connection for record in workspace.log}
    workspace.log.clear()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    tokens = {name: workspace.token(name) for name in NAMES}

    def worker(seed):
        chance = random.Random(seed)
        wrong = []
        for _ in range(25):
            name = chance.choice(NAMES)
            with user_session(host=workspace.host, token=tokens[name]) as session:
                said = me(session.client)
            if said != name:
                wrong.append((name, said))
        answers.put(wrong)

    workers = [context.Process(target=worker, args=(seed,)) for seed in range(4)]
    for one in workers:
        one.start()
    deadline = time.monotonic() + 40  # workers that share a connection may wait for each other's answers for ever
    try:
        for one in workers:
            one.join(max(0.0, deadline - time.monotonic()))
        assert [one.exitcode for one in workers] == [0] * 4
    finally:
        for one in workers:
            one.kill()
            one.join()
    assert [answers.get() for _ in workers] == [[]] * 4
    seen = {record.connection for record in calls(workspace)}
    assert len(calls(workspace)) == 100
    assert len(seen) == 4
    assert not seen & parent
