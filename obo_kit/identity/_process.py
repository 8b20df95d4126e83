"""Record the events of this process that decide who may be acted for when no user is known (rules 1 and 7)."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

__all__: list[str] = []


@dataclass(slots=True)
class ProcessState:
    """The process-wide part of identity. It only grows stricter, until a test resets it.

    Attributes:
        sessions_opened: A `user_session` was entered, in any form. From then on, a tool without a session has lost it.
        user_named: A user was named by a token, headers, a runtime or a source. From then on, nobody else stands in.
        entry_point_declared: A function or class is decorated with ``@user_session``.
        developer_said: The log already says that the developer's own credentials are used.
    """

    sessions_opened: bool = False
    user_named: bool = False
    entry_point_declared: bool = False
    developer_said: bool = False


PROCESS = ProcessState()

OPEN_SESSIONS: set[int] = set()
"""The ids of the sessions that are open in this process. Messages name them when code cannot see its session."""


def _forked() -> None:
    OPEN_SESSIONS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def reset_process_state() -> None:
    """Forget who was served so far, as a test does before it begins. Declared entry points stay declared."""
    restore(ProcessState(entry_point_declared=PROCESS.entry_point_declared))


def saved() -> ProcessState:
    """Return a copy of the state, for `restore`."""
    return ProcessState(**{field.name: getattr(PROCESS, field.name) for field in fields(ProcessState)})


def restore(state: ProcessState) -> None:
    """Restore the state from a copy."""
    for field in fields(ProcessState):
        setattr(PROCESS, field.name, getattr(state, field.name))
