"""What each model takes for each token, value by value."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.tokenizers import bytewise, special

from cogen.checkpoints.files import OpenFiles
from cogen.errors import CompatibilityError, UsageError
from cogen.merging.vocabulary import ModelToken, TokenSource, VocabularyConfig, plan_vocabulary

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
    found = [rows_of(three, VocabularyConfig(), i, base=0) for i in range(3)]
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
        new = rows_of(three, VocabularyConfig(), i)[300:]
        lacking = [j for j in range(3) if j not in has]
        assert torch.equal(new[lacking], wanted[lacking])


def test_the_base_comes_first(three: list[Any], rows_of: Any) -> None:
    """Its ids stay, and its rows go to those that lack its tokens, though others have them as well."""
    a, b, c = map(embedding, three)
    # The base is the second: its 302 ids, then [C] of the third.
    new = rows_of(three, VocabularyConfig(), 0, base=1)
    assert torch.equal(new, torch.cat([a[:300], b[300:302], c[301:302]]))
    new = rows_of(three, VocabularyConfig(), 2, base=1)
    assert torch.equal(new, torch.cat([c[:300], b[300:301], c[300:302]]))


@pytest.mark.parametrize("source", ["base", 2])
def test_of_one_model(source: Any, three: list[Any], rows_of: Any) -> None:
    """Exactly the tokens of the chosen one, at its ids."""
    a, b, c = map(embedding, three)
    base = 2 if source == "base" else None
    choice = VocabularyConfig(source)
    assert torch.equal(rows_of(three, choice, 2, base=base), c)
    assert torch.equal(rows_of(three, choice, 1, base=base), torch.cat([b[:300], b[301:302], c[301:302]]))
    first = rows_of(three, choice, 0, base=base)
    assert torch.equal(first[:300], a)
    assert torch.equal(first[301], c[301])
    assert torch.equal(first[300], c[300] if base else (b[301] + c[300]) / 2)


class TestRequests:
    """For single tokens."""

    def test_another_model(self, three: list[Any], rows_of: Any) -> None:
        """Only for those that lack the token; with force for all."""
        _, b, c = map(embedding, three)
        choice = VocabularyConfig(tokens={"<|im_end|>": TokenSource(2)})
        assert torch.equal(rows_of(three, choice, 0, base=1)[301], c[300])
        assert torch.equal(rows_of(three, choice, 1, base=1)[301], b[301])
        choice = VocabularyConfig(tokens={"<|im_end|>": TokenSource(2, force=True)})
        for i in range(3):
            assert torch.equal(rows_of(three, choice, i, base=1)[301], c[300])

    def test_another_token(self, three: list[Any], rows_of: Any) -> None:
        """By name or by number."""
        a, b, _ = map(embedding, three)
        choice = VocabularyConfig(
            tokens={"[C]": TokenSource(ModelToken(1, token="<|im_start|>")), "<new>": TokenSource(ModelToken(0, id=17))}
        )
        new = rows_of(three, choice, 0)
        assert torch.equal(new[302:], torch.stack([b[300], a[17]]))
        assert torch.equal(rows_of(three, choice, 2)[302], embedding(three[2])[301])

    def test_zero(self, three: list[Any], rows_of: Any) -> None:
        """For the models that lack it, and with force for all: what mergekit documents and cannot do."""
        a, b, _ = map(embedding, three)
        the = bytewise().get_vocab()["the"]
        choice = VocabularyConfig(tokens={"<|im_start|>": TokenSource("zero"), "the": TokenSource("zero", force=True)})
        new, own = rows_of(three, choice, 0), rows_of(three, choice, 1)
        assert not new[[300, the]].any()
        assert torch.equal(own[300], b[300])
        assert not own[the].any()
        assert torch.equal(new[the - 1], a[the - 1])

    def test_a_token_of_nobody(self, three: list[Any], rows_of: Any) -> None:
        """Added to the tokenizer; each model takes the mean of its own tokens."""
        choice = VocabularyConfig("base", tokens={"<new>": TokenSource()})
        for i, checkpoint in enumerate(three):
            new = rows_of(three, choice, i, base=0)
            assert new.shape == (301, 32)
            torch.testing.assert_close(new[300], embedding(checkpoint).mean(dim=0), rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize(
        ("choice", "error", "match"),
        [
            (VocabularyConfig(tokens={"[C]": TokenSource(0)}), UsageError, r"a has no embedding for the token '\[C\]'"),
            (VocabularyConfig(tokens={"[C]": TokenSource(3)}), UsageError, "no model 3"),
            (VocabularyConfig(tokens={"[C]": TokenSource(force=True)}), UsageError, "has force without a source"),
            (VocabularyConfig(tokens={"[C]": TokenSource(ModelToken(0))}), UsageError, "needs either a token or an id"),
            (
                VocabularyConfig(tokens={"[C]": TokenSource(ModelToken(0, "x", 1))}),
                UsageError,
                "needs either a token or an id",
            ),
            (VocabularyConfig(tokens={"[C]": TokenSource(ModelToken(0, "nope"))}), UsageError, "a has no token 'nope'"),
            (VocabularyConfig(tokens={"[C]": TokenSource(ModelToken(0, id=300))}), CompatibilityError, "row 300"),
            (VocabularyConfig(tokens={"": TokenSource(0)}), UsageError, "must not be empty"),
            (VocabularyConfig(-1), UsageError, "no model -1"),
            (VocabularyConfig("all"), UsageError, "unknown tokenizer source 'all'"),  # type: ignore[arg-type]
            (VocabularyConfig(transplant="pca"), UsageError, "unknown transplant 'pca'"),  # type: ignore[arg-type]
            (VocabularyConfig(pad_to_multiple_of=0), UsageError, "must be at least 1"),
            (VocabularyConfig(sparsity=0), UsageError, "sparsity must be at least 1"),
        ],
    )
    def test_what_cannot_be(self, choice: Any, error: Any, match: str, three: list[Any]) -> None:
        """Refused when it is planned, before a weight is read."""
        for checkpoint in three:
            (checkpoint.folder / "model.safetensors").unlink()
        with pytest.raises(error, match=match), OpenFiles() as files:
            plan_vocabulary(three, choice, files)
