"""A gateway that forgets a connection without a word: run in a network of its own, ``unshare --map-root-user --net``.

The packets of the connection are dropped from then on, and new connections work. Prints, as JSON, what each client's next call
gives, the seconds that it takes, and how many of its requests the server saw.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from databricks_openai import DatabricksOpenAI

from obo_kit import UserSession, user_session
from obo_kit.testing import LocalWorkspace

ESTABLISHED = "01"


def ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True)


def ports_of_clients(server: int) -> list[int]:
    """Return the local ports of the connections to a server's port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    ends = [[int(end.split(":")[1], 16) for end in row[1:3]] for row in rows if row[3] == ESTABLISHED]
    return [own for own, other in ends if other == server]


FORGOTTEN: set[int] = set()


def forget(server: int) -> None:
    """Drop every packet of the connections that there are. Those of before may still be listed."""
    for port in set(ports_of_clients(server)) - FORGOTTEN:
        FORGOTTEN.add(port)
        for end in ("sport", "dport"):
            ip("rule", "add", "pref", 5, "ipproto", "tcp", end, port, "blackhole")
    ip("route", "flush", "cache")


def statement(session: UserSession) -> Any:
    return session.client.statement_execution.execute_statement("SELECT 1", "w1").status


def chat(session: UserSession) -> Any:
    asked = [{"role": "user", "content": "x"}]
    return session.get(DatabricksOpenAI).chat.completions.create(model="llm", messages=asked).choices[0].message.content


def me(session: UserSession) -> Any:
    return session.client.current_user.me().user_name


def main() -> None:
    logging.disable(logging.WARNING)
    ip("link", "set", "lo", "up")
    ip("rule", "add", "pref", 10, "lookup", "local")  # so that a rule may come before it
    ip("rule", "del", "pref", 0)
    told: dict[str, Any] = {}
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_warehouse("w1")
        workspace.grant("alice", "CAN USE", "w1")
        workspace.add_endpoint("llm", lambda _: "hi")
        workspace.grant("alice", "CAN QUERY", "llm")
        calls: tuple[Callable[[UserSession], Any], ...] = (statement, chat, me)
        for call in calls:
            with user_session(host=workspace.host, token=workspace.token("alice")) as session:
                call(session)
            forget(int(workspace.host.rpartition(":")[2]))
            workspace.log.clear()
            began = time.monotonic()
            with user_session(host=workspace.host, token=workspace.token("alice")) as session:
                try:
                    gave = str(call(session))
                except Exception as error:
                    gave = f"{type(error).__name__}: {error}"
            told[call.__name__] = {"gave": gave, "seconds": time.monotonic() - began, "seen": len(workspace.log)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
