"""What each model takes for each token, value by value."""

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
from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.vocabulary import ModelToken, TokenWish, VocabularyWish, plan_vocabulary

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


def test_own_rows_stay_own(three: list[Any], rows_of: Any) -> None:
    """A token that a model has is that model's row, in every model."""
    a, b, c = map(embedding, three)
    found = [rows_of(three, VocabularyWish(), i, base=0) for i in range(3)]
    assert [f.shape for f in found] == [(303, 32)] * 3
    for own, new in zip((a, b, c), found, strict=True):
        assert torch.equal(new[:300], own[:300])
    assert torch.equal(found[1][300:302], b[300:302])
    assert torch.equal(found[2][[301, 302]], c[[300, 301]])


def test_without_a_base_the_only_owner_or_the_mean(three: list[Any], rows_of: Any) -> None:
    """<|im_start|> has one owner, <|im_end|> two, [C] one."""
    _, b, c = map(embedding, three)
    wanted = torch.stack([b[300], (b[301] + c[300]) / 2, c[301]])
    for i, has in enumerate(([], [0, 1], [1, 2])):
        new = rows_of(three, VocabularyWish(), i)[300:]
        lacking = [j for j in range(3) if j not in has]
        assert torch.equal(new[lacking], wanted[lacking])


def test_the_base_comes_first(three: list[Any], rows_of: Any) -> None:
    """Its ids stay, and its rows go to those that lack its tokens, though others have them as well."""
    a, b, c = map(embedding, three)
    # The base is the second: its 302 ids, then [C] of the third.
    new = rows_of(three, VocabularyWish(), 0, base=1)
    assert torch.equal(new, torch.cat([a[:300], b[300:302], c[301:302]]))
    new = rows_of(three, VocabularyWish(), 2, base=1)
    assert torch.equal(new, torch.cat([c[:300], b[300:301], c[300:302]]))


@pytest.mark.parametrize("source", ["base", 2])
def test_of_one_model(source: Any, three: list[Any], rows_of: Any) -> None:
    """Exactly the tokens of the chosen one, at its ids."""
    a, b, c = map(embedding, three)
    base = 2 if source == "base" else None
    wish = VocabularyWish(source)
    assert torch.equal(rows_of(three, wish, 2, base=base), c)
    assert torch.equal(rows_of(three, wish, 1, base=base), torch.cat([b[:300], b[301:302], c[301:302]]))
    first = rows_of(three, wish, 0, base=base)
    assert torch.equal(first[:300], a)
    assert torch.equal(first[301], c[301])
    assert torch.equal(first[300], c[300] if base else (b[301] + c[300]) / 2)


