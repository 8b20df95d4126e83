"""Record the events of this process that decide who may be acted for when no user is known (rules 1 and 7)."""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any

__all__: list[str] = []

_NAMED = "obo_kit_user_named"


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

DRY_RUN: ContextVar[bool] = ContextVar("obo_kit_dry_run", default=False)
"""Whether MLflow tries the agent before it logs it: an entry point then opens a session without a user, if there is none."""


def note_user_named() -> None:
    """Record that a user was named: from now on, in this process and those that it spawns, nobody else stands in."""
    if not PROCESS.user_named:
        PROCESS.user_named = True
        _tell_children()


def user_was_named() -> bool:
    """Return whether a user was named in this process, or in the one that `multiprocessing` started it from."""
    if PROCESS.user_named:
        return True
    process: Any = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None and bool(_handed_on(process).get(_NAMED))


def _tell_children() -> None:
    import multiprocessing.process  # it is light, and MLflow has it

    _handed_on(multiprocessing.process)[_NAMED] = PROCESS.user_named


def _handed_on(process: Any) -> dict[str, Any]:
    """Return what `multiprocessing` hands on to the processes that it starts, by whichever method."""
    return getattr(process.current_process(), "_config", {})


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
    _tell_children()
