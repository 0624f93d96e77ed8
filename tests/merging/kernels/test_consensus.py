"""The two ways of putting masked differences together, with masks that a test makes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.tensors import bits, related

from cogen.errors import UsageError
from cogen.merging.block import Block, InMemory, Stack
from cogen.merging.kernels.consensus import add_masked, average_masked, merge_elected

WEIGHTS = [0.5, 0.3, -0.7]


def block(tensors: list[torch.Tensor]) -> Block:
    """A base and experts, as a method gets them."""
    held = [InMemory(tensor, str(i)) for i, tensor in enumerate(tensors[1:])]
    (found,) = Stack("w", InMemory(tensors[0]), held, tensors[0].dtype).blocks()
    return found


def drawn(count: int, size: int, seed: int, dtype: torch.dtype) -> tuple[list[torch.Tensor], np.ndarray]:
    """Masks as -1 and 0, and as 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(0, 2, (count, size), generator=generator)
    kind = torch.int64 if dtype == torch.float64 else torch.int32
    return [-mask.to(kind) for mask in found], found.numpy().astype(float)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
class TestInjectedMasks:
    """Against the formulas in float64."""

    def inputs(self, seed: int, dtype: torch.dtype) -> tuple[list[torch.Tensor], np.ndarray, np.ndarray]:
        tensors = related((1000,), 3, seed, dtype)
        wide = np.array([tensor.double().numpy() for tensor in tensors])
        return tensors, wide[0], wide[1:] - wide[0]

    def close(self, found: torch.Tensor, expected: np.ndarray) -> None:
        eps = torch.finfo(found.dtype).eps
        np.testing.assert_allclose(found.double().numpy(), expected, rtol=32 * eps, atol=32 * eps)

    def test_added(self, dtype: torch.dtype) -> None:
        """``base + Σ partsᵢ·maskᵢ·dᵢ``, parts numbers or tensors."""
        tensors, base, deltas = self.inputs(1, dtype)
        masks, chosen = drawn(3, 1000, 2, dtype)
        expected = base + np.tensordot(WEIGHTS, chosen * deltas, 1)
        self.close(add_masked(block(tensors), masks, WEIGHTS), expected)
        whole = [torch.full((1000,), weight, dtype=dtype) for weight in WEIGHTS]
        self.close(add_masked(block(tensors), masks, whole), expected)

    def test_averaged(self, dtype: torch.dtype) -> None:
        """``base + s·Σ partsᵢ·maskᵢ·dᵢ / Σ divisorsᵢ·maskᵢ``."""
        tensors, base, deltas = self.inputs(3, dtype)
        masks, chosen = drawn(3, 1000, 4, dtype)
        divisors = [1.0, 2.0, 0.5]
        share = np.tensordot(divisors, chosen, 1)
        for parts in (divisors, WEIGHTS):
            total = np.tensordot(parts, chosen * deltas, 1)
            expected = base + 0.7 * total / np.where(share == 0, 1, share)
            self.close(average_masked(block(tensors), masks, parts, divisors, 0.7), expected)
            whole = [torch.full((1000,), part, dtype=dtype) for part in parts]
            self.close(average_masked(block(tensors), masks, whole, divisors, 0.7), expected)

    @pytest.mark.parametrize("divided", [False, True])
    def test_agreed(self, dtype: torch.dtype, divided: bool) -> None:
        """Only what has the sign of the sum of the election_weights; they may differ from the parts."""
        tensors, base, deltas = self.inputs(5, dtype)
        masks, chosen = drawn(3, 1000, 6, dtype)
        parts, divisors = [0.5, 0.3, 0.7], [1.0, 2.0, 0.5]
        for election_weights in (None, [1.0, 1.0, 1.0], WEIGHTS, [0.0, 1.0, 0.5]):
            votes = np.array(election_weights or parts)[:, None] * chosen * deltas
            agree = (np.sign(votes) == np.sign(votes.sum(0))) & (votes != 0)
            share = np.tensordot(divisors, agree, 1) if divided else 1.0
            expected = base + 0.7 * np.tensordot(parts, agree * deltas, 1) / np.where(share == 0, 1, share)
            found = merge_elected(
                block(tensors),
                masks,
                parts,
                election_weights=election_weights,
                divisors=divisors if divided else None,
                scale=0.7,
            )
            self.close(found, expected)

    def test_where_no_mask_is_set_the_base_is(self, dtype: torch.dtype) -> None:
        """Its very bits, also in the accumulator, whatever the parts sum to."""
        tensors, *_ = self.inputs(7, dtype)
        masks, chosen = drawn(3, 1000, 8, dtype)
        free = torch.from_numpy(chosen.sum(0) == 0)
        assert 50 < int(free.sum()) < 250
        for found in (
            add_masked(block(tensors), masks, [0.1, 1e6, -0.3]),
            average_masked(block(tensors), masks, [0.1, 1e6, 0.3], [0.1, 1e6, 0.3], 0.3),
            merge_elected(block(tensors), masks, [0.1, 1e6, 0.3]),
        ):
            assert torch.equal(bits(found[free]), bits(tensors[0][free]))
            assert not torch.any(found[~free] == tensors[0][~free])


