"""Names of embedders, their digests, and a tokenizer that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cogen.errors import SourceError
from cogen.routing.embedder import DEFAULT, DEFAULT_DIGEST, EMBEDDERS, Embedder


def test_names_stand_for_pinned_sources() -> None:
    assert (Embedder().source, Embedder().digest) == (DEFAULT, DEFAULT_DIGEST)
    for name, (source, digest) in EMBEDDERS.items():
        assert (Embedder(name).source, Embedder(name).digest) == (source, digest)
        assert Embedder(source).digest == digest  # as a lock names it
    other = Embedder("file:///models/bge")
    assert (other.source, other.digest) == ("file:///models/bge", None)


def test_a_folder_that_is_no_model_is_refused_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched once; no exception is kept, whose traceback would keep its callers' models in memory."""
    fetched: list[str] = []

    def fetch(source: str, **_: object) -> Path:
        fetched.append(source)
        return tmp_path

    monkeypatch.setattr("cogen.routing.embedder.fetch", fetch)
    embedder = Embedder("file:///models/none")
    for _ in range(2):
        with pytest.raises(SourceError, match="is not a sentence-transformers model") as caught:
            embedder.reading(["a"])
        assert "modules.json" in str(caught.value.hint)
    assert fetched == ["file:///models/none"]
    assert not any(isinstance(value, BaseException) for value in vars(embedder).values())


def test_counts_read_everything() -> None:
    reading = Embedder("counts").reading(["传染病"])
    assert not reading.poor
    assert reading.letters == 0
