"""The truncated SVD is as good as Eckart and Young allow, exact or randomised."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from cogen.merging.lora.svd import SMALL, factorize, randomized_svd, squared_error, squared_norm

#: Singular values of 400 × 500 matrices: how those of weight differences may fall.
SPECTRA: dict[str, Any] = {
    "flat": torch.ones(400),
    "slow": torch.arange(1, 401) ** -0.5,
    "harmonic": torch.arange(1, 401) ** -1.0,
    "a LoRA in bf16 noise": torch.cat([torch.linspace(3, 1, 16), torch.full((384,), 0.05)]),
    "steep": 2.0 ** -torch.arange(400),
}


def matrix(values: torch.Tensor, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Float64, with these singular values and random singular vectors."""
    generator = torch.Generator().manual_seed(seed)
    random = [torch.randn(n, len(values), generator=generator, dtype=torch.float64) for n in (rows, columns)]
    left, right = (torch.linalg.qr(part).Q for part in random)
    return left * values.double() @ right.T


def product(factors: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return factors[1].double() @ factors[0].double()


class TestEckartYoung:
    """The least squared error of rank r is the sum of the squares of the other singular values."""

    @pytest.mark.parametrize("spectrum", SPECTRA)
    @pytest.mark.parametrize("rank", [1, 8, 40])
    @pytest.mark.parametrize("turned", [False, True])
    def test_large_matrices(self, spectrum: str, rank: int, turned: bool) -> None:
        """By a random sketch: the optimum to 0.1 % of it, and never below it."""
        values = SPECTRA[spectrum].double()
        whole = matrix(values, 400, 500)
        whole = whole.T if turned else whole
        assert min(whole.shape) > max(SMALL, 3 * (rank + 16))  # this is the randomised road
        best = float(values[rank:].square().sum())
        found = float((whole - product(factorize(whole, rank=rank))).square().sum())
        rounding = 1e-26 * float(values.square().sum())
        assert best * (1 - 1e-9) - rounding <= found <= best * 1.001 + rounding

    @pytest.mark.parametrize("rank", [1, 5, 12])
    @pytest.mark.parametrize("shape", [(12, 31), (31, 12)])
    def test_small_matrices(self, rank: int, shape: tuple[int, int]) -> None:
        """Exactly, against numpy's singular values."""
        import numpy as np

        whole = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        best = float((np.linalg.svd(whole.numpy(), compute_uv=False)[rank:] ** 2).sum())
        a, b = factorize(whole, rank=rank)
        assert (a.shape, b.shape) == ((rank, shape[1]), (shape[0], rank))
        assert squared_error(whole, a, b) == pytest.approx(best, rel=1e-12, abs=1e-24)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_low_rank_is_restored(self, dtype: torch.dtype) -> None:
        """A product of rank 7 at rank 7 and above, to the type's rounding."""
        whole = matrix(torch.linspace(5, 1, 7), 300, 700).to(dtype)
        for rank in (7, 9):
            factors = factorize(whole, rank=rank)
            error = float((whole.double() - product(factors)).norm() / whole.double().norm())
            assert error < 20 * torch.finfo(dtype).eps
        assert float((whole.double() - product(factorize(whole, rank=6))).norm()) == pytest.approx(1, rel=1e-5)

    def test_more_rank_than_there_is(self) -> None:
        """At most the smaller side."""
        a, b = factorize(torch.eye(3, 5), rank=16)
        assert (a.shape, b.shape) == ((3, 5), (5 - 2, 3))
        torch.testing.assert_close(b @ a, torch.eye(3, 5))


class TestEnergy:
    """The smallest rank that keeps a share of the squared Frobenius norm."""

    @pytest.mark.parametrize(
        ("share", "rank"), [(1e-9, 1), (0.63, 1), (0.65, 2), (0.95, 2), (0.97, 3), (0.995, 4), (1.0, 4)]
    )
    def test_by_hand(self, share: float, rank: int) -> None:
        """Squared singular values 64, 32, 3 and 1: ranks 1 to 4 keep 64, 96, 99 and 100 %."""
        squares = torch.tensor([64.0, 32.0, 3.0, 1.0], dtype=torch.float64)
        assert factorize(torch.diag(squares.sqrt()), energy=share)[0].shape[0] == rank

    @pytest.mark.parametrize("spectrum", [name for name in SPECTRA if name != "flat"])
    @pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
    def test_large_matrices(self, spectrum: str, share: float) -> None:
        """Never too small, and at most one above the smallest by the true singular values."""
        values = SPECTRA[spectrum].double()
        whole = matrix(values, 400, 500)
        kept = values.square().cumsum(0) / values.square().sum()
        smallest = int((kept < share).sum()) + 1
        a, b = factorize(whole, energy=share)
        assert smallest <= a.shape[0] <= smallest + 1
        assert 1 - squared_error(whole, a, b) / squared_norm(whole) >= share - 1e-12

    def test_one_keeps_everything(self) -> None:
        """The full rank, and the matrix again."""
        whole = matrix(SPECTRA["slow"], 400, 500)
        a, b = factorize(whole, energy=1.0)
        assert a.shape[0] == 400
        torch.testing.assert_close(product((a, b)), whole, rtol=0, atol=1e-13)


class TestDeterminism:
    """The sketch depends on seed and name alone, and signs are fixed."""

    def test_the_same_again(self) -> None:
        """Bit for bit, whatever random numbers were drawn before."""
        whole = matrix(SPECTRA["slow"], 400, 500)
        first = factorize(whole, rank=8, name="a")
        torch.randn(3)
        again = factorize(whole, rank=8, name="a")
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])

    @pytest.mark.parametrize("other", [{"name": "b"}, {"seed": 1}])
    def test_names_and_seeds_differ(self, other: dict[str, Any]) -> None:
        """Another sketch: other bits, nearly the same product where singular values are apart."""
        whole = matrix(SPECTRA["harmonic"], 400, 500)
        first, second = factorize(whole, rank=4, name="a"), factorize(whole, rank=4, **({"name": "a"} | other))
        assert not torch.equal(first[0], second[0])
        torch.testing.assert_close(product(first), product(second), rtol=0, atol=1e-9)

    def test_signs(self) -> None:
        """The largest entry of each row of A is positive; the product does not care."""
        whole = matrix(SPECTRA["harmonic"][:40], 60, 40)
        for sign in (1, -1):
            a, b = factorize(sign * whole, rank=5)
            assert (a.gather(1, a.abs().argmax(1, keepdim=True)) > 0).all()
            assert b.square().sum(0).tolist() == pytest.approx(a.square().sum(1).tolist())

    def test_the_sketch_sees_everything(self) -> None:
        """Singular values of a projection are at most the true ones, and here all but those at its edge are them."""
        values = SPECTRA["slow"].double()
        found = randomized_svd(matrix(values, 400, 500), 40, "a", 0)[1]
        assert (found <= values[:40] * (1 + 1e-12)).all()
        assert found[:20].tolist() == pytest.approx(values[:20].tolist(), rel=1e-3)


def test_norm_and_error_by_definition() -> None:
    """In parts or whole."""
    generator = torch.Generator().manual_seed(0)
    whole, a, b = (torch.randn(shape, generator=generator) for shape in ((9, 4), (2, 4), (9, 2)))
    assert squared_norm(whole) == pytest.approx(math.fsum(x * x for x in whole.double().flatten().tolist()))
    expected = (whole.double() - b.double() @ a.double()).square().sum()
    assert squared_error(whole, a, b) == pytest.approx(float(expected), rel=1e-5)
