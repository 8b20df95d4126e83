"""The newest of the frameworks that Databricks authors use besides: `make test-frameworks`, in environments of their own."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from frameworks import Told
from support import SPACE, as_user, calls, me

from obo_kit import optional_tool, requires_scopes, with_user_client

more_frameworks = pytest.importorskip("more_frameworks")

DOCS = Path(__file__).parents[2] / "docs" / "frameworks.md"
WRITE = os.environ.get("OBO_KIT_WRITE_DOCS") == "1"
TABLES = {  # by the comment that stands above each in the docs
    "what the model sees": ("client hidden", "docs kept", "sent by the model", "denial"),
    "who acts": ("sync tool", "async tool", "stream", "resumed by another user"),
}
COLUMNS = tuple(column for columns in TABLES.values() for column in columns)
DENIED = "What this tool uses does not exist, or you do not have access to it. Trying again will not help."
NO_SESSION = "ran outside any request's session"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_traces"),
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own
]


@pytest.fixture
def world(agents_world, workspace):
    agents_world.requests.clear()
    return agents_world


def answer(client: WorkspaceClient, question: str, limit: int) -> str:
    return f"{question} {limit} for {me(client)} in {client.genie.get_space(SPACE).title}"


def decorated(kind):
    if kind == "function":

        def find(client: WorkspaceClient, question: str, limit: int = 3) -> str:
            """Find things.

            Args:
                client: The handle.
                question: What to find.
                limit: How many.
            """
            return answer(client, question, limit)

    else:

        async def find(client: WorkspaceClient, question: str, limit: int = 3) -> str:
            """Find things.

            Args:
                client: The handle.
                question: What to find.
                limit: How many.
            """
            return await asyncio.to_thread(answer, client, question, limit)

    return optional_tool(requires_scopes("genie")(with_user_client(find)))


async def ask(framework, world, user, tool, **arguments) -> Told:
    with as_user(world.workspace, user):
        return await framework.ask(world, user, tool, {"question": "x"} | arguments)


def seen(world):
    return [record.user for record in calls(world.workspace) if record.path.startswith("/api/2.0/genie")]


async def client_hidden(framework, world):
    for kind in framework.kinds:
        world.requests.clear()
        await ask(framework, world, "alice", decorated(kind))
        text = json.dumps(world.requests[0]["tools"])
        assert "question" in text
        assert re.search("client|handle", text, re.IGNORECASE) is None, text
    return "yes"


async def docs_kept(framework, world):
    """What the model is told of the tool: its description, and of each argument that is left."""
    texts = set()
    for kind in framework.kinds:
        world.requests.clear()
        await ask(framework, world, "alice", decorated(kind))
        text = json.dumps(world.requests[0]["tools"])
        assert "Find things." in text
        texts.add("tool and arguments" if "What to find." in text and "How many." in text else "tool")
    (kept,) = texts
    return kept


async def sent_by_the_model(framework, world):
    """Whatever the model sends for the client, nobody but the user asks the workspace."""
    (kind, *_) = framework.kinds
    try:
        told = await ask(framework, world, "alice", decorated(kind), client="mine")
    except Exception as refused:
        told = Told(str(refused), error=True)
    assert set(seen(world)) <= {"alice"}
    return "dropped" if told.text == f"x 3 for alice in {SPACE}" else "refused"


async def many_users(framework, world, kind):
    """alice, bob and carol at the same time, through one tool that is made once; carol may not."""
    if kind not in framework.kinds:
        return "—"
    tool, users = decorated(kind), ("alice", "bob", "carol")
    answers = await asyncio.gather(
        *(ask(framework, world, user, tool, question=f"{number}") for number, user in enumerate(users))
    )
    texts = [told.text for told in answers]
    if any(NO_SESSION in text for text in texts):
        assert all(NO_SESSION in text for text in texts)
        assert seen(world) == []
        return "no session: denied"
    for number, (user, text) in enumerate(zip(users, texts, strict=True)):
        assert (DENIED if user == "carol" else f"{number} 3 for {user} in {SPACE}") in text
    assert sorted(seen(world)) == sorted(users)
    return "each user's own"


async def stream(framework, world):
    """The framework's own stream, for three users at the same time; carol may not."""
    if not framework.streams:
        return "—"
    tool, users = decorated(framework.kinds[-1]), ("alice", "bob", "carol")

    async def consume(number, user):
        question = {"question": f"{number}"}
        with as_user(world.workspace, user):
            text = await framework.stream_run(world, tool, json.dumps(question))
        return text or world.told_back(question)

    world.requests.clear()
    texts = await asyncio.gather(*(consume(number, user) for number, user in enumerate(users)))
    for number, (user, text) in enumerate(zip(users, texts, strict=True)):
        assert (DENIED if user == "carol" else f"{number} 3 for {user} in {SPACE}") in text
    assert sorted(seen(world)) == sorted(users)
    assert sum(body.get("stream", False) for body in world.requests) >= len(users)  # of its model, too
    return "each user's own"


