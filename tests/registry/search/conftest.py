"""An open registry without a server, and a real sentence-transformers model of ten words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.shelf import open_service

from cogen_registry.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    opened = open_service(tmp_path / "root")
    yield opened
    opened.close()


#: Words that mean the same have the same direction.
MEANINGS = (("tumour", "cancer", "oncology"), ("grid", "power", "electricity"), ("steel", "alloy", "metal"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that sentence-transformers loads: one vector a word, a text is their mean."""
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace

    vocabulary = {"[UNK]": 0}
    vectors = [[0.0, 0.0, 0.0, 1.0]]
    for axis, words in enumerate(MEANINGS):
        for word in words:
            vocabulary[word] = len(vocabulary)
            vectors.append([8.0 * (axis == place) for place in range(3)] + [0.0])
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    folder = tmp_path_factory.mktemp("model")
    static = StaticEmbedding(tokenizer, embedding_weights=np.array(vectors, np.float32))
    SentenceTransformer(modules=[static], device="cpu").save(str(folder), create_model_card=False)
    return folder