class TestWishes:
    """For single tokens."""

    def test_another_model(self, three: list[Any], rows_of: Any) -> None:
        """Only for those that lack the token; with force for all."""
        _, b, c = map(embedding, three)
        wish = VocabularyWish(tokens={"<|im_end|>": TokenWish(2)})
        assert torch.equal(rows_of(three, wish, 0, base=1)[301], c[300])
        assert torch.equal(rows_of(three, wish, 1, base=1)[301], b[301])
        wish = VocabularyWish(tokens={"<|im_end|>": TokenWish(2, force=True)})
        for i in range(3):
            assert torch.equal(rows_of(three, wish, i, base=1)[301], c[300])

    def test_another_token(self, three: list[Any], rows_of: Any) -> None:
        """By name or by number."""
        a, b, _ = map(embedding, three)
        wish = VocabularyWish(
            tokens={"[C]": TokenWish(ModelToken(1, token="<|im_start|>")), "<new>": TokenWish(ModelToken(0, id=17))}
        )
        new = rows_of(three, wish, 0)
        assert torch.equal(new[302:], torch.stack([b[300], a[17]]))
        assert torch.equal(rows_of(three, wish, 2)[302], embedding(three[2])[301])

    def test_zero(self, three: list[Any], rows_of: Any) -> None:
        """For the models that lack it, and with force for all: what mergekit documents and cannot do."""
        a, b, _ = map(embedding, three)
        the = bytewise().get_vocab()["the"]
        wish = VocabularyWish(tokens={"<|im_start|>": TokenWish("zero"), "the": TokenWish("zero", force=True)})
        new, own = rows_of(three, wish, 0), rows_of(three, wish, 1)
        assert not new[[300, the]].any()
        assert torch.equal(own[300], b[300])
        assert not own[the].any()
        assert torch.equal(new[the - 1], a[the - 1])

    def test_a_token_of_nobody(self, three: list[Any], rows_of: Any) -> None:
        """Added to the tokenizer; each model takes the mean of its own tokens."""
        wish = VocabularyWish("base", tokens={"<new>": TokenWish()})
        for i, checkpoint in enumerate(three):
            new = rows_of(three, wish, i, base=0)
            assert new.shape == (301, 32)
            torch.testing.assert_close(new[300], embedding(checkpoint).mean(dim=0), rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize(
        ("wish", "error", "match"),
        [
            (VocabularyWish(tokens={"[C]": TokenWish(0)}), UsageError, r"a has no embedding for the token '\[C\]'"),
            (VocabularyWish(tokens={"[C]": TokenWish(3)}), UsageError, "no model number 3"),
            (VocabularyWish(tokens={"[C]": TokenWish(force=True)}), UsageError, "forced to no source"),
            (VocabularyWish(tokens={"[C]": TokenWish(ModelToken(0))}), UsageError, "needs a token or an id"),
            (VocabularyWish(tokens={"[C]": TokenWish(ModelToken(0, "x", 1))}), UsageError, "needs a token or an id"),
            (VocabularyWish(tokens={"[C]": TokenWish(ModelToken(0, "nope"))}), UsageError, "a has no token 'nope'"),
            (VocabularyWish(tokens={"[C]": TokenWish(ModelToken(0, id=300))}), CompatibilityError, "number 300"),
            (VocabularyWish(tokens={"": TokenWish(0)}), UsageError, "cannot be empty"),
            (VocabularyWish(-1), UsageError, "no model number -1"),
            (VocabularyWish("all"), UsageError, "no tokenizer source 'all'"),  # type: ignore[arg-type]
            (VocabularyWish(transplant="pca"), UsageError, "no transplant 'pca'"),  # type: ignore[arg-type]
            (VocabularyWish(pad_to_multiple_of=0), UsageError, "multiple of less than 1"),
            (VocabularyWish(sparsity=0), UsageError, "at least one embedding"),
        ],
    )  # fmt: skip
    def test_what_cannot_be(self, wish: Any, error: Any, match: str, three: list[Any]) -> None:
        """Refused when it is planned, before a weight is read."""
        for checkpoint in three:
            (checkpoint.folder / "model.safetensors").unlink()
        with pytest.raises(error, match=match), OpenFiles() as files:
            plan_vocabulary(three, wish, files)


class TestPadding:
    """Rows that no token has, and tokens that have no row."""

    def test_rows_beyond_the_tokenizer_stay(self, model: Any, rows_of: Any) -> None:
        """Qwen has 152,064 rows for 151,665 tokens (mergekit #425): none is cut off, in any of the models."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise(), rows=310)]
        a, b = map(embedding, models)
        for source in ("union", "base"):
            assert torch.equal(rows_of(models, VocabularyWish(source), 0, base=0), a)
            new = rows_of(models, VocabularyWish(source), 1, base=0)
            assert torch.equal(new, torch.cat([b, a[310:]]))

    def test_new_tokens_take_padded_rows(self, model: Any, rows_of: Any) -> None:
        """The size stays; the first new id is the one behind the last token, as transformers gives it."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise(added=[START, END]))]
        a, b = map(embedding, models)
        new = rows_of(models, VocabularyWish(), 0, base=0)
        assert torch.equal(new, torch.cat([a[:300], b[300:], a[302:]]))
        assert torch.equal(rows_of(models, VocabularyWish(), 1, base=0), torch.cat([b, a[302:]]))

    def test_of_the_shorter_one(self, model: Any, rows_of: Any) -> None:
        """A chosen tokenizer brings its model's rows: the other one's padding is of no use."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise(added=[START]))]
        assert rows_of(models, VocabularyWish(1), 0, base=0).shape == (301, 32)

    def test_rounded_up(self, model: Any, rows_of: Any) -> None:
        """New rows are the mean of each model's tokens, padding not counted."""
        models = [model("a", bytewise(), rows=310), model("b", bytewise(added=[START]))]
        a, b = map(embedding, models)
        wish = VocabularyWish(pad_to_multiple_of=64)
        new, other = (rows_of(models, wish, i, base=0) for i in (0, 1))
        assert new.shape == other.shape == (320, 32)
        torch.testing.assert_close(new[310:], a[:300].mean(dim=0).expand(10, -1), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(other[310:], b.mean(dim=0).expand(10, -1), rtol=1e-12, atol=1e-14)
        assert torch.equal(new[301:310], a[301:])
        assert torch.equal(other[301:310], a[301:])

    def test_a_multiple_already(self, model: Any, rows_of: Any) -> None:
        """Nothing is added."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise())]
        wish = VocabularyWish(pad_to_multiple_of=64)
        assert torch.equal(rows_of(models, wish, 0, base=0), embedding(models[0]))

    def test_a_tokenizer_longer_than_the_embedding(self, model: Any, rows_of: Any) -> None:
        """The base's ids all get a row: another model's, or the mean (mergekit #342 stops with a KeyError)."""
        models = [model("a", bytewise(added=[START, "[A]"]), rows=300), model("b", bytewise(added=[START]))]
        a, b = map(embedding, models)
        new = rows_of(models, VocabularyWish(), 0, base=0)
        assert new.shape == (302, 32)
        assert torch.equal(new[:301], torch.cat([a, b[300:]]))
        torch.testing.assert_close(new[301], a.mean(dim=0), rtol=1e-12, atol=1e-14)
        with OpenFiles() as files:
            vocabulary = plan_vocabulary(models, VocabularyWish(), files, 0)
        assert vocabulary.notes == ("1 token without an embedding in any model, now the mean of each: '[A]'",)

    def test_tokens_without_a_row_are_not_carried_over(self, model: Any, rows_of: Any) -> None:
        """Of the other models a union takes only what they have embeddings for."""
        models = [model("a", bytewise()), model("b", bytewise(added=[START, "[B]"]), rows=301)]
        new = rows_of(models, VocabularyWish(), 0, base=0)
        assert torch.equal(new, torch.cat([embedding(models[0]), embedding(models[1])[300:]]))


class TestTransplant:
    """Embeddings of missing tokens out of a model's own."""

    def test_mean(self, three: list[Any], rows_of: Any) -> None:
        """Of its own tokens."""
        new = rows_of(three, VocabularyWish(transplant="mean"), 0, base=0)
        wanted = embedding(three[0]).mean(dim=0).expand(3, -1)
        torch.testing.assert_close(new[300:], wanted, rtol=1e-12, atol=1e-14)

    def test_subword(self, model: Any, rows_of: Any) -> None:
        """The mean of the pieces into which the model's own tokenizer splits the token's text."""
        other = bytewise(OTHER_WORDS, size=310, added=["the grid"])
        models = [model("a", bytewise()), model("b", other)]
        a, tokenizer = embedding(models[0]), load_tokenizer(models[0].folder)
        new = rows_of(models, VocabularyWish(1, transplant="subword"), 0, base=0)
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
        new = rows_of(models, VocabularyWish(1, transplant="subword"), 0)
        wanted = embedding(models[0])[[vocabulary[letter] for letter in token]].mean(dim=0)
        torch.testing.assert_close(new[other.get_vocab()[token]], wanted, rtol=1e-14, atol=1e-15)

    def test_subword_across_alphabets(self, model: Any, rows_of: Any) -> None:
        """``Ġeigenvalue`` in SentencePiece's letters, without a second space in front."""
        ours, theirs = pieces("bpe", ["eigen", "value", "the"]), bytewise(OTHER_WORDS, size=330)
        models = [model("a", ours), model("b", theirs)]
        new = rows_of(models, VocabularyWish(1, transplant="subword"), 0)
        ids = [piece.id for piece in ours.backend_tokenizer.model.tokenize("▁eigenvalue")]
        assert ours.convert_ids_to_tokens(ids)[0].startswith("▁")
        wanted = embedding(models[0])[ids].mean(dim=0)
        torch.testing.assert_close(new[theirs.get_vocab()["Ġeigenvalue"]], wanted, rtol=1e-14, atol=1e-15)
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
        new = rows_of(models, VocabularyWish(transplant="omp"), 0)
        torch.testing.assert_close(new[:301], truth[:301], rtol=0, atol=1e-15)
        torch.testing.assert_close(new[301], truth[301], rtol=0, atol=1e-4)  # the donor is stored in float32
        one = rows_of(models, VocabularyWish(transplant="omp", sparsity=1), 0)
        torch.testing.assert_close(one[300], a[7], rtol=1e-6, atol=1e-7)
        assert (one[301] - truth[301]).norm() > 0.1

    def test_omp_takes_the_bases_tokens_from_the_base(self, three: list[Any], rows_of: Any) -> None:
        """A donor is one model: the base if it has the token, else the first."""
        new = rows_of(three, VocabularyWish(transplant="omp", sparsity=1), 0, base=2)
        b, c = embedding(three[1]), embedding(three[2])
        a = embedding(three[0])

        def nearest(row: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
            best = int(((atoms @ row).abs() / atoms.norm(dim=1)).argmax())
            return a[best] * (atoms[best] @ row / atoms[best].norm() ** 2)

        torch.testing.assert_close(new[300], nearest(c[300], c[:300]))
        torch.testing.assert_close(new[302], nearest(b[300], b[:300]))

    def test_wishes_win(self, three: list[Any], rows_of: Any) -> None:
        """A token with a source of its own is not made."""
        wish = VocabularyWish(tokens={"<|im_end|>": TokenWish(2)}, transplant="mean")
        assert torch.equal(rows_of(three, wish, 0)[301], embedding(three[2])[300])

    def test_other_widths(self, model: Any, rows_of: Any) -> None:
        """A copied row must fit; a combination of own rows always does."""
        narrow = model("b", bytewise(added=[START]), hidden_size=16)
        models = [model("a", bytewise()), narrow]
        with pytest.raises(CompatibilityError, match="of width 16 in b and 32 here"):
            rows_of(models, VocabularyWish(1), 0)
        for transplant in ("mean", "subword", "omp"):
            assert rows_of(models, VocabularyWish(1, transplant=transplant), 0).shape == (301, 32)

    def test_nothing_in_common(self, model: Any) -> None:
        """Sparse combinations need shared tokens."""
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast

        def words(*names: str) -> Any:
            level = models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=names[0])
            return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(level), unk_token=names[0])

        pair = [model("a", words("x", "y")), model("b", words("z", "w"))]
        with OpenFiles() as files, pytest.raises(CompatibilityError, match="a and b have no token in common"):
            plan_vocabulary(pair, VocabularyWish(1, transplant="omp"), files)


class TestWithoutTokenizer:
    """Folders that hold weights alone."""

    def test_it_is_taken_to_be_the_bases(self, model: Any, rows_of: Any) -> None:
        """If it has as many rows."""
        models = [model("a", bytewise()), model("b", rows=300)]
        assert torch.equal(rows_of(models, VocabularyWish(), 1), embedding(models[1]))

    def test_other_rows_are_refused(self, model: Any, rows_of: Any) -> None:
        """Nobody knows what they stand for."""
        models = [model("a", bytewise()), model("b", rows=301)]
        with pytest.raises(CompatibilityError, match="b has no tokenizer"):
            rows_of(models, VocabularyWish(), 1)

    def test_nobody_has_one(self, model: Any, rows_of: Any) -> None:
        """Then there is nothing to unite."""
        models = [model("a", rows=300), model("b", rows=300)]
        with pytest.raises(CompatibilityError, match="a has no tokenizer"):
            rows_of(models, VocabularyWish(), 1)


class TestHeads:
    """The output head has the embedding's rows, wherever it is stored."""

    def test_each_tensor_from_its_like(self, model: Any, rows_of: Any) -> None:
        """A head's row from a head; from the embedding where it is the head as well."""
        models = [model("a", bytewise(), tied=False), model("b", bytewise(added=[START]), tied=True)]
        new = rows_of(models, VocabularyWish(), 0, HEAD)
        assert torch.equal(new, torch.cat([models[0].read(HEAD, torch.float64), embedding(models[1])[300:]]))
        assert torch.equal(rows_of(models, VocabularyWish(), 1, HEAD), embedding(models[1]))

    def test_names(self, model: Any) -> None:
        """The composite has a head as soon as one model that is merged has its own."""
        models = [model("a", bytewise()), model("b", bytewise()), model("c", bytewise(), tied=False)]
        with OpenFiles() as files:
            tied = plan_vocabulary(models, VocabularyWish(), files, merged=(0, 1))
            mixed = plan_vocabulary(models, VocabularyWish(), files)
        assert tied.names == (EMBEDDING,)
        assert tied.config_changes == {}
        assert mixed.names == (HEAD, EMBEDDING)
        assert mixed.config_changes == {"tie_word_embeddings": False}
        assert mixed.is_vocabulary_tensor(0, HEAD)
        assert mixed.stored_name(0, HEAD) == EMBEDDING
        assert mixed.stored_name(2, HEAD) == HEAD
        assert not mixed.is_vocabulary_tensor(0, "model.norm.weight")

    def test_omp_of_a_head_is_its_own(self, model: Any, rows_of: Any) -> None:
        """The donor's head is not its embedding: other coefficients."""
        models = [model("a", bytewise(), tied=False), model("b", bytewise(added=[START]), tied=False)]
        wish = VocabularyWish(transplant="omp", sparsity=1)
        for name in (EMBEDDING, HEAD):
            own, donor = (checkpoint.read(name, torch.float64) for checkpoint in models)
            shared, row = donor[:300], donor[300]
            best = int(((shared @ row).abs() / shared.norm(dim=1)).argmax())
            wanted = own[best] * (shared[best] @ row / shared[best].norm() ** 2)
            torch.testing.assert_close(rows_of(models, wish, 0, name)[300], wanted)

    def test_a_bias_follows_its_head(self, model: Any, rows_of: Any) -> None:
        """Copied, averaged, and with the head's coefficients where those are made."""
        models = []
        for i, tokenizer in enumerate((bytewise(), bytewise(added=[START]))):
            folder = model(f"m{i}", tokenizer, tied=False).folder
            tensors = load_file(folder / "model.safetensors")
            bias = torch.randn(300 + i, generator=torch.Generator().manual_seed(i))
            save_file(tensors | {"lm_head.bias": bias}, folder / "model.safetensors")
            models.append(open_folder(folder))
        a, b = (checkpoint.read("lm_head.bias", torch.float64) for checkpoint in models)
        assert torch.equal(rows_of(models, VocabularyWish(), 0, "lm_head.bias"), torch.cat([a, b[300:]]))
        own, donor = (checkpoint.read(HEAD, torch.float64) for checkpoint in models)
        shared, row = donor[:300], donor[300]
        best = int(((shared @ row).abs() / shared.norm(dim=1)).argmax())
        found = rows_of(models, VocabularyWish(transplant="omp", sparsity=1), 0, "lm_head.bias")
        torch.testing.assert_close(found[300], a[best] * (shared[best] @ row / shared[best].norm() ** 2))
        assert own.shape == (300, 32)

    def test_a_bias_that_one_model_lacks(self, model: Any) -> None:
        """Those are two architectures."""
        folder = model("a", bytewise(), tied=False).folder
        tensors = load_file(folder / "model.safetensors") | {"lm_head.bias": torch.zeros(300)}
        save_file(tensors, folder / "model.safetensors")
        models = [open_folder(folder), model("b", bytewise(), tied=False)]
        with OpenFiles() as files:
            vocabulary = plan_vocabulary(models, VocabularyWish(), files)
            with pytest.raises(CompatibilityError, match=r"b lacks the vocabulary tensor lm_head\.bias"):
                vocabulary.stored_name(1, "lm_head.bias")
