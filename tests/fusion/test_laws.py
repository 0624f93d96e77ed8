"""The laws of merging, bit for bit on what is written: one expert is itself, equals stay equal, order is nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.fusion.merge.outputs import changed_names
from cogen.merging.engine import Engine, Merge, OutputTensor
from cogen.merging.kernels import order
from cogen.merging.kernels.order import largest
from cogen.merging.memory import InMemory
from cogen.merging.method import Stack
from cogen.merging.methods.linear import linear
from cogen.merging.methods.task_arithmetic import task_arithmetic
from cogen.merging.methods.ties import ties
from cogen.merging.operands import Stored

DTYPES = ("bfloat16", "float16", "float32")
METHODS: dict[str, tuple[Any, dict[str, float]]] = {
    "linear": (linear, {}),
    "task_arithmetic": (task_arithmetic, {}),
    "ties": (ties, {"density": 1.0}),
}
#: Values that break sloppy arithmetic: signed zeros, the smallest and largest numbers, one next to one.
AWKWARD = {
    "bfloat16": [0.0, -0.0, 1.0, -1.0, 1.0078125, 9.2e-41, -9.2e-41, 3.3895e38, -3.3895e38, 1e-30, 1e30, 0.1],
    "float16": [0.0, -0.0, 1.0, -1.0, 1.0009765625, 6e-8, -6e-8, 65504.0, -65504.0, 0.1, 1000.0],
    "float32": [0.0, -0.0, 1.0, -1.0, 1.0000001192092896, 1e-45, -1e-45, 3.4e38, -3.4e38, 1e-30, 1e30, 0.1],
}

#: No test is timed.
SETTINGS = settings(deadline=None)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def awkward(dtype: str, seed: int, count: int = 400) -> torch.Tensor:
    """Random values and, at random places, awkward ones."""
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(count, generator=generator, dtype=torch.float64)
    values = torch.tensor(AWKWARD[dtype], dtype=torch.float64)
    where = torch.rand(count, generator=generator) < 0.5
    tensor[where] = values[torch.randint(0, len(values), (int(where.sum()),), generator=generator)]
    return tensor.to(getattr(torch, dtype)).reshape(20, -1)


def checkpoint(folder: Path, tensors: dict[str, torch.Tensor]) -> Checkpoint:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", tensors)
    return open_folder(folder)


def merge(
    folder: Path,
    base: torch.Tensor,
    experts: Sequence[torch.Tensor],
    weights: Sequence[float],
    method: Any,
    **parameters: float,
) -> torch.Tensor:
    """Through the engine: files in, the stored tensor out."""
    opened = [checkpoint(folder / f"{i}", {"w": tensor}) for i, tensor in enumerate([base, *experts])]
    info = opened[0].tensors["w"]
    with Engine(2) as engine:
        own, *others = (Stored(engine.files, c, "w", f"{i:03d}") for i, c in enumerate(opened))
        work = Merge(method, own, tuple(others), tuple(weights), parameters)
        engine.write([OutputTensor("w", info.dtype, info.shape, work)], folder / "out.safetensors")
    return load_file(folder / "out.safetensors")["w"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", METHODS)
class TestLaws:
    """Laws, bitwise on the output: accumulate in float32 for bf16 and fp16 inputs, float64 for fp32 (issue 2)."""

    def test_one_expert_at_weight_one_is_that_expert(self, tmp_path: Path, name: str, dtype: str) -> None:
        """Every bit of it, signed zeros and numbers below the normal range too."""
        method, parameters = METHODS[name]
        base, expert = awkward(dtype, 1), awkward(dtype, 2)
        found = merge(tmp_path, base, [expert], [1.0], method, **parameters)
        assert torch.equal(bits(found), bits(expert))

    @pytest.mark.parametrize(
        "weights", [[0.5, 0.5], [1 / 3] * 3, [0.2] * 5, [1 / 7] * 7, [0.1, 0.2, 0.7], [0.123, 0.877]]
    )
    def test_identical_experts_give_it(self, tmp_path: Path, name: str, dtype: str, weights: list[float]) -> None:
        """N copies with weights that sum to one, which no binary number can be divided into."""
        method, parameters = METHODS[name]
        base, expert = awkward(dtype, 3), awkward(dtype, 4)
        found = merge(tmp_path, base, [expert] * len(weights), weights, method, **parameters)
        assert torch.equal(bits(found), bits(expert))

    def test_scale_zero_is_the_base(self, tmp_path: Path, name: str, dtype: str) -> None:
        """Every bit of it."""
        method, parameters = METHODS[name]
        base, expert = awkward(dtype, 5), awkward(dtype, 6)
        found = merge(tmp_path, base, [expert, -expert], [1.0, 0.3], method, scale=0.0, **parameters)
        assert torch.equal(bits(found), bits(base))

    def test_an_expert_that_is_the_base_gives_the_base(self, tmp_path: Path, name: str, dtype: str) -> None:
        """At every scale that is a power of two: nothing was learned, nothing changes."""
        method, parameters = METHODS[name]
        base = awkward(dtype, 7)
        for i, scale in enumerate((1.0, 0.5, 0.25)):
            found = merge(tmp_path / str(i), base, [base, base.clone()], [0.5, 0.5], method, scale=scale, **parameters)
            assert torch.equal(bits(found), bits(base))

    def test_the_stored_dtype_is_the_bases(self, tmp_path: Path, name: str, dtype: str) -> None:
        """Experts of another dtype are widened, and rounded once to the base's."""
        method, parameters = METHODS[name]
        base = awkward(dtype, 8).clamp(-1000, 1000)
        expert = torch.randn(base.shape, dtype=torch.float32)
        found = merge(tmp_path, base, [expert], [1.0], method, **parameters)
        assert found.dtype == base.dtype
        assert torch.equal(bits(found), bits(expert.to(base.dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "weights", [[1.0], [2.5], [0.3], [1.00000005], [3.0, 3.0], [7.0, 0.1, 0.2], [1.00000005, 3e-5]]
)
@pytest.mark.parametrize("name", ["linear", "ties"])
def test_methods_that_normalise_give_identical_experts_at_any_weight(
    tmp_path: Path, name: str, dtype: str, weights: list[float]
) -> None:
    """A mean of equals is the equal, whatever the weights sum to."""
    method, parameters = METHODS[name]
    base, expert = awkward(dtype, 9), awkward(dtype, 10)
    found = merge(tmp_path, base, [expert] * len(weights), weights, method, **parameters)
    assert torch.equal(bits(found), bits(expert))


FLOATS = st.floats(-1e3, 1e3, width=32)
WEIGHTS = st.floats(0.01, 10)


class TestReferences:
    """Each method against its formula, written again in numpy with float64."""

    @SETTINGS
    @given(data=st.data(), count=st.integers(1, 4), scale=st.floats(0, 2))
    def test_task_arithmetic(self, data: st.DataObject, count: int, scale: float) -> None:
        """base + s·Σ wᵢ (Eᵢ - base), to one rounding of the output dtype."""
        base, *experts = (np.array(data.draw(st.lists(FLOATS, min_size=8, max_size=8))) for _ in range(count + 1))
        weights = data.draw(st.lists(WEIGHTS, min_size=count, max_size=count))
        found = task_arithmetic(torch.from_numpy(base), [torch.from_numpy(e) for e in experts], weights, scale=scale)
        expected = base + scale * sum(w * (e - base) for w, e in zip(weights, experts, strict=True))
        size = np.abs(base) + scale * sum(w * (np.abs(e) + np.abs(base)) for w, e in zip(weights, experts, strict=True))
        assert np.all(np.abs(found.numpy() - expected) <= 1e-14 * (size + 1))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_task_arithmetic_rounds_once(self, tmp_path: Path, dtype: str) -> None:
        """The stored tensor is within one unit in the last place of the float64 value."""
        kind = getattr(torch, dtype)
        generator = torch.Generator().manual_seed(11)
        base, *experts = (torch.randn(4000, generator=generator).to(kind) for _ in range(4))
        weights = [0.3, 1.0, 0.45]
        found = merge(tmp_path, base, experts, weights, task_arithmetic, scale=0.6)
        exact = base.double() + 0.6 * sum(
            w * (e.double() - base.double()) for w, e in zip(weights, experts, strict=True)
        )
        size = exact.abs().maximum(torch.tensor(1.0, dtype=torch.float64))
        assert torch.all((found.double() - exact).abs() <= size * torch.finfo(kind).eps)

    @SETTINGS
    @given(data=st.data(), count=st.integers(1, 4), factor=st.floats(0.01, 100))
    def test_linear(self, data: st.DataObject, count: int, factor: float) -> None:
        """Σ wᵢ Eᵢ / Σ wᵢ; all weights times a factor change nothing (powers of two: not a bit)."""
        base, *experts = (
            torch.tensor(data.draw(st.lists(FLOATS, min_size=8, max_size=8)), dtype=torch.float64)
            for _ in range(count + 1)
        )
        weights = data.draw(st.lists(WEIGHTS, min_size=count, max_size=count))
        found = linear(base, experts, weights)
        expected = np.average([e.numpy() for e in experts], axis=0, weights=weights)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13, atol=1e-11)
        np.testing.assert_allclose(
            linear(base, experts, [w * factor for w in weights]).numpy(), expected, rtol=1e-13, atol=1e-11
        )
        assert torch.equal(linear(base, experts, [w * 8 for w in weights]), found)

    @SETTINGS
    @given(data=st.data(), count=st.integers(1, 5), density=st.floats(0.01, 1), scale=st.sampled_from([0.3, 1.0]))
    def test_ties(self, data: st.DataObject, count: int, density: float, scale: float) -> None:
        """Trim, elect, merge disjointly: the paper's three steps, one position after the other."""
        size = 9
        numbers = st.lists(st.integers(-40, 40), min_size=size, max_size=size)
        base, *experts = (np.array(data.draw(numbers)) / 8.0 for _ in range(count + 1))
        weights = data.draw(st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0]), min_size=count, max_size=count))
        trimmed = []
        for expert in experts:
            difference = expert - base
            order = sorted(range(size), key=lambda i: (-abs(difference[i]), i))
            keep = set(order[: max(1, int(density * size))])
            trimmed.append([difference[i] if i in keep else 0.0 for i in range(size)])
        expected = base.copy()
        for i in range(size):
            sign = np.sign(sum(w * t[i] for w, t in zip(weights, trimmed, strict=True)))
            voters = [(w, t[i]) for w, t in zip(weights, trimmed, strict=True) if t[i] != 0 and np.sign(t[i]) == sign]
            if voters:
                expected[i] += scale * sum(w * d for w, d in voters) / sum(w for w, _ in voters)
        found = ties(
            torch.from_numpy(base), [torch.from_numpy(e) for e in experts], weights, density=density, scale=scale
        )
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("density", [0.5, 0.2])
    def test_ties_of_copies_is_ties_of_one(self, density: float) -> None:
        """Also when it trims: copies elect the same signs and keep the same entries."""
        base, expert = awkward("float32", 12).double(), awkward("float32", 13).double()
        one = ties(base, [expert], [1.0], density=density)
        three = ties(base, [expert] * 3, [1.0, 1.0, 1.0], density=density)
        assert torch.equal(bits(one.float()), bits(three.float()))
        kept = int((one != base).sum())
        assert kept <= round(density * base.numel())


