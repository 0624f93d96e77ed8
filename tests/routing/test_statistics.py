"""Numbers in the place of text: what is read is what the contract says, and anything else is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.manifests import make_expert
from support.textless import WITHOUT_TEXT, statistics

from cogen.errors import CogenError, CompatibilityError, DigestError
from cogen.routing.statistics import read_embedding, read_states, read_token_counts

COUNTS = {"ids": torch.tensor([3, 7, 9]), "counts": torch.tensor([2, 5, 4])}


def expert(tmp_path: Path, **tensors: Any) -> Any:
    table = statistics(tmp_path / "mute", embedder="hf://org/words" if "embedding" in tensors else None, **tensors)
    return make_expert(tmp_path, "mute", statistics=table, **WITHOUT_TEXT)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Counts as they are; means in float64."""
    states, embedding = torch.randn(2, 4), torch.randn(6)
    found = expert(tmp_path, token_counts=COUNTS, states={"mean": states}, embedding={"mean": embedding})
    assert torch.equal(read_token_counts(found).ids, COUNTS["ids"])
    assert torch.equal(read_token_counts(found).counts, COUNTS["counts"])
    assert torch.equal(read_states(found, (2, 4)), states.double())
    assert torch.equal(read_embedding(found, 6), embedding.double())


@pytest.mark.parametrize(
    ("kind", "tensors", "message"),
    [
        ("token_counts", {"ids": torch.tensor([1])}, "holds ids, not counts and ids"),
        ("token_counts", {"ids": torch.tensor([1, 2]), "counts": torch.tensor([5])}, r"not int64 \(kinds,\)"),
        ("token_counts", {"ids": torch.tensor([1.0]), "counts": torch.tensor([5])}, r"not int64 \(kinds,\)"),
        ("token_counts", {"ids": torch.tensor([2, 1]), "counts": torch.tensor([5, 5])}, "do not ascend"),
        ("token_counts", {"ids": torch.tensor([1, 1]), "counts": torch.tensor([5, 5])}, "do not ascend"),
        ("token_counts", {"ids": torch.tensor([-1, 1]), "counts": torch.tensor([5, 5])}, "do not ascend"),
        ("token_counts", {"ids": torch.tensor([49152]), "counts": torch.tensor([5])}, "vocabulary of 49,152"),
        ("token_counts", {"ids": torch.tensor([1]), "counts": torch.tensor([1])}, "counted 1 times, below the floor 2"),
        ("states", {"mean": torch.zeros(3, 4)}, r"shape \(3, 4\) where its base has \(2, 4\)"),
        ("states", {"mean": torch.zeros(4)}, "floats of 2 axes"),
        ("states", {"mean": torch.zeros(2, 4, dtype=torch.int64)}, "floats of 2 axes"),
        ("states", {"mean": torch.full((2, 4), float("inf"))}, "not a number"),
        ("embedding", {"mean": torch.zeros(5)}, "5 dimensions where its embedder gives 6"),
        ("embedding", {"text": torch.zeros(6)}, "holds text, not mean"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path: Path, kind: str, tensors: Any, message: str) -> None:
    """Whose they are, what is wrong, and whom to tell."""
    found = expert(tmp_path, **{kind: tensors})
    read: Any = {
        "token_counts": lambda: read_token_counts(found),
        "states": lambda: read_states(found, (2, 4)),
        "embedding": lambda: read_embedding(found, 6),
    }
    with pytest.raises(CompatibilityError, match=message) as caught:
        read[kind]()
    assert "mute" in caught.value.message
    assert "The tests" in str(caught.value.hint)


def test_other_bytes_and_no_statistics(tmp_path: Path) -> None:
    """A file that is not the published one, a kind that is not there, an expert without any."""
    found = expert(tmp_path, token_counts=COUNTS)
    with pytest.raises(CogenError, match="mute ships no statistics with mean"):
        read_states(found)
    (tmp_path / "mute" / "token_counts.safetensors").write_bytes(b"other")
    with pytest.raises(DigestError, match=r"token_counts.safetensors of mute"):
        read_token_counts(found)
    with pytest.raises(CompatibilityError, match="plain ships no statistics"):
        read_token_counts(make_expert(tmp_path, "plain"))