def test_a_base_that_has_no_part_is_left_out() -> None:
    """Where the selected parts sum to one its infinities, and numbers of quite another size, do no harm."""
    base = torch.tensor([math.inf, 1e30, -math.inf, 0.0])
    one, two = torch.tensor([1e-30, 1e-30, -0.0, -0.0]), torch.tensor([3e-30, 3e-30, -0.0, -0.0])
    masks = [torch.full((4,), -1, dtype=torch.int32)] * 2
    expected = torch.tensor([2e-30, 2e-30, -0.0, -0.0])
    found = add_masked(block([base, one, two]), masks, [0.5, 0.5])
    assert torch.equal(bits(found), bits(expected))


def test_thirds_and_tenths_of_all_experts_leave_nothing_of_the_base() -> None:
    """What is left of one is computed exactly where all take part, although no sum of float32 thirds is one."""
    base, expert = torch.full((3,), 1e30), torch.tensor([1e-30, -2.0, 0.1])
    for count in (3, 7, 10):
        masks = [torch.full((3,), -1, dtype=torch.int32)] * count
        found = add_masked(block([base] + [expert] * count), masks, [1 / count] * count)
        torch.testing.assert_close(found, expert, rtol=1e-6, atol=0)


def test_ballots_that_cancel() -> None:
    """Exactly zero: the base; or, if asked, the positive ones. Weights in a ratio that binary numbers have not, too."""
    base = torch.tensor([10.0, 10.0, 10.0])
    experts = [base + torch.tensor([3.0, -3.0, 0.0]), base + torch.tensor([-1.0, 1.0, 0.0])]
    experts.append(base + torch.tensor([-2.0, 2.0, 0.0]))
    masks = [-(expert != base).to(torch.int32) for expert in experts]
    whole = block([base, *experts])
    for weight in (1.0, 0.3, 7.0):
        parts = [weight] * 3
        assert merge_elected(whole, masks, parts, divisors=parts).tolist() == [10.0, 10.0, 10.0]
        found = merge_elected(whole, masks, parts, divisors=parts, undecided="plus")
        assert found.tolist() == pytest.approx([13.0, 11.5, 10.0], rel=1e-6)
    with pytest.raises(UsageError, match="unknown value 'minus' of undecided"):
        merge_elected(whole, masks, [1.0] * 3, undecided="minus")


def test_no_sum_overflows() -> None:
    """Experts near the largest number, with weights that sum to far more than one."""
    expert = torch.tensor([3.4e38, -3.4e38])
    masks = [torch.full((2,), -1, dtype=torch.int32)] * 3
    whole = block([torch.zeros(2), expert, expert, expert])
    for found in (
        average_masked(whole, masks, [9.0] * 3, [9.0] * 3),
        merge_elected(whole, masks, [9.0] * 3, divisors=[9.0] * 3),
    ):
        torch.testing.assert_close(found, expert, rtol=1e-6, atol=0)
