"""One adapter out of several: its difference is the weighted sum of theirs, whatever ranks, scales and modules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import FFN, llama, logits, save_adapter, save_model

from cogen.checkpoints.adapter import LoraAdapter, read_adapter
from cogen.checkpoints.model import open_folder
from cogen.checkpoints.safetensors_file import read_tensor
from cogen.errors import CompatibilityError, UsageError
from cogen.merging.lora.concat import base_name, concatenate, fitted, write_concatenated
from cogen.merging.lora.write import write_adapter

Q = "model.layers.0.self_attn.q_proj"


def summed(adapters: Sequence[LoraAdapter], weights: Sequence[float], name: str) -> tuple[Any, Any]:
    """``Σ wᵢ·scaleᵢ·BᵢAᵢ`` by plain products in float64, and the sum of the magnitudes of all its terms."""
    total = size = 0.0
    for adapter, weight in zip(adapters, weights, strict=True):
        if name in adapter.pairs:
            a, b, scale = adapter.pairs[name]
            left, right = read_tensor(b).double(), read_tensor(a).double()
            total = total + weight * scale * (left @ right)
            size = size + abs(weight * scale) * (left.abs() @ right.abs())
    return total, size


def concatenation(
    folder: Path, adapters: Sequence[LoraAdapter], weights: Sequence[float], **options: Any
) -> LoraAdapter:
    folder.mkdir()
    write_concatenated(adapters, weights, folder, **options)
    return read_adapter(folder)


@pytest.fixture
def three(adapter: Any) -> list[LoraAdapter]:
    """Other ranks, scales and modules in each; one rank-stabilised."""
    return [
        adapter("one", dict.fromkeys(FFN, (4, 8)), seed=1),
        adapter("two", {FFN[0]: (3, 1), FFN[2]: (5, 7), Q: (2, 3)}, seed=2, dtype="float32"),
        adapter("three", {FFN[1]: (8, 16), FFN[0]: (1, 1)}, seed=3, use_rslora=True, dtype="float16"),
    ]


class TestSum:
    """``delta(concat) = Σ wᵢ deltaᵢ``"""

    @pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.3, 0.7, -1.1), (1 / 3, 1e-6, 40.0)])
    def test_to_one_rounding_of_float32(
        self, tmp_path: Path, three: list[LoraAdapter], weights: tuple[float, ...]
    ) -> None:
        """Each product is within 2⁻²⁴ of itself: B is rounded once, A not at all."""
        found = concatenation(tmp_path / "out", three, weights)
        assert found.pairs.keys() == {name for each in three for name in each.pairs}
        for name in found.pairs:
            expected, size = summed(three, weights, name)
            error = (found.delta(name, torch.float64) - expected).abs()
            assert (error <= 2**-24 * 1.000001 * size).all()
            assert found.pairs[name][2] == 1.0

    @pytest.mark.parametrize("weights", [(1.0, 0.5), (-0.25, 2.0)])
    def test_powers_of_two_lose_nothing(self, tmp_path: Path, adapter: Any, weights: tuple[float, float]) -> None:
        """The factors stay in bf16, and each column is bit for bit the old one times the power."""
        parts = [adapter("one", {FFN[0]: (4, 8)}, seed=1), adapter("two", {FFN[0]: (2, 8)}, seed=2)]
        found = concatenation(tmp_path / "out", parts, weights)
        a, b, scale = found.pairs[f"{FFN[0]}.weight"]
        assert (a.dtype, b.dtype, scale) == ("bfloat16", "bfloat16", 1.0)
        old = [part.pairs[f"{FFN[0]}.weight"] for part in parts]
        assert torch.equal(read_tensor(a), torch.cat([read_tensor(pair[0]) for pair in old]))
        scaled = [read_tensor(pair[1]) * (w * s) for pair, w, s in zip(old, weights, (2.0, 4.0), strict=True)]
        assert torch.equal(read_tensor(b), torch.cat(scaled, dim=1))

    def test_a_power_that_underflows_widens(self, adapter: Any) -> None:
        """2⁻²⁰ is a power of two, but float16 has no room for it: then the factors are float32."""
        part = adapter("one", {FFN[0]: (4, 4)}, dtype="float16")
        (a, b) = concatenate([part], [2.0**-20])[FFN[0]]
        assert (a.dtype, b.dtype) == (torch.float32, torch.float32)
        assert torch.equal(b.double(), read_tensor(part.pairs[f"{FFN[0]}.weight"][1]).double() * 2.0**-20)

    def test_one_adapter_at_weight_one_is_itself(self, adapter: Any) -> None:
        """With alpha = r nothing is scaled: the same factors, bit for bit."""
        part = adapter("one", {FFN[0]: (4, 4), FFN[3]: (2, 2)})
        factors = concatenate([part], [1.0])
        for name, (a, b, _) in part.pairs.items():
            found = factors[name.removesuffix(".weight")]
            assert torch.equal(found[0], read_tensor(a))
            assert torch.equal(found[1], read_tensor(b))

    def test_weight_zero_leaves_out(self, three: list[LoraAdapter]) -> None:
        """Its ranks and its own modules disappear."""
        factors = concatenate(three, [1.0, 0.0, 1.0])
        assert Q not in factors
        assert factors[FFN[0]][0].shape[0] == 5
        with pytest.raises(UsageError, match="every weight is 0"):
            concatenate(three, [0.0, 0.0, 0.0])

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.floats(-4, 4).filter(lambda w: abs(w) > 1e-3), min_size=1, max_size=3),
        st.lists(st.integers(1, 9), min_size=3, max_size=3),
    )
    def test_ranks_add_up(self, tmp_path_factory: pytest.TempPathFactory, weights: Any, ranks: list[int]) -> None:
        """Any ranks and weights: the rank is the sum of ranks, the difference the sum of differences."""
        home = tmp_path_factory.mktemp("adapters")
        parts = [read_adapter(save_adapter(home / str(i), i, rank=ranks[i], alpha=i + 1)) for i in range(len(weights))]
        found = concatenation(home / "out", parts, weights)
        name = f"{FFN[2]}.weight"
        expected, size = summed(parts, weights, name)
        assert found.pairs[name][0].shape[0] == sum(ranks[: len(weights)])
        assert ((found.delta(name, torch.float64) - expected).abs() <= 2**-24 * 1.000001 * size).all()


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.3, 0.7, -1.1)])
def test_peft_computes_the_same(
    tmp_path: Path, three: list[LoraAdapter], weights: tuple[float, ...], with_peft: Any
) -> None:
    """Base and concatenation in peft give the logits of the base with the summed differences in its weights."""
    found = concatenation(tmp_path / "out", three, weights)
    assert len({pair[0].shape[0] for pair in found.pairs.values()}) > 2  # ranks do differ
    expected = llama()
    before = logits(expected)
    with torch.no_grad():
        for name, parameter in expected.named_parameters():
            if name in found.pairs:
                parameter += summed(three, weights, name)[0].float()
    after = logits(expected)
    torch.testing.assert_close(logits(with_peft(llama(), tmp_path / "out")), after, rtol=1e-4, atol=1e-4)
    assert (after - before).abs().max() > 1  # so the agreement says something


def test_pattern_fits_one_module_only(tmp_path: Path) -> None:
    """Of two modules where one's name ends in the other's, and where a dot could be any character."""
    folder = tmp_path / "out"
    folder.mkdir()
    names = {"a.b": 2, "x.a.b": 3, "h.1.1.w": 4, "h.111.w": 5, "c": 2}
    write_adapter(
        folder, {n: (torch.ones(r, 6), torch.ones(7, r)) for n, r in names.items()}, base=None, task_type=None
    )
    pairs = read_adapter(folder).pairs
    assert {name.removesuffix(".weight"): pair[0].shape[0] for name, pair in pairs.items()} == names
    assert {pair[2] for pair in pairs.values()} == {1.0}
    assert len(json.loads((folder / "adapter_config.json").read_text())["rank_pattern"]) == 3


class TestRefusals:
    """Before anything is written."""

    def test_shapes(self, adapter: Any) -> None:
        """Adapters of models of other sizes; the message names the module and both shapes."""
        one, two = adapter("one", {FFN[0]: (4, 8)}), adapter("two", {FFN[2]: (4, 8)})
        pair = two.pairs[f"{FFN[2]}.weight"]
        other = LoraAdapter(two.folder, {f"{FFN[0]}.weight": pair})
        with pytest.raises(CompatibilityError, match=r"layers\.0\.mlp\.gate_proj.*64 × 32 and 32 × 64 in two"):
            concatenate([one, other], [1.0, 1.0])

    def test_bases(self, adapter: Any) -> None:
        """Other names of the base are refused until somebody says that they are one model; no name fits any."""
        parts = [
            adapter("one", {FFN[0]: (1, 1)}, base_model_name_or_path="org/base"),
            adapter("two", {FFN[0]: (1, 1)}, base_model_name_or_path="org/base/"),
            adapter("three", {FFN[0]: (1, 1)}, base_model_name_or_path=None),
            adapter("four", {FFN[0]: (1, 1)}, base_model_name_or_path="else"),
        ]
        assert base_name(parts[:3]) == "org/base"
        assert base_name(parts[2:3]) is None
        with pytest.raises(CompatibilityError, match=r"org/base \(one\) and else \(four\)|two") as caught:
            base_name(parts)
        assert "--base" in str(caught.value.hint)
        assert base_name(parts, "mine") == "mine"

    @pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e300])
    def test_weights(self, adapter: Any, weight: float) -> None:
        """Not finite, or so large that the factors would not be."""
        with pytest.raises(UsageError, match=r"finite|weight of one"):
            concatenate([adapter("one", {FFN[0]: (4, 4)})], [weight])

    def test_none(self) -> None:
        with pytest.raises(UsageError, match="no adapter"):
            concatenate([], [])

    def test_a_base_that_does_not_fit(self, tmp_path: Path, adapter: Any) -> None:
        """A module that it lacks, or another shape."""
        part = adapter("one", {FFN[0]: (4, 4)})
        fitted(open_folder(save_model(tmp_path / "base")), part)
        with pytest.raises(CompatibilityError, match=r"gate_proj\.weight is 64 × 32, the base has 48 × 32"):
            fitted(open_folder(save_model(tmp_path / "narrow", intermediate_size=48)), part)
        with pytest.raises(CompatibilityError, match=r"lm_head\.weight, which base uses as input and output embedding"):
            fitted(open_folder(tmp_path / "base"), adapter("head", {"lm_head": (4, 4)}))
