"""Frameworks whose threads drop the context: fail closed, and mended by one line. `make test-frameworks`."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.sdk import WorkspaceClient
from support import SPACE, as_user, calls, extra, me

from obo_kit import propagate, requires_scopes, with_user_client

more_frameworks = pytest.importorskip("more_frameworks")
USERS = ("alice", "bob")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_traces"),
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own
]


@requires_scopes("genie")
@with_user_client
def find(client: WorkspaceClient, question: str) -> str:
    """Find things.

    Args:
        question: What to find.
    """
    return f"{question} for {me(client)} in {client.genie.get_space(SPACE).title}"


@pytest.fixture
def every_pool(monkeypatch):
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)  # put back afterwards
    propagate(ThreadPoolExecutor)


@pytest.fixture
def world(agents_world):
    return agents_world


def at_the_same_time(workspace, run):
    """What a function gives as each user, each in a thread of a server's own."""
    answers: dict[str, object] = {}

    def request(user):
        with as_user(workspace, user):
            answers[user] = run(user)

    threads = [threading.Thread(target=request, args=(user,)) for user in USERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    return answers


def seen(workspace):
    return sorted(record.user for record in calls(workspace) if record.path.startswith("/api/2.0/genie"))


def code_agent(world):
    make = extra("smolagents", "tool")
    from smolagents import CodeAgent, OpenAIServerModel

    model = OpenAIServerModel("coder", api_base=world.url, api_key=world.key)
    return CodeAgent([make(find)], model, max_steps=1, verbosity_level=0)


def test_smolagents_code_agent(world, workspace, every_pool):
    pytest.importorskip("smolagents")
    answers = at_the_same_time(workspace, lambda user: code_agent(world).run("Find x."))
    assert answers == {user: f"x for {user} in {SPACE}" for user in USERS}
    assert seen(workspace) == [*USERS]


def test_smolagents_code_agent_fails_closed_without(world, workspace):
    pytest.importorskip("smolagents")
    answers = at_the_same_time(workspace, lambda user: str(code_agent(world).run("Find x.")))
    assert all(f"for {user}" not in answer for user, answer in answers.items())
    assert seen(workspace) == []


def test_autogen_sync_tools(world, workspace, every_pool):
    pytest.importorskip("autogen_agentchat")
    framework = more_frameworks.AutoGen()

    async def ask(user):
        with as_user(workspace, user):
            return (await framework.ask(world, user, find, {"question": user})).text

    async def both():
        return await asyncio.gather(*map(ask, USERS))

    assert asyncio.run(both()) == [f"{user} for {user} in {SPACE}" for user in USERS]
    assert seen(workspace) == [*USERS]


def in_parallel(dspy):
    class Program(dspy.Module):
        def forward(self, question):
            return find(question)

    program = Program()
    return dspy.Parallel(num_threads=2, disable_progress_bar=True)(
        [(program, dspy.Example(question=question).with_inputs("question")) for question in "abc"]
    )


def test_dspy_parallel(workspace, every_pool):
    dspy = pytest.importorskip("dspy")
    for user in USERS:  # dspy takes one thread at a time for its settings
        with as_user(workspace, user):
            assert in_parallel(dspy) == [f"{question} for {user} in {SPACE}" for question in "abc"]
    assert seen(workspace) == [user for user in USERS for _ in "abc"]


def test_dspy_parallel_fails_closed_without(workspace):
    dspy = pytest.importorskip("dspy")
    with as_user(workspace, "alice"):
        assert in_parallel(dspy) == [None] * 3  # it logs what failed
    assert seen(workspace) == []


def test_mlflow_evaluate(workspace, empty_store):
    """It submits from a thread of its own, which carries nothing: bind the function where the user is known."""
    import mlflow

    def ask(question: str) -> str:
        return find(question)

    data = [{"inputs": {"question": question}, "expectations": {}} for question in "ab"]
    mlflow.set_tracking_uri(empty_store)
    mlflow.set_experiment("evaluated")
    mlflow.tracing.enable()
    try:
        with as_user(workspace, "alice"):
            mlflow.genai.evaluate(data=data, predict_fn=propagate(ask), scorers=[])
        assert seen(workspace) == ["alice"] * len(seen(workspace))
        assert len(seen(workspace)) >= len(data)
        workspace.log.clear()
        with as_user(workspace, "bob"):
            mlflow.genai.evaluate(data=data, predict_fn=ask, scorers=[])
        assert seen(workspace) == ["bob"]  # tried once before the threads are started
    finally:
        mlflow.tracing.disable()
