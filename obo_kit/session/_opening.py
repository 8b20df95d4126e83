"""Find the current session, and open a new one (rules 1, 2, 4, 6 and 7)."""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable

from obo_kit.context._frame import FRAME, Frame, ended_session, open_session
from obo_kit.exceptions import IdentityMismatchError, NoUserIdentityError, NoUserSessionError
from obo_kit.identity._credentials import DEFAULT_LIMITS, Limits
from obo_kit.identity._headers import (
    AGENT_SERVER,
    REQUEST_HEADERS,
    from_headers,
    names_a_user,
    request_headers,
    request_served,
)
from obo_kit.identity._process import OPEN_SESSIONS, PROCESS
from obo_kit.identity._runtime import DeveloperKind, in_model_serving
from obo_kit.identity._sources import capture
from obo_kit.identity._token import Hidden
from obo_kit.identity._user import UserIdentity, from_process_token, same_user
from obo_kit.session._advice import advice, where_the_headers_are
from obo_kit.session._queues import does_others_work, watch_queues
from obo_kit.session._session import UserSession
from obo_kit.session._streams import BLOCKS, StreamFrame, block_on_the_stack, left_behind

__all__ = ["current_session"]

logger = logging.getLogger(__name__)


def current_session() -> UserSession:
    """Return the current session.

    Raises:
        NoUserSessionError: No session is open.
        IdentityMismatchError: The request being served belongs to another user.
    """
    session = session_of_request()
    if session is None:
        raise _no_session("There is no open session here.")
    session._note_task()
    return session


def session_in_force() -> UserSession | None:
    """Return the open session that this code runs in, if there is one.

    Raises:
        IdentityMismatchError: The code runs in a stream whose ``with`` block belongs to another user than the outer session.
    """
    frame = FRAME.get()
    if not BLOCKS and type(frame) is Frame:  # as in most calls: there is nothing else to ask
        return open_session(UserSession, frame)
    session, block = open_session(UserSession), block_on_the_stack() if BLOCKS else None
    left = isinstance(frame, StreamFrame) and left_behind()
    if block is not None and of_another_request(block):
        block = None  # the stream waits for a request that it sent within this process
    if block is None:
        return None if left else session
    if session is None or session is block or left:
        return block
    raise IdentityMismatchError(
        "A stream holds its `with user_session(…)` block across a yield, but runs inside another user's session.",
        remedy="Decorate the stream's function instead: @user_session(headers=lambda request: request.headers).",
    )


def of_another_request(session: UserSession) -> bool:
    """Return whether the request being served here is not the one that the session was opened in (rule 6)."""
    if REQUEST_HEADERS.get() is None and AGENT_SERVER not in sys.modules:
        return False  # no server keeps a request
    request = request_served()
    return request is not None and request is not session._request.value


def session_of_request() -> UserSession | None:
    """Return the current session, unless the request being served belongs to another user.

    A server that was started inside a session may handle the requests of other users there.

    Raises:
        IdentityMismatchError: The runtime names another user than the session's, or no user.
    """
    session = session_in_force()
    if session is None or not of_another_request(session):
        return session
    headers, identity = request_headers() or Hidden(None), session._lease.identity
    names = headers.value and names_a_user(headers)
    if names and identity and session._lease.has_token_of(from_headers(headers, host=identity.host or None)):
        return session
    raise IdentityMismatchError(
        "The session around this code belongs neither to the request being served nor to its user.",
        remedy="Open a session in each request: put @user_session on the function that serves it.",
    )


_OTHERS_WORK = (
    "This task was started in one request, and took from a queue what another request put there: it has no user."
)
_OTHERS_WORK_FIX = (
    "Let the item carry its request's headers, and name the user where the work is taken: user_session(headers=…). Start "
    "workers when the server starts, outside of any request."
)


def _no_session(message: str) -> NoUserSessionError:
    if does_others_work():
        return NoUserSessionError(_OTHERS_WORK, remedy=_OTHERS_WORK_FIX)
    if ended_session(UserSession) is not None:
        return NoUserSessionError(
            "This work was started by a request that has ended or that another process serves, and so has lost its session.",
            remedy="Wait for the work before the request ends. Background work has no user: pass it the data that it needs, "
            "or let it act with system authorization.",
        )
    if OPEN_SESSIONS:
        message += " A session is open elsewhere in this process, but this thread, task or context does not see it."
    elif not PROCESS.sessions_opened and PROCESS.entry_point_declared:
        message += " This process has an entry point (@user_session), and tools have a user only inside it."
    request = REQUEST_HEADERS.get()
    return NoUserSessionError(message, remedy=advice(inside_a_session=request is not None and request.inside_a_session))