@pytest.mark.parametrize("held", [order.HELD, 0])
@SETTINGS
@given(
    values=st.lists(st.sampled_from([0.0, 1.0, -2.0, 2.0, 3.0, math.inf, 1e-45, 1.0000001]), min_size=1, max_size=60),
    counts=st.lists(st.integers(0, 130), min_size=1, max_size=3),
    block=st.integers(1, 9),
    split=st.integers(1, 60),
)
def test_trimming_keeps_exactly_the_largest(
    held: int, values: list[float], counts: list[int], block: int, split: int
) -> None:
    """Over one or several tensors: none smaller than one that was dropped; among equals the first ones.

    Whether the elements near the threshold fit into memory or not.
    """
    tensors = [t for t in (torch.tensor(values[:split]), torch.tensor(values[split:])) if t.numel()]
    stacks = [Stack("x", None, [InMemory(t)], torch.float32, block=block) for t in tensors]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "HELD", held)
        cuts = largest(stacks, lambda found: found.experts * len(counts), counts)
    ranked = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))
    for k, count in enumerate(counts):
        masks = [c[k].mask(b.expert(0), b.start) for s, c in zip(stacks, cuts, strict=True) for b in s.blocks()]
        kept = torch.cat(masks).nonzero().reshape(-1).tolist()
        assert kept == sorted(ranked[:count])


