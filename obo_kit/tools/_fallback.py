"""Answer in place of a denial, and report the denial."""

from __future__ import annotations

import copy
import inspect
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from obo_kit._utils.default import Default
from obo_kit.exceptions import Denial, DenialReason

if TYPE_CHECKING:
    from obo_kit.session._session import UserSession
    from obo_kit.tools._retry import Retry

__all__: list[str] = []

logger = logging.getLogger(__name__)
_SOMEBODY_S_MISTAKE = frozenset({DenialReason.MISSING_SCOPE, DenialReason.NO_IDENTITY, DenialReason.POLICY})


class _Forgiven(frozenset[DenialReason]):
    """A set of reasons that ``help()`` shows in words."""

    def __repr__(self) -> str:
        return "<all reasons but POLICY>"


FORGIVEN: frozenset[DenialReason] = _Forgiven(frozenset(DenialReason) - {DenialReason.POLICY})
"""The reasons that `optional_tool` forgives by default. An admin should hear of a refusal of every caller."""
UNSET: Any = Default("<the denial's user_message>")
_MOST_ALIKE = 10  # a limit, so that tools that are made anew for each request do not fill the log
_reported: Counter[tuple[str | None, DenialReason, tuple[str, ...]]] = Counter()


def report(denial: Denial, session: UserSession | None, reported: set[Any] | None = None) -> None:
    """Write one line in the log, at a level that depends on who can fix it (rule 18), and one entry on the session.

    Args:
        denial: The denial.
        session: The session that it happened in.
        reported: The denials of this tool that were already reported; `None` for a block, which reports once per name.
    """
    if session is not None:
        session.note_denial(denial)
    if denial.reason not in _SOMEBODY_S_MISTAKE:
        logger.info("%s: %s (%s)", denial.tool, denial.reason.value, denial.detail)
        return
    mistake, alike = (denial.reason, denial.scopes), (denial.tool, denial.reason, denial.scopes)
    if (reported is None and _reported[alike]) or (reported is not None and mistake in reported):
        return
    if reported is not None:
        reported.add(mistake)
    _reported[alike] += 1
    if _reported[alike] <= _MOST_ALIKE:
        logger.error("%s: %s (%s) Fix: %s", denial.tool, denial.reason.value, denial.detail, denial.remedy)


def check_fallback(value: Any) -> None:
    """Refuse a fallback that cannot be made anew for each user.

    Raises:
        TypeError: It is a coroutine function, or an object that cannot be copied.
    """
    if callable(value) and inspect.iscoroutinefunction(value):
        raise TypeError(
            "optional_tool(fallback=…) takes a value or a plain function, not a coroutine function. "
            "Fix: write it as a plain function of the denial."
        )
    if value is UNSET or callable(value):
        return
    try:
        copy.deepcopy(value)
    except Exception as error:
        raise TypeError(
            f"optional_tool(fallback=…): {type(value).__name__} cannot be copied ({type(error).__name__}), and one object "
            "for all users would carry data from one to the next. Fix: pass a function that makes it: "
            "fallback=lambda denial: …"
        ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fallback:
    """A tool's answer in place of a denial."""

    value: Any
    on: frozenset[DenialReason]
    retry: Retry | None = None
    reported: set[Any] = field(default_factory=set, compare=False)

    def leave(self, denial: Denial, session: UserSession | None) -> None:
        """Report a denial that is not forgiven, if an admin has to hear of it."""
        if denial.reason is DenialReason.POLICY:
            report(denial, session, self.reported)

    def instead_of(self, denial: Denial, session: UserSession | None) -> Any:
        """Return the fallback for a denial, and report it."""
        report(denial, session, self.reported)
        if self.value is UNSET:
            return denial.user_message
        if callable(self.value):
            return self.value(denial)
        # Each caller gets a copy: a shared object would carry data from one user to the next.
        return copy.deepcopy(self.value)