async def resumed(framework, world):
    """A conversation that alice begins, and bob and carol take up: each question is asked as who asks it."""
    say = framework.conversation(world, decorated(framework.kinds[-1]))
    for number, user in enumerate(("alice", "bob", "carol", "alice")):
        question = {"question": f"{number}"}
        with as_user(world.workspace, user):
            text = await say(json.dumps(question))
        expected = DENIED if user == "carol" else f"{number} 3 for {user} in {SPACE}"
        assert expected in (text or world.told_back(question))
    assert seen(world) == ["alice", "bob", "carol", "alice"]
    return "as who asks"


async def denial(framework, world):
    forms = {}
    for kind in framework.kinds:
        told = await ask(framework, world, "carol", decorated(kind))
        if NO_SESSION not in told.text:
            assert DENIED in told.text
            forms[kind] = "an error, with its text" if told.error else "its text"
    if len({*forms.values()}) == 1:
        return next(iter(forms.values()))
    return "; ".join(f"{'async' if kind == 'coroutine' else 'sync'}: {form}" for kind, form in forms.items())


CELLS = {
    "client hidden": client_hidden,
    "docs kept": docs_kept,
    "sent by the model": sent_by_the_model,
    "sync tool": lambda framework, world: many_users(framework, world, "function"),
    "async tool": lambda framework, world: many_users(framework, world, "coroutine"),
    "stream": stream,
    "resumed by another user": resumed,
    "denial": denial,
}


@pytest.mark.parametrize("framework", more_frameworks.BEYOND, ids=lambda framework: framework.title)
async def test_a_row_of_the_table_holds(world, framework):
    pytest.importorskip(framework.module, reason="installed by make test-frameworks")
    row = []
    for column in COLUMNS:
        world.workspace.log.clear()
        row.append(await asyncio.wait_for(CELLS[column](framework, world), 50))
    if WRITE:
        write(framework.title, [framework.version, *row])
    assert rows()[framework.title][1:] == row


def rows():
    """Each framework's version and cells, of both tables."""
    found: dict[str, list[str]] = {}
    for title in TABLES:
        for line in table(title).splitlines()[2:]:
            (name, _, version), *cells = (cell.strip().rpartition(" ") for cell in line.strip("|").split("|"))
            found.setdefault(name, [version]).extend("".join(cell) for cell in cells)
    return found


def table(title):
    return DOCS.read_text("utf-8").partition(f"<!-- {title} -->\n")[2].partition("<!-- end -->")[0]


def write(name, row):
    known = rows() | {name: row}
    order = [framework.title for framework in more_frameworks.BEYOND if framework.title in known]
    start = 1
    for title, columns in TABLES.items():
        cells = [(f"{each} {known[each][0]}", *known[each][start : start + len(columns)]) for each in order]
        lines = [("framework", *columns), ("---",) * (len(columns) + 1), *cells]
        text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        DOCS.write_text(DOCS.read_text("utf-8").replace(table(title), text), "utf-8")
        start += len(columns)


def test_the_table_has_a_row_of_each():
    assert list(rows()) == [framework.title for framework in more_frameworks.BEYOND]
    assert all(len(row) == len(COLUMNS) + 1 for row in rows().values())
