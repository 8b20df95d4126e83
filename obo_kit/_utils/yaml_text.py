"""Change a YAML file in place: lines that a change does not touch stay as they were typed, comments included."""

from __future__ import annotations

import difflib
import io
from typing import Any

from obo_kit._utils.extras import MissingExtraError

__all__: list[str] = []


def parser() -> Any:
    """Return a parser that keeps comments and quotes. Raises MissingExtraError if ruamel.yaml is not installed."""
    try:
        from ruamel.yaml import YAML
    except ImportError:
        raise MissingExtraError(
            "ruamel.yaml is not installed, and it is needed to update a file and keep its comments", extra="bundle"
        ) from None
    made = YAML()
    made.preserve_quotes = True
    made.width = 100_000
    return made


def dumped(data: Any, **indent: int) -> str:
    """Return parsed data as text, with the indentation of its mappings and lists (``YAML.indent``)."""
    writer = parser()
    writer.indent(**indent)
    written = io.StringIO()
    writer.dump(data, written)
    return written.getvalue()


def patched(text: str, before: str, after: str) -> str:
    """Apply the change from ``before`` to ``after``, both made by `dumped`, to the text that they came from.

    If the text is indented in several ways, its own lines and the new ones may not fit together: then return ``after``.
    """
    lines, old, new = (part.splitlines(keepends=True) for part in (text, before, after))
    if len(lines) != len(old):
        return after if before != after else text
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    merged = "".join(
        line for sort, i1, i2, j1, j2 in changes for line in (lines[i1:i2] if sort == "equal" else new[j1:j2])
    )
    try:
        fits = parser().load(merged) == parser().load(after)
    except Exception:
        fits = False
    return merged if fits else after
