"""The embedding that the local workspace computes itself. It is real and repeatable, but not a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["DIMENSION", "embed"]

DIMENSION = 256


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Return a vector of length 1 for each text: its parts of words, hashed into ``DIMENSION`` numbers."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer: Any = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), n_features=DIMENSION)
    vectors: list[list[float]] = vectorizer.transform(texts).toarray().tolist()
    return vectors
