"""Spellings of scopes that the tests of the catalogue draw from."""

from __future__ import annotations

from hypothesis import strategies as st

from obo_kit.scopes import SCOPES

NAMINGS = ("current", "granular")

names = st.sampled_from(sorted(SCOPES))
# Also spellings that nobody has seen, built so that they relate to one another the way real ones do.
spellings = names | st.from_regex(r"[ab](\.[cd])?(:(read|write))?", fullmatch=True)
sets = st.lists(spellings, max_size=8)
