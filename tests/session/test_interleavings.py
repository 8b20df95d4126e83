"""Every interleaving of requests, streams, threads and forks of three users, on what the server saw."""

from __future__ import annotations

import asyncio
import contextvars
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from support import as_user, callers, me

import obo_kit.identity._sources as identity_module
from obo_kit import (
    IdentityMismatchError,
    NoUserIdentityError,
    NoUserSessionError,
    ScopeViolationError,
    SessionClosedError,
    TokenExpiredError,
    UserIdentity,
    current_session,
    propagate,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.identity._process import PROCESS
from obo_kit.integrations.asgi import UserHeadersMiddleware

NAMES = ("alice", "bob", "carol")


def whoami(*_: object) -> str:
    return me(current_session().client)


@with_user_client
def bare_tool(client):
    """A tool that no session is opened for."""
    return me(client)


class Request:
    """One request: the context it runs in, as a task or a thread has one."""

    def __init__(self, name, scope, build=True):
        self.name, self.scope = name, scope
        self.renewable, self.renewed = True, False
        self.context = contextvars.Context()
        self.session = self.context.run(scope.__enter__)
        self.client = self.session.client if build else None


class Runtime:
    """A runtime that serves one user after the other, whose tokens last or do not."""

    name = "runtime"

    def __init__(self, workspace):
        self.workspace = workspace
        self.serves(NAMES[0], 3600)

    def serves(self, name, seconds):
        token = self.workspace.token(name, expires_in=seconds)
        self.user = name
        self.identity = UserIdentity.from_token(host=self.workspace.host, token=token, source=self.name)

    def capture(self):
        return self.identity


class Stream:
    """A stream of one user's, and the client it held."""

    def __init__(self, workspace, name):
        self.name, self.clients = name, []

        @as_user(workspace, name)
        def steps():
            self.clients.append(current_session().client)
            while True:
                yield whoami()

        self.steps = steps()


class Interleavings(RuleBasedStateMachine):
    """Users, requests, nested boundaries, streams, kept clients, expired tokens and faults in any order.

    Rules 4 to 6: the server sees whom the model expects, and nothing after a close.
    """

    requests = Bundle("requests")
    streams = Bundle("streams")
    kept = Bundle("kept")
    contexts = Bundle("contexts")
    expired = Bundle("expired")
    workspace = None
    agent_server = None
    users = st.sampled_from(NAMES)

    @initialize()
    def begin(self):
        self.workspace.log.clear()
        self.expected = []
        self.live = []
        self.open_streams = []
        self.runtime = Runtime(self.workspace)
        identity_module._registered[:] = [self.runtime]

    @rule(target=requests, name=users)
    def open(self, name):
        return self.open_with(name, as_user(self.workspace, name))

    def open_with(self, name, scope):
        request = Request(name, scope)
        self.live.append(request)
        return request

    @rule(request=requests)
    def call(self, request):
        assert request.context.run(whoami) == request.name
        assert me(request.client) == request.name
        self.expected += [request.name] * 2

    @rule(name=users)
    def serve_the_next(self, name):
        self.runtime.serves(name, 3600)

    @rule(target=requests, name=users)
    def open_in_the_runtime(self, name):
        self.runtime.serves(name, 3600)
        return self.open_with(name, user_session())

    @rule(target=expired, name=users)
    def open_with_an_expired_token(self, name):
        self.runtime.serves(name, -1)
        request = Request(name, user_session(), build=False)
        self.live.append(request)
        self.runtime.serves(name if name == "alice" else "bob", 3600)
        return request

    @rule(target=expired, name=users)
    def open_with_an_expired_token_of_one_s_own(self, name):
        token = self.workspace.token(name, expires_in=-1)
        request = Request(name, user_session(host=self.workspace.host, token=token), build=False)
        request.renewable = False
        self.live.append(request)
        return request

    @rule(request=expired)
    def call_with_an_expired_token(self, request):
        if request.renewed or (request.renewable and self.runtime.user == request.name):
            assert request.context.run(whoami) == request.name
            self.expected.append(request.name)
            request.renewed = True
        else:
            with pytest.raises(TokenExpiredError):
                request.context.run(whoami)

    @rule(request=requests, status=st.sampled_from([401, 403, 404, 500]))
    def call_with_a_fault(self, request, status):
        self.workspace.add_fault(status=status)
        with pytest.raises(DatabricksError):
            request.context.run(whoami)
        self.expected.append(request.name)

    @rule(request=requests)
    def call_with_a_passing_outage(self, request):
        self.workspace.add_fault(status=503, headers={"Retry-After": "0"})
        assert request.context.run(whoami) == request.name
        self.expected += [request.name] * 2

    @rule(request=requests, name=users)
    def nest(self, request, name):
        def named():
            with as_user(self.workspace, name):  # another token, even where it is the same user's
                whoami()

        def joined():
            with user_session() as session:
                assert session is request.session
                return whoami()

        with pytest.raises(IdentityMismatchError):
            request.context.run(named)
        assert request.context.run(joined) == request.name
        self.expected.append(request.name)

    @rule(request=requests)
    def call_where_the_session_is_out_of_sight(self, request):
        def lost():
            for tool in (whoami, bare_tool):
                with pytest.raises(NoUserSessionError):
                    tool()

        def in_a_thread():
            with ThreadPoolExecutor(1) as pool:
                pool.submit(lost).result()

        request.context.run(in_a_thread)

    @rule(request=requests, name=users)
    def serve_a_request_inside(self, request, name):
        headers = {"X-Forwarded-Access-Token": self.workspace.token(name)}

        async def served(scope, receive, send):
            with user_session(headers=headers, host=self.workspace.host):
                assert whoami() == name
            with pytest.raises(NoUserSessionError):
                bare_tool()

        request.context.run(
            lambda: asyncio.run(UserHeadersMiddleware(served)({"type": "http", "headers": []}, None, None))
        )
        assert request.context.run(whoami) == request.name
        self.expected += [name, request.name]

    @rule(request=requests, name=users)
    def serve_the_agent_server_s_request_inside(self, request, name):
        """Rule 6: one that opens a session acts as its own user, one that only uses one is refused."""
        headers = {"x-forwarded-access-token": self.workspace.token(name)}

        def served():
            self.agent_server.set_request_headers(headers)
            with user_session():
                assert whoami() == name
            with pytest.raises(IdentityMismatchError):
                bare_tool()

        before, self.runtime.identity = self.runtime.identity, None
        request.context.run(contextvars.copy_context).run(served)
        self.runtime.identity = before
        assert request.context.run(whoami) == request.name
        self.expected += [name, request.name]

    @rule(request=requests, name=users)
    def hand_work_to_a_worker(self, request, name):
        """Rules 6 and 7: the worker's own request put it into the queue, or another one did, with its session or without."""

        async def worker(jobs, answers):
            while True:
                (work,) = await jobs.get()
                try:
                    answers.put_nowait(work())
                except NoUserSessionError:
                    answers.put_nowait(None)

        async def run():
            jobs, answers = asyncio.Queue(), asyncio.Queue()
            started = request.context.run(asyncio.ensure_future, worker(jobs, answers))
            async with as_user(self.workspace, name):
                jobs.put_nowait((whoami,))
                jobs.put_nowait((propagate(whoami),))
                assert [await answers.get(), await answers.get()] == [None, name]
            request.context.run(jobs.put_nowait, (whoami,))
            assert await answers.get() == request.name
            started.cancel()

        asyncio.run(run())
        self.expected += [name, request.name]

    @rule(request=requests)
    def call_with_nobody(self, request):
        """Rules 1 and 7: users were named, and now there is none; the environment has somebody to offer."""

        def nobody():
            with pytest.raises(NoUserIdentityError), user_session():
                pass
            with pytest.raises(NoUserSessionError):
                bare_tool()

        before, self.runtime.identity = self.runtime.identity, None
        contextvars.Context().run(nobody)
        self.runtime.identity = before

    @rule(request=requests)
    def use_a_narrowed_client(self, request):
        """Rule 23: the client's own, one derived from it, and in a thread without any context."""

        @requires_scopes("genie")
        @with_user_client
        def tool(client):
            derived = WorkspaceClient(config=client.config)

            def stray(of):
                return list(of.warehouses.list())

            with ThreadPoolExecutor(1) as pool:
                for use in (
                    lambda: stray(client),
                    lambda: stray(derived),
                    lambda: pool.submit(stray, derived).result(),
                ):
                    with pytest.raises(ScopeViolationError):
                        use()

        request.context.run(tool)

    @rule(request=requests)
    def derive_a_client(self, request):
        """Rule 5: it is the user's, and is kept in place of the client that it was derived from."""
        request.client = WorkspaceClient(config=request.client.config)
        assert me(request.client) == request.name
        self.expected.append(request.name)

    @rule(target=contexts, request=requests)
    def copy_context(self, request):
        return request.context.run(contextvars.copy_context), request

    @rule(copied=contexts)
    def call_in_copied_context(self, copied):
        context, request = copied
        if request.session.closed:
            with pytest.raises(NoUserSessionError):
                context.run(whoami)
        else:
            assert context.run(whoami) == request.name
            self.expected.append(request.name)

    @rule(target=kept, request=consumes(requests))
    def close(self, request):
        request.context.run(request.scope.__exit__, None, None, None)
        self.live.remove(request)
        assert request.session.closed
        with pytest.raises(NoUserSessionError):
            request.context.run(current_session)
        return request.client

    @rule(target=streams, name=users)
    def begin_stream(self, name):
        stream = Stream(self.workspace, name)
        self.open_streams.append(stream)
        return stream

    @rule(stream=streams)
    def step(self, stream):
        assert next(stream.steps) == stream.name
        self.expected.append(stream.name)

    @rule(stream=streams, request=requests)
    def step_inside_a_request(self, stream, request):
        if not stream.clients and stream.name != request.name:
            return  # begun inside another user's request, it refuses: `nest` says so
        if not stream.clients:
            return  # begun inside its own, it would end with it
        assert request.context.run(next, stream.steps) == stream.name
        assert request.context.run(current_session) is request.session
        self.expected.append(stream.name)

    @rule(target=kept, stream=consumes(streams))
    def end_stream(self, stream):
        if not stream.clients:
            assert next(stream.steps) == stream.name
            self.expected.append(stream.name)
        stream.steps.close()
        self.open_streams.remove(stream)
        return stream.clients[0]

    @rule(client=kept)
    def use_kept_client(self, client):
        with pytest.raises(SessionClosedError):
            me(client)

    @invariant()
    def the_server_saw_whom_the_model_expects(self):
        if self.workspace is not None:
            assert callers(self.workspace) == self.expected

    @invariant()
    def nothing_is_in_force_outside(self):
        with pytest.raises(NoUserSessionError):
            current_session()

    def teardown(self):
        for request in self.live:
            request.context.run(request.scope.__exit__, None, None, None)
        for stream in self.open_streams:
            stream.steps.close()
        if self.workspace is not None:
            self.workspace.clear_faults()
        identity_module._registered.clear()


LONG = os.environ.get("OBO_KIT_TEST_PROFILE", "") == "long"


@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")
def test_the_server_sees_no_other_user_in_any_interleaving(workspace, monkeypatch):
    """Rules 1, 4 to 7 and 23."""
    from hypothesis.stateful import run_state_machine_as_test
    from mlflow.genai.agent_server import utils

    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("carol"))
    machine = type("Machine", (Interleavings,), {"workspace": workspace, "agent_server": utils})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=500 if LONG else 25,
            stateful_step_count=80 if LONG else 25,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    PROCESS.entry_point_declared = PROCESS.sessions_opened = PROCESS.user_named = False
