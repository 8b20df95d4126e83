"""Make text of unknown origin safe to print, to log and to match."""

from __future__ import annotations

import re

__all__: list[str] = []

# C0 and C1 controls, line and paragraph separators, and the marks that turn the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]+")


def plain(text: str, limit: int = 500) -> str:
    """Return one line of at most ``limit`` characters: no control characters, white space collapsed.

    Linear in ``limit``, however long the text is.
    """
    text = text[: 4 * limit]
    return " ".join((text if text.isprintable() else _CONTROLS.sub(" ", text)).split())[:limit]
