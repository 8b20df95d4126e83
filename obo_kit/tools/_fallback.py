"""What a tool answers with in place of a denial, and how the denial is reported."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from obo_kit.exceptions import Denial, DenialReason

if TYPE_CHECKING:
    from obo_kit.session._entry import UserSession
    from obo_kit.tools._retry import Retry

__all__: list[str] = []

logger = logging.getLogger(__name__)
_DEPLOYERS_MISTAKE = frozenset({DenialReason.MISSING_SCOPE, DenialReason.NO_IDENTITY})
UNSET: Any = object()
_reported: set[tuple[str | None, DenialReason]] = set()


def report(denial: Denial, session: UserSession | None) -> None:
    """One line in the log, at the level of whose mistake it is (rule 18), and one entry on the session."""
    if session is not None:
        session.note_denial(denial)
    if denial.reason not in _DEPLOYERS_MISTAKE:
        logger.info("%s: %s (%s)", denial.tool, denial.reason.value, denial.detail)
    elif (denial.tool, denial.reason) not in _reported:
        _reported.add((denial.tool, denial.reason))
        logger.error("%s: %s (%s) Fix: %s", denial.tool, denial.reason.value, denial.detail, denial.remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fallback:
    """What a tool says instead of a denial."""

    value: Any
    on: frozenset[DenialReason]
    retry: Retry | None = None

    def instead_of(self, denial: Denial, session: UserSession | None) -> Any:
        """The fallback for a denial, which is reported."""
        report(denial, session)
        if self.value is UNSET:
            return denial.user_message
        if callable(self.value):
            return self.value(denial)
        # A list of its own for each caller: one that all share would carry things from one user to the next.
        return copy.deepcopy(self.value) if isinstance(self.value, (list, dict, set)) else self.value
