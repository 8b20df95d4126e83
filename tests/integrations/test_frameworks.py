"""One matrix: each framework, and what must hold in it (rules 12, 13, 19). A test behind every cell of docs/frameworks.md."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from frameworks import AGENT, FRAMEWORKS, MODEL, Served, Told, World
from support import SPACE, as_user, calls, me

from obo_kit import NoUserSessionError, current_session, optional_tool, requires_scopes, with_user_client

DOCS = Path(__file__).parents[2] / "docs" / "frameworks.md"
WRITE = os.environ.get("OBO_KIT_WRITE_DOCS") == "1"
DENIED = "What this tool uses does not exist, or you do not have access to it. Trying again will not help."
COLUMNS = ("schema hidden", "value refused", "kind kept", "denial shape", "streaming")
HEAD = f"| framework | {' | '.join(COLUMNS)} |\n|{' --- |' * (len(COLUMNS) + 1)}\n"

pytestmark = [
    pytest.mark.usefixtures("no_traces"),
    pytest.mark.filterwarnings(
        "ignore:unclosed transport:ResourceWarning"
    ),  # nobody closes ChatDatabricks' async client
]
each = pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: type(framework).__name__)


@pytest.fixture(scope="module")
def furnished(furnished_workspace):
    world = World(furnished_workspace)
    furnished_workspace.add_endpoint(MODEL, world.model)
    furnished_workspace.add_service_principal(AGENT)
    furnished_workspace.grant(AGENT, "CAN QUERY", MODEL)
    return world


@pytest.fixture
def world(furnished, workspace):
    furnished.requests.clear()
    return furnished


def in_the_loop() -> bool:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop() is not None
    return False


def answer(client, question, limit) -> str:
    return f"{question} {limit} for {me(client)} in {client.genie.get_space(SPACE).title}"


def author_s(kind):
    """A function of the author's."""

    def find(client: WorkspaceClient, question: str, limit: int = 3) -> str:
        """Find things.

        Args:
            client: The handle.
            question: What to find.
            limit: How many.
        """
        return answer(client, question, limit)

    if kind == "function":
        return find

    async def find(client: WorkspaceClient, question: str, limit: int = 3) -> str:
        """Find things.

        Args:
            client: The handle.
            question: What to find.
            limit: How many.
        """
        return await asyncio.to_thread(answer, client, question, limit)

    return find


def decorated(fn, **settings):
    return optional_tool(**settings)(requires_scopes("genie")(with_user_client(fn)))


def session_of(framework, world, user):
    return contextlib.nullcontext() if isinstance(framework, Served) else as_user(world.workspace, user)


async def ask(framework, world, user, tool, **arguments):
    with session_of(framework, world, user):
        return await framework.ask(world, user, tool, {"question": "x"} | arguments)


def seen(world):
    """Who asked Genie, on what the server saw."""
    return [record.user for record in calls(world.workspace) if record.path.startswith("/api/2.0/genie")]


# --- the cells ------------------------------------------------------------------------------------------------------------


async def schema_hidden(framework, world):
    for kind in framework.kinds:
        told = await framework.schema(world, decorated(author_s(kind)))
        text = json.dumps(told, default=str)
        assert "question" in text
        assert re.search("client|handle", text, re.IGNORECASE) is None, text
    return "yes"


async def value_refused(framework, world):
    """Refused, or dropped before it reaches the tool; in no case used."""
    outcomes = set()
    for kind in framework.kinds:
        try:
            told = await ask(framework, world, "alice", decorated(author_s(kind)), client="mine", limit=4)
        except (TypeError, ValueError) as refused:
            told = Told(str(refused), error=True)
        if told.error:
            assert "client" in told.text
        else:
            assert told.text == f"x 4 for alice in {SPACE}"
        outcomes.add("refused" if told.error else "dropped")
    (outcome,) = outcomes
    assert set(seen(world)) == ({"alice"} if outcome == "dropped" else set())
    return outcome


async def kind_kept(framework, world):
    """A tool runs where the framework would have run it without the kit."""
    ran = []

    def function(question: str) -> str:
        """Find things."""
        ran.append(in_the_loop())
        return "done"

    async def coroutine(question: str) -> str:
        """Find things."""
        ran.append(in_the_loop())
        return "done"

    def with_client(fn):
        if fn is function:
            return with_user_client(lambda client, question: fn(question))

        async def tool(client, question):
            return await fn(question)

        return with_user_client(tool)

    for kind in framework.kinds:
        for fn in (function, coroutine):
            if fn.__name__ == kind:
                tool = with_client(fn)
                tool.__name__, tool.__doc__ = fn.__name__, fn.__doc__
                tool.__annotations__ = dict(fn.__annotations__)
                assert (await ask(framework, world, "alice", fn)).text == "done"
                assert (await ask(framework, world, "alice", optional_tool(tool))).text == "done"
    assert len(ran) == 2 * len(framework.kinds)
    assert ran[::2] == ran[1::2]
    return ", ".join({"function": "sync", "coroutine": "async"}[kind] for kind in framework.kinds)