class _ProcessTokenUsers:
    """The open sessions whose token came from the one slot that all requests of a process share (rule 4)."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._sessions: weakref.WeakSet[UserSession] = weakref.WeakSet()
        self._warned = False

    def admit(self, session: UserSession) -> None:
        with self._lock:
            overlap = any(not other.closed for other in self._sessions)
            if overlap and os.environ.get("OBO_KIT_PROCESS_TOKEN", "").strip().lower() == "refuse":
                raise NoUserIdentityError(
                    "Two requests overlap, and this runtime keeps the user's token in one place for all of them.",
                    remedy="Serve one request at a time per process, or on a runtime that keeps a token per request.",
                )
            self._sessions.add(session)
            warn = overlap and not self._warned
            self._warned |= warn
        if warn:
            logger.warning(
                "Requests overlap, and this runtime keeps the user's token in one place for all of them: a request may "
                "have received another user's token before the kit could notice. Serve one request at a time per "
                "process, or set OBO_KIT_PROCESS_TOKEN=refuse."
            )


_process_token_users = _ProcessTokenUsers()


def _renew() -> None:
    # Another thread may have held its lock at the moment of the fork.
    global _process_token_users
    _process_token_users = _ProcessTokenUsers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def session_for_tool(tool: str, *, opens: bool = True) -> tuple[UserSession, bool]:
    """Return the session that a tool runs in, and whether it was opened for this call alone (rule 7).

    Raises:
        NoUserSessionError: This process opens a session per request, and the tool sees none; or the request that started
            the tool has ended; or the tool has no use for a session of one call.
        NoUserIdentityError: No session is open, and the runtime has no user.
        IdentityMismatchError: The request being served belongs to another user.
    """
    session = session_of_request()
    if session is not None:
        if session._task is not None:
            session._note_task()
        return session, False
    if not opens or PROCESS.entry_point_declared or PROCESS.sessions_opened or ended_session(UserSession) is not None:
        raise _no_session(f"The tool '{tool}' ran outside any request's session.")
    return opened(captured(), DEFAULT_LIMITS, capture), True


def captured(developer: DeveloperKind | None = None) -> UserIdentity:
    """Return the runtime's user, unless this work was started in another request and may serve anybody by now.

    Raises:
        NoUserIdentityError: There is no user, or it is in doubt who it is.
    """
    if does_others_work():
        raise NoUserIdentityError(_OTHERS_WORK, remedy=_OTHERS_WORK_FIX)
    try:
        identity = capture(developer)
    except NoUserIdentityError as error:
        error.remedy = (None if in_model_serving() else where_the_headers_are()) or error.remedy
        raise
    ended = ended_session(UserSession)
    if ended is None:
        return identity
    if ended._lease.foreign:
        raise NoUserIdentityError(
            "This process was forked inside a request, and may work for another user by now.",
            remedy="Name the user: user_session(host=…, token=…). Or start the pool before the first request.",
        )
    if from_process_token(identity) and not (
        (former := ended._lease.identity) is not None and same_user(identity, former)
    ):
        raise NoUserIdentityError(
            "The request that started this work has ended, and the process's only token belongs to another user by now.",
            remedy="Finish the work before the request ends. Background work has no user.",
        )
    return identity


_BY_HAND = "databricks.sql"
"""The package of clients that authors build by hand, and that may ask for a session's credentials while they are built."""


@functools.cache
def _watch_clients() -> None:
    from obo_kit.clients._patches import patch_clients

    patch_clients()


def opened(
    identity: UserIdentity | None,
    limits: Limits,
    again: Callable[[], UserIdentity] | None = None,
    *,
    alone: bool = False,
) -> UserSession:
    """Open a session of a user, or without a user. ``alone``: nobody else has the identity.

    Raises:
        NoUserIdentityError: The runtime may have returned another request's token.
        TokenExpiredError: The token has expired, and the runtime has no new one.
    """
    session = UserSession(identity, limits, again)
    session._lease.alone = alone
    if _BY_HAND in sys.modules:
        _watch_clients()
    if session._task is not None:
        watch_queues()
    try:
        session._lease.check_entry()
        if identity is not None and from_process_token(identity):
            _process_token_users.admit(session)
    except BaseException:
        session.close()
        raise
    return session
