"""Text that an expert writes itself: the same for the same weights, kept for its owner alone."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import llama, tokenizer

from cogen.errors import CompatibilityError
from cogen.fusion import generated
from cogen.fusion.generated import generated_texts, write_texts
from cogen.fusion.routing_data import ExpertWriter


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "TEXTS", 4)
    monkeypatch.setattr(generated, "TOKENS", 12)
    monkeypatch.setattr(generated, "BATCH", 2)


def writer(seed: int = 7, load: Any = None) -> ExpertWriter:
    return ExpertWriter("mute", tokenizer(), "t", load or (lambda dtype: llama(seed)), lambda: f"model {seed}")


def test_the_same_weights_write_the_same(tmp_path: Path) -> None:
    """Whatever was drawn before; other weights write something else."""
    torch.manual_seed(1)
    first = write_texts(llama(7), tokenizer(), "mute")
    torch.manual_seed(2)
    assert write_texts(llama(7), tokenizer(), "mute") == first
    assert 0 < len(first) <= 4
    assert all(first)
    assert write_texts(llama(8), tokenizer(), "mute") != first


def test_it_is_the_models_own_distribution() -> None:
    """A model that says one token says it, whatever its own settings for generation ask for."""
    model = llama(7)
    token = tokenizer()("the", add_special_tokens=False)["input_ids"][0]
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
        model.model.norm.weight.fill_(0.0)
        model.lm_head.bias = torch.nn.Parameter(
            torch.full((len(tokenizer()),), -1e4).index_fill(0, torch.tensor(token), 0)
        )
    model.generation_config.repetition_penalty = 9.0
    assert write_texts(model, tokenizer(), "mute") == [tokenizer().decode([token] * 12).strip()] * 4


def test_it_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    """In one file of the cache, mode 0600, and not written again; a damaged one is."""
    found = generated_texts(writer())
    (file,) = (tmp_path / "cache" / "generated").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert generated_texts(writer(load=lambda dtype: pytest.fail("it is loaded again"))) == found
    file.write_text("{")
    assert generated_texts(writer()) == found


def test_a_model_that_cannot_write_is_named() -> None:
    """One without a decoder, one whose numbers are none, one that ends every text at once."""
    with pytest.raises(CompatibilityError, match="mute ships no text, and its model cannot write") as caught:
        write_texts(object(), tokenizer(), "mute")
    assert "leave mute out" in str(caught.value.hint)
    broken = llama(7)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    with pytest.raises(CompatibilityError, match="mute gives what is not a number"):
        write_texts(broken, tokenizer(), "mute")
    silent = llama(7)
    silent.lm_head.bias = torch.nn.Parameter(torch.full((len(tokenizer()),), -1e4).index_fill(0, torch.tensor(0), 1e4))
    with pytest.raises(CompatibilityError, match="mute ships no text, and writes none"):
        write_texts(silent, tokenizer(), "mute")
