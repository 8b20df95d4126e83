"""Many users, threads, faults and edges for a while: rules 2 to 7 and 23 of the design, on what the server saw.

A short one in the default suite; ``make soak`` runs 100,000 calls (``OBO_KIT_SOAK_CALLS``).
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.ai_search.client import VectorSearchClient
from databricks.sdk import WorkspaceClient
from support import INDEX, me

from obo_kit import (
    NoUserIdentityError,
    NoUserSessionError,
    OboError,
    ScopeViolationError,
    SessionClosedError,
    TokenExpiredError,
    current_session,
    propagate,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.integrations.asgi import UserHeadersMiddleware

pytestmark = pytest.mark.long

CALLS = int(os.environ.get("OBO_KIT_SOAK_CALLS", "3000"))
BATCH = 5_000
THREADS = 16
USERS = [f"user{number:02}" for number in range(50)]


@pytest.fixture(scope="module")
def crowded_workspace():
    pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
    from obo_kit.testing import LocalWorkspace

    with LocalWorkspace() as workspace:
        workspace.add_index(INDEX, [{"id": "a1", "text": "refund"}], primary_key="id", text_column="text")
        workspace.add_service_principal("agent")
        for user in USERS:
            workspace.add_user(user)
            workspace.grant(user, "SELECT", INDEX)
        yield workspace


def whoami(*_: object) -> str:
    return me(current_session().client)


@with_user_client
def tool(client):
    return me(client)


@requires_scopes("genie")
@with_user_client
def narrowed(client):
    return list(WorkspaceClient(config=client.config).warehouses.list())


@user_session
def entry():
    return tool()


def refused(function, *expected):
    """Nothing, where a call is refused as it should be; else what came of it, beside the name of nobody."""
    try:
        return [("nobody", function())]
    except expected:
        return []
    except OboError as error:
        return [("nobody", type(error).__name__)]


class Soak:
    """What happens, and what is wrong with it."""

    def __init__(self, workspace, runtime):
        self.workspace, self.runtime = workspace, runtime
        self.wrong: list[tuple[str, str]] = []
        self.kept: list[object] = []

        @user_session
        def stream(name):
            for _ in range(4):
                yield name, whoami()

        @user_session
        def predict(name, inner, chance):
            session = current_session()
            answers = [(name, whoami()), (name, tool())]
            answers += [(name, who) for who in inner.map(propagate(whoami), range(2))]
            answers += self.edges(session, inner, chance)
            index = session.get(VectorSearchClient).get_index(index_name=INDEX)
            index.similarity_search(query_text="refund", columns=["id"], num_results=1)
            if chance.random() < 0.05:
                self.kept += [session.client.current_user.me, index.describe]
            return answers

        self.stream, self.predict = stream, predict

    def edges(self, session, inner, chance):
        """What may come of a request that loses its session, derives a client, or serves another request inside."""
        name = (session.identity.principal or "").partition("@")[0]
        edge = chance.randrange(5)
        if edge == 0:
            return refused(inner.submit(tool).result, NoUserSessionError)
        if edge == 1:
            return refused(inner.submit(entry).result, NoUserIdentityError)
        if edge == 2:
            return [(name, me(WorkspaceClient(config=session.client.config)))]
        if edge == 3:
            return refused(narrowed, ScopeViolationError)
        other = chance.choice(USERS)
        headers = [(b"x-forwarded-access-token", self.workspace.token(other).encode())]
        answers = []

        async def served(scope, receive, send):
            answers.append((other, entry()))

        request = UserHeadersMiddleware(served)({"type": "http", "headers": headers}, None, None)
        contextvars.copy_context().run(asyncio.run, request)
        return answers

    def requests(self, seed, calls):
        """One thread: requests of two users that interleave, until enough calls were made."""
        chance = random.Random(seed)
        made = 0
        with ThreadPoolExecutor(2) as inner:
            while made < calls:
                name, other = chance.sample(USERS, 2)
                if chance.random() < 0.2:
                    self.workspace.add_fault(status=chance.choice([401, 403, 500, 503]), user=name)
                life, began = chance.choice([3600, 20]), time.monotonic()
                try:
                    # A token about to expire is exchanged for one of whoever the runtime then serves, if the same user.
                    with self.runtime.user(name, expires_in=life):
                        answers = self.predict(name, inner, chance)
                        mine = self.stream(name)
                        answers.append(next(mine))
                    with self.runtime.user(other):
                        theirs = self.stream(other)
                        for _ in range(3):
                            answers += [next(theirs), next(mine)]
                        if chance.random() < 0.5:
                            mine.close()
                        del theirs
                except Exception as error:
                    ran_out = isinstance(error, TokenExpiredError) and time.monotonic() - began >= life - 1
                    if not ran_out and not is_injected(error):
                        raise
                    answers = []
                made += 13
                self.wrong.extend(pair for pair in answers if pair[0] != pair[1])


def is_injected(error: BaseException) -> bool:
    return "Injected fault" in f"{error}{error.__cause__}"


def test_every_call_is_its_user_s_and_none_comes_after_the_end(crowded_workspace, monkeypatch):
    """Rules 2, 4 to 7 and 23: no call under another identity, none after a close, none by the service principal."""
    workspace, done = crowded_workspace, 0
    principal = workspace.service_principal("agent")
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "raise")  # a deployed agent only warns by default
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", principal.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", principal.client_secret)
    with workspace.as_model_serving() as runtime, ThreadPoolExecutor(THREADS) as pool:
        soak = Soak(workspace, runtime)
        while done < CALLS:
            workspace.log.clear()
            workspace.clear_faults()
            batch = min(BATCH, CALLS - done)
            list(pool.map(soak.requests, range(done, done + THREADS), [batch / THREADS] * THREADS))
            records = [record for record in workspace.log if "well-known" not in record.path]
            done += len(records)
            assert soak.wrong == []
            assert {record.kind for record in records} == {"user"}
            assert [r for r in records if r.cookies.get("local_user") not in {None, r.user}] == []
            assert not workspace.log.filter(decision="expired token")
            sent = len(workspace.log)
            for use in soak.kept:
                with pytest.raises(SessionClosedError):
                    use()
            assert len(workspace.log) == sent
            soak.kept.clear()
    assert done >= CALLS
