"""What happened in this process that decides who may be acted for where no user is known (rules 1 and 7)."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

__all__: list[str] = []


@dataclass(slots=True)
class ProcessState:
    """The process-wide part of identity. It only ever grows stricter, until it is reset for a test.

    Attributes:
        sessions_opened: A `user_session`, in any form, was entered: a tool that sees none has lost it.
        user_named: A user was named (token, headers, runtime, source): nobody else is meant where none is.
        entry_point_declared: A function or class stands under ``@user_session``.
        developer_said: The log says that the developer's own credentials are used.
    """

    sessions_opened: bool = False
    user_named: bool = False
    entry_point_declared: bool = False
    developer_said: bool = False


PROCESS = ProcessState()

OPEN_SESSIONS: set[int] = set()
"""The ids of the sessions that are open in this process, for messages: one may be out of sight."""


def _forked() -> None:
    OPEN_SESSIONS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def reset_process_state() -> None:
    """Forget who was served so far, as a test does before it begins. Entry points that are declared stay declared."""
    restore(ProcessState(entry_point_declared=PROCESS.entry_point_declared))


def saved() -> ProcessState:
    """Return a copy of the state, for `restore`."""
    return ProcessState(**{field.name: getattr(PROCESS, field.name) for field in fields(ProcessState)})


def restore(state: ProcessState) -> None:
    """Put the state back to a copy."""
    for field in fields(ProcessState):
        setattr(PROCESS, field.name, getattr(state, field.name))
