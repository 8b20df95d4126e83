"""What runs in a process that `multiprocessing` starts anew: a tool, where nothing is an entry point."""

from __future__ import annotations

from support import me

from obo_kit import with_user_client


@with_user_client
def whoami(client) -> str:
    return me(client)


def answer(answers) -> None:
    try:
        answers.put(whoami())
    except Exception as error:
        answers.put(f"{type(error).__name__}: {error}")