async def denial_shape(framework, world):
    shapes = set()
    for kind in framework.kinds:
        for settings, expected in (({}, DENIED), ({"fallback": "Not for you."}, "Not for you.")):
            told = await ask(framework, world, "carol", decorated(author_s(kind), **settings))
            assert told.text.removeprefix("Error executing tool find: ") == expected
            shapes.add("an error, with its text" if told.error else "its text")
    assert set(seen(world)) == {"carol"}
    (shape,) = shapes
    return shape


async def streaming(framework, world):
    """Two users' streams at the same time: each step is its own user's."""
    if framework.stream is None:
        return "—"

    @optional_tool
    @with_user_client
    def steps(client, question: str):
        """Find things."""
        for number in range(3):
            yield f"{number} {me(client)}"

    @optional_tool
    @with_user_client
    def whole(client, question: str) -> str:
        """Find things."""
        return f"0 {me(client)} 1 {me(client)} 2 {me(client)}"

    async def consume(user):
        items = []
        with session_of(framework, world, user):
            async for item in framework.stream(world, user, steps if framework.streams_the_tool else whole):
                items.append(item)
                await asyncio.sleep(0)
        return items

    users = ("alice", "carol")
    for user, items in zip(users, await asyncio.gather(*map(consume, users)), strict=True):
        assert len(items) >= 2
        assert [f"{number} {user}" in " ".join(items) for number in range(3)] == [True] * 3
        assert all(other == user or other not in " ".join(items) for other in users)
    asked = [record.user for record in calls(world.workspace) if record.path.endswith("/Me")]
    assert sorted(asked) == ["alice"] * 3 + ["carol"] * 3
    with pytest.raises(NoUserSessionError):
        current_session()
    return "the tool's own steps" if framework.streams_the_tool else "around the tool"


async def three_users(framework, world):
    """At the same time, through one tool that is made once."""
    for kind in framework.kinds:
        world.workspace.log.clear()
        tool = decorated(author_s(kind))
        users = ("alice", "bob", "carol") * 2
        asking = (ask(framework, world, user, tool, question=f"{number}") for number, user in enumerate(users))
        told = await asyncio.gather(*asking)
        for number, (user, one) in enumerate(zip(users, told, strict=True)):
            allowed = f"{number} 3 for {user} in {SPACE}"
            assert one.text.removeprefix("Error executing tool find: ") == (DENIED if user == "carol" else allowed)
        assert sorted(seen(world)) == sorted(users)


CELLS = dict(zip(COLUMNS, (schema_hidden, value_refused, kind_kept, denial_shape, streaming), strict=True))


@each
async def test_three_users_at_once_are_each_their_own(world, framework):
    with world.workspace.as_app() if isinstance(framework, Served) else contextlib.nullcontext() as world.proxy:
        await three_users(framework, world)


@each
@pytest.mark.parametrize("column", COLUMNS)
async def test_each_cell_of_the_table_holds(world, framework, column):
    with world.workspace.as_app() if isinstance(framework, Served) else contextlib.nullcontext() as world.proxy:
        cell = await CELLS[column](framework, world)
    if WRITE:
        write(framework.name, column, cell)
    assert written()[framework.name][COLUMNS.index(column)] == cell


# --- the table --------------------------------------------------------------------------------------------------------------


def written():
    table = DOCS.read_text(encoding="utf-8").partition("<!-- table -->\n")[2].partition("<!-- end of table -->")[0]
    assert table.startswith(HEAD)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def write(name, column, cell):
    rows = written()
    rows.setdefault(name, [""] * len(COLUMNS))[COLUMNS.index(column)] = cell
    before, _, rest = DOCS.read_text(encoding="utf-8").partition("<!-- table -->\n")
    after = rest.partition("<!-- end of table -->\n")[2]
    order = [one.name for one in FRAMEWORKS if one.name in rows]
    table = HEAD + "".join(f"| {' | '.join([one, *rows[one]])} |\n" for one in order)
    DOCS.write_text(f"{before}<!-- table -->\n{table}<!-- end of table -->\n{after}", encoding="utf-8")


def test_the_table_in_the_docs_is_whole(capsys):
    """A row of each framework, and nothing open."""
    rows = written()
    with capsys.disabled():
        print(f"\n{HEAD}" + "\n".join(f"| {' | '.join([name, *row])} |" for name, row in rows.items()))
    assert list(rows) == [framework.name for framework in FRAMEWORKS]
    assert all(all(row) for row in rows.values())
