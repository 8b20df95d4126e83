"""Check a tool that was interrupted in one user's request and is resumed in another's (LangGraph's ``interrupt``).

It then starts again, with the arguments that a model chose for the first user and the rights of the second.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from obo_kit._upstream import classes
from obo_kit._upstream.classes import is_a
from obo_kit._upstream.requests import graph_step
from obo_kit.exceptions import IdentityMismatchError
from obo_kit.identity._user import same_user, without_credential

if TYPE_CHECKING:
    from obo_kit.identity._user import UserIdentity
    from obo_kit.session._session import UserSession

__all__: list[str] = []

logger = logging.getLogger(__name__)

_MOST = 4096
INTERRUPTED: dict[tuple[str, ...], UserIdentity] = {}
"""The user of the request that a step was interrupted in, by step and tool, without a credential. The oldest are dropped."""


def note_interrupt(error: BaseException, tool: str, session: UserSession | None) -> None:
    """Remember whose tool it is, if an error interrupts it so that a person can decide."""
    identity = session._lease.identity if session is not None else None
    if identity is None or not is_a(error, classes.GRAPH_INTERRUPT) or (step := graph_step()) is None:
        return
    key = (*step, tool)
    INTERRUPTED[key] = without_credential(identity)
    while len(INTERRUPTED) > _MOST:
        INTERRUPTED.pop(next(iter(INTERRUPTED)), None)


def check_resumed(tool: str, session: UserSession) -> None:
    """Refuse, or log, that a tool goes on as another user than the one that it was interrupted for.

    Raises:
        IdentityMismatchError: It does, and ``OBO_KIT_RESUME`` is ``refuse``.
    """
    step = graph_step()
    key = (*(step or ()), tool)
    owner, identity = INTERRUPTED.get(key), session._lease.identity
    if owner is None or identity is None:
        return
    refuses = os.environ.get("OBO_KIT_RESUME", "").strip().lower() == "refuse"
    same = same_user(owner, identity)
    if same or not refuses:
        INTERRUPTED.pop(key, None)
    if same:
        return
    what = (
        f"The tool '{tool}' was interrupted in a request of {owner.principal or 'another user'}, and is resumed in one of "
        f"{identity.principal or 'another user'}"
    )
    if refuses:
        raise IdentityMismatchError(
            f"{what}, so it was not run.",
            remedy="Let the user who began resume it: make session.cache_key a part of the thread_id. To let it run as the "
            "user who resumes it, unset OBO_KIT_RESUME.",
        )
    logger.warning("%s: it runs as the latter. Set OBO_KIT_RESUME=refuse to refuse that.", what)
