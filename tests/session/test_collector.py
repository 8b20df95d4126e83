"""A collector that runs anywhere: it finishes dropped streams, also inside the `set` of a context variable."""

from __future__ import annotations

import contextvars
import gc
import os
import subprocess
import sys
import textwrap

import pytest

from obo_kit import user_session

STREAMS = {
    "an entry point": """
        @user_session(**ALICE)
        def stream():
            yield 1
            yield 2

        def begun():
            made = stream()
            next(made)
            return made
    """,
    "a coroutine": """
        @types.coroutine
        def wait():
            yield 1

        @user_session(**ALICE)
        async def predict():
            await wait()

        def begun():
            made = predict()
            made.send(None)
            return made
    """,
    "a block": """
        def stream():
            with user_session(**ALICE):
                yield 1

        def begun():
            made = stream()
            next(made)
            return made
    """,
    "a tool's block": """
        def stream():
            with optional_tool("search"):
                yield 1

        def begun():
            made = stream()
            next(made)
            return made
    """,
}

PROGRAM = """
import contextvars, gc, types
from obo_kit import optional_tool, user_session

ALICE = {{"token": "alices-token-of-the-test", "host": "http://127.0.0.1:1"}}
VARIABLES = [contextvars.ContextVar(f"v{{number}}") for number in range(40)]

{stream}

def drop():
    cycle = [begun()]
    cycle.append(cycle)

# The collector runs when a number of objects is exceeded. With each number, that is at another place in the loop.
for number in range(20, 80):
    gc.set_threshold(number, 1, 1)
    for _ in range(150):
        for _ in range(3):
            drop()
        tokens = [variable.set(object()) for variable in VARIABLES]
print("alive")
"""


@pytest.mark.parametrize("form", STREAMS)
def test_a_stream_that_is_dropped_inside_a_set_does_no_harm(form):
    """On Python 3.11 the process crashed: what the interrupted `set` read was free (python/cpython#148891)."""
    program = PROGRAM.format(stream=textwrap.dedent(STREAMS[form]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "PYTHONMALLOC": "debug"},  # overwrites what is free
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the collector runs between two steps of Python code there")
def test_a_dropped_stream_changes_nothing_in_the_context_that_it_interrupts():
    variable = contextvars.ContextVar("variable", default="before")

    @user_session(token="alices-token-of-the-test", host="http://127.0.0.1:1")
    def stream():
        try:
            yield
        finally:
            ended.append(variable.set("after"))

    ended: list[object] = []
    cycle: list[object] = [dropped := stream()]
    next(dropped)
    cycle.append(cycle)
    del dropped, cycle
    gc.collect()
    assert (len(ended), variable.get()) == (1, "before")


def test_a_stream_that_is_closed_is_closed_in_its_own_context():
    variable = contextvars.ContextVar("variable", default="before")

    @user_session(token="alices-token-of-the-test", host="http://127.0.0.1:1")
    def stream():
        token = variable.set("within")
        try:
            yield
        finally:
            variable.reset(token)

    made = stream()
    next(made)
    assert variable.get() == "within"
    made.close()
    assert variable.get() == "before"
