"""Open and hold the session of one request's user."""

from obo_kit.session._entry import SessionScope, user_session
from obo_kit.session._opening import current_session, session_for_tool
from obo_kit.session._propagate import propagate
from obo_kit.session._session import RUN_FUNCTIONS, UserSession

__all__ = [
    "RUN_FUNCTIONS",
    "SessionScope",
    "UserSession",
    "current_session",
    "propagate",
    "session_for_tool",
    "user_session",
]
