"""RegMean: the least-squares answer, the mean where nothing is known, and equal experts stay themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import tiny

from cogen.checkpoints.safetensors_file import read_tensor
from cogen.errors import UsageError
from cogen.fusion.merge.calibration import read_grams, write_grams
from cogen.merging.methods.linear import linear
from cogen.merging.methods.regmean import regmean


def layers(count: int, rows: int = 7, columns: int = 5) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Weights (rows, columns) and inputs (40, columns) of every expert, float64."""
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(rows, columns, generator=generator, dtype=torch.float64) for _ in range(count)]
    scales = torch.rand(count, 1, columns, generator=generator, dtype=torch.float64) * 3
    return weights, [torch.randn(40, columns, generator=generator, dtype=torch.float64) * s for s in scales]


def test_it_is_the_least_squares_answer() -> None:
    """With α = 1: no other layer comes nearer to all experts on their inputs (numpy's lstsq, stacked)."""
    weights, inputs = layers(3)
    shares = [1.0, 2.0, 0.5]
    found = regmean(None, weights, shares, grams=[x.T @ x for x in inputs], alpha=1.0)
    rows = np.concatenate([np.sqrt(s) * x.numpy() for s, x in zip(shares, inputs, strict=True)])
    wanted = np.concatenate([np.sqrt(s) * (x @ w.T).numpy() for s, x, w in zip(shares, inputs, weights, strict=True)])
    answer = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    np.testing.assert_allclose(found.numpy(), answer, rtol=1e-4, atol=1e-5)


def test_the_formula_with_smaller_off_diagonals() -> None:
    """The paper's α = 0.9, by numpy's own inverse."""
    weights, inputs = layers(2)
    grams = [(x.T @ x).numpy() for x in inputs]
    scaled = [0.9 * g + 0.1 * np.diag(np.diag(g)) for g in grams]
    answer = sum(w.numpy() @ g for w, g in zip(weights, scaled, strict=True)) @ np.linalg.inv(sum(scaled))
    found = regmean(None, weights, [1.0, 1.0], grams=[torch.from_numpy(g) for g in grams])
    np.testing.assert_allclose(found.numpy(), answer, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_equal_experts_give_themselves(dtype: torch.dtype) -> None:
    """Whatever goes into them, bit for bit."""
    (weight,), (x,) = layers(1)
    stored = weight.to(dtype)
    wide = stored.to(torch.float64 if dtype == torch.float32 else torch.float32)
    grams = [(x * k).T @ (x * k) for k in (1.0, 3.0, 0.1)]
    found = regmean(None, [wide] * 3, [0.2, 0.3, 0.5], grams=grams).to(dtype)
    assert torch.equal(found.view(torch.uint8), stored.view(torch.uint8))


def test_without_inputs_it_is_the_weighted_mean() -> None:
    """Norms and embeddings; and an expert for which nothing was measured."""
    weights, inputs = layers(2)
    mean = linear(None, weights, [1.0, 3.0])
    assert torch.equal(regmean(None, weights, [1.0, 3.0]), mean)
    assert torch.equal(regmean(None, weights, [1.0, 3.0], grams=[inputs[0].T @ inputs[0], None]), mean)
    same = regmean(None, weights, [1.0, 3.0], grams=[torch.eye(5, dtype=torch.float64)] * 2)
    torch.testing.assert_close(same, mean, rtol=1e-12, atol=1e-12)


def test_an_input_that_only_one_expert_has_is_that_experts() -> None:
    """Column j of the result is the expert's whose inputs have a feature j, where the others have none."""
    weights, _ = layers(2, columns=4)
    grams = [torch.diag(torch.tensor(d, dtype=torch.float64)) for d in ([1.0, 1, 0, 0], [0.0, 0, 1, 1])]
    found = regmean(None, weights, [1.0, 1.0], grams=grams)
    torch.testing.assert_close(found[:, :2], weights[0][:, :2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[:, 2:], weights[1][:, 2:], rtol=1e-4, atol=1e-4)


def test_it_commutes_with_permutations() -> None:
    """Of the outputs and, with the Gram matrices, of the inputs."""
    weights, inputs = layers(3)
    rows, columns = torch.randperm(7), torch.randperm(5)
    plain = regmean(None, weights, [1.0] * 3, grams=[x.T @ x for x in inputs])
    turned = regmean(
        None, [w[rows][:, columns] for w in weights], [1.0] * 3, grams=[x[:, columns].T @ x[:, columns] for x in inputs]
    )
    torch.testing.assert_close(turned, plain[rows][:, columns], rtol=1e-9, atol=1e-9)


def test_a_share_that_is_none_is_refused() -> None:
    """α lies between 0 and 1."""
    weights, inputs = layers(1)
    with pytest.raises(UsageError, match=r"alpha must be between 0 and 1 \(got 1\.5\)"):
        regmean(None, weights, [1.0], grams=[inputs[0].T @ inputs[0]], alpha=1.5)


def test_what_goes_into_the_layers_of_a_model(tmp_path: Any) -> None:
    """Gram matrices per token as computed by hand from the hidden states; equal inputs are stored once."""
    model, tokenizer = tiny.llama(), tiny.tokenizer()
    texts = ["the grid operator measures voltage", "power network"]
    write_grams(model, tokenizer, texts, tmp_path)
    grams = read_grams(tmp_path)
    first = grams["model.layers.0.self_attn.q_proj.weight"]
    assert first == grams["model.layers.0.self_attn.v_proj.weight"]
    assert grams["model.layers.1.mlp.gate_proj.weight"] == grams["model.layers.1.mlp.up_proj.weight"]
    wanted, tokens = torch.zeros(32, 32), 0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            x = model.model.layers[0].input_layernorm(model.model.embed_tokens(ids))[0]
        wanted, tokens = wanted + x.T @ x, tokens + ids.shape[1]
    torch.testing.assert_close(read_tensor(first), wanted / tokens, rtol=1e-5, atol=1e-6)
    assert "lm_head.weight" in grams
    assert read_tensor(grams["model.layers.1.mlp.down_proj.weight"]).shape == (64, 64)
