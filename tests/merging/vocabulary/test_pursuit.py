"""Laws of orthogonal matching pursuit (arXiv:2506.06607) that don't depend on how it is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.merging.block import InMemory
from cogen.merging.vocabulary.pursuit import Atoms, pursue
from cogen.merging.vocabulary.rows import Sums
from cogen.merging.vocabulary.transplant import Donor, Pursuits

SETTINGS = settings(deadline=None, max_examples=30)
SEEDS = st.integers(0, 1000)


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(targets: torch.Tensor, atoms: torch.Tensor, sparsity: int, step: int = 1000) -> tuple[torch.Tensor, ...]:
    """Numbers, coefficients and the combinations themselves."""
    held = Atoms(len(atoms), lambda numbers: atoms[torch.from_numpy(numbers)], step)
    chosen, factors = pursue(targets, held, sparsity, held.lengths())
    return chosen, factors, torch.einsum("tk,tkw->tw", factors, atoms[chosen.clamp(min=0)])


@SETTINGS
@given(seed=SEEDS, k=st.integers(1, 5))
def test_a_shared_token_is_itself(seed: int, k: int) -> None:
    """With one atom and coefficient exactly 1, though a longer atom has the larger inner product."""
    atoms = random(30, 6, seed=seed)
    atoms[7] = atoms[3] * 50 + random(6, seed=seed + 1)
    chosen, factors, _ = run(atoms[[3, 11]], atoms, k)
    assert chosen[:, 0].tolist() == [3, 11]
    assert factors[:, 0].tolist() == [1.0, 1.0]
    assert (chosen[:, 1:] == -1).all()
    assert (factors[:, 1:] == 0).all()


@SETTINGS
@given(seed=SEEDS)
def test_what_is_left_never_grows(seed: int) -> None:
    """Each further atom brings the combination nearer, and the atoms before it stay."""
    atoms, targets = random(40, 12, seed=seed), random(5, 12, seed=seed + 1)
    left, before = [(targets**2).sum(dim=1)], None
    for k in range(1, 13):
        chosen, _, found = run(targets, atoms, k)
        left.append(((targets - found) ** 2).sum(dim=1))
        assert before is None or torch.equal(chosen[:, : k - 1], before)
        assert (left[-1] < left[-2]).all()
        before = chosen
    assert (left[-1] < 1e-18).all()


@SETTINGS
@given(seed=SEEDS)
def test_it_is_the_least_squares_of_its_atoms(seed: int) -> None:
    """What is left is orthogonal to every chosen atom."""
    atoms, targets = random(40, 20, seed=seed), random(4, 20, seed=seed + 1)
    chosen, factors, _ = run(targets, atoms, 6)
    for target, numbers, given_ in zip(targets, chosen, factors, strict=True):
        best = torch.linalg.lstsq(atoms[numbers].T, target[:, None]).solution[:, 0]
        torch.testing.assert_close(given_, best, rtol=1e-9, atol=1e-11)


@SETTINGS
@given(seed=SEEDS)
def test_each_atom_has_the_smallest_angle(seed: int) -> None:
    """Against a plain loop over atoms."""
    atoms, targets = random(25, 8, seed=seed) * random(25, 1, seed=seed + 2).exp(), random(3, 8, seed=seed + 1)
    chosen, _, _ = run(targets, atoms, 4)
    for target, numbers in zip(targets, chosen.tolist(), strict=True):
        left, taken = target, []
        for number in numbers:
            cosines = [abs(float(left @ atom / atom.norm())) for atom in atoms]
            assert number == int(np.argmax(cosines))
            taken.append(number)
            span = atoms[taken].T
            left = target - span @ torch.linalg.lstsq(span, target[:, None]).solution[:, 0]


@SETTINGS
@given(seed=SEEDS, step=st.integers(1, 40))
def test_blocks_and_batches_change_no_bit(seed: int, step: int) -> None:
    """However many atoms and targets are looked at together."""
    atoms, targets = random(37, 9, seed=seed), random(5, 9, seed=seed + 1)
    whole = run(targets, atoms, 7)
    parts = [run(target[None], atoms, 7, step) for target in targets]
    for i in (0, 1):
        assert torch.equal(whole[i], torch.cat([part[i] for part in parts]))


def test_of_equal_atoms_the_first() -> None:
    """Untrained tokens often share a row, or its opposite."""
    atoms = random(6, 4, seed=0)
    atoms[4], atoms[5] = atoms[1], -atoms[1]
    chosen, factors, _ = run(-2 * atoms[1:2], atoms, 3)
    assert chosen.tolist() == [[1, -1, -1]]
    assert factors[0, 0] == -2


def test_structural_cases() -> None:
    """A target of zeros needs nothing; atoms of zeros or infinities are never taken; nothing left to gain ends it."""
    atoms = torch.tensor([[0.0, 0, 0], [float("inf"), 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]], dtype=torch.float64)
    chosen, factors, found = run(torch.tensor([[0.0, 0, 0], [3, 4, 5]], dtype=torch.float64), atoms, 5)
    assert chosen[0].tolist() == [-1] * 5
    assert sorted(chosen[1].tolist()) == [-1, -1, -1, 2, 4]
    assert found[1].tolist() == [3, 4, 0]
    assert factors.isfinite().all()


def rows(sums: Sums, own: torch.Tensor) -> torch.Tensor:
    made = torch.zeros(len(sums.start) - 1, own.shape[1], dtype=torch.float64)
    for i in range(len(made)):
        for term in range(sums.start[i], sums.start[i + 1]):
            made[i] += sums.coefficient[term] * own[sums.row[term]]
    return made


@pytest.mark.parametrize("kept", [1 << 25, 0])
@pytest.mark.parametrize("transform", ["orthogonal", "linear"])
def test_the_true_row_comes_back(transform: str, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the donor's space is an orthogonal (or any invertible) transform of the model's, and there are enough atoms
    to span it; whether or not the atoms fit into memory."""
    monkeypatch.setattr("cogen.merging.vocabulary.transplant.KEPT_ELEMENTS", kept)
    monkeypatch.setattr("cogen.merging.vocabulary.transplant.BASIS_ELEMENTS", 500)  # several batches
    truth = random(60, 10, seed=3)
    matrix = random(10, 10, seed=4)
    turn = torch.linalg.qr(matrix).Q if transform == "orthogonal" else matrix
    donor = InMemory(truth @ turn)
    wanted, shared = np.arange(40, 60), np.arange(40)
    sums = Pursuits([Donor(donor, wanted, np.arange(20), shared, shared)], 0, 64)()
    assert np.diff(sums.start).max() <= 10
    torch.testing.assert_close(rows(sums, truth), truth[40:], rtol=1e-8, atol=1e-9)


def test_two_donors_and_other_ids() -> None:
    """Rows of the donor are not rows of the model, and every sum lands at its number."""
    own, first, second = random(8, 3, seed=0), random(9, 5, seed=1), random(7, 4, seed=2)
    first[8], second[0], second[6] = 2 * first[5], 3 * second[2], -second[4]
    donors = [
        Donor(InMemory(first), np.array([8]), np.array([1]), np.array([4, 5]), np.array([0, 7])),
        Donor(InMemory(second), np.array([6, 0]), np.array([2, 0]), np.array([2, 4]), np.array([3, 1])),
    ]
    made = rows(Pursuits(donors, 0, 1)(), own)
    torch.testing.assert_close(made, torch.stack([3 * own[3], 2 * own[7], -own[1]]), rtol=1e-14, atol=1e-15)


def test_it_is_made_once() -> None:
    """Blocks on several threads ask for it."""
    pursuits = Pursuits(
        [Donor(InMemory(random(4, 3, seed=0)), np.array([3]), np.array([0]), np.arange(3), np.arange(3))], 0, 2
    )
    assert pursuits() is pursuits()
