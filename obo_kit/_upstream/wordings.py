"""Describe one text of a refusal: what it is, where it counts, and who mends it."""

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
# What a statement's error quotes of the statement comes last.
_ECHO = "== SQL"


def matchable(text: str) -> str:
    """Return what of a message is matched: one line, without what it quotes of a statement, at most 2,000 characters."""
    return plain(text, _MAX_TEXT).partition(_ECHO)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text that tells a refusal from another. ``reason=None``: known, and not a denial.

    Attributes:
        needles: Lower-case words, one of which is in every text that the pattern matches: looked for first.
        kind: The kind of resource the text is about, where it does not say so itself.
        privilege: The privilege that is missing, where the text implies it.
        path: The start of the only paths on which the text means this.
        any_code: The text counts also beside a code that by itself says that this is no denial.
        remedy: Who mends it and how, where neither a grant nor a scope does.
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
