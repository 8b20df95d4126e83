"""Many users, threads and faults for a while: rules 2 to 6 of the design, on what the server saw.

A short one in the default suite; ``make soak`` runs 100,000 calls (``OBO_KIT_SOAK_CALLS``).
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.ai_search.client import VectorSearchClient
from support import INDEX, me

from obo_kit import SessionClosedError, current_session, propagate, user_session, with_user_client

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
        for user in USERS:
            workspace.add_user(user)
            workspace.grant(user, "SELECT", INDEX)
        yield workspace


def whoami(*_: object) -> str:
    return me(current_session().client)


@with_user_client
def tool(client):
    return me(client)


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
            index = session.get(VectorSearchClient).get_index(index_name=INDEX)
            index.similarity_search(query_text="refund", columns=["id"], num_results=1)
            if chance.random() < 0.05:
                self.kept += [session.client.current_user.me, index.describe]
            return answers

        self.stream, self.predict = stream, predict

    def requests(self, seed, calls):
        """One thread: requests of two users that interleave, until enough calls were made."""
        chance = random.Random(seed)
        made = 0
        with ThreadPoolExecutor(2) as inner:
            while made < calls:
                name, other = chance.sample(USERS, 2)
                if chance.random() < 0.2:
                    self.workspace.add_fault(status=chance.choice([401, 403, 500, 503]), user=name)
                try:
                    # A token about to expire is exchanged for one of whoever the runtime then serves, if the same user.
                    with self.runtime.user(name, expires_in=chance.choice([3600, 20])):
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
                    if not is_injected(error):
                        raise
                    answers = []
                made += 13
                self.wrong.extend(pair for pair in answers if pair[0] != pair[1])


def is_injected(error: BaseException) -> bool:
    return "Injected fault" in f"{error}{error.__cause__}"


def test_every_call_is_its_user_s_and_none_comes_after_the_end(crowded_workspace):
    """Rules 2, 4 and 5: no call under another identity, none after a close, none by the service principal."""
    workspace, done = crowded_workspace, 0
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
