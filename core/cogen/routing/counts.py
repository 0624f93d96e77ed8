"""An embedding without a model: counts of character n-grams, for languages that no embedding model here reads.

A text becomes the square roots of the counts of its n-grams of 1 to 4 characters within words (scikit-learn's
``char_wb``), hashed into :data:`DIMENSIONS` places, at unit length: Hellinger's distance between two texts' n-grams.
Where words are not separated by spaces, one and two characters are what carries the meaning; no language is unknown.
It knows spellings alone: two words for one thing share nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

DIMENSIONS = 16_384
#: Names the computation: whatever changes the numbers changes the source.
SOURCE = "counts://char-1-4-v1"
DIGEST = "sha256:" + hashlib.sha256(SOURCE.encode()).hexdigest()


class Counts:
    """Stateless: the same text gives the same vector on every machine."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self._vectorizer: Any = HashingVectorizer(
            analyzer="char_wb", ngram_range=(1, 4), n_features=DIMENSIONS, alternate_sign=False, norm=None
        )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Shape (texts, :data:`DIMENSIONS`), float32, rows of length one; an empty text is zero."""
        found = self._vectorizer.transform(texts).toarray()
        roots = np.sqrt(found)
        lengths = np.sqrt(found.sum(axis=1, keepdims=True))
        unit: np.ndarray = np.divide(roots, lengths, out=np.zeros_like(roots), where=lengths > 0)
        return unit.astype(np.float32)
