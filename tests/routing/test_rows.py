"""Router rows without training: Fisher's discriminant, and the steps that fit its elements."""

from __future__ import annotations

import pytest
import torch

from cogen.routing import rows
from cogen.routing.rows import constant_direction, discriminant_rows, step_sizes
from cogen.routing.states import Moments


class TestDiscriminant:
    """Two Gaussians with one covariance: the row gives the logarithm of the ratio of their densities."""

    @pytest.fixture(autouse=True)
    def _plain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is regularised or tempered."""
        for name, value in {"SHRINK": 0.0, "FLOOR": 0.0, "TEMPER": 1.0}.items():
            monkeypatch.setattr(rows, name, value)

    def world(self, seed: int = 0, size: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Means of general and domain text, and the covariance, float64."""
        generator = torch.Generator().manual_seed(seed)
        mean, own = torch.randn(2, size, generator=generator, dtype=torch.float64)
        factor = torch.randn(size, 2 * size, generator=generator, dtype=torch.float64)
        return mean, own, factor @ factor.T / size

    def test_it_is_the_log_ratio_of_densities(self) -> None:
        """For every x with ``b·x = 1``, the general mean among them; 1e-9: float64, well conditioned."""
        for seed in range(5):
            mean, own, covariance = self.world(seed)
            (row,) = discriminant_rows(Moments(mean[None], covariance[None]), own[None])
            general, domain = (torch.distributions.MultivariateNormal(m, covariance) for m in (mean, own))
            b = constant_direction(mean, covariance)
            noise = torch.randn(50, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            x = torch.cat([mean[None], mean + noise - (noise @ b)[:, None] * b / (b @ b)])
            torch.testing.assert_close(x @ b, torch.ones(51, dtype=torch.float64))
            wanted = domain.log_prob(x) - general.log_prob(x)
            torch.testing.assert_close(x @ row, wanted, rtol=0, atol=1e-9 * float(wanted.abs().max()))

    def test_the_constant_goes_where_general_text_is_constant(self) -> None:
        """Of all b with ``b·μ = 1`` it has the least variance, so a softmax loses as little as it can."""
        mean, _, covariance = self.world()
        b = constant_direction(mean, covariance)
        assert float(b @ mean) == pytest.approx(1)
        for seed in range(20):
            other = b + 0.1 * torch.randn(len(b), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            other = other / (other @ mean)
            assert float(other @ covariance @ other) >= float(b @ covariance @ b)
        assert torch.equal(constant_direction(torch.zeros(6, dtype=torch.float64), covariance), torch.zeros(6).double())

    def test_general_text_has_no_odds_against_itself(self) -> None:
        """The row of a domain with the general mean is that of the base: zero."""
        mean, _, covariance = self.world()
        assert float(discriminant_rows(Moments(mean[None], covariance[None]), mean[None]).abs().max()) == 0

    def test_tempering_scales_regularising_keeps_the_side(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As shipped: a factor on the row, and a covariance that can be inverted where there are too few tokens."""
        mean, own, covariance = self.world()
        plain = discriminant_rows(Moments(mean[None], covariance[None]), own[None])
        monkeypatch.setattr(rows, "TEMPER", 0.25)
        torch.testing.assert_close(discriminant_rows(Moments(mean[None], covariance[None]), own[None]), plain / 4)
        monkeypatch.setattr(rows, "SHRINK", 0.2)
        monkeypatch.setattr(rows, "FLOOR", 0.1)
        poor = own[:, None] @ own[None] + 1e-30  # of rank one
        (row,) = discriminant_rows(Moments(mean[None], poor[None]), own[None])
        assert bool(row.isfinite().all())
        assert float(row @ own) > float(row @ mean)


def test_steps_move_the_logit_alike() -> None:
    """One over the root mean square of a state; bounded where an element is nearly zero, zero where a layer is."""
    mean = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    covariance = torch.stack([torch.diag(torch.tensor([16.0, 4.0, 0.0])), torch.zeros(3, 3)]).double()
    found = step_sizes(Moments(mean, covariance))
    size = (29.0 / 3) ** 0.5  # of a whole state of the first layer
    wanted = torch.tensor([[1 / 5, 1 / 2, 1 / (rows.LEAST * size)], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted)
