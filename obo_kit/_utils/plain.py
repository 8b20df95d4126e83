"""Make text of unknown origin safe to print, to log and to match."""

from __future__ import annotations

import re

__all__: list[str] = []

# C0 and C1 controls, line and paragraph separators, invisible marks and marks that change the direction of text, tags that
# spell invisible words, and lone surrogates, which no encoding accepts.
_CLASS = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
)
_CONTROLS = re.compile(f"[{_CLASS}]+")
_CONTROL = re.compile(f"[{_CLASS}]")


def plain(text: str, limit: int = 500) -> str:
    """Return the text as one line of at most ``limit`` characters, without control characters and repeated white space.

    Takes time linear in ``limit``, however long the text is.
    """
    text = text[: 4 * limit]
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    elif "  " not in text and text == text.strip():
        return text[:limit]  # in a printable text only the space is white space
    return " ".join(text.split())[:limit]


def visible(text: str, keep: str = "\t") -> str:
    """Return a text of the same length, with ``?`` for each control character that is not in ``keep``."""
    return text if text.isprintable() else _CONTROL.sub(lambda match: match[0] if match[0] in keep else "?", text)
