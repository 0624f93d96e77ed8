"""Embeddings that a model makes out of its own for tokens that it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tokenizers import OTHER_WORDS, bytewise, pieces, special

from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.load import load_tokenizer
from cogen.checkpoints.model import open_folder
from cogen.errors import CompatibilityError
from cogen.merging.vocabulary import TokenSource, VocabularyConfig, plan_vocabulary

START, END = special("<|im_start|>"), special("<|im_end|>")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture
def three(model: Any) -> list[Any]:
    """The first has 300 tokens, the second <|im_start|> and <|im_end|> too, the third <|im_end|> (300) and [C]."""
    return [
        model("a", bytewise()),
        model("b", bytewise(added=[START, END])),
        model("c", bytewise(added=[END, "[C]"])),
    ]


def embedding(checkpoint: Any) -> torch.Tensor:
    return checkpoint.read(EMBEDDING, torch.float64)


class TestTransplant:
    """Embeddings of missing tokens out of a model's own."""

    def test_mean(self, three: list[Any], rows_of: Any) -> None:
        """Of its own tokens."""
        new = rows_of(three, VocabularyConfig(transplant="mean"), 0, base=0)
        wanted = embedding(three[0]).mean(dim=0).expand(3, -1)
        torch.testing.assert_close(new[300:], wanted, rtol=1e-12, atol=1e-14)

    def test_subword(self, model: Any, rows_of: Any) -> None:
        """The mean of the pieces into which the model's own tokenizer splits the token's text."""
        other = bytewise(OTHER_WORDS, size=310, added=["the grid"])
        models = [model("a", bytewise()), model("b", other)]
        a, tokenizer = embedding(models[0]), load_tokenizer(models[0].folder)
        new = rows_of(models, VocabularyConfig(1, transplant="subword"), 0, base=0)
        checked = 0
        for token, id in other.get_vocab().items():
            if token in tokenizer.get_vocab():
                assert torch.equal(new[id], a[tokenizer.get_vocab()[token]])
            elif "�" not in other.decode([id]):
                ids = tokenizer(other.decode([id]), add_special_tokens=False).input_ids
                assert len(ids) > 1
                torch.testing.assert_close(new[id], a[ids].mean(dim=0), rtol=1e-14, atol=1e-15)
                checked += 1
        assert checked > 15

    def test_subword_of_bytes_that_are_no_text(self, model: Any, rows_of: Any) -> None:
        """Half a Cyrillic letter is split byte by byte."""
        other = bytewise(["мощность мощи мода могила"], size=262)
        token = next(t for t in other.get_vocab() if len(t) == 3 and "�" in other.decode([other.get_vocab()[t]]))
        models = [model("a", bytewise()), model("b", other)]
        vocabulary = bytewise().get_vocab()
        assert token not in vocabulary
        new = rows_of(models, VocabularyConfig(1, transplant="subword"), 0)
        wanted = embedding(models[0])[[vocabulary[letter] for letter in token]].mean(dim=0)
        torch.testing.assert_close(new[other.get_vocab()[token]], wanted, rtol=1e-14, atol=1e-15)

    def test_subword_across_alphabets(self, model: Any, rows_of: Any) -> None:
        """``Ġeigenvalue`` in SentencePiece's letters, no second space in front, and none where there was none."""
        ours, theirs = pieces("bpe", ["eigen", "value", "the"]), bytewise(OTHER_WORDS, size=330)
        models = [model("a", ours), model("b", theirs)]
        new = rows_of(models, VocabularyConfig(1, transplant="subword"), 0)
        ids = [piece.id for piece in ours.backend_tokenizer.model.tokenize("▁eigenvalue")]
        assert ours.convert_ids_to_tokens(ids)[0].startswith("▁")
        wanted = embedding(models[0])[ids].mean(dim=0)
        torch.testing.assert_close(new[theirs.get_vocab()["Ġeigenvalue"]], wanted, rtol=1e-14, atol=1e-15)
        inside = next(
            t for t in theirs.get_vocab() if t.isascii() and len(t) > 2 and t not in ours.get_vocab() and "<" not in t
        )
        ids = [piece.id for piece in ours.backend_tokenizer.model.tokenize(inside)]
        assert "▁" not in "".join(ours.convert_ids_to_tokens(ids))
        wanted = embedding(models[0])[ids].mean(dim=0)
        torch.testing.assert_close(new[theirs.get_vocab()[inside]], wanted, rtol=1e-14, atol=1e-15)
        both = theirs.get_vocab()["Ġthe"], ours.get_vocab()["▁the"]
        assert torch.equal(new[both[0]], embedding(models[0])[both[1]])

    def test_omp(self, model: Any, rows_of: Any, tmp_path: Path) -> None:
        """With the donor's space turned, the row is what the donor's token is in the model's own space."""
        models = [model("a", bytewise()), model("b", bytewise(added=[START, END]))]
        a = embedding(models[0])
        turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0)).double()).Q
        truth = torch.cat([a, a[[7]], torch.linspace(-1, 1, 32).double()[None]])
        file = models[1].folder / "model.safetensors"
        save_file(load_file(file) | {EMBEDDING: (truth @ turn).float()}, file)
        models[1] = open_folder(models[1].folder)
        new = rows_of(models, VocabularyConfig(transplant="omp"), 0)
        torch.testing.assert_close(new[:301], truth[:301], rtol=0, atol=1e-15)
        torch.testing.assert_close(new[301], truth[301], rtol=0, atol=1e-4)  # the donor is stored in float32
        one = rows_of(models, VocabularyConfig(transplant="omp", sparsity=1), 0)
        torch.testing.assert_close(one[300], a[7], rtol=1e-6, atol=1e-7)
        assert (one[301] - truth[301]).norm() > 0.1

    def test_omp_takes_the_bases_tokens_from_the_base(self, three: list[Any], rows_of: Any) -> None:
        """A donor is one model: the base if it has the token, else the first."""
        new = rows_of(three, VocabularyConfig(transplant="omp", sparsity=1), 0, base=2)
        b, c = embedding(three[1]), embedding(three[2])
        a = embedding(three[0])

        def nearest(row: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
            best = int(((atoms @ row).abs() / atoms.norm(dim=1)).argmax())
            return a[best] * (atoms[best] @ row / atoms[best].norm() ** 2)

        torch.testing.assert_close(new[300], nearest(c[300], c[:300]))
        torch.testing.assert_close(new[302], nearest(b[300], b[:300]))

    def test_requested_sources_win(self, three: list[Any], rows_of: Any) -> None:
        """A token with a source of its own is not made."""
        choice = VocabularyConfig(tokens={"<|im_end|>": TokenSource(2)}, transplant="mean")
        assert torch.equal(rows_of(three, choice, 0)[301], embedding(three[2])[300])

    def test_other_widths(self, model: Any, rows_of: Any) -> None:
        """A copied row must fit; a combination of own rows always does."""
        narrow = model("b", bytewise(added=[START]), hidden_size=16)
        models = [model("a", bytewise()), narrow]
        with pytest.raises(CompatibilityError, match="of width 16 in b and 32 here"):
            rows_of(models, VocabularyConfig(1), 0)
        for transplant in ("mean", "subword", "omp"):
            assert rows_of(models, VocabularyConfig(1, transplant=transplant), 0).shape == (301, 32)

    def test_nothing_in_common(self, model: Any) -> None:
        """Sparse combinations need shared tokens."""
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast

        def words(*names: str) -> Any:
            level = models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=names[0])
            return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(level), unk_token=names[0])

        pair = [model("a", words("x", "y")), model("b", words("z", "w"))]
        with OpenFiles() as files, pytest.raises(CompatibilityError, match="a and b have no token in common"):
            plan_vocabulary(pair, VocabularyConfig(1, transplant="omp"), files)
