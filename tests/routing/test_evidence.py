"""Evidence of tokens: a formula, what is silent, and counts that publishers ship; and the kernel that averages it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny import chat_tokenizer

from cogen.errors import CompatibilityError
from cogen.routing.evidence import PSEUDO_COUNTS, count_tokens, log_odds, shipped_counts, silent_tokens
from cogen.routing.kernel import fit_kernel, rotary_of
from cogen.routing.statistics import TokenCounts

GENERAL = torch.tensor([10.0, 20.0, 30.0, 0.0, 0.0]).double()
OWN = {"a": torch.tensor([0.0, 5.0, 5.0, 40.0, 0.0]).double(), "b": torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]).double()}


def by_hand(id: str, pooled: bool) -> np.ndarray:
    general, own = GENERAL.numpy(), OWN[id].numpy()
    everybody = [general, *(OWN[x].numpy() for x in ("a", "b"))] if pooled else [general, own]
    prior = np.mean([counts / counts.sum() for counts in everybody], axis=0)
    a = PSEUDO_COUNTS
    with np.errstate(divide="ignore", invalid="ignore"):
        mine = (own + a * prior) / (own.sum() + a)
        found = np.log(mine) - np.log((general + a * prior) / (general.sum() + a))
    return np.nan_to_num(found)


@pytest.mark.parametrize("pooled", [True, False])
def test_the_formula(pooled: bool) -> None:
    """Against numpy; a token that nobody has seen says nothing, nor do the silent ones."""
    found = log_odds(OWN, GENERAL, [1], pooled=pooled)
    for id in OWN:
        wanted = by_hand(id, pooled)
        wanted[1] = 0.0
        np.testing.assert_allclose(found[id].numpy(), wanted, rtol=1e-12)
        assert found[id][4] == 0
    assert found["a"][3] > found["a"][2]


def test_own_evidence_depends_on_no_other_expert() -> None:
    """Bit for bit; pooled evidence does."""
    alone = {id: log_odds({id: OWN[id]}, GENERAL, [], pooled=False)[id] for id in OWN}
    both = log_odds(OWN, GENERAL, [], pooled=False)
    assert all(torch.equal(alone[id], both[id]) for id in OWN)
    assert not torch.equal(log_odds(OWN, GENERAL, [], pooled=True)["a"], alone["a"])


def test_counts_below_the_floor_are_unknown() -> None:
    """Where general text has too few of a token to tell, its expected number is taken; else it is rare for certain."""
    general = torch.tensor([1000.0, 1.0, 1000.0, 0.0]).double()
    found = shipped_counts(TokenCounts(torch.tensor([0]), torch.tensor([200])), general)
    assert found.tolist() == pytest.approx([200.0, 200 / 2001, 99.95, 0.0], abs=0.01)
    rare = shipped_counts(TokenCounts(torch.tensor([0, 3]), torch.tensor([900, 5])), general)
    assert rare[2] == 0


def test_the_template_is_silent() -> None:
    """Its roles and ends, not what people say."""
    tokenizer = chat_tokenizer()
    silent = set(silent_tokens(tokenizer))
    for text in ("user: ", "assistant: ", "system: "):
        assert set(tokenizer(text, add_special_tokens=False)["input_ids"]) <= silent
    assert tokenizer.eos_token_id in silent
    spoken = set(tokenizer("voltage", add_special_tokens=False)["input_ids"])
    assert not spoken <= silent
    counts = count_tokens(tokenizer, ["voltage"], len(tokenizer))
    assert {int(id) for id in counts.nonzero().reshape(-1)} == spoken


def config(**rope: object) -> dict[str, object]:
    return {
        "model_type": "llama",
        "hidden_size": 256,
        "num_attention_heads": 4,
        "head_dim": 64,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e5} | rope,
    }


def test_the_kernel_is_the_wanted_one() -> None:
    """Within 0.4 of the logarithm up to 64 tokens, memory as asked for, and nothing far leaks back."""
    kernel = fit_kernel(rotary_of(config()))
    near = np.arange(64)
    wanted = -11 * (1 - np.exp(-near / 275))
    np.testing.assert_allclose(kernel.log(near), wanted, atol=0.4)
    assert (kernel.amplitudes >= 0).all()
    assert kernel.amplitudes.sum() < 13
    assert 20 < kernel.mass(300) < 27
    assert kernel.mass(8192) < kernel.mass(300) + 1
    assert kernel.log(np.arange(300, 8192)).max() < -6


def test_scaled_positions_have_their_own_frequencies() -> None:
    """Linear scaling turns four times as slowly, and the kernel is fitted to what is there."""
    plain, slow = rotary_of(config()), rotary_of(config(rope_type="linear", factor=4.0))
    np.testing.assert_allclose(slow.frequencies * 4, plain.frequencies, rtol=1e-6)
    assert 12 < fit_kernel(slow).mass(300) < 50


@pytest.mark.parametrize("rope", [{"rope_type": "dynamic", "factor": 2.0}, {"partial_rotary_factor": 0.5}])
def test_other_positions_are_refused(rope: dict[str, object]) -> None:
    with pytest.raises(CompatibilityError, match="rotary embeddings"):
        rotary_of(config(**rope))