def test_infinities_of_an_expert_without_weight_do_no_harm() -> None:
    """A coefficient of 0 leaves its tensor out: 0·∞ would be NaN."""
    base, expert = torch.tensor([math.inf, 1.0], dtype=torch.float64), torch.tensor([2.0, 3.0], dtype=torch.float64)
    assert linear(base, [expert], [1.0]).tolist() == [2.0, 3.0]
    assert task_arithmetic(base, [expert], [1.0]).tolist() == [2.0, 3.0]
    assert linear(expert, [base], [1.0], scale=0.0).tolist() == [2.0, 3.0]


def test_the_same_bits_with_any_number_of_threads(tmp_path: Path) -> None:
    """Element-wise operations alone: no sum is split over threads."""
    generator = torch.Generator().manual_seed(14)
    base, *experts = (torch.randn(300, 400, generator=generator).bfloat16() for _ in range(5))
    threads, found = torch.get_num_threads(), {}
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found[count] = [
                merge(tmp_path / f"{count}{i}", base, experts, [0.3, 1.0, 0.7, 0.11], method, scale=0.6, **parameters)
                for i, (method, parameters) in enumerate(METHODS.values())
            ]
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(found[1], found[2], strict=True):
        assert torch.equal(bits(one), bits(two))


def test_only_floating_point_tensors_are_merged(tmp_path: Path) -> None:
    """Ids and masks are the base's bytes."""
    tensors = {"w": torch.ones(2), "ids": torch.arange(3), "mask": torch.ones(2, dtype=torch.bool)}
    base = checkpoint(tmp_path / "base", tensors)
    assert changed_names(base, [checkpoint(tmp_path / "expert", tensors)]) == ["w"]
    assert changed_names(base, []) == []


@SETTINGS
@given(weights=st.lists(WEIGHTS, min_size=2, max_size=5))
def test_weights_scale_out_of_linear_on_the_stored_bits(weights: list[float]) -> None:
    """Doubling every weight changes no bit of what is written."""
    assume(all(math.isfinite(2 * w) for w in weights))
    base, *experts = (awkward("bfloat16", 20 + i).float() for i in range(len(weights) + 1))
    one, two = linear(base, experts, weights), linear(base, experts, [2 * w for w in weights])
    assert torch.equal(bits(one.bfloat16()), bits(two.bfloat16()))
