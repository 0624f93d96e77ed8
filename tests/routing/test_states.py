"""States of the base: what a router of the mixture would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import dense
from support.tiny import tokenizer

from cogen.errors import CompatibilityError
from cogen.routing import states
from cogen.routing.anchors import Anchor
from cogen.routing.states import mean_states, moments, windows


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches; the general text is short."""
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("cogen.routing.anchors.calibration_texts", lambda: ["the current of a river", "a node"])


class TestStates:
    """What a router of the mixture would see, in the dense base."""

    TEXT = "the grid operator measures voltage and current at every node of the power network " * 3

    @pytest.mark.parametrize("family", ["llama-tied", "olmo2"])
    def test_they_are_the_input_of_the_feed_forward_block(self, family: str) -> None:
        """By hand from the hidden states: behind the norm in Llama, the residual stream in OLMo-2; no prefix token."""
        model = dense(family)
        (ids,) = windows(tokenizer(), [self.TEXT])
        with torch.no_grad():
            outer = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            wanted = []
            for layer, x in zip(model.model.layers, outer, strict=False):
                places = model.model.rotary_emb(x, torch.arange(len(ids))[None])
                first = x if family == "olmo2" else layer.input_layernorm(x)
                seen = layer.self_attn(first, position_embeddings=places, attention_mask=None)[0]
                if family == "olmo2":
                    wanted.append(x + layer.post_attention_layernorm(seen))
                else:
                    wanted.append(layer.post_attention_layernorm(x + seen))
        by_hand = torch.cat(wanted)[:, 1:].double()
        torch.testing.assert_close(mean_states(model, tokenizer(), [self.TEXT]), by_hand.mean(1), rtol=1e-5, atol=1e-6)
        found = moments(model, tokenizer(), [self.TEXT])
        torch.testing.assert_close(found.mean, by_hand.mean(1), rtol=1e-5, atol=1e-6)
        covariance = torch.stack([torch.cov(x.T, correction=0) for x in by_hand])
        torch.testing.assert_close(found.covariance, covariance, rtol=1e-4, atol=1e-5)

    def test_windows(self) -> None:
        """Nothing is lost, each begins with the prefix token, and none is longer than it may be."""
        ids = tokenizer()(self.TEXT)["input_ids"]
        found = windows(tokenizer(), [self.TEXT, "", "at"], 7)
        assert [i for window in found[:-1] for i in window[1:]] == ids
        assert {window[0] for window in found} == {tokenizer().eos_token_id}
        assert max(map(len, found)) == 8
        assert found[-1][1:] == tokenizer()("at")["input_ids"]

    def test_long_texts_count_by_tokens(self) -> None:
        """The mean over two windows is that over all of their tokens."""
        model, length = dense("llama-tied"), states.WINDOW
        text = self.TEXT
        while len(tokenizer()(text)["input_ids"]) < length + 60:
            text += self.TEXT
        parts = [
            torch.stack([x.double().mean(0) for x in found]) for found in states.states(model, tokenizer(), [text])
        ]
        count = len(tokenizer()(text)["input_ids"])
        assert len(parts) == 2
        wanted = (parts[0] * length + parts[1] * (count - length)) / count
        torch.testing.assert_close(mean_states(model, tokenizer(), [text]), wanted)

    def test_no_text_and_no_block(self) -> None:
        """Both are refused with what would help."""
        model = dense("llama-tied")
        with pytest.raises(CompatibilityError, match="no text to take states from") as caught:
            mean_states(model, tokenizer(), [""])
        assert caught.value.hint
        model.model.layers[1] = torch.nn.Identity()
        with pytest.raises(CompatibilityError, match="no layers with a feed-forward block") as caught:
            moments(model, tokenizer(), ["at"])
        assert caught.value.hint

    def test_the_cache_saves_the_model(self) -> None:
        """What was computed once needs no model; other texts, another base or tokenizer do."""

        def never() -> Any:
            raise AssertionError("the model is loaded")

        first = Anchor(lambda: dense("llama-tied"), tokenizer(), ["base", "tokenizer"])
        general, mean = first.general, first.mean([self.TEXT])
        again = Anchor(never, tokenizer(), ["base", "tokenizer"])
        assert torch.equal(again.general.mean, general.mean)
        assert torch.equal(again.general.covariance, general.covariance)
        assert torch.equal(again.mean([self.TEXT]), mean)
        with pytest.raises(AssertionError, match="is loaded"):
            again.mean(["another text"])
        with pytest.raises(AssertionError, match="is loaded"):
            _ = Anchor(never, tokenizer(), ["base", "another"]).general
