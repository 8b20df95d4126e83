"""Describe one text of a refusal: its meaning, where it counts, and who can fix it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obo_kit._utils.plain import plain

if TYPE_CHECKING:
    from obo_kit.exceptions import DenialReason

__all__ = ["Text", "matchable", "text"]

_MAX_TEXT = 2000
# A statement's error quotes the statement last.
_ECHO = "== SQL"


def matchable(text: str) -> str:
    """Return the part of a message to match: one line, without the quoted statement, at most 2,000 characters."""
    return plain(text, _MAX_TEXT).partition(_ECHO)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text that distinguishes one refusal from others. ``reason=None``: known, but not a denial.

    Attributes:
        needles: Lower-case words, searched first. Every text that the pattern matches contains one of them.
        kind: The kind of resource that the text is about, if it does not say so itself.
        privilege: The missing privilege, if the text implies it.
        path: The start of the only paths on which the text has this meaning.
        any_code: Whether the text also counts beside a code that alone says that this is not a denial.
        remedy: Who can fix it and how, if neither a grant nor a scope does.
    """

    name: str
    reason: DenialReason | None
    needles: tuple[str, ...]
    pattern: re.Pattern[str]
    statuses: frozenset[int]
    sample: str
    source: str
    path: str = ""
    kind: str = ""
    privilege: str = ""
    any_code: bool = False
    remedy: str = ""


def text(  # noqa: PLR0917
    name: str,
    reason: DenialReason | None,
    needles: str | tuple[str, ...],
    pattern: str,
    statuses: Sequence[int],
    sample: str,
    source: str,
    *,
    path: str = "",
    kind: str = "",
    privilege: str = "",
    any_code: bool = False,
    remedy: str = "",
) -> Text:
    """Describe a text."""
    return Text(
        name=name,
        reason=reason,
        needles=(needles,) if isinstance(needles, str) else needles,
        pattern=re.compile(pattern, re.IGNORECASE),
        statuses=frozenset(statuses),
        sample=sample,
        source=source,
        path=path,
        kind=kind,
        privilege=privilege,
        any_code=any_code,
        remedy=remedy,
    )
